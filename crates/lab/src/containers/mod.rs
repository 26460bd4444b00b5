//! Our images and compose files as an operator without packages uses them: controller, sentry and validator in containers, each on
//! a host of its own, and a stranger who knocks all the while. Each step prints one line; nothing is decided here.

mod engine;
mod life;
mod site;

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
    /// podman-compose
    #[arg(long, value_name = "FILE")]
    pub compose: PathBuf,
    /// Where podman keeps the images
    #[arg(long, value_name = "DIR")]
    pub images: PathBuf,
    /// packaging/containers, whose compose files are used
    #[arg(long, value_name = "DIR")]
    pub files: PathBuf,
    /// Only these steps, for whoever works on one; the others count as not run
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub only: Vec<String>,
}

impl Args {
    /// Its places as they are from any folder: programs are started in others.
    fn absolute(mut self) -> Result<Self> {
        for path in [&mut self.compose, &mut self.images, &mut self.files] {
            *path = path.canonicalize().with_context(|| format!("look for {}", path.display()))?;
        }
        Ok(self)
    }
}

/// One after the other. Each needs those before it.
const STEPS: [Step<Site>; 6] = [
    ("lean", "images have our program, nobody's shell, and no more rights than they need", life::lean),
    ("controller", "the controller comes up, and its health check says so", life::controller),
    ("mesh", "a sentry and a validator join by themselves", life::mesh),
    ("again", "made anew without their tokens, they are who they were", life::again),
    ("killed", "an agent that is killed leaves its rules in force", life::killed),
    ("down", "compose files taken down leave guarded ports closed", life::down),
];

/// Runs it; whether every step held.
///
/// # Errors
/// What keeps it from beginning at all. All namespaces, containers and files are gone then, too.
pub fn run(args: &Args) -> Result<bool> {
    let steps = Steps::of_run("containers")?;
    clean_left_overs()?;
    let mut site = Site::new(&args.clone().absolute()?)?;
    steps.is_up("three hosts are");
    Ok(steps.run(&mut site, &STEPS, &args.only, Afterwards::End, Site::print_logs))
}
