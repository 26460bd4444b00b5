//! A packet and what a ruleset does with it, as nf_tables would: the model the lowering is held against.

use picket_firewall::{Match, Rule, Ruleset, Set, Verdict};
use picket_model::GuardedPort;
use std::net::IpAddr;

#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) interface: String,
    pub(crate) source: IpAddr,
    pub(crate) to: GuardedPort,
    /// Where it goes on to; `None` for a packet to this host.
    pub(crate) passing: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) accepted: bool,
    pub(crate) counter: Option<String>,
}

pub(crate) fn decide(ruleset: &Ruleset, packet: &Packet) -> Decision {
    let base = ruleset.chains.values().filter(|chain| chain.hook.is_some()).collect::<Vec<_>>();
    assert_eq!(base.len(), 1, "one base chain");
    let mut chain = base[0];
    loop {
        let hit = chain.rules.iter().find(|rule| rule.matches.iter().all(|m| holds(ruleset, m, packet)));
        let (accepted, counter) = match hit {
            None => (true, None),
            Some(Rule { verdict: Verdict::Accept, counter, .. }) => (true, counter.clone()),
            Some(Rule { verdict: Verdict::Drop, counter, .. }) => (false, counter.clone()),
            Some(Rule { verdict: Verdict::Goto(next), .. }) => {
                chain = &ruleset.chains[next];
                continue;
            }
        };
        if let Some(counter) = &counter {
            assert!(ruleset.counters.contains(counter), "{counter} is declared");
        }
        return Decision { accepted, counter };
    }
}

fn holds(ruleset: &Ruleset, condition: &Match, packet: &Packet) -> bool {
    match (condition, packet.source) {
        (Match::Loopback, _) => packet.interface == "lo",
        (Match::Interface(name), _) => packet.interface == name.to_string(),
        (Match::Port(set), _) => match &ruleset.sets[set] {
            Set::Ports(ports) => ports.contains(&packet.to),
            other => panic!("ports looked up in {other:?}"),
        },
        (Match::Source4(set), IpAddr::V4(source)) => match &ruleset.sets[set] {
            Set::Hosts4(hosts) => hosts.contains(&source),
            Set::Nets4(nets) => nets.iter().any(|net| net.contains(&source)),
            other => panic!("IPv4 addresses looked up in {other:?}"),
        },
        (Match::Source6(set), IpAddr::V6(source)) => match &ruleset.sets[set] {
            Set::Hosts6(hosts) => hosts.contains(&source),
            Set::Nets6(nets) => nets.iter().any(|net| net.contains(&source)),
            other => panic!("IPv6 addresses looked up in {other:?}"),
        },
        (Match::Source4(_) | Match::Source6(_), _) => false,
        (Match::Passing, _) => packet.passing.is_some(),
        (Match::NotDestination4(set), _) => match (&ruleset.sets[set], packet.passing) {
            (Set::Nets4(nets), Some(IpAddr::V4(to))) => !nets.iter().any(|net| net.contains(&to)),
            _ => false,
        },
        (Match::NotDestination6(set), _) => match (&ruleset.sets[set], packet.passing) {
            (Set::Nets6(nets), Some(IpAddr::V6(to))) => !nets.iter().any(|net| net.contains(&to)),
            _ => false,
        },
    }
}
