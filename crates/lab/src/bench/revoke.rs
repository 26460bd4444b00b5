//! How long a revoke takes: to the last packet with real agents, to the last receipt with many played ones.

use super::{Figures, Report, agents::Crowd, bare, millis, ratio};
use crate::mesh::{Mesh, MeshSize, SOON};
use picket_api::operator::RevokeReceipt;
use serde_json::json;
use std::time::{Duration, Instant};

/// A stream that is silent for this long is dead.
pub(super) const QUIET: Duration = Duration::from_millis(300);
/// Validators with real agents: the smallest that has a slowest.
const PREPS: u8 = 3;
/// Played agents, and how often they are measured for each of the runs asked for.
const CROWDS: [u16; 3] = [10, 100, 1_000];
/// A guarded port.
const PORT: u16 = 7100;

pub(super) fn run(report: &Report, runs: u8) -> anyhow::Result<()> {
    packets(report, runs)?;
    for hosts in CROWDS {
        receipts(report, hosts, runs)?;
    }
    Ok(())
}

/// From the start of the command to the last packet on the slowest host, with a stream to the sentry on each.
fn packets(report: &Report, runs: u8) -> anyhow::Result<()> {
    report.say("starts a mesh of real agents");
    let mesh = Mesh::started("bench", MeshSize { preps: PREPS, sentries: runs })?;
    let (_, bare) = bare::measure(&mesh.lab, runs)?;
    let (mut last, mut receipts) = (Figures::default(), Figures::default());
    for sentry in &mesh.sentries {
        let to = sentry.overlay_ports(PORT)?[0];
        let _echo = sentry.host.listen_echo(to)?;
        let streams = mesh.preps.iter().map(|prep| prep.host.stream(to)).collect::<Result<Vec<_>, _>>()?;
        let started = Instant::now();
        let receipt: RevokeReceipt = mesh.controller.json(&["revoke", sentry.name(), "--wait", "20s"])?;
        anyhow::ensure!(receipt.missing.is_empty(), "{} is not cut everywhere: {receipt:?}", sentry.name());
        let mut slowest = Duration::ZERO;
        for stream in streams {
            slowest = slowest.max(stream.wait_dead(QUIET, SOON)?.saturating_duration_since(started));
        }
        last.add(millis(slowest));
        let after = receipt.in_force.iter().map(|host| host.after_ms).max().unwrap_or_default();
        receipts.add(millis(Duration::from_millis(after)));
    }
    report.row(&json!({
        "case": "last packet", "hosts": PREPS, "agents": "real",
        "median_ms": super::figures::rounded(last.median()), "p99_ms": super::figures::rounded(last.p99()), "runs": runs,
        "from": "the start of the command line program",
        "receipt_ms": receipts.row(),
        "beside": { "what": "one peer taken from a plain WireGuard device by hand", "figures": bare.row() },
        "ratio": ratio(&last, &bare),
    }))
}

/// From the call to the last receipt, with hosts that say at once that all is in force.
fn receipts(report: &Report, hosts: u16, runs: u8) -> anyhow::Result<()> {
    report.say(&format!("enrols {hosts} played agents"));
    let mut mesh = Mesh::new("bench", MeshSize { preps: 0, sentries: 0 })?;
    // The lab's own range has room for 126 hosts; played ones have no tunnel, so any range will do.
    mesh.controller.configure(|text| text.replace("192.0.2.0/25", "10.86.0.0/16"))?;
    mesh.controller.start()?;
    mesh.controller.wait_for_list()?;
    let started = Instant::now();
    let crowd = Crowd::join(&mesh.controller, hosts)?;
    let joined = started.elapsed();
    let (mut first, mut last) = (Figures::default(), Figures::default());
    for run in 0..runs {
        let cut = crowd.revoke_one(&mesh.controller, run)?;
        first.add(millis(cut.first));
        last.add(millis(cut.last));
    }
    report.row(&json!({
        "case": "last receipt", "hosts": hosts, "agents": "played",
        "median_ms": super::figures::rounded(last.median()), "p99_ms": super::figures::rounded(last.p99()), "runs": runs,
        "from": "the operator's call",
        "all_joined_ms": super::figures::rounded(millis(joined)),
        "beside": { "what": "the first receipt of the same revoke", "figures": first.row() },
        "ratio": ratio(&last, &first),
    }))
}
