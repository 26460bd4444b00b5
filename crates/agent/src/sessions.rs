//! Who is on this host right now by TCP, read from the kernel; and whether a change would cut an operator off.

use picket_model::{
    FirewallPolicy, GuardedPort, Protocol, Purpose,
    network::{canonical, kernel_address},
};
use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    path::Path,
};

/// Where the kernel tells of this process's network, proc(5).
pub(crate) const NET: &str = "/proc/net";
/// TCP connections there, of both families; a kernel without IPv6 has no second.
const TABLES: [&str; 2] = ["tcp", "tcp6"];
/// `TCP_ESTABLISHED`, net/tcp_states.h.
const ESTABLISHED: &str = "01";
/// States in which one end may still have something to say: that one, `TCP_FIN_WAIT1` and `TCP_CLOSE_WAIT`. A call that nobody
/// has answered yet is none: it goes on by whatever way there is.
const LIVE: [&str; 3] = [ESTABLISHED, "04", "08"];

/// One established connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    /// The port of this host.
    pub port: u16,
    /// Who is at the other end.
    pub from: IpAddr,
}

/// Everybody's connections to this host; none where the kernel does not say.
pub fn established() -> Vec<Session> {
    let texts = TABLES.iter().filter_map(|table| fs::read_to_string(Path::new(NET).join(table)).ok());
    texts.flat_map(|text| parse(&text)).collect()
}

/// The other end of each connection of this host that still carries something, from the kernel's listings in this folder.
///
/// # Errors
/// Where the kernel does not say.
pub(crate) fn peers(net: &Path) -> io::Result<Vec<SocketAddr>> {
    let [four, six] = TABLES.map(|table| fs::read_to_string(net.join(table)));
    let six = six.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(String::new()) } else { Err(error) });
    Ok([four?, six?].iter().flat_map(|text| live(text)).collect())
}

/// The operator's connection that a change would cut: it comes from an admin network of before, to a port that nobody
/// guarded, and would not be let in any more. Who loses a port that was guarded before loses it on purpose.
pub fn cut_by(sessions: &[Session], before: &FirewallPolicy, after: &FirewallPolicy) -> Option<Session> {
    let cut = |session: &&Session| {
        let Some(port) = NonZeroU16::new(session.port) else { return false };
        let port = GuardedPort { protocol: Protocol::Tcp, port };
        let admits = |policy: &FirewallPolicy, purpose| policy.allowed(purpose).covering(session.from).next().is_some();
        let Some(purpose) = after.guarded.get(&port) else { return false };
        !before.guarded.contains_key(&port)
            && admits(before, Purpose::Admin)
            && !admits(after, Purpose::Admin)
            && !admits(after, *purpose)
    };
    sessions.iter().find(cut).copied()
}

fn parse(text: &str) -> Vec<Session> {
    let of = |(local, remote): (SocketAddr, SocketAddr)| Session { port: local.port(), from: canonical(remote.ip()) };
    ends(text, &[ESTABLISHED]).map(of).collect()
}

fn live(text: &str) -> Vec<SocketAddr> {
    ends(text, &LIVE).map(|(_, remote)| SocketAddr::new(canonical(remote.ip()), remote.port())).collect()
}

/// Both ends of connections in these states, but those of the host with itself.
fn ends(text: &str, states: &[&str]) -> impl Iterator<Item = (SocketAddr, SocketAddr)> {
    text.lines().skip(1).filter_map(|line| {
        // sl local_address rem_address st ...
        let mut words = line.split_whitespace().skip(1);
        let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
        let (local, remote) = (kernel_address(local)?, kernel_address(remote)?);
        (states.contains(&state) && !remote.ip().is_loopback()).then_some((local, remote))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{AllowSet, Reason};
    use std::collections::BTreeMap;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_table_is_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n\
             1: 0A7100CB:08AE FA6433C6:D431 01 00000000:00000000\n\
             2: 0A7100CB:0016 FA6433C6:D432 06 00000000:00000000\n\
             3: 0100007F:0016 0100007F:D433 01 00000000:00000000\n garbage\n 4: xx:1 yy:2 01\n";
        assert_eq!(parse(text), [Session { port: 2222, from: "198.51.100.250".parse().unwrap() }]);
        assert_eq!(live(text), ["198.51.100.250:54321".parse().unwrap()]);
        assert_eq!(live(&text.replace(" 06 ", " 08 ")).len(), 2);
        let six = "header\n 0: B80D0120000001000000000010000000:1BBC B80D0120AD00000000000000090000AA:D431 01 0\n";
        assert_eq!(parse(six)[0].port, 7100);
        let mapped = "header\n 0: 0000000000000000FFFF00000A7100CB:1BBC 0000000000000000FFFF0000FA6433C6:D431 01 0\n";
        assert_eq!(parse(mapped)[0].from.to_string(), "198.51.100.250");
    }

    fn policy(guarded: &[u16], admin: &[&str]) -> FirewallPolicy {
        let mut set = AllowSet::default();
        admin.iter().for_each(|net| set.insert(net.parse().unwrap(), Reason::Policy { line: "x".into() }));
        let port = |port: &u16| GuardedPort { protocol: Protocol::Tcp, port: NonZeroU16::new(*port).unwrap() };
        FirewallPolicy {
            guarded: guarded.iter().map(|p| (port(p), Purpose::Rpc)).collect(),
            allow: BTreeMap::from([(Purpose::Admin, set)]),
            ..FirewallPolicy::default()
        }
    }

    #[test]
    fn an_operator_on_a_port_that_becomes_guarded_stays_or_the_change_is_refused() {
        let session = Session { port: 2222, from: "198.51.100.250".parse().unwrap() };
        let check = |before: &[&str], guarded: &[u16], after: &[&str], cut: bool| {
            let (before, after) = (policy(&[9000], before), policy(guarded, after));
            assert_eq!(cut_by(&[session], &before, &after).is_some(), cut, "{guarded:?}");
        };
        let ours = &["198.51.100.248/29"][..];
        check(ours, &[9000, 2222], &[], true);
        check(ours, &[9000, 2222], ours, false);
        check(ours, &[9000], &[], false);
        // A stranger's connection holds up nothing.
        check(&[], &[9000, 2222], &[], false);
        // An admin network that is taken away loses the ports it was let in to.
        let on_rpc = Session { port: 9000, ..session };
        assert_eq!(cut_by(&[on_rpc], &policy(&[9000], ours), &policy(&[9000], &[])), None);
    }
}
