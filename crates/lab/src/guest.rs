//! A virtual machine under the kernel that Debian ships, for what this machine's own may lack, WireGuard above all. All of it lies in
//! memory: a Debian tree, and the programs to be tried, each at the place that it has here. It has no network but what they make
//! inside, and nothing comes back but what they print and how they end. The processor is emulated, since KVM is rarely to be had
//! where this runs: ten to fifty times slower, so nothing in it is a measurement.

use crate::{
    Lab, LabError,
    command::said,
    debian::{self, Tree},
    stop,
};
use anyhow::{Context as _, Result, ensure};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// How long a run that is told to stop goes on: not at all.
const AT_ONCE: Duration = Duration::ZERO;
const MEMORY_MIB: &str = "3072";
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
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the virtual machine is written for x86_64 alone, and this is another processor"
    );
    let lab = Lab::new("guest")?;
    let tree = debian::root(Tree::Kernel)?;
    let memory = pack(&tree, lab.folder(), args)?;
    let host = lab.host("machine").create()?;
    let kernel = kernel(&tree)?;
    let words = [
        ["-accel", "tcg,thread=multi,tb-size=1024"],
        ["-cpu", "max"],
        ["-smp", "2"],
        ["-m", MEMORY_MIB],
        ["-display", "none"],
        ["-serial", "stdio"],
        ["-kernel", &kernel.to_string_lossy()],
        ["-initrd", &memory.to_string_lossy()],
        ["-append", "console=ttyS0 loglevel=1 panic=-1 rdinit=/init"],
    ];
    let words: Vec<&str> = ["-nodefaults", "-no-reboot"].into_iter().chain(words.into_iter().flatten()).collect();
    let machine = host.start("machine", "qemu-system-x86_64", &words, &[])?;
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

/// The kernel of a tree.
fn kernel(tree: &Path) -> Result<PathBuf, LabError> {
    let folder = tree.join("boot");
    let cannot = |error| LabError::io(format!("look for a kernel in {}", folder.display()), error);
    let mut found = fs::read_dir(&folder).map_err(cannot)?.flatten().map(|entry| entry.path());
    let kernel = found.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")));
    kernel.ok_or_else(|| LabError::Unexpected { found: format!("no kernel in {}", folder.display()) })
}

/// All that the machine has, as the archive that a kernel unpacks into memory: initramfs(5), a tree with ours laid over it.
fn pack(tree: &Path, folder: &Path, args: &Args) -> Result<PathBuf> {
    let (ours, archive) = (folder.join("ours"), folder.join("memory.cpio"));
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
    let pack = "for tree; do cd \"$tree\" && find . -path ./boot -prune -o -print0 | cpio --null --create --format=newc --quiet || exit; done";
    let mut cpio = Command::new("sh");
    cpio.args(["-c", &format!("exec > \"$1\"; shift; {pack}"), "sh"]).arg(&archive).args([tree, &ours]);
    said(&mut cpio)?;
    Ok(archive)
}
