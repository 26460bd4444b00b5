//! What a host's files say about names: hosts(5) and resolv.conf(5), read from their text. Lines that cannot be read say
//! nothing, as with other resolvers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Most name servers that are used, as in resolv.conf(5).
const MOST_SERVERS: usize = 3;

/// Names of a hosts file, lower case and without a trailing dot, each with its addresses.
pub(super) fn hosts(text: &str) -> BTreeMap<String, BTreeSet<IpAddr>> {
    let mut hosts: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else { continue };
        for name in words {
            hosts.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default().insert(address);
        }
    }
    hosts
}

/// The name servers of a resolv.conf, in its order.
pub(super) fn name_servers(text: &str) -> Vec<IpAddr> {
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|keyword| *keyword == "nameserver")?;
        words.next()?.parse().ok()
    });
    addresses.take(MOST_SERVERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn a_hosts_file_gives_every_name_all_its_addresses() {
        let text = "# local\n127.0.0.1 localhost\n\n192.0.2.1\tNode.example.com. node # 192.0.2.9 node\n\
                    2001:db8::1 node.example.com\nfe80::1%eth0 odd.example\n12.34 odd.example\n192.0.2.7\n#192.0.2.8 no";
        let hosts = hosts(text);
        assert_eq!(hosts["node.example.com"], set(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(hosts.keys().map(String::as_str).collect::<Vec<_>>(), ["localhost", "node", "node.example.com"]);
    }

    #[test]
    fn name_servers_are_read_and_all_else_is_let_be() {
        let text = "; made by hand\n# nameserver 192.0.2.9\nsearch example.com\n nameserver 192.0.2.1 # first\n\
                    nameserver 2001:db8::1\nnameserver example\nnameserver\noptions edns0 trust-ad\n\
                    nameservers 192.0.2.8\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let expected: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1", "192.0.2.2"].map(|a| a.parse().unwrap()).to_vec();
        assert_eq!(name_servers(text), expected);
        assert!(name_servers("").is_empty());
    }
}
