//! `wg bench`: the WireGuard engines that this host has, measured between two networks of its own that end with it. What is
//! told; where it is measured is in `ground`, and what flows in `flow`. Nothing of the host itself is touched.

mod flow;
mod ground;

use anyhow::{Context as _, Result, ensure};
use flow::{Echoes, Flow};
use ground::Ground;
use picket_progress::Progress;
use picket_wireguard::{Engine, Preference};
use serde::Serialize;
use std::{fmt, time::Duration};

/// What one engine gave.
#[derive(Debug, Serialize)]
struct Measured {
    engine: String,
    /// One TCP stream, in gigabits a second.
    gbit_s: f64,
    /// Processor seconds of the whole host for a gigabyte, both ends together.
    cpu_seconds_per_gb: f64,
    /// Round trips of 64 bytes through the idle tunnel.
    idle: Echoes,
    /// The same beside the stream.
    loaded: Echoes,
}

/// An engine that could not be measured.
#[derive(Debug, Serialize)]
struct Absent {
    engine: String,
    not_measured: String,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:.2} Gbit/s, {:.2} CPU seconds per GB, round trip idle {}, beside the stream {}",
            self.engine, self.gbit_s, self.cpu_seconds_per_gb, self.idle, self.loaded
        )
    }
}

/// Measures each engine for about three times `length` and prints a line for each. An error if none could be.
pub fn run(length: Duration, json: bool) -> Result<()> {
    let mut measured = 0;
    for (preference, engine) in [(Preference::Kernel, Engine::Kernel), (Preference::Userspace, Engine::Userspace)] {
        eprintln!("measuring {engine}");
        match measure(preference, engine, length) {
            Ok(found) => {
                measured += 1;
                tell(&found, &found.to_string(), json)?;
            }
            Err(error) => {
                let text = format!("{engine}: not measured: {error:#}");
                tell(&Absent { engine: engine.to_string(), not_measured: format!("{error:#}") }, &text, json)?;
            }
        }
    }
    ensure!(measured > 0, "no WireGuard engine of this host could be measured; the reasons are above");
    Ok(())
}

fn tell(row: &impl Serialize, text: &str, json: bool) -> Result<()> {
    let line = if json { serde_json::to_string(row).context("write a row")? } else { text.to_owned() };
    println!("{line}");
    Ok(())
}

fn measure(preference: Preference, engine: Engine, length: Duration) -> Result<Measured> {
    let progress = Progress::begin(format!("three measurements of {engine}, {} s each", length.as_secs()));
    let ground = Ground::new(preference)?;
    let idle = flow::echoes(&ground, length)?;
    progress.done(1, 3);
    let flow = Flow::start(&ground)?;
    let stream = flow.run(length)?;
    progress.done(2, 3);
    let loaded = flow::echoes(&ground, length)?;
    flow.finish()?;
    Ok(Measured {
        engine: engine.to_string(),
        gbit_s: stream.bits_per_second / 1e9,
        cpu_seconds_per_gb: stream.cpu_seconds_per_gb,
        idle,
        loaded,
    })
}
