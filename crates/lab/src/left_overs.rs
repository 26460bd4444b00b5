//! What labs of processes that died without cleaning up left behind. Everything a lab makes carries its owner's
//! process id in its name: `picket-<pid>-<number>[-<host>]`.

use std::{fs, path::Path};

use crate::{
    LabError, command,
    namespace::{self, Namespace},
};

/// Which lab: the owner's process id and a number within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LabId {
    pub(crate) pid: u32,
    pub(crate) number: u32,
}

impl LabId {
    /// The name of the bridge's namespace, and what the names of everything else in the lab begin with.
    pub(crate) fn name(self) -> String {
        format!("picket-{}-{}", self.pid, self.number)
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("picket-")?.split('-');
        Some(Self { pid: parts.next()?.parse().ok()?, number: parts.next()?.parse().ok()? })
    }

    fn owner_is_dead(self) -> bool {
        !Path::new(&format!("/proc/{}", self.pid)).exists()
    }
}

/// Removes namespaces, processes and files of labs whose owner is dead; says what it removed.
///
/// # Errors
/// [`LabError::NotRoot`], or what could not be removed.
pub fn clean() -> Result<Vec<String>, LabError> {
    clean_if(LabId::owner_is_dead)
}

/// As [`clean`], and also what bears the name of the lab about to be made: an earlier process had our process id.
pub(crate) fn clean_before(new: LabId) -> Result<Vec<String>, LabError> {
    clean_if(|id| id == new || id.owner_is_dead())
}

/// Removes all that this process made, whoever uses it still.
pub(crate) fn clean_own() -> Result<Vec<String>, LabError> {
    let own = std::process::id();
    clean_if(|id| id.pid == own)
}

fn clean_if(unwanted: impl Fn(LabId) -> bool) -> Result<Vec<String>, LabError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    let names = |folder: &Path| -> Vec<String> {
        // No folder, no left-overs.
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| LabId::parse(name).is_some_and(&unwanted))
            .collect()
    };

    let mut namespaces = names(Path::new(namespace::HANDLES));
    namespaces.extend(names(Path::new(namespace::FILES)));
    namespaces.sort();
    namespaces.dedup();
    let folders = names(&std::env::temp_dir());

    let handles: Vec<_> = namespaces.iter().map(|name| Namespace { name: name.clone() }).collect();
    namespace::remove(&handles)?;
    for folder in folders.iter().map(|name| std::env::temp_dir().join(name)) {
        unmount_below(&folder)?;
        let removed = fs::remove_dir_all(&folder);
        if folder.exists() {
            removed.map_err(|error| LabError::io(format!("remove {}", folder.display()), error))?;
        }
    }
    Ok(namespaces.into_iter().chain(folders).collect())
}

/// Unmounts what a container engine mounted in a lab's folder, innermost first.
fn unmount_below(folder: &Path) -> Result<(), LabError> {
    let mounts =
        fs::read_to_string("/proc/self/mounts").map_err(|error| LabError::io("read /proc/self/mounts", error))?;
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let ours: Vec<&str> = places.filter(|place| Path::new(place).starts_with(folder)).collect();
    for place in ours.iter().rev() {
        command::run("umount", &["--lazy", place], "")?.success()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_lab_gives_are_taken_for_left_overs() {
        let check = |name: &str, expected: Option<(u32, u32)>| {
            assert_eq!(LabId::parse(name).map(|id| (id.pid, id.number)), expected, "{name}");
        };
        check("picket-12-3", Some((12, 3)));
        check("picket-12-3-sentry-1", Some((12, 3)));
        check("picket-12", None);
        check("picket-production-1", None);
        check("picket0", None);
        check("mypicket-12-3", None);
        check("picket-12-x", None);
    }
}
