//! Sockets and addresses of this host's network, as the kernel lists them.

use crate::doctor::facts::{Listener, Seen};
use nix::{
    ifaddrs::getifaddrs,
    libc,
    sys::socket::{getsockopt, sockopt},
};
use picket_model::{Protocol, network::kernel_address};
use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::Path,
};

/// `TCP_LISTEN` of net/tcp_states.h, as /proc/net/tcp has it.
const LISTENS: &str = "0A";
/// `TCP_CLOSE`, which a UDP socket without a peer has.
const UNCONNECTED: &str = "07";
/// Interface of the mesh unless an agent was told otherwise.
const OVERLAY: &str = "picket0";

/// All that wait for somebody, over TCP and UDP.
pub(super) fn listeners(root: &Path) -> Seen<BTreeSet<Listener>> {
    let mut found = BTreeSet::new();
    for (name, protocol, state) in [
        ("tcp", Protocol::Tcp, LISTENS),
        ("tcp6", Protocol::Tcp, LISTENS),
        ("udp", Protocol::Udp, UNCONNECTED),
        ("udp6", Protocol::Udp, UNCONNECTED),
    ] {
        let path = root.join("proc/net").join(name);
        // A kernel without IPv6 has no table of it.
        let text = match fs::read_to_string(&path) {
            Err(_) if name.ends_with('6') => continue,
            read => read.map_err(|error| format!("{}: {error}", path.display()))?,
        };
        let waiting = text.lines().skip(1).filter_map(|line| waiting(line, state));
        found.extend(waiting.map(|address| Listener { protocol, address }));
    }
    Ok(found)
}

/// One line of proc_net_tcp(5): number, own address, peer's address, state.
fn waiting(line: &str, state: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    let (own, found) = (words.nth(1)?, words.nth(1)?);
    (found == state).then(|| kernel_address(own)).flatten()
}

/// Those of this host that others may know, without the mesh's.
pub(super) fn own_addresses() -> BTreeSet<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return BTreeSet::new() };
    let others = interfaces.filter(|interface| interface.interface_name != OVERLAY);
    let addresses = others.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    });
    addresses.filter(|address| !address.is_loopback()).collect()
}

/// The largest packet towards an address, by its route and what the kernel learnt of the way (ip(7), `IP_MTU`). No packet is sent.
pub(super) fn width(to: IpAddr) -> Seen<u32> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).map_err(|error| error.to_string())?;
    socket.connect((to, 9)).map_err(|error| error.to_string())?;
    let bytes = match to {
        IpAddr::V4(_) => getsockopt(&socket, sockopt::IpMtu),
        IpAddr::V6(_) => getsockopt(&socket, Ipv6Mtu),
    };
    bytes.map_err(|error| error.to_string()).and_then(|bytes| u32::try_from(bytes).map_err(|error| error.to_string()))
}

#[derive(Clone, Copy, Debug)]
struct Ipv6Mtu;
nix::getsockopt_impl!(Ipv6Mtu, libc::IPPROTO_IPV6, libc::IPV6_MTU, libc::c_int, sockopt::GetStruct<libc::c_int>);

#[cfg(test)]
mod tests {
    use super::super::files::tests::host;
    use super::*;

    #[test]
    fn only_what_waits_is_a_listener() {
        let line =
            |own: &str, state: &str| format!("   0: {own} 00000000:0000 {state} 00000000:00000000 00:0 0 0 0 1 1\n");
        let v6 = "00000000000000000000000001000000";
        let head = "  sl  local_address rem_address   st\n".to_owned();
        let root = host(&[
            (
                "proc/net/tcp",
                &(head.clone()
                    + &line("0100007F:2378", "0A")
                    + &line("00000000:1BBC", "0A")
                    + &line("0100007F:0016", "01")),
            ),
            ("proc/net/tcp6", &(head.clone() + &line(&format!("{v6}:1D13"), "0A"))),
            ("proc/net/udp", &(head + &line("00000000:CA6C", "07") + "broken\n")),
        ]);
        let found = listeners(root.path()).unwrap();
        let shown: Vec<_> = found.iter().map(|found| format!("{}/{}", found.protocol, found.address)).collect();
        assert_eq!(shown, ["tcp/0.0.0.0:7100", "tcp/127.0.0.1:9080", "tcp/[::1]:7443", "udp/0.0.0.0:51820"]);
        assert!(listeners(Path::new("/nonexistent")).unwrap_err().contains("/nonexistent/proc/net/tcp"));
    }

    #[test]
    fn loopback_is_wide_and_not_an_address_of_ours() {
        assert!(width(Ipv4Addr::LOCALHOST.into()).unwrap() >= 1500);
        assert!(own_addresses().iter().all(|address| !address.is_loopback()));
    }
}
