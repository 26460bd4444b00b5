//! Silence is not an order: agents and controllers die and come back, and nothing opens and nothing is lost.

use crate::support::{GUARDED, QUIET, dropped, open, serve_on, small_mesh, table};
use picket_lab::mesh::{Agent, SOON};

#[test]
fn an_agent_that_dies_leaves_the_firewall_in_force_and_comes_back_by_its_ledger() {
    let mut mesh = small_mesh("agent dies");
    let _servers = serve_on(&mesh.preps[0]);
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    let before = table(&mesh.preps[0]);
    mesh.preps[0].kill();
    dropped(&mesh.stranger, to);
    open(&mesh.validators[0].host, to);
    mesh.controller.kill();
    mesh.preps[0].start().unwrap();
    mesh.wait_for_tunnels().unwrap();
    assert_eq!(before, table(&mesh.preps[0]));
    dropped(&mesh.stranger, to);
    open(&mesh.validators[0].host, to);
}

#[test]
fn a_controller_that_dies_and_comes_back_changes_nothing() {
    let mut mesh = small_mesh("controller dies");
    let _servers = serve_on(&mesh.preps[0]);
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    let stream = mesh.validators[0].host.stream(to).unwrap();
    let inside = mesh.sentries[0].host.stream(mesh.preps[0].overlay_ports(GUARDED[0]).unwrap()[0]).unwrap();
    let before: Vec<String> = mesh.agents().map(table).collect();
    let status = mesh.controller.status().unwrap();
    let (nodes, validators) = (mesh.controller.nodes().unwrap(), mesh.controller.validators().unwrap());
    mesh.controller.kill();
    dropped(&mesh.stranger, to);
    open(&mesh.validators[0].host, to);
    mesh.controller.start().unwrap();
    mesh.wait_in_force().unwrap();
    assert_eq!(mesh.controller.status().unwrap().generation, status.generation);
    let names = |views: Vec<picket_api::operator::NodeView>| -> Vec<_> { views.into_iter().map(|v| v.node).collect() };
    assert_eq!(names(mesh.controller.nodes().unwrap()), names(nodes));
    assert_eq!(mesh.controller.validators().unwrap().validators, validators.validators);
    assert_eq!(before, mesh.agents().map(table).collect::<Vec<_>>());
    for stream in [stream, inside] {
        stream.wait_flowing(SOON).unwrap();
        assert!(stream.longest_silence() < QUIET, "{:?}", stream.longest_silence());
    }
}

#[test]
fn what_changes_while_an_agent_is_cut_off_reaches_it_afterwards() {
    let mesh = small_mesh("cut off");
    let prep = &mesh.preps[0];
    let _servers = serve_on(prep);
    let to = prep.host.v4(GUARDED[0]).unwrap();
    mesh.controller.host.unplug().unwrap();
    mesh.chain.remove(mesh.validators[0].prep).unwrap();
    open(&mesh.validators[0].host, to);
    dropped(&mesh.stranger, to);
    mesh.controller.host.plug().unwrap();
    picket_lab::wait_until("the change to arrive", SOON * 2, || {
        let found = mesh.validators[0].host.can_connect(to, crate::support::DROPPED);
        found.must_be(picket_lab::Connect::Filtered)
    })
    .unwrap();
}

#[test]
fn an_unreadable_ledger_is_an_error_and_changes_nothing() {
    let mut mesh = small_mesh("ledger");
    let _servers = serve_on(&mesh.preps[0]);
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    let before = table(&mesh.preps[0]);
    mesh.preps[0].kill();
    damage(&mesh.preps[0], "ledger.json");
    for command in ["run", "lockdown"] {
        fails_naming(&mesh.preps[0], command, "ledger.json");
        assert_eq!(before, table(&mesh.preps[0]));
    }
    dropped(&mesh.stranger, to);
}

#[test]
fn an_agent_that_cannot_start_leaves_no_guarded_port_open() {
    let mut mesh = small_mesh("cannot start");
    mesh.preps[0].kill();
    let prep = &mesh.preps[0];
    let _servers = serve_on(prep);
    let to = prep.host.v4(GUARDED[0]).unwrap();
    for (file, commands) in [
        ("certificate.pem", &["run"][..]),
        ("wireguard.key", &["run"]),
        ("ledger.json", &["run", "lockdown"]),
        ("identity.json", &["run", "lockdown"]),
    ] {
        damage(prep, file);
        for command in commands {
            prep.host.nft(&["delete", "table", "inet", "picket"]).unwrap();
            open(&mesh.stranger, to);
            fails_naming(prep, command, file);
            dropped(&mesh.stranger, to);
            dropped(&mesh.validators[0].host, to);
        }
    }
}

#[test]
fn an_agent_on_a_host_that_never_enrolled_changes_nothing() {
    let mesh = small_mesh("never enrolled");
    let host = mesh.lab.host("fresh").address("203.0.113.77/24").create().unwrap();
    let agent = picket_lab::Program::PrepAgent.path().unwrap();
    let output = host.run(agent, &["run", "--state-dir", &host.path("state")]).unwrap();
    assert!(!output.status.success() && output.stderr.contains("not enrolled"), "{output:?}");
    host.nft(&["list", "table", "inet", "picket"]).unwrap_err();
}

#[test]
fn a_host_is_closed_before_it_has_heard_anything() {
    let mesh = small_mesh("lockdown");
    let stranger = &mesh.stranger;
    let host = mesh.lab.host("fresh").address("203.0.113.77/24").create().unwrap();
    let _server = host.listen_echo(host.v4(GUARDED[0]).unwrap()).unwrap();
    open(stranger, host.v4(GUARDED[0]).unwrap());
    let agent = picket_lab::Program::PrepAgent.path().unwrap();
    host.run(agent, &["lockdown", "--state-dir", &host.path("state")]).unwrap().success().unwrap();
    dropped(stranger, host.v4(GUARDED[0]).unwrap());
}

fn damage(agent: &Agent, file: &str) {
    std::fs::write(format!("{}/{file}", agent.state_folder()), b"\xff").unwrap();
}

/// A command ends with an error that names the file.
fn fails_naming(agent: &Agent, command: &str, file: &str) {
    let output = agent.command(&[command]).unwrap();
    assert!(!output.status.success());
    assert!(output.stderr.contains(file), "{}", output.stderr);
}
