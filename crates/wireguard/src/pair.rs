//! The preshared key of a pair of peers, derived at both ends from identity keys: whoever hands out WireGuard keys never
//! knows it. Values only; where keys are kept, and which epoch it is, is the caller's business.

use crate::key::{PresharedKey, PrivateKey, SecretError};
use picket_model::{IdentityKey, MeshId, Pairing, WireGuardPublicKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use std::time::Duration;
use x25519_dalek::PublicKey;
use zeroize::Zeroizing;

/// Separates this use of the keys from any other.
const PURPOSE: &[u8] = b"picket preshared key of a pair, version 1";
/// An initiator begins its next handshake 120 seconds after the last (WireGuard paper, section 6.1), and tries again each
/// five: from here on it is late, and the session still lives for 45 seconds.
const LATE: Duration = Duration::from_secs(135);
/// How long each of the two epochs is tried in turn.
const TURN: Duration = Duration::from_secs(10);

/// Bytes of a preshared key.
struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

/// The key of the tunnel between two hosts, of which each knows its own identity key whole. Both ends get the same.
///
/// HKDF-SHA256 (RFC 5869) over X25519 (RFC 7748) of the identity keys; into it go the mesh, both WireGuard keys, the smaller
/// first, and the epoch.
///
/// # Errors
/// [`SecretError`] where the other's identity key is of low order: what comes out of it is no secret.
pub fn preshared_key(
    own: &PrivateKey,
    other: &IdentityKey,
    mesh: &MeshId,
    tunnel: [WireGuardPublicKey; 2],
    epoch: u64,
) -> Result<PresharedKey, SecretError> {
    let shared = own.secret().diffie_hellman(&PublicKey::from(*other.0.as_bytes()));
    if !shared.was_contributory() {
        return Err(SecretError);
    }
    let [one, two] = tunnel;
    let (first, second) = if one < two { (one, two) } else { (two, one) };
    let extracted = Salt::new(HKDF_SHA256, PURPOSE).extract(shared.as_bytes());
    // The mesh's id is the only part of no fixed length, so it goes last.
    let epoch = epoch.to_be_bytes();
    let info = [first.as_bytes().as_slice(), second.as_bytes(), &epoch, mesh.as_str().as_bytes()];
    let mut key = Zeroizing::new([0; 32]);
    extracted.expand(&info, Length).and_then(|expanded| expanded.fill(key.as_mut())).map_err(|_| SecretError)?;
    PresharedKey::from_bytes(*key)
}

/// Which epoch the next handshake of a tunnel is to use. The two ends hear of an epoch at different times, and one of them
/// may hear of nothing for long: where handshakes fail under the new one, the old one is tried in turn, so that a tunnel is
/// never lost to the epoch. `silent` is the time since the last handshake, or since the tunnel was wanted where it had none.
pub fn epoch_to_use(pairing: &Pairing, silent: Duration, had_handshake: bool) -> u64 {
    let late = if had_handshake { silent.saturating_sub(LATE) } else { silent };
    let is_odd = (late.as_secs() / TURN.as_secs()) % 2 == 1;
    // A tunnel with a session has its next handshake under the new epoch; only one that is late alternates, the old first,
    // since the new one has been tried for fifteen seconds by then.
    let tries_old = if had_handshake { silent >= LATE && !is_odd } else { is_odd };
    pairing.before.filter(|_| tries_old).unwrap_or(pairing.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private(n: u8) -> PrivateKey {
        PrivateKey::from_random([n; 32])
    }

    fn tunnel(n: u8) -> WireGuardPublicKey {
        private(n).public()
    }

    fn of(own: u8, other: u8, mesh: &str, keys: [u8; 2], epoch: u64) -> PresharedKey {
        let other = IdentityKey(private(other).public());
        preshared_key(&private(own), &other, &mesh.parse().unwrap(), keys.map(tunnel), epoch).unwrap()
    }

    #[test]
    fn both_ends_derive_the_same_and_nobody_else_does() {
        let key = of(1, 2, "m-1", [11, 12], 7);
        assert_eq!(key, of(2, 1, "m-1", [12, 11], 7));
        for other in [
            of(3, 2, "m-1", [11, 12], 7),
            of(1, 3, "m-1", [11, 12], 7),
            of(1, 2, "m-2", [11, 12], 7),
            of(1, 2, "m-1", [11, 13], 7),
            of(1, 2, "m-1", [11, 12], 8),
        ] {
            assert_ne!(key, other);
        }
        assert_eq!(format!("{key:?}"), "PresharedKey(…)");
    }

    #[test]
    fn it_is_hkdf_over_x25519_as_rfc_5869_and_rfc_7748_have_it() {
        let shared = private(1).secret().diffie_hellman(&PublicKey::from(*private(2).public().as_bytes()));
        let mut info = Vec::new();
        let (one, two) = (tunnel(11), tunnel(12));
        let (first, second) = if one < two { (one, two) } else { (two, one) };
        info.extend_from_slice(first.as_bytes());
        info.extend_from_slice(second.as_bytes());
        info.extend_from_slice(&7_u64.to_be_bytes());
        info.extend_from_slice(b"m-1");
        // RFC 5869 by hand, for one block: T(1) = HMAC(HMAC(salt, IKM), info || 0x01).
        let hmac = |key: &[u8], data: &[u8]| {
            ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key), data).as_ref().to_vec()
        };
        info.push(1);
        let expected = hmac(&hmac(PURPOSE, shared.as_bytes()), &info);
        assert_eq!(of(1, 2, "m-1", [11, 12], 7).as_bytes().as_slice(), expected);
    }

    #[test]
    fn an_identity_key_of_low_order_is_refused() {
        // u = 1, of order 4 (RFC 7748 section 6.1 asks for this check).
        let mut low = [0; 32];
        low[0] = 1;
        let low = IdentityKey(WireGuardPublicKey::new(low).unwrap());
        let made = preshared_key(&private(1), &low, &"m-1".parse().unwrap(), [tunnel(11), tunnel(12)], 7);
        assert_eq!(made, Err(SecretError));
    }

    #[test]
    fn a_late_handshake_tries_the_old_epoch_and_the_new_one_in_turn() {
        let check = |seconds, had, expect| {
            let identity = IdentityKey(private(1).public());
            let pairing = Pairing { identity, epoch: 7, before: Some(6) };
            assert_eq!(epoch_to_use(&pairing, Duration::from_secs(seconds), had), expect, "{seconds} s, {had}");
        };
        // A session: the next handshake, at 120 s, is under the new one.
        [0, 60, 120, 134].into_iter().for_each(|seconds| check(seconds, true, 7));
        // It did not come: the old one, then in turn, all within the session's 180 s.
        [135, 144].into_iter().for_each(|seconds| check(seconds, true, 6));
        [145, 154].into_iter().for_each(|seconds| check(seconds, true, 7));
        [155, 164].into_iter().for_each(|seconds| check(seconds, true, 6));
        // No session: the new one first.
        [0, 9, 20].into_iter().for_each(|seconds| check(seconds, false, 7));
        [10, 19, 30].into_iter().for_each(|seconds| check(seconds, false, 6));
        let first = Pairing { identity: IdentityKey(private(1).public()), epoch: 7, before: None };
        assert_eq!(epoch_to_use(&first, Duration::from_secs(10), false), 7);
    }
}
