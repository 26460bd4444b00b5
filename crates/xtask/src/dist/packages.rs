//! Debian packages by cargo-deb, from the metadata in each crate's Cargo.toml, and a tarball of the same for everybody else.

use super::{PROGRAMS, Release, stage::copy};
use crate::step::{self, said};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The version that was tried; pinned, because packages are to be the same bytes tomorrow.
const CARGO_DEB: &str = "3.8.0";

/// One package for each program.
pub(super) fn debian(release: &Release, stage: &Path, out: &Path) -> Result<()> {
    let cargo_deb = cargo_deb(release.root)?;
    for program in PROGRAMS {
        let mut deb = Command::new(&cargo_deb);
        deb.args(["--package", program, "--no-build", "--no-strip", "--locked", "--quiet", "--output"]).arg(out);
        // The best compression takes minutes for programs that are not optimised, and nobody releases those.
        deb.args((release.profile == "dev").then_some("--fast"));
        deb.current_dir(release.root).env("CARGO_TARGET_DIR", stage).env("SOURCE_DATE_EPOCH", &release.epoch);
        deb.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_PKG_NAME");
        ensure!(step::run(&format!("package {program}"), &mut deb)?, "cargo-deb made no package of {program}");
    }
    Ok(())
}

/// Programs, units and what they read, as they lie in the packages.
pub(super) fn tarball(release: &Release, stage: &Path, out: &Path) -> Result<()> {
    let architecture = said(Command::new("dpkg").arg("--print-architecture"))?;
    let name = format!("picket-{}-{architecture}", release.version);
    let folder = release.work.join("tarball").join(&name);
    super::empty(&folder)?;
    for program in PROGRAMS {
        copy(&stage.join("release").join(program), &folder.join("bin").join(program))?;
        tree(&stage.join("release/dist").join(program), &folder.join("share").join(program))?;
    }
    for (from, to) in [
        ("packaging/etc", "etc"),
        ("packaging/sysusers.d", "sysusers.d"),
        ("packaging/tmpfiles.d", "tmpfiles.d"),
        ("LICENSE", "LICENSE"),
        ("CHANGELOG.md", "CHANGELOG.md"),
    ] {
        tree(&release.root.join(from), &folder.join(to))?;
    }
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mode=u+rw,go+r-w,a+X"]);
    tar.arg(format!("--mtime=@{}", release.epoch)).args(["--use-compress-program=gzip -9 -n", "-cf"]);
    tar.arg(out.join(format!("{name}.tar.gz"))).arg("-C").arg(release.work.join("tarball")).arg(&name);
    said(&mut tar).map(drop)
}

/// Copies a file, or a folder with all below it.
fn tree(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        return copy(from, to);
    }
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry.with_context(|| format!("list {}", from.display()))?;
        tree(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// cargo-deb of crates.io, installed under target/ once, which takes some minutes.
fn cargo_deb(root: &Path) -> Result<PathBuf> {
    let folder = step::target_folder(root)?.join("tools");
    let program = folder.join("bin/cargo-deb");
    let installed = fs::read_to_string(folder.join(".crates.toml")).unwrap_or_default();
    if installed.contains(&format!("\"cargo-deb {CARGO_DEB} ")) && program.is_file() {
        return Ok(program);
    }
    eprintln!("xtask: installing cargo-deb {CARGO_DEB} from crates.io into {}", folder.display());
    let mut install = Command::new("cargo");
    // Not optimised, and with the system's xz: it runs for a second, and is compiled for minutes.
    install.args([
        "install",
        "cargo-deb",
        "--version",
        CARGO_DEB,
        "--locked",
        "--debug",
        "--no-default-features",
        "--quiet",
    ]);
    install.arg("--force").arg("--root").arg(&folder).arg("--target-dir").arg(folder.join("build"));
    ensure!(
        step::run("cargo-deb", &mut install)?,
        "cargo-deb {CARGO_DEB} could not be built; what cargo says is above"
    );
    fs::remove_dir_all(folder.join("build")).context("remove what cargo-deb was built from")?;
    Ok(program)
}
