//! A sentry that joins a running mesh with a hidden validator: it is given its share, one destination after another, nothing else
//! moves, and what runs through the other sentries goes on.

use crate::support::{GUARDED, serve_on};
use picket_api::paths::{DestinationPath, HostPaths, PathsView};
use picket_lab::{
    EchoServer,
    mesh::{Mesh, MeshSize, SOON},
    wait_until,
};
use std::{collections::BTreeMap, time::Duration};

/// Moves for the better come one a second; a clock on the wall may be set meanwhile, by a little.
const PACE: Duration = Duration::from_millis(900);
/// A third of the list's hundred, and room for a loaded machine.
const GIVEN: Duration = Duration::from_mins(2);

fn paths(mesh: &Mesh) -> Result<HostPaths, String> {
    let view: PathsView = mesh.controller.json(&["paths", "prep-1"]).map_err(|error| error.to_string())?;
    view.hosts.into_iter().next().ok_or_else(|| "prep-1 does not hide".into())
}

/// The sentry of each destination by name, once the host has told of all: as they were spread at its start, and not moved since.
fn carriers(mesh: &Mesh) -> BTreeMap<String, String> {
    let told = wait_until("the host to tell what carries what", SOON, || {
        let host = paths(mesh)?;
        let is_spread = mesh.sentries.iter().all(|sentry| carries(&host, sentry.name()) > 0);
        if is_spread { Ok(host.destinations) } else { Err(format!("{:?}", host.destinations)) }
    });
    let settled = |path: DestinationPath| {
        assert_eq!(path.cause, "new", "{path:?}");
        (path.destination.to_string(), path.name.to_string())
    };
    told.unwrap().value.into_iter().map(settled).collect()
}

/// How many destinations a sentry has.
fn carries(host: &HostPaths, name: &str) -> usize {
    host.destinations.iter().filter(|path| path.name.as_str() == name).count()
}

#[test]
fn a_sentry_that_joins_takes_its_share_one_by_one_and_nothing_else_moves() {
    let mut mesh = Mesh::new("hidden-added", MeshSize { preps: 1, sentries: 3 }).unwrap();
    mesh.controller.configure(|text| format!("{text}\n[[policy.hidden]]\nprep = \"prep-1\"\n")).unwrap();
    let late = mesh.sentries.pop().unwrap();
    mesh.controller.start().unwrap();
    // The validator's host comes last: it has both sentries from the start, and each has its share at once.
    for agent in mesh.sentries.iter_mut().chain(&mut mesh.preps) {
        agent.enroll(&mesh.controller).unwrap();
        agent.start().unwrap();
    }
    mesh.controller.wait_for_list().unwrap();
    mesh.wait_in_force().unwrap();
    mesh.wait_for_tunnels().unwrap();
    let _own = serve_on(&mesh.preps[0]);
    let servers: Vec<EchoServer> =
        mesh.validators.iter().map(|v| v.host.listen_echo(v.host.v4(GUARDED[0]).unwrap()).unwrap()).collect();
    let before = carriers(&mesh);
    let outward: Vec<_> = servers.iter().map(|server| mesh.preps[0].host.stream(server.address()).unwrap()).collect();
    let inward: Vec<_> = mesh
        .sentries
        .iter()
        .map(|sentry| mesh.validators[0].host.stream(sentry.host.v4(GUARDED[0]).unwrap()).unwrap())
        .collect();

    mesh.sentries.push(late);
    let late = mesh.sentries.last_mut().unwrap();
    late.enroll(&mesh.controller).unwrap();
    late.start().unwrap();
    let name = late.name().to_owned();
    let id = mesh.controller.nodes().unwrap().into_iter().find(|view| view.node.name.as_str() == name).unwrap().node.id;
    // A line about moves is closed when none was added to it for a while. It is to have a third, give or take four standard
    // deviations of the binomial distribution.
    let given = wait_until("it to have its share", GIVEN, || {
        let host = paths(&mesh)?;
        let (all, carries) = (host.destinations.len(), carries(&host, &name));
        let to_it = host.moves.iter().filter(|moved| moved.to.as_ref() == Some(&id));
        let told: usize = to_it.map(|moved| moved.count as usize).sum();
        let (expected, room) = (all as f64 / 3.0, 4.0 * (all as f64 * 2.0 / 9.0).sqrt());
        let is_share = (carries as f64 - expected).abs() < room;
        if is_share && told == carries { Ok(host) } else { Err(format!("{carries} of {all}, {told} told of")) }
    });
    let host = given.unwrap().value;

    let (all, carries) = (host.destinations.len(), carries(&host, &name));
    let mut since: Vec<_> = Vec::new();
    for path in &host.destinations {
        let (destination, now) = (path.destination.to_string(), path.name.to_string());
        if now == name {
            assert_eq!(path.cause, "its own sentry is there", "{destination}");
            since.push(path.since);
        } else {
            assert_eq!(before.get(&destination), Some(&now), "{destination} moved from one old sentry to the other");
        }
    }
    since.sort();
    let paces: Vec<Duration> = since.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(paces.iter().all(|pace| *pace >= PACE), "{paces:?}");
    println!(
        "{carries} of {all} destinations came to it, the last {:?} after the first",
        since[since.len() - 1].since(since[0])
    );

    // Whoever came in through the others goes on, and so does every call whose destination stayed.
    for stream in &inward {
        stream.wait_flowing(SOON).unwrap();
    }
    for (server, stream) in servers.iter().zip(&outward) {
        let destination = format!("{}/32", server.address().ip());
        let stayed = host
            .destinations
            .iter()
            .any(|path| path.destination.to_string() == destination && path.name.as_str() != name);
        if stayed {
            stream.wait_flowing(SOON).unwrap();
        }
    }
    // It is one of them now: in and out.
    mesh.wait_in_force().unwrap();
    let to = mesh.sentries[2].host.v4(GUARDED[0]).unwrap();
    mesh.validators[0].host.stream(to).unwrap().wait_flowing(SOON).unwrap();
}
