//! One CA follows another while packets flow: nobody drops, who was away catches up, and what is of the old one is out.

use crate::support::{QUIET, serve_on};
use picket_api::ca::{CaView, RotationView};
use picket_lab::{
    mesh::{Agent, Mesh, MeshSize, SOON},
    wait_until,
};

/// Any guarded port.
const PORT: u16 = 7100;

fn rotation(mesh: &Mesh) -> Result<RotationView, String> {
    let view: CaView = mesh.controller.json(&["ca"]).map_err(|error| error.to_string())?;
    view.rotation.ok_or_else(|| "no rotation is under way".to_owned())
}

/// What a host has written down of CAs: the one it pins, and the one to follow.
fn pins(agent: &Agent) -> [Option<String>; 2] {
    let text = std::fs::read(format!("{}/identity.json", agent.state_folder())).unwrap();
    let identity: serde_json::Value = serde_json::from_slice(&text).unwrap();
    ["ca_fingerprint", "next_ca"].map(|field| identity["content"][field].as_str().map(str::to_owned))
}

fn step(mesh: &Mesh, arguments: &[&str]) -> Result<String, String> {
    let output = mesh.controller.picket(&[&["ca", "rotate"], arguments].concat()).unwrap();
    let said = output.stderr.clone();
    output.success().map_err(|_| said)
}

fn wait_for(mesh: &Mesh, what: &str, lacking: impl Fn(&RotationView) -> Vec<String>, expect: &[&str]) {
    wait_until(what, SOON, || {
        let lacking = lacking(&rotation(mesh)?);
        if lacking == expect { Ok(()) } else { Err(format!("{lacking:?} lack it")) }
    })
    .unwrap();
}

fn without_trust(view: &RotationView) -> Vec<String> {
    view.without_trust.iter().map(ToString::to_string).collect()
}

fn without_certificate(view: &RotationView) -> Vec<String> {
    view.without_certificate.iter().map(ToString::to_string).collect()
}

#[test]
fn one_ca_follows_another_under_traffic_and_hosts_that_were_away_come_back() {
    let mut mesh = Mesh::started("rotation", MeshSize { preps: 1, sentries: 3 }).unwrap();
    let _servers = serve_on(&mesh.sentries[0]);
    let stream = mesh.preps[0].host.stream(mesh.sentries[0].overlay_ports(PORT).unwrap()[0]).unwrap();
    let [old, _] = pins(&mesh.preps[0]);
    mesh.sentries[1].kill();
    mesh.sentries[2].kill();

    step(&mesh, &["--start"]).unwrap();
    let next = rotation(&mesh).unwrap().next.to_string();
    wait_for(&mesh, "the hosts that run to trust the next CA", without_trust, &["sentry-2", "sentry-3"]);
    assert_eq!(pins(&mesh.preps[0]), [old.clone(), Some(next.clone())]);
    // The controller falls over, and goes on where it was; a host that was away at the start catches up.
    mesh.controller.kill();
    mesh.controller.start().unwrap();
    mesh.sentries[1].start().unwrap();
    wait_for(&mesh, "the second sentry to trust the next CA", without_trust, &["sentry-3"]);
    let refused = step(&mesh, &["--switch"]).unwrap_err();
    assert!(refused.contains("sentry-3 have not said"), "{refused}");
    step(&mesh, &["--switch", "--force"]).unwrap();
    wait_for(&mesh, "hosts to renew at once", without_certificate, &["sentry-3"]);
    mesh.controller.kill();
    mesh.controller.start().unwrap();
    let refused = step(&mesh, &["--finish"]).unwrap_err();
    assert!(refused.contains("sentry-3 trust the old CA alone"), "{refused}");
    step(&mesh, &["--finish", "--force"]).unwrap();
    for agent in mesh.preps.iter().chain(&mesh.sentries[..2]) {
        wait_until("hosts to forget the old CA", SOON, || {
            let found = pins(agent);
            if found == [Some(next.clone()), None] { Ok(()) } else { Err(format!("{}: {found:?}", agent.name())) }
        })
        .unwrap();
    }
    stream.wait_flowing(SOON).unwrap();
    println!("longest silence of a stream through the rotation: {:?}", stream.longest_silence());
    assert!(stream.longest_silence() < QUIET, "{:?}", stream.longest_silence());
    drop(stream);

    // Who was away through all of it hears why, keeps what it has in force, and comes back by the hand of root.
    mesh.sentries[2].start().unwrap();
    wait_until("the third sentry to say why", SOON, || {
        let log = mesh.sentries[2].process().unwrap().log();
        if log.contains("was rotated") && mesh.sentries[2].is_running() { Ok(()) } else { Err(log) }
    })
    .unwrap();
    assert_eq!(pins(&mesh.sentries[2]), [old, None]);
    mesh.sentries[2].kill();
    mesh.sentries[2].command(&["trust", "--ca-fingerprint", &next]).unwrap().success().unwrap();
    mesh.sentries[2].start().unwrap();
    wait_until("all hosts to be in force", SOON * 2, || {
        let nodes = mesh.controller.nodes().map_err(|error| error.to_string())?;
        match nodes.iter().find(|view| !view.in_force || !view.connected) {
            Some(late) => Err(format!("{} is not", late.node.name)),
            None => Ok(()),
        }
    })
    .unwrap();
    mesh.wait_for_tunnels().unwrap();
}
