//! Who watches the generations while controllers die: what every controller says, many times a second, and every wanted state that
//! an agent ever took.

use crate::{
    Host, LabError,
    mesh::{Agent, Controller},
};
use std::{
    collections::BTreeMap,
    sync::mpsc::{self, RecvTimeoutError},
    thread::JoinHandle,
    time::Duration,
};

/// From one look to the next.
const EVERY: Duration = Duration::from_millis(50);
/// The line of a controller's metrics.
const METRIC: &str = "picket_generation ";
/// What an agent writes once it holds a newer wanted state on its disk, before it applies that.
const TAKEN: &str = "wanted state accepted";
/// The field of that line that an agent compares.
const REVISION: &str = "revision=";

/// A watch that goes on until it is ended.
pub(super) struct Witness {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<BTreeMap<String, Vec<u64>>>,
}

impl Witness {
    /// Begins to ask the controllers on these hosts, dead or alive.
    pub(super) fn of(hosts: Vec<Host>) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeMap::<String, Vec<u64>>::new();
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                for host in &hosts {
                    // One that is dead says nothing, and one that has only begun says zero.
                    let said = Controller::metrics_on(host).ok().and_then(|text| generation(&text));
                    seen.entry(host.name().to_owned()).or_default().extend(said.filter(|number| *number > 0));
                }
            }
            seen
        });
        Self { stop, thread }
    }

    /// Ends it: what each controller said, in the order of time.
    pub(super) fn end(self) -> Result<BTreeMap<String, Vec<u64>>, LabError> {
        drop(self.stop);
        self.thread.join().map_err(|_| LabError::Gone)
    }
}

/// The revisions that an agent took, in the order in which it did.
pub(super) fn taken(agent: &Agent) -> Vec<u64> {
    agent.process().map_or_else(Vec::new, |process| revisions(&process.log()))
}

fn generation(metrics: &str) -> Option<u64> {
    metrics.lines().find_map(|line| line.strip_prefix(METRIC)?.trim().parse().ok())
}

fn revisions(log: &str) -> Vec<u64> {
    let lines = log.lines().filter(|line| line.contains(TAKEN));
    lines
        .filter_map(|line| line.split_whitespace().find_map(|word| word.strip_prefix(REVISION)?.parse().ok()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_read_from_metrics_and_logs() {
        assert_eq!(generation("# TYPE picket_generation gauge\npicket_generation 17\npicket_hosts 3\n"), Some(17));
        assert_eq!(generation("picket_hosts 3\n"), None);
        let log = "2026-01-01T00:00:00Z  INFO wanted state accepted generation=9 revision=7\n\
                   2026-01-01T00:00:01Z  INFO in force revision=7 peers=2\n\
                   2026-01-01T00:00:02Z  INFO wanted state accepted generation=12 revision=11\n";
        assert_eq!(revisions(log), [7, 11]);
    }
}
