//! How the chain judges a validator: one `getPRep` (goloop `icon/iiss`), parsed as far as it is shown.

use super::answer::AnswerError;
use crate::quote::start;
use serde_json::Value;

/// A validator's record and penalties, as the chain counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrepStanding {
    /// 0 main, 1 sub, 2 candidate; 3 where it is not registered.
    pub grade: u64,
    /// 0 none, 1 disqualified, 2 accumulated failures, 3 validation failure, 4 missed vote, 5 double sign.
    pub penalty: u64,
    /// Blocks it was to validate.
    pub total_blocks: u64,
    /// Blocks it did validate.
    pub validated_blocks: u64,
    /// Whether it is in jail; `None` before the chain knows of jails.
    pub jailed: Option<bool>,
}

impl PrepStanding {
    /// Blocks it was to validate and did not.
    pub fn missed_blocks(&self) -> u64 {
        self.total_blocks.saturating_sub(self.validated_blocks)
    }
}

/// Reads the answer to a call of `getPRep`.
///
/// # Errors
/// An [`AnswerError`] where it is not one.
pub fn parse(body: &[u8]) -> Result<PrepStanding, AnswerError> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| AnswerError::NotJson { start: start(body) })?;
    let prep = answer.get("result").filter(|result| result.is_object()).ok_or(AnswerError::Shape { what: "result" })?;
    let number = |what: &'static str| hexadecimal(prep.get(what)).ok_or(AnswerError::Shape { what });
    Ok(PrepStanding {
        grade: number("grade")?,
        penalty: number("penalty")?,
        total_blocks: number("totalBlocks")?,
        validated_blocks: number("validatedBlocks")?,
        // Bit 0 (goloop `icon/icmodule/jail.go`).
        jailed: hexadecimal(prep.get("jailFlags")).map(|flags| flags & 1 == 1),
    })
}

fn hexadecimal(value: Option<&Value>) -> Option<u64> {
    u64::from_str_radix(value?.as_str()?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validators_record_is_read_and_nothing_is_made_up() {
        let body =
            br#"{"jsonrpc":"2.0","id":1,"result":{"address":"hx00","grade":"0x0","penalty":"0x3","jailFlags":"0x5",
            "totalBlocks":"0x64","validatedBlocks":"0x5a","power":"0x39e7139a8c08fa06000000"}}"#;
        let standing = parse(body).unwrap();
        assert_eq!((standing.grade, standing.penalty, standing.missed_blocks()), (0, 3, 10));
        assert_eq!(standing.jailed, Some(true));
        let older = br#"{"result":{"grade":"0x1","penalty":"0x0","totalBlocks":"0x0","validatedBlocks":"0x0"}}"#;
        assert_eq!(parse(older).unwrap(), PrepStanding { grade: 1, ..PrepStanding::default() });
    }

    #[test]
    fn another_answer_is_none() {
        assert!(parse(b"<html>").is_err());
        assert!(parse(br#"{"error":{"code":-30007,"message":"Failed to get PRep"}}"#).is_err());
        let odd = br#"{"result":{"grade":"0x1","penalty":0,"totalBlocks":"0x0","validatedBlocks":"0x0"}}"#;
        assert!(parse(odd).unwrap_err().to_string().contains("penalty"));
    }
}
