//! A map by host that shares what did not change with the map it was cloned from: a clone, a change of one host and a comparison
//! of the two cost what is otherwise, however many hosts there are. Knows nothing of what it maps to.

use picket_model::NodeId;
use std::{cmp::Ordering, collections::BTreeMap, fmt, ops::Index, sync::Arc};

/// Hosts that are kept together: a change copies so many at most, and a clone copies one pointer for some of them.
const TOGETHER: usize = 64;

/// Hosts in the order of their ids.
type Chunk<T> = Vec<(NodeId, T)>;

/// Something of each host, in the order of their ids.
#[derive(Clone)]
pub struct ByHost<T> {
    /// None is empty, and each ends before the next begins.
    chunks: Vec<Arc<Chunk<T>>>,
    len: usize,
}

impl<T> ByHost<T> {
    /// How many hosts.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no host.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What there is of a host.
    pub fn get(&self, host: &NodeId) -> Option<&T> {
        let chunk = self.chunks.get(self.place(host))?;
        let at = find(chunk, host).ok()?;
        chunk.get(at).map(|(_, value)| value)
    }

    /// Whether there is something of a host.
    pub fn contains_key(&self, host: &NodeId) -> bool {
        self.get(host).is_some()
    }

    /// All of it, by host.
    pub fn iter(&self) -> Iter<'_, T> {
        self.into_iter()
    }

    /// The hosts.
    pub fn keys(&self) -> impl Iterator<Item = &NodeId> {
        self.iter().map(|(host, _)| host)
    }

    /// What there is of them, in their order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, value)| value)
    }

    /// What is not plainly the same as in an earlier one: of each host what is there before and after. What both share is passed
    /// over unseen, so values may be equal all the same.
    pub fn against<'a>(&'a self, earlier: &'a Self) -> Against<'a, T> {
        Against { before: Cursor { chunks: &earlier.chunks, at: 0 }, after: Cursor { chunks: &self.chunks, at: 0 } }
    }

    /// The chunk in which a host is, if it is in one; one past the last for those after all.
    fn place(&self, host: &NodeId) -> usize {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|(last, _)| last < host))
    }
}

impl<T: Clone> ByHost<T> {
    /// Puts something of a host in; what was there before.
    pub fn insert(&mut self, host: NodeId, value: T) -> Option<T> {
        let place = self.place(&host).min(self.chunks.len().saturating_sub(1));
        let Some(chunk) = self.chunks.get_mut(place).map(Arc::make_mut) else {
            self.chunks.push(Arc::new(vec![(host, value)]));
            self.len = 1;
            return None;
        };
        match find(chunk, &host) {
            Ok(at) => chunk.get_mut(at).map(|(_, known)| std::mem::replace(known, value)),
            Err(at) => {
                chunk.insert(at, (host, value));
                self.len += 1;
                if chunk.len() > TOGETHER {
                    let later = chunk.split_off(TOGETHER / 2);
                    self.chunks.insert(place + 1, Arc::new(later));
                }
                None
            }
        }
    }

    /// Takes a host out; what was there of it.
    pub fn remove(&mut self, host: &NodeId) -> Option<T> {
        let place = self.place(host);
        let at = find(self.chunks.get(place)?, host).ok()?;
        let chunk = Arc::make_mut(self.chunks.get_mut(place)?);
        let (_, value) = chunk.remove(at);
        self.len -= 1;
        if chunk.is_empty() {
            self.chunks.remove(place);
        }
        Some(value)
    }

    /// What there is of a host, to be changed.
    pub fn get_mut(&mut self, host: &NodeId) -> Option<&mut T> {
        let place = self.place(host);
        let at = find(self.chunks.get(place)?, host).ok()?;
        Arc::make_mut(self.chunks.get_mut(place)?).get_mut(at).map(|(_, value)| value)
    }

    /// What there is of all hosts, to be changed: nothing is shared any more.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flat_map(|chunk| Arc::make_mut(chunk).iter_mut().map(|(_, value)| value))
    }
}

fn find<T>(chunk: &Chunk<T>, host: &NodeId) -> Result<usize, usize> {
    chunk.binary_search_by(|(known, _)| known.cmp(host))
}

impl<T> Default for ByHost<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T> FromIterator<(NodeId, T)> for ByHost<T> {
    fn from_iter<I: IntoIterator<Item = (NodeId, T)>>(all: I) -> Self {
        // Of a host that comes twice, the last; and in order.
        let mut all = BTreeMap::from_iter(all).into_iter();
        let (mut chunks, mut len) = (Vec::new(), 0);
        loop {
            // Half full, so that hosts that come do not split each of them.
            let chunk: Chunk<T> = all.by_ref().take(TOGETHER / 2).collect();
            if chunk.is_empty() {
                return Self { chunks, len };
            }
            len += chunk.len();
            chunks.push(Arc::new(chunk));
        }
    }
}

impl<T> Index<&NodeId> for ByHost<T> {
    type Output = T;

    #[expect(clippy::panic, reason = "as every index does that is not there")]
    fn index(&self, host: &NodeId) -> &T {
        self.get(host).unwrap_or_else(|| panic!("nothing of host {host}"))
    }
}

impl<T: PartialEq> PartialEq for ByHost<T> {
    fn eq(&self, other: &Self) -> bool {
        // However they are divided.
        self.len == other.len && self.against(other).all(|(_, before, after)| before == after)
    }
}

impl<T: Eq> Eq for ByHost<T> {}

impl<T: fmt::Debug> fmt::Debug for ByHost<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<'a, T> IntoIterator for &'a ByHost<T> {
    type Item = (&'a NodeId, &'a T);
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        Iter(Cursor { chunks: &self.chunks, at: 0 })
    }
}

/// All of a map, in order.
#[derive(Debug)]
pub struct Iter<'a, T>(Cursor<'a, T>);

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = (&'a NodeId, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.0.here();
        self.0.step();
        next
    }
}

/// Hosts of two maps that do not plainly have the same in both, in order.
#[derive(Debug)]
pub struct Against<'a, T> {
    before: Cursor<'a, T>,
    after: Cursor<'a, T>,
}

impl<'a, T> Iterator for Against<'a, T> {
    type Item = (&'a NodeId, Option<&'a T>, Option<&'a T>);

    fn next(&mut self) -> Option<Self::Item> {
        while let (Some(before), Some(after)) = (self.before.whole(), self.after.whole())
            && Arc::ptr_eq(before, after)
        {
            self.before.pass();
            self.after.pass();
        }
        let order = match (self.before.here(), self.after.here()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((before, _)), Some((after, _))) => before.cmp(after),
        };
        let before = self.before.here().filter(|_| order.is_le());
        let after = self.after.here().filter(|_| order.is_ge());
        if order.is_le() {
            self.before.step();
        }
        if order.is_ge() {
            self.after.step();
        }
        let (host, _) = before.or(after)?;
        Some((host, before.map(|(_, value)| value), after.map(|(_, value)| value)))
    }
}

/// A place in a map.
#[derive(Debug)]
struct Cursor<'a, T> {
    chunks: &'a [Arc<Chunk<T>>],
    /// In the first of them.
    at: usize,
}

impl<'a, T> Cursor<'a, T> {
    fn here(&self) -> Option<(&'a NodeId, &'a T)> {
        self.chunks.first()?.get(self.at).map(|(host, value)| (host, value))
    }

    fn step(&mut self) {
        self.at += 1;
        if self.chunks.first().is_some_and(|chunk| chunk.len() <= self.at) {
            self.pass();
        }
    }

    /// The chunk that begins here, if one does.
    fn whole(&self) -> Option<&'a Arc<Chunk<T>>> {
        self.chunks.first().filter(|_| self.at == 0)
    }

    fn pass(&mut self) {
        (self.chunks, self.at) = (self.chunks.get(1..).unwrap_or_default(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host(number: u16) -> NodeId {
        format!("n-{number}").parse().unwrap()
    }

    fn map(numbers: &BTreeMap<u16, u8>) -> ByHost<u8> {
        numbers.iter().map(|(number, value)| (host(*number), *value)).collect()
    }

    proptest! {
        #[test]
        fn it_is_the_map_that_a_tree_is(
            first in prop::collection::btree_map(0..300_u16, any::<u8>(), 0..200),
            steps in prop::collection::vec((0..300_u16, prop::option::of(any::<u8>())), 0..300),
        ) {
            let start = map(&first);
            let mut tree: BTreeMap<NodeId, u8> = first.iter().map(|(number, value)| (host(*number), *value)).collect();
            let (before, mut own) = (tree.clone(), start.clone());
            for (number, value) in steps {
                let id = host(number);
                match value {
                    Some(value) => prop_assert_eq!(own.insert(id.clone(), value), tree.insert(id, value)),
                    None => prop_assert_eq!(own.remove(&id), tree.remove(&id)),
                }
                prop_assert_eq!(own.len(), tree.len());
                prop_assert!(own.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= TOGETHER));
            }
            prop_assert!(own.iter().eq(&tree));
            prop_assert!(start.iter().eq(&before), "a change of a clone changed the other");
            prop_assert!((0..300).map(host).all(|id| own.get(&id) == tree.get(&id)));
            prop_assert_eq!(&own, &tree.clone().into_iter().collect());
            // Whatever is otherwise is told, with what it was and what it is.
            let told: Vec<_> = own.against(&start).filter(|(_, before, after)| before != after).collect();
            let ids: std::collections::BTreeSet<&NodeId> = before.keys().chain(tree.keys()).collect();
            let differ = ids.into_iter().map(|id| (id, before.get(id), tree.get(id)));
            let differ: Vec<_> = differ.filter(|(_, before, after)| before != after).collect();
            prop_assert_eq!(told, differ);
        }
    }

    #[test]
    fn of_many_hosts_few_are_looked_at_for_one_that_changed() {
        let many: ByHost<u8> = (0..5_000).map(|number| (host(number), 0)).collect();
        let mut changed = many.clone();
        changed.insert(host(2_500), 1);
        assert!(changed.against(&many).count() <= TOGETHER);
        assert_eq!(many.clone().against(&many).count(), 0);
        let shared = changed.chunks.iter().zip(&many.chunks).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, many.chunks.len() - 1);
    }
}
