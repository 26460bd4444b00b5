//! Autoscaling: sentries come up by their cloud's word, to ten and back; one is revoked under traffic and stays out.

use super::{
    report::{Report, Seen},
    story::{DROPPED, GUARDED, last_packet, must, rules, still_flowing},
};
use crate::{
    LabError,
    mesh::{Cloud, CloudInstance, Mesh, SOON},
    wait_until,
};
use picket_api::operator::RevokeReceipt;
use std::{
    net::{Ipv6Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

/// How many sentries there are at the height of it.
const MOST: usize = 10;

/// Up, one cut, and back.
pub(super) fn to_ten_and_back(mesh: &mut Mesh, cloud: Cloud, report: &mut Report) -> Result<(), LabError> {
    let before = rules(mesh)?;
    let new = MOST.saturating_sub(mesh.sentries.len());
    let mut instances: Vec<CloudInstance> =
        (1..=20).take(new).map(|number| cloud.launch(&mesh.lab, number)).collect::<Result<_, _>>()?;
    report.check("eight sentries join at once by their cloud's word, no secret given", || {
        let times = join_all(mesh, &mut instances)?;
        mesh.wait_in_force()?;
        let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
        let members = mesh.controller.status()?.nodes;
        must(members == MOST + mesh.preps.len(), || format!("{members} members"))?;
        let detail = format!(
            "the slowest, from user data to a packet from every validator; median {} ms; {MOST} sentries",
            median.as_millis()
        );
        Ok(Seen::after(slowest, detail))
    });
    let Some(revoked) = instances.pop() else { return Err(LabError::Gone) };
    one_is_revoked(mesh, &revoked, &instances, report)?;
    report.check("its document on another machine, with other keys, admits nobody", || {
        let mut copy = cloud.launch_as(&mesh.lab, 20, &revoked.id)?;
        let Err(refused) = copy.join(&mesh.controller) else {
            return Err(LabError::Unexpected { found: "it was let in".to_owned() });
        };
        must(refused.to_string().contains("came in before"), || refused.to_string())?;
        Ok(Seen::that("bound to the keys it was first shown for, also after the revoke"))
    });
    report.check("back to where it was: they say good-bye, no host, peer or rule is left", || {
        let started = Instant::now();
        let stops: Vec<Result<(), LabError>> = thread::scope(|scope| {
            let stops: Vec<_> =
                instances.iter_mut().map(|instance| scope.spawn(move || instance.sentry.stop())).collect();
            stops.into_iter().map(|stop| stop.join().unwrap_or(Err(LabError::Gone))).collect()
        });
        stops.into_iter().collect::<Result<(), LabError>>()?;
        mesh.wait_in_force()?;
        let took = started.elapsed();
        let nodes = mesh.controller.nodes()?;
        let left = nodes.iter().filter(|view| view.node.is_active()).count();
        must(left == mesh.preps.len() + mesh.sentries.len(), || format!("{left} members are left"))?;
        must(rules(mesh)? == before, || "a ruleset is not as it was".to_owned())?;
        Ok(Seen::after(took, format!("{} sentries, from SIGTERM until it is in force everywhere", instances.len())))
    });
    Ok(())
}

/// From each one's first command to a packet from every validator, the quickest first.
fn join_all(mesh: &Mesh, instances: &mut [CloudInstance]) -> Result<Vec<Duration>, LabError> {
    let started = Instant::now();
    let joined: Vec<Result<Duration, LabError>> = thread::scope(|scope| {
        let join = |instance: &mut CloudInstance| {
            instance.join(&mesh.controller)?;
            let overlay = instance.sentry.overlay()?;
            for prep in &mesh.preps {
                wait_until("the first ping from a validator to a new sentry", SOON, || {
                    prep.host.ping(overlay.v4.into(), Duration::from_millis(100))
                })?;
            }
            Ok(started.elapsed())
        };
        let joins: Vec<_> = instances.iter_mut().map(|instance| scope.spawn(move || join(instance))).collect();
        joins.into_iter().map(|join| join.join().unwrap_or(Err(LabError::Gone))).collect()
    });
    let mut times = joined.into_iter().collect::<Result<Vec<_>, _>>()?;
    times.sort();
    must(!times.is_empty(), || "no instance was launched".to_owned())?;
    Ok(times)
}

fn one_is_revoked(
    mesh: &Mesh,
    revoked: &CloudInstance,
    others: &[CloudInstance],
    report: &mut Report,
) -> Result<(), LabError> {
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, GUARDED[0]));
    let to = |instance: &CloudInstance| Ok::<_, LabError>(instance.sentry.overlay_ports(GUARDED[0])?[0]);
    let other = others.first().ok_or(LabError::Gone)?;
    let _echoes = [revoked.sentry.host.listen_echo(everywhere)?, other.sentry.host.listen_echo(everywhere)?];
    let streams = |to: SocketAddr| mesh.preps.iter().map(|prep| prep.host.stream(to)).collect::<Result<Vec<_>, _>>();
    let (doomed, living) = (streams(to(revoked)?)?, streams(to(other)?)?);
    let started = Instant::now();
    let receipt = mesh.controller.json::<RevokeReceipt>(&["revoke", revoked.sentry.name()]);
    report.check("one of them is revoked under traffic: dead on every validator", || {
        let receipt = receipt?;
        must(receipt.missing.is_empty(), || format!("missing: {:?}", receipt.missing))?;
        let last = last_packet(&doomed)?;
        let address = to(revoked)?.ip();
        for prep in &mesh.preps {
            must(prep.host.ping(address, DROPPED).is_none(), || format!("{} still has an answer", prep.name()))?;
        }
        let slowest = receipt.in_force.iter().map(|host| host.after_ms).max().unwrap_or_default();
        let detail = format!("from the command to the last packet; receipt of the slowest host after {slowest} ms");
        Ok(Seen::after(last.saturating_duration_since(started), detail))
    });
    report.check("the tunnels of those that came with it went on", || still_flowing(&living));
    Ok(())
}
