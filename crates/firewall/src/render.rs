//! Changes written down as one nft transaction: all of it is in force at one moment, or none of it.

use crate::{Change, Ruleset, TABLE};
use std::fmt::Write as _;

/// The text for `nft -f` that makes `changes`, which `diff` found on the way to `wanted`; empty for none.
pub fn transaction(wanted: &Ruleset, changes: &[Change]) -> String {
    if changes.iter().any(|change| matches!(change, Change::ReplaceTable(_))) {
        return replacement(wanted);
    }
    let mut text = String::new();
    for change in changes {
        let (verb, set, elements) = match change {
            Change::DeleteElements { set, elements } => ("delete", set, elements),
            Change::AddElements { set, elements } => ("add", set, elements),
            Change::ReplaceTable(_) => continue,
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{verb} element {TABLE} {set} {{ {} }}", elements.elements().join(", "));
    }
    text
}

/// The whole table. `add` makes sure that there is one to delete; no packet passes between the two, because the
/// kernel takes the new table and drops the old one in the same moment.
pub fn replacement(wanted: &Ruleset) -> String {
    format!("add table {TABLE}\ndelete table {TABLE}\n\n{wanted}")
}
