//! A virtual machine's hardware, and its kernel and memory: the kernel that Debian ships, and all files in memory, so that it needs no
//! disk. What guests of one program, instances of a cloud and images have in common. The processor is emulated, since KVM is rarely to be
//! had where this runs.

use crate::{Host, LabError, command::said};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What runs it.
pub(crate) const QEMU: &str = "qemu-system-x86_64";
const MEMORY_MIB: &str = "3072";
/// What every machine has, and an image no more than that. Its serial line is its output.
const HARDWARE: [&str; 12] = [
    "-nodefaults",
    "-no-reboot",
    "-accel",
    "tcg,thread=multi,tb-size=1024",
    "-cpu",
    "max",
    "-smp",
    "2",
    "-display",
    "none",
    "-serial",
    "stdio",
];
/// Its network card's address, and the card on a host's cable.
pub(crate) const CARD: &str = "52:54:00:00:01:16";
const CABLE: [&str; 4] = [
    "-netdev",
    "tap,id=cable,ifname=tap0,script=no,downscript=no",
    "-device",
    "virtio-net-pci,netdev=cable,mac=52:54:00:00:01:16,romfile=",
];
/// What a serial line and the first process are, for all of them.
const APPEND: &str = "console=ttyS0 loglevel=1 panic=-1 rdinit=/init";

/// What it starts with.
#[derive(Debug)]
pub(crate) struct Emulated {
    kernel: PathBuf,
    memory: PathBuf,
}

impl Emulated {
    /// With the kernel of a Debian tree, and all files of these trees, of which later ones lie over earlier ones; one has the first
    /// process, `/init`. They are packed into `folder`.
    ///
    /// # Errors
    /// As [`kernel`]; what cpio says.
    pub(crate) fn of(debian: &Path, trees: &[&Path], folder: &Path) -> Result<Self, LabError> {
        let kernel = kernel(debian)?;
        let memory = folder.join("memory.cpio");
        // The archive that a kernel unpacks: initramfs(5).
        let pack = "for tree; do cd \"$tree\" && find . -path ./boot -prune -o -print0 | cpio --null --create --format=newc --quiet || exit; done";
        let mut cpio = Command::new("sh");
        cpio.args(["-c", &format!("exec > \"$1\"; shift; {pack}"), "sh"]).arg(&memory).args(trees);
        said(&mut cpio)?;
        Ok(Self { kernel, memory })
    }

    /// The words that start it, with more for the machine and for its kernel. What it writes to its serial line is its output.
    pub(crate) fn words(&self, machine: &[&str], kernel: &str) -> Vec<String> {
        let (image, memory) = (self.kernel.to_string_lossy(), self.memory.to_string_lossy());
        let append = format!("{APPEND} {kernel}");
        let ours = ["-m", MEMORY_MIB, "-kernel", &image, "-initrd", &memory, "-append", append.trim_end()];
        words(&[&ours, machine].concat())
    }
}

/// The words that start a machine, with more for its hardware.
pub(crate) fn words(more: &[&str]) -> Vec<String> {
    HARDWARE.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

/// Takes a host's cable over for a machine that runs on it, and gives the words for its card. The host has no address then.
///
/// # Errors
/// What `ip` refused.
pub(crate) fn take_cable(host: &Host) -> Result<[&'static str; 4], LabError> {
    host.namespace.ip(
        "address flush dev eth0\nlink add br0 type bridge\ntuntap add dev tap0 mode tap\nlink set eth0 master br0\n\
         link set tap0 master br0\nlink set tap0 up\nlink set br0 up\n",
    )?;
    Ok(CABLE)
}

/// The kernel of a tree.
///
/// # Errors
/// There is none; another processor than those that this is written for.
pub(crate) fn kernel(tree: &Path) -> Result<PathBuf, LabError> {
    if !cfg!(target_arch = "x86_64") {
        let found = "the virtual machine is written for x86_64 alone, and this is another processor".to_owned();
        return Err(LabError::Unexpected { found });
    }
    let folder = tree.join("boot");
    let cannot = |error| LabError::io(format!("look for a kernel in {}", folder.display()), error);
    let mut found = fs::read_dir(&folder).map_err(cannot)?.flatten().map(|entry| entry.path());
    let kernel = found.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")));
    kernel.ok_or_else(|| LabError::Unexpected { found: format!("no kernel in {}", folder.display()) })
}
