//! What a mesh shall be: the answers, how they are written down, and whether they make a mesh.

use super::Init;
use anyhow::{Result, ensure};
use ipnet::IpNet;
use picket_model::{DnsName, NodeName};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, net::IpAddr, path::PathBuf, str::FromStr};

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Answers {
    /// The mesh's name; begins the names of what Terraform makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Your own networks.
    pub(crate) admin: BTreeSet<IpNet>,
    /// Whether validators are hidden.
    pub(crate) hide: bool,
    /// Whom Ansible logs in as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ssh_user: Option<String>,
    /// The controller's host; Terraform makes it on AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) controller: Option<Host>,
    /// Sentries; Terraform makes them on AWS.
    pub(crate) sentries: Vec<Host>,
    /// Validators' hosts.
    pub(crate) preps: Vec<Host>,
    /// AWS, where controller and sentries are made there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aws: Option<Aws>,
}

/// A host: its name in the mesh, and where it is reached. Written `NAME=ADDRESS`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Host {
    pub(crate) name: NodeName,
    /// An IP address or a name; nothing else passes.
    pub(crate) address: String,
}

/// Where on AWS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Aws {
    pub(crate) region: String,
    pub(crate) image: String,
    pub(crate) certificate: PathBuf,
}

impl Answers {
    /// What was typed goes before what is there.
    pub(super) fn take(&mut self, asked: &Init) {
        fn replace<T: Clone>(answer: &mut Option<T>, typed: Option<&T>) {
            if let Some(typed) = typed {
                *answer = Some(typed.clone());
            }
        }
        replace(&mut self.name, asked.name.as_ref());
        replace(&mut self.ssh_user, asked.ssh_user.as_ref());
        replace(&mut self.controller, asked.controller.as_ref());
        if !asked.sentries.is_empty() {
            self.sentries.clone_from(&asked.sentries);
        }
        if !asked.preps.is_empty() {
            self.preps.clone_from(&asked.preps);
        }
        if !asked.admin.is_empty() {
            self.admin = asked.admin.iter().copied().collect();
        }
        self.hide |= asked.hide;
        if let (Some(region), Some(image), Some(certificate)) =
            (&asked.aws_region, &asked.aws_image, &asked.aws_certificate)
        {
            self.aws = Some(Aws { region: region.clone(), image: image.clone(), certificate: certificate.clone() });
        }
    }

    /// All hosts that have a name.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.controller.iter().chain(&self.sentries).chain(&self.preps)
    }

    /// The mesh's name.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("picket")
    }

    /// Whether they make a mesh.
    ///
    /// # Errors
    /// What to give.
    pub(super) fn check(&self) -> Result<()> {
        let is_word = |text: &str| {
            (1..=32).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        ensure!(is_word(self.name()), "--name is 1 to 32 lower-case letters, digits and hyphens");
        if let Some(user) = &self.ssh_user {
            let fits = user.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) && !user.is_empty();
            ensure!(fits, "--ssh-user is a user's name: letters, digits, '-', '_' and '.'");
        }
        match &self.aws {
            None => {
                ensure!(self.controller.is_some(), "give the controller's host: --controller NAME=ADDRESS");
                ensure!(
                    !self.sentries.is_empty() || !self.preps.is_empty(),
                    "give at least one host: --sentry NAME=ADDRESS, --prep NAME=ADDRESS"
                );
            }
            Some(aws) => {
                ensure!(
                    self.controller.is_none() && self.sentries.is_empty(),
                    "on AWS Terraform makes controller and sentries: leave --controller and --sentry out"
                );
                ensure!(is_word(&aws.region), "--aws-region is a region's name, such as eu-central-1");
                ensure!(aws.image.starts_with("ami-") && is_word(&aws.image), "--aws-image is an image's id, ami-…");
            }
        }
        let mut names = BTreeSet::new();
        for host in self.hosts() {
            ensure!(names.insert(&host.name), "two hosts are called {}", host.name);
        }
        ensure!(
            !self.admin.is_empty(),
            "give one of your own networks, from which you always get in: --admin NETWORK, such as 203.0.113.0/28"
        );
        Ok(())
    }
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = text.split_once('=').ok_or("give it as NAME=ADDRESS")?;
        let name = name.parse().map_err(|error: picket_model::IdError| error.to_string())?;
        let is_address = address.parse::<IpAddr>().is_ok() || address.parse::<DnsName>().is_ok();
        if !is_address {
            return Err(format!("{address:?} is neither an IP address nor a name"));
        }
        Ok(Self { name, address: address.to_owned() })
    }
}

impl TryFrom<String> for Host {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.to_string()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.address)
    }
}
