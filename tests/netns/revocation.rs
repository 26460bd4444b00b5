//! A revoke is done when every affected host has read it back, and running flows end with it.

use crate::support::{DROPPED, GUARDED, QUIET, dropped, serve_on};
use picket_api::operator::RevokeReceipt;
use picket_lab::{
    mesh::{Mesh, MeshSize, SOON},
    wait_until,
};
use picket_model::NodeState;

#[test]
fn a_revoked_sentry_loses_its_tunnels_everywhere_and_no_other_does() {
    let mesh = Mesh::started("revoke", MeshSize { preps: 2, sentries: 2 }).unwrap();
    let [revoked, kept] = [&mesh.sentries[0], &mesh.sentries[1]];
    let _servers = [serve_on(revoked), serve_on(kept)];
    let port = |agent: &picket_lab::mesh::Agent| agent.overlay_ports(GUARDED[0]).unwrap()[1];
    let doomed: Vec<_> = mesh.preps.iter().map(|prep| prep.host.stream(port(revoked)).unwrap()).collect();
    let others: Vec<_> = mesh.preps.iter().map(|prep| prep.host.stream(port(kept)).unwrap()).collect();

    let receipt: RevokeReceipt = mesh.controller.json(&["revoke", "sentry-1"]).unwrap();
    assert!(receipt.missing.is_empty(), "{receipt:?}");
    let names: Vec<&str> = receipt.in_force.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names.len(), 2, "{names:?}");

    for stream in doomed {
        stream.wait_dead(QUIET, SOON).unwrap();
    }
    for stream in others {
        stream.wait_flowing(SOON).unwrap();
        assert!(stream.longest_silence() < QUIET, "{:?}", stream.longest_silence());
    }
    for prep in &mesh.preps {
        assert_eq!(prep.host.ping(port(revoked).ip(), DROPPED), None);
    }
    // The revoked host notices, ends, and stays closed.
    wait_until("the revoked agent to end", SOON, || !revoked.is_running()).unwrap();
    dropped(&mesh.validators[0].host, revoked.host.v4(GUARDED[0]).unwrap());
    dropped(&mesh.stranger, revoked.host.v4(GUARDED[0]).unwrap());
    let again: RevokeReceipt = mesh.controller.json(&["revoke", "sentry-1"]).unwrap();
    assert!(again.missing.is_empty());
}

#[test]
fn a_peer_that_does_not_answer_is_named_and_cut_when_it_returns() {
    let mut mesh = Mesh::started("revoke away", MeshSize { preps: 2, sentries: 1 }).unwrap();
    let _servers = serve_on(&mesh.sentries[0]);
    mesh.preps[1].kill();
    let output = mesh.controller.picket(&["revoke", "sentry-1", "--wait", "1s", "--json"]).unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let receipt: RevokeReceipt = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(receipt.missing.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["prep-2"]);
    assert_eq!(receipt.in_force.len(), 1);
    mesh.preps[1].start().unwrap();
    wait_until("the returned host to have no tunnel to it", SOON, || {
        let nodes = mesh.controller.nodes().map_err(|error| error.to_string())?;
        let prep = nodes.iter().find(|view| view.node.name.as_str() == "prep-2").ok_or("gone")?;
        let report = prep.report.as_ref().ok_or("no report")?;
        if prep.in_force && report.kernel.peers == 0 { Ok(()) } else { Err(format!("{report:?}")) }
    })
    .unwrap();
}

#[test]
fn a_quarantined_sentry_reports_and_reaches_nobody_until_it_is_readmitted() {
    let mesh = Mesh::started("quarantine", MeshSize { preps: 2, sentries: 2 }).unwrap();
    let [aside, kept] = [&mesh.sentries[0], &mesh.sentries[1]];
    let _servers = [serve_on(aside), serve_on(kept), serve_on(&mesh.preps[0])];
    let port = |agent: &picket_lab::mesh::Agent| agent.overlay_ports(GUARDED[0]).unwrap()[1];
    let doomed: Vec<_> = mesh.preps.iter().map(|prep| prep.host.stream(port(aside)).unwrap()).collect();
    let back = aside.host.stream(port(&mesh.preps[0])).unwrap();
    let others: Vec<_> = mesh.preps.iter().map(|prep| prep.host.stream(port(kept)).unwrap()).collect();

    let receipt: RevokeReceipt = mesh.controller.json(&["quarantine", "sentry-1", "--reason", "odd traffic"]).unwrap();
    assert_eq!((receipt.in_force.len(), receipt.missing.len()), (2, 0), "{receipt:?}");
    for stream in doomed.into_iter().chain([back]) {
        stream.wait_dead(QUIET, SOON).unwrap();
    }
    for stream in others {
        stream.wait_flowing(SOON).unwrap();
        assert!(stream.longest_silence() < QUIET, "{:?}", stream.longest_silence());
    }
    // It runs, hears, and reads back that it has no tunnel; strangers are kept out of it as ever.
    wait_until("the quarantined host to report that it has no tunnel", SOON, || {
        let nodes = mesh.controller.nodes().map_err(|error| error.to_string())?;
        let view = nodes.into_iter().find(|view| view.node.name.as_str() == "sentry-1").ok_or("gone")?;
        let peers = view.report.as_ref().map(|report| report.kernel.peers);
        let aside = matches!(view.node.state, NodeState::Quarantined { .. });
        if aside && view.in_force && view.connected && peers == Some(0) { Ok(()) } else { Err(format!("{view:?}")) }
    })
    .unwrap();
    assert!(aside.is_running());
    dropped(&mesh.stranger, aside.host.v4(GUARDED[0]).unwrap());
    for prep in &mesh.preps {
        assert_eq!(prep.host.ping(port(aside).ip(), DROPPED), None);
        assert_eq!(aside.host.ping(port(prep).ip(), DROPPED), None);
    }

    mesh.controller.picket(&["readmit", "sentry-1"]).unwrap().success().unwrap();
    mesh.wait_in_force().unwrap();
    mesh.wait_for_tunnels().unwrap();
    aside.host.stream(port(&mesh.preps[0])).unwrap().wait_flowing(SOON).unwrap();
}
