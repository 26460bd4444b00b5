//! A virtual machine under the kernel that Debian ships, for what this machine's own may lack, WireGuard above all. All of it lies in
//! memory: a Debian tree, and the programs to be tried, each at the place that it has here. It has no network but what they make
//! inside, and nothing comes back but what they print and how they end. The processor is emulated, since KVM is rarely to be had
//! where this runs: ten to fifty times slower, so nothing in it is a measurement.

use crate::{
    Lab,
    command::said,
    debian::{self, Tree},
    emulated::{Emulated, QEMU},
    stop,
};
use anyhow::{Context as _, Result};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// How long a run that is told to stop goes on: not at all.
const AT_ONCE: Duration = Duration::ZERO;
/// What the machine prints before the program's first line, and after its last with how that ended.
const BEGINS: &str = "picket-guest: begins";
const ENDS: &str = "picket-guest: ends with ";
/// Where the program's words are, each with a zero byte after it.
const WORDS: &str = "picket-words";
/// The first process. It ends with the machine, whatever becomes of the program.
const INIT: &str = r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t devtmpfs devtmpfs /dev || echo "picket-guest: mounts failed"
# Not over /tmp: programs may be there.
mkdir -p /run /tmp && mount -t tmpfs tmpfs /run
for stream in 0:stdin 1:stdout 2:stderr; do ln -s /proc/self/fd/${stream%:*} /dev/${stream#*:}; done
ln -s /proc/self/fd /dev/fd
ip link set lo up
modprobe tun
echo "picket-guest: begins"
xargs -0 -a /picket-words env
echo "picket-guest: ends with $?"
echo o > /proc/sysrq-trigger
exec sleep 60
"#;

/// What it takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A program that is there as well, at the same place
    #[arg(long, value_name = "FILE")]
    pub put: Vec<PathBuf>,
    /// A variable of its environment
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Longest that it may take
    #[arg(long, default_value_t = 30)]
    pub minutes: u64,
    /// The program, and its words
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// Runs it; whether the program ended well.
///
/// # Errors
/// What keeps the machine from running it to its end.
pub fn run(args: &Args) -> Result<bool> {
    // The machine goes with this process.
    let _stop = stop::on_signal(AT_ONCE)?;
    let lab = Lab::new("guest")?;
    let tree = debian::root(Tree::Kernel)?;
    let ours = lay_out(lab.folder(), args)?;
    let host = lab.host("machine").create()?;
    let words = Emulated::of(&tree, &[&tree, &ours], lab.folder())?.words(&[], "");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let machine = host.start("machine", QEMU, &words, &[])?;
    let (mut has_begun, mut ended) = (false, None);
    machine.follow(Duration::from_secs(args.minutes * 60), |line| {
        let line = line.trim_end();
        has_begun |= line.ends_with(BEGINS);
        match line.strip_prefix(ENDS) {
            // The kernel may go on in the same line.
            Some(status) => ended = Some(status.chars().take_while(char::is_ascii_digit).collect::<String>()),
            // What the firmware says is not worth a line, and after the program's end the kernel only says good-bye.
            None if has_begun && ended.is_none() => println!("{line}"),
            None => {}
        }
    })?;
    let ended = ended.with_context(|| format!("the machine ended before the program did: {}", machine.log()))?;
    if ended != "0" {
        eprintln!("the program ended with {ended}, as xargs(1) tells");
    }
    Ok(ended == "0")
}

/// What lies over Debian's files: the programs, what is to be run, and the first process.
fn lay_out(folder: &Path, args: &Args) -> Result<PathBuf> {
    let ours = folder.join("ours");
    fs::create_dir(&ours)?;
    for program in &args.put {
        let program = program.canonicalize().with_context(|| format!("look for {}", program.display()))?;
        let to = ours.join(program.strip_prefix("/")?);
        fs::create_dir_all(to.parent().unwrap_or(&ours))?;
        // What is only for debuggers is four fifths of them.
        said(Command::new("strip").arg("-o").args([&to, &program]))?;
    }
    let words: Vec<u8> =
        args.env.iter().chain(&args.command).flat_map(|word| [word.as_bytes(), &[0]].concat()).collect();
    fs::write(ours.join(WORDS), words)?;
    let init = ours.join("init");
    fs::write(&init, INIT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    Ok(ours)
}
