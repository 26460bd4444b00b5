//! Looking names up when they are due, each for itself: no merge waits for a name server, and what a lookup gave is judged
//! as soon as it is there. When a name is due is decided by the merge, in its memory.

mod desk;

pub(crate) use desk::Desk;

use crate::{controller::Controller, now};
use picket_chain::Resolver;
use picket_model::{DnsName, NameAnswer};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::sleep};

/// Names looked up at once: more than name servers that do not answer can hold up, and few enough to be no burden.
const AT_ONCE: usize = 16;
/// Longest sleep, so that a clock which was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// One lookup.
type Lookup = (DnsName, Result<NameAnswer, String>);

/// Looks names up for ever, as this host resolves them.
pub(crate) async fn run(controller: Arc<Controller>) {
    let resolver = Resolver::new();
    let lookup = move |name: DnsName| {
        let resolver = resolver.clone();
        async move { resolver.lookup(&name).await }
    };
    run_with(&controller.names, lookup).await;
}

async fn run_with<L, F>(desk: &Desk, lookup: L)
where
    L: Fn(DnsName) -> F,
    F: Future<Output = Result<NameAnswer, String>> + Send + 'static,
{
    let mut agenda = desk.agenda();
    let mut running: JoinSet<Lookup> = JoinSet::new();
    loop {
        for name in desk.start(now(), AT_ONCE.saturating_sub(running.len())) {
            running.spawn(look_up(name.clone(), lookup(name)));
        }
        let pause = match desk.next() {
            // Somebody has to finish first.
            _ if running.len() >= AT_ONCE => LONGEST_SLEEP,
            Some(due) => due.since(now()).min(LONGEST_SLEEP),
            None => LONGEST_SLEEP,
        };
        tokio::select! {
            Some(Ok((name, answer))) = running.join_next() => desk.answered(name, answer),
            _ = agenda.changed() => {}
            () = sleep(pause) => {}
        }
    }
}

/// Every name gets an answer, even where its lookup dies.
async fn look_up(name: DnsName, lookup: impl Future<Output = Result<NameAnswer, String>> + Send + 'static) -> Lookup {
    let answer = tokio::spawn(lookup).await;
    (name, answer.unwrap_or_else(|_| Err("the lookup was cut off".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::Lookups;
    use picket_plan::MergeMemory;
    use std::{collections::BTreeSet, future::pending, sync::atomic::AtomicUsize, sync::atomic::Ordering};

    fn names(count: usize) -> BTreeSet<DnsName> {
        (0..count).map(|n| format!("n{n:03}.example").parse().unwrap()).collect()
    }

    /// Until so many answers wait.
    async fn answered(desk: &Desk, count: usize) -> Lookups {
        let mut news = desk.news();
        while desk.answers().len() < count {
            news.changed().await.unwrap();
        }
        desk.answers()
    }

    #[tokio::test]
    async fn each_answer_is_there_as_soon_as_it_comes_whatever_becomes_of_the_others() {
        let desk = Desk::default();
        let lookup = |name: DnsName| async move {
            match name.as_str() {
                "n000.example" => pending().await,
                "n001.example" => panic!("a lookup that dies"),
                _ => Ok(NameAnswer::default()),
            }
        };
        let test = async {
            desk.taken(&Lookups::new(), &MergeMemory::default(), names(2));
            let first = answered(&desk, 1).await;
            assert_eq!(first.into_values().collect::<Vec<_>>(), [Err("the lookup was cut off".to_owned())]);
            // A name that is wanted later wakes the one who looks up.
            desk.taken(&Lookups::new(), &MergeMemory::default(), names(3));
            assert_eq!(answered(&desk, 2).await.into_values().last(), Some(Ok(NameAnswer::default())));
        };
        tokio::select! {
            () = run_with(&desk, lookup) => {}
            () = test => {}
        }
    }

    #[tokio::test]
    async fn many_names_are_looked_up_some_at_a_time() {
        let desk = Desk::default();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let lookup = |_| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                Err("no such name".to_owned())
            }
        };
        desk.taken(&Lookups::new(), &MergeMemory::default(), names(100));
        tokio::select! {
            () = run_with(&desk, lookup) => {}
            all = answered(&desk, 100) => assert_eq!(all.len(), 100),
        }
        assert!((2..=AT_ONCE).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    }
}
