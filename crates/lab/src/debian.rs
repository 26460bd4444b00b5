//! A small Debian to boot: a root tree made once by mmdebstrap and kept beside what cargo builds, for machines to lay their
//! own files over. Never written to afterwards.

use crate::{LabError, Program, command::said};
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// Which Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// What our units and rules need: an init, what carries rules, a network that comes up in the way of Debian, and an sshd.
    Small,
    /// What a host is that somebody works on: packages can be installed, Ansible finds its Python, and user data of a cloud its tools. No
    /// mirror is there at run time, so what our packages depend on is there as well.
    Managed,
    /// What runs in a virtual machine, under the kernel that Debian ships.
    Kernel,
    /// What clouds start: Debian's cloud-init finds out where it is and does what its user data say. Boots as a container and, under
    /// its own kernel, as a virtual machine, also from a disk by its boot loader.
    Cloud,
}

impl Tree {
    fn folder(self) -> &'static str {
        match self {
            Self::Small => "debian",
            Self::Managed => "debian-managed",
            Self::Kernel => "debian-kernel",
            Self::Cloud => "debian-cloud",
        }
    }

    fn packages(self) -> &'static str {
        match self {
            Self::Small => "systemd-sysv,nftables,iproute2,openssh-server",
            Self::Managed => {
                "systemd-sysv,nftables,iproute2,openssh-server,apt,python3,python3-apt,netbase,ca-certificates,procps,curl,jq"
            }
            Self::Kernel => {
                "linux-image-cloud-amd64,kmod,mount,iproute2,nftables,netbase,procps,ethtool,wireguard-tools"
            }
            Self::Cloud => {
                "systemd-sysv,dbus,udev,nftables,iproute2,openssh-server,apt,cloud-init,sudo,netbase,ca-certificates,procps,curl,linux-image-cloud-amd64,kmod,e2fsprogs,grub-pc-bin"
            }
        }
    }
}

/// What a test never reads, and a fsync for each file: half of the time and of the space.
const LEANER: [&str; 4] = [
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
];

/// The root tree, which is made where it is not there yet: half a minute, and a mirror of Debian's has to answer.
pub(crate) fn root(tree: Tree) -> Result<PathBuf, LabError> {
    let suite = suite()?;
    let folder = Program::folder()?.parent().map_or_else(std::env::temp_dir, Path::to_owned).join("tmp");
    let cannot = |what: &str, path: &Path, error| LabError::io(format!("{what} {}", path.display()), error);
    fs::create_dir_all(&folder).map_err(|error| cannot("make", &folder, error))?;
    // One at a time, also where several programs want it at once.
    let lock = folder.join("debian.lock");
    let file = File::create(&lock).map_err(|error| cannot("write", &lock, error))?;
    let _held = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| cannot("lock", &lock, errno.into()))?;

    let (name, packages) = (tree.folder(), tree.packages());
    let (root, recipe) = (folder.join(name), format!("{suite} {packages} {}\n", LEANER.join(" ")));
    let written = folder.join(format!("{name}.recipe"));
    if fs::read_to_string(&written).is_ok_and(|found| found == recipe) && root.join("usr").exists() {
        return Ok(root);
    }
    eprintln!("making a small Debian to boot, once: {}", root.display());
    // What is half made has no recipe beside it, and is made anew.
    for path in [&written, &root] {
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        if path.exists() {
            removed.map_err(|error| cannot("remove", path, error))?;
        }
    }
    let leaner = LEANER.map(|option| format!("--dpkgopt={option}"));
    let mut make = Command::new("mmdebstrap");
    make.args(["--variant=essential", "--quiet"])
        .arg(format!("--include={packages}"))
        .args(leaner)
        .arg(&suite)
        .arg(&root);
    said(&mut make)?;
    fs::write(&written, recipe).map_err(|error| cannot("write", &written, error))?;
    Ok(root)
}

/// The release to boot: this machine's own where it is a Debian, because our programs are built against its C library.
fn suite() -> Result<String, LabError> {
    let path = "/etc/os-release";
    let text = fs::read_to_string(path).map_err(|error| LabError::io(format!("read {path}"), error))?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let suite = value("VERSION_CODENAME").map(|name| name.trim_matches('"').to_owned());
    suite.ok_or_else(|| LabError::Unexpected {
        found: format!("{path} has no VERSION_CODENAME: not a Debian or Ubuntu"),
    })
}
