//! Whose turn it is to plan. Of many who ask at once one plans for all: a plan serves everybody who asked before it was begun.

use crate::{inputs::Inputs, tasks::plan::Planned};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Mutex, MutexGuard};

/// Who asked, and who plans.
#[derive(Debug, Default)]
pub(crate) struct Planning {
    asked: AtomicU64,
    served: Mutex<Served>,
}

/// The last plan, who was served by it, and what the next one is made from.
#[derive(Debug, Default)]
struct Served {
    tickets: u64,
    planned: Option<Planned>,
    inputs: Inputs,
}

/// The turn to plan.
pub(crate) struct Turn<'a>(MutexGuard<'a, Served>);

impl Planning {
    /// A ticket for what is in the store by now.
    pub(crate) fn ask(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The last ticket given out: whoever has it or an earlier one is served by a plan that begins now.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits for the turn, first come, first served.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        Turn(self.served.lock().await)
    }
}

impl Turn<'_> {
    /// What came of the plan that served a ticket; `None` where none did.
    pub(crate) fn served(&self, ticket: u64) -> Option<Planned> {
        self.0.planned.clone().filter(|_| self.0.tickets >= ticket)
    }

    /// What plans are made from.
    pub(crate) fn inputs(&mut self) -> &mut Inputs {
        &mut self.0.inputs
    }

    /// Notes a plan that was begun when the last ticket was this one.
    pub(crate) fn done(&mut self, began: u64, planned: &Planned) {
        (self.0.tickets, self.0.planned) = (began, Some(planned.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::Generation;

    #[tokio::test]
    async fn a_plan_serves_those_who_asked_before_it_was_begun_and_nobody_else() {
        let planning = Planning::default();
        let (one, two) = (planning.ask(), planning.ask());
        let mut turn = planning.turn().await;
        assert_eq!(turn.served(one), None);
        let began = planning.asked();
        let late = planning.ask();
        let planned = Planned::Committed(Generation(1));
        turn.done(began, &planned);
        drop(turn);
        let turn = planning.turn().await;
        assert_eq!([one, two, late].map(|ticket| turn.served(ticket)), [Some(planned.clone()), Some(planned), None]);
    }
}
