//! The controller under measurement, or several on one database: real programs in processes of their own, so that their processor time
//! and memory are their own, with a validator list that is a file.

use super::super::{agents, millis};
use crate::{Host, Lab, Postgres, mesh::Controller, wait_until};
use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use picket_api::OperatorClient;
use picket_pki::Fingerprint;
use serde_json::json;
use std::{
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

/// Longest wait for the controller.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the agents' side of ten thousand connections needs, with some to spare.
const FILES: u64 = 32_768;
/// The file with the list, on the controller's host.
const LIST: &str = "list.json";

/// How the ports of a lab's controller begin: those of the next controller on its host are ten higher.
const FIRST_PORTS: u16 = 744;

/// Which database it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Database {
    /// A file of SQLite's.
    Sqlite,
    /// A server's, on a socket.
    Postgres,
}

/// Controllers with their list.
pub(super) struct Place {
    /// The first one has the operator; agents find each at its port.
    controllers: Vec<Controller>,
    /// How often the list was written.
    height: u64,
    validators: usize,
    _server: Option<Postgres>,
    _lab: Lab,
}

impl Place {
    /// Starts so many with a list of so many validators.
    pub(super) fn new(database: Database, controllers: u16, validators: usize) -> anyhow::Result<Self> {
        allow_files()?;
        let lab = Lab::new("bench")?;
        let host = lab.host("controller").address("203.0.113.1/24").create()?;
        let list = format!("file://{}", host.path(LIST));
        let server = (database == Database::Postgres).then(Postgres::start).transpose()?;
        let url = server.as_ref().map(Postgres::database).transpose()?;
        let mut made = Vec::new();
        for number in 0..controllers {
            let host = if number == 0 { host.clone() } else { host.beside(&format!("controller-{}", number + 1))? };
            let controller = Controller::new(host, std::slice::from_ref(&list))?;
            controller.configure(|text| {
                let database = url.as_ref().map_or_else(String::new, |url| format!("database = \"{url}\"\n"));
                let text = text.replace("192.0.2.0/25", "10.64.0.0/10");
                let text = text.replace(&FIRST_PORTS.to_string(), &(FIRST_PORTS + number).to_string());
                // Whole lists come and go here, which is what brakes are against.
                format!("{database}{text}max_addresses = 10000\n\n[policy.brakes]\nmax_added = 5000\nmax_size = 5000\n")
            })?;
            made.push(controller);
        }
        let mut place = Self { controllers: made, height: 0, validators, _server: server, _lab: lab };
        place.write_list()?;
        if let Some((first, further)) = place.controllers.split_first_mut() {
            first.start()?;
            first.wait_for_list()?;
            for controller in further {
                controller.take_ca_of(first)?;
                controller.start()?;
                controller.wait_for_list()?;
            }
        }
        Ok(place)
    }

    /// Where agents find each controller, seen from its host.
    pub(super) fn ports(&self) -> Vec<u16> {
        (FIRST_PORTS..).take(self.controllers.len()).map(|ports| ports * 10 + 3).collect()
    }

    /// Puts one validator more on the list; returns once the controller has seen it.
    pub(super) fn lengthen_list(&mut self) -> anyhow::Result<()> {
        self.validators += 1;
        self.write_list()?;
        let wanted = self.height;
        wait_until("the controller to see the list", PATIENCE, || {
            let status = self.first().and_then(|first| Ok(first.status()?)).map_err(|error| error.to_string())?;
            let height = status.sources.iter().find_map(|source| source.height);
            if height == Some(wanted) { Ok(()) } else { Err(format!("it has seen {height:?}")) }
        })?;
        Ok(())
    }

    /// Kills a controller; others serve its agents, where there are others.
    pub(super) fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        self.controllers.get_mut(number).context("there is no such controller")?.kill();
        Ok(())
    }

    /// Its listeners take connections again after this; how long that took.
    pub(super) fn start(&mut self, number: usize) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.controllers.get_mut(number).context("there is no such controller")?.start()?;
        Ok(started.elapsed())
    }

    /// How many controllers there are.
    pub(super) fn len(&self) -> usize {
        self.controllers.len()
    }

    /// The fingerprint of their CA, and the first one's operator's client. Call it where its sockets belong.
    pub(super) fn operator(&self) -> anyhow::Result<(Fingerprint, OperatorClient)> {
        agents::operator_of(self.first()?)
    }

    /// Their host.
    pub(super) fn host(&self) -> anyhow::Result<&Host> {
        Ok(&self.first()?.host)
    }

    fn first(&self) -> anyhow::Result<&Controller> {
        self.controllers.first().context("there is no controller")
    }

    /// Processor time that those have had that run, together, in milliseconds.
    pub(super) fn cpu_ms(&self) -> anyhow::Result<f64> {
        self.controllers.iter().filter_map(Controller::process).map(|process| Ok(millis(process.cpu()?))).sum()
    }

    /// Memory that the one holds in RAM that holds most, in MiB.
    pub(super) fn memory_mib(&self) -> anyhow::Result<f64> {
        let held = self.controllers.iter().filter_map(Controller::process).map(|process| {
            let bytes = u32::try_from(process.resident_memory_bytes()? / 1024)?;
            anyhow::Ok(f64::from(bytes) / 1024.0)
        });
        held.reduce(|a, b| Ok(a?.max(b?))).context("no controller runs")?
    }

    /// Bytes over its host's loopback so far, both ways, with what TCP and TLS need.
    pub(super) fn wire_bytes(&self) -> anyhow::Result<u64> {
        let text = self.host()?.inside(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
        let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:"));
        let received = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        received.context("the loopback counts no bytes")
    }

    fn write_list(&mut self) -> anyhow::Result<()> {
        self.height += 1;
        let entry = |number: u32| {
            // 20.0.0.1 and on: nobody's that any range list knows as special.
            let address = Ipv4Addr::from_bits((20 << 24) + 1 + number);
            json!({ "prep": format!("hx{number:040x}"), "endpoint": format!("{address}:7100"), "grade": "main" })
        };
        let validators = (0..u32::try_from(self.validators).unwrap_or(u32::MAX)).map(entry).collect::<Vec<_>>();
        let text = json!({ "height": self.height, "validators": validators }).to_string();
        self.host()?.write(LIST, &text)?;
        Ok(())
    }
}

/// Allows this process, and what it starts, as many open files as the agents need.
fn allow_files() -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("read the limit of open files")?;
    let wanted = soft.max(FILES.min(hard));
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).context("raise the limit of open files")
}
