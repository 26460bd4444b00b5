//! The operator's own allow and deny lines: each says why, and may end by itself.

use crate::{PrepId, Purpose, Timestamp, Validator, time::rfc3339};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use thiserror::Error;

/// One line of the operator's own allow list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyAllow {
    /// Which guarded ports.
    pub purpose: Purpose,
    /// From where.
    pub network: IpNet,
    /// Why: shown wherever the address is explained.
    pub comment: String,
    /// When the line ends by itself, as in `"2026-12-24T18:00:00Z"`; never where absent.
    #[serde(default, with = "rfc3339", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// One line of the operator's deny list: it wins over the validator list, and not over the operator's own allow and
/// admin lines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "DenyLine", into = "DenyLine")]
pub struct PolicyDeny {
    /// Whom.
    pub whom: Denied,
    /// Why: shown wherever the address is explained.
    pub comment: String,
    /// When the line ends by itself; never where absent.
    pub until: Option<Timestamp>,
}

/// Whom a deny line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// Addresses, whichever P-Rep is there.
    Network(IpNet),
    /// A P-Rep, wherever it is.
    Prep(PrepId),
}

impl PolicyDeny {
    /// Whether the line keeps this validator from being let in from this address.
    pub fn covers(&self, validator: &Validator, address: IpAddr) -> bool {
        match self.whom {
            Denied::Network(network) => network.contains(&address),
            Denied::Prep(prep) => validator.prep == prep,
        }
    }
}

/// A deny line as written: exactly one of `network` and `prep`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DenyLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    network: Option<IpNet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prep: Option<PrepId>,
    comment: String,
    #[serde(default, with = "rfc3339", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    until: Option<Timestamp>,
}

/// A deny line about nobody, or about two.
#[derive(Debug, Error)]
#[error("a deny line names either network = \"ADDRESS/LENGTH\" or prep = \"hx...\", and only one of them")]
struct DenyLineError;

impl TryFrom<DenyLine> for PolicyDeny {
    type Error = DenyLineError;

    fn try_from(line: DenyLine) -> Result<Self, DenyLineError> {
        let whom = match (line.network, line.prep) {
            (Some(network), None) => Denied::Network(network),
            (None, Some(prep)) => Denied::Prep(prep),
            _ => return Err(DenyLineError),
        };
        Ok(Self { whom, comment: line.comment, until: line.until })
    }
}

impl From<PolicyDeny> for DenyLine {
    fn from(line: PolicyDeny) -> Self {
        let (network, prep) = match line.whom {
            Denied::Network(network) => (Some(network), None),
            Denied::Prep(prep) => (None, Some(prep)),
        };
        Self { network, prep, comment: line.comment, until: line.until }
    }
}
