//! Which destinations have a live connection of this host, as the kernel tells: its own sockets, which nothing tracks, and those of
//! containers, which are tracked because their addresses are translated. Asked only while a sentry is drained.

use crate::sessions;
use ipnet::IpNet;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    path::Path,
};
use tracing::debug;

/// Tracked connections (kernel documentation, nf_conntrack); not there without tracking, nor in kernels built without it.
const TRACKED: &str = "nf_conntrack";
/// Largest listing that is read, in bytes: about a hundred thousand connections.
const LARGEST: u64 = 16 << 20;

/// The other ends of live connections; one end for each connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flows(Vec<SocketAddr>);

impl Flows {
    /// Those of now; `None` where the kernel does not tell of all.
    pub fn now() -> Option<Self> {
        Self::read(Path::new(sessions::NET))
            .inspect_err(|error| debug!(%error, "connections of this host cannot be read"))
            .ok()
    }

    fn read(net: &Path) -> io::Result<Self> {
        let mut ends = sessions::peers(net)?;
        let mut tracked = Vec::new();
        match File::open(net.join(TRACKED)) {
            Ok(file) => file.take(LARGEST + 1).read_to_end(&mut tracked)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        // Opened by others as well, as many as they like. What is not read might be alive.
        if u64::try_from(tracked.len()).map_or(true, |length| length > LARGEST) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        ends.extend(String::from_utf8_lossy(&tracked).lines().filter_map(tracked_peer));
        Ok(Self(ends))
    }

    /// The destinations that a call to one of these ports is connected to: each address belongs to the narrowest of them.
    pub fn alive(&self, destinations: &BTreeSet<IpNet>, calls: &BTreeSet<NonZeroU16>) -> BTreeSet<IpNet> {
        let is_call = |end: &&SocketAddr| NonZeroU16::new(end.port()).is_some_and(|port| calls.contains(&port));
        let of = |end: &SocketAddr| {
            destinations.iter().filter(|net| net.contains(&end.ip())).max_by_key(|net| net.prefix_len()).copied()
        };
        self.0.iter().filter(is_call).filter_map(of).collect()
    }

    /// Connections with an address.
    pub fn with(&self, address: IpAddr) -> usize {
        self.0.iter().filter(|end| end.ip() == address).count()
    }
}

/// Whom an established tracked connection of TCP was opened to.
fn tracked_peer(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    // ipv4 2 tcp 6 431999 ESTABLISHED src=… dst=… sport=… dport=… src=…
    words.find(|word| *word == "tcp")?;
    words.find(|word| *word == "ESTABLISHED")?;
    let mut value = |key: &str| words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let (address, port) = (value("dst")?.parse().ok()?, value("dport")?.parse().ok()?);
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
impl Flows {
    /// Made up.
    pub(crate) fn to(ends: &[&str]) -> Self {
        Self(ends.iter().map(|end| end.parse().unwrap()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_of_the_narrowest_destination_and_other_ports_are_none() {
        let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect::<BTreeSet<IpNet>>();
        let destinations = nets(&["5.0.0.1/32", "5.0.0.2/32", "0.0.0.0/0", "::/0", "2001:db8::1/128"]);
        let calls = [7100, 9000].map(|port| NonZeroU16::new(port).unwrap()).into();
        let check = |ends: &[&str], expect: &[&str]| {
            assert_eq!(Flows::to(ends).alive(&destinations, &calls), nets(expect), "{ends:?}");
        };
        check(&["5.0.0.1:7100", "5.0.0.1:9000", "5.0.0.2:22"], &["5.0.0.1/32"]);
        check(&["5.0.0.9:7100", "[2001:db8::1]:7100", "[2001:db8::2]:9000"], &["0.0.0.0/0", "2001:db8::1/128", "::/0"]);
        let flows = Flows::to(&["10.77.0.1:50000", "10.77.0.1:50001", "10.77.0.2:50000"]);
        assert_eq!(flows.with("10.77.0.1".parse().unwrap()), 2);
    }

    #[test]
    fn what_cannot_be_read_whole_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let read = || Flows::read(folder.path()).map(|Flows(ends)| ends.len()).ok();
        assert_eq!(read(), None);
        let tcp = "header\n 1: 0A7100CB:08AE FA6433C6:D431 01 0\n";
        std::fs::write(folder.path().join("tcp"), tcp).unwrap();
        assert_eq!(read(), Some(1), "neither IPv6 nor tracking");
        let file = File::create(folder.path().join(TRACKED)).unwrap();
        file.set_len(LARGEST).unwrap();
        assert_eq!(read(), Some(1));
        file.set_len(LARGEST + 1).unwrap();
        assert_eq!(read(), None);
        file.set_len(0).unwrap();
        std::fs::create_dir(folder.path().join("tcp6")).unwrap();
        assert_eq!(read(), None);
    }

    #[test]
    fn a_containers_connection_is_read_as_the_call_it_is() {
        let line = "ipv4     2 tcp      6 431999 ESTABLISHED src=172.17.0.2 dst=5.0.0.1 sport=40000 dport=7100 src=5.0.0.1 \
                    dst=10.77.0.9 sport=7100 dport=40000 [ASSURED] mark=0 zone=0 use=2";
        assert_eq!(tracked_peer(line), Some("5.0.0.1:7100".parse().unwrap()));
        let six = "ipv6 10 tcp 6 300 ESTABLISHED src=fd00::2 dst=2001:db8::1 sport=1 dport=7100 src=x";
        assert_eq!(tracked_peer(six), Some("[2001:db8::1]:7100".parse().unwrap()));
        for other in [line.replace("ESTABLISHED", "TIME_WAIT"), line.replace("tcp", "udp"), "tcp ESTABLISHED".into()] {
            assert_eq!(tracked_peer(&other), None, "{other}");
        }
    }
}
