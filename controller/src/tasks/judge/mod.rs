//! Judging the validator list: a merge of what the sources said last, what hosts say and what names gave, whenever one of
//! these changes, a person asks for it, or a line that ends by itself does. Waits for no source and no name server.

mod anew;
mod keep;
mod orders;
mod take;

pub(crate) use anew::Anew;
#[cfg(test)]
pub(crate) use take::run_once;

use super::report;
use crate::{controller::Controller, now};
use picket_model::Timestamp;
use picket_telemetry::{SPANS, traces::follow};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::sleep;
use tracing::{Instrument as _, field::Empty, info_span};

/// What hosts and name servers say within this time shares a merge.
const GATHER: Duration = Duration::from_millis(100);
/// Rest after a judgement that failed.
const AGAIN: Duration = Duration::from_secs(5);
/// Longest sleep until a line ends, so that a clock which was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// Judges for ever, for the first time when all sources have been asked once.
pub(crate) async fn run(controller: Arc<Controller>) {
    let mut rounds = controller.rounds.subscribe();
    let mut heard = controller.reports.advertised_news();
    let mut named = controller.names.news();
    let mut asked = controller.anew.asked();
    // The sender lives as long as the controller.
    let _ = rounds.wait_for(Option::is_some).await;
    loop {
        let round = rounds.borrow_and_update().clone();
        heard.mark_unchanged();
        named.mark_unchanged();
        asked.mark_unchanged();
        let Some(round) = round.filter(|_| controller.duties.is_mine()) else {
            // Another controller judges; the next round that is asked for here is judged here.
            let _ = rounds.changed().await;
            continue;
        };
        let span = info_span!(target: SPANS, "merge", validators = Empty);
        // What is judged once more, an order or a line's end asked for.
        if !round.judged.load(Ordering::Relaxed) {
            follow(&span, round.asked_in.as_ref());
        }
        let pause = match take::run_once(&controller, &round).instrument(span).await {
            Ok(end) => end.map_or(LONGEST_SLEEP, |end: Timestamp| end.since(now()).min(LONGEST_SLEEP)),
            Err(error) => {
                report("judge", &error);
                AGAIN
            }
        };
        tokio::select! {
            _ = rounds.changed() => {}
            _ = asked.changed() => {}
            _ = heard.changed() => sleep(GATHER).await,
            _ = named.changed() => sleep(GATHER).await,
            () = sleep(pause) => {}
        }
    }
}
