//! Would this address reach which port on which host, and why: answered from the plan, as the firewalls would.

use crate::Plan;
use picket_model::{
    Explanation, Grant, GuardedPort, HostVerdict, Node, NodeConfig, NodeId, Policy, PolicyDeny, PortVerdict, Purpose,
    Refused, Timestamp, ValidatorSet, network::canonical, sync,
};
use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

/// What an explanation is made from: a plan, and what was known when it was made.
#[derive(Clone, Copy, Debug)]
pub struct ExplainInput<'a> {
    /// The plan, of now or of the past.
    pub plan: &'a Plan,
    /// All hosts, revoked ones too.
    pub nodes: &'a BTreeMap<NodeId, Node>,
    /// The validator set it was made from.
    pub validators: &'a ValidatorSet,
    /// Entries that the list lost.
    pub refused: &'a [Refused],
    /// The policy it was made by.
    pub policy: &'a Policy,
    /// When this is, or was.
    pub now: Timestamp,
}

/// Explains one address, for one port or for all guarded ones. Refused entries that name the address are shown with their
/// reasons, as are deny lines that keep validators there out.
pub fn explain(input: &ExplainInput<'_>, address: IpAddr, port: Option<u16>) -> Explanation {
    let ExplainInput { plan, nodes, validators, refused, policy, now } = *input;
    let address = canonical(address);
    let mut hosts: Vec<HostVerdict> = plan
        .nodes
        .values()
        .filter_map(|config| nodes.get(&config.node).map(|node| verdict(config, node, address, port)))
        .collect();
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    let text = address.to_string();
    let names = |entry: &&Refused| mentions(&entry.reason, &text) || mentions(&entry.entry, &text);
    let refused = refused.iter().filter(names).cloned().collect();
    let denies = |line: &&PolicyDeny| validators.at(address).any(|validator| line.covers(validator, address));
    let denied = policy.denies(now).filter(denies).cloned().collect();
    Explanation { address, hosts, refused, denied, generation: plan.generation }
}

fn verdict(config: &NodeConfig, node: &Node, address: IpAddr, port: Option<u16>) -> HostVerdict {
    // What is wanted of a machine that runs no agent is in force nowhere.
    let is_asked = |guarded: &GuardedPort| !node.issued && port.is_none_or(|port| guarded.port.get() == port);
    let guarded = config.firewall.guarded.iter().filter(|(guarded, _)| is_asked(guarded));
    let ports = guarded.map(|(port, purpose)| PortVerdict {
        port: *port,
        purpose: *purpose,
        grants: grants(config, port, *purpose, address),
        public: config.firewall.public_ports().any(|public| public == *port),
    });
    HostVerdict {
        node: node.id.clone(),
        name: node.name.clone(),
        role: node.role,
        issued: node.issued,
        ports: ports.collect(),
    }
}

fn grants(config: &NodeConfig, port: &GuardedPort, purpose: Purpose, address: IpAddr) -> Vec<Grant> {
    // Where a node's JSON-RPC is served, citizens are let in instead of whoever is let in to RPC ports.
    let is_sync = purpose == Purpose::Rpc && config.firewall.sync_ports().contains(port);
    let own =
        if is_sync { Cow::Owned(sync::citizens(&config.firewall.syncs)) } else { config.firewall.let_in(purpose) };
    let others = [Purpose::Admin, Purpose::Overlay].map(|purpose| (purpose, config.firewall.let_in(purpose)));
    let mut grants = Vec::new();
    for (purpose, set) in [(purpose, own)].into_iter().chain(others) {
        for (network, reasons) in set.covering(address) {
            grants.extend(reasons.iter().map(|reason| Grant { purpose, network: *network, reason: reason.clone() }));
        }
    }
    grants
}

/// Whether the address stands in the text as a whole: `1.2.3.4` is not named by `1.2.3.45`.
fn mentions(text: &str, address: &str) -> bool {
    let part_of_address = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
    text.match_indices(address).any(|(start, found)| {
        let before = text[..start].chars().next_back();
        let mut after = text[start + found.len()..].chars();
        let followed = match after.next() {
            // A port may follow.
            Some(':') => after.next().is_some_and(|c| !c.is_ascii_digit() && part_of_address(c)),
            next => next.is_some_and(part_of_address),
        };
        !before.is_some_and(part_of_address) && !followed
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        PlanInput,
        fixture::{node, validators},
        plan,
    };
    use picket_model::{Denied, MeshId, NodeRole, Reason};

    fn explained(address: &str, port: Option<u16>) -> Explanation {
        explained_hidden("[]", address, port)
    }

    fn explained_hidden(hidden: &str, address: &str, port: Option<u16>) -> Explanation {
        let hosts = [node("prep-1", NodeRole::Prep, 1), node("sentry-1", NodeRole::Sentry, 2)];
        explained_on(&hosts, hidden, address, port)
    }

    fn explained_on(hosts: &[Node], hidden: &str, address: &str, port: Option<u16>) -> Explanation {
        let nodes: BTreeMap<_, _> = hosts.iter().map(|node| (node.id.clone(), node.clone())).collect();
        let mesh: MeshId = "m-1".parse().unwrap();
        let whom = Denied::Network("5.0.0.1/32".parse().unwrap());
        let deny = |until| PolicyDeny { whom, comment: "rogue".into(), until: Some(Timestamp::from_millis(until)) };
        let policy = Policy {
            admin: vec!["2001:db8:ad::/48".parse().unwrap()],
            deny: vec![deny(5), deny(20)],
            hidden: serde_json::from_str(hidden).unwrap(),
            ..Policy::default()
        };
        let now = Timestamp::from_millis(10);
        let validators = validators(2);
        let input = PlanInput {
            mesh: &mesh,
            policy: &policy,
            policy_version: 1,
            validators: &validators,
            nodes: &nodes,
            meshed: None,
            next_keys: &crate::NextKeys::new(),
            shield: &picket_model::ShieldOrders::default(),
            drains: &picket_model::Drains::new(),
            parent: None,
            validators_version: 1,
            now,
            epochs: crate::Epochs::default(),
        };
        let refused = [Refused { entry: "hx00".into(), reason: "\"9.9.9.9:0\" has no port from 1 to 65535".into() }];
        let plan = plan(&input);
        let known = ExplainInput {
            plan: &plan,
            nodes: &nodes,
            validators: &validators,
            refused: &refused,
            policy: &policy,
            now,
        };
        explain(&known, address.parse().unwrap(), port)
    }

    #[test]
    fn a_machine_that_runs_no_agent_has_no_verdict() {
        let laptop = Node { issued: true, ..node("laptop", NodeRole::Prep, 3) };
        let answer = explained_on(&[laptop, node("prep-1", NodeRole::Prep, 1)], "[]", "5.0.0.0", None);
        let found: Vec<_> =
            answer.hosts.iter().map(|host| (host.name.as_str(), host.issued, host.ports.len())).collect();
        assert_eq!(found, [("laptop", true, 0), ("prep-1", false, 6)]);
    }

    #[test]
    fn a_validator_is_allowed_because_of_its_prep() {
        let answer = explained("::ffff:5.0.0.0", Some(7100));
        assert_eq!((answer.hosts.len(), answer.denied.len()), (2, 0));
        let ports = &answer.hosts[0].ports;
        assert!(ports.iter().all(|port| port.is_allowed() && port.port.port.get() == 7100));
        assert!(matches!(ports[0].grants[0].reason, Reason::Prep { since_height: 100, .. }));
    }

    #[test]
    fn a_denied_validator_is_refused_and_the_line_in_force_says_so() {
        let answer = explained("5.0.0.1", Some(7100));
        assert!(answer.hosts.iter().flat_map(|host| &host.ports).all(|port| !port.is_allowed()));
        let until: Vec<_> = answer.denied.iter().map(|line| line.until.unwrap().as_millis()).collect();
        assert_eq!(until, [20]);
    }

    #[test]
    fn a_stranger_is_refused_everywhere_and_refused_entries_are_shown() {
        let answer = explained("9.9.9.9", None);
        assert!(answer.hosts.iter().flat_map(|host| &host.ports).all(|port| !port.is_allowed()));
        assert_eq!(answer.hosts[0].ports.len(), 6);
        assert_eq!(answer.refused.len(), 1);
        assert!(explained("9.9.9.90", None).refused.is_empty());
    }

    #[test]
    fn an_admin_reaches_every_guarded_port() {
        let answer = explained("2001:db8:ad::7", None);
        let mut ports = answer.hosts.iter().flat_map(|host| &host.ports);
        assert!(ports.all(|port| port.grants.iter().any(|grant| grant.purpose == Purpose::Admin)));
    }

    #[test]
    fn validators_do_not_reach_a_host_that_hides_strictly_and_still_its_sentries() {
        for (strict, allowed) in [(true, [false, true]), (false, [true, true])] {
            let hidden = format!(r#"[{{"prep": "prep-1", "strict": {strict}}}]"#);
            let answer = explained_hidden(&hidden, "5.0.0.0", Some(7100));
            let found: Vec<_> =
                answer.hosts.iter().map(|host| host.ports.iter().any(PortVerdict::is_allowed)).collect();
            assert_eq!(found, allowed, "strict: {strict}");
        }
        // The mesh and the operator do.
        let hidden = r#"[{"prep": "prep-1"}]"#;
        for address in ["192.0.2.2", "2001:db8:ad::7"] {
            let answer = explained_hidden(hidden, address, Some(7100));
            assert!(answer.hosts[0].ports.iter().all(PortVerdict::is_allowed), "{address}");
        }
    }

    #[test]
    fn addresses_are_matched_whole() {
        assert!(mentions("5.0.0.1:7100 is x", "5.0.0.1"));
        assert!(mentions("at 5.0.0.1, x", "5.0.0.1"));
        assert!(!mentions("15.0.0.1", "5.0.0.1"));
        assert!(!mentions("5.0.0.12", "5.0.0.1"));
    }
}
