//! Whose files the state folder's are: a command that root gives by hand leaves none that the service's own user cannot read.

use anyhow::Context as _;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// Root becomes the folder's owner, for good; anybody else, and root in a folder of root's or in none, stays who it is. Called
/// before there are threads.
///
/// # Errors
/// The system's, where root may not become somebody else.
pub(crate) fn become_owner_of(folder: &Path) -> anyhow::Result<()> {
    let Ok(found) = fs::metadata(folder) else { return Ok(()) };
    if found.uid() == 0 || !Uid::effective().is_root() {
        return Ok(());
    }
    let doing = || format!("become user {}, who owns {}", found.uid(), folder.display());
    setgroups(&[]).with_context(doing)?;
    setgid(Gid::from_raw(found.gid())).with_context(doing)?;
    setuid(Uid::from_raw(found.uid())).with_context(doing)
}
