//! What operators see, put together from store and memory. Reads only.

use super::ApiProblem;
use crate::{
    controller::Controller,
    lag::lag,
    now,
    tasks::alarms::{configured, in_force},
    wanted::HostWanted,
};
use picket_api::{
    ProblemKind,
    operator::{ExplainQuery, FindingView, NodeView, StatusView},
    validators::{HeldChange, HeldView, OrderReceipt, ValidatorsView},
};
use picket_model::{
    Explanation, Lease, Node, NodeId, NodeName, P2pEndpoint, PoolName, PrepId, Timestamp, ValidatorSet,
};
use picket_plan::{Advice, ExplainInput, Finding, FindingKind, Held, Severity, explain as explain_plan};
use std::collections::{BTreeMap, BTreeSet};

/// Alarms of one kind that the status shows.
const SHOWN: usize = 20;

/// The one-screen truth.
pub(crate) async fn status(controller: &Controller, now: Timestamp) -> Result<StatusView, ApiProblem> {
    Ok(status_and_findings(controller, now).await?.0)
}

/// The same, and all that is wrong, one by one.
pub(crate) async fn status_and_findings(
    controller: &Controller,
    now: Timestamp,
) -> Result<(StatusView, Vec<Finding>), ApiProblem> {
    let mut tx = controller.store.read().await?;
    let (sources, merged, nodes) =
        (configured(controller, &tx.sources().await?), tx.merged().await?, tx.nodes().await?);
    let clones = tx.clones().await?;
    drop(tx);
    let target = controller.wanted.target();
    let members = nodes.values().filter(|node| node.reports()).count();
    let findings = in_force(controller, &sources, merged.as_ref(), nodes.values(), &clones, now);
    let known = |called: &str| nodes.values().any(|node| node.name.as_str() == called || node.id.as_str() == called);
    let shown = shortened(&findings, known);
    let lagging = findings.iter().filter(|finding| finding.kind == FindingKind::HostLagging).count();
    let status = StatusView {
        mesh: controller.mesh.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now,
        generation: target.as_ref().map(|target| target.plan.generation).unwrap_or_default(),
        planned_at: target.as_ref().map(|target| target.planned_at),
        validators: merged.as_ref().map_or(0, |merged| merged.set.len()),
        nodes: members,
        in_force: members - lagging,
        alarms: shown.iter().map(alarm).collect(),
        findings: shown,
        sources,
    };
    Ok((status, findings))
}

/// Hosts of a pool or all, revoked ones too, in order of name: `most` of those after a name and an id, and one more where there is one.
pub(crate) async fn nodes(
    controller: &Controller,
    pool: Option<&PoolName>,
    after: Option<&(NodeName, NodeId)>,
    most: usize,
    now: Timestamp,
) -> Result<Vec<NodeView>, ApiProblem> {
    let is_asked = |node: &Node| {
        (pool.is_none() || node.pool.as_ref() == pool)
            && after.is_none_or(|(name, id)| (name, id) < (&node.name, &node.id))
    };
    nodes_that(controller, is_asked, most.saturating_add(1), now).await
}

/// Hosts of which that holds, in order of name, at most so many.
pub(crate) async fn nodes_that(
    controller: &Controller,
    is_asked: impl Fn(&Node) -> bool,
    most: usize,
    now: Timestamp,
) -> Result<Vec<NodeView>, ApiProblem> {
    let mut tx = controller.store.read().await?;
    let (nodes, leases) = (tx.nodes().await?, tx.leases().await?);
    drop(tx);
    let mut nodes: Vec<&Node> = nodes.values().filter(|node| is_asked(node)).collect();
    nodes.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let lease = |node: &Node| leases.get(&node.id).copied().unwrap_or_default();
    Ok(nodes.into_iter().take(most).map(|found| node(controller, found, lease(found), now)).collect())
}

/// One host.
pub(crate) fn node(controller: &Controller, node: &Node, lease: Lease, now: Timestamp) -> NodeView {
    let received = controller.reports.get(&node.id);
    let wanted = match controller.wanted.of(&node.id) {
        HostWanted::Content { revision, .. } if node.is_active() => Some(revision),
        _ => None,
    };
    NodeView {
        wanted,
        in_force: node.reports() && lag(controller, &node.id, now).is_none(),
        connected: controller.wanted.is_followed(&node.id),
        reported_at: received.as_ref().map(|received| received.stored.received_at),
        report: received.map(|received| received.stored.report),
        lease,
        node: node.clone(),
    }
}

/// The validator set and what was not taken into it.
pub(crate) async fn validators(controller: &Controller, now: Timestamp) -> Result<ValidatorsView, ApiProblem> {
    let mut tx = controller.store.read().await?;
    let (merged, mut orders) = (tx.merged().await?, tx.orders().await?);
    orders.hold = orders.hold.filter(|hold| hold.is_active(now));
    let denied = tx.policy().await?.unwrap_or_default().1.denies(now).cloned().collect();
    Ok(match merged {
        None => ValidatorsView {
            validators: Vec::new(),
            version: 0,
            refused: Vec::new(),
            denied,
            held: None,
            orders,
            height: None,
        },
        Some(merged) => ValidatorsView {
            held: merged.held.as_ref().map(|found| held(found, &merged.set)),
            validators: merged.set.0.into_values().collect(),
            version: merged.version,
            refused: merged.refused,
            denied,
            orders,
            height: merged.height,
        },
    })
}

/// What an order came to.
pub(super) async fn receipt(controller: &Controller, now: Timestamp) -> Result<OrderReceipt, ApiProblem> {
    let generation = controller.store.read().await?.target_generation().await?;
    let ValidatorsView { validators, version, held, orders, .. } = validators(controller, now).await?;
    let findings = controller.findings();
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    let refused = errors.map(|finding| finding.text.clone()).collect();
    Ok(OrderReceipt { generation, validators: validators.len(), version, held, refused, orders })
}

/// A hold as it is shown, with all that it would change in the set.
fn held(held: &Held, set: &ValidatorSet) -> HeldView {
    let change = |prep: &PrepId, after: Option<&P2pEndpoint>| {
        let known = set.0.get(prep);
        HeldChange {
            prep: *prep,
            name: known.map(|known| known.name.clone()).unwrap_or_default(),
            before: known.map(|known| known.endpoint.clone()),
            after: after.cloned(),
        }
    };
    let leave = held.removes.iter().map(|prep| change(prep, None));
    let elsewhere = held.moves.iter().chain(&held.adds).map(|(prep, endpoint)| change(prep, Some(endpoint)));
    HeldView {
        kind: held.kind.as_str().to_owned(),
        text: held.to_string(),
        digest: held.digest.clone(),
        reason: held.reason.clone(),
        changes: leave.chain(elsewhere).collect(),
    }
}

/// Would this address reach which port on which host, and why.
pub(crate) async fn explain(controller: &Controller, query: &ExplainQuery) -> Result<Explanation, ApiProblem> {
    let mut tx = controller.store.read().await?;
    let (nodes, merged) = (tx.nodes().await?, tx.merged().await?);
    let policy = tx.policy().await?.unwrap_or_default().1;
    drop(tx);
    let target = controller.wanted.target();
    let target = target.ok_or_else(|| ApiProblem::new(ProblemKind::Unavailable, "there is no plan yet"))?;
    let (validators, refused) = merged.map(|row| (row.set, row.refused)).unwrap_or_default();
    let refused: BTreeSet<_> = refused.into_iter().map(|entry| entry.refused).collect();
    let refused: Vec<_> = refused.into_iter().collect();
    let known = ExplainInput {
        plan: &target.plan,
        nodes: &nodes,
        validators: &validators,
        refused: &refused,
        policy: &policy,
        now: now(),
    };
    Ok(explain_plan(&known, query.address, query.port))
}

/// On one screen: of each kind the first, and how many more. `known` says which hosts there are.
fn shortened(findings: &[Finding], known: impl Fn(&str) -> bool) -> Vec<FindingView> {
    let mut kinds: Vec<FindingKind> = Vec::new();
    let mut by_kind: BTreeMap<FindingKind, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        let of_kind = by_kind.entry(finding.kind).or_default();
        if of_kind.is_empty() {
            kinds.push(finding.kind);
        }
        of_kind.push(finding);
    }
    let mut shown = Vec::new();
    for kind in kinds {
        let of_kind = by_kind.remove(&kind).unwrap_or_default();
        shown.extend(of_kind.iter().take(SHOWN).map(|finding| finding_view(finding, &known)));
        if let Some(more) = of_kind.len().checked_sub(SHOWN + 1) {
            let text = format!("and {} more alarms of the kind {}", more + 1, kind.as_str());
            shown.push(finding_view(&Finding::warning(kind, "", text), &known));
        }
    }
    shown
}

/// A finding as it is shown, with what to do.
pub(crate) fn finding_view(finding: &Finding, known: impl Fn(&str) -> bool) -> FindingView {
    let Advice { todo, runbook, is_about_host } = finding.kind.advice();
    let called = finding.subject.split(' ').next().filter(|called| is_about_host && known(called));
    FindingView {
        kind: finding.kind.as_str().to_owned(),
        subject: finding.subject.clone(),
        is_error: finding.severity == Severity::Error,
        text: finding.text.clone(),
        todo: todo.to_owned(),
        runbook: runbook.to_owned(),
        host: called.map(str::to_owned),
    }
}

fn alarm(finding: &FindingView) -> String {
    if finding.is_error { format!("error: {}", finding.text) } else { finding.text.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_one_screen() {
        let of = |kind, count| (0..count).map(move |n| Finding::warning(kind, &n, format!("{kind:?} {n}")));
        let mut findings: Vec<Finding> = of(FindingKind::HostLagging, 50).collect();
        findings.extend(of(FindingKind::EntryDisputed, 20));
        findings.extend(of(FindingKind::NoQuorum, 1));
        let shown = shortened(&findings, |_| true);
        let alarms: Vec<String> = shown.iter().map(alarm).collect();
        assert_eq!((alarms.len(), alarms[19].as_str()), (42, "HostLagging 19"));
        assert_eq!(
            (alarms[20].as_str(), alarms[41].as_str()),
            ("and 30 more alarms of the kind host-lagging", "NoQuorum 0")
        );
    }

    #[test]
    fn a_finding_leads_to_its_host_where_there_is_one() {
        let check = |kind, subject: &str, expect: Option<&str>| {
            let view = finding_view(&Finding::warning(kind, subject, "text"), |called| called == "prep-1");
            assert_eq!(view.host.as_deref(), expect, "{kind:?} {subject}");
            assert!(!view.todo.is_empty() && view.runbook.starts_with("Picket"), "{view:?}");
        };
        check(FindingKind::HostLagging, "prep-1", Some("prep-1"));
        check(FindingKind::PeerUnproven, "prep-1 sentry-1", Some("prep-1"));
        check(FindingKind::HostLagging, "prep-2", None);
        // A source may be called as a host is.
        check(FindingKind::SourceFailing, "prep-1", None);
        check(FindingKind::NoQuorum, "", None);
    }
}
