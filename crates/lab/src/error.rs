//! What can go wrong in a lab, each said so that the reader of a failed test knows what to do.

use std::{error::Error, fmt, io, net::IpAddr, path::PathBuf, time::Duration};

/// A lab could not do what it was asked.
#[derive(thiserror::Error)]
pub enum LabError {
    /// Network namespaces can be made by root only.
    #[error("the lab makes network namespaces, which takes root: run it with sudo")]
    NotRoot,
    /// A program that the lab calls is not installed.
    #[error("program `{program}` is not installed: apt-get install {package}")]
    MissingProgram {
        /// The program looked for in `PATH`.
        program: String,
        /// The Debian package that brings it.
        package: &'static str,
    },
    /// A host's address is another's already.
    #[error("{address} is already that of the host `{host}`")]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// Who has it.
        host: String,
    },
    /// One of our own programs has not been built.
    #[error("{} is not there: run `cargo build --workspace`", path.display())]
    NotBuilt {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A program of others that ours are held against is not installed.
    #[error("program `{program}` is not installed: `cargo xtask test` installs it, or `{how}`")]
    MissingJudge {
        /// The program looked for.
        program: &'static str,
        /// The command that brings it.
        how: &'static str,
    },
    /// A command ran and did not succeed.
    #[error("`{command}` ended with {status}: {stderr}")]
    Command {
        /// The exact command line.
        command: String,
        /// Its exit status.
        status: String,
        /// What it wrote to stderr.
        stderr: String,
    },
    /// A started program ended, or would not end, against the wish of the caller.
    #[error("`{name}` on `{host}` {what}; the end of its log:\n{log}")]
    Process {
        /// Name given at the start.
        name: String,
        /// The host it runs on.
        host: String,
        /// What happened.
        what: String,
        /// Tail of its log.
        log: String,
    },
    /// A file or system call did not work.
    #[error("cannot {attempt}")]
    Io {
        /// What was attempted, on what.
        attempt: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An address is no address at all.
    #[error("`{text}` is not an address with a prefix such as 203.0.113.11/24")]
    NotAnAddress {
        /// The text given.
        text: String,
    },
    /// An address belongs to somebody real.
    #[error("{address} may belong to somebody: a lab uses documentation ranges, 127.0.0.0/8 and fd00::/8 only")]
    NotOurAddress {
        /// The address given.
        address: IpAddr,
    },
    /// A name cannot be used for a host.
    #[error("`{name}` cannot name a host: use lower-case letters, digits and dashes, a name once")]
    HostName {
        /// The name given.
        name: String,
    },
    /// A host has no address of the family asked for.
    #[error("host `{host}` has no {family} address")]
    NoAddress {
        /// The host asked.
        host: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// A probe saw something else than the caller wants.
    #[error("the connection is {found}, not {wanted}")]
    Connect {
        /// What the probe saw.
        found: crate::Connect,
        /// What was wanted.
        wanted: crate::Connect,
    },
    /// An agent has to be enrolled for what was asked of it.
    #[error("host `{host}` is not enrolled")]
    NotEnrolled {
        /// The host asked.
        host: String,
    },
    /// What was seen is not what has to be.
    #[error("{found}")]
    Unexpected {
        /// What was seen.
        found: String,
    },
    /// A condition did not come true.
    #[error("waited {waited:?} for: {what}; last seen: {reason}")]
    TimedOut {
        /// What was awaited.
        what: String,
        /// How long.
        waited: Duration,
        /// Why it was not met when last looked at.
        reason: String,
    },
    /// The lab has been dropped while a handle into it is still used.
    #[error("the lab is gone")]
    Gone,
}

impl LabError {
    /// An error of the operating system in doing `attempt`.
    pub fn io(attempt: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { attempt: attempt.into(), source: source.into() }
    }

    /// What a part says that has errors of its own.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        Self::Unexpected { found: format!("{error:#}") }
    }
}

/// A test that returns an error prints it this way: as text for people, logs with their line breaks.
impl fmt::Debug for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        self.source().map_or(Ok(()), |source| write!(f, ": {source}"))
    }
}
