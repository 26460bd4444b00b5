//! The mesh's CAs: what hosts are told of them (`GET /v1/node/ca`), and what operators see and order (`GET /v1/ca`,
//! `POST /v1/ca/rotate`).

use picket_model::{NodeName, Timestamp};
use picket_pki::Fingerprint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The query of a host: what it was told last, and what it trusts. Answered at once when there is something else to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaQuery {
    /// [`MeshCas::tag`] of what it was told last; `None` before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<String>,
    /// Fingerprints of the CAs it trusts and has written down, with a comma between two.
    #[serde(default)]
    pub trusts: String,
}

/// What a host is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeshCas {
    /// Changes with all that is here.
    pub tag: String,
    /// The CA of the mesh, PEM.
    pub current_pem: String,
    /// The one that is to follow it.
    #[serde(default)]
    pub next: Option<NextCa>,
    /// The one of the two that signs certificates now.
    #[schemars(with = "String")]
    pub issues: Fingerprint,
}

/// A CA that is to follow the one that hosts pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NextCa {
    /// Its certificate, PEM.
    pub pem: String,
    /// Its name and key once more, signed by the CA that it follows: only who has that one's key can make this.
    pub cross_pem: String,
}

/// How far a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RotationPhase {
    /// Hosts learn the next CA; the old one signs.
    Announced,
    /// The next one signs, both are accepted, and hosts renew.
    Issuing,
}

/// What an operator sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaView {
    /// Fingerprint of the mesh's CA.
    #[schemars(with = "String")]
    pub fingerprint: Fingerprint,
    /// When it ends.
    pub not_after: Timestamp,
    /// The fingerprint that join tokens made now carry.
    #[schemars(with = "String")]
    pub issues: Fingerprint,
    /// The rotation under way.
    pub rotation: Option<RotationView>,
}

/// A rotation under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RotationView {
    /// Fingerprint of the next CA.
    #[schemars(with = "String")]
    pub next: Fingerprint,
    /// How far it is.
    pub phase: RotationPhase,
    /// Since when.
    pub started_at: Timestamp,
    /// Since when the next one signs.
    pub switched_at: Option<Timestamp>,
    /// Hosts with an agent.
    pub hosts: usize,
    /// Those that have not said that they trust the next CA.
    pub without_trust: Vec<NodeName>,
    /// Those that have not shown a certificate of the next CA.
    pub without_certificate: Vec<NodeName>,
    /// Join tokens that are good now and carry the old fingerprint.
    pub old_tokens: usize,
}

/// The next step of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RotationStep {
    /// Make the next CA and tell hosts of it.
    Start,
    /// Let it sign; happens by itself once every host trusts it.
    Switch,
    /// Retire the old one.
    Finish,
}

/// An order about the CA's rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateCa {
    /// What is to be done.
    pub step: RotationStep,
    /// Though hosts are lost by it.
    #[serde(default)]
    pub force: bool,
}
