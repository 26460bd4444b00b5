//! What the tests share: a small mesh, the ports, and how long to wait.

use picket_lab::{
    Connect, EchoServer, Host,
    mesh::{Agent, Mesh, MeshSize},
};
use std::{
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};

/// Guarded ports: P2P and the two of JSON-RPC.
pub(crate) const GUARDED: [u16; 3] = [7100, 9000, 9080];
/// A port that nobody guards.
pub(crate) const UNGUARDED: u16 = 2222;
/// A packet without an answer for this long was dropped: round trips in the lab take well under a millisecond.
pub(crate) const DROPPED: Duration = Duration::from_millis(300);
/// Long enough for an answer on a loaded machine.
pub(crate) const ANSWERED: Duration = Duration::from_secs(3);
/// A stream that is silent for this long is dead.
pub(crate) const QUIET: Duration = Duration::from_millis(400);

/// One validator, one sentry: all roles there are.
pub(crate) fn small_mesh(label: &str) -> Mesh {
    Mesh::started(label, MeshSize { preps: 1, sentries: 1 }).unwrap()
}

/// Something that answers on guarded ports and on one that is not guarded, in both families.
pub(crate) fn serve_on(agent: &Agent) -> Vec<EchoServer> {
    // The unspecified IPv6 address takes IPv4 as well.
    let addresses = GUARDED.into_iter().chain([UNGUARDED]).map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    addresses.map(|address| agent.host.listen_echo(address).unwrap()).collect()
}

/// Both addresses of a host with a port, IPv4 first.
pub(crate) fn both(agent: &Agent, port: u16) -> [SocketAddr; 2] {
    [agent.host.v4(port).unwrap(), agent.host.v6(port).unwrap()]
}

/// TCP to this address is answered.
pub(crate) fn open(from: &Host, to: SocketAddr) {
    assert_eq!(from.can_connect(to, ANSWERED), Connect::Open, "{} to {to}", from.name());
}

/// TCP to this address gets no answer at all.
pub(crate) fn dropped(from: &Host, to: SocketAddr) {
    assert_eq!(from.can_connect(to, DROPPED), Connect::Filtered, "{} to {to}", from.name());
}

/// The table as the kernel has it, with handles, which show a rule that was replaced by its like; without counters.
pub(crate) fn table(agent: &Agent) -> String {
    agent.host.nft(&["-s", "-a", "list", "table", "inet", "picket"]).unwrap()
}
