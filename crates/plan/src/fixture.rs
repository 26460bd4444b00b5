//! Values for this crate's tests.

use picket_model::{
    Grade, Node, NodeRole, NodeState, OverlayAddresses, Provenance, Timestamp, Validator, ValidatorSet,
    WireGuardPublicKey,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

/// A host whose id is its name; `number` makes its key and addresses.
pub(crate) fn node(name: &str, role: NodeRole, number: u8) -> Node {
    Node {
        id: name.parse().unwrap(),
        name: name.parse().unwrap(),
        role,
        wireguard_key: WireGuardPublicKey::new([number; 32]).unwrap(),
        tls_key_sha256: format!("{number:064x}"),
        overlay: OverlayAddresses {
            v4: Ipv4Addr::new(192, 0, 2, number),
            v6: format!("fd00::{number:x}").parse().unwrap(),
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

/// The P-Rep with this number.
pub(crate) fn prep(number: usize) -> picket_model::PrepId {
    format!("hx{number:040x}").parse().unwrap()
}

/// Validators 0 to `count` - 1 at 5.0.x.y.
pub(crate) fn validators(count: usize) -> ValidatorSet {
    (0..count)
        .map(|number| {
            let address = Ipv4Addr::new(5, 0, u8::try_from(number / 256).unwrap(), u8::try_from(number % 256).unwrap());
            Validator {
                prep: prep(number),
                name: String::new(),
                node_address: format!("hx{number:040x}").parse().unwrap(),
                grade: Grade::Main,
                endpoint: format!("{address}:7100").parse().unwrap(),
                addresses: BTreeSet::from([address.into()]),
                provenance: Provenance {
                    sources: BTreeSet::from(["s-0".parse().unwrap()]),
                    since_height: 100,
                    advertised: BTreeMap::new(),
                },
                absent_since: None,
            }
        })
        .collect()
}
