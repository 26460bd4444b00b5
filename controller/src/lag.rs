//! Why a host is not in force. One answer for all who ask: status, receipts and metrics.

use crate::{controller::Controller, wanted::HostWanted};
use picket_model::{NodeId, NodeReport, Timestamp};
use std::time::Duration;

/// A host that has not reported for so long and does not wait for news either is not believed to be as it said: three
/// times the agents' comparison with the kernel, after which each reports.
pub(crate) const SILENCE: Duration = Duration::from_secs(3 * 30);

/// Why a member does not read back exactly what is wanted of it now; `None` where it does.
pub(crate) fn lag(controller: &Controller, node: &NodeId, now: Timestamp) -> Option<String> {
    // Asked of thousands every few seconds: each is looked up once here and once there.
    let (wanted, is_followed) = controller.wanted.stands(node);
    let told = controller.reports.of(node, |received| {
        let silence = if is_followed { None } else { silence(received.stored.received_at, now) };
        (shortfall(&wanted, Some(&received.stored.report)), silence)
    });
    match told.unwrap_or_else(|| (shortfall(&wanted, None), None)) {
        (Some(why), Some(silence)) => Some(format!("{why}, and {silence}")),
        (why, silence) => why.or(silence),
    }
}

/// That a host which has reported is not heard any more.
pub(crate) fn silent(controller: &Controller, node: &NodeId, now: Timestamp) -> Option<String> {
    let heard_at = controller.reports.of(node, |received| received.stored.received_at)?;
    // Whoever waits for news is there.
    if controller.wanted.is_followed(node) { None } else { silence(heard_at, now) }
}

/// Why a report is not exactly of what is wanted; `None` where it is.
fn shortfall(wanted: &HostWanted, report: Option<&NodeReport>) -> Option<String> {
    let HostWanted::Content { revision, digest } = wanted else {
        return Some("is in no plan yet".to_owned());
    };
    let Some(report) = report else { return Some("has not reported yet".to_owned()) };
    if let Some(reason) = &report.refused {
        return Some(format!("refused what is wanted: {}", reason.escape_debug()));
    }
    for (part, status) in [("WireGuard", &report.wireguard), ("firewall", &report.firewall)] {
        if !status.is_in_force() {
            return Some(format!("{part} {status}"));
        }
    }
    if report.applied > *revision {
        let ahead = report.applied;
        return Some(format!("holds revision {ahead}, newer than {revision}: was an older database restored here?"));
    }
    if report.applied != *revision {
        return Some(format!("holds revision {}, wanted is {revision}", report.applied));
    }
    (report.digest.as_ref() != Some(digest)).then(|| "holds another content under the wanted revision".to_owned())
}

/// That a host is not heard any more, where it last was at `at` and does not wait for news.
fn silence(at: Timestamp, now: Timestamp) -> Option<String> {
    let silent = now.since(at);
    let long = match silent.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    };
    (silent > SILENCE).then(|| format!("has been silent for {long}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{Generation, ReconcilerStatus, fixture::in_force};

    fn report() -> NodeReport {
        in_force(Generation(3), serde_json::from_str("\"d\"").unwrap())
    }

    fn check(change: impl FnOnce(&mut NodeReport), expect: Option<&str>) {
        let wanted = HostWanted::Content { revision: Generation(3), digest: serde_json::from_str("\"d\"").unwrap() };
        let mut report = report();
        change(&mut report);
        let found = shortfall(&wanted, Some(&report));
        assert_eq!(found.is_none(), expect.is_none(), "{found:?}");
        assert!(found.unwrap_or_default().contains(expect.unwrap_or_default()), "{expect:?}");
    }

    #[test]
    fn in_force_is_exactly_what_is_wanted_read_back_whole() {
        check(|_| (), None);
        check(|report| report.applied = Generation(2), Some("holds revision 2, wanted is 3"));
        check(|report| report.applied = Generation(9), Some("older database"));
        check(|report| report.digest = None, Some("another content"));
        check(
            |report| report.firewall = ReconcilerStatus::Failed { error: "no nft".into() },
            Some("firewall failed: no nft"),
        );
        check(|report| report.refused = Some("guard".into()), Some("refused what is wanted: guard"));
        assert!(shortfall(&HostWanted::Unplanned, Some(&report())).is_some());
    }

    #[test]
    fn a_host_is_silent_after_three_comparisons() {
        let check = |seconds: i64, expect: Option<&str>| {
            let (at, now) = (Timestamp::from_millis(0), Timestamp::from_millis(seconds * 1000));
            assert_eq!(silence(at, now).as_deref(), expect, "{seconds} s");
        };
        check(-5, None);
        check(90, None);
        check(91, Some("has been silent for 91 s"));
        check(300, Some("has been silent for 5 min"));
        check(7_300, Some("has been silent for 2 h"));
    }
}
