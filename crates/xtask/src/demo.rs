//! `cargo xtask demo`: prepares the machine, builds, and hands over to the lab's demo.

use crate::{machine, step};
use anyhow::{Context, Result, bail};
use std::{
    path::Path,
    process::{Command, ExitCode},
};

pub(crate) fn run(root: &Path, once: bool, json: bool, ha: bool) -> Result<ExitCode> {
    if ha {
        machine::database_server()?;
    }
    let mut demo = lab(root, Build::Dev)?;
    demo.arg("demo").args(once.then_some("--once")).args(json.then_some("--json")).args(ha.then_some("--ha"));
    finish(demo)
}

/// How programs are built.
#[derive(Clone, Copy)]
pub(crate) enum Build {
    /// As the demo and the tests run them.
    Dev,
    /// Optimised.
    Release,
}

impl Build {
    /// Cargo's profile, and the folder in which its programs are.
    fn profile(self) -> (&'static str, &'static str) {
        match self {
            Self::Dev => ("dev", "debug"),
            Self::Release => ("release-ci", "release-ci"),
        }
    }
}

/// The lab's program, with the programs it runs built and the machine prepared.
pub(crate) fn lab(root: &Path, build: Build) -> Result<Command> {
    machine::prepare()?;
    let (profile, folder) = build.profile();
    built(root, &["--workspace", "--profile", profile], folder)
}

/// The lab's program, with these packages built and no others: for who has what it runs from elsewhere.
pub(crate) fn lab_with(root: &Path, packages: &[&str]) -> Result<Command> {
    let packages = packages.iter().flat_map(|package| ["-p", package]);
    built(root, &["-p", "picket-lab"].into_iter().chain(packages).collect::<Vec<_>>(), "debug")
}

fn built(root: &Path, what: &[&str], folder: &str) -> Result<Command> {
    if !step::run("build", step::cargo(root, &["build", "--locked"]).args(what))? {
        bail!("the build failed; what the compiler says is above");
    }
    Ok(Command::new(step::target_folder(root)?.join(folder).join("picket-lab")))
}

/// Runs it to its end.
pub(crate) fn finish(mut command: Command) -> Result<ExitCode> {
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
