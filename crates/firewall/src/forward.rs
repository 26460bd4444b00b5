//! The chains that are about hidden validators. On a sentry: what is forwarded to them and let out for them, and that nothing
//! else passes between the tunnels and the world. On the validator's host: that no call to others' P2P and RPC ports leaves
//! but through a tunnel. Who may reach a forwarded port was decided before, by the gates of `gates`.

use crate::{
    Chain, Hook, HostFacts, Match, Rule, Ruleset, Set, Verdict,
    lower::is_private,
    ruleset::{NEAR, PRIVATE, SILENT},
};
use picket_model::{FirewallPolicy, Forward, GuardedPort, Hidden, Protocol, Purpose, Reason};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};

/// The set of ports at which others are called.
const CALLS: &str = "calls";
/// What is no forwarded flow and would pass between a tunnel and the world.
const REFUSED_FORWARD: &str = "refused_forward";
/// What would leave a hidden validator's host directly.
const REFUSED_DIRECT: &str = "refused_direct";

/// Adds what a policy's forwards and hiding need; nothing where it has neither.
pub(crate) fn add(ruleset: &mut Ruleset, policy: &FirewallPolicy, host: &HostFacts) {
    if !policy.forwards.is_empty() {
        add_forwards(ruleset, &policy.forwards, host);
    }
    if let Some(hidden) = &policy.hidden {
        add_hidden(ruleset, policy, hidden, host);
    }
}

fn add_forwards(ruleset: &mut Ruleset, forwards: &BTreeSet<Forward>, host: &HostFacts) {
    let tunnels = &host.overlay_interface;
    let calls = forwards.iter().flat_map(|forward| forward.calls.iter().copied());
    ruleset.sets.insert(CALLS.to_owned(), ports(calls));
    ruleset.counters.insert(REFUSED_FORWARD.to_owned());

    let arrives = forwards.iter().filter(|forward| !forward.is_closed).flat_map(|forward| arrivals(forward, host));
    ruleset.chains.insert("nat_in".to_owned(), chain(Hook::Translation, arrives));

    // Answers to a forwarded call come back to the sentry that forwarded it, and to no other.
    let inwards = rule([Match::Leaves(tunnels.clone()), Match::Translated], Verdict::Masquerade);
    let outwards = both(forwards).map(|(_, own)| {
        let matches = [Match::Interface(tunnels.clone()), Match::NotLeaves(tunnels.clone()), Match::From(own)];
        rule(matches, Verdict::Masquerade)
    });
    ruleset.chains.insert("nat_out".to_owned(), chain(Hook::Masquerading, [inwards].into_iter().chain(outwards)));

    let not_ours = rule([Match::NotInterface(tunnels.clone()), Match::NotLeaves(tunnels.clone())], Verdict::Accept);
    let clamp = rule([Match::Opens], Verdict::ClampSegments);
    let inwards = both(forwards).filter(|(forward, _)| !forward.is_closed).map(|(forward, own)| {
        let to = [Match::Leaves(tunnels.clone()), Match::To(own), Match::TcpPort(forward.to_port), Match::Translated];
        rule(to, Verdict::Accept)
    });
    let outwards = both(forwards).map(|(_, own)| {
        // From one tunnel into another is no way out. What belongs to no connection is not translated either, and would show the
        // world an address of the mesh: so does a connection that moved here while another of its ports is remembered.
        let from = [Match::Interface(tunnels.clone()), Match::NotLeaves(tunnels.clone()), Match::From(own)];
        rule(from.into_iter().chain([Match::Port(CALLS.to_owned()), Match::Calls]), Verdict::Accept)
    });
    let answers = rule([Match::Answers], Verdict::Accept);
    let rest = drops([], REFUSED_FORWARD);
    let pass = [not_ours, clamp].into_iter().chain(inwards).chain(outwards).chain([answers, rest]);
    ruleset.chains.insert("pass".to_owned(), chain(Hook::Forward, pass));
}

/// What comes from outside to the forwarded port, in either family, goes to the validator's host.
fn arrivals(forward: &Forward, host: &HostFacts) -> Vec<Rule> {
    let outside = || Match::NotInterface(host.overlay_interface.clone());
    let to = |own: IpAddr| Verdict::TranslateTo(SocketAddr::new(own, forward.to_port.get()));
    let own = [IpAddr::from(forward.to.v4), IpAddr::from(forward.to.v6)];
    if forward.addresses.is_empty() {
        return own.map(|own| rule([outside(), Match::OwnAddress, Match::TcpPort(forward.port)], to(own))).into();
    }
    // Out of a tunnel too: another hidden validator behind this sentry calls this one as everybody does.
    let at = |address: &IpAddr| {
        let own = if address.is_ipv4() { forward.to.v4.into() } else { forward.to.v6.into() };
        rule([Match::To(*address), Match::TcpPort(forward.port)], to(own))
    };
    forward.addresses.iter().map(at).collect()
}

fn add_hidden(ruleset: &mut Ruleset, policy: &FirewallPolicy, hidden: &Hidden, host: &HostFacts) {
    ruleset.sets.insert(CALLS.to_owned(), ports(hidden.calls.iter().copied()));
    let silent = format!("{SILENT}_hosts4");
    ruleset.sets.insert(silent.clone(), Set::Hosts4(hidden.silent.iter().copied().collect()));
    // What came in through a sentry that is silent leads nowhere. The host's end learns it with its next packet, and calls anew.
    let reset = || rule([Match::Destination4(silent.clone()), Match::Tcp], Verdict::Reset);
    ruleset.chains.insert("reset_own".to_owned(), chain(Hook::Output, [reset()]));
    ruleset.chains.insert("reset_passing".to_owned(), chain(Hook::Forward, [reset()]));
    if !hidden.strict {
        return;
    }
    ruleset.counters.insert(REFUSED_DIRECT.to_owned());
    let away = || {
        [
            Match::NotLeaves(host.overlay_interface.clone()),
            Match::NotLeaves(crate::InterfaceName::loopback()),
            Match::Port(CALLS.to_owned()),
        ]
        .into_iter()
    };
    let (private4, private6) = (format!("{PRIVATE}_nets4"), format!("{PRIVATE}_nets6"));
    let (near4, near6) = (format!("{NEAR}_hosts4"), format!("{NEAR}_hosts6"));
    let validators = || near_validators(policy);
    let of4 = |address| if let IpAddr::V4(v4) = address { Some(v4) } else { None };
    let of6 = |address| if let IpAddr::V6(v6) = address { Some(v6) } else { None };
    ruleset.sets.insert(near4.clone(), Set::Hosts4(validators().filter_map(of4).collect()));
    ruleset.sets.insert(near6.clone(), Set::Hosts6(validators().filter_map(of6).collect()));
    let validators = [Match::Destination4(near4), Match::Destination6(near6)];
    // A validator is a stranger even in a private range; other neighbours are this operator's own.
    let strangers = [Match::NotDestination4(private4), Match::NotDestination6(private6)];
    // What the host answers goes to ports of any number. Where nothing is tracked nothing is an answer, and all is asked for.
    let answers = rule([Match::Answers], Verdict::Accept);
    let rules = validators.into_iter().chain(strangers).map(|whom| drops(away().chain([whom]), REFUSED_DIRECT));
    ruleset.chains.insert("away".to_owned(), chain(Hook::Postrouting, [answers].into_iter().chain(rules)));
}

/// Validators that live where otherwise only neighbours do.
fn near_validators(policy: &FirewallPolicy) -> impl Iterator<Item = IpAddr> {
    let listed = [Purpose::P2p, Purpose::Rpc].into_iter().flat_map(|purpose| policy.allowed(purpose).0.iter());
    let is_validator = |reason: &Reason| matches!(reason, Reason::Prep { .. });
    let validators = listed.filter(move |(_, reasons)| reasons.iter().any(is_validator));
    validators.map(|(network, _)| network.addr()).filter(|address| is_private(*address))
}

/// Each forward with each of the addresses that its validator has inside the mesh.
fn both(forwards: &BTreeSet<Forward>) -> impl Iterator<Item = (&Forward, IpAddr)> {
    let own = |forward: &Forward| [IpAddr::from(forward.to.v4), IpAddr::from(forward.to.v6)];
    forwards.iter().flat_map(move |forward| own(forward).map(|address| (forward, address)))
}

fn ports(ports: impl Iterator<Item = NonZeroU16>) -> Set {
    Set::Ports(ports.map(|port| GuardedPort { protocol: Protocol::Tcp, port }).collect())
}

fn chain(hook: Hook, rules: impl IntoIterator<Item = Rule>) -> Chain {
    Chain { hook: Some(hook), rules: rules.into_iter().collect() }
}

fn rule(matches: impl IntoIterator<Item = Match>, verdict: Verdict) -> Rule {
    Rule { matches: matches.into_iter().collect(), counter: None, verdict }
}

fn drops(matches: impl IntoIterator<Item = Match>, counter: &str) -> Rule {
    Rule { matches: matches.into_iter().collect(), counter: Some(counter.to_owned()), verdict: Verdict::Drop }
}
