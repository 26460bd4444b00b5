//! What a lab leaves behind: nothing, whatever happens. And what its programs do meanwhile. Needs root.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{self, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use picket_lab::{Connect, Host, Lab, LabError, Process, clean_left_overs, install_program, wait_until};

const LONG: Duration = Duration::from_secs(5);

/// All there is of a lab outside it, by the name of one of its hosts' namespaces.
fn traces(namespace: &str, folder: &Path) -> Vec<String> {
    let paths = [format!("/run/netns/{namespace}"), format!("/etc/netns/{namespace}"), folder.display().to_string()];
    paths.into_iter().filter(|path| Path::new(path).exists()).collect()
}

/// The machine's own network as people see it.
fn machine() -> io::Result<Vec<String>> {
    let shown = |command: &str| {
        let output = Command::new("sh").args(["-c", command]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    ["ip -brief address", "ip route show table all", "ip -6 route show table all", "nft list ruleset"]
        .into_iter()
        .map(shown)
        .collect()
}

fn is_alive(process: &Process) -> bool {
    Path::new(&format!("/proc/{}", process.id())).exists()
}

/// Namespaces and folders of the labs of a process.
fn made_by(process: u32) -> Vec<String> {
    let prefix = format!("picket-{process}-");
    let folders = ["/run/netns".into(), "/etc/netns".into(), std::env::temp_dir()];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&prefix)).collect()
}

#[test]
fn a_bench_that_is_told_to_stop_ends_with_all_that_it_made() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut bench = Command::new(env!("CARGO_BIN_EXE_picket-lab"));
        let mut bench = bench.args(["bench", "revoke"]).process_group(0).stderr(Stdio::null()).spawn().unwrap();
        wait_until("its hosts", LONG, || made_by(bench.id()).len() > 5).unwrap();
        kill(Pid::from_raw(i32::try_from(bench.id()).unwrap()), signal).unwrap();
        wait_until("its end", LONG, || bench.try_wait().unwrap()).unwrap();
        assert_eq!(made_by(bench.id()), Vec::<String>::new(), "{signal}");
    }
}

#[test]
fn nothing_is_left_when_a_lab_is_dropped() -> Result<(), LabError> {
    let before = machine().unwrap();
    let lab = Lab::new("dropped")?;
    let host = lab.host("a").address("203.0.113.1/24").create()?;
    let sleeper = host.start("sleeper", "sleep", &["1000"], &[])?;
    // One that leaves its process group, as a daemon does.
    let daemon = host.start("daemon", "sh", &["-c", "setsid sleep 1001 & echo $!"], &[])?;
    wait_until("the daemon", LONG, || daemon.log().trim().parse::<u32>())?;
    let daemon = format!("/proc/{}/cmdline", daemon.log().trim());
    let folder = lab.folder().to_owned();
    assert_eq!(traces(host.namespace(), &folder).len(), 3);
    assert!(is_alive(&sleeper) && Path::new(&daemon).exists());

    drop(lab);

    assert_eq!(traces(host.namespace(), &folder), Vec::<String>::new());
    assert!(!is_alive(&sleeper));
    assert_eq!(fs::read(&daemon).unwrap_or_default(), b"", "the daemon is dead or waits for its parent to notice");
    assert_eq!(machine().unwrap(), before, "the machine's own network is as it was");
    assert!(matches!(host.can_connect("203.0.113.1:1".parse().unwrap(), LONG), Connect::Impossible(_)));
    Ok(())
}

#[test]
fn nothing_is_left_after_a_panic() {
    let mut seen = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let lab = Lab::new("panic").unwrap();
        let host = lab.host("a").address("203.0.113.1/24").create().unwrap();
        let process = host.start("sleeper", "sleep", &["1000"], &[]).unwrap();
        seen = Some((host, process, lab.folder().to_owned()));
        panic!("a test fails");
    }));
    assert!(panicked.is_err());
    let (host, process, folder) = seen.unwrap();
    assert_eq!(traces(host.namespace(), &folder), Vec::<String>::new());
    assert!(!is_alive(&process));
}

#[test]
fn left_overs_are_removed_once_their_owner_is_dead_and_nothing_else_is() -> Result<(), LabError> {
    let ip = |args: &[&str]| assert!(Command::new("ip").args(args).status().unwrap().success());
    let mut owner = Command::new("sleep").arg("1000").spawn().unwrap();
    let left_over = format!("picket-{}-0-a", owner.id());
    let somebody_elses = format!("lab-test-{}", process::id());
    ip(&["netns", "add", &left_over]);
    ip(&["netns", "add", &somebody_elses]);
    let files = format!("/etc/netns/{left_over}");
    fs::create_dir_all(&files).unwrap();
    let folder = std::env::temp_dir().join(format!("picket-{}-0-label-x1y2", owner.id()));
    fs::create_dir_all(folder.join("sub")).unwrap();
    let script = format!("ip netns exec {left_over} sleep 1000 >/dev/null 2>&1 & echo $!");
    let orphan = String::from_utf8(Command::new("sh").args(["-c", &script]).output().unwrap().stdout).unwrap();
    let orphan = format!("/proc/{}/cmdline", orphan.trim());
    let inside = wait_until("the orphan to be inside", LONG, || fs::read(&orphan).unwrap().starts_with(b"sleep"));

    let lab = Lab::new("alive");
    let while_alive = traces(&left_over, &folder);
    owner.kill().unwrap();
    owner.wait().unwrap();
    clean_left_overs()?;
    let somebody_elses_stands = Path::new("/run/netns").join(&somebody_elses).exists();
    ip(&["netns", "delete", &somebody_elses]);

    inside?;
    assert_eq!(while_alive.len(), 3, "a new lab leaves a living owner's alone");
    assert_eq!(traces(&left_over, &folder), Vec::<String>::new());
    assert_eq!(fs::read(&orphan).unwrap_or_default(), b"", "the orphan is dead");
    assert!(somebody_elses_stands);
    let lab = lab?;
    let host = lab.host("a").address("203.0.113.1/24").create()?;
    assert!(host.ping("203.0.113.1".parse().unwrap(), LONG).is_some(), "our own living lab works on");
    Ok(())
}

#[test]
fn two_labs_with_the_same_hosts_do_not_disturb_each_other() -> Result<(), LabError> {
    let build = |label| -> Result<_, LabError> {
        let lab = Lab::new(label)?;
        let a = lab.host("a").address("203.0.113.1/24").create()?;
        let b = lab.host("b").address("203.0.113.2/24").create()?;
        Ok((lab, a, b))
    };
    let (_first, a, b) = build("first")?;
    let (second, other_a, other_b) = build("second")?;
    let echo = a.listen_echo(a.v4(7100)?)?;
    let stream = b.stream(echo.address())?;
    assert_eq!(other_b.can_connect(other_a.v4(7100)?, LONG), Connect::Refused, "the other lab has no such server");
    drop(second);
    stream.wait_flowing(LONG)
}

#[test]
fn programs_are_stopped_killed_and_waited_for() -> Result<(), LabError> {
    let lab = Lab::new("programs")?;
    let host = lab.host("a").address("203.0.113.1/24").create()?;
    let polite = "trap 'echo bye; exit 7' TERM; echo ready >&2; while :; do sleep 0.02; done";
    let process = host.start("polite", "sh", &["-c", polite], &[])?;
    wait_until("it to be ready", LONG, || process.log().contains("ready"))?;
    assert!(process.is_running() && process.resident_memory_bytes()? > 100_000);
    assert_eq!(process.stop()?.code(), Some(7));
    assert!(process.log().ends_with("bye\n") && !process.is_running());
    assert_eq!(process.stop()?.code(), Some(7), "stopping twice is the same");
    assert!(process.resident_memory_bytes().is_err());

    let again = host.start("polite", "sh", &["-c", "echo second; exec sleep 1000"], &[])?;
    wait_until("it to be ready", LONG, || again.log() == "second\n")?;
    let error = again.wait(Duration::from_millis(20)).unwrap_err().to_string();
    assert!(error.contains("polite") && error.contains("second"), "{error}");
    again.must_run()?;
    again.kill();
    let ended = again.must_run().unwrap_err().to_string();
    assert!(!again.is_running() && ended.contains("SIGKILL") && ended.contains("second"), "{ended}");
    assert!(process.log().contains("bye"), "the first log is kept");
    Ok(())
}

#[test]
fn programs_run_to_their_end_get_their_own_environment_only() -> Result<(), LabError> {
    let lab = Lab::new("run")?;
    let host = lab.host("a").address("203.0.113.1/24").create()?;
    let env = host.run_with("env", &[], &[("PICKET_TEST", "1")], LONG)?.success()?;
    assert!(env.contains("PICKET_TEST=1") && !env.contains("CARGO_"), "{env}");
    assert!(host.run("ip", &["-brief", "address"])?.success()?.contains("203.0.113.1/24"));

    let failed = host.run("sh", &["-c", "echo out; echo broken >&2; exit 3"])?;
    assert_eq!((failed.status.code(), failed.stdout.as_str()), (Some(3), "out\n"));
    let error = failed.success().unwrap_err().to_string();
    assert!(error.contains("exit 3") && error.contains("broken"), "{error}");

    let endless = host.run_with("sleep", &["1000"], &[], Duration::from_millis(50)).unwrap_err().to_string();
    assert!(endless.contains("sleep 1000"), "{endless}");
    let missing = host.start("missing", "/nowhere/picket", &[], &[]).unwrap_err().to_string();
    assert!(missing.contains("/nowhere/picket"), "{missing}");
    let other = lab.host("b").address("203.0.113.2/24").create()?;
    let machine_id = |host: &Host| host.run("cat", &["/etc/machine-id"]).map(|output| output.stdout);
    assert_ne!(machine_id(&host)?, machine_id(&other)?, "each host is a machine of its own");
    let config = host.write("a.toml", "x = 1\n")?;
    assert_eq!(host.run("cat", &[&config])?.success()?, "x = 1\n");
    Ok(())
}

#[test]
fn a_host_that_cannot_be_made_is_refused_with_the_reason() -> Result<(), LabError> {
    let lab = Lab::new("refused")?;
    let check = |name: &str, address: &str, reason: &str| {
        let error = lab.host(name).address(address).create().unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    check("a", "10.0.0.1/24", "10.0.0.1 may belong to somebody");
    check("a", "203.0.113.1/240", "`203.0.113.1/240` is not an address");
    check("a/../b", "203.0.113.1/24", "cannot name a host");
    check("", "203.0.113.1/24", "cannot name a host");
    lab.host("a").address("203.0.113.1/24").create()?;
    check("a", "203.0.113.2/24", "cannot name a host");
    Ok(())
}

#[test]
fn without_root_a_sentence_says_so() {
    // A copy that nobody may run: the folder of the build may be closed to him.
    let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let program = folder.path().join("picket-lab");
    install_program(Path::new(env!("CARGO_BIN_EXE_picket-lab")), &program).unwrap();
    let output = Command::new(program).arg("clean").uid(65534).gid(65534).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("takes root: run it with sudo"), "{stderr}");
}
