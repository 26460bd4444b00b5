//! Our rules and dashboards on a real Prometheus that scrapes a mesh of real programs, and its Alertmanager, which tells a
//! receiver of ours. Each step prints one line; nothing is decided here.

mod site;
mod steps;
mod texts;

use crate::{
    clean_left_overs,
    steps::{Afterwards, Step, Steps},
};
use anyhow::{Context as _, Result};
use site::Site;
use std::path::PathBuf;

/// What it takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder with prometheus, promtool and prometheus-alertmanager
    #[arg(long, value_name = "DIR")]
    pub tools: PathBuf,
    /// The project's folder: monitoring/ and docs/ are looked at
    #[arg(long, value_name = "DIR")]
    pub project: PathBuf,
    /// Only these steps, for whoever works on one; the others count as not run
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub only: Vec<String>,
}

/// What is looked at, in this order.
const STEPS: [Step<Site>; 8] = [
    ("scraped", "Prometheus reaches every program", steps::scraped),
    ("metrics", "what programs tell is as promtool wants it, and as docs/metrics.md says", steps::all_documented),
    ("ready", "/ready follows the node's progress", steps::ready),
    ("dashboards", "every expression of every dashboard gives something", steps::dashboards),
    ("quiet", "every alert is evaluated and none that wakes somebody fires on a mesh that is well", steps::quiet),
    ("logs", "each line of a log is JSON as docs/logs.md says", steps::logged),
    ("top", "picket top in a terminal", steps::top),
    ("told", "a controller that is killed is told of, and that it is back", steps::told),
];

/// Runs it; whether every step held.
///
/// # Errors
/// What keeps it from beginning at all. All namespaces and files are gone then, too.
pub fn run(args: &Args) -> Result<bool> {
    let steps = Steps::of_run("monitoring")?;
    clean_left_overs()?;
    let place = |path: &PathBuf| path.canonicalize().with_context(|| format!("look for {}", path.display()));
    let (tools, project) = (place(&args.tools)?, place(&args.project)?);
    let mut site = Site::new(&Args { tools, project, only: Vec::new() })?;
    steps.is_up("a mesh, Prometheus and Alertmanager are");
    Ok(steps.run(&mut site, &STEPS, &args.only, Afterwards::GoOn, Site::print_logs))
}
