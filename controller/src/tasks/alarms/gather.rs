//! All findings in force, from the sources, the last merge, the last plan and the hosts. One answer for all who ask:
//! status, metrics and the audit log.

use super::{
    beside::{self, Beside},
    defences,
};
use crate::{
    clones,
    controller::Controller,
    lag::{SILENCE, lag},
    store::{ClonedHost, MergeRow, SourceRow, Target},
};
use picket_model::{Node, NodeReport, Timestamp};
use picket_plan::{Finding, FindingKind, Held};
use std::{collections::BTreeSet, time::Duration};

/// Peers of one host that alarms are raised for.
const MOST_UNPROVEN: usize = 20;
/// How long it is said that another program changed a host's firewall: long enough to be seen by somebody.
const DISTURBED: Duration = Duration::from_secs(15 * 60);
/// Characters of a host's reason that are shown: more is not what an agent of ours says.
pub(super) const SHOWN: usize = 160;

/// The sources that are configured, each as it stands: those asked once and configured no more are nobody's concern.
pub(crate) fn configured(controller: &Controller, kept: &[SourceRow]) -> Vec<SourceRow> {
    let sources = controller.chain.sources.iter().map(|source| {
        let known = kept.iter().find(|row| row.id == *source.0.id()).cloned();
        let view = known.unwrap_or_else(|| SourceRow {
            id: source.0.id().clone(),
            url: format!("{}://{}", source.0.url().scheme(), source.0.host()),
            height: None,
            seen_at: None,
            entries: 0,
            refused: 0,
            error: None,
            push: None,
        });
        SourceRow { push: controller.push.state(source.0.id()), ..view }
    });
    sources.collect()
}

/// Everything that is wrong now, the list first and hosts last; nothing twice.
pub(crate) fn in_force<'a>(
    controller: &Controller,
    sources: &[SourceRow],
    merged: Option<&MergeRow>,
    nodes: impl Iterator<Item = &'a Node>,
    clones: &[ClonedHost],
    now: Timestamp,
) -> Vec<Finding> {
    let held = merged.and_then(|row| row.held.as_ref());
    let mut findings: Vec<Finding> = held.map(of_hold).into_iter().collect();
    findings.extend(sources.iter().filter_map(failing));
    findings.extend(merged.into_iter().flat_map(|row| row.findings.iter().cloned()));
    findings.extend(controller.findings().iter().cloned());
    findings.extend(clones::findings(clones));
    findings.extend(controller.leases.held().iter().cloned());
    findings.extend(controller.hooks.findings());
    findings.extend(controller.dns.findings());
    let nodes: Vec<&Node> = nodes.collect();
    findings.extend(controller.knocks.findings(nodes.iter().copied(), now));
    let mut members: Vec<&Node> = nodes.into_iter().filter(|node| node.reports()).collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    let target = controller.wanted.target();
    let answering = sources.iter().filter(|source| source.error.is_none());
    let height = beside::middle(answering.filter_map(|source| source.height).collect());
    findings.extend(told(controller, target.as_deref(), &members, height, now));
    findings.extend(members.into_iter().filter_map(|node| {
        let why = lag(controller, &node.id, now)?;
        Some(Finding::warning(FindingKind::HostLagging, &node.name, format!("host {} {why}", node.name)))
    }));
    let mut seen = BTreeSet::new();
    findings.retain(|finding| seen.insert(finding.clone()));
    findings
}

/// What hosts themselves told, by kind: each is looked up once, for this is asked of thousands every few seconds.
fn told(
    controller: &Controller,
    target: Option<&Target>,
    members: &[&Node],
    height: Option<u64>,
    now: Timestamp,
) -> Vec<Finding> {
    let mut told: [Vec<Finding>; 6] = Default::default();
    for node in members {
        let wanted = target.and_then(|target| target.plan.nodes.get(&node.id));
        controller.reports.of(&node.id, |received| {
            let report = &received.stored.report;
            let is_fresh = now.since(received.stored.received_at) <= SILENCE;
            let beside = |said| Beside { said, unwell_since: received.unwell_since, is_fresh };
            let chain = report.chain.as_ref().and_then(|said| beside::finding(node, beside(said), height, now));
            let found = [
                chain.into_iter().collect(),
                unproven(node, report),
                disturbed(node, report, now).into_iter().collect(),
                taken_back(node, report).into_iter().collect(),
                // How a host fares under attack, while it is known what is wanted of it.
                wanted
                    .zip(report.defences.as_ref())
                    .map_or_else(Vec::new, |(wanted, defences)| defences::findings(node, &wanted.firewall, defences)),
                not_served(node, report),
            ];
            told.iter_mut().zip(found).for_each(|(all, found)| all.extend(found));
        });
    }
    told.into_iter().flatten().collect()
}

/// Peers that a host does not let in by its own guard.
fn unproven(node: &Node, report: &NodeReport) -> Vec<Finding> {
    let finding = |(peer, why): (&_, &String)| {
        let text = format!("host {} does not let {peer} in: {}", node.name, why.escape_debug());
        Finding::warning(FindingKind::PeerUnproven, &format!("{} {peer}", node.name), text)
    };
    report.unproven.iter().take(MOST_UNPROVEN).map(finding).collect()
}

/// Another program changed a host's firewall not long ago; it was put right.
fn disturbed(node: &Node, report: &NodeReport, now: Timestamp) -> Option<Finding> {
    let repairs = report.firewall_repairs.as_ref()?;
    // A time to come, of a clock that is ahead, would keep the alarm up until it has passed.
    let is_recent = repairs.last_at <= now && now.since(repairs.last_at) < DISTURBED;
    let text = || format!("host {}: another program changed the firewall, repaired {repairs}", node.name);
    is_recent.then(|| Finding::warning(FindingKind::FirewallDisturbed, &node.name, text()))
}

/// Nodes' JSON-RPC that is not served, and tunnels that carry less than they should, by the host's own word.
fn not_served(node: &Node, NodeReport { syncs, narrow, .. }: &NodeReport) -> Vec<Finding> {
    let not_served = syncs.iter().filter(|(_, served)| !served.status.is_in_force()).map(|(port, served)| {
        let why: String = served.status.to_string().chars().take(SHOWN).collect();
        let text = format!("host {} does not serve JSON-RPC at port {port}: {why}", node.name);
        Finding::warning(FindingKind::SyncNotServed, &format!("{} {port}", node.name), text)
    });
    let narrow = narrow.iter().map(|(peer, mtu)| {
        let text = format!(
            "the tunnel from {} to {peer} carries packets of {mtu} bytes at most: transfers are held to that; look at the links \
             between",
            node.name
        );
        Finding::warning(FindingKind::PathNarrow, &format!("{} {peer}", node.name), text)
    });
    not_served.take(MOST_UNPROVEN).chain(narrow.take(MOST_UNPROVEN)).collect()
}

/// A change after which a host could not be reached any more.
fn taken_back(node: &Node, report: &NodeReport) -> Option<Finding> {
    let taken = report.taken_back.as_ref()?;
    let text = format!(
        "host {} took revision {} back: {}; what it had confirmed before is in force, and only a newer revision is taken",
        node.name,
        taken.revision,
        taken.reason.chars().take(SHOWN).collect::<String>().escape_debug()
    );
    Some(Finding::warning(FindingKind::ChangeTakenBack, &node.name, text))
}

/// What is held back; another change of the list is another alarm.
fn of_hold(held: &Held) -> Finding {
    let subject = held.digest.clone().unwrap_or_default();
    Finding::warning(held.kind, &subject, format!("validator list held: {held}"))
}

/// A source that gave no list when it was asked last.
fn failing(source: &SourceRow) -> Option<Finding> {
    let error = source.error.as_ref()?;
    let since = source.seen_at.map_or_else(|| "no answer ever".to_owned(), |at| format!("no answer since {at}"));
    let text = format!("source {}: {since}: {}", source.id, error.escape_debug());
    Some(Finding::warning(FindingKind::SourceFailing, &source.id, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_fails_is_shown_with_the_time_of_its_last_answer() {
        let check = |seen_at, error: Option<&str>, expect: Option<&str>| {
            let source = SourceRow {
                id: "a.example".parse().unwrap(),
                url: "https://a.example".to_owned(),
                height: None,
                seen_at,
                entries: 0,
                refused: 0,
                error: error.map(str::to_owned),
                push: None,
            };
            assert_eq!(failing(&source).map(|finding| finding.text).as_deref(), expect);
        };
        let at = Some(Timestamp::from_millis(951_782_400_000));
        check(at, None, None);
        check(at, Some("HTTP 500"), Some("source a.example: no answer since 2000-02-29T00:00:00Z: HTTP 500"));
        check(None, Some("x\u{1b}[2J"), Some("source a.example: no answer ever: x\\u{1b}[2J"));
    }
}
