//! The brakes: how far the list may move the set before a person is asked, and what exactly is held.

use picket_model::{P2pEndpoint, Policy, PrepId, ValidatorSet};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// P-Reps that the text of a hold names for each kind of change; the rest is counted.
const NAMED: usize = 10;
/// Hexadecimal digits of a digest: enough to tell one change from another, short enough to type.
const DIGEST_DIGITS: usize = 12;

/// Why the last set stays, and what the list would have changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which brake holds, and why.
    pub reason: String,
    /// Names exactly this change, so that a person can approve it and no other; `None` where there is no list to approve.
    pub digest: Option<String>,
    /// Who would leave.
    pub removes: BTreeSet<PrepId>,
    /// Who would be somewhere else, and where.
    pub moves: BTreeMap<PrepId, P2pEndpoint>,
    /// Who would come, and where.
    pub adds: BTreeMap<PrepId, P2pEndpoint>,
}

impl Held {
    /// Held because there is no list that could be believed.
    pub(super) fn without_list(reason: String) -> Self {
        Self { reason, digest: None, removes: BTreeSet::new(), moves: BTreeMap::new(), adds: BTreeMap::new() }
    }
}

impl fmt::Display for Held {
    /// On one line, with the first P-Reps of each kind and the digest by which to approve.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        let at = |(prep, endpoint): (&PrepId, &P2pEndpoint)| format!("{prep} at {endpoint}");
        let kinds: [(&str, Vec<String>); 3] = [
            ("leave", self.removes.iter().map(PrepId::to_string).collect()),
            ("move", self.moves.iter().map(at).collect()),
            ("come", self.adds.iter().map(at).collect()),
        ];
        for (kind, preps) in kinds.iter().filter(|(_, preps)| !preps.is_empty()) {
            write!(f, "; {} would {kind}: {}", preps.len(), preps[..preps.len().min(NAMED)].join(", "))?;
            if preps.len() > NAMED {
                write!(f, " and {} more", preps.len() - NAMED)?;
            }
        }
        match &self.digest {
            Some(digest) => write!(f, "; approve exactly this as {digest}"),
            None => Ok(()),
        }
    }
}

/// What a list would change in the set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) removes: BTreeSet<PrepId>,
    pub(super) moves: BTreeMap<PrepId, P2pEndpoint>,
    pub(super) adds: BTreeMap<PrepId, P2pEndpoint>,
}

impl Difference {
    /// From the set before to the usable entries of the list.
    pub(super) fn between(previous: &ValidatorSet, next: &ValidatorSet) -> Self {
        let mut difference = Self::default();
        difference.removes.extend(previous.0.keys().filter(|prep| !next.0.contains_key(prep)));
        for new in next.iter() {
            match previous.0.get(&new.prep) {
                None => drop(difference.adds.insert(new.prep, new.endpoint.clone())),
                Some(old) if old.endpoint != new.endpoint => {
                    difference.moves.insert(new.prep, new.endpoint.clone());
                }
                Some(_) => {}
            }
        }
        difference
    }

    /// The same for the same change, whenever and by whomever it is named.
    pub(super) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        self.removes.iter().for_each(|prep| hash.update(format!("- {prep}\n")));
        self.moves.iter().for_each(|(prep, endpoint)| hash.update(format!("~ {prep} {endpoint}\n")));
        self.adds.iter().for_each(|(prep, endpoint)| hash.update(format!("+ {prep} {endpoint}\n")));
        let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        digits.chars().take(DIGEST_DIGITS).collect()
    }
}

/// What holds the list back, if anything does; not where a person approved exactly this change.
pub(super) fn brake(
    previous: &ValidatorSet,
    present: &ValidatorSet,
    policy: &Policy,
    approved: Option<&str>,
) -> Option<Held> {
    let difference = Difference::between(previous, present);
    let digest = difference.digest();
    let reason = too_far(previous, present.len(), &difference, policy)?;
    if approved == Some(digest.as_str()) {
        return None;
    }
    let Difference { removes, moves, adds } = difference;
    Some(Held { reason, digest: Some(digest), removes, moves, adds })
}

/// Why the list is not believable, if so.
fn too_far(previous: &ValidatorSet, present: usize, difference: &Difference, policy: &Policy) -> Option<String> {
    let brakes = &policy.brakes;
    let stays = format!("the last set of {} stays", previous.len());
    let gone_or_moved = difference.removes.len() + difference.moves.len();
    if present < brakes.min_size {
        Some(format!("the list has {present} usable validators, fewer than min_size {}: {stays}", brakes.min_size))
    } else if present > brakes.max_size {
        Some(format!("the list has {present} usable validators, more than max_size {}: {stays}", brakes.max_size))
    } else if gone_or_moved > brakes.max_removed {
        Some(format!(
            "the list removes or moves {gone_or_moved} of {} validators at once, more than max_removed {}: {stays}",
            previous.len(),
            brakes.max_removed
        ))
    } else {
        None
    }
}
