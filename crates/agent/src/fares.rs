//! How a sentry fares, looked at all the time and said to whoever asks inside the tunnels: load, connection tracking, and the height
//! of the node that runs here. It gives the sentry itself nothing to do.

use crate::kernel_facts;
use picket_chain::node::Goloop;
use picket_model::{Tracking, paths::Condition};
use std::time::Duration;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

/// How often load and tracking are looked at.
const EVERY: Duration = Duration::from_secs(2);
/// How often the node is asked: ICON makes a block in 2 s.
const NODE: Duration = Duration::from_secs(3);

/// Looks in the background until dropped.
#[derive(Debug)]
pub struct Fares {
    heard: watch::Receiver<Condition>,
    _tasks: JoinSet<()>,
}

impl Fares {
    /// Looks from now on, and asks `node`, if there is one.
    pub fn start(node: Option<Goloop>) -> Self {
        let (say, heard) = watch::channel(looked());
        let mut tasks = JoinSet::new();
        if let Some(node) = node {
            tasks.spawn(ask(node, say.clone()));
        }
        tasks.spawn(look(say));
        Self { heard, _tasks: tasks }
    }

    /// The last look, and all that follow.
    pub fn heard(&self) -> watch::Receiver<Condition> {
        self.heard.clone()
    }
}

async fn look(say: watch::Sender<Condition>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let looked = looked();
        say.send_modify(|said| *said = Condition { height: said.height, ..looked });
    }
}

async fn ask(node: Goloop, say: watch::Sender<Condition>) {
    let mut ticks = interval(NODE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answers = None;
    loop {
        ticks.tick().await;
        let height = node.height().await;
        if answers != Some(height.is_ok()) {
            match &height {
                Ok(height) => info!(height, "the node beside this agent answers"),
                Err(error) => warn!(%error, "the node beside this agent tells no height"),
            }
        }
        answers = Some(height.is_ok());
        // One that does not answer is not known to be behind.
        say.send_modify(|said| said.height = height.ok());
    }
}

fn looked() -> Condition {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Condition {
        load_permille: std::fs::read_to_string("/proc/loadavg").ok().and_then(|text| load(&text, cores)),
        tracking_permille: kernel_facts::tracking().map(fill),
        height: None,
    }
}

/// The first number of `/proc/loadavg` (proc(5)), which has two digits after the point, for each processor.
fn load(text: &str, cores: usize) -> Option<u16> {
    let (whole, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    let (whole, hundredths): (usize, usize) = (whole.parse().ok()?, hundredths.get(..2)?.parse().ok()?);
    let permille = whole.saturating_mul(1000).saturating_add(hundredths * 10) / cores.max(1);
    Some(share(u64::try_from(permille).unwrap_or(u64::MAX)))
}

fn fill(tracking: Tracking) -> u16 {
    let Tracking { connections, most } = tracking;
    share(connections.saturating_mul(1000).checked_div(most).unwrap_or_default())
}

/// The largest number stands for one that is not known.
fn share(permille: u64) -> u16 {
    u16::try_from(permille).unwrap_or(u16::MAX).min(u16::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_of_each_processor_and_tracking_of_its_table() {
        for (text, cores, expect) in [
            ("0.50 0.40 0.30 1/100 1234\n", 1, Some(500)),
            ("4.04 0 0", 4, Some(1010)),
            ("99999.00", 1, Some(u16::MAX - 1)),
            ("many", 1, None),
            ("1.5", 1, None),
            ("", 1, None),
        ] {
            assert_eq!(load(text, cores), expect, "{text}");
        }
        for (connections, most, expect) in [(9, 10, 900), (0, 10, 0), (5, 0, 0), (u64::MAX, 1, u16::MAX - 1)] {
            assert_eq!(fill(Tracking { connections, most }), expect);
        }
    }

    #[tokio::test]
    async fn this_host_has_a_load() {
        assert!(Fares::start(None).heard().borrow().load_permille.is_some());
    }
}
