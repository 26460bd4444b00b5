//! A validator whose address nobody learns: who forwards for it, and which of its own calls leave through sentries.
//! Values only; how packets are steered is the business of the firewall and of the link.

use crate::{Host, NamePattern, NodeId, NodeName, OverlayAddresses, P2pEndpoint, PrepId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    num::{NonZeroU8, NonZeroU16},
};

/// A line of the policy: this validator's host is called, and calls validators, through sentries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HiddenPrep {
    /// Name of the validator's host.
    pub prep: NodeName,
    /// The port at the sentries that is forwarded to it. goloop advertises exactly one address, so it is the one that the
    /// validator advertises; several validators behind one sentry have ports, or addresses, of their own.
    #[serde(default = "official_port")]
    pub port: NonZeroU16,
    /// The port it listens on; the same where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_port: Option<NonZeroU16>,
    /// Addresses of the sentries at which that port is this validator's; every address where there are none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub addresses: BTreeSet<IpAddr>,
    /// Which sentries forward for it; every one where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sentries: Vec<NamePattern>,
    /// Sentries with another share than one, from 1 to 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<NodeName, NonZeroU8>,
    /// Prefer sentries that are near: those whose round trip from the validator's host is at most so many milliseconds longer than the
    /// nearest one's. The others carry nothing while one of those does; all are alike where this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near_milliseconds: Option<NonZeroU16>,
    /// Whether calls to such ports that would not leave through a sentry are dropped, so that nobody there sees the host's own
    /// address, not even while every sentry is away.
    #[serde(default = "yes")]
    pub strict: bool,
    /// What the validator advertises: a name, which may follow the sentries, or the address of one. With `port` it is what is to be
    /// registered on chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<Host>,
    /// Which P-Rep it is, where that does not show by what it advertises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prep_id: Option<PrepId>,
}

/// P2P in the official node image (iconloop icon2-docker).
const fn official_port() -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add(7100 - 1)
}

const fn yes() -> bool {
    true
}

impl HiddenPrep {
    /// Whether a sentry of that name forwards for it.
    pub fn is_behind(&self, sentry: &NodeName) -> bool {
        self.sentries.is_empty() || self.sentries.iter().any(|pattern| pattern.matches(sentry))
    }

    /// What the validator is to advertise and to register.
    pub fn endpoint(&self) -> Option<P2pEndpoint> {
        self.advertise.clone().map(|host| P2pEndpoint { host, port: self.port })
    }

    /// Whether a packet can be meant for either of two: the same port at the same address of a sentry that both have.
    pub fn collides_with(&self, other: &Self) -> bool {
        let anywhere = self.addresses.is_empty() || other.addresses.is_empty();
        self.port == other.port && (anywhere || !self.addresses.is_disjoint(&other.addresses))
    }
}

/// What a sentry forwards to one validator, and lets out for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Forward {
    /// The validator's host.
    pub prep: NodeId,
    /// Its name.
    pub name: NodeName,
    /// TCP port of the sentry.
    pub port: NonZeroU16,
    /// Addresses of the sentry at which that port is forwarded; every one where there are none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub addresses: BTreeSet<IpAddr>,
    /// Where to: the validator's addresses inside the mesh.
    pub to: OverlayAddresses,
    /// And its port there.
    pub to_port: NonZeroU16,
    /// TCP ports that it may call others at through this sentry.
    pub calls: BTreeSet<NonZeroU16>,
    /// Whether nothing comes in to it any more: the sentry was to be left by now. Its own calls go out as ever, for it may have no
    /// other way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_closed: bool,
}

/// How a hidden validator's host calls validators.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hidden {
    /// TCP ports at which others are called through sentries, wherever they are: nodes also call addresses that are on no list.
    pub calls: BTreeSet<NonZeroU16>,
    /// The sentries, each with its share among them.
    pub sentries: BTreeMap<NodeId, NonZeroU8>,
    /// Addresses inside the mesh of sentries that do not answer. The host itself finds them; a controller names none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub silent: BTreeSet<Ipv4Addr>,
    /// Sentries that are to be left, each with when what still runs through it is cut. Not written where there are none: agents
    /// of before know nothing of it, and refuse what they cannot digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub draining: BTreeMap<NodeId, Timestamp>,
    /// How much longer than to the nearest sentry a round trip may be, in milliseconds, for one that is to carry calls while others
    /// could; all are alike where this is absent. Not written then: agents of before refuse what they cannot digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near_milliseconds: Option<NonZeroU16>,
    /// Whether such calls are dropped where they would not leave through a sentry.
    pub strict: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> HiddenPrep {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_line_needs_no_more_than_a_name_and_is_strict() {
        let line = line(r#"{"prep": "prep-1"}"#);
        assert_eq!((line.port.get(), line.to_port, line.strict), (7100, None, true));
        assert!(line.is_behind(&"any".parse().unwrap()));
        assert!(serde_json::from_str::<HiddenPrep>(r#"{"prep": "prep-1", "lax": true}"#).is_err());
        assert_eq!(line.endpoint(), None);
    }

    #[test]
    fn a_name_or_an_address_is_advertised_with_the_port_at_the_sentries() {
        let advertised = |host: &str| {
            let text = format!(r#"{{"prep": "prep-1", "port": 7101, "advertise": "{host}"}}"#);
            let line: HiddenPrep = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            assert_eq!(serde_json::from_value::<HiddenPrep>(serde_json::to_value(&line).unwrap()).unwrap(), line);
            Ok::<_, String>(line.endpoint().unwrap().to_string())
        };
        assert_eq!(advertised("P2P.example.org").unwrap(), "p2p.example.org:7101");
        assert_eq!(advertised("192.0.2.1").unwrap(), "192.0.2.1:7101");
        for bad in ["p2p.example.org:7100", "2001:db8::1", "192.0.2", "name"] {
            assert!(advertised(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_collide_where_a_packet_can_be_meant_for_either() {
        let one = line(r#"{"prep": "a", "addresses": ["192.0.2.1"]}"#);
        let other = line(r#"{"prep": "b", "addresses": ["192.0.2.2"]}"#);
        let anywhere = line(r#"{"prep": "c"}"#);
        let elsewhere = line(r#"{"prep": "d", "port": 7101}"#);
        assert!(!one.collides_with(&other) && one.collides_with(&one));
        assert!(one.collides_with(&anywhere) && anywhere.collides_with(&other));
        assert!(!anywhere.collides_with(&elsewhere));
    }

    #[test]
    fn sentries_are_named_by_pattern() {
        let line = line(r#"{"prep": "a", "sentries": ["eu-*", "us-1"]}"#);
        let is_behind = |name: &str| line.is_behind(&name.parse().unwrap());
        assert!(is_behind("eu-7") && is_behind("us-1") && !is_behind("us-2"));
    }
}
