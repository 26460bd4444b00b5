//! How an endpoint behaves, and the chain as it tells of it: values in, values out.

use super::{ChainState, Prep, chain::owner, past::Past};
use serde::{Deserialize, Serialize};

/// How the endpoint behaves. As JSON: `"normal"`, `{"status": 503}`, `"empty-preps"`, `{"lie": [...]}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// As goloop does.
    #[default]
    Normal,
    /// A page of HTML with status 200, as a parked domain gives.
    Html,
    /// This HTTP status with a page of HTML, as a proxy gives; 429 and 503 with `Retry-After: 30`.
    Status(u16),
    /// The request is read and never answered.
    Stall,
    /// A body of so many bytes, blank after the first.
    Huge(usize),
    /// `getPReps` answers an empty list.
    EmptyPreps,
    /// `getPReps` answers the first half of the list.
    HalfPreps,
    /// Another chain id than the chain's own.
    WrongChain,
    /// Another list of P-Reps than the chain's own.
    Lie(Vec<Prep>),
    /// These entries in place of the chain's own about the same P-Reps, and besides them.
    LieAbout(Vec<Prep>),
    /// So many blocks behind the chain.
    Behind(u64),
    /// At this height, whatever the chain does: it stands still, or went back.
    At(u64),
    /// Times of blocks are off by so many seconds.
    ClockOff(i64),
    /// Keeps the state of so many blocks and no more.
    Pruned(u64),
    /// As ICON 1.0 does: no `icx_getNetworkInfo`, no `height`, no WebSocket of goloop's.
    Icon1,
}

/// How the endpoint serves its WebSocket, whatever it answers to JSON-RPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Push {
    /// As goloop does.
    #[default]
    Served,
    /// Status 404, as of a proxy that lets no WebSocket through.
    Absent,
    /// Accepts a subscription and never says anything again.
    Silent,
}

/// A chain as an endpoint tells of it.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Its last block.
    pub(super) chain: ChainState,
    /// Height of the first block whose state can be read.
    pub(super) earliest: u64,
    /// When the last block was made, in microseconds since the Unix epoch.
    pub(super) micros: u64,
    behaviour: Behaviour,
    past: Past,
}

impl Told {
    /// By an endpoint that behaves so.
    pub(super) fn new(truth: &ChainState, past: &Past, behaviour: &Behaviour) -> Self {
        let (behaviour, past) = (behaviour.clone(), past.clone());
        let height = behaviour.height(truth.height);
        let mut chain = ChainState { height, preps: past.list(height), ..truth.clone() };
        if behaviour == Behaviour::WrongChain {
            chain.nid += 1;
        }
        let earliest = match behaviour {
            Behaviour::Pruned(blocks) => past.base().max(height.saturating_sub(blocks.saturating_sub(1))),
            _ => past.base().min(height),
        };
        let micros = match behaviour {
            Behaviour::ClockOff(seconds) => {
                past.micros(height).saturating_add_signed(seconds.saturating_mul(1_000_000))
            }
            _ => past.micros(height),
        };
        behaviour.distort(&mut chain.preps);
        Self { chain, earliest, micros, behaviour, past }
    }

    /// The chain as it was at a height, between the earliest and the last.
    pub(super) fn at(&self, height: u64) -> ChainState {
        let mut preps = self.past.list(height);
        self.behaviour.distort(&mut preps);
        ChainState { height, preps, ..self.chain.clone() }
    }

    /// Whether it is asked as ICON 1.0 is.
    pub(super) fn is_icon1(&self) -> bool {
        self.behaviour == Behaviour::Icon1
    }
}

impl Behaviour {
    /// The height it tells of a chain that is at this one.
    pub(super) fn height(&self, truth: u64) -> u64 {
        match self {
            Self::Behind(blocks) => truth.saturating_sub(*blocks),
            Self::At(height) => truth.min(*height),
            _ => truth,
        }
    }

    fn distort(&self, preps: &mut Vec<Prep>) {
        match self {
            Self::EmptyPreps => preps.clear(),
            Self::HalfPreps => preps.truncate(preps.len() / 2),
            Self::Lie(list) => preps.clone_from(list),
            Self::LieAbout(lies) => {
                for lie in lies {
                    match preps.iter_mut().find(|prep| owner(prep) == owner(lie)) {
                        Some(prep) => prep.clone_from(lie),
                        None => preps.push(lie.clone()),
                    }
                }
            }
            _ => {}
        }
    }
}
