//! Tools of PyPI, pinned, each set in an environment of its own below the build folder.

use crate::step;
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The interpreter of an environment with these packages, made once; `None` where they cannot be installed.
pub(crate) fn environment(scratch: &Path, (folder, packages): (&str, &[&str])) -> Result<Option<PathBuf>> {
    let environment = scratch.join(folder);
    let python = environment.join("bin/python");
    let (whole, names) = (environment.join("whole"), packages.join(" "));
    if fs::read_to_string(&whole).is_ok_and(|found| found == names) {
        return Ok(Some(python));
    }
    fs::create_dir_all(scratch).with_context(|| format!("make {}", scratch.display()))?;
    let mut make = Command::new("python3");
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
