//! Who knocks and is not let in: what a host says of it by samples of refused packets, and the blocklist that is made of that.
//! Values and their texts only; who may never be in such a list is the plan's to say.

use crate::{GuardedPort, NodeName, Timestamp, network::Shown};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    str::FromStr,
};

/// Networks by which sources are counted together: who has one address there has others. As many bits as are routed on the
/// internet at the most (RFC 7454, section 6.1.3).
const NETWORK_BITS: (u8, u8) = (24, 48);

/// The /24 or /48 of an address.
pub fn network_of(address: IpAddr) -> IpNet {
    match address.to_canonical() {
        IpAddr::V4(v4) => Ipv4Net::new(v4, NETWORK_BITS.0).map(|net| IpNet::V4(net.trunc())).unwrap_or(address.into()),
        IpAddr::V6(v6) => Ipv6Net::new(v6, NETWORK_BITS.1).map(|net| IpNet::V6(net.trunc())).unwrap_or(address.into()),
    }
}

/// Where packets came from that a host's firewall refused lately, by samples: the packets' own words, and whoever sent them may have
/// written another's address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedSources {
    /// For how long samples are kept, in seconds.
    pub seconds: u64,
    /// Samples in that time.
    pub samples: u64,
    /// The addresses that most of them came from.
    pub addresses: BTreeMap<IpAddr, RefusedSource>,
    /// The networks that most of them came from: /24 of IPv4, /48 of IPv6.
    #[schemars(with = "BTreeMap<String, RefusedSource>")]
    pub networks: BTreeMap<IpNet, RefusedSource>,
    /// Packets stopped in a second by what stopped them, between its last two counts: `refused_p2p`, `limited_new_public` and so
    /// on. What stopped nothing is not there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acting: BTreeMap<String, u64>,
}

/// One source of refused packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedSource {
    /// Samples.
    pub samples: u64,
    /// The last of them.
    pub last: Timestamp,
    /// Ports they were for, the first few.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ports: BTreeSet<GuardedPort>,
}

/// One source, as all hosts together see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttackSource {
    /// An address, or a network of them.
    #[schemars(with = "String")]
    pub source: IpNet,
    /// Samples of it, on all hosts.
    pub samples: u64,
    /// About how many packets a second, from its share of the samples and what hosts stop now.
    pub per_second: u64,
    /// The last sample.
    pub last: Timestamp,
    /// Ports it called.
    pub ports: BTreeSet<GuardedPort>,
    /// Hosts that refused it.
    pub hosts: BTreeSet<NodeName>,
}

/// What a blocklist has one line for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BlocklistBy {
    /// Each address.
    #[default]
    Address,
    /// Each /24 of IPv4 and /48 of IPv6.
    Prefix,
}

impl BlocklistBy {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Prefix => "prefix",
        }
    }
}

impl fmt::Display for BlocklistBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BlocklistBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "address" => Ok(Self::Address),
            "prefix" => Ok(Self::Prefix),
            _ => Err(format!("{text:?} is neither address nor prefix")),
        }
    }
}

/// Sources to keep out somewhere else, and those that would be there but must not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blocklist {
    /// When it was made.
    pub made_at: Timestamp,
    /// What has a line.
    pub by: BlocklistBy,
    /// Fewest samples.
    pub least: u64,
    /// The sources, most samples first.
    pub sources: Vec<AttackSource>,
    /// Sources with as many samples that are nobody to be blocked.
    pub left_out: Vec<LeftOut>,
}

/// A source that is not in a blocklist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// The source.
    #[schemars(with = "String")]
    pub source: IpNet,
    /// Whose it is.
    pub why: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "left out {}: {}", Shown(self.source), self.why.escape_debug())
    }
}

impl Blocklist {
    /// One source a line, in order of address, below comments that begin with `#`.
    pub fn text(&self) -> String {
        let sources: BTreeSet<IpNet> = self.sources.iter().map(|source| source.source).collect();
        let lines = sources.into_iter().map(|source| format!("{}\n", Shown(source)));
        self.comments().into_iter().chain(lines).collect()
    }

    /// A table of its own for `nft -f`, which drops the sources before any other table sees them, and may be loaded again.
    pub fn nft(&self) -> String {
        let set = |name: &str, kind: &str, is_of: fn(&IpNet) -> bool| {
            let sources: BTreeSet<IpNet> = self.sources.iter().map(|source| source.source).filter(is_of).collect();
            let elements: Vec<String> = sources.into_iter().map(|source| format!("\t\t\t{}", Shown(source))).collect();
            let elements = match elements.as_slice() {
                [] => String::new(),
                elements => format!("\t\telements = {{\n{}\n\t\t}}\n", elements.join(",\n")),
            };
            format!("\tset {name} {{\n\t\ttype {kind}\n\t\tflags interval\n{elements}\t}}\n")
        };
        let mut text: String = self.comments().concat();
        text.push_str("add table inet blocklist\ndelete table inet blocklist\ntable inet blocklist {\n");
        text.push_str(&set("sources4", "ipv4_addr", |source| source.addr().is_ipv4()));
        text.push_str(&set("sources6", "ipv6_addr", |source| source.addr().is_ipv6()));
        text.push_str("\tchain prerouting {\n\t\ttype filter hook prerouting priority raw - 10; policy accept;\n");
        text.push_str("\t\tip saddr @sources4 counter drop\n\t\tip6 saddr @sources6 counter drop\n\t}\n}\n");
        text
    }

    fn comments(&self) -> Vec<String> {
        let Self { made_at, by, least, .. } = self;
        let head = [
            format!("# refused by Picket, by {by}, {least} samples or more each, made {made_at}\n"),
            "# source addresses can be forged: look before you block\n".to_owned(),
        ];
        head.into_iter().chain(self.left_out.iter().map(|left| format!("# {left}\n"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_by_what_is_routed() {
        for (address, expect) in [
            ("203.0.113.77", "203.0.113.0/24"),
            ("::ffff:203.0.113.77", "203.0.113.0/24"),
            ("2001:db8:1:2::9", "2001:db8:1::/48"),
        ] {
            assert_eq!(network_of(address.parse().unwrap()).to_string(), expect);
        }
    }

    fn list(sources: &[&str], left_out: &[(&str, &str)]) -> Blocklist {
        let of = |source: &&str| AttackSource {
            source: source.parse().unwrap(),
            samples: 12,
            per_second: 0,
            last: Timestamp::from_millis(0),
            ports: BTreeSet::new(),
            hosts: BTreeSet::new(),
        };
        let left = |(source, why): &(&str, &str)| LeftOut { source: source.parse().unwrap(), why: (*why).to_owned() };
        Blocklist {
            made_at: Timestamp::from_millis(0),
            by: BlocklistBy::Address,
            least: 10,
            sources: sources.iter().map(of).collect(),
            left_out: left_out.iter().map(left).collect(),
        }
    }

    #[test]
    fn a_list_is_one_source_a_line_and_says_who_is_not_in_it() {
        let list = list(&["9.9.9.9/32", "5.6.7.0/24", "2a00::9/128"], &[("1.2.3.4/32", "validator\n0.0.0.0/0")]);
        assert_eq!(
            list.text(),
            "# refused by Picket, by address, 10 samples or more each, made 1970-01-01T00:00:00Z\n\
             # source addresses can be forged: look before you block\n\
             # left out 1.2.3.4: validator\\n0.0.0.0/0\n\
             5.6.7.0/24\n9.9.9.9\n2a00::9\n"
        );
    }

    #[test]
    fn for_nft_families_are_apart_and_an_empty_list_is_no_error() {
        let text = list(&["9.9.9.9/32", "2a00::/48"], &[]).nft();
        assert!(text.contains("type ipv4_addr\n\t\tflags interval\n\t\telements = {\n\t\t\t9.9.9.9\n\t\t}"), "{text}");
        assert!(
            text.contains("type ipv6_addr\n\t\tflags interval\n\t\telements = {\n\t\t\t2a00::/48\n\t\t}"),
            "{text}"
        );
        assert!(!list(&[], &[]).nft().contains("elements"));
    }
}
