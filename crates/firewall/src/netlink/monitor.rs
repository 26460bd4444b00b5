//! The socket on which the kernel tells who changed what. Hears and reads; decides nothing.

use super::{
    NetlinkError, attach,
    events::{Commit, Commits},
};
use netlink_sys::{AsyncSocket as _, TokioSocket, protocols::NETLINK_NETFILTER};
use nix::{
    errno::Errno,
    sys::socket::{setsockopt, sockopt},
};
use std::{collections::VecDeque, fmt, future::poll_fn, io};

/// The group `NFNLGRP_NFTABLES`, linux/netfilter/nfnetlink.h.
const GROUP: u32 = 7;
/// Room for what is received at once.
const RECEIVED: usize = 64 << 10;
/// Room for messages that wait, in bytes: a table of 30,000 elements that somebody writes is told in one go. Past it we
/// hear that something is lost, and look for ourselves.
const WAITING: usize = 8 << 20;

/// Hears every commit in the network namespace in which it was opened.
pub struct Monitor {
    socket: TokioSocket,
    commits: Commits,
    heard: VecDeque<Heard>,
    buffer: Vec<u8>,
}

/// Something that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A commit, somebody's or our own.
    Commit(Commit),
    /// Something, and it is not known what: there was more than there is room for, or it cannot be read.
    Unknown,
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("heard", &self.heard).finish_non_exhaustive()
    }
}

impl Monitor {
    /// Begins to listen. Must be called within a runtime.
    pub fn open() -> Result<Self, NetlinkError> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER).map_err(NetlinkError::Open)?;
        attach(socket.socket_mut(), 1 << (GROUP - 1)).map_err(NetlinkError::Open)?;
        let room = setsockopt(socket.socket_ref(), sockopt::RcvBufForce, &WAITING);
        room.map_err(|errno| NetlinkError::Open(errno.into()))?;
        Ok(Self { socket, commits: Commits::default(), heard: VecDeque::new(), buffer: Vec::with_capacity(RECEIVED) })
    }

    /// Waits for the next. May be dropped at any time; an error is for good.
    pub async fn next(&mut self) -> Result<Heard, NetlinkError> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            let Self { socket, buffer, .. } = self;
            buffer.clear();
            buffer.reserve(RECEIVED);
            match poll_fn(|context| socket.poll_recv(context, buffer)).await {
                Ok(()) => match self.commits.take(&self.buffer) {
                    Ok(commits) => self.heard.extend(commits.into_iter().map(Heard::Commit)),
                    Err(_) => self.lost(),
                },
                Err(source) if is_lost(&source) => self.lost(),
                Err(source) => {
                    return Err(NetlinkError::Receive { what: "changes by others".to_owned(), source });
                }
            }
        }
    }

    /// Hears nothing until [`Self::resume`]: the kernel writes a message for each element of a commit if there is anybody to hear
    /// it, which costs whoever commits much more than the commit.
    pub fn pause(&self) -> Result<(), NetlinkError> {
        self.socket.socket_ref().drop_membership(GROUP).map_err(NetlinkError::Open)
    }

    /// Hears again. What happened meanwhile is never told; the generation says whether anything did.
    pub fn resume(&self) -> Result<(), NetlinkError> {
        self.socket.socket_ref().add_membership(GROUP).map_err(NetlinkError::Open)
    }

    fn lost(&mut self) {
        self.commits.forget();
        self.heard.push_back(Heard::Unknown);
    }
}

fn is_lost(error: &io::Error) -> bool {
    error.raw_os_error().map(Errno::from_raw) == Some(Errno::ENOBUFS)
}
