//! How a token is tied to a host's keys: its audience names them, so that whoever copies the token cannot join with other
//! keys.

use picket_model::{MeshId, WireGuardPublicKey};
use sha2::{Digest, Sha256};

/// What stands for a host's two keys: SHA-256, in lower-case hexadecimal, over the 32 bytes of the WireGuard key and the 32
/// bytes of the TLS key's own SHA-256 (over its SubjectPublicKeyInfo in DER; `tls_key_sha256` is that in hexadecimal, as
/// `Node` has it). `None` where that is not 64 hexadecimal digits.
pub fn keys_digest(wireguard: &WireGuardPublicKey, tls_key_sha256: &str) -> Option<String> {
    let mut tls = [0; 32];
    hex::decode_to_slice(tls_key_sha256, &mut tls).ok()?;
    let mut digest = Sha256::new();
    digest.update(wireguard.as_bytes());
    digest.update(tls);
    Some(hex::encode(digest.finalize()))
}

/// The one audience a token must have to admit these keys to this mesh. At most 145 characters: AWS STS takes 1 to 10
/// audiences of 1 to 1000 characters (`GetWebIdentityToken`), GCP's metadata server any text.
pub fn audience(mesh: &MeshId, keys_digest: &str) -> String {
    format!("picket://{mesh}/enroll/{keys_digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_names_mesh_and_both_keys() {
        let key = |byte| WireGuardPublicKey::new([byte; 32]).unwrap();
        let digest = keys_digest(&key(1), &"02".repeat(32)).unwrap();
        // By another program (Python hashlib).
        assert_eq!(digest, "f818afd37a6dc3bc92fb44731011277006db4efa6e9023cd7468c02335d22a4d");
        assert_ne!(digest, keys_digest(&key(2), &"02".repeat(32)).unwrap());
        assert_ne!(digest, keys_digest(&key(1), &"03".repeat(32)).unwrap());
        assert_eq!((keys_digest(&key(1), "02"), keys_digest(&key(1), &"0g".repeat(32))), (None, None));
        let mesh = "m".repeat(64).parse().unwrap();
        assert_eq!(audience(&mesh, &digest).len(), 145);
    }
}
