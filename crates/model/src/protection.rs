//! How much one source may ask of a guarded port, even where it is let in: its address may be forged, and a validator's
//! node holds connections for ever that say nothing. Values only; what enforces them is the firewall's business.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, num::NonZeroU32};

/// Limits per source. The operator and the mesh's own hosts have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// New TCP connections per second that an allowed address may begin at a guarded port.
    pub new_per_second: NonZeroU32,
    /// The same at once, after a pause.
    pub new_at_once: NonZeroU32,
    /// Most connections of an allowed address to the P2P ports, this host's and its containers' together; zero for no limit.
    pub p2p_connections: u32,
    /// The same for RPC ports.
    pub rpc_connections: u32,
    /// Limits for strangers on public ports.
    pub public: PublicLimits,
}

/// Limits for strangers on public ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PublicLimits {
    /// New TCP connections per second that one address may begin (one /64 of IPv6).
    pub new_per_second: NonZeroU32,
    /// The same at once, after a pause.
    pub new_at_once: NonZeroU32,
    /// New TCP connections per second that one /16 may begin, of either family: forged sources cannot outnumber those.
    pub network_new_per_second: NonZeroU32,
    /// The same at once, after a pause.
    pub network_new_at_once: NonZeroU32,
    /// Most connections of one address; zero for no limit.
    pub connections: u32,
}

/// Whether limits are tight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shield {
    /// They are as they are.
    #[default]
    Off,
    /// They are tight.
    On,
    /// The host tightens them while it is attacked.
    Auto,
}

impl Shield {
    /// Whether nobody wants one.
    pub fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

impl fmt::Display for Shield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Auto => "auto",
        })
    }
}

impl Default for Limits {
    /// A peer dials once in 2 to 5 seconds and needs one connection; an RPC client opens one for each request at the worst.
    fn default() -> Self {
        Self {
            new_per_second: at_least_one(20),
            new_at_once: at_least_one(40),
            p2p_connections: 32,
            rpc_connections: 256,
            public: PublicLimits::default(),
        }
    }
}

impl Default for PublicLimits {
    fn default() -> Self {
        Self {
            new_per_second: at_least_one(20),
            new_at_once: at_least_one(100),
            network_new_per_second: at_least_one(200),
            network_new_at_once: at_least_one(1000),
            connections: 64,
        }
    }
}

impl Limits {
    /// The limits while a host is under attack: a quarter for those who are let in, a tenth for strangers. What runs stays.
    pub fn tightened(&self) -> Self {
        Self {
            new_per_second: part(self.new_per_second, 4),
            new_at_once: part(self.new_at_once, 4),
            p2p_connections: part_or_none(self.p2p_connections, 4),
            rpc_connections: part_or_none(self.rpc_connections, 4),
            public: PublicLimits {
                new_per_second: part(self.public.new_per_second, 10),
                new_at_once: part(self.public.new_at_once, 10),
                network_new_per_second: part(self.public.network_new_per_second, 10),
                network_new_at_once: part(self.public.network_new_at_once, 10),
                connections: part_or_none(self.public.connections, 10),
            },
        }
    }
}

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

fn part(of: NonZeroU32, parts: u32) -> NonZeroU32 {
    at_least_one(of.get() / parts)
}

/// Zero is no limit and stays none.
fn part_or_none(of: u32, parts: u32) -> u32 {
    if of == 0 { 0 } else { (of / parts).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tightened_limits_are_lower_and_never_nothing() {
        let (calm, tight) = (Limits::default(), Limits::default().tightened());
        assert_eq!((tight.new_per_second.get(), tight.p2p_connections, tight.rpc_connections), (5, 8, 64));
        assert_eq!((tight.public.new_per_second.get(), tight.public.connections), (2, 6));
        assert!(tight.public.network_new_per_second < calm.public.network_new_per_second);
        let one = at_least_one(1);
        let least = Limits { new_per_second: one, new_at_once: one, p2p_connections: 1, rpc_connections: 0, ..calm };
        let tight = least.tightened();
        assert_eq!((tight.new_per_second, tight.p2p_connections, tight.rpc_connections), (one, 1, 0));
    }

    #[test]
    fn what_is_not_said_is_the_default_and_a_rate_of_nothing_is_refused() {
        let limits: Limits = serde_json::from_str(r#"{"p2p_connections": 5, "public": {"connections": 0}}"#).unwrap();
        let expected = Limits {
            p2p_connections: 5,
            public: PublicLimits { connections: 0, ..PublicLimits::default() },
            ..Limits::default()
        };
        assert_eq!(limits, expected);
        for text in [r#"{"new_per_second": 0}"#, r#"{"public": {"new_at_once": 0}}"#, r#"{"p2p_connections": -1}"#] {
            assert!(serde_json::from_str::<Limits>(text).is_err(), "{text}");
        }
    }
}
