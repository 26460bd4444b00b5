//! Sentries that a cloud vouches for, and a validator whose own guard asks for the proof: what the controller says is not enough.

use crate::support::{DROPPED, GUARDED, dropped, serve_on};
use picket_lab::{
    Connect,
    mesh::{Agent, Cloud, CloudInstance, Mesh, MeshSize, SOON},
    wait_until,
};

/// A mesh in a cloud, one validator whose guard wants proofs, one sentry that came in with a token; all agents run.
fn guarded(label: &str) -> (Mesh, Cloud) {
    let mut mesh = Mesh::new(label, MeshSize { preps: 1, sentries: 1 }).unwrap();
    let cloud = Cloud::around(&mesh.controller).unwrap();
    let rules = Cloud::rules(&mesh.preps[0].host).unwrap();
    let guard = mesh.preps[0].host.write("guard.toml", &rules).unwrap();
    mesh.preps[0].guard = Some(guard);
    mesh.start().unwrap();
    (mesh, cloud)
}

/// Waits until the sentry reaches a guarded port of the validator, which only its tunnel leads to.
fn wait_for_tunnel(mesh: &Mesh, sentry: &Agent) {
    let to = mesh.preps[0].overlay_ports(GUARDED[0]).unwrap()[0];
    wait_until("the tunnel to carry packets", SOON, || match sentry.host.can_connect(to, DROPPED) {
        Connect::Open => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .unwrap();
}

/// The validator has no tunnel to this sentry and lets nobody in from its address, though all that it may do is in force, and
/// the operator is told why.
fn is_kept_out(mesh: &Mesh, sentry: &Agent, why: &str) {
    is_told(mesh, sentry, why);
    mesh.wait_in_force().unwrap();
    let address = sentry.overlay().unwrap().v4;
    // Into its tunnel, at the other end of which nobody knows it.
    for to in mesh.preps[0].overlay_ports(GUARDED[0]).unwrap() {
        dropped(&sentry.host, to);
    }
    let rules = mesh.preps[0].rules_in_kernel().unwrap();
    assert!(!rules.split([' ', ',', '\n', '\t']).any(|word| word == address.to_string()), "{rules}");
    let view = mesh.controller.nodes().unwrap().into_iter().find(|view| view.node.name.as_str() == "prep-1").unwrap();
    let report = view.report.unwrap();
    assert!(report.peers.keys().all(|key| *key != key_of(mesh, sentry)), "{report:?}");
}

/// Waits until the status says that the validator does not let this sentry in, and why.
fn is_told(mesh: &Mesh, sentry: &Agent, why: &str) {
    let expected = format!("host prep-1 does not let {} in: ", sentry.name());
    wait_until("the operator to be told", SOON, || {
        let alarms = mesh.controller.status().map_err(|error| error.to_string())?.alarms;
        let told = alarms.iter().any(|alarm| alarm.starts_with(&expected) && alarm.contains(why));
        if told { Ok(()) } else { Err(format!("{alarms:?}")) }
    })
    .unwrap();
}

fn key_of(mesh: &Mesh, agent: &Agent) -> picket_model::WireGuardPublicKey {
    let nodes = mesh.controller.nodes().unwrap();
    nodes
        .into_iter()
        .find(|view| view.node.name.as_str() == agent.name() && view.node.is_active())
        .unwrap()
        .node
        .wireguard_key
}

fn joined(mesh: &Mesh, mut instance: CloudInstance) -> CloudInstance {
    instance.join(&mesh.controller).unwrap();
    instance
}

#[test]
fn a_validators_guard_lets_in_whom_the_cloud_vouches_for_and_nobody_on_the_controllers_word() {
    let (mut mesh, cloud) = guarded("vouched");
    let _servers = serve_on(&mesh.preps[0]);
    let first = joined(&mesh, cloud.launch(&mesh.lab, 1).unwrap());
    wait_for_tunnel(&mesh, &first.sentry);
    is_kept_out(&mesh, &mesh.sentries[0], "came in with a join token");

    // What has been looked at is remembered: neither controller nor cloud is there when the validator boots.
    mesh.controller.kill();
    mesh.preps[0].kill();
    mesh.preps[0].start().unwrap();
    wait_for_tunnel(&mesh, &first.sentry);
    let known = mesh.preps[0].command(&["proofs"]).unwrap().success().unwrap();
    assert!(known.starts_with(&first.identity()) && known.contains("auto-1"), "{known}");
    mesh.controller.start().unwrap();

    // The operator may make an exception for a key.
    let guard = std::fs::read_to_string(mesh.preps[0].guard.as_ref().unwrap()).unwrap();
    let key = key_of(&mesh, &mesh.sentries[0]);
    mesh.preps[0].host.write("guard.toml", &format!("without_proof = [\"{key}\"]\n{guard}")).unwrap();
    mesh.preps[0].kill();
    mesh.preps[0].start().unwrap();
    wait_for_tunnel(&mesh, &mesh.sentries[0]);
    wait_for_tunnel(&mesh, &first.sentry);
}

#[test]
fn a_validator_remembers_which_key_a_document_was_first_shown_for() {
    let (mut mesh, cloud) = guarded("replayed");
    let _servers = serve_on(&mesh.preps[0]);
    let first = joined(&mesh, cloud.launch(&mesh.lab, 1).unwrap());
    wait_for_tunnel(&mesh, &first.sentry);
    // Whoever rules the controller can make it forget, and let another host in by a copied document.
    mesh.controller.picket(&["revoke", "auto-1", "--wait", "20s"]).unwrap().success().unwrap();
    mesh.controller.picket(&["identities", "forget", &first.identity()]).unwrap().success().unwrap();
    let copy = joined(&mesh, cloud.launch_as(&mesh.lab, 2, &first.id).unwrap());
    is_kept_out(&mesh, &copy.sentry, "was shown here for another WireGuard key, by auto-1");

    // An instance that was really set up anew needs the validator's operator.
    let forget = ["proofs", "forget", &first.identity()];
    let error = mesh.preps[0].command(&forget).unwrap().success().unwrap_err().to_string();
    assert!(error.contains("stop this host's agent first"), "{error}");
    mesh.preps[0].stop().unwrap();
    mesh.preps[0].command(&forget).unwrap().success().unwrap();
    mesh.preps[0].start().unwrap();
    wait_for_tunnel(&mesh, &copy.sentry);
}

#[test]
fn a_sentry_whose_next_key_a_validator_does_not_let_in_goes_on_with_the_one_it_has() {
    let (mesh, cloud) = guarded("next-key");
    let _servers = serve_on(&mesh.preps[0]);
    let first = joined(&mesh, cloud.launch(&mesh.lab, 1).unwrap());
    wait_for_tunnel(&mesh, &first.sentry);
    let key = key_of(&mesh, &first.sentry);
    // A document names no keys, so that the validator cannot know the next one.
    first.sentry.command(&["rotate-key"]).unwrap().success().unwrap();
    is_told(&mesh, &first.sentry, "was shown here for another WireGuard key");
    mesh.wait_in_force().unwrap();
    assert_eq!(key_of(&mesh, &first.sentry), key);
    wait_for_tunnel(&mesh, &first.sentry);
}
