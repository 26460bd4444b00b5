//! What has to change so that the kernel's table becomes the wanted one. Decides only; `render` writes it down.

use crate::{Ruleset, Set, TABLE};
use std::fmt;

/// One readable step from the ruleset found to the one wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Throw the table away and write the wanted one, in one transaction.
    ReplaceTable(ReplaceReason),
    /// Take elements out of a set.
    DeleteElements {
        /// Name of the set.
        set: String,
        /// What goes.
        elements: Set,
    },
    /// Put elements into a set.
    AddElements {
        /// Name of the set.
        set: String,
        /// What comes.
        elements: Set,
    },
}

/// Why elements alone do not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplaceReason {
    /// There is no table.
    Missing,
    /// Somebody put things into it that are not ours.
    Foreign(Vec<String>),
    /// Chains or rules differ.
    Chains,
    /// Sets are missing, of another kind, or too many, or their elements last for another time.
    Sets,
    /// Meters or time limits are missing, of another shape, or too many.
    Meters,
    /// Counters are missing or too many.
    Counters,
    /// The kernel refused a change of elements: somebody else changed them at the same time.
    ElementsRefused,
}

/// Elements of a change that are printed; a log line is no place for ten thousand.
const SHOWN: usize = 12;

/// The steps from `found` (`None`: no table) to `wanted`; none where they are equal. Deletions come before additions,
/// because a prefix may take the place of others that it overlaps.
pub fn diff(wanted: &Ruleset, found: Option<&Ruleset>) -> Vec<Change> {
    match found {
        None => vec![Change::ReplaceTable(ReplaceReason::Missing)],
        Some(found) => match replace_reason(wanted, found) {
            Some(reason) => vec![Change::ReplaceTable(reason)],
            None => elements(wanted, found).unwrap_or_else(|| vec![Change::ReplaceTable(ReplaceReason::Sets)]),
        },
    }
}

/// Why elements alone do not do, but for the sets' own kinds.
fn replace_reason(wanted: &Ruleset, found: &Ruleset) -> Option<ReplaceReason> {
    if !found.foreign.is_empty() {
        Some(ReplaceReason::Foreign(found.foreign.clone()))
    } else if wanted.chains != found.chains {
        Some(ReplaceReason::Chains)
    } else if wanted.counters != found.counters {
        Some(ReplaceReason::Counters)
    } else if (&wanted.meters, &wanted.half_open) != (&found.meters, &found.half_open) {
        Some(ReplaceReason::Meters)
    } else if !wanted.sets.keys().eq(found.sets.keys()) || wanted.timeouts != found.timeouts {
        Some(ReplaceReason::Sets)
    } else {
        None
    }
}

/// Changes of elements, deletions first; `None` where a set is of another kind. Each set is gone through once.
fn elements(wanted: &Ruleset, found: &Ruleset) -> Option<Vec<Change>> {
    let (mut deletions, mut additions) = (Vec::new(), Vec::new());
    for (name, wanted) in &wanted.sets {
        let (gone, new) = found.sets.get(name)?.both_ways(wanted)?;
        deletions.push(Change::DeleteElements { set: name.clone(), elements: gone });
        additions.push(Change::AddElements { set: name.clone(), elements: new });
    }
    Some(deletions.into_iter().chain(additions).filter(|change| !change.is_empty()).collect())
}

impl Change {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::ReplaceTable(_) => false,
            Self::DeleteElements { elements, .. } | Self::AddElements { elements, .. } => elements.is_empty(),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReplaceTable(reason) => write!(f, "replace table {TABLE}: {reason}"),
            Self::DeleteElements { set, elements } => write!(f, "delete from {set}: {}", shortened(elements)),
            Self::AddElements { set, elements } => write!(f, "add to {set}: {}", shortened(elements)),
        }
    }
}

impl fmt::Display for ReplaceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it is missing"),
            Self::Foreign(items) => write!(f, "not ours in it: {}", joined(items)),
            Self::Chains => f.write_str("its chains or rules differ"),
            Self::Sets => f.write_str("it has other sets"),
            Self::Meters => f.write_str("it has other meters"),
            Self::Counters => f.write_str("it has other counters"),
            Self::ElementsRefused => f.write_str("the kernel refused a change of elements"),
        }
    }
}

fn shortened(elements: &Set) -> String {
    joined(&elements.elements())
}

fn joined(items: &[String]) -> String {
    match items.get(..SHOWN) {
        Some(shown) if items.len() > SHOWN => format!("{} and {} more", shown.join(", "), items.len() - SHOWN),
        _ => items.join(", "),
    }
}
