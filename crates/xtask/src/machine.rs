//! What this machine must have: root, system packages, toolchain components. Installs what is missing and says so.

use anyhow::{Context, Result, bail, ensure};
use std::{path::Path, process::Command};

/// A program and the Debian package that brings it.
struct Program {
    name: &'static str,
    package: &'static str,
}

const PROGRAMS: [Program; 6] = [
    // Builds the controller's allocator, which is C.
    Program { name: "make", package: "make" },
    Program { name: "nft", package: "nftables" },
    Program { name: "ip", package: "iproute2" },
    // Whose rules stand beside ours on many hosts.
    Program { name: "iptables-nft", package: "iptables" },
    // Make a small Debian and boot it.
    Program { name: "mmdebstrap", package: "mmdebstrap" },
    Program { name: "systemd-nspawn", package: "systemd-container" },
];

/// Judges of what is open, and makers of odd packets, that nobody here wrote; what looks at our userspace WireGuard as at any, and
/// what lets hours pass for it.
const JUDGES: [Program; 4] = [
    Program { name: "nmap", package: "nmap" },
    Program { name: "scapy", package: "python3-scapy" },
    Program { name: "wg", package: "wireguard-tools" },
    Program { name: "faketime", package: "faketime" },
];

/// Calls the controller as a cloud does, and reads what scripts of instances read.
const WEB_CLIENT: [Program; 2] = [Program { name: "curl", package: "curl" }, Program { name: "jq", package: "jq" }];

/// A name server that nobody here wrote, which takes signed updates.
const NAME_SERVER: [Program; 1] = [Program { name: "knotd", package: "knot" }];

/// libFuzzer is C++.
const COMPILER: [Program; 1] = [Program { name: "c++", package: "g++" }];

/// Look into programs and changelogs for packages, and judge these.
const PACKAGERS: [Program; 5] = [
    // As above.
    Program { name: "make", package: "make" },
    Program { name: "dpkg-shlibdeps", package: "dpkg-dev" },
    Program { name: "strip", package: "binutils" },
    Program { name: "xz", package: "xz-utils" },
    Program { name: "lintian", package: "lintian" },
];

/// What an operator has beside Ansible, and what looks into packages.
const OPERATORS: [Program; 3] = [
    Program { name: "ssh", package: "openssh-client" },
    Program { name: "ssh-keygen", package: "openssh-client" },
    Program { name: "dpkg-deb", package: "dpkg" },
];

/// Emulates a machine, and packs what it has.
const VIRTUAL_MACHINES: [Program; 3] = [
    Program { name: "qemu-system-x86_64", package: "qemu-system-x86" },
    Program { name: "cpio", package: "cpio" },
    Program { name: "strip", package: "binutils" },
];

/// Make disks for virtual machines by a template, and look into them.
const IMAGES: [Program; 4] = [
    Program { name: "packer", package: "packer" },
    Program { name: "qemu-img", package: "qemu-utils" },
    Program { name: "mke2fs", package: "e2fsprogs" },
    Program { name: "debugfs", package: "e2fsprogs" },
];

/// Build images and run them, with no daemon.
const CONTAINERS: [Program; 3] = [
    Program { name: "buildah", package: "buildah" },
    Program { name: "podman", package: "podman" },
    Program { name: "runc", package: "runc" },
];

/// A terminal that a program can be looked at in.
const TERMINAL: [Program; 1] = [Program { name: "tmux", package: "tmux" }];

/// Where system programs lie; root's PATH may lack the sbin folders.
const FOLDERS: [&str; 6] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

/// Fails without root, installs missing packages, checks that tunnels can be made.
pub(crate) fn prepare() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "network namespaces need root, and this is not root: run it again as `sudo -E env PATH=\"$PATH\" cargo xtask ...`"
    );
    install_missing(&PROGRAMS)?;
    ensure!(
        Path::new("/dev/net/tun").exists(),
        "/dev/net/tun is missing: run `modprobe tun`, or start the container with `--device /dev/net/tun`"
    );
    Ok(())
}

/// Python's own environments, in which the tests install moto. A Python without them has a `venv` that only says so.
pub(crate) fn python_environments() -> Result<()> {
    let found = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    install(&["python3-venv"])
}

/// Who judges hosts in force from outside.
pub(crate) fn judges() -> Result<()> {
    install_missing(&JUDGES)
}

/// What stands for a cloud that posts events.
pub(crate) fn web_client() -> Result<()> {
    install_missing(&WEB_CLIENT)
}

/// What builds and runs our images.
pub(crate) fn containers() -> Result<()> {
    install_missing(&CONTAINERS)
}

/// The name server that the tests change names at.
pub(crate) fn name_server() -> Result<()> {
    install_missing(&NAME_SERVER)
}

/// The database server that the tests run for themselves.
pub(crate) fn database_server() -> Result<()> {
    // As the lab looks for it: a client alone has a folder there too, and Debian keeps servers' programs out of the usual ones.
    let mut versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    if versions.any(|version| version.path().join("bin/initdb").exists()) {
        return Ok(());
    }
    // Debian's own would make a cluster and start it: nobody here asked for that.
    std::fs::create_dir_all("/etc/postgresql-common").context("make /etc/postgresql-common")?;
    let settings = Path::new("/etc/postgresql-common/createcluster.conf");
    if !settings.exists() {
        std::fs::write(settings, "create_main_cluster = false\n")
            .context("keep Debian from starting a database server")?;
    }
    install(&["postgresql"])
}

/// What the firewall's bench is compared with.
pub(crate) fn ipset() -> Result<()> {
    install_missing(&[Program { name: "ipset", package: "ipset" }])
}

/// Another WireGuard engine, as this machine's Debian has it.
pub(crate) fn wireguard_go() -> Result<()> {
    install_missing(&[Program { name: "wireguard-go", package: "wireguard-go" }])
}

/// What measures flows, and tells cables what to do for their hosts.
pub(crate) fn flows() -> Result<()> {
    install_missing(&[Program { name: "iperf3", package: "iperf3" }, Program { name: "ethtool", package: "ethtool" }])
}

/// What makes packages.
pub(crate) fn packagers() -> Result<()> {
    install_missing(&PACKAGERS)
}

/// What an operator's own machine has.
pub(crate) fn operators() -> Result<()> {
    install_missing(&OPERATORS)
}

/// A machine with another kernel than this one's.
pub(crate) fn virtual_machines() -> Result<()> {
    install_missing(&VIRTUAL_MACHINES)
}

/// What gives a booting machine its address.
pub(crate) fn address_server() -> Result<()> {
    install_missing(&[Program { name: "dnsmasq", package: "dnsmasq-base" }])
}

/// The terminal of tests.
pub(crate) fn terminal() -> Result<()> {
    install_missing(&TERMINAL)
}

/// What makes images, by template.
pub(crate) fn images() -> Result<()> {
    install_missing(&IMAGES)
}

/// What building the fuzz targets needs beyond Rust.
pub(crate) fn cpp_compiler() -> Result<()> {
    install_missing(&COMPILER)
}

/// Adds rustfmt and clippy where the toolchain lacks them.
pub(crate) fn toolchain_components() -> Result<()> {
    for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let found = Command::new("cargo").args([tool, "--version"]).output();
        if found.is_ok_and(|output| output.status.success()) {
            continue;
        }
        eprintln!("xtask: installing the toolchain component {component}");
        let added = Command::new("rustup").args(["component", "add", component]).status();
        ensure!(
            added.is_ok_and(|status| status.success()),
            "cargo {tool} is missing and `rustup component add {component}` did not work: install it by hand"
        );
    }
    Ok(())
}

/// A browser, and letters for it to write with.
pub(crate) fn browser() -> Result<()> {
    install_missing(&[Program { name: "chromium", package: "chromium" }])?;
    let fonts = std::path::Path::new("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf");
    if fonts.exists() { Ok(()) } else { install(&["fonts-dejavu-core"]) }
}

fn install_missing(programs: &[Program]) -> Result<()> {
    let missing: Vec<&str> = programs.iter().filter(|program| !exists(program.name)).map(|p| p.package).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

fn install(packages: &[&str]) -> Result<()> {
    ensure!(
        exists("apt-get"),
        "{} missing, and this machine has no apt-get: install them with its own package manager",
        packages.join(" and ")
    );
    eprintln!("xtask: installing system packages: {}", packages.join(" "));
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .with_context(|| format!("run apt-get {}", arguments.join(" ")))?;
    if !output.status.success() {
        bail!("apt-get {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Whether a program is installed on this machine.
pub(crate) fn exists(program: &str) -> bool {
    FOLDERS.iter().any(|folder| Path::new(folder).join(program).exists())
}
