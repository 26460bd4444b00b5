//! A cloud around a mesh: it vouches for instances that autoscaling brings up, and no secret is given to any of them.

use super::{Agent, Controller};
use crate::{
    Host, Lab, LabError,
    cloud::{FakeMetadata, Instance, aws_certificate},
};
use picket_model::{NodeRole, Timestamp};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::SystemTime,
};

const ACCOUNT: &str = "123456789012";
const REGION: &str = "eu-central-1";
/// Its metadata server, where a real one is at 169.254.169.254.
const METADATA: &str = "http://127.0.0.1";
const IMAGE: &str = "ami-0123456789abcdef0";

/// A cloud whose documents admit sentries called `auto-*`.
#[derive(Clone, Copy, Debug)]
pub struct Cloud;

/// One instance, its metadata server beside it.
#[derive(Debug)]
pub struct CloudInstance {
    /// The sentry on it; it is to leave the mesh when it is stopped.
    pub sentry: Agent,
    /// What the cloud calls it.
    pub id: String,
}

impl Cloud {
    /// Makes the controller believe it, from its next start on.
    ///
    /// # Errors
    /// [`LabError::Io`] if a file cannot be written.
    pub fn around(controller: &Controller) -> Result<Self, LabError> {
        let rules = Self::rules(&controller.host)?;
        controller.configure(|text| format!("{text}\n{rules}"))?;
        Ok(Self)
    }

    /// Lines by which a host believes it: the controller's configuration, or a guard's file.
    ///
    /// # Errors
    /// [`LabError::Io`] if the certificate cannot be written on the host.
    pub fn rules(host: &Host) -> Result<String, LabError> {
        let certificate = host.write("aws.pem", &aws_certificate(0, 2020, 2120))?;
        Ok(format!(
            "[attest]\naws_certificates = {{ {REGION} = \"{certificate}\" }}\n\n[[enroll]]\nname = \"edge\"\n\
             proof = \"aws-document\"\naccount = \"{ACCOUNT}\"\nregions = [\"{REGION}\"]\nimages = [\"{IMAGE}\"]\n\
             role = \"sentry\"\nnames = \"auto-*\"\nmax_nodes = 20\n"
        ))
    }

    /// Launches an instance, `auto-NUMBER`; nothing runs on it yet. Numbers are 1 to 20.
    ///
    /// # Errors
    /// What the lab says.
    pub fn launch(self, lab: &Lab, number: u8) -> Result<CloudInstance, LabError> {
        self.launch_as(lab, number, &format!("i-{number:017x}"))
    }

    /// The same under an id of another instance: one that was set up anew, or a thief with a copied document.
    ///
    /// # Errors
    /// As [`Cloud::launch`].
    pub fn launch_as(self, lab: &Lab, number: u8, id: &str) -> Result<CloudInstance, LabError> {
        let host = super::host(lab, &format!("auto-{number}"), 100 + number)?;
        let now = Timestamp::from(SystemTime::now()).as_millis() / 1000 * 1000;
        let instance = Instance {
            account: ACCOUNT.to_owned(),
            region: REGION.to_owned(),
            image: IMAGE.to_owned(),
            id: id.to_owned(),
            launched_at: Timestamp::from_millis(now),
        };
        FakeMetadata::play(lab, &host, SocketAddr::from((Ipv4Addr::LOCALHOST, 80)), instance)?;
        let mut sentry = Agent::new(host, NodeRole::Sentry);
        sentry.leaves_on_stop = true;
        Ok(CloudInstance { sentry, id: id.to_owned() })
    }
}

impl CloudInstance {
    /// The identity that its document proves.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("aws/{ACCOUNT}/{}", self.id)
    }

    /// What user data does: enrols by the instance's document and starts the agent.
    ///
    /// # Errors
    /// What the programs say.
    pub fn join(&mut self, controller: &Controller) -> Result<(), LabError> {
        self.sentry.enroll_by_proof(controller, METADATA)?;
        self.sentry.start()?;
        self.sentry.learn_overlay(controller)
    }
}
