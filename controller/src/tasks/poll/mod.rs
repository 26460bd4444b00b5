//! Asking the sources, by the clock and when one of them says that something changed. What the answers mean is judged
//! elsewhere ([`judge`](super::judge)): a source that is slow holds up the next question and no judgement.

mod ask;
mod common;
mod rest;

pub(crate) use ask::Asker;

use super::report;
use crate::{controller::Controller, store::StoreError};
use picket_model::{Observation, SourceId};
use picket_plan::needed;
use picket_telemetry::{SPANS, TraceParent};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};
use tokio::{sync::watch, time::sleep};
use tracing::{Instrument as _, info_span};

/// How often a controller that does not ask looks whether it is to.
const NOT_MINE: Duration = Duration::from_millis(500);

/// What one source gave.
pub(crate) type Answer = Result<Observation, String>;

/// One round of answers.
#[derive(Debug)]
pub(crate) struct Round {
    /// Of every source configured.
    pub(crate) answers: BTreeMap<SourceId, Answer>,
    /// When the last one came.
    pub(crate) arrived: Instant,
    /// Whether they were judged already; an order or a lookup has them judged again.
    pub(crate) judged: AtomicBool,
    /// The span in which they were asked for.
    pub(crate) asked_in: Option<TraceParent>,
}

/// The last round; `None` before the first is over.
pub(crate) type Rounds = watch::Sender<Option<Arc<Round>>>;

/// Polls at once, and then again and again.
pub(crate) async fn run(controller: Arc<Controller>, mut asker: Asker) {
    let mut wakes = controller.push.wakes();
    loop {
        let began = Instant::now();
        if !controller.duties.is_mine() {
            // What was asked for long ago is nothing to judge by, should the duty come back.
            controller.rounds.send_if_modified(|round| round.take().is_some());
            sleep(NOT_MINE).await;
            continue;
        }
        let span = info_span!(target: SPANS, "poll");
        if let Err(error) = run_once(&controller, &mut asker).instrument(span).await {
            report("poll", &error);
        }
        tokio::select! {
            () = sleep(with_jitter(controller.chain.poll())) => {}
            () = wakes.woken(began) => {}
        }
    }
}

/// One round.
async fn run_once(controller: &Controller, asker: &mut Asker) -> Result<(), StoreError> {
    let policy = controller.store.read().await?.policy().await?.unwrap_or_default().1;
    let mut answers = asker.ask(needed(&policy, controller.chain.sources.len())).await;
    for (id, answer) in &answers {
        controller.counts.polled(id.as_str(), answer.is_ok());
        if let Err(error) = answer {
            tracing::warn!(source = %id, error, "source failed");
        }
    }
    // Events are news from the heights on that the sources have reached, whatever they are asked for below.
    let heights = answers.iter().filter_map(|(id, answer)| Some((id.clone(), answer.as_ref().ok()?.height)));
    controller.push.polled(heights);
    asker.ask_again(&mut answers, &policy).await;
    controller.rounds.send_replace(Some(Arc::new(Round {
        answers,
        arrived: Instant::now(),
        judged: AtomicBool::new(false),
        asked_in: TraceParent::current(),
    })));
    Ok(())
}

/// A tenth more or less, so that controllers do not ask an endpoint in step.
fn with_jitter(interval: Duration) -> Duration {
    let [byte] = picket_pki::random().unwrap_or([128]);
    interval.mul_f64(0.9 + f64::from(byte) / 255.0 * 0.2)
}
