//! Refused packets as the kernel shows some of them (nfnetlink_log): the socket that hears one group, and what a packet's own
//! bytes say of where it came from. Keeps nothing and counts nothing.

use super::{
    NetlinkError, attach,
    wire::{ACKNOWLEDGE, Attributes, ERROR, Malformed, Message, Messages, REQUEST, Writer, text},
};
use netlink_sys::{AsyncSocket as _, TokioSocket, protocols::NETLINK_NETFILTER};
use nix::errno::Errno;
use picket_model::{GuardedPort, Protocol, network::canonical};
use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// `NFNL_SUBSYS_ULOG`, linux/netfilter/nfnetlink.h, as the upper byte of a message's type.
const SUBSYSTEM: u16 = 4 << 8;
// linux/netfilter/nfnetlink_log.h: messages, attributes of a configuration, commands, attributes of a packet.
const PACKET: u16 = SUBSYSTEM;
const CONFIGURATION: u16 = SUBSYSTEM | 1;
const COMMAND: u16 = 1;
const MODE: u16 = 2;
const BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;
/// Bytes of a `nfgenmsg`.
const GENERAL: usize = 4;
/// Room for what is received at once: the kernel gathers messages in a page by default (`NFULNL_NLBUFSIZ_DEFAULT`).
const RECEIVED: usize = 64 << 10;

/// Hears one group in the network namespace in which it was opened.
pub struct Samples {
    socket: TokioSocket,
    group: u16,
    heard: VecDeque<Sample>,
    buffer: Vec<u8>,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Why it is told of, as the rule says.
    pub prefix: String,
    /// Its first bytes, from the IP header on.
    pub packet: Vec<u8>,
}

/// Where a packet came from and what it was for, in its own words: whoever sent it may have written anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Caller {
    /// Source address, in canonical form.
    pub address: IpAddr,
    /// Destination port; `None` where it says none, as a later fragment.
    pub port: Option<GuardedPort>,
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Samples").field("group", &self.group).finish_non_exhaustive()
    }
}

impl Samples {
    /// Begins to listen, and asks for so many bytes of each packet. Must be called within a runtime.
    ///
    /// # Errors
    /// The kernel says no: without `CAP_NET_ADMIN`, without nfnetlink_log, or where another program listens to the group.
    pub fn open(group: u16, bytes: u16) -> Result<Self, NetlinkError> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER).map_err(NetlinkError::Open)?;
        attach(socket.socket_mut(), 0).map_err(NetlinkError::Open)?;
        let mut samples = Self { socket, group, heard: VecDeque::new(), buffer: Vec::with_capacity(RECEIVED) };
        // Where another one does the kernel says EPERM.
        let what = format!("listen to nflog group {group}, to which another program may be listening");
        samples.configure(&what, COMMAND, &[BIND])?;
        // `struct nfulnl_msg_config_mode`: how much in network order, the mode, a filler.
        let [b0, b1, b2, b3] = u32::from(bytes).to_be_bytes();
        samples.configure("say how much of each packet is wanted", MODE, &[b0, b1, b2, b3, COPY_PACKET, 0])?;
        Ok(samples)
    }

    /// The kernel answers within the call that sends.
    fn configure(&mut self, what: &str, attribute: u16, content: &[u8]) -> Result<(), NetlinkError> {
        let mut writer = Writer::default();
        // The family is `AF_UNSPEC`: a group is of all families.
        writer.message((CONFIGURATION, REQUEST | ACKNOWLEDGE, 1), (0, self.group), |writer| {
            writer.attribute(attribute, content);
        });
        let socket = self.socket.socket_ref();
        let sent = socket.send(&writer.into_bytes(), 0);
        sent.map_err(|source| NetlinkError::Send { what: what.to_owned(), source })?;
        loop {
            self.buffer.clear();
            socket
                .recv(&mut self.buffer, 0)
                .map_err(|source| NetlinkError::Receive { what: what.to_owned(), source })?;
            for message in Messages(&self.buffer) {
                let unreadable = |problem| NetlinkError::Unreadable { what: what.to_owned(), problem };
                let message = message.map_err(unreadable)?;
                if message.kind != ERROR {
                    self.heard.extend(sample(&message).map_err(unreadable)?);
                    continue;
                }
                return match message.errno().map_err(unreadable)? {
                    0 => Ok(()),
                    number => Err(NetlinkError::Refused { what: what.to_owned(), errno: Errno::from_raw(number) }),
                };
            }
        }
    }

    /// Waits for the next. Those for which there was no room are lost and not told of. May be dropped at any time.
    pub async fn next(&mut self) -> Result<Sample, NetlinkError> {
        loop {
            if let Some(sample) = self.heard.pop_front() {
                return Ok(sample);
            }
            let Self { socket, buffer, .. } = self;
            buffer.clear();
            buffer.reserve(RECEIVED);
            match poll_fn(|context| socket.poll_recv(context, buffer)).await {
                Ok(()) => {
                    self.heard.extend(Messages(&self.buffer).flatten().filter_map(|message| sample(&message).ok()?));
                }
                Err(source) if source.raw_os_error().map(Errno::from_raw) == Some(Errno::ENOBUFS) => {}
                Err(source) => {
                    return Err(NetlinkError::Receive { what: format!("nflog group {}", self.group), source });
                }
            }
        }
    }
}

/// The packet in a message; `None` in one that is about something else.
fn sample(message: &Message<'_>) -> Result<Option<Sample>, Malformed> {
    if message.kind != PACKET {
        return Ok(None);
    }
    let attributes = Attributes(message.payload.get(GENERAL..).ok_or("a packet without its head")?);
    let Some(packet) = attributes.get(PAYLOAD)? else { return Ok(None) };
    let prefix = attributes.get(PREFIX)?.map(text).transpose()?.unwrap_or_default();
    Ok(Some(Sample { prefix: prefix.to_owned(), packet: packet.to_vec() }))
}

impl Sample {
    /// What the packet says of itself; `None` where it is cut short or no IP.
    pub fn caller(&self) -> Option<Caller> {
        let packet = self.packet.as_slice();
        let (address, protocol, transport) = match packet.first()? >> 4 {
            // RFC 791: length of the header in words, fragment offset, protocol, source.
            4 => {
                let header: &[u8; 20] = packet.first_chunk()?;
                let [first, _, _, _, _, _, flags, offset, _, protocol, _, _, a, b, c, d, ..] = *header;
                let is_first = flags & 0x1f == 0 && offset == 0;
                let transport = if is_first { packet.get(usize::from(first & 0xf) * 4..) } else { None };
                (IpAddr::from(Ipv4Addr::new(a, b, c, d)), protocol, transport)
            }
            // RFC 8200: next header, source. Whoever writes extension headers shows no port here.
            6 => {
                let header: &[u8; 40] = packet.first_chunk()?;
                let source: [u8; 16] = *header.get(8..)?.first_chunk()?;
                (IpAddr::from(Ipv6Addr::from(source)), header[6], packet.get(40..))
            }
            _ => return None,
        };
        // IANA protocol numbers; destination ports of both are at the same place.
        let protocol = match protocol {
            6 => Some(Protocol::Tcp),
            17 => Some(Protocol::Udp),
            _ => None,
        };
        let port = transport.and_then(|transport| {
            let [_, _, high, low] = *transport.first_chunk()?;
            Some(GuardedPort { protocol: protocol?, port: u16::from_be_bytes([high, low]).try_into().ok()? })
        });
        Some(Caller { address: canonical(address), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(prefix: &str, packet: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.message((PACKET, 0, 0), (2, 72), |writer| {
            writer.attribute(1, &[8, 0, 0, 0]);
            writer.attribute(PAYLOAD, packet);
            writer.text(PREFIX, prefix);
        });
        writer.into_bytes()
    }

    fn caller(packet: &[u8]) -> Option<(String, String)> {
        let caller = Sample { prefix: String::new(), packet: packet.to_vec() }.caller()?;
        Some((caller.address.to_string(), caller.port.map_or_else(|| "-".to_owned(), |port| port.to_string())))
    }

    fn v4(protocol: u8, offset: [u8; 2], words: u8) -> Vec<u8> {
        let mut packet =
            vec![0x40 | words, 0, 0, 60, 0, 0, offset[0], offset[1], 64, protocol, 0, 0, 203, 0, 113, 7, 10, 0, 0, 1];
        packet.resize(usize::from(words) * 4, 0);
        packet.extend([0x30, 0x39, 0x1b, 0xbc, 0, 0]);
        packet
    }

    #[test]
    fn a_packet_says_where_it_came_from_and_what_it_was_for() {
        let say = |address: &str, port: &str| Some((address.to_owned(), port.to_owned()));
        assert_eq!(caller(&v4(6, [0, 0], 5)), say("203.0.113.7", "tcp/7100"));
        assert_eq!(caller(&v4(17, [0x40, 0], 6)), say("203.0.113.7", "udp/7100"));
        // A later fragment and another protocol have no port; one that is cut short may have none.
        assert_eq!(caller(&v4(6, [0, 1], 5)), say("203.0.113.7", "-"));
        assert_eq!(caller(&v4(6, [0x20, 185], 5)), say("203.0.113.7", "-"));
        assert_eq!(caller(&v4(1, [0, 0], 5)), say("203.0.113.7", "-"));
        assert_eq!(caller(&v4(6, [0, 0], 5)[..23]), say("203.0.113.7", "-"));
        assert_eq!(caller(&v4(6, [0, 0], 5)[..19]), None);
        let mut v6 = vec![0x60, 0, 0, 0, 0, 20, 6, 64, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        v6.resize(40, 1);
        v6.extend([1, 2, 0x23, 0x28]);
        assert_eq!(caller(&v6), say("2001:db8::9", "tcp/9000"));
        for short in [&[][..], &[0x45], &[0x55; 60], &v6[..39]] {
            assert_eq!(caller(short), None, "{short:?}");
        }
    }

    #[test]
    fn a_message_is_read_and_others_are_passed_over() {
        let bytes = told("picket refused p2p ", &v4(6, [0, 0], 5));
        let messages: Vec<_> = Messages(&bytes).map(Result::unwrap).collect();
        let expect = Sample { prefix: "picket refused p2p ".to_owned(), packet: v4(6, [0, 0], 5) };
        assert_eq!(sample(&messages[0]), Ok(Some(expect)));
        assert_eq!(sample(&Message { kind: CONFIGURATION, ..messages[0] }), Ok(None));
        assert!(sample(&Message { payload: &[0], ..messages[0] }).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_for_what_they_are(packet in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = Sample { prefix: String::new(), packet: packet.clone() }.caller();
            let message = Message { kind: PACKET, flags: 0, sequence: 0, payload: &packet };
            let _ = sample(&message);
        }
    }
}
