//! The complete wanted state of one host. An agent holds exactly one and refuses any older one.

use crate::{
    AllowSet, FirewallPolicy, Generation, MeshId, NodeId, NodeName, NodeRole, Pairing, Reason, WireGuardPublicKey,
};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    sync::{Arc, Weak},
};

/// What one host shall be, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeConfig {
    /// The mesh it belongs to.
    pub mesh: MeshId,
    /// The host.
    pub node: NodeId,
    /// Its part.
    pub role: NodeRole,
    /// The plan this came from.
    pub generation: Generation,
    /// The last generation in which this host's content changed. Agents compare this number.
    pub revision: Generation,
    /// Its tunnels.
    pub wireguard: WireGuardConfig,
    /// Its firewall.
    pub firewall: FirewallPolicy,
}

/// A host's WireGuard device, but for its private key, which only the host has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireGuardConfig {
    /// UDP port to listen on; 0 lets the kernel choose, for a host that only dials.
    pub listen_port: u16,
    /// The host's own overlay addresses: /32 and /128.
    #[schemars(with = "BTreeSet<String>")]
    pub addresses: BTreeSet<IpNet>,
    /// Largest packet inside the tunnel, in bytes.
    pub mtu: u16,
    /// Peers by key.
    pub peers: BTreeMap<WireGuardPublicKey, WireGuardPeer>,
}

/// The other end of one tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireGuardPeer {
    /// Which host it is.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Where to dial it; `None` waits to be dialled.
    pub endpoint: Option<SocketAddr>,
    /// What may come out of, and goes into, this tunnel; routed to it.
    #[schemars(with = "BTreeSet<String>")]
    pub allowed_ips: BTreeSet<IpNet>,
    /// Seconds between keepalives; `None` sends none.
    pub keepalive_seconds: Option<u16>,
    /// What the tunnel's preshared key is derived from; `None` where one end has no identity key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing: Option<Pairing>,
}

/// SHA-256 over a content, as a host's, lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Digest(String);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Digest {
    /// Of a value's JSON.
    pub fn of(content: &impl Serialize) -> Self {
        // Every map in a content has text keys and every value is plain, so JSON cannot fail; an empty text would only
        // make two such failures equal.
        Self(hex::encode(Sha256::digest(serde_json::to_vec(content).unwrap_or_default())))
    }
}

/// Digests of allow sets. Hosts have their sets in common, and with a hundred validators a set is nearly all of a content:
/// each is gone through once for all hosts.
#[derive(Debug, Default)]
pub struct SetDigests(BTreeMap<usize, (Weak<Entries>, Digest)>);

type Entries = BTreeMap<IpNet, BTreeSet<Reason>>;

impl SetDigests {
    /// A set's, made now or before.
    pub fn of(&mut self, set: &AllowSet) -> Digest {
        // The handle kept beside it holds the address for as long as it stands for this set; who writes to a set of which
        // there is a handle has it elsewhere (`Arc::make_mut`).
        let known = self.0.entry(Arc::as_ptr(&set.0).addr());
        let known = known.or_insert_with(|| (Arc::downgrade(&set.0), Digest::of(set)));
        known.1.clone()
    }

    /// Forgets sets that nobody has any more, however many have their digests.
    pub fn tidy(&mut self) {
        self.0.retain(|_, (set, _)| set.strong_count() > 0);
    }
}

impl NodeConfig {
    /// Digest of everything but the numbers of the plan: equal digests mean nothing to do.
    pub fn digest(&self) -> Digest {
        self.digest_among(&mut SetDigests::default())
    }

    /// The same digest, made with those of allow sets that other hosts' contents share with this one.
    pub fn digest_among(&self, sets: &mut SetDigests) -> Digest {
        // Taken apart, so that what a content gains later cannot be left out.
        let Self { mesh, node, role, generation: _, revision: _, wireguard, firewall } = self;
        let FirewallPolicy { guarded, allow, public, limits, shield, grants_last_seconds, forwards, hidden, syncs } =
            firewall;
        let guarded: Vec<_> = guarded.iter().collect();
        let allow: BTreeMap<_, _> = allow.iter().map(|(purpose, set)| (*purpose, sets.of(set))).collect();
        let of_before = (mesh, node, role, wireguard, guarded, allow);
        // Agents of before digest what they know of: the same, where there is nothing else.
        let mut digest = if public.is_empty() && limits.is_none() && shield.is_off() {
            Digest::of(&of_before)
        } else {
            Digest::of(&(of_before, public, limits, shield))
        };
        if let Some(seconds) = grants_last_seconds {
            digest = Digest::of(&(digest, seconds));
        }
        if !forwards.is_empty() || hidden.is_some() {
            digest = Digest::of(&(digest, forwards, hidden));
        }
        if syncs.is_empty() { digest } else { Digest::of(&(digest, "syncs", syncs)) }
    }

    /// Whether all of the content but its allow sets is the same, whatever plans the two came from.
    pub fn same_beside_sets(&self, other: &Self) -> bool {
        // Taken apart, so that what a content gains later cannot be left out.
        let Self { mesh, node, role, generation: _, revision: _, wireguard, firewall } = self;
        let FirewallPolicy { guarded, allow: _, public, limits, shield, grants_last_seconds, forwards, hidden, syncs } =
            firewall;
        let theirs = &other.firewall;
        (mesh, node, role, wireguard) == (&other.mesh, &other.node, &other.role, &other.wireguard)
            && (guarded, public, limits, shield) == (&theirs.guarded, &theirs.public, &theirs.limits, &theirs.shield)
            && (grants_last_seconds, forwards, hidden, syncs)
                == (&theirs.grants_last_seconds, &theirs.forwards, &theirs.hidden, &theirs.syncs)
    }

    /// Whether the content is the same, whatever plans the two came from.
    pub fn same_content(&self, other: &Self) -> bool {
        (&self.mesh, &self.node, self.role, &self.wireguard, &self.firewall)
            == (&other.mesh, &other.node, other.role, &other.wireguard, &other.firewall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GuardedPort, Protocol, Purpose, Reason};
    use std::num::{NonZeroU8, NonZeroU16};

    fn config() -> NodeConfig {
        let mut firewall = FirewallPolicy::default();
        let port = GuardedPort { protocol: Protocol::Tcp, port: NonZeroU16::new(7100).unwrap() };
        firewall.guarded.insert(port, Purpose::P2p);
        firewall
            .allow
            .entry(Purpose::Admin)
            .or_default()
            .insert("2001:db8::/32".parse().unwrap(), Reason::Policy { line: "admin".into() });
        NodeConfig {
            mesh: "m-1".parse().unwrap(),
            node: "n-1".parse().unwrap(),
            role: NodeRole::Prep,
            generation: Generation(4),
            revision: Generation(3),
            wireguard: WireGuardConfig {
                listen_port: 51820,
                addresses: BTreeSet::from(["fd00::1/128".parse().unwrap()]),
                mtu: 1420,
                peers: BTreeMap::from([(
                    WireGuardPublicKey::new([9; 32]).unwrap(),
                    WireGuardPeer {
                        node: "n-2".parse().unwrap(),
                        name: "sentry-1".parse().unwrap(),
                        endpoint: Some("192.0.2.1:51820".parse().unwrap()),
                        allowed_ips: BTreeSet::from(["fd00::2/128".parse().unwrap()]),
                        keepalive_seconds: Some(25),
                        pairing: None,
                    },
                )]),
            },
            firewall,
        }
    }

    #[test]
    fn travels_as_json_unchanged() {
        let text = serde_json::to_string(&config()).unwrap();
        // Agents from before there were identity keys compute the same digest.
        assert!(!text.contains("pairing"));
        assert_eq!(serde_json::from_str::<NodeConfig>(&text).unwrap(), config());
    }

    #[test]
    fn the_digest_is_of_the_content_alone() {
        let (mut later, mut other) = (config(), config());
        later.generation = Generation(9);
        assert_eq!(config().digest(), later.digest());
        other.wireguard.mtu = 1280;
        assert_ne!(config().digest(), other.digest());
        assert_eq!(config().digest().to_string().len(), 64);
    }

    #[test]
    fn what_agents_of_before_do_not_know_counts_and_is_not_written_where_there_is_none() {
        let plain = config();
        let text = serde_json::to_string(&plain).unwrap();
        assert!(
            !["public", "limits", "shield", "grants", "forwards", "hidden", "syncs"]
                .iter()
                .any(|word| text.contains(word)),
            "{text}"
        );
        let [mut public, mut limits, mut shield, mut grants] = [config(), config(), config(), config()];
        grants.firewall.grants_last_seconds = std::num::NonZeroU32::new(86_400);
        public.firewall.public.insert(NonZeroU16::new(7100).unwrap());
        limits.firewall.limits = Some(crate::Limits::default());
        shield.firewall.shield = crate::Shield::Auto;
        let [mut forwards, mut hidden] = [config(), config()];
        let (one, port) = (NonZeroU8::MIN, NonZeroU16::new(7100).unwrap());
        forwards.firewall.forwards.insert(crate::Forward {
            prep: "n-3".parse().unwrap(),
            name: "prep-3".parse().unwrap(),
            port,
            addresses: BTreeSet::new(),
            to: crate::OverlayAddresses { v4: "192.0.2.3".parse().unwrap(), v6: "fd00::3".parse().unwrap() },
            to_port: port,
            calls: BTreeSet::from([port]),
            is_closed: false,
        });
        let sentries = BTreeMap::from([("n-2".parse().unwrap(), one)]);
        hidden.firewall.hidden =
            Some(Box::new(crate::Hidden { calls: [port].into(), sentries, strict: true, ..crate::Hidden::default() }));
        let text = serde_json::to_string(&forwards).unwrap();
        assert!(!text.contains("is_closed"), "agents of before know nothing of it: {text}");
        let mut drained = hidden.clone();
        let text = serde_json::to_string(&hidden).unwrap();
        assert!(!text.contains("draining"), "{text}");
        let draining = &mut drained.firewall.hidden.as_mut().unwrap().draining;
        draining.insert("n-2".parse().unwrap(), crate::Timestamp::from_millis(7));
        let mut syncs = config();
        let to = crate::SyncTarget::Own;
        let path = crate::SyncPath {
            port,
            to,
            to_port: port,
            citizens: BTreeSet::new(),
            addresses: BTreeSet::new(),
            websocket: BTreeSet::new(),
            debug: false,
        };
        syncs.firewall.syncs.insert(path);
        let digests =
            [&plain, &public, &limits, &shield, &grants, &forwards, &hidden, &drained, &syncs].map(NodeConfig::digest);
        assert_eq!(BTreeSet::from(digests).len(), 9);
        assert!(!hidden.same_content(&plain) && !forwards.same_content(&plain));
        let mut sets = config();
        sets.firewall.allow.clear();
        assert!(sets.same_beside_sets(&plain) && !sets.same_content(&plain));
        for config in [public, limits, shield, grants, forwards, hidden, drained, syncs] {
            assert!(!config.same_beside_sets(&plain) && !plain.same_beside_sets(&config));
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<NodeConfig>(&text).unwrap(), config);
        }
    }

    #[test]
    fn a_set_that_nobody_has_any_more_is_forgotten_however_many_know_its_digest() {
        let (config, mut known) = (config(), [SetDigests::default(), SetDigests::default()]);
        for sets in &mut known {
            config.digest_among(sets);
        }
        let count = |known: &mut [SetDigests; 2]| {
            known.iter_mut().for_each(SetDigests::tidy);
            known.each_ref().map(|sets| sets.0.len())
        };
        assert_eq!(count(&mut known), [1, 1]);
        drop(config);
        assert_eq!(count(&mut known), [0, 0]);
    }

    #[test]
    fn the_digest_is_of_every_set_under_its_purpose_shared_or_not() {
        let (mut sets, plain) = (SetDigests::default(), config());
        let mut others = vec![config(), config(), config(), config()];
        let admin = plain.firewall.allowed(Purpose::Admin).clone();
        others[0].firewall.allow = BTreeMap::from([(Purpose::P2p, admin.clone())]);
        others[1].firewall.allow.insert(Purpose::P2p, admin);
        others[2].firewall.allow.clear();
        others[3]
            .firewall
            .allow
            .entry(Purpose::Admin)
            .or_default()
            .insert("2001:db8::/32".parse().unwrap(), Reason::Policy { line: "another reason".into() });
        let mut seen = BTreeSet::from([plain.digest()]);
        for other in &others {
            assert_eq!(other.digest_among(&mut sets), other.digest());
            assert!(seen.insert(other.digest()), "{other:?}");
        }
        // Sets that are equal and not one and the same value have one digest.
        let mut apart = plain.clone();
        apart.firewall.allow = serde_json::from_str(&serde_json::to_string(&plain.firewall.allow).unwrap()).unwrap();
        assert_eq!(apart.digest_among(&mut sets), plain.digest_among(&mut sets));
        assert_eq!(sets.0.len(), 4);
    }
}
