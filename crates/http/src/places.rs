//! Places at once, in all and for one source. Counting only: what a place is for is the caller's.

use crate::Share;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tracing::{debug, warn};

/// A flood of refusals is one line in so long.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// The places of one kind.
#[derive(Debug)]
pub struct Places {
    /// What holds a place, as the log says it.
    kind: &'static str,
    share: Share,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_source: BTreeMap<IpAddr, usize>,
    warned: Option<Instant>,
}

impl Places {
    /// So many, of what is called so in the log.
    pub fn new(kind: &'static str, share: Share) -> Self {
        Self { kind, share, taken: Mutex::default() }
    }

    /// A place until the value returned is dropped; `None` if all are taken, or all that the address may have.
    pub fn take(&self, address: IpAddr) -> Option<Place<'_>> {
        let source = source(address);
        let mut taken = self.lock();
        if taken.all >= self.share.all {
            if taken.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                taken.warned = Some(Instant::now());
                warn!(kind = self.kind, limit = self.share.all, %address, "connection refused: too many are open");
            }
            return None;
        }
        let theirs = taken.by_source.get(&source).copied().unwrap_or_default();
        if theirs >= self.share.source {
            debug!(kind = self.kind, limit = self.share.source, %address, "connection refused: its source has too many");
            return None;
        }
        taken.all += 1;
        taken.by_source.insert(source, theirs + 1);
        Some(Place { places: self, source })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One place, given back when dropped.
#[derive(Debug)]
pub struct Place<'a> {
    places: &'a Places,
    source: IpAddr,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        match taken.by_source.get_mut(&self.source) {
            Some(theirs) if *theirs > 1 => *theirs -= 1,
            _ => drop(taken.by_source.remove(&self.source)),
        }
    }
}

/// Whose share an address counts to: an IPv4 address stands for itself, an IPv6 address for its /64, which one host has whole.
fn source(address: IpAddr) -> IpAddr {
    const HOST_BITS: u32 = 64;
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> HOST_BITS << HOST_BITS).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_is_an_ipv4_address_or_an_ipv6_64() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:0:0:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            assert_eq!(source(one.parse().unwrap()) == source(other.parse().unwrap()), same, "{one} and {other}");
        }
    }

    #[test]
    fn places_are_limited_for_one_source_and_in_all_and_come_back() {
        let places = Places::new("test", Share { all: 3, source: 2 });
        let [one, two, three] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|address| address.parse().unwrap());
        let held = [places.take(one).unwrap(), places.take(one).unwrap()];
        assert!(places.take(one).is_none());
        let last = places.take(two).unwrap();
        assert!(places.take(three).is_none());
        drop(last);
        drop(places.take(three).unwrap());
        assert!(places.take(one).is_none());
        drop(held);
        assert!(places.lock().by_source.is_empty());
        assert_eq!(places.lock().all, 0);
    }
}
