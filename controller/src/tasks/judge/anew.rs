//! Asking for the list to be judged anew, and waiting until that was done. No judgement.

use std::time::Duration;
use tokio::{sync::watch, time::timeout};

/// Longest wait for a judgement: a person stands before it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often somebody asked, and how many of those were served.
#[derive(Debug, Default)]
pub(crate) struct Anew {
    asked: watch::Sender<u64>,
    served: watch::Sender<u64>,
}

impl Anew {
    /// Has the list judged anew; returns once a judgement that began after the call is in force, or after five seconds.
    /// Whether it is in force.
    pub(crate) async fn ask(&self) -> bool {
        let mut served = self.served.subscribe();
        let mut ticket = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            ticket = *asked;
        });
        matches!(timeout(PATIENCE, served.wait_for(|served| *served >= ticket)).await, Ok(Ok(_)))
    }

    /// Has the list judged anew, and waits for nothing.
    pub(in crate::tasks) fn wake(&self) {
        self.asked.send_modify(|asked| *asked += 1);
    }

    /// For the one who judges: changes when somebody asks.
    pub(super) fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    /// Changes after each judgement.
    pub(crate) fn judged(&self) -> watch::Receiver<u64> {
        self.served.subscribe()
    }

    /// Who is served by a judgement that begins now.
    pub(super) fn begin(&self) -> u64 {
        *self.asked.borrow()
    }

    /// That judgement is in force.
    pub(super) fn done(&self, began: u64) {
        self.served.send_modify(|served| *served = began.max(*served));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::ready, pin::pin};

    #[tokio::test]
    async fn only_a_judgement_that_began_after_the_call_serves_it() {
        let anew = Anew::default();
        let early = anew.begin();
        let mut call = pin!(anew.ask());
        for _ in 0..2 {
            tokio::select! {
                biased;
                served = &mut call => panic!("served too early: {served}"),
                () = ready(()) => {}
            }
            anew.done(early);
        }
        let late = anew.begin();
        assert_ne!(early, late);
        anew.done(late);
        assert!(call.await);
    }
}
