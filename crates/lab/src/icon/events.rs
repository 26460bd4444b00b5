//! The events of the fake chain and how goloop tells of them on a WebSocket (`server/wsevent.go`, and what goloop 1.4.4 was
//! seen to say). Requests in, messages out; no IO.

use super::{
    Prep,
    chain::{VALIDATION_FAILURE, owner},
    rpc,
    score::{self, TERM_BLOCKS},
};
use picket_model::PrepId;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Blocks told of at once: who begins at block 0 must not have all messages made before the first is sent.
const BLOCKS_AT_ONCE: u64 = 1000;

/// Events by block, and the height of the chain.
#[derive(Clone, Debug, Default)]
pub(super) struct EventLog {
    pub(super) height: u64,
    pub(super) events: BTreeMap<u64, Vec<Event>>,
}

/// One event of the chain's SCORE (goloop `icon/iiss/eventlog.go`).
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) signature: &'static str,
    /// Arguments by which a client may filter, after the signature.
    indexed: Vec<String>,
    data: Vec<String>,
}

impl Event {
    pub(super) fn set(prep: PrepId) -> Self {
        Self::about("PRepSet(Address)", prep)
    }

    pub(super) fn unregistered(prep: PrepId) -> Self {
        Self::about("PRepUnregistered(Address)", prep)
    }

    fn registered(prep: PrepId) -> Self {
        Self::about("PRepRegistered(Address)", prep)
    }

    /// With the P-Rep's status, which stays active, and the kind of penalty.
    pub(super) fn penalised(prep: PrepId) -> Self {
        let data = vec!["0x0".to_owned(), VALIDATION_FAILURE.to_owned()];
        Self { signature: "PenaltyImposed(Address,int,int)", indexed: vec![prep.to_string()], data }
    }

    /// With the term's number and its first and last block.
    pub(super) fn term_started(start: u64) -> Self {
        let data = [start / TERM_BLOCKS, start, start + TERM_BLOCKS - 1].map(rpc::hex).to_vec();
        Self { signature: "TermStarted(int,int,int)", indexed: Vec::new(), data }
    }

    fn about(signature: &'static str, prep: PrepId) -> Self {
        Self { signature, indexed: Vec::new(), data: vec![prep.to_string()] }
    }
}

/// What happened between two lists.
pub(super) fn between(old: &[Prep], new: &[Prep]) -> Vec<Event> {
    let by_owner = |list: &[Prep]| -> BTreeMap<PrepId, Prep> {
        list.iter().filter_map(|prep| Some((owner(prep)?, prep.clone()))).collect()
    };
    let (old, new) = (by_owner(old), by_owner(new));
    let left = old.keys().filter(|prep| !new.contains_key(prep)).map(|prep| Event::unregistered(*prep));
    let came = new.iter().filter_map(|(prep, entry)| match old.get(prep) {
        None => Some(Event::registered(*prep)),
        Some(before) if before != entry => Some(Event::set(*prep)),
        Some(_) => None,
    });
    left.chain(came).collect()
}

/// Which of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One message for each block. Events in a block are not told of.
    Block,
    /// One message for each block with an event that was asked for.
    Event,
}

/// What a client asked for.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    kind: Kind,
    filters: Vec<(Option<String>, String)>,
    logs: bool,
    progress: Option<u64>,
    start: u64,
    next: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Request {
    height: String,
    addr: Option<String>,
    event: Option<String>,
    event_filters: Option<Vec<Filter>>,
    logs: Option<String>,
    progress_interval: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    addr: Option<String>,
    event: String,
}

impl Subscription {
    /// Reads the one request of a connection.
    ///
    /// # Errors
    /// The message goloop refuses it with.
    pub(super) fn parse(kind: Kind, bytes: &[u8]) -> Result<Self, String> {
        let malformed = || refusal(-32700, "bad event request");
        let request: Request = serde_json::from_slice(bytes).map_err(|_| malformed())?;
        let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        let start = number(&request.height).ok_or_else(malformed)?;
        let progress = request.progress_interval.map(|text| number(&text).ok_or_else(malformed)).transpose()?;
        let mut filters: Vec<(Option<String>, String)> =
            request.event_filters.into_iter().flatten().map(|filter| (filter.addr, filter.event)).collect();
        filters.extend(request.event.map(|event| (request.addr, event)));
        let is_signature = |event: &str| event.len() > 2 && event.contains('(') && event.ends_with(')');
        let asked = kind == Kind::Block || !filters.is_empty();
        if !asked || filters.iter().any(|(_, event)| !is_signature(event)) {
            return Err(refusal(-32602, "bad event request parameter"));
        }
        let logs = request.logs.as_deref() == Some("0x1");
        Ok(Self { kind, filters, logs, progress: progress.filter(|blocks| *blocks > 0), start, next: start })
    }

    /// The messages that are due by an endpoint at this height, and forgets them; whether there may be more at once.
    pub(super) fn due(&mut self, log: &EventLog, height: u64) -> (Vec<String>, bool) {
        let last = log.height.min(height);
        let end = last.min(self.next.saturating_add(BLOCKS_AT_ONCE));
        let messages = (self.next..=end).flat_map(|height| self.of_block(log, height)).collect();
        if self.next <= end {
            self.next = end + 1;
        }
        (messages, end < last)
    }

    fn of_block(&self, log: &EventLog, height: u64) -> Vec<String> {
        let head = json!({"hash": format!("{height:#066x}"), "height": format!("{height:#x}")});
        if self.kind == Kind::Block {
            return vec![line(&head)];
        }
        let events = log.events.get(&height).into_iter().flatten().filter(|event| self.wants(event));
        let mut messages: Vec<String> =
            (0_usize..).zip(events).map(|(index, event)| line(&self.notification(&head, index, event))).collect();
        // The first block asked for is a beat, and then every so many.
        if self.progress.is_some_and(|blocks| (height - self.start).is_multiple_of(blocks)) {
            messages.push(line(&json!({"progress": format!("{height:#x}")})));
        }
        messages
    }

    fn wants(&self, event: &Event) -> bool {
        self.filters.iter().any(|(address, signature)| {
            signature == event.signature && address.as_deref().is_none_or(|address| address == score::ADDRESS)
        })
    }

    /// Each change is a transaction of its own, and its event the second of the receipt, after that of the fee.
    fn notification(&self, head: &Value, index: usize, event: &Event) -> Value {
        let mut fields: Map<String, Value> = head.as_object().cloned().unwrap_or_default();
        fields.insert("index".to_owned(), format!("{index:#x}").into());
        fields.insert("events".to_owned(), json!(["0x1"]));
        if self.logs {
            let indexed: Vec<&str> =
                [event.signature].into_iter().chain(event.indexed.iter().map(String::as_str)).collect();
            let log = json!({"scoreAddress": score::ADDRESS, "indexed": indexed, "data": event.data});
            fields.insert("logs".to_owned(), json!([log]));
        }
        fields.into()
    }
}

/// goloop's first answer where it refuses.
pub(super) fn refusal(code: i64, message: &str) -> String {
    line(&json!({"code": code, "message": message}))
}

/// goloop ends a message with a line feed.
fn line(message: &Value) -> String {
    format!("{message}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: &str = "hxaec7f79adbfe989c0f1dc82ada78178d5b9a7666";

    fn log() -> EventLog {
        let registered = Event::registered(OWNER.parse().unwrap());
        EventLog { height: 0x50, events: BTreeMap::from([(0x1b, vec![registered])]) }
    }

    fn said(kind: Kind, request: &Value) -> Vec<Value> {
        let mut subscription = match Subscription::parse(kind, request.to_string().as_bytes()) {
            Ok(subscription) => subscription,
            Err(refusal) => return vec![serde_json::from_str(&refusal).unwrap()],
        };
        let (messages, more) = subscription.due(&log(), u64::MAX);
        assert!(!more && subscription.due(&log(), u64::MAX).0.is_empty());
        messages.iter().map(|message| serde_json::from_str(message).unwrap()).collect()
    }

    #[test]
    fn an_event_is_told_as_goloop_1_4_4_tells_it() {
        let request =
            json!({"height": "0x10", "addr": score::ADDRESS, "event": "PRepRegistered(Address)", "logs": "0x1"});
        let hash = format!("0x{:064x}", 0x1b);
        let logs = json!([{"scoreAddress": score::ADDRESS, "indexed": ["PRepRegistered(Address)"], "data": [OWNER]}]);
        let expect = json!({"hash": hash, "height": "0x1b", "index": "0x0", "events": ["0x1"], "logs": logs});
        assert_eq!(said(Kind::Event, &request), [expect]);
    }

    #[test]
    fn beats_come_at_the_first_block_and_then_every_so_many() {
        let filters = json!([{"addr": score::ADDRESS, "event": "PRepSet(Address)"}]);
        let request = json!({"height": "0x40", "eventFilters": filters, "logs": "0x1", "progressInterval": "0x5"});
        let beats = ["0x40", "0x45", "0x4a", "0x4f"].map(|height| json!({"progress": height}));
        assert_eq!(said(Kind::Event, &request), beats);
    }

    #[test]
    fn blocks_are_told_from_the_past_and_not_from_the_future() {
        let heights: Vec<Value> =
            said(Kind::Block, &json!({"height": "0x4f"})).iter().map(|block| block["height"].clone()).collect();
        assert_eq!(heights, ["0x4f", "0x50"]);
        assert!(said(Kind::Block, &json!({"height": "0xffffff"})).is_empty());
    }

    #[test]
    fn an_endpoint_that_lags_tells_no_later_block() {
        let request = json!({"height": "0x4e"}).to_string();
        let mut subscription = Subscription::parse(Kind::Block, request.as_bytes()).unwrap();
        assert_eq!(subscription.due(&log(), 0x4f).0.len(), 2);
        assert_eq!(subscription.due(&log(), 0x4f), (Vec::new(), false));
        assert_eq!(subscription.due(&log(), 0x60).0.len(), 1);
    }

    #[test]
    fn penalties_and_terms_are_told_with_their_arguments() {
        let check = |event: Event, indexed: Value, data: Value| {
            let log = EventLog { height: 8, events: BTreeMap::from([(8, vec![event.clone()])]) };
            let request = json!({"height": "0x8", "event": event.signature, "logs": "0x1"}).to_string();
            let mut subscription = Subscription::parse(Kind::Event, request.as_bytes()).unwrap();
            let told: Value = serde_json::from_str(&subscription.due(&log, 8).0[0]).unwrap();
            assert_eq!((&told["logs"][0]["indexed"], &told["logs"][0]["data"]), (&indexed, &data));
        };
        let penalty = "PenaltyImposed(Address,int,int)";
        check(Event::penalised(OWNER.parse().unwrap()), json!([penalty, OWNER]), json!(["0x0", "0x3"]));
        let start = 2 * TERM_BLOCKS;
        let data = json!(["0x2", format!("{start:#x}"), format!("{:#x}", start + TERM_BLOCKS - 1)]);
        check(Event::term_started(start), json!(["TermStarted(int,int,int)"]), data);
    }

    #[test]
    fn bad_requests_are_refused_as_goloop_does() {
        let malformed = json!({"code": -32700, "message": "bad event request"});
        for request in [json!({"bad": 1}), json!({"height": 1}), json!({"height": "1"}), json!([])] {
            assert_eq!(said(Kind::Block, &request), std::slice::from_ref(&malformed), "{request}");
        }
        let parameter = json!({"code": -32602, "message": "bad event request parameter"});
        assert_eq!(said(Kind::Event, &json!({"height": "0x1"})), std::slice::from_ref(&parameter));
        assert_eq!(said(Kind::Event, &json!({"height": "0x1", "event": "PRepSet"})), [parameter]);
    }

    #[test]
    fn a_replaced_list_tells_who_came_who_left_and_who_moved() {
        let prep = |last: u8, endpoint: &str| -> Prep {
            let owner = format!("hx{last:040x}");
            json!({"address": owner, "p2pEndpoint": endpoint}).as_object().cloned().unwrap()
        };
        let old = [prep(1, "a"), prep(2, "b"), prep(3, "c")];
        let new = [prep(3, "c"), prep(2, "moved"), prep(4, "d")];
        let told: Vec<&str> = between(&old, &new).iter().map(|event| event.signature).collect();
        assert_eq!(told, ["PRepUnregistered(Address)", "PRepSet(Address)", "PRepRegistered(Address)"]);
        assert!(between(&old, &old).is_empty());
    }
}
