//! The goloop beside a validator's agent: asked on a timer, its last word kept for the report. It gives the agent
//! nothing to do: an answer that is late, wrong or missing touches neither tunnels nor firewall.

use crate::host;
use picket_chain::node::{Goloop, Inspected};
use picket_model::{Advertised, ChainHealth, NodeId};
use std::time::Duration;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

/// How often goloop is asked.
const EVERY: Duration = Duration::from_secs(10);

/// goloop's last word; empty before the first, and where there is no goloop to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// How its chain stands.
    pub chain: Option<ChainHealth>,
    /// What its peers advertise; `None` while it does not say.
    pub advertised: Option<Advertised>,
}

impl Word {
    /// Whether this says something else than `before`. Heights and times alone are no news.
    pub fn is_news(&self, before: &Self) -> bool {
        let standing = |word: &Self| word.chain.clone().map(|chain| (chain.state, chain.error));
        let peers = |word: &Self| word.advertised.clone().map(|said| (said.channel, said.endpoints, said.refused));
        standing(self) != standing(before) || peers(self) != peers(before)
    }
}

/// Asks in the background until dropped.
#[derive(Debug)]
pub struct ChainWatch {
    word: watch::Receiver<Word>,
    _task: Option<JoinSet<()>>,
}

impl ChainWatch {
    /// Asks `goloop` from now on, for the host `node`; without one there is never any news.
    pub fn start(goloop: Option<Goloop>, node: NodeId) -> Self {
        let (said, word) = watch::channel(Word::default());
        let task = goloop.map(|goloop| {
            let mut task = JoinSet::new();
            task.spawn(listen(goloop, node, said));
            task
        });
        Self { word, _task: task }
    }

    /// The last word.
    pub fn word(&self) -> Word {
        self.word.borrow().clone()
    }

    /// Waits until goloop says something else; forever where there is none to ask.
    pub async fn news(&mut self) {
        if self.word.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn listen(goloop: Goloop, node: NodeId, said: watch::Sender<Word>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let word = match goloop.ask(&node, host::now()).await {
            Ok(Inspected { health, advertised, .. }) => Word { chain: Some(health), advertised },
            Err(error) => Word { chain: Some(ChainHealth::unknown(error.to_string())), advertised: None },
        };
        said.send_if_modified(|held| {
            let is_news = word.is_news(held);
            if is_news {
                log(&word);
            }
            *held = word;
            is_news
        });
    }
}

fn log(word: &Word) {
    let Some(chain) = &word.chain else { return };
    let peers = word.advertised.as_ref().map_or(0, |said| said.endpoints.len());
    if chain.is_good() {
        info!(%chain, peers, "goloop answers");
    } else {
        warn!(%chain, "goloop's chain is not well; the addresses it named before stay");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::Timestamp;
    use std::collections::{BTreeMap, BTreeSet};

    fn word() -> Word {
        let id = "hxa61cc3247a694a952aeaf8c6b95ef775b8340559".parse().unwrap();
        let endpoints = BTreeMap::from([(id, BTreeSet::from(["192.0.2.7:7100".parse().unwrap()]))]);
        Word {
            chain: Some(ChainHealth { state: "started".into(), height: Some(5), error: None }),
            advertised: Some(Advertised {
                node: "n-1".parse().unwrap(),
                channel: "icon_dex".into(),
                height: 5,
                seen_at: Timestamp::from_millis(1),
                endpoints,
                refused: Vec::new(),
            }),
        }
    }

    fn check(change: impl FnOnce(&mut Word), is_news: bool) {
        let mut now = word();
        change(&mut now);
        assert_eq!(now.is_news(&word()), is_news, "{now:?}");
    }

    #[test]
    fn only_what_matters_is_news() {
        check(|_| (), false);
        check(|word| word.chain.as_mut().unwrap().height = Some(6), false);
        check(|word| word.advertised.as_mut().unwrap().height = 6, false);
        check(|word| word.advertised.as_mut().unwrap().seen_at = Timestamp::from_millis(9), false);
        check(|word| word.chain.as_mut().unwrap().state = "stopped".into(), true);
        check(|word| word.chain.as_mut().unwrap().error = Some("disk full".into()), true);
        check(|word| word.advertised.as_mut().unwrap().endpoints.clear(), true);
        check(|word| word.advertised = None, true);
        check(|word| *word = Word::default(), true);
    }

    #[tokio::test]
    async fn a_host_without_goloop_has_no_news() {
        let mut watch = ChainWatch::start(None, "n-1".parse().unwrap());
        assert_eq!(watch.word(), Word::default());
        let waited = tokio::time::timeout(Duration::from_millis(20), watch.news()).await;
        assert!(waited.is_err());
    }
}
