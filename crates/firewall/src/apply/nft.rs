//! The host's nft program: found by absolute path, run with a time limit, its complaints kept. Knows nothing of rules.

use crate::TABLE;
use std::{
    io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};
use thiserror::Error;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    time::timeout,
};

/// Where distributions put nft. Not `PATH`, which is the caller's to choose.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"];

/// Longest run of nft. Replacing 100,000 elements takes about 1.5 s; beyond this it hangs.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The host's nft program.
#[derive(Clone, Debug)]
pub struct Nft {
    program: PathBuf,
    time_limit: Duration,
}

/// How running nft can go wrong. Nothing was changed, except where the variant says otherwise.
#[derive(Debug, Error)]
pub enum NftError {
    /// There is no nft program.
    #[error("no nft program in {}: install it (apt install nftables)", FOLDERS.join(", "))]
    NotFound,
    /// It could not be started.
    #[error("start {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The pipes to it broke.
    #[error("talk to nft ({command})")]
    Talk {
        /// What it was to do.
        command: String,
        /// What broke.
        source: io::Error,
    },
    /// It did not finish and was killed; a transaction may have been made in full.
    #[error("nft ({command}) did not finish within {} ms and was killed", limit.as_millis())]
    TooSlow {
        /// What it was to do.
        command: String,
        /// How long it had.
        limit: Duration,
    },
    /// It crashed: old versions do when a newer nft wrote any table of this host.
    #[error(
        "nft ({command}) died by signal {signal}: if a newer nft also writes tables on this host (a container, another \
         package), upgrade {} to the same version", program.display()
    )]
    Killed {
        /// The program.
        program: PathBuf,
        /// What it was to do.
        command: String,
        /// The signal, as in signal(7).
        signal: i32,
    },
    /// It said no.
    #[error("nft ({command}) refused: {stderr}")]
    Refused {
        /// What it was to do.
        command: String,
        /// Its complaint, with line and column.
        stderr: String,
    },
}

impl Nft {
    /// The host's nft, from the folders of the distributions.
    pub fn locate() -> Result<Self, NftError> {
        Self::locate_in(&FOLDERS)
    }

    /// The nft program at that absolute path, for hosts that keep it elsewhere.
    pub fn at(program: PathBuf) -> Self {
        Self { program, time_limit: TIME_LIMIT }
    }

    /// The listing of our table as JSON; `None` where there is no such table.
    pub(super) async fn list_table(&self) -> Result<Option<Vec<u8>>, NftError> {
        self.list(&["table"]).await
    }

    /// The listing of its counters, for which old versions read all elements; `None` where there is no such table.
    pub(super) async fn list_counters(&self) -> Result<Option<Vec<u8>>, NftError> {
        self.list(&["counters", "table"]).await
    }

    async fn list(&self, what: &[&str]) -> Result<Option<Vec<u8>>, NftError> {
        let (family, name) = TABLE.split_once(' ').unwrap_or(("inet", TABLE));
        match self.run(&[&["-j", "list"], what, &[family, name]].concat(), "").await {
            Ok(listing) => Ok(Some(listing)),
            // nft has one exit status for all its refusals, and this text (of strerror, in the C locale) for a table
            // that is not there.
            Err(NftError::Refused { stderr, .. }) if stderr.contains("No such file or directory") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes all changes in `text`, or none.
    pub(super) async fn run_transaction(&self, text: &str) -> Result<(), NftError> {
        self.run(&["-f", "-"], text).await.map(drop)
    }

    /// Whether this text could be made, without making it: false where the kernel or the program says no.
    pub(super) async fn takes(&self, text: &str) -> Result<bool, NftError> {
        self.complaint(text).await.map(|complaint| complaint.is_none())
    }

    /// Why this text could not be made, without making it; `None` where it could.
    pub(super) async fn complaint(&self, text: &str) -> Result<Option<String>, NftError> {
        match self.run(&["-c", "-f", "-"], text).await {
            Ok(_) => Ok(None),
            Err(NftError::Refused { stderr, .. }) => Ok(Some(stderr)),
            Err(error) => Err(error),
        }
    }

    fn locate_in(folders: &[&str]) -> Result<Self, NftError> {
        let mut candidates = folders.iter().map(|folder| Path::new(folder).join("nft"));
        candidates.find(|path| path.is_file()).map(Self::at).ok_or(NftError::NotFound)
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Result<Vec<u8>, NftError> {
        let command = arguments.join(" ");
        let child = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| NftError::Start { program: self.program.clone(), source })?;
        match timeout(self.time_limit, feed(child, input)).await {
            Err(_) => Err(NftError::TooSlow { command, limit: self.time_limit }),
            Ok(Err(source)) => Err(NftError::Talk { command, source }),
            Ok(Ok(output)) => self.judge(command, output),
        }
    }

    fn judge(&self, command: String, output: Output) -> Result<Vec<u8>, NftError> {
        if let Some(signal) = output.status.signal() {
            return Err(NftError::Killed { program: self.program.clone(), command, signal });
        }
        if output.status.success() {
            return Ok(output.stdout);
        }
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(NftError::Refused { command, stderr })
    }
}

/// Writes and reads at the same time: nft may complain before it has read everything.
async fn feed(mut child: Child, input: &str) -> io::Result<Output> {
    let mut stdin = child.stdin.take();
    let write = async {
        if let Some(stdin) = &mut stdin {
            stdin.write_all(input.as_bytes()).await?;
        }
        drop(stdin.take());
        Ok::<(), io::Error>(())
    };
    let (written, output) = tokio::join!(write, child.wait_with_output());
    let output = output?;
    match written {
        // It ended early, and its status says why.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !output.status.success() => Ok(output),
        written => written.map(|()| output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str, input: &str) -> Result<Vec<u8>, NftError> {
        let nft = Nft { program: "/bin/sh".into(), time_limit: Duration::from_secs(5) };
        nft.run(&["-c", script], input).await
    }

    #[test]
    fn a_host_without_nft_is_told_what_to_install() {
        let error = Nft::locate_in(&["/nonexistent"]).unwrap_err();
        assert!(error.to_string().contains("apt install nftables"), "{error}");
    }

    #[tokio::test]
    async fn complaints_are_kept() {
        let error = shell("echo line 3: syntax error >&2; exit 1", "").await.unwrap_err();
        assert!(matches!(&error, NftError::Refused { stderr, .. } if stderr == "line 3: syntax error"), "{error:?}");
    }

    #[tokio::test]
    async fn a_crash_is_told_from_a_refusal() {
        let error = shell("kill -SEGV $$", "").await.unwrap_err();
        assert!(matches!(error, NftError::Killed { signal: 11, .. }), "{error:?}");
    }

    #[tokio::test]
    async fn more_input_and_output_than_a_pipe_holds_passes() {
        let text = "x".repeat(1 << 20);
        assert_eq!(shell("cat", &text).await.unwrap().len(), text.len());
        let error = shell("echo no >&2; exit 1", &text).await.unwrap_err();
        assert!(matches!(error, NftError::Refused { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_hanging_program_is_given_up() {
        let nft = Nft { program: "/bin/cat".into(), time_limit: Duration::from_millis(30) };
        // A fifo that nobody writes to: cat waits for ever.
        let (reader, _writer) = std::io::pipe().unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&reader));
        let error = nft.run(&[&path], "").await.unwrap_err();
        assert!(matches!(error, NftError::TooSlow { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn the_environment_of_the_caller_stays_outside() {
        assert_eq!(shell("echo $LC_ALL $HOME $PWD", "").await.unwrap(), b"C /\n");
    }
}
