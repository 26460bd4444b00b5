//! Tunnels of our engine beside those of others and beside no tunnel, in one run: how fast, at what price, how late, with how
//! many peers. What is measured is in the files beside this one; here are the order, and what is told.

mod junk;
mod latency;
mod limit;
mod peers;
mod place;
mod storm;
mod traffic;

use super::{Figures, Report, figures::rounded};
use crate::{Host, LabError, tunnels::Carrier};
use place::{Cable, Place};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// What this bench is told beyond what all are.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Of the dataplane bench, this cable alone.
    #[arg(long)]
    cable: Option<Cable>,
    /// How long each flow of the dataplane bench lasts, in seconds.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=60))]
    seconds: u8,
    /// How TCP of the dataplane bench's flows finds its speed: Linux' default, whatever this machine's own is.
    #[arg(long, default_value = "cubic")]
    congestion: String,
}

/// A part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Part {
    /// TCP with one stream and with four, both ways.
    Tcp,
    /// Packets of 64 bytes, offered without limit.
    Packets,
    /// Echoes through the idle tunnel, and beside one TCP stream.
    Latency,
    /// What a flood of junk at the port leaves of a TCP stream.
    Junk,
    /// Memory, changes and idle processor time with many peers.
    Peers,
    /// Handshakes of many callers.
    Handshakes,
}

/// Whom ours is measured beside.
const OTHERS: [Carrier; 3] = [Carrier::WireguardGo, Carrier::Boringtun, Carrier::BoringtunOneThread];

pub(super) fn run(report: &Report, runs: u8, parts: &[Part], options: &Options) -> anyhow::Result<()> {
    place::check_tools()?;
    let carriers = carriers(report)?;
    let wants = |part| parts.contains(&part);
    let length = Duration::from_secs(options.seconds.into());
    let limit = limit::measure(report)?;
    for cable in
        [Cable::Offload, Cable::Card].into_iter().filter(|cable| options.cable.is_none_or(|only| only == *cable))
    {
        if ![Part::Tcp, Part::Packets, Part::Latency, Part::Junk].into_iter().any(wants) {
            break;
        }
        let place = Place::new(cable, &options.congestion, &carriers)?;
        let mut table = Table::default();
        for run in 1..=runs {
            // One after the other within a run, so that what else the machine does meets all alike.
            for pair in &place.pairs {
                report.say(&format!("{} cable, run {run} of {runs}: {}", cable.name(), pair.name));
                if wants(Part::Tcp) {
                    traffic::tcp(pair, length, &mut table)?;
                }
                if wants(Part::Packets) {
                    traffic::packets(pair, length, &mut table)?;
                }
                if wants(Part::Latency) {
                    latency::measure(pair, length, &mut table)?;
                }
                if wants(Part::Junk) {
                    junk::measure(pair, length, &mut table)?;
                }
            }
        }
        table.tell(report, &json!({ "cable": cable.name(), "congestion": options.congestion }), limit)?;
    }
    let mut table = Table::default();
    for carrier in carriers.iter().flatten() {
        if wants(Part::Peers) {
            report.say(&format!("many peers: {carrier}"));
            peers::measure(*carrier, length, &mut table)?;
        }
        if wants(Part::Handshakes) {
            report.say(&format!("handshakes: {carrier}"));
            for _ in 0..runs {
                storm::measure(*carrier, &mut table)?;
            }
        }
    }
    table.tell(report, &json!({}), limit)
}

/// Everybody who can be measured here, no tunnel first; whoever cannot is told with the reason.
fn carriers(report: &Report) -> anyhow::Result<Vec<Option<Carrier>>> {
    let mut carriers = vec![None, Some(Carrier::Picket)];
    for other in OTHERS {
        match other.version() {
            Ok(version) => {
                report.say(&format!("{other}: {version}"));
                carriers.push(Some(other));
            }
            Err(error) => {
                report.say(&format!("NOT measured beside {other}: {error}; `--install` installs it"));
                report.row(&json!({ "carrier": other.to_string(), "not_measured": error.to_string() }))?;
            }
        }
    }
    Ok(carriers)
}

/// How a carrier is called in rows.
fn name(carrier: Option<Carrier>) -> String {
    carrier.map_or("none".to_owned(), |carrier| carrier.to_string())
}

/// What was measured, by case and carrier.
#[derive(Default)]
struct Table(BTreeMap<&'static str, BTreeMap<String, Cell>>);

/// Of one case and one carrier.
#[derive(Default)]
struct Cell {
    unit: &'static str,
    value: Figures,
    /// Figures beside the one that is compared, by name.
    beside: BTreeMap<&'static str, Figures>,
}

/// The beside figure that is compared, too.
const CPU: &str = "cpu_seconds_per_gb";

impl Table {
    /// One more figure, with others beside it.
    fn add(
        &mut self,
        case: &'static str,
        carrier: &str,
        unit: &'static str,
        value: f64,
        beside: &[(&'static str, f64)],
    ) {
        let cell = self.0.entry(case).or_default().entry(carrier.to_owned()).or_default();
        cell.unit = unit;
        cell.value.add(value);
        for (name, value) in beside {
            cell.beside.entry(*name).or_default().add(*value);
        }
    }

    /// A row for each figure, and one for each comparison of ours.
    fn tell(&self, report: &Report, common: &Value, limit: f64) -> anyhow::Result<()> {
        for (case, cells) in &self.0 {
            for (carrier, cell) in cells {
                let mut row = common.clone();
                row["case"] = json!(case);
                row["carrier"] = json!(carrier);
                row[cell.unit] = json!(rounded(cell.value.median()));
                row["least_to_most"] = json!([rounded(cell.value.least()), rounded(cell.value.most())]);
                for (name, figures) in &cell.beside {
                    row[*name] = json!(rounded(figures.median()));
                }
                if cell.unit == "gbit_s" && carrier != "none" {
                    row["share_of_limit"] = json!(rounded(cell.value.median() / limit));
                }
                report.row(&row)?;
            }
            let Some(ours) = cells.get(&name(Some(Carrier::Picket))) else { continue };
            for (carrier, theirs) in cells.iter().filter(|(carrier, _)| **carrier != name(Some(Carrier::Picket))) {
                let mut row = common.clone();
                row["case"] = json!(case);
                row["beside"] = json!(carrier);
                row["ours"] = json!(rounded(ours.value.median()));
                row["theirs"] = json!(rounded(theirs.value.median()));
                row["unit"] = json!(ours.unit);
                row["ratio"] = share(&ours.value, &theirs.value);
                row["inverse_ratio"] = share(&theirs.value, &ours.value);
                if let (Some(ours), Some(theirs)) = (ours.beside.get(CPU), theirs.beside.get(CPU)) {
                    row["cpu_ratio"] = share(ours, theirs);
                }
                report.row(&row)?;
            }
        }
        Ok(())
    }
}

/// One median as a multiple of another; nothing where that is too small to divide by.
fn share(part: &Figures, whole: &Figures) -> Value {
    if whole.median() > 0.0 { json!(rounded(part.median() / whole.median())) } else { Value::Null }
}

/// A program of others in a host's network, up to its end, with its standard output.
fn run_tool(host: &Host, name: &str, arguments: &[&str], within: Duration) -> Result<String, LabError> {
    host.run_with(name, arguments, &[], within)?.success()
}
