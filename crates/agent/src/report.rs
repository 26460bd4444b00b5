//! What the host tells: the report as a value, and its way to the controller. One report waits at most, the newest.

use crate::{chain::Word, reconcile::Found, spans, subscribe::pause};
use picket_api::{AgentClient, ApiError};
use picket_model::{Digest, Generation, NodeReport};
use picket_telemetry::TraceParent;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    time::Duration,
};
use tokio::time::Instant;
use tracing::Instrument as _;

/// The report on what was found, by a host that holds the content with this digest; `word` is goloop's last.
pub fn report(
    found: &Found,
    applied: Generation,
    digest: Option<&Digest>,
    refused: Option<String>,
    engine: String,
    word: Word,
) -> NodeReport {
    NodeReport {
        applied,
        digest: digest.cloned(),
        refused,
        wireguard: found.wireguard.clone(),
        firewall: found.firewall.clone(),
        kernel: found.kernel.clone(),
        peers: found.peers.clone(),
        engine,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        chain: word.chain,
        advertised: word.advertised,
        unproven: BTreeMap::new(),
        firewall_repairs: None,
        state: None,
        taken_back: None,
        silent: BTreeSet::new(),
        defences: None,
        paths: None,
        syncs: BTreeMap::new(),
        narrow: BTreeMap::new(),
        refused_sources: None,
    }
}

type Sending = Pin<Box<dyn Future<Output = (Waiting, Result<(), ApiError>)>>>;

/// A report, and the span in which what it says was done.
struct Waiting {
    report: NodeReport,
    done_in: Option<TraceParent>,
}

/// Brings reports to the controller, one at a time.
#[derive(Default)]
pub struct Reporter {
    newest: Option<Waiting>,
    sending: Option<Sending>,
    /// When the one under way leaves; until then a newer one may take its place.
    leaves_at: Option<Instant>,
}

impl Reporter {
    /// Sends a report after a while, or keeps it in place of the one that waits.
    pub fn put(&mut self, report: NodeReport, client: &AgentClient, delay: Duration) {
        if self.leaves_at.is_some_and(|leaves_at| Instant::now() < leaves_at) {
            self.sending = None;
        }
        // What is done is told by the next report, whatever that is made for.
        let unsent = self.newest.take().and_then(|unsent| unsent.done_in);
        self.newest = Some(Waiting { report, done_in: TraceParent::current().or(unsent) });
        self.send_newest(client, delay);
    }

    /// Waits until a report has arrived or failed to; forever where none is under way. May be dropped at any time.
    pub async fn sent(&mut self) -> Result<(), ApiError> {
        let Some(sending) = &mut self.sending else { return std::future::pending().await };
        let (sent, result) = sending.await;
        self.sending = None;
        if result.is_err() && self.newest.is_none() {
            self.newest = Some(sent);
        }
        result
    }

    /// Sends the report that waits, if any, after a while.
    pub fn send_newest(&mut self, client: &AgentClient, delay: Duration) {
        if self.sending.is_some() {
            return;
        }
        let Some(waiting) = self.newest.take() else { return };
        let client = client.clone();
        self.leaves_at = Some(Instant::now() + delay);
        self.sending = Some(Box::pin(async move {
            pause(delay).await;
            let report = &waiting.report;
            let span = spans::report(report.applied, waiting.done_in.as_ref());
            let result = client.report(report).instrument(span.clone()).await;
            if result.is_err() {
                span.record("otel.status_code", "ERROR");
            }
            (waiting, result)
        }));
    }
}
