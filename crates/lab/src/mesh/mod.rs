//! A whole mesh on one machine: chain endpoints, controller, validators with agents, sentries, and the people around them.
//! Runs the real programs; only the chain is played.

mod agent;
mod cloud;
mod controller;
mod internet;
mod listing;
mod several;

pub use agent::Agent;
pub use cloud::{Cloud, CloudInstance};
pub use controller::Controller;
pub use internet::Internet;
pub use listing::without_meters;
pub use several::Several;

use crate::{
    Host, Lab, LabError, Waited,
    icon::{self, Behaviour, ChainState, FakeChain, FakeIcon},
    wait_until,
};
use picket_model::{NodeRole, P2pEndpoint, PrepId};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Time for anything that takes the real programs a fraction of a second, on a loaded machine.
pub const SOON: Duration = Duration::from_secs(20);
/// Port of the chain endpoints.
const ICON_PORT: u16 = 9000;
/// Time from one block to the next: short against ICON's two seconds, so that nobody waits for one.
const BLOCK: Duration = Duration::from_millis(100);
/// goloop's own default.
const GOLOOP_PORT: u16 = 9080;
/// Where the chain endpoints live: as many as one of them may lie and be outvoted.
const ICONS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(203, 0, 113, 2), Ipv4Addr::new(203, 0, 113, 3), Ipv4Addr::new(203, 0, 113, 4)];

/// How large a mesh to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshSize {
    /// Validators with an agent of ours, at most 9.
    pub preps: u8,
    /// Sentries, at most 60.
    pub sentries: u8,
}

/// A validator of somebody else: an address on the list and no agent of ours.
#[derive(Clone, Debug)]
pub struct Validator {
    /// Its host.
    pub host: Host,
    /// Its place on the list.
    pub prep: PrepId,
}

/// Everything. The lab goes last, and takes whatever still runs with it.
#[derive(Debug)]
pub struct Mesh {
    /// The chain; what happens on it, all endpoints tell of.
    pub chain: FakeChain,
    /// The chain endpoints; tell one to lie, lag or stall.
    pub icons: Vec<FakeIcon>,
    /// The controller.
    pub controller: Controller,
    /// Validators with an agent of ours: `prep-1`, ...
    pub preps: Vec<Agent>,
    /// Sentries: `sentry-1`, ...
    pub sentries: Vec<Agent>,
    /// Sentries that were revoked; their agents have ended.
    pub revoked: Vec<Agent>,
    /// Three validators of other operators, whose addresses are on the list.
    pub validators: Vec<Validator>,
    /// Somebody who is on no list.
    pub stranger: Host,
    /// The operator's own machine, in the admin networks.
    pub admin: Host,
    /// The lab, for more hosts.
    pub lab: Lab,
}

impl Mesh {
    /// Makes the hosts and starts the chain and its endpoints with the real mainnet list, on which the lab's own validators take
    /// the places of the first entries. No program of ours runs yet.
    ///
    /// # Errors
    /// What the lab says.
    pub fn new(label: &str, size: MeshSize) -> Result<Self, LabError> {
        let lab = Lab::new(label)?;
        let controller = lab.host("controller").address("203.0.113.1/24").address("2001:db8:1::1/64").create()?;
        let agents = |role, count: u8, first: u8| -> Result<Vec<Agent>, LabError> {
            let numbers = 1..=count;
            numbers
                .map(|number| Ok(Agent::new(host(&lab, &format!("{role}-{number}"), first + number)?, role)))
                .collect()
        };
        let preps = agents(NodeRole::Prep, size.preps, 10)?;
        let sentries = agents(NodeRole::Sentry, size.sentries, 20)?;

        let mut chain = ChainState::mainnet();
        let address = |entry: &icon::Prep| entry.get("address")?.as_str()?.parse().ok();
        let listed: Vec<PrepId> = chain.preps.iter().filter_map(address).collect();
        let mut validators = Vec::new();
        for (number, prep) in (1..=3).zip(listed) {
            let host = lab
                .host(&format!("validator-{number}"))
                .address(&format!("198.51.100.1{number}/24"))
                .address(&format!("2001:db8:2::1{number}/64"))
                .create()?;
            chain.set_endpoint(prep, &format!("198.51.100.1{number}:7100"));
            validators.push(Validator { host, prep });
        }
        let stranger = lab.host("stranger").address("198.51.100.66/24").address("2001:db8:66::66/64").create()?;
        let admin = lab.host("admin").address("198.51.100.250/24").address("2001:db8:ad::9/64").create()?;
        // The list's host names resolve to documentation addresses: there is no DNS in a lab.
        lab.hosts_file(names(&chain).into_iter().zip(200..).map(|(name, last)| (name, [192, 0, 2, last].into())))?;

        let chain = FakeChain::new(chain);
        let mut icons = Vec::new();
        for (number, address) in (1..).zip(ICONS) {
            let host = lab.host(&format!("icon-{number}")).address(&format!("{address}/24")).create()?;
            let icon = chain.endpoint();
            serve(&lab, &host, SocketAddr::from((address, ICON_PORT)), icon.clone())?;
            icons.push(icon);
        }
        let blocks = chain.clone().make_blocks(BLOCK);
        lab.serve(async move {
            blocks.await;
            Ok::<(), LabError>(())
        });
        let controller = Controller::new(controller, &sources())?;
        Ok(Self { chain, icons, controller, preps, sentries, revoked: Vec::new(), validators, stranger, admin, lab })
    }

    /// Makes the hosts, starts the controller, enrols everybody, starts the agents and waits until all is in force.
    ///
    /// # Errors
    /// What the lab says, or what did not come into force in time.
    pub fn started(label: &str, size: MeshSize) -> Result<Self, LabError> {
        let mut mesh = Self::new(label, size)?;
        let started = mesh.start().and_then(|()| mesh.wait_in_force()).and_then(|_| mesh.wait_for_tunnels());
        if started.is_err() {
            mesh.lab.print_logs();
        }
        started.map(|_| mesh)
    }

    /// Starts the controller, enrols and starts every agent, and waits until the controller has the list.
    ///
    /// # Errors
    /// What the lab says, or that there was no list in time.
    pub fn start(&mut self) -> Result<(), LabError> {
        self.controller.start()?;
        for agent in self.preps.iter_mut().chain(&mut self.sentries) {
            agent.enroll(&self.controller)?;
            agent.start()?;
        }
        self.controller.wait_for_list()?;
        Ok(())
    }

    /// All chain endpoints behave so from now on.
    pub fn all_behave(&self, behaviour: &Behaviour) {
        self.icons.iter().for_each(|icon| icon.set_behaviour(behaviour.clone()));
    }

    /// How many requests the chain endpoints have had, each.
    pub fn requests(&self) -> Vec<u64> {
        self.icons.iter().map(FakeIcon::requests).collect()
    }

    /// All agents, validators first.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.preps.iter().chain(&self.sentries)
    }

    /// Starts a goloop beside an agent, on loopback, and the agent anew so that it asks there. The goloop knows nobody
    /// until it is told ([`FakeIcon::set_node`]).
    ///
    /// # Errors
    /// What the lab says.
    pub fn start_beside_goloop(&mut self, prep: usize) -> Result<FakeIcon, LabError> {
        let goloop = self.chain.endpoint();
        let agent = &mut self.preps[prep];
        serve(&self.lab, &agent.host, SocketAddr::from((Ipv4Addr::LOCALHOST, GOLOOP_PORT)), goloop.clone())?;
        agent.goloop = Some(format!("http://127.0.0.1:{GOLOOP_PORT}"));
        agent.kill();
        agent.start()?;
        Ok(goloop)
    }

    /// Starts a goloop on a host, at this port of all its IPv4 addresses, as a node that is reached from elsewhere is.
    ///
    /// # Errors
    /// What the lab says.
    pub fn start_goloop(&self, host: &Host, port: u16) -> Result<FakeIcon, LabError> {
        let goloop = self.chain.endpoint();
        serve(&self.lab, host, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), goloop.clone())?;
        Ok(goloop)
    }

    /// Waits until every host that is a member reads back exactly what is wanted.
    ///
    /// # Errors
    /// [`LabError::TimedOut`] naming a host that does not.
    pub fn wait_in_force(&self) -> Result<Waited<()>, LabError> {
        self.controller.wait_in_force()
    }

    /// Waits until a ping goes through every tunnel, from each validator to each sentry that runs.
    ///
    /// # Errors
    /// [`LabError::TimedOut`] naming the tunnel that does not carry one.
    pub fn wait_for_tunnels(&self) -> Result<Waited<()>, LabError> {
        let running: Vec<&Agent> = self.sentries.iter().filter(|sentry| sentry.is_running()).collect();
        wait_until("a ping through every tunnel", SOON, || {
            for (prep, sentry) in self.preps.iter().flat_map(|prep| running.iter().map(move |sentry| (prep, sentry))) {
                let overlay = sentry.overlay().map_err(|error| error.to_string())?;
                for address in [IpAddr::from(overlay.v4), IpAddr::from(overlay.v6)] {
                    let answered = prep.host.ping(address, Duration::from_secs(1));
                    answered.ok_or_else(|| format!("{} has no answer from {address}", prep.host.name()))?;
                }
            }
            Ok::<(), String>(())
        })
    }
}

/// The URLs of the chain endpoints.
pub(crate) fn sources() -> [String; 3] {
    ICONS.map(|icon| format!("http://{icon}:{ICON_PORT}/api/v3"))
}

fn host(lab: &Lab, name: &str, last: u8) -> Result<Host, LabError> {
    lab.host(name).address(&format!("203.0.113.{last}/24")).address(&format!("2001:db8:1::{last}/64")).create()
}

fn names(chain: &ChainState) -> Vec<String> {
    let endpoints = chain.preps.iter().filter_map(|entry| entry.get("p2pEndpoint")?.as_str()?.parse().ok());
    endpoints
        .filter_map(|endpoint: P2pEndpoint| match endpoint.host {
            picket_model::Host::Name(name) => Some(name.into()),
            picket_model::Host::Address(_) => None,
        })
        .collect()
}

fn serve(lab: &Lab, host: &Host, address: SocketAddr, icon: FakeIcon) -> Result<(), LabError> {
    let listener = host.listen(address)?;
    lab.serve(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        icon.serve(listener, None).await
    });
    Ok(())
}
