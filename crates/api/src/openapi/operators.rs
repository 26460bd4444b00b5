//! What operators ask and order, on the operators' listener.

use super::{ADMINS, ENROLLERS, Good, OPERATORS, Operation, VIEWERS, Who, of};
use crate::{
    ProblemKind as P,
    attack::{AttackView, BlocklistQuery},
    ca::{CaView, RotateCa},
    dns::{AdvertiseQuery, AdvertiseView, DnsView},
    identities::{ForbidIdentity, ForgetIdentity, IdentityView},
    keys::{IssueKey, KeyIssued},
    operator::{
        CreateToken, CutStep, EventView, ExplainQuery, ListQuery, NodeView, NodesQuery, Page, RevokeQuery,
        RevokeReceipt, StatusView, TokenCreated, TokenView,
    },
    operators::{CreateOperator, EventsQuery, LogVerdict, OperatorCreated, OperatorView},
    paths::{DrainNode, DrainView, PathsQuery, PathsView},
    plans::{PlanPreview, PlansDiff, PlansQuery, PreviewPlan},
    shield::{OrderShield, ShieldView},
    validators::{
        ApproveRequest, DiffQuery, HistoryQuery, HoldRequest, OrderReceipt, ValidatorChange, ValidatorsDiff,
        ValidatorsView,
    },
};
use picket_model::{Blocklist, Explanation, Node};

/// This document.
pub static DOCUMENT: Operation = Operation::get(
    "document",
    "/v1/openapi.json",
    Who::Anybody,
    "This document. It says nothing of this mesh, so it needs no token",
)
.good(Good::Document);

/// The one-screen truth.
pub static STATUS: Operation =
    Operation::get("status", "/v1/status", VIEWERS, "What is wanted, what is in force, what is wrong")
        .answers(of::<StatusView>);

/// All hosts.
pub static NODES: Operation =
    Operation::get("nodes", "/v1/nodes", OPERATORS, "Hosts, revoked ones too, in order of name, page by page")
        .query(of::<NodesQuery>)
        .answers(of::<Page<NodeView>>);

/// The validator set.
pub static VALIDATORS: Operation =
    Operation::get("validators", "/v1/validators", VIEWERS, "The validator set and what was not taken into it")
        .answers(of::<ValidatorsView>);

/// How the set changed.
pub static HISTORY: Operation =
    Operation::get("validatorsHistory", "/v1/validators/history", VIEWERS, "Changes of the set, newest last")
        .query(of::<HistoryQuery>)
        .answers(of::<Vec<ValidatorChange>>);

/// How two sets differ.
pub static DIFF: Operation = Operation::get(
    "validatorsDiff",
    "/v1/validators/diff",
    VIEWERS,
    "How the validator sets of two generations differ",
)
.query(of::<DiffQuery>)
.answers(of::<ValidatorsDiff>)
.fails(&[P::NotFound]);

/// How two plans differ.
pub static PLANS_DIFF: Operation = Operation::get(
    "plansDiff",
    "/v1/plans/diff",
    VIEWERS,
    "How the plans of two generations differ, a line for each change",
)
.query(of::<PlansQuery>)
.answers(of::<PlansDiff>)
.fails(&[P::NotFound]);

/// What another policy would come to.
pub static PREVIEW_PLAN: Operation = Operation::post(
    "previewPlan",
    "/v1/plans/preview",
    VIEWERS,
    "What the plan would be by the policy of another configuration, with the set in force; nothing is changed",
)
.body(of::<PreviewPlan>)
.answers(of::<PlanPreview>)
.fails(&[P::NotFound]);

/// Lets a held change through.
pub static APPROVE: Operation = Operation::post(
    "approve",
    "/v1/validators/approve",
    ADMINS,
    "Let exactly the change through that is held back now",
)
.body(of::<ApproveRequest>)
.answers(of::<OrderReceipt>);

/// Freezes the set.
pub static HOLD: Operation = Operation::post("hold", "/v1/validators/hold", ADMINS, "Freeze the validator set")
    .body(of::<HoldRequest>)
    .answers(of::<OrderReceipt>);

/// Ends a hold.
pub static RELEASE: Operation =
    Operation::post("release", "/v1/validators/release", ADMINS, "Let the list change the set again")
        .answers(of::<OrderReceipt>);

/// The audit log.
pub static EVENTS: Operation = Operation::get(
    "events",
    "/v1/events",
    VIEWERS,
    "Lines of the audit log, newest last; the page before begins before the first line's number",
)
.query(of::<EventsQuery>)
.answers(of::<Vec<EventView>>);

/// Whether the log is whole.
pub static VERIFY: Operation =
    Operation::get("verifyEvents", "/v1/events/verify", VIEWERS, "Whether the audit log is as it was written")
        .answers(of::<LogVerdict>);

/// Who may ask.
pub static PEOPLE: Operation = Operation::get(
    "operators",
    "/v1/operators",
    ADMINS,
    "Operators without their secrets, in order of their making, page by page",
)
.query(of::<ListQuery>)
.answers(of::<Page<OperatorView>>);

/// A new operator.
pub static CREATE_OPERATOR: Operation =
    Operation::post("createOperator", "/v1/operators", ADMINS, "Make an operator's token, shown once")
        .body(of::<CreateOperator>)
        .answers(of::<OperatorCreated>);

/// An operator less.
pub static REVOKE_OPERATOR: Operation = Operation::post(
    "revokeOperator",
    "/v1/operators/{operator}/revoke",
    ADMINS,
    "Make an operator's token useless; never one's own",
)
.answers(of::<OperatorView>)
.fails(&[P::NotFound]);

/// An operator again.
pub static READMIT_OPERATOR: Operation = Operation::post(
    "readmitOperator",
    "/v1/operators/{operator}/readmit",
    ADMINS,
    "Let somebody who logs in by an issuer do so again after a revocation; a token stays revoked",
)
.answers(of::<OperatorView>)
.fails(&[P::NotFound, P::Conflict]);

/// Why an address is let in or not.
pub static EXPLAIN: Operation = Operation::get(
    "explain",
    "/v1/explain",
    VIEWERS,
    "Would this address reach which guarded port on which host, and why",
)
.query(of::<ExplainQuery>)
.answers(of::<Explanation>)
.fails(&[P::NotFound]);

/// Identities that were vouched for.
pub static IDENTITIES: Operation = Operation::get(
    "identities",
    "/v1/identities",
    VIEWERS,
    "Identities that were vouched for, in order of their text, page by page",
)
.query(of::<ListQuery>)
.answers(of::<Page<IdentityView>>);

/// Forgets one.
pub static FORGET: Operation = Operation::post(
    "forgetIdentity",
    "/v1/identities/forget",
    ADMINS,
    "Let an identity join anew, with other keys; the answer is what was known of it",
)
.body(of::<ForgetIdentity>)
.answers(of::<IdentityView>)
.fails(&[P::NotFound]);

/// Forbids one.
pub static FORBID: Operation =
    Operation::post("forbidIdentity", "/v1/identities/forbid", ADMINS, "Keep an identity out for good, seen or not")
        .body(of::<ForbidIdentity>)
        .answers(of::<IdentityView>);

/// Join tokens.
pub static TOKENS: Operation = Operation::get(
    "tokens",
    "/v1/tokens",
    ENROLLERS,
    "Join tokens without their secrets, in order of their making, page by page; an enroller sees its own",
)
.query(of::<ListQuery>)
.answers(of::<Page<TokenView>>);

/// A new join token.
pub static CREATE_TOKEN: Operation =
    Operation::post("createToken", "/v1/tokens", ENROLLERS, "Make a join token, shown once")
        .body(of::<CreateToken>)
        .answers(of::<TokenCreated>);

/// A join token less.
pub static REVOKE_TOKEN: Operation = Operation::post(
    "revokeToken",
    "/v1/tokens/{token}/revoke",
    ENROLLERS,
    "Make a join token useless; hosts that joined by it stay",
)
.answers(of::<TokenView>)
.fails(&[P::NotFound]);

/// Takes a clone's flag away.
pub static CLEAR: Operation = Operation::post(
    "clearNode",
    "/v1/nodes/{node}/clear",
    ADMINS,
    "Take the flag from a host of which a copy came to join",
)
.answers(of::<Node>)
.fails(&[P::NotFound]);

/// A member without an agent.
pub static ISSUE_KEY: Operation =
    Operation::post("issueKey", "/v1/keys", ADMINS, "Enter a machine that runs no agent by its public key")
        .body(of::<IssueKey>)
        .answers(of::<KeyIssued>)
        .fails(&[P::KeyTaken, P::NameTaken]);

/// Cuts a host for good.
pub static REVOKE: Operation = Operation::post(
    "revokeNode",
    "/v1/nodes/{node}/revoke",
    ADMINS,
    "Cut a host from the mesh for good, and say on which hosts that is in force. Repeated, it says so again",
)
.query(of::<RevokeQuery>)
.good(Good::JsonOrLines(of::<RevokeReceipt>, of::<CutStep>))
.fails(&[P::NotFound]);

/// Cuts a host for now.
pub static QUARANTINE: Operation = Operation::post(
    "quarantineNode",
    "/v1/nodes/{node}/quarantine",
    ADMINS,
    "Take a host's tunnels and grants; it stays a member and goes on reporting",
)
.query(of::<RevokeQuery>)
.good(Good::JsonOrLines(of::<RevokeReceipt>, of::<CutStep>))
.fails(&[P::NotFound]);

/// Ends a quarantine.
pub static READMIT: Operation =
    Operation::post("readmitNode", "/v1/nodes/{node}/readmit", ADMINS, "End a host's quarantine")
        .answers(of::<Node>)
        .fails(&[P::NotFound]);

/// Asks a host for another key.
pub static REPLACE_KEY: Operation = Operation::post(
    "replaceKey",
    "/v1/nodes/{node}/key",
    ADMINS,
    "Ask a host to replace the WireGuard key of its tunnels, which is the one in the answer. Repeated, it asks for nothing more",
)
.answers(of::<Node>)
.fails(&[P::NotFound]);

/// How the CA stands.
pub static CA: Operation =
    Operation::get("ca", "/v1/ca", VIEWERS, "The mesh's CA, and how far its rotation is").answers(of::<CaView>);

/// The next step of the CA's rotation.
pub static ROTATE_CA: Operation =
    Operation::post("rotateCa", "/v1/ca/rotate", ADMINS, "Take the next step of the rotation of the mesh's CA")
        .body(of::<RotateCa>)
        .answers(of::<CaView>)
        .fails(&[P::Conflict]);

/// How the shield stands.
pub static SHIELD: Operation = Operation::get(
    "shield",
    "/v1/shield",
    VIEWERS,
    "How limits stand on every host: by order, by policy or tightened by itself, and what it stops",
)
.answers(of::<ShieldView>);

/// An order about the shield.
pub static ORDER_SHIELD: Operation = Operation::post(
    "orderShield",
    "/v1/shield",
    ADMINS,
    "Tighten limits on all hosts or some, relax them, or leave that to them or the policy; tight ones end by themselves",
)
.body(of::<OrderShield>)
.answers(of::<ShieldView>)
.fails(&[P::NotFound]);

/// What hosts refuse, and whom.
pub static ATTACK: Operation = Operation::get(
    "attack",
    "/v1/attack",
    VIEWERS,
    "What each host stops and by which limit, and the sources of refused packets by address and by network, from samples",
)
.answers(of::<AttackView>);

/// Whom to keep out somewhere else.
pub static BLOCKLIST: Operation = Operation::get(
    "blocklist",
    "/v1/attack/blocklist",
    VIEWERS,
    "Sources of refused packets as a list to block elsewhere, without anybody who belongs here, and who was left out and why",
)
.query(of::<BlocklistQuery>)
.answers(of::<Blocklist>);

/// Hidden validators' ways.
pub static PATHS: Operation = Operation::get(
    "paths",
    "/v1/paths",
    VIEWERS,
    "Which sentry carries what of each hidden validator, how the way through each stands, and which sentries are to be left",
)
.query(of::<PathsQuery>)
.answers(of::<PathsView>)
.fails(&[P::NotFound]);

/// A sentry is to be left.
pub static DRAIN: Operation = Operation::post(
    "drainNode",
    "/v1/nodes/{node}/drain",
    ADMINS,
    "Have hidden validators leave a sentry: it gets nothing new, and what still runs through it is cut in the end",
)
.body(of::<DrainNode>)
.answers(of::<DrainView>)
.fails(&[P::NotFound, P::Conflict]);

/// Not any more.
pub static UNDRAIN: Operation =
    Operation::post("undrainNode", "/v1/nodes/{node}/undrain", ADMINS, "End a drain: the sentry gets its share back")
        .answers(of::<Node>)
        .fails(&[P::NotFound]);

/// How names stand.
pub static DNS: Operation = Operation::get(
    "dns",
    "/v1/dns",
    VIEWERS,
    "Names that follow the sentries: what stands there, what shall, and why a sentry is not in one",
)
.answers(of::<DnsView>);

/// How hidden validators are advertised.
pub static ADVERTISE: Operation = Operation::get(
    "advertise",
    "/v1/advertise",
    VIEWERS,
    "What operators of hidden validators must set, and whether chain, name and sentries agree",
)
.query(of::<AdvertiseQuery>)
.answers(of::<AdvertiseView>)
.fails(&[P::NotFound]);

/// All of them.
pub static ALL: &[&Operation] = &[
    &DOCUMENT,
    &STATUS,
    &NODES,
    &VALIDATORS,
    &HISTORY,
    &DIFF,
    &PLANS_DIFF,
    &PREVIEW_PLAN,
    &APPROVE,
    &HOLD,
    &RELEASE,
    &EVENTS,
    &VERIFY,
    &PEOPLE,
    &CREATE_OPERATOR,
    &REVOKE_OPERATOR,
    &READMIT_OPERATOR,
    &EXPLAIN,
    &IDENTITIES,
    &FORGET,
    &FORBID,
    &TOKENS,
    &CREATE_TOKEN,
    &REVOKE_TOKEN,
    &CLEAR,
    &ISSUE_KEY,
    &REVOKE,
    &QUARANTINE,
    &READMIT,
    &REPLACE_KEY,
    &CA,
    &ROTATE_CA,
    &SHIELD,
    &ORDER_SHIELD,
    &ATTACK,
    &BLOCKLIST,
    &PATHS,
    &DRAIN,
    &UNDRAIN,
    &DNS,
    &ADVERTISE,
];
