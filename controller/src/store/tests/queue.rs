//! Changes of one program queue: each comes in its turn, and nobody who only reads waits for them.

use super::*;
use crate::store::moments::Fate;
use std::{future::poll_fn, pin::pin, sync::atomic::AtomicBool, task::Poll};
use tokio::{sync::oneshot, task::JoinSet};

const WRITERS: u16 = 50;

/// The changes there are, by what they say.
async fn written(store: &Store) -> Vec<String> {
    let events = store.read().await.unwrap().events(1_000).await.unwrap();
    events.into_iter().map(|event| event.subject).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_writers_at_once_all_succeed_in_their_turn_and_readers_go_on_meanwhile() {
    on_both(async |store, _own| {
        let before = written(&store).await.len();
        let first = store.write().await.unwrap();
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let store = store.clone();
            let (asks, asked) = oneshot::channel();
            writers.spawn(async move {
                let mut turn = pin!(store.write());
                // It is in the queue once it was looked at.
                let waits = poll_fn(|context| Poll::Ready(turn.as_mut().poll(context).is_pending()));
                assert!(waits.await);
                asks.send(()).unwrap();
                let mut tx = turn.await.unwrap();
                let what = number.to_string();
                tx.record(NOW, &Actor::Controller, "written", &what, "").await.unwrap();
                // It holds it for a moment: others run meanwhile.
                for _ in 0..20 {
                    assert_eq!(tx.events(1).await.unwrap().len(), 1);
                    tokio::task::yield_now().await;
                }
                tx.commit().await.unwrap();
            });
            asked.await.unwrap();
        }
        // All wait: readers get a connection, more of them at once than there are beside the one that writes.
        let mut readers = JoinSet::new();
        for _ in 0..20 {
            let store = store.clone();
            readers.spawn(async move { written(&store).await.len() });
        }
        for seen in readers.join_all().await {
            assert_eq!(seen, before, "nobody has written yet");
        }
        drop(first);
        // Nobody waits for the others' changes to end who only reads.
        let mut reads = 0;
        while written(&store).await.len() < before + usize::from(WRITERS) {
            reads += 1;
        }
        println!("{reads} reads meanwhile");
        writers.join_all().await;
        let expected: Vec<String> = (0..WRITERS).map(|number| number.to_string()).collect();
        assert_eq!(written(&store).await[before..], expected);
    })
    .await;
}

#[tokio::test]
async fn a_change_that_waits_too_long_says_so_and_the_next_one_is_not_in_its_way() {
    on_both(async |mut store, _own| {
        store.patience = Duration::from_millis(20);
        let first = store.write().await.unwrap();
        let error = store.write().await.unwrap_err();
        assert!(matches!(error, StoreError::Queued { .. }), "{error:?}");
        drop(first);
        store.write().await.unwrap().commit().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn who_waits_behind_a_change_that_finds_no_database_is_told_so_with_it_and_the_next_one_tries() {
    on_both(async |store, _own| {
        let first = store.write().await.unwrap();
        // The one at the head of the queue meets no database; those behind it would.
        let unlucky = Fate::new(Arc::new(AtomicBool::new(true)), None);
        let mut head = pin!(unlucky.of(store.write()));
        let mut behind: Vec<_> = (0..WRITERS).map(|_| Box::pin(store.write())).collect();
        poll_fn(|context| {
            assert!(head.as_mut().poll(context).is_pending());
            assert!(behind.iter_mut().all(|turn| turn.as_mut().poll(context).is_pending()));
            Poll::Ready(())
        })
        .await;
        drop(first);
        assert!(matches!(head.await, Err(StoreError::Away { .. })));
        for turn in behind {
            assert!(matches!(turn.await, Err(StoreError::Away { .. })));
        }
        store.write().await.unwrap().commit().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_change_of_another_program_is_waited_for_and_no_thread_is_kept() {
    // One thread: were it kept, the other's change could not end.
    let (store, dir) = store().await;
    let other = Store::open(&dir.path().join("db"), "m-1".parse().unwrap()).await.unwrap();
    let first = store.write().await.unwrap();
    let mut second = pin!(other.write());
    assert!(poll_fn(|context| Poll::Ready(second.as_mut().poll(context).is_pending())).await);
    first.commit().await.unwrap();
    drop(second.await.unwrap());
}

#[tokio::test]
async fn what_was_not_committed_is_not_there_and_its_connection_goes_on() {
    on_both(async |store, _own| {
        let before = written(&store).await;
        for round in 0..20 {
            let mut tx = store.write().await.unwrap();
            tx.record(NOW, &Actor::Controller, "written", &round.to_string(), "").await.unwrap();
            if round % 2 == 0 {
                // What fails leaves nothing behind either.
                assert!(query("INSERT INTO nowhere (one) VALUES ($1)").bind(1_i64).execute(&mut tx.sql).await.is_err());
            }
        }
        assert_eq!(written(&store).await, before);
    })
    .await;
}
