//! `wg bench` as an operator runs it: what it tells, and that the host is afterwards as it was, also when it is interrupted.
//! Needs root; without it every test says so and fails.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

const AGENT: &str = env!("CARGO_BIN_EXE_picket-prep-agent");

/// Links of this host by name, and network namespaces with a name.
fn host() -> [BTreeSet<String>; 2] {
    ["/sys/class/net", "/run/netns"].map(|folder| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        // Those of other tests come and go meanwhile.
        entries.map(|entry| entry.file_name().into_string().unwrap()).filter(|name| !name.contains("picket-")).collect()
    })
}

#[test]
fn the_engine_of_this_process_is_measured_and_leaves_nothing() {
    let before = host();
    let output = Command::new(AGENT).args(["wg", "bench", "--seconds", "1", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(host(), before);
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2, "{text}");
    let [kernel, userspace] = rows.as_slice() else { panic!("{text}") };
    assert_eq!(kernel["engine"], "kernel");
    // Where the kernel has none, that is said, and what to do.
    assert!(kernel["gbit_s"].is_f64() || kernel["not_measured"].as_str().unwrap().contains("modprobe"), "{kernel}");
    assert_eq!(userspace["engine"], "userspace");
    for figure in [&userspace["gbit_s"], &userspace["cpu_seconds_per_gb"], &userspace["idle"]["median_us"]] {
        assert!(figure.as_f64().unwrap() > 0.0, "{userspace}");
    }
    let (idle, loaded) = (&userspace["idle"], &userspace["loaded"]);
    assert!(idle["p99_us"].as_f64() >= idle["median_us"].as_f64(), "{userspace}");
    assert!(loaded["median_us"].as_f64().unwrap() > 0.0, "{userspace}");
}

#[test]
fn an_end_by_signal_takes_all_it_made() {
    let before = host();
    let mut bench = Command::new(AGENT)
        .args(["wg", "bench", "--seconds", "60"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(bench.stderr.take().unwrap()).lines();
    let measuring = lines.map_while(Result::ok).find(|line| line == "measuring userspace");
    assert!(measuring.is_some());
    kill(Pid::from_raw(i32::try_from(bench.id()).unwrap()), Signal::SIGTERM).unwrap();
    let status = bench.wait().unwrap();
    assert!(!status.success());
    assert_eq!(host(), before);
}
