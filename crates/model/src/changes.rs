//! What differs between two contents of one host: all that has to travel where the host holds the earlier one. Whether the result
//! is what was meant, its digest says.

use crate::{
    AllowSet, FirewallPolicy, Generation, NodeConfig, Purpose, Reason, WireGuardConfig, WireGuardPeer,
    WireGuardPublicKey,
};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What makes one content of a host another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigChanges {
    /// The plan that the later one came from.
    pub generation: Generation,
    /// All but peers and allow sets, where anything of that is otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Box<NodeConfig>>,
    /// Peers that are new or otherwise, by key; those that are gone have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<WireGuardPublicKey, Option<WireGuardPeer>>,
    /// Allow sets that are otherwise; those that are gone have nothing.
    #[serde(default)]
    pub allow: BTreeMap<Purpose, Option<SetChanges>>,
}

/// What makes one allow set another: networks that are let in newly or for other reasons; those that are gone have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SetChanges(
    #[schemars(with = "BTreeMap<String, Option<BTreeSet<Reason>>>")] pub BTreeMap<IpNet, Option<BTreeSet<Reason>>>,
);

impl NodeConfig {
    /// What makes this content `later`.
    pub fn changes_to(&self, later: &Self) -> ConfigChanges {
        let sets = self.sets_changed_to(later).into_iter();
        let set = |(before, after): (Option<&AllowSet>, Option<&AllowSet>)| {
            after.map(|after| before.map_or_else(|| AllowSet::default().changes_to(after), |set| set.changes_to(after)))
        };
        ConfigChanges {
            allow: sets.map(|(purpose, pair)| (purpose, set(pair))).collect(),
            ..self.changes_beside_sets(later)
        }
    }

    /// The same but for the allow sets, which hosts have in common.
    pub fn changes_beside_sets(&self, later: &Self) -> ConfigChanges {
        let rest = later.rest();
        let rest = (!self.rest().same_content(&rest)).then(|| Box::new(rest));
        let (old, new) = (&self.wireguard.peers, &later.wireguard.peers);
        let come = new.iter().filter(|(key, peer)| old.get(*key) != Some(*peer));
        let gone = old.keys().filter(|key| !new.contains_key(*key));
        let peers = come.map(|(key, peer)| (*key, Some(peer.clone()))).chain(gone.map(|key| (*key, None))).collect();
        ConfigChanges { generation: later.generation, rest, peers, allow: BTreeMap::new() }
    }

    /// The allow sets that are otherwise in `later`, before and after.
    pub fn sets_changed_to<'a>(
        &'a self,
        later: &'a Self,
    ) -> BTreeMap<Purpose, (Option<&'a AllowSet>, Option<&'a AllowSet>)> {
        let pair = |purpose| (self.firewall.allow.get(&purpose), later.firewall.allow.get(&purpose));
        let pairs = Purpose::ALL.into_iter().map(|purpose| (purpose, pair(purpose)));
        pairs.filter(|(_, (before, after))| before != after).collect()
    }

    /// This content after some changes, as that revision.
    #[must_use]
    pub fn changed(&self, changes: ConfigChanges, revision: Generation) -> Self {
        let ConfigChanges { generation, rest, peers, allow } = changes;
        let mut config = rest.map_or_else(|| self.rest(), |rest| *rest);
        (config.generation, config.revision) = (generation, revision);
        config.wireguard.peers.clone_from(&self.wireguard.peers);
        for (key, peer) in peers {
            match peer {
                Some(peer) => drop(config.wireguard.peers.insert(key, peer)),
                None => drop(config.wireguard.peers.remove(&key)),
            }
        }
        config.firewall.allow.clone_from(&self.firewall.allow);
        for (purpose, changes) in allow {
            match changes {
                Some(changes) => config.firewall.allow.entry(purpose).or_default().change(changes),
                None => drop(config.firewall.allow.remove(&purpose)),
            }
        }
        config
    }

    /// All but peers and allow sets.
    pub fn rest(&self) -> Self {
        // Taken apart, so that what a content gains later cannot be left out.
        let Self { mesh, node, role, generation, revision, wireguard, firewall } = self;
        let WireGuardConfig { listen_port, addresses, mtu, peers: _ } = wireguard;
        let FirewallPolicy { guarded, allow: _, public, limits, shield, forwards, hidden, grants_last_seconds, syncs } =
            firewall;
        Self {
            mesh: mesh.clone(),
            node: node.clone(),
            role: *role,
            generation: *generation,
            revision: *revision,
            wireguard: WireGuardConfig {
                listen_port: *listen_port,
                addresses: addresses.clone(),
                mtu: *mtu,
                peers: BTreeMap::new(),
            },
            firewall: FirewallPolicy {
                guarded: guarded.clone(),
                allow: BTreeMap::new(),
                public: public.clone(),
                limits: *limits,
                shield: *shield,
                forwards: forwards.clone(),
                hidden: hidden.clone(),
                grants_last_seconds: *grants_last_seconds,
                syncs: syncs.clone(),
            },
        }
    }
}

impl AllowSet {
    /// What makes this set `later`.
    pub fn changes_to(&self, later: &Self) -> SetChanges {
        let come = later.0.iter().filter(|(network, reasons)| self.0.get(*network) != Some(*reasons));
        let gone = self.0.keys().filter(|network| !later.0.contains_key(*network));
        let come = come.map(|(network, reasons)| (*network, Some(reasons.clone())));
        SetChanges(come.chain(gone.map(|network| (*network, None))).collect())
    }

    fn change(&mut self, SetChanges(changes): SetChanges) {
        let entries = Arc::make_mut(&mut self.0);
        for (network, reasons) in changes {
            match reasons {
                Some(reasons) => drop(entries.insert(network, reasons)),
                None => drop(entries.remove(&network)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NodeRole, Shield};
    use proptest::{collection::btree_map, option, prelude::*};

    fn peer(number: u8) -> WireGuardPeer {
        WireGuardPeer {
            node: format!("n-{number}").parse().unwrap(),
            name: format!("host-{number}").parse().unwrap(),
            endpoint: number.is_multiple_of(2).then(|| format!("192.0.2.{number}:51820").parse().unwrap()),
            allowed_ips: BTreeSet::new(),
            keepalive_seconds: None,
            pairing: None,
        }
    }

    fn set() -> impl Strategy<Value = AllowSet> {
        let entries = btree_map(0u8..6, 0u8..3, 0..6);
        entries.prop_map(|entries| {
            let mut set = AllowSet::default();
            for (last, line) in entries {
                let network = format!("198.51.100.{last}/32").parse().unwrap();
                set.insert(network, Reason::Policy { line: format!("line {line}") });
            }
            set
        })
    }

    prop_compose! {
        fn config()(
            revision in 1u64..9,
            peers in btree_map(1u8..6, 1u8..9, 0..5),
            sets in (option::of(set()), option::of(set()), option::of(set())),
            listen_port in 0u16..2,
            is_on in any::<bool>(),
        ) -> NodeConfig {
            let purposes = [(Purpose::P2p, sets.0), (Purpose::Admin, sets.1), (Purpose::Overlay, sets.2)];
            NodeConfig {
                mesh: "m-1".parse().unwrap(),
                node: "n-1".parse().unwrap(),
                role: NodeRole::Prep,
                generation: Generation(revision + 1),
                revision: Generation(revision),
                wireguard: WireGuardConfig {
                    listen_port,
                    addresses: BTreeSet::new(),
                    mtu: 1420,
                    peers: peers
                        .into_iter()
                        .map(|(key, number)| (WireGuardPublicKey::new([key; 32]).unwrap(), peer(number)))
                        .collect(),
                },
                firewall: FirewallPolicy {
                    allow: purposes.into_iter().filter_map(|(purpose, set)| Some((purpose, set?))).collect(),
                    shield: if is_on { Shield::On } else { Shield::Off },
                    ..FirewallPolicy::default()
                },
            }
        }
    }

    proptest! {
        #[test]
        fn the_changes_from_one_content_to_another_make_it_that_one(one in config(), other in config()) {
            let changes = one.changes_to(&other);
            let text = serde_json::to_string(&changes).unwrap();
            let read: ConfigChanges = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&read, &changes);
            let made = one.changed(read, other.revision);
            prop_assert_eq!(made.digest(), other.digest());
            prop_assert_eq!(made, other);
        }

        #[test]
        fn the_same_content_has_no_changes(one in config()) {
            let changes = one.changes_to(&NodeConfig { revision: Generation(20), ..one.clone() });
            prop_assert!(changes.rest.is_none() && changes.peers.is_empty() && changes.allow.is_empty());
        }

        #[test]
        fn changes_of_something_else_show_in_the_digest(one in config(), two in config(), other in config()) {
            let made = two.changed(one.changes_to(&other), other.revision);
            prop_assert_eq!(made.digest() == other.digest(), made.same_content(&other));
        }
    }
}
