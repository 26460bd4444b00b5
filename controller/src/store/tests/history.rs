//! The history of the set: whatever was put can be rebuilt, until it is too old.

use super::*;
use picket_model::{Grade, Provenance, Validator};
use picket_plan::MergeMemory;
use proptest::prelude::*;

const DAY: i64 = 24 * 3600 * 1000;

fn validator(number: u8, port: u16) -> Validator {
    Validator {
        prep: format!("hx{number:040x}").parse().unwrap(),
        name: format!("prep {number}"),
        node_address: format!("hx{number:040x}").parse().unwrap(),
        grade: Grade::Main,
        endpoint: format!("5.0.0.{number}:{port}").parse().unwrap(),
        addresses: [[5, 0, 0, number].into()].into(),
        provenance: Provenance {
            sources: ["a.example".parse().unwrap()].into(),
            since_height: 5,
            advertised: [].into(),
        },
        absent_since: None,
    }
}

fn set(members: &[(u8, u16)]) -> ValidatorSet {
    members.iter().map(|(number, port)| validator(*number, *port)).collect()
}

fn merged(set: &ValidatorSet, version: u64, at: i64) -> MergeRow {
    MergeRow {
        set: set.clone(),
        version,
        refused: Vec::new(),
        held: None,
        findings: Vec::new(),
        height: Some(version * 10),
        merged_at: Timestamp::from_millis(at),
        memory: MergeMemory::default(),
    }
}

async fn put(store: &Store, row: &MergeRow) {
    let mut tx = store.write().await.unwrap();
    tx.put_merged(row).await.unwrap();
    tx.commit().await.unwrap();
}

/// Each change as `version: + prep`, `-` where it left, `~` where it is otherwise.
fn lines(changes: &[picket_api::validators::ValidatorChange]) -> Vec<String> {
    let line = |change: &picket_api::validators::ValidatorChange| {
        let sign = match (&change.before, &change.after) {
            (None, Some(_)) => '+',
            (Some(_), None) => '-',
            _ => '~',
        };
        format!("{}: {sign} {}", change.version, &change.prep.to_string()[40..])
    };
    changes.iter().map(line).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_version_is_rebuilt_as_it_was_put(
        rounds in prop::collection::vec((prop::collection::btree_map(0_u8..6, 7100_u16..7103, 0..6), 0..300_i64), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (store, _dir) = store().await;
            let (mut version, mut before, mut at) = (1, ValidatorSet::default(), DAY);
            let mut put_at: Vec<(u64, i64, ValidatorSet)> = vec![(0, 0, ValidatorSet::default())];
            for (members, days) in &rounds {
                let set = set(&members.iter().map(|(number, port)| (*number, *port)).collect::<Vec<_>>());
                version += u64::from(put_at.len() > 1 && set != before);
                at += days * DAY;
                put(&store, &merged(&set, version, at)).await;
                match put_at.last_mut() {
                    Some(last) if last.0 == version => {}
                    _ => put_at.push((version, at, set.clone())),
                }
                before = set;
            }
            let mut tx = store.read().await.unwrap();
            let kept = tx.set_versions().await.unwrap();
            prop_assert_eq!(kept.newest, version);
            for (version, _, set) in &put_at {
                let rebuilt = tx.set_of(*version).await.unwrap();
                prop_assert_eq!(rebuilt, (*version >= kept.oldest).then(|| set.clone()));
            }
            // Whatever was in force within the retention is kept.
            let horizon = at - i64::try_from(RETENTION.as_millis()).unwrap();
            let needed = put_at.iter().rfind(|(_, put, _)| *put <= horizon).map_or(0, |(version, ..)| *version);
            prop_assert!(kept.oldest <= needed, "{} is gone, {needed} is needed", kept.oldest);
            prop_assert_eq!(tx.set_of(version + 1).await.unwrap(), None);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn changes_are_told_with_how_it_was_before() {
    on_both(async |store, _own| {
        put(&store, &merged(&set(&[(1, 7100), (2, 7100)]), 1, 10)).await;
        put(&store, &merged(&set(&[(1, 7100), (2, 7100)]), 1, 11)).await;
        put(&store, &merged(&set(&[(1, 7101), (3, 7100)]), 2, 12)).await;
        put(&store, &merged(&set(&[(1, 7101), (2, 7100), (3, 7100)]), 3, 13)).await;
        let mut tx = store.read().await.unwrap();
        let all = tx.changes(None, None, 100).await.unwrap();
        assert_eq!(lines(&all), ["1: + 01", "1: + 02", "2: ~ 01", "2: - 02", "2: + 03", "3: + 02"]);
        assert_eq!((all[2].at, all[2].height), (Timestamp::from_millis(12), Some(20)));
        assert_eq!((&all[2].before, &all[2].after), (&Some(validator(1, 7100)), &Some(validator(1, 7101))));
        let two = tx.changes(Some(validator(2, 1).prep), None, 100).await.unwrap();
        assert_eq!(lines(&two), ["1: + 02", "2: - 02", "3: + 02"]);
        // The changes of a version stay together, and none is lost between two answers.
        let newest = tx.changes(None, None, 3).await.unwrap();
        assert_eq!(lines(&newest), ["3: + 02"]);
        assert_eq!(
            lines(&tx.changes(None, Some(newest[0].version), 3).await.unwrap()),
            ["2: ~ 01", "2: - 02", "2: + 03"]
        );
        assert_eq!(lines(&tx.changes(None, Some(2), 1).await.unwrap()), ["1: + 02"]);
        assert_eq!(
            lines(&tx.last_change(validator(2, 1).prep, 2).await.unwrap().into_iter().collect::<Vec<_>>()),
            ["2: - 02"]
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_too_old_goes_and_the_oldest_kept_set_stays_whole() {
    on_both(async |store, _own| {
        let steps: [(&[(u8, u16)], i64); 4] = [
            (&[(1, 7100), (2, 7100)], 1),
            (&[(1, 7101), (2, 7100)], 2),
            (&[(1, 7101)], 3),
            (&[(1, 7101), (3, 7100)], 300),
        ];
        for ((members, day), version) in steps.iter().zip(1..) {
            put(&store, &merged(&set(members), version, day * DAY)).await;
        }
        let kept = async || store.read().await.unwrap().set_versions().await.unwrap();
        assert_eq!(kept().await, KeptVersions { oldest: 0, newest: 4 });
        let last = set(steps[3].0);
        // On day 402.5 the second set had just been in force within the last 400 days; half a day later nothing is looked for.
        put(&store, &merged(&last, 4, 402 * DAY + DAY / 2)).await;
        assert_eq!(kept().await, KeptVersions { oldest: 2, newest: 4 });
        put(&store, &merged(&last, 4, 403 * DAY)).await;
        assert_eq!(kept().await.oldest, 2);
        let mut tx = store.read().await.unwrap();
        assert_eq!(tx.set_of(1).await.unwrap(), None);
        for (members, version) in [(steps[1].0, 2), (steps[2].0, 3), (steps[3].0, 4)] {
            assert_eq!(tx.set_of(version).await.unwrap(), Some(set(members)), "version {version}");
        }
        assert_eq!(lines(&tx.changes(None, None, 100).await.unwrap()), ["3: - 02", "4: + 03"]);
        drop(tx);
        put(&store, &merged(&last, 4, 900 * DAY)).await;
        assert_eq!(kept().await, KeptVersions { oldest: 4, newest: 4 });
        let mut tx = store.read().await.unwrap();
        assert_eq!(tx.set_of(4).await.unwrap(), Some(last));
        let rows: i64 = row::number(
            &query("SELECT COUNT(*) AS found FROM validator_changes").fetch_one(&mut tx.sql).await.unwrap(),
            "found",
        )
        .unwrap();
        assert_eq!(rows, 2);
    })
    .await;
}
