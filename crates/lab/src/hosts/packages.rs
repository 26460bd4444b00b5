//! The Debian packages: which there are, the operator's program taken out of its own, and others with a newer or older version made of them.

use crate::command::said;
use anyhow::{Context as _, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// All of them.
pub(super) const NAMES: [&str; 4] = ["picket", "picket-controller", "picket-prep-agent", "picket-sentry-agent"];

/// The one file of a package in a folder.
pub(super) fn file(folder: &Path, name: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let begins = format!("{name}_");
    let is_it = |path: &PathBuf| {
        let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
        file.starts_with(&begins) && file.ends_with(".deb")
    };
    let found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_it).collect();
    match &found[..] {
        [one] => Ok(one.clone()),
        _ => bail!("{} has {} packages {name}, and one is needed: `cargo xtask dist`", folder.display(), found.len()),
    }
}

/// `picket`, as its package has it.
pub(super) fn operators_program(folder: &Path, to: &Path) -> Result<PathBuf> {
    said(Command::new("dpkg-deb").arg("-x").arg(file(folder, "picket")?).arg(to))?;
    Ok(to.join("usr/bin/picket"))
}

/// What an index of apt says of a package that lies beside it under this name.
pub(super) fn entry(package: &Path, name: &str) -> Result<String> {
    let control = said(Command::new("dpkg-deb").arg("-f").arg(package))?;
    let sum = said(Command::new("sha256sum").arg(package))?;
    let sum = sum.split_whitespace().next().context("sha256sum prints no sum")?;
    let size = fs::metadata(package).with_context(|| format!("look at {}", package.display()))?.len();
    Ok(format!("{}\nFilename: ./{name}\nSize: {size}\nSHA256: {sum}\n", control.trim_end()))
}

/// The same packages with a later version, and that version.
pub(super) fn newer(folder: &Path, to: &Path) -> Result<String> {
    versioned(folder, to, "+later")
}

/// The same packages with this at the end of their version, and that version.
pub(super) fn versioned(folder: &Path, to: &Path, end: &str) -> Result<String> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    let mut named = String::new();
    for name in NAMES {
        let tree = to.join("tree");
        said(Command::new("dpkg-deb").arg("-R").arg(file(folder, name)?).arg(&tree))?;
        let control = tree.join("DEBIAN/control");
        let text = fs::read_to_string(&control).with_context(|| format!("read {}", control.display()))?;
        let version =
            text.lines().find_map(|line| line.strip_prefix("Version: ")).context("a package without version")?;
        named = format!("{version}{end}");
        let text = text.replace(&format!("Version: {version}\n"), &format!("Version: {named}\n"));
        fs::write(&control, text).with_context(|| format!("write {}", control.display()))?;
        // Packed quickly: it lives for a minute.
        let mut pack = Command::new("dpkg-deb");
        said(pack.args(["-Zgzip", "-z1", "--root-owner-group", "-b"]).arg(&tree).arg(to))?;
        fs::remove_dir_all(&tree).with_context(|| format!("remove {}", tree.display()))?;
    }
    Ok(named)
}
