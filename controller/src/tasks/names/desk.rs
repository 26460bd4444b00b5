//! Which names are to be looked up, which are being, and what lookups gave until a merge has taken it. Times are given;
//! nothing is looked up here.

use picket_model::{DnsName, Lookups, NameAnswer, Timestamp};
use picket_plan::{MergeMemory, names_due, next_lookup};
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// Where names wait.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    state: Mutex<State>,
    agenda: watch::Sender<()>,
    answers: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    /// As of the last merge; it knows when each name is due.
    memory: MergeMemory,
    wanted: BTreeSet<DnsName>,
    /// Names being looked up, and those whose answer no merge has taken.
    busy: BTreeSet<DnsName>,
    answers: Lookups,
}

impl State {
    fn idle(&self) -> BTreeSet<DnsName> {
        self.wanted.difference(&self.busy).cloned().collect()
    }
}

impl Desk {
    /// Changes with what is wanted.
    pub(super) fn agenda(&self) -> watch::Receiver<()> {
        self.agenda.subscribe()
    }

    /// Changes with each answer.
    pub(in crate::tasks) fn news(&self) -> watch::Receiver<()> {
        self.answers.subscribe()
    }

    /// At most so many names whose lookup is due, each given out once until its answer was taken.
    pub(super) fn start(&self, now: Timestamp, most: usize) -> BTreeSet<DnsName> {
        let mut state = self.lock();
        let due: BTreeSet<DnsName> = names_due(&state.memory, &state.idle(), now).into_iter().take(most).collect();
        state.busy.extend(due.iter().cloned());
        due
    }

    /// When the next lookup of a name that nobody looks up is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let state = self.lock();
        next_lookup(&state.memory, &state.idle())
    }

    /// What a lookup gave.
    pub(super) fn answered(&self, name: DnsName, answer: Result<NameAnswer, String>) {
        self.lock().answers.insert(name, answer);
        self.answers.send_replace(());
    }

    /// What lookups gave and no merge has taken.
    pub(in crate::tasks) fn answers(&self) -> Lookups {
        self.lock().answers.clone()
    }

    /// These answers were taken by a merge that is in force, which remembers this and wants these names.
    pub(in crate::tasks) fn taken(&self, answers: &Lookups, memory: &MergeMemory, wanted: BTreeSet<DnsName>) {
        let mut state = self.lock();
        for name in answers.keys() {
            state.answers.remove(name);
            state.busy.remove(name);
        }
        state.memory = memory.clone();
        state.wanted = wanted;
        drop(state);
        self.agenda.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_plan::NameRecord;

    const NOW: Timestamp = Timestamp::from_millis(1000);
    const LATER: Timestamp = Timestamp::from_millis(5000);

    fn names(list: &[&str]) -> BTreeSet<DnsName> {
        list.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn memory(due: &[(&str, Timestamp)]) -> MergeMemory {
        let record = |due_at| NameRecord { due_at, ..NameRecord::default() };
        let names = due.iter().map(|(name, due_at)| (name.parse().unwrap(), record(*due_at)));
        MergeMemory { names: names.collect(), ..MergeMemory::default() }
    }

    fn failed(desk: &Desk, list: &[&str]) {
        names(list).into_iter().for_each(|name| desk.answered(name, Err("no such name".to_owned())));
    }

    #[test]
    fn a_name_is_looked_up_at_once_when_it_is_new_and_then_when_it_is_due() {
        let desk = Desk::default();
        assert_eq!((desk.start(NOW, 9), desk.next()), (names(&[]), None));
        desk.taken(&Lookups::new(), &memory(&[("b.example", LATER)]), names(&["a.example", "b.example"]));
        assert_eq!((desk.start(NOW, 9), desk.next()), (names(&["a.example"]), Some(LATER)));
        assert_eq!(desk.start(LATER, 9), names(&["b.example"]));
        assert_eq!((desk.start(LATER, 9), desk.next()), (names(&[]), None));
    }

    #[test]
    fn an_answer_is_given_out_until_a_merge_has_taken_it_and_then_never_again() {
        let desk = Desk::default();
        desk.taken(&Lookups::new(), &memory(&[]), names(&["a.example"]));
        assert_eq!(desk.start(NOW, 9), names(&["a.example"]));
        failed(&desk, &["a.example"]);
        // A merge that failed takes nothing, and the name is not looked up for it a second time.
        let first = desk.answers();
        assert_eq!((first.len(), desk.answers(), desk.start(NOW, 9)), (1, first.clone(), names(&[])));
        desk.taken(&first, &memory(&[("a.example", LATER)]), names(&["a.example"]));
        assert_eq!((desk.answers().len(), desk.start(NOW, 9), desk.next()), (0, names(&[]), Some(LATER)));
        assert_eq!(desk.start(LATER, 9), names(&["a.example"]));
    }

    #[test]
    fn an_answer_that_comes_during_a_merge_waits_for_the_next_one() {
        let desk = Desk::default();
        desk.taken(&Lookups::new(), &memory(&[]), names(&["a.example", "b.example"]));
        assert_eq!(desk.start(NOW, 1), names(&["a.example"]));
        assert_eq!(desk.start(NOW, 1), names(&["b.example"]));
        failed(&desk, &["a.example"]);
        let first = desk.answers();
        failed(&desk, &["b.example"]);
        desk.taken(&first, &memory(&[("a.example", LATER)]), names(&["a.example", "b.example"]));
        assert_eq!(desk.answers().into_keys().collect::<BTreeSet<_>>(), names(&["b.example"]));
        assert_eq!(desk.start(NOW, 9), names(&[]));
    }
}
