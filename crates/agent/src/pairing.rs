//! The preshared keys of this host's tunnels: derived here from its identity key, and which of two epochs each tunnel is to
//! try. Values in, values out; the tunnels are somebody else's.

use anyhow::{Context as _, Result};
use picket_model::{MeshId, PeerHealth, Timestamp, WireGuardConfig, WireGuardPublicKey};
use picket_wireguard::{
    DeviceConfig, PrivateKey,
    pair::{epoch_to_use, preshared_key},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// What a host derives its preshared keys from.
#[derive(Clone, Debug)]
pub struct PairKeys {
    /// Its mesh.
    pub mesh: MeshId,
    /// Its identity key; `None` on a host enrolled before there were any, whose tunnels have no preshared keys.
    pub identity: Option<PrivateKey>,
}

/// Since when each tunnel without a handshake has been waited for.
#[derive(Clone, Debug, Default)]
pub struct Waits(BTreeMap<WireGuardPublicKey, Instant>);

/// A moment by both clocks: handshakes are told by the one on the wall.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Never steps.
    pub steady: Instant,
    /// May be set.
    pub wall: Timestamp,
}

impl Waits {
    /// Notes which peers are wanted now; those that were keep their time.
    pub fn note(&mut self, wanted: &WireGuardConfig, now: Instant) {
        self.0.retain(|key, _| wanted.peers.contains_key(key));
        for key in wanted.peers.keys() {
            self.0.entry(*key).or_insert(now);
        }
    }

    /// How long a tunnel has had no handshake, and whether it had one before that.
    fn silent(&self, key: &WireGuardPublicKey, health: Option<&PeerHealth>, now: Moment) -> (Duration, bool) {
        match health.and_then(|health| health.last_handshake) {
            Some(at) => (now.wall.since(at), true),
            None => {
                (self.0.get(key).map_or(Duration::ZERO, |since| now.steady.saturating_duration_since(*since)), false)
            }
        }
    }
}

/// Gives each peer of `device` the preshared key of its pair, by how its tunnel is: under the new epoch, or under the one
/// before where handshakes fail.
pub fn give_keys(
    device: &mut DeviceConfig,
    keys: &PairKeys,
    wanted: &WireGuardConfig,
    found: &BTreeMap<WireGuardPublicKey, PeerHealth>,
    waits: &Waits,
    now: Moment,
) -> Result<()> {
    let Some(identity) = &keys.identity else { return Ok(()) };
    let own = device.private_key.public();
    for (key, config) in &mut device.peers {
        let Some((peer, pairing)) = wanted.peers.get(key).and_then(|peer| Some((peer, peer.pairing?))) else {
            continue;
        };
        let (silent, had_handshake) = waits.silent(key, found.get(key), now);
        let epoch = epoch_to_use(&pairing, silent, had_handshake);
        let secret = preshared_key(identity, &pairing.identity, &keys.mesh, [own, *key], epoch);
        let secret =
            secret.with_context(|| format!("derive the preshared key with {} from its identity key", peer.name))?;
        config.preshared_key = Some(secret);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{IdentityKey, Pairing};

    fn key(n: u8) -> PrivateKey {
        PrivateKey::from_random([n; 32])
    }

    /// What host `own` of two wants: identity keys 1 and 2, WireGuard keys 11 and 12.
    fn wanted(own: u8, epoch: u64, before: Option<u64>) -> (DeviceConfig, WireGuardConfig) {
        let other = 3 - own;
        let mut config = crate::guard::tests::config().wireguard;
        let mut peer = config.peers.pop_first().unwrap().1;
        peer.pairing = Some(Pairing { identity: IdentityKey(key(other).public()), epoch, before });
        config.peers.insert(key(other + 10).public(), peer);
        (DeviceConfig::from_model("picket0", key(own + 10), &config).unwrap(), config)
    }

    fn secret(own: u8, epoch: u64, before: Option<u64>, handshake_ago: Option<i64>) -> picket_wireguard::PresharedKey {
        let (mut device, config) = wanted(own, epoch, before);
        let mesh = "m-1".parse().unwrap();
        let keys = PairKeys { mesh, identity: Some(key(own)) };
        let now = Moment { steady: Instant::now(), wall: Timestamp::from_millis(1_000_000) };
        let last_handshake = handshake_ago.map(|seconds| Timestamp::from_millis(1_000_000 - seconds * 1_000));
        let health = PeerHealth { last_handshake, endpoint: None, received_bytes: 0, sent_bytes: 0 };
        let peer = *config.peers.keys().next().unwrap();
        let mut waits = Waits::default();
        waits.note(&config, now.steady);
        give_keys(&mut device, &keys, &config, &BTreeMap::from([(peer, health)]), &waits, now).unwrap();
        device.peers[&peer].preshared_key.clone().unwrap()
    }

    #[test]
    fn both_ends_have_the_same_key_and_each_epoch_its_own() {
        assert_eq!(secret(1, 7, None, Some(3)), secret(2, 7, None, Some(3)));
        assert_ne!(secret(1, 7, None, Some(3)), secret(1, 8, Some(7), Some(3)));
    }

    #[test]
    fn an_end_whose_handshakes_fail_tries_the_epoch_that_the_late_one_still_has() {
        let late = secret(2, 7, None, Some(3));
        assert_ne!(secret(1, 8, Some(7), Some(120)), late);
        assert_eq!(secret(1, 8, Some(7), Some(136)), late);
        assert_eq!(secret(1, 8, Some(7), Some(3)), secret(2, 8, Some(7), Some(3)));
    }

    #[test]
    fn a_host_without_an_identity_key_has_none() {
        let (mut device, config) = wanted(1, 7, None);
        let keys = PairKeys { mesh: "m-1".parse().unwrap(), identity: None };
        let now = Moment { steady: Instant::now(), wall: Timestamp::from_millis(0) };
        give_keys(&mut device, &keys, &config, &BTreeMap::new(), &Waits::default(), now).unwrap();
        assert!(device.peers.values().all(|peer| peer.preshared_key.is_none()));
    }
}
