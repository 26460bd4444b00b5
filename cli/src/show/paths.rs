//! `picket paths`: hidden validators' ways; and `picket drain`: how far a sentry is left.

use crate::{
    table::Page,
    time::{ago, rough},
};
use picket_api::paths::{DestinationPath, DrainView, HostPaths, PathsView, SentryPath};
use picket_model::{Node, Timestamp, network::Shown};

/// Moves of a host that are shown with all hosts.
const LAST_MOVES: usize = 3;

/// The screen; with each destination where it is of one host. Ages are by the controller's clock.
pub(crate) fn page(view: &PathsView, is_one: bool) -> String {
    let mut page = Page::default();
    if view.hosts.is_empty() {
        page.line("no validator hides behind sentries: see policy.hidden");
    }
    for (index, host) in view.hosts.iter().enumerate() {
        if index > 0 {
            page.blank();
        }
        show(&mut page, host, view.now, is_one);
    }
    for drain in &view.drains {
        page.blank();
        add_drain(&mut page, drain, view.now);
    }
    page.finish()
}

/// How far a sentry is left.
pub(crate) fn drained(view: &DrainView, now: Timestamp) -> String {
    let mut page = Page::default();
    add_drain(&mut page, view, now);
    page.finish()
}

/// That a sentry gets its share back.
pub(crate) fn undrained(node: &Node) -> String {
    format!("{} is drained no more: it gets its share back, one destination a second\n", node.name)
}

fn show(page: &mut Page, host: &HostPaths, now: Timestamp, is_one: bool) {
    let strict = if host.strict { "strict" } else { "not strict" };
    let in_force = if host.in_force { "in force" } else { "NOT in force" };
    page.line(format_args!("{}  {strict}, {in_force}, heard {}", host.name, ago(host.reported_at, now)));
    if host.sentries.is_empty() {
        page.line("  no sentry forwards for it");
        return;
    }
    let heading = [
        "sentry",
        "share",
        "carries",
        "way",
        "since",
        "handshake",
        "round trip",
        "loss",
        "sent",
        "received",
        "load",
        "tracking",
        "height",
    ];
    page.table(heading, host.sentries.iter().map(|sentry| row(sentry, now)));
    if is_one {
        page.blank();
        let heading = ["destination", "validator", "sentry", "since", "cause"];
        page.table(heading, host.destinations.iter().map(|path| destination(path, now)));
        if host.more > 0 {
            page.line(format_args!("and {} more", host.more));
        }
    }
    let skipped = if is_one { 0 } else { host.moves.len().saturating_sub(LAST_MOVES) };
    let name = |id: &Option<picket_model::NodeId>| {
        let known = |id| host.sentries.iter().find(|sentry| &sentry.node == id).map(|sentry| sentry.name.to_string());
        id.as_ref().map_or_else(|| "several".to_owned(), |id| known(id).unwrap_or_else(|| id.to_string()))
    };
    if !host.moves.is_empty() {
        page.blank();
    }
    for moved in host.moves.iter().skip(skipped) {
        let (from, to) = (name(&moved.from), name(&moved.to));
        let ago = rough(now.since(moved.at));
        page.line(format_args!("{ago} ago  {} from {from} to {to}: {}", moved.count, moved.cause));
    }
}

fn row(sentry: &SentryPath, now: Timestamp) -> [String; 13] {
    let none = || "-".to_owned();
    let way = sentry.way.as_ref();
    let stands = way.map_or_else(none, |way| {
        let drained = way.draining.then(|| "drained".to_owned());
        let more: Vec<String> = drained.into_iter().chain(way.burden.clone()).collect();
        if more.is_empty() { way.way.clone() } else { format!("{} ({})", way.way, more.join(", ")) }
    });
    let condition = way.and_then(|way| way.condition);
    let share = |permille: Option<u16>| permille.map(|permille| format!("{} %", permille / 10)).unwrap_or_else(none);
    [
        sentry.name.to_string(),
        sentry.share.to_string(),
        sentry.carries.to_string(),
        stands,
        way.map_or_else(none, |way| rough(now.since(way.since))),
        ago(sentry.last_handshake, now),
        way.and_then(|way| way.round_trip_us).map_or_else(none, milliseconds),
        way.map_or_else(none, |way| format!("{}.{} %", way.lost_permille / 10, way.lost_permille % 10)),
        bytes(sentry.sent_bytes),
        bytes(sentry.received_bytes),
        share(condition.and_then(|said| said.load_permille)),
        share(condition.and_then(|said| said.tracking_permille)),
        condition.and_then(|said| said.height).map_or_else(none, |height| height.to_string()),
    ]
}

fn destination(path: &DestinationPath, now: Timestamp) -> [String; 5] {
    let name =
        |(prep, name): &(picket_model::PrepId, String)| if name.is_empty() { prep.to_string() } else { name.clone() };
    let names: Vec<String> = path.validators.iter().map(name).collect();
    let whose = match (path.destination.prefix_len(), names.is_empty()) {
        (0, _) => "all that is on no list".to_owned(),
        (_, true) => "-".to_owned(),
        (_, false) => names.join(", "),
    };
    [
        Shown(path.destination).to_string(),
        whose,
        path.name.to_string(),
        rough(now.since(path.since)),
        path.cause.clone(),
    ]
}

fn add_drain(page: &mut Page, view: &DrainView, now: Timestamp) {
    let end = if view.is_over {
        "what still ran through it was cut".to_owned()
    } else {
        format!("what still runs through it is cut in {}", rough(view.drain.until.since(now)))
    };
    page.line(format_args!("{} is drained, by {}: {end}", view.name, view.drain.by));
    for reason in &view.refused {
        page.line(format_args!("! no host changes: {reason}"));
    }
    if view.hosts.is_empty() {
        page.line("  no hidden validator is behind it");
    }
    for host in &view.hosts {
        let left = host.left.map_or_else(|| "?".to_owned(), |left| left.to_string());
        let inward = host.inward.map_or_else(|| "?".to_owned(), |inward| inward.to_string());
        let known = if host.in_force { "" } else { ", does not have it in force yet" };
        page.line(format_args!("  {}  {left} destinations left, {inward} connections that came in{known}", host.name));
    }
    if view.is_empty() {
        page.line(format_args!("nothing runs through it any more: it can go, by `picket revoke {}`", view.name));
    }
}

fn milliseconds(micros: u32) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

/// In the largest unit of 1024 that it has one of.
fn bytes(count: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(size, _)| count >= *size);
    unit.map_or_else(|| format!("{count} B"), |(size, name)| format!("{} {name}", count / size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_api::paths::DrainedHost;
    use picket_model::{
        Drain,
        paths::{Condition, Moved, SentryWay},
    };

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn ago(seconds: i64) -> Timestamp {
        Timestamp::from_millis(NOW.as_millis() - seconds * 1000)
    }

    fn view() -> PathsView {
        let condition = Condition { load_permille: Some(400), tracking_permille: Some(31), height: Some(90_000_000) };
        let good = SentryWay {
            way: "good".to_owned(),
            since: ago(86_400),
            draining: true,
            round_trip_us: Some(12_340),
            condition: Some(condition),
            inward: Some(3),
            ..SentryWay::default()
        };
        let sentry = |name: &str, way, carries| SentryPath {
            node: format!("n-{name}").parse().unwrap(),
            name: name.parse().unwrap(),
            share: 1,
            carries,
            way,
            last_handshake: Some(ago(20)),
            sent_bytes: 5 << 30,
            received_bytes: 900,
        };
        let silent = SentryWay { way: "silent".to_owned(), since: ago(5), lost_permille: 128, ..SentryWay::default() };
        let path = |destination: &str, name: &str| DestinationPath {
            destination: destination.parse().unwrap(),
            validators: vec![(format!("hx{:040x}", 7).parse().unwrap(), name.to_owned())],
            sentry: "n-eu-1".parse().unwrap(),
            name: "eu-1".parse().unwrap(),
            since: ago(4),
            cause: "its sentry is silent".to_owned(),
        };
        let host = HostPaths {
            node: "n-1".parse().unwrap(),
            name: "prep-1".parse().unwrap(),
            strict: true,
            in_force: true,
            reported_at: Some(ago(3)),
            sentries: vec![sentry("eu-1", Some(good), 2), sentry("us-1", Some(silent), 0), sentry("us-2", None, 0)],
            destinations: vec![path("5.0.0.1/32", "ICON\u{1b}[2J"), path("0.0.0.0/0", "")],
            more: 0,
            moves: vec![Moved {
                number: 1,
                run: ago(9),
                at: ago(4),
                cause: "its sentry is silent".to_owned(),
                from: Some("n-us-1".parse().unwrap()),
                to: None,
                count: 2,
            }],
        };
        PathsView { now: NOW, hosts: vec![host], drains: vec![drain(Some(2))] }
    }

    fn drain(left: Option<usize>) -> DrainView {
        let host = DrainedHost {
            node: "n-1".parse().unwrap(),
            name: "prep-1".parse().unwrap(),
            in_force: true,
            left,
            inward: Some(3),
        };
        let until = NOW.plus(std::time::Duration::from_secs(600));
        DrainView {
            node: "n-eu-1".parse().unwrap(),
            name: "eu-1".parse().unwrap(),
            drain: Drain { by: "op-1".to_owned(), at: NOW, until },
            is_over: false,
            hosts: vec![host],
            refused: Vec::new(),
        }
    }

    #[test]
    fn each_way_says_how_it_stands_and_what_it_carries() {
        let text = page(&view(), true);
        for expect in [
            "prep-1  strict, in force, heard 3 s ago",
            "good (drained)",
            "12.3 ms",
            "12.8 %",
            "5 GiB",
            "90000000",
            "5.0.0.1",
            "ICON\\u{1b}[2J",
            "all that is on no list",
            "4 s ago  2 from us-1 to several: its sentry is silent",
            "eu-1 is drained, by op-1: what still runs through it is cut in 10 min",
            "  prep-1  2 destinations left, 3 connections that came in",
        ] {
            assert!(text.contains(expect), "{expect}: {text}");
        }
        let all = page(&view(), false);
        assert!(!all.contains("5.0.0.1") && all.contains("2 from us-1"), "{all}");
        let none = PathsView { hosts: Vec::new(), drains: Vec::new(), now: NOW };
        assert_eq!(page(&none, false), "no validator hides behind sentries: see policy.hidden\n");
    }

    #[test]
    fn a_sentry_can_go_when_nothing_is_left_or_the_rest_was_cut() {
        let go = "it can go";
        assert!(!drained(&drain(None), NOW).contains(go) && !drained(&drain(Some(0)), NOW).contains(go));
        let over = DrainView { is_over: true, ..drain(Some(0)) };
        assert!(drained(&over, NOW).contains(go));
        let refused = DrainView { refused: vec!["no".to_owned()], ..over };
        assert!(!drained(&refused, NOW).contains(go));
    }
}
