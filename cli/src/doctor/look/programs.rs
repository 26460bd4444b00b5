//! Programs of the host that are asked: found by absolute path or in PATH, with a time limit, their complaint kept.

use crate::doctor::facts::Seen;
use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{process::Command, time::timeout};

/// Where administrators' programs are; an ordinary user's PATH has not all of them.
const FOLDERS: [&str; 5] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"];
/// Longest run: a program that hangs is a finding too.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Where a program is, looked for beside this one first.
pub(super) fn locate(name: &str) -> Option<PathBuf> {
    let beside = env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned));
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(env::split_paths(&path)).chain(FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// What a program prints where it succeeds; else its complaint.
pub(super) async fn ask(program: &Path, args: &[&str]) -> Seen<String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).env("LC_ALL", "C").kill_on_drop(true);
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let asked = format!("{name} {}", args.join(" "));
    let output = match timeout(TIME_LIMIT, command.output()).await {
        Err(_) => return Err(format!("`{asked}` did not end within {} s", TIME_LIMIT.as_secs())),
        Ok(Err(error)) => return Err(format!("`{asked}` cannot be run: {error}")),
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        return String::from_utf8(output.stdout).map_err(|_| format!("`{asked}` prints no text"));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    Err(format!("`{asked}`: {}", first.trim()))
}

/// What `nft --version` says.
pub(super) async fn nft_version() -> Seen<String> {
    let program = locate("nft").ok_or("there is no nft program")?;
    Ok(ask(&program, &["--version"]).await?.trim().to_owned())
}

/// What systemd knows of the kernel's clock: the kernel's own word, adjtimex(2), not that of one time service among many.
pub(super) async fn clock_is_kept() -> Seen<bool> {
    let program = locate("timedatectl").ok_or("there is no timedatectl here")?;
    let said = ask(&program, &["show", "--property=NTPSynchronized", "--value"]).await?;
    match said.trim() {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => Err(format!("timedatectl says {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_complaint_is_kept_with_what_was_asked() {
        let shell = Path::new("/bin/sh");
        assert_eq!(ask(shell, &["-c", "echo fine"]).await.unwrap(), "fine\n");
        let refused = ask(shell, &["-c", "echo; echo ' no right' >&2; exit 3"]).await.unwrap_err();
        assert!(refused.starts_with("`sh -c") && refused.ends_with(": no right"), "{refused}");
        let missing = ask(Path::new("/nonexistent/nft"), &["list"]).await.unwrap_err();
        assert!(missing.starts_with("`nft list` cannot be run"), "{missing}");
        assert!(locate("sh").is_some() && locate("no-such-program-here").is_none());
    }
}
