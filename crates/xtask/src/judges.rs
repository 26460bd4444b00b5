//! Other people's WireGuard engines, which ours is held against: installed under target/, said aloud. The suite takes the
//! stable one of Debian, the bench the newest; boringtun-cli comes from crates.io.

use crate::{machine, step};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const BORINGTUN: &str = "0.7.1";
/// Where the newest wireguard-go is packaged.
const NEWEST: &str =
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main\n";

/// What the tests of tunnels need: wireguard-go of this machine's Debian, and boringtun-cli.
pub(crate) fn for_tests(root: &Path) -> Result<()> {
    machine::wireguard_go()?;
    boringtun(&folder(root)?)
}

/// What the bench of tunnels needs: iperf3 and ethtool, the newest wireguard-go, and boringtun-cli.
pub(crate) fn for_bench(root: &Path) -> Result<()> {
    let folder = folder(root)?;
    machine::flows()?;
    newest_wireguard_go(&folder)?;
    boringtun(&folder)
}

/// Where they are put, and their programs in its `bin`.
fn folder(root: &Path) -> Result<PathBuf> {
    Ok(step::target_folder(root)?.join("judges"))
}

/// Takes a minute, once.
fn boringtun(folder: &Path) -> Result<()> {
    let installed = fs::read_to_string(folder.join(".crates.toml")).unwrap_or_default();
    if installed.contains(&format!("\"boringtun-cli {BORINGTUN} ")) && folder.join("bin/boringtun-cli").is_file() {
        return Ok(());
    }
    eprintln!("xtask: installing boringtun-cli {BORINGTUN} from crates.io into {}", folder.display());
    let build = folder.join("build");
    let mut install = Command::new("cargo");
    install.args(["install", "boringtun-cli", "--version", BORINGTUN, "--locked", "--quiet", "--force", "--root"]);
    install.arg(folder).arg("--target-dir").arg(&build);
    let built = step::run("boringtun-cli", &mut install)?;
    if build.exists() {
        fs::remove_dir_all(&build).with_context(|| format!("remove {}", build.display()))?;
    }
    if !built {
        bail!("boringtun-cli {BORINGTUN} could not be built; what cargo says is above");
    }
    Ok(())
}

/// Unpacked beside the system, of which nothing changes: the package is of Debian's development suite.
fn newest_wireguard_go(folder: &Path) -> Result<()> {
    let program = folder.join("bin/wireguard-go");
    if program.is_file() {
        return Ok(());
    }
    eprintln!("xtask: unpacking wireguard-go of Debian's development suite into {}", folder.display());
    let apt = folder.join("apt");
    fs::create_dir_all(apt.join("lists/partial")).with_context(|| format!("make {}", apt.display()))?;
    fs::create_dir_all(apt.join("cache/archives/partial"))?;
    fs::write(apt.join("sources.list"), NEWEST).context("write the list of sources")?;
    let here = |name: &str| apt.join(name).display().to_string();
    let options = [
        format!("Dir::Etc::sourcelist={}", here("sources.list")),
        "Dir::Etc::sourceparts=/dev/null".to_owned(),
        format!("Dir::State::lists={}", here("lists")),
        format!("Dir::Cache={}", here("cache")),
        "APT::Sandbox::User=root".to_owned(),
    ];
    for action in [&["update", "-qq"][..], &["download", "-qq", "wireguard-go"]] {
        let mut command = Command::new("apt-get");
        command.args(options.iter().flat_map(|option| ["-o", option.as_str()]));
        step::said(command.args(action).current_dir(&apt))?;
    }
    let packages = fs::read_dir(&apt)?.flatten().map(|entry| entry.path());
    let package = packages.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let package = package.context("apt-get downloaded no package wireguard-go")?;
    step::said(Command::new("dpkg-deb").arg("-x").arg(package).arg(apt.join("unpacked")))?;
    fs::create_dir_all(folder.join("bin"))?;
    fs::copy(apt.join("unpacked/usr/bin/wireguard-go"), &program).context("copy wireguard-go")?;
    fs::remove_dir_all(&apt).with_context(|| format!("remove {}", apt.display()))
}
