//! Stand-ins for goloop that speak its peer-to-peer pattern, one on each of several hosts: a full mesh of links, dialled again
//! every 2 s where one is missing, one link for a pair, no time-out and no keepalive. They send each other numbered blocks and
//! write down when they saw whom, from which address. Nothing here knows Picket.
//!
//! What real nodes do: goloop `network/p2p.go` (the newer of two links stays) and `network/transport.go`.

mod book;
mod frame;
mod node;

pub use book::{Book, Link, lost};

use crate::{Host, Lab, LabError, Waited, wait_until};
use node::Node;
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::AbortHandle;

/// From one block of a node to its next: ten times as fast as ICON's, and as exact is what is measured.
pub const BLOCK: Duration = Duration::from_millis(200);
/// How often a node dials those it has no link to: goloop's time for roots.
pub const REDIAL: Duration = Duration::from_secs(2);

/// Two nodes by their places, the lower first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair(pub usize, pub usize);

/// Where a node runs, where it listens, and what it advertises: one address, or those that its name gives.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its host.
    pub host: Host,
    /// Port on all IPv4 addresses of the host: goloop knows no others.
    pub port: u16,
    /// What others dial, one after the other until one answers.
    pub advertised: Vec<SocketAddr>,
}

/// Nodes that run until this is dropped.
#[derive(Debug)]
pub struct Network {
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

/// What nodes share.
#[derive(Debug)]
struct Shared {
    places: Vec<Place>,
    advertised: Mutex<Vec<Vec<SocketAddr>>>,
    book: Mutex<Book>,
    begun: Instant,
    next_link: AtomicU64,
}

impl Network {
    /// Starts a node at each place. They dial each other from now on.
    ///
    /// # Errors
    /// [`LabError::Io`] where a port is taken.
    pub fn start(lab: &Lab, places: Vec<Place>) -> Result<Self, LabError> {
        let mut listeners = Vec::new();
        for place in &places {
            listeners.push(place.host.listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, place.port)))?);
        }
        let count = places.len();
        let shared = Arc::new(Shared {
            advertised: Mutex::new(places.iter().map(|place| place.advertised.clone()).collect()),
            places,
            book: Mutex::new(Book::default()),
            begun: Instant::now(),
            next_link: AtomicU64::new(1),
        });
        let tasks = listeners.into_iter().enumerate().map(|(own, listener)| {
            let node = Node::new(own, Arc::clone(&shared));
            // Nodes do not dial at the same moment: each has its own part of the time.
            let phase = REDIAL * u32::try_from(own).unwrap_or(0) / u32::try_from(count).unwrap_or(1);
            lab.spawn(node.run(listener, phase))
        });
        Ok(Self { tasks: tasks.collect(), shared })
    }

    /// The name of a node: its host's.
    #[must_use]
    pub fn name(&self, node: usize) -> &str {
        self.shared.places.get(node).map_or("nobody", |place| place.host.name())
    }

    /// From now on others dial this node at these addresses: its name gives them.
    pub fn advertise(&self, node: usize, addresses: Vec<SocketAddr>) {
        if let Some(advertised) = lock(&self.shared.advertised).get_mut(node) {
            *advertised = addresses;
        }
    }

    /// Every pair.
    #[must_use]
    pub fn pairs(&self) -> Vec<Pair> {
        let count = self.shared.places.len();
        (0..count).flat_map(|a| (a + 1..count).map(move |b| Pair(a, b))).collect()
    }

    /// What the nodes have seen so far.
    #[must_use]
    pub fn book(&self) -> Book {
        self.shared.book().clone()
    }

    /// Waits until each pair is linked and has had, both ways, a block that was made after `moment`; how long after it that was.
    ///
    /// # Errors
    /// [`LabError::TimedOut`] naming the pairs that are not.
    pub fn wait_relinked(&self, moment: Instant, within: Duration) -> Result<BTreeMap<Pair, Duration>, LabError> {
        self.wait_pairs(&self.pairs(), moment, within)
    }

    /// As [`Network::wait_relinked`], for these pairs.
    ///
    /// # Errors
    /// As there.
    pub fn wait_pairs(
        &self,
        pairs: &[Pair],
        moment: Instant,
        within: Duration,
    ) -> Result<BTreeMap<Pair, Duration>, LabError> {
        let waited: Waited<_> = wait_until("every pair of nodes to exchange blocks", within, || {
            let relinked = self.shared.book().relinked(pairs, moment);
            let missing = relinked.iter().filter(|(_, took)| took.is_none());
            let missing: Vec<String> = missing.map(|(pair, _)| self.told(*pair)).collect();
            if missing.is_empty() {
                Ok(relinked.into_iter().filter_map(|(pair, took)| Some((pair, took?))).collect())
            } else {
                Err(missing.join("; "))
            }
        })?;
        Ok(waited.value)
    }

    fn told(&self, Pair(a, b): Pair) -> String {
        let book = self.shared.book();
        let end = |seer, seen| match book.link(seer, seen) {
            Some(Link { number, remote, dialled: true, .. }) => format!("link {number}, dialled {remote}"),
            Some(Link { number, remote, .. }) => format!("link {number}, called by {remote}"),
            None => format!("no link, dialled {} times", book.dials(seer, seen)),
        };
        format!("{} to {}: {}, and {}", self.name(a), self.name(b), end(a, b), end(b, a))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// What a node's name gives.
    fn advertised(&self, node: usize) -> Vec<SocketAddr> {
        lock(&self.advertised).get(node).cloned().unwrap_or_default()
    }

    fn next_link(&self) -> u64 {
        self.next_link.fetch_add(1, Ordering::Relaxed)
    }

    /// A moment on the network's clock, in microseconds.
    fn clock(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn nodes_make_a_full_mesh_and_mend_it() {
        let lab = Lab::new("p2p").unwrap();
        let places: Vec<Place> = (1..=3)
            .map(|number| {
                let host =
                    lab.host(&format!("n{number}")).address(&format!("203.0.113.1{number}/24")).create().unwrap();
                Place { advertised: vec![host.v4(7100).unwrap()], port: 7100, host }
            })
            .collect();
        let third = places[2].host.clone();
        let network = Network::start(&lab, places).unwrap();
        network.wait_relinked(Instant::now(), SOON).unwrap();
        let before = network.book().links();
        assert_eq!(before.len(), 3);
        let seen = network.book().addresses(0, 2);
        assert!(seen.iter().all(|address| address.ip() == third.v4(0).unwrap().ip()), "{seen:?}");
        // What a firewall resets is dialled again, and what it does not touch goes on.
        third.load_nft("table inet t { chain c { type filter hook output priority 0; ip daddr 203.0.113.11 tcp sport 1-65535 reject with tcp reset; }; }").unwrap();
        wait_until("the link to end", SOON, || !network.book().links().contains_key(&Pair(0, 2))).unwrap();
        third.nft(&["delete", "table", "inet", "t"]).unwrap();
        network.wait_relinked(Instant::now(), SOON).unwrap();
        assert_eq!(lost(&before, &network.book().links()), [Pair(0, 2)].into());
    }
}
