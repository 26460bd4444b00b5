//! Other programs that write nf_tables on this host, or take something from our interface: heard, and put right at once where
//! they touched what is ours; where they go on, each second, so that two writers in a loop do not fight at full speed. Who wrote
//! our table is told.

use super::Agent;
use crate::{
    host,
    posture::Posture,
    reconcile::{HostFilter, filter_alone},
};
use picket_firewall::netlink::{Monitor, NetlinkError, events::Commit, monitor::Heard};
use picket_model::FirewallRepairs;
use picket_wireguard::link::watch::{Missing, Watch};
use std::{future::pending, time::Duration};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

/// Looks in the long run: as often as that costs next to nothing, as a look and a repair take about 20 ms.
const EVERY: Duration = Duration::from_secs(1);
/// So many may come at once after a calm, so that somebody who writes a few times is never waited for.
const BURST: u32 = 8;

/// What is heard of others, and what was done about it since the agent started.
#[derive(Debug)]
pub(super) struct Company {
    monitor: Option<Monitor>,
    interface: String,
    watch: Option<Watch>,
    /// What was heard to be missing around the interface since it was last looked at.
    missing: Option<Missing>,
    pace: Pace,
    /// By whom and with what the next repair was made necessary, as far as it was heard.
    suspect: Option<(String, String)>,
    /// The last who touched our table before it was looked at for another reason.
    last: Option<(String, String)>,
    repairs: Option<FirewallRepairs>,
}

impl Company {
    /// Begins to listen.
    pub(super) fn new(interface: &str) -> Self {
        let mut company = Self {
            monitor: None,
            interface: interface.to_owned(),
            watch: None,
            missing: None,
            pace: Pace::new(Instant::now()),
            suspect: None,
            last: None,
            repairs: None,
        };
        company.listen();
        company
    }

    /// Waits until our table, or our interface, has to be looked at. May be dropped at any time.
    pub(super) async fn disturbed(&mut self, filter: &HostFilter) {
        loop {
            let due = self.pace.due;
            if due.is_some_and(|due| due <= Instant::now()) {
                return;
            }
            tokio::select! {
                heard = hear(&mut self.monitor) => self.note(heard, filter),
                missing = missing(&mut self.watch) => {
                    self.missing = Some(missing);
                    self.pace.wake(Instant::now());
                }
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
        if self.watch.is_none() {
            match Watch::open(&self.interface) {
                Ok(watch) => self.watch = Some(watch),
                Err(error) => warn!(error = chain(error), "what the interface lost is found on the timer only"),
            }
        }
    }

    /// Hears nothing while we write much ourselves.
    fn pause(&mut self) {
        self.with_monitor(Monitor::pause);
    }

    /// Hears again. Whether others wrote meanwhile, after our last look.
    fn resume(&mut self, filter: &mut HostFilter) -> bool {
        self.with_monitor(Monitor::resume);
        !filter.is_current()
    }

    fn with_monitor(&mut self, step: impl FnOnce(&Monitor) -> Result<(), NetlinkError>) {
        if let Some(Err(error)) = self.monitor.as_ref().map(step) {
            warn!(error = chain(error), "changes by other programs are not heard any more");
            self.monitor = None;
        }
    }

    fn note(&mut self, heard: Option<Heard>, filter: &HostFilter) {
        let is_reason = match &heard {
            Some(Heard::Commit(commit)) if filter.is_own(commit) => return,
            Some(Heard::Commit(commit)) => filter.is_reason_to_look(commit),
            Some(Heard::Unknown) | None => true,
        };
        let suspect = match heard {
            Some(Heard::Commit(Commit { touched: None, .. })) => return,
            Some(Heard::Commit(Commit { author, touched: Some(touched), .. })) => {
                (author.to_string(), touched.to_string())
            }
            Some(Heard::Unknown) | None => ("somebody".to_owned(), "more than could be heard".to_owned()),
        };
        if is_reason {
            // The first of them did it; what the others did is put right with it.
            self.suspect.get_or_insert(suspect);
            self.pace.wake(Instant::now());
        } else {
            self.last = Some(suspect);
        }
    }

    /// After a look: whether it put something right, and whether our table is as it is to be.
    fn looked(&mut self, has_repaired: bool, is_settled: bool) {
        let now = Instant::now();
        self.pace.looked(now);
        if has_repaired {
            let nobody = || ("somebody".to_owned(), "found changed on the timer".to_owned());
            let (by, what) = self.suspect.take().or(self.last.take()).unwrap_or_else(nobody);
            warn!(%by, %what, "another program changed our firewall table; repaired");
            let count = self.repairs.as_ref().map_or(0, |repairs| repairs.count).saturating_add(1);
            self.repairs = Some(FirewallRepairs { count, last_at: host::now(), by, what });
        } else if is_settled && let Some((by, what)) = self.suspect.take() {
            info!(%by, %what, "another program changed our firewall table; nothing to repair");
        }
        if is_settled {
            // Long ago is nobody's fault.
            self.last = None;
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
        // A device that has to be made anew knows no more where peers are than after a start.
        self.tunnels.look_at(self.endpoints.kept().clone());
        let was_in_force = self.found.as_ref().is_some_and(|found| found.firewall.is_in_force());
        self.bring_into_force().await;
        // What could not be brought into force before is no repair.
        self.compared(was_in_force);
    }

    /// Looks at our table, because somebody touched it, and makes it the wanted one again; and at everything where the interface
    /// lost something.
    pub(super) async fn repair(&mut self) {
        if let Some(missing) = self.company.missing.take() {
            info!(interface = self.company.interface, %missing, "looked at again");
            return self.compare().await;
        }
        let wanted = self.shielded(self.held.ledger.firewall(&self.held.guard, self.posture()));
        let Some(found) = &mut self.found else { return self.company.pace.looked(Instant::now()) };
        let was_in_force = found.firewall.is_in_force();
        let before = (found.firewall.clone(), found.kernel.elements);
        self.company.pause();
        filter_alone(&mut self.filter, wanted.as_ref(), found).await;
        // Where there is to be no table, nothing that others write is ours to look at.
        let is_disturbed = self.company.resume(&mut self.filter) && wanted.is_some();
        if wanted.is_some() && !found.firewall.is_in_force() {
            error!(firewall = %found.firewall, "not in force");
        }
        self.close_unguarded().await;
        let Some(found) = &self.found else { return };
        let is_news = self.filter.has_written() || before != (found.firewall.clone(), found.kernel.elements);
        let is_back = !was_in_force && found.firewall.is_in_force();
        self.compared(true);
        if is_disturbed {
            self.company.pace.wake(Instant::now());
        }
        if is_back {
            // Peers wait for their filter.
            self.bring_into_force().await;
        } else if is_news {
            self.tell();
        }
    }

    fn compared(&mut self, is_repair: bool) {
        // A host that somebody opened by hand has nothing that could be put right.
        let is_settled = self.posture() == Posture::Released
            || self.found.as_ref().is_some_and(|found| found.firewall.is_in_force());
        self.company.looked(is_repair && self.filter.has_written(), is_settled);
    }
}

/// The next thing that the interface lost.
async fn missing(watch: &mut Option<Watch>) -> Missing {
    let Some(listening) = watch else { return pending().await };
    if let Some(missing) = listening.missing().await {
        return missing;
    }
    // Listens again with the next look at everything.
    *watch = None;
    Missing::Unheard
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

/// When to look: at once for some reasons after a calm, and in the long run no oftener than each `EVERY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    due: Option<Instant>,
    /// When all looks would have been made, had they come one each `EVERY`.
    paid_at: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { due: None, paid_at: now }
    }

    /// There is a reason.
    fn wake(&mut self, now: Instant) {
        let ahead = self.paid_at.saturating_duration_since(now);
        self.due.get_or_insert(now + ahead.saturating_sub(EVERY * (BURST - 1)));
    }

    /// It was looked.
    fn looked(&mut self, now: Instant) {
        if self.due.take().is_some() {
            self.paid_at = self.paid_at.max(now) + EVERY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_reasons_are_looked_at_at_once_and_a_loop_each_second() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let (mut now, mut looks) = (start, Vec::new());
        // Somebody writes every 10 ms for six seconds.
        while now < start + Duration::from_secs(6) {
            pace.wake(now);
            if pace.due.is_some_and(|due| due <= now) {
                looks.push((now - start).as_millis());
                pace.looked(now);
            }
            now += Duration::from_millis(10);
        }
        assert_eq!(looks, [0, 10, 20, 30, 40, 50, 60, 70, 1000, 2000, 3000, 4000, 5000]);
        // What was done last is looked at when it is time, though nothing more happens.
        assert_eq!(pace.due, Some(start + Duration::from_secs(6)));
        pace.looked(start + Duration::from_secs(6));
        // After a calm it begins anew.
        now = start + Duration::from_secs(30);
        pace.wake(now);
        assert_eq!(pace.due, Some(now));
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
