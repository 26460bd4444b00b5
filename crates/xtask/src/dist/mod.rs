//! `cargo xtask dist`: what is released, into one folder: Debian packages, a tarball, a bill of materials, and their sums. The
//! same commit gives the same bytes: `--check` makes everything twice, at two places, and compares.

mod bill;
mod packages;
mod stage;

use crate::{
    machine,
    step::{self, said},
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

/// What is shipped: crate, program and package have one name.
pub(crate) const PROGRAMS: [&str; 4] = ["picket", "picket-controller", "picket-prep-agent", "picket-sentry-agent"];

/// One release: from where, how, and to where.
pub(crate) struct Release<'a> {
    root: &'a Path,
    /// Cargo's profile.
    profile: &'a str,
    /// Where cargo builds and files are laid out.
    work: PathBuf,
    /// Seconds since 1970 that stand for "now" in every file: when the commit was made.
    epoch: String,
    version: String,
}

/// Makes the release in `out`, or below the target folder.
pub(crate) fn run(root: &Path, profile: &str, out: Option<PathBuf>, check: bool) -> Result<ExitCode> {
    let started = Instant::now();
    let target = step::target_folder(root)?.join("dist");
    let out = out.unwrap_or_else(|| target.join("out"));
    let made = make(root, profile, target.join("work"), &out)?;
    let mut good = lintian(&out, &made)?;
    if check {
        let again = target.join("out-again");
        let second = make(root, profile, target.join("work-again"), &again)?;
        let differing = differing(&out, &made, &again, &second)?;
        differing.iter().for_each(|name| println!("dist: {name} is not the same twice"));
        good &= differing.is_empty();
    }
    made.iter().for_each(|name| println!("{}", out.join(name).display()));
    let twice = if check { ", the same bytes twice" } else { "" };
    let verdict = if good { "good" } else { "FAILED" };
    println!("dist: {verdict}: {} files{twice} in {:.0} s", made.len(), started.elapsed().as_secs_f64());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The packages in that folder; made first, not optimised, where none is given: in a folder of their own, since nobody takes them for a
/// release.
pub(crate) fn packages(root: &Path, given: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(folder) = given {
        return folder.canonicalize().with_context(|| format!("look for {}", folder.display()));
    }
    let out = step::target_folder(root)?.join("dist/dev");
    ensure!(
        run(root, "dev", Some(out.clone()), false)? == ExitCode::SUCCESS,
        "the packages are not as they shall be; what is wrong is above"
    );
    Ok(out)
}

/// Everything but the checks; names of the files in `out`, in order.
pub(crate) fn make(root: &Path, profile: &str, work: PathBuf, out: &Path) -> Result<Vec<String>> {
    machine::packagers()?;
    empty(out)?;
    let release = Release::new(root, profile, work)?;
    let programs = release.build()?;
    let stage = stage::lay_out(&release, &programs)?;
    packages::debian(&release, &stage, out)?;
    packages::tarball(&release, &stage, out)?;
    let bill = out.join(format!("picket-{}.cdx.json", release.version));
    fs::write(&bill, bill::of(root, &release.epoch)?).with_context(|| format!("write {}", bill.display()))?;
    sums(out)?;
    names(out)
}

impl<'a> Release<'a> {
    fn new(root: &'a Path, profile: &'a str, work: PathBuf) -> Result<Self> {
        let epoch = match said(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root)) {
            Ok(epoch) => epoch,
            // A tree that was unpacked: the changelog of the packages says when it was.
            Err(_) => said(Command::new("dpkg-parsechangelog").args(["-STimestamp", "-l"]).arg(changelog(root)))?,
        };
        let version = said(Command::new("dpkg-parsechangelog").args(["-SVersion", "-l"]).arg(changelog(root)))?;
        let upstream = version.split('-').next().unwrap_or(&version).to_owned();
        let manifest = bill::metadata(root)?;
        let ours = manifest["packages"].as_array().into_iter().flatten();
        let ours: Vec<_> = ours.filter(|package| package["name"] == PROGRAMS[0]).collect();
        ensure!(
            ours.iter().all(|package| package["version"] == upstream.as_str()),
            "packaging/deb/changelog is of version {upstream}, Cargo.toml of another: write its entry"
        );
        Ok(Self { root, profile, work, epoch, version: upstream })
    }

    /// Compiles what is shipped. No path of this machine gets into it.
    fn build(&self) -> Result<PathBuf> {
        let target = self.work.join("build");
        let home = std::env::var_os("CARGO_HOME")
            .map_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"), PathBuf::from);
        let places = [(target.as_path(), "/target"), (self.root, "/picket"), (home.as_path(), "/cargo")];
        let remap: Vec<String> =
            places.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect();
        let c: Vec<String> =
            places.iter().map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display())).collect();
        let mut build = step::cargo(self.root, &["build", "--locked", "--bins", "--profile", self.profile]);
        build.args(PROGRAMS.iter().flat_map(|program| ["-p", program])).arg("--target-dir").arg(&target);
        build.env("CARGO_ENCODED_RUSTFLAGS", remap.join("\u{1f}")).env("CFLAGS", c.join(" "));
        build.env("SOURCE_DATE_EPOCH", &self.epoch).env("CARGO_INCREMENTAL", "0");
        ensure!(step::run("build what is shipped", &mut build)?, "the build failed; what the compiler says is above");
        Ok(target.join(if self.profile == "dev" { "debug" } else { self.profile }))
    }
}

/// Debian's own judge of packages.
fn lintian(out: &Path, made: &[String]) -> Result<bool> {
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error,warning", "--allow-root", "--tag-display-limit", "0"]);
    lintian.args(made.iter().filter(|name| name.ends_with(".deb")).map(|name| out.join(name)));
    step::run("lintian", &mut lintian)
}

fn differing(one: &Path, names: &[String], other: &Path, others: &[String]) -> Result<Vec<String>> {
    ensure!(names == others, "the second time there were other files: {names:?} and {others:?}");
    let mut found = Vec::new();
    for name in names {
        let read = |folder: &Path| fs::read(folder.join(name)).with_context(|| format!("read {name}"));
        if read(one)? != read(other)? {
            found.push(name.clone());
        }
    }
    Ok(found)
}

/// `SHA256SUMS` of all that is there, as `sha256sum --check` reads it.
fn sums(out: &Path) -> Result<()> {
    let mut sha256sum = Command::new("sha256sum");
    let text = said(sha256sum.args(names(out)?).current_dir(out))?;
    fs::write(out.join("SHA256SUMS"), text + "\n").context("write SHA256SUMS")
}

/// Files of a folder, in order.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Makes a folder, or empties it.
fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}

fn changelog(root: &Path) -> PathBuf {
    root.join("packaging/deb/changelog")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_other_bytes_is_named() {
        let folder = std::env::temp_dir().join(format!("picket-dist-{}", std::process::id()));
        let (one, other) = (folder.join("one"), folder.join("other"));
        for (place, last) in [(&one, "x"), (&other, "y")] {
            empty(place).unwrap();
            fs::write(place.join("a"), "same").unwrap();
            fs::write(place.join("b"), last).unwrap();
        }
        let names = names(&one).unwrap();
        assert_eq!(differing(&one, &names, &other, &names).unwrap(), ["b"]);
        assert!(differing(&one, &names, &other, &[]).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
