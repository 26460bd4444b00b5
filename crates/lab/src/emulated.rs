//! A virtual machine's kernel and memory: the kernel that Debian ships, and all files in memory, so that it needs no disk. What guests of
//! one program and instances of a cloud have in common. The processor is emulated, since KVM is rarely to be had where this runs.

use crate::{LabError, command::said};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What runs it.
pub(crate) const QEMU: &str = "qemu-system-x86_64";
const MEMORY_MIB: &str = "3072";
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
    /// Another processor than those that this is written for; what cpio says.
    pub(crate) fn of(debian: &Path, trees: &[&Path], folder: &Path) -> Result<Self, LabError> {
        if !cfg!(target_arch = "x86_64") {
            let found = "the virtual machine is written for x86_64 alone, and this is another processor".to_owned();
            return Err(LabError::Unexpected { found });
        }
        let memory = folder.join("memory.cpio");
        // The archive that a kernel unpacks: initramfs(5).
        let pack = "for tree; do cd \"$tree\" && find . -path ./boot -prune -o -print0 | cpio --null --create --format=newc --quiet || exit; done";
        let mut cpio = Command::new("sh");
        cpio.args(["-c", &format!("exec > \"$1\"; shift; {pack}"), "sh"]).arg(&memory).args(trees);
        said(&mut cpio)?;
        Ok(Self { kernel: kernel(debian)?, memory })
    }

    /// The words that start it, with more for the machine and for its kernel. What it writes to its serial line is its output.
    pub(crate) fn words(&self, machine: &[&str], kernel: &str) -> Vec<String> {
        let (image, memory) = (self.kernel.to_string_lossy(), self.memory.to_string_lossy());
        let append = format!("{APPEND} {kernel}");
        let fixed = [
            ["-accel", "tcg,thread=multi,tb-size=1024"],
            ["-cpu", "max"],
            ["-smp", "2"],
            ["-m", MEMORY_MIB],
            ["-display", "none"],
            ["-serial", "stdio"],
            ["-kernel", &image],
            ["-initrd", &memory],
            ["-append", append.trim_end()],
        ];
        let fixed = ["-nodefaults", "-no-reboot"].into_iter().chain(fixed.into_iter().flatten());
        fixed.chain(machine.iter().copied()).map(str::to_owned).collect()
    }
}

/// The kernel of a tree.
fn kernel(tree: &Path) -> Result<PathBuf, LabError> {
    let folder = tree.join("boot");
    let cannot = |error| LabError::io(format!("look for a kernel in {}", folder.display()), error);
    let mut found = fs::read_dir(&folder).map_err(cannot)?.flatten().map(|entry| entry.path());
    let kernel = found.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")));
    kernel.ok_or_else(|| LabError::Unexpected { found: format!("no kernel in {}", folder.display()) })
}
