//! A host: a network namespace with loopback and one interface on the lab's bridge. What runs on it is in `process`,
//! what is tried from it in `probe`.

use std::{
    fmt::Write as _,
    fs, io,
    net::{IpAddr, SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    LabError, address,
    lab::{BRIDGE, Shared, write_hosts_file},
    namespace::Namespace,
};

/// The host's interface on the bridge.
const INTERFACE: &str = "eth0";

/// Name of the file in a host's folder that says its load.
const LOAD: &str = "loadavg";
/// Where a machine keeps its id, machine-id(5).
const MACHINE_ID: &str = "/etc/machine-id";

/// A host about to be made.
#[derive(Debug)]
pub struct HostBuilder<'lab> {
    shared: &'lab Arc<Shared>,
    name: String,
    addresses: Vec<String>,
}

impl<'lab> HostBuilder<'lab> {
    pub(crate) fn new(shared: &'lab Arc<Shared>, name: &str) -> Self {
        Self { shared, name: name.to_owned(), addresses: Vec::new() }
    }

    /// Gives the host one more address, with its prefix (`203.0.113.11/24`) or alone.
    #[must_use]
    pub fn address(mut self, address: &str) -> Self {
        self.addresses.push(address.to_owned());
        self
    }

    /// Makes the host. All documentation ranges are on its link, so it reaches every other host of the lab.
    ///
    /// # Errors
    /// [`LabError::NotOurAddress`], [`LabError::NotAnAddress`], [`LabError::HostName`], or what `ip` refused.
    pub fn create(self) -> Result<Host, LabError> {
        let Self { shared, name, addresses } = self;
        let addresses: Vec<IpNet> = addresses.iter().map(|text| address::parse(text)).collect::<Result<_, _>>()?;
        let (number, hosts_file) = {
            let mut inventory = shared.inventory();
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || !name.chars().all(allowed) || inventory.hosts.contains_key(&name) {
                return Err(LabError::HostName { name });
            }
            // Two hosts of one address take turns in answering for it, which looks like anything but that.
            for address in addresses.iter().map(IpNet::addr) {
                if let Some(host) = inventory.addresses.get(&address) {
                    return Err(LabError::AddressTaken { address, host: host.clone() });
                }
                inventory.addresses.insert(address, name.clone());
            }
            // In the inventory first, so that a host made by half is removed too.
            let namespace = Namespace { name: format!("{}-{name}", shared.id.name()) };
            inventory.hosts.insert(name.clone(), namespace);
            (inventory.hosts.len(), inventory.hosts_file.clone())
        };

        let namespace = Namespace::create(format!("{}-{name}", shared.id.name()))?;
        let host = Host { shared: Arc::clone(shared), name, number, namespace };
        write_hosts_file(&host.namespace, &hosts_file)?;
        if Path::new(MACHINE_ID).exists() {
            host.namespace.write_file("machine-id", &machine_id(&host))?;
        }
        host.make_folder()?;
        // An address is usable at once, and everybody may ping.
        host.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        host.sysctl("net/ipv4/ping_group_range", "0 2147483647")?;
        host.connect_to_bridge()?;

        let mut script = format!("link set lo up\nlink set {INTERFACE} up\n");
        for address in &addresses {
            let _ = writeln!(script, "address add {address} {}", flags(address));
        }
        for range in address::ON_LINK {
            // A metric worse than that of the address's own prefix, so that both can stand.
            let _ = writeln!(script, "route add {range} dev {INTERFACE} metric 4096");
        }
        host.namespace.ip(&script)?;
        Ok(host)
    }
}

/// A host of a lab. A clone is the same host.
#[derive(Debug, Clone)]
pub struct Host {
    pub(crate) shared: Arc<Shared>,
    pub(crate) namespace: Namespace,
    name: String,
    /// Which host of the lab this is, from 1.
    number: usize,
}

impl Host {
    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same host with a folder of another name, for a second program of a kind.
    ///
    /// # Errors
    /// [`LabError::Io`] if the folder cannot be made.
    pub(crate) fn beside(&self, name: &str) -> Result<Self, LabError> {
        let beside = Self { name: name.to_owned(), ..self.clone() };
        beside.make_folder()?;
        Ok(beside)
    }

    /// Where its files are, with the load that its agents read.
    fn make_folder(&self) -> Result<(), LabError> {
        fs::create_dir_all(self.path("")).map_err(|error| LabError::io(format!("make {}", self.path("")), error))?;
        self.set_load(0.0)
    }

    /// The name of its network namespace, for `ip netns exec`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace.name
    }

    /// Adds an address while the host runs.
    ///
    /// # Errors
    /// [`LabError::NotOurAddress`], or what `ip` refused.
    pub fn add_address(&self, address: &str) -> Result<(), LabError> {
        let address = address::parse(address)?;
        self.namespace.ip(&format!("address add {address} {}\n", flags(&address)))
    }

    /// Removes an address while the host runs.
    ///
    /// # Errors
    /// [`LabError::NotAnAddress`], or what `ip` refused, for instance because it is not there.
    pub fn remove_address(&self, address: &str) -> Result<(), LabError> {
        let address = address::parse(address)?;
        self.namespace.ip(&format!("address delete {address} dev {}\n", device(&address)))?;
        // Free for the next host.
        self.shared.inventory().addresses.remove(&address.addr());
        Ok(())
    }

    /// Takes the host off the lab's bridge and puts it behind another one, as a container is behind its host's bridge:
    /// `own` is its only address from now on, `gateway` the router's on the new cable. The router forwards from now on.
    ///
    /// # Errors
    /// [`LabError::NotOurAddress`], or what `ip` refused.
    pub fn move_behind(&self, router: &Self, own: &str, gateway: &str) -> Result<(), LabError> {
        let (own, gateway) = (address::parse(own)?, address::parse(gateway)?);
        let inside = format!("inside{}", self.number);
        self.namespace.ip(&format!("link delete {INTERFACE}\n"))?;
        router.namespace.ip(&format!(
            "link add {inside} type veth peer name {INTERFACE} netns {}\nlink set {inside} up\n\
             address add {gateway} dev {inside} nodad\n",
            self.namespace.name
        ))?;
        self.namespace.ip(&format!(
            "link set {INTERFACE} up\naddress add {own} {}\nroute add default via {}\n",
            flags(&own),
            gateway.addr()
        ))?;
        router.sysctl("net/ipv6/conf/all/forwarding", "1")
    }

    /// Cuts the host off: packets vanish in both directions, its interface stays up and notices nothing.
    ///
    /// # Errors
    /// What `ip` refused.
    pub fn unplug(&self) -> Result<(), LabError> {
        self.shared.bridge.ip(&format!("link set {} nomaster\n", self.port()))
    }

    /// Ends what [`Host::unplug`] began.
    ///
    /// # Errors
    /// What `ip` refused.
    pub fn plug(&self) -> Result<(), LabError> {
        self.shared.bridge.ip(&format!("link set {} master {BRIDGE}\n", self.port()))
    }

    /// Pulls the host's cable: unlike with [`Host::unplug`], both ends see that there is no link.
    ///
    /// # Errors
    /// What `ip` refused.
    pub fn link_down(&self) -> Result<(), LabError> {
        self.shared.bridge.ip(&format!("link set {} down\n", self.port()))
    }

    /// Ends what [`Host::link_down`] began.
    ///
    /// # Errors
    /// What `ip` refused.
    pub fn link_up(&self) -> Result<(), LabError> {
        self.shared.bridge.ip(&format!("link set {} up\n", self.port()))
    }

    /// Makes the host's cable carry no larger packets than so many bytes, a few more or less: what is larger vanishes, and nobody is
    /// told.
    ///
    /// # Errors
    /// What `ip` refused.
    pub fn narrow(&self, mtu: u16) -> Result<(), LabError> {
        self.shared.bridge.ip(&format!("link set {} mtu {mtu}\n", self.port()))
    }

    /// The host's first IPv4 address on the bridge, with `port`.
    ///
    /// # Errors
    /// [`LabError::NoAddress`] if it has none.
    pub fn v4(&self, port: u16) -> Result<SocketAddr, LabError> {
        self.first_address("-4", "IPv4", port)
    }

    /// The host's first global IPv6 address on the bridge, with `port`.
    ///
    /// # Errors
    /// [`LabError::NoAddress`] if it has none.
    pub fn v6(&self, port: u16) -> Result<SocketAddr, LabError> {
        self.first_address("-6", "IPv6", port)
    }

    /// A file or folder in the host's own folder, as text for a command line.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.shared.folder.join(&self.name).join(name).to_string_lossy().into_owned()
    }

    /// Writes a file in the host's own folder and gives its path.
    ///
    /// # Errors
    /// [`LabError::Io`] if it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<String, LabError> {
        let path = self.path(name);
        fs::write(&path, text).map_err(|error| LabError::io(format!("write {path}"), error))?;
        Ok(path)
    }

    /// How much the host has to do for its programs to see, as in `/proc/loadavg`: the load of all hosts together is the
    /// machine's that runs them, and a host is calm until this is said.
    ///
    /// # Errors
    /// [`LabError::Io`] if it cannot be written.
    pub fn set_load(&self, load: f32) -> Result<(), LabError> {
        self.write(LOAD, &format!("{load:.2} {load:.2} {load:.2} 1/1 1\n")).map(drop)
    }

    /// The file that its programs see in place of `/proc/loadavg`.
    pub(crate) fn load_file(&self) -> String {
        self.path(LOAD)
    }

    /// Sets a kernel value of the host's network, such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// [`LabError::Io`] if the kernel has no such value or does not take it.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), LabError> {
        let path = format!("/proc/sys/{key}");
        let set = self.inside(|| fs::write(&path, value))?;
        set.map_err(|error| LabError::io(format!("set {path} to {value} on {}", self.name), error))
    }

    /// Runs `work` on a thread inside the host's network and waits for it. A socket made inside belongs to the host
    /// wherever it is used later.
    ///
    /// # Errors
    /// [`LabError::Io`] if the namespace is gone.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        self.namespace.inside(work)
    }

    /// A socket of the host's that listens, for a server of this process.
    pub(crate) fn listen(&self, address: SocketAddr) -> Result<TcpListener, LabError> {
        let bound = self.inside(|| -> io::Result<TcpListener> {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })?;
        bound.map_err(|error| LabError::io(format!("listen on {address} on {}", self.name()), error))
    }

    fn connect_to_bridge(&self) -> Result<(), LabError> {
        let (port, namespace) = (self.port(), &self.namespace.name);
        self.shared.bridge.ip(&format!(
            "link add {port} type veth peer name {INTERFACE} netns {namespace}\nlink set {port} master {BRIDGE} up\n"
        ))
    }

    /// The other end of the host's cable, on the bridge.
    fn port(&self) -> String {
        format!("port{}", self.number)
    }

    fn first_address(&self, flag: &str, family: &'static str, port: u16) -> Result<SocketAddr, LabError> {
        let args = ["-brief", flag, "address", "show", "dev", INTERFACE, "scope", "global"];
        let shown = self.inside(|| crate::command::run("ip", &args, ""))??.success()?;
        // eth0@if2 UP 203.0.113.11/24 203.0.113.12/24
        let first = shown.split_whitespace().find_map(|word| word.split('/').next()?.parse::<IpAddr>().ok());
        let address = first.ok_or_else(|| LabError::NoAddress { host: self.name.clone(), family })?;
        Ok(SocketAddr::new(address, port))
    }
}

/// An id as of a machine of its own: 32 hexadecimal digits, another one for each host of each lab.
fn machine_id(host: &Host) -> String {
    let lab = host.shared.id;
    format!("{:08x}{:08x}{:016x}\n", lab.pid, lab.number, host.number)
}

/// How an address is added; IPv6 without duplicate address detection, which takes a second.
fn flags(address: &IpNet) -> String {
    let detection = if address.addr().is_ipv6() { " nodad" } else { "" };
    format!("dev {}{detection}", device(address))
}

fn device(address: &IpNet) -> &'static str {
    if address.addr().is_loopback() { "lo" } else { INTERFACE }
}
