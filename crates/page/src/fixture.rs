//! Values that tests of the views begin with.

use crate::{Frame, HostState, Overview, Section, Viewer};
use picket_api::operator::{EventView, FindingView, NodeView, SourceView, StatusView};
use picket_model::{
    FirewallPolicy, Generation, Grade, GuardedPort, Hidden, Lease, NodeConfig, NodeRole, Protocol, Provenance, Purpose,
    Reason, Timestamp, Validator, WireGuardConfig, WireGuardPeer,
    fixture::{in_force, node},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU8,
    sync::Arc,
};

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

pub(crate) fn validator(name: &str) -> Validator {
    Validator {
        prep: format!("hx{}", "1".repeat(40)).parse().unwrap(),
        name: name.to_owned(),
        node_address: format!("hx{}", "2".repeat(40)).parse().unwrap(),
        grade: Grade::Main,
        endpoint: "198.51.100.7:7100".parse().unwrap(),
        addresses: BTreeSet::from(["198.51.100.7".parse().unwrap()]),
        provenance: Provenance {
            sources: BTreeSet::from(["a.example".parse().unwrap()]),
            since_height: 31_000_000,
            advertised: BTreeMap::new(),
        },
        absent_since: None,
    }
}

/// A validator's host that has everything in force: one validator and one admin network are let in.
pub(crate) fn prep(name: &str, is_hidden: bool) -> HostState {
    let known = node(name, NodeRole::Prep, 11);
    let mut firewall = FirewallPolicy::default();
    let port = GuardedPort { protocol: Protocol::Tcp, port: 7100.try_into().unwrap() };
    firewall.guarded.insert(port, Purpose::P2p);
    let one = validator("Station");
    let prep = Reason::Prep {
        prep: one.prep,
        endpoint: one.endpoint,
        sources: one.provenance.sources,
        since_height: 31_000_000,
        advertised_by: BTreeSet::new(),
    };
    firewall.allow.entry(Purpose::P2p).or_default().insert("198.51.100.7/32".parse().unwrap(), prep);
    let admin = Reason::Policy { line: "admin".to_owned() };
    firewall.allow.entry(Purpose::Admin).or_default().insert("203.0.113.0/28".parse().unwrap(), admin);
    if is_hidden {
        let sentries = BTreeMap::from([("sentry-1".parse().unwrap(), NonZeroU8::MIN)]);
        firewall.hidden = Some(Box::new(Hidden { sentries, strict: true, ..Hidden::default() }));
    }
    let wireguard = WireGuardConfig { listen_port: 0, addresses: BTreeSet::new(), mtu: 1420, peers: BTreeMap::new() };
    let config = NodeConfig {
        mesh: "m-1".parse().unwrap(),
        node: known.id.clone(),
        role: NodeRole::Prep,
        generation: Generation(3),
        revision: Generation(3),
        wireguard,
        firewall,
    };
    let view = NodeView {
        node: known,
        wanted: Some(Generation(3)),
        report: Some(in_force(Generation(3), None)),
        reported_at: Some(NOW),
        in_force: true,
        connected: true,
        lease: Lease::default(),
    };
    HostState { view, lag: None, is_silent: false, config: Some(Arc::new(config)), cut: None }
}

/// A machine with an issued key that runs no agent, and a tunnel that is wanted from it.
pub(crate) fn issued(name: &str) -> HostState {
    let mut host = prep(name, false);
    (host.view.node.issued, host.view.report, host.view.reported_at) = (true, None, None);
    (host.view.in_force, host.view.connected) = (false, false);
    host.config = host.config.map(|config| with_tunnel(&config, "sentry-1"));
    host
}

/// A tunnel to that sentry is wanted, too.
pub(crate) fn with_tunnel(config: &NodeConfig, sentry: &str) -> Arc<NodeConfig> {
    let sentry = node(sentry, NodeRole::Sentry, 21);
    let mut config = config.clone();
    let peer = WireGuardPeer {
        node: sentry.id,
        name: sentry.name,
        endpoint: sentry.endpoint,
        allowed_ips: sentry.overlay.networks().into(),
        keepalive_seconds: None,
        pairing: None,
    };
    config.wireguard.peers.insert(sentry.wireguard_key, peer);
    Arc::new(config)
}

/// What a page is in, for a viewer.
pub(crate) fn frame(section: Section) -> Frame {
    let viewer = Viewer {
        operator: "op-1".parse().unwrap(),
        name: String::new(),
        role: picket_pki::OperatorRole::Viewer,
        csrf: "x".to_owned(),
    };
    Frame { mesh: "m-1".parse().unwrap(), viewer, section }
}

/// Something of this kind that is wrong.
pub(crate) fn finding(kind: &str, host: Option<&str>) -> FindingView {
    FindingView {
        kind: kind.to_owned(),
        text: format!("{} is wrong", host.unwrap_or(kind)),
        todo: format!("do this about {kind}"),
        runbook: "PicketAlarm".to_owned(),
        host: host.map(str::to_owned),
        ..FindingView::default()
    }
}

/// A source that was asked, and what went wrong.
pub(crate) fn source(id: &str, error: Option<&str>) -> SourceView {
    SourceView {
        id: id.parse().unwrap(),
        url: format!("https://{id}/api/v3"),
        height: Some(31_000_000),
        seen_at: Some(NOW),
        entries: 100,
        refused: 0,
        error: error.map(str::to_owned),
        push: None,
    }
}

pub(crate) fn overview() -> Overview {
    let status = StatusView {
        mesh: "m-1".parse().unwrap(),
        version: "0.1.0".to_owned(),
        now: NOW,
        generation: Generation(3),
        planned_at: Some(NOW),
        sources: Vec::new(),
        validators: 1,
        nodes: 1,
        in_force: 1,
        alarms: Vec::new(),
        findings: Vec::new(),
    };
    Overview { status, hosts: vec![prep("prep-1", false)], tunnels: Vec::new(), held: None, events: Vec::new() }
}

/// An event so many seconds ago.
pub(crate) fn event(id: i64, action: &str, seconds: i64) -> EventView {
    EventView {
        id: id + 10,
        at: Timestamp::from_millis(NOW.as_millis() - seconds * 1000),
        actor: "op-1".to_owned(),
        action: action.to_owned(),
        subject: "prep-1".to_owned(),
        detail: "+ host prep-1 (prep)\n- host x".to_owned(),
        ..EventView::default()
    }
}
