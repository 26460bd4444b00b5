//! Which answers may be compared: sources at about the same height, none of which went back.

use super::memory::MergeMemory;
use crate::Finding;
use picket_model::{Observation, Policy, Timestamp};

/// The answers that count, in order of source. `needed` sources set the height the others are measured against, so that
/// one source which claims a height of its own puts out nobody but itself. The memory gets the heights of those that
/// count; a source that went back is out until its higher answer is as old as the brakes' window.
pub(super) fn comparable<'a>(
    seen: &'a [Observation],
    needed: usize,
    policy: &Policy,
    now: Timestamp,
    memory: &mut MergeMemory,
) -> (Vec<&'a Observation>, Vec<Finding>) {
    memory.heights.retain(|_, (_, at)| now.since(*at) < policy.brakes.window());
    let mut findings = Vec::new();
    let mut counted: Vec<&Observation> = seen.iter().collect();
    counted.sort_by(|a, b| a.source.cmp(&b.source));
    counted.retain(|observation| {
        let last = memory.heights.get(&observation.source).map_or(0, |(height, _)| *height);
        let back = last.saturating_sub(observation.height);
        if back > policy.lag_blocks {
            let (source, height) = (&observation.source, observation.height);
            let text = format!("source {source} went back {back} blocks to {height}: its answer does not count");
            findings.push(Finding::warning(text));
        }
        back <= policy.lag_blocks
    });
    let mut heights: Vec<u64> = counted.iter().map(|observation| observation.height).collect();
    heights.sort_unstable_by(|a, b| b.cmp(a));
    let reached = heights.get(needed.saturating_sub(1)).or(heights.last()).copied().unwrap_or(0);
    counted.retain(|observation| {
        let distance = observation.height.abs_diff(reached);
        if distance > policy.lag_blocks {
            let side = if observation.height < reached { "behind" } else { "ahead of" };
            findings.push(Finding::warning(format!(
                "source {} is {distance} blocks {side} the height {reached} that enough sources reach: its answer \
                 does not count",
                observation.source,
            )));
        }
        distance <= policy.lag_blocks
    });
    for observation in &counted {
        let highest = memory.heights.entry(observation.source.clone()).or_insert((observation.height, now));
        if observation.height > highest.0 {
            *highest = (observation.height, now);
        }
    }
    (counted, findings)
}
