//! `picket nodes`: every host, what it should hold and what it has read back.

use crate::{
    table::Page,
    time::{ago, rough},
};
use picket_api::operator::NodeView;
use picket_model::{NodeReport, NodeState, PoolName, Timestamp};
use std::time::Duration;

/// A WireGuard session ends this long after its handshake (WireGuard paper, section 6.1, Reject-After-Time): a tunnel
/// whose last handshake is older carries nothing.
const SESSION: Duration = Duration::from_secs(180);
/// How long it is shown that another program changed a host's firewall.
const DISTURBED: Duration = Duration::from_secs(15 * 60);

/// The table, of all hosts or those of one pool. `now` is for ages.
pub(crate) fn page(nodes: &[NodeView], pool: Option<&PoolName>, now: Timestamp) -> String {
    let mut page = Page::default();
    if nodes.is_empty() {
        match pool {
            None => page.line("no host is enrolled yet; `picket token create --role sentry` is the first step"),
            Some(pool) => page.line(format_args!("no host was ever in pool {pool}; `picket nodes` shows all")),
        }
    } else {
        let heading = ["name", "role", "pool", "overlay", "endpoint", "tunnels", "chain", "heard", "lease", "state"];
        page.table(heading, nodes.iter().map(|view| row(view, now)));
    }
    page.finish()
}

fn row(view: &NodeView, now: Timestamp) -> [String; 10] {
    let node = &view.node;
    let tunnels = match (&view.report, view.reported_at) {
        (Some(report), Some(at)) if node.is_active() => tunnels(report, at),
        _ => "-".to_owned(),
    };
    [
        node.name.to_string(),
        node.role.to_string(),
        node.pool.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        node.overlay.v4.to_string(),
        node.endpoint.map_or_else(|| "dials only".to_owned(), |endpoint| endpoint.to_string()),
        tunnels,
        chain(view),
        if view.connected { "connected".to_owned() } else { ago(view.reported_at, now) },
        lease(view, now),
        state(view, now),
    ]
}

/// How long the host is a member yet if it is not heard.
fn lease(view: &NodeView, now: Timestamp) -> String {
    match view.lease.until {
        _ if !view.node.is_active() => "-".to_owned(),
        None => "pinned".to_owned(),
        Some(until) if until <= now => format!("over {}", ago(Some(until), now)),
        Some(until) => format!("{} left", rough(until.since(now))),
    }
}

/// Tunnels that were alive at the time of the report, of all.
fn tunnels(report: &NodeReport, at: Timestamp) -> String {
    let fresh = |handshake: Option<Timestamp>| handshake.is_some_and(|handshake| at.since(handshake) < SESSION);
    let alive = report.peers.values().filter(|peer| fresh(peer.last_handshake)).count();
    format!("{alive} of {}", report.peers.len())
}

/// The height of the chain beside the agent, where all is well with it; its state stands with the host's.
fn chain(view: &NodeView) -> String {
    match view.report.as_ref().and_then(|report| report.chain.as_ref()).filter(|_| view.node.is_active()) {
        Some(chain) if chain.is_good() => {
            chain.height.map_or_else(|| "started".to_owned(), |height| height.to_string())
        }
        Some(_) => "not well".to_owned(),
        None => "-".to_owned(),
    }
}

/// How the host stands, and the chain beside it where that is not well.
fn state(view: &NodeView, now: Timestamp) -> String {
    let quarantine = match view.node.state {
        NodeState::Revoked { at } => return format!("revoked {}", ago(Some(at), now)),
        NodeState::Quarantined { since } => format!("quarantined {}: ", ago(Some(since), now)),
        NodeState::Active => String::new(),
    };
    let chain = view.report.as_ref().and_then(|report| report.chain.as_ref()).filter(|chain| !chain.is_good());
    let state = chain
        .into_iter()
        .fold(quarantine + &standing(view, now), |state, chain| format!("{state}; goloop's chain is {chain}"));
    let tight = view.report.as_ref().and_then(|report| report.defences.as_ref()).filter(|said| said.is_tight);
    let state = tight
        .into_iter()
        .fold(state, |state, said| format!("{state}; limits tight for {}", rough(now.since(said.since))));
    let repairs = view.report.as_ref().and_then(|report| report.firewall_repairs.as_ref());
    match repairs.filter(|repairs| now.since(repairs.last_at) < DISTURBED) {
        Some(repairs) => format!("{state}; firewall repaired {repairs}"),
        None => state,
    }
}

/// Whether the host is in force; where it is not, everything that is known about why.
fn standing(view: &NodeView, now: Timestamp) -> String {
    if view.node.issued {
        return "issued key, no agent".to_owned();
    }
    if view.in_force {
        return "in force".to_owned();
    }
    let Some(report) = &view.report else {
        return format!("not in force: enrolled {}, has not reported yet", ago(Some(view.node.enrolled_at), now));
    };
    let mut reasons = Vec::new();
    if let Some(wanted) = view.wanted.filter(|wanted| *wanted != report.applied) {
        reasons.push(format!("holds {}, wanted {wanted}", report.applied));
    }
    if let Some(refused) = &report.refused {
        reasons.push(format!("refused: {refused}"));
    }
    for (name, status) in [("tunnels", &report.wireguard), ("firewall", &report.firewall)] {
        if !status.is_in_force() {
            reasons.push(format!("{name} {status}"));
        }
    }
    if let Some(at) = view.reported_at.filter(|_| !view.connected) {
        reasons.push(format!("silent for {}", rough(now.since(at))));
    }
    if reasons.is_empty() {
        reasons.push("what it reads back is not what is wanted".to_owned());
    }
    format!("not in force: {}", reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{
        ChainHealth, FirewallRepairs, Generation, KernelView, Lease, Node, NodeRole, OverlayAddresses, PeerHealth,
        ReconcilerStatus, WireGuardPublicKey,
    };
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    fn host(name: &str, number: u8) -> NodeView {
        let peer =
            |handshake| PeerHealth { last_handshake: handshake, endpoint: None, received_bytes: 0, sent_bytes: 0 };
        let peers = [(101, Some(at(-30))), (102, Some(at(-500))), (103, None)];
        NodeView {
            node: Node {
                id: format!("n-{number}").parse().unwrap(),
                name: name.parse().unwrap(),
                role: if name.starts_with("prep") { NodeRole::Prep } else { NodeRole::Sentry },
                wireguard_key: WireGuardPublicKey::new([number; 32]).unwrap(),
                tls_key_sha256: String::new(),
                overlay: OverlayAddresses { v4: Ipv4Addr::new(10, 77, 0, number), v6: Ipv6Addr::LOCALHOST },
                endpoint: name.starts_with("sentry").then(|| "203.0.113.7:51820".parse().unwrap()),
                identity_key: None,
                issued: false,
                pool: name.starts_with("sentry").then(|| "edge".parse().unwrap()),
                machine_id: None,
                enrolled_at: at(-4000),
                state: NodeState::Active,
            },
            wanted: Some(Generation(7)),
            report: Some(NodeReport {
                applied: Generation(7),
                digest: None,
                refused: None,
                wireguard: ReconcilerStatus::InForce,
                firewall: ReconcilerStatus::InForce,
                kernel: KernelView { peers: 3, elements: 120, ..KernelView::default() },
                peers: peers.map(|(key, at)| (WireGuardPublicKey::new([key; 32]).unwrap(), peer(at))).into(),
                engine: "userspace".to_owned(),
                agent_version: "0.1.0".to_owned(),
                chain: None,
                advertised: None,
                unproven: std::collections::BTreeMap::new(),
                firewall_repairs: None,
                state: None,
                taken_back: None,
                defences: None,
                syncs: std::collections::BTreeMap::new(),
                narrow: std::collections::BTreeMap::new(),
            }),
            reported_at: Some(at(-9)),
            in_force: true,
            connected: true,
            lease: match name.starts_with("prep") {
                true => Lease::granted(None, at(-60)),
                false => Lease::granted(Some(Duration::from_secs(1800)), at(-60 - 600 * i64::from(number - 2))),
            },
        }
    }

    #[test]
    fn every_host_says_how_it_stands() {
        let mut lagging = host("sentry-2", 3);
        (lagging.in_force, lagging.connected) = (false, false);
        if let Some(report) = &mut lagging.report {
            report.applied = Generation(5);
            report.refused = Some("guard: port 7100 is mine\nreally".to_owned());
            report.firewall = ReconcilerStatus::Failed { error: "run nft: \u{1b}[31mno such file".to_owned() };
        }
        let mut new = host("sentry-3", 4);
        (new.in_force, new.connected, new.report, new.reported_at) = (false, false, None, None);
        let mut revoked = host("sentry-4", 5);
        revoked.node.state = NodeState::Revoked { at: at(-600) };
        (revoked.in_force, revoked.connected, revoked.wanted) = (false, false, None);
        let mut odd = host("sentry-5", 6);
        odd.in_force = false;
        let mut laptop = host("prep-x", 2);
        (laptop.node.issued, laptop.in_force, laptop.connected) = (true, false, false);
        (laptop.report, laptop.reported_at, laptop.wanted) = (None, None, Some(Generation(7)));
        let mut aside = host("sentry-6", 2);
        aside.node.state = NodeState::Quarantined { since: at(-120) };
        let beside = |number: u8, chain: ChainHealth| {
            let mut host = host(&format!("prep-{number}"), number);
            host.report.as_mut().unwrap().chain = Some(chain);
            host
        };
        let well = beside(7, ChainHealth { state: "started".into(), height: Some(153), error: None });
        let full = ChainHealth { state: "stopped".into(), height: Some(9), error: Some("no space\u{1b}[31m".into()) };
        let down = beside(8, ChainHealth::unknown("goloop at /cli.sock cannot be reached: no such file".into()));
        let chains = [well, beside(9, full), down];
        let nodes = [host("prep-1", 1), host("sentry-1", 2), lagging, new, revoked, odd, aside, laptop]
            .into_iter()
            .chain(chains);
        let nodes: Vec<NodeView> = nodes.collect();
        insta::assert_snapshot!(page(&nodes, None, at(0)), @r#"
        NAME      ROLE    POOL  OVERLAY    ENDPOINT           TUNNELS  CHAIN     HEARD      LEASE            STATE
        prep-1    prep    -     10.77.0.1  dials only         1 of 3   -         connected  pinned           in force
        sentry-1  sentry  edge  10.77.0.2  203.0.113.7:51820  1 of 3   -         connected  29 min left      in force
        sentry-2  sentry  edge  10.77.0.3  203.0.113.7:51820  1 of 3   -         9 s ago    19 min left      not in force: holds 5, wanted 7; refused: guard: port 7100 is mine\nreally; firewall failed: run nft: \u{1b}[31mno such file; silent for 9 s
        sentry-3  sentry  edge  10.77.0.4  203.0.113.7:51820  -        -         never      9 min left       not in force: enrolled 66 min ago, has not reported yet
        sentry-4  sentry  edge  10.77.0.5  203.0.113.7:51820  -        -         9 s ago    -                revoked 10 min ago
        sentry-5  sentry  edge  10.77.0.6  203.0.113.7:51820  1 of 3   -         connected  over 11 min ago  not in force: what it reads back is not what is wanted
        sentry-6  sentry  edge  10.77.0.2  203.0.113.7:51820  1 of 3   -         connected  29 min left      quarantined 2 min ago: in force
        prep-x    prep    -     10.77.0.2  dials only         -        -         never      pinned           issued key, no agent
        prep-7    prep    -     10.77.0.7  dials only         1 of 3   153       connected  pinned           in force
        prep-9    prep    -     10.77.0.9  dials only         1 of 3   not well  connected  pinned           in force; goloop's chain is stopped at height 9: no space\u{1b}[31m
        prep-8    prep    -     10.77.0.8  dials only         1 of 3   not well  connected  pinned           in force; goloop's chain is unknown: goloop at /cli.sock cannot be reached: no such file
        "#);
    }

    #[test]
    fn that_another_program_changed_the_firewall_is_shown_for_a_while() {
        let mut node = host("prep-1", 1);
        let repairs =
            FirewallRepairs { count: 2, last_at: at(-60), by: "nft (process 7)".into(), what: "gone\n".into() };
        node.report.as_mut().unwrap().firewall_repairs = Some(repairs);
        let shown = "in force; firewall repaired 2 times, last at 2023-11-14T22:12:20Z: gone\\n, by nft (process 7)";
        assert_eq!(state(&node, at(0)), shown);
        assert_eq!(state(&node, at(1000)), "in force");
    }

    #[test]
    fn an_empty_mesh_says_what_to_do_first() {
        insta::assert_snapshot!(page(&[], None, at(0)), @r#"
        no host is enrolled yet; `picket token create --role sentry` is the first step
        "#);
        insta::assert_snapshot!(page(&[], Some(&"edge".parse().unwrap()), at(0)), @r#"
        no host was ever in pool edge; `picket nodes` shows all
        "#);
    }
}
