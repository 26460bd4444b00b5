//! What can happen to the mesh, one thing after another, drawn from the seed; and how it comes to rest.

use super::{
    operations::{ask, back_up, cut, edit, follow, freeze, judge, leave, plan, quarantine, save, sweep},
    world::{SITES, World, prep},
};
use crate::{Config, upkeep};
use picket_lab::sources::Manner;
use picket_model::{Generation, NodeId, NodeRole, NodeState, Timestamp};
use std::{fs, sync::atomic::Ordering, time::Duration};

/// Hosts that ever join.
const MOST_HOSTS: usize = 16;
/// Polls of everybody within which a mesh without mishaps comes to rest.
const ROUNDS: usize = 4;

impl World {
    /// One thing happens; what it was.
    pub(super) async fn step(&mut self) -> &'static str {
        self.now = self.now.plus(Duration::from_millis(u64::try_from(1 + self.random.below(3_000)).unwrap()));
        let (site, mut agent) = (self.random.below(SITES), self.random.below(self.agents.len()));
        if self.agents[agent].member.is_some() && !self.agents[agent].is_member() {
            // Who is out has little to say.
            agent = self.random.below(self.agents.len());
        }
        // Nothing lasts: neither an outage nor a controller that is down.
        if self.is_away() && self.random.below(12) == 0 {
            self.outage();
        }
        if let Some(down) = (0..SITES).find(|site| self.sites[*site].running.is_none()).filter(|_| !self.is_away())
            && self.random.below(12) == 0
        {
            self.start(down).await;
        }
        if let Some(waiting) = (0..SITES).find(|site| self.sites[*site].waits.is_some())
            && self.random.below(8) == 0
        {
            self.go_on(waiting).await;
        }
        let what = match self.random.below(200) {
            0..60 => self.ask(agent).await,
            60..88 => self.deliver(agent),
            88..98 => self.report(agent),
            98..112 => self.at(site, "save", save).await,
            112..130 => self.follow(site).await,
            130..136 => self.at(site, "plan", plan).await,
            136..148 => self.judge(site).await,
            148..156 => self.chain(),
            156..164 => self.joins().await,
            164..168 => self.revoke(site, agent).await,
            168..170 => self.quarantine(site, agent).await,
            170..172 => self.leave(agent).await,
            172..175 => self.edit(site).await,
            175..176 => self.freeze(site).await,
            176..178 => self.at(site, "sweep", sweep).await,
            178..182 => self.toggle(site).await,
            182..184 => self.outage(),
            184..187 => self.clock(site),
            187..189 => self.restart(agent),
            189..197 => self.resume(site).await,
            197..199 => self.back_up(site).await,
            _ => self.restore().await,
        };
        self.check().await;
        what
    }

    async fn at(
        &mut self,
        site: usize,
        what: &'static str,
        operation: fn(super::site::Running) -> super::site::Operation<super::operations::Told>,
    ) -> &'static str {
        let Some(running) = self.idle(site) else { return "nobody there" };
        self.run(site, operation(running)).await;
        what
    }

    /// A host asks, or finds nobody and turns to the next controller.
    async fn ask(&mut self, agent: usize) -> &'static str {
        if self.agents[agent].member.is_none() {
            self.join(agent).await;
            return "join";
        }
        if !self.agents[agent].is_member() && !self.agents[agent].is_orphan {
            return "gone";
        }
        let site = self.agents[agent].at;
        let member = self.agents[agent].member.clone().unwrap();
        if self.sites[site].waits.is_some() {
            return "ask and wait";
        }
        let Some(running) = self.sites[site].running.clone() else {
            self.agents[agent].at = (site + 1) % SITES;
            if self.random.below(4) == 0 && !self.is_calm {
                self.agents[agent].not_reached(self.now);
            }
            return "ask nobody";
        };
        self.agents[agent].poll = Some(running.controller.wanted.follow(&member.identity.node));
        let question = self.agents[agent].question();
        self.run(site, ask(running, agent, (member.identity.node, member.serial), question)).await;
        "ask"
    }

    /// An answer arrives, arrives and is sent once more, or never does.
    fn deliver(&mut self, agent: usize) -> &'static str {
        let count = self.agents[agent].answers.len();
        if count == 0 || !self.agents[agent].is_member() {
            return "no answer";
        }
        let which = self.random.below(count);
        let news = match self.random.below(4) {
            0 => self.agents[agent].answers[which].clone(),
            _ => self.agents[agent].answers.remove(which),
        };
        if self.random.below(8) == 0 {
            return "answer lost";
        }
        self.agents[agent].hear(news, self.now);
        "answer"
    }

    /// A host says how it is, once, twice, or to nobody.
    fn report(&mut self, agent: usize) -> &'static str {
        let agent = &self.agents[agent];
        let (Some(member), Some(running)) = (&agent.member, &self.sites[agent.at].running) else { return "no report" };
        let times = self.random.below(3);
        let node = &member.identity.node;
        let Some(node) = running.controller.wanted.target().and_then(|target| target.plan.nodes.get(node).cloned())
        else {
            return "no report";
        };
        let node = picket_model::Node {
            id: node.node.clone(),
            name: member.identity.name.clone(),
            ..picket_model::fixture::node("any", member.identity.role, 1)
        };
        for _ in 0..times {
            running.controller.reports.put(&node, agent.report(), self.now);
        }
        "report"
    }

    async fn follow(&mut self, site: usize) -> &'static str {
        let Some(running) = self.idle(site) else { return "nobody there" };
        let nodes = self.oracle.nodes().await;
        let out = nodes.values().filter(|node| !node.is_active()).map(|node| node.id.clone()).collect();
        self.run(site, follow(site, running, out)).await;
        "follow"
    }

    async fn judge(&mut self, site: usize) -> &'static str {
        let Some(running) = self.idle(site) else { return "nobody there" };
        let round = self.round();
        self.run(site, judge(running, round)).await;
        "judge"
    }

    fn chain(&mut self) -> &'static str {
        let number = u8::try_from(self.random.below(40)).unwrap();
        let last = 1 + self.random.below(254);
        match self.random.below(9) {
            0 | 1 => self.sources.register(prep(number), format!("5.0.1.{last}:7100").parse().unwrap()),
            2 | 3 => self.sources.unregister(prep(number)),
            4 => self.sources.lose_half(),
            5 if self.random.below(3) == 0 => self.sources.lose_all(),
            6 => self.sources.register(prep(number), "10.0.0.1:7100".parse().unwrap()),
            _ => {
                let manner = Manner::ALL[self.random.below(Manner::ALL.len())];
                self.sources.turn(self.random.below(3), manner);
            }
        }
        "chain"
    }

    async fn joins(&mut self) -> &'static str {
        if self.agents.len() >= MOST_HOSTS {
            return "enough hosts";
        }
        let role = if self.random.below(3) == 0 { NodeRole::Prep } else { NodeRole::Sentry };
        let agent = self.new_host(role);
        self.join(agent).await;
        "join"
    }

    /// The id of a member that may go: some always stay.
    fn expendable(&self, agent: usize) -> Option<NodeId> {
        let members = self.agents.iter().filter(|agent| agent.is_member()).count();
        let agent = &self.agents[agent];
        let member = agent.member.as_ref().filter(|_| members > 4 && agent.is_member())?;
        Some(member.identity.node.clone())
    }

    async fn revoke(&mut self, site: usize, agent: usize) -> &'static str {
        let (Some(running), Some(node)) = (self.idle(site), self.expendable(agent)) else { return "no revoke" };
        self.run(site, cut(running, node)).await;
        "revoke"
    }

    async fn quarantine(&mut self, site: usize, agent: usize) -> &'static str {
        let Some(running) = self.idle(site) else { return "nobody there" };
        let Some(member) = &self.agents[agent].member else { return "no member" };
        let (id, name) = (member.identity.node.clone(), member.identity.name.clone());
        let Some(node) = self.oracle.nodes().await.get(&id).cloned() else { return "no member" };
        let is_out = match node.state {
            NodeState::Active => false,
            NodeState::Quarantined { .. } => true,
            NodeState::Revoked { .. } => return "no member",
        };
        self.run(site, quarantine(running, name, is_out)).await;
        "quarantine"
    }

    async fn leave(&mut self, agent: usize) -> &'static str {
        let site = self.agents[agent].at;
        let (Some(running), Some(node)) = (self.idle(site), self.expendable(agent)) else { return "no farewell" };
        if self.agents[agent].is_orphan {
            return "no farewell";
        }
        self.run(site, leave(running, agent, node)).await;
        "farewell"
    }

    async fn edit(&mut self, site: usize) -> &'static str {
        let Some(running) = self.idle(site) else { return "nobody there" };
        self.edits += 1;
        let admin = format!("2001:db8:{:x}::/48", 0x100 + self.edits).parse().unwrap();
        self.policy.admin.truncate(1);
        self.policy.admin.push(admin);
        self.run(site, edit(running, self.policy.clone())).await;
        "edit"
    }

    async fn freeze(&mut self, site: usize) -> &'static str {
        let Some(running) = self.idle(site) else { return "nobody there" };
        self.frozen = !self.frozen;
        self.run(site, freeze(running, self.frozen)).await;
        "freeze"
    }

    /// A controller is killed, or started.
    async fn toggle(&mut self, site: usize) -> &'static str {
        if self.sites[site].running.is_some() {
            self.sites[site].kill().await;
            return "kill";
        }
        self.start(site).await;
        "start"
    }

    fn outage(&mut self) -> &'static str {
        self.away.store(!self.is_away(), Ordering::Relaxed);
        "outage"
    }

    /// Time passes, or a clock is set.
    fn clock(&mut self, site: usize) -> &'static str {
        match self.random.below(4) {
            0 => self.now = self.now.plus(Duration::from_secs(u64::try_from(self.random.below(7_200)).unwrap())),
            1 => {
                let back = i64::try_from(self.random.below(600_000)).unwrap();
                self.now = Timestamp::from_millis(self.now.as_millis() - back);
            }
            _ => self.sites[site].skew_millis = i64::try_from(self.random.below(120_000)).unwrap() - 60_000,
        }
        "clock"
    }

    fn restart(&mut self, agent: usize) -> &'static str {
        self.agents[agent].restart(self.now);
        "restart"
    }

    async fn resume(&mut self, site: usize) -> &'static str {
        self.go_on(site).await;
        "go on"
    }

    async fn back_up(&mut self, site: usize) -> &'static str {
        let Some(running) = self.idle(site) else { return "nobody there" };
        self.backups += 1;
        let file = self.folder.path().join(format!("backup-{}", self.backups));
        self.run(site, back_up(running, file)).await;
        "back up"
    }

    /// An old database is put back: by the program, which goes on beyond what hosts hold, or by hand, which nobody told it.
    async fn restore(&mut self) -> &'static str {
        let Some(file) = self.backup.clone().filter(|_| !self.is_away()) else { return "no backup" };
        self.stop_all().await;
        let (home, database) = (self.sites[0].folder.clone(), self.place());
        let by_hand = self.random.below(2) == 0;
        // Hosts may hold plans of a history that is no more, under numbers that this one has given out as well.
        let mut is_behind = self.is_behind || by_hand;
        if by_hand {
            let crate::store::Place::File(path) = &database else { return "no backup" };
            for end in ["-wal", "-shm"] {
                fs::remove_file(format!("{}{end}", path.display())).ok();
            }
            fs::copy(&file, path).unwrap();
        } else {
            let before = self.oracle.generation();
            let config = Config::default();
            let refused = upkeep::restore(&home, &config, &file, false, self.now).await;
            assert!(refused.is_ok() || before > Generation(0), "{refused:?}");
            if refused.is_err() {
                upkeep::restore(&home, &config, &file, true, self.now).await.unwrap();
                is_behind = false;
            }
        }
        self.know_again().await;
        self.is_behind |= is_behind;
        if by_hand { "restore by hand" } else { "restore" }
    }

    async fn stop_all(&mut self) {
        for site in &mut self.sites {
            site.kill().await;
        }
        self.oracle.close().await;
    }

    /// After another database has come in the place of the one of before: who is known by it.
    async fn know_again(&mut self) {
        let (place, mesh) = (self.place(), "i-000001".parse().unwrap());
        self.oracle.restored(&place, mesh).await;
        let nodes = self.oracle.nodes().await;
        for agent in &mut self.agents {
            let Some(member) = &agent.member else { continue };
            agent.is_orphan |= !nodes.contains_key(&member.identity.node);
            agent.poll = None;
        }
        let generation = self.oracle.generation();
        self.is_behind = self.agents.iter().any(|agent| agent.is_member() && agent.newest > generation);
    }

    /// Nothing comes between any more, and everybody is asked until nothing is new.
    pub(super) async fn settle(&mut self) {
        self.is_calm = true;
        self.away.store(false, Ordering::Relaxed);
        for site in 0..SITES {
            self.go_on(site).await;
            self.sites[site].skew_millis = 0;
        }
        // As often as the operator sees hosts that are ahead: the program knows of those alone that have said so.
        while self.is_behind {
            self.stop_all().await;
            upkeep::advance(&self.sites[0].folder, &Config::default(), self.now).await.unwrap();
            self.know_again().await;
        }
        // The guard lets only so many in within an hour.
        self.now = self.now.plus(Duration::from_hours(2));
        for site in 0..SITES {
            if self.sites[site].running.is_none() {
                self.start(site).await;
            }
        }
        for agent in 0..self.agents.len() {
            while self.agents[agent].member.is_none() {
                self.join(agent).await;
            }
        }
        // What was taken back is not tried again before there is something newer.
        self.edit(0).await;
        for _ in 0..ROUNDS {
            for site in 0..SITES {
                self.follow(site).await;
            }
            for agent in 0..self.agents.len() {
                self.agents[agent].answers.clear();
                self.ask(agent).await;
                for news in std::mem::take(&mut self.agents[agent].answers) {
                    self.agents[agent].hear(news, self.now);
                }
            }
        }
        self.check().await;
        self.oracle.settled(&self.agents, self.now).await;
        // Who knows nothing from before comes to the same.
        let generation = self.oracle.generation();
        for site in 0..SITES {
            self.sites[site].kill().await;
            self.start(site).await;
        }
        self.check().await;
        assert_eq!(self.oracle.generation(), generation, "a controller that starts plans something else");
        self.is_calm = false;
    }
}
