//! Where our own built programs are: beside the program that runs now. And how a test puts a program where it is to be run.

use std::path::{Path, PathBuf};

use crate::{LabError, command};

/// One of the programs this workspace builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// `picket-controller`
    Controller,
    /// `picket-sentry-agent`
    SentryAgent,
    /// `picket-prep-agent`
    PrepAgent,
    /// `picket`, the operator's command line
    Cli,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Controller, Self::SentryAgent, Self::PrepAgent, Self::Cli];

    /// The file name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Controller => "picket-controller",
            Self::SentryAgent => "picket-sentry-agent",
            Self::PrepAgent => "picket-prep-agent",
            Self::Cli => "picket",
        }
    }

    /// The built program of the profile that the running program was built with.
    ///
    /// # Errors
    /// [`LabError::NotBuilt`] if it is not there. A test run builds only what the tests depend on.
    pub fn path(self) -> Result<PathBuf, LabError> {
        let path = Self::folder()?.join(self.name());
        if path.is_file() { Ok(path) } else { Err(LabError::NotBuilt { path }) }
    }

    /// Where all of them are.
    pub(crate) fn folder() -> Result<PathBuf, LabError> {
        let running = std::env::current_exe().map_err(|error| LabError::io("find the running program", error))?;
        Ok(profile_folder(&running).to_owned())
    }
}

/// Copies a program, or a script, to where it is to be run, for everybody to run. Another program does it: a file that this
/// process had open for writing when another test's thread forked cannot be run until that child is another program
/// ("text file busy", `execve(2)`).
///
/// # Errors
/// [`LabError::Command`] with what `install` said.
pub fn install_program(from: &Path, to: &Path) -> Result<(), LabError> {
    let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
    command::run("install", &["-m", "755", "--", &from, &to], "")?.success().map(drop)
}

/// `target/debug` for `target/debug/xtask` as for `target/debug/deps/netns-1f2e3d`.
fn profile_folder(running: &Path) -> &Path {
    let folder = running.parent().unwrap_or(running);
    if folder.ends_with("deps") || folder.ends_with("examples") { folder.parent().unwrap_or(folder) } else { folder }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_in_the_folder_of_the_profile() {
        let check = |running: &str| assert_eq!(profile_folder(Path::new(running)), Path::new("/w/target/debug"));
        check("/w/target/debug/xtask");
        check("/w/target/debug/deps/netns_firewall-1f2e3d");
        check("/w/target/debug/examples/look");
    }
}
