//! Forms that change something. Each does what the API does for the same order, by the same code, and leads on to the page that shows
//! what came of it.

use super::{
    Shared,
    guard::{AdminSent, Failed, Nothing, Sent},
};
use crate::{
    api::{ApiProblem, auth::Admin, orders, problem::Body},
    origin::{self, Origin},
    revoke::{self, Kind},
    store::Actor,
};
use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use picket_api::{
    ProblemKind,
    validators::{ApproveRequest, HoldRequest, OrderReceipt},
};
use serde::Deserialize;
use std::time::Duration;

type Done = Result<Response, Failed>;

/// Longest reason, in characters: it is shown on one line.
const LONGEST_REASON: usize = 200;

#[derive(Deserialize)]
pub(super) struct Reason {
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
pub(super) struct Approve {
    #[serde(default)]
    digest: String,
}

#[derive(Deserialize)]
pub(super) struct Hold {
    #[serde(default)]
    comment: String,
    #[serde(default)]
    hours: String,
}

pub(super) async fn revoke(desk: Shared, host: Path<String>, sent: AdminSent<Reason>) -> Done {
    cut(desk, host, sent, Kind::Revoke).await
}

pub(super) async fn quarantine(desk: Shared, host: Path<String>, sent: AdminSent<Reason>) -> Done {
    cut(desk, host, sent, Kind::Quarantine).await
}

/// Waits for nobody: the host's page shows who has read it back, as it happens.
async fn cut(
    State(desk): Shared,
    Path(host): Path<String>,
    AdminSent(Sent { seen, address, form }): AdminSent<Reason>,
    kind: Kind,
) -> Done {
    let id = desk.controller.store.read().await?.node_called(&host).await?.map(|node| node.id);
    let id = id.ok_or_else(|| revoke::not_found(&host))?;
    let origin = Origin { address, reason: reason(&form.reason)? };
    let actor = Actor::Operator(seen.operator.id);
    origin::resumed(origin, revoke::cut(&desk.controller, &actor, id.as_str(), kind, Duration::ZERO)).await?;
    Ok(Redirect::to(&format!("/hosts/{id}")).into_response())
}

pub(super) async fn readmit(
    State(desk): Shared,
    Path(host): Path<String>,
    AdminSent(Sent { seen, address, form: Nothing {} }): AdminSent<Nothing>,
) -> Done {
    let actor = Actor::Operator(seen.operator.id);
    let readmitted = revoke::readmit(&desk.controller, &actor, &host);
    let node = origin::resumed(Origin { address, reason: None }, readmitted).await?;
    Ok(Redirect::to(&format!("/hosts/{}", node.id)).into_response())
}

pub(super) async fn approve(State(desk): Shared, AdminSent(Sent { seen, address, form }): AdminSent<Approve>) -> Done {
    let (state, body) = (State(desk.controller.clone()), Body(ApproveRequest { digest: form.digest }));
    let approved = orders::approve(state, Admin(seen.operator), body);
    judged(origin::resumed(Origin { address, reason: None }, approved).await?)
}

pub(super) async fn hold(State(desk): Shared, AdminSent(Sent { seen, address, form }): AdminSent<Hold>) -> Done {
    let request = HoldRequest { seconds: seconds(&form.hours)?, comment: form.comment };
    let held = orders::hold(State(desk.controller.clone()), Admin(seen.operator), Body(request));
    judged(origin::resumed(Origin { address, reason: None }, held).await?)
}

pub(super) async fn release(
    State(desk): Shared,
    AdminSent(Sent { seen, address, form: Nothing {} }): AdminSent<Nothing>,
) -> Done {
    let released = orders::release(State(desk.controller.clone()), Admin(seen.operator));
    judged(origin::resumed(Origin { address, reason: None }, released).await?)
}

/// Leads on to the set; where the plan that would bring it to the hosts was stopped, that is said first.
fn judged(Json(receipt): Json<OrderReceipt>) -> Done {
    if receipt.refused.is_empty() {
        return Ok(Redirect::to("/validators").into_response());
    }
    let detail = format!(
        "the order is stored, and the plan that brings it to the hosts was stopped: {}",
        receipt.refused.join("; ")
    );
    Err(ApiProblem::new(ProblemKind::Conflict, detail).into())
}

fn reason(text: &str) -> Result<Option<String>, ApiProblem> {
    let text = text.trim();
    if text.chars().count() > LONGEST_REASON || text.chars().any(char::is_control) {
        let detail = format!("a reason is one line of at most {LONGEST_REASON} characters");
        return Err(ApiProblem::new(ProblemKind::BadRequest, detail));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn seconds(hours: &str) -> Result<Option<u64>, ApiProblem> {
    match hours.trim() {
        "" => Ok(None),
        hours => match hours.parse::<u32>() {
            Ok(hours) => Ok(Some(u64::from(hours) * 3600)),
            Err(_) => Err(ApiProblem::new(ProblemKind::BadRequest, "hours are a whole number, or nothing")),
        },
    }
}
