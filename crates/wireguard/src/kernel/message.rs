//! Changes to a kernel device as messages of the generic netlink family `wireguard` (`linux/wireguard.h`). Values only.

use crate::diff::{DeviceChange, PeerUpdate};
use ipnet::IpNet;
use netlink_packet_core::Emitable as _;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute, WireguardCmd,
    WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};
use picket_model::WireGuardPublicKey;
use std::{collections::BTreeSet, net::IpAddr};

/// Most allowed IPs in one fragment of a peer. One takes at most 44 bytes: header 4, family 8, address 20, mask 8,
/// rounded up.
const FRAGMENT: usize = 128;
/// Most bytes of peers in one message: a nested attribute's length is 16 bits, and the largest fragment (about
/// 6 KiB) comes on top.
const LARGEST: usize = 16 * 1024;
/// "No key" and "no keepalive" in the kernel's interface.
const NO_KEY: [u8; 32] = [0; 32];
const NO_KEEPALIVE: u16 = 0;

/// Asks for the whole device; to be sent as a dump.
pub(crate) fn get_device(name: &str) -> WireguardMessage {
    WireguardMessage { cmd: WireguardCmd::GetDevice, attributes: vec![WireguardAttribute::IfName(name.to_owned())] }
}

/// The messages that bring changes into force, to be sent in order. Each is applied by the kernel as it arrives.
pub(crate) fn set_device(name: &str, changes: &[DeviceChange]) -> Vec<WireguardMessage> {
    let mut messages = Vec::new();
    let mut peers = Vec::new();
    for change in changes {
        match change {
            DeviceChange::RemovePeer(key) => peers.push(remove(*key)),
            DeviceChange::AddPeer(key, peer) => {
                let whole = PeerUpdate {
                    endpoint: peer.endpoint,
                    allowed_ips: Some(peer.allowed_ips.clone()),
                    keepalive_seconds: Some(peer.keepalive_seconds),
                    preshared_key: Some(peer.preshared_key.clone()),
                };
                peers.extend(fragments(*key, &whole, WireguardPeerFlags::empty()));
            }
            // Never brings a peer to life that somebody took away meanwhile.
            DeviceChange::UpdatePeer(key, update) => {
                peers.extend(fragments(*key, update, WireguardPeerFlags::UpdateOnly));
            }
            DeviceChange::SetPrivateKey(key) => {
                messages.extend(with_peers(name, std::mem::take(&mut peers)));
                messages.push(message(name, WireguardAttribute::PrivateKey(*key.as_bytes())));
            }
            DeviceChange::SetListenPort(port) => {
                messages.extend(with_peers(name, std::mem::take(&mut peers)));
                messages.push(message(name, WireguardAttribute::ListenPort(*port)));
            }
        }
    }
    messages.extend(with_peers(name, peers));
    messages
}

fn remove(key: WireGuardPublicKey) -> WireguardPeer {
    // Without `UpdateOnly` the kernel would make the peer, to remove it.
    let flags = WireguardPeerFlags::RemoveMe | WireguardPeerFlags::UpdateOnly;
    WireguardPeer(vec![WireguardPeerAttribute::PublicKey(*key.as_bytes()), WireguardPeerAttribute::Flags(flags)])
}

/// A peer's update, cut so that no part is too long: the first carries everything but the further allowed IPs.
fn fragments(key: WireGuardPublicKey, update: &PeerUpdate, flags: WireguardPeerFlags) -> Vec<WireguardPeer> {
    let allowed: Vec<WireguardAllowedIp> = update.allowed_ips.iter().flat_map(allowed_ips).collect();
    let mut rest = allowed.chunks(FRAGMENT);
    let mut flags = flags;
    flags.set(WireguardPeerFlags::ReplaceAllowedIps, update.allowed_ips.is_some());
    let mut first = vec![WireguardPeerAttribute::PublicKey(*key.as_bytes()), WireguardPeerAttribute::Flags(flags)];
    if let Some(secret) = &update.preshared_key {
        first.push(WireguardPeerAttribute::PresharedKey(secret.as_ref().map_or(NO_KEY, |secret| *secret.as_bytes())));
    }
    if let Some(endpoint) = update.endpoint {
        first.push(WireguardPeerAttribute::Endpoint(endpoint));
    }
    if let Some(keepalive) = update.keepalive_seconds {
        first.push(WireguardPeerAttribute::PersistentKeepalive(keepalive.unwrap_or(NO_KEEPALIVE)));
    }
    if let Some(chunk) = rest.next() {
        first.push(WireguardPeerAttribute::AllowedIps(chunk.to_vec()));
    }
    let further = rest.map(|chunk| {
        WireguardPeer(vec![
            WireguardPeerAttribute::PublicKey(*key.as_bytes()),
            WireguardPeerAttribute::Flags(WireguardPeerFlags::UpdateOnly),
            WireguardPeerAttribute::AllowedIps(chunk.to_vec()),
        ])
    });
    std::iter::once(WireguardPeer(first)).chain(further).collect()
}

fn allowed_ips(networks: &BTreeSet<IpNet>) -> impl Iterator<Item = WireguardAllowedIp> {
    networks.iter().map(|network| {
        let family = match network.addr() {
            IpAddr::V4(_) => WireguardAddressFamily::Ipv4,
            IpAddr::V6(_) => WireguardAddressFamily::Ipv6,
        };
        WireguardAllowedIp(vec![
            WireguardAllowedIpAttr::Family(family),
            WireguardAllowedIpAttr::IpAddr(network.addr()),
            WireguardAllowedIpAttr::Cidr(network.prefix_len()),
        ])
    })
}

/// Peers in as many messages as they need, in order.
fn with_peers(name: &str, peers: Vec<WireguardPeer>) -> Vec<WireguardMessage> {
    let mut messages = Vec::new();
    let (mut batch, mut length) = (Vec::new(), 0);
    for peer in peers {
        length += peer.buffer_len();
        batch.push(peer);
        if length >= LARGEST {
            messages.push(message(name, WireguardAttribute::Peers(std::mem::take(&mut batch))));
            length = 0;
        }
    }
    if !batch.is_empty() {
        messages.push(message(name, WireguardAttribute::Peers(batch)));
    }
    messages
}

fn message(name: &str, attribute: WireguardAttribute) -> WireguardMessage {
    let attributes = vec![WireguardAttribute::IfName(name.to_owned()), attribute];
    WireguardMessage { cmd: WireguardCmd::SetDevice, attributes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::PeerConfig,
        key::{PresharedKey, PrivateKey},
    };

    // linux/wireguard.h; NESTED is NLA_F_NESTED of linux/netlink.h.
    const NESTED: u16 = 0x8000;
    const DEVICE_IFNAME: u16 = 2;
    const DEVICE_PRIVATE_KEY: u16 = 3;
    const DEVICE_LISTEN_PORT: u16 = 6;
    const DEVICE_PEERS: u16 = 8;
    const PEER_PUBLIC_KEY: u16 = 1;
    const PEER_PRESHARED_KEY: u16 = 2;
    const PEER_FLAGS: u16 = 3;
    const PEER_ENDPOINT: u16 = 4;
    const PEER_KEEPALIVE: u16 = 5;
    const PEER_ALLOWEDIPS: u16 = 9;
    const REMOVE_ME: u8 = 1;
    const REPLACE_ALLOWEDIPS: u8 = 2;
    const UPDATE_ONLY: u8 = 4;

    fn key(n: u8) -> WireGuardPublicKey {
        WireGuardPublicKey::new([n; 32]).unwrap()
    }

    fn bytes(message: &WireguardMessage) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    /// One attribute as the kernel reads it: length, type, value, padding to four bytes. Native byte order.
    fn nla(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len() + 4).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn flags(bits: u8) -> Vec<u8> {
        nla(PEER_FLAGS, &u32::from(bits).to_ne_bytes())
    }

    fn allowed(family: u16, address: &[u8], mask: u8) -> Vec<u8> {
        nla(NESTED, &[nla(1, &family.to_ne_bytes()), nla(2, address), nla(3, &[mask])].concat())
    }

    fn device(attribute: Vec<u8>) -> Vec<u8> {
        [nla(DEVICE_IFNAME, b"picket0\0"), attribute].concat()
    }

    fn check(changes: &[DeviceChange], expect: &[Vec<u8>]) {
        let messages = set_device("picket0", changes);
        assert!(messages.iter().all(|message| message.cmd == WireguardCmd::SetDevice));
        assert_eq!(messages.iter().map(bytes).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn the_request_names_the_device() {
        let message = get_device("picket0");
        assert_eq!((u8::from(message.cmd), bytes(&message)), (0, nla(DEVICE_IFNAME, b"picket0\0")));
    }

    #[test]
    fn key_and_port_are_set_in_messages_of_their_own() {
        let private = PrivateKey::from_random([7; 32]);
        let expect = [
            device(nla(DEVICE_PRIVATE_KEY, private.as_bytes())),
            device(nla(DEVICE_LISTEN_PORT, &51820_u16.to_ne_bytes())),
        ];
        check(&[DeviceChange::SetPrivateKey(private), DeviceChange::SetListenPort(51820)], &expect);
    }

    #[test]
    fn a_removed_peer_is_removed_and_never_made() {
        let peer = [nla(PEER_PUBLIC_KEY, &[9; 32]), flags(REMOVE_ME | UPDATE_ONLY)].concat();
        let expect = device(nla(DEVICE_PEERS | NESTED, &nla(NESTED, &peer)));
        check(&[DeviceChange::RemovePeer(key(9))], &[expect]);
    }

    #[test]
    fn a_new_peer_replaces_whatever_allowed_ips_there_were() {
        let peer = PeerConfig {
            endpoint: Some("192.0.2.1:51820".parse().unwrap()),
            allowed_ips: BTreeSet::from(["10.1.0.0/16".parse().unwrap(), "fd00::2/128".parse().unwrap()]),
            keepalive_seconds: Some(25),
            preshared_key: Some(PresharedKey::from_bytes([5; 32]).unwrap()),
        };
        let v6 = [&[0xfd, 0][..], &[0; 13], &[2]].concat();
        let address = [&2_u16.to_ne_bytes()[..], &51820_u16.to_be_bytes(), &[192, 0, 2, 1], &[0; 8]].concat();
        let expect = [
            nla(PEER_PUBLIC_KEY, &[9; 32]),
            flags(REPLACE_ALLOWEDIPS),
            nla(PEER_PRESHARED_KEY, &[5; 32]),
            nla(PEER_ENDPOINT, &address),
            nla(PEER_KEEPALIVE, &25_u16.to_ne_bytes()),
            nla(PEER_ALLOWEDIPS | NESTED, &[allowed(2, &[10, 1, 0, 0], 16), allowed(10, &v6, 128)].concat()),
        ];
        let expect = device(nla(DEVICE_PEERS | NESTED, &nla(NESTED, &expect.concat())));
        check(&[DeviceChange::AddPeer(key(9), peer)], &[expect]);
    }

    #[test]
    fn an_update_says_only_what_changes() {
        let endpoint = PeerUpdate { endpoint: Some("[2001:db8::1]:7".parse().unwrap()), ..PeerUpdate::default() };
        let off = PeerUpdate { keepalive_seconds: Some(None), preshared_key: Some(None), ..PeerUpdate::default() };
        let none = PeerUpdate { allowed_ips: Some(BTreeSet::new()), ..PeerUpdate::default() };
        let v6 = [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[1]].concat();
        let address = [&10_u16.to_ne_bytes()[..], &7_u16.to_be_bytes(), &[0; 4], &v6, &[0; 4]].concat();
        let peers = [
            [nla(PEER_PUBLIC_KEY, &[9; 32]), flags(UPDATE_ONLY), nla(PEER_ENDPOINT, &address)].concat(),
            [
                nla(PEER_PUBLIC_KEY, &[8; 32]),
                flags(UPDATE_ONLY),
                nla(PEER_PRESHARED_KEY, &[0; 32]),
                nla(PEER_KEEPALIVE, &[0; 2]),
            ]
            .concat(),
            [nla(PEER_PUBLIC_KEY, &[7; 32]), flags(UPDATE_ONLY | REPLACE_ALLOWEDIPS)].concat(),
        ];
        let expect = device(nla(DEVICE_PEERS | NESTED, &peers.map(|peer| nla(NESTED, &peer)).concat()));
        let changes = [
            DeviceChange::UpdatePeer(key(9), endpoint),
            DeviceChange::UpdatePeer(key(8), off),
            DeviceChange::UpdatePeer(key(7), none),
        ];
        check(&changes, &[expect]);
    }

    #[test]
    fn many_networks_and_many_peers_are_cut_into_messages_that_fit() {
        let many: BTreeSet<IpNet> = (0..2000_u16).map(|n| format!("fd00::{n:x}/128").parse().unwrap()).collect();
        let big = PeerConfig { allowed_ips: many.clone(), ..PeerConfig::default() };
        let mut changes: Vec<_> = (2..=250).map(|n| DeviceChange::AddPeer(key(n), PeerConfig::default())).collect();
        changes.push(DeviceChange::AddPeer(key(1), big));
        let messages = set_device("picket0", &changes);
        assert!(messages.len() > 2);
        let (mut named, mut replaced) = (BTreeSet::new(), 0);
        for message in &messages {
            assert!(message.buffer_len() < 24 * 1024);
            let WireguardAttribute::Peers(peers) = &message.attributes[1] else { panic!("{message:?}") };
            for peer in peers.iter().filter(|peer| peer.contains(&WireguardPeerAttribute::PublicKey([1; 32]))) {
                for attribute in &peer.0 {
                    match attribute {
                        WireguardPeerAttribute::Flags(flags) => {
                            replaced += usize::from(flags.contains(WireguardPeerFlags::ReplaceAllowedIps));
                        }
                        WireguardPeerAttribute::AllowedIps(networks) => {
                            named.extend(networks.iter().map(|network| format!("{:?}", network.0[1])));
                        }
                        _ => {}
                    }
                }
            }
        }
        assert_eq!((named.len(), replaced), (many.len(), 1));
    }
}
