//! Which sentry carried what, kept beside the ledger: an agent that starts again goes on with it, so that nothing moves that need
//! not, and what was left of a sentry that is drained stays left.

use super::{Carried, Cause, telling};
use crate::{
    pairing::Moment,
    state::{Kind, StateDir},
};
use ipnet::IpNet;
use picket_model::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tracing::warn;

const PATHS: Kind = Kind { name: "paths.json", version: 1, remedy: "remove it: the agent writes it again" };

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    sentry: NodeId,
    since: Timestamp,
    cause: Cause,
}

/// Writes it where it changed.
#[derive(Debug)]
pub struct Keeper {
    state: StateDir,
    written: Option<BTreeMap<IpNet, NodeId>>,
}

impl Keeper {
    /// In this folder.
    pub fn new(state: StateDir) -> Self {
        Self { state, written: None }
    }

    /// What was kept; nothing where there is none, or where it cannot be read: it saves connections, and decides nothing.
    pub fn load(&self, now: Moment) -> BTreeMap<IpNet, Carried> {
        let kept: BTreeMap<IpNet, Kept> = match self.state.read_json(PATHS) {
            Ok(kept) => kept.unwrap_or_default(),
            Err(error) => {
                warn!(%error, "which sentry carried what is not known: it is chosen anew");
                BTreeMap::new()
            }
        };
        let carried =
            |kept: Kept| Carried { since: telling::after(now, kept.since), sentry: kept.sentry, cause: kept.cause };
        kept.into_iter().map(|(destination, kept)| (destination, carried(kept))).collect()
    }

    /// Keeps it.
    pub fn keep(&mut self, carried: &BTreeMap<IpNet, Carried>, now: Moment) {
        let sentries = || carried.iter().map(|(destination, carried)| (destination, &carried.sentry));
        if self.written.as_ref().is_some_and(|written| written.iter().eq(sentries())) {
            return;
        }
        let kept = |carried: &Carried| Kept {
            sentry: carried.sentry.clone(),
            since: telling::since(now, carried),
            cause: carried.cause,
        };
        let content: BTreeMap<IpNet, Kept> = carried.iter().map(|(to, carried)| (*to, kept(carried))).collect();
        match self.state.note_json(PATHS, &content) {
            Ok(()) => self.written = Some(sentries().map(|(to, sentry)| (*to, sentry.clone())).collect()),
            Err(error) => warn!(%error, "which sentry carries what is not kept"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::health::Way;
    use std::time::{Duration, Instant};

    #[test]
    fn it_comes_back_as_it_was_and_damage_is_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::new(StateDir::new(folder.path()));
        let now = Moment { steady: Instant::now(), wall: Timestamp::from_millis(1_700_000_000_000) };
        assert_eq!(keeper.load(now), BTreeMap::new());
        let carried = |cause, ago| Carried {
            sentry: "n-1".parse().unwrap(),
            since: now.steady.checked_sub(Duration::from_secs(ago)).unwrap(),
            cause,
        };
        let all = BTreeMap::from([
            ("5.0.0.1/32".parse().unwrap(), carried(Cause::Lost(Way::Silent), 5)),
            ("::/0".parse().unwrap(), carried(Cause::New, 0)),
        ]);
        keeper.keep(&all, now);
        assert_eq!(keeper.load(now), all);
        std::fs::write(folder.path().join("paths.json"), "{").unwrap();
        assert_eq!(keeper.load(now), BTreeMap::new());
    }
}
