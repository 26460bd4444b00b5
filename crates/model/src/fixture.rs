//! Values that tests of several crates begin with; each changes what it is about. Only where the feature `fixture` is on, which
//! tests alone ask for.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a value that cannot be made is a failed test")]

use crate::{
    Digest, Generation, KernelView, Node, NodeReport, NodeRole, NodeState, OverlayAddresses, ReconcilerStatus,
    Timestamp, WireGuardPublicKey,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
};

/// An active host whose id is its name; `number` makes its keys and addresses. A sentry has a public endpoint.
pub fn node(name: &str, role: NodeRole, number: u8) -> Node {
    Node {
        id: name.parse().unwrap(),
        name: name.parse().unwrap(),
        role,
        wireguard_key: WireGuardPublicKey::new([number; 32]).unwrap(),
        tls_key_sha256: format!("{number:064x}"),
        overlay: OverlayAddresses {
            v4: Ipv4Addr::new(192, 0, 2, number),
            v6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()),
        },
        endpoint: (role == NodeRole::Sentry).then(|| format!("198.51.100.{number}:51820").parse().unwrap()),
        identity_key: None,
        issued: false,
        pool: None,
        machine_id: None,
        enrolled_at: Timestamp::from_millis(0),
        state: NodeState::Active,
    }
}

/// The report of a host that has everything of a wanted state in force, and says nothing else.
pub fn in_force(applied: Generation, digest: Option<Digest>) -> NodeReport {
    NodeReport {
        applied,
        digest,
        refused: None,
        wireguard: ReconcilerStatus::InForce,
        firewall: ReconcilerStatus::InForce,
        kernel: KernelView::default(),
        peers: BTreeMap::new(),
        engine: "userspace".to_owned(),
        agent_version: "0.1.0".to_owned(),
        chain: None,
        advertised: None,
        unproven: BTreeMap::new(),
        firewall_repairs: None,
        state: None,
        taken_back: None,
        defences: None,
        paths: None,
        silent: BTreeSet::new(),
        syncs: BTreeMap::new(),
        narrow: BTreeMap::new(),
        refused_sources: None,
    }
}
