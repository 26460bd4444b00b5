//! Elements put into, taken out of and compared between sets, as values. What an element is, and how it is printed, is in `ruleset`.

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
    /// What has to go and what has to come where this is found and `wanted` is wanted; `None` where the two are of different
    /// kinds.
    pub(crate) fn both_ways(&self, wanted: &Self) -> Option<(Self, Self)> {
        Some(match (self, wanted) {
            (Self::Ports(found), Self::Ports(wanted)) => {
                let (gone, new) = split(found, wanted);
                (Self::Ports(gone), Self::Ports(new))
            }
            (Self::Hosts4(found), Self::Hosts4(wanted)) => {
                let (gone, new) = split(found, wanted);
                (Self::Hosts4(gone), Self::Hosts4(new))
            }
            (Self::Hosts6(found), Self::Hosts6(wanted)) => {
                let (gone, new) = split(found, wanted);
                (Self::Hosts6(gone), Self::Hosts6(new))
            }
            (found, wanted) => (found.without(wanted)?, wanted.without(found)?),
        })
    }

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

/// What only `found` has, and what only `wanted` has.
fn split<T: Ord + Copy>(found: &BTreeSet<T>, wanted: &BTreeSet<T>) -> (BTreeSet<T>, BTreeSet<T>) {
    found.symmetric_difference(wanted).copied().partition(|element| found.contains(element))
}

/// Costs what is taken out, not what stays.
fn remove_all<T: Ord>(set: &mut BTreeSet<T>, elements: &BTreeSet<T>) {
    for element in elements {
        set.remove(element);
    }
}
