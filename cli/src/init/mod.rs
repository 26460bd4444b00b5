//! `picket init`: from one set of answers to the files of a mesh: the controller's configuration, an inventory for Ansible, or
//! variables for Terraform. Answers come from flags, a file, or a person; `files` makes the texts of them and does no IO.

mod answers;
mod ask;
mod files;

pub(crate) use answers::Answers;

use anyhow::{Context as _, Result, bail, ensure};
use ipnet::IpNet;
use std::{
    fs,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

/// The answers, as they are kept beside what was made of them.
const ANSWERS: &str = "mesh.toml";

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Init {
    /// Folder for the files; it is made where there is none
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Answers of before, as `init` keeps them in mesh.toml; flags go before what it says
    #[arg(long, value_name = "FILE")]
    pub(crate) answers: Option<PathBuf>,
    /// The mesh's name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The controller's host, NAME=ADDRESS; the address is an IP address or a name by which all hosts reach it
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub(crate) controller: Option<answers::Host>,
    /// A sentry, NAME=ADDRESS; may be given several times
    #[arg(long = "sentry", value_name = "NAME=ADDRESS")]
    pub(crate) sentries: Vec<answers::Host>,
    /// A validator's host, NAME=ADDRESS; may be given several times
    #[arg(long = "prep", value_name = "NAME=ADDRESS")]
    pub(crate) preps: Vec<answers::Host>,
    /// One of your own networks, which are let in to every guarded port; may be given several times
    #[arg(long = "admin", value_name = "NETWORK")]
    pub(crate) admin: Vec<IpNet>,
    /// The user whom Ansible logs in as
    #[arg(long, value_name = "USER")]
    pub(crate) ssh_user: Option<String>,
    /// Hide the validators behind the sentries, step by step: their direct calls are not dropped yet
    #[arg(long)]
    pub(crate) hide: bool,
    /// Have Terraform make controller and sentries in this AWS region; validators are told where they are by --prep
    #[arg(long, value_name = "REGION", requires_all = ["aws_image", "aws_certificate"])]
    pub(crate) aws_region: Option<String>,
    /// An image of your own there, ami-…
    #[arg(long, value_name = "AMI")]
    pub(crate) aws_image: Option<String>,
    /// File with AWS's certificate called "RSA" for the region, from the EC2 user guide
    #[arg(long, value_name = "FILE")]
    pub(crate) aws_certificate: Option<PathBuf>,
    /// Put the files in the place of those of the same names
    #[arg(long)]
    pub(crate) force: bool,
}

impl Init {
    /// Whether anything says what the mesh shall be.
    fn says_something(&self) -> bool {
        let hosts = self.controller.is_some() || !self.sentries.is_empty() || !self.preps.is_empty();
        hosts || self.answers.is_some() || self.aws_region.is_some()
    }
}

/// Makes the files; what to do next.
///
/// # Errors
/// What is missing or wrong in the answers, or which file is in the way.
pub(crate) fn init(asked: &Init) -> Result<String> {
    let answers = if asked.says_something() {
        given(asked)?
    } else {
        ensure!(
            io::stdin().is_terminal(),
            "nothing says what the mesh shall be: give --controller NAME=ADDRESS, --sentry and --prep, or --answers FILE"
        );
        ask::ask(given(asked)?, &mut io::stdin().lock(), &mut io::stderr())?
    };
    answers.check()?;
    let certificate = match answers.aws.as_ref().map(|aws| &aws.certificate) {
        Some(path) => {
            Some(fs::read_to_string(path).with_context(|| format!("read AWS's certificate {}", path.display()))?)
        }
        None => None,
    };
    let files = files::files(&answers, certificate.as_deref())?;
    write(&asked.out, &files, asked.force)?;
    Ok(files::next_steps(&answers, &asked.out))
}

/// The answers of the file, if there is one, and of the flags.
fn given(asked: &Init) -> Result<Answers> {
    let mut answers = match &asked.answers {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| format!("read answers {}", path.display()))?;
            toml::from_str(&text).with_context(|| format!("read answers {}", path.display()))?
        }
        None => Answers::default(),
    };
    answers.take(asked);
    Ok(answers)
}

/// All or none: a file that is in the way is said before the first one is written.
fn write(folder: &Path, files: &[(&'static str, String)], force: bool) -> Result<()> {
    if !force {
        let is_changed = |(name, text): &&(&'static str, String)| match fs::read_to_string(folder.join(name)) {
            Ok(found) => found != *text,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        let changed: Vec<_> = files.iter().filter(is_changed).map(|(name, _)| *name).collect();
        if !changed.is_empty() {
            bail!(
                "{} in {} would be changed: name another folder, or say --force",
                changed.join(", "),
                folder.display()
            );
        }
    }
    fs::create_dir_all(folder).with_context(|| format!("make folder {}", folder.display()))?;
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Arguments, Command, Here};
    use clap::Parser as _;

    fn asked(line: &str) -> Result<Init> {
        let words = ["picket", "init"].into_iter().chain(line.split_whitespace());
        let Command::Here(Here::Init(asked)) = Arguments::try_parse_from(words)?.command else { panic!("{line}") };
        Ok(*asked)
    }

    const HOSTS: &str = "--name own --controller control-1=203.0.113.5 --sentry sentry-1=198.51.100.7 --sentry sentry-2=s2.example.org \
                         --prep prep-1=192.0.2.9 --admin 192.0.2.0/28 --admin 2001:db8::/48 --ssh-user debian --hide";

    /// The controller's own tests read the configuration (controller/src/config/tests.rs).
    #[test]
    fn hosts_of_ones_own_become_a_configuration_and_an_inventory() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("mesh");
        let line = format!("--out {} {HOSTS}", out.display());
        let next = init(&asked(&line).unwrap()).unwrap();
        let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
        assert_eq!(read("controller.toml"), include_str!("../../tests/init/controller.toml"));
        assert_eq!(read("inventory.yml"), include_str!("../../tests/init/inventory.yml"));
        assert_eq!(read("mesh.toml"), include_str!("../../tests/init/mesh.toml"));
        assert!(next.contains("ansible-playbook") && next.contains("picket advertise"), "{next}");

        // The same once more is no change, and by the kept answers alone it is the same.
        init(&asked(&line).unwrap()).unwrap();
        let again = folder.path().join("again");
        let line = format!("--out {} --answers {}", again.display(), out.join("mesh.toml").display());
        init(&asked(&line).unwrap()).unwrap();
        for name in ["controller.toml", "inventory.yml", "mesh.toml"] {
            assert_eq!(fs::read_to_string(again.join(name)).unwrap(), read(name), "{name}");
        }
    }

    #[test]
    fn nothing_is_written_over_without_being_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let line = format!("--out {} {HOSTS}", folder.path().display());
        fs::write(folder.path().join("inventory.yml"), "mine").unwrap();
        let error = init(&asked(&line).unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("inventory.yml in ") && error.contains("--force"), "{error}");
        assert!(!folder.path().join("controller.toml").exists());
        init(&asked(&format!("{line} --force")).unwrap()).unwrap();
        assert_ne!(fs::read_to_string(folder.path().join("inventory.yml")).unwrap(), "mine");
    }

    #[test]
    fn on_aws_terraform_gets_its_variables() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = folder.path().join("rsa.pem");
        fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n").unwrap();
        let out = folder.path().join("mesh");
        let line = format!(
            "--out {} --name own --prep prep-1=192.0.2.9 --admin 192.0.2.0/28 --aws-region eu-central-1 --aws-image ami-0123 \
             --aws-certificate {}",
            out.display(),
            certificate.display()
        );
        let next = init(&asked(&line).unwrap()).unwrap();
        let written = fs::read_to_string(out.join("terraform.tfvars")).unwrap();
        assert_eq!(written, include_str!("../../tests/init/terraform.tfvars"));
        assert!(next.contains("terraform apply") && !out.join("controller.toml").exists(), "{next}");
    }

    #[test]
    fn answers_that_make_no_mesh_are_refused_with_what_to_give() {
        let check = |line: &str, expect: &str| {
            let error = asked(&format!("--out /nonexistent/x {line}")).and_then(|asked| init(&asked)).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(expect), "{line}: {error}");
        };
        check("--sentry sentry-1=192.0.2.1", "--controller NAME=ADDRESS");
        check("--controller c=192.0.2.1 --admin 192.0.2.0/28", "--sentry");
        check("--controller c=192.0.2.1 --sentry c=192.0.2.2 --admin 192.0.2.0/28", "two hosts are called c");
        check("--controller c=192.0.2.1 --sentry s=192.0.2.2", "--admin");
        check("--controller c", "NAME=ADDRESS");
        check("--controller c=a_b!", "neither an IP address nor a name");
        check("--controller C=192.0.2.1", "node name");
        check("--answers /nonexistent/mesh.toml", "read answers /nonexistent/mesh.toml");
        check("--aws-region eu-central-1", "--aws-image");
    }
}
