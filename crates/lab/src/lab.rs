//! A lab: hosts in network namespaces on one bridge, which lives in a namespace of its own so that the machine's
//! own network is never touched. Dropping the lab removes all of it.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    future::Future,
    net::IpAddr,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
};

use tempfile::TempDir;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::AbortHandle,
};

use crate::{
    HostBuilder, LabError,
    left_overs::{self, LabId},
    namespace::{self, Namespace},
    process::Running,
};

/// Name of the bridge in its namespace.
pub(crate) const BRIDGE: &str = "br0";
/// What every hosts file begins with.
const LOCALHOST: &str = "127.0.0.1 localhost\n::1 localhost\n";

/// Hosts in network namespaces, joined by a bridge. Everything is gone when it is dropped, also by a panic.
///
/// All calls block; make them from plain threads and tests, not from async code.
#[derive(Debug)]
pub struct Lab {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
    // Removes itself last, when nobody writes into it any more.
    _folder: TempDir,
}

/// What hosts and processes need of their lab.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: LabId,
    pub(crate) folder: PathBuf,
    pub(crate) bridge: Namespace,
    runtime: Handle,
    inventory: Mutex<Inventory>,
}

/// Everything that a lab has made so far.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) hosts: BTreeMap<String, Namespace>,
    /// Names of hosts by address.
    pub(crate) addresses: BTreeMap<IpAddr, String>,
    pub(crate) processes: Vec<Arc<Running>>,
    pub(crate) hosts_file: String,
}

impl Lab {
    /// An empty lab. Removes what labs of dead processes left behind. `label` is for people who look at its folder.
    ///
    /// # Errors
    /// [`LabError::NotRoot`], [`LabError::MissingProgram`] without iproute2, or what the kernel refused.
    pub fn new(label: &str) -> Result<Self, LabError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);

        let id = LabId { pid: process::id(), number: NUMBER.fetch_add(1, Ordering::Relaxed) };
        left_overs::clean_before(id)?;

        let label: String = label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let folder = tempfile::Builder::new()
            .prefix(&format!("{}-{label}-", id.name()))
            .tempdir()
            .map_err(|error| LabError::io("make a folder for the lab", error))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("lab")
            .enable_all()
            .build()
            .map_err(|error| LabError::io("start the probes' runtime", error))?;

        let shared = Shared {
            id,
            folder: folder.path().to_owned(),
            bridge: Namespace { name: id.name() },
            runtime: runtime.handle().clone(),
            inventory: Mutex::new(Inventory { hosts_file: LOCALHOST.to_owned(), ..Inventory::default() }),
        };
        // From here on, Drop cleans up whatever step fails.
        let lab = Self { shared: Arc::new(shared), runtime: Some(runtime), _folder: folder };
        let bridge = Namespace::create(id.name())?;
        // No spanning tree and no multicast snooping: a port forwards at once, and neighbour discovery gets through.
        bridge.ip(&format!(
            "link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set {BRIDGE} up\n"
        ))?;
        Ok(lab)
    }

    /// A new host, to be given addresses and created.
    pub fn host(&self, name: &str) -> HostBuilder<'_> {
        HostBuilder::new(&self.shared, name)
    }

    /// The names that resolve on all hosts, in place of those set before. Running programs see the change at once.
    ///
    /// # Errors
    /// [`LabError::Io`] if a hosts file cannot be written.
    pub fn hosts_file<N: AsRef<str>>(&self, names: impl IntoIterator<Item = (N, IpAddr)>) -> Result<(), LabError> {
        let mut inventory = self.shared.inventory();
        inventory.hosts_file = LOCALHOST.to_owned();
        for (name, address) in names {
            let _ = writeln!(inventory.hosts_file, "{address} {}", name.as_ref());
        }
        inventory.hosts.values().try_for_each(|host| write_hosts_file(host, &inventory.hosts_file))
    }

    /// Runs `server` on the lab's runtime until it ends or the lab is dropped: something of the world outside, on a
    /// socket made by [`Host::inside`](crate::Host::inside). An error of it is printed; whoever calls it sees it gone.
    pub fn serve<E: fmt::Display>(&self, server: impl Future<Output = Result<(), E>> + Send + 'static) {
        let name = self.shared.id.name();
        self.shared.runtime().spawn(async move {
            if let Err(error) = server.await {
                eprintln!("a server in lab {name} ended: {error}");
            }
        });
    }

    /// Makes something that needs the lab's runtime around it, as a socket of async code.
    pub(crate) fn on_runtime<T>(&self, make: impl FnOnce() -> T) -> T {
        let _inside = self.shared.runtime().enter();
        make()
    }

    /// Prints the end of every program's log, for whoever has to find out why something failed.
    pub fn print_logs(&self) {
        self.shared.inventory().processes.iter().for_each(|process| process.print_log());
    }

    /// Runs `work` where the bridge is.
    pub(crate) fn inside_bridge<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
        self.shared.bridge.inside(work)
    }

    /// Runs a task of the lab's own on its runtime, until it is aborted or the lab is dropped.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.shared.runtime().spawn(task).abort_handle()
    }

    /// The lab's folder for files, removed with the lab.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let (namespaces, processes) = {
            let mut inventory = self.shared.inventory();
            let mut namespaces: Vec<_> = std::mem::take(&mut inventory.hosts).into_values().collect();
            namespaces.push(self.shared.bridge.clone());
            (namespaces, std::mem::take(&mut inventory.processes))
        };
        for process in &processes {
            if std::thread::panicking() {
                process.print_log();
            }
            process.kill();
        }
        // In the background: a lab may be dropped by async code, where waiting for a runtime is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        if let Err(error) = namespace::remove(&namespaces) {
            eprintln!("lab {} leaves something behind: {error}", self.shared.id.name());
        }
    }
}

impl Shared {
    pub(crate) fn inventory(&self) -> MutexGuard<'_, Inventory> {
        self.inventory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a future on the lab's runtime and waits for it.
    pub(crate) fn wait_for<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, LabError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.runtime.spawn(async move { sender.send(future.await) });
        receiver.recv().map_err(|_| LabError::Gone)
    }

    /// The runtime on which probes, echo servers and streams run.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

/// Writes in place: programs inside have this very file bound over /etc/hosts.
pub(crate) fn write_hosts_file(host: &Namespace, text: &str) -> Result<(), LabError> {
    host.write_file("hosts", text)
}
