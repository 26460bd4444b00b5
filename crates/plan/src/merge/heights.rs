//! Which answers may be compared: sources whose clocks are right, at about the same height, none of which went back.

use super::memory::MergeMemory;
use crate::{Finding, FindingKind};
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
    let mut findings = Vec::new();
    let mut counted: Vec<&Observation> = seen.iter().collect();
    counted.sort_by(|a, b| a.source.cmp(&b.source));
    counted.retain(|observation| match clock_difference(observation, policy) {
        None => true,
        Some(text) => {
            findings.push(Finding::warning(FindingKind::SourceClock, &observation.source, text));
            false
        }
    });
    // Only a clock that some source confirms makes anything old.
    if !counted.is_empty() {
        memory.heights.retain(|_, (_, at)| now.since(*at) < policy.brakes.window());
    }
    counted.retain(|observation| {
        let last = memory.heights.get(&observation.source).map_or(0, |(height, _)| *height);
        let back = last.saturating_sub(observation.height);
        if back > policy.lag_blocks {
            let (source, height) = (&observation.source, observation.height);
            let text = format!("source {source} went back {back} blocks to {height}: its answer does not count");
            findings.push(Finding::warning(FindingKind::SourceWentBack, source, text));
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
            let text = format!(
                "source {} is {distance} blocks {side} the height {reached} that enough sources reach: its answer \
                 does not count",
                observation.source,
            );
            findings.push(Finding::warning(FindingKind::SourceAway, &observation.source, text));
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

/// How far a source's clock is off, where that is too far: its chain stands still, or one of the two clocks is wrong.
fn clock_difference(observation: &Observation, policy: &Policy) -> Option<String> {
    let block = observation.block_time?;
    let (behind, ahead) = (observation.seen_at.since(block).as_secs(), block.since(observation.seen_at).as_secs());
    let (seconds, side) = if ahead > 0 { (ahead, "ahead of") } else { (behind, "behind") };
    let most = policy.max_clock_difference_seconds;
    (seconds > most).then(|| {
        format!(
            "source {}: its last block is {seconds} s {side} this controller's clock, more than \
             max_clock_difference_seconds {most}: its chain stands still or a clock is wrong, and its answer does not count",
            observation.source
        )
    })
}
