//! `cargo xtask test --kernel`: what a kernel with WireGuard shows and this machine's may lack, in a virtual machine with Debian's own
//! (`picket-lab guest`): the tunnels' tests with the kernel's engine, alone and with ours, the firewall's under the kernel that
//! operators run, and both engines measured by the agent itself. Takes minutes, because the processor is emulated.

use crate::{demo, machine, outcome::Outcome, step};
use anyhow::Result;
use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

/// A test program that runs in the machine.
struct Suite {
    what: &'static str,
    /// Folder of the crate.
    package: &'static str,
    test: &'static str,
    variables: &'static [&'static str],
    words: &'static [&'static str],
}

const SUITES: [Suite; 2] = [
    Suite {
        what: "tunnels with the kernel's WireGuard, and of both engines with each other",
        package: "crates/wireguard",
        test: "netns",
        variables: &["PICKET_ENGINE=kernel"],
        // What is of our own engine alone was tried already, and faster.
        words: &[
            "--include-ignored",
            "--skip=flood::",
            "--skip=offloads::",
            "--skip=tools::",
            // The kernel's device stays where ours goes with its process.
            "--skip=the_device_goes_with_the_engine_and_comes_back_with_the_next",
            "--skip=what_a_killed_process_steered_is_taken_away_without_its_device",
        ],
    },
    Suite {
        what: "the firewall under Debian's kernel",
        package: "crates/firewall",
        test: "firewall",
        variables: &[],
        // By the clock, and by files that are not there.
        words: &["--skip=slow::", "--skip=grants::grants_that_are_looked_after", "--skip=as_text"],
    },
];

/// Runs all of it.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let started = Instant::now();
    let mut outcome = Outcome::of_run("kernel");
    machine::virtual_machines()?;
    let lab = demo::lab(root, demo::Build::Dev)?;
    let lab = PathBuf::from(lab.get_program());
    for suite in SUITES {
        let program = PathBuf::from(step::test_program(root, suite.package, suite.test)?.get_program());
        let variables = suite.variables.iter().flat_map(|variable| ["--env", variable]);
        let mut guest = guest(&lab, &[&program]);
        guest.args(variables).arg("--").arg(&program).arg("--color=never").args(suite.words);
        let mut said = String::new();
        let held = step::lines(suite.what, &mut guest, |line| {
            if let Some(result) = line.strip_prefix("test result: ") {
                said = result.split("; 0 measured").next().unwrap_or_default().to_owned();
            }
        })?;
        outcome.of(format!("{} ({said})", suite.what), held);
    }
    let agent = lab.with_file_name("picket-sentry-agent");
    let mut bench = guest(&lab, &[&agent]);
    bench.arg("--").arg(&agent).args(["wg", "bench"]);
    let mut engines = 0;
    let held = step::lines("the agent measures both engines", &mut bench, |line| {
        engines += usize::from(["kernel: ", "userspace: "].iter().any(|engine| line.starts_with(engine)));
    })?;
    outcome.of("the agent measures both engines", held && engines == 2);
    Ok(outcome.end(started, false))
}

/// The virtual machine, with these programs in it.
fn guest(lab: &Path, programs: &[&Path]) -> Command {
    let mut guest = Command::new(lab);
    guest.arg("guest");
    for program in programs {
        guest.arg("--put").arg(program);
    }
    guest
}
