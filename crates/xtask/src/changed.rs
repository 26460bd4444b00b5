//! `cargo xtask test --changed REV`: of the runs that have a command of their own, those whose inputs differ between a commit and the
//! files as they lie here. Which they are is decided by one table and one function; nothing else starts a run.

use crate::{containers, hosts, kernel, monitoring, outcome::named, page, step::said, terraform};
use anyhow::{Context, Result, bail};
use std::{
    fmt,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

/// A run, and what it alone looks at: files and folders. Programs are tried by `cargo xtask test` at every change, and are here where a
/// host, an image or a page meets them.
struct Run {
    name: &'static str,
    inputs: &'static [&'static str],
    /// Where, and whether what this machine lacks is no failure.
    go: fn(&Path, bool) -> Result<ExitCode>,
}

/// The quickest first.
const RUNS: [Run; 6] = [
    Run {
        name: "monitoring",
        inputs: &[
            "cli/src/top",
            "controller/src/metrics",
            "crates/agent/src/watch",
            "crates/lab/src/monitoring",
            "crates/telemetry",
            "crates/xtask/src/monitoring.rs",
            "docs/metrics.md",
            "docs/runbooks",
            "monitoring",
        ],
        go: |root, _| monitoring::run(root),
    },
    Run {
        name: "page",
        inputs: &[
            "controller/src/page",
            "crates/lab/src/page.rs",
            "crates/page",
            "crates/xtask/src/page.rs",
            "crates/xtask/src/python.rs",
            "tests/page",
        ],
        go: |root, _| page::test(root),
    },
    Run {
        name: "kernel",
        inputs: &[
            "Cargo.lock",
            "crates/agent/src/wg_bench",
            "crates/agent/src/wg_bench.rs",
            "crates/firewall",
            "crates/lab/src/debian.rs",
            "crates/lab/src/emulated.rs",
            "crates/lab/src/guest.rs",
            "crates/wireguard",
            "crates/xtask/src/kernel.rs",
        ],
        go: |root, _| kernel::run(root),
    },
    Run {
        name: "containers",
        inputs: &[
            "Cargo.lock",
            "controller/src/cli.rs",
            "crates/agent/src/cli.rs",
            "crates/agent/src/enroll.rs",
            "crates/lab/src/containers",
            "crates/lab/src/guarded.rs",
            "crates/lab/src/steps.rs",
            "crates/xtask/src/containers.rs",
            "crates/xtask/src/dist",
            "packaging/containers",
            "packaging/helm",
            "prep-agent/Cargo.toml",
            "sentry-agent/Cargo.toml",
        ],
        go: |root, _| containers::run(root, None),
    },
    Run {
        name: "terraform",
        inputs: &[
            "controller/src/enroll.rs",
            "controller/src/hooks",
            "crates/attest",
            "crates/aws",
            "crates/lab/src/autoscaled",
            "crates/lab/src/cloud",
            "crates/xtask/src/terraform",
            "terraform",
        ],
        go: terraform::run,
    },
    Run {
        name: "hosts",
        inputs: &[
            "Cargo.lock",
            "ansible",
            "cli/Cargo.toml",
            "cli/src/advertise.rs",
            "cli/src/audit.rs",
            "cli/src/cloud_init.rs",
            "cli/src/doctor",
            "cli/src/init",
            "cli/tests/cloud-init",
            "controller/Cargo.toml",
            "controller/src/cli.rs",
            "controller/src/config",
            "controller/src/config.rs",
            "controller/src/start.rs",
            "crates/agent",
            "crates/firewall",
            "crates/lab/src/cloud/metadata.rs",
            "crates/lab/src/debian.rs",
            "crates/lab/src/emulated.rs",
            "crates/lab/src/guarded.rs",
            "crates/lab/src/hosts",
            "crates/lab/src/image",
            "crates/lab/src/machine.rs",
            "crates/lab/src/mesh",
            "crates/lab/src/steps.rs",
            "crates/wireguard",
            "crates/xtask/src/dist",
            "crates/xtask/src/hosts",
            "crates/xtask/src/machine.rs",
            "crates/xtask/src/python.rs",
            "docs/install.md",
            "packaging/deb",
            "packaging/etc",
            "packaging/packer",
            "packaging/previous",
            "packaging/systemd",
            "packaging/sysusers.d",
            "packaging/tmpfiles.d",
            "prep-agent",
            "rust-toolchain.toml",
            "sentry-agent",
        ],
        go: |root, _| hosts::run(root, None),
    },
];

/// Whether a run is needed, and why.
#[derive(Debug, PartialEq, Eq)]
struct Decision<'a> {
    name: &'static str,
    inputs: &'static [&'static str],
    /// Files among its inputs that differ.
    differing: Vec<&'a str>,
}

/// What is to be done of what is needed.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    /// Nothing, only say it.
    pub(crate) is_dry: bool,
    /// No others than these, where any is named.
    pub(crate) only: &'a [String],
    /// What this machine lacks is said, and is no failure.
    pub(crate) allow_missing: bool,
}

impl Wish<'_> {
    fn names(&self, run: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == run)
    }

    /// A name that no run has would be a run that never is.
    fn check(&self) -> Result<()> {
        let known = RUNS.map(|run| run.name);
        match self.only.iter().find(|name| !known.contains(&name.as_str())) {
            Some(name) => bail!("--only {name}: there is no such run; there are {}", known.join(", ")),
            None => Ok(()),
        }
    }
}

/// Says what is needed since a commit, and runs what is wished of it; every one, also after one that failed.
pub(crate) fn run(root: &Path, since: &str, wish: &Wish<'_>) -> Result<ExitCode> {
    let started = Instant::now();
    wish.check()?;
    let changed = differing(root, since)?;
    let decisions = RUNS.map(|run| decide(&run, &changed));
    decisions.iter().for_each(|decision| println!("{decision}"));
    if wish.is_dry {
        return Ok(ExitCode::SUCCESS);
    }
    let (mut held, mut failed, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for (run, _) in RUNS.iter().zip(&decisions).filter(|(_, decision)| decision.is_needed()) {
        if !wish.names(run.name) {
            left.push(run.name);
            continue;
        }
        eprintln!("==> cargo xtask test --{}", run.name);
        let ended = (run.go)(root, wish.allow_missing);
        ended.as_ref().err().into_iter().for_each(|error| println!("{}: {error:#}", run.name));
        let is_good = ended.is_ok_and(|code| code == ExitCode::SUCCESS);
        if is_good { &mut held } else { &mut failed }.push(run.name);
    }
    let took = started.elapsed().as_secs_f64();
    let passed = if held.is_empty() { "none".to_owned() } else { held.join(", ") };
    let (failing, missing) = (named("FAILED", &failed), named("NOT RUN", &left));
    println!("changed since {since}: passed: {passed}{failing}{missing} in {took:.0} s");
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Which of a run's inputs are among the files that differ.
fn decide<'a>(run: &Run, changed: &'a [String]) -> Decision<'a> {
    let is_input = |file: &&str| run.inputs.iter().any(|input| Path::new(file).starts_with(input));
    let differing = changed.iter().map(String::as_str).filter(is_input).collect();
    Decision { name: run.name, inputs: run.inputs, differing }
}

impl Decision<'_> {
    fn is_needed(&self) -> bool {
        !self.differing.is_empty()
    }
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.differing[..] {
            [] => write!(f, "{}: does not run: nothing differs of {}", self.name, self.inputs.join(", ")),
            [first, second, rest @ ..] if rest.len() > 1 => {
                write!(f, "{}: runs: of its inputs differ {first}, {second} and {} more", self.name, rest.len())
            }
            few => write!(f, "{}: runs: of its inputs differ {}", self.name, few.join(", ")),
        }
    }
}

/// Files that differ between a commit and what lies here, by both names where one was moved; and files that no commit has.
fn differing(root: &Path, since: &str) -> Result<Vec<String>> {
    let git = |words: &[&str]| said(Command::new("git").args(words).current_dir(root));
    let committed = git(&["diff", "--name-only", "--no-renames", "-z", since, "--"])
        .with_context(|| format!("ask git what differs from {since}"))?;
    let new = git(&["ls-files", "--others", "--exclude-standard", "-z"])?;
    let mut files: Vec<String> =
        committed.split('\0').chain(new.split('\0')).filter(|file| !file.is_empty()).map(str::to_owned).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(changed: &[&str]) -> Vec<&'static str> {
        let changed: Vec<String> = changed.iter().map(|file| (*file).to_owned()).collect();
        let decisions = RUNS.map(|run| (run.name, decide(&run, &changed).is_needed()));
        decisions.into_iter().filter(|(_, is_needed)| *is_needed).map(|(name, _)| name).collect()
    }

    #[test]
    fn a_run_is_needed_where_one_of_its_inputs_differs() {
        assert!(needed(&[]).is_empty());
        assert!(needed(&["CHANGELOG.md", "crates/plan/src/lint.rs", "docs/security.md"]).is_empty());
        assert_eq!(needed(&["terraform/modules/aws/prep/main.tf"]), ["terraform"]);
        assert_eq!(needed(&["docs/install.md"]), ["hosts"]);
        assert_eq!(needed(&["prep-agent/Cargo.toml"]), ["containers", "hosts"]);
        assert_eq!(needed(&["crates/page/src/new.rs", "packaging/helm/picket/values.yaml"]), ["page", "containers"]);
        assert_eq!(needed(&["crates/wireguard/src/engine.rs"]), ["kernel", "hosts"]);
        // A name that begins as an input does is another file.
        assert!(needed(&["ansible-notes.md", "docs/install.md.orig"]).is_empty());
    }

    #[test]
    fn a_run_that_is_not_wished_is_left_and_one_that_nobody_knows_refused() {
        let wish = |only: &[String]| {
            let wish = Wish { is_dry: false, only, allow_missing: true };
            (wish.check().map_err(|error| error.to_string()), wish.names("page"))
        };
        assert_eq!(wish(&[]), (Ok(()), true));
        assert_eq!(wish(&["terraform".to_owned()]), (Ok(()), false));
        let (refused, _) = wish(&["teraform".to_owned()]);
        assert!(refused.unwrap_err().starts_with("--only teraform: there is no such run; there are monitoring, page"));
    }

    #[test]
    fn each_decision_says_why() {
        let changed = ["ansible/a", "ansible/b", "ansible/c", "ansible/d", "tests/page/x"].map(str::to_owned);
        let said = RUNS.map(|run| decide(&run, &changed).to_string());
        assert!(said[0].starts_with("monitoring: does not run: nothing differs of cli/src/top, "), "{}", said[0]);
        assert_eq!(said[1], "page: runs: of its inputs differ tests/page/x");
        assert_eq!(said[5], "hosts: runs: of its inputs differ ansible/a, ansible/b and 2 more");
    }

    #[test]
    fn every_input_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        for run in &RUNS {
            let gone: Vec<_> = run.inputs.iter().filter(|input| !root.join(input).exists()).collect();
            assert!(gone.is_empty(), "{}: {gone:?}", run.name);
            assert!(run.inputs.is_sorted(), "{} is not in order", run.name);
        }
    }
}
