//! A validator list written by hand, in a file or behind a URL: for own networks, tests, and chains that have no source
//! of their own here. Pure; the bytes are brought by [`fetch`](crate::fetch).
//!
//! ```json
//! {
//!   "height": 1,
//!   "validators": [
//!     {"prep": "hx0b047c751658f7ce1b2595da34d57a0e7dad357d", "endpoint": "203.0.113.7:7100", "grade": "main"}
//!   ]
//! }
//! ```

use crate::icon::answer::MOST_ENTRIES;
use crate::quote::shortened;
use picket_model::{Grade, NodeAddress, Observation, ObservedValidator, PrepId, Refused, SourceId, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fmt, str::FromStr};
use thiserror::Error;

/// SHA-256 that a list must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checksum([u8; 32]);

/// Not a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a SHA-256 checksum: 64 hexadecimal digits")]
pub struct ChecksumError;

impl Checksum {
    /// Of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl FromStr for Checksum {
    type Err = ChecksumError;

    fn from_str(text: &str) -> Result<Self, ChecksumError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ChecksumError)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Why a list as a whole was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ListError {
    /// Somebody changed it, or the checksum is of another version.
    #[error("the list has checksum {found}, not {wanted}: compare what changed, then write the new checksum")]
    Checksum {
        /// What was asked for.
        wanted: Checksum,
        /// What came.
        found: Checksum,
    },
    /// Not JSON, or of another shape.
    #[error("the list cannot be read: {0}")]
    Shape(String),
    /// Far more than there can be.
    #[error("the list has {found} entries, more than {MOST_ENTRIES}")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// Nobody on it.
    #[error("the list names no validator")]
    Empty,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    height: u64,
    validators: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    prep: PrepId,
    /// The owner address where absent.
    node_address: Option<NodeAddress>,
    endpoint: String,
    #[serde(default = "main")]
    grade: Grade,
}

fn main() -> Grade {
    Grade::Main
}

/// Reads a list. An entry that cannot be read is refused with its reason and does not spoil the others; one that names a
/// P-Rep a second time is refused.
///
/// # Errors
/// A [`ListError`] where the list as a whole cannot be used.
pub fn parse(
    source: &SourceId,
    wanted: Option<Checksum>,
    body: &[u8],
    seen_at: Timestamp,
) -> Result<Observation, ListError> {
    let found = Checksum::of(body);
    if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
        return Err(ListError::Checksum { wanted, found });
    }
    let list: List = serde_json::from_slice(body).map_err(|error| ListError::Shape(shortened(&error.to_string())))?;
    if list.validators.is_empty() {
        return Err(ListError::Empty);
    }
    if list.validators.len() > MOST_ENTRIES {
        return Err(ListError::TooMany { found: list.validators.len() });
    }
    let mut observation = Observation {
        source: source.clone(),
        height: list.height,
        seen_at,
        block_time: None,
        entries: BTreeMap::new(),
        refused: Vec::new(),
        doubted: BTreeMap::new(),
    };
    for (place, value) in list.validators.into_iter().enumerate() {
        match read(value) {
            Ok(entry) if !observation.entries.contains_key(&entry.prep) => {
                observation.entries.insert(entry.prep, entry);
            }
            Ok(entry) => {
                let reason = "the list names this P-Rep more than once".to_owned();
                observation.refused.push(Refused { entry: entry.prep.to_string(), reason });
            }
            Err(reason) => observation.refused.push(Refused { entry: format!("entry {}", place + 1), reason }),
        }
    }
    Ok(observation)
}

fn read(value: Value) -> Result<ObservedValidator, String> {
    let entry: Entry = serde_json::from_value(value).map_err(|error| shortened(&error.to_string()))?;
    let endpoint = entry.endpoint.parse().map_err(|error: picket_model::EndpointError| error.to_string())?;
    let owner_as_node = || entry.prep.to_string().parse().map_err(|error: picket_model::IdError| error.to_string());
    Ok(ObservedValidator {
        prep: entry.prep,
        name: String::new(),
        node_address: entry.node_address.map_or_else(owner_as_node, Ok)?,
        grade: entry.grade,
        endpoint,
        penalty: 0,
        jail_flags: None,
        power: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "hx0b047c751658f7ce1b2595da34d57a0e7dad357d";

    fn read_list(body: &str, wanted: Option<Checksum>) -> Result<Observation, ListError> {
        parse(&"own".parse().unwrap(), wanted, body.as_bytes(), Timestamp::from_millis(5))
    }

    fn list(entries: &str) -> String {
        format!("{{\"height\": 7, \"validators\": [{entries}]}}")
    }

    #[test]
    fn a_list_by_hand_is_an_observation() {
        let seen =
            read_list(&list(&format!("{{\"prep\": \"{A}\", \"endpoint\": \"203.0.113.7:7100\"}}")), None).unwrap();
        let entry = &seen.entries[&A.parse().unwrap()];
        assert_eq!((seen.height, entry.grade, entry.node_address.to_string().as_str()), (7, Grade::Main, A));
        assert!(seen.refused.is_empty());
    }

    #[test]
    fn a_bad_entry_is_refused_and_the_others_are_taken() {
        let good = format!("{{\"prep\": \"{A}\", \"endpoint\": \"203.0.113.7:7100\"}}");
        let check = |bad: &str, part: &str| {
            let seen = read_list(&list(&format!("{good}, {bad}")), None).unwrap();
            assert_eq!((seen.entries.len(), seen.refused.len()), (1, 1));
            assert!(seen.refused[0].reason.contains(part), "{:?}", seen.refused);
        };
        check("7", "invalid type");
        check("{\"prep\": \"hx12\", \"endpoint\": \"203.0.113.7:7100\"}", "not an ICON address");
        check(&good.replace("7d\"", "7e\"").replace("203.0.113.7", "012.0.0.1"), "canonical");
        check(&good.replace("7d\"", "7e\"").replace("endpoint", "enpoint"), "unknown field");
        check(&good, "more than once");
    }

    #[test]
    fn a_list_that_is_none_is_an_error() {
        let error = |body: &str| read_list(body, None).unwrap_err().to_string();
        assert!(error("<html>").contains("cannot be read"));
        assert!(error("{\"height\": 7}").contains("validators"));
        assert_eq!(error(&list("")), "the list names no validator");
        assert_eq!(error(&list(&vec!["0"; 5001].join(","))), "the list has 5001 entries, more than 5000");
    }

    #[test]
    fn the_checksum_must_fit() {
        let body = list(&format!("{{\"prep\": \"{A}\", \"endpoint\": \"203.0.113.7:7100\"}}"));
        let right = Checksum::of(body.as_bytes());
        assert!(read_list(&body, Some(right.to_string().parse().unwrap())).is_ok());
        let wrong = Checksum::of(b"another");
        assert_eq!(read_list(&body, Some(wrong)), Err(ListError::Checksum { wanted: wrong, found: right }));
        assert_eq!("12".parse::<Checksum>(), Err(ChecksumError));
    }
}
