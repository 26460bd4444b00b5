//! The chain behind a fake endpoint, as a value; read from fixtures in the shape of a `getPReps` answer.

use picket_model::PrepId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

/// One P-Rep as `getPReps` lists it: untyped, since a fake must be able to say anything.
pub type Prep = Map<String, Value>;

/// Chain id of ICON mainnet.
pub const MAINNET: u64 = 1;

/// Mainnet's 100 first P-Reps at height 30,642,672.
const MAINNET_LIST: &str = include_str!("../../../../tests/fixtures/icon/mainnet-2021-02.json");

/// Why a fixture is not one.
#[derive(Debug, Error)]
pub enum FixtureError {
    /// Not JSON.
    #[error("the fixture is not JSON")]
    Json(#[from] serde_json::Error),
    /// A part that a `getPReps` answer has is missing or of another kind.
    #[error("the fixture has no valid {0}: it must be a whole JSON-RPC answer to getPReps")]
    Part(&'static str),
}

/// A P-Rep whose registered name is hostile: it would clear a terminal that shows it as it is.
const HOSTILE_NAME: (usize, &str) = (13, "P-Rep 13\u{1b}[2J\u{1b}[31m");
/// Penalty for blocks not validated, as goloop counts penalties (`icon/icmodule/types.go`).
pub(super) const VALIDATION_FAILURE: &str = "0x3";

/// A chain at one height.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChainState {
    /// Chain id.
    pub nid: u64,
    /// Height of the last block.
    pub height: u64,
    /// `totalDelegated`, as ICON writes numbers.
    pub total_delegated: String,
    /// `totalStake`, as ICON writes numbers.
    pub total_stake: String,
    /// The active P-Reps in order of rank.
    pub preps: Vec<Prep>,
}

impl ChainState {
    /// ICON mainnet as it was in February 2021: 100 P-Reps. Their names are made up, and one of them is hostile.
    #[expect(clippy::expect_used, reason = "the fixture is compiled in and read by a test")]
    pub fn mainnet() -> Self {
        let mut chain = Self::from_answer(MAINNET_LIST).expect("a good fixture");
        for (number, prep) in (1..).zip(&mut chain.preps) {
            let (hostile, name) = HOSTILE_NAME;
            let name = if number == hostile { name.to_owned() } else { format!("P-Rep {number}") };
            prep.insert("name".to_owned(), name.into());
        }
        chain
    }

    /// From a whole JSON-RPC answer to `getPReps`, on mainnet's chain id.
    ///
    /// # Errors
    /// A [`FixtureError`] naming what is missing.
    pub fn from_answer(text: &str) -> Result<Self, FixtureError> {
        let answer: Value = serde_json::from_str(text)?;
        let result = answer.get("result").ok_or(FixtureError::Part("result"))?;
        let total = |name| result.get(name).and_then(Value::as_str).unwrap_or("0x0").to_owned();
        let height = result
            .get("blockHeight")
            .and_then(Value::as_str)
            .and_then(|text| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok())
            .ok_or(FixtureError::Part("blockHeight"))?;
        let preps = result.get("preps").and_then(Value::as_array).ok_or(FixtureError::Part("preps"))?;
        let preps: Option<Vec<Prep>> = preps.iter().map(|prep| prep.as_object().cloned()).collect();
        Ok(Self {
            nid: MAINNET,
            height,
            total_delegated: total("totalDelegated"),
            total_stake: total("totalStake"),
            preps: preps.ok_or(FixtureError::Part("preps"))?,
        })
    }

    /// The P-Rep with this owner address.
    pub fn prep(&self, prep: PrepId) -> Option<&Prep> {
        self.preps.iter().find(|entry| owner(entry) == Some(prep))
    }

    /// Takes a P-Rep off the list, in a new block; returns its height, or `None` where the list has no such P-Rep.
    pub fn remove(&mut self, prep: PrepId) -> Option<u64> {
        self.prep(prep)?;
        self.preps.retain(|entry| owner(entry) != Some(prep));
        Some(self.next_block())
    }

    /// Registers any text as a P-Rep's endpoint, in a new block; returns its height, or `None` where the list has no such
    /// P-Rep.
    pub fn set_endpoint(&mut self, prep: PrepId, endpoint: &str) -> Option<u64> {
        let entry = self.preps.iter_mut().find(|entry| owner(entry) == Some(prep))?;
        entry.insert("p2pEndpoint".to_owned(), endpoint.into());
        Some(self.next_block())
    }

    /// Makes a P-Rep a candidate in mid-term for blocks it did not validate, in a new block; the first sub P-Rep takes the
    /// place of a main one. Returns the block's height, or `None` where the list has no such P-Rep.
    pub fn penalise(&mut self, prep: PrepId) -> Option<u64> {
        let entry = self.preps.iter_mut().find(|entry| owner(entry) == Some(prep))?;
        let before = entry.insert("grade".to_owned(), "0x2".into());
        entry.insert("penalty".to_owned(), VALIDATION_FAILURE.into());
        let graded = |entry: &&mut Prep, grade: &str| entry.get("grade").and_then(Value::as_str) == Some(grade);
        if before.as_ref().and_then(Value::as_str) == Some("0x0")
            && let Some(sub) = self.preps.iter_mut().find(|entry| graded(entry, "0x1"))
        {
            sub.insert("grade".to_owned(), "0x0".into());
        }
        Some(self.next_block())
    }

    /// Ends a block; returns its height.
    pub fn next_block(&mut self) -> u64 {
        self.height += 1;
        self.height
    }
}

/// Owner address of an entry, where it has a valid one.
pub fn owner(entry: &Prep) -> Option<PrepId> {
    entry.get("address")?.as_str()?.parse().ok()
}
