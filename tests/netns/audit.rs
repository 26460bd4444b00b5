//! `picket audit` from outside, and by what other hosts of the mesh find: what is open is found, from whichever side one looks.

use crate::support::{UNGUARDED, reconfigure, serve_on, small_mesh};
use picket_lab::{Host, Output, Program, mesh::Mesh};
use serde_json::Value;
use std::net::IpAddr;

/// An exit status and an answer.
fn answer(Output { status, stdout, stderr, .. }: Output) -> (Option<i32>, Value) {
    (status.code(), serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}")))
}

/// An audit of the sentry from a host.
fn audit(mesh: &Mesh, from: &Host) -> (Option<i32>, Value) {
    let (context, port) = (mesh.controller.context(), UNGUARDED.to_string());
    let args =
        ["--context", &context, "--url", "https://203.0.113.1:7444", "audit", "sentry-1", "--port", &port, "--json"];
    answer(from.run(Program::Cli.path().unwrap(), &args).unwrap())
}

/// Promised, found and kept of a port.
fn line<'a>(audit: &'a Value, protocol: &str, port: u16) -> (&'a str, &'a str, bool) {
    let is_meant = |line: &&Value| line["port"] == port && line["protocol"] == protocol;
    let line = audit["ports"].as_array().unwrap().iter().find(is_meant).unwrap();
    (line["promise"].as_str().unwrap(), line["found"].as_str().unwrap(), line["kept"].as_bool().unwrap())
}

#[test]
fn an_audit_says_what_is_open_to_whom_and_finds_what_should_not_be() {
    let mut mesh = small_mesh("audit");
    let _servers = serve_on(&mesh.sentries[0]);
    // Operators ask from elsewhere here.
    reconfigure(&mut mesh, |text| text.replace("127.0.0.1:7444", "[::]:7444"));
    let (status, seen) = audit(&mesh, &mesh.stranger);
    assert_eq!((status, seen["verdict"].as_str()), (Some(0), Some("kept")), "{seen}");
    assert_eq!(line(&seen, "tcp", 7100), ("closed", "silent", true));
    assert_eq!(line(&seen, "udp", 7100), ("closed", "silent", true));
    assert_eq!(line(&seen, "tcp", UNGUARDED), ("left-alone", "open", true));
    let (status, seen) = audit(&mesh, &mesh.validators[0].host);
    assert_eq!((status, line(&seen, "tcp", 7100)), (Some(0), ("let-in", "open", true)), "{seen}");
    assert_eq!(line(&seen, "udp", 7100), ("let-in", "open", true));
    // Somebody flushed the table while nobody was there to repair it.
    mesh.sentries[0].kill();
    mesh.sentries[0].host.nft(&["delete", "table", "inet", "picket"]).unwrap();
    let (status, seen) = audit(&mesh, &mesh.stranger);
    assert_eq!((status, seen["verdict"].as_str()), (Some(2), Some("broken")), "{seen}");
    assert_eq!(line(&seen, "tcp", 7100), ("closed", "open", false));
    assert_eq!(line(&seen, "udp", 7100), ("closed", "open", false));
    // A host that is gone keeps no promise that anybody could see.
    mesh.sentries[0].host.unplug().unwrap();
    let (status, seen) = audit(&mesh, &mesh.stranger);
    assert_eq!((status, seen["verdict"].as_str()), (Some(2), Some("nothing-answers")), "{seen}");
}

#[test]
fn another_host_of_the_mesh_looks_from_inside_and_from_outside_the_tunnel() {
    let mesh = small_mesh("audit-from");
    let [prep, sentry] = [&mesh.preps[0], &mesh.sentries[0]];
    let _servers = serve_on(prep);
    let audit = |address: IpAddr| {
        let found = sentry.command(&["probe", &address.to_string(), "--port", &UNGUARDED.to_string()]).unwrap();
        let file = mesh.controller.host.write("found.json", &found.success().unwrap()).unwrap();
        let address = address.to_string();
        let args = ["audit", "prep-1", "--found", &file, "--address", &address, "--json"];
        answer(mesh.controller.picket(&args).unwrap())
    };
    let (status, seen) = audit(prep.overlay().unwrap().v4.into());
    assert_eq!((status, seen["verdict"].as_str()), (Some(0), Some("kept")), "{seen}");
    assert_eq!(line(&seen, "tcp", 7100), ("let-in", "open", true));
    assert_eq!(line(&seen, "udp", 9000), ("let-in", "open", true));
    let outside = prep.host.v4(0).unwrap().ip();
    let (status, seen) = audit(outside);
    assert_eq!((status, seen["verdict"].as_str()), (Some(0), Some("kept")), "{seen}");
    assert_eq!(line(&seen, "tcp", 7100), ("closed", "silent", true));
    assert_eq!(line(&seen, "tcp", UNGUARDED), ("left-alone", "open", true));
    // Who tried nothing found nothing.
    let half = format!("{{\"from\":\"192.0.2.2\",\"address\":\"{outside}\",\"ports\":[]}}");
    let file = mesh.controller.host.write("half.json", &half).unwrap();
    let unknown = mesh.controller.picket(&["audit", "prep-1", "--found", &file]).unwrap();
    assert!(unknown.stderr.contains(&format!("say so with --address {outside}")), "{}", unknown.stderr);
    let args = ["audit", "prep-1", "--found", &file, "--address", &outside.to_string()];
    let refused = mesh.controller.picket(&args).unwrap();
    assert!(refused.stderr.contains("nobody knocked at tcp/7100"), "{}", refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
}
