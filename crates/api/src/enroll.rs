//! `POST /v1/enroll`: the only call without a client certificate.

use picket_model::{IdentityKey, MeshId, NodeId, NodeName, NodeRole, OverlayAddresses, Timestamp, WireGuardPublicKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr};

/// How a host shows that it may join.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Proof {
    /// A join token.
    JoinToken {
        /// The whole token, secret included.
        token: String,
    },
    /// The AWS instance identity document, which names no keys: the first to show it has it.
    AwsDocument {
        /// The document, byte for byte.
        document: String,
        /// Base64 on one line, of `/signature` beside it.
        signature: String,
    },
    /// A token of `sts:GetWebIdentityToken`, for the audience that names this mesh and the host's keys.
    AwsSts {
        /// JWT.
        token: String,
    },
    /// The identity token of GCP's metadata server in full format, for that audience.
    Gcp {
        /// JWT.
        token: String,
    },
    /// A token of another OIDC issuer, for that audience.
    Oidc {
        /// JWT.
        token: String,
    },
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinToken { .. } => f.write_str("JoinToken(secret)"),
            Self::AwsDocument { .. } => f.write_str("AwsDocument(hidden)"),
            Self::AwsSts { .. } => f.write_str("AwsSts(hidden)"),
            Self::Gcp { .. } => f.write_str("Gcp(hidden)"),
            Self::Oidc { .. } => f.write_str("Oidc(hidden)"),
        }
    }
}

/// Answer of `GET /v1/enroll`: what a host must know before it can ask for a token that names the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnrollInfo {
    /// The mesh.
    pub mesh: MeshId,
}

/// A host asks to join. Idempotent on proof and keys: a repeated request gets the same node back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    /// Why it may.
    pub proof: Proof,
    /// Its part in the mesh.
    pub role: NodeRole,
    /// What the operator calls it.
    pub name: NodeName,
    /// The public half of the WireGuard key it has made and stored.
    pub wireguard_key: WireGuardPublicKey,
    /// The public half of the key from which its tunnels' preshared keys are derived, made and stored as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_key: Option<IdentityKey>,
    /// Certificate signing request (PKCS#10, PEM) for the TLS key it has made and stored.
    pub csr_pem: String,
    /// Where its tunnels are reached from outside; `None` for a host that only dials.
    pub endpoint: Option<SocketAddr>,
    /// Machine id, to notice cloned images.
    pub machine_id: Option<String>,
}

/// The host is a member.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EnrollResponse {
    /// Its mesh.
    pub mesh: MeshId,
    /// Its id.
    pub node: NodeId,
    /// Its addresses inside the mesh.
    pub overlay: OverlayAddresses,
    /// Its client certificate, PEM.
    pub certificate_pem: String,
    /// When the certificate ends.
    pub not_after: Timestamp,
    /// The mesh CA's certificate, PEM; its fingerprint is the one in the join token.
    pub ca_pem: String,
}
