//! What controllers are asked to do, each by the function that the program calls, and what they say of it.

use super::site::{Operation, Running};
use crate::{
    enroll, leases, now, revoke,
    start::enter_policy,
    store::{Actor, StoreError},
    tasks::{
        follow, judge, leases as sweep,
        plan::{self, Planned},
        poll::Round,
        reports,
    },
    wanted::News,
};
use picket_api::{EnrollRequest, EnrollResponse, node::ConfigNews, operator::RevokeReceipt};
use picket_model::{Digest, Generation, HoldOrder, NodeId, NodeName, Policy};
use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// Where all hosts are seen from.
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9));

/// What came of an operation.
pub(super) enum Told {
    Started(usize, Result<Running, String>),
    Joined(usize, Result<EnrollResponse, String>),
    Heard(usize, Result<Heard, String>),
    Cut(NodeId, Result<Box<RevokeReceipt>, String>),
    Left(usize, Result<(), String>),
    /// A controller has looked what others did, of which these hosts were out before.
    Followed(usize, Vec<NodeId>, Result<(), String>),
    BackedUp(PathBuf, Result<(), String>),
    /// Something was done.
    Done(Done, Result<(), String>),
}

/// What has an end of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Planned,
    Judged,
    Saved,
    Swept,
    Edited,
    Ordered,
    Readmitted,
    Quarantined,
}

/// What a host that asks hears.
pub(super) enum Heard {
    Nothing,
    News(Box<ConfigNews>),
    Revoked,
    /// The database does not know it.
    Stranger,
}

pub(super) fn join(running: Running, agent: usize, request: EnrollRequest) -> Operation<Told> {
    Box::pin(async move {
        let joined = enroll::enroll(&running.controller, request, FROM, now()).await;
        Told::Joined(agent, joined.map_err(|problem| problem.0.detail))
    })
}

/// As the handler of a long poll does, which does not wait.
pub(super) fn ask(
    running: Running,
    agent: usize,
    (node, serial): (NodeId, String),
    (after, holds): (Generation, Option<Digest>),
) -> Operation<Told> {
    Box::pin(async move {
        let controller = &running.controller;
        let heard = async {
            let shown = controller.store.read().await.map_err(told)?.shows(&node, &serial).await.map_err(told)?;
            let Some((member, lease, _)) = shown else { return Ok(Heard::Stranger) };
            if !member.is_active() {
                return Ok(Heard::Revoked);
            }
            leases::heard(controller, &member, &lease, FROM, now()).await.map_err(|problem| problem.0.detail)?;
            Ok(match controller.wanted.news(&node, after, holds.as_ref()).unwrap() {
                News::Nothing => Heard::Nothing,
                News::Content(parts) => Heard::News(Box::new(parts.read())),
                News::Revoked => Heard::Revoked,
            })
        };
        Told::Heard(agent, heard.await)
    })
}

pub(super) fn cut(running: Running, node: NodeId) -> Operation<Told> {
    Box::pin(async move {
        let (actor, kind) = (Actor::Controller, revoke::Kind::Revoke);
        let cut = revoke::cut(&running.controller, &actor, node.as_str(), kind, Duration::ZERO).await;
        let receipt = match cut {
            Ok(following) => Ok(Box::new(following.receipt().await)),
            Err(problem) => Err(problem.0.detail),
        };
        Told::Cut(node, receipt)
    })
}

pub(super) fn quarantine(running: Running, node: NodeName, is_out: bool) -> Operation<Told> {
    Box::pin(async move {
        let (controller, actor, kind) = (&running.controller, Actor::Controller, revoke::Kind::Quarantine);
        if is_out {
            let readmitted = revoke::readmit(controller, &actor, node.as_str()).await;
            return Told::Done(Done::Readmitted, readmitted.map(drop).map_err(|problem| problem.0.detail));
        }
        let cut = revoke::cut(controller, &actor, node.as_str(), kind, Duration::ZERO).await;
        Told::Done(Done::Quarantined, cut.map(drop).map_err(|problem| problem.0.detail))
    })
}

pub(super) fn leave(running: Running, agent: usize, node: NodeId) -> Operation<Told> {
    Box::pin(async move {
        let controller = &running.controller;
        let left = async {
            let member = controller.store.read().await.map_err(told)?.node(&node).await.map_err(told)?;
            let member = member.ok_or("the database does not know it")?;
            leases::leave(controller, &member, FROM).await.map_err(|problem| problem.0.detail)
        };
        Told::Left(agent, left.await)
    })
}

pub(super) fn follow(site: usize, running: Running, out: Vec<NodeId>) -> Operation<Told> {
    Box::pin(async move {
        let mut seen = running.seen.lock().await;
        let followed = follow::run_once(&running.controller, &mut seen).await;
        Told::Followed(site, out, followed.map_err(told))
    })
}

pub(super) fn plan(running: Running) -> Operation<Told> {
    Box::pin(async move { Told::Done(Done::Planned, planned(&running).await) })
}

/// A plan that is stopped is a fault: nothing that is drawn here asks for what the lint refuses.
async fn planned(running: &Running) -> Result<(), String> {
    match plan::run_once(&running.controller).await.map_err(told)? {
        Planned::Stopped(errors) => Err(format!("the plan was stopped: {errors:?}")),
        Planned::Unchanged | Planned::Committed(_) => Ok(()),
    }
}

pub(super) fn judge(running: Running, round: Arc<Round>) -> Operation<Told> {
    done(Done::Judged, async move { judge::run_once(&running.controller, &round).await.map(drop) })
}

pub(super) fn save(running: Running) -> Operation<Told> {
    done(Done::Saved, async move { reports::run_once(&running.controller).await })
}

pub(super) fn sweep(running: Running) -> Operation<Told> {
    done(Done::Swept, async move { sweep::run_once(&running.controller, now()).await })
}

pub(super) fn back_up(running: Running, file: PathBuf) -> Operation<Told> {
    Box::pin(async move {
        let backed_up = running.controller.store.back_up(&file, &picket_progress::Progress::silent()).await;
        Told::BackedUp(file, backed_up.map(drop).map_err(told))
    })
}

/// The operator has another policy: with a start of the controller, or as here while it runs.
pub(super) fn edit(running: Running, policy: Policy) -> Operation<Told> {
    Box::pin(async move {
        let edited = async {
            let entered = enter_policy(&running.controller.store, Some(policy.clone()), policy, now()).await;
            entered.map_err(|error| format!("{error:#}"))?;
            planned(&running).await
        };
        Told::Done(Done::Edited, edited.await)
    })
}

/// Freezes the set, or has it go on.
pub(super) fn freeze(running: Running, frozen: bool) -> Operation<Told> {
    done(Done::Ordered, async move {
        let at = now();
        let mut tx = running.controller.store.write().await?;
        let mut orders = tx.orders().await?;
        let by = "op-1".parse().unwrap();
        orders.hold = frozen.then(|| HoldOrder { comment: "incident".to_owned(), by, at, until: None });
        tx.put_orders(&orders).await?;
        tx.record(at, &Actor::Controller, "validators.frozen", "validator list", "").await?;
        tx.commit().await
    })
}

fn done(what: Done, operation: impl Future<Output = Result<(), StoreError>> + 'static) -> Operation<Told> {
    Box::pin(async move { Told::Done(what, operation.await.map_err(told)) })
}

fn told(error: StoreError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
