//! The one request on a WebSocket, as a value, and where it goes. Nothing is sent here.

use crate::{ScoreAddress, Source};
use reqwest::Url;
use serde_json::{Value, json};

/// Events of the chain's SCORE that can change who is on the list or where: a registration, a new endpoint or node, a
/// departure, an election, a penalty (goloop `icon/iiss/eventlog.go`). A disqualification is a penalty too; everything
/// else about P-Reps takes effect at the next term.
pub const MEMBERSHIP_EVENTS: [&str; 5] = [
    "PRepRegistered(Address)",
    "PRepSet(Address)",
    "PRepUnregistered(Address)",
    "TermStarted(int,int,int)",
    "PenaltyImposed(Address,int,int)",
];
/// Blocks between two beats: 10 s, with ICON's block of 2 s.
pub const PROGRESS_BLOCKS: u64 = 5;

/// End of the path of a source that names no channel.
const WITHOUT_CHANNEL: &str = "/api/v3";

/// What is sent once: every membership event from `height` on, and a beat every [`PROGRESS_BLOCKS`].
/// `logs` is left out: what an event says is not used (goloop `server/wsevent.go`).
pub fn membership_events(score: &ScoreAddress, height: u64) -> Value {
    let filters: Vec<Value> =
        MEMBERSHIP_EVENTS.iter().map(|event| json!({"addr": score.to_string(), "event": event})).collect();
    json!({
        "height": format!("{height:#x}"),
        "eventFilters": filters,
        "progressInterval": format!("{PROGRESS_BLOCKS:#x}"),
    })
}

/// Where a source pushes events: beside its JSON-RPC, on the channel its URL names, else on `channel`. goloop has no
/// WebSocket without a channel (`server/server.go`).
pub fn event_url(source: &Source, channel: &str) -> Url {
    let mut url = source.url().clone();
    let named = !url.path().trim_end_matches('/').ends_with(WITHOUT_CHANNEL);
    // A http or https URL always has segments.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty();
        if !named {
            segments.push(channel);
        }
        segments.push("event");
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, asked: &str) {
        let source = Source::new(source).unwrap();
        assert_eq!(event_url(&source, "icon_dex").as_str(), asked);
    }

    #[test]
    fn events_come_from_beside_the_json_rpc() {
        check("https://ctz.example", "https://ctz.example/api/v3/icon_dex/event");
        check("https://ctz.example/api/v3/", "https://ctz.example/api/v3/icon_dex/event");
        check("http://192.0.2.7:9000/api/v3/lisbon", "http://192.0.2.7:9000/api/v3/lisbon/event");
        check("https://rpc.example/key-9f/api/v3?k=1", "https://rpc.example/key-9f/api/v3/icon_dex/event?k=1");
        let source = Source::new("https://ctz.example").unwrap();
        assert_eq!(event_url(&source, "../x").path(), "/api/v3/..%2Fx/event");
    }

    #[test]
    fn the_request_is_within_what_goloop_reads_of_one_message() {
        let text = membership_events(&ScoreAddress::CHAIN, u64::MAX).to_string();
        assert!(text.len() < 16 << 10);
        assert!(text.contains(r#""height":"0xffffffffffffffff""#) && text.contains(r#""progressInterval":"0x5""#));
        assert_eq!(text.matches("cx0000000000000000000000000000000000000000").count(), MEMBERSHIP_EVENTS.len());
    }
}
