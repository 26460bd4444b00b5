//! One rule of a chain: what must hold, what counts it, what becomes of the packet. Prints itself in nft syntax.

use crate::{Family, InterfaceName, Meter};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};

/// What sources that are listed one by one are called in names of chains and meters.
pub(crate) const HOSTS: &str = "hosts";

/// One rule: if all matches hold, count, then the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// All must hold, asked in order: one that writes to a meter comes last.
    pub matches: Vec<Match>,
    /// Named counter that counts the packet.
    pub counter: Option<String>,
    /// What becomes of the packet.
    pub verdict: Verdict,
}

/// One condition on a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// Arrived on the loopback device.
    Loopback,
    /// Arrived on the interface of that name, which need not exist yet.
    Interface(InterfaceName),
    /// Transport protocol and destination port are in that set, in either family and behind extension headers.
    Port(String),
    /// IPv4 source address is in that set.
    Source4(String),
    /// IPv6 source address is in that set.
    Source6(String),
    /// Passes through: the destination is no address of this host's own, nor broadcast nor multicast to it.
    Passing,
    /// Arrived on a bridge.
    Bridged,
    /// Its way out is the interface it arrived on: it goes from one neighbour of that interface to another.
    GoesBack,
    /// Its way out is the interface of that name.
    LeavesBy(InterfaceName),
    /// IPv4 destination address is not in that set.
    NotDestination4(String),
    /// IPv6 destination address is not in that set.
    NotDestination6(String),
    /// Is of that family.
    Family(Family),
    /// The first packet of a TCP connection: SYN and no ACK.
    FirstSyn,
    /// Did not arrive on the interface of that name.
    NotInterface(InterfaceName),
    /// Leaves by the interface of that name.
    Leaves(InterfaceName),
    /// Leaves by another interface.
    NotLeaves(InterfaceName),
    /// Is from exactly that address.
    From(IpAddr),
    /// Is for exactly that address.
    To(IpAddr),
    /// IPv4 destination address is in that set.
    Destination4(String),
    /// IPv6 destination address is in that set.
    Destination6(String),
    /// Is for one of this host's own addresses.
    OwnAddress,
    /// Is TCP.
    Tcp,
    /// Is TCP to that port.
    TcpPort(NonZeroU16),
    /// Belongs to a connection whose destination was translated here or by another program.
    Translated,
    /// Goes from who opened a connection. What connection tracking takes for no part of the one whose addresses and ports it has
    /// goes neither way.
    Calls,
    /// Goes back to who opened the connection.
    Answers,
    /// Opens a TCP connection or answers that: it says how large segments may be.
    Opens,
    /// Belongs to something that connection tracking knows, or is not tracked.
    NotNew,
    /// Holds at most so often, whoever sent the packet.
    Sampled(Rate),
    /// Asks a meter about the packet's source.
    Metered(Metered),
}

/// So many packets in a second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Packets per second.
    pub per_second: u32,
    /// Packets at once, after a pause.
    pub burst: u32,
}

/// A question to a meter: its set keeps one measure for each source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metered {
    /// Name of the meter.
    pub meter: String,
    /// What it measures, and which answer holds.
    pub measure: Measure,
}

/// What a meter measures. A full meter knows nothing of a source it has no room for, and then no answer holds: a rule that
/// lets in what is *within* refuses the newcomer, one that drops what is *over* lets it pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The source's packets are within this rate.
    Within(Rate, Source),
    /// The source's packets are over this rate.
    Over(Rate, Source),
    /// The source has at most so many connections, this one included.
    AtMost(u32, Source),
    /// The source has more connections than this.
    MoreThan(u32, Source),
}

/// How a meter tells sources apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// By the first so many bits of the IPv4 address.
    V4(u8),
    /// By the first so many bits of the IPv6 address.
    V6(u8),
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on its way.
    Accept,
    /// Is dropped.
    Drop,
    /// Is decided by that chain, without coming back.
    Goto(String),
    /// Is shown to that chain, and comes back where it does not decide.
    Jump(String),
    /// Is told of, and goes to the next rule.
    Log(Log),
    /// Its connection goes to that address and port instead.
    TranslateTo(SocketAddr),
    /// Its connection comes from the address of the interface it leaves by.
    Masquerade,
    /// Is told the largest segment that fits its way; goes to the next rule.
    ClampSegments,
    /// Is dropped, and its sender told that there is no such connection.
    Reset,
    /// Its connection is forgotten sooner, by that named time limit; goes to the next rule.
    Expire(String),
}

/// A sample for whoever listens to a netlink group (`nflog`); never the kernel log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Says why.
    pub prefix: String,
    /// Group that listeners join.
    pub group: u16,
}

impl Metered {
    /// The kind of meter this question needs. Whether it is shown listed sources alone, its name says.
    pub fn kind(&self) -> Meter {
        let meter = match self.measure {
            Measure::Within(_, source) | Measure::Over(_, source) => Meter::rates(source),
            Measure::AtMost(_, source) | Measure::MoreThan(_, source) => Meter::connections(source),
        };
        if self.meter.split('_').any(|word| word == HOSTS) { meter.of_listed() } else { meter }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.matches {
            write!(f, "{condition} ")?;
        }
        if let Some(counter) = &self.counter {
            write!(f, "counter name \"{counter}\" ")?;
        }
        self.verdict.fmt(f)
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("iif \"lo\""),
            Self::Interface(name) => write!(f, "iifname \"{name}\""),
            Self::Port(set) => write!(f, "meta l4proto . th dport @{set}"),
            Self::Source4(set) => write!(f, "ip saddr @{set}"),
            Self::Source6(set) => write!(f, "ip6 saddr @{set}"),
            Self::Passing => f.write_str("fib daddr type unicast"),
            Self::Bridged => f.write_str("meta iifkind \"bridge\""),
            Self::GoesBack => f.write_str("fib daddr . iif oif exists"),
            Self::LeavesBy(name) => write!(f, "fib daddr oifname \"{name}\""),
            Self::NotDestination4(set) => write!(f, "ip daddr != @{set}"),
            Self::NotDestination6(set) => write!(f, "ip6 daddr != @{set}"),
            Self::Family(Family::V4) => f.write_str("meta nfproto ipv4"),
            Self::Family(Family::V6) => f.write_str("meta nfproto ipv6"),
            Self::FirstSyn => f.write_str("tcp flags & (syn | ack) == syn"),
            Self::NotInterface(name) => write!(f, "iifname != \"{name}\""),
            Self::Leaves(name) => write!(f, "oifname \"{name}\""),
            Self::NotLeaves(name) => write!(f, "oifname != \"{name}\""),
            Self::From(IpAddr::V4(address)) => write!(f, "ip saddr {address}"),
            Self::From(IpAddr::V6(address)) => write!(f, "ip6 saddr {address}"),
            Self::To(IpAddr::V4(address)) => write!(f, "ip daddr {address}"),
            Self::To(IpAddr::V6(address)) => write!(f, "ip6 daddr {address}"),
            Self::Destination4(set) => write!(f, "ip daddr @{set}"),
            Self::Destination6(set) => write!(f, "ip6 daddr @{set}"),
            Self::OwnAddress => f.write_str("fib daddr type local"),
            Self::Tcp => f.write_str("meta l4proto tcp"),
            Self::TcpPort(port) => write!(f, "tcp dport {port}"),
            Self::Translated => f.write_str("ct status dnat"),
            Self::Calls => f.write_str("ct direction original"),
            Self::Answers => f.write_str("ct direction reply"),
            Self::Opens => f.write_str("tcp flags & (syn | rst) == syn"),
            Self::NotNew => f.write_str("ct state != new"),
            Self::Sampled(rate) => write!(f, "limit rate {rate}"),
            Self::Metered(metered) => metered.fmt(f),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/second burst {} packets", self.per_second, self.burst)
    }
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meter = &self.meter;
        match self.measure {
            // `update` and not `add`: a source that goes on is not forgotten in between.
            Measure::Within(rate, source) => write!(f, "update @{meter} {{ {source} limit rate {rate} }}"),
            Measure::Over(rate, source) => write!(f, "update @{meter} {{ {source} limit rate over {rate} }}"),
            Measure::AtMost(count, source) => write!(f, "add @{meter} {{ {source} ct count {count} }}"),
            Measure::MoreThan(count, source) => write!(f, "add @{meter} {{ {source} ct count over {count} }}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = match self {
            Self::V4(_) => "ip saddr",
            Self::V6(_) => "ip6 saddr",
        };
        match self.mask() {
            None => f.write_str(field),
            Some(mask) => write!(f, "{field} & {mask}"),
        }
    }
}

impl Source {
    /// What an address is cut down with; `None` for whole addresses.
    pub(crate) fn mask(self) -> Option<std::net::IpAddr> {
        match self {
            Self::V4(bits) if bits < 32 => Some(ipnet::Ipv4Net::new([0; 4].into(), bits).ok()?.netmask().into()),
            Self::V6(bits) if bits < 128 => Some(ipnet::Ipv6Net::new([0; 16].into(), bits).ok()?.netmask().into()),
            _ => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Log(Log { prefix, group }) => write!(f, "log prefix \"{prefix}\" group {group}"),
            Self::TranslateTo(to @ SocketAddr::V4(_)) => write!(f, "dnat ip to {to}"),
            Self::TranslateTo(to @ SocketAddr::V6(_)) => write!(f, "dnat ip6 to {to}"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::ClampSegments => f.write_str("tcp option maxseg size set rt mtu"),
            Self::Reset => f.write_str("reject with tcp reset"),
            Self::Expire(name) => write!(f, "ct timeout set \"{name}\""),
        }
    }
}
