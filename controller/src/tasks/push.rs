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
    while let Some(polled) = push.height(id).await {
        let height = subscription.begin(polled);
        let (error, lived) = match dialer.subscribe(&source, &controller.chain.network(), height).await {
            Err(error) => (error, Duration::ZERO),
            Ok(stream) => {
                let connected = Instant::now();
                let again = matches!(push.states().insert(id.clone(), State::Connected(now())), Some(State::Failed(_)));
                tracing::info!(source = %id, height, "source pushes its events");
                if again {
                    // Whatever happened meanwhile is seen by this.
                    push.wake();
                }
                controller.counts.push_connected(id.as_str(), true);
                (listen(&controller, id, &mut subscription, stream).await, connected.elapsed())
            }
        };
        controller.counts.push_connected(id.as_str(), false);
        let pause = subscription.end(error.end(lived), u16::from_be_bytes(picket_pki::random().unwrap_or([128; 2])));
        if error.is_unknown_height() {
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

/// Until the connection ends; gives the reason.
async fn listen(
    controller: &Controller,
    source: &SourceId,
    subscription: &mut Subscription,
    mut stream: Stream,
) -> PushError {
    loop {
        match stream.next().await {
            Err(error) => return error,
            Ok(message) => {
                if subscription.hear(message) {
                    tracing::debug!(%source, ?message, "event");
                    controller.counts.pushed(source.as_str());
                    controller.push.wake();
                }
            }
        }
        sleep(REST).await;
    }
}
