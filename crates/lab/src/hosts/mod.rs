//! Machines that boot, an operator with our Ansible collection, and somebody who follows docs/install.md: from bare hosts to a
//! mesh and through its life, with a stranger who knocks all the while; and new machines that join by their user data. Each step prints one line; nothing is decided here.

mod ansible;
mod before;
mod clouds;
mod document;
mod instance;
mod life;
mod packages;
mod second;
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
    /// Folder with ansible-playbook and ansible-galaxy
    #[arg(long, value_name = "DIR")]
    pub ansible: PathBuf,
    /// The collection
    #[arg(long, value_name = "DIR")]
    pub collection: PathBuf,
    /// Folder with one Debian package of each program
    #[arg(long, value_name = "DIR")]
    pub packages: PathBuf,
    /// Folder with the same of the build before, from which hosts are upgraded
    #[arg(long, value_name = "DIR")]
    pub previous: Option<PathBuf>,
    /// docs/install.md, which is followed
    #[arg(long, value_name = "FILE")]
    pub document: PathBuf,
    /// Only these steps, for whoever works on one; the others count as not run
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub only: Vec<String>,
}

impl Args {
    /// Its places as they are from any folder: programs are started in others.
    fn absolute(mut self) -> Result<Self> {
        let places = [&mut self.ansible, &mut self.collection, &mut self.packages, &mut self.document];
        for path in places.into_iter().chain(&mut self.previous) {
            *path = path.canonicalize().with_context(|| format!("look for {}", path.display()))?;
        }
        Ok(self)
    }
}

/// One after the other. Each needs `site` before it, and leaves a mesh in force, but for `remove` and `molecule`; `drain` needs `hide`, too.
const STEPS: [Step<Site>; 17] = [
    ("exposed", "bare machines are exposed", life::exposed),
    ("site", "site.yml: from bare machines to a mesh", life::site),
    ("again", "site.yml again changes nothing", life::again),
    ("dry-run", "a dry run tells the truth about a changed file", life::dry_run),
    ("reboot", "each machine starts anew", life::reboots),
    ("ledger", "half a ledger keeps a machine closed", life::corrupt_ledger),
    ("upgrade", "upgrade.yml: newer packages, one machine after the other", life::upgrade),
    ("reinstall", "a package that was removed comes again", life::reinstall),
    ("hide", "hide.yml: from exposed to hidden, and back where a check fails", life::hide),
    ("drain", "upgrade.yml with two sentries: a hidden P-Rep leaves each before its turn", second::upgraded),
    ("remove", "remove.yml: nobody is a member any more", life::remove),
    ("molecule", "the collection's molecule scenario, from bare machines to bare ones", life::molecule),
    ("before", "from the packages of the build before to ours, one machine after the other", before::upgraded),
    ("install", "docs/install.md, word by word", document::followed),
    (
        "nocloud",
        "a new machine joins by its user data, with cloud-init, and a token that comes later",
        clouds::no_cloud,
    ),
    ("ec2", "a new virtual machine joins by its user data, with cloud-init, and the word of AWS", clouds::ec2),
    (
        "gce",
        "a validator's new virtual machine joins by its user data, with cloud-init, and the word of Google",
        clouds::gce,
    ),
];

/// Runs it; whether every step held.
///
/// # Errors
/// What keeps it from beginning at all. All namespaces and files are gone then, too.
pub fn run(args: &Args) -> Result<bool> {
    let steps = Steps::of_run("hosts")?;
    clean_left_overs()?;
    let mut site = Site::new(&args.clone().absolute()?)?;
    steps.is_up("three machines are");
    Ok(steps.run(&mut site, &STEPS, &args.only, Afterwards::End, Site::print_journals))
}
