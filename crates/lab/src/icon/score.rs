//! The chain's own SCORE: its read-only methods about P-Reps, as functions of the state. Texts of errors are goloop's.

use super::{
    chain::{ChainState, Prep, owner},
    rpc::{RpcError, hex, unknown},
};
use picket_model::PrepId;
use serde_json::{Map, Value, json};

/// Address of the chain SCORE.
pub(super) const ADDRESS: &str = "cx0000000000000000000000000000000000000000";
/// Blocks of a term on mainnet, about a day.
pub(super) const TERM_BLOCKS: u64 = 43_120;

/// One query.
pub(super) fn call(chain: &ChainState, method: &str, arguments: &Map<String, Value>) -> Result<Value, RpcError> {
    let known: &[&str] = match method {
        "getPReps" => &["startRanking", "endRanking"],
        "getPRep" => &["address"],
        "getNetworkInfo" | "getPRepTerm" => &[],
        _ => return Err(RpcError::new(-30003, "SCOREError(-30003): E0003:MethodNotFound")),
    };
    if let Some(key) = unknown(arguments, known) {
        return Err(parameter(&format!("UnexpectedParam({key})")));
    }
    match method {
        "getPReps" => preps(chain, arguments),
        "getPRep" => arguments
            .get("address")
            .and_then(|address| address.as_str()?.parse::<PrepId>().ok())
            .and_then(|prep| chain.prep(prep))
            .map(|prep| record(chain, prep))
            .ok_or_else(|| RpcError::new(-30007, "SCOREError(-30007): E0007:Failed to get PRep")),
        "getNetworkInfo" => Ok(network_info(chain)),
        _ => Ok(term(chain)),
    }
}

/// A P-Rep with a record of blocks, which a list that was kept from a real chain may lack: all since the first but three.
fn record(chain: &ChainState, prep: &Prep) -> Value {
    let mut prep = prep.clone();
    for (what, blocks) in [("totalBlocks", chain.height), ("validatedBlocks", chain.height.saturating_sub(3))] {
        prep.entry(what).or_insert_with(|| hex(blocks).into());
    }
    Value::Object(prep)
}

fn parameter(what: &str) -> RpcError {
    RpcError::new(-30006, format!("SCOREError(-30006): E0006:{what}"))
}

/// The list; the two rankings count from 1 and work only together.
fn preps(chain: &ChainState, arguments: &Map<String, Value>) -> Result<Value, RpcError> {
    let size = i128::try_from(chain.preps.len()).unwrap_or(i128::MAX);
    let (start, end) = match (arguments.get("startRanking"), arguments.get("endRanking")) {
        (Some(start), Some(end)) => match (ranking(start)?, ranking(end)?) {
            (start, end) if start < 0 || end < 0 || start > size => {
                return Err(parameter(&format!("Failed to get PReps: start={start} end={end}")));
            }
            (start, end) if end != 0 && start > end => {
                return Err(parameter(&format!("Invalid ranking: start={start} > end={end}")));
            }
            (start, end) => (start.max(1), if end == 0 { size } else { end.min(size) }),
        },
        _ => (1, size),
    };
    let ranks = (1..).zip(&chain.preps).filter(|(rank, _)| (start..=end).contains(rank));
    Ok(json!({
        "blockHeight": hex(chain.height),
        "preps": ranks.map(|(_, prep)| prep).collect::<Vec<_>>(),
        "startRanking": format!("{start:#x}"),
        "totalDelegated": chain.total_delegated,
        "totalStake": chain.total_stake,
    }))
}

/// Arguments of a SCORE are laxer than the rest: decimal digits pass too.
fn ranking(value: &Value) -> Result<i128, RpcError> {
    let text = value.as_str().unwrap_or_default();
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let number = match digits.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => digits.parse(),
    };
    number.map(|number| sign * i128::from(number)).map_err(|_| parameter("InvalidParameter"))
}

fn network_info(chain: &ChainState) -> Value {
    json!({
        "extraMainPRepCount": hex(0),
        "iissVersion": "0x4",
        "mainPRepCount": hex(count(chain, "0x0")),
        "preps": hex(chain.preps.len() as u64),
        "subPRepCount": hex(count(chain, "0x1")),
        "termPeriod": hex(TERM_BLOCKS),
        "totalDelegated": chain.total_delegated,
        "totalStake": chain.total_stake,
    })
}

fn term(chain: &ChainState) -> Value {
    let sequence = chain.height / TERM_BLOCKS;
    let elected: Vec<&Prep> = chain.preps.iter().filter(|prep| graded(prep, "0x0") || graded(prep, "0x1")).collect();
    json!({
        "blockHeight": hex(chain.height),
        "endBlockHeight": hex((sequence + 1) * TERM_BLOCKS - 1),
        "iissVersion": "0x4",
        "isDecentralized": "0x1",
        "mainPRepCount": hex(count(chain, "0x0")),
        "period": hex(TERM_BLOCKS),
        "preps": elected,
        "sequence": hex(sequence),
        "startBlockHeight": hex(sequence * TERM_BLOCKS),
    })
}

fn count(chain: &ChainState, grade: &str) -> u64 {
    chain.preps.iter().filter(|prep| owner(prep).is_some() && graded(prep, grade)).count() as u64
}

fn graded(prep: &Prep, grade: &str) -> bool {
    prep.get("grade").and_then(Value::as_str) == Some(grade)
}
