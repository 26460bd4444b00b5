//! Several controllers on one database server, with the real programs: a host has another one to ask within seconds of the death of
//! its own, however that died, and what that one is told is in force.

use crate::support::{DROPPED, GUARDED, QUIET, dropped, open, serve_on};
use picket_api::operator::RevokeReceipt;
use picket_lab::{
    mesh::{MeshSize, SOON, Several},
    wait_until,
};
use std::time::{Duration, Instant};

/// Within which an agent asks another controller, where its own was killed.
const MOVED: Duration = Duration::from_secs(5);
/// The same where the controller's host vanished without a word; it is as soon on a machine that has nothing else to do. Without
/// anybody who looks it takes 20 s and more.
const MISSED: Duration = Duration::from_secs(10);

/// Waits until everybody who waited at a controller that is dead waits at another; how long that took since then.
fn moved(several: &Several, from: &str, hosts: &[String], since: Instant) -> Duration {
    wait_until("its agents to ask another", SOON, || {
        let asked = several.asked_but(from).map_err(|error| error.to_string())?;
        if hosts.iter().all(|host| asked.contains_key(host)) { Ok(()) } else { Err(format!("{asked:?}")) }
    })
    .unwrap();
    since.elapsed()
}

fn asking(several: &Several, name: &str) -> Vec<String> {
    several.wait_asked().unwrap().value.into_iter().filter(|(_, at)| at == name).map(|(host, _)| host).collect()
}

#[test]
fn hosts_of_a_controller_that_dies_ask_another_and_a_revoke_there_is_in_force() {
    let mut several = Several::started("several", MeshSize { preps: 1, sentries: 3 }).unwrap();
    let prep = several.mesh.preps[0].host.clone();
    let _servers = serve_on(&several.mesh.preps[0]);
    let inside = several.mesh.preps[0].overlay_ports(GUARDED[0]).unwrap()[0];
    let [doomed, staying] = [0, 2].map(|sentry: usize| several.mesh.sentries[sentry].host.stream(inside).unwrap());

    let first = several.busiest().unwrap();
    let hosts = asking(&several, &first);
    several.named(&first).unwrap().kill();
    let took = moved(&several, &first, &hosts, Instant::now());
    assert!(took < MOVED, "{} hosts of {first} took {took:?}", hosts.len());

    let receipt: RevokeReceipt = several.any().unwrap().json(&["revoke", "sentry-1", "--wait", "10s"]).unwrap();
    assert!(receipt.missing.is_empty() && !receipt.in_force.is_empty(), "{receipt:?}");
    doomed.wait_dead(QUIET, SOON).unwrap();
    let overlay = several.mesh.sentries[0].overlay().unwrap().v4;
    assert_eq!(prep.ping(overlay.into(), DROPPED), None);
    let revoked = several.mesh.sentries.remove(0);
    wait_until("its agent to end", SOON, || !revoked.is_running()).unwrap();

    // The next one is not killed: its host is gone, and says nothing. The one that was killed is back by then.
    several.named(&first).unwrap().start().unwrap();
    let second = several.busiest().unwrap();
    let hosts = asking(&several, &second);
    several.named(&second).unwrap().host.unplug().unwrap();
    let took = moved(&several, &second, &hosts, Instant::now());
    assert!(took < MISSED, "{} hosts of {second} took {took:?}", hosts.len());

    staying.wait_flowing(SOON).unwrap();
    assert!(staying.longest_silence() < QUIET, "{:?}", staying.longest_silence());
    let to = prep.v4(GUARDED[0]).unwrap();
    open(&several.mesh.validators[0].host, to);
    dropped(&several.mesh.stranger, to);
}
