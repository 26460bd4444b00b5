//! A chain that several endpoints tell of: what happens on it happens for all of them, and whoever listens hears of it.

use super::{
    Behaviour, ChainState, FakeIcon, Prep,
    behaviour::Told,
    events::{self, Event, EventLog},
    past::Past,
};
use picket_model::PrepId;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

/// Handle to a chain; clones speak of the same one.
#[derive(Clone, Debug)]
pub struct FakeChain {
    blocks: Arc<Mutex<Blocks>>,
    log: watch::Sender<EventLog>,
}

#[derive(Debug)]
struct Blocks {
    last: ChainState,
    past: Past,
}

impl FakeChain {
    /// A chain whose first block was just made.
    pub fn new(chain: ChainState) -> Self {
        let log = watch::Sender::new(EventLog { height: chain.height, ..EventLog::default() });
        let past = Past::new(&chain, micros_now());
        Self { blocks: Arc::new(Mutex::new(Blocks { last: chain, past })), log }
    }

    /// Another endpoint that tells of it, with a behaviour of its own.
    pub fn endpoint(&self) -> FakeIcon {
        FakeIcon::of(self.clone())
    }

    /// The chain at its last block, copied.
    pub fn state(&self) -> ChainState {
        self.lock().last.clone()
    }

    /// Puts the chain at this height.
    pub fn set_height(&self, height: u64) {
        self.change(|chain| {
            chain.height = height;
            Some((height, Vec::new()))
        });
    }

    /// Replaces the list, in a new block; returns its height.
    pub fn set_preps(&self, preps: Vec<Prep>) -> u64 {
        let changed = self.change(|chain| {
            let events = events::between(&chain.preps, &preps);
            chain.preps = preps;
            Some((chain.next_block(), events))
        });
        changed.unwrap_or_default()
    }

    /// Takes a P-Rep off the list, in a new block; returns its height, or `None` where the list has no such P-Rep.
    pub fn remove(&self, prep: PrepId) -> Option<u64> {
        self.change(|chain| Some((chain.remove(prep)?, vec![Event::unregistered(prep)])))
    }

    /// Registers any text as a P-Rep's endpoint, in a new block; returns its height, or `None` where the list has no such
    /// P-Rep.
    pub fn set_endpoint(&self, prep: PrepId, endpoint: &str) -> Option<u64> {
        self.change(|chain| Some((chain.set_endpoint(prep, endpoint)?, vec![Event::set(prep)])))
    }

    /// As [`ChainState::penalise`].
    pub fn penalise(&self, prep: PrepId) -> Option<u64> {
        self.change(|chain| Some((chain.penalise(prep)?, vec![Event::penalised(prep)])))
    }

    /// Begins a term with this list, in a new block; word of it is in the block after, as goloop has it. Returns the
    /// height of the word.
    pub fn start_term(&self, preps: Vec<Prep>) -> u64 {
        let mut blocks = self.lock();
        blocks.last.preps = preps;
        let start = blocks.last.next_block();
        self.tell(&mut blocks, Vec::new());
        let told = blocks.last.next_block();
        self.tell(&mut blocks, vec![Event::term_started(start)]);
        told
    }

    /// Ends a block; returns its height.
    pub fn next_block(&self) -> u64 {
        self.change(|chain| Some((chain.next_block(), Vec::new()))).unwrap_or_default()
    }

    /// Makes blocks, one each time so long has passed; never ends.
    pub async fn make_blocks(self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.next_block();
        }
    }

    /// As an endpoint tells of it that behaves so.
    pub(super) fn told(&self, behaviour: &Behaviour) -> Told {
        let blocks = self.lock();
        Told::new(&blocks.last, &blocks.past, behaviour)
    }

    /// What happens from now on, and what has.
    pub(super) fn listen(&self) -> watch::Receiver<EventLog> {
        self.log.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut ChainState) -> Option<(u64, Vec<Event>)>) -> Option<u64> {
        let mut blocks = self.lock();
        let (height, events) = change(&mut blocks.last)?;
        self.tell(&mut blocks, events);
        Some(height)
    }

    /// Keeps the last block and tells whoever listens. Under the lock, so that blocks are told in order.
    fn tell(&self, blocks: &mut Blocks, events: Vec<Event>) {
        let Blocks { last, past } = blocks;
        past.keep(last, micros_now());
        self.log.send_modify(|log| {
            log.height = last.height;
            if !events.is_empty() {
                log.events.insert(last.height, events);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Blocks> {
        // A test that stopped while it held the lock left a whole value behind.
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host's clock.
fn micros_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or_default()
}
