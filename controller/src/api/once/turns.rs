//! One request at a time under one key; the others wait. In memory: after a crash nobody waits for anybody.

use crate::claim::Claim;
use picket_model::TokenId;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

type UnderWay = Arc<Mutex<BTreeMap<(TokenId, String), watch::Receiver<()>>>>;

/// Who is under way.
#[derive(Debug, Default)]
pub(super) struct Turns(UnderWay);

/// One's turn; the next one's begins when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    claim: (TokenId, String),
    under_way: UnderWay,
    _ended: watch::Sender<()>,
}

impl Turns {
    /// Waits for one's turn.
    pub(super) async fn take(&self, claim: &Claim) -> Turn {
        loop {
            match self.try_take(claim) {
                Ok(turn) => return turn,
                // That the sender is gone is what is waited for.
                Err(mut other) => drop(other.changed().await),
            }
        }
    }

    fn try_take(&self, claim: &Claim) -> Result<Turn, watch::Receiver<()>> {
        let claim = (claim.operator.clone(), claim.key.clone());
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = under_way.get(&claim) {
            return Err(other.clone());
        }
        let (ended, other) = watch::channel(());
        under_way.insert(claim.clone(), other);
        Ok(Turn { claim, under_way: self.0.clone(), _ended: ended })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.claim);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_the_same_key_waits_and_nobody_else_does() {
        let turns = Turns::default();
        let claim = |operator: &str, key: &str| Claim::new(operator.parse().unwrap(), key.to_owned(), String::new());
        let first = turns.take(&claim("op-1", "k")).await;
        let others = (turns.take(&claim("op-2", "k")).await, turns.take(&claim("op-1", "other")).await);
        assert!(turns.try_take(&claim("op-1", "k")).is_err());
        let waiting = {
            let turns = Turns(turns.0.clone());
            tokio::spawn(async move { turns.take(&claim("op-1", "k")).await })
        };
        drop(first);
        drop((waiting.await.unwrap(), others));
        assert!(turns.0.lock().unwrap().is_empty());
    }
}
