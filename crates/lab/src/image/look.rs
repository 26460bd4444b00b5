//! What lies on the image's disk, read without starting it: what a machine does at its first boot would hide what was there before.

use super::{Site, disk::PARTITION};
use crate::{command::said, steps::Seen};
use anyhow::{Context as _, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The folders that are looked into.
const FOLDERS: [&str; 5] = ["etc", "home", "root", "var/lib/dpkg/info", "var/lib/picket"];
/// What makes the agent's units start at boot.
const ENABLED: [&str; 2] = [
    "etc/systemd/system/sysinit.target.wants/picket-lockdown.service",
    "etc/systemd/system/multi-user.target.wants/picket-sentry-agent.service",
];

/// Our package is there; no name, key or identity is.
pub(super) fn looked_at(site: &mut Site) -> Seen {
    let (image, folder) = (site.image(), site.lab.folder().join("found"));
    let raw = site.lab.folder().join("image.raw");
    said(Command::new("qemu-img").args(["convert", "-O", "raw"]).args([&image, &raw]))?;
    for name in FOLDERS {
        let to = folder.join(name);
        let to = to.parent().unwrap_or(&folder);
        fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
        let file_system = format!("{}?offset={PARTITION}", raw.display());
        said(Command::new("debugfs").arg("-R").arg(format!("rdump /{name} {}", to.display())).arg(file_system))?;
    }
    fs::remove_file(&raw).with_context(|| format!("remove {}", raw.display()))?;

    // debugfs ends well, also where it found nothing.
    for name in FOLDERS.iter().chain(&ENABLED).chain(&["var/lib/dpkg/info/picket-sentry-agent.list"]) {
        ensure!(folder.join(name).symlink_metadata().is_ok(), "there is no /{name} in the image");
    }
    let id = folder.join("etc/machine-id");
    let id = fs::read(&id).with_context(|| format!("read {}", id.display()))?;
    ensure!(id.is_empty(), "every machine would be {:?}", String::from_utf8_lossy(&id));
    let [keys, lets_in, identities] = [
        found(&folder.join("etc/ssh"), &|name| name.starts_with("ssh_host_"))?,
        found(&folder, &|name| name == "authorized_keys")?,
        found(&folder.join("var/lib/picket"), &|_| true)?,
    ];
    ensure!(keys.is_empty(), "sshd of every machine would have {keys:?}");
    ensure!(lets_in.is_empty(), "whoever made the image would be let in by {lets_in:?}");
    ensure!(identities.is_empty(), "every machine would begin with {identities:?}");
    Ok("machine-id is empty; no host key of sshd, no key that is let in, no identity, no state of an agent".to_owned())
}

/// Files below a folder whose names are such.
fn found(folder: &Path, is_such: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry.with_context(|| format!("read {}", folder.display()))?;
        let kind = entry.file_type().with_context(|| format!("look at {}", entry.path().display()))?;
        if kind.is_dir() {
            files.extend(found(&entry.path(), is_such)?);
        } else if is_such(&entry.file_name().to_string_lossy()) {
            files.push(entry.path());
        }
    }
    Ok(files)
}
