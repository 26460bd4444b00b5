//! What is shown follows from what was said, and names, types and labels are what the documentation says.

use super::{
    Asker, Board,
    health::{NodeHealth, Seen, Trouble, Verdict},
};
use crate::status::LastWord;
use picket_model::{Generation, NodeReport, ReconcilerStatus, Timestamp, fixture::in_force};
use picket_telemetry::document;
use std::{
    path::Path,
    time::{Duration, Instant},
};

#[test]
fn what_an_agent_counts_is_what_the_documentation_says() {
    let board = Board::new("picket-test-agent");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    document::hold(&page, "picket-prep-agent and picket-sentry-agent", board.metrics()).unwrap().unwrap();
}

fn at(seconds: u64) -> Seen {
    Seen {
        state: Some("started".to_owned()),
        height: Some(100 + seconds / 2),
        block_age: Some(Duration::from_secs(1)),
        ..Seen::default()
    }
}

/// Looks each five seconds, at what `seen` is by then; the verdicts, each with the second from which it holds.
fn verdicts(seconds: u64, seen: impl Fn(u64) -> Seen) -> Vec<(u64, String)> {
    let (start, mut health) = (Instant::now(), NodeHealth::default());
    let mut said: Vec<(u64, Verdict)> = vec![(0, Verdict::Unknown)];
    for second in (0..seconds).step_by(5) {
        let verdict = health.look(&seen(second), start + Duration::from_secs(second)).clone();
        if !verdict.is_like(&said.last().unwrap().1) {
            said.push((second, verdict));
        }
    }
    said.into_iter().map(|(second, verdict)| (second, verdict.to_string())).collect()
}

#[test]
fn what_may_be_wrong_with_all_nodes_is_told_from_what_is_wrong_with_this_one() {
    let of = |seen: Seen| {
        let (start, mut health) = (Instant::now(), NodeHealth::default());
        let looks = (0..60).step_by(5).map(|second| health.look(&seen, start + Duration::from_secs(second)).clone());
        match looks.last() {
            Some(Verdict::Unwell(trouble)) => trouble.may_be_everybodys,
            other => panic!("{other:?}"),
        }
    };
    assert!(of(at(0)), "it stands");
    assert!(!of(Seen { state: Some("stopped".to_owned()), ..at(0) }));
    assert!(!of(Seen { chain_error: Some("no disk".to_owned()), ..at(0) }));
    assert!(!of(Seen { error: Some("nobody listens".to_owned()), ..Seen::default() }));
}

fn check(seconds: u64, seen: impl Fn(u64) -> Seen, expect: &[(u64, &str)]) {
    let found = verdicts(seconds, seen);
    let matches =
        |((second, text), (at, start)): (&(u64, String), &(u64, &str))| second == at && text.starts_with(start);
    assert!(found.len() == expect.len() && found.iter().zip(expect).all(matches), "{found:?}, expected {expect:?}");
}

#[test]
fn a_node_is_well_once_it_was_seen_to_go_on() {
    check(60, at, &[(0, "not known"), (15, "well")]);
    check(60, |_| at(0), &[(0, "not known"), (45, "not well: it stands at height 100 for 45 s")]);
}

#[test]
fn one_look_decides_nothing_and_three_do() {
    let fails = |from: u64, to: u64| {
        move |second: u64| match second {
            second if (from..to).contains(&second) => Seen { error: Some("no answer".into()), ..Seen::default() },
            second => at(second),
        }
    };
    check(120, fails(60, 70), &[(0, "not known"), (15, "well")]);
    check(120, fails(60, 90), &[(0, "not known"), (15, "well"), (70, "not well: no answer"), (100, "well")]);
    check(20, fails(0, 20), &[(0, "not known"), (10, "not well")]);
}

#[test]
fn a_node_that_answers_and_goes_nowhere_is_not_well_and_no_flapping_follows() {
    let stands = |second: u64| at(second.min(60));
    let expect = "not well: it stands at height 130 for ";
    check(300, stands, &[(0, "not known"), (15, "well"), (105, expect)]);
    // It catches up: blocks come, and old ones first.
    let behind = |second: u64| Seen { block_age: Some(Duration::from_secs(200 - second)), ..at(second) };
    check(200, behind, &[(0, "not known"), (10, "not well: its last block, "), (190, "well")]);
}

#[test]
fn a_chain_in_any_other_state_is_not_well() {
    for state in ["stopped", "pruning 3/9 running", "unknown"] {
        let seen = |second| Seen { state: Some(state.to_owned()), ..at(second) };
        check(30, seen, &[(0, "not known"), (10, &format!("not well: its chain is {state:?}"))]);
    }
    let sick = |second| Seen { chain_error: Some("disk full".into()), ..at(second) };
    check(30, sick, &[(0, "not known"), (10, "not well: its chain says \"disk full\"")]);
}

fn word(change: impl FnOnce(&mut NodeReport)) -> LastWord {
    let mut report = in_force(Generation(3), serde_json::from_str("\"d\"").unwrap());
    change(&mut report);
    LastWord { at: Timestamp::from_millis(5_000), controller_answers: Some(true), report }
}

#[test]
fn ready_is_what_was_read_back_not_long_ago_and_a_node_that_goes_on() {
    let board = Board::new("test");
    let now = Instant::now();
    let by = |asker, board: &Board, now| board.readiness(asker, now).reasons.join("; ");
    let reasons = |board: &Board, now| by(Asker::Operator, board, now);
    assert_eq!(reasons(&board, now), "nothing was read back yet");
    let failed = |report: &mut NodeReport| report.firewall = ReconcilerStatus::Failed { error: "no nft".into() };
    board.tell(&word(failed), None, Timestamp::from_millis(0));
    assert_eq!(reasons(&board, now), "firewall: failed: no nft; no wanted state yet");
    board.tell(&word(|_| ()), Some(&crate::guard::tests::config()), Timestamp::from_millis(0));
    assert_eq!(reasons(&board, now), "");
    assert_eq!(reasons(&board, now + Duration::from_secs(120)), "the agent said nothing for 119 s");
    board.expect_node();
    assert_eq!(reasons(&board, now), "whether the node is well is not known yet");
    // A balancer that replaces what is not ready must not hear of what may be wrong with every node.
    for (everybodys, balancer) in [(true, ""), (false, "the node: it stands")] {
        let trouble = Trouble { why: "it stands".to_owned(), may_be_everybodys: everybodys };
        board.tell_node(&at(0), &Verdict::Unwell(trouble), now);
        assert_eq!(
            (reasons(&board, now).as_str(), by(Asker::Balancer, &board, now).as_str()),
            ("the node: it stands", balancer)
        );
    }
    board.tell_node(&at(0), &Verdict::Well, now);
    assert_eq!(reasons(&board, now), "");
    let late = "whether the node is well is not known: it was last looked at 40 s ago";
    assert_eq!(reasons(&board, now + Duration::from_secs(40)), late);
}

#[test]
fn what_is_not_known_has_no_value_and_counters_of_others_follow_them_down() {
    let board = Board::new("test");
    let text = || board.metrics().render().unwrap();
    let packets = |count| move |report: &mut NodeReport| report.kernel.packets = [("refused_p2p".into(), count)].into();
    board.tell(&word(packets(7)), None, Timestamp::from_millis(1_500));
    assert!(text().contains("picket_firewall_packets_total{decision=\"refused_p2p\"} 7\n"), "{}", text());
    assert!(text().contains("picket_certificate_expires_timestamp_seconds 1.5\n"), "{}", text());
    assert!(!text().contains("\npicket_node_block_height "), "{}", text());
    board.tell(&word(packets(2)), None, Timestamp::from_millis(0));
    assert!(text().contains("picket_firewall_packets_total{decision=\"refused_p2p\"} 2\n"), "{}", text());
    let prep = picket_chain::node::PrepStanding { total_blocks: 100, validated_blocks: 90, ..Default::default() };
    board.tell_node(&Seen { prep: Some(prep), ..at(8) }, &Verdict::Well, Instant::now());
    for line in
        ["picket_node_block_height 104", "picket_prep_missed_blocks_total 10", "picket_node_ready{verdict=\"well\"} 1"]
    {
        assert!(text().contains(&format!("\n{line}\n")), "{line} in {}", text());
    }
    board.tell_node(&Seen { error: Some("gone".into()), ..Seen::default() }, &Verdict::Unknown, Instant::now());
    assert!(text().contains("\npicket_node_up 0\n") && !text().contains("\npicket_node_block_height "), "{}", text());
}
