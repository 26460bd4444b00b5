//! Ends orders about the shield when their time is over, and says so in the audit log: nobody has to remember to relax.

use super::report;
use crate::{
    controller::Controller,
    now,
    store::{Actor, StoreError},
    tasks::plan,
};
use picket_model::{ShieldOrder, ShieldOrders, Timestamp};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// Longest sleep until an order ends, so that a clock which was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);
/// Rest after a round that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Looks when an order ends and whenever there is another one.
pub(crate) async fn run(controller: Arc<Controller>) {
    let mut ordered = controller.shield_ordered.subscribe();
    loop {
        ordered.mark_unchanged();
        let pause = match run_once(&controller, now()).await {
            Ok(end) => end.map_or(LONGEST_SLEEP, |end| end.since(now()).min(LONGEST_SLEEP)),
            Err(error) => {
                report("shield", &error);
                AGAIN
            }
        };
        // The sender lives as long as the controller.
        let _ = timeout(pause, ordered.changed()).await;
    }
}

/// Ends what is over and plans without it; when the next order ends by itself.
async fn run_once(controller: &Controller, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let stored = controller.store.read().await?.shield_orders().await?;
    if stored == without_ended(&stored, now).0 {
        return Ok(stored.next_end(now));
    }
    let mut tx = controller.store.write().await?;
    let nodes = tx.nodes().await?;
    let (left, ended) = without_ended(&tx.shield_orders().await?, now);
    tx.put_shield_orders(&left).await?;
    for (host, order) in ended {
        let subject = host.map_or_else(
            || "all hosts".to_owned(),
            |id| nodes.get(&id).map_or_else(|| id.to_string(), |node| node.name.to_string()),
        );
        let detail = format!("operator {} had ordered {} at {}", order.by, order.shield, order.at);
        tx.record(now, &Actor::Controller, "shield.ended", &subject, &detail).await?;
    }
    tx.commit().await?;
    // What stops the plan is in the findings, and has its alarm.
    plan::run_once(controller).await?;
    Ok(left.next_end(now))
}

/// The orders still in force, and those that are not, each with the host it was about; none for the one about all.
fn without_ended(
    orders: &ShieldOrders,
    now: Timestamp,
) -> (ShieldOrders, Vec<(Option<picket_model::NodeId>, ShieldOrder)>) {
    let mut left = orders.clone();
    let mut ended: Vec<_> =
        left.all.take_if(|order| !order.is_active(now)).map(|order| (None, order)).into_iter().collect();
    let over = left.hosts.extract_if(.., |_, order| !order.is_active(now));
    ended.extend(over.map(|(id, order)| (Some(id), order)));
    (left, ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::Shield;

    #[test]
    fn orders_end_by_their_time_and_not_before() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let order = |until: Option<i64>| ShieldOrder {
            shield: Shield::On,
            by: "op-1".parse().unwrap(),
            at: at(0),
            until: until.map(at),
        };
        let hosts = [("n-1", Some(10)), ("n-2", None)].map(|(id, until)| (id.parse().unwrap(), order(until)));
        let orders = ShieldOrders { all: Some(order(Some(20))), hosts: hosts.into() };
        let ended = |seconds| -> Vec<String> {
            let (left, ended) = without_ended(&orders, at(seconds));
            assert_eq!(left.hosts.len() + usize::from(left.all.is_some()) + ended.len(), 3);
            ended.iter().map(|(id, _)| id.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string)).collect()
        };
        assert_eq!(ended(9), [""; 0]);
        assert_eq!(ended(10), ["n-1"]);
        assert_eq!(ended(20), ["all", "n-1"]);
    }
}
