//! Looks at the node on this host, one look at a time, and shows what came of it.

use super::{
    Board,
    health::{NodeHealth, Seen},
};
use crate::host::now;
use picket_chain::node::{Goloop, Inspected, Place, PrepStanding};
use picket_model::{NodeId, PrepId};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

/// How often the node is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// Looks from one question about the validator's standing to the next: that changes by the minute.
const PREP_EVERY: u32 = 12;

/// What to look at.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The node.
    pub goloop: Goloop,
    /// Where its data is, for the room on that disk.
    pub data: Option<PathBuf>,
    /// Address of the validator whose standing is asked for.
    pub prep: Option<PrepId>,
}

/// Looks for ever, for the host of this id.
pub async fn watch(board: Board, host: NodeId, options: NodeOptions) {
    board.expect_node();
    let (mut health, mut ticks) = (NodeHealth::default(), interval(EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut prep, mut looks) = (None, 0_u32);
    loop {
        ticks.tick().await;
        if looks.is_multiple_of(PREP_EVERY) {
            prep = standing(&options).await;
        }
        looks = looks.wrapping_add(1);
        let seen = Seen { prep: prep.clone(), ..look(&options, &host).await };
        let at = Instant::now();
        let before = health.verdict().clone();
        let verdict = health.look(&seen, at);
        if !verdict.is_like(&before) {
            if verdict.is_well() {
                info!(height = seen.height, "the node is well");
            } else {
                warn!(%verdict, "the node is not well");
            }
        }
        board.tell_node(&seen, verdict, at);
    }
}

async fn standing(options: &NodeOptions) -> Option<PrepStanding> {
    let asked = options.goloop.prep(options.prep?).await;
    asked.map_err(|error| warn!(%error, "how the chain judges the validator is not known")).ok()
}

async fn look(options: &NodeOptions, host: &NodeId) -> Seen {
    let goloop = &options.goloop;
    let disk = match options.data.clone() {
        // A disk that hangs holds up this look and nothing else.
        Some(data) => spawn_blocking(move || room(&data)).await.ok().flatten(),
        None => None,
    };
    let inspected = match goloop.ask(host, now()).await {
        Ok(inspected) => inspected,
        Err(error) => return Seen { error: Some(error.to_string()), disk, ..Seen::default() },
    };
    let Inspected { health, pace, .. } = inspected;
    let block = match goloop.place {
        Place::Http(_) => goloop.last_block().await.ok(),
        Place::Socket(_) => None,
    };
    Seen {
        error: None,
        state: Some(health.state),
        chain_error: health.error,
        height: block.as_ref().map(|block| block.height).or(health.height),
        block_age: block.map(|block| now().since(block.at)),
        peers: Some(pace.peers),
        round: pace.round,
        round_took: pace.round_took,
        disk,
        prep: None,
    }
}

/// Bytes free to programs that are not root, and in all.
fn room(path: &Path) -> Option<(u64, u64)> {
    let stat = nix::sys::statvfs::statvfs(path);
    let stat =
        stat.map_err(|error| warn!(path = %path.display(), %error, "room on the node's disk is not known")).ok()?;
    let block = stat.fragment_size();
    Some((stat.blocks_available().saturating_mul(block), stat.blocks().saturating_mul(block)))
}
