//! The agent at work: one loop over everything that can wake it. What is held is brought into force before anybody is
//! asked; a newer wanted state is judged, written down, brought into force, and reported, in this order.

mod certificate;
mod company;
mod confirming;
mod cut_off;
mod force;
mod home;
mod own_proof;
mod rekey;
mod serving;
mod shield;
mod signals;
mod telling;
mod trust;
mod tunnels;
mod vouching;
mod ways;

use crate::{
    chain::ChainWatch,
    cli::Place,
    confirm,
    decide::{Here, Redial, Refusal, judge},
    endpoints,
    guard::{Guard, GuardRules},
    host,
    identity::{Identity, Keys, client_certificate},
    leave::{self, Leaving},
    ledger::{Ledger, Standing},
    lockdown::{close_if_open, close_without_nft},
    pairing::PairKeys,
    paths::narrow::Narrow,
    reconcile::{Found, HostFilter, HostTunnels},
    refused::Refused,
    rekey::{Awaited, KeyWord, Rekey},
    renewal::Renewals,
    report::Reporter,
    sessions,
    shield::Shield,
    spans, spread,
    state::{StateDir, StateLock},
    subscribe::{self, Controllers, Poll},
    trust::CaWatch,
    vouch::Vouched,
    watch::{Board, NodeOptions, watch},
};
use anyhow::{Context as _, Result, bail, ensure};
use company::Company;
use confirming::{Before, Confirming};
pub(crate) use cut_off::cut_off;
use cut_off::is_revoked;
use home::WayHome;
use own_proof::OwnProof;
use picket_api::{ApiError, ConfigAnswer, Newer, ca::MeshCas, node::RenewResponse};
use picket_chain::node::Goloop;
use picket_firewall::Nft;
use picket_gateway::Gateway;
use picket_model::{Digest, Generation, NodeConfig, NodeRole};
use picket_pki::{Fingerprint, validity_of};
use picket_wireguard::Preference;
use sd_notify::NotifyState;
use signals::{Signals, notify};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};
use tracing::{Instrument as _, Span, error, field, info, warn};
use vouching::{Answers, Vouching};
use ways::Ways;

/// How often everything is compared with what is wanted, and reported, though nothing happened.
const DRIFT: Duration = Duration::from_secs(30);
/// How long a controller is left alone after it gave an answer that cannot be taken.
const AFTER_NONSENSE: Duration = Duration::from_secs(30);
/// "Nothing newer" sooner than this is not what a long poll says.
const SHORTEST_POLL: Duration = Duration::from_secs(1);
/// While a tunnel waits for its first handshake it is looked at after the first of these, then ever more seldom; at the first pace
/// for a while where a peer is about to use another key.
const LOOK: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// How often tunnels are looked at: where peers are now, and whose handshakes may fail under a new preshared key.
const PAIRS: Duration = Duration::from_secs(5);

/// An agent that was killed may have been about to start a program, which has its lock for a moment yet.
const AFTER_A_KILL: Duration = Duration::from_secs(1);

/// How the agent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to stop. The firewall stays in force.
    Stopped,
    /// The host was cut from the mesh.
    Revoked,
    /// The host left the mesh by its own word.
    Left,
}

/// Everything that can wake the agent.
enum Event {
    Answered(Result<Option<Newer>, ApiError>),
    Reported(Result<(), ApiError>),
    Drift,
    Disturbed,
    Pairs,
    Attacks,
    Look,
    Redial,
    Moved,
    Chain,
    Certificate,
    Renewed(Result<RenewResponse, ApiError>),
    Looked(Answers),
    Proof,
    Proved(Result<String>),
    Rekeyed(Result<KeyWord, ApiError>),
    Probed(bool),
    Home(bool),
    Cas((Result<Option<MeshCas>, ApiError>, Option<Fingerprint>)),
    Stop(&'static str),
}

/// Runs until it is told to stop or the host is revoked. `goloop` is the host's own node, where there is one to ask: a validator's
/// for what its peers advertise, a sentry's for its height; `watched` is looked at for its health. What this host shows of itself
/// goes to `board`.
pub async fn run(
    place: &Place,
    preference: Preference,
    (goloop, watched): (Option<Goloop>, Option<NodeOptions>),
    (role, leaving): (NodeRole, Leaving),
    board: Board,
) -> Result<End> {
    let state = StateDir::new(&place.state_dir);
    let Some(identity) = Identity::load(&state).transpose() else {
        bail!(
            "this host is not enrolled ({} has no identity): run `picket-{role}-agent enroll`",
            place.state_dir.display()
        );
    };
    // Whatever keeps the agent from its work below, guarded ports are not open meanwhile.
    let mut filter = match Nft::locate() {
        Ok(nft) => HostFilter::new(nft, place),
        Err(error) => return Err(close_without_nft(place, error.into())),
    };
    if let Err(error) = close_if_open(place, &mut filter).await {
        let error = close_without_nft(place, error);
        error!(error = format!("{error:#}"), "whether guarded ports are closed is not known");
    }
    let identity = identity?;
    let identity = Identity { controllers: spread::order(&identity.controllers, &identity.name), ..identity };
    ensure!(
        identity.role == role,
        "this host is enrolled as a {0}, this is the agent of a {role}: run picket-{0}-agent",
        identity.role
    );
    identity.check_machine(&state, host::machine_id().as_deref())?;
    let lock = state.lock_within(AFTER_A_KILL).await?;
    let guard = Guard::new(GuardRules::load(place.guard.as_deref())?, &identity, Vouched::load(&state)?);
    let vouching = Vouching::new(&guard.rules)?;
    let ledger = Ledger::load_of(&state, &identity).context("nothing was started or changed")?;
    let ledger = confirming::pick_up(&state, ledger, host::now());
    let keys = Keys::load(&state)?;
    let csr_pem = keys.tls.csr_pem()?;
    let pairs = PairKeys { mesh: identity.mesh.clone(), identity: keys.identity };
    let own_proof = OwnProof::new(&state, keys.tls.public_key_sha256())?;
    let (goloop, beside) = if role == NodeRole::Prep { (goloop, None) } else { (None, goloop) };
    let ways = Ways::new(place.interface.clone(), &identity, &state, beside);
    let endpoints = endpoints::Keeper::open(state.clone());
    let mut tunnels = HostTunnels::new(&place.interface, preference, keys.wireguard, pairs);
    tunnels.look_at(endpoints.kept().clone());
    if ledger.standing == Standing::Revoked {
        return cut_off(&state, ledger, &guard, tunnels, filter).await;
    }
    let certificate = client_certificate(&state)?;
    let validity = validity_of(&certificate.certificate_pem).context("read how long this host's certificate lasts")?;
    let controllers = Controllers::new(&identity, &certificate)?;
    let renewals = Renewals::new(validity, csr_pem);
    info!(name = %identity.name, node = %identity.node, mesh = %identity.mesh, revision = %ledger.revision(), "enrolled");
    let chain = ChainWatch::start(goloop, identity.node.clone());
    // Ends with this function.
    let mut beside = JoinSet::new();
    watched.into_iter().for_each(|node| {
        beside.spawn(watch(board.clone(), identity.node.clone(), node));
    });
    let held = Held { identity, guard, ledger, state, _lock: lock };
    let agent = Agent::new(
        held,
        (tunnels, endpoints, ways),
        filter,
        controllers,
        renewals,
        chain,
        (vouching, own_proof, board, Refused::start(place.host_facts().features.log_group)),
    );
    agent.work(Signals::new()?, leaving).await
}

/// What is on disk.
struct Held {
    identity: Identity,
    guard: Guard,
    ledger: Ledger,
    state: StateDir,
    _lock: StateLock,
}

struct Agent {
    held: Held,
    digest: Option<Digest>,
    tunnels: HostTunnels,
    endpoints: endpoints::Keeper,
    ways: Ways,
    told_narrow: Narrow,
    filter: HostFilter,
    company: Company,
    gateway: Gateway,
    controllers: Controllers,
    way_home: WayHome,
    renewals: Renewals,
    cas: CaWatch,
    rekey: Rekey,
    awaited: Awaited,
    confirming: Confirming,
    chain: ChainWatch,
    vouching: Vouching,
    own_proof: OwnProof,
    reporter: Reporter,
    board: Board,
    /// Revision judged last: the one held, or a newer one that the guard refused.
    after: Generation,
    asked_at: Instant,
    applied: Generation,
    refused: Option<String>,
    found: Option<Found>,
    drift: Interval,
    pairs: Interval,
    refused_sources: Refused,
    shield: Shield,
    tightness: shield::Tightness,
    attacks: Interval,
    look: Duration,
    redial: Redial,
    redial_at: Instant,
}

impl Agent {
    fn new(
        held: Held,
        (tunnels, endpoints, ways): (HostTunnels, endpoints::Keeper, Ways),
        filter: HostFilter,
        controllers: Controllers,
        renewals: Renewals,
        chain: ChainWatch,
        (vouching, own_proof, board, refused_sources): (Vouching, OwnProof, Board, Refused),
    ) -> Self {
        let refused = held.ledger.admitted(&held.guard).err();
        if let Some(violation) = &refused {
            error!(%violation, "the guard refuses the wanted state that is held: guarded ports are closed");
        }
        let (shield, tightness) = shield::resumed(&held.state, host::now());
        Self {
            after: held.ledger.judged(),
            asked_at: Instant::now(),
            digest: held.ledger.config.as_ref().map(NodeConfig::digest),
            refused: refused.map(|violation| violation.to_string()),
            held,
            company: Company::new(tunnels.interface()),
            tunnels,
            endpoints,
            ways,
            told_narrow: Narrow::new(),
            filter,
            gateway: Gateway::default(),
            controllers,
            way_home: WayHome::default(),
            renewals,
            cas: CaWatch::default(),
            rekey: Rekey::default(),
            awaited: Awaited::default(),
            confirming: Confirming::default(),
            chain,
            vouching,
            own_proof,
            reporter: Reporter::default(),
            board,
            applied: Generation::default(),
            found: None,
            drift: every(DRIFT),
            pairs: every(PAIRS),
            refused_sources,
            shield,
            tightness,
            attacks: every(shield::SHIELD),
            look: LOOK[0],
            redial: Redial::begin(),
            redial_at: Instant::now(),
        }
    }

    async fn work(mut self, mut signals: Signals, leaving: Leaving) -> Result<End> {
        self.bring_into_force().await;
        self.dial_soon();
        self.seek_confirmation();
        notify(NotifyState::Ready);
        let mut poll = self.ask(Duration::ZERO);
        self.ask_for_cas(Duration::ZERO);
        loop {
            let look_at = Instant::now() + self.look;
            let waits = self.waits_for_handshake();
            let event = tokio::select! {
                stop = signals.stop() => Event::Stop(stop),
                answer = &mut poll => Event::Answered(answer),
                sent = self.reporter.sent() => Event::Reported(sent),
                () = sleep_until(look_at), if waits => Event::Look,
                () = sleep_until(self.redial_at), if waits && self.redial.pause().is_some() => Event::Redial,
                () = self.ways.moved() => Event::Moved,
                () = self.chain.news() => Event::Chain,
                next = self.renewals.next() => next.map_or(Event::Certificate, Event::Renewed),
                looked = self.vouching.next() => Event::Looked(looked),
                proved = self.own_proof.next() => proved.map_or(Event::Proof, Event::Proved),
                answer = self.cas.answered() => Event::Cas(answer),
                answer = self.rekey.answered() => Event::Rekeyed(answer),
                () = self.company.disturbed(&self.filter) => Event::Disturbed,
                reached = self.confirming.next() => Event::Probed(reached),
                answers = self.way_home.looked() => Event::Home(answers),
                _ = self.drift.tick() => Event::Drift,
                _ = self.pairs.tick() => Event::Pairs,
                _ = self.attacks.tick() => Event::Attacks,
            };
            match event {
                Event::Stop(name) => {
                    notify(NotifyState::Stopping);
                    if leaving == Leaving::OnStop && leave::said(self.controllers.client()).await {
                        self.gateway.follow(&[]).await;
                        let Held { state, ledger, guard, _lock, .. } = self.held;
                        cut_off(&state, ledger, &guard, self.tunnels, self.filter).await?;
                        return leave::forget(&state).map(|()| End::Left);
                    }
                    // Nobody would be left to take it back.
                    self.give_up_trial().await;
                    info!(signal = name, "stopped; the firewall stays in force");
                    return Ok(End::Stopped);
                }
                Event::Answered(Err(error)) | Event::Reported(Err(error)) | Event::Renewed(Err(error))
                    if is_revoked(&error) =>
                {
                    error!(%error, "revoked");
                    self.gateway.follow(&[]).await;
                    let Held { state, ledger, guard, _lock, .. } = self.held;
                    return cut_off(&state, ledger, &guard, self.tunnels, self.filter).await;
                }
                Event::Answered(answer) => poll = self.take(answer).await,
                Event::Reported(sent) => self.reported(sent),
                Event::Moved => self.reroute().await,
                Event::Chain => self.tell(),
                Event::Certificate => self.renewals.begin(&self.held.identity, &self.controllers, host::now()),
                Event::Renewed(Ok(renewed)) => {
                    if self.renewed(&renewed) {
                        poll = self.ask(Duration::ZERO);
                    }
                }
                Event::Renewed(Err(error)) => self.not_renewed(&error),
                Event::Looked(answers) => self.looked(answers).await,
                Event::Proof => self.prove(),
                Event::Proved(ended) => self.own_proof.ended(ended, &self.held.state),
                Event::Cas((answer, alone)) => self.heard_of_cas(answer, alone),
                Event::Drift => self.compare().await,
                Event::Disturbed => self.repair().await,
                Event::Pairs => self.watch_tunnels().await,
                Event::Attacks => self.watch_attacks().await,
                Event::Probed(reached) => self.probed(reached).await,
                Event::Home(true) => poll = self.go_home(),
                Event::Home(false) => {}
                Event::Rekeyed(answer) => self.rekeyed(answer).await,
                Event::Look => self.look().await,
                Event::Redial => self.redial().await,
            }
        }
    }

    /// Deals with an answer; the next poll.
    async fn take(&mut self, answer: Result<Option<Newer>, ApiError>) -> Poll {
        self.board.counts().answered(match &answer {
            Ok(Some(_)) => "news",
            Ok(None) => "nothing",
            Err(_) => "failed",
        });
        let answer = match answer {
            Ok(answer) => {
                self.controllers.answered();
                self.renewals.renewal.called(true);
                answer
            }
            Err(error) => {
                self.renewals.renewal.called(false);
                let alone = self.controllers.failed(&error);
                let delay = spread::delay(alone, &error, self.held.identity.controllers.len());
                self.controllers.turn();
                // A poll may wait for long; the report that goes with it tells at once that the controller is back,
                // and a controller that lost what it knew learns how this host stands.
                self.tell_after(delay);
                return self.ask(delay);
            }
        };
        let Some(Newer { answer, planned_in }) = answer else {
            // Woken for something else, or for nothing: an operator may wish for another key.
            self.rekey.ask_again();
            self.look_for_next_key();
            // A controller that stops says "nothing newer" early; it is not to be asked at full speed until it is gone.
            let early = self.asked_at.elapsed() < SHORTEST_POLL;
            self.look_home(early);
            return self.ask(if early { subscribe::retry_after() } else { Duration::ZERO });
        };
        let span = spans::configuration(&self.held.identity.name, self.held.ledger.revision(), &answer, planned_in);
        self.receive(answer).instrument(span).await
    }

    /// Deals with a newer wanted state; the next poll.
    async fn receive(&mut self, answer: ConfigAnswer) -> Poll {
        let (held, offered, digest) = (self.held.ledger.revision(), answer.revision, answer.digest.clone());
        let Held { identity, guard, ledger, .. } = &self.held;
        let here = Here { identity, guard, ledger, sessions: &sessions::established(), now: host::now() };
        let judged = spans::judge().in_scope(|| judge(here, answer));
        match judged {
            Ok(config) => {
                let was_away = match self.look_before(&config).await {
                    Before::Known { was_away } => was_away,
                    // The loop takes it, and hears everything else in between.
                    Before::Newer(answer) => return Box::pin(std::future::ready(*answer)),
                };
                let accepted = self.accept(config, digest, was_away);
                self.bring_into_force().await;
                self.dial_soon();
                self.seek_confirmation();
                self.ask(if accepted { Duration::ZERO } else { AFTER_NONSENSE })
            }
            Err(refusal) => {
                warn!(%offered, %held, %refusal, "wanted state refused; what is in force stays");
                self.refused = Some(refusal.to_string());
                Span::current().record("refused", field::display(&refusal));
                self.tell();
                match refusal {
                    Refusal::TooSoon { left, .. } => {
                        if self.held.ledger.config.as_ref() != Some(&*left) {
                            let config = Some(*left);
                            self.hold(Ledger { config, ..self.held.ledger.clone() });
                            self.bring_into_force().await;
                        }
                        self.ask(AFTER_NONSENSE)
                    }
                    // The guard's no is for good: only something newer is worth hearing.
                    Refusal::Guard { .. } => {
                        self.after = offered;
                        self.ask(Duration::ZERO)
                    }
                    _ => self.ask(AFTER_NONSENSE),
                }
            }
        }
    }

    /// Asks, after a while, for something newer than what was judged last.
    fn ask(&mut self, delay: Duration) -> Poll {
        self.asked_at = Instant::now() + delay;
        let held = self.digest.clone().zip(self.held.ledger.config.clone());
        self.controllers.poll(self.after, held.map(|(digest, config)| picket_api::node::Held { digest, config }), delay)
    }

    /// Writes a wanted state down; only then is it held. Whether that went well.
    fn accept(&mut self, config: NodeConfig, digest: Digest, was_away: bool) -> bool {
        let (generation, revision) = (config.generation, config.revision);
        let ledger = confirm::taken(&self.held.ledger, config, was_away, host::now());
        if let Err(error) = ledger.save(&self.held.state) {
            error!(%revision, error = format!("{:#}", anyhow::Error::from(error)), "wanted state not written down, not taken");
            self.refused = Some(format!("revision {revision} could not be written to the ledger"));
            return false;
        }
        info!(%generation, %revision, "wanted state accepted");
        self.held.ledger = ledger;
        self.after = revision;
        self.digest = Some(digest);
        self.refused = None;
        true
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
