//! What a WireGuard engine in another process is asked to be, and how it says it stands: the text of WireGuard's own
//! cross-platform interface (wireguard.com/xplatform), so that every engine is asked in the same words. Values only.

use crate::LabError;
use ipnet::IpNet;
use picket_model::WireGuardPublicKey;
use picket_wireguard::{DeviceState, PrivateKey};
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    net::SocketAddr,
    str::FromStr,
};

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

impl FromStr for Wish {
    type Err = LabError;

    /// Reads what [`Wish`] prints, and no more of the protocol than that.
    fn from_str(text: &str) -> Result<Self, LabError> {
        let mut wish = Self::default();
        for (name, value) in fields(text).skip_while(|(name, _)| *name == "set") {
            let peer = wish.peers.last_mut();
            match (name, peer) {
                ("public_key", _) => wish.peers.push(PeerWish { key: unhex(value)?, ..PeerWish::default() }),
                ("private_key", None) => wish.private_key = Some(unhex(value)?),
                ("listen_port", None) => wish.listen_port = Some(read(name, value)?),
                ("remove", Some(peer)) => peer.remove = value == "true",
                ("preshared_key", Some(peer)) => peer.preshared_key = Some(unhex(value)?),
                ("endpoint", Some(peer)) => peer.endpoint = Some(read(name, value)?),
                ("persistent_keepalive_interval", Some(peer)) => peer.keepalive_seconds = Some(read(name, value)?),
                ("replace_allowed_ips", Some(_)) => {}
                ("allowed_ip", Some(peer)) => peer.allowed_ips.push(read(name, value)?),
                _ => return Err(unreadable(name, value)),
            }
        }
        Ok(wish)
    }
}

/// The answer to `get=1`: what of a device is read here.
pub(super) fn answer(state: &DeviceState) -> String {
    let mut text = format!("listen_port={}\n", state.listen_port);
    for (key, peer) in &state.peers {
        let _ = writeln!(text, "public_key={}", hex(key.as_bytes()));
        if let Some(endpoint) = peer.endpoint {
            let _ = writeln!(text, "endpoint={endpoint}");
        }
        let millis = peer.last_handshake.map_or(0, picket_model::Timestamp::as_millis);
        let (seconds, nanos) = (millis.div_euclid(1000), millis.rem_euclid(1000) * 1_000_000);
        let _ = writeln!(text, "last_handshake_time_sec={seconds}\nlast_handshake_time_nsec={nanos}");
        let _ = writeln!(text, "rx_bytes={}\ntx_bytes={}", peer.received_bytes, peer.sent_bytes);
    }
    text + "errno=0\n\n"
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

/// The key as Picket's own types have it.
pub(super) fn model_key(key: &KeyBytes) -> Result<WireGuardPublicKey, LabError> {
    WireGuardPublicKey::new(*key).map_err(|_| unreadable("public_key", &hex(key)))
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
    fn what_is_printed_is_what_is_read() {
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
        assert_eq!(text.parse::<Wish>().unwrap(), wish);
    }

    #[test]
    fn what_is_not_of_the_protocol_is_refused() {
        for text in ["set=1\nfoo=1", "private_key=12", "endpoint=192.0.2.1:1", "listen_port=70000", "allowed_ip=x"] {
            assert!(text.parse::<Wish>().is_err(), "{text}");
        }
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
