//! `cargo xtask`: the project's own commands. Each does its own set-up on a fresh Debian or Ubuntu machine.
//! Depends on none of our crates, so that it is built in seconds and can then build the rest.

mod bench;
mod changed;
mod containers;
mod demo;
mod dist;
mod fuzz;
mod hosts;
mod judges;
mod kernel;
mod machine;
mod monitoring;
mod openapi;
mod outcome;
mod page;
mod proven;
mod python;
mod step;
mod terraform;
mod test;
mod tidy;
mod tree;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Picket's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the main job end to end, with real packets, in network namespaces on this machine.
    Demo {
        /// End by itself; exit status 0 only if every check held.
        #[arg(long)]
        once: bool,
        /// Print one JSON object per check.
        #[arg(long)]
        json: bool,
        /// Show several controllers on one PostgreSQL server, which is installed by apt where it is missing.
        #[arg(long)]
        ha: bool,
    },
    /// Measure the real programs in network namespaces, each figure beside what it is compared with.
    Bench {
        /// What to measure: join, revoke, peers, firewall, flood, failover or dataplane.
        which: String,
        /// Print one JSON object per row.
        #[arg(long)]
        json: bool,
        /// Build optimised first, which takes minutes; otherwise what is measured is what the tests run.
        #[arg(long)]
        release: bool,
        /// How often each thing is measured.
        #[arg(long)]
        runs: Option<u8>,
        /// For dataplane: install first what it is measured by and beside, which is iperf3 and ethtool by apt, wireguard-go of
        /// Debian's development suite unpacked under target/judges, boringtun-cli of crates.io built there.
        #[arg(long)]
        install: bool,
        /// More for the bench itself, as `-- --only tcp,packets --seconds 2`; `-- --help` lists it.
        #[arg(last = true)]
        more: Vec<String>,
    },
    /// Let a mesh of real programs run in network namespaces with something going wrong again and again; print figures, and
    /// fail where a stranger got in, a connection was cut, something did not come back, or something grew.
    Soak {
        /// For how long.
        #[arg(long, default_value_t = 10)]
        minutes: u32,
        /// Which faults come in which order; the same number, the same order.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Print one JSON object per fault and per figure.
        #[arg(long)]
        json: bool,
        /// Build optimised first.
        #[arg(long)]
        release: bool,
    },
    /// Run everything: format, house rules, lints, units, properties, HTTP and database, network namespaces, fuzz targets.
    Test {
        /// Run what is under terraform/ and nothing else: validation, tests, moto in AWS's place, checkov.
        #[arg(long)]
        terraform: bool,
        /// For --terraform: what this machine lacks, as a provider, is said and is no failure.
        #[arg(long)]
        allow_missing: bool,
        /// Run the Ansible collection and nothing else: its linter, and three Debians that boot, over ssh, with our packages.
        #[arg(long, conflicts_with = "terraform")]
        hosts: bool,
        /// Run what needs a kernel with WireGuard and nothing else, in a virtual machine with Debian's kernel.
        #[arg(long, conflicts_with_all = ["terraform", "hosts"])]
        kernel: bool,
        /// Run what is under monitoring/ and nothing else: by promtool and amtool, and on a real Prometheus with a mesh of ours.
        #[arg(long, conflicts_with_all = ["terraform", "hosts", "kernel"])]
        monitoring: bool,
        /// Run the status page in headless Chromium and nothing else: every view of a real mesh, forms, what changes while one
        /// looks, accessibility.
        #[arg(long, conflicts_with_all = ["terraform", "hosts", "kernel", "monitoring"])]
        page: bool,
        /// Build our images and run meshes of them by our compose files, and nothing else.
        #[arg(long, conflicts_with_all = ["terraform", "hosts", "kernel", "monitoring", "page"])]
        containers: bool,
        /// For --hosts and --containers: where the packages are; made first, not optimised, where this is not given.
        #[arg(long, value_name = "DIR", conflicts_with_all = ["terraform", "kernel", "monitoring", "page"])]
        packages: Option<PathBuf>,
        /// Run those of the above whose inputs differ between this commit and the files as they lie here, and nothing else; say of each
        /// why it runs or not.
        #[arg(long, value_name = "REV", conflicts_with_all = ["terraform", "hosts", "kernel", "monitoring", "page", "containers", "packages"])]
        changed: Option<String>,
        /// For --changed: only say it.
        #[arg(long, requires = "changed")]
        dry_run: bool,
        /// For --changed: run no other than these; of the rest it is said only whether their inputs differ.
        #[arg(long, value_name = "NAME", requires = "changed")]
        only: Vec<String>,
    },
    /// Make the pictures of the status page under docs/screenshots anew, of a real mesh in headless Chromium.
    Screenshots,
    /// Make what is released: Debian packages, a tarball, a bill of materials, and their sums. Runs lintian where it is installed.
    /// Refuses where `cargo xtask test --hosts` did not hold for these very files, but for packages that are not optimised.
    Dist {
        /// Make everything twice, at two places, and fail where a byte differs.
        #[arg(long)]
        check: bool,
        /// Cargo's profile; `release-ci` is compiled in half of the time.
        #[arg(long, default_value = "release")]
        profile: String,
        /// Where to; emptied first [default: target/dist/out].
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Go on without a run of `cargo xtask test --hosts` that held for these files.
        #[arg(long)]
        unproven: bool,
    },
    /// Run the fuzz targets alone, each for a while.
    Fuzz {
        /// For each target.
        #[arg(long, default_value_t = fuzz::SECONDS)]
        seconds: u32,
    },
    /// Walk through everything that can happen to a mesh with several controllers, in one process and by a clock of its own; a
    /// failure says from which seed it follows.
    Simulate {
        /// For so many steps.
        #[arg(long, default_value_t = 100_000)]
        steps: u64,
        /// One walk from this seed, as a failure named it; without it, walk after walk from seeds that nobody chose.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Write docs/openapi.json anew from the code. The tests hold the two against each other.
    Openapi,
    /// Check house rules: dependency direction, licences, text.
    Tidy,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<ExitCode> {
    let root = root()?;
    match command {
        Command::Demo { once, json, ha } => demo::run(&root, *once, *json, *ha),
        Command::Bench { which, json, release, runs, install, more } => {
            let build = if *release { demo::Build::Release } else { demo::Build::Dev };
            if *install {
                judges::for_bench(&root)?;
            }
            bench::run(&root, which, build, *json, *runs, more)
        }
        Command::Soak { minutes, seed, json, release } => {
            let mut soak = demo::lab(&root, if *release { demo::Build::Release } else { demo::Build::Dev })?;
            soak.args(["soak", "--minutes", &minutes.to_string(), "--seed", &seed.to_string()]);
            soak.args(json.then_some("--json"));
            demo::finish(soak)
        }
        Command::Test { changed: Some(since), dry_run, only, allow_missing, .. } => {
            changed::run(&root, since, &changed::Wish { is_dry: *dry_run, only, allow_missing: *allow_missing })
        }
        Command::Test { hosts: true, packages, .. } => hosts::run(&root, packages.clone()),
        Command::Test { containers: true, packages, .. } => containers::run(&root, packages.clone()),
        Command::Test { kernel: true, .. } => kernel::run(&root),
        Command::Test { monitoring: true, .. } => monitoring::run(&root),
        Command::Test { page: true, .. } => page::test(&root),
        Command::Screenshots => page::screenshots(&root),
        Command::Test { terraform: true, allow_missing, .. } => terraform::run(&root, *allow_missing),
        Command::Test { .. } => test::run(&root),
        Command::Dist { check, profile, out, unproven } => {
            // Nobody releases what is not optimised, and the run that is asked for is made with it.
            if profile != "dev" && !unproven {
                proven::must_be(&root)?;
            }
            dist::run(&root, profile, out.clone(), *check)
        }
        Command::Fuzz { seconds } => fuzz_only(&root, *seconds),
        Command::Simulate { steps, seed } => simulate(&root, *steps, *seed),
        Command::Openapi => openapi::run(&root),
        Command::Tidy => tidy_only(&root),
    }
}

fn fuzz_only(root: &std::path::Path, seconds: u32) -> Result<ExitCode> {
    machine::cpp_compiler()?;
    let held = fuzz::run(root, seconds)?.is_some_and(|held| held.iter().all(|held| *held));
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn simulate(root: &std::path::Path, steps: u64, seed: Option<u64>) -> Result<ExitCode> {
    let mut walk = step::cargo(root, &["test", "--package", "picket-controller", "--lib", "--locked", "simulation::"]);
    walk.args(["--", "--nocapture"]).env("PICKET_SIMULATE_STEPS", steps.to_string());
    seed.map(|seed| walk.env("PICKET_SIMULATE_SEED", seed.to_string()));
    Ok(if step::run("simulation", &mut walk)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tidy_only(root: &std::path::Path) -> Result<ExitCode> {
    let violations = tidy::run(root)?;
    violations.iter().for_each(|violation| eprintln!("tidy: {violation}"));
    Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The workspace's folder: two above this crate's.
fn root() -> Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).context("find the workspace above crates/xtask")?;
    Ok(root.to_owned())
}
