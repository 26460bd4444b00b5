//! The units of systemd: they say what systemd understands, and what keeps guarded ports closed at boot stands in them.

use picket_lab::Program;
use std::{collections::BTreeSet, path::Path, process::Command};

const UNITS: [(&str, Program); 4] = [
    ("picket-controller.service", Program::Controller),
    ("picket-lockdown.service", Program::PrepAgent),
    ("picket-prep-agent.service", Program::PrepAgent),
    ("picket-sentry-agent.service", Program::SentryAgent),
];

fn unit(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// The words of all lines of a setting.
fn words<'a>(unit: &'a str, setting: &str) -> BTreeSet<&'a str> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(setting)?.strip_prefix('='));
    lines.flat_map(str::split_whitespace).collect()
}

#[test]
fn systemd_understands_every_line() {
    let folder = tempfile::tempdir().unwrap();
    for (name, program) in UNITS {
        // Where packages put the program; it is built elsewhere.
        let installed = format!("/usr/bin/{}", program.name());
        let text = unit(name);
        assert!(text.contains(&installed), "{name}");
        let built = program.path().unwrap();
        std::fs::write(folder.path().join(name), text.replace(&installed, &built.to_string_lossy())).unwrap();
    }
    let files = UNITS.map(|(name, _)| folder.path().join(name));
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(files).output();
    let output = output.expect("systemd-analyze runs: apt install systemd");
    let said = String::from_utf8_lossy(&output.stderr);
    // It warns of other units of the machine too.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("picket")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn the_lockdown_is_before_the_network_and_after_whoever_flushes_and_its_end_opens_nothing() {
    let lockdown = unit("picket-lockdown.service");
    assert!(words(&lockdown, "Before").contains("network-pre.target"));
    assert!(words(&lockdown, "Wants").contains("network-pre.target"));
    assert_eq!(words(&lockdown, "DefaultDependencies"), BTreeSet::from(["no"]));
    for other in ["nftables.service", "firewalld.service", "ufw.service"] {
        assert!(words(&lockdown, "After").contains(other), "{other}");
    }
    assert_eq!(words(&lockdown, "WantedBy"), BTreeSet::from(["sysinit.target"]));
    for (name, _) in UNITS {
        let text = unit(name);
        for setting in ["ExecStop", "ExecStopPost", "ExecReload"] {
            assert!(words(&text, setting).is_empty(), "{name}: {setting}");
        }
        assert!(!text.contains("release --yes") && !text.contains("uninstall --"), "{name}");
    }
}

#[test]
fn agents_come_back_by_themselves_and_a_revoked_one_does_not() {
    for name in ["picket-prep-agent.service", "picket-sentry-agent.service"] {
        let text = unit(name);
        assert_eq!(words(&text, "Restart"), BTreeSet::from(["always"]));
        assert_eq!(words(&text, "StartLimitIntervalSec"), BTreeSet::from(["0"]));
        assert_eq!(words(&text, "RestartPreventExitStatus"), BTreeSet::from(["78"]));
        assert!(words(&text, "After").contains("picket-lockdown.service"));
        // The guard's file is not the agent's to change.
        assert_eq!(words(&text, "ProtectSystem"), BTreeSet::from(["strict"]));
        assert_eq!(words(&text, "ReadWritePaths"), BTreeSet::from(["-/run/wireguard"]));
    }
}

/// What systemd itself makes of it, from 0 (locked in) to 10.
#[test]
fn each_unit_has_given_up_what_it_does_not_need() {
    for (name, _) in UNITS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd").join(name);
        // In tenths.
        let judged = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", "--threshold=25"])
            .arg(path)
            .output();
        let judged = judged.expect("systemd-analyze runs: apt install systemd");
        let said = String::from_utf8_lossy(&judged.stdout);
        let verdict = said.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_default();
        assert!(judged.status.success() && !verdict.is_empty(), "{name}: {said}");
        println!("{name}: {verdict}");
    }
}

#[test]
fn a_program_that_hangs_is_ended_and_nobody_but_the_lockdown_is_root() {
    for (name, _) in UNITS {
        let (text, is_lockdown) = (unit(name), name == "picket-lockdown.service");
        assert_eq!(words(&text, "User").is_empty(), is_lockdown, "{name}");
        assert_eq!(words(&text, "WatchdogSec").is_empty(), is_lockdown, "{name}");
    }
}
