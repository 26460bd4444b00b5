//! What a chain was before its last block: the list at each height that is kept, and when each block was made. A value;
//! the time is given.

use super::{ChainState, Prep};
use std::{collections::BTreeMap, sync::Arc};

/// Blocks that are kept.
const KEPT: u64 = 1000;
/// ICON's time from one block to the next, in microseconds: for blocks that were made before anybody looked.
const BLOCK_MICROS: u64 = 2_000_000;

/// The last blocks of a chain. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// Height of the first block that is kept.
    base: u64,
    /// Lists by the height from which on they hold.
    lists: BTreeMap<u64, Arc<Vec<Prep>>>,
    /// When blocks were made, in microseconds since the Unix epoch.
    times: BTreeMap<u64, u64>,
}

impl Past {
    /// Of a chain that is seen for the first time.
    pub(super) fn new(chain: &ChainState, micros: u64) -> Self {
        let mut past = Self { base: chain.height, ..Self::default() };
        past.keep(chain, micros);
        past
    }

    /// The chain's last block was made. What was after it is no more, where the chain went back.
    pub(super) fn keep(&mut self, chain: &ChainState, micros: u64) {
        let height = chain.height;
        self.lists.retain(|since, _| *since < height);
        self.times.retain(|block, _| *block < height && block.saturating_add(KEPT) > height);
        self.base = self.base.min(height).max(height.saturating_sub(KEPT - 1));
        if self.lists.last_key_value().is_none_or(|(_, list)| **list != chain.preps) {
            self.lists.insert(height, Arc::new(chain.preps.clone()));
        }
        self.times.insert(height, micros);
        // The last list from before the base holds at the base.
        if let Some(first) = self.lists.range(..=self.base).next_back().map(|(since, _)| *since) {
            self.lists.retain(|since, _| *since >= first);
        }
    }

    /// Height of the first block that is kept.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// The list at a height; the first one there is for a height from before.
    pub(super) fn list(&self, height: u64) -> Vec<Prep> {
        let at = self.lists.range(..=height).next_back().or_else(|| self.lists.first_key_value());
        at.map(|(_, list)| list.to_vec()).unwrap_or_default()
    }

    /// When the block at a height was made, in microseconds since the Unix epoch.
    pub(super) fn micros(&self, height: u64) -> u64 {
        let after = self.times.range(height..).next();
        after.map_or(0, |(block, micros)| micros.saturating_sub((block - height).saturating_mul(BLOCK_MICROS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(height: u64, preps: usize) -> ChainState {
        let all = ChainState::mainnet().preps;
        ChainState { height, preps: all[..preps].to_vec(), ..ChainState::default() }
    }

    #[test]
    fn each_height_has_the_list_that_held_then() {
        let mut past = Past::new(&chain(10, 3), 0);
        for (height, preps) in [(11, 3), (12, 2), (13, 2), (14, 1)] {
            past.keep(&chain(height, preps), 0);
        }
        let sizes: Vec<usize> = (9..=15).map(|height| past.list(height).len()).collect();
        assert_eq!((sizes, past.base()), (vec![3, 3, 3, 2, 2, 1, 1], 10));
    }

    #[test]
    fn only_the_last_blocks_are_kept() {
        let mut past = Past::new(&chain(1, 3), 0);
        past.keep(&chain(2, 2), 0);
        for height in 3..=1500 {
            past.keep(&chain(height, 2), height);
        }
        assert_eq!((past.base(), past.list(501).len(), past.lists.len()), (501, 2, 1));
        assert_eq!((past.times.len(), past.micros(1499)), (1000, 1499));
    }

    #[test]
    fn a_chain_that_went_back_forgets_what_was_after() {
        let mut past = Past::new(&chain(10, 3), 0);
        past.keep(&chain(11, 1), 0);
        past.keep(&chain(5, 3), 7_000_000);
        assert_eq!((past.base(), past.list(11).len(), past.micros(5), past.micros(4)), (5, 3, 7_000_000, 5_000_000));
    }
}
