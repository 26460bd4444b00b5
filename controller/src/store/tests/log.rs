//! The audit log: only ever longer, and every line as it was written.

use super::*;
use picket_api::operators::LogBreak;

async fn write(store: &Store, lines: usize) {
    let mut tx = store.write().await.unwrap();
    for line in 0..lines {
        tx.record(NOW, &Actor::Controller, "test", &line.to_string(), "detail").await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn run(store: &Store, statement: &'static str) -> Result<(), sqlx::Error> {
    let mut tx = store.write().await.unwrap();
    query(statement).execute(&mut tx.sql).await?;
    tx.commit().await.unwrap();
    Ok(())
}

/// What somebody with the file and a SQLite of their own can do.
async fn tamper(store: &Store, statements: &[&'static str]) -> Option<LogBreak> {
    for statement in ["DROP TRIGGER IF EXISTS events_are_not_changed", "DROP TRIGGER IF EXISTS events_are_not_deleted"]
    {
        run(store, statement).await.unwrap();
    }
    for statement in statements {
        run(store, statement).await.unwrap();
    }
    store.read().await.unwrap().verify_log().await.unwrap().broken
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_or_drop_a_line() {
    on_both(async |store, _own| {
        write(&store, 3).await;
        for statement in [
            "UPDATE events SET detail = 'another' WHERE id = 2",
            "UPDATE events SET hash = '' WHERE id = 2",
            "UPDATE events SET reason = 'later' WHERE id = 2",
            "DELETE FROM events WHERE id = 3",
            "DELETE FROM events",
        ] {
            let error = run(&store, statement).await.unwrap_err().to_string();
            assert!(error.contains("append-only"), "{statement}: {error}");
        }
        let verdict = store.read().await.unwrap().verify_log().await.unwrap();
        assert_eq!((verdict.lines, verdict.last, verdict.broken), (3, 3, None));
        assert_eq!(verdict.head, store.read().await.unwrap().events(1).await.unwrap()[0].hash);
    })
    .await;
}

#[tokio::test]
async fn whoever_changes_the_file_leaves_a_trace() {
    let check = async |statements: &[&'static str], line: Option<i64>| {
        let (store, _dir) = store().await;
        write(&store, 1200).await;
        assert_eq!(tamper(&store, statements).await.map(|broken| broken.line), line, "{statements:?}");
    };
    check(&[], None).await;
    check(&["UPDATE events SET detail = 'another' WHERE id = 1100"], Some(1100)).await;
    check(&["UPDATE events SET actor = 'op-2' WHERE id = 1"], Some(1)).await;
    check(&["UPDATE events SET reason = 'good' WHERE id = 7"], Some(7)).await;
    check(&["DELETE FROM events WHERE id = 600"], Some(600)).await;
    check(&["DELETE FROM events WHERE id = 600", "UPDATE events SET id = id - 1 WHERE id > 600"], Some(600)).await;
    check(&["DELETE FROM events WHERE id <= 10"], Some(1)).await;
    check(&["DELETE FROM events WHERE id > 1000"], Some(1001)).await;
    check(&["DELETE FROM events"], Some(1)).await;
}

#[tokio::test]
async fn a_cut_end_does_not_heal_and_a_line_without_a_hash_is_found() {
    let (store, dir) = store().await;
    write(&store, 10).await;
    let cut = tamper(&store, &["DELETE FROM events WHERE id > 7"]).await;
    assert_eq!(cut.map(|broken| broken.line), Some(8));
    write(&store, 10).await;
    let verdict = store.read().await.unwrap().verify_log().await.unwrap();
    assert_eq!(verdict.broken.map(|broken| broken.line), Some(8));

    run(&store, "INSERT INTO events (mesh, at, actor, action, subject, detail) VALUES ('m-1', 1, 'a', 'b', 'c', 'd')")
        .await
        .unwrap();
    store.close().await;
    let store = Store::open(&dir.path().join("db"), "m-1".parse().unwrap()).await.unwrap();
    write(&store, 1).await;
    let verdict = store.read().await.unwrap().verify_log().await.unwrap();
    assert_eq!(verdict.broken.map(|broken| broken.line), Some(8));
}

#[tokio::test]
async fn lines_from_before_the_chain_get_their_hashes_at_the_first_start() {
    let (store, dir) = store().await;
    run(&store, "INSERT INTO events (mesh, at, actor, action, subject, detail) VALUES ('m-1', 1, 'a', 'b', 'c', 'd')")
        .await
        .unwrap();
    run(&store, "INSERT INTO events (mesh, at, actor, action, subject, detail) VALUES ('m-1', 2, 'a', 'b', 'c', 'e')")
        .await
        .unwrap();
    store.close().await;
    let store = Store::open(&dir.path().join("db"), "m-1".parse().unwrap()).await.unwrap();
    write(&store, 1).await;
    let verdict = store.read().await.unwrap().verify_log().await.unwrap();
    assert_eq!((verdict.lines, verdict.broken), (3, None));
    assert!(run(&store, "UPDATE events SET detail = 'x' WHERE id = 1").await.is_err());
}
