//! An answer to [`request::validator_list`](super::request::validator_list), parsed strictly into an [`Observation`].
//! Every text in it is hostile: it ends here as a type, or shortened in a reason. Policy is judged elsewhere.

use super::request;
use crate::quote::{shortened, start};
use picket_model::{
    EndpointError, Grade, IdError, Observation, ObservedValidator, PrepId, Refused, SourceId, Timestamp,
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use thiserror::Error;

/// Most entries read from one answer; mainnet had 155 active P-Reps in 2023.
pub const MOST_ENTRIES: usize = 5000;
/// Characters of a P-Rep's name that are kept.
const LONGEST_NAME: usize = 64;
/// JSON-RPC: no such method (goloop `server/jsonrpc/error.go`).
const METHOD_NOT_FOUND: i64 = -32601;

/// Why an answer as a whole was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// HTML or anything else that is not JSON.
    #[error("the answer is not JSON, it begins with {start:?}; is the URL that of a JSON-RPC endpoint?")]
    NotJson {
        /// First characters.
        start: String,
    },
    /// JSON of another shape than a batch of JSON-RPC answers.
    #[error("the answer is not a batch of JSON-RPC answers, it begins with {start:?}")]
    NotJsonRpc {
        /// First characters.
        start: String,
    },
    /// The endpoint refused the batch or a member of it.
    #[error("the endpoint answers with JSON-RPC error {code}: {message:?}")]
    Rpc {
        /// JSON-RPC or SCORE error code.
        code: i64,
        /// Its message, shortened.
        message: String,
    },
    /// A member of the batch was left unanswered.
    #[error("the batch has no answer to {method}")]
    NoMember {
        /// What had been asked.
        method: &'static str,
    },
    /// The endpoint does not say which chain it is on.
    #[error(
        "the endpoint names no chain id, so its list cannot be trusted; ICON 1.0 services have no icx_getNetworkInfo: use a goloop node"
    )]
    NoChainId,
    /// Another network's endpoint.
    #[error("the endpoint is on chain {found:#x}, not on {expected:#x}")]
    WrongChain {
        /// Chain id the operator wants.
        expected: u64,
        /// Chain id the endpoint names.
        found: u64,
    },
    /// No `blockHeight`, or not a number.
    #[error("the answer has no valid blockHeight, found {found:?}")]
    Height {
        /// What stands there, shortened.
        found: String,
    },
    /// The list is of another block than the one asked for.
    #[error("the answer is of height {found}, though {asked} was asked for: the endpoint reads no past blocks")]
    OtherHeight {
        /// Height asked for.
        asked: u64,
        /// Height of the answer.
        found: u64,
    },
    /// No time in the last block, or not a number: the endpoint's clock cannot be checked.
    #[error("the last block has no valid time_stamp in microseconds, found {found:?}")]
    BlockTime {
        /// What stands there, shortened.
        found: String,
    },
    /// No list in the answer.
    #[error("the answer has no list `preps`")]
    NoPreps,
    /// A list of nobody, as a node answers that has not reached decentralisation or was reset.
    #[error("the list `preps` is empty")]
    EmptyPreps,
    /// More entries than any real list has.
    #[error("the list has {found} entries, more than {MOST_ENTRIES}")]
    TooMany {
        /// Number of entries.
        found: usize,
    },
}

/// What an answer must fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Chain id the operator wants (ICON mainnet: 1).
    pub nid: u64,
    /// Height that was asked for; without one, whatever block is the last.
    pub height: Option<u64>,
}

/// Reads one answer; `seen_at` goes into the result.
///
/// What the firewall hangs on is read strictly: address, node address, endpoint, grade, status, penalty. A name, the jail
/// flags and the power are for people: one that cannot be read, such as an amount below zero or beyond 128 bits, is left
/// out and costs nobody the entry. A bad entry does not spoil the others: it becomes a [`Refused`] with its reason. A P-Rep named more than once is
/// refused in every copy, so that the order of entries does not matter.
///
/// # Errors
/// An [`AnswerError`] where the answer as a whole cannot be used.
pub fn parse(
    source: &SourceId,
    expected: Expected,
    body: &[u8],
    seen_at: Timestamp,
) -> Result<Observation, AnswerError> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| AnswerError::NotJson { start: start(body) })?;
    let members = match &answer {
        Value::Array(members) => members,
        Value::Object(single) => match single.get("error") {
            Some(error) => return Err(rpc_error(error)),
            None => return Err(AnswerError::NotJsonRpc { start: start(body) }),
        },
        _ => return Err(AnswerError::NotJsonRpc { start: start(body) }),
    };
    check_chain(result(members, request::NETWORK_INFO, "icx_getNetworkInfo"), expected.nid)?;
    let list = result(members, request::PREPS, "icx_call getPReps")?;

    let height = read_height(list.get("blockHeight"))?;
    if let Some(asked) = expected.height.filter(|asked| *asked != height) {
        return Err(AnswerError::OtherHeight { asked, found: height });
    }
    let preps = list.get("preps").and_then(Value::as_array).ok_or(AnswerError::NoPreps)?;
    match preps.len() {
        0 => return Err(AnswerError::EmptyPreps),
        found if found > MOST_ENTRIES => return Err(AnswerError::TooMany { found }),
        _ => {}
    }
    let block = result(members, request::LAST_BLOCK, "icx_getLastBlock")?;
    let mut observation = Observation {
        source: source.clone(),
        height,
        seen_at,
        block_time: Some(read_block_time(block.get("time_stamp"))?),
        entries: BTreeMap::new(),
        refused: Vec::new(),
        doubted: BTreeMap::new(),
    };
    read_entries(preps, &mut observation);
    Ok(observation)
}

/// The result of the member with this id.
fn result<'a>(members: &'a [Value], id: u64, method: &'static str) -> Result<&'a Value, AnswerError> {
    let member = members
        .iter()
        .find(|member| member.get("id").and_then(Value::as_u64) == Some(id))
        .ok_or(AnswerError::NoMember { method })?;
    match (member.get("error"), member.get("result")) {
        (Some(error), _) if !error.is_null() => Err(rpc_error(error)),
        (_, Some(result)) => Ok(result),
        _ => Err(AnswerError::NoMember { method }),
    }
}

fn check_chain(info: Result<&Value, AnswerError>, expected: u64) -> Result<(), AnswerError> {
    let info = match info {
        Err(AnswerError::Rpc { code: METHOD_NOT_FOUND, .. }) => return Err(AnswerError::NoChainId),
        other => other?,
    };
    let found =
        info.get("nid").and_then(number).and_then(|nid| u64::try_from(nid).ok()).ok_or(AnswerError::NoChainId)?;
    if found == expected { Ok(()) } else { Err(AnswerError::WrongChain { expected, found }) }
}

fn read_height(value: Option<&Value>) -> Result<u64, AnswerError> {
    // goloop counts heights in an int64.
    value
        .and_then(number)
        .and_then(|height| i64::try_from(height).ok())
        .and_then(|height| u64::try_from(height).ok())
        .ok_or_else(|| AnswerError::Height { found: value.map_or_else(|| "nothing".to_owned(), quote) })
}

/// Unlike all others, numbers in blocks are JSON's own; the time is in microseconds (goloop `block/blockv2.go`).
fn read_block_time(value: Option<&Value>) -> Result<Timestamp, AnswerError> {
    value
        .and_then(Value::as_u64)
        .and_then(|micros| i64::try_from(micros / 1000).ok())
        .map(Timestamp::from_millis)
        .ok_or_else(|| AnswerError::BlockTime { found: value.map_or_else(|| "nothing".to_owned(), quote) })
}

fn rpc_error(error: &Value) -> AnswerError {
    let text = |member: &str| error.get(member).and_then(Value::as_str).unwrap_or_default();
    let message = match (text("message"), text("data")) {
        (message, "") => message.to_owned(),
        (message, data) => format!("{message}: {data}"),
    };
    let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
    AnswerError::Rpc { code, message: shortened(&message) }
}

fn read_entries(preps: &[Value], observation: &mut Observation) {
    let mut copies: BTreeMap<PrepId, usize> = BTreeMap::new();
    for prep in preps.iter().filter_map(owner) {
        *copies.entry(prep).or_default() += 1;
    }
    for (place, value) in preps.iter().enumerate() {
        let owner = owner(value);
        let read = match owner {
            Some(prep) if copies.get(&prep).is_some_and(|copies| *copies > 1) => Err(EntryError::Copied),
            _ => read_entry(value),
        };
        match read {
            Ok(entry) => {
                observation.entries.insert(entry.prep, entry);
            }
            Err(reason) => {
                let entry = owner.map_or_else(|| format!("entry {}", place + 1), |prep| prep.to_string());
                observation.refused.push(Refused { entry, reason: reason.to_string() });
                if let (Some(prep), false) = (owner, matches!(reason, EntryError::NotActive(_))) {
                    let grade = value.as_object().and_then(|entry| read_grade(entry).ok());
                    observation.doubted.insert(prep, grade);
                }
            }
        }
    }
}

fn owner(entry: &Value) -> Option<PrepId> {
    entry.get("address")?.as_str()?.parse().ok()
}

/// Why one entry was not taken.
#[derive(Debug, Error)]
enum EntryError {
    #[error("not a JSON object")]
    NotAnObject,
    #[error("no {0}")]
    Missing(&'static str),
    #[error("{field} is {found:?}, not a text")]
    NotText { field: &'static str, found: String },
    #[error("{field} is {found:?}, not a number this field can have")]
    Number { field: &'static str, found: String },
    #[error("status is {0:#x}, not active")]
    NotActive(u8),
    #[error("grade {0:#x} is unknown")]
    Grade(u8),
    #[error("the list names this P-Rep more than once")]
    Copied,
    #[error("{field}: {reason}")]
    Address { field: &'static str, reason: IdError },
    #[error("p2pEndpoint: {0}")]
    Endpoint(EndpointError),
}

fn read_entry(value: &Value) -> Result<ObservedValidator, EntryError> {
    let entry = value.as_object().ok_or(EntryError::NotAnObject)?;
    let address = text(entry, "address")?;
    let prep = address.parse().map_err(|reason| EntryError::Address { field: "address", reason })?;
    // `getPReps` lists active P-Reps alone; 1 is unregistered, 2 disqualified (goloop `icstate/prepstatus.go`).
    match optional_number::<u8>(entry, "status")? {
        None | Some(0) => {}
        Some(status) => return Err(EntryError::NotActive(status)),
    }
    let grade = read_grade(entry)?;
    // A P-Rep that never set a node key signs with its owner key.
    let node_address = if entry.contains_key("nodeAddress") { text(entry, "nodeAddress")? } else { address };
    Ok(ObservedValidator {
        prep,
        name: entry.get("name").and_then(Value::as_str).unwrap_or_default().chars().take(LONGEST_NAME).collect(),
        node_address: node_address.parse().map_err(|reason| EntryError::Address { field: "nodeAddress", reason })?,
        grade,
        endpoint: text(entry, "p2pEndpoint")?.parse().map_err(EntryError::Endpoint)?,
        penalty: optional_number(entry, "penalty")?.unwrap_or_default(),
        jail_flags: optional_number(entry, "jailFlags").unwrap_or_default(),
        power: optional_number(entry, "power").unwrap_or_default(),
    })
}

fn read_grade(entry: &Map<String, Value>) -> Result<Grade, EntryError> {
    match optional_number::<u8>(entry, "grade")?.ok_or(EntryError::Missing("grade"))? {
        0 => Ok(Grade::Main),
        1 => Ok(Grade::Sub),
        2 => Ok(Grade::Candidate),
        3 => Ok(Grade::None),
        other => Err(EntryError::Grade(other)),
    }
}

fn text<'a>(entry: &'a Map<String, Value>, field: &'static str) -> Result<&'a str, EntryError> {
    match entry.get(field) {
        None => Err(EntryError::Missing(field)),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(EntryError::NotText { field, found: quote(other) }),
    }
}

fn optional_number<N: TryFrom<u128>>(entry: &Map<String, Value>, field: &'static str) -> Result<Option<N>, EntryError> {
    let Some(value) = entry.get(field) else { return Ok(None) };
    match number(value).and_then(|number| N::try_from(number).ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(EntryError::Number { field, found: quote(value) }),
    }
}

/// A number as ICON writes it: `0x`, then lower-case hexadecimal without leading zeros. Negative ones have no place here.
fn number(value: &Value) -> Option<u128> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    let canonical =
        digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) && (digits == "0" || !digits.starts_with('0'));
    canonical.then(|| u128::from_str_radix(digits, 16).ok()).flatten()
}

fn quote(value: &Value) -> String {
    match value {
        Value::String(text) => shortened(text),
        other => shortened(&other.to_string()),
    }
}

#[cfg(test)]
mod tests;
