//! Elements put into and taken out of sets, as values. What an element is, and how it is printed, is in `ruleset`.

use crate::{Ruleset, Set};
use std::collections::BTreeSet;

impl Ruleset {
    /// Puts elements into a set; whether there is one of that name and kind.
    pub(crate) fn add(&mut self, set: &str, elements: &Set) -> bool {
        self.sets.get_mut(set).is_some_and(|set| set.add(elements))
    }

    /// Takes elements out of a set; whether there is one of that name and kind.
    pub(crate) fn take_away(&mut self, set: &str, elements: &Set) -> bool {
        self.sets.get_mut(set).is_some_and(|set| set.take_away(elements))
    }
}

impl Set {
    /// Puts elements in; whether they are of this kind.
    fn add(&mut self, elements: &Self) -> bool {
        match (self, elements) {
            (Self::Ports(set), Self::Ports(elements)) => set.extend(elements),
            (Self::Hosts4(set), Self::Hosts4(elements)) => set.extend(elements),
            (Self::Hosts6(set), Self::Hosts6(elements)) => set.extend(elements),
            (Self::Nets4(set), Self::Nets4(elements)) => set.extend(elements),
            (Self::Nets6(set), Self::Nets6(elements)) => set.extend(elements),
            _ => return false,
        }
        true
    }

    /// Takes elements out; whether they are of this kind.
    fn take_away(&mut self, elements: &Self) -> bool {
        match (self, elements) {
            (Self::Ports(set), Self::Ports(elements)) => remove_all(set, elements),
            (Self::Hosts4(set), Self::Hosts4(elements)) => remove_all(set, elements),
            (Self::Hosts6(set), Self::Hosts6(elements)) => remove_all(set, elements),
            (Self::Nets4(set), Self::Nets4(elements)) => remove_all(set, elements),
            (Self::Nets6(set), Self::Nets6(elements)) => remove_all(set, elements),
            _ => return false,
        }
        true
    }
}

/// Costs what is taken out, not what stays.
fn remove_all<T: Ord>(set: &mut BTreeSet<T>, elements: &BTreeSet<T>) {
    for element in elements {
        set.remove(element);
    }
}
