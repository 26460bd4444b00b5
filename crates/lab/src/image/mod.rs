//! The image of a sentry, made by our Packer template in qemu of a Debian of the lab's, and what comes of it: what lies on the disk, and a
//! machine that starts with it while a stranger knocks. Each step prints one line; nothing is decided here.

mod boot;
mod build;
mod disk;
mod look;

use crate::{
    Host, Lab, clean_left_overs,
    command::said,
    steps::{Afterwards, Step, Steps},
};
use anyhow::{Context as _, Result};
use std::{fs, path::PathBuf, process::Command};

/// What it takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The template
    #[arg(long, value_name = "FILE")]
    pub template: PathBuf,
    /// The Debian package of the sentry's agent
    #[arg(long, value_name = "FILE")]
    pub package: PathBuf,
    /// Only these steps, for whoever works on one; the others count as not run
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub only: Vec<String>,
}

/// One after the other. Each needs those before it.
const STEPS: [Step<Site>; 3] = [
    ("build", "Packer makes the image in qemu", build::built),
    ("disk", "it has our package, and nothing that two hosts may not share", look::looked_at),
    ("boot", "a machine that starts with it is closed from its first packet", boot::booted),
];

/// Runs it; whether every step held.
///
/// # Errors
/// What keeps it from beginning at all. All namespaces and files are gone then, too.
pub fn run(args: &Args) -> Result<bool> {
    let steps = Steps::of_run("image")?;
    clean_left_overs()?;
    let mut site = Site::new(args)?;
    steps.is_up("hosts are");
    Ok(steps.run(&mut site, &STEPS, &args.only, Afterwards::End, |site| site.lab.print_logs()))
}

/// What all steps work on. All files, the image too, lie in the lab's folder and go with it: about 2 GB.
struct Site {
    template: PathBuf,
    package: PathBuf,
    /// Where the image is made. It reaches nobody.
    builder: Host,
    /// Whose place the machine takes that starts with it.
    sentry: Host,
    stranger: Host,
    lab: Lab,
}

impl Site {
    fn new(args: &Args) -> Result<Self> {
        let found = |path: &PathBuf| path.canonicalize().with_context(|| format!("look for {}", path.display()));
        let lab = Lab::new("image")?;
        let host = |name: &str, last: u8| {
            let addresses = [format!("203.0.113.{last}/24"), format!("2001:db8:1::{last}/64")];
            addresses.iter().fold(lab.host(name), |host, address| host.address(address)).create()
        };
        Ok(Self {
            template: found(&args.template)?,
            package: found(&args.package)?,
            builder: lab.host("builder").create()?,
            sentry: host("sentry", 11)?,
            stranger: host("stranger", 66)?,
            lab,
        })
    }

    /// The image, once it is made.
    fn image(&self) -> PathBuf {
        self.lab.folder().join(build::OUTPUT).join("picket-sentry.qcow2")
    }

    /// Writes a seed of cloud-init's for a machine: who it is, and whose key it lets in. Gives its folder; the key is beside it.
    fn seed(&self, name: &str, network: Option<&str>) -> Result<PathBuf> {
        let folder = self.lab.folder().join(format!("{name}-seed"));
        fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        let key = self.key(name);
        said(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&key))?;
        let public = key.with_extension("pub");
        let public = fs::read_to_string(&public).with_context(|| format!("read {}", public.display()))?;
        // A small Debian has no locales, of which cloud-init would complain.
        let user_data = format!("#cloud-config\nlocale: false\nssh_authorized_keys: [\"{}\"]\n", public.trim());
        let write = |file: &str, text: &str| {
            let path = folder.join(file);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        write("user-data", &user_data)?;
        write("meta-data", &format!("instance-id: {name}\nlocal-hostname: {name}\n"))?;
        network.map_or(Ok(()), |network| write("network-config", network))?;
        Ok(folder)
    }

    /// The private half of the key of a seed.
    fn key(&self, name: &str) -> PathBuf {
        self.lab.folder().join(format!("{name}-key"))
    }
}
