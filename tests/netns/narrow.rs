//! A tunnel over a link that carries less than others do, and says so to nobody.

use crate::support::{GUARDED, reconfigure};
use picket_lab::{
    Host,
    mesh::{Mesh, MeshSize, SOON},
    wait_until,
};
use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
};

/// Of the link between, and of a packet inside the tunnel over it: less IPv4, UDP and WireGuard (20, 8 and 32 bytes), and not
/// found more finely than in steps of eight.
const LINK: u16 = 1400;
const INSIDE: std::ops::RangeInclusive<u16> = 1332..=1340;
/// More than all buffers on the way.
const MUCH: usize = 8 << 20;

/// Sends much each way between a caller and whoever listens.
fn transfer(from: &Host, to: SocketAddr, listener: &TcpListener) {
    let much = vec![7; MUCH];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.set_write_timeout(Some(SOON)).unwrap();
            stream.write_all(&much).unwrap();
            stream.read_exact(&mut vec![0; MUCH]).unwrap();
        });
        let mut stream = from.inside(|| TcpStream::connect_timeout(&to, SOON)).unwrap().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        stream.read_exact(&mut vec![0; MUCH]).unwrap();
        stream.write_all(&much).unwrap();
    });
}

#[test]
fn a_narrow_way_is_found_and_large_transfers_get_through_both_ways() {
    let mut mesh = Mesh::started("narrow", MeshSize { preps: 1, sentries: 1 }).unwrap();
    reconfigure(&mut mesh, |text| format!("{text}\n[[policy.hidden]]\nprep = \"prep-1\"\n"));
    let (prep, sentry) = (&mesh.preps[0], &mesh.sentries[0]);
    sentry.host.narrow(LINK).unwrap();
    let found = wait_until("the narrow way to be told", SOON * 2, || {
        let nodes = mesh.controller.nodes().map_err(|error| error.to_string())?;
        let report = nodes.into_iter().find(|view| view.node.name.as_str() == prep.name()).and_then(|view| view.report);
        match report.and_then(|report| report.narrow.into_values().next()) {
            Some(mtu) if INSIDE.contains(&mtu) => Ok(mtu),
            other => Err(format!("{other:?}")),
        }
    })
    .unwrap()
    .value;
    let overlay = sentry.overlay().unwrap().v4;
    wait_until("the route to be held to it", SOON, || {
        let way = prep.host.run("ip", &["route", "show", &overlay.to_string()]).and_then(|out| out.success());
        let way = way.map_err(|error| error.to_string())?;
        if way.contains(&format!("mtu {found}")) { Ok(()) } else { Err(way) }
    })
    .unwrap();
    // As a validator calls it, forwarded by the sentry; and as it calls a validator.
    let own = prep.host.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, GUARDED[0]))).unwrap().unwrap();
    let validator = &mesh.validators[0].host;
    transfer(validator, sentry.host.v4(GUARDED[0]).unwrap(), &own);
    let at = validator.v4(GUARDED[0]).unwrap();
    let theirs = validator.inside(|| TcpListener::bind(at)).unwrap().unwrap();
    transfer(&prep.host, at, &theirs);
    // The operator is told.
    wait_until("the alarm", SOON * 2, || {
        let complaints = mesh.controller.complaints().map_err(|error| error.to_string())?;
        match complaints.iter().any(|line| line.contains("carries packets of")) {
            true => Ok(()),
            false => Err(format!("{complaints:?}")),
        }
    })
    .unwrap();
}
