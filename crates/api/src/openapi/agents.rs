//! What hosts ask and tell, on the agents' listener.

use super::{Good, Method, Operation, Who, of};
use crate::{
    EnrollInfo, EnrollRequest, EnrollResponse, ProblemKind as P,
    ca::{CaQuery, MeshCas},
    node::{ConfigNews, ConfigQuery, NewerProof, PeerProof, RekeyAnswer, RekeyRequest, RenewRequest, RenewResponse},
};
use picket_model::NodeReport;

/// What mesh this is.
pub static ENROLL_INFO: Operation =
    Operation::get("enrollInfo", "/v1/enroll", Who::Anybody, "What mesh this is, for who must name it in a proof")
        .answers(of::<EnrollInfo>);

/// Join.
pub static ENROLL: Operation = Operation::post(
    "enroll",
    "/v1/enroll",
    Who::Proven,
    "Join: the proof is in the body. Repeated, it gets the same node",
)
.body(of::<EnrollRequest>)
.answers(of::<EnrollResponse>)
.fails(&[
    P::TokenUnknown,
    P::TokenExpired,
    P::TokenUsed,
    P::TokenRole,
    P::TokenRevoked,
    P::TokenName,
    P::TokenSource,
    P::ProofRefused,
    P::ProofDenied,
    P::IdentityBound,
    P::IdentityForbidden,
    P::KeyTaken,
    P::MachineTaken,
    P::NameTaken,
    P::NodeRevoked,
]);

/// The next certificate.
pub static RENEW: Operation = Operation::post(
    "renew",
    "/v1/renew",
    Who::Proven,
    "The next certificate for the key a host enrolled with, which signs the request",
)
.body(of::<RenewRequest>)
.answers(of::<RenewResponse>)
.fails(&[P::Unauthorized, P::NodeRevoked]);

/// Leave.
pub static LEAVE: Operation =
    Operation::post("leave", "/v1/leave", Who::Member, "Leave the mesh for good").fails(&[P::NotFound]);

/// The wanted state.
pub static CONFIG: Operation = Operation::get(
    "config",
    "/v1/node/config",
    Who::Member,
    "Wait for a wanted state newer than the one held; 204 where there was none for 50 seconds",
)
.query(of::<ConfigQuery>)
.good(Good::JsonOrNothing(of::<ConfigNews>));

/// What is in force.
pub static REPORT: Operation = Operation::new(
    Method::Put,
    "report",
    "/v1/node/report",
    Who::Member,
    "Say what is in force, in place of what was said before",
)
.body(of::<NodeReport>);

/// A newer proof of a host's own.
pub static NEWER_PROOF: Operation = Operation::new(
    Method::Put,
    "newerProof",
    "/v1/node/proof",
    Who::Member,
    "Bring a newer proof of the identity that the host came in with, for peers that look at it themselves",
)
.body(of::<NewerProof>)
.fails(&[P::ProofRefused, P::ProofDenied, P::IdentityBound]);

/// A peer's proof.
pub static PEER_PROOF: Operation = Operation::get(
    "peerProof",
    "/v1/node/peers/{node}/proof",
    Who::Member,
    "The newest proof of a peer of the host's; nothing where that one came in with a join token",
)
.answers(of::<PeerProof>)
.fails(&[P::NotFound]);

/// The mesh's CAs.
pub static CAS: Operation = Operation::get(
    "meshCas",
    "/v1/node/ca",
    Who::Member,
    "Say which CAs the host trusts, and wait for other ones than it knows; 204 where there were none for 50 seconds",
)
.query(of::<CaQuery>)
.good(Good::JsonOrNothing(of::<MeshCas>));

/// Another key for the host's tunnels.
pub static KEY: Operation = Operation::post(
    "rotateKey",
    "/v1/node/key",
    Who::Member,
    "Say which WireGuard key the host uses and which it has made for later; answers whether every peer knows that one",
)
.body(of::<RekeyRequest>)
.answers(of::<RekeyAnswer>)
.fails(&[P::Conflict, P::KeyTaken]);

/// All of them.
pub static ALL: &[&Operation] =
    &[&ENROLL_INFO, &ENROLL, &RENEW, &LEAVE, &CONFIG, &REPORT, &NEWER_PROOF, &PEER_PROOF, &CAS, &KEY];
