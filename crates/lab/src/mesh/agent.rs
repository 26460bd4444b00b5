//! An agent on its host.

use super::{Controller, without_meters};
use crate::{Host, LabError, Output, Process, Program};
use picket_model::{NodeRole, OverlayAddresses};
use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// A host with an agent of ours, whether the agent runs or not.
#[derive(Debug)]
pub struct Agent {
    /// Its host.
    pub host: Host,
    /// Its part in the mesh.
    pub role: NodeRole,
    /// Where it asks its goloop, from its next start on.
    pub goloop: Option<String>,
    /// Its guard's file, from its next start on.
    pub guard: Option<String>,
    /// Further controllers that it is told of when it enrols.
    pub further: Vec<String>,
    /// Where its tunnels are reached, for when it enrols with a token; port 51820 of the host itself where this is `None`.
    pub endpoint: Option<SocketAddr>,
    /// Whether it leaves the mesh when it is stopped, from its next start on.
    pub leaves_on_stop: bool,
    /// Further settings from its environment, from its next start on.
    pub settings: Vec<(&'static str, String)>,
    state: String,
    process: Option<Process>,
    overlay: Option<OverlayAddresses>,
}

impl Agent {
    pub(super) fn new(host: Host, role: NodeRole) -> Self {
        let state = host.path("state");
        Self {
            host,
            role,
            goloop: None,
            guard: None,
            further: Vec::new(),
            endpoint: None,
            leaves_on_stop: false,
            settings: Vec::new(),
            state,
            process: None,
            overlay: None,
        }
    }

    /// The name it enrols under: its host's.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// Gets a token, enrols; from the call to the certificate.
    ///
    /// # Errors
    /// What the programs say.
    pub fn enroll(&mut self, controller: &Controller) -> Result<Duration, LabError> {
        let token = controller.token(self.role)?;
        let started = Instant::now();
        self.try_enroll(controller.url(), &token)?.success()?;
        let took = started.elapsed();
        self.learn_overlay(controller)?;
        Ok(took)
    }

    /// Asks the controller which addresses the host has inside the mesh.
    ///
    /// # Errors
    /// What the command line says.
    pub fn learn_overlay(&mut self, controller: &Controller) -> Result<(), LabError> {
        let nodes = controller.nodes()?;
        let me = nodes.into_iter().find(|view| view.node.name.as_str() == self.name() && view.node.is_active());
        self.overlay = me.map(|view| view.node.overlay);
        Ok(())
    }

    /// Tries to enrol with a token; the program's refusal is in the output.
    ///
    /// # Errors
    /// [`LabError`] if it cannot be started.
    pub fn try_enroll(&self, url: &str, token: &str) -> Result<Output, LabError> {
        let mut args = vec!["enroll", "--controller", url, "--name", self.name(), "--state-dir", &self.state];
        let further = self.further.iter().filter(|other| *other != url);
        args.extend(further.flat_map(|other| ["--controller", other]));
        let endpoint = self.endpoint.map_or_else(|| self.host.v4(51820), Ok)?.to_string();
        if self.role == NodeRole::Sentry {
            args.extend(["--endpoint", endpoint.as_str()]);
        }
        self.host.run_with(self.program().path()?, &args, &[("PICKET_JOIN_TOKEN", token)], super::SOON)
    }

    /// Enrols by what the metadata server there says of this host.
    ///
    /// # Errors
    /// What the programs say.
    pub fn enroll_by_proof(&self, controller: &Controller, metadata: &str) -> Result<(), LabError> {
        let ca = controller.fingerprint()?;
        let endpoint = self.host.v4(51820)?.to_string();
        let whence =
            ["--controller", controller.url(), "--ca-fingerprint", &ca, "--proof", "aws", "--metadata", metadata];
        let whom = ["--name", self.name(), "--endpoint", &endpoint, "--state-dir", &self.state];
        let args = [&["enroll"][..], &whence, &whom].concat();
        self.host.run_with(self.program().path()?, &args, &[], super::SOON)?.success().map(drop)
    }

    /// Starts the agent.
    ///
    /// # Errors
    /// [`LabError`] if it cannot be started.
    pub fn start(&mut self) -> Result<(), LabError> {
        let args = ["run", "--state-dir", &self.state];
        let settings = [
            self.goloop.as_deref().map(|place| ("PICKET_GOLOOP", place)),
            self.guard.as_deref().map(|file| ("PICKET_GUARD", file)),
            self.leaves_on_stop.then_some(("PICKET_LEAVE_ON_STOP", "true")),
        ];
        let further = self.settings.iter().map(|(name, value)| (*name, value.as_str()));
        let settings: Vec<_> = settings.into_iter().flatten().chain(further).collect();
        self.process = Some(self.host.start("agent", self.program().path()?, &args, &settings)?);
        Ok(())
    }

    /// Runs one of the agent's other commands.
    ///
    /// # Errors
    /// [`LabError`] if it cannot be started; its own refusal is in the output.
    pub fn command(&self, args: &[&str]) -> Result<Output, LabError> {
        self.host.run(self.program().path()?, &[args, &["--state-dir", &self.state]].concat())
    }

    /// Kills the agent without a chance to say good-bye.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Asks the agent to end, and waits until it has.
    ///
    /// # Errors
    /// [`LabError::Gone`] where it does not run, or what it ended with.
    pub fn stop(&mut self) -> Result<(), LabError> {
        let status = self.process.take().ok_or(LabError::Gone)?.stop()?;
        let found = format!("{} ended with {status}", self.name());
        if status.success() { Ok(()) } else { Err(LabError::Unexpected { found }) }
    }

    /// Its process, while it runs or after it ended by itself.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Whether the agent runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_running)
    }

    /// The program for its part.
    #[must_use]
    pub fn program(&self) -> Program {
        match self.role {
            NodeRole::Sentry => Program::SentryAgent,
            NodeRole::Prep => Program::PrepAgent,
        }
    }

    /// Its folder of keys, identity and ledger.
    #[must_use]
    pub fn state_folder(&self) -> &str {
        &self.state
    }

    /// Its addresses inside the mesh.
    ///
    /// # Errors
    /// [`LabError::NotEnrolled`] before it has enrolled.
    pub fn overlay(&self) -> Result<OverlayAddresses, LabError> {
        self.overlay.ok_or_else(|| LabError::NotEnrolled { host: self.name().to_owned() })
    }

    /// A port at both of its overlay addresses, IPv4 first.
    ///
    /// # Errors
    /// As [`Agent::overlay`].
    pub fn overlay_ports(&self, port: u16) -> Result<[SocketAddr; 2], LabError> {
        let overlay = self.overlay()?;
        Ok([IpAddr::from(overlay.v4), IpAddr::from(overlay.v6)].map(|address| SocketAddr::new(address, port)))
    }

    /// The ruleset of Picket's table as the kernel has it, without counters, which move.
    ///
    /// # Errors
    /// What nft says.
    pub fn rules_in_kernel(&self) -> Result<String, LabError> {
        let listing = self.host.run("nft", &["-s", "list", "table", "inet", "picket"])?.success()?;
        Ok(without_meters(&listing))
    }
}
