//! The demo: the main job end to end, with the real programs, a real validator list and real packets.
//! Reads like the story it tells; what it claims, it has seen.

mod attack;
mod hidden;
pub(crate) mod report;
mod scale;
mod several;
mod story;
mod trust;
mod witness;
mod writes;

use crate::{
    LabError, Machine, clean_left_overs,
    mesh::{Controller, Mesh, MeshSize, Several},
    stop,
};
use report::Report;
use std::{sync::mpsc, time::Duration};

/// How the demo runs.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// End by itself; exit status 0 only if every check held.
    #[arg(long)]
    once: bool,
    /// Print one JSON object per check, and nothing else, on standard output.
    #[arg(long)]
    json: bool,
    /// Show several controllers on one database, of which two are killed, and the database with them.
    #[arg(long)]
    ha: bool,
}

/// Two validators, three sentries: enough to lose one of each.
const SIZE: MeshSize = MeshSize { preps: 2, sentries: 3 };

/// How long a story that is told to stop may take to the end of its chapter; who runs it has ten seconds, as a rule.
const IN_ORDER: Duration = Duration::from_secs(5);
/// What there is to look at.
const VERBS: [&str; 5] = ["status", "nodes", "validators", "explain 198.51.100.13:7100", "events"];

/// What goes on running once the story is told.
enum Stage {
    One { _machine: Box<Machine>, mesh: Box<Mesh> },
    Several(Box<Several>),
}

impl Stage {
    fn mesh(&self) -> &Mesh {
        match self {
            Self::One { mesh, .. } => mesh,
            Self::Several(several) => &several.mesh,
        }
    }

    fn first(&mut self) -> &mut Controller {
        match self {
            Self::One { mesh, .. } => &mut mesh.controller,
            Self::Several(several) => &mut several.mesh.controller,
        }
    }

    fn controllers(&self) -> Vec<&Controller> {
        match self {
            Self::One { mesh, .. } => vec![&mesh.controller],
            Self::Several(several) => several.controllers().collect(),
        }
    }
}

/// Runs the demo; whether every check held.
///
/// # Errors
/// What keeps it from going on at all. All namespaces and files are gone then, too.
pub fn run(args: Args) -> anyhow::Result<bool> {
    let stop = stop::on_signal(IN_ORDER)?;
    let mut report = Report::new(args.json);
    report.say("makes hosts in network namespaces; nothing of this machine's own network is touched");
    clean_left_overs()?;
    let go_on = || stopped(&stop);
    let told = if args.ha { several::tell(&mut report, &go_on) } else { one(&mut report, &go_on) };
    match told {
        Err(LabError::Gone) => {
            // What was not shown did not hold.
            report.say("stopped; cleaning up");
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
        Ok(mut stage) => {
            report.table();
            if !args.once {
                look_around(&mut stage, &report)?;
                // Any signal, or the end of the thread that waits for one, ends the demo.
                let _ = stop.recv();
                report.say("cleaning up");
            }
        }
    }
    Ok(report.all_held())
}

/// The main job, with one controller.
fn one(report: &mut Report, go_on: &dyn Fn() -> Result<(), LabError>) -> Result<Stage, LabError> {
    let mut mesh = Mesh::new("demo", SIZE)?;
    let machine = story::tell(&mut mesh, report, go_on)?;
    Ok(Stage::One { _machine: Box::new(machine), mesh: Box::new(mesh) })
}

fn stopped(stop: &mpsc::Receiver<()>) -> Result<(), LabError> {
    match stop.try_recv() {
        Ok(()) => Err(LabError::Gone),
        Err(_) => Ok(()),
    }
}

fn look_around(stage: &mut Stage, report: &Report) -> Result<(), LabError> {
    let cli = crate::Program::Cli.path().map_or_else(|_| "picket".to_owned(), |path| path.display().to_string());
    report.say("it stays up; look around from another terminal (as root), end it with Ctrl-C:");
    let first = stage.first();
    report.line(&format!("  the status page: http://{}", first.page()?));
    report.line(&format!("  log in with what this prints: sed -n 's/^token = \"\\(.*\\)\"/\\1/p' {}", first.context()));
    let picket = |controller: &Controller| {
        format!("ip netns exec {} {cli} --context {}", controller.host.namespace(), controller.context())
    };
    for (number, controller) in stage.controllers().into_iter().enumerate() {
        let verbs: &[&str] = if number == 0 { &VERBS } else { &["nodes"] };
        for verb in verbs {
            report.line(&format!("  {} {verb}", picket(controller)));
        }
    }
    if let Some(prep) = stage.mesh().preps.first() {
        report.line(&format!("  ip netns exec {} nft list table inet picket", prep.host.namespace()));
        report.line(&format!("  tail -f {}", prep.host.path("agent.log")));
    }
    Ok(())
}
