//! When a person's orders end: a hold by its time, an approval by its use or its age. Values in, values out.

use picket_model::{Orders, Policy, Timestamp};
use picket_plan::{MergeInput, Merged, merge};

/// An action of the audit log and its detail.
pub(super) type Ended = (&'static str, String);

/// The orders still in force, and what is to be said of the others. An approval that nobody needed within the brakes'
/// window is of no use any more: the same change at another time is for a person to judge anew.
pub(super) fn without_ended(orders: &Orders, policy: &Policy, now: Timestamp) -> (Orders, Vec<Ended>) {
    let (mut left, mut ended) = (orders.clone(), Vec::new());
    if let Some(hold) = left.hold.take_if(|hold| !hold.is_active(now)) {
        ended.push(("validators.hold-ended", format!("operator {} froze the set ({})", hold.by, hold.comment)));
    }
    if let Some(approval) = left.approved.take_if(|approval| now.since(approval.at) >= policy.brakes.window()) {
        let detail = format!(
            "change {} approved by operator {} did not come within {} s",
            approval.digest, approval.by, policy.brakes.window_seconds
        );
        ended.push(("validators.approval-ended", detail));
    }
    (left, ended)
}

/// What is to be said where it was the approval that let this merge through: without it exactly the approved change would
/// have been held.
pub(super) fn approval_used(input: &MergeInput<'_>, merged: &Merged) -> Option<Ended> {
    let approval = input.orders.approved.as_ref().filter(|_| merged.held.is_none())?;
    let orders = Orders { approved: None, ..input.orders.clone() };
    let held = merge(&MergeInput { orders: &orders, ..*input }).held?;
    let is_it = held.digest.as_ref() == Some(&approval.digest);
    let detail = || format!("change {} approved by operator {}: {}", approval.digest, approval.by, held.reason);
    is_it.then(|| ("validators.approved-change-applied", detail()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{Approval, HoldOrder};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_millis(10_000_000);

    fn orders(approved_at: Timestamp, until: Option<Timestamp>) -> Orders {
        let by = || "op-1".parse().unwrap();
        Orders {
            approved: Some(Approval { digest: "0123456789ab".to_owned(), by: by(), at: approved_at }),
            hold: Some(HoldOrder { comment: "incident".to_owned(), by: by(), at: NOW, until }),
        }
    }

    #[test]
    fn orders_end_by_their_time_and_not_before() {
        let check = |orders: Orders, now: Timestamp, expect: &[&str]| {
            let (left, ended) = without_ended(&orders, &Policy::default(), now);
            assert_eq!(ended.iter().map(|(action, _)| *action).collect::<Vec<_>>(), expect);
            let gone = |name: &str| expect.iter().any(|action| action.contains(name));
            assert_eq!((left.approved.is_none(), left.hold.is_none()), (gone("approval"), gone("hold")));
        };
        let later = NOW.plus(Duration::from_secs(60));
        check(orders(NOW, None), later, &[]);
        check(orders(NOW, Some(later)), NOW, &[]);
        check(orders(NOW, Some(later)), later, &["validators.hold-ended"]);
        let window = Policy::default().brakes.window();
        check(orders(NOW, None), NOW.plus(window), &["validators.approval-ended"]);
    }
}
