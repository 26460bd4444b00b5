//! The promise of `docs/security.md`, line by line: which state a host is in, and whom the rules that follow from it let in.
//! The rules are judged by the same model of nf_tables as the firewall's own tests.

#[path = "../../firewall/tests/firewall/packet.rs"]
#[allow(dead_code, reason = "the firewall's own tests ask for more")]
mod packet;

use super::*;
use crate::{
    additions::Additions,
    confirm::Trial,
    guard::tests::{config, guard},
};
use ipnet::IpNet;
use packet::{Kind, Meters, Packet, decide};
use picket_firewall::{Features, HostFacts, lower};
use picket_model::{GuardedPort, NodeRole, Protocol, Timestamp};
use std::{collections::BTreeSet, num::NonZeroU16, path::Path};

const GUARDED: [u16; 3] = [7100, 9000, 9080];
const VALIDATOR: &str = "203.0.113.7";
const MEMBER: &str = "10.77.0.3";
const ADMIN: &str = "198.51.100.250";
const STRANGER: &str = "192.0.2.66";
/// SSH, the tunnels' own port, and one that nobody speaks of.
const UNGUARDED: [(Protocol, u16); 3] = [(Protocol::Tcp, 22), (Protocol::Udp, 51820), (Protocol::Tcp, 2222)];

fn rules() -> GuardRules {
    GuardRules { admin: BTreeSet::from(["198.51.100.248/29".parse::<IpNet>().unwrap()]), ..guard().rules }
}

fn held(role: NodeRole) -> NodeConfig {
    NodeConfig { role, ..config() }
}

/// Whether a packet gets through, on a host of either role in that state that holds a good wanted state.
fn passes(posture: Posture, interface: &str, source: &str, (protocol, port): (Protocol, u16)) -> bool {
    let passes = [NodeRole::Prep, NodeRole::Sentry].map(|role| {
        let Some(policy) = posture.firewall(&rules(), Some(&held(role))) else { return true };
        let ruleset =
            lower(&policy, &HostFacts { overlay_interface: "picket0".parse().unwrap(), features: Features::default() });
        let to = GuardedPort { protocol, port: NonZeroU16::new(port).unwrap() };
        let packet = Packet {
            interface: interface.to_owned(),
            source: source.parse().unwrap(),
            to,
            passing: None,
            kind: Kind::Running,
        };
        decide(&ruleset, &packet, Meters::Within).accepted
    });
    assert_eq!(passes[0], passes[1], "a validator and a sentry decide alike");
    passes[0]
}

/// Every guarded port, in both protocols.
fn guarded() -> impl Iterator<Item = (Protocol, u16)> {
    GUARDED.into_iter().flat_map(|port| [(Protocol::Tcp, port), (Protocol::Udp, port)])
}

/// What holds in every state that has a firewall: strangers and forged members never, the operator and the host itself
/// always, and what is not guarded is left alone.
fn check_always(posture: Posture) {
    for to in guarded() {
        assert!(!passes(posture, "eth0", STRANGER, to), "{posture}: a stranger to {to:?}");
        assert!(!passes(posture, "eth0", "2001:db8::66", to), "{posture}: a stranger by IPv6 to {to:?}");
        assert!(!passes(posture, "eth0", MEMBER, to), "{posture}: a forged member to {to:?}");
        assert!(passes(posture, "eth0", ADMIN, to), "{posture}: the operator to {to:?}");
        assert!(passes(posture, "lo", "127.0.0.1", to), "{posture}: the host itself to {to:?}");
    }
    for to in UNGUARDED {
        assert!(passes(posture, "eth0", STRANGER, to), "{posture}: {to:?} is nobody's business");
    }
}

fn check_closed(posture: Posture) {
    check_always(posture);
    for to in guarded() {
        assert!(!passes(posture, "eth0", VALIDATOR, to), "{posture}: a validator to {to:?}");
        assert!(!passes(posture, "picket0", MEMBER, to), "{posture}: a member inside the tunnel to {to:?}");
    }
    assert!(!posture.has_tunnels());
}

fn check_let_in(posture: Posture) {
    check_always(posture);
    for to in guarded() {
        assert!(passes(posture, "eth0", VALIDATOR, to), "{posture}: a validator to {to:?}");
        assert!(passes(posture, "picket0", MEMBER, to), "{posture}: a member inside the tunnel to {to:?}");
        assert!(
            !passes(posture, "picket0", STRANGER, to),
            "{posture}: a stranger's address inside the tunnel to {to:?}"
        );
    }
}

#[test]
fn before_the_network_is_up_what_was_confirmed_last_is_in_force_without_tunnels() {
    check_let_in(Posture::BeforeNetwork);
    assert!(!Posture::BeforeNetwork.has_tunnels());
}

#[test]
fn locked_down_lets_the_operator_in_and_nobody_else() {
    check_closed(Posture::LockedDown);
    // Nothing at all is known.
    let policy = Posture::LockedDown.firewall(&GuardRules::default(), None).unwrap();
    assert_eq!(policy.guarded.len(), 6);
    assert!(policy.allow.values().all(|set| set.0.is_empty()));
}

#[test]
fn enrolled_lets_the_operator_in_and_nobody_else() {
    check_closed(Posture::Enrolled);
}

#[test]
fn in_force_lets_in_whom_the_wanted_state_names() {
    check_let_in(Posture::InForce);
    assert!(Posture::InForce.has_tunnels());
}

#[test]
fn a_controller_that_is_away_changes_nothing() {
    check_let_in(Posture::ControllerAway);
    let of = |posture: Posture| (posture.firewall(&rules(), Some(&config())), posture.has_tunnels());
    assert_eq!(of(Posture::ControllerAway), of(Posture::InForce));
}

#[test]
fn on_trial_is_in_force_until_it_is_taken_back() {
    check_let_in(Posture::OnTrial);
    assert!(Posture::OnTrial.has_tunnels());
}

#[test]
fn refused_by_guard_lets_the_operator_in_and_nobody_else() {
    check_closed(Posture::RefusedByGuard);
}

#[test]
fn revoked_lets_the_operator_in_and_nobody_else() {
    check_closed(Posture::Revoked);
}

#[test]
fn a_host_that_hides_strictly_does_so_in_every_state_that_has_a_firewall() {
    let mut held = config();
    let calls = [std::num::NonZeroU16::new(7100).unwrap()].into();
    let hidden = picket_model::Hidden { calls, strict: true, ..picket_model::Hidden::default() };
    held.firewall.hidden = Some(Box::new(hidden.clone()));
    for posture in Posture::ALL.into_iter().filter(|posture| *posture != Posture::Released) {
        let firewall = posture.firewall(&rules(), Some(&held)).unwrap();
        assert_eq!(firewall.hidden.as_deref(), Some(&hidden), "{posture}");
    }
    // One that is not strict calls directly where there are no tunnels.
    held.firewall.hidden = Some(Box::new(picket_model::Hidden { strict: false, ..hidden }));
    assert_eq!(Posture::Revoked.firewall(&rules(), Some(&held)).unwrap().hidden, None);
}

#[test]
fn released_is_the_one_state_without_a_firewall() {
    for posture in Posture::ALL {
        let firewall = posture.firewall(&rules(), Some(&config()));
        assert_eq!(firewall.is_none(), posture == Posture::Released, "{posture}");
        assert!(firewall.is_none_or(|policy| policy.guarded.len() >= 6), "{posture}");
    }
    assert!(!Posture::Released.has_tunnels());
}

fn check_state(change: impl FnOnce(&mut Facts<'_>), ledger: &Ledger, expect: Posture) {
    let agent = AgentIs::AtWork(Some(true));
    let mut facts = Facts { released: false, enrolled: true, ledger, refused: false, agent };
    change(&mut facts);
    assert_eq!(Posture::of(facts), expect, "{facts:?}");
}

#[test]
fn the_state_follows_from_the_facts() {
    let empty = Ledger::default();
    let member = Ledger { config: Some(config()), ..Ledger::default() };
    let revoked = Ledger { standing: Standing::Revoked, ..member.clone() };
    let trial =
        Trial { before: None, since: Timestamp::from_millis(0), was_away: false, additions: Additions::default() };
    let trial = Ledger { trial: Some(trial), ..member.clone() };
    check_state(|_| (), &member, Posture::InForce);
    check_state(|facts| facts.agent = AgentIs::AtWork(None), &member, Posture::InForce);
    check_state(|facts| facts.agent = AgentIs::AtWork(Some(false)), &member, Posture::ControllerAway);
    check_state(|facts| facts.agent = AgentIs::Away, &member, Posture::BeforeNetwork);
    check_state(|_| (), &trial, Posture::OnTrial);
    check_state(|facts| facts.agent = AgentIs::AtWork(Some(false)), &trial, Posture::OnTrial);
    check_state(|facts| facts.refused = true, &member, Posture::RefusedByGuard);
    check_state(|facts| facts.refused = true, &trial, Posture::RefusedByGuard);
    check_state(|_| (), &empty, Posture::Enrolled);
    check_state(|facts| facts.enrolled = false, &empty, Posture::LockedDown);
    check_state(|_| (), &revoked, Posture::Revoked);
    check_state(|facts| facts.enrolled = false, &revoked, Posture::Revoked);
    for ledger in [&empty, &member, &revoked, &trial] {
        check_state(|facts| facts.released = true, ledger, Posture::Released);
    }
}

/// The lines of a table of `docs/security.md` under a heading, as state and whole line.
fn lines<'a>(text: &'a str, heading: &str) -> Vec<(&'a str, &'a str)> {
    let (_, after) = text.split_once(heading).unwrap_or_else(|| panic!("docs/security.md has no {heading:?}"));
    let section = after.split("\n#").next().unwrap();
    let rows = section.lines().filter_map(|line| Some((line.strip_prefix("| ")?.split(" |").next()?, line)));
    rows.filter(|(state, _)| *state != "state" && !state.starts_with('-')).collect()
}

#[test]
fn the_page_has_every_state_for_every_role_and_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let tests = ["crates/agent/src/posture_tests.rs", "crates/agent/src/confirm_tests.rs"].map(|file| root.join(file));
    let packets = std::fs::read_dir(root.join("tests/netns")).unwrap().map(|entry| entry.unwrap().path());
    let tests: String = tests.into_iter().chain(packets).map(|file| std::fs::read_to_string(file).unwrap()).collect();
    for heading in ["### A validator's host", "### A sentry"] {
        let lines = lines(&page, heading);
        let states: BTreeSet<&str> = lines.iter().map(|(state, _)| *state).collect();
        let names: BTreeSet<&str> = Posture::ALL.iter().map(|posture| posture.name()).collect();
        assert_eq!((states, lines.len()), (names, Posture::ALL.len()), "{heading}");
        for (state, line) in lines {
            let named: Vec<&str> = line.split('`').skip(1).step_by(2).filter(|word| word.contains('_')).collect();
            assert!(!named.is_empty(), "{heading}, {state}: no test");
            for test in named {
                assert!(tests.contains(&format!("fn {test}()")), "{heading}, {state}: there is no test {test}");
            }
        }
    }
}
