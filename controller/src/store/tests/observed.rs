//! What sources said: changes only, as of any moment, and no more of it than the disk can bear.

use super::*;
use picket_api::validators::RefusedView;
use picket_model::{Grade, Observation, ObservedValidator, PrepId, Refused};
use picket_plan::MergeMemory;

const DAY: i64 = 24 * 3600 * 1000;

fn prep(number: u64) -> PrepId {
    format!("hx{number:040x}").parse().unwrap()
}

fn observation(height: u64, at: i64, preps: impl IntoIterator<Item = (u64, u16)>) -> Observation {
    let entry = |(number, port): (u64, u16)| ObservedValidator {
        prep: prep(number),
        name: "name".to_owned(),
        node_address: format!("hx{number:040x}").parse().unwrap(),
        grade: Grade::Main,
        endpoint: format!("5.0.0.1:{port}").parse().unwrap(),
        penalty: 0,
        jail_flags: None,
        power: Some(u128::from(height)),
    };
    Observation {
        source: "a.example".parse().unwrap(),
        height,
        seen_at: Timestamp::from_millis(at),
        block_time: Some(Timestamp::from_millis(at)),
        entries: preps.into_iter().map(entry).map(|entry| (entry.prep, entry)).collect(),
        refused: Vec::new(),
        doubted: BTreeMap::new(),
    }
}

async fn put(store: &Store, observation: &Observation) {
    let mut tx = store.write().await.unwrap();
    tx.put_observed(std::slice::from_ref(observation), observation.seen_at).await.unwrap();
    tx.commit().await.unwrap();
}

async fn rows(store: &Store) -> i64 {
    let mut tx = store.read().await.unwrap();
    row::number(&query("SELECT COUNT(*) AS found FROM observations").fetch_one(&mut tx.sql).await.unwrap(), "found")
        .unwrap()
}

/// What was listed at a moment: the P-Rep's last digits and the port.
async fn listed(store: &Store, at: i64) -> Vec<String> {
    let listed = store.read().await.unwrap().listed_at(Timestamp::from_millis(at)).await.unwrap();
    let entries = listed.values().flat_map(BTreeMap::values);
    entries.map(|entry| format!("{} {}", &entry.prep.to_string()[41..], entry.endpoint.port)).collect()
}

#[tokio::test]
async fn only_what_changes_makes_a_row_and_any_moment_can_be_asked_for() {
    on_both(async |store, _own| {
        put(&store, &observation(1, 10, [(1, 7100), (2, 7100)])).await;
        for height in 2..20 {
            put(&store, &observation(height, 10 + i64::try_from(height).unwrap(), [(1, 7100), (2, 7100)])).await;
        }
        assert_eq!(rows(&store).await, 2);
        put(&store, &observation(30, 40, [(1, 7101)])).await;
        put(&store, &observation(31, 50, [(1, 7101), (2, 7100)])).await;
        assert_eq!(rows(&store).await, 4);
        for (at, expect) in
            [(9, vec![]), (10, vec!["1 7100", "2 7100"]), (39, vec!["1 7100", "2 7100"]), (40, vec!["1 7101"])]
        {
            assert_eq!(listed(&store, at).await, expect, "at {at}");
        }
        assert_eq!(listed(&store, 1000).await, ["1 7101", "2 7100"]);
    })
    .await;
}

fn merged(refused: &[(&str, &str)], at: i64) -> MergeRow {
    let view = |(entry, reason): &(&str, &str)| RefusedView {
        source: "a.example".parse().unwrap(),
        refused: Refused { entry: (*entry).to_owned(), reason: (*reason).to_owned() },
    };
    MergeRow {
        set: ValidatorSet::default(),
        version: 1,
        refused: refused.iter().map(view).collect(),
        held: None,
        findings: Vec::new(),
        height: Some(7),
        merged_at: Timestamp::from_millis(at),
        memory: MergeMemory::default(),
    }
}

#[tokio::test]
async fn refused_entries_are_told_as_they_were() {
    on_both(async |store, _own| {
        let first = [("entry 7", "no address"), ("hx01", "loopback"), ("hx01", "port 0")];
        for row in [merged(&first, 10), merged(&first, 20), merged(&[("hx01", "loopback")], 30), merged(&[], 40)] {
            let mut tx = store.write().await.unwrap();
            tx.put_merged(&row).await.unwrap();
            tx.commit().await.unwrap();
        }
        assert_eq!(rows(&store).await, 3);
        for (at, expect) in
            [(5, merged(&[], 0)), (29, merged(&first, 0)), (30, merged(&first[1..2], 0)), (40, merged(&[], 0))]
        {
            let refused = store.read().await.unwrap().refused_at(Timestamp::from_millis(at)).await.unwrap();
            assert_eq!(refused, expect.refused, "at {at}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_source_that_says_something_else_all_day_does_not_fill_the_disk() {
    on_both(async |store, _own| {
        let most = i64::try_from(MOST_ROWS_A_DAY).unwrap();
        for poll in 0..9_u16 {
            put(&store, &observation(u64::from(poll), i64::from(poll), (0..1000).map(|number| (number, 7100 + poll))))
                .await;
        }
        assert_eq!(rows(&store).await, most);
        let events = store.read().await.unwrap().events(100).await.unwrap();
        let capped: Vec<_> = events.iter().filter(|event| event.action == "observations.capped").collect();
        assert_eq!((capped.len(), capped[0].subject.as_str()), (1, "a.example"));
        let lost: i64 = {
            let mut tx = store.read().await.unwrap();
            row::number(
                &query("SELECT lost AS found FROM observation_days").fetch_one(&mut tx.sql).await.unwrap(),
                "found",
            )
            .unwrap()
        };
        assert_eq!(lost, 4000);
        // What left is ended all the same, and the next day writes down what stands then.
        put(&store, &observation(10, 20, [(1, 9000)])).await;
        assert_eq!(listed(&store, 20).await, ["1 7104"]);
        put(&store, &observation(11, DAY, [(1, 9000)])).await;
        assert_eq!(listed(&store, DAY).await, ["1 9000"]);
        assert_eq!(rows(&store).await, most + 1);
        // After the retention only what still stands is left.
        let mut tx = store.write().await.unwrap();
        tx.put_merged(&merged(&[], 500 * DAY)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(rows(&store).await, 1);
    })
    .await;
}
