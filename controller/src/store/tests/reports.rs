//! Hosts' reports: many kept at once, each as its host's last, and read by who does not know them yet.

use super::*;
use picket_model::{Generation, fixture::in_force};

/// So many that statements of each size up to 32 are needed.
const HOSTS: u8 = 45;

fn told(hosts: &[Node], applied: u64, seconds: i64) -> Vec<(NodeId, StoredReport)> {
    let received_at = Timestamp::from_millis(seconds * 1000);
    let told =
        |host: &Node| (host.id.clone(), StoredReport { report: in_force(Generation(applied), None), received_at });
    hosts.iter().map(told).collect()
}

async fn keep(store: &Store, reports: &[(NodeId, StoredReport)]) {
    let mut tx = store.write().await.unwrap();
    tx.put_reports(reports).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn of_many_reports_each_is_its_hosts_last_and_read_by_who_does_not_know_it() {
    on_both(async |store, own| {
        let hosts: Vec<Node> = (1..=HOSTS).map(|n| node(&format!("n-{n}"), NodeRole::Prep, n)).collect();
        enter(&store, &hosts).await;
        let (first, later) = (told(&hosts, 1, 10), told(&hosts[..7], 2, 20));
        keep(&store, &[]).await;
        keep(&store, &first).await;
        keep(&store, &later).await;
        let mut expect: BTreeMap<NodeId, StoredReport> = first.into_iter().collect();
        expect.extend(later.clone());
        let mut tx = store.read().await.unwrap();
        assert_eq!(tx.reports().await.unwrap(), expect);
        let since = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let read = async |tx: &mut Transaction, seconds, is_news: &dyn Fn(&NodeId, Timestamp) -> bool| {
            tx.reports_since(since(seconds), is_news).await.unwrap().into_iter().collect::<BTreeMap<_, _>>()
        };
        assert_eq!(read(&mut tx, 0, &|_, _| true).await, expect);
        assert_eq!(read(&mut tx, 11, &|_, _| true).await, later.into_iter().collect());
        assert_eq!(read(&mut tx, 21, &|_, _| true).await, BTreeMap::new());
        // Who knows all but one reads that one.
        let one = &hosts[2].id;
        let only = expect.iter().filter(|(id, _)| *id == one).map(|(id, report)| (id.clone(), report.clone()));
        assert_eq!(read(&mut tx, 0, &|id, at| id == one && at == since(20)).await, only.collect());
        assert_eq!(read(&mut tx, 0, &|_, _| false).await, BTreeMap::new());
        drop(own);
    })
    .await;
}
