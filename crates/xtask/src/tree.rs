//! Copies of parts of the project, for tools that write beside what they read.

use anyhow::{Context, Result};
use std::{fs, path::Path};

/// A copy of a folder, in the place of whatever was there.
pub(crate) fn fresh_copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("remove {}", to.display()))?;
    }
    copy(from, to)
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
