//! goloop's view of its own chain (`node/rest.go`, version 1.4.4): `GET /chain` and `GET /chain/<cid or channel>`, under
//! `/admin` on the RPC port and without it on the socket `cli.sock`.

use super::{ChainState, FakeIcon, http, rpc};
use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
    routing::get,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How long a round takes where nothing has to be caught up.
const ROUND_MILLIS: u64 = 2_000;

/// What a validator's node knows of its peers. Untyped, since a fake must be able to say anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeState {
    /// `started` where all is well.
    pub state: String,
    /// Empty where all is well.
    pub last_error: String,
    /// Its own node address and the address it advertises.
    pub own: Option<Peer>,
    /// Validators with a link to it.
    pub friends: Vec<Peer>,
    /// Validators: advertised address to node address.
    pub roots: BTreeMap<String, String>,
    /// Seeds: advertised address to node address, which is empty until there was a link.
    pub seeds: BTreeMap<String, String>,
    /// Where it says its JSON-RPC waits.
    #[serde(default)]
    pub rpc_address: String,
}

/// Another node, authenticated by its signature, and the address it advertises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Node address.
    pub id: String,
    /// Advertised address.
    pub addr: String,
}

impl Default for NodeState {
    /// A node that has just started and has met nobody.
    fn default() -> Self {
        Self {
            state: "started".to_owned(),
            last_error: String::new(),
            own: None,
            friends: Vec::new(),
            roots: BTreeMap::new(),
            seeds: BTreeMap::new(),
            rpc_address: ":9080".to_owned(),
        }
    }
}

/// The chain's own paths, and the node's.
pub(super) fn router() -> Router<FakeIcon> {
    Router::new().route("/chain", get(list)).route("/chain/{chain}", get(inspect)).route("/system", get(system))
}

async fn system(State(fake): State<FakeIcon>) -> Response {
    if let Err(response) = http::told(&fake).await {
        return *response;
    }
    let node = fake.lock().node.clone();
    let (id, addr) = node.own.map(|own| (own.id, own.addr)).unwrap_or_default();
    http::json(&json!({
        "buildVersion": "v1.4.4", "buildTags": "linux/amd64",
        "setting": {
            "address": id, "p2p": addr, "p2pListen": ":7100", "rpcAddr": node.rpc_address, "rpcDump": false, "ees": "python",
        },
        "config": {"eeInstances": 1, "rpcBatchLimit": 10, "wsMaxSession": 10},
    }))
}

async fn list(State(fake): State<FakeIcon>) -> Response {
    match http::told(&fake).await {
        Err(response) => *response,
        Ok(told) => http::json(&json!([summary(&told.chain, &fake.lock().node)])),
    }
}

async fn inspect(State(fake): State<FakeIcon>, Path(chain): Path<String>) -> Response {
    let told = match http::told(&fake).await {
        Err(response) => return *response,
        Ok(told) => told,
    };
    if chain != rpc::CHANNEL && chain != rpc::hex(told.chain.nid) {
        return http::text(StatusCode::NOT_FOUND, format!("Chain({chain}: cid or channel) not found"));
    }
    http::json(&inspection(&told.chain, &fake.lock().node))
}

fn summary(chain: &ChainState, node: &NodeState) -> Value {
    json!({
        "cid": rpc::hex(chain.nid),
        "nid": rpc::hex(chain.nid),
        "channel": rpc::CHANNEL,
        "state": node.state,
        "height": chain.height,
        "lastError": node.last_error,
    })
}

fn inspection(chain: &ChainState, node: &NodeState) -> Value {
    let mut inspection = summary(chain, node);
    inspection["config"] = json!({
        "dbType": "goleveldb", "platform": "icon", "seedAddress": "", "role": 3, "concurrencyLevel": 1,
        "nodeCache": "none", "channel": rpc::CHANNEL, "secureSuites": "none,tls,ecdhe",
        "secureAeads": "chacha,aes128,aes256", "defaultWaitTimeout": 0, "maxWaitTimeout": 0, "txTimeout": 0,
        "autoStart": true,
    });
    let peer = |peer: &Peer, inbound| json!({"addr": peer.addr, "id": peer.id, "in": inbound, "role": 3});
    let own = node.own.as_ref().map_or_else(|| json!({}), |own| peer(own, false));
    // A chain that is not started has no network to tell of.
    let network = match node.state.as_str() {
        "started" => json!({"p2p": {
            "children": [], "nephews": [], "orphanages": [], "others": [], "parent": {}, "uncles": [],
            "friends": node.friends.iter().map(|friend| peer(friend, true)).collect::<Vec<_>>(),
            "roots": node.roots, "seeds": node.seeds, "self": own, "trustSeeds": {},
        }}),
        _ => Value::Null,
    };
    let metrics =
        json!({"consensus_height": chain.height, "consensus_round": 0, "consensus_round_duration": ROUND_MILLIS});
    inspection["module"] = json!({"metrics": metrics, "network": network});
    inspection
}
