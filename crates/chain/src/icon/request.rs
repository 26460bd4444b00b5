//! The one request of a poll, as a value. Nothing is sent here.

use serde_json::{Value, json};

/// `id` of the batch member that asks for the chain id.
pub const NETWORK_INFO: u64 = 1;
/// `id` of the batch member that asks for the P-Reps.
pub const PREPS: u64 = 2;

/// The SCORE of the chain itself, which keeps the P-Reps (goloop `icon/chainscore_iiss.go`).
pub const CHAIN_SCORE: &str = "cx0000000000000000000000000000000000000000";

/// The body of one POST: a batch of `icx_getNetworkInfo` and `getPReps`, so that the chain id comes with every list
/// and from the same node. Without rankings `getPReps` answers the whole list; one ranking alone goloop ignores.
/// Members of a batch fail inside a 200 (goloop `server/jsonrpc/method.go`).
pub fn validator_list() -> Value {
    let call = json!({"to": CHAIN_SCORE, "dataType": "call", "data": {"method": "getPReps"}});
    json!([
        {"jsonrpc": "2.0", "id": NETWORK_INFO, "method": "icx_getNetworkInfo"},
        {"jsonrpc": "2.0", "id": PREPS, "method": "icx_call", "params": call},
    ])
}
