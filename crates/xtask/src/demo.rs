//! `cargo xtask demo`: prepares the machine, builds, and hands over to the lab's demo.

use crate::{machine, step};
use anyhow::{Context, Result, bail};
use std::{
    path::Path,
    process::{Command, ExitCode},
};

pub(crate) fn run(root: &Path, once: bool, json: bool) -> Result<ExitCode> {
    let mut demo = lab(root)?;
    demo.arg("demo").args(once.then_some("--once")).args(json.then_some("--json"));
    finish(demo)
}

/// The lab's program, with the programs it runs built and the machine prepared.
pub(crate) fn lab(root: &Path) -> Result<Command> {
    machine::prepare()?;
    if !step::run("build", &mut step::cargo(root, &["build", "--workspace", "--locked"]))? {
        bail!("the build failed; what the compiler says is above");
    }
    Ok(Command::new(target_folder(root)?.join("debug/picket-lab")))
}

/// Runs it to its end.
pub(crate) fn finish(mut command: Command) -> Result<ExitCode> {
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where cargo puts what it builds; CARGO_TARGET_DIR and configuration may move it.
fn target_folder(root: &Path) -> Result<std::path::PathBuf> {
    let output = step::cargo(root, &["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"])
        .output()
        .context("run cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    let folder = metadata["target_directory"].as_str().context("cargo metadata names no target_directory")?;
    Ok(folder.into())
}
