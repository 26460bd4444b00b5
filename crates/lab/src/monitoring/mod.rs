//! Our rules and dashboards on a real Prometheus that scrapes a mesh of real programs, and its Alertmanager, which tells a
//! receiver of ours. Each step prints one line; nothing is decided here.

mod site;
mod steps;
mod texts;

use crate::{clean_left_overs, stop};
use anyhow::{Context as _, Result};
use site::Site;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long a run that is told to stop may take to the end of its step.
const IN_ORDER: Duration = Duration::from_secs(5);

/// What it takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder with prometheus, promtool and prometheus-alertmanager
    #[arg(long, value_name = "DIR")]
    pub tools: PathBuf,
    /// The project's folder: monitoring/ and docs/ are looked at
    #[arg(long, value_name = "DIR")]
    pub project: PathBuf,
}

/// What a step saw, in words.
type Seen = Result<String>;

/// A step: what it shows, and what does it.
type Step = (&'static str, fn(&Site) -> Seen);

/// What is looked at, in this order.
const STEPS: [Step; 8] = [
    ("Prometheus reaches every program", steps::scraped),
    ("what programs tell is as promtool wants it, and as docs/metrics.md says", steps::all_documented),
    ("/ready follows the node's progress", steps::ready),
    ("every expression of every dashboard gives something", steps::dashboards),
    ("every alert is evaluated and none that wakes somebody fires on a mesh that is well", steps::quiet),
    ("each line of a log is JSON as docs/logs.md says", steps::logged),
    ("picket top in a terminal", steps::top),
    ("a controller that is killed is told of, and that it is back", steps::told),
];

/// Runs it; whether every step held.
///
/// # Errors
/// What keeps it from beginning at all. All namespaces and files are gone then, too.
pub fn run(args: &Args) -> Result<bool> {
    let stop = stop::on_signal(IN_ORDER)?;
    clean_left_overs()?;
    let started = Instant::now();
    let place = |path: &PathBuf| path.canonicalize().with_context(|| format!("look for {}", path.display()));
    let site = Site::new(&Args { tools: place(&args.tools)?, project: place(&args.project)? })?;
    println!("a mesh, Prometheus and Alertmanager are up after {:.1} s", started.elapsed().as_secs_f64());
    let mut held = 0;
    for (what, step) in STEPS {
        if stop.try_recv().is_ok() {
            println!("NOT RUN            {what}");
            continue;
        }
        let began = Instant::now();
        let seen = step(&site);
        let took = began.elapsed().as_secs_f64();
        match seen {
            Ok(seen) => {
                println!("ok       {took:6.1} s  {what}: {seen}");
                held += 1;
            }
            Err(error) => println!("FAILED   {took:6.1} s  {what}: {error:#}"),
        }
    }
    if held < STEPS.len() {
        site.print_logs();
    }
    println!("monitoring: {held} of {} steps held in {:.0} s", STEPS.len(), started.elapsed().as_secs_f64());
    Ok(held == STEPS.len())
}
