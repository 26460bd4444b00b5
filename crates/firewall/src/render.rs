//! Changes written down as one nft transaction: all of it is in force at one moment, or none of it.

use crate::{Change, Counter, Ruleset, TABLE};
use std::{collections::BTreeMap, fmt::Write as _};

/// The text for `nft -f` that makes `changes`, which `diff` found on the way to `wanted`; empty for none.
pub fn transaction(wanted: &Ruleset, changes: &[Change]) -> String {
    if changes.iter().any(|change| matches!(change, Change::ReplaceTable(_))) {
        return replacement(wanted, &BTreeMap::new());
    }
    let mut text = String::new();
    for change in changes {
        let (verb, set, elements) = match change {
            Change::DeleteElements { set, elements } => ("delete", set, elements.elements()),
            Change::AddElements { set, elements } => ("add", set, wanted.provenance.commented(set, elements)),
            Change::ReplaceTable(_) => continue,
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{verb} element {TABLE} {set} {{ {} }}", elements.join(", "));
    }
    text
}

/// The whole table where there is none; refused where there is one by now. No deletion is part of it, for the end of which nft
/// would wait.
pub fn creation(wanted: &Ruleset) -> String {
    format!("create table {TABLE}\n\n{wanted}")
}

/// The whole table. `add` makes sure that there is one to delete; no packet passes between the two, because the
/// kernel takes the new table and drops the old one in the same moment. Counters go on from what they `counted`: one that
/// is there already is left alone by the table's own line for it.
pub fn replacement(wanted: &Ruleset, counted: &BTreeMap<String, Counter>) -> String {
    let mut text = format!("add table {TABLE}\ndelete table {TABLE}\n");
    let mut counted = counted.iter().filter(|(name, _)| wanted.counters.contains(*name)).peekable();
    if counted.peek().is_some() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "add table {TABLE}");
    }
    for (name, Counter { packets, bytes }) in counted {
        let _ = writeln!(text, "add counter {TABLE} {name} {{ packets {packets} bytes {bytes} ; }}");
    }
    let _ = write!(text, "\n{wanted}");
    text
}
