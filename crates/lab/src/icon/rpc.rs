//! goloop's JSON-RPC (`server/jsonrpc/method.go`, and what goloop 1.4.4 was seen to answer): bodies in, status and body
//! out.

use super::{behaviour::Told, chain::ChainState, score};
use serde_json::{Map, Value, json};

/// goloop's default `rpcBatchLimit`.
const LARGEST_BATCH: usize = 10;
/// Channel of ICON mainnet.
pub(super) const CHANNEL: &str = "icon_dex";

/// A JSON-RPC error.
#[derive(Debug)]
pub(super) struct RpcError {
    pub(super) code: i64,
    pub(super) message: String,
    data: Option<&'static str>,
}

impl RpcError {
    pub(super) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    fn request(message: impl Into<String>) -> Self {
        Self::new(-32600, message)
    }

    pub(super) fn params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }
}

/// HTTP status and body of an answer; no body where nothing was asked.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Option<Value>,
}

/// Answers one POST.
pub(super) fn answer(told: &Told, body: &[u8]) -> Reply {
    let failed = |status, error| Reply { status, body: Some(response(&Value::Null, Err(error))) };
    match serde_json::from_slice::<Value>(body) {
        Err(_) => failed(400, RpcError::new(-32700, "ParseError")),
        Ok(Value::Array(members)) if members.is_empty() => failed(400, RpcError::request("InvalidRequest")),
        Ok(Value::Array(members)) if members.len() > LARGEST_BATCH => {
            failed(503, RpcError { data: Some("too many request"), ..RpcError::request("InvalidRequest") })
        }
        Ok(Value::Array(members)) => {
            // Members fail inside a 200; those without id are left out.
            let answers = members.iter().filter_map(|member| handle(told, member));
            let body = answers.map(|(id, outcome)| response(&id, outcome)).collect();
            Reply { status: 200, body: Some(body) }
        }
        Ok(single) => match handle(told, &single) {
            None => Reply { status: 200, body: None },
            Some((id, outcome)) => {
                let status = if outcome.is_ok() { 200 } else { 400 };
                Reply { status, body: Some(response(&id, outcome)) }
            }
        },
    }
}

fn response(id: &Value, outcome: Result<Value, RpcError>) -> Value {
    match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "result": result, "id": id}),
        Err(RpcError { code, message, data: None }) => {
            json!({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": id})
        }
        Err(RpcError { code, message, data }) => {
            json!({"jsonrpc": "2.0", "error": {"code": code, "message": message, "data": data}, "id": id})
        }
    }
}

/// One request: its id and outcome; `None` for one without id, which goloop does not run.
fn handle(told: &Told, request: &Value) -> Option<(Value, Result<Value, RpcError>)> {
    let id = request.get("id").cloned().unwrap_or_default();
    let method = match check(request) {
        Ok(method) => method,
        Err(error) => return Some((id, Err(error))),
    };
    let params = request.get("params").unwrap_or(&Value::Null);
    let outcome = match method {
        "icx_getNetworkInfo" if !told.is_icon1() => Ok(network_info(told)),
        "icx_getLastBlock" => Ok(last_block(&told.chain, told.micros)),
        "icx_call" => call(told, params),
        _ => return Some((id, Err(RpcError::new(-32601, "MethodNotFound")))),
    };
    (!id.is_null()).then_some((id, outcome))
}

/// What goloop checks of the envelope, in its order.
fn check(request: &Value) -> Result<&str, RpcError> {
    let request =
        request.as_object().ok_or_else(|| RpcError::request("InvalidRequest: fail to unmarshal, not an object"))?;
    if let Some(field) = unknown(request, &["jsonrpc", "method", "params", "id"]) {
        return Err(RpcError::request(format!("InvalidRequest: fail to unmarshal, unknown field '{field}'")));
    }
    if request.get("jsonrpc") != Some(&Value::from("2.0")) {
        return Err(RpcError::request("InvalidRequest: fail to validate, version('jsonrpc')"));
    }
    if !matches!(request.get("id"), None | Some(Value::Null | Value::String(_) | Value::Number(_))) {
        return Err(RpcError::request("InvalidRequest: fail to validate, id('id')"));
    }
    request
        .get("method")
        .and_then(Value::as_str)
        .ok_or_else(|| RpcError::request("InvalidRequest: fail to validate, required('method')"))
}

/// The first key that is not among the known ones.
pub(super) fn unknown<'a>(object: &'a Map<String, Value>, known: &[&str]) -> Option<&'a str> {
    object.keys().map(String::as_str).find(|key| !known.contains(key))
}

/// A number as ICON writes it.
pub(super) fn hex(number: u64) -> String {
    format!("{number:#x}")
}

fn network_info(told: &Told) -> Value {
    json!({
        "platform": "icon",
        "nid": hex(told.chain.nid),
        "channel": CHANNEL,
        "earliest": hex(told.earliest),
        "latest": hex(told.chain.height),
        "stepPrice": "0x2e90edd00",
    })
}

/// A block without transactions; its hashes are made from its height.
fn last_block(chain: &ChainState, micros: u64) -> Value {
    json!({
        "block_hash": format!("{:064x}", chain.height),
        "confirmed_transaction_list": [],
        "height": chain.height,
        "merkle_tree_root_hash": "",
        "peer_id": chain.preps.first().and_then(|prep| prep.get("nodeAddress")),
        "prev_block_hash": format!("{:064x}", chain.height.saturating_sub(1)),
        "signature": "",
        "time_stamp": micros,
        "version": "2.0",
    })
}

fn call(told: &Told, params: &Value) -> Result<Value, RpcError> {
    let invalid = |what: &str| RpcError::params(format!("InvalidParams: fail to validate, {what}"));
    let params = params.as_object().ok_or_else(|| RpcError::params("InvalidParams: params message is null"))?;
    let known: &[&str] = &["from", "to", "dataType", "data", "height"];
    let known = if told.is_icon1() { &known[..4] } else { known };
    if let Some(field) = unknown(params, known) {
        return Err(RpcError::params(format!("InvalidParams: fail to unmarshal, unknown field '{field}'")));
    }
    if params.get("dataType").and_then(Value::as_str) != Some("call") {
        return Err(invalid("call('dataType')"));
    }
    let past = match params.get("height") {
        Some(height) => Some(told.at(read_height(told, height.as_str().ok_or_else(|| invalid("t_int('height')"))?)?)),
        None => None,
    };
    match params.get("to").and_then(Value::as_str) {
        Some(score::ADDRESS) => {}
        Some(_) => return Err(RpcError::new(-30002, "SCOREError(-30002): E0002:ContractNotFound")),
        None => return Err(invalid("t_addr_score('to')")),
    }
    let data = params.get("data").and_then(Value::as_object).ok_or_else(|| invalid("required('data')"))?;
    let method = data.get("method").and_then(Value::as_str).ok_or_else(|| invalid("required('data.method')"))?;
    let empty = Map::new();
    let arguments = match data.get("params") {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return Err(invalid("data.params")),
    };
    let untyped: Vec<String> = arguments
        .iter()
        .filter(|(_, value)| value.is_number())
        .map(|(key, _)| format!("'Data.params.{key}'"))
        .collect();
    if !untyped.is_empty() {
        return Err(invalid(&format!("data.params({})", untyped.join(","))));
    }
    score::call(past.as_ref().unwrap_or(&told.chain), method, arguments)
}

/// A height whose state can be read.
fn read_height(told: &Told, text: &str) -> Result<u64, RpcError> {
    let canonical = |digits: &&str| {
        digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) && (*digits == "0" || !digits.starts_with('0'))
    };
    let height = text
        .strip_prefix("0x")
        .filter(canonical)
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| RpcError::params("InvalidParams: fail to validate, t_int('height')"))?;
    let base = told.earliest;
    if height > told.chain.height {
        Err(RpcError::new(-31004, format!("NotFound: E1005:no block for {height}")))
    } else if height < base {
        Err(RpcError::new(-31004, format!("NotFound: PrunedBlock(height={height},base={base})")))
    } else {
        Ok(height)
    }
}
