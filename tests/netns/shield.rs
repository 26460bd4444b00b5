//! The shield: a host that is attacked tightens its limits by itself and says so, people order otherwise, and what runs goes on.

use crate::support::{GUARDED, QUIET, dropped, open, serve_on, small_mesh, table, wait_told};
use picket_lab::{
    Segment,
    mesh::{Agent, Mesh, MeshSize, SOON},
    wait_until,
};
use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

/// Far beyond what is an attack, and what a loaded machine can still make.
const PER_SECOND: u32 = 5000;
/// First packets of a listed address, as nft shows the limit: the default, and a quarter of it.
const RELAXED: &str = "limit rate 20/second burst 40 packets";
const TIGHT: &str = "limit rate 5/second burst 10 packets";
/// A stream that is silent for this long was cut: the flood is made on the very cores that carry the stream.
const UNDER_FLOOD: Duration = Duration::from_secs(2);

fn wait_limits(agent: &Agent, limits: &str) {
    wait_until(&format!("limits to be {limits:?}"), SOON * 2, || {
        let rules = agent.rules_in_kernel().map_err(|error| error.to_string())?;
        if rules.contains(limits) { Ok(()) } else { Err(rules) }
    })
    .unwrap();
}

fn says(agent: &Agent, args: &[&str], part: &str) {
    let said = agent.command(args).unwrap().success().unwrap();
    assert!(said.contains(part), "{args:?}: {said}");
}

/// An order counts once it is given; 2 says that a host needs longer than five seconds, as one on a loaded machine may.
fn order(mesh: &Mesh, args: &[&str]) -> String {
    let said = mesh.controller.picket(&[&["shield"], args].concat()).unwrap();
    assert!(matches!(said.status.code(), Some(0 | 2)), "{said:?}");
    said.stdout
}

#[test]
fn a_host_that_is_attacked_tightens_its_limits_and_says_so_until_somebody_orders_otherwise() {
    let mut mesh = small_mesh("shield");
    let prep = &mesh.preps[0];
    let _servers = serve_on(prep);
    let to = prep.host.v4(GUARDED[0]).unwrap();
    prep.host.sysctl("net/ipv4/tcp_syncookies", "0").unwrap();
    let stream = mesh.validators[0].host.stream(to).unwrap();
    order(&mesh, &["auto"]);
    wait_limits(prep, RELAXED);
    let strangers = (1..=250).map(|d| IpAddr::from(Ipv4Addr::new(198, 18, 0, d))).collect();
    let flood = mesh.stranger.flood(strangers, to, Segment::Syn, PER_SECOND).unwrap();
    wait_told(&mesh, "host-attacked", "prep-1 is attacked and tightened its limits");
    wait_limits(prep, TIGHT);
    wait_limits(&mesh.sentries[0], RELAXED);
    open(&mesh.validators[1].host, to);
    stream.wait_flowing(SOON).unwrap();
    // What the host says on the spot knows that it did.
    says(prep, &["rules", "diff"], "nothing to change");
    says(prep, &["rules", "show"], TIGHT);
    says(prep, &["rules", "show", "--diff"], "nothing to change");
    says(prep, &["rules", "show", "--dry-run"], "would take the rules\nchanges  none");
    says(prep, &["status"], "limits      tight since");
    says(prep, &["status"], "SYN cookies OFF");
    assert!(order(&mesh, &[]).contains("tight for"));
    // Metrics follow what hosts report with the controller's next look.
    wait_until("the metric", SOON, || {
        let metrics = mesh.controller.metrics().map_err(|error| error.to_string())?;
        let is_tight = |line: &str| line.starts_with("picket_host_limits_tight{") && line.ends_with(" 1");
        if metrics.lines().any(is_tight) { Ok(()) } else { Err(metrics) }
    })
    .unwrap();

    // An agent that starts anew is as tight from its first rules on: an attacker would only have to wait for that.
    let before = table(prep);
    mesh.preps[0].kill();
    mesh.preps[0].start().unwrap();
    let prep = &mesh.preps[0];
    wait_until("it to have its rules in force", SOON, || {
        let log = prep.process().unwrap().log();
        if log.contains("in force") { Ok(()) } else { Err(log) }
    })
    .unwrap();
    assert_eq!(table(prep), before, "not one rule was written anew");
    says(prep, &["status"], "limits      tight since");

    order(&mesh, &["off", "prep-1", "--reason", "it is our own test"]);
    wait_limits(prep, RELAXED);
    drop(flood);
    order(&mesh, &["on"]);
    wait_limits(prep, TIGHT);
    wait_limits(&mesh.sentries[0], TIGHT);
    order(&mesh, &["on", "--for", "3s"]);
    // Nobody has to remember to relax.
    wait_limits(prep, RELAXED);
    wait_limits(&mesh.sentries[0], RELAXED);
    let events = mesh.controller.events().unwrap();
    let subject =
        |action: &str| events.iter().rfind(|event| event.action == action).map(|event| event.subject.as_str());
    assert_eq!(subject("shield.ended"), Some("all hosts"));
    assert!(stream.longest_silence() < UNDER_FLOOD, "{:?}", stream.longest_silence());
    dropped(&mesh.stranger, to);
}

/// The operator is on two ports that nobody guards, as ssh is never; a change would guard one of them without letting him in.
#[test]
fn an_operators_session_lives_through_a_change_that_takes_his_network_away() {
    let mut mesh = Mesh::new("sessions", MeshSize { preps: 1, sentries: 1 }).unwrap();
    let guard = mesh.preps[0].host.write("guard.toml", "guardable = [7100, 9000, 9080, 2222]\n").unwrap();
    mesh.preps[0].guard = Some(guard);
    mesh.start().unwrap();
    mesh.wait_in_force().unwrap();
    let prep = &mesh.preps[0];
    let _servers = (serve_on(prep), prep.host.listen_echo(prep.host.v4(22).unwrap()).unwrap());
    let sessions = [22, 2222].map(|port| mesh.admin.stream(prep.host.v4(port).unwrap()).unwrap());
    let before = prep.rules_in_kernel().unwrap();
    mesh.controller.kill();
    mesh.controller
        .configure(|text| {
            let text: String =
                text.lines().filter(|line| !line.starts_with("admin =")).map(|l| format!("{l}\n")).collect();
            text.replace("[policy]\n", "[policy]\nports = { p2p = [7100], rpc = [9000, 9080, 2222] }\n")
        })
        .unwrap();
    mesh.controller.start().unwrap();
    wait_until("the refusal to be told", SOON * 2, || {
        let told = mesh.controller.complaints().map_err(|error| error.to_string())?;
        let is_told = told.iter().any(|line| line.contains("of an admin network is right now"));
        if is_told { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .unwrap();
    assert_eq!(prep_rules(&mesh), before);
    for session in &sessions {
        session.wait_flowing(SOON).unwrap();
        assert!(session.longest_silence() < QUIET, "{:?}", session.longest_silence());
    }
}

fn prep_rules(mesh: &Mesh) -> String {
    mesh.preps[0].rules_in_kernel().unwrap()
}
