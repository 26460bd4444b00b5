//! Grants that end by themselves, given all their time anew while there is an agent. Whether a controller answers does not
//! matter: silence is no order.

use super::{Firewall, Seen};
use crate::{Change, Ruleset, Set, render::transaction};
use std::collections::BTreeMap;
use tracing::warn;

/// Elements renewed at once, which keeps the kernel's lock for some milliseconds. An agent looks every 30 seconds: a
/// hundred thousand take ten minutes, and half a day is the least there is.
const AT_ONCE: usize = 5000;

impl Firewall {
    /// Writes old elements once more; how many. The kernel counts anew only for an element that was deleted and added: both
    /// in one transaction, in which each packet sees one of the two. What cannot be renewed now is looked at again.
    pub(super) async fn renew(&mut self, wanted: &Ruleset) -> usize {
        let Some(seen) = &mut self.seen else { return 0 };
        let (now, later) = portion(std::mem::take(&mut seen.observed.ageing), &wanted.sets);
        seen.observed.ageing = later;
        if now.is_empty() {
            return 0;
        }
        let count = now.values().map(Set::len).sum();
        let changes = again(now);
        let before = self.generation();
        let renewed = match self.commit(&changes, &wanted.provenance) {
            Some(committed) => committed.map_err(|error| error.to_string()),
            None => {
                let text = transaction(wanted, &changes);
                self.nft.run_transaction(&text).await.map_err(|error| error.to_string())
            }
        };
        self.note_own(before);
        let generation = self.generation();
        let is_ours_alone = before.is_some() && generation == before.map(|before| before.wrapping_add(1));
        match (renewed, self.seen.take()) {
            (Ok(()), Some(seen)) if is_ours_alone => self.seen = Some(Seen { generation, ..seen }),
            (Ok(()), _) => self.remembered = Some(wanted.clone()),
            (Err(error), seen) => {
                warn!(error, count, "grants that end by themselves could not be renewed; looking again");
                self.remembered = seen.and_then(|seen| seen.observed.ruleset);
                return 0;
            }
        }
        count
    }
}

/// So many of the elements, as far as their sets still have them, and the rest.
fn portion(
    ageing: BTreeMap<String, Set>,
    sets: &BTreeMap<String, Set>,
) -> (BTreeMap<String, Set>, BTreeMap<String, Set>) {
    let (mut now, mut later, mut room) = (BTreeMap::new(), BTreeMap::new(), AT_ONCE);
    for (name, old) in ageing {
        let is_wanted = |set: &Set| old.without(&old.without(set)?);
        let Some(old) = sets.get(&name).and_then(is_wanted) else { continue };
        let (first, rest) = old.split_at(room);
        room -= first.len();
        for (part, into) in [(first, &mut now), (rest, &mut later)] {
            if !part.is_empty() {
                into.insert(name.clone(), part);
            }
        }
    }
    (now, later)
}

/// Out, and in again.
fn again(elements: BTreeMap<String, Set>) -> Vec<Change> {
    let out = elements.iter().map(|(set, elements)| (set.clone(), elements.clone()));
    let out: Vec<_> = out.map(|(set, elements)| Change::DeleteElements { set, elements }).collect();
    let back = elements.into_iter().map(|(set, elements)| Change::AddElements { set, elements });
    out.into_iter().chain(back).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::BELIEVED;
    use picket_model::limits::SHORTEST_GRANT;
    use std::{net::Ipv4Addr, time::Duration};

    fn hosts(range: std::ops::Range<u32>) -> Set {
        Set::Hosts4(range.map(Ipv4Addr::from).collect())
    }

    #[test]
    fn what_is_old_is_written_once_more_in_portions_and_what_is_wanted_no_more_is_not() {
        let sets = BTreeMap::from([("a".to_owned(), hosts(10..4000)), ("b".to_owned(), hosts(0..3000))]);
        let old = [("a", hosts(0..20)), ("b", hosts(0..6000)), ("c", hosts(0..5))];
        let old: BTreeMap<_, _> = old.map(|(name, set)| (name.to_owned(), set)).into();
        let (now, later) = portion(old, &sets);
        assert_eq!(now, BTreeMap::from([("a".to_owned(), hosts(10..20)), ("b".to_owned(), hosts(0..3000))]));
        assert!(later.is_empty());
        let changes = again(now);
        assert_eq!(changes.len(), 4);
        assert!(matches!(&changes[1], Change::DeleteElements { set, .. } if set == "b"));
        assert!(matches!(&changes[2], Change::AddElements { set, elements } if set == "a" && elements.len() == 10));
    }

    /// A table that is slow to read is read in full often enough for what is in it.
    #[test]
    fn a_generation_is_believed_for_far_less_than_a_grant_lasts() {
        assert!(BELIEVED * 8 < Duration::from_secs(SHORTEST_GRANT.into()));
    }

    /// An agent that looks every 30 seconds keeps a hundred thousand grants of a day for a month. The kernel's clock is
    /// played here, in seconds.
    #[test]
    fn while_an_agent_lives_no_grant_ends() {
        const LOOKS: usize = 30;
        const DAY: usize = 24 * 3600;

        let sets = BTreeMap::from([("a".to_owned(), hosts(0..100_000))]);
        // When a run of addresses was written last, by its first address.
        let mut written = BTreeMap::from([(0_u32, (100_000_u32, 0_usize))]);
        let mut now = 0;
        while now < 30 * DAY {
            now += LOOKS;
            assert!(written.values().all(|(_, at)| now - at < DAY), "one ended at {now}");
            let old: Vec<(u32, u32)> = written
                .iter()
                .filter(|(_, (_, at))| now - at > DAY / 2)
                .map(|(first, (last, _))| (*first, *last))
                .collect();
            if old.is_empty() {
                continue;
            }
            let ageing = Set::Hosts4(old.iter().flat_map(|(first, last)| *first..*last).map(Ipv4Addr::from).collect());
            let (renewed, _) = portion(BTreeMap::from([("a".to_owned(), ageing)]), &sets);
            let Some(Set::Hosts4(renewed)) = renewed.get("a") else { panic!("nothing was renewed at {now}") };
            let (first, last) = (u32::from(renewed[0]), u32::from(renewed[renewed.len() - 1]) + 1);
            let (run, (run_end, at)) = written.range(..=first).next_back().map(|(run, rest)| (*run, *rest)).unwrap();
            assert_eq!((run, last - first), (first, u32::try_from(renewed.len()).unwrap()), "one run at a time");
            written.insert(first, (last, now));
            if last < run_end {
                written.insert(last, (run_end, at));
            }
        }
    }
}
