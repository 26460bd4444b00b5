//! An operator's calls, with a bearer token over TLS pinned to the mesh CA.

use super::{ApiError, age::Age, build, join, json, lines::Lines, unreachable};
use crate::{
    attack::{AttackView, BlocklistQuery},
    ca::{CaView, RotateCa},
    dns::{AdvertiseQuery, AdvertiseView, DnsView},
    identities::{ForbidIdentity, ForgetIdentity, IdentityView},
    keys::{IssueKey, KeyIssued},
    operator::{
        CreateToken, CutStep, EventView, ExplainQuery, LINES, ListQuery, NodeView, NodesQuery, Page, RevokeQuery,
        RevokeReceipt, StatusView, TokenCreated, TokenView,
    },
    operators::{CreateOperator, EventsQuery, IDEMPOTENCY_KEY, LogVerdict, OperatorCreated, OperatorView, REASON},
    paths::{DrainNode, DrainView, PathsQuery, PathsView},
    plans::{PlanPreview, PlansDiff, PlansQuery, PreviewPlan},
    shield::{OrderShield, ShieldView},
    validators::{
        ApproveRequest, DiffQuery, HistoryQuery, HoldRequest, OrderReceipt, ValidatorChange, ValidatorsDiff,
        ValidatorsView,
    },
};
use picket_model::{Blocklist, Explanation, Node, PoolName, TokenId};
use picket_pki::random;
use reqwest::{Method, RequestBuilder, Url, header::ACCEPT};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, sync::Arc, time::Duration};

/// Longest a call may take; a revoke waits for its hosts.
const CALL_TIMEOUT: Duration = Duration::from_secs(40);
/// Entries of a list that are asked for at once: as many as the controller gives.
const PAGE: usize = 1000;

/// A connection to a controller's operator listener.
#[derive(Clone)]
pub struct OperatorClient {
    http: reqwest::Client,
    base: Url,
    token: String,
    reason: Option<String>,
    age: Arc<Age>,
}

impl fmt::Debug for OperatorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorClient({})", self.base)
    }
}

impl OperatorClient {
    /// A client for `base` (`https://host:port`) with TLS pinned to the mesh CA.
    pub fn new(base: Url, token: String, tls: rustls::ClientConfig) -> Result<Self, ApiError> {
        Ok(Self { http: build(&base, tls)?, base, token, reason: None, age: Arc::default() })
    }

    /// The one-screen truth.
    pub async fn status(&self) -> Result<StatusView, ApiError> {
        self.get("/v1/status", &()).await
    }

    /// All hosts, revoked ones too, in order of name.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, ApiError> {
        self.nodes_of(None).await
    }

    /// The hosts of one pool, or all.
    pub async fn nodes_of(&self, pool: Option<&PoolName>) -> Result<Vec<NodeView>, ApiError> {
        whole(async |after| {
            let query = NodesQuery { pool: pool.cloned(), after, limit: Some(PAGE) };
            self.nodes_page(&query).await
        })
        .await
    }

    /// One page of the hosts.
    pub async fn nodes_page(&self, query: &NodesQuery) -> Result<Page<NodeView>, ApiError> {
        self.get("/v1/nodes", query).await
    }

    /// The validator set and what was refused.
    pub async fn validators(&self) -> Result<ValidatorsView, ApiError> {
        self.get("/v1/validators", &()).await
    }

    /// Changes of the validator set, newest last.
    pub async fn history(&self, query: &HistoryQuery) -> Result<Vec<ValidatorChange>, ApiError> {
        self.get("/v1/validators/history", query).await
    }

    /// How the validator sets of two generations differ.
    pub async fn diff(&self, query: &DiffQuery) -> Result<ValidatorsDiff, ApiError> {
        self.get("/v1/validators/diff", query).await
    }

    /// Lets exactly one held change through.
    pub async fn approve(&self, request: &ApproveRequest) -> Result<OrderReceipt, ApiError> {
        self.post("/v1/validators/approve", request).await
    }

    /// Freezes the validator set.
    pub async fn hold(&self, request: &HoldRequest) -> Result<OrderReceipt, ApiError> {
        self.post("/v1/validators/hold", request).await
    }

    /// Ends a hold.
    pub async fn release(&self) -> Result<OrderReceipt, ApiError> {
        self.post("/v1/validators/release", &()).await
    }

    /// The newest lines of the audit log, newest last.
    pub async fn events(&self) -> Result<Vec<EventView>, ApiError> {
        self.get("/v1/events", &()).await
    }

    /// Lines of the audit log, newest last.
    pub async fn events_page(&self, query: &EventsQuery) -> Result<Vec<EventView>, ApiError> {
        self.get("/v1/events", query).await
    }

    /// Whether the whole audit log is as it was written.
    pub async fn verify_events(&self) -> Result<LogVerdict, ApiError> {
        self.get("/v1/events/verify", &()).await
    }

    /// All operators, without their secrets.
    pub async fn operators(&self) -> Result<Vec<OperatorView>, ApiError> {
        self.all("/v1/operators").await
    }

    /// One page of the operators.
    pub async fn operators_page(&self, query: &ListQuery) -> Result<Page<OperatorView>, ApiError> {
        self.get("/v1/operators", query).await
    }

    /// Makes an operator's token.
    pub async fn create_operator(&self, request: &CreateOperator) -> Result<OperatorCreated, ApiError> {
        self.post("/v1/operators", request).await
    }

    /// Makes an operator's token useless.
    pub async fn revoke_operator(&self, id: &TokenId) -> Result<OperatorView, ApiError> {
        self.post(&format!("/v1/operators/{id}/revoke"), &()).await
    }

    /// Lets somebody who logs in by an issuer do so again.
    pub async fn readmit_operator(&self, id: &TokenId) -> Result<OperatorView, ApiError> {
        self.post(&format!("/v1/operators/{id}/readmit"), &()).await
    }

    /// Where the controller is asked.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Gives a reason with every call from now on, for the audit log.
    #[must_use]
    pub fn because(self, reason: Option<String>) -> Self {
        Self { reason, ..self }
    }

    /// How the plans of two generations differ.
    pub async fn plans_diff(&self, query: &PlansQuery) -> Result<PlansDiff, ApiError> {
        self.get("/v1/plans/diff", query).await
    }

    /// What the plan would be by the policy of this configuration.
    pub async fn preview_plan(&self, request: &PreviewPlan) -> Result<PlanPreview, ApiError> {
        self.post("/v1/plans/preview", request).await
    }

    /// Would this address reach which port on which host, and why.
    pub async fn explain(&self, query: &ExplainQuery) -> Result<Explanation, ApiError> {
        self.get("/v1/explain", query).await
    }

    /// Enters a machine that runs no agent.
    pub async fn issue_key(&self, request: &IssueKey) -> Result<KeyIssued, ApiError> {
        self.post("/v1/keys", request).await
    }

    /// Makes a join token.
    pub async fn create_token(&self, request: &CreateToken) -> Result<TokenCreated, ApiError> {
        self.post("/v1/tokens", request).await
    }

    /// Join tokens, oldest first.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, ApiError> {
        self.all("/v1/tokens").await
    }

    /// One page of the join tokens.
    pub async fn tokens_page(&self, query: &ListQuery) -> Result<Page<TokenView>, ApiError> {
        self.get("/v1/tokens", query).await
    }

    /// Makes a join token useless; hosts that joined by it stay.
    pub async fn revoke_token(&self, token: &TokenId) -> Result<TokenView, ApiError> {
        self.post(&format!("/v1/tokens/{token}/revoke"), &()).await
    }

    /// Takes the flag from a host of which a copy came to join.
    pub async fn clear_node(&self, node: &str) -> Result<Node, ApiError> {
        self.post(&format!("/v1/nodes/{node}/clear"), &()).await
    }

    /// Cuts a host, named by id or name, from the mesh and waits for its peers to say that it is cut.
    pub async fn revoke(&self, node: &str, query: &RevokeQuery) -> Result<RevokeReceipt, ApiError> {
        let (url, call) = self.call(Method::POST, &format!("/v1/nodes/{node}/revoke"))?;
        once(&url, call.query(query)).await
    }

    /// Identities that were vouched for.
    pub async fn identities(&self) -> Result<Vec<IdentityView>, ApiError> {
        self.all("/v1/identities").await
    }

    /// One page of the identities.
    pub async fn identities_page(&self, query: &ListQuery) -> Result<Page<IdentityView>, ApiError> {
        self.get("/v1/identities", query).await
    }

    /// Lets an identity join anew, with other keys.
    pub async fn forget_identity(&self, request: &ForgetIdentity) -> Result<IdentityView, ApiError> {
        self.post("/v1/identities/forget", request).await
    }

    /// Keeps an identity out for good.
    pub async fn forbid_identity(&self, request: &ForbidIdentity) -> Result<IdentityView, ApiError> {
        self.post("/v1/identities/forbid", request).await
    }

    /// As [`revoke`](Self::revoke), and hears of each host as it confirms.
    pub async fn revoke_in_steps(&self, node: &str, query: &RevokeQuery) -> Result<Lines<CutStep>, ApiError> {
        self.in_steps(&format!("/v1/nodes/{node}/revoke"), query).await
    }

    /// Takes tunnels and grants from a host, which stays a member and goes on reporting; hears of each host as it confirms.
    pub async fn quarantine(&self, node: &str, query: &RevokeQuery) -> Result<Lines<CutStep>, ApiError> {
        self.in_steps(&format!("/v1/nodes/{node}/quarantine"), query).await
    }

    /// Ends a host's quarantine.
    pub async fn readmit(&self, node: &str) -> Result<Node, ApiError> {
        self.post(&format!("/v1/nodes/{node}/readmit"), &()).await
    }

    /// Asks a host to replace the key of its tunnels; the host as it is, under the key that it is to replace.
    pub async fn replace_key(&self, node: &str) -> Result<Node, ApiError> {
        self.post(&format!("/v1/nodes/{node}/key"), &()).await
    }

    async fn in_steps(&self, path: &str, query: &RevokeQuery) -> Result<Lines<CutStep>, ApiError> {
        let (url, call) = self.call(Method::POST, path)?;
        let response = call.query(query).header(ACCEPT, LINES).send().await.map_err(unreachable(&url))?;
        Lines::of(response).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, ApiError> {
        let (url, call) = self.call(Method::GET, path)?;
        let response = call.query(query).send().await.map_err(unreachable(&url))?;
        self.age.note(response.headers());
        json(response).await
    }

    /// How many seconds old the oldest answer is that this client was given, where a controller said one again because its database
    /// did not answer; `None` where all were of their moment.
    pub fn age(&self) -> Option<u64> {
        self.age.oldest()
    }

    /// How the mesh's CA stands.
    pub async fn ca(&self) -> Result<CaView, ApiError> {
        self.get("/v1/ca", &()).await
    }

    /// Takes the next step of the CA's rotation.
    pub async fn rotate_ca(&self, request: &RotateCa) -> Result<CaView, ApiError> {
        self.post("/v1/ca/rotate", request).await
    }

    /// How names stand that follow the sentries.
    pub async fn dns(&self) -> Result<DnsView, ApiError> {
        self.get("/v1/dns", &()).await
    }

    /// How hidden validators are advertised; all, or the one on this host.
    pub async fn advertise(&self, query: &AdvertiseQuery) -> Result<AdvertiseView, ApiError> {
        self.get("/v1/advertise", query).await
    }

    /// How the shield stands on every host.
    pub async fn shield(&self) -> Result<ShieldView, ApiError> {
        self.get("/v1/shield", &()).await
    }

    /// Tightens limits, relaxes them, or leaves that to hosts or policy.
    pub async fn order_shield(&self, request: &OrderShield) -> Result<ShieldView, ApiError> {
        self.post("/v1/shield", request).await
    }

    /// What hosts refuse, and whom.
    pub async fn attack(&self) -> Result<AttackView, ApiError> {
        self.get("/v1/attack", &()).await
    }

    /// Sources of refused packets as a list to block elsewhere.
    pub async fn blocklist(&self, query: &BlocklistQuery) -> Result<Blocklist, ApiError> {
        self.get("/v1/attack/blocklist", query).await
    }

    /// The ways of all hidden validators, or of one.
    pub async fn paths(&self, query: &PathsQuery) -> Result<PathsView, ApiError> {
        self.get("/v1/paths", query).await
    }

    /// Has hidden validators leave a sentry.
    pub async fn drain(&self, node: &str, request: &DrainNode) -> Result<DrainView, ApiError> {
        self.post(&format!("/v1/nodes/{node}/drain"), request).await
    }

    /// Takes that back.
    pub async fn undrain(&self, node: &str) -> Result<Node, ApiError> {
        self.post(&format!("/v1/nodes/{node}/undrain"), &()).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ApiError> {
        let (url, call) = self.call(Method::POST, path)?;
        once(&url, call.json(body)).await
    }

    /// A whole list, page by page.
    async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ApiError> {
        whole(async |after| self.get(path, &ListQuery { after, limit: Some(PAGE) }).await).await
    }

    fn call(&self, method: Method, path: &str) -> Result<(Url, RequestBuilder), ApiError> {
        let url = join(&self.base, path)?;
        let call = self.http.request(method, url.clone()).bearer_auth(&self.token).timeout(CALL_TIMEOUT);
        let call = match &self.reason {
            Some(reason) => call.header(REASON, reason.as_bytes()),
            None => call,
        };
        Ok((url, call))
    }
}

/// Follows a list from its first page to its last.
async fn whole<T>(mut page: impl AsyncFnMut(Option<String>) -> Result<Page<T>, ApiError>) -> Result<Vec<T>, ApiError> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let Page { items, next } = page(after).await?;
        all.extend(items);
        match next {
            Some(_) => after = next,
            None => return Ok(all),
        }
    }
}

/// Sends what changes something under an idempotency key of its own, and once more under the same key where the answer was
/// lost on the way: the controller carries it out once and gives the same answer.
async fn once<T: DeserializeOwned>(url: &Url, call: RequestBuilder) -> Result<T, ApiError> {
    let key = random::<16>().map_err(|error| ApiError::Setup { url: url.to_string(), reason: error.to_string() })?;
    let call = call.header(IDEMPOTENCY_KEY, format!("{:032x}", u128::from_be_bytes(key)));
    let again = call.try_clone();
    match (answer(url, call).await, again) {
        (Err(lost), Some(again)) if lost.is_answer_lost() => match answer(url, again).await {
            // Nobody is there any more; that the first one was sent is what counts.
            Err(ApiError::Unreachable { url, reason, .. }) => Err(ApiError::Unreachable { url, reason, sent: true }),
            answered => answered,
        },
        (answered, _) => answered,
    }
}

async fn answer<T: DeserializeOwned>(url: &Url, call: RequestBuilder) -> Result<T, ApiError> {
    let lost = |error| match error {
        ApiError::Unreachable { url, reason, .. } => ApiError::Unreachable { url, reason, sent: true },
        other => other,
    };
    let response = call.send().await.map_err(|error| {
        let is_sent = !error.is_connect();
        let error = unreachable(url)(error);
        if is_sent { lost(error) } else { error }
    })?;
    json(response).await.map_err(lost)
}
