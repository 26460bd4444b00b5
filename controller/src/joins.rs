//! Whose turn it is to join. A few at a time, so that what a person orders finds a short queue before the store however many join;
//! and one of each source at a time, so that many behind one address wait for each other and nobody else for them.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Hosts that are entered at once: one writes, the others are read beside it.
const AT_ONCE: usize = 4;
/// Longest wait for one's turn: agents give a call ten seconds.
const PATIENCE: Duration = Duration::from_secs(8);

type Waiting = Arc<Mutex<BTreeMap<IpAddr, Source>>>;

/// The turns. How many may wait is the listener's limit of strangers.
#[derive(Debug)]
pub(crate) struct Joins {
    places: Arc<Semaphore>,
    waiting: Waiting,
    patience: Duration,
}

/// One's turn; the next one's begins when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _place: OwnedSemaphorePermit,
    _own: Own,
}

/// The only turn of a source, and how many have or want it.
#[derive(Debug)]
struct Source {
    turn: Arc<Semaphore>,
    wanted: usize,
}

/// A wish for the turn of a source, which is forgotten with the last of them.
#[derive(Debug)]
struct Wish {
    source: IpAddr,
    waiting: Waiting,
}

/// A source's turn. The permit goes before the wish.
#[derive(Debug)]
struct Own {
    _permit: OwnedSemaphorePermit,
    _wish: Wish,
}

impl Default for Joins {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), waiting: Waiting::default(), patience: PATIENCE }
    }
}

impl Joins {
    /// Waits for one's turn; `None` where that takes too long, and it is better to ask again later.
    pub(crate) async fn turn(&self, source: IpAddr) -> Option<Turn> {
        timeout(self.patience, self.take(source)).await.ok().flatten()
    }

    async fn take(&self, source: IpAddr) -> Option<Turn> {
        let (wish, turn) = self.wish(source);
        // The semaphores are never closed.
        let own = Own { _permit: turn.acquire_owned().await.ok()?, _wish: wish };
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        Some(Turn { _place: place, _own: own })
    }

    fn wish(&self, source: IpAddr) -> (Wish, Arc<Semaphore>) {
        let mut waiting = lock(&self.waiting);
        let entry = waiting.entry(source).or_insert_with(|| Source { turn: Arc::new(Semaphore::new(1)), wanted: 0 });
        entry.wanted += 1;
        (Wish { source, waiting: Arc::clone(&self.waiting) }, Arc::clone(&entry.turn))
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        let mut waiting = lock(&self.waiting);
        match waiting.get_mut(&self.source) {
            Some(entry) if entry.wanted > 1 => entry.wanted -= 1,
            _ => drop(waiting.remove(&self.source)),
        }
    }
}

fn lock(waiting: &Waiting) -> MutexGuard<'_, BTreeMap<IpAddr, Source>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn ready<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn a_crowd_behind_one_address_keeps_nobody_else_waiting() {
        let joins = Joins::default();
        let first = joins.turn(address(1)).await.unwrap();
        let mut crowd: Vec<_> = (0..100).map(|_| Box::pin(joins.turn(address(1)))).collect();
        assert!(crowd.iter_mut().all(|turn| ready(turn.as_mut()).is_none()));
        let other = joins.turn(address(2)).await.unwrap();
        drop(first);
        let entered: Vec<_> = crowd.iter_mut().filter_map(|turn| ready(turn.as_mut()).flatten()).collect();
        assert_eq!(entered.len(), 1, "one after the other");
        drop((other, entered, crowd));
        assert!(lock(&joins.waiting).is_empty());
    }

    #[tokio::test]
    async fn few_join_at_once_and_who_waited_longest_is_next() {
        let joins = Joins::default();
        let mut turns = Vec::new();
        for last in 0..u8::try_from(AT_ONCE).unwrap() {
            turns.push(joins.turn(address(last)).await.unwrap());
        }
        let (mut next, mut last) = (pin!(joins.turn(address(100))), pin!(joins.turn(address(101))));
        assert!(ready(next.as_mut()).is_none() && ready(last.as_mut()).is_none());
        drop(turns.pop());
        let turn = ready(next.as_mut());
        assert!(turn.is_some() && ready(last.as_mut()).is_none());
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_so() {
        let joins = Joins { patience: Duration::from_millis(1), ..Joins::default() };
        let held = joins.turn(address(1)).await;
        assert!(joins.turn(address(1)).await.is_none());
        drop(held);
        assert!(joins.turn(address(1)).await.is_some());
    }
}
