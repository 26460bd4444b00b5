//! What is to be seen of a mesh of one sentry and one validator from outside, whatever its programs run on: machines that boot, or
//! containers. How the controller is asked is the caller's.

use crate::{Connect, Host, Knocks, wait_until};
use anyhow::{Context as _, Result, ensure};
use picket_api::operator::NodeView;
use std::{net::SocketAddr, time::Duration};

/// A packet without an answer for this long was dropped, and long enough for an answer.
const DROPPED: Duration = Duration::from_millis(300);
const ANSWERED: Duration = Duration::from_secs(3);
/// How long a mesh may take to be as it shall be after something was done to it.
pub(crate) const IN_FORCE: Duration = Duration::from_secs(60);
/// Rounds of knocks that a port has to answer which nobody guards: fewer say nothing of those that did not.
const ENOUGH: usize = 50;

/// The hosts, as `picket nodes --json` says.
pub(crate) fn nodes(said: &str) -> Result<Vec<NodeView>> {
    serde_json::from_str(said).context("read `picket nodes --json`")
}

/// Waits until these are both hosts, in force, and listen for news.
pub(crate) fn wait_in_force(members: impl Fn() -> Result<Vec<NodeView>>) -> Result<Duration> {
    let waited = wait_until("the wanted state to be in force on both hosts", IN_FORCE, || {
        let members = members().map_err(|error| format!("{error:#}"))?;
        let late: Vec<_> = members.iter().filter(|view| !view.in_force || !view.connected).collect();
        if members.len() == 2 && late.is_empty() {
            Ok(())
        } else {
            Err(format!("{} members, late {late:?}", members.len()))
        }
    })?;
    Ok(waited.took)
}

/// The tunnel from a validator's host to the sentry of this name among these carries packets.
pub(crate) fn tunnel_carries(prep: &Host, members: &[NodeView], sentry: &str) -> Result<()> {
    let found = members.iter().find(|view| view.node.name.as_str() == sentry);
    let sentry = found.with_context(|| format!("{sentry} is no member"))?;
    wait_until("a ping through the tunnel", IN_FORCE, || {
        prep.ping(sentry.node.overlay.v4.into(), Duration::from_secs(1)).map(drop).ok_or("no answer")
    })?;
    Ok(())
}

/// What becomes of an attempt to connect: sooner or later what it shall be, and for what is dropped at once.
pub(crate) fn tried(from: &Host, to: SocketAddr, wanted: &Connect) -> Result<()> {
    let within = if *wanted == Connect::Filtered { DROPPED } else { ANSWERED };
    let found = from.can_connect(to, within);
    ensure!(found == *wanted, "from {} {to} is {found}, and is to be {wanted}", from.name());
    Ok(())
}

/// Ends a stranger's knocks: no guarded port answered, and the other says that knocks came through at all.
pub(crate) fn nothing_answered(
    knocks: Option<Knocks>,
    guarded: &[SocketAddr],
    unguarded: SocketAddr,
) -> Result<String> {
    let heard = knocks.context("nobody knocks")?.end()?;
    for port in guarded {
        let answered = heard.answered(*port).len();
        ensure!(answered == 0, "{port} answered {answered} of {} knocks of a stranger", heard.sent.len());
    }
    let (answered, sent) = (heard.answered(unguarded).len(), heard.sent.len());
    ensure!(answered > ENOUGH, "{unguarded}, which nobody guards, answered {answered} of {sent} knocks");
    Ok(format!("of {sent} rounds of a stranger's knocks none was answered, {answered} by a port that nobody guards"))
}
