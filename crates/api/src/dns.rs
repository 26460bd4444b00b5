//! Names that follow the sentries, and how hidden validators are advertised, on the wire: `GET /v1/dns` and `GET /v1/advertise`.

use picket_model::{Advertising, NodeName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, net::IpAddr};

/// How all names stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DnsView {
    /// The controller's clock.
    pub now: Timestamp,
    /// The names of `[[dns]]`, in order.
    pub names: Vec<NameView>,
}

/// How one name stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NameView {
    /// The name.
    pub name: String,
    /// `rfc2136`, `route53` or `cloudflare`.
    pub provider: String,
    /// How long others may keep its addresses, in seconds.
    pub ttl: u32,
    /// Hosts of the validators that advertise it.
    pub preps: BTreeSet<NodeName>,
    /// Addresses that stood there when it was last read.
    pub found: BTreeSet<IpAddr>,
    /// When it was last read; `None` where it never was.
    pub read_at: Option<Timestamp>,
    /// Addresses that it shall have; none where it stays as it is.
    pub wanted: BTreeSet<IpAddr>,
    /// The sentries that have to do with it.
    pub sentries: Vec<NameSentry>,
    /// Why it stays as it is though it is not as it should be.
    pub held: Option<String>,
    /// Why it could not be read or changed when that was last tried.
    pub error: Option<String>,
    /// When it was last changed since the controller started.
    pub changed_at: Option<Timestamp>,
}

/// How a sentry stands to a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NameSentry {
    /// Its name.
    pub name: NodeName,
    /// Where others reach it.
    pub addresses: BTreeSet<IpAddr>,
    /// Why it is not in the name; `None` where it is to be.
    pub out: Option<String>,
}

/// Which validators `GET /v1/advertise` is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdvertiseQuery {
    /// The host of one; all where absent.
    #[serde(default)]
    pub prep: Option<String>,
}

/// How hidden validators are advertised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdvertiseView {
    /// One for each line of `policy.hidden`.
    pub validators: Vec<Advertising>,
}
