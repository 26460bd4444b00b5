//! Hosts by what changed: whatever is done to a host, whoever reads what changed since knows all hosts as they are.

use super::*;
use std::collections::BTreeSet;

/// What somebody knows who reads what changed.
#[derive(Default)]
struct Reader {
    nodes: BTreeMap<NodeId, Node>,
    change: i64,
}

impl Reader {
    /// Reads on; how many hosts were read.
    async fn read_on(&mut self, store: &Store) -> usize {
        let mut tx = store.read().await.unwrap();
        let (changed, last) = tx.nodes_changed_after(self.change).await.unwrap();
        let count = changed.len();
        self.nodes.extend(changed.into_iter().map(|node| (node.id.clone(), node)));
        self.change = last;
        assert_eq!(self.nodes, *tx.nodes().await.unwrap());
        count
    }
}

/// Does something to the database.
async fn with(store: &Store, change: impl AsyncFnOnce(&mut Transaction)) {
    let mut tx = store.write().await.unwrap();
    change(&mut tx).await;
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn what_changed_of_hosts_is_all_that_changed() {
    on_both(async |store, own| {
        let all = [node("n-1", NodeRole::Prep, 1), node("n-2", NodeRole::Sentry, 2), node("n-3", NodeRole::Sentry, 3)];
        let [one, two, three] = &all;
        let mut reader = Reader::default();
        assert_eq!(reader.read_on(&store).await, 0);
        enter(&store, &all).await;
        assert_eq!(reader.read_on(&store).await, 3);
        assert_eq!(reader.read_on(&store).await, 0);
        let renamed = Node { name: "other".parse().unwrap(), endpoint: None, ..two.clone() };
        with(&store, async |tx| tx.rename_node(&renamed).await.unwrap()).await;
        assert_eq!(reader.read_on(&store).await, 1);
        with(&store, async |tx| assert!(tx.quarantine_node(&one.id, Some(NOW)).await.unwrap())).await;
        let next = WireGuardPublicKey::new([77; 32]).unwrap();
        with(&store, async |tx| tx.change_key(&three.id, [&three.wireguard_key, &next], NOW).await.unwrap()).await;
        assert_eq!(reader.read_on(&store).await, 2);
        with(&store, async |tx| assert!(tx.quarantine_node(&one.id, None).await.unwrap())).await;
        with(&store, async |tx| assert!(tx.revoke_node(&two.id, NOW).await.unwrap())).await;
        assert_eq!(reader.read_on(&store).await, 2);
        // What is not done leaves nothing, and a lease is no change.
        let mut tx = store.write().await.unwrap();
        assert!(tx.revoke_node(&one.id, NOW).await.unwrap());
        drop(tx);
        with(&store, async |tx| assert!(tx.renew_lease(&one.id, [192, 0, 2, 7].into(), NOW).await.unwrap())).await;
        assert_eq!(reader.read_on(&store).await, 0);
        // A copy knows its own order.
        let folder = tempfile::tempdir().unwrap();
        store.back_up(&folder.path().join("copy"), &picket_progress::Progress::silent()).await.unwrap();
        let copy = Store::open(&folder.path().join("copy"), "m-1".parse().unwrap()).await.unwrap();
        let mut other = Reader::default();
        assert_eq!(other.read_on(&copy).await, 3);
        copy.close().await;
        drop(own);
    })
    .await;
}

#[tokio::test]
async fn what_is_remembered_of_hosts_is_what_the_database_has_whoever_changed_it() {
    on_both(async |store, own| {
        let other = own.open().await;
        let all = [node("n-1", NodeRole::Prep, 1), node("n-2", NodeRole::Sentry, 2), node("n-3", NodeRole::Sentry, 3)];
        let names = async |tx: &mut Transaction| -> Vec<String> {
            tx.nodes().await.unwrap().values().filter(|node| node.is_active()).map(|node| node.id.to_string()).collect()
        };
        let read = async |store: &Store| names(&mut store.read().await.unwrap()).await;
        enter(&store, &all[..1]).await;
        assert_eq!((read(&store).await, read(&other).await), (vec!["n-1".to_owned()], vec!["n-1".to_owned()]));
        // What is never committed is seen by nobody else, and forgotten.
        let mut tx = store.write().await.unwrap();
        tx.insert_node(&all[1], &token()).await.unwrap();
        assert_eq!(names(&mut tx).await, ["n-1", "n-2"]);
        drop(tx);
        assert_eq!(read(&store).await, ["n-1"]);
        // Another controller's change is seen, and a view from before it stays as it is.
        let mut before = store.read().await.unwrap();
        assert_eq!(before.target_generation().await.unwrap(), Generation(0));
        enter(&other, &all[1..]).await;
        with(&other, async |tx| assert!(tx.revoke_node(&all[0].id, NOW).await.unwrap())).await;
        assert_eq!(read(&store).await, ["n-2", "n-3"]);
        assert_eq!(names(&mut before).await, ["n-1"]);
        drop(before);
        assert_eq!(read(&store).await, ["n-2", "n-3"]);
        // Who looks at it still sees what was when it changes.
        let held = store.read().await.unwrap().nodes().await.unwrap();
        with(&store, async |tx| assert!(tx.revoke_node(&all[1].id, NOW).await.unwrap())).await;
        assert_eq!(read(&store).await, ["n-3"]);
        assert!(held[&all[1].id].is_active());
        store.forget_hosts();
        assert_eq!((read(&store).await, read(&other).await), (vec!["n-3".to_owned()], vec!["n-3".to_owned()]));
        other.close().await;
    })
    .await;
}

/// Hosts that come, of whom some are revoked and some never committed, until the range is used up; by a program that starts anew now and
/// then, beside another one.
#[tokio::test]
async fn an_address_is_the_lowest_free_one_and_given_out_once_whoever_came_and_went() {
    on_both(async |store, own| {
        let prefixes = |v4: &str| OverlayPrefixes { v4: v4.parse().unwrap(), v6: overlay::ula_prefix([1; 5]) };
        let (narrow, mut other) = (prefixes("192.0.2.0/26"), own.open().await);
        let mut given: BTreeSet<std::net::Ipv4Addr> = BTreeSet::new();
        for number in 1..=120_u8 {
            if number % 40 == 0 {
                other.close().await;
                other = own.open().await;
            }
            let mut tx = if number % 3 == 0 { other.write().await } else { store.write().await }.unwrap();
            let host = node(&format!("n-{number}"), NodeRole::Prep, number);
            let lowest = narrow.v4.hosts().find(|address| !given.contains(address));
            let found = tx.free_addresses(&narrow, &host.id).await.unwrap();
            assert_eq!(found.as_ref().ok().map(|addresses| addresses.v4), lowest);
            let Ok(overlay) = found else {
                assert_eq!(found.unwrap_err().used, given.len());
                continue;
            };
            tx.insert_node(&Node { overlay, ..host.clone() }, &token()).await.unwrap();
            if number % 7 == 0 {
                continue;
            }
            if number % 5 == 0 {
                tx.revoke_node(&host.id, NOW).await.unwrap();
            }
            tx.commit().await.unwrap();
            assert!(given.insert(overlay.v4));
        }
        assert_eq!(given.len(), 62);
        // Of another range all are free.
        let found =
            store.write().await.unwrap().free_addresses(&prefixes("192.0.2.64/26"), &"n-1".parse().unwrap()).await;
        assert_eq!(found.unwrap().unwrap().v4.to_string(), "192.0.2.65");
        other.close().await;
    })
    .await;
}
