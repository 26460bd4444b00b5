//! What all steps work on: a chain, three hosts with an engine each, validators and a stranger.

use super::{Args, engine::Engine};
use crate::{
    Connect, EchoServer, Host, Knocks,
    guarded::{self, tried},
    mesh::{Mesh, MeshSize},
};
use anyhow::{Result, ensure};
use picket_api::operator::NodeView;
use std::{net::SocketAddr, time::Duration};

/// A guarded port, and one that nobody guards.
const GUARDED: u16 = 7100;
const UNGUARDED: u16 = 2222;

/// Engines go before the mesh whose hosts they are on.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) knocks: Option<Knocks>,
    pub(super) controller: Engine,
    pub(super) prep: Engine,
    pub(super) sentry: Engine,
    /// What listens where the validator's node would.
    _node: Vec<EchoServer>,
    mesh: Mesh,
}

impl Site {
    pub(super) fn new(args: &Args) -> Result<Self> {
        let mesh = Mesh::new("pods", MeshSize { preps: 1, sentries: 1 })?;
        let (prep, sentry) = (&mesh.preps[0].host, &mesh.sentries[0].host);
        let node = [prep.v4(GUARDED)?, prep.v6(GUARDED)?, prep.v4(UNGUARDED)?];
        let node = node.into_iter().map(|at| prep.listen_echo(at)).collect::<Result<_, _>>()?;
        for agent in [prep, sentry] {
            agent.write("guard.toml", "admin = [\"198.51.100.248/29\"]\n")?;
        }
        Ok(Self {
            knocks: None,
            controller: Engine::new(&mesh.controller.host, args, "compose.controller.yaml")?,
            prep: Engine::new(prep, args, "compose.agent.yaml")?,
            sentry: Engine::new(sentry, args, "compose.agent.yaml")?,
            _node: node,
            mesh,
        })
    }

    /// Both agents with their roles.
    pub(super) fn agents(&self) -> [(&'static str, &Engine, &Host); 2] {
        [("prep", &self.prep, &self.mesh.preps[0].host), ("sentry", &self.sentry, &self.mesh.sentries[0].host)]
    }

    /// Writes what the operator writes beside an agent's compose file; whoever is a member needs no token any more.
    pub(super) fn settings(&self, role: &str, host: &Host, token: Option<&str>) -> Result<()> {
        let token = token.map(|token| format!("PICKET_JOIN_TOKEN={token}\n")).unwrap_or_default();
        let url = self.mesh.controller.url();
        let text = format!("PICKET_ROLE={role}\nPICKET_NAME={role}-1\nPICKET_CONTROLLER={url}\n{token}");
        host.write(".env", &text)?;
        Ok(())
    }

    /// What the operator's program says in the controller's container.
    pub(super) fn picket(&self, args: &[&str]) -> Result<String> {
        let container = self.controller.container("controller")?;
        Ok(self.controller.podman(&[&["exec", &container, "picket"], args].concat())?.success()?)
    }

    /// The hosts, as the controller tells.
    pub(super) fn nodes(&self) -> Result<Vec<NodeView>> {
        guarded::nodes(&self.picket(&["nodes", "--json"])?)
    }

    /// Waits until both hosts are in force and listen for news.
    pub(super) fn wait_in_force(&self) -> Result<Duration> {
        guarded::wait_in_force(|| self.nodes())
    }

    /// As the mesh shall be, by packets: validators and the operator reach the validator's port, a stranger does not, and the tunnel
    /// carries.
    pub(super) fn is_guarded(&self) -> Result<()> {
        self.is_closed_to_strangers()?;
        let prep = &self.mesh.preps[0].host;
        let validator = &self.mesh.validators[0].host;
        for from in [validator, &self.mesh.admin] {
            tried(from, prep.v4(GUARDED)?, &Connect::Open)?;
        }
        guarded::tunnel_carries(prep, &self.nodes()?, "sentry-1")
    }

    /// A stranger reaches what nobody guards, and nothing else.
    pub(super) fn is_closed_to_strangers(&self) -> Result<()> {
        let (stranger, prep) = (&self.mesh.stranger, &self.mesh.preps[0].host);
        for guarded in [prep.v4(GUARDED)?, prep.v6(GUARDED)?] {
            tried(stranger, guarded, &Connect::Filtered)?;
        }
        tried(stranger, prep.v4(UNGUARDED)?, &Connect::Open)
    }

    /// Before anything: whoever comes is let in.
    pub(super) fn is_exposed(&self) -> Result<()> {
        tried(&self.mesh.stranger, self.mesh.preps[0].host.v4(GUARDED)?, &Connect::Open)
    }

    /// A stranger begins to knock at the validator.
    pub(super) fn begin_to_knock(&mut self) -> Result<()> {
        self.knocks = Some(self.mesh.stranger.knock(&self.knocked()?)?);
        Ok(())
    }

    /// Ends it.
    pub(super) fn nothing_answered(&mut self) -> Result<String> {
        let [guarded @ .., unguarded] = self.knocked()?;
        guarded::nothing_answered(self.knocks.take(), &guarded, unguarded)
    }

    fn knocked(&self) -> Result<[SocketAddr; 3]> {
        let prep = &self.mesh.preps[0].host;
        Ok([prep.v4(GUARDED)?, prep.v6(GUARDED)?, prep.v4(UNGUARDED)?])
    }

    /// For whoever has to find out why something failed.
    pub(super) fn print_logs(&self) {
        println!("--- controller\n{}", self.controller.log("controller"));
        for (role, engine, _) in self.agents() {
            println!("--- {role}\n{}{}", engine.log("enroll"), engine.log("agent"));
        }
    }

    /// The validator's rules as the kernel has them.
    pub(super) fn rules(&self) -> Result<String> {
        Ok(self.mesh.preps[0].rules_in_kernel()?)
    }

    /// An image has no such program.
    pub(super) fn is_absent(&self, image: &str, path: &str) -> Result<()> {
        let found = self.controller.podman(&["run", "--rm", "--network=none", "--entrypoint", path, image])?;
        ensure!(
            !found.status.success() && found.stderr.contains("no such file"),
            "{image} has {path}: {}",
            found.stderr
        );
        Ok(())
    }
}
