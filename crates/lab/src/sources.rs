//! The validator list as it is on chain and as its sources tell it, honest ones and a liar: values, for walks through a whole
//! mesh without a network. `icon` plays the endpoints themselves.

use picket_model::{Grade, Observation, ObservedValidator, P2pEndpoint, PrepId, SourceId, Timestamp};
use std::collections::BTreeMap;

/// Where a liar says that every validator is.
const INVENTED: &str = "6.6.6.6:7100";

/// What a source does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It tells what is on chain.
    Honest,
    /// It does not answer.
    Silent,
    /// It says that there are no validators.
    Empty,
    /// It puts an address of its own for every validator.
    Invents,
    /// It leaves out every second validator.
    Halves,
    /// It is far behind and tells the first list.
    Lags,
    /// It claims a height of the far future, and that there are no validators.
    Leaps,
    /// Every second answer is empty.
    Flaps,
    /// It lists all who were ever there, in a form that cannot be read.
    Doubts,
    /// Its chain stands still, and it says that there are no validators.
    StandsStill,
    /// It names thousands of names that nobody else has.
    NamesMany,
}

impl Manner {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Honest,
        Self::Silent,
        Self::Empty,
        Self::Invents,
        Self::Halves,
        Self::Lags,
        Self::Leaps,
        Self::Flaps,
        Self::Doubts,
        Self::StandsStill,
        Self::NamesMany,
    ];
}

/// The list, and who tells it.
#[derive(Clone, Debug)]
pub struct Sources {
    chain: BTreeMap<PrepId, ObservedValidator>,
    first: BTreeMap<PrepId, ObservedValidator>,
    height: u64,
    asked: u64,
    dishonest: (usize, Manner),
}

impl Default for Sources {
    /// An empty list, told by honest sources.
    fn default() -> Self {
        Self { chain: BTreeMap::new(), first: BTreeMap::new(), height: 100, asked: 0, dishonest: (0, Manner::Honest) }
    }
}

impl Sources {
    /// A validator registers; or moves, where it is known. Its node has the address of its owner.
    pub fn register(&mut self, prep: PrepId, endpoint: P2pEndpoint) {
        let Ok(node_address) = prep.to_string().parse() else { return };
        let entry = ObservedValidator {
            prep,
            name: String::new(),
            node_address,
            grade: Grade::Main,
            endpoint,
            penalty: 0,
            jail_flags: None,
            power: None,
        };
        self.chain.insert(prep, entry);
    }

    /// The list of now is the one that those tell who are far behind.
    pub fn begin(&mut self) {
        self.first = self.chain.clone();
    }

    /// A validator leaves the list.
    pub fn unregister(&mut self, prep: PrepId) {
        self.chain.remove(&prep);
    }

    /// The list loses half its entries.
    pub fn lose_half(&mut self) {
        let half = self.chain.len() / 2;
        self.chain = std::mem::take(&mut self.chain).into_iter().take(half).collect();
    }

    /// The list is empty.
    pub fn lose_all(&mut self) {
        self.chain.clear();
    }

    /// One source turns so; the others are honest.
    pub const fn turn(&mut self, source: usize, manner: Manner) {
        self.dishonest = (source, manner);
    }

    /// Who is not to be trusted now, and how.
    pub const fn dishonest(&self) -> (usize, Manner) {
        self.dishonest
    }

    /// The next block, which is asked for.
    pub const fn next_block(&mut self) {
        (self.height, self.asked) = (self.height + 1, self.asked + 1);
    }

    /// What the source with this number says now; `None` where it does not answer.
    pub fn answer(&self, number: usize, source: SourceId, now: Timestamp) -> Option<Observation> {
        let mut answer = Observation {
            source,
            height: self.height,
            seen_at: now,
            block_time: Some(now),
            entries: self.chain.clone(),
            refused: Vec::new(),
            doubted: BTreeMap::new(),
        };
        if number != self.dishonest.0 {
            return Some(answer);
        }
        match self.dishonest.1 {
            Manner::Honest => {}
            Manner::Silent => return None,
            Manner::Empty => answer.entries.clear(),
            Manner::Invents => {
                let invented: P2pEndpoint = INVENTED.parse().ok()?;
                answer.entries.values_mut().for_each(|entry| entry.endpoint = invented.clone());
            }
            Manner::Halves => answer.entries = answer.entries.into_iter().step_by(2).collect(),
            Manner::Lags => (answer.height, answer.entries) = (1, self.first.clone()),
            Manner::Leaps => {
                answer.height = u64::MAX;
                answer.entries.clear();
            }
            Manner::Flaps if self.asked.is_multiple_of(2) => answer.entries.clear(),
            Manner::Flaps => {}
            Manner::StandsStill => {
                answer.block_time = Some(Timestamp::default());
                answer.entries.clear();
            }
            Manner::NamesMany => {
                let names = (0..250u8).filter_map(|n| format!("node-{n}.example.org:7100").parse().ok());
                for (entry, name) in answer.entries.values_mut().zip(names) {
                    entry.endpoint = name;
                }
            }
            Manner::Doubts => {
                answer.doubted = self.first.keys().map(|prep| (*prep, None)).collect();
                answer.entries.clear();
            }
        }
        Some(answer)
    }
}
