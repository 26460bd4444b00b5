//! What all steps work on: a chain, three machines in the places of a mesh's hosts, an operator, validators and a stranger.

use super::{Args, ansible::Ansible, packages};
use crate::{
    Connect, Host, Knocks, Machine,
    command::said,
    guarded::{self, tried},
    mesh::{Mesh, MeshSize},
    wait_until,
};
use anyhow::{Context as _, Result};
use picket_api::operator::NodeView;
use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, process::Command, time::Duration};

/// The ports that the nodes' stand-ins listen on: those of P2P and JSON-RPC, which are guarded, and one that is not.
pub(super) const PORTS: [u16; 4] = [P2P, 9000, 9080, UNGUARDED];
pub(super) const P2P: u16 = 7100;
pub(super) const UNGUARDED: u16 = 2222;
/// What the lab's own chain and addresses ask for, beside what an operator writes: a line of the policy, and sections.
const POLICY: &str = "special_ranges = [\"198.51.100.0/24\", \"192.0.2.0/24\"]\n";
const OVERLAY: &str = "[overlay]\nv4 = \"192.0.2.0/25\"\n";
/// Networks of the operator's.
const ADMIN: [&str; 2] = ["198.51.100.248/29", "2001:db8:ad::/48"];

/// Machines go before the lab whose hosts they stand in for.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) knocks: Option<Knocks>,
    pub(super) controller: Machine,
    pub(super) prep: Machine,
    pub(super) sentry: Machine,
    pub(super) ansible: Ansible,
    pub(super) packages: PathBuf,
    pub(super) previous: Option<PathBuf>,
    pub(super) document: String,
    pub(super) mesh: Mesh,
}

impl Site {
    /// Boots bare machines, and has `picket init` write the operator's files.
    pub(super) fn new(args: &Args) -> Result<Self> {
        packages::NAMES.iter().try_for_each(|name| packages::file(&args.packages, name).map(drop))?;
        let mesh = Mesh::new("hosts", MeshSize { preps: 1, sentries: 2 })?;
        let ansible = Ansible::new(&mesh.admin, args)?;
        let key = ansible.public_key()?;
        let boot = |host: &Host, ports: &[u16]| -> Result<Machine> {
            let mut machine = Machine::managed(host, ports, &key)?;
            machine.boot().with_context(|| format!("boot {}", host.name()))?;
            Ok(machine)
        };
        let [prep, sentry] = [&mesh.preps, &mesh.sentries].map(|agents| agents.first().map(|agent| &agent.host));
        let (prep, sentry) = (prep.context("no validator's host")?, sentry.context("no sentry")?);
        let site = Self {
            knocks: None,
            controller: boot(&mesh.controller.host, &[])?,
            prep: boot(prep, &PORTS)?,
            // Nothing listens on the sentry: what answers at its port is the validator.
            sentry: boot(sentry, &[UNGUARDED])?,
            ansible,
            packages: args.packages.clone(),
            previous: args.previous.clone(),
            document: fs::read_to_string(&args.document)
                .with_context(|| format!("read {}", args.document.display()))?,
            mesh,
        };
        site.prep.known_to(&site.mesh.stranger)?;
        site.answers()?;
        Ok(site)
    }

    /// What `picket init` makes of the answers, and beside it what the lab's chain asks for.
    fn answers(&self) -> Result<()> {
        let program = packages::operators_program(&self.packages, &self.ansible.path("picket"))?;
        let mut init = Command::new(program);
        init.args(["init", "--out"]).arg(self.ansible.path("."));
        for (flag, name, machine) in [
            ("--controller", "controller", &self.controller),
            ("--sentry", "sentry-1", &self.sentry),
            ("--prep", "prep-1", &self.prep),
        ] {
            init.arg(flag).arg(format!("{name}={}", machine.ports(0)[0].ip()));
        }
        said(init.args(ADMIN.iter().flat_map(|network| ["--admin", network])))?;
        self.configure(|text| text + &Self::of_the_lab())
    }

    /// What goes on a configuration that ends with its policy and says nothing of the chain.
    fn of_the_lab() -> String {
        format!("{POLICY}\n[chain]\n{}\n{OVERLAY}", Self::chain())
    }

    /// What goes on one whose section of the chain is there: the end of it, and the lines of that section.
    pub(super) fn beside_a_chain() -> (String, String) {
        (format!("{POLICY}\n{OVERLAY}"), Self::chain())
    }

    fn chain() -> String {
        format!("nid = 1\npoll_seconds = 1\nsources = {:?}\n", crate::mesh::sources())
    }

    /// The operator's networks.
    pub(super) fn admin(&self) -> [&'static str; 2] {
        ADMIN
    }

    /// The same as a list of TOML has them.
    pub(super) fn admin_networks(&self) -> String {
        ADMIN.map(|network| format!("\"{network}\"")).join(", ")
    }

    /// Changes the controller's configuration as the operator has it.
    pub(super) fn configure(&self, change: impl FnOnce(String) -> String) -> Result<()> {
        let path = self.ansible.path("controller.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        self.ansible.write("controller.toml", &change(text)).map(drop)
    }

    /// The machines by the names that the inventory has for them.
    pub(super) fn machines(&self) -> [(&'static str, &Machine); 3] {
        [("controller", &self.controller), ("sentry-1", &self.sentry), ("prep-1", &self.prep)]
    }

    /// Versions of our packages that are installed, by machine.
    pub(super) fn versions(&self) -> Result<BTreeMap<&'static str, Vec<String>>> {
        let ask = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}\\n", "picket*"];
        let of =
            |said: String| said.lines().filter_map(|line| line.strip_prefix("installed ").map(str::to_owned)).collect();
        self.machines().into_iter().map(|(name, machine)| Ok((name, of(machine.run(&ask)?.success()?)))).collect()
    }

    /// What `picket` on the controller's machine says.
    pub(super) fn picket(&self, arguments: &[&str]) -> Result<String> {
        Ok(self.controller.run(&[&["picket"], arguments].concat())?.success()?)
    }

    /// Who is a member, as the controller tells.
    pub(super) fn members(&self) -> Result<Vec<NodeView>> {
        let nodes = guarded::nodes(&self.picket(&["nodes", "--json"])?)?;
        Ok(nodes.into_iter().filter(|view| view.wanted.is_some()).collect())
    }

    /// Waits until both hosts are in force and listen for news.
    pub(super) fn wait_in_force(&self) -> Result<Duration> {
        guarded::wait_in_force(|| self.members())
    }

    /// As the mesh shall be: validators and the operator are let in to the P-Rep, strangers are not, and its tunnel carries packets.
    pub(super) fn is_guarded(&self) -> Result<()> {
        let [v4, v6] = self.prep.ports(P2P);
        for to in [v4, v6] {
            tried(&self.mesh.admin, to, &Connect::Open)?;
            tried(&self.mesh.stranger, to, &Connect::Filtered)?;
        }
        tried(&self.validator()?.clone(), v4, &Connect::Open)?;
        tried(&self.mesh.stranger, self.prep.ports(UNGUARDED)[0], &Connect::Open)
    }

    /// The P-Rep's tunnel carries packets.
    pub(super) fn tunnel_carries(&self) -> Result<()> {
        guarded::tunnel_carries(self.prep_host()?, &self.members()?, "sentry-1")
    }

    /// Where the P-Rep's machine is.
    pub(super) fn prep_host(&self) -> Result<&Host> {
        Ok(&self.mesh.preps.first().context("no validator's host")?.host)
    }

    /// Waits until a controller that was started again answers.
    pub(super) fn controller_answers(&self) -> Result<()> {
        wait_until("the controller to answer", guarded::IN_FORCE, || {
            self.members().map(drop).map_err(|error| format!("{error:#}"))
        })?;
        Ok(())
    }

    /// Somebody who is on the list.
    pub(super) fn validator(&self) -> Result<&Host> {
        Ok(&self.mesh.validators.first().context("no validator")?.host)
    }

    /// A stranger begins to knock at the P-Rep's P2P port, and at one that nobody guards.
    pub(super) fn begin_to_knock(&mut self) -> Result<()> {
        self.knocks = Some(self.mesh.stranger.knock(&self.knocked())?);
        Ok(())
    }

    /// Ends it.
    pub(super) fn nothing_answered(&mut self) -> Result<String> {
        let [guarded @ .., unguarded] = self.knocked();
        guarded::nothing_answered(self.knocks.take(), &guarded, unguarded)
    }

    fn knocked(&self) -> [SocketAddr; 4] {
        let [v4, v6] = self.prep.ports(P2P);
        [v4, v6, self.prep.ports(9000)[0], self.prep.ports(UNGUARDED)[0]]
    }

    /// For whoever has to find out why something failed.
    pub(super) fn print_journals(&self) {
        for (name, machine) in self.machines() {
            let journal = machine.run(&["journalctl", "--no-pager", "--lines=25", "--unit=picket-*"]);
            println!("--- {name}\n{}", journal.map_or_else(|error| error.to_string(), |output| output.stdout));
        }
    }
}
