//! A change after which the controller cannot be reached is taken back by the host itself, and nothing else is.

use crate::support::{GUARDED, dropped, open, serve_on, wait_calm, wait_told};
use picket_lab::{
    Host,
    mesh::{Agent, Mesh, MeshSize, SOON},
    wait_until,
};
use picket_model::NodeRole;
use std::net::SocketAddr;

/// Ports from which the validator's host makes its own calls here: guarded, no answer of the controller arrives.
const CALLS: &str = "20000 20009";
/// One of them, as nft shows it.
const CALL: &str = "20003";

/// A validator whose guard lets such ports be guarded, so that a controller that lies gets as far as that.
fn mesh(label: &str, confirm_seconds: u16) -> Mesh {
    let mut mesh = Mesh::new(label, MeshSize { preps: 1, sentries: 1 }).unwrap();
    let prep = &mut mesh.preps[0];
    let ports: Vec<u16> = (20000..20010).collect();
    let rules = format!("guardable = {ports:?}\nconfirm_seconds = {confirm_seconds}\n");
    prep.guard = Some(prep.host.write("guard.toml", &rules).unwrap());
    prep.host.sysctl("net/ipv4/ip_local_port_range", CALLS).unwrap();
    mesh.start().unwrap();
    mesh.wait_in_force().unwrap();
    wait_confirmed(&mesh.preps[0]);
    mesh
}

/// The controller's host takes no new connection of the validator's host from now on, or those alone that `limit` lets
/// through; connections that stand go on.
fn take_no_new_connection(mesh: &Mesh, limit: &str) {
    let prep = mesh.preps[0].host.v4(0).unwrap().ip();
    let deaf = format!(
        "table inet deaf {{ chain input {{ type filter hook input priority 0; \
         ip saddr {prep} tcp dport 7443 tcp flags syn / fin,syn,rst,ack {limit} drop; }}; }}"
    );
    mesh.controller.host.load_nft(&deaf).unwrap();
}

/// The controller's policy guards the ports from which the host calls it, until it is told otherwise.
fn lie(mesh: &mut Mesh) {
    mesh.controller.kill();
    let ports: Vec<u16> = [9000, 9080].into_iter().chain(20000..20010).collect();
    mesh.controller
        .configure(|text| {
            text.replace("[policy]\n", &format!("[policy]\nports = {{ p2p = [7100], rpc = {ports:?} }}\n"))
        })
        .unwrap();
    mesh.controller.start().unwrap();
}

fn ledger(agent: &Agent) -> String {
    std::fs::read_to_string(format!("{}/ledger.json", agent.state_folder())).unwrap()
}

fn wait_confirmed(agent: &Agent) {
    wait_until("what is held to be confirmed", SOON, || !ledger(agent).contains("\"trial\"")).unwrap();
}

fn wait_guarded(agent: &Agent, port: &str, guarded: bool) {
    wait_until(&format!("port {port} to be guarded: {guarded}"), SOON, || {
        let rules = agent.rules_in_kernel().map_err(|error| error.to_string())?;
        if rules.contains(port) == guarded { Ok(()) } else { Err(rules) }
    })
    .unwrap();
}

/// What the promise is, whatever became of a change.
fn is_guarded(mesh: &Mesh, to: SocketAddr) {
    dropped(&mesh.stranger, to);
    open(&mesh.validators[0].host, to);
}

/// A route more: the one kind of change here that makes a trial and needs no restart of the controller. The sentry only joins.
fn enroll_another(mesh: &Mesh) -> Host {
    let host = mesh.lab.host("sentry-9").address("203.0.113.29/24").create().unwrap();
    let program = picket_lab::Program::SentryAgent.path().unwrap();
    let (token, state) = (mesh.controller.token(NodeRole::Sentry).unwrap(), host.path("state"));
    let endpoint = host.v4(51820).unwrap().to_string();
    let args = ["enroll", "--controller", mesh.controller.url(), "--name", "sentry-9", "--state-dir", &state];
    let args = [&args[..], &["--endpoint", &endpoint]].concat();
    host.run_with(&program, &args, &[("PICKET_JOIN_TOKEN", &token)], SOON).unwrap().success().unwrap();
    host
}

#[test]
fn a_change_that_cuts_the_controller_off_is_taken_back_and_told() {
    let mut mesh = mesh("cut off", 2);
    let _servers = serve_on(&mesh.preps[0]);
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    lie(&mut mesh);
    wait_guarded(&mesh.preps[0], CALL, true);
    is_guarded(&mesh, to);
    wait_guarded(&mesh.preps[0], CALL, false);
    is_guarded(&mesh, to);
    wait_told(&mesh, "change-taken-back", "host prep-1 took revision");
    // The sentry's guard says nothing of such ports, and so never went as far.
    let nodes = mesh.controller.nodes().unwrap();
    let sentry =
        nodes.into_iter().find(|view| view.node.name.as_str() == "sentry-1").and_then(|view| view.report).unwrap();
    assert!(sentry.refused.as_ref().is_some_and(|why| why.contains("`guardable`")), "{:?}", sentry.refused);
    let taken = ledger(&mesh.preps[0]);
    assert!(taken.contains("\"taken_back\"") && !taken.contains("\"trial\""), "{taken}");
    let status = mesh.preps[0].command(&["status"]).unwrap().success().unwrap();
    assert!(status.contains("taken back  revision"), "{status}");
    // Neither a restart nor the controller's insisting brings it back: only something newer is taken.
    mesh.preps[0].kill();
    mesh.preps[0].start().unwrap();
    wait_until("the agent to be at work", SOON, || {
        mesh.preps[0].process().is_some_and(|p| p.log().contains("in force"))
    })
    .unwrap();
    wait_guarded(&mesh.preps[0], CALL, false);
    mesh.controller.kill();
    let honest = |line: &&str| !line.starts_with("ports");
    mesh.controller.configure(|text| text.lines().filter(honest).map(|line| format!("{line}\n")).collect()).unwrap();
    mesh.controller.start().unwrap();
    mesh.wait_in_force().unwrap();
    wait_confirmed(&mesh.preps[0]);
    wait_calm(&mesh);
    is_guarded(&mesh, to);
}

#[test]
fn an_agent_killed_while_a_change_is_on_trial_comes_back_with_what_was_confirmed() {
    let mut mesh = mesh("killed on trial", 600);
    let _servers = serve_on(&mesh.preps[0]);
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    lie(&mut mesh);
    wait_guarded(&mesh.preps[0], CALL, true);
    assert!(ledger(&mesh.preps[0]).contains("\"trial\""), "written down before it is applied");
    mesh.preps[0].kill();
    is_guarded(&mesh, to);
    // What a machine that starts now loads is what was confirmed.
    mesh.preps[0].command(&["lockdown"]).unwrap().success().unwrap();
    wait_guarded(&mesh.preps[0], CALL, false);
    is_guarded(&mesh, to);
    // The agent tries once more, since it may have been killed for another reason; stopped, it leaves what was confirmed.
    mesh.preps[0].start().unwrap();
    wait_guarded(&mesh.preps[0], CALL, true);
    mesh.preps[0].stop().unwrap();
    wait_guarded(&mesh.preps[0], CALL, false);
    is_guarded(&mesh, to);
    let held = ledger(&mesh.preps[0]);
    assert!(held.contains("ended twice") && !held.contains("\"trial\""), "{held}");
    mesh.preps[0].start().unwrap();
    wait_told(&mesh, "change-taken-back", "ended twice");
    wait_guarded(&mesh.preps[0], CALL, false);
    is_guarded(&mesh, to);
}

#[test]
fn the_silence_of_a_controller_that_was_away_before_takes_nothing_back() {
    let mesh = mesh("away before", 1);
    // Before the change as after it.
    take_no_new_connection(&mesh, "");
    let _host = enroll_another(&mesh);
    let log = || mesh.preps[0].process().unwrap().log();
    wait_until("the change to be kept", SOON, || {
        log().contains("verdict=WasAway") || log().contains("verdict=PeerHeard")
    })
    .unwrap();
    wait_confirmed(&mesh.preps[0]);
    let held = ledger(&mesh.preps[0]);
    assert!(held.contains("sentry-9") && !held.contains("\"trial\"") && !held.contains("taken_back"), "{held}");
}

#[test]
fn a_controller_that_goes_silent_right_after_a_change_does_not_cost_the_change() {
    let mesh = mesh("silent after", 1);
    // The first one comes about, which is tried before the change, and no other.
    take_no_new_connection(&mesh, "quota over 60 bytes");
    let _host = enroll_another(&mesh);
    let log = || mesh.preps[0].process().unwrap().log();
    wait_until("the change to be taken back", SOON, || log().contains("change taken back")).unwrap();
    wait_until("another cause to be found", SOON, || log().contains("it is not to blame, and held again")).unwrap();
    wait_until("the change to be held", SOON, || {
        let held = ledger(&mesh.preps[0]);
        let is_held = held.contains("sentry-9") && !held.contains("\"trial\"") && !held.contains("\"suspected\"");
        if is_held && !held.contains("taken_back") { Ok(()) } else { Err(held) }
    })
    .unwrap();
}

/// The look before a change takes two seconds where no new connection comes about, and the revoke comes by one that stands.
#[test]
fn a_revoke_does_not_wait_for_the_look_before_another_change() {
    let mesh = mesh("revoke in the look", 600);
    take_no_new_connection(&mesh, "");
    let _host = enroll_another(&mesh);
    let gone = mesh.sentries[0].overlay().unwrap().v6.to_string();
    assert!(mesh.preps[0].rules_in_kernel().unwrap().contains(&gone));
    mesh.controller.picket(&["revoke", "sentry-1", "--wait", "1ms"]).unwrap();
    wait_guarded(&mesh.preps[0], &gone, false);
    let held = ledger(&mesh.preps[0]);
    assert!(!held.contains("sentry-9"), "the look before the other change was over already: {held}");
    wait_until("the other change to be taken", SOON, || {
        let held = ledger(&mesh.preps[0]);
        if held.contains("sentry-9") && !held.contains("sentry-1\"") { Ok(()) } else { Err(held) }
    })
    .unwrap();
}
