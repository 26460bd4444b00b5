//! Ends orders about the shield when their time is over or their host is no member any more, and says so in the audit log: nobody has to remember to relax.

use super::report;
use crate::{
    controller::Controller,
    now,
    store::{Actor, StoreError},
    tasks::plan,
};
use picket_model::{Node, NodeId, ShieldOrder, ShieldOrders, Timestamp};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
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
    let mut tx = controller.store.read().await?;
    let stored = tx.shield_orders().await?;
    let nodes = tx.nodes().await?;
    if *stored == without_ended(&stored, &nodes, now).0 {
        return Ok(stored.next_end(now));
    }
    drop(tx);
    let mut tx = controller.store.write().await?;
    let stored = tx.shield_orders().await?;
    let nodes = tx.nodes().await?;
    let (left, ended) = without_ended(&stored, &nodes, now);
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

/// The orders still in force, and those that are not, each with the host it was about; none for the one about all. What was
/// ordered of a host that is no member any more is over: it would be named for ever.
fn without_ended(
    orders: &ShieldOrders,
    nodes: &BTreeMap<NodeId, Node>,
    now: Timestamp,
) -> (ShieldOrders, Vec<(Option<NodeId>, ShieldOrder)>) {
    let mut left = orders.clone();
    let mut ended: Vec<_> =
        left.all.take_if(|order| !order.is_active(now)).map(|order| (None, order)).into_iter().collect();
    let is_member = |id: &NodeId| nodes.get(id).is_some_and(Node::is_active);
    let over = left.hosts.extract_if(.., |id, order| !order.is_active(now) || !is_member(id));
    ended.extend(over.map(|(id, order)| (Some(id), order)));
    (left, ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{NodeRole, NodeState, Shield, fixture::node};

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
        let mut nodes: BTreeMap<_, _> =
            ["n-1", "n-2"].map(|id| node(id, NodeRole::Sentry, 1)).map(|node| (node.id.clone(), node)).into();
        let ended = |seconds| -> Vec<String> {
            let (left, ended) = without_ended(&orders, &nodes, at(seconds));
            assert_eq!(left.hosts.len() + usize::from(left.all.is_some()) + ended.len(), 3);
            ended.iter().map(|(id, _)| id.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string)).collect()
        };
        assert_eq!(ended(9), [""; 0]);
        assert_eq!(ended(10), ["n-1"]);
        assert_eq!(ended(20), ["all", "n-1"]);
        // An order without an end is over when its host is no member any more.
        let of = |nodes: &BTreeMap<_, _>| -> Vec<_> {
            without_ended(&orders, nodes, at(9)).1.into_iter().map(|(id, _)| id.unwrap().to_string()).collect()
        };
        let host: NodeId = "n-2".parse().unwrap();
        nodes.get_mut(&host).unwrap().state = NodeState::Quarantined { since: at(8) };
        assert_eq!(of(&nodes), [""; 0]);
        nodes.get_mut(&host).unwrap().state = NodeState::Revoked { at: at(8) };
        assert_eq!(of(&nodes), ["n-2"]);
        nodes.remove(&host);
        assert_eq!(of(&nodes), ["n-2"]);
    }
}
