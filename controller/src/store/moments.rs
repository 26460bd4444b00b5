//! Moments at which something may come between a controller and its database, in tests: before a statement, and after it. Whoever
//! runs an operation says what, as its fate; without one nothing does. No part of the program that ships.

use std::{
    future::pending,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Notify;

tokio::task_local! {
    static FATE: Fate;
}

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Begin,
    Statement,
    Commit,
}

/// What comes between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// The connection breaks: nothing was done.
    Unheard,
    /// It is done, and the connection breaks before the answer.
    Unanswered,
    /// The controller is killed before.
    DiesBefore,
    /// It is killed after.
    DiesAfter,
    /// It gets no processor before, for as long as others like. Never while it has the turn to write.
    Waits,
}

/// Where a controller stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Dead,
    Waiting,
}

/// What comes between one operation and the database.
#[derive(Clone, Debug)]
pub(crate) struct Fate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The database is away from everybody.
    away: Arc<AtomicBool>,
    script: Mutex<Script>,
    stopped: Notify,
    go_on: Notify,
}

#[derive(Debug)]
struct Script {
    /// At the n-th moment of this kind, from zero.
    mishap: Option<(Moment, usize, Mishap)>,
    writes: bool,
    stop: Option<Stop>,
    /// Whether anything came between.
    hit: bool,
}

/// How it goes on.
enum Next {
    On,
    Broken,
    Stopped(Stop),
}

impl Fate {
    pub(crate) fn new(away: Arc<AtomicBool>, mishap: Option<(Moment, usize, Mishap)>) -> Self {
        let script = Mutex::new(Script { mishap, writes: false, stop: None, hit: false });
        Self(Arc::new(Inner { away, script, stopped: Notify::new(), go_on: Notify::new() }))
    }

    /// The operation, with this fate.
    pub(crate) fn of<F: Future>(&self, operation: F) -> impl Future<Output = F::Output> + use<F> {
        FATE.scope(self.clone(), operation)
    }

    /// Returns once the operation stops before its end, with how.
    pub(crate) async fn stopped(&self) -> Stop {
        self.0.stopped.notified().await;
        self.script().stop.unwrap_or(Stop::Dead)
    }

    /// Has an operation that waits go on.
    pub(crate) fn go_on(&self) {
        self.script().stop = None;
        self.0.go_on.notify_one();
    }

    /// Whether anything came between: then the operation may fail.
    pub(crate) fn has_hit(&self) -> bool {
        self.script().hit
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes before, or after where `is_done`.
    fn meet(&self, moment: Moment, is_done: bool) -> Next {
        let mut script = self.script();
        if self.0.away.load(Ordering::Relaxed) {
            script.hit = true;
            return Next::Broken;
        }
        let Some((kind, left, mishap)) = &mut script.mishap else { return Next::On };
        if *kind != moment {
            return Next::On;
        }
        let comes_after = matches!(mishap, Mishap::Unanswered | Mishap::DiesAfter);
        if comes_after != is_done {
            return Next::On;
        }
        if *left > 0 {
            *left -= 1;
            return Next::On;
        }
        let mishap = *mishap;
        if mishap == Mishap::Waits && script.writes {
            return Next::On;
        }
        (script.mishap, script.hit) = (None, true);
        let stop = match mishap {
            Mishap::Unheard | Mishap::Unanswered => return Next::Broken,
            Mishap::DiesBefore | Mishap::DiesAfter => Stop::Dead,
            Mishap::Waits => {
                script.hit = false;
                Stop::Waiting
            }
        };
        script.stop = Some(stop);
        Next::Stopped(stop)
    }
}

/// Notes that a transaction begins, which writes or does not.
pub(super) async fn before_begin(writes: bool) -> Result<(), sqlx::Error> {
    if let Ok(fate) = FATE.try_with(Clone::clone) {
        fate.script().writes = false;
        meet(Moment::Begin, false).await?;
        fate.script().writes = writes;
    }
    Ok(())
}

/// What comes before this moment.
pub(super) async fn before(moment: Moment) -> Result<(), sqlx::Error> {
    meet(moment, false).await
}

/// What comes after it.
pub(super) async fn after(moment: Moment) -> Result<(), sqlx::Error> {
    meet(moment, true).await
}

async fn meet(moment: Moment, is_done: bool) -> Result<(), sqlx::Error> {
    let Ok(fate) = FATE.try_with(Clone::clone) else { return Ok(()) };
    match fate.meet(moment, is_done) {
        Next::On => Ok(()),
        Next::Broken => Err(sqlx::Error::Io(io::ErrorKind::ConnectionAborted.into())),
        Next::Stopped(stop) => {
            fate.0.stopped.notify_one();
            match stop {
                Stop::Dead => pending().await,
                Stop::Waiting => {
                    fate.0.go_on.notified().await;
                    Ok(())
                }
            }
        }
    }
}
