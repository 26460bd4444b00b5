//! Joining: what is refused is refused with one clear sentence, a non-zero exit, and nothing changed.

use crate::support::small_mesh;
use picket_lab::{Program, mesh::Mesh};
use picket_model::NodeRole;

fn refused(mesh: &Mesh, host: &str, program: Program, token: &str, part: &str) {
    let nodes = mesh.controller.nodes().unwrap().len();
    let host = mesh.lab.host(host).address("203.0.113.99/24").create().unwrap();
    let state = host.path("state");
    let args = ["enroll", "--controller", mesh.controller.url(), "--name", host.name(), "--state-dir", &state];
    let output = host.run_with(program.path().unwrap(), &args, &[("PICKET_JOIN_TOKEN", token)], picket_lab::mesh::SOON);
    let output = output.unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert!(output.stderr.to_lowercase().contains(part), "{part:?} not in {:?}", output.stderr);
    assert!(output.stderr.trim().lines().count() <= 2, "one sentence: {:?}", output.stderr);
    let secret = token.rsplit('.').next().unwrap();
    assert!(secret.len() < 10 || !output.stderr.contains(secret), "the secret is printed");
    assert_eq!(mesh.controller.nodes().unwrap().len(), nodes, "nobody joined");
    assert!(!std::path::Path::new(&state).join("identity.json").exists());
    host.nft(&["list", "table", "inet", "picket"]).unwrap_err();
    // The address is free for the next host.
    host.remove_address("203.0.113.99/24").unwrap();
}

#[test]
fn bad_tokens_are_refused() {
    let mesh = small_mesh("tokens");
    let token = mesh.controller.token(NodeRole::Sentry).unwrap();
    refused(&mesh, "wrong-role", Program::PrepAgent, &token, "for a sentry, not for a prep");
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts[1] = parts[1].chars().rev().collect();
    refused(&mesh, "wrong-ca", Program::SentryAgent, &parts.join("."), "fingerprint");
    refused(&mesh, "no-token", Program::SentryAgent, "picket1.nonsense", "token");
    let short = mesh.controller.picket(&["token", "create", "--role", "sentry", "--ttl", "1s"]).unwrap();
    let short = short.success().unwrap();
    let made = mesh.controller.status().unwrap().now;
    let second = std::time::Duration::from_secs(1);
    picket_lab::wait_until("the token's second to be over", picket_lab::mesh::SOON, || {
        mesh.controller.status().map(|status| status.now.since(made) > second).unwrap_or(false)
    })
    .unwrap();
    refused(&mesh, "expired", Program::SentryAgent, short.trim(), "time was over");
    // Used once, it is of no use to another host.
    let host = mesh.lab.host("first").address("203.0.113.98/24").create().unwrap();
    let (url, state) = (mesh.controller.url(), host.path("state"));
    let args =
        ["enroll", "--controller", url, "--name", "first", "--state-dir", &state, "--endpoint", "203.0.113.98:51820"];
    let sentry = Program::SentryAgent.path().unwrap();
    let run = || host.run_with(&sentry, &args, &[("PICKET_JOIN_TOKEN", &token)], picket_lab::mesh::SOON).unwrap();
    run().success().unwrap();
    refused(&mesh, "second", Program::SentryAgent, &token, "used");
}

#[test]
fn a_cloned_image_is_refused() {
    let mesh = small_mesh("clone");
    let original = mesh.sentries[0].state_folder();
    let clone = mesh.lab.host("clone").address("203.0.113.97/24").create().unwrap();
    let state = clone.path("state");
    std::fs::create_dir_all(&state).unwrap();
    // The keys of the image, without the identity that would tell the agent it has enrolled already.
    for entry in std::fs::read_dir(original).unwrap() {
        let entry = entry.unwrap();
        if entry.path().extension().is_some_and(|extension| extension == "key") {
            std::fs::copy(entry.path(), format!("{state}/{}", entry.file_name().to_string_lossy())).unwrap();
        }
    }
    let token = mesh.controller.token(NodeRole::Sentry).unwrap();
    let args = ["enroll", "--controller", mesh.controller.url(), "--name", "clone", "--state-dir", &state];
    let sentry = Program::SentryAgent.path().unwrap();
    let output = clone.run_with(sentry, &args, &[("PICKET_JOIN_TOKEN", &token)], picket_lab::mesh::SOON).unwrap();
    assert!(!output.status.success());
    assert!(output.stderr.contains("key"), "{}", output.stderr);
}

/// A program that cannot work here ends with one clear sentence and a status that is not 0; no table is made.
fn cannot_work(host: &picket_lab::Host, program: &str, args: &[&str], part: &str) {
    let output = host.run(program, args).unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert!(output.stderr.contains(part), "{part:?} not in {:?}", output.stderr);
    assert!(output.stderr.trim().lines().count() <= 2, "one sentence: {:?}", output.stderr);
    host.nft(&["list", "table", "inet", "picket"]).unwrap_err();
}

#[test]
fn without_root_or_with_a_bad_file_nothing_is_started_and_without_nft_the_host_is_closed() {
    let mesh = small_mesh("cannot work");
    let host = mesh.lab.host("bare").address("203.0.113.96/24").create().unwrap();
    let path = |program: Program| program.path().unwrap().display().to_string();
    let (agent, controller) = (path(Program::PrepAgent), path(Program::Controller));
    let state = host.path("state");

    let as_nobody = ["--reuid", "65534", "--clear-groups", &agent, "lockdown", "--state-dir", &state];
    cannot_work(&host, "setpriv", &as_nobody, "needs root");

    let config = host.write("bad.toml", "[chain]\nnid = 1\npol_seconds = 3\n").unwrap();
    let serve = ["serve", "--config", config.as_str(), "--state-dir", &state];
    cannot_work(&host, &controller, &serve, "bad.toml:3:1");
    assert!(!std::path::Path::new(&state).exists(), "nothing was written");

    // The host's own mounts: this nft is nowhere to be found, everybody else's stays. It is closed all the same.
    let without_nft = format!("mount --bind /dev/null /usr/sbin/nft && exec {agent} lockdown --state-dir {state}");
    let output = host.run("unshare", &["--mount", "sh", "-c", &without_nft]).unwrap();
    assert!(!output.status.success() && output.stderr.contains("nft"), "{output:?}");
    let table = host.nft(&["list", "table", "inet", "picket"]).unwrap();
    assert!(table.contains("tcp dport 7100 drop"), "{table}");
}
