//! The mesh: controllers, hosts, the chain and the database, and how an operation goes on until it is done, waits or dies.

use super::{
    agent::Agent,
    operations::{Heard, Told, join},
    oracle::{MAX_REMOVED, Oracle},
    rim::{self, Rim},
    site::{Operation, Running, Site, start},
};
use crate::{
    config::SourceUrl,
    state_dir::StateDir,
    store::{
        Place, Token, TokenTerms,
        moments::{Fate, Mishap, Moment, Stop},
    },
    tasks::poll::Round,
    wanted::HostWanted,
};
use picket_api::{EnrollRequest, Proof};
use picket_lab::{Random, sources::Sources};
use picket_model::{Brakes, IdentityKey, NodeId, NodeRole, Policy, Timestamp, WireGuardPublicKey};
use picket_pki::{JoinToken, TlsKey, TokenSecret};
use secrecy::ExposeSecret as _;
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Controllers.
pub(super) const SITES: usize = 3;
/// Size of the list at the beginning.
const LISTED: u8 = 20;
/// Of a hundred operations, those to which something happens.
const MISHAPS: usize = 30;
/// When it begins.
const BEGIN: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub(super) struct World {
    pub(super) random: Random,
    pub(super) sites: Vec<Site<Told>>,
    pub(super) agents: Vec<Agent>,
    pub(super) sources: Sources,
    pub(super) oracle: Oracle,
    pub(super) policy: Policy,
    pub(super) edits: u16,
    pub(super) now: Timestamp,
    pub(super) away: Arc<AtomicBool>,
    pub(super) frozen: bool,
    /// The last backup, and how many were begun.
    pub(super) backup: Option<PathBuf>,
    pub(super) backups: usize,
    /// An old database was put back by hand, and nobody has told the controllers yet.
    pub(super) is_behind: bool,
    /// Nothing comes between any more.
    pub(super) is_calm: bool,
    tokens: BTreeMap<NodeRole, JoinToken>,
    pub(super) folder: TempDir,
    urls: Vec<SourceUrl>,
    pub(super) mishaps: BTreeMap<String, u64>,
    _rim: Rim,
}

impl World {
    pub(super) async fn new(seed: u64) -> Self {
        let rim = Rim::begin(BEGIN);
        // Nothing is to survive this machine: memory will do, where there is some.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let brakes = Brakes { max_removed: MAX_REMOVED, min_size: 5, max_size: 100, ..Brakes::default() };
        let policy = Policy { admin: vec!["2001:db8:ad::/48".parse().unwrap()], brakes, ..Policy::default() };
        let url = |number| SourceUrl::try_from(format!("https://source-{number}.example.com/api/v3")).unwrap();
        let urls: Vec<SourceUrl> = (0..3).map(url).collect();
        let mut sources = Sources::default();
        for number in 0..LISTED {
            sources.register(prep(number), format!("5.0.0.{number}:7100").parse().unwrap());
        }
        sources.begin();
        let site = |number| Site::new(folder.path().join(format!("site-{number}")));
        let sites: Vec<Site<Told>> = (0..SITES).map(site).collect();
        let place = Place::File(StateDir::database_in(&sites[0].folder));
        let first = start(sites[0].folder.clone(), place.clone(), urls.clone(), policy.clone(), BEGIN).await.unwrap();
        let ca = first.controller.ca.fingerprint();
        let oracle = Oracle::new(&place, first.controller.mesh.clone()).await;
        let mut world = Self {
            random: Random::new(seed),
            sites,
            agents: Vec::new(),
            sources,
            oracle,
            policy,
            edits: 0,
            now: BEGIN,
            away: Arc::default(),
            frozen: false,
            backup: None,
            backups: 0,
            is_behind: false,
            is_calm: false,
            tokens: BTreeMap::new(),
            folder,
            urls,
            mishaps: BTreeMap::new(),
            _rim: rim,
        };
        let mut tx = first.controller.store.write().await.unwrap();
        for role in [NodeRole::Prep, NodeRole::Sentry] {
            let secret = TokenSecret::from_bytes([7; 32]);
            let token = Token {
                id: format!("t-{role}").parse().unwrap(),
                secret_hash: secret.hash(),
                role,
                uses: 1_000,
                used: 0,
                created_at: BEGIN,
                expires_at: BEGIN.plus(Duration::from_hours(24 * 365)),
                terms: TokenTerms::default(),
                made_by: None,
                revoked_at: None,
            };
            tx.insert_token(&token).await.unwrap();
            world.tokens.insert(role, JoinToken { ca, id: token.id, secret });
        }
        tx.commit().await.unwrap();
        world.sites[0].running = Some(first);
        for site in 1..SITES {
            fs::create_dir(&world.sites[site].folder).unwrap();
            for name in ["ca.pem", "ca.key"] {
                fs::copy(world.sites[0].folder.join(name), world.sites[site].folder.join(name)).unwrap();
            }
        }
        world
    }

    pub(super) fn place(&self) -> Place {
        Place::File(StateDir::database_in(&self.sites[0].folder))
    }

    /// A host that is to join; what becomes of it, the steps say.
    pub(super) fn new_host(&mut self, role: NodeRole) -> usize {
        let number = self.agents.len();
        let key = |kind: u8| {
            let mut key = [kind; 32];
            key[..8].copy_from_slice(&u64::try_from(number + 1).unwrap().to_be_bytes());
            WireGuardPublicKey::new(key).unwrap()
        };
        let token = self.tokens[&role].to_secret_string().expose_secret().to_owned();
        let request = EnrollRequest {
            proof: Proof::JoinToken { token },
            role,
            name: format!("{role}-{number}").parse().unwrap(),
            wireguard_key: key(1),
            identity_key: Some(IdentityKey(key(2))),
            csr_pem: TlsKey::generate().unwrap().csr_pem().unwrap(),
            endpoint: (role == NodeRole::Sentry).then_some(SocketAddr::from(([0, 0, 0, 0], 51820))),
            machine_id: Some(format!("{number:032x}")),
        };
        self.agents.push(Agent::new(request, number % SITES));
        number
    }

    /// The answers of all sources, as a controller gets them that asks now.
    pub(super) fn round(&mut self) -> Arc<Round> {
        self.sources.next_block();
        let answer = |(number, SourceUrl(source)): (usize, &SourceUrl)| {
            let id = source.id().clone();
            let answer = self.sources.answer(number, id.clone(), self.now);
            (id, answer.ok_or_else(|| "no answer".to_owned()))
        };
        let answers = self.urls.iter().enumerate().map(answer).collect();
        Arc::new(Round { answers, arrived: Instant::now(), judged: AtomicBool::default(), asked_in: None })
    }

    /// A controller that runs and has nothing else to do.
    pub(super) fn idle(&self, site: usize) -> Option<Running> {
        self.sites[site].running.clone().filter(|_| self.sites[site].waits.is_none())
    }

    /// Starts a controller, or has its start go on.
    pub(super) async fn start(&mut self, site: usize) {
        if self.sites[site].waits.is_some() {
            return self.go_on(site).await;
        }
        let Site { folder, skew_millis, .. } = &self.sites[site];
        let (folder, at) = (folder.clone(), shifted(self.now, *skew_millis));
        let started = start(folder, self.place(), self.urls.clone(), self.policy.clone(), at);
        let operation = async move { Told::Started(site, started.await.map_err(|error| format!("{error:#}"))) };
        self.run(site, Box::pin(operation)).await;
    }

    /// Something may come between.
    fn fate(&mut self) -> Fate {
        let mut mishap = None;
        if !self.is_calm && self.random.below(100) < MISHAPS {
            // Most of what goes wrong between controllers does between one's look and its change.
            let kind = match self.random.below(8) {
                0 => Mishap::Unheard,
                1 => Mishap::Unanswered,
                2 => Mishap::DiesBefore,
                3 => Mishap::DiesAfter,
                _ => Mishap::Waits,
            };
            let (moment, nth) = match self.random.below(4) {
                0 => (Moment::Commit, self.random.below(3)),
                1 => (Moment::Statement, self.random.below(30)),
                _ => (Moment::Begin, self.random.below(4)),
            };
            mishap = Some((moment, nth, kind));
        }
        Fate::new(self.away.clone(), mishap)
    }

    /// Has a controller do something, until that is done, waits, or the controller dies of it.
    pub(super) async fn run(&mut self, site: usize, operation: Operation<Told>) {
        let fate = self.fate();
        let operation = Box::pin(fate.of(operation));
        self.drive(site, operation, fate).await;
    }

    /// Has what waits go on.
    pub(super) async fn go_on(&mut self, site: usize) {
        let Some((operation, fate)) = self.sites[site].waits.take() else { return };
        fate.go_on();
        self.drive(site, operation, fate).await;
    }

    async fn drive(&mut self, site: usize, mut operation: Operation<Told>, fate: Fate) {
        rim::set(shifted(self.now, self.sites[site].skew_millis));
        let told = tokio::select! {
            biased;
            told = &mut operation => Ok(told),
            stop = fate.stopped() => Err(stop),
        };
        rim::set(self.now);
        match told {
            Ok(told) => {
                drop(operation);
                self.told(told, fate.has_hit()).await;
            }
            Err(Stop::Waiting) => {
                *self.mishaps.entry("waited".to_owned()).or_default() += 1;
                self.sites[site].waits = Some((operation, fate));
            }
            Err(Stop::Dead) => {
                *self.mishaps.entry("died".to_owned()).or_default() += 1;
                drop(operation);
                self.sites[site].kill().await;
            }
        }
    }

    /// What came of it. Nothing fails by itself.
    async fn told(&mut self, told: Told, was_hit: bool) {
        let mut failed = |what: &str, error: &str| {
            assert!(was_hit, "{what}: {error}");
            *self.mishaps.entry("failed".to_owned()).or_default() += 1;
        };
        match told {
            Told::Started(site, Ok(running)) => self.sites[site].running = Some(running),
            Told::Started(_, Err(error)) => failed("a start", &error),
            Told::Joined(agent, Ok(answer)) => {
                self.oracle.was_let_in(&answer.node);
                self.agents[agent].joined(&answer);
            }
            Told::Joined(_, Err(error)) => failed("a join", &error),
            Told::Heard(agent, heard) => {
                let was_reached = heard.is_ok();
                match heard {
                    Ok(Heard::Nothing) => {}
                    Ok(Heard::News(news)) => self.agents[agent].answers.push(*news),
                    Ok(Heard::Revoked) => {
                        let id = self.agents[agent].member.as_ref().unwrap().identity.node.clone();
                        let node = self.oracle.nodes().await.get(&id).cloned();
                        assert!(node.is_some_and(|node| !node.is_active()), "{id} is told that it was revoked");
                        self.agents[agent].cut_off();
                    }
                    Ok(Heard::Stranger) => {
                        assert!(
                            self.agents[agent].is_orphan,
                            "the database forgot {}",
                            self.agents[agent].request.name
                        );
                    }
                    Err(error) => failed("a poll", &error),
                }
                if was_reached {
                    self.agents[agent].reached(self.now);
                }
            }
            Told::Cut(node, Ok(receipt)) => {
                self.oracle.was_cut(&node);
                for host in &receipt.in_force {
                    let agent = self.agents.iter().find(|agent| agent.request.name == host.name).unwrap();
                    self.oracle.receipt(&node, agent);
                }
            }
            Told::Cut(_, Err(error)) => failed("a revoke", &error),
            Told::Left(agent, Ok(())) => {
                let id = self.agents[agent].member.as_ref().unwrap().identity.node.clone();
                self.oracle.was_cut(&id);
                self.agents[agent].cut_off();
            }
            Told::Left(_, Err(error)) => failed("a farewell", &error),
            Told::Done(what, Err(error)) => failed(&format!("{what:?}"), &error),
            Told::Followed(_, _, Err(error)) => failed("a look at what others did", &error),
            Told::Followed(site, out, Ok(())) => self.followed(site, &out),
            Told::BackedUp(file, Ok(())) => self.backup = Some(file),
            Told::BackedUp(_, Err(error)) => failed("a backup", &error),
            Told::Done(_, Ok(())) => {}
        }
    }

    /// A controller that has looked knows of all who are out.
    fn followed(&self, site: usize, out: &[NodeId]) {
        let Some(running) = &self.sites[site].running else { return };
        for id in out {
            let known = running.controller.wanted.of(id);
            assert_eq!(known, HostWanted::Revoked, "controller {site} does not know that {id} is out");
        }
    }

    /// What must hold, whatever was done.
    pub(super) async fn check(&mut self) {
        self.oracle.look().await;
        for agent in &self.agents {
            if !agent.is_orphan && !self.is_behind {
                self.oracle.agent(agent);
            }
        }
    }

    /// Has a host that was not let in yet ask for it.
    pub(super) async fn join(&mut self, agent: usize) {
        let site = self.agents[agent].at;
        let request = self.agents[agent].request.clone();
        match self.idle(site) {
            Some(running) => self.run(site, join(running, agent, request)).await,
            None => self.agents[agent].at = (site + 1) % SITES,
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }
}

/// A clock that is ahead by so much.
pub(super) const fn shifted(now: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(now.as_millis() + millis)
}

/// A validator by its number.
pub(super) fn prep(number: u8) -> picket_model::PrepId {
    format!("hx{number:040x}").parse().unwrap()
}
