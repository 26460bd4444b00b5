//! Hosts in force as nmap sees them, which nobody here wrote: from outside, from those who are let in and from inside the mesh.
//! Each kind of scan is held against somebody for whom it finds something, so that silence means what we say it means.

use crate::support::{GUARDED, UNGUARDED, small_mesh};
use picket_lab::{Host, mesh::Mesh};
use std::{collections::BTreeMap, net::IpAddr, thread, time::Duration};

const NMAP: &str = "/usr/bin/nmap";
/// Guarded, and nobody listens: here closed and open look otherwise in every kind of scan.
const NOBODY: u16 = GUARDED[2];
/// Not guarded, and nobody listens.
const UNGUARDED_NOBODY: u16 = 2223;
const PATIENCE: Duration = Duration::from_secs(60);

/// What a scan calls a port that nothing came back from, one with a listener, and one without.
struct Scan {
    args: &'static [&'static str],
    silent: &'static str,
    open: &'static str,
    closed: &'static str,
}

const fn scan(args: &'static [&'static str], [silent, open, closed]: [&'static str; 3]) -> Scan {
    Scan { args, silent, open, closed }
}

const SYN: [&str; 3] = ["filtered", "open", "closed"];
/// An answer of any kind to one of these is a packet that got through.
const ACK: [&str; 3] = ["filtered", "unfiltered", "unfiltered"];
const ODD: [&str; 3] = ["open|filtered", "open|filtered", "closed"];
const UDP: [&str; 3] = ["open|filtered", "open", "closed"];

const BOTH: [Scan; 11] = [
    scan(&["-sS"], SYN),
    scan(&["-sT"], SYN),
    scan(&["-sA"], ACK),
    scan(&["-sF"], ODD),
    scan(&["-sN"], ODD),
    scan(&["-sX"], ODD),
    scan(&["-sM"], ["open|filtered", "closed", "closed"]),
    scan(&["-sU"], UDP),
    scan(&["-sS", "-g", "53"], SYN),
    scan(&["-sS", "-g", "7100"], SYN),
    scan(&["-sA", "-g", "51820"], ACK),
];
/// nmap makes fragments of IPv4 alone; `packets` has those of IPv6.
const V4_ONLY: [Scan; 3] = [scan(&["-sS", "-f"], SYN), scan(&["-sA", "-f"], ACK), scan(&["-sX", "-f"], ODD)];

/// What nmap says of each port.
fn nmap(from: &Host, to: IpAddr, args: &[&str], ports: &str) -> BTreeMap<u16, String> {
    let address = to.to_string();
    let mut all = vec!["-n", "-Pn", "-T4", "--max-retries", "2", "-oX", "-", "-p", ports];
    if to.is_ipv6() {
        all.push("-6");
    }
    all.extend(args);
    all.push(&address);
    let xml = from.run_with(NMAP, &all, &[], PATIENCE).unwrap().success().unwrap();
    assert!(xml.contains("exit=\"success\""), "{xml}");
    let attribute = |text: &str, name: &str| {
        let rest = text.split_once(&format!(" {name}=\"")).unwrap_or_else(|| panic!("no {name} in {text}")).1;
        rest.split_once('"').unwrap().0.to_owned()
    };
    let ports = xml.split("<port ").skip(1);
    ports.map(|port| (attribute(&format!(" {port}"), "portid").parse().unwrap(), attribute(port, "state"))).collect()
}

/// Every kind of scan from one host to another, all at once: they mostly wait.
fn judge(from: &Host, to: IpAddr, is_let_in: bool) {
    let ports: Vec<u16> = GUARDED.into_iter().chain([UNGUARDED, UNGUARDED_NOBODY]).collect();
    let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let judge = |scan: &Scan| {
        let seen = nmap(from, to, scan.args, &list);
        let expected = ports.iter().map(|port| {
            let state = match *port {
                UNGUARDED => scan.open,
                UNGUARDED_NOBODY => scan.closed,
                _ if !is_let_in => scan.silent,
                NOBODY => scan.closed,
                _ => scan.open,
            };
            (*port, state.to_owned())
        });
        assert_eq!(seen, expected.collect(), "{} to {to}: {:?}", from.name(), scan.args);
    };
    thread::scope(|scope| {
        let more = if to.is_ipv4() { V4_ONLY.as_slice() } else { &[] };
        for scan in BOTH.iter().chain(more) {
            scope.spawn(|| judge(scan));
        }
    });
}

/// A mesh whose agents' hosts serve all but one guarded port, and tell of closed UDP ports as often as they are asked.
fn served(label: &str) -> (Mesh, Vec<picket_lab::EchoServer>) {
    let mesh = small_mesh(label);
    let mut servers = Vec::new();
    for agent in mesh.agents() {
        for port in [GUARDED[0], GUARDED[1], UNGUARDED] {
            let any = std::net::Ipv6Addr::UNSPECIFIED;
            servers.push(agent.host.listen_echo((any, port).into()).unwrap());
        }
        agent.host.sysctl("net/ipv4/icmp_ratelimit", "0").unwrap();
        agent.host.sysctl("net/ipv6/icmp/ratelimit", "0").unwrap();
    }
    (mesh, servers)
}

#[test]
fn nmap_finds_guarded_ports_silent_from_outside() {
    let (mesh, _servers) = served("nmap-outside");
    for agent in mesh.agents() {
        let [v4, v6] = [agent.host.v4(0), agent.host.v6(0)].map(|address| address.unwrap().ip());
        judge(&mesh.stranger, v4, false);
        judge(&mesh.stranger, v6, false);
        // The list knows this validator by its IPv4 address only.
        judge(&mesh.validators[0].host, v6, false);
        // Every port there is: nothing is open but what we put there.
        let open = nmap(&mesh.stranger, v4, &["-sS", "--min-rate", "10000", "--open"], "1-65535");
        let open: Vec<_> = open.iter().filter(|(_, state)| *state == "open").map(|(port, _)| *port).collect();
        assert_eq!(open, [UNGUARDED], "{}", agent.name());
    }
    // A member's packets count inside the tunnel.
    let [prep, sentry] = [&mesh.preps[0].host, &mesh.sentries[0].host];
    judge(sentry, prep.v4(0).unwrap().ip(), false);
}

#[test]
fn nmap_finds_guarded_ports_as_they_are_from_where_they_are_open() {
    let (mesh, _servers) = served("nmap-inside");
    for agent in mesh.agents() {
        let [v4, v6] = [agent.host.v4(0), agent.host.v6(0)].map(|address| address.unwrap().ip());
        judge(&mesh.validators[0].host, v4, true);
        judge(&mesh.admin, v6, true);
    }
    let [prep, sentry] = [&mesh.preps[0], &mesh.sentries[0]];
    for (from, to) in [(sentry, prep), (prep, sentry)] {
        let overlay = to.overlay().unwrap();
        judge(&from.host, overlay.v4.into(), true);
        judge(&from.host, overlay.v6.into(), true);
    }
}
