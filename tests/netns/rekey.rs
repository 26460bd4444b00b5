//! A host changes the key of its tunnels under a running stream, which keeps its bytes.

use crate::support::{serve_on, small_mesh};
use picket_lab::{
    mesh::{Agent, Mesh, SOON},
    wait_until,
};
use picket_model::WireGuardPublicKey;
use std::time::Duration;

/// Any guarded port.
const PORT: u16 = 7100;
/// Longer than WireGuard's own pace between two tries of a handshake, five seconds, is a tunnel that was dropped.
const DROPPED: Duration = Duration::from_secs(5);

/// The key by which the controller knows a host.
fn key(mesh: &Mesh, name: &str) -> WireGuardPublicKey {
    let nodes = mesh.controller.nodes().unwrap();
    nodes.into_iter().find(|view| view.node.name.as_str() == name).unwrap().node.wireguard_key
}

fn wait_for_another_key(mesh: &Mesh, name: &str, before: WireGuardPublicKey) {
    wait_until("another key to be in use", SOON * 2, || {
        if key(mesh, name) == before { Err("it is the same") } else { Ok(()) }
    })
    .unwrap();
}

/// Peers of the other host, by what it has read back.
fn peers_of(mesh: &Mesh, name: &str) -> Vec<WireGuardPublicKey> {
    let nodes = mesh.controller.nodes().unwrap();
    let report = nodes.into_iter().find(|view| view.node.name.as_str() == name).unwrap().report;
    report.map(|report| report.peers.into_keys().collect()).unwrap_or_default()
}

fn rotate(agent: &Agent) {
    agent.command(&["rotate-key"]).unwrap().success().unwrap();
}

#[test]
fn keys_of_both_ends_change_under_a_stream() {
    let mesh = small_mesh("rekey");
    let _servers = serve_on(&mesh.sentries[0]);
    let stream = mesh.preps[0].host.stream(mesh.sentries[0].overlay_ports(PORT).unwrap()[0]).unwrap();
    for (agent, other) in [(&mesh.preps[0], "sentry-1"), (&mesh.sentries[0], "prep-1"), (&mesh.preps[0], "sentry-1")] {
        let before = key(&mesh, agent.name());
        rotate(agent);
        wait_for_another_key(&mesh, agent.name(), before);
        let after = key(&mesh, agent.name());
        wait_until("the peer to have the new key alone", SOON, || {
            let peers = peers_of(&mesh, other);
            if peers == [after] { Ok(()) } else { Err(format!("{peers:?}")) }
        })
        .unwrap();
        stream.wait_flowing(SOON).unwrap();
        assert!(!std::path::Path::new(&format!("{}/wireguard-next.key", agent.state_folder())).exists());
        println!("{} has another key; longest silence so far {:?}", agent.name(), stream.longest_silence());
    }
    assert!(stream.longest_silence() < DROPPED, "{:?}", stream.longest_silence());
    mesh.wait_in_force().unwrap();
    mesh.wait_for_tunnels().unwrap();
}

#[test]
fn an_agent_that_crashed_after_it_took_the_key_into_use_goes_on() {
    let mut mesh = small_mesh("rekey-crash");
    let before = key(&mesh, "sentry-1");
    // Made while the agent is down: the first crash, after the key and before anybody was told.
    mesh.sentries[0].kill();
    rotate(&mesh.sentries[0]);
    // While the peer is away nobody says that it knows the key: the host announces it and does not take it into use.
    mesh.preps[0].kill();
    mesh.sentries[0].start().unwrap();
    wait_until("the key to be announced", SOON, || {
        let events = mesh.controller.events().map_err(|error| error.to_string())?;
        let is_announced = events.iter().any(|line| line.action == "node.rekey.announced");
        if is_announced { Ok(()) } else { Err("it is not".to_owned()) }
    })
    .unwrap();
    // The second, after the rename and before the controller heard of it.
    mesh.sentries[0].kill();
    let folder = mesh.sentries[0].state_folder().to_owned();
    std::fs::rename(format!("{folder}/wireguard-next.key"), format!("{folder}/wireguard.key")).unwrap();
    mesh.preps[0].start().unwrap();
    wait_until("the peer to know both keys", SOON, || {
        let peers = peers_of(&mesh, "prep-1");
        if peers.len() == 2 { Ok(()) } else { Err(format!("{peers:?}")) }
    })
    .unwrap();
    assert_eq!(key(&mesh, "sentry-1"), before, "the controller has not heard of the other key");
    mesh.sentries[0].start().unwrap();
    wait_for_another_key(&mesh, "sentry-1", before);
    mesh.wait_in_force().unwrap();
    mesh.wait_for_tunnels().unwrap();
    assert_eq!(peers_of(&mesh, "prep-1"), [key(&mesh, "sentry-1")]);
}

#[test]
fn a_host_that_an_operator_asks_changes_its_key_and_says_when() {
    let mesh = small_mesh("rekey-asked");
    let _servers = serve_on(&mesh.sentries[0]);
    let stream = mesh.preps[0].host.stream(mesh.sentries[0].overlay_ports(PORT).unwrap()[0]).unwrap();
    for (name, other) in [("sentry-1", "prep-1"), ("prep-1", "sentry-1")] {
        let before = key(&mesh, name);
        let said = mesh.controller.picket(&["keys", "rotate", name, "--wait", "30s", "--reason", "yearly"]).unwrap();
        let after = key(&mesh, name);
        assert_eq!(said.success().unwrap(), format!("{name} uses key {after} in place of {before}\n"));
        assert_ne!(after, before);
        wait_until("the peer to have the new key alone", SOON, || {
            let peers = peers_of(&mesh, other);
            if peers == [after] { Ok(()) } else { Err(format!("{peers:?}")) }
        })
        .unwrap();
        stream.wait_flowing(SOON).unwrap();
    }
    assert!(stream.longest_silence() < DROPPED, "{:?}", stream.longest_silence());
    let asked = mesh.controller.events().unwrap().into_iter().filter(|line| line.action == "node.rekey.asked");
    assert_eq!(asked.map(|line| line.reason).collect::<Vec<_>>(), vec![Some("yearly".to_owned()); 2]);
}
