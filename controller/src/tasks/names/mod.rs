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

/// Looks names up for ever.
pub(crate) async fn run(controller: Arc<Controller>) {
    let (desk, resolver) = (&controller.names, Resolver::new());
    let mut agenda = desk.agenda();
    let mut running: JoinSet<Lookup> = JoinSet::new();
    loop {
        for name in desk.start(now(), AT_ONCE.saturating_sub(running.len())) {
            running.spawn(look_up(resolver.clone(), name));
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
async fn look_up(resolver: Resolver, name: DnsName) -> Lookup {
    let asked = name.clone();
    let answer = tokio::spawn(async move { resolver.lookup(&asked).await }).await;
    (name, answer.unwrap_or_else(|_| Err("the lookup was cut off".to_owned())))
}
