//! Many played agents in this process: each has its own keys, certificate, address and connection, holds the long poll, says what it
//! holds, and reports at once that it is in force, and each half minute. Reconnects with the pause that agents take, to the next
//! controller where there are several.

use super::{
    super::agents::{in_force, request},
    link::{Link, News},
    place::Place,
};
use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use picket_api::{EnrollResponse, OperatorClient, operator::CreateToken};
use picket_model::NodeRole;
use picket_pki::{ClientCertificate, Fingerprint, TlsKey, client_config, random};
use std::{
    collections::{BTreeMap, BTreeSet},
    iter::repeat_n,
    net::Ipv4Addr,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    task::JoinHandle,
    time::{interval_at, timeout},
};
use tokio_rustls::rustls::ClientConfig;

/// Enrolments under way at once.
const AT_ONCE: usize = 64;
/// So many hosts one token is good for, at most.
const A_TOKEN: u32 = 1_000;
/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// Longest pause before an agent asks again, as the real one has it: anything up to it.
const RETRY: Duration = Duration::from_secs(3);

/// How often an agent compares with its kernel and says how it stands, as the real one does.
const REPORTED: Duration = Duration::from_secs(30);

/// What an agent has to say.
#[derive(Debug)]
pub(super) enum Word {
    /// A wanted state was read to its end.
    News(News),
    /// The controller took the report, on a new connection.
    Back,
}

/// When which agent said what.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) agent: u32,
    pub(super) at: Instant,
    pub(super) word: Word,
}

/// The agents.
pub(super) struct Fleet {
    runtime: Runtime,
    pub(super) operator: OperatorClient,
    ca: Fingerprint,
    agents: u32,
    identities: Vec<Arc<ClientConfig>>,
    /// Those about whose shield there is an order.
    pub(super) shielded: BTreeSet<u32>,
    said: mpsc::UnboundedReceiver<Said>,
    saying: mpsc::UnboundedSender<Said>,
    /// Attempts to connect that came to nothing.
    failures: Arc<AtomicU32>,
    /// Where the controllers are.
    ports: Arc<[u16]>,
    /// Which of them each agent turns to.
    whereabouts: Whereabouts,
}

/// The number of the controller that each agent turns to.
type Whereabouts = Arc<Mutex<Vec<usize>>>;

impl Fleet {
    /// None yet.
    pub(super) fn new(place: &Place) -> anyhow::Result<Self> {
        // Threads that are started inside stay inside, and so do their sockets.
        let runtime = place.host()?.inside(|| Builder::new_multi_thread().worker_threads(1).enable_all().build())??;
        let (ca, operator) = {
            let _inside = runtime.enter();
            place.operator()?
        };
        let (saying, said) = mpsc::unbounded_channel();
        Ok(Self {
            runtime,
            operator,
            ca,
            agents: 0,
            identities: Vec::new(),
            shielded: BTreeSet::new(),
            said,
            saying,
            failures: Arc::default(),
            ports: place.ports().into(),
            whereabouts: Arc::default(),
        })
    }

    /// Enrols so many more and has them ask; returns how long the enrolments took, once each has its first wanted state.
    pub(super) fn grow(&mut self, more: u32) -> anyhow::Result<Duration> {
        let tokens = (0..more.div_ceil(A_TOKEN)).map(|_| {
            let request = CreateToken::new(NodeRole::Prep, more.min(A_TOKEN), 24 * 3600);
            let operator = self.operator.clone();
            self.run(async move { Ok(operator.create_token(&request).await?.token) })
        });
        let tokens = tokens.collect::<anyhow::Result<Vec<_>>>()?;
        let first = self.agents;
        self.agents += more;
        let tokens = tokens.iter().flat_map(|token| repeat_n(token.clone(), A_TOKEN as usize));
        let seats: Vec<_> = (first..first + more).zip(tokens).collect();
        let (ca, started) = (self.ca, Instant::now());
        let controllers = self.ports.len();
        lock(&self.whereabouts).extend((first..first + more).map(|agent| agent as usize % controllers));
        let ports = self.ports.clone();
        let joined = self.run(async move {
            let joining = seats.into_iter().map(|(agent, token)| {
                let port = ports[agent as usize % controllers];
                async move { anyhow::Ok((agent, Arc::new(enrol(ca, &token, agent, port).await?))) }
            });
            let joined: Vec<_> = stream::iter(joining).buffer_unordered(AT_ONCE).collect().await;
            joined.into_iter().collect::<anyhow::Result<Vec<_>>>()
        })?;
        let took = started.elapsed();
        for (agent, tls) in joined {
            self.identities.push(tls.clone());
            let (whereabouts, ports) = (self.whereabouts.clone(), self.ports.clone());
            let played =
                Played { agent, tls, saying: self.saying.clone(), failures: self.failures.clone(), whereabouts, ports };
            self.runtime.spawn(played.play());
        }
        let all: Vec<u32> = (first..first + more).collect();
        self.wait_for(&all, |word| matches!(word, Word::News(_)))?;
        Ok(took)
    }

    /// Waits until each of these has said what is waited for; when each did, and the last of it.
    pub(super) fn wait_for(
        &mut self,
        agents: &[u32],
        is_meant: impl Fn(&Word) -> bool,
    ) -> anyhow::Result<BTreeMap<u32, Said>> {
        let mut missing: BTreeSet<u32> = agents.iter().copied().collect();
        let mut heard = BTreeMap::new();
        let said = &mut self.said;
        self.runtime.block_on(async {
            while !missing.is_empty() {
                let waited = timeout(PATIENCE, said.recv()).await;
                let word = waited.with_context(|| format!("{} agents heard nothing", missing.len()))?;
                let word = word.context("all agents ended")?;
                if is_meant(&word.word) {
                    missing.remove(&word.agent);
                    heard.insert(word.agent, word);
                }
            }
            anyhow::Ok(())
        })?;
        Ok(heard)
    }

    /// Forgets what was said so far.
    pub(super) fn forget(&mut self) {
        while self.said.try_recv().is_ok() {}
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.agents
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<u32> {
        (0..self.agents).collect()
    }

    /// Those who turn to a controller.
    pub(super) fn at(&self, controller: usize) -> Vec<u32> {
        (0..).zip(&*lock(&self.whereabouts)).filter(|(_, at)| **at == controller).map(|(agent, _)| agent).collect()
    }

    /// How often an attempt to connect came to nothing, since the last call.
    pub(super) fn failures(&self) -> u32 {
        self.failures.swap(0, Ordering::Relaxed)
    }

    /// Runs on the threads inside: a socket made on this one would be elsewhere.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
    ) -> anyhow::Result<T> {
        let work = self.runtime.spawn(async move { timeout(PATIENCE, work).await });
        self.runtime.block_on(work)?.context("the controller took too long")?
    }

    /// Begins a call on the threads inside, whose result [`finish`](Self::finish) waits for.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
    ) -> JoinHandle<anyhow::Result<T>> {
        self.runtime.spawn(work)
    }

    /// The result of a call.
    pub(super) fn finish<T>(&self, call: JoinHandle<anyhow::Result<T>>) -> anyhow::Result<T> {
        self.runtime.block_on(call)?
    }

    /// Has each agent ask so many times on one more connection without reading an answer, for so long; what it comes to is looked
    /// at meanwhile.
    pub(super) fn stalled<T>(
        &self,
        streams: usize,
        settled: Duration,
        look: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let (identities, ports) = (self.identities.clone(), self.ports.clone());
        let held = self.run(async move {
            let opening = identities.into_iter().zip(0..).map(|(tls, agent)| {
                let port = ports[agent as usize % ports.len()];
                async move {
                    let link = Link::open_narrow(tls, source(agent), port).await?;
                    let bodies = link.stall(streams).await?;
                    anyhow::Ok((link, bodies))
                }
            });
            let held: Vec<_> = stream::iter(opening).buffer_unordered(AT_ONCE).collect().await;
            held.into_iter().collect::<anyhow::Result<Vec<_>>>()
        })?;
        self.rest(settled);
        let seen = look();
        drop(held);
        seen
    }

    /// Lets the agents be for a while: what they still have to say to the controller, they say.
    pub(super) fn rest(&self, length: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(length).await });
    }
}

/// The agent's name, by which operators call it.
pub(super) fn name(agent: u32) -> String {
    format!("prep-{agent}")
}

/// An address of the loopback for each.
fn source(agent: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits((127 << 24) + (1 << 16) + 1 + agent)
}

async fn enrol(ca: Fingerprint, token: &str, agent: u32, port: u16) -> anyhow::Result<ClientConfig> {
    let tls = TlsKey::generate()?;
    let request = request(&tls, token, NodeRole::Prep, &name(agent))?;
    let stranger = Link::open(Arc::new(client_config(ca, None)?), source(agent), port).await?;
    let answer = stranger.enroll(serde_json::to_string(&request)?).await?;
    let EnrollResponse { certificate_pem, .. } =
        serde_json::from_str(&answer).context("read the enrolment's answer")?;
    let certificate = ClientCertificate { certificate_pem, key_pem: tls.key_pem() };
    Ok(client_config(ca, Some(&certificate))?)
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One agent at work.
struct Played {
    agent: u32,
    tls: Arc<ClientConfig>,
    saying: mpsc::UnboundedSender<Said>,
    failures: Arc<AtomicU32>,
    whereabouts: Whereabouts,
    ports: Arc<[u16]>,
}

impl Played {
    /// Until the process ends.
    async fn play(self) {
        let (mut held, mut is_first) = (None, true);
        loop {
            let at = lock(&self.whereabouts)[self.agent as usize];
            let ended = self.connected(self.ports[at], &mut held, is_first).await;
            if ended.is_err() && self.saying.is_closed() {
                return;
            }
            is_first = false;
            self.failures.fetch_add(1, Ordering::Relaxed);
            lock(&self.whereabouts)[self.agent as usize] = (at + 1) % self.ports.len();
            tokio::time::sleep(RETRY.mul_f64(share())).await;
        }
    }

    /// One connection, up to its end. With a new one an agent says at once how it stands.
    async fn connected(&self, port: u16, held: &mut Option<News>, is_first: bool) -> anyhow::Result<()> {
        let say = |word| self.saying.send(Said { agent: self.agent, at: Instant::now(), word });
        let link = Link::open(Arc::clone(&self.tls), source(self.agent), port).await?;
        if let Some(held) = held.as_ref().filter(|_| !is_first) {
            link.report(report(held)?).await?;
            say(Word::Back)?;
        }
        let mut due = interval_at(tokio::time::Instant::now() + REPORTED.mul_f64(share()), REPORTED);
        loop {
            let known = held.clone();
            let mut poll = pin!(link.poll(known.as_ref()));
            let news = loop {
                tokio::select! {
                    news = &mut poll => break news?,
                    // Beside the poll, as the real one does; what becomes of the connection shows there.
                    _ = due.tick() => if let Some(known) = &known {
                        let (link, report) = (link.clone(), report(known)?);
                        tokio::spawn(async move { drop(link.report(report).await) });
                    }
                }
            };
            let Some(news) = news else { continue };
            *held = Some(news.clone());
            say(Word::News(news.clone()))?;
            link.report(report(&news)?).await?;
        }
    }
}

/// Anything from none to all of it.
fn share() -> f64 {
    random::<1>().map_or(1.0, |[byte]| f64::from(byte) / 255.0)
}

fn report(held: &News) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&in_force(held.revision, &held.digest, 0))?)
}
