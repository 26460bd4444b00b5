//! A clock for engines that is ahead of the machine's by as much as the test says, so that hours of a tunnel's life take
//! seconds: libfaketime, loaded into the engine's process. It works for programs that ask the C library for the time, so not for
//! wireguard-go.

use crate::LabError;
use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

/// Where Debian puts libraries, each architecture's in a folder of its own.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// A clock that engines may be started with. It goes on as the machine's does, and jumps when told.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    /// Says how far it is ahead; the library reads it whenever it is asked for the time.
    file: PathBuf,
    ahead_seconds: AtomicU64,
}

impl Clock {
    /// One that shows the machine's time.
    ///
    /// # Errors
    /// [`LabError::MissingJudge`] without libfaketime; [`LabError::Io`] if its file cannot be written.
    pub fn new() -> Result<Self, LabError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);

        let folders = fs::read_dir(LIBRARIES).into_iter().flatten().flatten();
        let library = folders.map(|folder| folder.path().join(LIBRARY)).find(|path| path.is_file());
        let library =
            library.ok_or(LabError::MissingJudge { program: "libfaketime", how: "apt-get install faketime" })?;
        let name = format!("picket-lab-clock-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let clock = Self { library, file: std::env::temp_dir().join(name), ahead_seconds: AtomicU64::new(0) };
        clock.write()?;
        Ok(clock)
    }

    /// Lets time pass at once, by all clocks that a program has.
    ///
    /// # Errors
    /// [`LabError::Io`] if the file cannot be written.
    pub fn advance(&self, by: Duration) -> Result<(), LabError> {
        self.ahead_seconds.fetch_add(by.as_secs(), Ordering::Relaxed);
        self.write()
    }

    /// What a program's environment must have.
    pub(super) fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
        ]
    }

    /// Whole at any time: what is there before is replaced.
    fn write(&self) -> Result<(), LabError> {
        let next = self.file.with_extension("next");
        let what = |error| LabError::io(format!("write {}", next.display()), error);
        fs::write(&next, format!("+{}\n", self.ahead_seconds.load(Ordering::Relaxed))).map_err(what)?;
        fs::rename(&next, &self.file).map_err(what)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        // It is in the folder for temporary files.
        let _ = fs::remove_file(&self.file);
    }
}

/// Removes what the library leaves of a program that was killed.
pub(super) fn forget(process: u32) {
    for name in [format!("faketime_shm_{process}"), format!("sem.faketime_sem_{process}")] {
        let _ = fs::remove_file(Path::new("/dev/shm").join(name));
    }
}
