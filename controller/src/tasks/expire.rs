//! Deletes join tokens some time after their end, and says so in the audit log; forgets answers that nobody asks for again.

use super::report;
use crate::{
    controller::Controller,
    now,
    store::{Actor, StoreError},
};
use picket_model::Timestamp;
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

const EVERY: Duration = Duration::from_hours(1);
/// Kept so long after its end, so that whoever comes late hears "expired" and not "unknown".
const KEPT: Duration = Duration::from_hours(7 * 24);
/// How long an answer is kept for a request that is repeated, at least.
const ANSWERS_KEPT: Duration = Duration::from_hours(24);

/// Looks once an hour.
pub(crate) async fn run(controller: Arc<Controller>) {
    loop {
        if let Err(error) = run_once(&controller, now()).await {
            report("expire", &error);
        }
        sleep(EVERY).await;
    }
}

async fn run_once(controller: &Controller, now: Timestamp) -> Result<(), StoreError> {
    let mut tx = controller.store.write().await?;
    tx.forget_answers(now.minus(ANSWERS_KEPT)).await?;
    for token in tx.delete_tokens_expired(now.minus(KEPT)).await? {
        tx.record(now, &Actor::Controller, "token.deleted", token.as_str(), "its time was over").await?;
    }
    tx.commit().await
}
