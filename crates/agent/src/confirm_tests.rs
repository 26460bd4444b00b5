//! Trials of changes, step by step, with a clock of our own.

use super::*;
use crate::guard::tests::config;
use picket_model::{AllowSet, Generation, GuardedPort, Protocol, Reason, WireGuardPeer, WireGuardPublicKey};
use std::num::NonZeroU16;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000).plus(Duration::from_secs(seconds))
}

fn revision(config: NodeConfig, number: u64) -> NodeConfig {
    NodeConfig { revision: Generation(number), generation: Generation(number), ..config }
}

fn guarding(mut config: NodeConfig, port: u16) -> NodeConfig {
    let port = GuardedPort { protocol: Protocol::Tcp, port: NonZeroU16::new(port).unwrap() };
    config.firewall.guarded.insert(port, Purpose::Rpc);
    config
}

fn letting(mut config: NodeConfig, purpose: Purpose, network: &str) -> NodeConfig {
    let set: &mut AllowSet = config.firewall.allow.entry(purpose).or_default();
    set.insert(network.parse().unwrap(), Reason::Policy { line: "test".into() });
    config
}

fn with_peer(mut config: NodeConfig, byte: u8, network: &str) -> NodeConfig {
    let peer = config.wireguard.peers.first_key_value().unwrap().1.clone();
    let peer = WireGuardPeer { allowed_ips: [network.parse().unwrap()].into(), ..peer };
    config.wireguard.peers.insert(WireGuardPublicKey::new([byte; 32]).unwrap(), peer);
    config
}

fn held() -> Ledger {
    Ledger { config: Some(config()), ..Ledger::default() }
}

/// A ledger with a change on trial since second 0.
fn on_trial() -> Ledger {
    taken(&held(), revision(guarding(config(), 9999), 9), false, at(0))
}

fn unanswered() -> Evidence {
    Evidence { answered: false, handshake: None }
}

#[test]
fn what_could_cut_the_host_off_is_tried_and_mere_elements_are_not() {
    let check = |offered: NodeConfig, tried: bool| {
        assert_eq!(can_cut_off(Some(&config()), &offered), tried);
        let ledger = taken(&held(), offered, false, at(0));
        assert_eq!(ledger.trial.map(|trial| trial.before), tried.then(|| Some(config())));
    };
    check(guarding(config(), 9999), true);
    check(letting(config(), Purpose::Admin, "192.0.2.0/24"), true);
    check(with_peer(config(), 7, "10.77.0.9/32"), true);
    let mut device = config();
    device.wireguard.listen_port += 1;
    check(device, true);
    check(config(), false);
    check(letting(config(), Purpose::P2p, "203.0.113.8/32"), false);
    // A revoke waits for nothing.
    let mut alone = config();
    alone.wireguard.peers.clear();
    check(alone, false);
    assert!(can_cut_off(None, &config()));
}

#[test]
fn only_a_controller_that_was_there_before_and_is_gone_after_takes_a_change_back() {
    let trial = |was_away| Trial { before: None, since: at(10), was_away, additions: Additions::default() };
    let answered = Evidence { answered: true, handshake: None };
    assert_eq!(verdict(&trial(false), answered), Verdict::Reached);
    assert_eq!(verdict(&trial(false), unanswered()), Verdict::TakeBack);
    assert_eq!(verdict(&trial(true), unanswered()), Verdict::WasAway);
    let heard = |second| Evidence { answered: false, handshake: Some(at(second)) };
    assert_eq!(verdict(&trial(true), heard(11)), Verdict::PeerHeard);
    assert_eq!(verdict(&trial(true), heard(9)), Verdict::WasAway);
    // A tunnel that works is no way to the controller, which was there before.
    assert_eq!(verdict(&trial(false), heard(11)), Verdict::TakeBack);
}

#[test]
fn a_change_that_is_confirmed_is_simply_held() {
    let ledger = confirmed(&on_trial());
    assert_eq!(ledger, Ledger { additions: ledger.additions.clone(), config: on_trial().config, ..Ledger::default() });
}

#[test]
fn a_change_that_is_taken_back_leaves_what_was_confirmed_and_is_written_down() {
    let ledger = taken_back(&on_trial(), Duration::from_secs(30), at(30));
    assert_eq!((&ledger.config, &ledger.trial), (&Some(config()), &None));
    let taken = ledger.taken_back.clone().unwrap();
    assert_eq!((taken.revision, taken.at), (Generation(9), at(30)));
    assert!(taken.reason.contains("within 30 s"), "{}", taken.reason);
    assert_eq!(ledger.judged(), Generation(9));
    // It is forgotten with the next one that is accepted.
    let next = super::taken(&ledger, revision(letting(config(), Purpose::P2p, "203.0.113.8/32"), 10), false, at(40));
    assert_eq!((next.taken_back, next.trial), (None, None));
}

#[test]
fn nobody_who_was_cut_meanwhile_comes_back_with_what_was_confirmed() {
    let before = letting(with_peer(config(), 7, "10.77.0.9/32"), Purpose::P2p, "203.0.113.8/32");
    let before = letting(letting(before, Purpose::Overlay, "10.77.0.9/32"), Purpose::Admin, "192.0.2.0/24");
    let held = Ledger { config: Some(before.clone()), ..Ledger::default() };
    // One change takes a sentry, a validator and an admin network away, and cuts the host off.
    let ledger = taken(&held, revision(guarding(config(), 9999), 9), false, at(0));
    let back = taken_back(&ledger, Duration::from_secs(30), at(30)).config.unwrap();
    assert_eq!(back.wireguard.peers, config().wireguard.peers);
    for purpose in [Purpose::P2p, Purpose::Overlay] {
        assert_eq!(back.firewall.allowed(purpose), config().firewall.allowed(purpose));
    }
    assert_eq!(back.firewall.allowed(Purpose::Admin), before.firewall.allowed(Purpose::Admin), "the way in returns");
    assert_eq!((back.firewall.guarded, back.revision), (before.firewall.guarded, before.revision));
}

#[test]
fn what_returns_is_let_in_for_the_reasons_of_now() {
    let line = |line: &str| Reason::Policy { line: line.into() };
    let (network, wider): (IpNet, IpNet) = ("203.0.113.8/32".parse().unwrap(), "203.0.113.0/28".parse().unwrap());
    let with = |config: NodeConfig, network, reason| {
        let mut config = config;
        config.firewall.allow.entry(Purpose::P2p).or_default().insert(network, reason);
        config
    };
    let before = with(with(config(), network, line("gone")), network, line("stays"));
    let newer = with(with(guarding(config(), 9999), network, line("stays")), wider, line("came"));
    let held = Ledger { config: Some(before), ..Ledger::default() };
    let ledger = taken(&held, revision(newer, 9), false, at(0));
    let back = taken_back(&ledger, Duration::from_secs(30), at(30)).config.unwrap();
    let allowed = back.firewall.allowed(Purpose::P2p);
    assert_eq!(allowed.0.get(&network), Some(&[line("stays"), line("came")].into()), "whoever is gone is no reason");
    assert_eq!(allowed.0.get(&wider), None, "and nobody comes by what was taken back");
}

#[test]
fn elements_go_on_changing_while_a_change_is_on_trial_and_gain_it_no_time() {
    let next = letting(guarding(config(), 9999), Purpose::P2p, "203.0.113.8/32");
    let ledger = taken(&on_trial(), revision(next, 10), true, at(20));
    assert_eq!(ledger.trial, on_trial().trial);
    // Another change gains the time, and that the controller is away by now says nothing for it: the first may be why.
    let ledger = taken(&ledger, revision(guarding(config(), 9998), 11), true, at(25));
    let trial = ledger.trial.unwrap();
    assert_eq!((trial.before, trial.since, trial.was_away), (Some(config()), at(25), false));
    let away = taken(&held(), revision(guarding(config(), 9999), 9), true, at(0));
    let away = taken(&away, revision(guarding(config(), 9998), 10), true, at(5));
    assert!(away.trial.unwrap().was_away);
}

#[test]
fn an_agent_that_is_killed_in_between_holds_what_was_confirmed_and_tries_once_more() {
    let stored: Ledger = serde_json::from_str(&serde_json::to_string(&on_trial()).unwrap()).unwrap();
    assert_eq!(stored, on_trial());
    let first = interrupted(&stored, at(5));
    assert_eq!((&first.config, &first.trial, &first.taken_back), (&Some(config()), &None, &None));
    assert_eq!(first.judged(), config().revision, "the controller is asked for it again");
    let again = taken(&first, revision(guarding(config(), 9999), 9), false, at(6));
    assert!(again.trial.is_some());
    // Confirmed the second time, all is well.
    assert_eq!(confirmed(&again).interrupted, None);
    // Interrupted the second time, it may be what ends the agent.
    let second = interrupted(&again, at(8));
    assert_eq!((&second.config, &second.trial), (&Some(config()), &None));
    assert!(second.taken_back.unwrap().reason.contains("ended twice"));
}

#[test]
fn a_first_wanted_state_that_cuts_the_host_off_leaves_it_closed() {
    let ledger = taken(&Ledger::default(), config(), false, at(0));
    assert!(ledger.trial.is_some());
    let ledger = taken_back(&ledger, Duration::from_secs(30), at(30));
    assert_eq!(ledger.config, None);
    assert_eq!(ledger.judged(), config().revision);
}

#[test]
fn without_a_trial_there_is_nothing_to_take_back() {
    assert_eq!(taken_back(&held(), Duration::from_secs(30), at(0)), held());
    assert_eq!(interrupted(&held(), at(0)), held());
}

#[test]
fn a_change_is_to_blame_only_if_the_controller_answers_without_it() {
    let back = taken_back(&on_trial(), Duration::from_secs(30), at(30));
    assert_eq!((&back.suspected, sought_since(&back)), (&on_trial().config, Some(at(30))));
    assert_eq!(back.judged(), Generation(9), "it is not taken again while that is open");
    let blamed = cleared_up(&back, true, at(40));
    assert_eq!((&blamed.suspected, sought_since(&blamed)), (&None, None));
    assert_eq!((&blamed.taken_back, &blamed.config, blamed.judged()), (&back.taken_back, &back.config, Generation(9)));
    // Silence without the change too is no order: it is held again, for good.
    let absolved = cleared_up(&back, false, at(60));
    assert_eq!((&absolved.config, &absolved.trial), (&on_trial().config, &None));
    assert_eq!((&absolved.taken_back, &absolved.suspected, absolved.judged()), (&None, &None, Generation(9)));
    // Who takes something newer meanwhile has nothing left to suspect.
    assert_eq!(taken(&back, revision(guarding(config(), 9998), 10), false, at(31)).suspected, None);
    // A change under which the agent ended twice is no suspicion.
    let again = Ledger { interrupted: Some(Generation(9)), ..on_trial() };
    assert_eq!(interrupted(&again, at(40)).suspected, None);
}

#[test]
fn what_is_taken_back_lets_nobody_in_and_counts_for_nothing() {
    let change = revision(letting(guarding(config(), 9999), Purpose::P2p, "203.0.113.8/32"), 9);
    let ledger = taken(&held(), change, false, at(0));
    assert_eq!(ledger.additions.within(at(1)), 1);
    let back = taken_back(&ledger, Duration::from_secs(30), at(30));
    assert_eq!(back.additions.within(at(31)), 0);
    assert_eq!(interrupted(&ledger, at(5)).additions.within(at(6)), 0);
    assert_eq!(cleared_up(&back, false, at(60)).additions.within(at(61)), 1);
}
