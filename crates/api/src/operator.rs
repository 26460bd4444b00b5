//! What operators ask: `GET /v1/{status,nodes,events,explain}`, `POST /v1/tokens`, `POST /v1/nodes/{id}/revoke`, and how
//! lists come page by page. The validator list has its own file, [`validators`](crate::validators).

use ipnet::IpNet;
use picket_model::{
    Generation, Lease, MeshId, NamePattern, Node, NodeName, NodeReport, NodeRole, PoolName, SourceId, Timestamp,
    TokenId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The one-screen truth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusView {
    /// The mesh.
    pub mesh: MeshId,
    /// Version of the controller.
    pub version: String,
    /// The controller's clock.
    pub now: Timestamp,
    /// The wanted state's number; zero before the first plan.
    pub generation: Generation,
    /// When it became the target.
    pub planned_at: Option<Timestamp>,
    /// Validator-list sources.
    pub sources: Vec<SourceView>,
    /// Validators in the set.
    pub validators: usize,
    /// Hosts that are members.
    pub nodes: usize,
    /// Of those, how many read back exactly what is wanted.
    pub in_force: usize,
    /// What an operator should know: brakes that hold, sources that fail, findings of the plan's lint, hosts that lag.
    pub alarms: Vec<String>,
    /// The same, each with its kind and what to do; those of one kind stand together. Controllers of before do not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingView>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingView {
    /// What kind of thing it is, such as `list-held`, `host-lagging`.
    pub kind: String,
    /// On what: a source, a P-Rep, a name, a host; empty for the whole, and for a line that counts more of its kind.
    pub subject: String,
    /// Whether it keeps a plan from becoming the target.
    #[serde(default)]
    pub is_error: bool,
    /// What it is.
    pub text: String,
    /// What to do about it, in one line.
    pub todo: String,
    /// The page of `docs/runbooks` that has more.
    pub runbook: String,
    /// The host that it is about, as calls name it; `None` where it is about none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// One validator-list source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceView {
    /// The source.
    pub id: SourceId,
    /// Its URL.
    pub url: String,
    /// Height of its last good answer.
    pub height: Option<u64>,
    /// When that came.
    pub seen_at: Option<Timestamp>,
    /// Entries taken from it.
    pub entries: usize,
    /// Entries refused from it.
    pub refused: usize,
    /// What went wrong at the last try; `None` when it went well.
    pub error: Option<String>,
    /// How its pushed events stand: connected since when, or why not; `None` where nothing is subscribed to.
    #[serde(default)]
    pub push: Option<String>,
}

/// One host: what is wanted, what is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeView {
    /// The host.
    pub node: Node,
    /// Revision it should have; `None` for a revoked host.
    pub wanted: Option<Generation>,
    /// Its last report.
    pub report: Option<NodeReport>,
    /// When that came.
    pub reported_at: Option<Timestamp>,
    /// Whether it reads back exactly what is wanted.
    pub in_force: bool,
    /// Whether it waits for news on an open connection now.
    pub connected: bool,
    /// How long it is a member without being heard.
    #[serde(default)]
    pub lease: Lease,
}

/// A new join token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// The only role it admits.
    pub role: NodeRole,
    /// How often it may be used.
    #[schemars(range(min = 1, max = 1000))]
    pub uses: u32,
    /// How long it is good for, in seconds: 30 days at most.
    #[schemars(range(min = 1, max = 2_592_000))]
    pub ttl_seconds: u64,
    /// How long those who join by it are members without being heard, in seconds: 0 for ever, absent as their role has it.
    #[serde(default)]
    pub lease_seconds: Option<u64>,
    /// The pool of those who join by it; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// Which names they may have, `*` standing for anything; any where absent.
    #[serde(default)]
    pub name: Option<NamePattern>,
    /// Networks in which they must be seen; anywhere where empty.
    #[serde(default)]
    #[schemars(with = "Vec<String>", length(max = 64))]
    pub from: Vec<IpNet>,
    /// What it is for, for people.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub comment: String,
}

impl CreateToken {
    /// A token for hosts of any name, from anywhere, with their role's lease.
    pub fn new(role: NodeRole, uses: u32, ttl_seconds: u64) -> Self {
        let (lease_seconds, pool, name, from, comment) = (None, None, None, Vec::new(), String::new());
        Self { role, uses, ttl_seconds, lease_seconds, pool, name, from, comment }
    }
}

/// A join token as it is kept, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Its id.
    pub id: TokenId,
    /// Role it admits.
    pub role: NodeRole,
    /// How often it may be used.
    pub uses: u32,
    /// How often it was.
    pub used: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its time is over.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// As in [`CreateToken`].
    pub lease_seconds: Option<u64>,
    /// As in [`CreateToken`].
    #[serde(default)]
    pub pool: Option<PoolName>,
    /// As in [`CreateToken`].
    pub name: Option<NamePattern>,
    /// As in [`CreateToken`].
    #[schemars(with = "Vec<String>")]
    pub from: Vec<IpNet>,
    /// As in [`CreateToken`].
    pub comment: String,
    /// The operator who made it.
    pub made_by: Option<TokenId>,
}

/// Query of the lists that come page by page.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ListQuery {
    /// Only those after this place: `next` of the page before, as it was given.
    pub after: Option<String>,
    /// At most so many, 1 to 1000; 200 where absent.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<usize>,
}

/// Query of `GET /v1/nodes`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct NodesQuery {
    /// Only the hosts of this pool.
    pub pool: Option<PoolName>,
    /// Only those after this place: `next` of the page before, as it was given.
    pub after: Option<String>,
    /// At most so many, 1 to 1000; 200 where absent.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<usize>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// What to give as `after` for the page behind; `None` on the last.
    pub next: Option<String>,
}

/// A join token, shown once.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct TokenCreated {
    /// Its id, which logs may show.
    pub id: TokenId,
    /// The whole token, secret included: `picket1.<ca-fingerprint>.<id>.<secret>`.
    pub token: String,
    /// Role it admits.
    pub role: NodeRole,
    /// How often it may be used.
    pub uses: u32,
    /// When its time is over.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for TokenCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenCreated({})", self.id)
    }
}

/// Query of `POST /v1/nodes/{id}/revoke`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RevokeQuery {
    /// How long to wait for hosts to read the cut back from their kernels, in milliseconds. Default 2000, at most 30000.
    pub wait_ms: Option<u64>,
}

/// Media type of an answer that comes line by line, one JSON object each: ask for it to hear of each host as it confirms.
pub const LINES: &str = "application/x-ndjson";

/// One line of a cut's progress, for those who accept [`LINES`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum CutStep {
    /// The cut is planned, and these hosts have to confirm it.
    Planned {
        /// Hosts that had a tunnel or a grant for it.
        hosts: Vec<NodeName>,
    },
    /// One more host has read it back.
    Confirmed {
        /// Which one, and when.
        host: HostReceipt,
    },
    /// All have, or the wait is over: the last line.
    Done {
        /// How far the cut is in force.
        receipt: Box<RevokeReceipt>,
    },
}

/// How far a revoke is in force. It is done when `missing` is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevokeReceipt {
    /// The host that was revoked.
    pub node: Node,
    /// The plan that cut it.
    pub generation: Generation,
    /// Hosts that had a tunnel or a grant for it and have read back that they have none.
    pub in_force: Vec<HostReceipt>,
    /// Hosts that should, and have not said so yet.
    pub missing: Vec<NodeName>,
}

/// One host's word that a change is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostReceipt {
    /// The host.
    pub name: NodeName,
    /// From the request to the host's report, in milliseconds.
    pub after_ms: u64,
}

/// Query of `GET /v1/explain`; the answer is `picket_model::Explanation`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExplainQuery {
    /// Which source address.
    pub address: IpAddr,
    /// Only this port; all guarded ports where absent.
    pub port: Option<u16>,
    /// By the plan of this generation; the one in force where absent.
    #[serde(default)]
    pub generation: Option<Generation>,
}

/// One line of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who: an operator token's id, `controller`, or a node id.
    pub actor: String,
    /// What, e.g. `node.revoked`.
    pub action: String,
    /// On what.
    pub subject: String,
    /// More, for people.
    pub detail: String,
    /// From where it was asked for, where somebody asked.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// Why, where somebody said.
    #[serde(default)]
    pub reason: Option<String>,
    /// SHA-256 over the line before and this one, lower-case hexadecimal.
    #[serde(default)]
    pub hash: String,
}
