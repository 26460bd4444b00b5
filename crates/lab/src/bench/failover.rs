//! What the loss of a sentry costs two hidden validators: from the cut to the last pair of nodes that exchange blocks again, and
//! how many flows moved; beside plain WireGuard with two tunnels and a script that looks at them.

use super::{Figures, Report, figures::rounded, millis, plain, ratio};
use crate::{
    mesh::{Agent, Internet, SOON},
    p2p::lost,
};
use anyhow::Context as _;
use serde_json::json;
use std::time::Instant;

/// How many sentries there are before one is cut.
const SENTRIES: [u8; 3] = [2, 3, 5];
/// The most that the other side is measured: each time takes it half a minute.
const MOST_PLAIN: u8 = 3;

/// How a sentry is cut.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// Its program is killed, and its tunnels are gone.
    Kill,
    /// Packets to it vanish, and those from it.
    BlackHole,
}

impl Cut {
    const ALL: [Self; 2] = [Self::Kill, Self::BlackHole];

    const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::BlackHole => "black hole",
        }
    }

    fn of(self, sentry: &mut Agent) -> anyhow::Result<()> {
        match self {
            Self::Kill => sentry.kill(),
            Self::BlackHole => sentry.host.unplug()?,
        }
        Ok(())
    }
}

pub(super) fn run(report: &Report, runs: u8) -> anyhow::Result<()> {
    for cut in Cut::ALL {
        report.say(&format!("plain WireGuard, {}", cut.name()));
        let plain = plain::measure(cut, runs.min(MOST_PLAIN))?;
        for sentries in SENTRIES {
            let (mut last, mut moved, mut carried) = (Figures::default(), 0, 0);
            for run in 1..=runs {
                report.say(&format!("{sentries} sentries, {}, {run} of {runs}", cut.name()));
                // A mesh for each: sentries that failed lately are trusted later.
                let mut internet = Internet::started("bench", sentries)?;
                let (sentry, before) = (internet.busiest(), internet.nodes.book().links());
                cut.of(internet.mesh.sentries.get_mut(sentry).context("a sentry")?)?;
                let moment = Instant::now();
                let took = internet.nodes.wait_relinked(moment, SOON * 2)?;
                last.add(millis(took.values().max().copied().unwrap_or_default()));
                let through_sentries = internet.carried();
                let lost = lost(&before, &internet.nodes.book().links());
                moved += through_sentries.iter().filter(|pair| lost.contains(pair)).count();
                carried += through_sentries.len();
            }
            let share = |part: usize| {
                rounded(
                    f64::from(u32::try_from(part).unwrap_or(0)) / f64::from(u32::try_from(carried.max(1)).unwrap_or(1)),
                )
            };
            report.row(&json!({
                "case": cut.name(), "sentries": sentries,
                "median_ms": rounded(last.median()), "p99_ms": rounded(last.p99()), "runs": runs,
                "from": "the cut of the sentry that carried most, to the last of 15 pairs of nodes with a block both ways",
                "share_moved": share(moved),
                "beside": { "what": plain::WHAT, "figures": plain.row() },
                "ratio": ratio(&last, &plain),
            }))?;
        }
    }
    Ok(())
}
