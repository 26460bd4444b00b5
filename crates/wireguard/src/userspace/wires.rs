//! The real outbox: datagrams and packets written one after the other into two arenas, which are handed to the kernel in
//! as few calls as it takes. The arenas are used again and again; nothing is allocated for a packet.

use super::{
    join::{Joiner, MOST_PIECES},
    path::Path,
    sockets::{MOST_BYTES, MOST_SEGMENTS, Sockets},
    tun::Tun,
    tunnels::{LARGEST, OVERHEAD, Outbox},
};

/// Room for what one read of the TUN interface gives when it is sealed, and for the largest packet beside it.
const ARENA: usize = 2 * (LARGEST + MOST_SEGMENTS * OVERHEAD);

pub(super) struct Wires<'a> {
    tun: &'a Tun,
    sockets: &'a Sockets,
    outgoing: Box<[u8]>,
    /// Bytes written.
    sealed: usize,
    runs: Vec<Run>,
    incoming: Box<[u8]>,
    opened: usize,
    joiner: Joiner,
}

/// Datagrams that one call can send: to one peer, of equal size but for the last.
#[derive(Debug)]
struct Run {
    path: Path,
    ecn: u8,
    start: usize,
    end: usize,
    size: usize,
    is_closed: bool,
}

impl<'a> Wires<'a> {
    pub(super) fn new(tun: &'a Tun, sockets: &'a Sockets) -> Self {
        Self {
            tun,
            sockets,
            outgoing: vec![0; ARENA].into(),
            sealed: 0,
            runs: Vec::new(),
            incoming: vec![0; ARENA].into(),
            opened: 0,
            joiner: Joiner::new(tun.joins),
        }
    }

    /// Whether enough has come together to be handed on, so that what came first does not wait for more.
    pub(super) fn is_full(&self) -> bool {
        self.sealed >= MOST_BYTES || self.opened >= LARGEST || self.joiner.len() >= MOST_PIECES
    }

    /// Hands everything to the kernel.
    pub(super) fn flush(&mut self) {
        self.flush_datagrams(false);
        self.flush_packets();
    }

    /// The same, but waits a moment where the kernel has no room for datagrams, so that the host's packets wait in their queue
    /// instead of being lost. Not with the lock on the tunnels.
    pub(super) fn flush_patiently(&mut self) {
        self.flush_datagrams(true);
        self.flush_packets();
    }

    fn flush_datagrams(&mut self, mut waits: bool) {
        for run in self.runs.drain(..) {
            // Where waiting was no use it is none for the rest.
            waits &= self.sockets.send(run.path, run.ecn, &self.outgoing[run.start..run.end], run.size, waits);
        }
        self.sealed = 0;
    }

    fn flush_packets(&mut self) {
        self.joiner.drain(&mut self.incoming, |header, pieces| self.tun.write(header, pieces));
        self.opened = 0;
    }
}

impl Outbox for Wires<'_> {
    fn datagram_room(&mut self, bytes: usize) -> &mut [u8] {
        if self.outgoing.len() - self.sealed < bytes {
            self.flush_datagrams(false);
        }
        &mut self.outgoing[self.sealed..]
    }

    fn to_network(&mut self, path: Path, ecn: u8, length: usize) {
        let (start, end) = (self.sealed, self.sealed + length);
        self.sealed = end;
        if let Some(run) = self.runs.last_mut()
            && run.takes(path, ecn, start, length)
        {
            run.end = end;
            run.is_closed = length < run.size;
            return;
        }
        self.runs.push(Run { path, ecn, start, end, size: length, is_closed: false });
    }

    fn packet_room(&mut self, bytes: usize) -> &mut [u8] {
        if self.incoming.len() - self.opened < bytes {
            self.flush_packets();
        }
        &mut self.incoming[self.opened..]
    }

    fn to_host(&mut self, length: usize) {
        let place = self.opened..self.opened + length;
        self.opened = place.end;
        self.joiner.push(&self.incoming, place);
    }
}

impl Run {
    fn takes(&self, path: Path, ecn: u8, start: usize, length: usize) -> bool {
        let bytes = start + length - self.start;
        !self.is_closed
            && (self.path, self.ecn, self.end) == (path, ecn, start)
            && length <= self.size
            && bytes <= MOST_BYTES
            && bytes <= self.size * MOST_SEGMENTS
    }
}
