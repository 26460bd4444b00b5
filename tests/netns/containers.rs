//! Containers on a validator's host, as Docker connects them: a bridge, port numbers published by DNAT, masquerading, and
//! bridges that call the IP hooks. What is guarded is the port that a packet arrives for, whoever serves it.

use crate::support::{GUARDED, QUIET, UNGUARDED, dropped, open, reconfigure, small_mesh};
use picket_lab::{
    Connect, EchoServer, Host,
    mesh::{Mesh, SOON},
};
use std::net::{IpAddr, SocketAddr};

/// The number that a container's guarded port is published under a second time, and which nobody guards.
const ANOTHER: u16 = 17100;

/// A validator's host with two containers of one bridge, of which the first serves what the host publishes.
struct Docker {
    mesh: Mesh,
    container: Host,
    neighbour: Host,
    _servers: Vec<EchoServer>,
}

/// `port` of the first container, by the addresses of its own.
fn inside(port: u16) -> [SocketAddr; 2] {
    [SocketAddr::new([172, 17, 0, 2].into(), port), SocketAddr::new("fd00:17::2".parse::<IpAddr>().unwrap(), port)]
}

fn run(host: &Host, program: &str, script: &str) {
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        host.run(program, &line.split(' ').collect::<Vec<_>>()).unwrap().success().unwrap();
    }
}

impl Docker {
    fn new(label: &str) -> Self {
        let mesh = small_mesh(label);
        let host = &mesh.preps[0].host;
        run(
            host,
            "ip",
            "link add docker0 type bridge
             link set docker0 up
             address add 172.17.0.1/16 dev docker0
             address add fd00:17::1/64 dev docker0 nodad",
        );
        let [container, neighbour] = [2, 3].map(|number| {
            let container = mesh.lab.host(&format!("container-{number}")).create().unwrap();
            run(&container, "ip", "link delete eth0");
            let (port, namespace) = (format!("veth{number}"), container.namespace());
            run(
                host,
                "ip",
                &format!(
                    "link add {port} master docker0 type veth peer name eth0 netns {namespace}\nlink set {port} up"
                ),
            );
            run(
                &container,
                "ip",
                &format!(
                    "link set eth0 up
                     address add 172.17.0.{number}/16 dev eth0
                     address add fd00:17::{number}/64 dev eth0 nodad
                     route add default via 172.17.0.1
                     route add default via fd00:17::1"
                ),
            );
            container
        });
        for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "bridge/bridge-nf-call-iptables"] {
            host.sysctl(&format!("net/{key}"), "1").unwrap();
        }
        host.sysctl("net/bridge/bridge-nf-call-ip6tables", "1").unwrap();
        for (program, source, to) in
            [("iptables-nft", "172.17.0.0/16", "172.17.0.2"), ("ip6tables-nft", "fd00:17::/64", "[fd00:17::2]")]
        {
            run(
                host,
                program,
                &format!(
                    "-t nat -N DOCKER
                     -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
                     -t nat -A POSTROUTING -s {source} ! -o docker0 -j MASQUERADE"
                ),
            );
            for (port, inside) in [(GUARDED[0], GUARDED[0]), (UNGUARDED, UNGUARDED), (ANOTHER, GUARDED[0])] {
                run(
                    host,
                    program,
                    &format!(
                        "-t nat -A DOCKER ! -i docker0 -p tcp --dport {port} -j DNAT --to-destination {to}:{inside}"
                    ),
                );
            }
        }
        let ports = [GUARDED[0], UNGUARDED].into_iter().flat_map(inside);
        let servers = ports.map(|address| container.listen_echo(address).unwrap()).collect();
        Self { mesh, container, neighbour, _servers: servers }
    }

    fn published(&self, port: u16) -> [SocketAddr; 2] {
        let host = &self.mesh.preps[0].host;
        [host.v4(port).unwrap(), host.v6(port).unwrap()]
    }
}

/// The first thing that Docker's users learn of their firewall is that it does not see published ports.
#[test]
fn a_published_port_is_guarded_as_one_of_the_hosts_own() {
    let docker = Docker::new("published");
    let Docker { mesh, .. } = &docker;
    let [guarded4, guarded6] = docker.published(GUARDED[0]);
    for to in docker.published(UNGUARDED) {
        open(&mesh.stranger, to);
    }
    dropped(&mesh.stranger, guarded4);
    dropped(&mesh.stranger, guarded6);
    let [leaving, staying] = [&mesh.validators[0], &mesh.validators[1]];
    open(&leaving.host, guarded4);
    open(&mesh.admin, guarded6);
    // Membership is asked of every packet here as well.
    let (cut, kept) = (leaving.host.stream(guarded4).unwrap(), staying.host.stream(guarded4).unwrap());
    mesh.chain.remove(leaving.prep).unwrap();
    cut.wait_dead(QUIET, SOON).unwrap();
    kept.wait_flowing(SOON).unwrap();
    assert!(kept.longest_silence() < QUIET, "{:?}", kept.longest_silence());
    dropped(&leaving.host, guarded4);
}

/// Ports are guarded by the number that strangers knock at, so one that the operator publishes under another number is left
/// alone as any other.
#[test]
fn a_guarded_port_published_under_another_number_is_left_alone() {
    let docker = Docker::new("renumbered");
    for to in docker.published(ANOTHER) {
        open(&docker.mesh.stranger, to);
    }
    for to in docker.published(GUARDED[0]) {
        dropped(&docker.mesh.stranger, to);
    }
}

#[test]
fn a_containers_own_address_is_no_way_around_the_guard() {
    let docker = Docker::new("direct");
    let Docker { mesh, .. } = &docker;
    let host = &mesh.preps[0].host;
    // Who shares the host's network can send to its containers through it.
    for (containers, via) in [("172.17.0.0/16", host.v4(0)), ("fd00:17::/64", host.v6(0))] {
        run(&mesh.stranger, "ip", &format!("route add {containers} via {}", via.unwrap().ip()));
    }
    for (guarded, unguarded) in inside(GUARDED[0]).into_iter().zip(inside(UNGUARDED)) {
        open(&mesh.stranger, unguarded);
        dropped(&mesh.stranger, guarded);
    }
}

#[test]
fn containers_call_validators_members_and_each_other() {
    let mut docker = Docker::new("calls");
    let Docker { mesh, container, neighbour, .. } = &docker;
    let validator = &mesh.validators[0].host;
    let peers = [validator.v4(GUARDED[0]).unwrap(), validator.v6(GUARDED[0]).unwrap()];
    let sentry = &mesh.sentries[0];
    let overlay = sentry.overlay().unwrap();
    let members = [SocketAddr::new(overlay.v4.into(), GUARDED[0]), SocketAddr::new(overlay.v6.into(), GUARDED[0])];
    let _peers: Vec<_> = peers.iter().map(|at| validator.listen_echo(*at).unwrap()).collect();
    let _members: Vec<_> = members.iter().map(|at| sentry.host.listen_echo(*at).unwrap()).collect();
    for to in peers.into_iter().chain(members) {
        open(container, to);
    }
    for to in inside(GUARDED[0]) {
        open(neighbour, to);
    }
    // By the host's own address a container is somebody who is not let in: it needs a line of the policy.
    let hosts: [IpAddr; 2] = [docker.published(0)[0].ip(), [172, 17, 0, 1].into()];
    for host in hosts {
        dropped(neighbour, SocketAddr::new(host, GUARDED[0]));
        assert_eq!(neighbour.can_connect(SocketAddr::new(host, UNGUARDED), SOON), Connect::Refused);
    }
    reconfigure(&mut docker.mesh, |text| {
        format!("{text}\n[[policy.allow]]\npurpose = \"p2p\"\nnetwork = \"172.17.0.0/16\"\ncomment = \"containers\"\n")
    });
    for host in hosts {
        // Docker publishes nothing to its own containers, so that nobody listens here.
        assert_eq!(docker.neighbour.can_connect(SocketAddr::new(host, GUARDED[0]), SOON), Connect::Refused);
    }
}
