//! One step of a longer run: says what it does, runs a program, tells how long it took.

use anyhow::{Context, Result, bail};
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

/// Cargo with arguments, in the workspace. Variables that the outer cargo set for this program are taken away, so that
/// the inner one finds nothing changed and compiles nothing twice.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(root).env_remove("CARGO_MANIFEST_DIR");
    // ring's build script looks at several of them.
    for name in
        std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("CARGO_PKG_"))
    {
        command.env_remove(name);
    }
    command
}

/// Where cargo puts what it builds; CARGO_TARGET_DIR and configuration may move it.
pub(crate) fn target_folder(root: &Path) -> Result<PathBuf> {
    let metadata =
        said(&mut cargo(root, &["metadata", "--format-version", "1", "--no-deps", "--offline", "--locked"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata).context("read cargo metadata")?;
    let folder = metadata["target_directory"].as_str().context("cargo metadata names no target_directory")?;
    Ok(folder.into())
}

/// What cargo resolves for this machine's platform, as JSON. Other platforms' packages are not shipped, and not downloaded.
pub(crate) fn metadata(root: &Path) -> Result<String> {
    let host = host()?;
    said(&mut cargo(root, &["metadata", "--format-version", "1", "--locked", "--filter-platform", &host]))
}

/// A test program of the package in a folder of the workspace, to be run with words of its own, in the folder where cargo would run it. It is built with all the
/// others: asked for one alone, cargo chooses features for it alone, and compiles nearly everything once more.
pub(crate) fn test_program(root: &Path, package: &str, test: &str) -> Result<Command> {
    let all = ["test", "--workspace", "--no-run", "--locked", "--message-format=json"];
    let text = said(&mut cargo(root, &all))?;
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let is_test =
        |message: &serde_json::Value| message["target"]["name"] == test && message["target"]["kind"][0] == "test";
    let mut found = messages.filter(is_test).filter_map(|message| {
        let folder = PathBuf::from(message["manifest_path"].as_str()?).parent()?.to_owned();
        Some((PathBuf::from(message["executable"].as_str()?), folder))
    });
    let found = found.find(|(_, folder)| folder.ends_with(package));
    let (program, folder) = found.with_context(|| format!("cargo names no test program {test} in {package}"))?;
    let mut command = Command::new(program);
    command.env("CARGO_MANIFEST_DIR", &folder).current_dir(folder);
    Ok(command)
}

/// What a program prints, without its last line's end.
pub(crate) fn said(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8(output.stdout).with_context(|| format!("read what {command:?} prints"))?;
    Ok(text.trim_end().to_owned())
}

/// The platform that programs are compiled for here, such as `x86_64-unknown-linux-gnu`.
pub(crate) fn host() -> Result<String> {
    let text = said(Command::new("rustc").arg("-vV"))?;
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).context("rustc -vV names no host")
}

/// Runs one step; what it prints is passed on. Whether it succeeded.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<bool> {
    lines(what, command, |_| ())
}

/// Runs one step and hands each line of its standard output to `look` as well. Whether it succeeded.
pub(crate) fn lines(what: &str, command: &mut Command, mut look: impl FnMut(&str)) -> Result<bool> {
    eprintln!("==> {what}");
    let started = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| format!("start {what}"))?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line.with_context(|| format!("read what {what} prints"))?;
            println!("{line}");
            look(&line);
        }
    }
    let status = child.wait().with_context(|| format!("wait for {what}"))?;
    eprintln!(
        "==> {what}: {} in {:.1} s",
        if status.success() { "ok" } else { "FAILED" },
        started.elapsed().as_secs_f64()
    );
    Ok(status.success())
}
