//! Other programs that write nf_tables on this host: heard, and put right at once where they touched our table; where
//! they go on, ever more seldom, so that two writers in a loop do not fight at full speed. Who it was is told.

use super::Agent;
use crate::{
    host,
    reconcile::{HostFilter, filter_alone},
};
use picket_firewall::netlink::{Monitor, events::Commit, monitor::Heard};
use picket_model::FirewallRepairs;
use std::{future::pending, time::Duration};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

/// Between the first look and the next, where there is another reason for one. A look and a repair take about 20 ms.
const FIRST: Duration = Duration::from_millis(100);
/// Between looks in the long run: as seldom as strangers may be let in by somebody who keeps opening the door.
const LAST: Duration = Duration::from_secs(1);
/// After so long without a reason the next one is the first again.
const CALM: Duration = Duration::from_secs(30);

/// What is heard of others, and what was done about it since the agent started.
#[derive(Debug)]
pub(super) struct Company {
    monitor: Option<Monitor>,
    pace: Pace,
    /// By whom and with what the next repair was made necessary, as far as it was heard.
    suspect: Option<(String, String)>,
    repairs: Option<FirewallRepairs>,
}

impl Company {
    /// Begins to listen.
    pub(super) fn new() -> Self {
        let mut company = Self { monitor: None, pace: Pace::new(Instant::now()), suspect: None, repairs: None };
        company.listen();
        company
    }

    /// Waits until our table has to be looked at. May be dropped at any time.
    pub(super) async fn disturbed(&mut self, filter: &HostFilter) {
        loop {
            let due = self.pace.due;
            if due.is_some_and(|due| due <= Instant::now()) {
                return;
            }
            tokio::select! {
                heard = hear(&mut self.monitor) => self.note(heard, filter),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => return,
            }
        }
    }

    /// What was repaired since the agent started.
    pub(super) fn repairs(&self) -> Option<FirewallRepairs> {
        self.repairs.clone()
    }

    /// Listens again where that had ended.
    fn listen(&mut self) {
        if self.monitor.is_none() {
            match Monitor::open() {
                Ok(monitor) => self.monitor = Some(monitor),
                Err(error) => {
                    warn!(error = chain(error), "changes by other programs are found on the timer only");
                }
            }
        }
    }

    fn note(&mut self, heard: Option<Heard>, filter: &HostFilter) {
        let (by, what) = match heard {
            Some(Heard::Commit(commit)) if !filter.is_disturbed_by(&commit) => return,
            Some(Heard::Commit(Commit { author, touched, .. })) => {
                (author.to_string(), touched.map(|touched| touched.to_string()).unwrap_or_default())
            }
            Some(Heard::Unknown) | None => ("somebody".to_owned(), "more than could be heard".to_owned()),
        };
        // The first of them did it; what the others did is put right with it.
        self.suspect.get_or_insert((by, what));
        self.pace.wake(Instant::now());
    }

    /// After a look: whether it wrote, and whether our table was in force before and is now.
    fn looked(&mut self, has_written: bool, was_in_force: bool, is_in_force: bool) {
        let now = Instant::now();
        self.pace.looked(now);
        if has_written && (was_in_force || self.suspect.is_some()) {
            let nobody = || ("somebody".to_owned(), "found changed on the timer".to_owned());
            let (by, what) = self.suspect.take().unwrap_or_else(nobody);
            warn!(%by, %what, "another program changed our firewall table; repaired");
            let count = self.repairs.as_ref().map_or(0, |repairs| repairs.count).saturating_add(1);
            self.repairs = Some(FirewallRepairs { count, last_at: host::now(), by, what });
        } else if is_in_force {
            if let Some((by, what)) = self.suspect.take() {
                info!(%by, %what, "another program changed our firewall table; nothing to repair");
            }
        } else {
            self.pace.wake(now);
        }
    }
}

impl Agent {
    /// Compares everything in full, because it is time.
    pub(super) async fn compare(&mut self) {
        self.company.listen();
        self.filter.look_afresh();
        let was_in_force = self.found.as_ref().is_some_and(|found| found.firewall.is_in_force());
        self.bring_into_force().await;
        self.compared(was_in_force);
    }

    /// Looks at our table, because somebody touched it, and makes it the wanted one again.
    pub(super) async fn repair(&mut self) {
        let wanted = self.held.ledger.firewall(&self.held.guard);
        let Some(found) = &mut self.found else { return self.company.pace.looked(Instant::now()) };
        let before = (found.firewall.clone(), found.kernel);
        filter_alone(&mut self.filter, &wanted, found).await;
        let is_news = self.filter.has_written() || before != (found.firewall.clone(), found.kernel);
        self.compared(before.0.is_in_force());
        if is_news {
            self.tell();
        }
    }

    fn compared(&mut self, was_in_force: bool) {
        let is_in_force = self.found.as_ref().is_some_and(|found| found.firewall.is_in_force());
        self.company.looked(self.filter.has_written(), was_in_force, is_in_force);
    }
}

/// The next thing that is heard; `None` when there is nothing more to hear, and then never again.
async fn hear(monitor: &mut Option<Monitor>) -> Option<Heard> {
    let Some(listening) = monitor else { return pending().await };
    match listening.next().await {
        Ok(heard) => Some(heard),
        Err(error) => {
            warn!(error = chain(error), "changes by other programs are not heard any more");
            *monitor = None;
            None
        }
    }
}

fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

/// When to look: at once for the first reason, and no sooner after that than the pause, which grows as long as there are
/// reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    due: Option<Instant>,
    not_before: Instant,
    pause: Duration,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { due: None, not_before: now, pause: FIRST }
    }

    /// There is a reason.
    fn wake(&mut self, now: Instant) {
        if now >= self.not_before + CALM {
            self.pause = FIRST;
        }
        self.due.get_or_insert(now.max(self.not_before));
    }

    /// It was looked.
    fn looked(&mut self, now: Instant) {
        if self.due.take().is_some() {
            self.not_before = now + self.pause;
            self.pause = (self.pause * 2).min(LAST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_is_looked_at_at_once_and_a_loop_ever_more_seldom() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let (mut now, mut looks) = (start, Vec::new());
        // Somebody writes every 10 ms for ten seconds.
        while now < start + Duration::from_secs(10) {
            pace.wake(now);
            if pace.due.is_some_and(|due| due <= now) {
                looks.push((now - start).as_millis());
                pace.looked(now);
            }
            now += Duration::from_millis(10);
        }
        assert_eq!(looks[..6], [0, 100, 300, 700, 1500, 2500]);
        assert_eq!(looks.len(), 13);
        // What was done last is looked at when it is time, though nothing more happens.
        pace.wake(now);
        assert_eq!(pace.due, Some(pace.not_before));
        pace.looked(pace.not_before);
        // After a calm it begins anew.
        now = pace.not_before + CALM;
        pace.wake(now);
        assert_eq!(pace.due, Some(now));
        pace.looked(now);
        assert_eq!(pace.not_before, now + FIRST);
    }

    #[test]
    fn a_comparison_without_a_reason_is_no_step_of_the_pace() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let before = pace;
        pace.looked(now);
        assert_eq!(pace, before);
    }
}
