//! The packages of the build before (packaging/previous), made by its own `dist` from its own files. They lie under target by their
//! commit, and are made once.

use crate::step::{self, said};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Names the commit.
const FILE: &str = "packaging/previous";

/// The folder with its packages.
pub(super) fn packages(root: &Path) -> Result<PathBuf> {
    let text = fs::read_to_string(root.join(FILE)).with_context(|| format!("read {FILE}"))?;
    let commit = commit(&text)?;
    let folder = step::target_folder(root)?.join("previous").join(commit);
    let (tree, made) = (folder.join("tree"), folder.join("packages"));
    if made.is_dir() {
        return Ok(made);
    }
    unpack(root, commit, &tree)?;
    // Whole or not at all: what was cut off is made anew.
    let unfinished = folder.join("unfinished");
    let arguments = ["run", "--quiet", "--locked", "--package", "xtask", "--", "dist", "--profile", "dev", "--out"];
    let mut dist = step::cargo(&tree, &arguments);
    // Its own, wherever those of this run are; git finds the commit of this project there, and its date stands for "now".
    dist.arg(&unfinished).env("CARGO_TARGET_DIR", folder.join("build"));
    let what = format!("packages of the build before, {}", commit.get(..7).unwrap_or(commit));
    ensure!(
        step::run(&what, &mut dist)?,
        "the build before ({commit}) makes no packages any more; what it says is above"
    );
    fs::rename(&unfinished, &made).with_context(|| format!("call {} {}", unfinished.display(), made.display()))?;
    // Programs of some gigabytes, which nobody needs again.
    for left in [tree, folder.join("build")] {
        fs::remove_dir_all(&left).with_context(|| format!("remove {}", left.display()))?;
    }
    Ok(made)
}

/// The commit that the file names, in one line that is no comment.
fn commit(text: &str) -> Result<&str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let commit = lines.next().with_context(|| format!("{FILE} names no commit"))?;
    let is_whole = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure!(is_whole && lines.next().is_none(), "{FILE}: write one commit's whole id, of 40 hexadecimal digits");
    Ok(commit)
}

/// Its files, as git has them.
fn unpack(root: &Path, commit: &str, tree: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("remove {}", tree.display()))?;
    }
    fs::create_dir_all(tree).with_context(|| format!("make {}", tree.display()))?;
    let archive = tree.join("files.tar");
    let mut git = Command::new("git");
    git.args(["archive", "--format=tar", "--output"]).arg(&archive).arg(commit).current_dir(root);
    said(&mut git).with_context(|| {
        format!("take the build before out of git: where this clone begins after it, `git fetch --unshallow` ({FILE} names {commit})")
    })?;
    said(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(tree))?;
    fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_whole_commit_is_named() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(commit(&format!("# why\n\n{id}\n")).unwrap(), id);
        for wrong in ["# why\n", "0123456\n", "main\n", &format!("{id}\n{id}\n")] {
            assert!(commit(wrong).is_err(), "{wrong}");
        }
        commit(include_str!("../../../../packaging/previous")).unwrap();
    }
}
