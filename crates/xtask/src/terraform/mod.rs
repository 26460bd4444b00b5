//! `cargo xtask test --terraform`: everything under `terraform/`, with the real provider where it is to be had, and against moto,
//! which plays AWS. What cannot be run here is said, and is a failure unless it was allowed.

mod cloud;
mod tools;

use crate::{machine, step};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};
use tools::{Provider, Terraform};

/// What holds, what does not, and what was not looked at.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    passed: Vec<String>,
    failed: Vec<String>,
    not_run: Vec<String>,
}

impl Outcome {
    fn of(&mut self, what: impl Into<String>, held: bool) -> bool {
        if held { &mut self.passed } else { &mut self.failed }.push(what.into());
        held
    }

    fn closing(&self) -> String {
        let named = |what: &str, of: &[String]| match of {
            [] => String::new(),
            of => format!("; {what}: {}", of.join(", ")),
        };
        let Self { passed, failed, not_run } = self;
        format!("terraform: {} passed{}{}", passed.len(), named("FAILED", failed), named("NOT RUN", not_run))
    }

    fn is_good(&self, allow_missing: bool) -> bool {
        self.failed.is_empty() && !self.passed.is_empty() && (allow_missing || self.not_run.is_empty())
    }
}

/// Runs all of it. `allow_missing`: what this machine cannot run is no failure.
pub(crate) fn run(root: &Path, allow_missing: bool) -> Result<ExitCode> {
    let started = Instant::now();
    let mut outcome = Outcome::default();
    everything(root, &mut outcome)?;
    println!("{} in {:.0} s", outcome.closing(), started.elapsed().as_secs_f64());
    Ok(if outcome.is_good(allow_missing) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
            let work = fresh_copy(root, &scratch)?;
            with_terraform(root, &scratch, &work, outcome)?;
        }
        None => outcome.not_run.push("everything but tables and checkov: no terraform in PATH".to_owned()),
    }
    cloud::checkov(root, &scratch, outcome)
}

fn with_terraform(root: &Path, scratch: &Path, work: &Path, outcome: &mut Outcome) -> Result<()> {
    // Google's provider is on few machines; without it those modules are formatted and their names looked up, and that is said.
    for (provider, modules) in [(Provider::AWS, "modules/aws"), (Provider::GOOGLE, "modules/gcp")] {
        let terraform = match Terraform::with(provider, scratch)? {
            Ok(terraform) => terraform,
            Err(why) => {
                outcome.not_run.push(format!("{modules}: {why}"));
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

/// A copy of `terraform/`, so that nothing is written into the tree.
fn fresh_copy(root: &Path, scratch: &Path) -> Result<PathBuf> {
    let work = scratch.join("work");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
    }
    copy(&root.join("terraform"), &work)?;
    Ok(work)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let doing = || format!("copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to).with_context(doing)?;
    for entry in fs::read_dir(from).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        let target = to.join(entry.file_name());
        if entry.file_name() == ".terraform" {
            continue;
        }
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(doing)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_run_is_said_and_fails_unless_allowed() {
        let mut outcome = Outcome::default();
        assert!(!outcome.is_good(true), "nothing was looked at");
        assert!(outcome.of("a", true));
        assert!(outcome.is_good(false));
        assert_eq!(outcome.closing(), "terraform: 1 passed");
        outcome.not_run.push("b: no c".to_owned());
        assert!(!outcome.is_good(false) && outcome.is_good(true));
        assert_eq!(outcome.closing(), "terraform: 1 passed; NOT RUN: b: no c");
        assert!(!outcome.of("d", false));
        assert!(!outcome.is_good(true));
        assert_eq!(outcome.closing(), "terraform: 1 passed; FAILED: d; NOT RUN: b: no c");
    }
}
