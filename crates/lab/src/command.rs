//! Running a helper program to its end, with an error that holds the exact command and what it said.

use std::{
    ffi::OsStr,
    io::{self, Write},
    process::{Command, ExitStatus, Stdio},
};

use crate::LabError;

/// What a program left behind when it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for people.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Output {
    /// The standard output of a program that succeeded.
    ///
    /// # Errors
    /// [`LabError::Command`] with the command and its stderr.
    pub fn success(self) -> Result<String, LabError> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        let stderr = self.stderr.trim().to_owned();
        Err(LabError::Command { command: self.command, status: self.status.to_string(), stderr })
    }
}

/// Runs `ip` once on a script of commands, one a line; `namespace` none means each line names its own.
/// Goes on after a line that fails, so that a clean-up does all it can; the error holds them all.
pub(crate) fn ip(namespace: Option<&str>, script: &str) -> Result<(), LabError> {
    let mut args = Vec::new();
    if let Some(namespace) = namespace {
        args.extend(["-n", namespace]);
    }
    args.extend(["-force", "-batch", "-"]);
    let mut output = run("ip", &args, script)?;
    output.command = format!("{} <<< {:?}", output.command, script.trim_end());
    output.success().map(drop)
}

/// Runs a program with `stdin` in the namespace of the calling thread and waits for its end.
pub(crate) fn run(program: &str, args: &[&str], stdin: &str) -> Result<Output, LabError> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| cannot_start(program, error))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A program that ends without reading everything closes the pipe: its status tells the story.
        let _ = pipe.write_all(stdin.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| LabError::io(format!("wait for `{program}`"), error))?;
    Ok(Output {
        command: line(program, args),
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a command that is made already to its end; what it printed. Its folder and variables are those it was made with.
pub(crate) fn said(command: &mut Command) -> Result<String, LabError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| cannot_start(&program, error))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(LabError::Command { command: format!("{command:?}"), status: output.status.to_string(), stderr });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The error for a program that cannot be started.
pub(crate) fn cannot_start(program: &str, error: io::Error) -> LabError {
    let package = match program {
        "ip" => "iproute2",
        "nft" => "nftables",
        "mmdebstrap" => "mmdebstrap",
        "systemd-nspawn" => "systemd-container",
        "cpio" => "cpio",
        "strip" => "binutils",
        "qemu-system-x86_64" => "qemu-system-x86",
        "dnsmasq" => "dnsmasq-base",
        "packer" => "packer",
        "qemu-img" => "qemu-utils",
        "debugfs" => "e2fsprogs",
        _ => return LabError::io(format!("start `{program}`"), error),
    };
    if error.kind() == io::ErrorKind::NotFound {
        return LabError::MissingProgram { program: program.to_owned(), package };
    }
    LabError::io(format!("start `{program}`"), error)
}

/// A command as one line for people.
pub(crate) fn line<A: AsRef<OsStr>>(program: &str, args: &[A]) -> String {
    args.iter().fold(program.to_owned(), |line, arg| line + " " + &arg.as_ref().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let check = |program: &str, expected: &str| {
            let error = cannot_start(program, io::ErrorKind::NotFound.into()).to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("ip", "program `ip` is not installed: apt-get install iproute2");
        check("nft", "program `nft` is not installed: apt-get install nftables");
        check("something", "start `something`");
    }
}
