//! A sentry that is lost to a hidden validator: its share moves within seconds, the other's goes on, and both what dies with it and
//! what died before the agent started is told.

use crate::{
    hidden::{LATER, REROUTED, hidden_mesh, told_dead, ways},
    support::{DROPPED, GUARDED, QUIET},
};
use picket_lab::{
    Connect, EchoServer,
    mesh::{Mesh, SOON},
    wait_until,
};
use std::{
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    time::Instant,
};

#[test]
fn the_loss_of_a_sentry_moves_its_share_within_seconds_and_dead_flows_are_told() {
    let mesh = hidden_mesh("hidden-cut", 2, "");
    let prep = &mesh.preps[0];
    let servers: Vec<EchoServer> =
        mesh.validators.iter().map(|v| v.host.listen_echo(v.host.v4(GUARDED[0]).unwrap()).unwrap()).collect();
    let own = prep.host.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, GUARDED[0]))).unwrap().unwrap();
    let outward: Vec<_> = servers.iter().map(|server| prep.host.stream(server.address()).unwrap()).collect();
    let to = mesh.sentries[0].host.v4(GUARDED[0]).unwrap();
    let _caller = mesh.validators[0].host.inside(|| TcpStream::connect(to)).unwrap().unwrap();
    let (inward, _) = own.accept().unwrap();
    let of_other = mesh.sentries[1].host.v4(0).unwrap().ip();
    let IpAddr::V4(of_other) = of_other else { panic!("{of_other}") };
    let through_other = |server: usize| mesh.validators[server].host.inside(|| established_to(of_other)).unwrap() > 0;
    let kept: Vec<bool> = (0..servers.len()).map(through_other).collect();
    // One that was never heard is waited for a while: the test after this one.
    heard(&mesh);
    let cut = Instant::now();
    mesh.sentries[0].host.unplug().unwrap();
    for server in &servers {
        wait_until("a new call to get through", SOON, || match prep.host.can_connect(server.address(), DROPPED) {
            Connect::Open => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .unwrap();
    }
    assert!(cut.elapsed() < REROUTED, "{:?}", cut.elapsed());
    // What was the other sentry's goes on, and nothing else does.
    for (stream, kept) in outward.iter().zip(kept) {
        if kept {
            stream.wait_flowing(SOON).unwrap();
        } else {
            stream.wait_dead(QUIET, SOON).unwrap();
        }
    }
    told_dead(&inward);
}

#[test]
fn an_agent_that_starts_while_a_sentry_is_away_tells_the_flows_that_died_with_it() {
    let mut mesh = hidden_mesh("hidden-away", 2, "");
    let own = mesh.preps[0].host.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, GUARDED[0]))).unwrap().unwrap();
    let to = mesh.sentries[0].host.v4(GUARDED[0]).unwrap();
    let _caller = mesh.validators[0].host.inside(|| TcpStream::connect(to)).unwrap().unwrap();
    let (inward, _) = own.accept().unwrap();
    mesh.preps[0].kill();
    mesh.sentries[0].host.unplug().unwrap();
    mesh.preps[0].start().unwrap();
    told_dead(&inward);
}

/// Waits until the validator's host says that each of its sentries answers it.
fn heard(mesh: &Mesh) {
    wait_until("every sentry to be heard", LATER, || {
        let sentries = ways(mesh)?;
        let ways: Vec<_> = sentries.iter().map(|sentry| sentry.way.as_ref().map(|way| way.way.as_str())).collect();
        let are_good = ways.len() == mesh.sentries.len() && ways.iter().all(|way| *way == Some("good"));
        if are_good { Ok(()) } else { Err(format!("{ways:?}")) }
    })
    .unwrap();
}

/// Connections of this host with an address.
fn established_to(address: Ipv4Addr) -> usize {
    let address = format!("{:08X}:", u32::from_ne_bytes(address.octets()));
    // Docs: `proc(5)`, `/proc/net/tcp`; a server on all addresses of both families has its connections in `tcp6`.
    let tables =
        ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"].map(|file| std::fs::read_to_string(file).unwrap());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    // The third word is the other end, the fourth the state: 01 is established.
    let is_it = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().take(4).collect();
        matches!(words.as_slice(), [_, _, remote, "01"] if remote.contains(&address))
    };
    lines.filter(is_it).count()
}
