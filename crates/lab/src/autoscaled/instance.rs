//! One instance of the group: a Debian that boots on a host of the lab with its metadata service beside it, and runs the user data
//! that Terraform wrote, as cloud-init does at the first boot.

use super::cloud::Scene;
use crate::{
    Lab, LabError, Machine, Program,
    cloud::{FakeMetadata, Instance},
};
use picket_model::Timestamp;
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::SystemTime,
};

/// Where every cloud has its metadata service.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const SCRIPT: &str = "/var/lib/cloud/user-data";
/// What cloud-init does with a script.
const CLOUD_INIT: &str = "[Unit]\nWants=network-online.target\nAfter=network-online.target\n\
     [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh /var/lib/cloud/user-data\n";

/// An instance, on or off.
#[derive(Debug)]
pub(super) struct Sentry {
    pub(super) id: String,
    pub(super) machine: Machine,
}

impl Sentry {
    /// Launches it: its metadata service runs, and its disk has the image and the user data. It is off.
    pub(super) fn launch(
        lab: &Lab,
        scene: &Scene,
        image: &str,
        id: &str,
        number: u8,
        user_data: &str,
        controller: &str,
    ) -> Result<Self, LabError> {
        let (v4, v6) = (format!("203.0.113.{number}/24"), format!("2001:db8:1::{number}/64"));
        let host = lab.host(&format!("instance-{number}")).address(&v4).address(&v6).create()?;
        host.namespace.ip(&format!("address add {METADATA}/32 dev lo\n"))?;
        let now = Timestamp::from(SystemTime::now()).as_millis() / 1000 * 1000;
        let instance = Instance {
            account: scene.account.clone(),
            region: scene.region.clone(),
            image: image.to_owned(),
            id: id.to_owned(),
            launched_at: Timestamp::from_millis(now),
        };
        FakeMetadata::play(lab, &host, SocketAddr::from((METADATA, 80)), instance)?;
        let machine = Machine::image(&host, &scene.ports)?;
        machine.put(Program::SentryAgent)?;
        machine.write("etc/hosts", &format!("127.0.0.1 localhost\n{controller}\n"))?;
        // No mirror is reached; what the script installs is in the image.
        machine.write("etc/apt/sources.list", "")?;
        machine.write(SCRIPT.trim_start_matches('/'), user_data)?;
        machine.enable("systemd-networkd-wait-online.service", None, "network-online.target")?;
        machine.enable("user-data.service", Some(CLOUD_INIT), "multi-user.target")?;
        Ok(Self { id: id.to_owned(), machine })
    }
}
