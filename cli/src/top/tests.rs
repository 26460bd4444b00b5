//! The screen as people see it, on a terminal of a test's own.

use super::{
    draw,
    model::{Look, Seen, Tab, View},
};
use picket_api::operator::{NodeView, StatusView};
use picket_model::{
    Defences, Generation, Lease, NodeRole, PeerHealth, RefusedSource, RefusedSources, Timestamp, Tracking,
    fixture::{in_force, node},
};
use ratatui::{Terminal, backend::TestBackend, crossterm::event::KeyCode};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
}

/// A validator and a sentry, whose counts rise with time; the second does not hold what is wanted.
fn look(seconds: u64) -> Look {
    let now = at(i64::try_from(seconds).unwrap());
    let names = [("prep-1", NodeRole::Prep, 1), ("sentry-1", NodeRole::Sentry, 2)];
    let nodes: Vec<_> = names.map(|(name, role, number)| node(name, role, number)).into();
    let views = nodes.iter().enumerate().map(|(place, host)| {
        let mut report = in_force(Generation(7 - u64::try_from(place).unwrap()), None);
        report.kernel.packets = [("allowed_p2p".to_owned(), 100), ("refused_p2p".to_owned(), 50 + 20 * seconds)].into();
        let peer = PeerHealth {
            last_handshake: (place == 0).then(|| at(-30)),
            endpoint: None,
            received_bytes: 2_000 * seconds,
            sent_bytes: 5_000_000 * seconds,
        };
        report.peers = [(nodes[1 - place].wireguard_key, peer)].into();
        report.defences = Some(Defences {
            is_tight: place == 1,
            since: at(-600),
            stopped_per_second: Some(20 + 2000 * u64::try_from(place).unwrap()),
            attack_per_second: 1000,
            syn_cookies: None,
            tracking: Some(Tracking { connections: 90, most: 100 }),
        });
        let source = |samples| RefusedSource { samples, last: now, ports: [].into() };
        let [quiet, loud] = ["203.0.113.8", "203.0.113.9"].map(|address| address.parse().unwrap());
        let addresses = [(quiet, source(3)), (loud, source(40))].into();
        report.refused_sources =
            (place == 0).then(|| Box::new(RefusedSources { samples: 43, addresses, ..RefusedSources::default() }));
        NodeView {
            node: host.clone(),
            wanted: Some(Generation(7)),
            report: Some(report),
            reported_at: Some(now),
            in_force: place == 0,
            connected: place == 0,
            lease: Lease::granted(None, at(-60)),
        }
    });
    let status = StatusView {
        mesh: "mesh-1".parse().unwrap(),
        version: "0.1.0".to_owned(),
        now,
        generation: Generation(7),
        planned_at: Some(at(-60)),
        sources: Vec::new(),
        validators: 100,
        nodes: 2,
        in_force: 1,
        alarms: ["sentry-1 is not in force\u{1b}[31m", "b", "c", "d"].map(str::to_owned).into(),

        findings: Vec::new(),
    };
    Look { status, nodes: views.collect() }
}

fn shown(seen: &Seen, tab: Tab, size: (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    let mut view = View { tab, above: 99 };
    terminal.draw(|frame| draw::screen(frame, seen, &mut view, at(40))).unwrap();
    let text = terminal.backend().to_string();
    let lines = text.lines().map(|line| line.trim_matches('"').trim_end());
    lines.collect::<Vec<_>>().join("\n")
}

fn seen() -> Seen {
    let mut seen = Seen::default();
    seen.took(look(0));
    seen.took(look(30));
    seen
}

#[test]
fn hosts_say_how_they_stand() {
    insta::assert_snapshot!(shown(&seen(), Tab::Hosts, (100, 10)), @r#"
    picket mesh-1  generation 7  1 of 2 hosts in force  100 validators  4 alarms
    sources:   seen 10 s ago
    ! sentry-1 is not in force\u{1b}[31m
    ! b
    ! c
    ! and 1 more: picket status
    HOST             ROLE   WANTED  HOLDS   TUNNELS  HEARD      STOPPED/S  STATE
    prep-1           prep   7       7       1 of 1   connected  20         in force
    sentry-1         sentry 7       6       0 of 1   10 s ago   20         NOT IN FORCE
    [1 hosts] 2 flows  3 drops  4 attack    tab: next   up/down: scroll   q: end
    "#);
}

#[test]
fn flows_have_their_pace_from_one_report_to_the_next() {
    insta::assert_snapshot!(shown(&seen(), Tab::Flows, (100, 10)), @r#"
    picket mesh-1  generation 7  1 of 2 hosts in force  100 validators  4 alarms
    sources:   seen 10 s ago
    ! sentry-1 is not in force\u{1b}[31m
    ! b
    ! c
    ! and 1 more: picket status
    HOST             PEER             HANDSHAKE    RECEIVED/S  SENT/S      LOSS   ROUND TRIP
    prep-1           sentry-1         70 s ago     2.0 kB      5.0 MB      -      -
    sentry-1         prep-1           never        2.0 kB      5.0 MB      -      -
     1 hosts [2 flows] 3 drops  4 attack    tab: next   up/down: scroll   q: end
    "#);
}

#[test]
fn drops_are_listed_the_fastest_first() {
    insta::assert_snapshot!(shown(&seen(), Tab::Drops, (100, 10)), @r#"
    picket mesh-1  generation 7  1 of 2 hosts in force  100 validators  4 alarms
    sources:   seen 10 s ago
    ! sentry-1 is not in force\u{1b}[31m
    ! b
    ! c
    ! and 1 more: picket status
    HOST             DECISION                     A SECOND   IN ALL
    prep-1           refused_p2p                  20         650
    sentry-1         refused_p2p                  20         650
     1 hosts  2 flows [3 drops] 4 attack    tab: next   up/down: scroll   q: end
    "#);
}

#[test]
fn an_attack_is_seen() {
    insta::assert_snapshot!(shown(&seen(), Tab::Attack, (120, 10)), @r#"
    picket mesh-1  generation 7  1 of 2 hosts in force  100 validators  4 alarms
    sources:   seen 10 s ago
    ! sentry-1 is not in force\u{1b}[31m
    ! b
    ! c
    ! and 1 more: picket status
    HOST             STOPPED/S  ATTACK AT  LIMITS   SINCE        TRACKING       MOST STOPPED BY      MOST FROM
    prep-1           20         1000       as ever  10 min       90 (90%)       refused_p2p          203.0.113.9
    sentry-1         2020       1000       tight    10 min       90 (90%)       refused_p2p          -
     1 hosts  2 flows  3 drops [4 attack]   tab: next   up/down: scroll   q: end
    "#);
}

#[test]
fn a_controller_that_is_away_is_said_and_what_was_seen_stays() {
    let mut seen = seen();
    seen.missed("nobody there\u{1b}[2J".to_owned());
    insta::assert_snapshot!(shown(&seen, Tab::Hosts, (60, 12)), @r#"
    picket mesh-1  generation 7  1 of 2 hosts in force  100 vali
    sources:   seen 10 s ago
    no answer, what is below is old: nobody there\u{1b}[2J
    ! sentry-1 is not in force\u{1b}[31m
    ! b
    ! c
    ! and 1 more: picket status
    HOST   ROLE   WANTED HOLDS  TUNNELS HEARD  STOPPE STATE
    prep-1 prep   7      7      1 of 1  connec 20     in force
    sentry sentry 7      6      0 of 1  10 s a 20     NOT IN FOR

    [1 hosts] 2 flows  3 drops  4 attack    tab: next   up/down:
    "#);
}

#[test]
fn the_smallest_screen_is_no_panic() {
    for size in [(1, 1), (10, 2), (20, 4)] {
        for (tab, _) in Tab::ALL {
            shown(&seen(), tab, size);
        }
    }
}

#[test]
fn keys_turn_pages_and_q_ends() {
    let mut view = View::default();
    let mut press = |key| {
        let goes_on = view.pressed(key);
        (view.tab, view.above, goes_on)
    };
    assert_eq!(press(KeyCode::Char('3')), (Tab::Drops, 0, true));
    assert_eq!(press(KeyCode::Tab), (Tab::Attack, 0, true));
    assert_eq!(press(KeyCode::Right), (Tab::Hosts, 0, true));
    assert_eq!(press(KeyCode::BackTab), (Tab::Attack, 0, true));
    assert_eq!(press(KeyCode::Down), (Tab::Attack, 1, true));
    assert_eq!(press(KeyCode::Char('k')), (Tab::Attack, 0, true));
    assert_eq!(press(KeyCode::Char('x')), (Tab::Attack, 0, true));
    assert!(!press(KeyCode::Char('q')).2);
}
