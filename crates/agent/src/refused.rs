//! Where packets come from that the firewall refuses: the samples that the kernel shows are counted by source for a while, in
//! memory, and told with each report. Decides nothing: whoever is refused is refused already.

use crate::host;
use picket_firewall::{
    features::agents_group,
    netlink::{
        NetlinkError,
        samples::{Caller, Samples},
    },
};
use picket_model::{RefusedSource, RefusedSources, Timestamp, attack::network_of};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::{debug, warn};

/// For how long a sample counts.
const WINDOW: Duration = Duration::from_secs(600);
/// Most samples that are kept: the rules of one gate show 20 a second for as long as a sample counts.
const MOST_SAMPLES: usize = 12_000;
/// Sources that are told of, of each kind: what travels with each report is a few kilobytes.
const MOST_TOLD: usize = 25;
/// Fewest samples of one that is told of: who knocks once is the internet, and a flood from forged addresses is nobody twice.
const LEAST_TOLD: u64 = 2;
/// Ports that are told of one source: whoever scans all of them needs no list.
const MOST_PORTS: usize = 8;
/// Bytes of a packet that say where it came from and what it was for: the longest headers without extensions.
const HEADERS: u16 = 64;
/// After which a group is tried again that could not be listened to.
const AGAIN: Duration = Duration::from_secs(60);
/// Counts nearer to each other than this give no rate.
const APART: Duration = Duration::from_secs(10);

/// Listens until dropped.
#[derive(Debug)]
pub struct Refused {
    tally: Arc<Mutex<Tally>>,
    acting: Acting,
    _task: JoinSet<()>,
}

impl Refused {
    /// Listens beside the group that is left to others; to nothing where there is none.
    pub fn start(group: Option<u16>) -> Self {
        let (tally, mut task) = (Arc::new(Mutex::new(Tally::default())), JoinSet::new());
        if let Some(group) = group {
            task.spawn(listen(agents_group(group), Arc::clone(&tally)));
        }
        Self { tally, acting: Acting::default(), _task: task }
    }

    /// What is told now, beside what the firewall has counted; `None` where nothing was refused lately.
    pub fn word(&mut self, packets: &BTreeMap<String, u64>, now: Timestamp) -> Option<RefusedSources> {
        self.acting.count(Instant::now(), packets);
        let said = locked(&self.tally).word(now);
        let acting = self.acting.rates.clone();
        (said.samples > 0 || !acting.is_empty()).then_some(RefusedSources { acting, ..said })
    }
}

async fn listen(group: u16, tally: Arc<Mutex<Tally>>) {
    let mut is_told = false;
    loop {
        let Err(error) = hear(group, &tally, &mut is_told).await;
        if is_told {
            debug!(group, %error, "refused packets are not heard");
        } else {
            warn!(group, %error, "refused packets are not heard: this host cannot tell where they come from");
        }
        is_told = true;
        sleep(AGAIN).await;
    }
}

async fn hear(group: u16, tally: &Mutex<Tally>, is_told: &mut bool) -> Result<std::convert::Infallible, NetlinkError> {
    let mut samples = Samples::open(group, HEADERS)?;
    *is_told = false;
    loop {
        if let Some(caller) = samples.next().await?.caller() {
            locked(tally).take(host::now(), caller);
        }
    }
}

fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The samples of the last while, oldest first.
#[derive(Default)]
struct Tally(VecDeque<(Timestamp, Caller)>);

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tally").field(&self.0.len()).finish()
    }
}

impl Tally {
    fn take(&mut self, at: Timestamp, caller: Caller) {
        if self.0.len() >= MOST_SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back((at, caller));
    }

    fn word(&mut self, now: Timestamp) -> RefusedSources {
        // A clock that was set back makes none of them old.
        self.0.retain(|(at, _)| now.since(*at) < WINDOW);
        let (mut addresses, mut networks) = (BTreeMap::new(), BTreeMap::new());
        for (at, caller) in &self.0 {
            add(addresses.entry(caller.address), *at, caller);
            add(networks.entry(network_of(caller.address)), *at, caller);
        }
        RefusedSources {
            seconds: WINDOW.as_secs(),
            samples: u64::try_from(self.0.len()).unwrap_or(u64::MAX),
            addresses: most(addresses),
            networks: most(networks),
            acting: BTreeMap::new(),
        }
    }
}

fn add<K: Ord>(entry: std::collections::btree_map::Entry<'_, K, RefusedSource>, at: Timestamp, caller: &Caller) {
    let source = entry.or_insert_with(|| RefusedSource { samples: 0, last: at, ports: [].into() });
    source.samples += 1;
    source.last = source.last.max(at);
    if source.ports.len() < MOST_PORTS {
        source.ports.extend(caller.port);
    }
}

/// Those with the most samples, at least two; of as many the lower address.
fn most<K: Ord>(sources: BTreeMap<K, RefusedSource>) -> BTreeMap<K, RefusedSource> {
    let mut sources: Vec<(K, RefusedSource)> =
        sources.into_iter().filter(|(_, source)| source.samples >= LEAST_TOLD).collect();
    sources.sort_by_key(|(_, source)| std::cmp::Reverse(source.samples));
    sources.truncate(MOST_TOLD);
    sources.into_iter().collect()
}

/// What stops how much, from two counts.
#[derive(Debug, Default)]
struct Acting {
    last: Option<(Instant, BTreeMap<String, u64>)>,
    rates: BTreeMap<String, u64>,
}

impl Acting {
    /// Takes a count of packets by decision. One that is below the one before it began anew.
    fn count(&mut self, at: Instant, packets: &BTreeMap<String, u64>) {
        let Some((before, counts)) = &self.last else {
            self.last = Some((at, packets.clone()));
            return;
        };
        let apart = at.duration_since(*before);
        if apart < APART {
            return;
        }
        let stops = packets.iter().filter(|(name, _)| name.starts_with("refused_") || name.starts_with("limited_"));
        let rates = stops.filter_map(|(name, count)| {
            let was = counts.get(name).copied().unwrap_or_default();
            let more = count.checked_sub(was).unwrap_or(*count);
            // What acts at all acts: less than one in a second is one.
            (more > 0).then(|| (name.clone(), more.div_ceil(apart.as_secs().max(1))))
        });
        self.rates = rates.collect();
        self.last = Some((at, packets.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(NOW + seconds * 1000)
    }

    fn caller(address: &str, port: u16) -> Caller {
        let port = picket_model::GuardedPort { protocol: picket_model::Protocol::Tcp, port: port.try_into().unwrap() };
        Caller { address: address.parse().unwrap(), port: Some(port) }
    }

    #[test]
    fn sources_are_counted_by_address_and_network_for_a_while() {
        let mut tally = Tally::default();
        for (second, address, port) in
            [(0, "9.9.9.9", 7100), (1, "9.9.9.9", 9000), (2, "9.9.9.10", 7100), (3, "2a00:1:2:3::4", 7100)]
        {
            tally.take(at(second), caller(address, port));
        }
        let said = tally.word(at(10));
        // Who knocked once counts, and is told of with its neighbours alone.
        assert_eq!((said.samples, said.addresses.len(), said.networks.len()), (4, 1, 1));
        let nine = &said.addresses[&"9.9.9.9".parse::<std::net::IpAddr>().unwrap()];
        assert_eq!((nine.samples, nine.last, nine.ports.len()), (2, at(1), 2));
        assert_eq!(said.networks[&"9.9.9.0/24".parse().unwrap()].samples, 3);
        // A sample is as old as it is, and then it is gone.
        assert_eq!(tally.word(at(601)).samples, 2);
        assert_eq!(tally.word(at(700)), RefusedSources { seconds: 600, ..RefusedSources::default() });
    }

    #[test]
    fn many_sources_take_no_more_room_and_the_loudest_are_told() {
        let mut tally = Tally::default();
        for number in 0..u32::try_from(MOST_SAMPLES).unwrap() + 500 {
            let address = std::net::Ipv4Addr::from(0x0900_0000 + number / 20 * 256).to_string();
            tally.take(at(0), caller(if number % 10 == 0 { "8.8.8.8" } else { &address }, 7100));
        }
        let said = tally.word(at(1));
        assert_eq!((tally.0.len(), said.samples), (MOST_SAMPLES, MOST_SAMPLES as u64));
        assert_eq!((said.addresses.len(), said.networks.len()), (MOST_TOLD, MOST_TOLD));
        assert_eq!(said.addresses[&"8.8.8.8".parse::<std::net::IpAddr>().unwrap()].samples, 1200);
        assert_eq!(said.networks[&"8.8.8.0/24".parse().unwrap()].samples, 1200);
    }

    #[test]
    fn what_acts_is_known_from_two_counts() {
        let counts = |refused: u64, limited: u64, allowed: u64| {
            [("refused_p2p", refused), ("limited_new_public", limited), ("allowed_p2p", allowed)]
                .map(|(name, count)| (name.to_owned(), count))
                .into()
        };
        let (start, mut acting) = (Instant::now(), Acting::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        acting.count(start, &counts(100, 0, 0));
        acting.count(after(9), &counts(900, 9, 9));
        assert!(acting.rates.is_empty());
        acting.count(after(10), &counts(1100, 1, 9));
        assert_eq!(acting.rates, [("limited_new_public".to_owned(), 1), ("refused_p2p".to_owned(), 100)].into());
        // A table that was written anew.
        acting.count(after(20), &counts(50, 1, 9));
        assert_eq!(acting.rates, [("refused_p2p".to_owned(), 5)].into());
        acting.count(after(30), &counts(50, 1, 9));
        assert!(acting.rates.is_empty());
    }
}
