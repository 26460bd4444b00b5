//! The controller on its host, and the operator's command line beside it.

use super::SOON;
use crate::{Host, LabError, Output, Process, Program, Relay, Waited, wait_until};
use picket_api::{
    operator::{EventView, NodeView, StatusView},
    validators::ValidatorsView,
};
use picket_model::NodeRole;
use serde::de::DeserializeOwned;
use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
};

/// Policy and listeners of a lab's controller. Polls each second, so that a change is seen soon.
const CONFIG: &str = r#"
[listen]
agents = "[::]:7443"
operators = "127.0.0.1:7444"
health = "127.0.0.1:7445"

[page]
listen = "127.0.0.1:7448"

[page.public]
listen = "127.0.0.1:7449"
title = "Demonstration mesh"
show = ["state", "hosts", "tunnels", "validators", "changes"]

[chain]
nid = 1
poll_seconds = 1
sources = SOURCES

[overlay]
v4 = "192.0.2.0/25"

[policy]
admin = ["198.51.100.248/29", "2001:db8:ad::/48"]
special_ranges = ["198.51.100.0/24", "192.0.2.0/24"]
"#;

/// Where agents call it.
const AGENTS_PORT: u16 = 7443;
/// Where it tells of its health.
const HEALTH: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 7445);

/// Where it shows the status page, and what everybody may see.
const PAGES: [(Ipv4Addr, u16); 2] = [(Ipv4Addr::LOCALHOST, 7448), (Ipv4Addr::LOCALHOST, 7449)];

/// A controller, whether it runs or not.
#[derive(Debug)]
pub struct Controller {
    /// Its host.
    pub host: Host,
    url: String,
    config: String,
    state: String,
    process: Option<Process>,
    relays: [Option<Relay>; 2],
    /// Settings from its environment, from its next start on.
    pub settings: Vec<(&'static str, String)>,
}

impl Controller {
    pub(crate) fn new(host: Host, sources: &[String]) -> Result<Self, LabError> {
        let config = host.write("controller.toml", &CONFIG.replace("SOURCES", &format!("{sources:?}")))?;
        let state = host.path("state");
        let url = format!("https://{}", host.v4(AGENTS_PORT)?);
        Ok(Self { host, url, config, state, process: None, relays: [None, None], settings: Vec::new() })
    }

    /// Where agents find it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file by which the command line finds and trusts it.
    #[must_use]
    pub fn context(&self) -> String {
        format!("{}/operator.toml", self.state)
    }

    /// The fingerprint of its CA, by which hosts without a token know it.
    ///
    /// # Errors
    /// What the program says.
    pub fn fingerprint(&self) -> Result<String, LabError> {
        let args = ["fingerprint", "--state-dir", &self.state];
        Ok(self.host.run(Program::Controller.path()?, &args)?.success()?.trim().to_owned())
    }

    /// Where a browser on this machine finds the status page, as long as the controller is there.
    ///
    /// # Errors
    /// [`LabError::Io`] if no port can be had.
    pub fn page(&mut self) -> Result<SocketAddr, LabError> {
        self.relayed(0)
    }

    /// The same of what everybody may see.
    ///
    /// # Errors
    /// [`LabError::Io`] if no port can be had.
    pub fn public_page(&mut self) -> Result<SocketAddr, LabError> {
        self.relayed(1)
    }

    fn relayed(&mut self, which: usize) -> Result<SocketAddr, LabError> {
        let Some((relay, to)) = self.relays.get_mut(which).zip(PAGES.get(which)) else { return Err(LabError::Gone) };
        let made = match relay.take() {
            Some(made) => made,
            None => self.host.relay(SocketAddr::from(*to))?,
        };
        Ok(relay.insert(made).address())
    }

    /// Changes its configuration file; it takes effect at the next start.
    ///
    /// # Errors
    /// [`LabError::Io`] if it cannot be written.
    pub fn configure(&self, change: impl FnOnce(String) -> String) -> Result<(), LabError> {
        let text = fs::read_to_string(&self.config);
        let text = text.map_err(|error| LabError::io(format!("read {}", self.config), error))?;
        self.host.write("controller.toml", &change(text)).map(drop)
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// What the program says when it does not come up.
    pub fn start(&mut self) -> Result<(), LabError> {
        let args = ["serve", "--config", &self.config, "--state-dir", &self.state];
        let settings: Vec<_> = self.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let process = self.host.start("controller", Program::Controller.path()?, &args, &settings)?;
        let answered = wait_until("the controller to answer", SOON, || {
            if process.is_running() { self.status().map(|_| true) } else { Ok(false) }
        })?;
        if !answered.value {
            return Err(LabError::Unexpected { found: format!("the controller ended:\n{}", process.log()) });
        }
        self.process = Some(process);
        Ok(())
    }

    /// Gives it the CA of another controller, as a person copies it there before the first start.
    ///
    /// # Errors
    /// [`LabError::Io`] if it cannot be read or written.
    pub fn take_ca_of(&self, other: &Self) -> Result<(), LabError> {
        let copied = fs::create_dir_all(&self.state).and_then(|()| {
            let files = ["ca.pem", "ca.key"];
            files.iter().try_for_each(|name| {
                fs::copy(other.state_folder().join(name), self.state_folder().join(name)).map(drop)
            })
        });
        copied.map_err(|error| LabError::io(format!("copy the CA to {}", self.host.name()), error))
    }

    /// Kills it without a chance to say good-bye.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Waits until the validator list is in.
    ///
    /// # Errors
    /// [`LabError::TimedOut`] with what the sources said.
    pub fn wait_for_list(&self) -> Result<Waited<usize>, LabError> {
        wait_until("the controller to have the validator list", SOON, || {
            let status = self.status().map_err(|error| error.to_string())?;
            if status.validators > 0 { Ok(status.validators) } else { Err(format!("{:?}", status.sources)) }
        })
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_running)
    }

    /// Waits until every host that is a member reads back exactly what is wanted.
    ///
    /// # Errors
    /// [`LabError::TimedOut`] naming a host that does not.
    pub fn wait_in_force(&self) -> Result<Waited<()>, LabError> {
        wait_until("the wanted state to be in force everywhere", SOON, || {
            let nodes = self.nodes().map_err(|error| error.to_string())?;
            let mut members = nodes.iter().filter(|view| view.wanted.is_some());
            match members.find(|view| !view.in_force) {
                Some(late) => Err(format!("{} wants {:?} and reports {:?}", late.node.name, late.wanted, late.report)),
                None => Ok(()),
            }
        })
    }

    /// The operator's command line, on the controller's host.
    ///
    /// # Errors
    /// [`LabError`] if it cannot be started; its own refusal is in the output.
    pub fn picket(&self, args: &[&str]) -> Result<Output, LabError> {
        let context = self.context();
        self.host.run(Program::Cli.path()?, &[&["--context", &context], args].concat())
    }

    /// A new join token.
    ///
    /// # Errors
    /// What the command line says.
    pub fn token(&self, role: NodeRole) -> Result<String, LabError> {
        let output = self.picket(&["token", "create", "--role", &role.to_string()])?;
        Ok(output.success()?.trim().to_owned())
    }

    /// What `picket status` says.
    ///
    /// # Errors
    /// What the command line says.
    pub fn status(&self) -> Result<StatusView, LabError> {
        self.json(&["status"])
    }

    /// What `picket status` says is wrong: the errors of sources, then the alarms.
    ///
    /// # Errors
    /// What the command line says.
    pub fn complaints(&self) -> Result<Vec<String>, LabError> {
        let status = self.status()?;
        Ok(status.sources.into_iter().filter_map(|source| source.error).chain(status.alarms).collect())
    }

    /// What `picket events` says, oldest first or last as it does.
    ///
    /// # Errors
    /// What the command line says.
    pub fn events(&self) -> Result<Vec<EventView>, LabError> {
        self.json(&["events"])
    }

    /// What its metrics say, in Prometheus' text form.
    ///
    /// # Errors
    /// [`LabError::Io`] if they cannot be read.
    pub fn metrics(&self) -> Result<String, LabError> {
        Self::metrics_on(&self.host)
    }

    /// What the metrics of the controller on this host say.
    pub(crate) fn metrics_on(host: &Host) -> Result<String, LabError> {
        let asked = host.inside(|| -> io::Result<String> {
            let mut stream = TcpStream::connect(HEALTH)?;
            stream.set_read_timeout(Some(SOON))?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: controller\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })?;
        asked.map_err(|error| LabError::io("read the controller's metrics", error))
    }

    /// What `picket nodes` says.
    ///
    /// # Errors
    /// What the command line says.
    pub fn nodes(&self) -> Result<Vec<NodeView>, LabError> {
        self.json(&["nodes"])
    }

    /// What `picket validators` says.
    ///
    /// # Errors
    /// What the command line says.
    pub fn validators(&self) -> Result<ValidatorsView, LabError> {
        self.json(&["validators"])
    }

    /// The answer of a verb as the program that asks for `--json` sees it.
    ///
    /// # Errors
    /// What the command line says, or an answer that is not of this type.
    pub fn json<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T, LabError> {
        let output = self.picket(&[args, &["--json"]].concat())?;
        serde_json::from_str(&output.stdout).map_err(|_| LabError::Command {
            command: output.command,
            status: output.status.to_string(),
            stderr: output.stderr,
        })
    }

    /// Its database, for tests that look at what is stored.
    #[must_use]
    pub fn state_folder(&self) -> PathBuf {
        PathBuf::from(&self.state)
    }
}
