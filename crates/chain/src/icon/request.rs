//! The one request of a poll, as a value. Nothing is sent here.

use crate::ScoreAddress;
use serde_json::{Value, json};

/// `id` of the batch member that asks for the chain id.
pub const NETWORK_INFO: u64 = 1;
/// `id` of the batch member that asks for the P-Reps.
pub const PREPS: u64 = 2;
/// `id` of the batch member that asks for the last block, whose time is the node's clock.
pub const LAST_BLOCK: u64 = 3;

/// The body of one POST: a batch of `icx_getNetworkInfo`, `getPReps` and `icx_getLastBlock`, so that the chain id and the
/// clock come with every list and from the same node. Without rankings `getPReps` answers the whole list; one ranking
/// alone goloop ignores. With a `height` the state at that block is read, which a pruned node or a later block refuses.
/// Members of a batch fail inside a 200 (goloop `server/jsonrpc/method.go`).
pub fn validator_list(score: &ScoreAddress, height: Option<u64>) -> Value {
    let mut call = json!({"to": score.to_string(), "dataType": "call", "data": {"method": "getPReps"}});
    if let Some(height) = height {
        call["height"] = format!("{height:#x}").into();
    }
    json!([
        {"jsonrpc": "2.0", "id": NETWORK_INFO, "method": "icx_getNetworkInfo"},
        {"jsonrpc": "2.0", "id": PREPS, "method": "icx_call", "params": call},
        {"jsonrpc": "2.0", "id": LAST_BLOCK, "method": "icx_getLastBlock"},
    ])
}
