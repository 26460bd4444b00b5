//! Names, looked up as every program of the host does it.

use crate::doctor::facts::Seen;
use reqwest::Url;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};
use tokio::{net::lookup_host, time::timeout};

/// resolv.conf(5): two tries of five seconds for one server, and a little.
const TIME_LIMIT: Duration = Duration::from_secs(12);

/// The name in a URL; `None` for an address.
pub(super) fn name_of(url: &Url) -> Option<String> {
    let host = url.host_str().filter(|host| !host.is_empty())?;
    address_of(url).is_none().then(|| host.to_owned())
}

/// The address in a URL; `None` for a name.
pub(super) fn address_of(url: &Url) -> Option<IpAddr> {
    host_of(url)?.parse().ok()
}

/// The name or address in a URL, as sockets take it.
pub(super) fn host_of(url: &Url) -> Option<&str> {
    Some(url.host_str()?.trim_start_matches('[').trim_end_matches(']'))
}

/// Where each name leads, all at once.
pub(super) async fn lookup(names: BTreeSet<String>) -> BTreeMap<String, Seen<Vec<IpAddr>>> {
    let mut tasks = tokio::task::JoinSet::new();
    for name in names {
        tasks.spawn(async move {
            let found = match timeout(TIME_LIMIT, lookup_host((name.as_str(), 0))).await {
                Ok(Ok(found)) => {
                    let addresses: BTreeSet<_> = found.map(|address| address.ip().to_canonical()).collect();
                    Ok(addresses.into_iter().collect())
                }
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {} s", TIME_LIMIT.as_secs())),
            };
            (name, found)
        });
    }
    tasks.join_all().await.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_addresses() {
        let name = |url: &str| name_of(&Url::parse(url).unwrap());
        assert_eq!(name("https://controller.example:7443").as_deref(), Some("controller.example"));
        assert_eq!(
            (name("https://192.0.2.1:7443"), name("https://[fd00::1]:7443"), name("file:///x")),
            (None, None, None)
        );
        let v6 = address_of(&Url::parse("https://[fd00::1]:7443").unwrap());
        assert_eq!(v6, "fd00::1".parse().ok());
    }
}
