//! What the kernel keeps for each source: meters of rates and of connections, and time limits of half-open connections.
//! Only their shape is ours; what is in a meter is the kernel's, and no part of a comparison.

use crate::Source;
use std::fmt;

/// Most sources of a meter of listed addresses. More than any allow set may have entries (`picket_model::limits`), so that
/// they cannot outnumber it; room is taken only as it is used, and nobody else can use it.
const MOST_LISTED: u32 = 131_072;
/// Most sources of a meter of others, which anybody can fill with forged addresses: nft reads each of them whenever it
/// lists the table, and does 18,000 in a second.
const MOST_OTHERS: u32 = 4_096;
/// Sources of a meter of whole networks by their first 16 bits: all there are.
const ALL_NETWORKS: u32 = 65_536;
/// Seconds after which a source that sent nothing is forgotten. Any rate has refilled its burst by then.
const FORGOTTEN_AFTER: u32 = 10;

/// A dynamic set: the kernel adds sources as it meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Family of its keys.
    pub family: Family,
    /// Most sources.
    pub size: u32,
    /// Seconds after which a silent source is forgotten; `None` where it is as long as it has connections.
    pub timeout: Option<u32>,
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// For how long a TCP connection is remembered that has no answer, or whose answer has none. 60 and 120 seconds are the kernel's
/// own; in the name of an allowed source anybody can send a first packet, and each would take the place of a connection for
/// that long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfOpen {
    /// Family of the connections.
    pub family: Family,
    /// Seconds for both.
    pub seconds: u32,
}

impl Meter {
    pub(crate) fn rates(source: Source) -> Self {
        Self { timeout: Some(FORGOTTEN_AFTER), ..Self::connections(source) }
    }

    pub(crate) fn connections(source: Source) -> Self {
        let (family, bits) = match source {
            Source::V4(bits) => (Family::V4, bits),
            Source::V6(bits) => (Family::V6, bits),
        };
        Self { family, size: if bits == 16 { ALL_NETWORKS } else { MOST_OTHERS }, timeout: None }
    }

    /// One that only listed addresses are shown to.
    pub(crate) fn of_listed(self) -> Self {
        Self { size: MOST_LISTED, ..self }
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match self.family {
            Family::V4 => "ip saddr",
            Family::V6 => "ip6 saddr",
        };
        write!(f, "\t\ttypeof {key}\n\t\tsize {}\n", self.size)?;
        match self.timeout {
            Some(seconds) => write!(f, "\t\tflags dynamic,timeout\n\t\ttimeout {seconds}s\n"),
            None => f.write_str("\t\tflags dynamic\n"),
        }
    }
}

impl fmt::Display for HalfOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        };
        let seconds = self.seconds;
        write!(
            f,
            "\t\tprotocol tcp; l3proto {family};\n\t\tpolicy = {{ syn_sent : {seconds}, syn_recv : {seconds} }}\n"
        )
    }
}
