//! A network namespace with a name: made, entered by a thread, emptied of processes, removed.
//! A socket belongs to the namespace in which it is made, so only the making has to happen inside.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    panic::resume_unwind,
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{LabError, command, wait::wait_until};

/// Where iproute2 keeps the handles of named namespaces.
pub(crate) const HANDLES: &str = "/run/netns";
/// Where `ip netns exec` finds the files it binds over those of /etc.
pub(crate) const FILES: &str = "/etc/netns";

/// A killed process leaves its namespaces within milliseconds; a machine under load gets some more.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// A network namespace by its name.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    pub(crate) name: String,
}

impl Namespace {
    /// Makes a new namespace.
    pub(crate) fn create(name: String) -> Result<Self, LabError> {
        command::run("ip", &["netns", "add", &name], "")?.success()?;
        Ok(Self { name })
    }

    /// Runs `work` on a thread of its own inside the namespace and waits for it. Takes microseconds; threads and
    /// programs started by `work` are inside too, and sockets it makes stay inside wherever they are used.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        thread::scope(|scope| {
            let entered = thread::Builder::new().name(self.name.clone()).spawn_scoped(scope, || {
                let handle = File::open(self.handle())?;
                setns(handle, CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            });
            let outcome: io::Result<T> = entered.and_then(|thread| thread.join().unwrap_or_else(|p| resume_unwind(p)));
            outcome.map_err(|error| LabError::io(format!("enter namespace {}", self.name), error))
        })
    }

    /// Runs `ip` inside on a script of commands.
    pub(crate) fn ip(&self, script: &str) -> Result<(), LabError> {
        command::ip(Some(&self.name), script)
    }

    /// Writes a file that programs inside see in /etc in place of the machine's own; the machine must have one.
    pub(crate) fn write_file(&self, name: &str, text: &str) -> Result<(), LabError> {
        let path = self.files().join(name);
        let written = fs::create_dir_all(self.files()).and_then(|()| fs::write(&path, text));
        written.map_err(|error| LabError::io(format!("write {}", path.display()), error))
    }

    /// The folder whose files programs inside see in /etc.
    pub(crate) fn files(&self) -> PathBuf {
        Path::new(FILES).join(&self.name)
    }

    /// All processes inside but our own.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        id(&self.handle()).map(|id| processes_in(&[id])).unwrap_or_default()
    }

    pub(crate) fn handle(&self) -> PathBuf {
        Path::new(HANDLES).join(&self.name)
    }
}

/// Kills every process inside, then removes the namespaces and their files. Does all it can; the error is the first.
pub(crate) fn remove(namespaces: &[Namespace]) -> Result<(), LabError> {
    let emptied = empty(namespaces);
    let handles: String =
        namespaces.iter().filter(|n| n.handle().exists()).map(|n| format!("netns delete {}\n", n.name)).collect();
    let deleted = if handles.is_empty() { Ok(()) } else { command::ip(None, &handles) };
    // Two labs may clean up after the same dead third: what counts is that the handles are gone.
    let deleted = if namespaces.iter().any(|n| n.handle().exists()) { deleted } else { Ok(()) };
    for files in namespaces.iter().map(Namespace::files).filter(|files| files.exists()) {
        let removed = fs::remove_dir_all(&files);
        if files.exists() {
            removed.map_err(|error| LabError::io(format!("remove {}", files.display()), error))?;
        }
    }
    emptied.and(deleted)
}

/// Kills what still runs inside, again until nothing is left: a process may have had children meanwhile.
pub(crate) fn empty(namespaces: &[Namespace]) -> Result<(), LabError> {
    // A namespace whose handle is gone has nobody inside that could be found by it.
    let ids: Vec<_> = namespaces.iter().filter_map(|n| id(&n.handle())).collect();
    if ids.is_empty() {
        return Ok(());
    }
    wait_until("the namespaces to be empty", EMPTY_WITHIN, || {
        let left = processes_in(&ids);
        for pid in &left {
            // Gone by itself is as good.
            let _ = kill(*pid, Signal::SIGKILL);
        }
        if left.is_empty() { Ok(()) } else { Err(format!("processes {left:?} are inside")) }
    })?;
    Ok(())
}

/// All processes inside, never our own: our threads enter and leave, our process does not.
fn processes_in(ids: &[(u64, u64)]) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| u32::try_from(*pid) != Ok(process::id()))
        .filter(|pid| id(Path::new(&format!("/proc/{pid}/ns/net"))).is_some_and(|id| ids.contains(&id)))
        .map(Pid::from_raw)
        .collect()
}

/// What tells one namespace from another: device and inode of its handle.
fn id(handle: &Path) -> Option<(u64, u64)> {
    fs::metadata(handle).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}
