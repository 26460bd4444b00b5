//! The story's chapter about validators that hide: a small internet of its own, whose nodes are linked through sentries, one of
//! which is killed under traffic. What is claimed about addresses, a capture of every cable has seen.

use super::{
    report::{Report, Seen},
    story::{DROPPED, must},
};
use crate::{
    Connect, LabError,
    mesh::Internet,
    p2p::{Pair, lost},
};
use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Sentries: enough that what one loses goes to more than one.
const SENTRIES: u8 = 3;
/// The slowest pair must be linked again within this, goloop's time to dial again included.
const RELINKED: Duration = Duration::from_secs(4);

/// Two validators hide, and lose a sentry.
pub(super) fn a_sentry_is_killed_under_traffic(report: &mut Report) -> Result<(), LabError> {
    let started = Instant::now();
    let mut internet = Internet::started("demo-hidden", SENTRIES)?;
    let took = started.elapsed();
    let capture = internet.capture()?;
    report.check("two validators hide: their nodes and four others' are a full mesh", || {
        let pairs = internet.nodes.wait_relinked(Instant::now(), crate::mesh::SOON)?.len();
        Ok(Seen::after(took, format!("{pairs} pairs exchange blocks, with all that is around them started")))
    });
    report.check("validators see them from sentries' addresses alone", || seen_from_sentries(&internet));
    report.check("a stranger does not get through a sentry's forwarded ports", || {
        let mut tried = 0;
        for sentry in &internet.mesh.sentries {
            for port in [7100, 7200] {
                let to = sentry.host.v4(port)?;
                internet.mesh.stranger.can_connect(to, DROPPED).must_be(Connect::Filtered)?;
                tried += 1;
            }
        }
        Ok(Seen::that(format!("{tried} of {tried} attempts")))
    });
    let (sentry, carriers, before) = (internet.busiest(), internet.carriers(), internet.nodes.book().links());
    let name = internet.mesh.sentries.get(sentry).map(|agent| agent.name().to_owned()).ok_or(LabError::Gone)?;
    if let Some(agent) = internet.mesh.sentries.get_mut(sentry) {
        agent.kill();
    }
    let cut = Instant::now();
    report.check("a sentry is killed under traffic: every pair exchanges blocks again", || {
        let took = internet.nodes.wait_relinked(cut, crate::mesh::SOON)?;
        let slowest = took.values().max().copied().unwrap_or_default();
        must(slowest < RELINKED, || format!("the last after {slowest:?}"))?;
        Ok(Seen::after(slowest, format!("the last of {} pairs, goloop's 2 s between two dials included", took.len())))
    });
    report.check("nothing moved but what it carried", || {
        let between_hidden = Pair(internet.hidden()[0], internet.hidden()[1]);
        let moved = lost(&before, &internet.nodes.book().links());
        let share: BTreeSet<Pair> =
            carriers.iter().filter(|(_, carrier)| **carrier == sentry).map(|(pair, _)| *pair).collect();
        let others: Vec<&Pair> = moved.difference(&share).filter(|pair| **pair != between_hidden).collect();
        must(others.is_empty(), || format!("{others:?} did"))?;
        Ok(Seen::that(format!(
            "{name} carried {} of {} links; {} were made anew",
            share.len(),
            carriers.len(),
            moved.len()
        )))
    });
    report.check("no packet with a hidden address but those of tunnels", || {
        let captured = capture.end()?;
        let leaks = internet.leaks(&captured)?;
        must(leaks.is_empty(), || format!("{} leaks, such as {:?}", leaks.len(), leaks.first()))?;
        Ok(Seen::that(format!("{} packets captured on the hosts' cables", captured.len())))
    });
    Ok(())
}

/// No validator ever had a link to a hidden one at any address but a sentry's.
fn seen_from_sentries(internet: &Internet) -> Result<Seen, LabError> {
    let sentries: BTreeSet<IpAddr> =
        internet.mesh.sentries.iter().map(|sentry| Ok(sentry.host.v4(0)?.ip())).collect::<Result<_, LabError>>()?;
    let book = internet.nodes.book();
    let mut seen = BTreeSet::new();
    for Pair(validator, hidden) in internet.carried() {
        seen.extend(book.addresses(validator, hidden).iter().map(std::net::SocketAddr::ip));
    }
    let others: Vec<&IpAddr> = seen.difference(&sentries).collect();
    must(others.is_empty() && !seen.is_empty(), || format!("from {seen:?}"))?;
    Ok(Seen::that(format!("{} pairs, through {} sentries", internet.carried().len(), seen.len())))
}
