//! `picket audit` from outside: what is open is found, from whichever side one looks.

use crate::support::{UNGUARDED, reconfigure, serve_on, small_mesh};
use picket_lab::{Host, Output, Program, mesh::Mesh};
use serde_json::Value;

/// An audit of the sentry from a host, its exit status and its answer.
fn audit(mesh: &Mesh, from: &Host) -> (Option<i32>, Value) {
    let (context, port) = (mesh.controller.context(), UNGUARDED.to_string());
    let args =
        ["--context", &context, "--url", "https://203.0.113.1:7444", "audit", "sentry-1", "--port", &port, "--json"];
    let Output { status, stdout, stderr, .. } = from.run(Program::Cli.path().unwrap(), &args).unwrap();
    (status.code(), serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}")))
}

/// Promised, found and kept of a port.
fn line(audit: &Value, port: u16) -> (&str, &str, bool) {
    let line = audit["ports"].as_array().unwrap().iter().find(|line| line["port"] == port).unwrap();
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
    assert_eq!(line(&seen, 7100), ("closed", "silent", true));
    assert_eq!(line(&seen, UNGUARDED), ("left-alone", "open", true));
    let (status, seen) = audit(&mesh, &mesh.validators[0].host);
    assert_eq!((status, line(&seen, 7100)), (Some(0), ("let-in", "open", true)), "{seen}");
    // Somebody flushed the table while nobody was there to repair it.
    mesh.sentries[0].kill();
    mesh.sentries[0].host.nft(&["delete", "table", "inet", "picket"]).unwrap();
    let (status, seen) = audit(&mesh, &mesh.stranger);
    assert_eq!((status, seen["verdict"].as_str()), (Some(2), Some("broken")), "{seen}");
    assert_eq!(line(&seen, 7100), ("closed", "open", false));
    // A host that is gone keeps no promise that anybody could see.
    mesh.sentries[0].host.unplug().unwrap();
    let (status, seen) = audit(&mesh, &mesh.stranger);
    assert_eq!((status, seen["verdict"].as_str()), (Some(2), Some("nothing-answers")), "{seen}");
}
