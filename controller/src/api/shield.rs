//! What people order about the shield, and how it stands: an order is stored, planned at once, and the answer says on which
//! hosts it is in force.

use super::{
    Answer, ApiProblem, Shared,
    auth::{Admin, Viewer},
    problem::Body,
};
use crate::{
    controller::Controller,
    lag::lag,
    now,
    revoke::{not_found, revoked},
    store::{Actor, Transaction},
    tasks::plan::{self, Planned},
};
use axum::{Json, extract::State};
use picket_api::{
    ProblemKind,
    shield::{HostShield, OrderShield, ShieldView, ShieldWish},
};
use picket_model::{Node, NodeId, Shield, ShieldOrder, ShieldOrders, Timestamp};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// How long tight limits last unless somebody says otherwise: who was woken by an attack may fall asleep again.
const ON_LASTS: Duration = Duration::from_hours(1);
/// Longest order that ends by itself, in seconds.
const LONGEST: u64 = 30 * 24 * 3600;
/// Most hosts that one order names.
const MOST_HOSTS: usize = 1000;
/// How long the answer waits for hosts to read it back: a person stands before it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How it stands.
pub(super) async fn view(State(controller): Shared, _: Viewer) -> Answer<ShieldView> {
    Ok(Json(shown(&controller, Vec::new(), Vec::new(), now()).await?))
}

/// Stores an order, plans, and waits a moment for the hosts. What is answered is of those that were named.
pub(super) async fn order(
    State(controller): Shared,
    Admin(operator): Admin,
    Body(request): Body<OrderShield>,
) -> Answer<ShieldView> {
    let at = now();
    let until = end(&request, at)?;
    let wish = match request.shield {
        ShieldWish::On => Some(Shield::On),
        ShieldWish::Off => Some(Shield::Off),
        ShieldWish::Auto => Some(Shield::Auto),
        ShieldWish::Policy => None,
    };
    let order = wish.map(|shield| ShieldOrder { shield, by: operator.id.clone(), at, until });
    let mut tx = controller.store.write().await?;
    let hosts = named(&mut tx, &request.hosts).await?;
    let (word, until) = (
        wish.map_or_else(|| "as the policy has it".to_owned(), |shield| shield.to_string()),
        until.map_or_else(String::new, |until| format!(" until {until}")),
    );
    let subjects = if hosts.is_empty() {
        vec!["all hosts".to_owned()]
    } else {
        hosts.iter().map(|host| host.name.to_string()).collect()
    };
    let orders = after(Arc::unwrap_or_clone(tx.shield_orders().await?), &hosts, order.as_ref());
    tx.put_shield_orders(&orders).await?;
    for subject in subjects {
        let actor = Actor::Operator(operator.id.clone());
        tx.record(at, &actor, "shield.ordered", &subject, &format!("{word}{until}")).await?;
    }
    tx.commit().await?;
    // Who waits for news now is told, and busy with it a moment later.
    let listening: Vec<NodeId> = if hosts.is_empty() {
        controller.wanted.followed().into_iter().collect()
    } else {
        hosts.iter().map(|host| &host.id).filter(|id| controller.wanted.is_followed(id)).cloned().collect()
    };
    controller.shield_ordered.send_replace(());
    let refused = match plan::run_once(&controller).await? {
        Planned::Stopped(errors) => errors,
        Planned::Committed(_) | Planned::Unchanged => Vec::new(),
    };
    if refused.is_empty() {
        confirmed(&controller, listening).await;
    }
    Ok(Json(shown(&controller, hosts, refused, now()).await?))
}

/// The orders after one more: the last word about a host counts, and one about all is about each. A host whose order was taken
/// away stands under the order for all, where there is one.
fn after(mut orders: ShieldOrders, hosts: &[Node], order: Option<&ShieldOrder>) -> ShieldOrders {
    if hosts.is_empty() {
        return ShieldOrders { all: order.cloned(), ..ShieldOrders::default() };
    }
    for host in hosts {
        match order {
            Some(order) => drop(orders.hosts.insert(host.id.clone(), order.clone())),
            None => drop(orders.hosts.remove(&host.id)),
        }
    }
    orders
}

fn end(request: &OrderShield, now: Timestamp) -> Result<Option<Timestamp>, ApiProblem> {
    let refused = |detail: String| Err(ApiProblem::new(ProblemKind::BadRequest, detail));
    if request.hosts.len() > MOST_HOSTS {
        return refused(format!("name {MOST_HOSTS} hosts at most, or none for all"));
    }
    match (request.shield, request.seconds) {
        (ShieldWish::Policy, Some(_)) => refused("the policy has no end: leave the seconds out".to_owned()),
        (_, Some(seconds)) if !(1..=LONGEST).contains(&seconds) => {
            refused(format!("an order that ends by itself lasts 1 to {LONGEST} seconds"))
        }
        (_, Some(seconds)) => Ok(Some(now.plus(Duration::from_secs(seconds)))),
        (ShieldWish::On, None) => Ok(Some(now.plus(ON_LASTS))),
        (_, None) => Ok(None),
    }
}

async fn named(tx: &mut Transaction, names: &[String]) -> Result<Vec<Node>, ApiProblem> {
    let mut hosts: Vec<Node> = Vec::new();
    for name in names {
        let node = tx.node_called(name).await?.ok_or_else(|| not_found(name))?;
        if !node.is_active() {
            return Err(revoked(&node));
        }
        if node.issued {
            let detail = format!("{} runs no agent that could tighten anything", node.name);
            return Err(ApiProblem::new(ProblemKind::Conflict, detail));
        }
        if hosts.iter().all(|known| known.id != node.id) {
            hosts.push(node);
        }
    }
    Ok(hosts)
}

/// Waits until these hosts have read back what is wanted, or for as long as a person waits. Those that hear nothing now will not
/// say so in time.
async fn confirmed(controller: &Controller, mut hosts: Vec<NodeId>) {
    let (deadline, mut arrivals) = (Instant::now() + PATIENCE, controller.reports.arrivals());
    loop {
        arrivals.mark_unchanged();
        let at = now();
        hosts.retain(|id| lag(controller, id, at).is_some());
        if hosts.is_empty() || timeout_at(deadline, arrivals.changed()).await.is_err() {
            return;
        }
    }
}

/// How these hosts stand; all where none is named.
async fn shown(
    controller: &Controller,
    named: Vec<Node>,
    refused: Vec<String>,
    now: Timestamp,
) -> Result<ShieldView, ApiProblem> {
    let mut tx = controller.store.read().await?;
    let orders = tx.shield_orders().await?;
    let nodes = if named.is_empty() { tx.nodes().await?.values().cloned().collect() } else { named };
    let policy = tx.policy().await?.unwrap_or_default().1.shield;
    let generation = tx.target_generation().await?;
    drop(tx);
    let mut members: Vec<Node> = nodes.into_iter().filter(Node::reports).collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    let hosts = members.into_iter().map(|node| {
        let received = controller.reports.get(&node.id).map(|received| received.stored);
        let order = orders.of(&node.id, now).cloned();
        HostShield {
            wanted: order.as_ref().map_or(policy, |order| order.shield),
            order,
            in_force: lag(controller, &node.id, now).is_none(),
            reported_at: received.as_ref().map(|stored| stored.received_at),
            defences: received.and_then(|stored| stored.report.defences),
            node: node.id,
            name: node.name,
        }
    });
    let hosts = hosts.collect();
    let all = orders.all.clone().filter(|order| order.is_active(now));
    Ok(ShieldView { now, generation, policy, all, hosts, refused })
}
