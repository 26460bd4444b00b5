//! nf_tables without a program: elements written and read back, the generation, who changed what. Messages are values,
//! written and read by pure functions (`wire`, `elements`, `objects`, `events`); `kernel`, `monitor` and `samples` are
//! the sockets.
//! Rules go as text, through the host's nft, and this way only where there is none that runs (`closed`).
//!
//! The messages are written by hand, on netlink-sys alone. `netlink-packet-netfilter` 0.4 was measured: it takes 1.5 ms
//! to read one element of a set, and what it would save in writing is the sixty lines of `wire`.

mod closed;
pub(crate) mod elements;
mod error;
pub mod events;
mod kernel;
pub mod monitor;
mod objects;
pub mod samples;
pub(crate) mod wire;

pub use closed::close;
pub use error::NetlinkError;
pub(crate) use kernel::Kernel;
pub use monitor::Monitor;

use crate::{Change, Counter, Provenance, Set};
use netlink_sys::{Socket, SocketAddr};
use std::{collections::BTreeMap, io};

/// `NFNL_SUBSYS_NFTABLES`, linux/netfilter/nfnetlink.h.
pub(crate) const SUBSYSTEM: u8 = 10;
/// `NFPROTO_INET`, linux/netfilter.h: the family of our table.
pub(crate) const FAMILY_INET: u8 = 1;

/// Kinds of message that are read or written, `enum nf_tables_msg_types` of linux/netfilter/nf_tables.h.
pub(crate) mod kind {
    pub(crate) const NEW_TABLE: u8 = 0;
    pub(crate) const GET_TABLE: u8 = 1;
    pub(crate) const DELETE_TABLE: u8 = 2;
    pub(crate) const NEW_CHAIN: u8 = 3;
    pub(crate) const GET_CHAIN: u8 = 4;
    pub(crate) const DELETE_CHAIN: u8 = 5;
    pub(crate) const NEW_RULE: u8 = 6;
    pub(crate) const GET_RULE: u8 = 7;
    pub(crate) const DELETE_RULE: u8 = 8;
    pub(crate) const NEW_SET: u8 = 9;
    pub(crate) const DELETE_SET: u8 = 11;
    pub(crate) const NEW_ELEMENT: u8 = 12;
    pub(crate) const GET_ELEMENT: u8 = 13;
    pub(crate) const DELETE_ELEMENT: u8 = 14;
    pub(crate) const NEW_GENERATION: u8 = 15;
    pub(crate) const GET_GENERATION: u8 = 16;
    pub(crate) const NEW_OBJECT: u8 = 18;
    pub(crate) const GET_OBJECT: u8 = 19;
    pub(crate) const DELETE_OBJECT: u8 = 20;
    pub(crate) const NEW_FLOWTABLE: u8 = 22;
    pub(crate) const DELETE_FLOWTABLE: u8 = 24;
}

/// Our table's name, without its family.
pub(crate) fn table_name() -> &'static str {
    crate::TABLE.split_once(' ').map_or(crate::TABLE, |(_, name)| name)
}

/// The messages that add these elements to the set `name`, as one transaction.
pub fn additions(name: &str, elements: &Set) -> Vec<u8> {
    let change = Change::AddElements { set: name.to_owned(), elements: elements.clone() };
    elements::batch(&[change], &Provenance::default(), 0).map(|batch| batch.bytes).unwrap_or_default()
}

/// The elements in messages, as a set of the kind of `like`; `None` where they are of another kind or not as we write them,
/// an error where the bytes are no messages.
pub fn elements_in(received: &[u8], like: &Set) -> Result<Option<Set>, &'static str> {
    let mut found = Vec::new();
    for message in wire::Messages(received) {
        found.append(&mut elements::read(&message?)?);
    }
    Ok(elements::set_of(like, found))
}

/// The counters in messages.
pub fn counters_in(received: &[u8]) -> Result<BTreeMap<String, Counter>, &'static str> {
    let mut found = BTreeMap::new();
    for message in wire::Messages(received) {
        found.extend(objects::read_counter(&message?)?);
    }
    Ok(found)
}

/// Makes a socket hear the kernel and nobody else, as a member of these multicast groups (a bit for each).
fn attach(socket: &mut Socket, groups: u32) -> io::Result<()> {
    socket.bind(&SocketAddr::new(0, groups))?;
    socket.connect(&SocketAddr::new(0, 0))
}
