//! Packets from the tunnel, joined where they are consecutive pieces of one flow, so that the host takes up to 64 KiB in
//! one write. The opposite of `split`: what was joined and is split again is what it was, byte for byte. Nothing is
//! copied and nothing overtakes within a flow. Pure.

use super::{
    checksum::{fold, pseudo_header},
    flow::{Layout, sequence},
    split::{addresses, be16, write_lengths},
    vnet::{self, Header},
};
use std::{io::IoSlice, ops::Range};

/// Most pieces of one write: what the kernel lets UDP have.
pub(super) const MOST_PIECES: usize = 64;
/// Largest packet there is.
const LARGEST: usize = 65_535;
/// How many of the latest writes a packet may still be joined to. Bounds the work where there are many flows.
const LOOK_BACK: usize = 8;
/// PSH, RFC 9293, in the byte at 13.
const PSH: u8 = 0x08;

/// Which protocols are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Joins {
    pub(super) tcp: bool,
    pub(super) udp: bool,
}

/// Packets of one arena, by their places in it, on their way to the host.
#[derive(Debug)]
pub(super) struct Joiner {
    joins: Joins,
    /// The first `used` are of this round; the others are kept for their memory.
    writes: Vec<Write>,
    used: usize,
}

#[derive(Debug, Default)]
struct Write {
    /// The first packet, whole.
    first: Range<usize>,
    /// The payloads of those that follow it.
    more: Vec<Range<usize>>,
    /// `None` is not to be joined with anything.
    open: Option<Open>,
    /// Set once anything was joined to it.
    layout: Option<Layout>,
    is_pushed: bool,
}

/// What the next piece has to be like.
#[derive(Clone, Copy, Debug)]
struct Open {
    layout: Layout,
    /// Payload of each piece but the last.
    size: usize,
    sequence: u32,
    total: usize,
    /// Whether the first packet's checksum was found right.
    is_sound: bool,
    is_closed: bool,
}

impl Joiner {
    pub(super) fn new(joins: Joins) -> Self {
        Self { joins, writes: Vec::new(), used: 0 }
    }

    /// How many writes there would be.
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Takes the packet at that place.
    pub(super) fn push(&mut self, arena: &[u8], place: Range<usize>) {
        let packet = &arena[place.clone()];
        let layout = Layout::of(packet).filter(|layout| if layout.is_tcp { self.joins.tcp } else { self.joins.udp });
        let before = layout.and_then(|layout| {
            let same = |write: &&mut Write| {
                let same = |open: Open| open.layout.network == layout.network && open.layout.is_tcp == layout.is_tcp;
                write.open.is_some_and(same) && layout.is_same_flow(&arena[write.first.clone()], packet)
            };
            self.writes[..self.used].iter_mut().rev().take(LOOK_BACK).find(same)
        });
        if let (Some(write), Some(layout)) = (before, layout)
            && write.take(arena, &place, layout)
        {
            return;
        }
        if self.used == self.writes.len() {
            self.writes.push(Write::default());
        }
        self.writes[self.used].begin(packet, place, layout);
        self.used += 1;
    }

    /// Hands out what there is, as one header and pieces for each write, and forgets it.
    pub(super) fn drain(&mut self, arena: &mut [u8], mut write: impl FnMut(&[u8; vnet::LENGTH], &[IoSlice<'_>])) {
        for joined in &self.writes[..self.used] {
            let header = joined.finish(arena);
            let mut pieces = [IoSlice::new(&[]); MOST_PIECES];
            pieces[0] = IoSlice::new(&arena[joined.first.clone()]);
            for (piece, place) in pieces[1..].iter_mut().zip(&joined.more) {
                *piece = IoSlice::new(&arena[place.clone()]);
            }
            write(&header.write(), &pieces[..=joined.more.len()]);
        }
        self.used = 0;
    }
}

impl Write {
    fn begin(&mut self, packet: &[u8], place: Range<usize>, layout: Option<Layout>) {
        self.open = layout.map(|layout| Open {
            layout,
            size: packet.len() - layout.headers,
            sequence: if layout.is_tcp {
                // Within 64 KiB.
                sequence(&packet[layout.network..])
                    .wrapping_add(u32::try_from(packet.len() - layout.headers).unwrap_or_default())
            } else {
                0
            },
            total: packet.len(),
            is_sound: false,
            is_closed: !layout.is_plain(packet) || layout.is_pushed(packet),
        });
        self.first = place;
        self.more.clear();
        self.layout = None;
        self.is_pushed = false;
    }

    /// Joins a packet of the same flow, if it is the very next piece.
    fn take(&mut self, arena: &[u8], place: &Range<usize>, layout: Layout) -> bool {
        let Some(open) = &mut self.open else { return false };
        let (first, packet) = (&arena[self.first.clone()], &arena[place.clone()]);
        let payload = packet.len() - layout.headers;
        let number = u16::try_from(self.more.len() + 1).unwrap_or(u16::MAX);
        let fits = !open.is_closed
            && layout == open.layout
            && layout.is_plain(packet)
            && payload <= open.size
            && open.total + payload <= LARGEST
            && self.more.len() + 1 < MOST_PIECES
            && (!layout.is_tcp || sequence(&packet[layout.network..]) == open.sequence)
            && layout.continues(first, packet, number);
        if !fits || !(open.is_sound || layout.is_sound(first)) || !layout.is_sound(packet) {
            return false;
        }
        open.is_sound = true;
        open.sequence = open.sequence.wrapping_add(u32::try_from(payload).unwrap_or_default());
        open.total += payload;
        self.is_pushed = layout.is_pushed(packet);
        open.is_closed = payload < open.size || self.is_pushed;
        self.more.push(place.start + layout.headers..place.end);
        self.layout = Some(layout);
        true
    }

    /// Makes the headers of the first packet those of all.
    fn finish(&self, arena: &mut [u8]) -> Header {
        let (Some(layout), Some(open)) = (self.layout, self.open) else { return Header::default() };
        let headers = &mut arena[self.first.start..self.first.start + layout.headers];
        let (network, transport) = headers.split_at_mut(layout.network);
        let length = open.total - layout.network;
        write_lengths(network, length, 0);
        if !layout.is_tcp {
            transport[4..6].copy_from_slice(&be16(length));
        } else if self.is_pushed {
            transport[13] |= PSH;
        }
        let at = layout.checksum_offset();
        let pseudo = pseudo_header(addresses(network), layout.protocol(), u16::from_be_bytes(be16(length)));
        transport[at..at + 2].copy_from_slice(&fold(pseudo));
        let narrow = |length: usize| u16::try_from(length).unwrap_or_default();
        Header {
            checksum: Some((narrow(layout.network), narrow(at))),
            segmentation: Some((layout.segmentation(), narrow(open.size))),
            header_length: narrow(layout.headers),
        }
    }
}

#[cfg(test)]
mod tests;
