//! A machine that boots: a small Debian under its own systemd on a host of the lab, whose cable it takes over. What it finds
//! in its kernel at power-on is nothing: no rule, no address, a link that is down.

use crate::{
    Host, LabError, Output, Process, Program,
    address::ON_LINK,
    command,
    debian::{self, Tree},
    mesh::{Agent, SOON},
    namespace,
    programs::install_program,
    wait_until,
};
use nix::{
    sys::stat::{Mode, SFlag, makedev, mknod},
    unistd::Pid,
};
use std::{
    fmt::Write as _,
    fs,
    net::IpAddr,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// Its units, as packages ship them.
const LOCKDOWN: (&str, &str) =
    ("picket-lockdown.service", include_str!("../../../packaging/systemd/picket-lockdown.service"));
const AGENTS: [(&str, &str); 2] = [
    ("picket-prep-agent.service", include_str!("../../../packaging/systemd/picket-prep-agent.service")),
    ("picket-sentry-agent.service", include_str!("../../../packaging/systemd/picket-sentry-agent.service")),
];
/// Puts our table beside what Debian's nftables.service loads.
const BESIDE_NFTABLES: &str = include_str!("../../../packaging/systemd/nftables.service.d/picket.conf");
/// Stands for goloop, and listens before anything else does: what the firewall leaves open is seen at once.
const LISTENER: &str = "[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n[Socket]\nAccept=yes\nMaxConnections=4096\n\
     TriggerLimitIntervalSec=0\n";
const ECHO: &str = "[Service]\nExecStart=/bin/cat\nStandardInput=socket\nStandardError=null\n";
/// The user that a package makes for its agent.
const AGENTS_USER: &str = "picket-agent:x:990:990::/var/lib/picket/agent:/usr/sbin/nologin\n";
const AGENTS_GROUP: &str = "picket-agent:x:990:\n";
/// Where the agent's state is inside.
const STATE: &str = "/var/lib/picket/agent";
/// `systemd-nspawn --keep-unit` ends with it where the machine wants to start again.
const REBOOTS: i32 = 133;

/// In a namespace of mounts and a control group of its own, which are gone with it.
const START: &str = "for tree in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do \
     if [ -e $tree/cgroup.procs ]; then mkdir -p $tree/$1 && echo $$ > $tree/$1/cgroup.procs; fi; done; \
     mount -t overlay overlay -o lowerdir=$2,upperdir=$3/own,workdir=$3/work $3/root || exit; \
     shift 3; exec systemd-nspawn \"$@\"";
/// How long a control group may be busy after its processes were killed.
const EMPTY_WITHIN: Duration = Duration::from_secs(2);
/// The trees of control groups there may be.
const GROUPS: [&str; 3] = ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"];

/// A machine, running or not. Gone when dropped.
#[derive(Debug)]
pub struct Machine {
    host: Host,
    debian: PathBuf,
    folder: PathBuf,
    state: Option<String>,
    addresses: [IpAddr; 2],
    hardware: String,
    process: Option<Process>,
}

impl Machine {
    /// A machine in a host's place, with its addresses and its machine id; it listens on `ports`. It is off.
    ///
    /// # Errors
    /// What the lab or mmdebstrap says.
    pub fn new(host: &Host, ports: &[u16]) -> Result<Self, LabError> {
        Self::of(host, ports, Tree::Small)
    }

    /// As [`Machine::new`], for somebody who installs packages on it, by hand or with Ansible: whoever has the key of this public one
    /// is let in by its sshd as root.
    ///
    /// # Errors
    /// As [`Machine::new`].
    pub fn managed(host: &Host, ports: &[u16], public_key: &str) -> Result<Self, LabError> {
        Self::reached(host, ports, Tree::Managed, public_key)
    }

    /// As [`Machine::managed`], but what a cloud starts: Debian's cloud-init runs at its boot.
    pub(crate) fn instance(host: &Host, ports: &[u16], public_key: &str) -> Result<Self, LabError> {
        let machine = Self::reached(host, ports, Tree::Cloud, public_key)?;
        machine.enable("systemd-networkd-wait-online.service", None, "network-online.target")?;
        // Addresses of both families are the lab's own; there is no server for names, and it is to be known at once.
        machine.write("etc/cloud/cloud.cfg.d/90-network.cfg", "network: {config: disabled}\n")?;
        machine.write("etc/resolv.conf", "")?;
        Ok(machine)
    }

    fn reached(host: &Host, ports: &[u16], tree: Tree, public_key: &str) -> Result<Self, LabError> {
        let machine = Self::of(host, ports, tree)?;
        machine.write("root/.ssh/authorized_keys", public_key)?;
        machine.write("etc/hostname", &format!("{}\n", host.name()))?;
        let names = host.namespace.files().join("hosts");
        let names =
            fs::read_to_string(&names).map_err(|error| LabError::io(format!("read {}", names.display()), error))?;
        machine.write("etc/hosts", &names)?;
        Ok(machine)
    }

    /// As [`Machine::new`], with what images of clouds have: their user data installs packages, and asks for things with curl.
    pub(crate) fn image(host: &Host, ports: &[u16]) -> Result<Self, LabError> {
        Self::of(host, ports, Tree::Managed)
    }

    fn of(host: &Host, ports: &[u16], tree: Tree) -> Result<Self, LabError> {
        let debian = debian::root(tree)?;
        let folder = PathBuf::from(host.path("machine"));
        for name in ["own", "work", "root"] {
            let made = fs::create_dir_all(folder.join(name));
            made.map_err(|error| LabError::io(format!("make {}", folder.join(name).display()), error))?;
        }
        let addresses = [host.v4(0)?.ip(), host.v6(0)?.ip()];
        // eth0@if7 UP 12:a0:3a:bb:24:66 <BROADCAST,MULTICAST,UP,LOWER_UP>
        let shown = host.run("ip", &["-brief", "link", "show", "dev", "eth0"])?.success()?;
        let hardware = shown.split_whitespace().nth(2).unwrap_or_default().to_owned();
        let machine = Self { host: host.clone(), debian, folder, state: None, addresses, hardware, process: None };
        let id = host.namespace.files().join("machine-id");
        let id = fs::read_to_string(&id).map_err(|error| LabError::io(format!("read {}", id.display()), error))?;
        machine.write("etc/machine-id", &id)?;
        machine.write("etc/systemd/network/eth0.network", &machine.network())?;
        machine.enable("systemd-networkd.service", None, "multi-user.target")?;
        let listen = ports.iter().fold(LISTENER.to_owned(), |text, port| format!("{text}ListenStream={port}\n"));
        machine.enable("echo.socket", Some(&listen), "sysinit.target")?;
        machine.write("etc/systemd/system/echo@.service", ECHO)?;
        Ok(machine)
    }

    /// Puts the program, the units and the state of an agent in, as a package and an enrolment would.
    ///
    /// # Errors
    /// [`LabError::NotBuilt`], [`LabError::Io`].
    pub fn install(&mut self, agent: &Agent) -> Result<(), LabError> {
        let name = agent.program().name();
        self.put(agent.program())?;
        let ours = |text: &str| text.replace("/usr/bin/picket-prep-agent", &format!("/usr/bin/{name}"));
        self.enable(LOCKDOWN.0, Some(&ours(LOCKDOWN.1)), "sysinit.target")?;
        for (unit, text) in AGENTS.into_iter().filter(|(unit, _)| unit.starts_with(name)) {
            self.enable(unit, Some(text), "multi-user.target")?;
        }
        self.write("etc/systemd/system/nftables.service.d/picket.conf", &ours(BESIDE_NFTABLES))?;
        for (file, line) in [("etc/passwd", AGENTS_USER), ("etc/group", AGENTS_GROUP)] {
            let path = self.debian.join(file);
            let text = fs::read_to_string(&path);
            let text = text.map_err(|error| LabError::io(format!("read {}", path.display()), error))?;
            self.write(file, &(text + line))?;
        }
        self.state = Some(agent.state_folder().to_owned());
        Ok(())
    }

    /// Puts one of our programs alone in, as an image has it.
    ///
    /// # Errors
    /// [`LabError::NotBuilt`], or what `install` says.
    pub fn put(&self, program: Program) -> Result<(), LabError> {
        install_program(&program.path()?, &self.path(&format!("usr/bin/{}", program.name()))?)
    }

    /// Writes one of its files, while it is off.
    ///
    /// # Errors
    /// [`LabError::Io`].
    pub fn write(&self, path: &str, text: &str) -> Result<(), LabError> {
        let path = self.path(path)?;
        fs::write(&path, text).map_err(|error| LabError::io(format!("write {}", path.display()), error))
    }

    /// Writes at the end of one of its own files, while it is off.
    ///
    /// # Errors
    /// [`LabError::Io`].
    pub(crate) fn append(&self, path: &str, text: &str) -> Result<(), LabError> {
        let whole = self.path(path)?;
        let before =
            fs::read_to_string(&whole).map_err(|error| LabError::io(format!("read {}", whole.display()), error))?;
        self.write(path, &(before + text))
    }

    /// Lets one of its files be run, while it is off.
    ///
    /// # Errors
    /// [`LabError::Io`].
    pub(crate) fn executable(&self, path: &str) -> Result<(), LabError> {
        let path = self.path(path)?;
        let set = fs::set_permissions(&path, fs::Permissions::from_mode(0o755));
        set.map_err(|error| LabError::io(format!("change the mode of {}", path.display()), error))
    }

    /// Has a unit started with a target: one of Debian's, or one with this text.
    ///
    /// # Errors
    /// [`LabError::Io`].
    pub fn enable(&self, unit: &str, text: Option<&str>, target: &str) -> Result<(), LabError> {
        let file = match text {
            Some(text) => {
                self.write(&format!("etc/systemd/system/{unit}"), text)?;
                format!("/etc/systemd/system/{unit}")
            }
            None => format!("/lib/systemd/system/{unit}"),
        };
        let link = self.path(&format!("etc/systemd/system/{target}.wants/{unit}"))?;
        symlink(file, &link).map_err(|error| LabError::io(format!("link {}", link.display()), error))
    }

    /// Switches it on, and waits until it is up.
    ///
    /// # Errors
    /// [`LabError::TimedOut`] where it does not come up.
    pub fn boot(&mut self) -> Result<(), LabError> {
        self.switch_on()?;
        self.wait_up()
    }

    /// Starts it anew in its own way, and waits until it is up.
    ///
    /// # Errors
    /// What it says to that, or [`LabError::TimedOut`].
    pub fn reboot(&mut self) -> Result<(), LabError> {
        self.run(&["systemctl", "reboot"])?.success()?;
        let process = self.process.take().ok_or(LabError::Gone)?;
        let status = process.wait(SOON)?;
        if status.code() != Some(REBOOTS) {
            return Err(LabError::Unexpected { found: format!("the machine ended with {status}: {}", process.log()) });
        }
        self.boot()
    }

    /// Takes its power away.
    ///
    /// # Errors
    /// [`LabError::TimedOut`] where it does not end.
    pub fn cut_power(&mut self) -> Result<(), LabError> {
        if let Some(process) = self.process.take() {
            process.kill();
        }
        namespace::empty(std::slice::from_ref(&self.host.namespace))
    }

    /// Runs a program inside to its end, a minute at most.
    ///
    /// # Errors
    /// [`LabError::Gone`] where the machine is off.
    pub fn run(&self, command: &[&str]) -> Result<Output, LabError> {
        let leader = self.leader().ok_or(LabError::Gone)?.to_string();
        command::run("timeout", &[&["60", "nsenter", "--all", "--target", &leader, "--"], command].concat(), "")
    }

    /// A port at its first address of each family, IPv4 first, also while it is off.
    #[must_use]
    pub fn ports(&self, port: u16) -> [std::net::SocketAddr; 2] {
        self.addresses.map(|address| (address, port).into())
    }

    /// Another host knows its hardware address and need not ask for it: its packets are on the wire from the first moment.
    ///
    /// # Errors
    /// What `ip` refused.
    pub fn known_to(&self, other: &Host) -> Result<(), LabError> {
        let lines = self.addresses.iter().fold(String::new(), |mut lines, address| {
            let _ = writeln!(lines, "neigh replace {address} lladdr {} dev eth0 nud permanent", self.hardware);
            lines
        });
        other.namespace.ip(&lines)
    }

    fn switch_on(&mut self) -> Result<(), LabError> {
        self.cut_power()?;
        // Its link goes up and gets addresses when its own network does; nothing answers once its rules are gone.
        self.host.namespace.ip("link set eth0 down\naddress flush dev eth0\nlink set lo down\n")?;
        self.host.nft(&["flush", "ruleset"])?;
        let name = self.host.namespace();
        let network = format!("--network-namespace-path={}", self.host.namespace.handle().display());
        let root = self.folder.join("root").to_string_lossy().into_owned();
        let mut args: Vec<String> = [START, "start", name].map(str::to_owned).into();
        args.extend([&self.debian, &self.folder].map(|path| path.to_string_lossy().into_owned()));
        let fixed = [
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--settings=no",
            "--link-journal=no",
            "--console=pipe",
        ];
        args.extend(fixed.map(str::to_owned));
        args.extend(["--resolv-conf=off", "--timezone=off", "--capability=CAP_NET_ADMIN"].map(str::to_owned));
        args.extend([network, format!("--directory={root}"), format!("--machine={name}")]);
        args.push(format!("--bind={}:/dev/net/tun", self.tun()?.display()));
        args.extend(self.state.as_ref().map(|state| format!("--bind={state}:{STATE}")));
        let process = self.host.watch("machine", |stdout, stderr| {
            let mut command = Command::new("unshare");
            command.args(["--mount", "/bin/sh", "-c"]).args(&args).process_group(0);
            command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
            command.spawn().map_err(|error| command::cannot_start("unshare", error))
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// A device node for everybody, as udev makes it on Debian; this machine's own may be for root alone.
    fn tun(&self) -> Result<PathBuf, LabError> {
        let path = self.folder.join("tun");
        if !path.exists() {
            let cannot = |error| LabError::io(format!("make the device {}", path.display()), error);
            mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(10, 200)).map_err(|errno| cannot(errno.into()))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).map_err(cannot)?;
        }
        Ok(path)
    }

    fn wait_up(&self) -> Result<(), LabError> {
        wait_until("the machine to be up", SOON * 3, || {
            self.process.as_ref().ok_or(LabError::Gone).and_then(Process::must_run).map_err(|e| e.to_string())?;
            let said = self.run(&["systemctl", "is-system-running"]).map_err(|error| error.to_string())?;
            // Degraded is a machine with a unit that failed, which some tests want.
            if ["running\n", "degraded\n"].contains(&said.stdout.as_str()) { Ok(()) } else { Err(format!("{said:?}")) }
        })?;
        Ok(())
    }

    /// The process that is the machine's first.
    fn leader(&self) -> Option<Pid> {
        let is_first = |pid: &Pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            ids.is_some_and(|ids| ids.split_whitespace().skip(1).eq(["1"]))
        };
        self.host.namespace.processes().into_iter().find(is_first)
    }

    /// Where one of its own files is, to be made or changed while it is off; what stands there hides Debian's.
    ///
    /// # Errors
    /// [`LabError::Io`] where its folder cannot be made.
    pub fn path(&self, path: &str) -> Result<PathBuf, LabError> {
        let path = self.folder.join("own").join(path);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.map_err(|error| LabError::io(format!("make the folder of {}", path.display()), error))?;
        Ok(path)
    }

    /// Its files, lowest first: Debian's, and over them its own.
    pub(crate) fn layers(&self) -> [PathBuf; 2] {
        [self.debian.clone(), self.folder.join("own")]
    }

    fn network(&self) -> String {
        let mut text = "[Match]\nName=eth0\n[Network]\nIPv6AcceptRA=no\n".to_owned();
        for (address, length) in self.addresses.iter().zip([24, 64]) {
            let _ = write!(text, "[Address]\nAddress={address}/{length}\nDuplicateAddressDetection=none\n");
        }
        for range in ON_LINK {
            let _ = write!(text, "[Route]\nDestination={range}\nScope=link\nMetric=4096\n");
        }
        text
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(error) = self.cut_power() {
            eprintln!("a machine on {} does not end: {error}", self.host.name());
        }
        for group in GROUPS.map(|tree| Path::new(tree).join(self.host.namespace())) {
            // Who was killed is in it for a moment yet; what stays after that is empty and harms nobody.
            let _ = wait_until("its control group to be empty", EMPTY_WITHIN, || {
                remove_groups(&group);
                !group.exists()
            });
        }
    }
}

/// Removes a control group with all below it; what is busy stays.
fn remove_groups(group: &Path) {
    let below = fs::read_dir(group).into_iter().flatten().flatten();
    below.filter(|entry| entry.path().is_dir()).for_each(|entry| remove_groups(&entry.path()));
    let _ = fs::remove_dir(group);
}
