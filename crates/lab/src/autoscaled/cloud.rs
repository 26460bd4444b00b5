//! What Terraform made in the cloud, read back, and the group's size: through boto3, which nobody here wrote. Decides nothing.

use crate::{LabError, command};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The cloud, asked by `terraform/tests/cloud.py`.
#[derive(Debug)]
pub(super) struct Cloud {
    python: PathBuf,
    script: PathBuf,
}

/// What there is, as it was read back.
#[derive(Debug, Deserialize)]
pub(super) struct Scene {
    pub(super) account: String,
    pub(super) region: String,
    /// The sentries' machine image.
    pub(super) image: String,
    /// The autoscaling group's name.
    pub(super) group: String,
    pub(super) launching: HookMade,
    pub(super) terminating: HookMade,
    /// What instances run at their first boot.
    pub(super) user_data: String,
    /// The controller's configuration.
    pub(super) configuration: String,
    /// What EventBridge shows the controller.
    pub(super) hook_secret: String,
    /// By which the controller finds what the group scales by.
    pub(super) pools_script: String,
    pub(super) health: Health,
    /// What the balancer passes on.
    pub(super) ports: Vec<u16>,
}

/// A lifecycle hook as the cloud keeps it.
#[derive(Debug, Deserialize)]
pub(super) struct HookMade {
    pub(super) name: String,
    pub(super) timeout_seconds: u64,
    pub(super) default_result: String,
}

/// How the balancer finds out who is well.
#[derive(Debug, Deserialize)]
pub(super) struct Health {
    pub(super) port: u16,
    pub(super) path: String,
    /// The status that says so.
    pub(super) matcher: String,
    /// How many answers in a row.
    pub(super) healthy: usize,
    /// How many in a row say that it is not.
    pub(super) unhealthy: usize,
}

impl Cloud {
    pub(super) fn new(python: &Path, script: &Path) -> Self {
        Self { python: python.to_owned(), script: script.to_owned() }
    }

    pub(super) fn scene(&self) -> Result<Scene, LabError> {
        self.ask(&["scene"], "")
    }

    /// Ids of the group's instances.
    pub(super) fn instances(&self) -> Result<Vec<String>, LabError> {
        self.ask(&["instances"], "")
    }

    /// Wants so many instances of the group; those that it then has.
    pub(super) fn scale(&self, to: u8) -> Result<Vec<String>, LabError> {
        self.ask(&["scale", &to.to_string()], "")
    }

    /// Has the group put another instance in this one's place; those that it then has.
    pub(super) fn replace(&self, id: &str) -> Result<Vec<String>, LabError> {
        self.ask(&["replace", id], "")
    }

    /// How often the rule that Terraform made passes an event on.
    pub(super) fn passed_on(&self, event: &Value) -> Result<u8, LabError> {
        self.ask(&["passed-on"], &event.to_string())
    }

    fn ask<T: DeserializeOwned>(&self, arguments: &[&str], stdin: &str) -> Result<T, LabError> {
        let script = self.script.to_string_lossy();
        let arguments = [&[script.as_ref()], arguments].concat();
        let output = command::run(&self.python.to_string_lossy(), &arguments, stdin)?.success()?;
        serde_json::from_str(&output).map_err(|error| LabError::Unexpected {
            found: format!("{} prints no JSON: {error}", self.script.display()),
        })
    }
}
