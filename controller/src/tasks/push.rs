//! Subscriptions to what the sources push, one each, and what they wake: an event makes the poll ask at once, and that is
//! all it does. A source that lies can make us ask, at most once a second; the list is judged as ever.

use crate::{controller::Controller, now};
use picket_chain::{
    Source, SourceKind,
    push::{Dialer, PushError, Stream, Subscription},
};
use picket_model::{SourceId, Timestamp};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, sleep_until},
};

/// Sources tell of the same block within this time; one poll is for all of them.
const GATHER: Duration = Duration::from_millis(100);
/// Shortest time from the beginning of one poll to that of another which an event woke.
const SHORTEST_ROUND: Duration = Duration::from_secs(1);
/// After each message we rest, so that a source which floods us costs little: 100 messages a second are read.
const REST: Duration = Duration::from_millis(10);

/// Wake-ups of one source in a row, and the time in which it gets another. Events are a few a day; a source that invents
/// more gets the list polled by the clock, and does not make us ask the honest ones until they refuse us.
const BURST: u32 = 10;
const REFILL: Duration = Duration::from_secs(30);

/// What the subscriptions share with the rest of the controller.
#[derive(Debug, Default)]
pub(crate) struct Push {
    /// Counts wake-ups.
    wakes: watch::Sender<u64>,
    /// Height of each source's last good answer to a poll.
    heights: watch::Sender<BTreeMap<SourceId, u64>>,
    states: Mutex<BTreeMap<SourceId, State>>,
}

/// How one subscription stands.
#[derive(Debug)]
enum State {
    Connected(Timestamp),
    Failed(PushError),
}

/// The poll's end of the wake-ups.
pub(crate) struct Wakes(watch::Receiver<u64>);

impl Push {
    /// For the one who polls.
    pub(crate) fn wakes(&self) -> Wakes {
        Wakes(self.wakes.subscribe())
    }

    /// A poll had these answers: from these heights on events are news.
    pub(crate) fn polled(&self, answers: impl Iterator<Item = (SourceId, u64)>) {
        self.heights.send_modify(|heights| heights.extend(answers));
    }

    /// How a source's subscription stands, for people; `None` where there is none yet.
    pub(crate) fn state(&self, source: &SourceId) -> Option<String> {
        match self.states().get(source)? {
            State::Connected(since) => Some(format!("connected since {since}")),
            State::Failed(error) => Some(error.to_string()),
        }
    }

    fn wake(&self) {
        self.wakes.send_modify(|wakes| *wakes = wakes.wrapping_add(1));
    }

    /// The height of the source's last good answer; waits for the first.
    async fn height(&self, source: &SourceId) -> Option<u64> {
        let mut heights = self.heights.subscribe();
        let known = heights.wait_for(|heights| heights.contains_key(source)).await.ok()?;
        known.get(source).copied()
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<SourceId, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wakes {
    /// Ends when an event has come since the last call, and the poll that `began` then is long enough ago.
    pub(crate) async fn woken(&mut self, began: Instant) {
        if self.0.changed().await.is_err() {
            // Nobody is left to wake us.
            std::future::pending::<()>().await;
        }
        sleep(GATHER).await;
        sleep_until((began + SHORTEST_ROUND).into()).await;
        self.0.mark_unchanged();
    }
}

/// Follows every source that is a node, unless the configuration says that they are polled only.
pub(crate) async fn run(controller: Arc<Controller>, dialer: Dialer) {
    if !controller.chain.push {
        return;
    }
    let mut followed = JoinSet::new();
    let nodes = controller.chain.sources.iter().filter(|source| source.0.kind() == SourceKind::Rpc);
    for source in nodes {
        followed.spawn(follow(controller.clone(), dialer.clone(), source.0.clone()));
    }
    while let Some(ended) = followed.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "following a source ended in a panic; it is polled only");
        }
    }
}

/// One connection after the other. The first waits for an answer to a poll, which proves the source to be on our chain.
async fn follow(controller: Arc<Controller>, dialer: Dialer, source: Source) {
    let (push, id) = (&controller.push, source.id());
    let mut subscription = Subscription::default();
    let mut allowance = Allowance::new(Instant::now());
    while let Some(polled) = push.height(id).await {
        let height = subscription.begin(polled);
        let (error, lived) = match dialer.subscribe(&source, &controller.chain.network(), height).await {
            Err(error) => (error, Duration::ZERO),
            Ok(stream) => {
                let connected = Instant::now();
                let again = matches!(push.states().insert(id.clone(), State::Connected(now())), Some(State::Failed(_)));
                tracing::info!(source = %id, height, "source pushes its events");
                if again && allowance.take(Instant::now()) {
                    // Whatever happened meanwhile is seen by this.
                    push.wake();
                }
                controller.counts.push_connected(id.as_str(), true);
                (listen(&controller, id, &mut subscription, &mut allowance, stream).await, connected.elapsed())
            }
        };
        controller.counts.push_connected(id.as_str(), false);
        let pause = subscription.end(error.end(lived), u16::from_be_bytes(picket_pki::random().unwrap_or([128; 2])));
        if error.is_unknown_height() && allowance.take(Instant::now()) {
            push.wake();
        }
        let before = push.states().insert(id.clone(), State::Failed(error.clone()));
        match before {
            Some(State::Failed(known)) if known == error => tracing::debug!(source = %id, %error, "still no push"),
            _ => tracing::warn!(source = %id, %error, "source pushes nothing; it is polled all the same"),
        }
        sleep(pause).await;
    }
}

/// The wake-ups that a source has left.
#[derive(Debug)]
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: BURST, since: now }
    }

    /// Takes one, where there is one.
    fn take(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.since).as_secs() / REFILL.as_secs();
        let gained = u32::try_from(gained).unwrap_or(BURST);
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(BURST);
            self.since = now;
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

/// Until the connection ends; gives the reason.
async fn listen(
    controller: &Controller,
    source: &SourceId,
    subscription: &mut Subscription,
    allowance: &mut Allowance,
    mut stream: Stream,
) -> PushError {
    loop {
        match stream.next().await {
            Err(error) => return error,
            Ok(message) => {
                if subscription.hear(message) {
                    tracing::debug!(%source, ?message, "event");
                    controller.counts.pushed(source.as_str());
                    if allowance.take(Instant::now()) {
                        controller.push.wake();
                    }
                }
            }
        }
        sleep(REST).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_invents_events_wakes_the_poll_seldom() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let woken = (0..3600).filter(|second| allowance.take(start + Duration::from_secs(*second))).count();
        assert!((120..=130).contains(&woken), "{woken}");
        let rested = start + Duration::from_hours(2);
        assert_eq!((0..100).filter(|_| allowance.take(rested)).count(), 10);
    }
}
