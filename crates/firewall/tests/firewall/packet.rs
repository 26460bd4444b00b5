//! A packet and what a ruleset does with it, as nf_tables would: the model the lowering is held against.

use picket_firewall::{Family, Hook, Match, Measure, Rule, Ruleset, Set, Verdict};
use picket_model::GuardedPort;
use std::net::IpAddr;

/// The one interface that is a bridge.
pub(crate) const BRIDGE: &str = "docker0";

#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) interface: String,
    pub(crate) source: IpAddr,
    pub(crate) to: GuardedPort,
    /// Where it goes on to, and by which interface; `None` for a packet to this host.
    pub(crate) passing: Option<(IpAddr, String)>,
    pub(crate) kind: Kind,
}

/// What a packet is to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The first packet of a TCP connection.
    FirstSyn,
    /// New to connection tracking and no SYN: a datagram, or a connection from before tracking began.
    New,
    /// Of a connection that is tracked.
    Running,
}

/// What meters say of every source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meters {
    /// It keeps to all limits.
    Within,
    /// It is beyond all limits.
    Over,
    /// They have no room for it.
    Full,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) accepted: bool,
    /// Every counter it came by, in order.
    pub(crate) counters: Vec<String>,
    /// Whether somebody who listens may be told of it.
    pub(crate) told: bool,
}

pub(crate) fn decide(ruleset: &Ruleset, packet: &Packet, meters: Meters) -> Decision {
    let mut decision = Decision { accepted: true, counters: Vec::new(), told: false };
    for hook in [Hook::PreroutingRaw, Hook::PreroutingMangle] {
        let base: Vec<&str> = ruleset
            .chains
            .iter()
            .filter(|(_, chain)| chain.hook == Some(hook))
            .map(|(name, _)| name.as_str())
            .collect();
        assert!(base.len() <= 1, "one base chain at each hook: {base:?}");
        let kernel = Kernel { ruleset, packet, meters };
        decision.accepted = base.iter().all(|chain| kernel.walk(chain, 0, &mut decision) != Some(false));
        if !decision.accepted {
            break;
        }
    }
    decision
}

struct Kernel<'a> {
    ruleset: &'a Ruleset,
    packet: &'a Packet,
    meters: Meters,
}

impl Kernel<'_> {
    /// Whether the packet is accepted; `None` where the chain comes back without having decided.
    fn walk(&self, chain: &str, depth: usize, decision: &mut Decision) -> Option<bool> {
        assert!(depth < 16, "the kernel refuses chains so deep");
        for rule in &self.ruleset.chains[chain].rules {
            if !self.holds(rule) {
                continue;
            }
            if let Some(counter) = &rule.counter {
                assert!(self.ruleset.counters.contains(counter), "{counter} is declared");
                decision.counters.push(counter.clone());
            }
            match &rule.verdict {
                Verdict::Accept => return Some(true),
                Verdict::Drop => return Some(false),
                Verdict::Goto(next) => return self.walk(next, depth + 1, decision),
                Verdict::Jump(next) => match self.walk(next, depth + 1, decision) {
                    None => {}
                    decided => return decided,
                },
                Verdict::Log(_) => decision.told = true,
                Verdict::Expire(name) => assert!(self.ruleset.half_open.contains_key(name), "{name} is declared"),
                other => panic!("{other} stands in no chain that decides who is let in"),
            }
        }
        None
    }

    fn holds(&self, rule: &Rule) -> bool {
        // A meter that is asked notes the source, so nothing may follow that could say no.
        let asked = rule.matches.iter().position(|condition| matches!(condition, Match::Metered(_)));
        assert!(asked.is_none_or(|at| at + 1 == rule.matches.len()), "{rule}");
        rule.matches.iter().all(|condition| self.condition(condition))
    }

    fn condition(&self, condition: &Match) -> bool {
        let Self { ruleset, packet, meters } = self;
        match (condition, packet.source) {
            (Match::Loopback, _) => packet.interface == "lo",
            (Match::Interface(name), _) => packet.interface == name.to_string(),
            (Match::Port(set), _) => match &ruleset.sets[set] {
                Set::Ports(ports) => ports.has(&packet.to),
                other => panic!("ports looked up in {other:?}"),
            },
            (Match::Source4(set), IpAddr::V4(source)) => match &ruleset.sets[set] {
                Set::Hosts4(hosts) => hosts.has(&source),
                Set::Nets4(nets) => nets.iter().any(|net| net.contains(&source)),
                other => panic!("IPv4 addresses looked up in {other:?}"),
            },
            (Match::Source6(set), IpAddr::V6(source)) => match &ruleset.sets[set] {
                Set::Hosts6(hosts) => hosts.has(&source),
                Set::Nets6(nets) => nets.iter().any(|net| net.contains(&source)),
                other => panic!("IPv6 addresses looked up in {other:?}"),
            },
            (Match::Source4(_) | Match::Source6(_), _) => false,
            (Match::Passing, _) => packet.passing.is_some(),
            (Match::Bridged, _) => packet.interface == BRIDGE,
            (Match::GoesBack, _) => packet.passing.as_ref().is_some_and(|(_, out)| *out == packet.interface),
            (Match::LeavesBy(name), _) => packet.passing.as_ref().is_some_and(|(_, out)| *out == name.to_string()),
            (Match::NotDestination4(set), _) => match (&ruleset.sets[set], &packet.passing) {
                (Set::Nets4(nets), Some((IpAddr::V4(to), _))) => !nets.iter().any(|net| net.contains(to)),
                _ => false,
            },
            (Match::NotDestination6(set), _) => match (&ruleset.sets[set], &packet.passing) {
                (Set::Nets6(nets), Some((IpAddr::V6(to), _))) => !nets.iter().any(|net| net.contains(to)),
                _ => false,
            },
            (Match::Family(family), source) => (*family == Family::V4) == source.is_ipv4(),
            (Match::FirstSyn, _) => packet.kind == Kind::FirstSyn,
            (Match::NotNew, _) => packet.kind == Kind::Running,
            (Match::Sampled(_), _) => true,
            (Match::Metered(metered), source) => {
                let meter = &ruleset.meters[&metered.meter];
                assert_eq!(*meter, metered.kind(), "{}", metered.meter);
                if (meter.family == Family::V4) != source.is_ipv4() {
                    return false;
                }
                match metered.measure {
                    Measure::Within(..) | Measure::AtMost(..) => *meters == Meters::Within,
                    Measure::Over(..) | Measure::MoreThan(..) => *meters == Meters::Over,
                }
            }
            (other, _) => panic!("{other} stands in no chain that decides who is let in"),
        }
    }
}
