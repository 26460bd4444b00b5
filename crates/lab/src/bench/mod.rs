//! The benches: times of the real programs, each printed beside what it is compared with in the same run. Figures only;
//! nothing here says what is fast enough.

mod agents;
mod bare;
mod controller;
mod dataplane;
mod failover;
mod figures;
mod firewall;
mod flood;
mod join;
mod peers;
mod plain;
mod revoke;

use crate::{Host, LabError, clean_left_overs, stop};
use anyhow::Context as _;
use figures::Figures;
use serde_json::{Map, Value, json};
use std::{net::IpAddr, time::Duration};

/// What is measured, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to measure.
    which: Which,
    /// Print one JSON object per row, and nothing else, on standard output.
    #[arg(long)]
    json: bool,
    /// How often each thing is measured: 5 times, and 3 where it takes seconds.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=20))]
    runs: Option<u8>,
    /// Of a bench that has parts, these alone.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    #[command(flatten)]
    dataplane: dataplane::Options,
    #[command(flatten)]
    controller: controller::Options,
}

/// A bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// From the start of enrolment to the first packet: one sentry, and twenty at once.
    Join,
    /// From the command to the last packet on the slowest of three hosts; to the last receipt of 10, 100 and 1,000.
    Revoke,
    /// 1,000 peers on one interface: time, memory, and one of them removed.
    Peers,
    /// The firewall's table: written whole, changed by one address, back after a flush; beside nft and ipset.
    Firewall,
    /// Floods at a guarded port: how many packets a second, and what an allowed peer has meanwhile; beside other firewalls.
    Flood,
    /// What the loss of a sentry costs hidden validators: from the cut to the last pair of nodes linked again; beside a script.
    Failover,
    /// Tunnels of our engine beside other engines' and none: TCP, small packets, latency, many peers, handshakes.
    Dataplane,
    /// The controller with many agents: connections, memory, changes to one and to all, enrolments, planning.
    Controller,
}

/// Runs one bench.
///
/// # Errors
/// What keeps it from going on. All namespaces and files are gone then, too.
pub fn run(args: &Args) -> anyhow::Result<()> {
    // Nobody listens: a bench ends at once, with all that it made.
    drop(stop::on_signal(Duration::ZERO)?);
    clean_left_overs()?;
    let report = Report { json: args.json, bench: args.which };
    let runs = args.runs.unwrap_or(if args.which == Which::Dataplane { 3 } else { 5 });
    match args.which {
        Which::Join => join::run(&report, runs),
        Which::Revoke => revoke::run(&report, runs),
        Which::Peers => peers::run(&report, runs),
        Which::Firewall => firewall::run(&report, runs),
        Which::Flood => flood::run(&report, runs),
        Which::Failover => failover::run(&report, runs),
        Which::Dataplane => dataplane::run(&report, runs, &parts(&args.only)?, &args.dataplane),
        Which::Controller => controller::run(&report, runs, &parts(&args.only)?, &args.controller),
    }
}

/// The parts of a bench that are asked for; all of them where none is.
fn parts<P: clap::ValueEnum>(only: &[String]) -> anyhow::Result<Vec<P>> {
    let part = |word: &String| {
        let names =
            || P::value_variants().iter().filter_map(|part| Some(part.to_possible_value()?.get_name().to_owned()));
        P::from_str(word, true).map_err(|_| {
            anyhow::anyhow!("{word:?} is no part of this bench: name of {}", names().collect::<Vec<_>>().join(", "))
        })
    };
    if only.is_empty() { Ok(P::value_variants().to_vec()) } else { only.iter().map(part).collect() }
}

/// Where the rows go.
struct Report {
    json: bool,
    bench: Which,
}

impl Report {
    /// One row, as it is measured.
    fn row(&self, fields: &Value) -> anyhow::Result<()> {
        let mut row = Map::from_iter([("bench".to_owned(), json!(format!("{:?}", self.bench).to_lowercase()))]);
        row.extend(fields.as_object().cloned().context("a row is an object")?);
        row.insert("conditions".to_owned(), conditions());
        match self.json {
            true => println!("{}", Value::Object(row)),
            false => {
                let cells = row.iter().map(|(name, value)| format!("{name} {value}"));
                println!("{}", cells.collect::<Vec<_>>().join("  "));
            }
        }
        Ok(())
    }

    /// A word to whoever waits.
    fn say(&self, text: &str) {
        eprintln!("bench: {text}");
    }
}

/// What a figure depends on and a reader cannot see.
fn conditions() -> Value {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|word| word.parse::<f64>().ok());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({ "load": load, "cores": cores, "optimised": !cfg!(debug_assertions), "wireguard": "userspace, unless the kernel has it" })
}

/// Waits for the first answer to a ping; looks every few milliseconds, which is how exact it is.
fn wait_for_ping(from: &Host, to: IpAddr) -> Result<(), LabError> {
    /// A round trip in the lab takes well under a millisecond.
    const ANSWER: Duration = Duration::from_millis(5);
    crate::wait_until("the first packet", crate::mesh::SOON, || from.ping(to, ANSWER).ok_or("no answer")).map(drop)
}

/// A duration in milliseconds.
fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// One median as a multiple of another, which counts as one millisecond where it is below what can be measured.
fn ratio(ours: &Figures, theirs: &Figures) -> Value {
    json!(figures::rounded(ours.median() / theirs.median().max(1.0)))
}
