//! Any bytes as a message of an endpoint's WebSocket.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_chain::push::{Message, message::parse};

fuzz_target!(|bytes: &[u8]| {
    let read = parse(bytes);
    assert_eq!(parse(bytes), read);
    // As goloop would write it.
    let written = match read {
        Ok(Message::Accepted) => r#"{"code":0}"#.to_owned(),
        Ok(Message::Event { height }) => format!(r#"{{"height":"{height:#x}"}}"#),
        Ok(Message::Progress { height }) => format!(r#"{{"progress":"{height:#x}"}}"#),
        Err(error) => return assert!(error.to_string().len() < 2000, "{error}"),
    };
    assert_eq!(parse(written.as_bytes()), read);
});
