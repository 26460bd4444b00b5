//! Tools of PyPI, pinned, each set in an environment of its own below the build folder.

use crate::step;
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The interpreter of an environment with these packages, made once; `None` where they cannot be installed.
pub(crate) fn environment(scratch: &Path, set: (&str, &[&str])) -> Result<Option<PathBuf>> {
    environment_of(Path::new("python3"), scratch, set)
}

/// An interpreter of this machine that is at least Python 3.`minor`: on the path, or one of pyenv's.
pub(crate) fn at_least(minor: u8) -> Option<PathBuf> {
    let on_path = (minor..minor + 4).map(|minor| PathBuf::from(format!("python3.{minor}")));
    let home = std::env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".pyenv")));
    let versions = home.and_then(|home| fs::read_dir(home.join("versions")).ok());
    let of_pyenv = versions.into_iter().flatten().flatten().map(|version| version.path().join("bin/python3"));
    let check = format!("import sys, venv, ensurepip; sys.exit(sys.version_info < (3, {minor}))");
    let mut all = [PathBuf::from("python3")].into_iter().chain(on_path).chain(of_pyenv);
    all.find(|python| Command::new(python).args(["-c", &check]).output().is_ok_and(|output| output.status.success()))
}

/// As [`environment`], of this interpreter.
pub(crate) fn environment_of(
    interpreter: &Path,
    scratch: &Path,
    (folder, packages): (&str, &[&str]),
) -> Result<Option<PathBuf>> {
    let environment = scratch.join(folder);
    let python = environment.join("bin/python");
    let (whole, names) = (environment.join("whole"), packages.join(" "));
    if fs::read_to_string(&whole).is_ok_and(|found| found == names) {
        return Ok(Some(python));
    }
    fs::create_dir_all(scratch).with_context(|| format!("make {}", scratch.display()))?;
    let mut make = Command::new(interpreter);
    make.args(["-m", "venv", "--clear"]).arg(&environment);
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
    let made = step::run(&format!("environment for {names}"), &mut make)? && step::run(&names, &mut install)?;
    if !made {
        return Ok(None);
    }
    fs::write(&whole, names).with_context(|| format!("write {}", whole.display()))?;
    Ok(Some(python))
}
