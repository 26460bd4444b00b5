//! Tells others of events: the audit log is read from where each webhook was, and each line that it asks for is sent, in order,
//! until it is taken. Each has a task of its own: one whose end is down keeps nobody else waiting.

use super::report;
use crate::{
    controller::Controller,
    hooks::{WebhookLines, safe_url, webhook_secret},
    now,
    store::{Actor, StoreError, WebhookRow},
};
use anyhow::Context as _;
use picket_api::operator::EventView;
use picket_attest::hooks::webhook::{self, Secret};
use picket_model::Timestamp;
use picket_plan::{Finding, FindingKind};
use picket_proofs::outside::{self, innermost};
use reqwest::{Url, header};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

/// How often the log is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// For one message, its answer's head included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries: doubled each time, and at most.
const PAUSES: (u64, u64) = (1, 300);
/// A line that could not be delivered for so long is passed over.
const LONGEST: Duration = Duration::from_hours(72);
/// An end that is down for so long is an alarm.
const ALARMING: Duration = Duration::from_mins(10);

/// One webhook, ready to send.
pub(crate) struct Sender {
    lines: WebhookLines,
    url: Url,
    secret: Secret,
    client: reqwest::Client,
}

impl Sender {
    /// As configured; secrets are read now.
    pub(crate) fn all(lines: &[WebhookLines]) -> anyhow::Result<Vec<Self>> {
        let client = outside::client(outside::host_roots(), false)?;
        let sender = |lines: &WebhookLines| {
            let doing = || format!("set up [[webhook]] {}", lines.name);
            let url = safe_url(&lines.url).map_err(anyhow::Error::msg).with_context(doing)?;
            let secret = webhook_secret(&lines.secret_file).with_context(doing)?;
            Ok(Self { lines: lines.clone(), url, secret, client: client.clone() })
        };
        lines.iter().map(sender).collect()
    }

    /// Whether a line is for it. What is said of webhooks themselves is sent to none.
    fn wants(&self, action: &str) -> bool {
        !action.starts_with("webhook.") && self.lines.events.iter().any(|pattern| pattern.fits(action))
    }

    async fn send(&self, mesh: &str, line: &EventView, at: Timestamp) -> Result<(), String> {
        let (id, body) = message(mesh, line);
        let request = self
            .client
            .post(self.url.clone())
            .timeout(PATIENCE)
            .header(header::CONTENT_TYPE, "application/json")
            .header(webhook::ID, &id)
            .header(webhook::TIMESTAMP, webhook::seconds(at))
            .header(webhook::SIGNATURE, self.secret.sign(&id, at, body.as_bytes()))
            .body(body);
        let response = request.send().await.map_err(|error| innermost(&error))?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(format!("HTTP {}", status.as_u16())) }
    }
}

/// A line as it is sent. Its id is the same each time, so that whoever hears it twice can tell.
fn message(mesh: &str, line: &EventView) -> (String, String) {
    let EventView { id, at, actor, action, subject, detail, address, reason, .. } = line;
    let body = json!({
        "type": action, "timestamp": at.to_string(),
        "data": {
            "mesh": mesh, "line": id, "actor": actor, "subject": subject, "detail": detail, "address": address,
            "reason": reason,
        },
    });
    (format!("{mesh}.{id}"), body.to_string())
}

/// Sends for as long as the controller runs.
pub(crate) async fn run(controller: Arc<Controller>, sender: Sender) {
    loop {
        if controller.duties.is_mine()
            && let Err(error) = run_once(&controller, &sender).await
        {
            report("webhooks", &error);
        }
        sleep(EVERY).await;
    }
}

/// Sends what is due, up to the log's end or the first failure.
async fn run_once(controller: &Controller, sender: &Sender) -> Result<(), StoreError> {
    let name = &sender.lines.name;
    let mut row = known(controller, name).await?;
    if now() < row.next_at && row.next_at < now().plus(Duration::from_secs(PAUSES.1)) {
        return Ok(());
    }
    loop {
        let lines = controller.store.read().await?.events_after(row.line).await?;
        let Some(last) = lines.last().map(|line| line.id) else { return Ok(()) };
        for line in lines.iter().filter(|line| sender.wants(&line.action)) {
            let at = now();
            let sent = sender.send(controller.mesh.as_str(), line, at).await;
            let is_delivered = sent.is_ok();
            let before = row;
            row = match sent {
                Ok(()) => WebhookRow { line: line.id, failures: 0, failing_since: None, next_at: at, error: None },
                Err(error) => {
                    tracing::warn!(webhook = name, line = line.id, error, "an event was not delivered");
                    failed(&before, error, at)
                }
            };
            if !is_delivered && is_given_up(&before, line, at) {
                row.line = line.id;
                give_up(controller, name, &row, line).await?;
            } else {
                put(controller, name, &row).await?;
            }
            found(controller, name, &row, at);
            if !is_delivered {
                return Ok(());
            }
        }
        // Lines that are for somebody else.
        row.line = last;
        put(controller, name, &row).await?;
    }
}

/// How a webhook stands; a new one is written down at once, so that nothing of what follows is missed.
async fn known(controller: &Controller, name: &str) -> Result<WebhookRow, StoreError> {
    if let Some(row) = controller.store.read().await?.webhook(name).await? {
        return Ok(row);
    }
    let mut tx = controller.store.write().await?;
    let row = tx.begin_webhook(name, now()).await?;
    tx.commit().await?;
    Ok(row)
}

async fn put(controller: &Controller, name: &str, row: &WebhookRow) -> Result<(), StoreError> {
    let mut tx = controller.store.write().await?;
    tx.put_webhook(name, row).await?;
    tx.commit().await
}

/// What could not be delivered for long stands in the log all the same, and what came later may be of more use.
async fn give_up(controller: &Controller, name: &str, row: &WebhookRow, line: &EventView) -> Result<(), StoreError> {
    let error = row.error.as_deref().unwrap_or_default().escape_debug();
    let detail =
        format!("line {}, {}, was not delivered for {} hours: {error}", line.id, line.action, LONGEST.as_secs() / 3600);
    let mut tx = controller.store.write().await?;
    tx.put_webhook(name, row).await?;
    tx.record(now(), &Actor::Controller, "webhook.given-up", name, &detail).await?;
    tx.commit().await
}

/// Whether a line has been tried for as long as any is.
fn is_given_up(row: &WebhookRow, line: &EventView, now: Timestamp) -> bool {
    row.failing_since.is_some_and(|since| now.since(since.max(line.at)) >= LONGEST)
}

/// How a webhook stands after one more failure.
fn failed(row: &WebhookRow, error: String, now: Timestamp) -> WebhookRow {
    WebhookRow {
        line: row.line,
        failures: row.failures.saturating_add(1),
        failing_since: row.failing_since.or(Some(now)),
        next_at: now.plus(pause(row.failures)),
        error: Some(error),
    }
}

fn found(controller: &Controller, name: &str, row: &WebhookRow, now: Timestamp) {
    let failing = row.failing_since.filter(|since| now.since(*since) >= ALARMING);
    let alarm = failing.map(|since| {
        let error = row.error.as_deref().unwrap_or_default().escape_debug().to_string();
        let text = format!("webhook {name} fails since {since}: {error}; events wait for 72 hours");
        Finding::warning(FindingKind::WebhookFailing, name, text)
    });
    controller.hooks.found_by(&format!("webhook {name}"), alarm.into_iter().collect());
}

/// How long to wait after so many failures in a row before.
fn pause(failures: u32) -> Duration {
    Duration::from_secs(PAUSES.0.saturating_mul(1 << failures.min(20)).min(PAUSES.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_within_five_minutes() {
        let seconds = |failures| pause(failures).as_secs();
        assert_eq!([seconds(0), seconds(1), seconds(5), seconds(9), seconds(u32::MAX)], [1, 2, 32, 300, 300]);
    }

    #[test]
    fn a_line_is_given_up_after_three_days_of_its_own() {
        let at = |hours: i64| Timestamp::from_millis(hours * 3_600_000);
        let new = WebhookRow { line: 1, failures: 0, failing_since: None, next_at: at(0), error: None };
        let line = |hours: i64| EventView { at: at(hours), ..EventView::default() };
        assert!(!is_given_up(&new, &line(0), at(1000)), "it was never tried");
        let row = failed(&new, "HTTP 500".into(), at(10));
        assert_eq!((row.failures, row.failing_since, row.line), (1, Some(at(10)), 1));
        let row = failed(&row, "HTTP 502".into(), at(11));
        assert_eq!(
            (row.failures, row.failing_since, row.next_at),
            (2, Some(at(10)), at(11).plus(Duration::from_secs(2)))
        );
        assert!(!is_given_up(&row, &line(0), at(81)) && is_given_up(&row, &line(0), at(82)));
        // One that came later has its own three days.
        assert!(!is_given_up(&row, &line(50), at(82)) && is_given_up(&row, &line(50), at(122)));
    }

    #[test]
    fn a_line_is_sent_under_one_id_and_without_its_hash() {
        let line = EventView {
            id: 7,
            at: Timestamp::from_millis(951_782_400_000),
            actor: "hook:sns".into(),
            action: "node.revoked".into(),
            subject: "sentry-1".into(),
            hash: "secret-of-nobody".into(),
            ..EventView::default()
        };
        let (id, body) = message("m-1", &line);
        assert_eq!(id, "m-1.7");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&body["type"], &body["timestamp"]), (&json!("node.revoked"), &json!("2000-02-29T00:00:00Z")));
        assert_eq!((&body["data"]["line"], &body["data"]["subject"]), (&json!(7), &json!("sentry-1")));
        assert!(!body.to_string().contains("secret-of-nobody"));
    }
}
