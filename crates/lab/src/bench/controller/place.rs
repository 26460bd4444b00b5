//! The controller under measurement: the real program in a process of its own, so that its processor time and its memory are its
//! own, with a validator list that is a file.

use super::super::{agents, millis};
use crate::{Host, Lab, LabError, Postgres, mesh::Controller, wait_until};
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

/// Which database it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Database {
    /// A file of SQLite's.
    Sqlite,
    /// A server's, on a socket.
    Postgres,
}

/// A controller with its list.
pub(super) struct Place {
    pub(super) controller: Controller,
    /// How often the list was written.
    height: u64,
    validators: usize,
    _server: Option<Postgres>,
    _lab: Lab,
}

impl Place {
    /// Starts one with a list of so many validators.
    pub(super) fn new(database: Database, validators: usize) -> anyhow::Result<Self> {
        allow_files()?;
        let lab = Lab::new("bench")?;
        let host = lab.host("controller").address("203.0.113.1/24").create()?;
        let list = format!("file://{}", host.path(LIST));
        let server = (database == Database::Postgres).then(Postgres::start).transpose()?;
        let url = server.as_ref().map(Postgres::database).transpose()?;
        let controller = Controller::new(host, &[list])?;
        controller.configure(|text| {
            let database = url.map_or_else(String::new, |url| format!("database = \"{url}\"\n"));
            let text = text.replace("192.0.2.0/25", "10.64.0.0/10");
            // Whole lists come and go here, which is what brakes are against.
            format!("{database}{text}max_addresses = 10000\n\n[policy.brakes]\nmax_added = 5000\nmax_size = 5000\n")
        })?;
        let mut place = Self { controller, height: 0, validators, _server: server, _lab: lab };
        place.write_list()?;
        place.controller.start()?;
        place.controller.wait_for_list()?;
        Ok(place)
    }

    /// Puts one validator more on the list; returns once the controller has seen it.
    pub(super) fn lengthen_list(&mut self) -> anyhow::Result<()> {
        self.validators += 1;
        self.write_list()?;
        let wanted = self.height;
        wait_until("the controller to see the list", PATIENCE, || {
            let status = self.controller.status().map_err(|error| error.to_string())?;
            let height = status.sources.iter().find_map(|source| source.height);
            if height == Some(wanted) { Ok(()) } else { Err(format!("it has seen {height:?}")) }
        })?;
        Ok(())
    }

    /// Its listeners take connections again after this.
    pub(super) fn restart(&mut self) -> anyhow::Result<Duration> {
        self.controller.kill();
        let started = Instant::now();
        self.controller.start()?;
        Ok(started.elapsed())
    }

    /// The fingerprint of its CA, and its operator's client. Call it where its sockets belong.
    pub(super) fn operator(&self) -> anyhow::Result<(Fingerprint, OperatorClient)> {
        agents::operator_of(&self.controller)
    }

    /// Its host.
    pub(super) fn host(&self) -> &Host {
        &self.controller.host
    }

    /// Processor time that it has had, in milliseconds.
    pub(super) fn cpu_ms(&self) -> anyhow::Result<f64> {
        Ok(millis(self.controller.process().context("the controller does not run")?.cpu()?))
    }

    /// Memory that it holds in RAM, in MiB.
    pub(super) fn memory_mib(&self) -> anyhow::Result<f64> {
        let process = self.controller.process().context("the controller does not run")?;
        let bytes = u32::try_from(process.resident_memory_bytes()? / 1024)?;
        Ok(f64::from(bytes) / 1024.0)
    }

    /// Bytes over its host's loopback so far, both ways, with what TCP and TLS need.
    pub(super) fn wire_bytes(&self) -> anyhow::Result<u64> {
        let text = self.host().inside(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
        let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:"));
        let received = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        received.context("the loopback counts no bytes")
    }

    fn write_list(&mut self) -> Result<(), LabError> {
        self.height += 1;
        let entry = |number: u32| {
            // 20.0.0.1 and on: nobody's that any range list knows as special.
            let address = Ipv4Addr::from_bits((20 << 24) + 1 + number);
            json!({ "prep": format!("hx{number:040x}"), "endpoint": format!("{address}:7100"), "grade": "main" })
        };
        let validators = (0..u32::try_from(self.validators).unwrap_or(u32::MAX)).map(entry).collect::<Vec<_>>();
        let text = json!({ "height": self.height, "validators": validators }).to_string();
        self.host().write(LIST, &text).map(drop)
    }
}

/// Allows this process, and what it starts, as many open files as the agents need.
fn allow_files() -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("read the limit of open files")?;
    let wanted = soft.max(FILES.min(hard));
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).context("raise the limit of open files")
}
