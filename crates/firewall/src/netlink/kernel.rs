//! The socket on which elements are written and read, open as long as the firewall is: closing one after a deletion waits
//! for the kernel, 10 to 20 ms. The kernel answers within the call, so nothing here waits unless the kernel is broken;
//! then it is given up. Decides nothing.

use super::{
    NetlinkError, attach,
    elements::{Key, batch, dump, keys, questions, read, set_of},
    objects::{ask_generation, ask_table, dump_counters, read_counter, read_generation},
    wire::{DONE, ERROR, INTERRUPTED, Malformed, Message, Messages},
};
use crate::{Change, Counter, Provenance, Set};
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use nix::{
    errno::Errno,
    sys::{
        socket::{setsockopt, sockopt},
        time::{TimeVal, TimeValLike as _},
    },
};
use std::{collections::BTreeMap, fmt, io, ops::ControlFlow};

/// Longest wait for an answer, in seconds. A transaction of 100,000 elements takes 0.4 s, within the call that sends it.
const PATIENCE: i64 = 5;
/// Room for what is received at once: the kernel fills 32 KiB at most.
const RECEIVED: usize = 64 << 10;
/// Room for answers that wait, in bytes: each takes a page or two, however short it is.
const WAITING: usize = 4 << 20;
/// Single elements asked for at once, so that their answers have room.
const ASKED_AT_ONCE: usize = 64;
/// How often a set is read anew that was changed while it was read.
const ATTEMPTS: usize = 4;

/// nf_tables in the network namespace in which this was opened.
pub(crate) struct Kernel {
    socket: Socket,
    /// Number of the last message sent.
    sequence: u32,
    /// Bytes that may be sent at once.
    sendable: usize,
    buffer: Vec<u8>,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl Kernel {
    /// Opens the socket.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(NetlinkError::Open)?;
        attach(&mut socket, 0).map_err(NetlinkError::Open)?;
        let room = setsockopt(&socket, sockopt::RcvBufForce, &WAITING);
        let patience = setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE));
        room.and(patience).map_err(|errno| NetlinkError::Open(errno.into()))?;
        Ok(Self { socket, sequence: 0, sendable: 0, buffer: Vec::with_capacity(RECEIVED) })
    }

    /// How often anything in nf_tables was changed in this namespace. As long as it is the same, everything is.
    pub(crate) fn generation(&mut self) -> Result<u32, NetlinkError> {
        let what = "ask for the generation";
        let first = self.numbers(1);
        let mut generation = None;
        self.send(what, &ask_generation(first))?;
        self.hear(what, first, |message| {
            check(what, message)?;
            generation = read_generation(message).map_err(|problem| unreadable(what, problem))?;
            Ok(if generation.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        generation.ok_or_else(|| unreadable(what, "no answer"))
    }

    /// Whether there is a table of ours at all.
    pub(crate) fn has_table(&mut self) -> Result<bool, NetlinkError> {
        let what = "ask for the table";
        let first = self.numbers(1);
        self.send(what, &ask_table(first))?;
        match self.hear(what, first, |message| check(what, message).map(|()| ControlFlow::Break(()))) {
            Err(error) if error.is_not_found() => Ok(false),
            heard => heard.map(|()| true),
        }
    }

    /// Makes all changes or none; `None` where one of them cannot be made by messages.
    pub(crate) fn commit(&mut self, changes: &[Change], provenance: &Provenance) -> Option<Result<(), NetlinkError>> {
        let first = self.sequence.wrapping_add(1);
        let batch = batch(changes, provenance, first)?;
        self.numbers(batch.steps.len() + 2);
        Some(self.send_batch(first, "change elements", &batch.bytes, &batch.steps))
    }

    /// Sends a transaction whose messages are numbered from `first`, and hears what became of each of its steps.
    pub(super) fn send_batch(
        &mut self,
        first: u32,
        what: &str,
        bytes: &[u8],
        steps: &[String],
    ) -> Result<(), NetlinkError> {
        self.send(what, bytes)?;
        let mut left = steps.len();
        if left == 0 {
            return Ok(());
        }
        self.hear(what, first, |message| {
            if message.kind != ERROR {
                return Ok(ControlFlow::Continue(()));
            }
            // The batch as a whole is refused under the number of its beginning.
            let step = usize::try_from(message.sequence.wrapping_sub(first)).ok().and_then(|n| n.checked_sub(1));
            check(step.and_then(|step| steps.get(step)).map_or(what, String::as_str), message)?;
            left = left.saturating_sub(1);
            Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
    }

    /// Whether each of these elements is in the set, as an element that is as we write them. `elements` are of a kind that
    /// `commit` takes.
    pub(crate) fn has(&mut self, set: &str, elements: &Set) -> Result<Vec<bool>, NetlinkError> {
        let what = format!("read elements of {set}");
        let keys = keys(elements).ok_or_else(|| unreadable(&what, "intervals are not asked for one by one"))?;
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(ASKED_AT_ONCE) {
            self.has_some(&what, set, keys, &mut found)?;
        }
        Ok(found)
    }

    fn has_some(&mut self, what: &str, set: &str, keys: &[Key], found: &mut Vec<bool>) -> Result<(), NetlinkError> {
        let first = self.numbers(keys.len());
        self.send(what, &questions(set, keys, first))?;
        let (mut asked, mut is_there) = (keys.iter(), false);
        self.hear(what, first, |message| {
            if message.kind != ERROR {
                let elements = read(message).map_err(|problem| unreadable(what, problem))?;
                is_there |= elements.iter().any(|element| element.is_plain && !element.is_end);
                return Ok(ControlFlow::Continue(()));
            }
            match check(what, message) {
                Err(error) if !error.is_not_found() => return Err(error),
                answer => found.push(answer.is_ok() && is_there),
            }
            is_there = false;
            asked.next();
            Ok(if asked.len() == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
    }

    /// All elements of a set of the kind of `like`; `None` where they are not of that kind, or not as we write them.
    pub(crate) fn set(&mut self, name: &str, like: &Set) -> Result<Option<Set>, NetlinkError> {
        let what = format!("read set {name}");
        let mut elements = Vec::with_capacity(like.len());
        self.dump(
            &what,
            |sequence| dump(name, sequence),
            &mut elements,
            |message, elements| {
                elements.append(&mut read(message)?);
                Ok(())
            },
        )?;
        Ok(set_of(like, elements))
    }

    /// All counters of our table; none where there is no table.
    pub(crate) fn counters(&mut self) -> Result<BTreeMap<String, Counter>, NetlinkError> {
        let mut counters = Vec::new();
        self.dump("read the counters", dump_counters, &mut counters, |message, counters| {
            counters.extend(read_counter(message)?);
            Ok(())
        })?;
        Ok(counters.into_iter().collect())
    }

    /// Asks for all of something until it was not changed while it was told.
    pub(super) fn dump<T>(
        &mut self,
        what: &str,
        question: impl Fn(u32) -> Vec<u8>,
        into: &mut Vec<T>,
        take: impl Fn(&Message<'_>, &mut Vec<T>) -> Result<(), Malformed>,
    ) -> Result<(), NetlinkError> {
        for _ in 0..ATTEMPTS {
            let (first, mut is_whole) = (self.numbers(1), true);
            into.clear();
            self.send(what, &question(first))?;
            self.hear(what, first, |message| {
                is_whole &= message.flags & INTERRUPTED == 0;
                match message.kind {
                    DONE => check(what, message).map(|()| ControlFlow::Break(())),
                    ERROR => check(what, message).map(|()| ControlFlow::Continue(())),
                    _ => take(message, into).map(ControlFlow::Continue).map_err(|problem| unreadable(what, problem)),
                }
            })?;
            if is_whole {
                return Ok(());
            }
        }
        Err(NetlinkError::Refused { what: what.to_owned(), errno: Errno::EINTR })
    }

    /// Numbers for so many messages; the first of them.
    pub(super) fn numbers(&mut self, messages: usize) -> u32 {
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(u32::try_from(messages).unwrap_or(u32::MAX));
        first
    }

    /// Sends all of it as one piece: the kernel takes a transaction in no other way.
    fn send(&mut self, what: &str, bytes: &[u8]) -> Result<(), NetlinkError> {
        let error = |source: io::Error| NetlinkError::Send { what: what.to_owned(), source };
        if bytes.len() > self.sendable {
            setsockopt(&self.socket, sockopt::SndBufForce, &bytes.len()).map_err(|errno| error(errno.into()))?;
            self.sendable = bytes.len();
        }
        self.socket.send(bytes, 0).map(drop).map_err(error)
    }

    /// Receives until `take` has enough. What belongs to an earlier question, which was given up, is passed over.
    fn hear(
        &mut self,
        what: &str,
        first: u32,
        mut take: impl FnMut(&Message<'_>) -> Result<ControlFlow<()>, NetlinkError>,
    ) -> Result<(), NetlinkError> {
        loop {
            self.buffer.clear();
            self.buffer.reserve(RECEIVED);
            let received = match self.socket.recv(&mut self.buffer, 0) {
                // So it ends, with its time limit, when the process was stopped and goes on, signal(7): the answer still comes.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                received => received,
            };
            let length = received.map_err(|source| NetlinkError::Receive { what: what.to_owned(), source })?;
            if length != self.buffer.len() || length == 0 {
                return Err(unreadable(what, "it was cut short"));
            }
            for message in Messages(&self.buffer) {
                let message = message.map_err(|problem| unreadable(what, problem))?;
                if message.sequence.wrapping_sub(first).cast_signed() >= 0 && take(&message)?.is_break() {
                    return Ok(());
                }
            }
        }
    }
}

/// An answer that is a refusal, as an error.
fn check(what: &str, message: &Message<'_>) -> Result<(), NetlinkError> {
    if !matches!(message.kind, ERROR | DONE) {
        return Ok(());
    }
    match message.errno().map_err(|problem| unreadable(what, problem))? {
        0 => Ok(()),
        number => Err(NetlinkError::Refused { what: what.to_owned(), errno: Errno::from_raw(number) }),
    }
}

fn unreadable(what: &str, problem: Malformed) -> NetlinkError {
    NetlinkError::Unreadable { what: what.to_owned(), problem }
}
