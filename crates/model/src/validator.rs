//! The validator set: who may reach guarded ports, where they are, and why we believe it.

use crate::{NodeAddress, NodeId, P2pEndpoint, PrepId, SourceId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

/// A P-Rep's grade (goloop `icon/iiss/icstate/prepstatus.go`): 0x0 main, 0x1 sub, 0x2 candidate, 0x3 none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Produces and validates blocks.
    Main,
    /// Next in line.
    Sub,
    /// Registered; a penalised validator falls to this in the middle of a term.
    Candidate,
    /// Unregistered or disqualified.
    None,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Main => "main",
            Self::Sub => "sub",
            Self::Candidate => "candidate",
            Self::None => "none",
        })
    }
}

/// Who says so, and since which height. Stable while the facts are: a new height alone does not change it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Provenance {
    /// The sources that have named this validator with this endpoint since it is there. One that says something else by
    /// now is an alarm and still among them.
    pub sources: BTreeSet<SourceId>,
    /// Chain height at which this endpoint was first seen.
    pub since_height: u64,
    /// Addresses that its node advertises, each with the hosts of ours whose nodes see it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub advertised: BTreeMap<IpAddr, BTreeSet<NodeId>>,
}

/// One member of the validator set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Validator {
    /// Owner address, the key.
    pub prep: PrepId,
    /// The name it registered, for people: any text, shown escaped.
    #[serde(default)]
    pub name: String,
    /// P2P identity.
    pub node_address: NodeAddress,
    /// Grade at the last observation.
    pub grade: Grade,
    /// Registered endpoint.
    pub endpoint: P2pEndpoint,
    /// Where it is let in from, as the policy chooses: what the endpoint means in addresses (the literal one, or what the
    /// name last resolved to), what its node advertises, or both. Canonical form.
    pub addresses: BTreeSet<IpAddr>,
    /// Why it is here.
    pub provenance: Provenance,
    /// When it was first missing from the list; it stays for the policy's grace and goes then.
    pub absent_since: Option<Timestamp>,
}

/// All validators whose addresses may reach guarded ports, by P-Rep.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValidatorSet(pub BTreeMap<PrepId, Validator>);

impl ValidatorSet {
    /// Number of validators.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All validators, in order of P-Rep.
    pub fn iter(&self) -> impl Iterator<Item = &Validator> {
        self.0.values()
    }

    /// The validators that stand behind an address; one address may serve several.
    pub fn at(&self, address: IpAddr) -> impl Iterator<Item = &Validator> {
        let address = crate::network::canonical(address);
        self.iter().filter(move |validator| validator.addresses.contains(&address))
    }
}

impl FromIterator<Validator> for ValidatorSet {
    fn from_iter<I: IntoIterator<Item = Validator>>(validators: I) -> Self {
        Self(validators.into_iter().map(|validator| (validator.prep, validator)).collect())
    }
}
