//! What nodes saw of each other, and what follows from it: who is linked, since when, through what address, and how long it
//! took after a cut. Values only.

use super::Pair;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// A link as one of its two ends has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number, the same at both ends.
    pub number: u64,
    /// The other end's address as this one sees it.
    pub remote: SocketAddr,
    /// Whether this end dialled.
    pub dialled: bool,
    /// Since when.
    pub since: Instant,
}

/// A block that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arrival {
    made: Instant,
    at: Instant,
}

/// Everything that the nodes of a network saw, each by its place. Keys are who saw, and whom.
#[derive(Clone, Debug, Default)]
pub struct Book {
    links: BTreeMap<(usize, usize), Link>,
    arrivals: BTreeMap<(usize, usize), Vec<Arrival>>,
    addresses: BTreeMap<(usize, usize), BTreeSet<SocketAddr>>,
    dials: BTreeMap<(usize, usize), u64>,
}

impl Book {
    pub(super) fn linked(&mut self, seer: usize, seen: usize, link: Link) {
        self.links.insert((seer, seen), link);
        self.addresses.entry((seer, seen)).or_default().insert(link.remote);
    }

    /// A link ended; one that was replaced is no news.
    pub(super) fn parted(&mut self, seer: usize, seen: usize, number: u64) {
        if self.links.get(&(seer, seen)).is_some_and(|link| link.number == number) {
            self.links.remove(&(seer, seen));
        }
    }

    pub(super) fn arrived(&mut self, seer: usize, seen: usize, made: Instant, at: Instant) {
        self.arrivals.entry((seer, seen)).or_default().push(Arrival { made, at });
    }

    /// How often it had been dialled before.
    pub(super) fn dialled(&mut self, seer: usize, seen: usize) -> u64 {
        let dials = self.dials.entry((seer, seen)).or_default();
        *dials += 1;
        *dials - 1
    }

    /// The link of one node to another, as the first has it.
    #[must_use]
    pub fn link(&self, seer: usize, seen: usize) -> Option<Link> {
        self.links.get(&(seer, seen)).copied()
    }

    /// The number of the link of each pair, where both ends have the same.
    #[must_use]
    pub fn links(&self) -> BTreeMap<Pair, u64> {
        let both = self.links.iter().filter(|((seer, seen), link)| {
            seer < seen && self.link(*seen, *seer).is_some_and(|other| other.number == link.number)
        });
        both.map(|((seer, seen), link)| (Pair(*seer, *seen), link.number)).collect()
    }

    /// From which addresses a node ever saw another.
    #[must_use]
    pub fn addresses(&self, seer: usize, seen: usize) -> BTreeSet<SocketAddr> {
        self.addresses.get(&(seer, seen)).cloned().unwrap_or_default()
    }

    /// How long after a moment each pair had blocks again that were made after it, both ways; none for one that has not.
    #[must_use]
    pub fn relinked(&self, pairs: &[Pair], moment: Instant) -> BTreeMap<Pair, Option<Duration>> {
        let first = |seer: usize, seen: usize| {
            let arrivals = self.arrivals.get(&(seer, seen))?.iter();
            arrivals.filter(|arrival| arrival.made >= moment).map(|arrival| arrival.at - moment).min()
        };
        let both = |Pair(a, b): Pair| Some(first(a, b)?.max(first(b, a)?));
        pairs.iter().map(|pair| (*pair, both(*pair))).collect()
    }

    /// The longest time between two blocks of each pair in either direction, from a moment to another.
    #[must_use]
    pub fn silences(&self, pairs: &[Pair], from: Instant, to: Instant) -> BTreeMap<Pair, Duration> {
        let longest = |seer: usize, seen: usize| {
            let arrivals = self.arrivals.get(&(seer, seen)).map_or(&[][..], Vec::as_slice);
            let within = arrivals.iter().map(|arrival| arrival.at).filter(|at| (from..=to).contains(at));
            let moments: Vec<Instant> = [from].into_iter().chain(within).chain([to]).collect();
            moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
        };
        pairs.iter().map(|pair| (*pair, longest(pair.0, pair.1).max(longest(pair.1, pair.0)))).collect()
    }

    /// How often a node dialled another.
    #[must_use]
    pub fn dials(&self, seer: usize, seen: usize) -> u64 {
        self.dials.get(&(seer, seen)).copied().unwrap_or_default()
    }
}

/// Pairs that had a link before and have not the same now: the flows that were lost.
#[must_use]
pub fn lost(before: &BTreeMap<Pair, u64>, now: &BTreeMap<Pair, u64>) -> BTreeSet<Pair> {
    before.iter().filter(|(pair, number)| now.get(pair) != Some(number)).map(|(pair, _)| *pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(number: u64, since: Instant) -> Link {
        Link { number, remote: "203.0.113.1:7100".parse().unwrap(), dialled: true, since }
    }

    #[test]
    fn a_pair_is_linked_where_both_ends_say_so() {
        let now = Instant::now();
        let mut book = Book::default();
        book.linked(0, 1, link(5, now));
        assert!(book.links().is_empty());
        book.linked(1, 0, link(6, now));
        assert!(book.links().is_empty());
        book.linked(1, 0, link(5, now));
        let before = book.links();
        assert_eq!(before, [(Pair(0, 1), 5)].into());
        // The end of a link that was replaced is not that of its successor.
        book.parted(1, 0, 6);
        assert_eq!(lost(&before, &book.links()), BTreeSet::new());
        book.parted(1, 0, 5);
        assert_eq!(lost(&before, &book.links()), [Pair(0, 1)].into());
    }

    #[test]
    fn blocks_from_before_a_cut_do_not_count_after_it() {
        let cut = Instant::now();
        let at = |millis| cut + Duration::from_millis(millis);
        let mut book = Book::default();
        book.arrived(0, 1, cut - Duration::from_millis(1), at(10));
        book.arrived(1, 0, at(5), at(20));
        let pair = [Pair(0, 1)];
        assert_eq!(book.relinked(&pair, cut)[&pair[0]], None);
        book.arrived(0, 1, at(300), at(400));
        book.arrived(0, 1, at(500), at(600));
        assert_eq!(book.relinked(&pair, cut)[&pair[0]], Some(Duration::from_millis(400)));
        assert_eq!(book.silences(&pair, cut, at(700))[&pair[0]], Duration::from_millis(680));
    }
}
