//! What a WebSocket of goloop says, parsed strictly: only heights are taken, and every other text ends in a reason.

use crate::quote::shortened;
use serde_json::{Map, Value};
use thiserror::Error;

/// One message of the endpoint (goloop `server/wsevent.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// `{"code":0}`: the first one, where the request was accepted.
    Accepted,
    /// The block at this height has an event that was asked for.
    Event {
        /// Height of the block.
        height: u64,
    },
    /// All blocks up to this height have been looked through.
    Progress {
        /// Height of the last one.
        height: u64,
    },
}

/// Why a message was not understood, or was a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// `{"code":-31005,"message":"too many monitor"}`: the node serves ten sessions, and they are taken.
    #[error("the endpoint refuses with code {code}: {message:?}")]
    Refused {
        /// A code of goloop's `server/jsonrpc/error.go`.
        code: i64,
        /// Its message, shortened.
        message: String,
    },
    /// Anything else.
    #[error("a message is not of goloop's form, it begins with {start:?}")]
    Unknown {
        /// First characters.
        start: String,
    },
}

/// Reads one message, whatever its bytes. Unknown fields are let be: they differ between versions of goloop.
///
/// # Errors
/// A [`MessageError`] for a refusal and for anything that is none of the three messages.
pub fn parse(bytes: &[u8]) -> Result<Message, MessageError> {
    let unknown = || MessageError::Unknown { start: shortened(&String::from_utf8_lossy(bytes)) };
    let Ok(Value::Object(fields)) = serde_json::from_slice(bytes) else { return Err(unknown()) };
    if let Some(code) = fields.get("code") {
        return match code.as_i64() {
            Some(0) => Ok(Message::Accepted),
            Some(code) => Err(MessageError::Refused { code, message: shortened(text(&fields, "message")) }),
            None => Err(unknown()),
        };
    }
    let message = match (fields.get("progress"), fields.get("height")) {
        (Some(_), None) => height(text(&fields, "progress")).map(|height| Message::Progress { height }),
        (None, Some(_)) => height(text(&fields, "height")).map(|height| Message::Event { height }),
        _ => None,
    };
    message.ok_or_else(unknown)
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// `0x` and lower-case digits without leading zeros, as goloop writes numbers.
fn height(text: &str) -> Option<u64> {
    let height = u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()?;
    (format!("{height:#x}") == text).then_some(height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expect: &str) {
        let found = match parse(text.as_bytes()) {
            Ok(message) => format!("{message:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn what_goloop_1_4_4_says_is_understood() {
        check("{\"code\":0}\n", "Accepted");
        check("{\"progress\":\"0x4a\"}\n", "Progress { height: 74 }");
        check(
            r#"{"hash":"0x52d8","height":"0x1b","index":"0x0","events":["0x1"],"logs":[{"scoreAddress":"cx00","indexed":["PRepRegistered(Address)"],"data":["hxae"]}]}"#,
            "Event { height: 27 }",
        );
        check(
            r#"{"code":-31005,"message":"too many monitor"}"#,
            r#"the endpoint refuses with code -31005: "too many monitor""#,
        );
        check(r#"{"code":-32700}"#, r#"the endpoint refuses with code -32700: """#);
    }

    #[test]
    fn what_is_none_of_the_messages_is_quoted() {
        for text in [
            "",
            "[]",
            "null",
            "<html>",
            r#"{"height":27}"#,
            r#"{"height":"27"}"#,
            r#"{"height":"0x01"}"#,
            r#"{"height":"0xAB"}"#,
            r#"{"height":"-0x1"}"#,
            r#"{"height":"0x10000000000000000"}"#,
            r#"{"progress":null}"#,
            r#"{"progress":"0x1","height":"0x1"}"#,
            r#"{"code":"0"}"#,
            r#"{"code":0.5}"#,
        ] {
            check(text, &format!("a message is not of goloop's form, it begins with {text:?}"));
        }
        let long = parse("x".repeat(1000).as_bytes()).unwrap_err().to_string();
        assert!(long.len() < 200, "{long}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn every_height_is_read_as_it_was_written(height: u64) {
            let progress = format!(r#"{{"progress":"{height:#x}"}}"#);
            prop_assert_eq!(parse(progress.as_bytes()), Ok(Message::Progress { height }));
            let event = format!(r#"{{"height":"{height:#x}"}}"#);
            prop_assert_eq!(parse(event.as_bytes()), Ok(Message::Event { height }));
        }
    }
}
