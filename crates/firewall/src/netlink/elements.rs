//! Elements of sets as messages: one transaction that adds and deletes, a question for single elements, a dump of a whole
//! set, and what the kernel answers. Pure. A prefix is two elements: its first address, and the one behind its last.

use super::{
    FAMILY_INET, SUBSYSTEM, kind, table_name,
    wire::{
        ACKNOWLEDGE, Attributes, BATCH_BEGIN, BATCH_END, CREATE, DUMP, Malformed, Message, REQUEST, Writer,
        long_number, number,
    },
};
use crate::{Change, Elements, Provenance, Set};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use picket_model::{GuardedPort, Protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

// linux/netfilter/nf_tables.h: `enum nft_set_elem_list_attributes`, `nft_list_attributes`, `nft_set_elem_attributes`,
// `nft_data_attributes`, `nft_set_elem_flags`.
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ITEM: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_FLAGS: u16 = 3;
const ELEMENT_TIMEOUT: u16 = 4;
const ELEMENT_EXPIRATION: u16 = 5;
const ELEMENT_USERDATA: u16 = 6;
const DATA_VALUE: u16 = 1;
const FLAG_INTERVAL_END: u32 = 1;

// What nft writes beside an element, libnftnl's udata.h: type, length, content, one after the other.
/// `NFTNL_UDATA_SET_ELEM_COMMENT`, closed by a zero.
const USERDATA_COMMENT: u8 = 0;
/// `NFTNL_UDATA_SET_ELEM_FLAGS`.
const USERDATA_FLAGS: u8 = 1;
/// The flags (in the host's order) of the start of an interval that has no end, because it reaches the last address there
/// is: `NFTNL_SET_ELEM_F_INTERVAL_OPEN`.
const INTERVAL_OPEN: [u8; 4] = 1_u32.to_ne_bytes();

/// Bytes of elements in one message: a list is one attribute, which is 64 KiB at most, and an element takes up to 180.
const IN_ONE_MESSAGE: usize = 60_000;

/// Longest key, in bytes: an IPv6 address.
const LONGEST: usize = 16;

/// What an element is in the kernel: the bytes that packets are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Key {
    fn new(content: &[u8]) -> Result<Self, Malformed> {
        let mut bytes = [0; LONGEST];
        bytes.get_mut(..content.len()).ok_or("a key that is longer than an address")?.copy_from_slice(content);
        Ok(Self { bytes, length: content.len() })
    }

    fn v4(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self { bytes: [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], length: 4 }
    }

    fn v6(address: Ipv6Addr) -> Self {
        Self { bytes: address.octets(), length: LONGEST }
    }

    /// Each part of a concatenation is filled up to four bytes.
    fn port(guarded: GuardedPort) -> Self {
        let protocol = match guarded.protocol {
            Protocol::Tcp => TCP,
            Protocol::Udp => UDP,
        };
        let [high, low] = guarded.port.get().to_be_bytes();
        Self { bytes: [protocol, 0, 0, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], length: 8 }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }

    fn address4(&self) -> Option<Ipv4Addr> {
        self.as_slice().first_chunk::<4>().filter(|_| self.length == 4).map(|bytes| Ipv4Addr::from(*bytes))
    }

    fn address6(&self) -> Option<Ipv6Addr> {
        (self.length == LONGEST).then(|| Ipv6Addr::from(self.bytes))
    }

    fn guarded_port(&self) -> Option<GuardedPort> {
        let [protocol, 0, 0, 0, high, low, 0, 0] = *self.as_slice() else { return None };
        let protocol = match protocol {
            TCP => Protocol::Tcp,
            UDP => Protocol::Udp,
            _ => return None,
        };
        Some(GuardedPort { protocol, port: u16::from_be_bytes([high, low]).try_into().ok()? })
    }
}

/// IANA protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The keys of a set whose elements are single keys; `None` for intervals, which are two elements each and few.
pub(crate) fn keys(set: &Set) -> Option<Vec<Key>> {
    match set {
        Set::Ports(ports) => Some(ports.iter().copied().map(Key::port).collect()),
        Set::Hosts4(hosts) => Some(hosts.iter().copied().map(Key::v4).collect()),
        Set::Hosts6(hosts) => Some(hosts.iter().copied().map(Key::v6).collect()),
        Set::Nets4(_) | Set::Nets6(_) => None,
    }
}

/// An element as it is written.
struct Written {
    key: Key,
    is_end: bool,
    userdata: Vec<u8>,
}

impl Written {
    fn start(key: Key, comment: Option<String>) -> Self {
        let userdata = comment.map(|text| field(USERDATA_COMMENT, &[text.as_bytes(), &[0]].concat()));
        Self { key, is_end: false, userdata: userdata.unwrap_or_default() }
    }

    /// The elements of a set, or what takes them out, for which comments are not needed.
    fn all(set: &Set, comment: impl Fn(&IpNet) -> Option<String>) -> Vec<Self> {
        match keys(set) {
            Some(keys) => {
                let mut comments = set.networks().into_iter().map(|network| comment(&network));
                keys.into_iter().map(|key| Self::start(key, comments.next().flatten())).collect()
            }
            None => set.networks().iter().flat_map(|net| Self::interval(net, comment(net))).collect(),
        }
    }

    /// First address, and the one behind the last where there is one.
    fn interval(net: &IpNet, comment: Option<String>) -> impl Iterator<Item = Self> {
        let key = |address| match address {
            IpAddr::V4(address) => Key::v4(address),
            IpAddr::V6(address) => Key::v6(address),
        };
        let end = match net.broadcast() {
            IpAddr::V4(last) => u32::from(last).checked_add(1).map(|end| key(Ipv4Addr::from(end).into())),
            IpAddr::V6(last) => u128::from(last).checked_add(1).map(|end| key(Ipv6Addr::from(end).into())),
        };
        let mut start = Self::start(key(net.network()), comment);
        if end.is_none() {
            start.userdata.extend(field(USERDATA_FLAGS, &INTERVAL_OPEN));
        }
        [start].into_iter().chain(end.map(|key| Self { key, is_end: true, userdata: Vec::new() }))
    }

    /// Bytes that it takes at most: headers of five attributes, flags, key, userdata.
    const fn bytes(&self) -> usize {
        5 * 4 + 4 + LONGEST + self.userdata.len().next_multiple_of(4)
    }
}

fn field(kind: u8, content: &[u8]) -> Vec<u8> {
    // Comments and flags are far shorter.
    let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
    [&[kind, length], content].concat()
}

/// Messages that are one transaction.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// What each message does that is acknowledged, in the operator's words. The first one's sequence number is one more
    /// than the batch's.
    pub(crate) steps: Vec<String>,
}

/// The transaction that makes these changes, with what is said beside new elements; `None` where one of them cannot be made
/// by messages. Its messages are numbered from `first`.
pub(crate) fn batch(changes: &[Change], provenance: &Provenance, first: u32) -> Option<Batch> {
    let (mut writer, mut steps, mut sequence) = (Writer::default(), Vec::new(), first);
    let edge = |writer: &mut Writer, kind, sequence| {
        writer.message((kind, REQUEST, sequence), (0, SUBSYSTEM.into()), |_| {});
    };
    edge(&mut writer, BATCH_BEGIN, sequence);
    for change in changes {
        let (kind, flags, set, elements, verb) = match change {
            Change::AddElements { set, elements } => {
                let written = Written::all(elements, |element| provenance.comment(set, element));
                (kind::NEW_ELEMENT, CREATE, set, written, ("add", "to"))
            }
            Change::DeleteElements { set, elements } => {
                (kind::DELETE_ELEMENT, 0, set, Written::all(elements, |_| None), ("delete", "from"))
            }
            Change::ReplaceTable(_) => return None,
        };
        let mut rest = elements.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fitting(rest));
            sequence = sequence.wrapping_add(1);
            let head = (message_type(kind), REQUEST | ACKNOWLEDGE | flags, sequence);
            writer.message(head, (FAMILY_INET, 0), |writer| list(writer, set, now));
            steps.push(format!("{} {} elements {} {set}", verb.0, now.len(), verb.1));
            rest = later;
        }
    }
    edge(&mut writer, BATCH_END, sequence.wrapping_add(1));
    Some(Batch { bytes: writer.into_bytes(), steps })
}

/// How many of these elements fit into one message: at least one.
fn fitting(elements: &[Written]) -> usize {
    let sizes = elements.iter().scan(0, |sum, element| {
        *sum += element.bytes();
        Some(*sum)
    });
    sizes.take_while(|sum| *sum <= IN_ONE_MESSAGE).count().max(1)
}

/// A question for each key, numbered from `first`: answered with the element, or with "not found".
pub(crate) fn questions(set: &str, keys: &[Key], first: u32) -> Vec<u8> {
    let mut writer = Writer::default();
    for (key, sequence) in keys.chunks(1).zip(first..=u32::MAX) {
        let head = (message_type(kind::GET_ELEMENT), REQUEST | ACKNOWLEDGE, sequence);
        let asked: Vec<_> = key.iter().map(|key| Written::start(*key, None)).collect();
        writer.message(head, (FAMILY_INET, 0), |writer| list(writer, set, &asked));
    }
    writer.into_bytes()
}

/// The question for all elements of a set.
pub(crate) fn dump(set: &str, sequence: u32) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.message((message_type(kind::GET_ELEMENT), REQUEST | DUMP, sequence), (FAMILY_INET, 0), |writer| {
        writer.text(LIST_TABLE, table_name());
        writer.text(LIST_SET, set);
    });
    writer.into_bytes()
}

/// The type of a message of nf_tables.
pub(crate) fn message_type(kind: u8) -> u16 {
    u16::from_le_bytes([kind, SUBSYSTEM])
}

fn list(writer: &mut Writer, set: &str, elements: &[Written]) {
    writer.text(LIST_TABLE, table_name());
    writer.text(LIST_SET, set);
    writer.nested(LIST_ELEMENTS, |writer| {
        for element in elements {
            writer.nested(LIST_ITEM, |writer| {
                writer.nested(ELEMENT_KEY, |writer| writer.attribute(DATA_VALUE, element.key.as_slice()));
                if element.is_end {
                    writer.attribute(ELEMENT_FLAGS, &FLAG_INTERVAL_END.to_be_bytes());
                }
                if !element.userdata.is_empty() {
                    writer.attribute(ELEMENT_USERDATA, &element.userdata);
                }
            });
        }
    });
}

/// An element as the kernel told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Element {
    pub(crate) key: Key,
    /// Whether it is the first address behind an interval, and not one of the set's.
    pub(crate) is_end: bool,
    /// Whether it has nothing but what we write and a comment, whatever that says: no time limit but its set's, nothing that
    /// is counted or done.
    pub(crate) is_plain: bool,
}

/// The elements in a message; none in one of another kind.
pub(crate) fn read(message: &Message<'_>) -> Result<Vec<Element>, Malformed> {
    let Some(head) = message.nf_tables() else { return Ok(Vec::new()) };
    let (kind, attributes) = head?;
    if !matches!(kind, kind::NEW_ELEMENT | kind::DELETE_ELEMENT) {
        return Ok(Vec::new());
    }
    let Some(items) = attributes.get(LIST_ELEMENTS)? else { return Ok(Vec::new()) };
    Attributes(items).map(|item| item.and_then(|(_, content)| read_element(Attributes(content)))).collect()
}

fn read_element(attributes: Attributes<'_>) -> Result<Element, Malformed> {
    let (mut key, mut is_end, mut is_plain, mut timeout) = (None, false, true, None);
    for attribute in attributes {
        match attribute? {
            (ELEMENT_KEY, content) => {
                key = Some(Key::new(Attributes(content).get(DATA_VALUE)?.ok_or("a key without its value")?)?);
            }
            (ELEMENT_FLAGS, content) => {
                let flags = number(content)?;
                is_end = flags & FLAG_INTERVAL_END != 0;
                is_plain &= flags & !FLAG_INTERVAL_END == 0;
            }
            (ELEMENT_USERDATA, content) => is_plain &= is_known(content),
            // Of how much of its set's time is left the listing tells.
            (ELEMENT_EXPIRATION, _) => {}
            (ELEMENT_TIMEOUT, content) => timeout = Some(long_number(content)?),
            _ => is_plain = false,
        }
    }
    // Told where it is not the set's; the end of an interval goes with its beginning and has none.
    is_plain &= timeout.is_none_or(|timeout| is_end && timeout == 0);
    // The element that stands for all others has no key: none of ours.
    Ok(Element { key: key.ok_or("an element without a key")?, is_end, is_plain })
}

/// Whether nothing is said beside an element but a comment, and that an interval has no end.
fn is_known(userdata: &[u8]) -> bool {
    let mut rest = userdata;
    while let [kind, length, content @ ..] = rest {
        let Some((content, later)) = content.split_at_checked(usize::from(*length)) else { return false };
        if !matches!((*kind, content), (USERDATA_COMMENT, _) | (USERDATA_FLAGS, [_, _, _, _])) {
            return false;
        }
        if *kind == USERDATA_FLAGS && content != INTERVAL_OPEN {
            return false;
        }
        rest = later;
    }
    rest.is_empty()
}

/// The elements as a set of the kind of `like`; `None` where one of them is not of that kind, or not as we write them.
pub(crate) fn set_of(like: &Set, mut elements: Vec<Element>) -> Option<Set> {
    if !elements.iter().all(|element| element.is_plain) {
        return None;
    }
    let single = |elements: &[Element]| elements.iter().all(|element| !element.is_end);
    match like {
        Set::Nets4(_) => {
            let ranges = ranges(&mut elements, |key| Some(u32::from(key.address4()?).into()), u32::MAX.into())?;
            ranges.into_iter().map(net4).collect::<Option<_>>().map(Set::Nets4)
        }
        Set::Nets6(_) => {
            let ranges = ranges(&mut elements, |key| Some(key.address6()?.into()), u128::MAX)?;
            ranges.into_iter().map(net6).collect::<Option<_>>().map(Set::Nets6)
        }
        Set::Ports(_) if single(&elements) => all(&elements, Key::guarded_port).map(Set::Ports),
        Set::Hosts4(_) if single(&elements) => all(&elements, Key::address4).map(Set::Hosts4),
        Set::Hosts6(_) if single(&elements) => all(&elements, Key::address6).map(Set::Hosts6),
        _ => None,
    }
}

fn all<T: Ord>(elements: &[Element], read: impl Fn(&Key) -> Option<T>) -> Option<Elements<T>> {
    elements.iter().map(|element| read(&element.key)).collect()
}

/// First and last address of each interval. The kernel gives their borders in an order of its own.
fn ranges(elements: &mut [Element], value: impl Fn(&Key) -> Option<u128>, highest: u128) -> Option<Vec<(u128, u128)>> {
    // Where one ends at the address at which the next begins, the end comes first.
    elements.sort_by_key(|element| (element.key, !element.is_end));
    let (mut found, mut open) = (Vec::new(), None);
    for element in elements.iter() {
        let value = value(&element.key)?;
        match (element.is_end, open) {
            (true, Some(first)) => {
                found.push((first, value.checked_sub(1)?));
                open = None;
            }
            // nft closes what is before the first interval.
            (true, None) if value == 0 => {}
            (false, None) => open = Some(value),
            (true, None) | (false, Some(_)) => return None,
        }
    }
    found.extend(open.map(|first| (first, highest)));
    Some(found)
}

fn net4((first, last): (u128, u128)) -> Option<Ipv4Net> {
    let (first, last) = (u32::try_from(first).ok()?, u32::try_from(last).ok()?);
    let host_bits = u8::try_from((first ^ last).count_ones()).ok()?;
    let net = Ipv4Net::new(first.into(), 32_u8.checked_sub(host_bits)?).ok()?;
    (net.network() == Ipv4Addr::from(first) && net.broadcast() == Ipv4Addr::from(last)).then_some(net)
}

fn net6((first, last): (u128, u128)) -> Option<Ipv6Net> {
    let host_bits = u8::try_from((first ^ last).count_ones()).ok()?;
    let net = Ipv6Net::new(first.into(), 128_u8.checked_sub(host_bits)?).ok()?;
    (net.network() == Ipv6Addr::from(first) && net.broadcast() == Ipv6Addr::from(last)).then_some(net)
}

#[cfg(test)]
pub(super) mod tests;
