//! What lookups of validators' names gave.

use crate::DnsName;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

/// What names gave, or why they gave nothing.
pub type Lookups = BTreeMap<DnsName, Result<NameAnswer, String>>;

/// One good answer to a lookup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameAnswer {
    /// Its addresses in canonical form, at least one; the lowest where there were too many.
    pub addresses: BTreeSet<IpAddr>,
    /// How many more there were.
    pub surplus: usize,
    /// How long the name server says that it stands.
    pub time_to_live: Duration,
}
