//! Near sentries before far ones: a hidden validator's calls leave through those that are near, and through a far one while no near
//! one carries packets.

use crate::{
    hidden::{Called, LATER, REROUTED, called_through, reconfigured_hidden, ways},
    support::DROPPED,
};
use picket_api::paths::SentryPath;
use picket_lab::{
    Host, LongWay,
    mesh::{Mesh, MeshSize},
    wait_until,
};
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

/// One way, there or back; a round trip is twice as long.
const FAR: Duration = Duration::from_millis(60);

/// Two sentries nearby, and one that every host reaches by a long way alone.
fn mesh_with_a_far_sentry() -> (Mesh, LongWay) {
    let mut mesh = Mesh::new("hidden-near", MeshSize { preps: 1, sentries: 3 }).unwrap();
    let region: Host = mesh.lab.host("region").address("198.51.100.200/24").create().unwrap();
    let far = &mut mesh.sentries[2];
    let way = region.long_way(51820, far.host.v4(51820).unwrap(), FAR).unwrap();
    far.endpoint = Some(way.address());
    mesh.start().unwrap();
    mesh.wait_in_force().unwrap();
    mesh.wait_for_tunnels().unwrap();
    (mesh, way)
}

#[test]
fn calls_leave_through_near_sentries_and_through_a_far_one_while_no_near_one_answers() {
    let (mut mesh, _way) = mesh_with_a_far_sentry();
    reconfigured_hidden(&mut mesh, "near_milliseconds = 50");
    let prep = &mesh.preps[0].host;
    let called: Vec<Called> = mesh.validators.iter().map(|validator| Called::at(&validator.host)).collect();
    wait_until("all to leave the far sentry", LATER * 2, || {
        let (near, far) = (way_to(&mesh, "sentry-1")?, way_to(&mesh, "sentry-3")?);
        let (way, round_trip) = (far.way.as_ref().map(|way| way.way.as_str()), round_trip(&far));
        // Nobody carries anything before the first report of it.
        let is_left = near.carries > 0 && far.carries == 0 && way == Some("good") && round_trip >= FAR * 2;
        if is_left { Ok(()) } else { Err(format!("carries {}, {way:?}, {round_trip:?}", far.carries)) }
    })
    .unwrap();
    let far: IpAddr = mesh.sentries[2].host.v4(0).unwrap().ip();
    for called in &called {
        assert_ne!(called.by(prep), far);
    }
    let cut = Instant::now();
    for near in &mesh.sentries[..2] {
        near.host.unplug().unwrap();
    }
    called_through(&called[0], prep, &mesh.sentries[2]);
    assert!(cut.elapsed() < REROUTED + DROPPED, "{:?}", cut.elapsed());
    for called in &called[1..] {
        called_through(called, prep, &mesh.sentries[2]);
    }
    for near in &mesh.sentries[..2] {
        near.host.plug().unwrap();
    }
    // One destination a second comes back, in any order.
    wait_until("near sentries to carry again", LATER * 2, || match way_to(&mesh, "sentry-1")? {
        near if near.carries > 0 => Ok(()),
        near => Err(format!("{near:?}")),
    })
    .unwrap();
}

/// What the validator's host says of its way through a sentry.
fn way_to(mesh: &Mesh, sentry: &str) -> Result<SentryPath, String> {
    ways(mesh)?.into_iter().find(|path| path.name.as_str() == sentry).ok_or_else(|| "it is not told of".to_owned())
}

fn round_trip(path: &SentryPath) -> Duration {
    let microseconds = path.way.as_ref().and_then(|way| way.round_trip_us).unwrap_or(0);
    Duration::from_micros(microseconds.into())
}
