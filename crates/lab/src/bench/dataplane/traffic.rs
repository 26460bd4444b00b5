//! How much gets through, as iperf3 counts it at the receiving end, and what the engines take for it.

use super::{CPU, Table, place::Pair};
use anyhow::{Context as _, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};

/// An IPv4 packet of 64 bytes has so many after its headers.
const PAYLOAD: &str = "36";
/// What iperf3 takes beyond the time of the flow.
const AROUND: Duration = Duration::from_secs(20);
/// Time for its server to be done with the flow before.
const BUSY: Duration = Duration::from_secs(5);

/// TCP with one stream and with four, from the first host to the second and back.
pub(super) fn tcp(pair: &Pair, length: Duration, table: &mut Table) -> anyhow::Result<()> {
    for (case, streams, way) in
        [("tcp1", "1", ""), ("tcp1-back", "1", "-R"), ("tcp4", "4", ""), ("tcp4-back", "4", "-R")]
    {
        let (sum, cpu) = flow(pair, length, &["-C", &pair.congestion, "-P", streams, way])?;
        let gigabytes = number(&sum, "bytes")? / 1e9;
        let beside = [(CPU, cpu.as_secs_f64() / gigabytes)];
        let beside = if pair.ends.is_empty() { &[][..] } else { &beside };
        table.add(case, &pair.name, "gbit_s", number(&sum, "bits_per_second")? / 1e9, beside);
    }
    Ok(())
}

/// Small packets, as many as the sender makes.
pub(super) fn packets(pair: &Pair, length: Duration, table: &mut Table) -> anyhow::Result<()> {
    let (sum, cpu) = flow(pair, length, &["-u", "-b", "0", "-l", PAYLOAD])?;
    let (sent, lost) = (number(&sum, "packets")?, number(&sum, "lost_packets")?);
    let came = (sent - lost).max(0.0);
    let rate = came / number(&sum, "seconds")?;
    let beside = [
        ("offered_per_second", sent / number(&sum, "seconds")?),
        ("cpu_us_per_packet", cpu.as_secs_f64() * 1e6 / came),
    ];
    table.add("pps64", &pair.name, "packets_per_second", rate, &beside);
    Ok(())
}

/// One TCP stream from the first host to the second, bits a second.
pub(super) fn stream(pair: &Pair, length: Duration) -> anyhow::Result<f64> {
    number(&flow(pair, length, &["-C", &pair.congestion])?.0, "bits_per_second")
}

/// One flow: iperf3's sum of it at the receiver, and the engines' processor time.
fn flow(pair: &Pair, length: Duration, arguments: &[&str]) -> anyhow::Result<(Value, Duration)> {
    let (to, seconds) = (pair.to.to_string(), length.as_secs().to_string());
    let mut all = vec!["-c", &to, "-t", &seconds, "-J"];
    all.extend(arguments.iter().filter(|argument| !argument.is_empty()));
    let begun = Instant::now();
    loop {
        let before = pair.cpu()?;
        let answer = pair.hosts[0].run_with("iperf3", &all, &[], length + AROUND)?;
        let told: Value = serde_json::from_str(&answer.stdout)
            .with_context(|| format!("{}: read what {} printed: {}", pair.name, answer.command, answer.stderr))?;
        match told["error"].as_str() {
            None => {
                let is_udp = arguments.contains(&"-u");
                let sum = if is_udp { &told["end"]["sum"] } else { &told["end"]["sum_received"] };
                return Ok((sum.clone(), pair.cpu()? - before));
            }
            Some(error) if error.contains("busy") && begun.elapsed() < BUSY => {}
            Some(error) => anyhow::bail!("{}: {}: {error}", pair.name, answer.command),
        }
    }
}

/// One TCP stream that runs beside something else for so long; returns once it flows.
pub(super) fn beside(pair: &Pair, length: Duration) -> anyhow::Result<crate::Process> {
    let (to, seconds) = (pair.to.to_string(), length.as_secs().to_string());
    let begun = Instant::now();
    loop {
        let arguments = ["-c", &to, "-C", &pair.congestion, "-t", &seconds, "--forceflush"];
        let stream = pair.hosts[0].start("beside", "iperf3", &arguments, &[])?;
        let flows = crate::wait_until("the stream to flow", AROUND, || {
            let log = stream.log();
            log.contains("connected to").then_some(true).or_else(|| log.contains("busy").then_some(false)).ok_or(log)
        })?;
        if flows.value {
            return Ok(stream);
        }
        ensure!(begun.elapsed() < BUSY, "{}: iperf3's server stays busy", pair.name);
    }
}

fn number(sum: &Value, name: &str) -> anyhow::Result<f64> {
    sum[name].as_f64().with_context(|| format!("iperf3 told no {name}: {sum}"))
}
