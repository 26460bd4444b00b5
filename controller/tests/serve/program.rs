//! The program from outside: what it says when it cannot start, and that a signal ends it.

use crate::fixture::{eventually, program};
use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

async fn refused(arguments: &[&str]) -> String {
    let output = program(arguments).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    error.lines().last().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_wrong_is_one_sentence_and_a_status() {
    let folder = tempfile::tempdir().unwrap();
    let (config, state) = (folder.path().join("c.toml"), folder.path().join("state"));
    let (config, state) = (config.to_str().unwrap(), state.to_str().unwrap());
    std::fs::write(config, "[chain]\nnit = 1\n").unwrap();
    let error = refused(&["serve", "--config", config, "--state-dir", state]).await;
    assert!(error.starts_with(&format!("picket-controller: {config}:2:1: unknown field `nit`")), "{error}");
    let error = refused(&["serve", "--config", "/nowhere/c.toml", "--state-dir", state]).await;
    assert!(error.starts_with("picket-controller: read configuration /nowhere/c.toml: "), "{error}");
    assert!(!Path::new(state).exists());
    let error = refused(&["fingerprint", "--state-dir", state]).await;
    assert!(error.contains("has no CA yet"), "{error}");
    let error = refused(&["add-operator", "--role", "viewer", "--state-dir", state]).await;
    assert!(error.contains("has no CA yet"), "{error}");
}

#[tokio::test]
async fn a_signal_ends_it_in_good_order() {
    let folder = tempfile::tempdir().unwrap();
    let (config, state) = (folder.path().join("c.toml"), folder.path().join("state"));
    let listen = "[listen]\nagents = \"127.0.0.1:0\"\noperators = \"127.0.0.1:0\"\nhealth = \"127.0.0.1:0\"\n";
    std::fs::write(&config, format!("{listen}[chain]\nsources = [\"http://127.0.0.1:1\"]\n")).unwrap();
    for signal in ["-TERM", "-INT"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_picket-controller"));
        child.args(["serve", "--config"]).arg(&config).arg("--state-dir").arg(&state).stderr(Stdio::null());
        let mut child = child.spawn().unwrap();
        eventually("the operator's file", async || state.join("operator.toml").exists()).await;
        let asked = Instant::now();
        assert!(Command::new("sh").args(["-c", &format!("kill {signal} {}", child.id())]).status().unwrap().success());
        assert!(child.wait().unwrap().success());
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        std::fs::remove_file(state.join("operator.toml")).unwrap();
    }
}
