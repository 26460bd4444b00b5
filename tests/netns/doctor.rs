//! `picket doctor` on real hosts: nothing to find fault with on healthy ones, and each planted fault found with its remedy.

use crate::support::small_mesh;
use picket_lab::{
    Host, Program,
    icon::Peer,
    mesh::{Agent, Mesh, SOON},
    wait_until,
};
use serde_json::Value;

/// Exit status and findings of a host.
fn doctor(host: &Host, args: &[&str]) -> (Option<i32>, Vec<Value>) {
    let args = [&["--context", "/nonexistent", "doctor", "--json"], args].concat();
    let output = host.run(Program::Cli.path().unwrap(), &args).unwrap();
    let report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code(), report["findings"].as_array().unwrap().clone())
}

fn of(agent: &Agent) -> (Option<i32>, Vec<Value>) {
    doctor(&agent.host, &["--state-dir", agent.state_folder()])
}

/// The finding of this kind with these words; its verdict and its remedy.
fn finding<'a>(findings: &'a [Value], check: &str, found: &str) -> (&'a str, &'a str) {
    let is_meant = |one: &&Value| one["check"] == check && one["found"].as_str().unwrap().contains(found);
    let one = findings.iter().find(is_meant).unwrap_or_else(|| panic!("no {check} with {found:?} in {findings:#?}"));
    (one["verdict"].as_str().unwrap(), one["fix"].as_str().unwrap_or_default())
}

/// What is the machine's that runs the tests, and no host's.
const MACHINES: [&str; 7] =
    ["clock", "kernel-conntrack", "kernel-nf-tables", "lockdown", "nft-version", "nftables-service", "wireguard"];

/// Waits until nothing is found fault with: a report may be from before the first handshake.
fn wait_well(agent: &Agent) {
    wait_until(&format!("{} to be well", agent.name()), SOON, || {
        let (_, findings) = of(agent);
        let is = |one: &Value, key: &str, words: &[&str]| words.contains(&one[key].as_str().unwrap());
        let worse: Vec<_> = findings
            .iter()
            .filter(|one| is(one, "verdict", &["warn", "bad"]) && !is(one, "check", &MACHINES))
            .collect();
        if worse.is_empty() { Ok(()) } else { Err(format!("{worse:?}")) }
    })
    .unwrap();
}

/// A validator whose node waits where nodes do, and a sentry.
fn mesh_with_a_node(label: &str) -> Mesh {
    let mesh = small_mesh(label);
    let prep = &mesh.preps[0].host;
    let address = prep.v4(7100).unwrap().to_string();
    let goloop = mesh.start_goloop(prep, 9080).unwrap();
    goloop.set_node(|node| node.own = Some(Peer { id: format!("hx{}", "ab".repeat(20)), addr: address }));
    mesh.wait_for_tunnels().unwrap();
    mesh
}

#[test]
fn healthy_hosts_are_well_and_what_is_wrong_with_others_is_found() {
    let mut mesh = mesh_with_a_node("doctor");
    let _node = mesh.preps[0].host.listen_echo("0.0.0.0:7100".parse().unwrap()).unwrap();
    wait_well(&mesh.preps[0]);
    wait_well(&mesh.sentries[0]);

    // Another firewall that lets nobody begin anything. What it is told to do helps.
    let sentry = &mesh.sentries[0].host;
    sentry.nft(&["add", "table", "inet", "own"]).unwrap();
    sentry
        .nft(&["add", "chain", "inet", "own", "input", "{ type filter hook input priority 0; policy drop; }"])
        .unwrap();
    for rule in [&["ct", "state", "established,related", "accept"][..], &["tcp", "dport", "7100", "accept"]] {
        sentry.nft(&[&["add", "rule", "inet", "own", "input"], rule].concat()).unwrap();
    }
    let (_, findings) = of(&mesh.sentries[0]);
    let (verdict, fix) = finding(&findings, "other-firewalls", "udp/51820");
    assert_eq!((verdict, fix), ("warn", "nft insert rule inet own input udp dport 51820 accept"));
    let words: Vec<_> = fix.split(' ').skip(1).collect();
    sentry.nft(&words).unwrap();
    let (_, findings) = of(&mesh.sentries[0]);
    assert_eq!(finding(&findings, "other-firewalls", "table inet own").0, "ok");
    sentry.nft(&["delete", "table", "inet", "own"]).unwrap();

    // A link that carries too little.
    sentry.run("ip", &["link", "set", "eth0", "mtu", "1300"]).unwrap().success().unwrap();
    let (status, findings) = of(&mesh.sentries[0]);
    let (verdict, fix) = finding(&findings, "mtu", "1300 bytes");
    assert_eq!((status, verdict, fix.contains("ip link set")), (Some(2), "bad", true), "{fix}");

    // Opened by hand, with a node that answers everybody.
    let prep = &mesh.preps[0];
    prep.command(&["release", "--yes"]).unwrap().success().unwrap();
    let (status, findings) = of(prep);
    assert_eq!(status, Some(2));
    assert_eq!(finding(&findings, "agent", "open to everybody"), ("bad", "picket-prep-agent close"));
    let (verdict, fix) = finding(&findings, "goloop-admin", "answers everybody");
    assert_eq!((verdict, fix.contains("GOLOOP_RPC_ADDR=127.0.0.1:9080")), ("bad", true), "{fix}");
    assert_eq!(finding(&findings, "open-ports", "TCP 7100").0, "bad");
    prep.command(&["close"]).unwrap().success().unwrap();

    // A host before it is enrolled, and one without a controller.
    let (url, ca) = (mesh.controller.url().to_owned(), mesh.controller.fingerprint().unwrap());
    let folder = mesh.stranger.path("no-agent");
    let before = ["--part", "sentry", "--controller", &url, "--ca", &ca, "--state-dir", &folder];
    let (_, findings) = doctor(&mesh.stranger, &before);
    assert_eq!(finding(&findings, "controller", "with the mesh's CA").0, "ok");
    let (verdict, fix) = finding(&findings, "agent", "not enrolled");
    assert_eq!((verdict, fix.starts_with("picket-sentry-agent enroll")), ("warn", true), "{fix}");
    let other = "0".repeat(64);
    let wrong = ["--part", "sentry", "--controller", &url, "--ca", &other, "--state-dir", &folder];
    let (status, findings) = doctor(&mesh.stranger, &wrong);
    assert_eq!((status, finding(&findings, "controller", "does not answer").0), (Some(2), "bad"), "{findings:#?}");
    mesh.controller.kill();
    let (status, findings) = of(&mesh.preps[0]);
    let (verdict, fix) = finding(&findings, "controller", "does not answer");
    assert_eq!((status, verdict, fix.contains("systemctl status picket-controller")), (Some(2), "bad", true), "{fix}");
}
