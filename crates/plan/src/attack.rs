//! Who knocks at the mesh and is refused, put together from hosts' samples; and which of them a blocklist may name. Whoever belongs
//! here never is in one, and it is said why: the addresses of packets are their senders' own word.

use ipnet::IpNet;
use picket_model::{
    AttackSource, Blocklist, BlocklistBy, Host, LeftOut, Node, NodeId, NodeName, Policy, RefusedSource, RefusedSources,
    Timestamp, ValidatorSet,
    network::{canonical_network, special_range},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What one host says.
#[derive(Clone, Copy, Debug)]
pub struct AttackedHost<'a> {
    /// Its name.
    pub name: &'a NodeName,
    /// Where refused packets came from.
    pub refused: &'a RefusedSources,
    /// Packets it stopped in a second, counted last.
    pub stopped_per_second: u64,
}

/// Everybody who belongs here.
#[derive(Clone, Copy, Debug)]
pub struct Belonging<'a> {
    /// All hosts, revoked ones too, who do not.
    pub nodes: &'a BTreeMap<NodeId, Node>,
    /// Where tunnels of members come from, as their peers see it.
    pub seen: &'a BTreeMap<IpAddr, NodeName>,
    /// The set in force.
    pub validators: &'a ValidatorSet,
    /// The policy.
    pub policy: &'a Policy,
}

/// Sources as all hosts together see them, most samples first.
pub fn attack_sources(hosts: &[AttackedHost<'_>], by: BlocklistBy) -> Vec<AttackSource> {
    let mut sources: BTreeMap<IpNet, AttackSource> = BTreeMap::new();
    for host in hosts {
        let of: Vec<(IpNet, &RefusedSource)> = match by {
            BlocklistBy::Address => host.refused.addresses.iter().map(|(at, of)| (IpNet::from(*at), of)).collect(),
            BlocklistBy::Prefix => host.refused.networks.iter().map(|(network, of)| (*network, of)).collect(),
        };
        for (network, refused) in of {
            let source = canonical_network(network);
            let known = sources.entry(source).or_insert_with(|| AttackSource {
                source,
                samples: 0,
                per_second: 0,
                last: refused.last,
                ports: BTreeSet::new(),
                hosts: BTreeSet::new(),
            });
            known.samples = known.samples.saturating_add(refused.samples);
            let share = host.stopped_per_second.saturating_mul(refused.samples).checked_div(host.refused.samples);
            known.per_second = known.per_second.saturating_add(share.unwrap_or_default());
            known.last = known.last.max(refused.last);
            known.ports.extend(&refused.ports);
            known.hosts.insert(host.name.clone());
        }
    }
    let mut sources: Vec<AttackSource> = sources.into_values().collect();
    sources.sort_by_key(|source| Reverse(source.samples));
    sources
}

/// Those with at least so many samples who do not belong here.
pub fn blocklist(
    hosts: &[AttackedHost<'_>],
    (by, least): (BlocklistBy, u64),
    belonging: &Belonging<'_>,
    now: Timestamp,
) -> Blocklist {
    let (mut sources, mut left_out) = (Vec::new(), Vec::new());
    for source in attack_sources(hosts, by).into_iter().filter(|source| source.samples >= least) {
        match belonging.why(source.source) {
            Some(why) => left_out.push(LeftOut { source: source.source, why }),
            None => sources.push(source),
        }
    }
    Blocklist { made_at: now, by, least, sources, left_out }
}

impl Belonging<'_> {
    /// Why a network may not be blocked; `None` where it may. One that holds a single address of somebody may not.
    fn why(&self, network: IpNet) -> Option<String> {
        let overlaps = |other: &IpNet| {
            let other = canonical_network(*other);
            network.contains(&other) || other.contains(&network)
        };
        let Policy { admin, allow, sync, special_ranges, .. } = self.policy;
        if let Some(admin) = admin.iter().find(|admin| overlaps(admin)) {
            return Some(format!("admin network {admin} of the policy"));
        }
        if let Some(line) = allow.iter().find(|line| overlaps(&line.network)) {
            return Some(format!("{} is let in by the policy: {}", line.network, line.comment));
        }
        if let Some(citizen) = sync.iter().flat_map(|line| &line.citizens).find(|citizen| overlaps(citizen)) {
            return Some(format!("{citizen} is served by a sync line of the policy"));
        }
        let members = self.nodes.values().filter(|node| node.is_active());
        for node in members {
            let endpoint = node.endpoint.map(|endpoint| IpNet::from(endpoint.ip()));
            if endpoint.iter().chain(&node.overlay.networks()).any(overlaps) {
                return Some(format!("member {} of the mesh", node.name));
            }
        }
        let (first, last) = (network.network(), network.broadcast());
        if let Some((address, name)) = self.seen.range(first..=last).next() {
            return Some(format!("tunnels of member {name} come from {address}"));
        }
        for validator in self.validators.iter() {
            let registered = match &validator.endpoint.host {
                Host::Address(address) => Some(IpAddr::from(*address)),
                Host::Name(_) => None,
            };
            if validator.addresses.iter().copied().chain(registered).any(|address| overlaps(&address.into())) {
                return Some(format!("validator {}", validator.prep));
            }
        }
        let is_ours = special_ranges.iter().any(overlaps);
        special_range(network.addr()).filter(|_| !is_ours).map(|range| format!("not of the internet: {range}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{node, validators};
    use picket_model::NodeRole;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn said(sources: &[(&str, u64)]) -> RefusedSources {
        let of = |samples| RefusedSource { samples, last: NOW, ports: BTreeSet::new() };
        let addresses: BTreeMap<IpAddr, RefusedSource> =
            sources.iter().map(|(address, samples)| (address.parse().unwrap(), of(*samples))).collect();
        let mut networks = BTreeMap::new();
        for (address, source) in &addresses {
            let known = networks.entry(picket_model::attack::network_of(*address)).or_insert_with(|| of(0));
            known.samples += source.samples;
        }
        let samples = addresses.values().map(|source| source.samples).sum();
        RefusedSources { seconds: 600, samples, addresses, networks, acting: BTreeMap::new() }
    }

    fn list(by: BlocklistBy, least: u64, sources: &[(&str, u64)]) -> (Vec<String>, Vec<String>) {
        let [sentry, gone] =
            [("sentry-1", 1), ("sentry-9", 9)].map(|(name, number)| node(name, NodeRole::Sentry, number));
        let sentry = Node { endpoint: Some("7.7.7.7:51820".parse().unwrap()), ..sentry };
        let endpoint = Some("7.7.8.8:51820".parse().unwrap());
        let gone = Node { endpoint, state: picket_model::NodeState::Revoked { at: NOW }, ..gone };
        let policy: Policy = serde_json::from_value(serde_json::json!({
            "admin": ["192.88.7.0/28"],
            "allow": [{ "purpose": "rpc", "network": "8.8.8.0/29", "comment": "partner" }],
            "special_ranges": ["198.18.0.0/15"],
        }))
        .unwrap();
        let belonging = Belonging {
            nodes: &[sentry, gone].map(|node| (node.id.clone(), node)).into(),
            seen: &[("7.7.9.9".parse().unwrap(), "prep-1".parse().unwrap())].into(),
            validators: &validators(2),
            policy: &policy,
        };
        let (name, refused) = ("sentry-1".parse().unwrap(), said(sources));
        let hosts = [AttackedHost { name: &name, refused: &refused, stopped_per_second: 0 }];
        let list = blocklist(&hosts, (by, least), &belonging, NOW);
        let shown = |source: &AttackSource| source.source.to_string();
        (list.sources.iter().map(shown).collect(), list.left_out.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn whoever_belongs_here_is_never_in_a_list_and_it_is_said_why() {
        let all = [
            ("9.9.9.9", 90),
            ("7.7.8.8", 80),
            ("198.18.0.7", 70),
            ("7.7.7.7", 60),
            ("7.7.9.9", 50),
            ("5.0.0.1", 40),
            ("192.88.7.3", 30),
            ("8.8.8.4", 25),
            ("10.1.2.3", 20),
            ("2a00::1", 10),
            ("9.9.9.8", 9),
        ];
        let (listed, left_out) = list(BlocklistBy::Address, 10, &all);
        assert_eq!(listed, ["9.9.9.9/32", "7.7.8.8/32", "198.18.0.7/32", "2a00::1/128"]);
        let validator = format!("left out 5.0.0.1: validator hx{:040x}", 1);
        assert_eq!(
            left_out,
            [
                "left out 7.7.7.7: member sentry-1 of the mesh",
                "left out 7.7.9.9: tunnels of member prep-1 come from 7.7.9.9",
                validator.as_str(),
                "left out 192.88.7.3: admin network 192.88.7.0/28 of the policy",
                "left out 8.8.8.4: 8.8.8.0/29 is let in by the policy: partner",
                "left out 10.1.2.3: not of the internet: private 10.0.0.0/8",
            ]
        );
    }

    #[test]
    fn a_network_with_somebody_in_it_is_left_out_as_a_whole() {
        let neighbours = [("9.9.9.9", 6), ("9.9.9.8", 6), ("7.7.7.1", 20), ("7.7.9.1", 20), ("5.0.0.99", 20)];
        let (listed, left_out) = list(BlocklistBy::Prefix, 10, &neighbours);
        assert_eq!((listed, left_out.len()), (vec!["9.9.9.0/24".to_owned()], 3));
        let (listed, _) = list(BlocklistBy::Address, 10, &neighbours);
        assert_eq!(listed, ["5.0.0.99/32", "7.7.7.1/32", "7.7.9.1/32"]);
    }

    #[test]
    fn hosts_are_added_up_and_rates_are_shares_of_what_each_stops_now() {
        let names = ["a", "b"].map(|name| name.parse::<NodeName>().unwrap());
        let words = [said(&[("9.9.9.9", 30), ("8.8.8.8", 10)]), said(&[("9.9.9.9", 1)])];
        let host =
            |at: usize, stopped| AttackedHost { name: &names[at], refused: &words[at], stopped_per_second: stopped };
        let sources = attack_sources(&[host(0, 4000), host(1, 7)], BlocklistBy::Address);
        let short: Vec<_> = sources
            .iter()
            .map(|source| (source.source.to_string(), source.samples, source.per_second, source.hosts.len()))
            .collect();
        assert_eq!(short, [("9.9.9.9/32".to_owned(), 31, 3007, 2), ("8.8.8.8/32".to_owned(), 10, 1000, 1)]);
        assert!(attack_sources(&[AttackedHost { refused: &said(&[]), ..host(0, 9) }], BlocklistBy::Prefix).is_empty());
    }
}
