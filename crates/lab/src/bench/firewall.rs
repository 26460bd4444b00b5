//! The firewall's table at 100 to 100,000 addresses: written whole, changed by one address, and back after a flush.
//! Beside each what the host's own nft, and ipset where there is one, take for the same in the same run.

use super::{
    Figures, Report,
    figures::{resident_kib, rounded},
    millis,
};
use crate::{Host, Lab, command};
use anyhow::{Context as _, bail, ensure};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};
use picket_firewall::{
    Features, Firewall, HostFacts, Nft, Ruleset, Set, lower,
    netlink::{Monitor, monitor::Heard},
    render::replacement,
};
use picket_model::FirewallPolicy;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

const SIZES: [u32; 4] = [100, 1_000, 10_000, 100_000];
/// One address more or less, so many times for each run.
const DELTAS: u8 = 10;
/// The set that changes.
const SET: &str = "p2p_hosts4";
const LISTEN: Duration = Duration::from_secs(10);

pub(super) fn run(report: &Report, runs: u8) -> anyhow::Result<()> {
    let lab = Lab::new("bench")?;
    let host = lab.host("wall").address("203.0.113.1/24").create()?;
    // It may be missing: its column is empty then, and the row says so.
    let has_ipset = host.inside(|| command::run("ipset", &["version"], ""))?.is_ok();
    let mut deltas = BTreeMap::new();
    for size in SIZES {
        report.say(&format!("{size} addresses"));
        let measured = measure(&host, size, runs, has_ipset)?;
        report.row(&measured.full.row("full", size, has_ipset))?;
        report.row(&measured.delta.row("delta", size, has_ipset))?;
        report.row(&json!({
            "case": "memory", "elements": size, "memory_kib": measured.memory,
            "of": "this process: the wanted table and what was read back, while it is made",
        }))?;
        report.row(&json!({
            "case": "flushed by another, back", "elements": size, "figures": measured.back.row(),
            "cpu_ms": fine(measured.back_cpu.median()), "from": "hearing of it to having read it back",
        }))?;
        deltas.insert(size, measured.delta);
    }
    let [Some(small), Some(large)] = [SIZES[0], SIZES[3]].map(|size| deltas.get(&size)) else {
        bail!("nothing was measured");
    };
    report.row(&json!({
        "case": "delta", "elements": "100000/100",
        "time_ratio": ratio(&large.ours, &small.ours),
        "time_ratio_without_comparing": ratio(&large.kernel, &small.kernel),
    }))
}

/// Times of the same thing done by us and by others.
#[derive(Default)]
struct Case {
    ours: Figures,
    /// Processor time of ours, of the kernel's part and of programs we start.
    cpu: Figures,
    /// Of ours, but for comparing what is wanted with what was seen.
    kernel: Figures,
    nft: Figures,
    ipset: Figures,
}

impl Case {
    fn row(&self, case: &str, elements: u32, has_ipset: bool) -> Value {
        let ipset = has_ipset
            .then(|| json!({ "median_ms": fine(self.ipset.median()), "ratio": ratio(&self.ours, &self.ipset) }));
        json!({
            "case": case, "elements": elements, "median_ms": fine(self.ours.median()), "p99_ms": fine(self.ours.p99()),
            "cpu_ms": fine(self.cpu.median()), "without_comparing_ms": self.kernel.measured().map(fine),
            "beside": {
                "nft": { "median_ms": fine(self.nft.median()), "ratio": ratio(&self.ours, &self.nft) },
                "ipset": ipset.unwrap_or_else(|| json!("not installed")),
            },
        })
    }
}

#[derive(Default)]
struct Measured {
    /// By how much this process grew with the first table of that size, in KiB; what smaller ones left free is used again.
    memory: u32,
    full: Case,
    delta: Case,
    back: Figures,
    /// Processor time of the same, what the kernel does for the other's flush not included.
    back_cpu: Figures,
}

fn measure(host: &Host, size: u32, runs: u8, has_ipset: bool) -> anyhow::Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    host.inside(|| {
        runtime.block_on(async {
            let mut measured = Measured::default();
            for _ in 0..runs {
                let before = resident_kib();
                full(&mut measured.full, size, has_ipset).await?;
                measured.memory = measured.memory.max(resident_kib().saturating_sub(before));
                delta(&mut measured.delta, size, has_ipset).await?;
                let (back, cpu) = back(size).await?;
                measured.back.add(back);
                measured.back_cpu.add(cpu);
            }
            Ok(measured)
        })
    })?
}

async fn full(case: &mut Case, size: u32, has_ipset: bool) -> anyhow::Result<()> {
    let wanted = ruleset(size);
    let mut firewall = Firewall::new(Nft::locate()?);
    firewall.remove().await?;
    let (started, cpu) = (Instant::now(), cpu_time()?);
    firewall.reconcile(&wanted).await?;
    case.ours.add(millis(started.elapsed()));
    case.cpu.add(cpu_time()? - cpu);
    let text = replacement(&wanted, &BTreeMap::new());
    case.nft.add(timed(|| program("nft", &["-f", "-"], &text))?);
    if has_ipset {
        // Built aside and swapped in, as one does who wants no gap.
        let mut lines =
            String::from("create -exist beside hash:ip maxelem 200000\ncreate aside hash:ip maxelem 200000\n");
        addresses(size).for_each(|address| lines += &format!("add aside {address}\n"));
        lines += "swap aside beside\ndestroy aside\n";
        case.ipset.add(timed(|| program("ipset", &["restore"], &lines))?);
    }
    Ok(())
}

async fn delta(case: &mut Case, size: u32, has_ipset: bool) -> anyhow::Result<()> {
    let with = [ruleset(size + 1), ruleset(size)];
    let mut firewall = Firewall::new(Nft::locate()?);
    firewall.reconcile(&with[1]).await?;
    let last = Ipv4Addr::from(FIRST + size).to_string();
    for _ in 0..DELTAS {
        for (wanted, verb) in with.iter().zip(["add", "delete"]) {
            let (started, cpu) = (Instant::now(), cpu_time()?);
            let applied = firewall.reconcile(wanted).await?;
            let took = millis(started.elapsed());
            case.ours.add(took);
            case.cpu.add(cpu_time()? - cpu);
            ensure!(applied.changes.len() == 1, "one change was to be made, and {:?} were", applied.changes);
            // What comparing alone takes.
            let comparing = timed(|| Ok(firewall.left(wanted)))?;
            case.kernel.add((took - comparing).max(0.0));
            let verb_ipset = if verb == "add" { "add" } else { "del" };
            let element = format!("{{ {last} }}");
            // The other way first, so that the same is done to the same table.
            let undo = if verb == "add" { "delete" } else { "add" };
            program("nft", &[undo, "element", "inet", "picket", SET, &element], "")?;
            case.nft.add(timed(|| program("nft", &[verb, "element", "inet", "picket", SET, &element], ""))?);
            // Both commits were somebody else's: looked at again, outside of what is timed.
            firewall.reconcile(wanted).await?;
            if has_ipset {
                case.ipset.add(timed(|| program("ipset", &[verb_ipset, "beside", &last], ""))?);
            }
        }
    }
    Ok(())
}

/// From hearing of a flush to having read the table back.
async fn back(size: u32) -> anyhow::Result<(f64, f64)> {
    let wanted = ruleset(size);
    let mut firewall = Firewall::new(Nft::locate()?);
    firewall.reconcile(&wanted).await?;
    let mut monitor = Monitor::open()?;
    program("nft", &["flush", "ruleset"], "")?;
    let heard = async {
        loop {
            match monitor.next().await? {
                Heard::Commit(commit) if !commit.is_reason_to_look(firewall.compared()) => {}
                Heard::Commit(_) | Heard::Unknown => return anyhow::Ok(Instant::now()),
            }
        }
    };
    let heard = tokio::time::timeout(LISTEN, heard).await.context("nothing was heard of the flush")??;
    let cpu = cpu_time()?;
    // As the agent does.
    monitor.pause()?;
    firewall.reconcile(&wanted).await?;
    monitor.resume()?;
    ensure!(firewall.is_current(), "somebody wrote between");
    Ok((millis(heard.elapsed()), cpu_time()? - cpu))
}

/// First of the addresses: 198.18.0.0/15 is for benches (RFC 2544).
const FIRST: u32 = 0xc612_0000;

fn addresses(size: u32) -> impl Iterator<Item = Ipv4Addr> {
    (FIRST..FIRST + size).map(Ipv4Addr::from)
}

/// A table as hosts have it, with so many addresses.
fn ruleset(size: u32) -> Ruleset {
    let interface = "picket0".parse();
    let facts = interface.map(|overlay_interface| HostFacts { overlay_interface, features: Features::default() });
    let mut ruleset = facts.map(|facts| lower(&FirewallPolicy::default(), &facts)).unwrap_or_default();
    ruleset.sets.insert(SET.to_owned(), Set::Hosts4(addresses(size).collect()));
    ruleset
}

/// Runs a program of the host's.
fn program(name: &str, arguments: &[&str], input: &str) -> anyhow::Result<()> {
    command::run(name, arguments, input)?.success()?;
    Ok(())
}

/// Processor time of this process and of the programs it has run so far, in milliseconds.
fn cpu_time() -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        for time in [usage.user_time(), usage.system_time()] {
            sum += millis(Duration::from_micros(time.num_microseconds().try_into()?));
        }
    }
    Ok(sum)
}

fn timed<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<f64> {
    let started = Instant::now();
    std::hint::black_box(work()?);
    Ok(millis(started.elapsed()))
}

/// Three digits after the point: an address takes some microseconds.
fn fine(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn ratio(ours: &Figures, theirs: &Figures) -> Value {
    json!(rounded(ours.median() / theirs.median().max(0.001)))
}
