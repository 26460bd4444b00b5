//! From the packages of the build before to ours: what it enrolled, wrote and keeps in its database is ours to take over.

use super::{packages, site::Site};
use crate::steps::Seen;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;

/// Below any version of ours, since both may be called the same as long as nothing was released.
const BEFORE: &str = "~before";

/// A mesh of the build before is upgraded one machine after the other; it stays in force, its hosts stay who they are, and no stranger
/// is answered all the while.
pub(super) fn upgraded(site: &mut Site) -> Seen {
    let given = site.previous.clone().context("give --previous: a folder with the packages of the build before")?;
    site.ansible.play("remove", &site.packages, &["-e", "picket_purge=true"])?.success()?;
    let older = site.ansible.path("before");
    let from = packages::versioned(&given, &older, BEFORE)?;
    site.ansible.play("site", &older, &[])?.success()?;
    site.wait_in_force()?;
    site.is_guarded()?;
    site.tunnel_carries()?;
    let is_old = |installed: &Vec<String>| !installed.is_empty() && installed.iter().all(|version| *version == from);
    ensure!(site.versions()?.values().all(is_old), "not all are of {from}");
    let (members, token) = (names(site)?, site.picket(&["token", "create", "--role", "sentry"])?);
    site.begin_to_knock()?;

    let played = site.ansible.play("upgrade", &site.packages, &[])?.success()?;
    site.wait_in_force()?;
    site.is_guarded()?;
    site.tunnel_carries()?;
    let knocks = site.nothing_answered()?;
    let versions = site.versions()?;
    ensure!(!versions.values().flatten().any(|version| *version == from), "after the upgrade there is {versions:?}");
    ensure!(names(site)? == members, "the hosts are others: {members:?} before, {:?} now", names(site)?);
    let tokens = site.picket(&["token", "list"])?;
    let id = token.trim().split('.').nth(2).unwrap_or_default();
    ensure!(!id.is_empty() && tokens.contains(id), "the token {id} of before is unknown now: {tokens}");
    let again = site.ansible.play("upgrade", &site.packages, &[])?.success()?;
    ensure!(again.is_quiet(), "a second run: {}", again.changes());
    Ok(format!("{}, {} hosts stayed who they are; {knocks}", played.changes(), members.len()))
}

/// Ids of the members by name.
fn names(site: &Site) -> Result<BTreeMap<String, String>> {
    let members = site.members()?;
    Ok(members.into_iter().map(|view| (view.node.name.to_string(), view.node.id.to_string())).collect())
}
