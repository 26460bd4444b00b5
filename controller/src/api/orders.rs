//! What people order about the validator list: approve, hold, release. An order is stored, the list is judged anew, and the
//! answer says what came of it.

use super::{Answer, ApiProblem, Shared, auth::Admin, problem::Body, views};
use crate::{
    controller::Controller,
    now,
    store::{Actor, Transaction},
};
use axum::Json;
use picket_api::{
    ProblemKind,
    validators::{ApproveRequest, HoldRequest, OrderReceipt},
};
use picket_model::{Approval, HoldOrder, Timestamp};
use std::time::Duration;

/// Longest comment, in characters: it is shown on one line wherever the hold is.
const LONGEST_COMMENT: usize = 200;
/// Longest hold that ends by itself.
const LONGEST_HOLD: Duration = Duration::from_hours(365 * 24);
/// How much of a digest that is none is quoted.
const LONGEST_QUOTE: usize = 20;

/// Lets exactly the change through that is held now.
pub(crate) async fn approve(
    axum::extract::State(controller): Shared,
    Admin(operator): Admin,
    Body(ApproveRequest { digest }): Body<ApproveRequest>,
) -> Answer<OrderReceipt> {
    let at = now();
    let mut tx = controller.store.write().await?;
    let refused = |detail: String| ApiProblem::new(ProblemKind::Conflict, detail);
    let held = tx.merged().await?.and_then(|row| row.held);
    let held = held.ok_or_else(|| refused("nothing is held back, so there is nothing to approve".to_owned()))?;
    match &held.digest {
        None => return Err(refused(format!("what is held back cannot be approved: {held}"))),
        Some(expected) if *expected != digest => {
            let given: String = digest.chars().take(LONGEST_QUOTE).collect();
            let given = given.escape_debug();
            return Err(refused(format!(
                "{given} is not the change that is held back now, which is {expected}: {held}"
            )));
        }
        Some(_) => {}
    }
    let mut orders = tx.orders().await?;
    orders.approved = Some(Approval { digest: digest.clone(), by: operator.id.clone(), at });
    tx.put_orders(&orders).await?;
    tx.record(at, &Actor::Operator(operator.id), "validators.approved", &digest, &held.to_string()).await?;
    outcome(&controller, tx).await
}

/// Freezes the set, or says anew why and until when it is frozen.
pub(crate) async fn hold(
    axum::extract::State(controller): Shared,
    Admin(operator): Admin,
    Body(request): Body<HoldRequest>,
) -> Answer<OrderReceipt> {
    let at = now();
    let order = HoldOrder {
        comment: comment(&request.comment)?,
        by: operator.id.clone(),
        at,
        until: request.seconds.map(|seconds| end(at, seconds)).transpose()?,
    };
    let mut tx = controller.store.write().await?;
    let until = order.until.map_or_else(|| "until it is released".to_owned(), |until| format!("until {until}"));
    let detail = format!("{until}: {}", order.comment.escape_debug());
    let mut orders = tx.orders().await?;
    orders.hold = Some(order);
    tx.put_orders(&orders).await?;
    tx.record(at, &Actor::Operator(operator.id), "validators.frozen", "validator list", &detail).await?;
    outcome(&controller, tx).await
}

/// Ends a hold. What the list has become meanwhile is let through as far as the brakes allow.
pub(crate) async fn release(axum::extract::State(controller): Shared, Admin(operator): Admin) -> Answer<OrderReceipt> {
    let at = now();
    let mut tx = controller.store.write().await?;
    let mut orders = tx.orders().await?;
    let Some(hold) = orders.hold.take().filter(|hold| hold.is_active(at)) else {
        return Err(ApiProblem::new(ProblemKind::Conflict, "nobody froze the set, so there is nothing to release"));
    };
    tx.put_orders(&orders).await?;
    let detail = format!("operator {} had frozen it: {}", hold.by, hold.comment.escape_debug());
    tx.record(at, &Actor::Operator(operator.id), "validators.unfrozen", "validator list", &detail).await?;
    outcome(&controller, tx).await
}

/// Makes the order last, has the list judged anew, and says how it stands then.
async fn outcome(controller: &Controller, mut tx: Transaction) -> Answer<OrderReceipt> {
    let before = tx.judged_at().await?;
    tx.commit().await?;
    if !controller.judge_anew(before).await? {
        let detail =
            "the order is stored, and the list could not be judged anew yet: see `picket validators` in a while";
        return Err(ApiProblem::new(ProblemKind::Unavailable, detail));
    }
    Ok(Json(views::receipt(controller, now()).await?))
}

fn comment(text: &str) -> Result<String, ApiProblem> {
    let text = text.trim();
    let length = text.chars().count();
    if !(1..=LONGEST_COMMENT).contains(&length) {
        let detail = format!("say in 1 to {LONGEST_COMMENT} characters why the set is frozen: these are {length}");
        return Err(ApiProblem::new(ProblemKind::BadRequest, detail));
    }
    Ok(text.to_owned())
}

fn end(now: Timestamp, seconds: u64) -> Result<Timestamp, ApiProblem> {
    if !(1..=LONGEST_HOLD.as_secs()).contains(&seconds) {
        let longest = LONGEST_HOLD.as_secs();
        let detail =
            format!("a hold that ends by itself lasts 1 to {longest} seconds; leave them out for one that does not");
        return Err(ApiProblem::new(ProblemKind::BadRequest, detail));
    }
    Ok(now.plus(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_says_something_and_fits_a_line() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(comment(text).ok().as_deref(), expect, "{text:?}");
        check(" incident 7 ", Some("incident 7"));
        check(&"ü".repeat(200), Some(&"ü".repeat(200)));
        check(&"x".repeat(201), None);
        check("", None);
        check(" \n\t", None);
    }

    #[test]
    fn a_hold_ends_within_a_year() {
        let check =
            |seconds, expect: bool| assert_eq!(end(Timestamp::from_millis(0), seconds).is_ok(), expect, "{seconds}");
        check(0, false);
        check(1, true);
        check(365 * 24 * 3600, true);
        check(365 * 24 * 3600 + 1, false);
        check(u64::MAX, false);
    }
}
