//! Names of validators to addresses, under limits. Whether an address is acceptable is for the plan to judge.

use picket_model::{DnsName, Lookups, NameAnswer, network};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet, time};

/// Resolves names with the host's resolver (files, DNS), each for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Time for one name.
    pub timeout: Duration,
    /// Names looked up at once.
    pub at_once: usize,
    /// Addresses kept of one name, the lowest; a name may not fill the sets by itself.
    pub most_addresses: usize,
}

impl Default for Names {
    /// 3 s, 8 at once, 8 addresses.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(3), at_once: 8, most_addresses: 8 }
    }
}

impl Names {
    /// Addresses of every name, IPv4 and IPv6, in canonical form; or why there are none. Every name asked for is in the
    /// answer, and no name delays another beyond its turn.
    pub async fn resolve(&self, names: BTreeSet<DnsName>) -> Lookups {
        self.resolve_with(names, |name| async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) })
            .await
    }

    async fn resolve_with<L, F>(&self, names: BTreeSet<DnsName>, lookup: L) -> Lookups
    where
        L: Fn(DnsName) -> F,
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        let turns = Arc::new(Semaphore::new(self.at_once.max(1)));
        // A lookup that dies leaves this behind.
        let mut resolved: BTreeMap<_, _> =
            names.iter().map(|name| (name.clone(), Err("the lookup was cut off".to_owned()))).collect();
        let mut lookups = JoinSet::new();
        for name in names {
            let (turns, limits, found) = (Arc::clone(&turns), *self, lookup(name.clone()));
            lookups.spawn(async move {
                let _turn = turns.acquire_owned().await;
                let found = time::timeout(limits.timeout, found).await;
                (name, limits.judge(found))
            });
        }
        while let Some(done) = lookups.join_next().await {
            if let Ok((name, result)) = done {
                resolved.insert(name, result);
            }
        }
        resolved
    }

    fn judge(&self, found: Result<io::Result<Vec<SocketAddr>>, time::error::Elapsed>) -> Result<NameAnswer, String> {
        let found =
            found.map_err(|_| format!("no answer within {:?}", self.timeout))?.map_err(|error| error.to_string())?;
        let addresses: BTreeSet<IpAddr> = found.iter().map(|socket| network::canonical(socket.ip())).collect();
        if addresses.is_empty() {
            return Err("the name has no address".to_owned());
        }
        let surplus = addresses.len().saturating_sub(self.most_addresses);
        let addresses = addresses.into_iter().take(self.most_addresses).collect();
        Ok(NameAnswer { addresses, surplus, time_to_live: Duration::from_secs(60) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn names(count: usize) -> BTreeSet<DnsName> {
        (0..count).map(|n| format!("n{n}.example").parse().unwrap()).collect()
    }

    fn socket(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 0)
    }

    fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn addresses(resolved: Lookups) -> Vec<Result<BTreeSet<IpAddr>, String>> {
        resolved.into_values().map(|answer| answer.map(|answer| answer.addresses)).collect()
    }

    #[tokio::test]
    async fn addresses_come_sorted_once_and_in_canonical_form() {
        let answer = ["2001:db8::1", "192.0.2.2", "::ffff:192.0.2.2", "192.0.2.1"];
        let resolved = Names::default()
            .resolve_with(names(1), |_| async move { Ok(answer.iter().map(|a| socket(a)).collect()) })
            .await;
        let expected = set(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
        assert_eq!(addresses(resolved), [Ok(expected)]);
    }

    #[tokio::test]
    async fn a_name_with_many_addresses_keeps_the_lowest() {
        let limits = Names { most_addresses: 2, ..Names::default() };
        let resolved = limits
            .resolve_with(names(1), |_| async {
                Ok((1..=200).rev().map(|n| socket(&format!("198.51.100.{n}"))).collect())
            })
            .await;
        let expected = set(&["198.51.100.1", "198.51.100.2"]);
        assert_eq!(addresses(resolved), [Ok(expected)]);
    }

    #[tokio::test]
    async fn a_name_that_hangs_costs_only_itself() {
        let resolved = Names { at_once: 1, timeout: Duration::from_millis(20), ..Names::default() }
            .resolve_with(names(3), |name| async move {
                if name.as_str() == "n0.example" {
                    std::future::pending::<()>().await;
                }
                Ok(vec![socket("192.0.2.1")])
            })
            .await;
        let reason = Err("no answer within 20ms".to_owned());
        let good = Ok(set(&["192.0.2.1"]));
        assert_eq!(addresses(resolved), [reason, good.clone(), good]);
    }

    #[tokio::test]
    async fn at_most_so_many_are_looked_up_at_once() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let resolved = Names { at_once: 3, ..Names::default() }
            .resolve_with(names(20), |_| {
                let (running, most) = (Arc::clone(&running), Arc::clone(&most));
                async move {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok(vec![socket("192.0.2.1")])
                }
            })
            .await;
        assert_eq!((resolved.len(), most.load(Ordering::SeqCst)), (20, 3));
    }

    #[tokio::test]
    async fn failures_are_reasons_and_every_name_is_answered() {
        let resolved = Names::default()
            .resolve_with(names(2), |name| async move {
                match name.as_str() {
                    "n0.example" => Ok(Vec::new()),
                    _ => Err(io::Error::other("no such name")),
                }
            })
            .await;
        let reasons: Vec<_> = resolved.into_values().map(Result::unwrap_err).collect();
        assert_eq!(reasons, ["the name has no address", "no such name"]);
    }

    #[tokio::test]
    async fn the_hosts_resolver_is_asked() {
        let name: DnsName = "no-such-host.invalid".parse().unwrap();
        let resolved = Names::default().resolve(BTreeSet::from([name.clone()])).await;
        assert!(resolved[&name].is_err(), "{resolved:?}");
    }
}
