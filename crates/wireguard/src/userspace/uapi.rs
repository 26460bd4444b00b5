//! The text in which standard tools ask a userspace WireGuard what it is and tell it what to be: the "cross-platform
//! userspace implementation" protocol of wireguard.com/xplatform, version 1. Pure: texts and values.

use crate::{
    device::{DeviceState, PeerConfig, PeerState},
    diff::{DeviceChange, PeerUpdate},
    key::{PresharedKey, PrivateKey},
};
use ipnet::IpNet;
use nix::libc;
use picket_model::WireGuardPublicKey;
use std::{collections::BTreeSet, fmt::Write as _};
use zeroize::Zeroizing;

/// What a tool wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// To know.
    Get,
    /// These changes, in their order, and this mark on what is sent.
    Set { changes: Vec<DeviceChange>, mark: Option<u32> },
}

/// The device that a request is for, as it is found: asked only for what the request needs.
pub(super) trait Found {
    fn peer(&self, key: WireGuardPublicKey) -> Option<PeerState>;
    /// Of all its peers.
    fn keys(&self) -> Vec<WireGuardPublicKey>;
}

/// A request that is none, or wants what this engine does not do: the number that tools are told for it.
pub(super) const INVALID: i32 = libc::EINVAL;

/// Reads a request, without the empty line that ends it, for a device as it is.
pub(super) fn parse(text: &str, found: &dyn Found) -> Option<Request> {
    let mut lines = text.lines();
    match lines.next()? {
        "get=1" => lines.next().is_none().then_some(Request::Get),
        "set=1" => {
            let mut set = Set { found, changes: Vec::new(), mark: None, are_replaced: false, peer: None };
            for line in lines {
                let (key, value) = line.split_once('=')?;
                set.line(key, value)?;
            }
            set.finish_peer();
            Some(Request::Set { changes: set.changes, mark: set.mark })
        }
        _ => None,
    }
}

struct Set<'a> {
    found: &'a dyn Found,
    changes: Vec<DeviceChange>,
    mark: Option<u32>,
    /// Whether all peers there were go.
    are_replaced: bool,
    peer: Option<PeerLines>,
}

/// What was said of one peer.
struct PeerLines {
    key: WireGuardPublicKey,
    /// As it is found, if it stays.
    found: Option<PeerState>,
    is_removed: bool,
    only_if_there: bool,
    update: PeerUpdate,
}

impl Set<'_> {
    fn line(&mut self, key: &str, value: &str) -> Option<()> {
        match (key, &mut self.peer) {
            ("public_key", _) => self.begin_peer(value)?,
            ("private_key", None) => {
                self.changes.push(DeviceChange::SetPrivateKey(PrivateKey::from_bytes(bytes(value)?).ok()?));
            }
            ("listen_port", None) => self.changes.push(DeviceChange::SetListenPort(value.parse().ok()?)),
            ("fwmark", None) => self.mark = Some(value.parse().ok()?),
            ("replace_peers", None) => {
                (value == "true").then_some(())?;
                self.are_replaced = true;
                self.changes.extend(self.found.keys().into_iter().map(DeviceChange::RemovePeer));
            }
            (_, Some(peer)) => peer.line(key, value)?,
            (_, None) => return None,
        }
        Some(())
    }

    fn begin_peer(&mut self, value: &str) -> Option<()> {
        self.finish_peer();
        let key = WireGuardPublicKey::new(bytes(value)?).ok()?;
        let found = if self.are_replaced { None } else { self.found.peer(key) };
        let (is_removed, only_if_there, update) = (false, false, PeerUpdate::default());
        self.peer = Some(PeerLines { key, found, is_removed, only_if_there, update });
        Some(())
    }

    fn finish_peer(&mut self) {
        let Some(peer) = self.peer.take() else { return };
        self.changes.extend(match (peer.found.is_some(), peer.is_removed) {
            (true, true) => Some(DeviceChange::RemovePeer(peer.key)),
            (true, false) => Some(DeviceChange::UpdatePeer(peer.key, peer.update)),
            (false, false) if !peer.only_if_there => {
                let config = PeerConfig {
                    endpoint: peer.update.endpoint,
                    allowed_ips: peer.update.allowed_ips.unwrap_or_default(),
                    keepalive_seconds: peer.update.keepalive_seconds.flatten(),
                    preshared_key: peer.update.preshared_key.flatten(),
                };
                Some(DeviceChange::AddPeer(peer.key, config))
            }
            (false, _) => None,
        });
    }
}

impl PeerLines {
    fn line(&mut self, key: &str, value: &str) -> Option<()> {
        match (key, value) {
            ("remove", "true") => self.is_removed = true,
            ("update_only", "true") => self.only_if_there = true,
            ("replace_allowed_ips", "true") => self.update.allowed_ips = Some(BTreeSet::new()),
            ("protocol_version", "1") => {}
            ("preshared_key", _) => self.update.preshared_key = Some(PresharedKey::from_bytes(bytes(value)?).ok()),
            ("endpoint", _) => self.update.endpoint = Some(value.parse().ok()?),
            ("persistent_keepalive_interval", _) => {
                self.update.keepalive_seconds = Some(Some(value.parse().ok()?).filter(|seconds| *seconds > 0));
            }
            ("allowed_ip", _) => {
                let network: IpNet = value.parse().ok()?;
                let before = || self.found.as_ref().map(|found| found.allowed_ips.clone()).unwrap_or_default();
                self.update.allowed_ips.get_or_insert_with(before).insert(network.trunc());
            }
            _ => return None,
        }
        Some(())
    }
}

/// The answer to "what are you": it holds the device's secrets.
pub(super) fn describe(state: &DeviceState, key: Option<&PrivateKey>, mark: u32) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(room_for(state)));
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Into memory this does not fail.
        writeln!(text, "{name}={value}").ok();
    };
    if let Some(key) = key {
        line("private_key", &hex(key.as_bytes()).as_str());
    }
    line("listen_port", &state.listen_port);
    if mark != 0 {
        line("fwmark", &mark);
    }
    for (key, peer) in &state.peers {
        line("public_key", &hex(key.as_bytes()).as_str());
        if let Some(secret) = &peer.preshared_key {
            line("preshared_key", &hex(secret.as_bytes()).as_str());
        }
        if let Some(endpoint) = peer.endpoint {
            line("endpoint", &endpoint);
        }
        let millis = peer.last_handshake.map_or(0, picket_model::Timestamp::as_millis);
        line("last_handshake_time_sec", &(millis / 1000));
        line("last_handshake_time_nsec", &(millis % 1000 * 1_000_000));
        line("tx_bytes", &peer.sent_bytes);
        line("rx_bytes", &peer.received_bytes);
        line("persistent_keepalive_interval", &peer.keepalive_seconds.unwrap_or(0));
        for network in &peer.allowed_ips {
            line("allowed_ip", network);
        }
        line("protocol_version", &1);
    }
    text
}

/// Bytes that the answer does not exceed, so that it is not moved while it grows and leaves secrets behind.
fn room_for(state: &DeviceState) -> usize {
    256 + state.peers.values().map(|peer| 1024 + 64 * peer.allowed_ips.len()).sum::<usize>()
}

fn hex(bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(64));
    for byte in bytes {
        write!(text, "{byte:02x}").ok();
    }
    text
}

fn bytes(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |at: usize| char::from(digits[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = digit(2 * at)? << 4 | digit(2 * at + 1)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Found for DeviceState {
        fn peer(&self, key: WireGuardPublicKey) -> Option<PeerState> {
            self.peers.get(&key).cloned()
        }

        fn keys(&self) -> Vec<WireGuardPublicKey> {
            self.peers.keys().copied().collect()
        }
    }

    fn key(byte: u8) -> WireGuardPublicKey {
        WireGuardPublicKey::new([byte; 32]).unwrap()
    }

    fn hex_of(byte: u8) -> String {
        format!("{byte:02x}").repeat(32)
    }

    fn found() -> DeviceState {
        let peer = PeerState { allowed_ips: ["10.0.0.1/32".parse().unwrap()].into(), ..PeerState::default() };
        DeviceState { public_key: None, listen_port: 51820, peers: [(key(1), peer)].into() }
    }

    fn set(lines: &str) -> Option<(Vec<DeviceChange>, Option<u32>)> {
        match parse(&format!("set=1\n{lines}"), &found())? {
            Request::Set { changes, mark } => Some((changes, mark)),
            Request::Get => None,
        }
    }

    #[test]
    fn what_wg_set_says_becomes_changes() {
        let (changes, mark) = set(&format!(
            "private_key={}\nlisten_port=7\nfwmark=51\npublic_key={}\nallowed_ip=10.0.0.9/32\npublic_key={}\npreshared_key={}\nendpoint=[2001:db8::1]:5\npersistent_keepalive_interval=25\nallowed_ip=10.1.2.3/16\n",
            hex_of(8), hex_of(1), hex_of(2), hex_of(3),
        ))
        .unwrap();
        let networks = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<BTreeSet<_>>();
        let update =
            PeerUpdate { allowed_ips: Some(networks(&["10.0.0.1/32", "10.0.0.9/32"])), ..PeerUpdate::default() };
        let added = PeerConfig {
            endpoint: Some("[2001:db8::1]:5".parse().unwrap()),
            allowed_ips: networks(&["10.1.0.0/16"]),
            keepalive_seconds: Some(25),
            preshared_key: PresharedKey::from_bytes([3; 32]).ok(),
        };
        let expected = [
            DeviceChange::SetPrivateKey(PrivateKey::from_random([8; 32])),
            DeviceChange::SetListenPort(7),
            DeviceChange::UpdatePeer(key(1), update),
            DeviceChange::AddPeer(key(2), added),
        ];
        assert_eq!((changes.as_slice(), mark), (expected.as_slice(), Some(51)));
    }

    #[test]
    fn peers_are_replaced_removed_and_only_updated() {
        let one = hex_of(1);
        assert_eq!(set(&format!("public_key={one}\nremove=true\n")).unwrap().0, [DeviceChange::RemovePeer(key(1))]);
        assert_eq!(set(&format!("public_key={}\nremove=true\n", hex_of(2))).unwrap().0, []);
        assert_eq!(set(&format!("public_key={}\nupdate_only=true\nendpoint=192.0.2.1:1\n", hex_of(2))).unwrap().0, []);
        let replaced = set(&format!("replace_peers=true\npublic_key={one}\n")).unwrap().0;
        assert_eq!(replaced, [DeviceChange::RemovePeer(key(1)), DeviceChange::AddPeer(key(1), PeerConfig::default())]);
        let zero = "00".repeat(32);
        let update = PeerUpdate {
            preshared_key: Some(None),
            keepalive_seconds: Some(None),
            allowed_ips: Some(BTreeSet::new()),
            ..PeerUpdate::default()
        };
        let lines = format!(
            "public_key={one}\npreshared_key={zero}\npersistent_keepalive_interval=0\nreplace_allowed_ips=true\n"
        );
        assert_eq!(set(&lines).unwrap().0, [DeviceChange::UpdatePeer(key(1), update)]);
    }

    #[test]
    fn what_is_no_request_changes_nothing() {
        let one = hex_of(1);
        for text in [
            "",
            "get=2",
            "get=1\nmore=1",
            "set=1\nlisten_port=65536",
            "set=1\nlisten_port",
            "set=1\nprivate_key=00",
            "set=1\nunknown=1",
            "set=1\nendpoint=192.0.2.1:1",
            "set=1\nreplace_peers=false",
            "set=1\npublic_key=zz",
        ] {
            assert_eq!(parse(text, &found()), None, "{text:?}");
        }
        assert_eq!(set(&format!("private_key={}\n", "00".repeat(32))), None, "a device is not without a key here");
        assert_eq!(set(&format!("public_key={one}\nlisten_port=1\n")), None, "the device comes before its peers");
        assert_eq!(set(&format!("public_key={one}\nallowed_ip=10.0.0.0/33\n")), None);
        assert_eq!(parse("get=1", &found()), Some(Request::Get));
    }

    #[test]
    fn the_answer_says_all_of_it() {
        let mut state = found();
        let peer = state.peers.get_mut(&key(1)).unwrap();
        peer.endpoint = Some("192.0.2.1:5".parse().unwrap());
        peer.preshared_key = PresharedKey::from_bytes([3; 32]).ok();
        peer.last_handshake = Some(picket_model::Timestamp::from_millis(1_800_000_000_123));
        (peer.sent_bytes, peer.received_bytes) = (5, 6);
        let text = describe(&state, Some(&PrivateKey::from_random([8; 32])), 9);
        let expected = format!(
            "private_key={}\nlisten_port=51820\nfwmark=9\npublic_key={}\npreshared_key={}\nendpoint=192.0.2.1:5\nlast_handshake_time_sec=1800000000\nlast_handshake_time_nsec=123000000\ntx_bytes=5\nrx_bytes=6\npersistent_keepalive_interval=0\nallowed_ip=10.0.0.1/32\nprotocol_version=1\n",
            hex(PrivateKey::from_random([8; 32]).as_bytes()).as_str(),
            hex_of(1),
            hex_of(3),
        );
        assert_eq!(*text, expected);
    }

    #[test]
    fn the_longest_answer_has_room() {
        let mut state = found();
        let peer = state.peers.get_mut(&key(1)).unwrap();
        peer.endpoint = Some("[fe80:1234:1234:1234:1234:1234:1234:1234%4294967295]:65535".parse().unwrap());
        peer.preshared_key = PresharedKey::from_bytes([3; 32]).ok();
        peer.last_handshake = Some(picket_model::Timestamp::from_millis(i64::MAX / 2));
        (peer.sent_bytes, peer.received_bytes, peer.keepalive_seconds) = (u64::MAX, u64::MAX, Some(u16::MAX));
        let network = |n: u128| IpNet::new(std::net::Ipv6Addr::from(u128::MAX - n).into(), 128).unwrap();
        peer.allowed_ips = (0..1_000).map(network).collect();
        let text = describe(&state, Some(&PrivateKey::from_random([8; 32])), u32::MAX);
        assert!(text.len() <= room_for(&state) && text.len() > 50_000, "{}", text.len());
    }
}
