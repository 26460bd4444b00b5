//! Elements put into, taken out of and compared between sets, as values. What an element is, and how it is printed, is in `ruleset`.

use crate::{Ruleset, Set};
use ipnet::IpNet;
use std::{collections::BTreeSet, ops::Deref};

/// So many come and go one by one, each of which moves those behind it; more than that, in one go over all.
const FEW: usize = 16;

/// Elements in order, none twice. One piece of memory, so that two sets of a hundred thousand that differ in one element
/// are compared in a fraction of a millisecond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elements<T>(Vec<T>);

impl<T> Default for Elements<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for Elements<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Ord> FromIterator<T> for Elements<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        let mut elements: Vec<T> = elements.into_iter().collect();
        // Mostly they come in order, which sorting notices.
        elements.sort();
        elements.dedup();
        Self(elements)
    }
}

impl<T: Ord, const N: usize> From<[T; N]> for Elements<T> {
    fn from(elements: [T; N]) -> Self {
        elements.into_iter().collect()
    }
}

impl<T: Ord> From<BTreeSet<T>> for Elements<T> {
    fn from(elements: BTreeSet<T>) -> Self {
        Self(elements.into_iter().collect())
    }
}

impl<T: Ord + Copy> Elements<T> {
    /// Whether an element is in it.
    pub fn has(&self, element: &T) -> bool {
        self.0.binary_search(element).is_ok()
    }

    /// Puts elements in.
    fn add(&mut self, elements: &Self) {
        if elements.len() <= FEW {
            for element in elements.iter() {
                if let Err(place) = self.0.binary_search(element) {
                    self.0.insert(place, *element);
                }
            }
            return;
        }
        self.0.extend_from_slice(elements);
        self.0.sort();
        self.0.dedup();
    }

    /// Takes elements out.
    fn take_away(&mut self, elements: &Self) {
        if elements.len() <= FEW {
            for element in elements.iter() {
                if let Ok(place) = self.0.binary_search(element) {
                    self.0.remove(place);
                }
            }
            return;
        }
        self.0.retain(|element| !elements.has(element));
    }

    /// What only this has, and what only `wanted` has. What both begin and end with is passed over as a whole.
    fn split(&self, wanted: &Self) -> (Self, Self) {
        let same = self.iter().zip(wanted.iter()).take_while(|(a, b)| a == b).count();
        let (found, wanted) = (&self[same..], &wanted[same..]);
        let same = found.iter().rev().zip(wanted.iter().rev()).take_while(|(a, b)| a == b).count();
        let (mut found, mut wanted) = (&found[..found.len() - same], &wanted[..wanted.len() - same]);
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        while let (Some((a, later)), Some((b, after))) = (found.split_first(), wanted.split_first()) {
            if a <= b {
                found = later;
            }
            if b <= a {
                wanted = after;
            }
            match a.cmp(b) {
                std::cmp::Ordering::Less => gone.push(*a),
                std::cmp::Ordering::Greater => new.push(*b),
                std::cmp::Ordering::Equal => {}
            }
        }
        gone.extend_from_slice(found);
        new.extend_from_slice(wanted);
        (Self(gone), Self(new))
    }
}

impl Ruleset {
    /// The same with nothing in the sets that have more than so many elements; `None` where none has.
    pub(crate) fn without_many(&self, most: usize) -> Option<Self> {
        let has_many = |set: &Set| set.len() > most;
        let sets = self.sets.iter();
        let lighter =
            |(name, set): (&String, &Set)| (name.clone(), if has_many(set) { set.emptied() } else { set.clone() });
        self.sets.values().any(has_many).then(|| Self { sets: sets.map(lighter).collect(), ..self.clone() })
    }

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
    pub fn both_ways(&self, wanted: &Self) -> Option<(Self, Self)> {
        macro_rules! of_kind {
            ($($kind:ident),*) => {
                match (self, wanted) {
                    $((Self::$kind(found), Self::$kind(wanted)) => {
                        let (gone, new) = found.split(wanted);
                        Some((Self::$kind(gone), Self::$kind(new)))
                    })*
                    _ => None,
                }
            };
        }
        of_kind!(Ports, Hosts4, Hosts6, Nets4, Nets6)
    }

    /// The elements that `other` does not have; `None` where the two are of different kinds.
    pub fn without(&self, other: &Self) -> Option<Self> {
        self.both_ways(other).map(|(only_here, _)| only_here)
    }

    /// Puts elements in; whether they are of this kind.
    pub fn add(&mut self, elements: &Self) -> bool {
        match (self, elements) {
            (Self::Ports(set), Self::Ports(elements)) => set.add(elements),
            (Self::Hosts4(set), Self::Hosts4(elements)) => set.add(elements),
            (Self::Hosts6(set), Self::Hosts6(elements)) => set.add(elements),
            (Self::Nets4(set), Self::Nets4(elements)) => set.add(elements),
            (Self::Nets6(set), Self::Nets6(elements)) => set.add(elements),
            _ => return false,
        }
        true
    }

    /// Takes elements out; whether they are of this kind.
    fn take_away(&mut self, elements: &Self) -> bool {
        match (self, elements) {
            (Self::Ports(set), Self::Ports(elements)) => set.take_away(elements),
            (Self::Hosts4(set), Self::Hosts4(elements)) => set.take_away(elements),
            (Self::Hosts6(set), Self::Hosts6(elements)) => set.take_away(elements),
            (Self::Nets4(set), Self::Nets4(elements)) => set.take_away(elements),
            (Self::Nets6(set), Self::Nets6(elements)) => set.take_away(elements),
            _ => return false,
        }
        true
    }

    /// The first so many elements, and the others.
    pub(crate) fn split_at(&self, most: usize) -> (Self, Self) {
        fn halves<T: Copy>(elements: &Elements<T>, most: usize) -> (Elements<T>, Elements<T>) {
            let (first, rest) = elements.split_at(most.min(elements.len()));
            (Elements(first.to_vec()), Elements(rest.to_vec()))
        }
        macro_rules! of_kind {
            ($($kind:ident),*) => {
                match self {
                    $(Self::$kind(elements) => {
                        let (first, rest) = halves(elements, most);
                        (Self::$kind(first), Self::$kind(rest))
                    })*
                }
            };
        }
        of_kind!(Ports, Hosts4, Hosts6, Nets4, Nets6)
    }

    /// The same kind of set with these networks in it, of which what is of another kind is left out.
    pub(crate) fn of_kind(&self, networks: &[IpNet]) -> Self {
        let v4 = || networks.iter().filter_map(|net| if let IpNet::V4(net) = net { Some(*net) } else { None });
        let v6 = || networks.iter().filter_map(|net| if let IpNet::V6(net) = net { Some(*net) } else { None });
        match self {
            Self::Ports(_) => self.emptied(),
            Self::Hosts4(_) => Self::Hosts4(v4().filter(|net| net.prefix_len() == 32).map(|net| net.addr()).collect()),
            Self::Hosts6(_) => Self::Hosts6(v6().filter(|net| net.prefix_len() == 128).map(|net| net.addr()).collect()),
            Self::Nets4(_) => Self::Nets4(v4().collect()),
            Self::Nets6(_) => Self::Nets6(v6().collect()),
        }
    }

    /// The same kind of set with nothing in it.
    fn emptied(&self) -> Self {
        match self {
            Self::Ports(_) => Self::Ports(Elements::default()),
            Self::Hosts4(_) => Self::Hosts4(Elements::default()),
            Self::Hosts6(_) => Self::Hosts6(Elements::default()),
            Self::Nets4(_) => Self::Nets4(Elements::default()),
            Self::Nets6(_) => Self::Nets6(Elements::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_differs_is_what_a_set_would_say(
            found in proptest::collection::btree_set(0_u8..80, 0..60),
            wanted in proptest::collection::btree_set(0_u8..80, 0..60),
        ) {
            let expected = (Elements::from(&found - &wanted), Elements::from(&wanted - &found));
            let (mut ours, theirs) = (Elements::from(found), Elements::from(wanted));
            let (gone, new) = ours.split(&theirs);
            prop_assert_eq!((&gone, &new), (&expected.0, &expected.1));
            prop_assert!(gone.iter().all(|element| ours.has(element) && !theirs.has(element)));
            ours.take_away(&gone);
            ours.add(&new);
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn elements_are_in_order_and_none_is_there_twice() {
        assert_eq!(&*Elements::from([3, 1, 3, 2, 1]), [1, 2, 3]);
    }
}
