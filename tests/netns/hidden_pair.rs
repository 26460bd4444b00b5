//! Two hidden validators behind one sentry that has an address for each, at the same port: who calls an address reaches its
//! validator and never the other, each calls others, and they call each other as everybody does.

use crate::support::{ANSWERED, GUARDED, dropped};
use picket_lab::{
    Host,
    mesh::{Mesh, MeshSize, SOON},
    wait_until,
};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
};

/// The sentry's addresses: the first it has from the start.
const OF: [[&str; 2]; 2] = [["203.0.113.21", "2001:db8:1::21"], ["203.0.113.121", "2001:db8:1::121"]];

fn mesh() -> Mesh {
    let mut mesh = Mesh::new("hidden-pair", MeshSize { preps: 2, sentries: 1 }).unwrap();
    for (address, length) in OF[1].into_iter().zip([24, 64]) {
        mesh.sentries[0].host.add_address(&format!("{address}/{length}")).unwrap();
    }
    let line =
        |(prep, of): (usize, [&str; 2])| format!("\n[[policy.hidden]]\nprep = \"prep-{prep}\"\naddresses = {of:?}\n");
    let lines: String = (1..).zip(OF).map(line).collect();
    // The list has IPv4 alone.
    let from = mesh.validators[0].host.v6(0).unwrap().ip();
    let allow = format!("\n[[policy.allow]]\npurpose = \"p2p\"\nnetwork = \"{from}/128\"\ncomment = \"its IPv6\"\n");
    mesh.controller.configure(|text| format!("{text}{lines}{allow}")).unwrap();
    mesh.start().unwrap();
    mesh.wait_in_force().unwrap();
    mesh.wait_for_tunnels().unwrap();
    mesh
}

fn listen(host: &Host) -> TcpListener {
    // The unspecified IPv6 address takes IPv4 as well.
    let listener = host.inside(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, GUARDED[0]))).unwrap().unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// A call that is taken by the first, words both ways, and not by the second; as whom it came.
fn reaches(from: &Host, to: SocketAddr, taker: &TcpListener, other: &TcpListener) -> IpAddr {
    let called = wait_until("the call to get through", SOON, || {
        from.inside(|| TcpStream::connect_timeout(&to, ANSWERED)).unwrap().map_err(|error| error.to_string())
    });
    let mut called = called.unwrap().value;
    let taken = wait_until("the call to be taken", SOON, || taker.accept().map_err(|error| error.to_string()));
    let (mut taken, by) = taken.unwrap().value;
    assert_eq!(other.accept().map(|(_, by)| by).unwrap_err().kind(), ErrorKind::WouldBlock, "{to} is the other's");
    taken.set_nonblocking(false).unwrap();
    exchange(&mut called, &mut taken);
    exchange(&mut taken, &mut called);
    by.ip().to_canonical()
}

/// One word from the first to the second.
fn exchange(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"block").unwrap();
    to.set_read_timeout(Some(SOON)).unwrap();
    let mut heard = [0; 5];
    to.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"block");
}

#[test]
fn two_validators_at_one_port_are_told_apart_by_the_sentrys_address() {
    let mesh = mesh();
    let [own, others] = [0, 1].map(|number| listen(&mesh.preps[number].host));
    let listeners = [&own, &others];
    let at = |number: usize, family: usize| SocketAddr::new(OF[number][family].parse().unwrap(), GUARDED[0]);
    let validator = &mesh.validators[0].host;
    let inside = mesh.sentries[0].overlay().unwrap();
    for number in [0, 1] {
        for family in [0, 1] {
            let by = reaches(validator, at(number, family), listeners[number], listeners[1 - number]);
            assert!([inside.v4.into(), inside.v6.into()].contains(&by), "{by} is no sentry");
            dropped(&mesh.stranger, at(number, family));
        }
    }
    // Each calls out through the sentry, and answers come back to the one that called. The address that others see is the one
    // that the sentry itself calls from, whose validator it may be.
    let server = validator.inside(|| TcpListener::bind(validator.v4(GUARDED[0]).unwrap())).unwrap().unwrap();
    server.set_nonblocking(true).unwrap();
    for prep in &mesh.preps {
        let by = reaches(&prep.host, server.local_addr().unwrap(), &server, &own);
        assert_eq!(by.to_string(), OF[0][0]);
    }
    // And each the other, as everybody does.
    for number in [0, 1] {
        reaches(&mesh.preps[1 - number].host, at(number, 0), listeners[number], listeners[1 - number]);
    }
}
