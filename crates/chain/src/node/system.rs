//! What goloop says of itself: `GET /system`, parsed loosely, since it is shown and held against facts of the host, and decides
//! nothing about anybody else.

use super::answer::AnswerError;
use crate::quote::{shortened, start};
use serde_json::Value;

/// A node's own settings. All texts are goloop's, shortened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// Version and revision of its program.
    pub version: Option<String>,
    /// Address and port at which it tells its peers that it is reached.
    pub p2p: Option<String>,
    /// Where its JSON-RPC and `/admin` wait, as `:9080`.
    pub rpc: Option<String>,
}

impl System {
    /// The port of its JSON-RPC.
    pub fn rpc_port(&self) -> Option<u16> {
        self.rpc.as_deref()?.rsplit_once(':')?.1.parse().ok().filter(|port| *port != 0)
    }
}

/// Reads one answer.
///
/// # Errors
/// An [`AnswerError`] where it is not what goloop says of itself.
pub fn parse(body: &[u8]) -> Result<System, AnswerError> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| AnswerError::NotJson { start: start(body) })?;
    let setting = answer.get("setting").filter(|setting| setting.is_object());
    let setting = setting.ok_or(AnswerError::Shape { what: "setting" })?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(shortened);
    Ok(System {
        version: text(answer.get("buildVersion")),
        p2p: text(setting.get("p2p")),
        rpc: text(setting.get("rpcAddr")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_what_is_missing_is_not_made_up() {
        let body = br#"{"buildVersion":"v1.4.4","buildTags":"x","setting":{"address":"hx00","p2p":"203.0.113.9:7100",
            "p2pListen":":7100","rpcAddr":":9000","rpcDump":false},"config":{"eeInstances":1}}"#;
        let system = parse(body).unwrap();
        assert_eq!((system.p2p.as_deref(), system.rpc_port()), (Some("203.0.113.9:7100"), Some(9000)));
        assert_eq!(parse(b"{\"setting\":{\"p2p\":\"\"}}").unwrap(), System::default());
        for (rpc, port) in [("127.0.0.1:9080", Some(9080)), ("[::]:9000", Some(9000)), (":0", None), ("9000", None)] {
            let rpc = Some(rpc.to_owned());
            assert_eq!(System { rpc, ..System::default() }.rpc_port(), port);
        }
    }

    #[test]
    fn another_program_is_not_taken_for_goloop() {
        assert!(parse(b"<html>").unwrap_err().to_string().contains("RPC port"));
        assert!(parse(b"{\"status\":\"ok\"}").unwrap_err().to_string().contains("setting"));
        let long = format!("{{\"setting\":{{\"p2p\":\"{}\"}}}}", "a".repeat(10_000));
        assert!(parse(long.as_bytes()).unwrap().p2p.unwrap().len() < 1000);
    }
}
