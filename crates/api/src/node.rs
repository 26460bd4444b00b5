//! What an enrolled host asks and tells: `GET /v1/node/config?after=R&holds=D`, `PUT /v1/node/report`, `POST /v1/renew`.
//! The body of the report is `picket_model::NodeReport`.

use crate::Proof;
use picket_model::{ConfigChanges, Digest, Generation, NodeConfig, NodeId, Timestamp, WireGuardPublicKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest time the controller lets a poll wait before it answers 204, "nothing newer".
pub const LONGEST_POLL: Duration = Duration::from_secs(50);

/// The query of a long poll.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConfigQuery {
    /// The revision the host holds; zero for none. Answered when there is a newer one.
    pub after: Generation,
    /// Digest of what the host holds of that revision, where it can take changes of it. Without it the answer is the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<Digest>,
}

/// The answer to a poll: a newer wanted state, whole, or as changes of what the host says it holds where the controller still
/// knows that. One of the two is there. The host compares the digest with what it then holds, and asks for the whole where it
/// is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigNews {
    /// Revision of the content.
    pub revision: Generation,
    /// Digest of the content.
    pub digest: Digest,
    /// The whole wanted state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<NodeConfig>,
    /// What is otherwise than in what is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<ConfigChanges>,
}

impl ConfigNews {
    /// The wanted state, where it is whole or can be made of what is held; `None` where the whole has to be asked for.
    pub fn of(self, held: Option<&NodeConfig>) -> Option<ConfigAnswer> {
        let Self { revision, digest, full, changes } = self;
        let full = match (full, changes, held) {
            (Some(full), _, _) => full,
            (None, Some(changes), Some(held)) => {
                Some(held.changed(changes, revision)).filter(|made| made.digest() == digest)?
            }
            (None, _, _) => return None,
        };
        Some(ConfigAnswer { revision, digest, full })
    }
}

/// What a host holds and takes changes of.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its digest.
    pub digest: Digest,
    /// The content.
    pub config: NodeConfig,
}

/// A newer wanted state, whole. The host compares the digest with what it then holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigAnswer {
    /// Revision of the content.
    pub revision: Generation,
    /// Digest of the content.
    pub digest: Digest,
    /// The whole wanted state.
    pub full: NodeConfig,
}

/// `GET /v1/node/peers/{node}/proof`: the proof with which a peer came in, for a host that looks at it itself. The audience of a
/// token is of the peer's two keys (`picket_attest::audience`), of which the host knows the other one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PeerProof {
    /// The proof for the key it uses.
    pub proof: Proof,
    /// The one for the key that is to follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Proof>,
    /// SHA-256 of the peer's TLS key (SubjectPublicKeyInfo), lower-case hexadecimal.
    pub tls_key_sha256: String,
}

/// `PUT /v1/node/proof`: a newer proof of the host's own, of the same identity.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewerProof {
    /// The proof.
    pub proof: Proof,
}

/// A host asks for a new certificate for the key it enrolled with. It need not show the old one, whose time may be over: the
/// request is signed with the key, and a certificate is of no use to whoever lacks it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// The host.
    pub node: NodeId,
    /// Certificate signing request (PKCS#10, PEM) for that key.
    pub csr_pem: String,
}

/// A host says which key its tunnels use, and which one it has made for later: `POST /v1/node/key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RekeyRequest {
    /// The public half of the key in use.
    pub uses: WireGuardPublicKey,
    /// The public half of the next one.
    #[serde(default)]
    pub next: Option<WireGuardPublicKey>,
}

/// Whether a host may take its next key into use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RekeyAnswer {
    /// Every peer has read it back.
    pub ready: bool,
    /// An operator wishes that the key in use be replaced, and none is to follow yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
}

/// A new certificate.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RenewResponse {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// When it ends.
    pub not_after: Timestamp,
}
