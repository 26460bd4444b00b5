//! The image of a sentry: its template as Packer reads it, and then the image itself, made in qemu and started (`picket-lab image`). AWS is
//! not asked: of its part of the template only names and types are looked at.

use crate::{demo, machine, outcome::Outcome, step};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const TEMPLATE: &str = "packaging/packer/sentry.pkr.hcl";
/// In the place of what is asked of a mirror otherwise, which may not answer here.
const OFFLINE: [&str; 6] = ["-var", "region=eu-central-1", "-var", "base=none", "-var", "base_checksum=none"];

/// Runs all of it.
pub(super) fn run(root: &Path, packages: &Path, outcome: &mut Outcome) -> Result<()> {
    if let Err(error) = machine::images() {
        outcome.not_run(format!("template of the image, and the image built and booted: {error:#}"));
        return Ok(());
    }
    let entries = fs::read_dir(packages).with_context(|| format!("read {}", packages.display()))?;
    let is_sentrys = |path: &PathBuf| path.to_string_lossy().contains("/picket-sentry-agent_");
    let package =
        entries.flatten().map(|entry| entry.path()).find(is_sentrys).context("no package of the sentry's agent")?;
    let packer = || {
        let mut packer = Command::new("packer");
        packer.env("CHECKPOINT_DISABLE", "1").current_dir(root);
        packer
    };
    let (mut format, mut validate) = (packer(), packer());
    format.args(["fmt", "-check", "-diff", "packaging/packer"]);
    validate.arg("validate").args(OFFLINE).arg("-var").arg(format!("package={}", package.display())).arg(TEMPLATE);
    let held = step::run("format of the image", &mut format)? & step::run("template of the image", &mut validate)?;
    outcome.of("template of the image", held);
    let mut lab = demo::lab_with(root, &[])?;
    lab.arg("image").arg("--template").arg(root.join(TEMPLATE)).arg("--package").arg(&package);
    outcome.of("image built and booted", step::run("image built and booted", &mut lab)?);
    Ok(())
}
