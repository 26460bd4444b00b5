//! What is wrong now: gathered from where it is known, counted for alerts, and written to the audit log when it comes and
//! when it has gone. Decides nothing.

mod beside;
mod defences;
mod gather;
mod log;

pub(crate) use gather::{configured, in_force};

use super::report;
use crate::{
    controller::Controller,
    now,
    store::{Actor, MergeRow, SourceRow, StoreError},
};
use log::AlarmLog;
use picket_model::Timestamp;
use picket_pki::validity_of;
use picket_plan::{Finding, FindingKind};
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// Hosts fall behind without anybody judging the list.
const EVERY: Duration = Duration::from_secs(5);
/// Judgements within this time share a look.
const GATHER: Duration = Duration::from_millis(200);
/// Lines of the audit log from which the alarms raised before a start are known. One that was raised earlier is raised
/// once more, if it lasts.
const REMEMBERED: usize = 1000;
/// What is said of a source that does not say what the others do.
const DISSENT: [FindingKind; 4] =
    [FindingKind::SourceDissents, FindingKind::SourceAway, FindingKind::SourceWentBack, FindingKind::SourceClock];

/// Looks after each judgement and every few seconds.
pub(crate) async fn run(controller: Arc<Controller>) {
    let mut judged = controller.anew.judged();
    let mut known = None;
    loop {
        if let Err(error) = run_once(&controller, &mut known, now()).await {
            report("alarms", &error);
        }
        // The sender lives as long as the controller.
        let _ = timeout(EVERY, judged.changed()).await;
        sleep(GATHER).await;
        judged.mark_unchanged();
    }
}

async fn run_once(controller: &Controller, known: &mut Option<AlarmLog>, now: Timestamp) -> Result<(), StoreError> {
    let mut tx = controller.store.read().await?;
    let sources = configured(controller, &tx.sources().await?);
    let (merged, nodes, clones) = (tx.merged().await?, tx.nodes().await?, tx.clones().await?);
    let log = match known.take() {
        // One of several controllers writes alarms down; whoever takes that over reads what the one before wrote.
        _ if !controller.duties.is_mine() => None,
        Some(log) => Some(log),
        None => Some(AlarmLog::restored(&tx.events(REMEMBERED).await?)),
    };
    drop(tx);
    let findings = in_force(controller, &sources, merged.as_ref(), nodes.values(), &clones, now);
    controller.counts.alarms(&findings);
    count(controller, &sources, merged.as_ref(), &findings);
    controller.counts.hosts.named(nodes.values());

    let Some(mut log) = log else { return Ok(()) };
    let lines = log.look(&findings, now);
    if !lines.is_empty() {
        // Where this fails, the log is read again and the same lines are due.
        let mut tx = controller.store.write().await?;
        for line in &lines {
            tracing::warn!(alarm = line.subject, detail = line.detail, "{}", line.action);
            tx.record(now, &Actor::Controller, line.action, &line.subject, &line.detail).await?;
        }
        tx.commit().await?;
    }
    *known = Some(log);
    Ok(())
}

fn count(controller: &Controller, sources: &[SourceRow], merged: Option<&MergeRow>, findings: &[Finding]) {
    let counts = &controller.counts;
    for source in sources {
        let up = source.error.is_none() && source.seen_at.is_some();
        let dissents = |finding: &&Finding| DISSENT.contains(&finding.kind) && finding.subject == source.id.as_str();
        let agrees = up && !findings.iter().any(|finding| dissents(&finding));
        counts.source(source.id.as_str(), (up, agrees), source.height, source.seen_at);
    }
    // A certificate of ours that cannot be read would have kept the controller from starting.
    if let Ok(validity) = validity_of(&controller.ca.certificate_pem()) {
        counts.ca_ends(&controller.ca.fingerprint().to_string(), validity.not_after);
    }
    if let Some(merged) = merged {
        counts.validators_held.set(i64::from(merged.held.is_some()));
        counts.validators_refused.set(i64::try_from(merged.refused.len()).unwrap_or(i64::MAX));
        counts.validators_version.set(i64::try_from(merged.version).unwrap_or(i64::MAX));
    }
}
