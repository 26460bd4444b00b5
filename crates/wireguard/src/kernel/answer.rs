//! The kernel's answer to `WG_CMD_GET_DEVICE` as a `DeviceState`. Values only.

use crate::{
    device::{DeviceState, PeerState},
    key::PresharedKey,
};
use ipnet::IpNet;
use netlink_packet_wireguard::{
    WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute, WireguardMessage, WireguardPeer,
    WireguardPeerAttribute, WireguardTimeSpec,
};
use picket_model::{Timestamp, WireGuardPublicKey};

/// Puts the parts of a dump together. The kernel cuts long answers between peers and within a peer's allowed IPs;
/// a further part of a peer repeats its key and carries only allowed IPs (`wg_get_device_dump` in
/// `drivers/net/wireguard/netlink.c`).
pub(crate) fn device_state(parts: &[WireguardMessage]) -> DeviceState {
    let mut state = DeviceState::default();
    for attribute in parts.iter().flat_map(|part| &part.attributes) {
        match attribute {
            WireguardAttribute::PublicKey(key) => state.public_key = WireGuardPublicKey::new(*key).ok(),
            WireguardAttribute::ListenPort(port) => state.listen_port = *port,
            WireguardAttribute::Peers(peers) => peers.iter().for_each(|peer| add_peer(&mut state, peer)),
            _ => {}
        }
    }
    state
}

fn add_peer(state: &mut DeviceState, part: &WireguardPeer) {
    let key = part.iter().find_map(|attribute| match attribute {
        WireguardPeerAttribute::PublicKey(key) => WireGuardPublicKey::new(*key).ok(),
        _ => None,
    });
    let Some(key) = key else { return };
    let peer: &mut PeerState = state.peers.entry(key).or_default();
    for attribute in &part.0 {
        match attribute {
            WireguardPeerAttribute::PresharedKey(key) => peer.preshared_key = PresharedKey::from_bytes(*key).ok(),
            WireguardPeerAttribute::Endpoint(endpoint) => peer.endpoint = Some(*endpoint),
            WireguardPeerAttribute::PersistentKeepalive(seconds) => {
                peer.keepalive_seconds = Some(*seconds).filter(|seconds| *seconds > 0);
            }
            WireguardPeerAttribute::LastHandshake(time) => peer.last_handshake = timestamp(time),
            WireguardPeerAttribute::RxBytes(bytes) => peer.received_bytes = *bytes,
            WireguardPeerAttribute::TxBytes(bytes) => peer.sent_bytes = *bytes,
            WireguardPeerAttribute::AllowedIps(networks) => {
                peer.allowed_ips.extend(networks.iter().filter_map(allowed_ip));
            }
            _ => {}
        }
    }
}

/// Zero stands for "never".
fn timestamp(time: &WireguardTimeSpec) -> Option<Timestamp> {
    let millis = time.seconds.saturating_mul(1000).saturating_add(time.nano_seconds / 1_000_000);
    (millis != 0).then_some(Timestamp::from_millis(millis))
}

fn allowed_ip(attributes: &WireguardAllowedIp) -> Option<IpNet> {
    let (mut address, mut prefix) = (None, None);
    for attribute in &attributes.0 {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(found) => address = Some(*found),
            WireguardAllowedIpAttr::Cidr(found) => prefix = Some(*found),
            _ => {}
        }
    }
    IpNet::new(address?, prefix?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::{DeviceConfig, PeerConfig},
        diff::{DeviceChange, diff},
        kernel::message::set_device,
        key::PrivateKey,
    };
    use netlink_packet_core::{Emitable as _, ParseableParametrized as _};
    use netlink_packet_generic::GenlHeader;
    use netlink_packet_wireguard::{WireguardAddressFamily, WireguardCmd};
    use std::collections::{BTreeMap, BTreeSet};

    fn allowed(text: &str) -> WireguardAllowedIp {
        let network: IpNet = text.parse().unwrap();
        let family = if network.addr().is_ipv4() { WireguardAddressFamily::Ipv4 } else { WireguardAddressFamily::Ipv6 };
        WireguardAllowedIp(vec![
            WireguardAllowedIpAttr::Family(family),
            WireguardAllowedIpAttr::IpAddr(network.addr()),
            WireguardAllowedIpAttr::Cidr(network.prefix_len()),
        ])
    }

    /// Through bytes, as they come from the kernel.
    fn sent(attributes: Vec<WireguardAttribute>) -> WireguardMessage {
        let message = WireguardMessage { cmd: WireguardCmd::GetDevice, attributes };
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        WireguardMessage::parse_with_param(&bytes, GenlHeader { cmd: 0, version: 1 }).unwrap()
    }

    fn networks(list: &[&str]) -> BTreeSet<IpNet> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_peer_that_goes_on_in_the_next_message_is_one_peer() {
        let never = WireguardTimeSpec::default();
        let once = WireguardTimeSpec { seconds: 1_790_000_000, nano_seconds: 250_000_000 };
        let peer = |n: u8, time, list: &[&str]| {
            WireguardPeer(vec![
                WireguardPeerAttribute::PublicKey([n; 32]),
                WireguardPeerAttribute::PresharedKey([if n == 2 { 0 } else { 7 }; 32]),
                WireguardPeerAttribute::LastHandshake(time),
                WireguardPeerAttribute::PersistentKeepalive(if n == 2 { 0 } else { 25 }),
                WireguardPeerAttribute::TxBytes(u64::from(n)),
                WireguardPeerAttribute::RxBytes(u64::from(n) * 10),
                WireguardPeerAttribute::ProtocolVersion(1),
                WireguardPeerAttribute::Endpoint(format!("[2001:db8::{n}]:51820").parse().unwrap()),
                WireguardPeerAttribute::AllowedIps(list.iter().map(|text| allowed(text)).collect()),
            ])
        };
        let further = WireguardPeer(vec![
            WireguardPeerAttribute::PublicKey([3; 32]),
            WireguardPeerAttribute::AllowedIps(vec![allowed("10.3.0.0/16")]),
        ]);
        let parts = [
            sent(vec![
                WireguardAttribute::ListenPort(51820),
                WireguardAttribute::IfName("picket0".into()),
                WireguardAttribute::PrivateKey([8; 32]),
                WireguardAttribute::PublicKey([9; 32]),
                WireguardAttribute::Peers(vec![peer(2, never, &["fd00::2/128"]), peer(3, once, &["fd00::3/128"])]),
            ]),
            sent(vec![WireguardAttribute::Peers(vec![further, peer(4, never, &[])])]),
        ];
        let state = device_state(&parts);
        assert_eq!(state.public_key, WireGuardPublicKey::new([9; 32]).ok());
        assert_eq!((state.listen_port, state.peers.len()), (51820, 3));
        let found = |n: u8| &state.peers[&WireGuardPublicKey::new([n; 32]).unwrap()];
        assert_eq!(found(3).allowed_ips, networks(&["fd00::3/128", "10.3.0.0/16"]));
        assert_eq!(found(3).last_handshake, Some(Timestamp::from_millis(1_790_000_000_250)));
        assert_eq!((found(3).received_bytes, found(3).sent_bytes), (30, 3));
        assert_eq!(found(3).keepalive_seconds, Some(25));
        assert_eq!(found(3).preshared_key, PresharedKey::from_bytes([7; 32]).ok());
        assert_eq!(found(3).endpoint, Some("[2001:db8::3]:51820".parse().unwrap()));
        assert_eq!((found(2).last_handshake, found(2).keepalive_seconds), (None, None));
        assert_eq!(found(2).preshared_key, None);
        assert_eq!(found(4).allowed_ips, networks(&[]));
    }

    #[test]
    fn a_device_without_a_key_has_none() {
        let state = device_state(&[sent(vec![WireguardAttribute::PublicKey([0; 32])])]);
        assert_eq!(state, DeviceState::default());
    }

    /// The two halves agree: what is sent to a new device, read back as if it were the kernel's answer, is what was
    /// wanted.
    #[test]
    fn what_is_sent_reads_back_as_what_was_wanted() {
        let peer = PeerConfig {
            endpoint: Some("192.0.2.1:51820".parse().unwrap()),
            allowed_ips: (0..300).map(|n| format!("fd00::{n:x}/128").parse().unwrap()).collect(),
            keepalive_seconds: Some(25),
            preshared_key: PresharedKey::from_bytes([3; 32]).ok(),
        };
        let wanted = DeviceConfig {
            name: "picket0".into(),
            private_key: PrivateKey::from_random([1; 32]),
            listen_port: 51820,
            addresses: BTreeSet::new(),
            mtu: 1420,
            steering: crate::Steering::default(),
            peers: BTreeMap::from([(WireGuardPublicKey::new([9; 32]).unwrap(), peer)]),
        };
        let changes = diff(&wanted, &DeviceState::default(), None);
        let parts: Vec<_> = set_device("picket0", &changes).into_iter().map(|m| sent(m.attributes)).collect();
        let mut state = device_state(&parts);
        state.public_key = Some(wanted.private_key.public());
        assert_eq!(diff(&wanted, &state, None), [] as [DeviceChange; 0]);
    }
}
