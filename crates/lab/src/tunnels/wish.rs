//! What a WireGuard engine in another process is asked to be, and how it says it stands: the text of WireGuard's own
//! cross-platform interface (wireguard.com/xplatform), so that every engine is asked in the same words. Values only.

use crate::LabError;
use ipnet::IpNet;
use picket_wireguard::PrivateKey;
use std::{collections::BTreeMap, fmt, net::SocketAddr, str::FromStr};

/// The bytes of a key. The lab's keys are made from small numbers and secret to nobody.
pub type KeyBytes = [u8; 32];

/// A change of a device: what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The device's own key.
    pub private_key: Option<KeyBytes>,
    /// UDP port.
    pub listen_port: Option<u16>,
    /// Peers to add, change or remove; others stay.
    pub peers: Vec<PeerWish>,
}

/// One peer of a [`Wish`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerWish {
    /// Its public key.
    pub key: KeyBytes,
    /// Whether it goes.
    pub remove: bool,
    /// Secret mixed into its handshakes.
    pub preshared_key: Option<KeyBytes>,
    /// Where to dial it.
    pub endpoint: Option<SocketAddr>,
    /// Seconds between keepalives.
    pub keepalive_seconds: Option<u16>,
    /// All its networks; empty leaves them as they are.
    pub allowed_ips: Vec<IpNet>,
}

/// A peer as an engine says it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerSeen {
    /// Where it was last heard.
    pub endpoint: Option<SocketAddr>,
    /// Last completed handshake, in nanoseconds since 1970; 0 before the first.
    pub last_handshake_nanos: u128,
    /// Bytes received from it.
    pub received_bytes: u64,
    /// Bytes sent to it.
    pub sent_bytes: u64,
}

/// The private key that a number stands for.
#[must_use]
pub fn private_key(number: u16) -> KeyBytes {
    let [high, low] = number.to_be_bytes();
    let mut key = [0x40; 32];
    // Clamped as it would be used, RFC 7748.
    (key[0], key[1], key[2]) = (8, high, low);
    key
}

/// The public key that belongs to [`private_key`].
#[must_use]
pub fn public_key(number: u16) -> KeyBytes {
    *PrivateKey::from_random(private_key(number)).public().as_bytes()
}

/// Most peers of one request: ours reads a megabyte at a time.
const PEERS_AT_ONCE: usize = 2_000;

impl Wish {
    /// The requests that it takes.
    pub(super) fn requests(&self) -> Vec<String> {
        let mut parts = self.peers.chunks(PEERS_AT_ONCE).map(<[PeerWish]>::to_vec);
        let first = Self {
            peers: parts.next().unwrap_or_default(),
            private_key: self.private_key,
            listen_port: self.listen_port,
        };
        let more = parts.map(|peers| Self { peers, ..Self::default() });
        std::iter::once(first).chain(more).map(|part| part.to_string()).collect()
    }
}

impl fmt::Display for Wish {
    /// The whole request, `set=1` and the closing empty line included.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "set=1")?;
        if let Some(key) = &self.private_key {
            writeln!(f, "private_key={}", hex(key))?;
        }
        if let Some(port) = self.listen_port {
            writeln!(f, "listen_port={port}")?;
        }
        self.peers.iter().try_for_each(|peer| peer.fmt(f))?;
        writeln!(f)
    }
}

impl fmt::Display for PeerWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "public_key={}", hex(&self.key))?;
        if self.remove {
            return writeln!(f, "remove=true");
        }
        if let Some(key) = &self.preshared_key {
            writeln!(f, "preshared_key={}", hex(key))?;
        }
        if let Some(endpoint) = self.endpoint {
            writeln!(f, "endpoint={endpoint}")?;
        }
        if let Some(seconds) = self.keepalive_seconds {
            writeln!(f, "persistent_keepalive_interval={seconds}")?;
        }
        if !self.allowed_ips.is_empty() {
            writeln!(f, "replace_allowed_ips=true")?;
        }
        self.allowed_ips.iter().try_for_each(|network| writeln!(f, "allowed_ip={network}"))
    }
}

/// The peers of an answer to `get=1`. Lines that are not read here are skipped: engines tell more.
pub(super) fn peers(text: &str) -> Result<BTreeMap<KeyBytes, PeerSeen>, LabError> {
    let mut peers = BTreeMap::new();
    let mut current = None;
    for (name, value) in fields(text) {
        if name == "public_key" {
            current = Some(unhex(value)?);
        }
        let Some(key) = current else { continue };
        let peer: &mut PeerSeen = peers.entry(key).or_default();
        match name {
            "endpoint" => peer.endpoint = Some(read(name, value)?),
            "last_handshake_time_sec" => peer.last_handshake_nanos += read::<u128>(name, value)? * 1_000_000_000,
            "last_handshake_time_nsec" => peer.last_handshake_nanos += read::<u128>(name, value)?,
            "rx_bytes" => peer.received_bytes = read(name, value)?,
            "tx_bytes" => peer.sent_bytes = read(name, value)?,
            _ => {}
        }
    }
    Ok(peers)
}

fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once('='))
}

fn read<T: FromStr>(name: &str, value: &str) -> Result<T, LabError> {
    value.parse().map_err(|_| unreadable(name, value))
}

fn unreadable(name: &str, value: &str) -> LabError {
    LabError::Unexpected { found: format!("`{name}={value}` is not understood as configuration of a WireGuard device") }
}

fn hex(bytes: &KeyBytes) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn unhex(text: &str) -> Result<KeyBytes, LabError> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(unreadable("key", text));
    }
    for (number, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * number..2 * number + 2], 16).map_err(|_| unreadable("key", text))?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_all_of_it_in_the_protocols_words() {
        let peer = PeerWish {
            key: public_key(2),
            remove: false,
            preshared_key: Some([7; 32]),
            endpoint: Some("[2001:db8::2]:51820".parse().unwrap()),
            keepalive_seconds: Some(25),
            allowed_ips: vec!["192.0.2.2/32".parse().unwrap(), "fd86::2/128".parse().unwrap()],
        };
        let gone = PeerWish { key: public_key(3), remove: true, ..PeerWish::default() };
        let wish = Wish { private_key: Some(private_key(1)), listen_port: Some(51820), peers: vec![peer, gone] };
        let text = wish.to_string();
        assert!(text.starts_with("set=1\nprivate_key=08") && text.ends_with("remove=true\n\n"), "{text}");
        let [own, second, third] = [private_key(1), public_key(2), public_key(3)].map(|key| hex(&key));
        let secret = "07".repeat(32);
        let expected = format!(
            "set=1\nprivate_key={own}\nlisten_port=51820\npublic_key={second}\npreshared_key={secret}\n\
             endpoint=[2001:db8::2]:51820\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\n\
             allowed_ip=192.0.2.2/32\nallowed_ip=fd86::2/128\npublic_key={third}\nremove=true\n\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn many_peers_come_in_several_requests_and_none_is_lost() {
        let peer = |number: u16| PeerWish { key: public_key(number), ..PeerWish::default() };
        let wish = Wish { private_key: None, listen_port: Some(7), peers: (0..2_001).map(peer).collect() };
        let requests = wish.requests();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].lines().filter(|line| line.starts_with("public_key=")).count(), 2_000);
        assert_eq!(requests[1], format!("set=1\npublic_key={}\n\n", hex(&public_key(2_000))));
        assert_eq!(Wish::default().requests(), ["set=1\n\n"]);
    }

    #[test]
    fn an_engines_answer_is_read_peer_by_peer() {
        let text = format!(
            "private_key={}\nlisten_port=1\npublic_key={}\nendpoint=192.0.2.1:5\nlast_handshake_time_sec=3\n\
             last_handshake_time_nsec=4\nrx_bytes=5\ntx_bytes=6\nprotocol_version=1\npublic_key={}\nerrno=0\n\n",
            "0".repeat(64),
            hex(&[1; 32]),
            hex(&[2; 32])
        );
        let seen = peers(&text).unwrap();
        let first = PeerSeen {
            endpoint: Some("192.0.2.1:5".parse().unwrap()),
            last_handshake_nanos: 3_000_000_004,
            received_bytes: 5,
            sent_bytes: 6,
        };
        assert_eq!(seen, BTreeMap::from([([1; 32], first), ([2; 32], PeerSeen::default())]));
    }
}
