//! The agent's `/health`, `/ready` and `/metrics`, and what is written there.

use super::{
    Counts,
    health::{Seen, Verdict},
};
use crate::status::LastWord;
use picket_http::{Connections, Limits, Server};
use picket_model::{NodeConfig, Timestamp};
use picket_telemetry::{Metrics, Readiness, health};
use std::{
    fmt,
    net::SocketAddr,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use thiserror::Error;
use tokio::{net::TcpListener, time::sleep};
use tracing::{debug, info, warn};

/// A word that was not said again for so long says nothing any more: thrice the agent's comparison with the kernel.
const STALE: Duration = Duration::from_secs(90);
/// The same of a node, which is looked at each five seconds.
const NODE_STALE: Duration = Duration::from_secs(30);

/// How often a place is tried that could not be had.
const AGAIN: Duration = Duration::from_secs(5);

/// Where the agent answers, or that it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

/// Neither an address nor `off`.
#[derive(Debug, Error)]
#[error("{0:?} is neither IP:PORT nor off")]
pub struct PlaceError(String);

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match text {
            "off" => Ok(Self::Off),
            text => text.parse().map(Self::At).map_err(|_| PlaceError(text.to_owned())),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => write!(f, "{address}"),
        }
    }
}

/// Who asks whether this host is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Somebody who wants to know all that is wrong.
    Operator,
    /// Something that replaces hosts that are not: what is wrong with all at once is no reason, or a chain that stands would have
    /// every sentry thrown away.
    Balancer,
}

/// What is shown. Clones show the same.
#[derive(Clone, Debug)]
pub struct Board {
    metrics: Arc<Metrics>,
    counts: Counts,
    facts: Arc<Mutex<Facts>>,
}

#[derive(Debug, Default)]
struct Facts {
    /// When the agent last spoke, and what is missing by its word.
    agent: Option<(Instant, Vec<String>)>,
    /// Whether there is a node to look at, and the last look.
    has_node: bool,
    node: Option<(Instant, Verdict)>,
}

impl Board {
    /// An empty one, of the program of this name.
    pub fn new(program: &str) -> Self {
        let mut metrics = Metrics::new(program, env!("CARGO_PKG_VERSION"));
        let counts = Counts::new(&mut metrics);
        Self { metrics: Arc::new(metrics), counts, facts: Arc::default() }
    }

    /// The registry, for the documentation.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What is counted where it happens.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// There is a node beside this agent: without a word about it this host is not ready.
    pub fn expect_node(&self) {
        self.lock().has_node = true;
    }

    /// Shows what the agent says of itself.
    pub fn tell(&self, word: &LastWord, wanted: Option<&NodeConfig>, certificate_ends: Timestamp) {
        self.counts.show(word, wanted, certificate_ends);
        let report = &word.report;
        let parts = [("tunnels", &report.wireguard), ("firewall", &report.firewall)];
        let failed = parts.into_iter().filter(|(_, status)| !status.is_in_force());
        let mut missing: Vec<String> = failed.map(|(part, status)| format!("{part}: {status}")).collect();
        missing.extend(wanted.is_none().then(|| "no wanted state yet".to_owned()));
        missing.extend(report.refused.as_ref().map(|why| format!("refused what is wanted: {}", why.escape_debug())));
        self.lock().agent = Some((Instant::now(), missing));
    }

    /// Shows what a look at the node gave, and what follows from all looks.
    pub fn tell_node(&self, seen: &Seen, verdict: &Verdict, now: Instant) {
        self.counts.show_node(seen, verdict);
        self.lock().node = Some((now, verdict.clone()));
    }

    /// Whether this host can do its work, by the last words alone: nothing is asked here.
    pub fn readiness(&self, asker: Asker, now: Instant) -> Readiness {
        let facts = self.lock();
        let age = |at: &Instant| now.saturating_duration_since(*at);
        let mut reasons = match &facts.agent {
            None => vec!["nothing was read back yet".to_owned()],
            Some((at, _)) if age(at) > STALE => vec![format!("the agent said nothing for {} s", age(at).as_secs())],
            Some((_, missing)) => missing.clone(),
        };
        if facts.has_node {
            reasons.extend(match &facts.node {
                None | Some((_, Verdict::Unknown)) => Some("whether the node is well is not known yet".to_owned()),
                Some((at, _)) if age(at) > NODE_STALE => Some(format!(
                    "whether the node is well is not known: it was last looked at {} s ago",
                    age(at).as_secs()
                )),
                Some((_, Verdict::Unwell(trouble))) if asker == Asker::Balancer && trouble.may_be_everybodys => None,
                Some((_, Verdict::Unwell(trouble))) => Some(format!("the node: {}", trouble.why)),
                Some((_, Verdict::Well)) => None,
            });
        }
        Readiness { reasons }
    }

    /// Answers there, for as long as the agent runs. A place that cannot be had is said and is no reason to end.
    pub async fn serve(self, place: Place) {
        let Place::At(address) = place else { return };
        let listener = bound(address, "--health").await;
        info!(%address, "answering for health and metrics");
        let ready = self.asked(Asker::Operator);
        let router = health::router(ready, self.metrics);
        serve(
            listener,
            Server { router, tls: None, limits: Limits::everybody_anonymous(), connections: Connections::new() },
        )
        .await;
    }

    /// Answers a load balancer there, and whoever else asks: whether this host does its work, and nothing else.
    pub async fn serve_ready(self, address: SocketAddr) {
        let listener = bound(address, "--ready").await;
        info!(%address, "answering a load balancer");
        let router = health::ready_alone(self.asked(Asker::Balancer));
        serve(listener, Server { router, tls: None, limits: Limits::default(), connections: Connections::new() }).await;
    }

    fn asked(&self, by: Asker) -> impl Fn() -> Readiness + Clone + Send + Sync + use<> {
        let board = self.clone();
        move || board.readiness(by, Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: TcpListener, server: Server) {
    server.serve(listener, std::future::pending()).await;
}

/// Listens as soon as that is possible: an address inside the mesh comes with the tunnels, which come after this.
async fn bound(address: SocketAddr, option: &str) -> TcpListener {
    let mut is_said = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if is_said => debug!(%address, %error, option, "nothing is answered here yet"),
            Err(error) => {
                warn!(%address, %error, option, "nothing is answered here yet; tried again until it works, the option names another place");
                is_said = true;
            }
        }
        sleep(AGAIN).await;
    }
}
