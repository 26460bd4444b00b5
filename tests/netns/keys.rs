//! Preshared keys of pairs and certificates: they change while packets flow, and nobody is told a secret.

use crate::support::{QUIET, reconfigure, serve_on, small_mesh, wait_listening};
use picket_lab::{
    mesh::{Agent, Mesh, SOON},
    wait_until,
};
use picket_model::{NodeConfig, Pairing};
use std::net::SocketAddr;

/// Any guarded port.
const PORT: u16 = 7100;

/// What a host holds about its one tunnel.
fn pairing(agent: &Agent) -> Option<Pairing> {
    let text = std::fs::read(format!("{}/ledger.json", agent.state_folder())).ok()?;
    let ledger: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let config: NodeConfig = serde_json::from_value(ledger["content"]["config"].clone()).ok()?;
    config.wireguard.peers.values().next()?.pairing
}

/// Waits until a host holds a pairing of another epoch than this one.
fn wait_for_epoch_after(agent: &Agent, epoch: u64) -> Pairing {
    let waited = wait_until("another epoch to be held", SOON, || {
        pairing(agent).filter(|pairing| pairing.epoch != epoch).ok_or("it is the same")
    });
    waited.unwrap().value
}

/// The lab's controller gives tunnels another preshared key after so many seconds.
fn preshared_seconds(seconds: u32) -> impl FnOnce(String) -> String {
    move |text| {
        let text = text.lines().filter(|line| !line.starts_with("keys.")).collect::<Vec<_>>().join("\n");
        format!("keys.preshared_seconds = {seconds}\n{text}\n")
    }
}

fn overlay(agent: &Agent) -> SocketAddr {
    agent.overlay_ports(PORT).unwrap()[0]
}

fn restart(agent: &mut Agent) {
    agent.kill();
    agent.start().unwrap();
}

fn wait_for_answers(mesh: &Mesh) {
    wait_until("the tunnel to carry packets", SOON * 4, || {
        mesh.preps[0].host.ping(overlay(&mesh.sentries[0]).ip(), QUIET).ok_or("no answer")
    })
    .unwrap();
}

#[test]
fn preshared_keys_change_under_traffic_and_a_late_end_keeps_its_tunnel() {
    let mut mesh = small_mesh("preshared");
    let _servers = serve_on(&mesh.sentries[0]);
    let first = pairing(&mesh.preps[0]).expect("both hosts enrolled with identity keys");
    // No file of the controller has a private key, and none of the secrets is on the wire: there is no field for one.
    let identity = std::fs::read_to_string(format!("{}/identity.key", mesh.preps[0].state_folder())).unwrap();
    for entry in std::fs::read_dir(mesh.controller.state_folder()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(identity.trim().len()).any(|window| window == identity.trim().as_bytes()));
    }

    // Epochs of two seconds: several come and go under one stream.
    let stream = mesh.preps[0].host.stream(overlay(&mesh.sentries[0])).unwrap();
    reconfigure(&mut mesh, preshared_seconds(2));
    let second = wait_for_epoch_after(&mesh.sentries[0], first.epoch);
    let third = wait_for_epoch_after(&mesh.preps[0], second.epoch);
    assert_eq!(third.identity, first.identity, "no host changes its identity");
    stream.wait_flowing(SOON).unwrap();
    assert!(stream.longest_silence() < QUIET, "{:?}", stream.longest_silence());
    drop(stream);

    // From now on the epoch stays for decades, so that each end has what it has heard of.
    reconfigure(&mut mesh, preshared_seconds(1_000_000_000));
    for agent in mesh.agents() {
        wait_until("the long epoch", SOON, || {
            let settled = |pairing: &Pairing| pairing.epoch < 100 && pairing.before.is_none();
            pairing(agent).filter(settled).ok_or("a short one is held, or known still")
        })
        .unwrap();
    }
    // A handshake under the last key: a restarted agent has no session.
    restart(&mut mesh.sentries[0]);
    wait_for_answers(&mesh);
    wait_listening(&mesh);
    mesh.wait_in_force().unwrap();

    // The validator hears of nothing any more: its way to the controller is shut, its tunnel stands.
    let held = pairing(&mesh.preps[0]).unwrap();
    mesh.preps[0].host.nft(&["add", "table", "inet", "cut"]).unwrap();
    let chain = "{ type filter hook output priority 0; }";
    mesh.preps[0].host.nft(&["add", "chain", "inet", "cut", "out", chain]).unwrap();
    mesh.preps[0].host.nft(&["add", "rule", "inet", "cut", "out", "tcp", "dport", "7443", "drop"]).unwrap();
    // Ended in order, it keeps what the validator said last.
    mesh.controller.process().unwrap().stop().unwrap();
    mesh.controller.configure(preshared_seconds(500_000_000)).unwrap();
    mesh.controller.start().unwrap();
    // The last report of the validator says that it holds the last epoch, so the sentry is told of the next one alone.
    let newer = wait_for_epoch_after(&mesh.sentries[0], held.epoch);
    assert_eq!(newer.before, Some(held.epoch));
    // Without sessions only a handshake helps, and the two have different epochs.
    restart(&mut mesh.sentries[0]);
    wait_for_answers(&mesh);
    assert_eq!(pairing(&mesh.preps[0]), Some(held), "the validator is still late");

    // It hears again, and both have the same.
    mesh.preps[0].host.nft(&["delete", "table", "inet", "cut"]).unwrap();
    assert_eq!(wait_for_epoch_after(&mesh.preps[0], held.epoch).epoch, newer.epoch);
    restart(&mut mesh.sentries[0]);
    wait_for_answers(&mesh);
}

#[test]
fn certificates_are_renewed_again_and_again_and_the_tunnel_notices_nothing() {
    let mut mesh = small_mesh("certificates");
    let _servers = serve_on(&mesh.sentries[0]);
    let stream = mesh.preps[0].host.stream(overlay(&mesh.sentries[0])).unwrap();
    reconfigure(&mut mesh, |text| format!("keys.certificate_seconds = 4\n{text}"));
    // Those made before last for eight hours: hosts that enrol from now on have short ones. The agents' own files tell.
    let certificate =
        |agent: &Agent| std::fs::read_to_string(format!("{}/certificate.pem", agent.state_folder())).unwrap();
    let late = mesh.lab.host("sentry-2").address("203.0.113.95/24").create().unwrap();
    let state = late.path("state");
    let token = mesh.controller.token(picket_model::NodeRole::Sentry).unwrap();
    let args = [
        "enroll",
        "--controller",
        mesh.controller.url(),
        "--name",
        "sentry-2",
        "--state-dir",
        &state,
        "--endpoint",
        "203.0.113.95:51820",
    ];
    let sentry = picket_lab::Program::SentryAgent.path().unwrap();
    late.run_with(&sentry, &args, &[("PICKET_JOIN_TOKEN", &token)], SOON).unwrap().success().unwrap();
    let short = || std::fs::read_to_string(format!("{state}/certificate.pem")).unwrap();
    let long = certificate(&mesh.preps[0]);
    let agent = late.start("agent", &sentry, &["run", "--state-dir", &state], &[]).unwrap();
    let mut before = short();
    for _ in 0..3 {
        before = wait_until("another certificate", SOON, || {
            let now = short();
            if now == before { Err("it is the same") } else { Ok(now) }
        })
        .unwrap()
        .value;
    }
    assert!(agent.is_running());
    mesh.wait_in_force().unwrap();
    assert_eq!(certificate(&mesh.preps[0]), long, "nobody renews before the half");
    stream.wait_flowing(SOON).unwrap();
    assert!(stream.longest_silence() < QUIET, "{:?}", stream.longest_silence());
}
