//! Which tree of files `cargo xtask test --hosts` was seen to hold for, kept below the build folder: what is released is made of that
//! tree and of no other.

use crate::step::{self, said};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Git's name of the files as they lie here, committed or not: the same files, the same name.
///
/// # Errors
/// Where this is no clone.
pub(crate) fn tree(root: &Path) -> Result<String> {
    // An index of its own: what somebody has staged stays as it is.
    let index = step::target_folder(root)?.join("proven.index");
    let git = |words: &[&str]| said(Command::new("git").args(words).current_dir(root).env("GIT_INDEX_FILE", &index));
    let name = git(&["read-tree", "HEAD"]).and_then(|_| git(&["add", "--all"])).and_then(|_| git(&["write-tree"]));
    let _ = fs::remove_file(&index);
    name.context("ask git for the name of these files")
}

/// Keeps that a run held which began with this tree, where it is the same still.
pub(crate) fn note(root: &Path, began: Result<String>) -> Result<()> {
    match (began, tree(root)) {
        (Ok(began), Ok(ended)) if began == ended => {
            let path = record(root)?;
            fs::write(&path, began + "\n").with_context(|| format!("write {}", path.display()))
        }
        (Ok(_), Ok(_)) => {
            println!("hosts: files were changed meanwhile: it counts for no release");
            Ok(())
        }
        (Err(error), _) | (_, Err(error)) => {
            println!("hosts: it counts for no release: {error:#}");
            Ok(())
        }
    }
}

/// Fails where these files are not those of the last run that held.
pub(crate) fn must_be(root: &Path) -> Result<()> {
    let now = tree(root)?;
    match fs::read_to_string(record(root)?) {
        Ok(proven) if proven.trim() == now => Ok(()),
        Ok(_) => bail!("`cargo xtask test --hosts` held for other files than these: {REMEDY}"),
        Err(_) => bail!("`cargo xtask test --hosts` was not seen to hold here: {REMEDY}"),
    }
}

const REMEDY: &str = "run it first, or say --unproven (packages for tests: --profile dev)";

fn record(root: &Path) -> Result<PathBuf> {
    Ok(step::target_folder(root)?.join("hosts-held"))
}
