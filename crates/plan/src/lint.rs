//! What must never become the target, whatever made it, and what an operator should know about what does.
//! A second opinion: it checks the plan's result and shares no code with the planner.

mod hidden;
mod linted;
mod sync;

pub use linted::Linted;

use crate::{Finding, FindingKind, Plan, PlanInput};
use ipnet::IpNet;
use picket_model::{
    AllowSet, NodeConfig, NodeRole, Protocol, Purpose, Reason,
    limits::{LONGEST_GRANT, MOST_ALLOW_ENTRIES, MOST_PEERS, SHORTEST_GRANT, WIDEST_NETWORK, WIDEST_TOTAL},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Ports whose closing would lock the operator out: SSH.
const NEVER_GUARDED: [u16; 1] = [22];
/// Ports from which Linux makes its own calls (`net.ipv4.ip_local_port_range`). Every packet is asked for by itself, so that
/// the answers to a host's calls, the controller's among them, would be dropped where such a port is guarded.
const OWN_CALLS: std::ops::RangeInclusive<u16> = 32768..=60999;

/// Findings on a plan, errors first.
pub fn lint(plan: &Plan, input: &PlanInput<'_>) -> Vec<Finding> {
    Linted::of(plan, input).findings()
}

fn check_host(config: &NodeConfig, plan: &Plan, input: &PlanInput<'_>, widths: &mut Widths) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = input.nodes.get(&config.node).map_or(config.node.as_str(), |node| node.name.as_str());
    check_ports(name, config, input.parent, &mut findings);
    check_public(name, config, &mut findings);
    check_grants(name, config, &mut findings);
    check_width(name, config, widths, &mut findings);
    check_peers(name, config, plan, &mut findings);
    check_emptied(name, config, input.parent, &mut findings);
    findings
}

fn check_mesh(plan: &Plan, roles: &Roles, input: &PlanInput<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_breadth(plan, roles, input, &mut findings);
    hidden::check(plan, input, &mut findings);
    sync::check(plan, input, &mut findings);
    findings
}

fn refused(host: &(impl ToString + ?Sized), text: impl Into<String>) -> Finding {
    Finding::error(FindingKind::PlanRefused, host, text)
}

fn advice(host: &(impl ToString + ?Sized), text: impl Into<String>) -> Finding {
    Finding::warning(FindingKind::PlanAdvice, host, text)
}

fn check_ports(name: &str, config: &NodeConfig, parent: Option<&Plan>, findings: &mut Vec<Finding>) {
    let before = || parent.into_iter().flat_map(|parent| parent.nodes.values());
    if config.firewall.guarded.is_empty() {
        findings.push(refused(name, format!("{name} would guard no port: set policy.ports")));
    }
    for port in config.firewall.guarded.keys() {
        if NEVER_GUARDED.contains(&port.port.get()) {
            findings.push(refused(name, format!("{name} would guard {port}: the operator would be locked out")));
        }
        if OWN_CALLS.contains(&port.port.get()) {
            let text =
                format!("{name} would guard {port}: answers to its own calls, to the controller too, arrive there");
            // What the mesh guards already stops no plan: revocations would wait as well.
            let is_kept = before().any(|before| before.firewall.guarded.contains_key(port));
            findings.push(if is_kept { advice(name, text) } else { refused(name, text) });
        }
        if port.protocol == Protocol::Udp && port.port.get() == config.wireguard.listen_port {
            findings.push(refused(name, format!("{name} would guard {port}, its own WireGuard port")));
        }
    }
}

/// What is public is guarded as well: then an agent of before keeps it closed, and members have their own way in.
fn check_public(name: &str, config: &NodeConfig, findings: &mut Vec<Finding>) {
    let opened: BTreeSet<_> = config.firewall.public_ports().map(|port| port.port).collect();
    for port in config.firewall.public.difference(&opened) {
        let text = format!("{name} would have public port {port}, which is not among policy.ports: add it there");
        findings.push(refused(name, text));
    }
}

/// What ends too soon ends while somebody is away for a night.
fn check_grants(name: &str, config: &NodeConfig, findings: &mut Vec<Finding>) {
    let Some(seconds) = config.firewall.grants_last_seconds else { return };
    if !(SHORTEST_GRANT..=LONGEST_GRANT).contains(&seconds.get()) {
        let text = format!(
            "{name} would end what is granted after {seconds} s: policy.grants_last_seconds is between {SHORTEST_GRANT} (a \
             day) and {LONGEST_GRANT} (a year)"
        );
        findings.push(refused(name, text));
    }
}

/// How wide sets are that were looked at: hosts have theirs in common.
type Widths = BTreeMap<usize, Width>;

/// What is too wide in a set.
#[derive(Clone, Debug, Default)]
struct Width {
    networks: Vec<IpNet>,
    is_too_much: bool,
}

/// The limits that every host's guard has by default: what they refuse must not become the target.
fn check_width(name: &str, config: &NodeConfig, widths: &mut Widths, findings: &mut Vec<Finding>) {
    for (purpose, set) in &config.firewall.allow {
        // The plan holds its sets for as long as this takes, so that no other has their address.
        let width = widths.entry(Arc::as_ptr(&set.0).addr()).or_insert_with(|| width(set));
        for network in &width.networks {
            let widest = widest(network);
            let text = format!("{name} would let {network} in for {purpose}: wider than /{widest}");
            findings.push(refused(name, text));
        }
        if width.is_too_much {
            findings.push(refused(name, format!("{name} would let too many addresses in for {purpose} altogether")));
        }
    }
    let entries: usize = config.firewall.allow.values().map(|set| set.0.len()).sum();
    if entries > MOST_ALLOW_ENTRIES {
        findings
            .push(refused(name, format!("{name} would have {entries} allow entries, more than {MOST_ALLOW_ENTRIES}")));
    }
    // Hosts, not keys: one that changes its key has two for a while, and would stop every plan of a full mesh.
    let peers = config.wireguard.peers.values().map(|peer| &peer.node).collect::<BTreeSet<_>>().len();
    if peers > MOST_PEERS {
        findings.push(refused(name, format!("{name} would have {peers} tunnels, more than {MOST_PEERS}")));
    }
}

fn widest(network: &IpNet) -> u8 {
    if matches!(network, IpNet::V4(_)) { WIDEST_NETWORK.0 } else { WIDEST_NETWORK.1 }
}

fn width(set: &AllowSet) -> Width {
    let networks = set.0.keys().filter(|network| network.prefix_len() < widest(network)).copied().collect();
    let (v4, v6) = set.0.keys().fold((0u128, 0u128), |(v4, v6), network| match network {
        IpNet::V4(net) => (v4.saturating_add(1 << (32 - net.prefix_len())), v6),
        IpNet::V6(net) => {
            (v4, v6.saturating_add(1u128.checked_shl(128 - u32::from(net.prefix_len())).unwrap_or(u128::MAX)))
        }
    });
    Width { networks, is_too_much: v4 > 1 << (32 - WIDEST_TOTAL.0) || v6 > 1 << (128 - WIDEST_TOTAL.1) }
}

/// Both ends of a tunnel must know each other, and nothing but a peer's own addresses may come out of it.
fn check_peers(name: &str, config: &NodeConfig, plan: &Plan, findings: &mut Vec<Finding>) {
    for peer in config.wireguard.peers.values() {
        let Some(other) = plan.nodes.get(&peer.node) else {
            findings.push(refused(name, format!("{name} would have a tunnel to {}, which is no member", peer.name)));
            continue;
        };
        if !other.wireguard.peers.values().any(|back| back.node == config.node) {
            findings.push(refused(name, format!("{name} would have a tunnel to {} and not the other way", peer.name)));
        }
        // A host's next key has no addresses yet, while its key of now has them.
        let twins = config.wireguard.peers.values().filter(|twin| twin.node == peer.node).count();
        let is_next = peer.allowed_ips.is_empty() && twins == 2;
        if !is_next && peer.allowed_ips != other.wireguard.addresses {
            findings.push(refused(name, format!("{name} would take more or less than {}'s own addresses", peer.name)));
        }
        let is_dialled = peer.endpoint.is_some() || other.wireguard.peers.values().any(|back| back.endpoint.is_some());
        if !is_dialled {
            let text = format!("neither {name} nor {} has an endpoint: their tunnel cannot come up", peer.name);
            findings.push(advice(name, text));
        }
    }
}

/// Brakes hold a list that empties; should one get here all the same, it stops here. Lines of the policy may end.
fn check_emptied(name: &str, config: &NodeConfig, parent: Option<&Plan>, findings: &mut Vec<Finding>) {
    let Some(before) = parent.and_then(|parent| parent.nodes.get(&config.node)) else { return };
    let by_line = |reason: &Reason| matches!(reason, Reason::Policy { .. });
    for purpose in [Purpose::P2p, Purpose::Rpc] {
        let mut reasons = before.firewall.allowed(purpose).0.values().flatten();
        if config.firewall.allowed(purpose).0.is_empty() && !reasons.all(by_line) {
            findings.push(refused(name, format!("{name} would lose every address allowed for {purpose}")));
        }
    }
}

/// How many hosts of a plan have each role.
type Roles = BTreeMap<NodeRole, usize>;

fn check_breadth(plan: &Plan, roles: &Roles, input: &PlanInput<'_>, findings: &mut Vec<Finding>) {
    let has = |role| roles.get(&role).is_some_and(|hosts| *hosts > 0);
    if input.validators.is_empty() {
        findings.push(advice("", "no validator list yet: guarded ports are closed to every validator"));
    }
    if has(NodeRole::Prep) && !has(NodeRole::Sentry) {
        findings.push(advice("", "no sentry is enrolled: validators have no tunnel"));
    }
    if !plan.nodes.is_empty() && input.policy.admin.is_empty() {
        findings.push(advice("", "policy.admin is empty: no network of yours is always let in"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Severity,
        fixture::{node, validators},
        plan,
    };
    use picket_model::{MeshId, NodeId, Policy, PolicyAllow, ValidatorSet};

    struct Case {
        policy: Policy,
        validators: ValidatorSet,
        parent: Option<Plan>,
    }

    impl Case {
        fn new() -> Self {
            let policy = Policy { admin: vec!["192.0.2.0/24".parse().unwrap()], ..Policy::default() };
            Self { policy, validators: validators(3), parent: None }
        }

        fn planned(&self, spoil: impl FnOnce(&mut Plan)) -> (Plan, Vec<Finding>) {
            let nodes = [node("prep-1", NodeRole::Prep, 1), node("sentry-1", NodeRole::Sentry, 2)];
            let nodes = nodes.into_iter().map(|node| (node.id.clone(), node)).collect();
            let mesh: MeshId = "m-1".parse().unwrap();
            let input = PlanInput {
                mesh: &mesh,
                policy: &self.policy,
                policy_version: 1,
                validators: &self.validators,
                nodes: &nodes,
                meshed: None,
                next_keys: &crate::NextKeys::new(),
                shield: &picket_model::ShieldOrders::default(),
                drains: &picket_model::Drains::new(),
                parent: self.parent.as_ref(),
                validators_version: 1,
                now: picket_model::Timestamp::from_millis(0),
                epochs: crate::Epochs::default(),
            };
            let mut made = plan(&input);
            spoil(&mut made);
            let findings = lint(&made, &input);
            (made, findings)
        }

        fn check(&self, spoil: impl FnOnce(&mut Plan), severity: Severity, part: &str) {
            let (_, findings) = self.planned(spoil);
            let found = findings.iter().any(|finding| finding.severity == severity && finding.text.contains(part));
            assert!(found, "{part:?} not in {findings:?}");
        }
    }

    fn config<'a>(plan: &'a mut Plan, name: &str) -> &'a mut NodeConfig {
        Arc::make_mut(plan.nodes.get_mut(&name.parse::<NodeId>().unwrap()).unwrap())
    }

    #[test]
    fn a_good_plan_has_no_findings() {
        assert_eq!(Case::new().planned(|_| ()).1, []);
    }

    #[test]
    fn grants_last_for_a_day_at_least_and_a_year_at_most() {
        let day = 24 * 3600;
        for (seconds, refused) in [(day - 1, true), (day, false), (30 * day, false), (366 * day + 1, true)] {
            let mut case = Case::new();
            case.policy.grants_last_seconds = std::num::NonZeroU32::new(seconds);
            let (plan, findings) = case.planned(|_| ());
            assert!(plan.nodes.values().all(|node| node.firewall.grants_last_seconds.map(u32::from) == Some(seconds)));
            let found =
                findings.iter().any(|f| f.severity == Severity::Error && f.text.contains("grants_last_seconds"));
            assert_eq!(found, refused, "{seconds}: {findings:?}");
        }
    }

    #[test]
    fn what_would_open_or_lock_out_stops_the_commit() {
        let case = Case::new();
        case.check(|plan| config(plan, "prep-1").firewall.guarded.clear(), Severity::Error, "guard no port");
        let mut ssh = Case::new();
        ssh.policy.ports.rpc.insert(22.try_into().unwrap());
        ssh.check(|_| (), Severity::Error, "locked out");
        let mut tunnel = Case::new();
        tunnel.policy.ports.rpc.insert(51820.try_into().unwrap());
        tunnel.check(|_| (), Severity::Error, "its own WireGuard port");
        let mut open = Case::new();
        open.policy.public.prep = [9000, 2222].map(|port| port.try_into().unwrap()).into();
        open.check(|_| (), Severity::Error, "public port 2222, which is not among policy.ports");
        assert_eq!(open.planned(|_| ()).1.len(), 1, "a public port that is guarded is no finding");
        for (port, path) in [(32767, false), (32768, true), (60999, true), (61000, false)] {
            let mut calls = Case::new();
            calls.policy.ports.rpc.insert(port.try_into().unwrap());
            let (_, findings) = calls.planned(|_| ());
            let refused = findings.iter().any(|f| f.severity == Severity::Error && f.text.contains("its own calls"));
            assert_eq!(refused, path, "{port}: {findings:?}");
        }
        let mut wide = Case::new();
        let network = "0.0.0.0/0".parse().unwrap();
        wide.policy.allow.push(PolicyAllow {
            purpose: Purpose::P2p,
            network,
            comment: "everybody".into(),
            until: None,
        });
        wide.check(|_| (), Severity::Error, "0.0.0.0/0");
        let mut many = Case::new();
        many.policy.allow.extend((1..=5).map(|first| PolicyAllow {
            purpose: Purpose::P2p,
            network: format!("{first}.0.0.0/8").parse().unwrap(),
            comment: "a lot".into(),
            until: None,
        }));
        many.check(|_| (), Severity::Error, "too many addresses in for p2p");
    }

    #[test]
    fn lines_about_hidden_validators_that_cannot_be_meant_stop_the_commit() {
        let case = |lines: &str| {
            let mut case = Case::new();
            case.policy.hidden = serde_json::from_str(lines).unwrap();
            case
        };
        assert_eq!(case(r#"[{"prep": "prep-1"}]"#).planned(|_| ()).1, []);
        for (lines, severity, part) in [
            (r#"[{"prep": "prep-1"}, {"prep": "prep-1", "port": 7101}]"#, Severity::Error, "names prep-1 twice"),
            (r#"[{"prep": "prep-1"}, {"prep": "prep-9"}]"#, Severity::Error, "to prep-1 and to prep-9"),
            (r#"[{"prep": "prep-1", "port": 7101}]"#, Severity::Error, "port 7101 to prep-1 unguarded"),
            (r#"[{"prep": "prep-1", "port": 9000}]"#, Severity::Error, "port 9000 to prep-1 unguarded"),
            (r#"[{"prep": "sentry-1"}]"#, Severity::Error, "sentry-1, which is a sentry"),
            (r#"[{"prep": "prep-9"}]"#, Severity::Warning, "no host has that name"),
            (r#"[{"prep": "prep-1", "sentries": ["eu-*"]}]"#, Severity::Warning, "reaches no validator"),
        ] {
            case(lines).check(|_| (), severity, part);
        }
        let mut open = case(r#"[{"prep": "prep-1"}]"#);
        open.policy.public.prep = [9000.try_into().unwrap()].into();
        open.check(|_| (), Severity::Error, "opens its ports to everybody");
    }

    #[test]
    fn lines_about_sync_that_cannot_be_meant_stop_the_commit() {
        let case = |lines: &str| {
            let mut case = Case::new();
            case.policy.sync = serde_json::from_str(lines).unwrap();
            case
        };
        assert_eq!(case(r#"[{"prep": "prep-1", "citizens": ["198.51.100.0/24"]}]"#).planned(|_| ()).1, []);
        for (lines, severity, part) in [
            (
                r#"[{"prep": "prep-1"}, {"to_port": 9080}]"#,
                Severity::Error,
                "port 9000 for prep-1 and for the sentry's own",
            ),
            (
                r#"[{"prep": "prep-1", "port": 9001}]"#,
                Severity::Error,
                "9001 for prep-1, which is not among policy.ports.rpc",
            ),
            (
                r#"[{"prep": "prep-1", "port": 7100}]"#,
                Severity::Error,
                "7100 for prep-1, which is not among policy.ports.rpc",
            ),
            (
                r#"[{"prep": "prep-1", "to_port": 7100}]"#,
                Severity::Error,
                "to port 7100 of prep-1, which is no RPC port",
            ),
            (r#"[{"port": 9000}]"#, Severity::Error, "would call itself"),
            (
                r#"[{"prep": "prep-1"}, {"port": 9080, "to_port": 9000}]"#,
                Severity::Error,
                "one door into the other past its citizens",
            ),
            (r#"[{"prep": "prep-1", "citizens": ["0.0.0.0/0"]}]"#, Severity::Error, "0.0.0.0/0, wider than /8"),
            (r#"[{"prep": "prep-1", "citizens": ["198.0.0.0/9"]}]"#, Severity::Warning, "198.0.0.0/9"),
            (r#"[{"prep": "sentry-1"}]"#, Severity::Error, "sentry-1, which is a sentry"),
            (r#"[{"prep": "prep-9"}]"#, Severity::Warning, "no host has that name"),
            (r#"[{"prep": "prep-1", "sentries": ["eu-*"]}]"#, Severity::Warning, "no sentry serves"),
        ] {
            case(lines).check(|_| (), severity, part);
        }
        let mut open = case(r#"[{"prep": "prep-1"}]"#);
        open.policy.public.sentry = [9000.try_into().unwrap()].into();
        open.check(|_| (), Severity::Error, "opens port 9000 to everybody");
    }

    #[test]
    fn a_port_of_own_calls_that_is_guarded_already_stops_no_plan() {
        let mut case = Case::new();
        case.policy.ports.rpc.insert(40000.try_into().unwrap());
        case.parent = Some(case.planned(|_| ()).0);
        let (_, findings) = case.planned(|_| ());
        let is_advice = |f: &Finding| f.severity == Severity::Warning && f.text.contains("40000: answers to its own");
        assert!(!findings.is_empty() && findings.iter().all(is_advice), "{findings:?}");
        // A host that joins is no reason either.
        let before = &mut case.parent.as_mut().unwrap().nodes;
        let last = before.keys().last().unwrap().clone();
        before.remove(&last);
        case.check(|_| (), Severity::Warning, "sentry-1 would guard tcp/40000");
        case.policy.ports.rpc.insert(40001.try_into().unwrap());
        case.check(|_| (), Severity::Error, "prep-1 would guard tcp/40001");
    }

    #[test]
    fn an_emptied_allow_set_stops_the_commit() {
        let mut case = Case::new();
        case.parent = Some(case.planned(|_| ()).0);
        case.validators = ValidatorSet::default();
        case.check(|_| (), Severity::Error, "lose every address allowed for p2p");
        // A line of the policy that was all there was may end.
        let mut lines = Case::new();
        lines.validators = ValidatorSet::default();
        let network = "198.51.100.0/24".parse().unwrap();
        lines.policy.allow.push(PolicyAllow { purpose: Purpose::P2p, network, comment: "x".into(), until: None });
        lines.parent = Some(lines.planned(|_| ()).0);
        lines.policy.allow.clear();
        let (mut made, findings) = lines.planned(|_| ());
        assert!(config(&mut made, "prep-1").firewall.allowed(Purpose::P2p).0.is_empty());
        assert!(findings.iter().all(|finding| finding.severity == Severity::Warning), "{findings:?}");
    }

    #[test]
    fn a_crooked_tunnel_stops_the_commit() {
        let case = Case::new();
        case.check(|plan| config(plan, "sentry-1").wireguard.peers.clear(), Severity::Error, "not the other way");
        case.check(|plan| drop(plan.nodes.remove(&"sentry-1".parse().unwrap())), Severity::Error, "no member");
        let widen = |plan: &mut Plan| {
            for peer in config(plan, "prep-1").wireguard.peers.values_mut() {
                peer.allowed_ips.insert("::/0".parse().unwrap());
            }
        };
        case.check(widen, Severity::Error, "more or less than");
        let share = |plan: &mut Plan| {
            let address = *config(plan, "prep-1").wireguard.addresses.first().unwrap();
            config(plan, "sentry-1").wireguard.addresses.insert(address);
        };
        case.check(share, Severity::Error, "would share");
    }

    #[test]
    fn tunnels_are_counted_by_host_and_a_next_key_is_no_tunnel_more() {
        let fill = |hosts: usize, with_next: bool| {
            move |plan: &mut Plan| {
                let peers = &mut config(plan, "prep-1").wireguard.peers;
                let peer = peers.pop_first().unwrap().1;
                let key = |n: usize| {
                    let mut bytes = [1; 32];
                    bytes[..8].copy_from_slice(&n.to_le_bytes());
                    picket_model::WireGuardPublicKey::new(bytes).unwrap()
                };
                for n in 0..hosts {
                    let node: NodeId = format!("n-{n}").parse().unwrap();
                    peers.insert(key(n), picket_model::WireGuardPeer { node, ..peer.clone() });
                }
                if with_next {
                    let node: NodeId = "n-0".parse().unwrap();
                    let next = picket_model::WireGuardPeer { node, allowed_ips: [].into(), ..peer };
                    peers.insert(key(hosts), next);
                }
            }
        };
        let is_too_many = |hosts, with_next| {
            let (_, findings) = Case::new().planned(fill(hosts, with_next));
            findings.iter().any(|finding| finding.text.contains("tunnels, more than"))
        };
        assert!(!is_too_many(MOST_PEERS, false));
        assert!(!is_too_many(MOST_PEERS, true), "a host that changes its key");
        assert!(is_too_many(MOST_PEERS + 1, false));
    }

    #[test]
    fn gaps_are_pointed_out() {
        let mut case = Case::new();
        case.validators = ValidatorSet::default();
        case.policy.admin.clear();
        case.check(|_| (), Severity::Warning, "no validator list yet");
        case.check(|_| (), Severity::Warning, "policy.admin is empty");
    }
}
