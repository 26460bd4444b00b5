//! The brakes: how far the list may move the set before a person is asked, and what exactly is held.

use super::memory::{Change, ChangeKind, MergeMemory};
use crate::FindingKind;
use picket_model::{Orders, P2pEndpoint, Policy, PrepId, Timestamp, Validator, ValidatorSet};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// P-Reps that the text of a hold names for each kind of change; the rest is counted.
const NAMED: usize = 3;
/// Hexadecimal digits of a digest: 128 bits, since who controls enough sources chooses the changes, and must not find two
/// with the same.
const DIGEST_DIGITS: usize = 32;
/// Moves of one P-Rep that are followed within the window; beyond it, it waits.
const MOST_MOVES: usize = 3;

/// Why the last set stays, and what the list would have changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What kind of hold it is.
    pub kind: FindingKind,
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
    pub(super) fn without_list(kind: FindingKind, reason: String) -> Self {
        Self { kind, reason, digest: None, removes: BTreeSet::new(), moves: BTreeMap::new(), adds: BTreeMap::new() }
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
            Some(digest) => write!(f, "; to let exactly this through: picket validators approve {digest}"),
            None => Ok(()),
        }
    }
}

/// What a list would change in the set.
struct Difference {
    removes: BTreeSet<PrepId>,
    moves: BTreeMap<PrepId, P2pEndpoint>,
    adds: BTreeMap<PrepId, P2pEndpoint>,
}

impl Difference {
    /// From the set before to the usable entries of the list. Who was missing before is no news.
    fn between(previous: &ValidatorSet, present: &ValidatorSet) -> Self {
        let leaves = |old: &&Validator| old.absent_since.is_none() && !present.0.contains_key(&old.prep);
        let at = |new: &Validator| (new.prep, new.endpoint.clone());
        let known = |new: &Validator| previous.0.get(&new.prep);
        Self {
            removes: previous.iter().filter(leaves).map(|old| old.prep).collect(),
            moves: present.iter().filter(|new| known(new).is_some_and(|old| is_moved(old, new))).map(at).collect(),
            adds: present.iter().filter(|new| known(new).is_none()).map(at).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.removes.is_empty() && self.moves.is_empty() && self.adds.is_empty()
    }

    /// The same for the same change, whenever and by whomever it is named.
    fn digest(&self, present: &ValidatorSet) -> String {
        let mut hash = Sha256::new();
        self.removes.iter().for_each(|prep| hash.update(format!("- {prep}\n")));
        for (sign, preps) in [('~', &self.moves), ('+', &self.adds)] {
            for (prep, endpoint) in preps {
                let advertised = present.0.get(prep).map(|validator| validator.provenance.advertised.keys());
                hash.update(format!(
                    "{sign} {prep} {endpoint} {:?}\n",
                    advertised.into_iter().flatten().collect::<Vec<_>>()
                ));
            }
        }
        let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        digits.chars().take(DIGEST_DIGITS).collect()
    }

    fn changes(&self, now: Timestamp) -> impl Iterator<Item = Change> {
        let kind = |kind| move |prep: &PrepId| Change { at: now, prep: *prep, kind };
        let removed = self.removes.iter().map(kind(ChangeKind::Removed));
        let moved = self.moves.keys().map(kind(ChangeKind::Moved));
        removed.chain(moved).chain(self.adds.keys().map(kind(ChangeKind::Added)))
    }
}

/// Lets a list through, and gives the memory what it changes; or holds it. A person may approve exactly this change,
/// which then does not count against the next ones. A list that is empty or far too long cannot be approved.
pub(super) fn brake(
    previous: &ValidatorSet,
    present: &ValidatorSet,
    policy: &Policy,
    orders: &Orders,
    now: Timestamp,
    memory: &mut MergeMemory,
) -> Option<Held> {
    memory.changes.retain(|change| now.since(change.at) < change.counts_for(policy));
    let difference = Difference::between(previous, present);
    let hold = |kind, reason: String, digest, difference: Difference| {
        let reason = format!("{reason}: the last set of {} stays", previous.len());
        let Difference { removes, moves, adds } = difference;
        Some(Held { kind, reason, digest, removes, moves, adds })
    };
    let (size, brakes) = (present.len(), &policy.brakes);
    if size > brakes.max_size {
        let reason = format!("the list has {size} usable validators, more than max_size {}", brakes.max_size);
        return hold(FindingKind::ListHeld, reason, None, difference);
    }
    let total: usize = present.iter().map(|validator| validator.addresses.len()).sum();
    if total > policy.max_addresses {
        let reason = format!("the list means {total} addresses, more than max_addresses {}", policy.max_addresses);
        return hold(FindingKind::ListHeld, reason, None, difference);
    }
    let digest = difference.digest(present);
    let approved = orders.approved.as_ref().is_some_and(|approval| approval.digest == digest);
    let frozen = orders.hold.as_ref().filter(|order| order.is_active(now));
    let some = (!difference.is_empty()).then(|| digest.clone());
    match (too_far(previous, size, &difference, policy, memory), frozen) {
        (Some(reason), _) if size == 0 => hold(FindingKind::ListHeld, reason, None, difference),
        (Some(_), _) | (_, Some(_)) if approved => None,
        (Some(reason), _) => hold(FindingKind::ListHeld, reason, Some(digest), difference),
        (None, Some(order)) => {
            let until = order.until.map_or_else(String::new, |until| format!(" until {until}"));
            let reason = format!("operator {} froze the set{until} ({})", order.by, order.comment.escape_debug());
            hold(FindingKind::HeldByOperator, reason, some, difference)
        }
        (None, None) => {
            if !previous.is_empty() {
                memory.changes.extend(difference.changes(now));
            }
            None
        }
    }
}

/// Why the list is not believable, if so.
fn too_far(
    previous: &ValidatorSet,
    size: usize,
    difference: &Difference,
    policy: &Policy,
    memory: &MergeMemory,
) -> Option<String> {
    let brakes = &policy.brakes;
    if size < brakes.min_size {
        return Some(format!("the list has {size} usable validators, fewer than min_size {}", brakes.min_size));
    }
    // Each P-Rep counts once, so that one that flaps does not use up what the others need.
    let lately = |kinds: &[ChangeKind]| -> BTreeSet<PrepId> {
        memory.changes.iter().filter(|change| kinds.contains(&change.kind)).map(|change| change.prep).collect()
    };
    let now = difference.removes.len() + difference.moves.len();
    let mut gone = lately(&[ChangeKind::Removed, ChangeKind::Moved]);
    gone.extend(difference.removes.iter().chain(difference.moves.keys()));
    let left = lately(&[ChangeKind::Removed]).iter().filter(|prep| !previous.0.contains_key(prep)).count();
    let share = ((previous.len() + left) * brakes.max_removed_percent / 100).max(1);
    let mut came = lately(&[ChangeKind::Added]);
    came.extend(difference.adds.keys());
    // All that count within the window, where there were others before these.
    let within = |all: usize, now: usize| {
        if all == now { String::new() } else { format!(", {all} within {}", period(brakes.window_seconds)) }
    };
    let moved = format!("the list removes or moves {now} of {} validators{}", previous.len(), within(gone.len(), now));
    if now > 0 && gone.len() > brakes.max_removed {
        Some(format!("{moved}, more than max_removed {}", brakes.max_removed))
    } else if now > 0 && gone.len() > share {
        Some(format!("{moved}, more than {share}, which max_removed_percent {} allows", brakes.max_removed_percent))
    } else if !difference.adds.is_empty() && !previous.is_empty() && came.len() > brakes.max_added {
        let adds = difference.adds.len();
        let within = within(came.len(), adds);
        Some(format!("the list adds {adds} validators{within}, more than max_added {}", brakes.max_added))
    } else {
        None
    }
}

/// `1 h`, `90 min`, `45 s`.
fn period(seconds: u64) -> String {
    match seconds {
        s if s > 0 && s.is_multiple_of(3600) => format!("{} h", s / 3600),
        s if s > 0 && s.is_multiple_of(60) => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// Whether a P-Rep has moved as often as is followed: anybody may register another endpoint with every block, and each is a
/// plan for every host.
pub(super) fn moves_too_often(prep: &PrepId, policy: &Policy, now: Timestamp, memory: &MergeMemory) -> bool {
    let counts = |change: &&Change| {
        change.prep == *prep && change.kind == ChangeKind::Moved && now.since(change.at) < policy.brakes.window()
    };
    memory.changes.iter().filter(counts).count() >= MOST_MOVES
}

/// Whether a validator is somewhere else. Other addresses of the same registered name are not that: they have a limit of
/// their own ([`super::names`]).
fn is_moved(old: &Validator, new: &Validator) -> bool {
    old.endpoint != new.endpoint || !old.provenance.advertised.keys().eq(new.provenance.advertised.keys())
}
