//! `cargo xtask test --hosts`: the Ansible collection under its own linter, the image of a sentry, and then the collection on
//! machines that boot, with our packages, over real ssh. What those machines go through is the lab's (`picket-lab hosts`). What cannot be run is said, and fails.

mod image;
mod previous;

use crate::{demo, dist, machine, outcome::Outcome, proven, python, step, tree};
use anyhow::{Context, Result};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

/// Pinned: a linter finds more each month.
const ANSIBLE: (&str, &[&str]) = ("ansible", &["ansible-core==2.19.14", "ansible-lint==26.10.1", "molecule==26.10.0"]);

/// Runs all of it. `packages`: where the Debian packages are; made here where absent.
pub(crate) fn run(root: &Path, packages: Option<PathBuf>) -> Result<ExitCode> {
    let started = Instant::now();
    let mut outcome = Outcome::of_run("hosts");
    let (began, are_ours) = (proven::tree(root), packages.is_none());
    machine::prepare()?;
    machine::operators()?;
    machine::virtual_machines()?;
    machine::address_server()?;
    machine::python_environments()?;
    let scratch = root.join("target/tmp/hosts");
    match python::environment(&scratch, ANSIBLE)? {
        Some(python) => everything(root, &scratch, &python, packages, &mut outcome)?,
        None => outcome.not_run("everything: Ansible cannot be installed from PyPI"),
    }
    let code = outcome.end(started, false);
    match (code == ExitCode::SUCCESS, are_ours) {
        (true, true) => proven::note(root, began)?,
        (true, false) => println!("hosts: it counts for no release: who knows of which files these packages are"),
        (false, _) => {}
    }
    Ok(code)
}

fn everything(
    root: &Path,
    scratch: &Path,
    python: &Path,
    packages: Option<PathBuf>,
    outcome: &mut Outcome,
) -> Result<()> {
    let programs = python.parent().context("a Python without a folder")?;
    let collections = scratch.join("collections");
    // Where Ansible finds a collection by its name; tools write beside what they read.
    let collection = collections.join("ansible_collections/picket/picket");
    tree::fresh_copy(&root.join("ansible"), &collection)?;
    let settings = collections.join("ansible.cfg");
    fs::write(&settings, "[defaults]\n").with_context(|| format!("write {}", settings.display()))?;
    let tool = |name: &str| tool(programs, name, &collections);
    let mut lint = tool("ansible-lint");
    lint.args(["--offline", "--nocolor", "-q"]).current_dir(&collection);
    outcome.of("ansible-lint", step::run("ansible-lint, production profile", &mut lint)?);
    for playbook in playbooks(&collection)? {
        let mut check = tool("ansible-playbook");
        check.args(["--syntax-check", "-i", "examples/inventory.yml"]).arg(&playbook).current_dir(&collection);
        outcome.of(format!("syntax of {playbook}"), step::run(&format!("syntax of {playbook}"), &mut check)?);
    }
    let packages = dist::packages(root, packages)?;
    let previous = previous::packages(root)?;
    image::run(root, &packages, outcome)?;
    // The programs that are tested come out of the packages.
    let mut lab = demo::lab_with(root, &[])?;
    lab.arg("hosts").arg("--ansible").arg(programs).arg("--packages").arg(&packages);
    lab.arg("--previous").arg(&previous);
    lab.arg("--collection").arg(root.join("ansible")).arg("--document").arg(root.join("docs/install.md"));
    outcome.of("booted machines", step::run("booted machines", &mut lab)?);
    Ok(())
}

/// A tool of the environment, with nothing of this user's own settings.
fn tool(programs: &Path, name: &str, collections: &Path) -> Command {
    let mut path = OsString::from(programs);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new(programs.join(name));
    command.env("PATH", path).env("LC_ALL", "C.UTF-8").env("ANSIBLE_COLLECTIONS_PATH", collections);
    command.env("ANSIBLE_HOME", collections.join("home")).env("ANSIBLE_CONFIG", collections.join("ansible.cfg"));
    command
}

/// The collection's playbooks by name, as somebody types them.
fn playbooks(collection: &Path) -> Result<Vec<String>> {
    let folder = collection.join("playbooks");
    let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let files = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        files.filter_map(|file| Some(format!("picket.picket.{}", file.strip_suffix(".yml")?))).collect();
    names.sort();
    Ok(names)
}
