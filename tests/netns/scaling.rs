//! Autoscaling: sentries come and go as fast as they can, one is revoked meanwhile, and nothing of them stays behind.

use crate::support::small_mesh;
use picket_api::operator::RevokeReceipt;
use picket_lab::{
    Host, Program,
    mesh::{Mesh, SOON},
    wait_until,
};
use std::{process::ExitStatus, thread};

const HOSTS: u8 = 20;
/// Whoever is revoked while the others come.
const REVOKED: usize = 7;
/// sysexits.h EX_CONFIG, how the agent of a revoked host ends.
const EX_CONFIG: i32 = 78;

/// Tunnels that the validator read back from its kernel.
fn peers(mesh: &Mesh) -> Result<usize, String> {
    let nodes = mesh.controller.nodes().map_err(|error| error.to_string())?;
    let prep = nodes.iter().find(|view| view.node.name.as_str() == "prep-1").ok_or("no validator")?;
    if !prep.in_force {
        return Err("the validator is not in force".to_owned());
    }
    Ok(prep.report.as_ref().ok_or("no report")?.kernel.peers)
}

fn active(mesh: &Mesh) -> Vec<String> {
    let nodes = mesh.controller.nodes().unwrap().into_iter();
    nodes.filter(|view| view.node.is_active()).map(|view| view.node.name.to_string()).collect()
}

#[test]
fn from_0_to_20_to_0_nothing_stays_behind_and_no_join_is_lost() {
    let mesh = small_mesh("scaling");
    let rules_before = mesh.preps[0].rules_in_kernel().unwrap();
    let create = ["token", "create", "--role", "sentry", "--uses", "20"];
    let token = mesh.controller.picket(&create).unwrap().success().unwrap().trim().to_owned();
    let host = |number: u8| {
        mesh.lab.host(&format!("auto-{number}")).address(&format!("203.0.113.{}/24", 100 + number)).create().unwrap()
    };
    let hosts: Vec<Host> = (0..HOSTS).map(host).collect();
    let sentry = Program::SentryAgent.path().unwrap();

    // All at once, and one of them is cut as soon as it is there.
    let agents: Vec<_> = thread::scope(|scope| {
        let join = |host: &Host| {
            let (state, endpoint) = (host.path("state"), host.v4(51820).unwrap().to_string());
            let place = ["--controller", mesh.controller.url(), "--name", host.name(), "--endpoint", &endpoint];
            let args = [&["enroll", "--state-dir", &state][..], &place].concat();
            let joined = host.run_with(&sentry, &args, &[("PICKET_JOIN_TOKEN", token.as_str())], SOON).unwrap();
            joined.success().unwrap();
            host.start("agent", &sentry, &["run", "--leave-on-stop", "--state-dir", &state], &[]).unwrap()
        };
        let joins: Vec<_> = hosts.iter().map(|host| scope.spawn(move || join(host))).collect();
        let revoke = ["revoke", "auto-7", "--wait", "20s", "--json"];
        let receipt = wait_until("the one to be there and to be cut", SOON, || {
            let output = mesh.controller.picket(&revoke).map_err(|error| error.to_string())?;
            serde_json::from_str::<RevokeReceipt>(&output.stdout).map_err(|_| output.stderr)
        });
        assert_eq!(receipt.unwrap().value.missing, []);
        joins.into_iter().map(|join| join.join().unwrap()).collect()
    });
    wait_until("a tunnel to each of the others", SOON, || match peers(&mesh)? {
        20 => Ok(()),
        other => Err(format!("{other} tunnels")),
    })
    .unwrap();
    mesh.wait_in_force().unwrap();
    assert_eq!(active(&mesh).len(), 21);
    assert_eq!(agents[REVOKED].wait(SOON).unwrap().code(), Some(EX_CONFIG));

    // And all away at once.
    let ends: Vec<ExitStatus> = thread::scope(|scope| {
        let others = agents.iter().enumerate().filter(|(number, _)| *number != REVOKED);
        let stops: Vec<_> = others.map(|(_, agent)| scope.spawn(move || agent.stop().unwrap())).collect();
        stops.into_iter().map(|stop| stop.join().unwrap()).collect()
    });
    assert!(ends.iter().all(ExitStatus::success), "{ends:?}");
    assert_eq!(active(&mesh), ["prep-1", "sentry-1"]);
    wait_until("the one tunnel to be left", SOON, || match peers(&mesh)? {
        1 => Ok(()),
        other => Err(format!("{other} tunnels")),
    })
    .unwrap();
    assert_eq!(mesh.preps[0].rules_in_kernel().unwrap(), rules_before);
    for host in &hosts {
        host.run("ip", &["link", "show", "picket0"]).unwrap().success().unwrap_err();
        host.nft(&["list", "table", "inet", "picket"]).unwrap();
    }
    // The names are free again, and the machines may come back with new keys.
    let again = mesh.controller.token(picket_model::NodeRole::Sentry).unwrap();
    let state = hosts[0].path("state");
    let args = ["enroll", "--controller", mesh.controller.url(), "--name", "auto-0", "--state-dir", &state];
    hosts[0].run_with(&sentry, &args, &[("PICKET_JOIN_TOKEN", again.as_str())], SOON).unwrap().success().unwrap();
    let left = hosts[0].run(&sentry, &["leave", "--state-dir", &state]).unwrap().success().unwrap();
    assert!(left.starts_with("left: auto-0"), "{left}");
    assert_eq!(active(&mesh), ["prep-1", "sentry-1"]);
}
