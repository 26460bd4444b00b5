//! The story's chapters about the list itself: an endpoint that lies, and a list that shrinks too much at once.

use super::{
    report::{Report, Seen},
    story::{DROPPED, GUARDED, last_packet, must, rules, still_flowing, streams_to_all},
};
use crate::{
    Connect, Host, LabError,
    icon::{Behaviour, Prep},
    mesh::{Mesh, SOON},
    wait_until,
};
use picket_api::validators::HeldView;
use std::time::Instant;

/// Owner address of a P-Rep that nobody registered.
const NOBODY: &str = "hx6666666666666666666666666666666666666666";
/// P-Reps that leave the list at once.
const LEAVING: usize = 40;

/// One of three endpoints gives a validator the stranger's address, and the stranger a P-Rep of his own.
pub(super) fn an_endpoint_lies(mesh: &Mesh, report: &mut Report) -> Result<(), LabError> {
    let (Some(liar), [_, victim, ..]) = (mesh.icons.last(), mesh.validators.as_slice()) else {
        return Err(LabError::Gone);
    };
    let before = rules(mesh)?;
    let streams = streams_to_all(&victim.host, mesh)?;
    let mut moved = mesh.chain.state().prep(victim.prep).cloned().ok_or(LabError::Gone)?;
    moved.insert("p2pEndpoint".to_owned(), mesh.stranger.v4(GUARDED[0])?.to_string().into());
    let mut extra = moved.clone();
    extra.insert("address".to_owned(), NOBODY.into());
    extra.insert("nodeAddress".to_owned(), NOBODY.into());
    liar.set_behaviour(Behaviour::LieAbout(vec![moved, extra]));
    let lied = Instant::now();
    report.check("one of three endpoints lists a stranger: the status names it", || {
        let source = mesh.controller.status()?.sources.last().map(|source| source.id.to_string()).unwrap_or_default();
        let told = wait_until("the status to name the endpoint", SOON, || {
            let complaints = mesh.controller.complaints().map_err(|error| error.to_string())?;
            let told = complaints.iter().find(|text| text.contains(NOBODY) && text.contains(&source)).cloned();
            told.ok_or_else(|| format!("{complaints:?}"))
        })?;
        Ok(Seen::after(lied.elapsed(), told.value))
    });
    report.check("the stranger stays out, on every host", || stays_out(mesh, &mesh.stranger));
    report.check("the validator that was moved goes on where it is", || still_flowing(&streams));
    report.check("no rule and no element changed on any host", || unchanged(mesh, &before));
    liar.set_behaviour(Behaviour::Normal);
    let waited = wait_until("the status to be without complaints", SOON, || {
        let complaints = mesh.controller.complaints().map_err(|error| error.to_string())?;
        if complaints.is_empty() { Ok(()) } else { Err(format!("{complaints:?}")) }
    });
    report.check("the endpoint is honest again: no complaint is left", || {
        Ok(Seen::after(waited?.took, "from its change of mind"))
    });
    Ok(())
}

/// Forty P-Reps leave the list at once, by every endpoint's word, and go once a person says so.
pub(super) fn a_mass_removal_is_held(mesh: &Mesh, report: &mut Report) -> Result<(), LabError> {
    let [.., removed, staying] = mesh.validators.as_slice() else { return Err(LabError::Gone) };
    let before = rules(mesh)?;
    let (doomed, others) = (streams_to_all(&removed.host, mesh)?, streams_to_all(&staying.host, mesh)?);
    let stays = mesh.chain.state().prep(staying.prep).cloned();
    let (mut list, mut left) = (mesh.chain.state().preps, 0);
    let members = list.len();
    list.retain(|prep: &Prep| {
        let goes = left < LEAVING && Some(prep) != stays.as_ref();
        left += usize::from(goes);
        !goes
    });
    mesh.chain.set_preps(list);
    let changed = Instant::now();
    let held = wait_until("the change to be held", SOON, || {
        let view = mesh.controller.validators().map_err(|error| error.to_string())?;
        view.held.ok_or_else(|| "nothing is held".to_owned())
    })?;
    let HeldView { text, digest, .. } = held.value;
    report.check("40 P-Reps leave the list at once: that is held", || {
        let view = mesh.controller.validators()?;
        must(view.validators.len() == members, || format!("{} of {members} validators", view.validators.len()))?;
        Ok(Seen::after(changed.elapsed(), format!("the set of {members} stays")))
    });
    report.check("the status says what is held, and how to let it through", || {
        let complaints = mesh.controller.complaints()?;
        let approve = format!("picket validators approve {}", digest.clone().unwrap_or_default());
        let told = complaints.iter().any(|line| line.contains(&text) && line.contains(&approve));
        must(told, || format!("{complaints:?}"))?;
        Ok(Seen::that(text.split(';').next().unwrap_or_default()))
    });
    report.check("a validator that would leave goes on, on every host", || still_flowing(&doomed));
    report.check("no rule and no element changed on any host", || unchanged(mesh, &before));
    let started = Instant::now();
    let approved = mesh.controller.picket(&["validators", "approve", digest.as_deref().unwrap_or_default()]);
    report.check("a person approves it: every running TCP stream dies", || {
        approved?.success()?;
        let last = last_packet(&doomed)?;
        let detail = format!("{} streams, from the start of the command to the last packet", doomed.len());
        Ok(Seen::after(last.saturating_duration_since(started), detail))
    });
    report.check("a validator that stays noticed nothing", || still_flowing(&others));
    Ok(())
}

fn stays_out(mesh: &Mesh, host: &Host) -> Result<Seen, LabError> {
    let mut tried = 0;
    for (agent, port) in mesh.agents().flat_map(|agent| GUARDED.map(|port| (agent, port))) {
        host.can_connect(agent.host.v4(port)?, DROPPED).must_be(Connect::Filtered)?;
        tried += 1;
    }
    Ok(Seen::that(format!("{tried} of {tried} attempts")))
}

fn unchanged(mesh: &Mesh, before: &[String]) -> Result<Seen, LabError> {
    let now = rules(mesh)?;
    must(now == before, || "a ruleset changed".to_owned())?;
    Ok(Seen::that(format!("the same rules, handles and elements in {} kernels", now.len())))
}
