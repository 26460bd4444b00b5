//! Programs of two versions on one database: the newer one has taken a step of the schema that the older one does not know.

use super::*;
use crate::store::{error::StoreError, schema};

/// A step of a later release that only adds: what is there has defaults, what is new is its own business.
const ADDS: &str = "ALTER TABLE nodes ADD COLUMN later TEXT NOT NULL DEFAULT 'x';
    ALTER TABLE plans ADD COLUMN later INTEGER;
    CREATE TABLE laters (mesh TEXT NOT NULL REFERENCES meshes (id), node TEXT NOT NULL REFERENCES nodes (id));
    CREATE INDEX laters_of ON laters (mesh, node);";
/// One that does both at once, as no release may.
const BREAKS: &str = "ALTER TABLE plans DROP COLUMN planned_at; UPDATE schema_reach SET least = 99;";

/// A newer program's start.
async fn newer_starts(own: &Own, step: &'static str) {
    let opened = own.for_steps().await;
    let mut steps = schema::steps(&opened).to_vec();
    steps.push((99, "later", step));
    schema::run(&opened, &steps, false).await.unwrap();
}

#[tokio::test]
async fn two_versions_work_side_by_side_on_a_database_that_the_newer_one_added_to() {
    on_both(async |newer, own| {
        let at_work = own.open().await;
        enter(&newer, &[node("prep-1", NodeRole::Prep, 1)]).await;
        newer_starts(&own, ADDS).await;
        // One that was at work when the other came, and one that starts afterwards; in turn.
        let starts = own.open().await;
        let mut generations = Vec::new();
        for (number, store) in [&at_work, &starts, &newer, &at_work, &newer, &starts].into_iter().enumerate() {
            let number = u8::try_from(number).unwrap() + 2;
            enter(store, &[node(&format!("sentry-{number}"), NodeRole::Sentry, number)]).await;
            let next = next_plan(store).await;
            assert!(commit(store, &next).await);
            generations.push(next.generation);
            for other in [&newer, &at_work, &starts] {
                assert_eq!(other.read().await.unwrap().target().await.unwrap().unwrap().plan, next);
            }
        }
        assert_eq!(generations, (1..=6).map(Generation).collect::<Vec<_>>());
        // It may have tables of which the older program knows nothing.
        let folder = tempfile::tempdir().unwrap();
        let error =
            starts.back_up(&folder.path().join("backup"), &picket_progress::Progress::silent()).await.unwrap_err();
        assert!(matches!(error, StoreError::Newer { step: 99, .. }), "{error}");
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_database_that_a_newer_program_changed_is_refused_with_what_to_do() {
    on_both(async |store, own| {
        newer_starts(&own, BREAKS).await;
        let error = own.try_open().await.unwrap_err();
        assert!(matches!(error, StoreError::Newer { step: 99, .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("schema step 99") && text.contains("install that version or newer"), "{text}");
        // And nothing was done to it.
        let least = "SELECT MAX(least) AS least FROM schema_reach";
        let mut tx = store.read().await.unwrap();
        let row = query(least).fetch_one(&mut tx.sql).await.unwrap();
        assert_eq!(crate::store::row::number::<i64>(&row, "least").unwrap(), 99);
    })
    .await;
}

/// The rule itself: whoever adds a step says whether programs from before it may stay. Numbers are never used again, in either folder.
#[test]
fn both_databases_take_the_same_steps_from_the_first_common_one_on() {
    let of = |steps: &[schema::Step]| -> Vec<(i64, &str, bool)> {
        let step =
            |(number, name, text): &schema::Step| (*number, *name, text.contains("UPDATE schema_reach SET least"));
        steps.iter().filter(|step| step.0 >= 14).map(step).collect()
    };
    let sqlite = of(crate::store::sqlite::MIGRATIONS);
    assert_eq!(sqlite, of(crate::store::postgres::MIGRATIONS));
    assert!(sqlite.is_sorted_by(|a, b| a.0 < b.0), "{sqlite:?}");
    // What takes away or renames says so.
    for (number, _, text) in crate::store::sqlite::MIGRATIONS.iter().filter(|step| step.0 > 16) {
        let takes_away = ["DROP TABLE", "DROP COLUMN", "RENAME"].iter().any(|word| text.contains(word));
        let says_so = text.contains(&format!("UPDATE schema_reach SET least = {number};"));
        assert!(!takes_away || says_so, "step {number} takes away what programs before it use, and lets them work");
    }
}
