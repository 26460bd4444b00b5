//! The agent's folder on disk: only its owner reads it, and a file is either the old one or the new one, whole.
//! Knows nothing of what the files mean.

use nix::{
    fcntl::{Flock, FlockArg, OFlag},
    unistd::Uid,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, BufWriter, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
    time::Duration,
};
use thiserror::Error;
use tokio::time::{Instant, sleep};

/// Only the owner looks in.
const FOLDER_MODE: u32 = 0o700;
/// Only the owner reads.
const FILE_MODE: u32 = 0o600;
/// Held by the one program that may write here.
const LOCK: &str = "lock";
/// How often is looked whether somebody else's work here is over.
const LOOK: Duration = Duration::from_millis(50);

/// A file of the agent's that could not be read or written.
#[derive(Debug, Error)]
pub enum StateError {
    /// The system refused.
    #[error("{attempt} {}{}", path.display(), hint_for(source))]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is damaged.
    #[error("{} cannot be read: {reason}; {remedy}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        reason: serde_json::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The file is of another version of the agent.
    #[error("{} has version {found}, this agent reads version {wanted}; {remedy}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        wanted: u32,
        /// What to do.
        remedy: &'static str,
    },
    /// The file is of another host.
    #[error("{} is of {found}, this host is {wanted}; {remedy}", path.display())]
    OtherHost {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Another agent works in this folder.
    #[error("another agent works in {}; stop it first", .0.display())]
    Locked(PathBuf),
}

/// A kind of JSON file: its name, its version, and what to do when it cannot be read.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// File name.
    pub name: &'static str,
    /// Version that is written, and the only one that is read.
    pub version: u32,
    /// What the operator does about an unreadable one.
    pub remedy: &'static str,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct StateDir(PathBuf);

/// The right to write in the folder, until dropped.
#[derive(Debug)]
pub struct StateLock(#[allow(dead_code, reason = "held, not read")] Flock<File>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lasts {
    OnDisk,
    UntilCrash,
}

#[derive(Deserialize)]
struct Tag {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    content: T,
}

impl StateDir {
    /// The folder at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folder, with those above it.
    pub fn make(&self) -> Result<(), StateError> {
        let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&self.0);
        made.map_err(io_error("make folder", &self.0))
    }

    /// Makes the folder, with those above it, and takes the right to write in it.
    pub fn lock(&self) -> Result<StateLock, StateError> {
        self.make()?;
        let path = self.0.join(LOCK);
        let there = || OpenOptions::new().write(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(&path);
        let file = match self.new_file(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => there(),
            made => made,
        };
        let file = file.map_err(io_error("open", &path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(StateLock(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(StateError::Locked(self.0.clone())),
            Err((_, errno)) => Err(io_error("lock", &path)(errno.into())),
        }
    }

    /// Whether somebody works in the folder: an agent runs, as a rule.
    pub fn is_locked(&self) -> bool {
        let Ok(file) = File::open(self.0.join(LOCK)) else { return false };
        matches!(Flock::lock(file, FlockArg::LockExclusiveNonblock), Err((_, nix::errno::Errno::EWOULDBLOCK)))
    }

    /// As [`lock`](Self::lock), and waits for so long where somebody else works in the folder.
    pub async fn lock_within(&self, time: Duration) -> Result<StateLock, StateError> {
        let start = Instant::now();
        loop {
            match self.lock() {
                Err(StateError::Locked(_)) if start.elapsed() < time => sleep(LOOK).await,
                locked => return locked,
            }
        }
    }

    /// The file's bytes; `None` where there is no such file.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.0.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    /// Replaces the file, and returns when it is on the disk: written beside, synced, renamed, folder synced.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        self.replace(name, Lasts::OnDisk, |file| file.write_all(bytes))
    }

    /// Makes the file where there is none, and returns when it is on the disk; whether it was made. Of two programs that make it
    /// at once one does, and neither ever sees half of it.
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, StateError> {
        let path = self.0.join(name);
        let beside = self.0.join(format!("{name}.{}.new", std::process::id()));
        let make = || {
            let mut file = self.fresh_file(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            // Unlike a rename, a link replaces nothing.
            std::fs::hard_link(&beside, &path)
        };
        let made = make();
        let tidied = std::fs::remove_file(&beside).and_then(|()| File::open(&self.0)?.sync_all());
        match made.and(tidied) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(io_error("make", &path)(error)),
        }
    }

    /// Gives the file another name, and returns when that is on the disk; nothing where there is no such file.
    pub fn rename(&self, name: &str, to: &str) -> Result<(), StateError> {
        let path = self.0.join(name);
        let renamed = match std::fs::rename(&path, self.0.join(to)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            renamed => renamed.and_then(|()| File::open(&self.0)?.sync_all()),
        };
        renamed.map_err(io_error("rename", &path))
    }

    /// Removes the file, and returns when that is on the disk; nothing where there is no such file.
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        let path = self.0.join(name);
        let removed = match std::fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            removed => removed.and_then(|()| File::open(&self.0)?.sync_all()),
        };
        removed.map_err(io_error("remove", &path))
    }

    /// Names of the files that hold keys.
    pub fn keys(&self) -> Result<Vec<String>, StateError> {
        let names = || -> io::Result<Vec<String>> {
            let entries =
                std::fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            entries.filter(|name| name.as_ref().map_or(true, |name| name.ends_with(".key"))).collect()
        };
        names().map_err(io_error("list folder", &self.0))
    }

    /// The content of a JSON file; `None` where there is no such file.
    pub fn read_json<T: DeserializeOwned>(&self, kind: Kind) -> Result<Option<T>, StateError> {
        let Some(bytes) = self.read(kind.name)? else { return Ok(None) };
        let path = || self.0.join(kind.name);
        let unreadable = |reason| StateError::Unreadable { path: path(), reason, remedy: kind.remedy };
        let Tag { version } = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if version != kind.version {
            let (found, wanted) = (version, kind.version);
            return Err(StateError::Version { path: path(), found, wanted, remedy: kind.remedy });
        }
        let Versioned { content, .. } = serde_json::from_slice(&bytes).map_err(unreadable)?;
        Ok(Some(content))
    }

    /// Replaces a JSON file, as [`Self::write`] does.
    pub fn write_json<T: Serialize>(&self, kind: Kind, content: &T) -> Result<(), StateError> {
        self.replace_json(kind, Lasts::OnDisk, content)
    }

    /// Replaces a JSON file that need not outlive a crash of the machine: no waiting for the disk.
    pub fn note_json<T: Serialize>(&self, kind: Kind, content: &T) -> Result<(), StateError> {
        self.replace_json(kind, Lasts::UntilCrash, content)
    }

    fn replace_json<T: Serialize>(&self, kind: Kind, lasts: Lasts, content: &T) -> Result<(), StateError> {
        let versioned = Versioned { version: kind.version, content };
        self.replace(kind.name, lasts, |file| Ok(serde_json::to_writer_pretty(file, &versioned)?))
    }

    fn replace(
        &self,
        name: &str,
        lasts: Lasts,
        fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), StateError> {
        let (path, beside) = (self.0.join(name), self.0.join(format!("{name}.new")));
        let write = || {
            let file = self.fresh_file(&beside)?;
            let mut writer = BufWriter::new(file);
            fill(&mut writer)?;
            let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            if lasts == Lasts::UntilCrash {
                return std::fs::rename(&beside, &path);
            }
            file.sync_all()?;
            std::fs::rename(&beside, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(io_error("write", &path))
    }

    /// A new file in the place of what a program that is gone left there.
    fn fresh_file(&self, path: &Path) -> io::Result<File> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => self.new_file(path),
        }
    }

    /// A file that was not there, of the folder's owner: where root works here by hand, the agent's own user reads it after.
    /// What that user may have put there is never followed or taken over.
    fn new_file(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
        let (folder, made) = (std::fs::metadata(&self.0)?, file.metadata()?);
        if Uid::effective().is_root() && (folder.uid(), folder.gid()) != (made.uid(), made.gid()) {
            fchown(&file, Some(folder.uid()), Some(folder.gid()))?;
        }
        Ok(file)
    }
}

fn io_error(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { attempt, path, source }
}

fn hint_for(error: &io::Error) -> &'static str {
    if error.kind() == ErrorKind::PermissionDenied { " (needs root: run with sudo)" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const KIND: Kind = Kind { name: "thing.json", version: 2, remedy: "remove it" };

    fn check_unreadable(text: &str, expect: &str) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("thing.json"), text).unwrap();
        let error = StateDir::new(folder.path()).read_json::<u8>(KIND).unwrap_err().to_string();
        assert!(error.contains("thing.json") && error.contains(expect) && error.ends_with("remove it"), "{error}");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        assert_eq!(state.read_json::<u8>(KIND).unwrap(), None);
        state.write_json(KIND, &7).unwrap();
        state.write_json(KIND, &8).unwrap();
        assert_eq!(state.read_json::<u8>(KIND).unwrap(), Some(8));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_empty() {
        check_unreadable("", "cannot be read");
        check_unreadable("{\"version\":2,\"content\":", "cannot be read");
        check_unreadable("{\"version\":2,\"content\":\"x\"}", "cannot be read");
        check_unreadable("{\"content\":7}", "cannot be read");
        check_unreadable("{\"version\":3,\"content\":7}", "has version 3, this agent reads version 2");
    }

    #[test]
    fn what_is_there_is_not_made_again_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        assert!(state.create("key", b"first").unwrap());
        assert!(!state.create("key", b"second").unwrap());
        assert_eq!(state.read("key").unwrap().unwrap(), b"first");
        let mode = std::fs::metadata(folder.path().join("key")).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, std::fs::read_dir(folder.path()).unwrap().count()), (FILE_MODE, 1));
    }

    #[test]
    fn only_the_owner_reads() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path().join("a/b"));
        let lock = state.lock().unwrap();
        state.write("key", b"secret").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(state.path()), mode(&state.path().join("key"))), (0o700, 0o600));
        drop(lock);
    }

    #[test]
    fn what_root_writes_belongs_to_the_folders_owner_and_nothing_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        let precious = folder.path().join("precious");
        std::fs::write(&precious, "precious").unwrap();
        for name in ["key.new", "lock"] {
            std::os::unix::fs::symlink(&precious, folder.path().join(name)).unwrap();
        }
        assert!(state.lock().is_err());
        std::fs::remove_file(folder.path().join("lock")).unwrap();
        // Only root can give files away: for others the folder stays theirs.
        let owner = if Uid::effective().is_root() { 65_534 } else { Uid::effective().as_raw() };
        std::os::unix::fs::chown(folder.path(), Some(owner), None).unwrap();
        let lock = state.lock().unwrap();
        state.write("key", b"secret").unwrap();
        state.create("other", b"secret").unwrap();
        for name in ["key", "other", "lock"] {
            assert_eq!(std::fs::metadata(folder.path().join(name)).unwrap().uid(), owner, "{name}");
        }
        assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
        drop(lock);
    }

    #[test]
    fn two_agents_do_not_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        let first = state.lock().unwrap();
        assert!(matches!(state.lock(), Err(StateError::Locked(_))));
        drop(first);
        assert!(state.lock().is_ok());
    }
}
