//! Elements of sets as messages: one transaction that adds and deletes, a question for single elements, a dump of a whole
//! set, and what the kernel answers. Pure. Sets of a kind that is not known here go by text, through the host's nft.

use super::{
    FAMILY_INET, SUBSYSTEM, kind, table_name,
    wire::{
        ACKNOWLEDGE, Attributes, BATCH_BEGIN, BATCH_END, CREATE, DUMP, Malformed, Message, REQUEST, Writer, number,
    },
};
use crate::{Change, Set};
use ipnet::{Ipv4Net, Ipv6Net};
use picket_model::{GuardedPort, Protocol};
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
};

// linux/netfilter/nf_tables.h: `enum nft_set_elem_list_attributes`, `nft_list_attributes`, `nft_set_elem_attributes`,
// `nft_data_attributes`, `nft_set_elem_flags`.
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ITEM: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_FLAGS: u16 = 3;
const ELEMENT_USERDATA: u16 = 6;
const DATA_VALUE: u16 = 1;
const FLAG_INTERVAL_END: u32 = 1;

/// What nft writes beside the start of an interval that has no end, because it reaches the last address there is: its
/// type (`NFTNL_UDATA_SET_ELEM_FLAGS`), its length, and `NFTNL_SET_ELEM_F_INTERVAL_OPEN`.
const USERDATA_OPEN: [u8; 6] = [1, 4, 1, 0, 0, 0];

/// Elements in one message: a list is one attribute, which is 64 KiB at most, and an IPv6 address takes 28 bytes of it.
const IN_ONE_MESSAGE: usize = 1000;

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

/// Messages that are one transaction.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// What each message does that is acknowledged, in the operator's words. The first one's sequence number is one more
    /// than the batch's.
    pub(crate) steps: Vec<String>,
}

/// The transaction that makes these changes; `None` where one of them cannot be made by messages. Its messages are
/// numbered from `first`.
pub(crate) fn batch(changes: &[Change], first: u32) -> Option<Batch> {
    let (mut writer, mut steps, mut sequence) = (Writer::default(), Vec::new(), first);
    let edge = |writer: &mut Writer, kind, sequence| {
        writer.message((kind, REQUEST, sequence), (0, SUBSYSTEM.into()), |_| {});
    };
    edge(&mut writer, BATCH_BEGIN, sequence);
    for change in changes {
        let (kind, flags, set, elements, verb) = match change {
            Change::AddElements { set, elements } => (kind::NEW_ELEMENT, CREATE, set, elements, ("add", "to")),
            Change::DeleteElements { set, elements } => (kind::DELETE_ELEMENT, 0, set, elements, ("delete", "from")),
            Change::ReplaceTable(_) => return None,
        };
        for keys in keys(elements)?.chunks(IN_ONE_MESSAGE) {
            sequence = sequence.wrapping_add(1);
            let head = (message_type(kind), REQUEST | ACKNOWLEDGE | flags, sequence);
            writer.message(head, (FAMILY_INET, 0), |writer| list(writer, set, keys));
            steps.push(format!("{} {} elements {} {set}", verb.0, keys.len(), verb.1));
        }
    }
    edge(&mut writer, BATCH_END, sequence.wrapping_add(1));
    Some(Batch { bytes: writer.into_bytes(), steps })
}

/// A question for each key, numbered from `first`: answered with the element, or with "not found".
pub(crate) fn questions(set: &str, keys: &[Key], first: u32) -> Vec<u8> {
    let mut writer = Writer::default();
    for (key, sequence) in keys.chunks(1).zip(first..=u32::MAX) {
        let head = (message_type(kind::GET_ELEMENT), REQUEST | ACKNOWLEDGE, sequence);
        writer.message(head, (FAMILY_INET, 0), |writer| list(writer, set, key));
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

fn list(writer: &mut Writer, set: &str, keys: &[Key]) {
    writer.text(LIST_TABLE, table_name());
    writer.text(LIST_SET, set);
    writer.nested(LIST_ELEMENTS, |writer| {
        for key in keys {
            writer.nested(LIST_ITEM, |writer| {
                writer.nested(ELEMENT_KEY, |writer| writer.attribute(DATA_VALUE, key.as_slice()));
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
    /// Whether it has nothing but what we write: no comment, no time limit, nothing that is counted or done.
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
    let (mut key, mut is_end, mut is_plain) = (None, false, true);
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
            (ELEMENT_USERDATA, content) => is_plain &= content == USERDATA_OPEN,
            _ => is_plain = false,
        }
    }
    // The element that stands for all others has no key: none of ours.
    Ok(Element { key: key.ok_or("an element without a key")?, is_end, is_plain })
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

fn all<T: Ord>(elements: &[Element], read: impl Fn(&Key) -> Option<T>) -> Option<BTreeSet<T>> {
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
