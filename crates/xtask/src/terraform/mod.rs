//! `cargo xtask test --terraform`: everything under `terraform/`, with the real provider where it is to be had, and against moto,
//! which plays AWS. What cannot be run here is said, and is a failure unless it was allowed.

mod cloud;
mod tools;

use crate::{machine, outcome::Outcome, step, tree};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};
use tools::{Provider, Terraform};

/// Runs all of it. `allow_missing`: what this machine cannot run is no failure.
pub(crate) fn run(root: &Path, allow_missing: bool) -> Result<ExitCode> {
    let started = Instant::now();
    let mut outcome = Outcome::of_run("terraform");
    everything(root, &mut outcome)?;
    Ok(outcome.end(started, allow_missing))
}

/// Whether the files are formatted; `None` where there is no terraform.
pub(crate) fn format(root: &Path) -> Result<Option<bool>> {
    if !tools::is_there("terraform") {
        return Ok(None);
    }
    let mut check = Command::new("terraform");
    check.args(["fmt", "-check", "-diff", "-recursive", "terraform"]).current_dir(root);
    step::run("format of terraform", &mut check).map(Some)
}

fn everything(root: &Path, outcome: &mut Outcome) -> Result<()> {
    machine::python_environments()?;
    let mut tables = Command::new("python3");
    tables.arg("terraform/tests/tables.py").current_dir(root);
    outcome.of("tables of the READMEs", step::run("tables of the READMEs", &mut tables)?);
    let mut names = Command::new("python3");
    names.arg("terraform/tests/google.py").current_dir(root);
    outcome.of("names in modules/gcp", step::run("names in modules/gcp", &mut names)?);
    let scratch = root.join("target/tmp/terraform");
    match format(root)? {
        Some(held) => {
            outcome.of("format", held);
            // So that nothing is written into the tree.
            let work = scratch.join("work");
            tree::fresh_copy(&root.join("terraform"), &work)?;
            with_terraform(root, &scratch, &work, outcome)?;
        }
        None => outcome.not_run("everything but tables and checkov: no terraform in PATH"),
    }
    cloud::checkov(root, &scratch, outcome)
}

fn with_terraform(root: &Path, scratch: &Path, work: &Path, outcome: &mut Outcome) -> Result<()> {
    // Google's provider is on few machines; without it those modules are formatted and their names looked up, and that is said.
    for (provider, modules) in [(Provider::AWS, "modules/aws"), (Provider::GOOGLE, "modules/gcp")] {
        let terraform = match Terraform::with(provider, scratch)? {
            Ok(terraform) => terraform,
            Err(why) => {
                outcome.not_run(format!("{modules}: {why}"));
                continue;
            }
        };
        let mut folders = with_files(&work.join(modules))?;
        if provider == Provider::AWS {
            folders.extend(with_files(&work.join("examples"))?);
        }
        for folder in folders {
            check(&terraform, work, &folder, outcome)?;
        }
        if provider == Provider::AWS {
            cloud::apply(root, &terraform, scratch, work, outcome)?;
        }
    }
    Ok(())
}

/// Validates one module or example, and runs its tests where it has some.
fn check(terraform: &Terraform, work: &Path, folder: &Path, outcome: &mut Outcome) -> Result<()> {
    let name = folder.strip_prefix(work).unwrap_or(folder).display().to_string();
    let ready = step::run(&format!("init {name}"), &mut terraform.command(folder, &["init", "-backend=false"]))?;
    let valid = ready && step::run(&format!("validate {name}"), &mut terraform.command(folder, &["validate"]))?;
    if outcome.of(format!("validate {name}"), valid) && folder.join("tests").is_dir() {
        let tested = step::run(&format!("test {name}"), &mut terraform.command(folder, &["test"]))?;
        outcome.of(format!("test {name}"), tested);
    }
    Ok(())
}

/// Folders with Terraform's files in a folder, in order.
fn with_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.join("versions.tf").is_file());
    found.sort();
    Ok(found)
}
