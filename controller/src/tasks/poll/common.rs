//! At which height sources are compared: values in, values out.

use picket_model::{Grade, NodeAddress, Observation, P2pEndpoint, PrepId, Refused, SourceId};
use std::collections::{BTreeMap, BTreeSet};

/// The height that `needed` of these answers reach, and the sources to be asked for their lists of that height: those that
/// are ahead of it, within the lag window. `None` where the lists agree, or nobody is ahead.
///
/// Beyond the window a source stays as it is, and is judged as being away: so no source seems to have gone back further
/// than the window allows because it was asked about the past.
pub(super) fn common_height(
    seen: &[&Observation],
    needed: usize,
    lag_blocks: u64,
) -> Option<(u64, BTreeSet<SourceId>)> {
    let mut heights: Vec<u64> = seen.iter().map(|observation| observation.height).collect();
    heights.sort_unstable_by(|a, b| b.cmp(a));
    let common = *heights.get(needed.checked_sub(1)?)?;
    let told: Vec<Told<'_>> = seen.iter().map(|observation| told(observation)).collect();
    if told.windows(2).all(|pair| pair[0] == pair[1]) {
        return None;
    }
    let ahead =
        seen.iter().filter(|observation| observation.height > common && observation.height - common <= lag_blocks);
    let ahead: BTreeSet<SourceId> = ahead.map(|observation| observation.source.clone()).collect();
    (!ahead.is_empty()).then_some((common, ahead))
}

/// What of an answer can make a difference to the set. Power and names of P-Reps cannot.
#[derive(PartialEq, Eq)]
struct Told<'a> {
    entries: BTreeMap<PrepId, (&'a P2pEndpoint, NodeAddress, Grade, u8)>,
    refused: &'a [Refused],
    doubted: &'a BTreeMap<PrepId, Option<Grade>>,
}

fn told(observation: &Observation) -> Told<'_> {
    let entries = observation.entries.values();
    let entries = entries.map(|entry| (entry.prep, (&entry.endpoint, entry.node_address, entry.grade, entry.penalty)));
    Told { entries: entries.collect(), refused: &observation.refused, doubted: &observation.doubted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{ObservedValidator, Timestamp};

    /// An answer at a height, with one P-Rep whose endpoint ends so.
    fn said(source: &str, height: u64, last: u8) -> Observation {
        let prep: PrepId = "hx0000000000000000000000000000000000000001".parse().unwrap();
        let entry = ObservedValidator {
            prep,
            name: String::new(),
            node_address: prep.to_string().parse().unwrap(),
            grade: Grade::Main,
            endpoint: format!("5.0.0.{last}:7100").parse().unwrap(),
            penalty: 0,
            jail_flags: None,
            power: None,
        };
        Observation {
            source: source.parse().unwrap(),
            height,
            seen_at: Timestamp::from_millis(0),
            block_time: None,
            entries: BTreeMap::from([(prep, entry)]),
            refused: Vec::new(),
            doubted: BTreeMap::new(),
        }
    }

    /// Of sources a, b, c ...: heights and last digits in, the common height and who is asked again out.
    fn check(answers: &[(u64, u8)], needed: usize, expect: Option<(u64, &[&str])>) {
        let said: Vec<Observation> =
            ["a", "b", "c", "d"].iter().zip(answers).map(|(id, (height, last))| said(id, *height, *last)).collect();
        let found = common_height(&said.iter().collect::<Vec<_>>(), needed, 30);
        let expect = expect.map(|(height, ids)| (height, ids.iter().map(|id| id.parse().unwrap()).collect()));
        assert_eq!(found, expect, "{answers:?}, {needed} needed");
    }

    #[test]
    fn those_ahead_of_what_enough_reach_are_asked_again() {
        check(&[(101, 2), (100, 1), (100, 1)], 2, Some((100, &["a"])));
        check(&[(102, 2), (101, 2), (100, 1)], 2, Some((101, &["a"])));
        check(&[(102, 2), (101, 2), (100, 1)], 3, Some((100, &["a", "b"])));
        check(&[(102, 2), (101, 1)], 2, Some((101, &["a"])));
    }

    #[test]
    fn nobody_is_asked_twice_for_nothing() {
        // The lists agree; the heights do; nobody is ahead; too few answered; none at all.
        check(&[(101, 1), (100, 1), (100, 1)], 2, None);
        check(&[(100, 2), (100, 1), (100, 1)], 2, None);
        check(&[(100, 2), (100, 1), (99, 1)], 2, None);
        check(&[(101, 2)], 2, None);
        check(&[], 1, None);
    }

    #[test]
    fn a_source_far_ahead_is_left_to_be_judged_as_it_is() {
        check(&[(130, 2), (100, 1), (100, 1)], 2, Some((100, &["a"])));
        check(&[(131, 2), (100, 1), (100, 1)], 2, None);
        check(&[(u64::MAX, 2), (101, 1), (100, 1)], 2, None);
    }

    #[test]
    fn what_cannot_move_the_set_is_no_difference() {
        let check = |change: fn(&mut Observation), differs: bool| {
            let (mut ahead, behind) = (said("a", 101, 1), said("b", 100, 1));
            change(&mut ahead);
            assert_eq!(common_height(&[&ahead, &behind], 2, 30).is_some(), differs, "{ahead:?}");
        };
        check(|said| said.entries.values_mut().for_each(|entry| entry.power = Some(7)), false);
        check(|said| said.entries.values_mut().for_each(|entry| entry.name = "other".to_owned()), false);
        check(|said| said.entries.values_mut().for_each(|entry| entry.penalty = 3), true);
        check(|said| said.entries.values_mut().for_each(|entry| entry.grade = Grade::Sub), true);
        check(|said| said.entries.clear(), true);
        check(|said| said.refused.push(Refused { entry: "1".to_owned(), reason: "x".to_owned() }), true);
        check(|said| said.doubted.extend(said.entries.keys().map(|prep| (*prep, None))), true);
    }
}
