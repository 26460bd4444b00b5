//! A mesh with three controllers on one PostgreSQL server, each on a host of its own, and agents that hold all their URLs. The CA
//! is with each of them, its key encrypted under a passphrase.

use super::{Agent, Controller, Mesh, MeshSize, SOON};
use crate::{LabError, Postgres, Waited, wait_until};
use picket_model::NodeRole;
use std::{collections::BTreeMap, net::Ipv4Addr};

/// How many controllers there are.
const CONTROLLERS: usize = 3;
/// Where the second and the third live; the first is where a mesh has its only one.
const FURTHER: [Ipv4Addr; CONTROLLERS - 1] = [Ipv4Addr::new(203, 0, 113, 5), Ipv4Addr::new(203, 0, 113, 6)];
/// Where the database server lives.
const DATABASE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// Under which the CA's key lies in each state folder.
const PASSPHRASE: &str = "the passphrase of a lab";

/// Three controllers that have a database in common, and a mesh that knows them all.
#[derive(Debug)]
pub struct Several {
    /// The database server. It ends before the lab does, which would leave its folder.
    pub database: Postgres,
    /// The second and the third controller.
    further: Vec<Controller>,
    /// Everything else; the controller in it is the first.
    pub mesh: Mesh,
}

impl Several {
    /// Makes the hosts, and starts the database server, the chain and its endpoints. No program of ours runs yet.
    ///
    /// # Errors
    /// What the lab says, or that there is no PostgreSQL on this machine.
    pub fn new(label: &str, size: MeshSize) -> Result<Self, LabError> {
        let mut mesh = Mesh::new(label, size)?;
        let host = mesh.lab.host("database").address(&format!("{DATABASE}/24")).create()?;
        let database = Postgres::start_on(&host).map_err(|error| LabError::of(&error))?;
        let url = database.database().map_err(|error| LabError::of(&error))?;
        let mut further = Vec::new();
        for (number, address) in (2..).zip(FURTHER) {
            let host = mesh.lab.host(&format!("controller-{number}")).address(&format!("{address}/24")).create()?;
            further.push(Controller::new(host, &super::sources())?);
        }
        for controller in std::iter::once(&mesh.controller).chain(&further) {
            let passphrase = controller.host.write("ca-passphrase", PASSPHRASE)?;
            let password = database.password_file();
            controller.configure(|config| {
                format!(
                    "database = {url:?}\ndatabase_password_file = {password:?}\n{config}\n[ca]\npassphrase_file = {passphrase:?}\n"
                )
            })?;
        }
        let urls: Vec<String> = std::iter::once(&mesh.controller).chain(&further).map(|c| c.url().to_owned()).collect();
        for agent in mesh.preps.iter_mut().chain(&mut mesh.sentries) {
            agent.further.clone_from(&urls);
        }
        Ok(Self { database, further, mesh })
    }

    /// Makes the hosts, starts everything, has hosts join through each controller, and waits until all is in force.
    ///
    /// # Errors
    /// What the lab says, or what did not come into force in time.
    pub fn started(label: &str, size: MeshSize) -> Result<Self, LabError> {
        let mut several = Self::new(label, size)?;
        let started = several.start_controllers().and_then(|()| several.start_agents());
        let started = started.and_then(|()| several.mesh.wait_in_force()).and_then(|_| several.mesh.wait_for_tunnels());
        if started.is_err() {
            several.mesh.lab.print_logs();
        }
        started.map(|_| several)
    }

    /// Starts the first controller, which makes the CA, gives that to the others and starts them.
    ///
    /// # Errors
    /// What a controller says, or that there was no list in time.
    pub fn start_controllers(&mut self) -> Result<(), LabError> {
        self.mesh.controller.start()?;
        for controller in &mut self.further {
            controller.take_ca_of(&self.mesh.controller)?;
            controller.start()?;
        }
        self.controllers().try_for_each(|controller| controller.wait_for_list().map(drop))
    }

    /// Enrols and starts every agent, each through the next controller.
    ///
    /// # Errors
    /// What the programs say.
    pub fn start_agents(&mut self) -> Result<(), LabError> {
        let Mesh { controller, preps, sentries, .. } = &mut self.mesh;
        let controllers: Vec<&Controller> = std::iter::once(&*controller).chain(&self.further).collect();
        for (agent, controller) in preps.iter_mut().chain(sentries).zip(controllers.iter().cycle()) {
            agent.enroll(controller)?;
            agent.start()?;
        }
        Ok(())
    }

    /// A sentry on a new host, not enrolled; it is told of one controller alone.
    ///
    /// # Errors
    /// What the lab says.
    pub fn newcomer(&self, name: &str, last: usize) -> Result<Agent, LabError> {
        let host = self.mesh.lab.host(name).address(&format!("203.0.113.{last}/24")).create()?;
        Ok(Agent::new(host, NodeRole::Sentry))
    }

    /// The controllers, in the order of their numbers.
    pub fn controllers(&self) -> impl Iterator<Item = &Controller> {
        std::iter::once(&self.mesh.controller).chain(&self.further)
    }

    /// Those that run.
    pub fn running(&self) -> impl Iterator<Item = &Controller> {
        self.controllers().filter(|controller| controller.is_running())
    }

    /// One that runs.
    ///
    /// # Errors
    /// [`LabError::Gone`] where none does.
    pub fn any(&self) -> Result<&Controller, LabError> {
        self.running().next().ok_or(LabError::Gone)
    }

    /// The controller on a host of this name.
    ///
    /// # Errors
    /// [`LabError::Gone`] where there is none.
    pub fn named(&mut self, name: &str) -> Result<&mut Controller, LabError> {
        let mut all = std::iter::once(&mut self.mesh.controller).chain(&mut self.further);
        all.find(|controller| controller.host.name() == name).ok_or(LabError::Gone)
    }

    /// Which controller each host waits at, by name; a host that waits at none is not in it.
    ///
    /// # Errors
    /// What a controller that runs says.
    pub fn asked(&self) -> Result<BTreeMap<String, String>, LabError> {
        self.asked_but("")
    }

    /// The same without the controller on a host of this name, which may believe in connections of before.
    ///
    /// # Errors
    /// As [`Several::asked`].
    pub fn asked_but(&self, dead: &str) -> Result<BTreeMap<String, String>, LabError> {
        let mut asked = BTreeMap::new();
        for controller in self.running().filter(|controller| controller.host.name() != dead) {
            let waiting = controller.nodes()?.into_iter().filter(|view| view.connected);
            asked.extend(waiting.map(|view| (view.node.name.to_string(), controller.host.name().to_owned())));
        }
        Ok(asked)
    }

    /// Waits until every agent that runs waits at a controller that runs; which one each.
    ///
    /// # Errors
    /// [`LabError::TimedOut`] naming one that does not.
    pub fn wait_asked(&self) -> Result<Waited<BTreeMap<String, String>>, LabError> {
        wait_until("every agent to wait at a controller", SOON, || {
            let asked = self.asked().map_err(|error| error.to_string())?;
            let mut agents = self.mesh.agents().filter(|agent| agent.is_running()).map(Agent::name);
            match agents.find(|name| !asked.contains_key(*name)) {
                Some(name) => Err(format!("{name} waits at none; {asked:?}")),
                None => Ok(asked),
            }
        })
    }

    /// The controller that most hosts wait at.
    ///
    /// # Errors
    /// As [`Several::asked`], or [`LabError::Gone`] where no host waits at any.
    pub fn busiest(&self) -> Result<String, LabError> {
        let mut waiting = BTreeMap::<String, usize>::new();
        self.asked()?.into_values().for_each(|controller| *waiting.entry(controller).or_default() += 1);
        waiting.into_iter().max_by_key(|(_, hosts)| *hosts).map(|(name, _)| name).ok_or(LabError::Gone)
    }
}
