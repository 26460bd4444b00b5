//! How what a hidden validator advertises agrees with what leads to it: facts, each with its verdict. Values only; they are found in the plan.

use crate::{NodeName, PrepId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, net::SocketAddr};

/// What a fact means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is as it shall be.
    Good,
    /// It could not be seen from here.
    Unknown,
    /// It is wrong.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdvertisedFact {
    /// What was looked at.
    pub about: String,
    /// What was found. It may hold words of others.
    pub found: String,
    /// What that means.
    pub verdict: Verdict,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How one hidden validator is advertised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Advertising {
    /// Its host.
    pub prep: NodeName,
    /// Which P-Rep it is, where that is known.
    pub prep_id: Option<PrepId>,
    /// What its operator sets as `GOLOOP_P2P` and registers as `p2pEndpoint`; `None` where the policy does not say.
    pub set: Option<String>,
    /// What was looked at.
    pub facts: Vec<AdvertisedFact>,
    /// Where others call it, as far as that was found.
    pub at: BTreeSet<SocketAddr>,
}

impl Advertising {
    /// Whether nothing is wrong. What could not be seen is not wrong.
    pub fn is_good(&self) -> bool {
        self.facts.iter().all(|fact| fact.verdict != Verdict::Wrong)
    }
}
