//! Time: whether somebody keeps this host's clock, and how far it is from the controllers'.

use crate::doctor::{Finding, facts::Facts};

const CHECK: &str = "clock";
const WHY: &str = "certificates, join tokens and proofs of clouds are good for a time only";
const FIX: &str = "apt-get install systemd-timesyncd && timedatectl set-ntp true";
/// HTTP tells whole seconds, and an answer takes its time.
const NEAR_MS: u64 = 3_000;
/// Proofs of identity are good for minutes; a controller doubts sources beyond five.
const FAR_MS: u64 = 60_000;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let kept = match &facts.clock_is_kept {
        Ok(true) => Finding::ok(CHECK, "the clock is kept by a time service"),
        Ok(false) => Finding::warn(CHECK, "nobody keeps this host's clock", WHY, FIX),
        Err(why) => Finding::not_known(CHECK, format!("whether somebody keeps the clock: {why}")),
    };
    let answers = facts.controllers.iter().filter_map(|controller| {
        let ahead = controller.answer.as_ref().ok()?.ahead_ms?;
        Some(skew(&controller.url, ahead))
    });
    std::iter::once(kept).chain(answers).collect()
}

fn skew(url: &str, ahead_ms: i64) -> Finding {
    const CHECK: &str = "clock-skew";
    let distance = ahead_ms.unsigned_abs();
    let way = if ahead_ms < 0 { "ahead of" } else { "behind" };
    let found = format!("this host's clock is {} s {way} that of {url}", distance / 1000);
    match distance {
        ..=NEAR_MS => Finding::ok(CHECK, format!("within seconds of the clock of {url}")),
        _ if distance <= FAR_MS => Finding::warn(CHECK, found, WHY, FIX),
        _ => Finding::bad(CHECK, found, WHY, FIX),
    }
}
