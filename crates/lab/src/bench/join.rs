//! How long a sentry takes from the start of its enrolment to its first packet: alone, and with nineteen others.

use super::{Figures, Report, bare, millis, ratio, wait_for_ping};
use crate::{
    Host, LabError,
    mesh::{Agent, Controller, Mesh, MeshSize},
};
use anyhow::Context as _;
use picket_model::NodeRole;
use serde_json::json;
use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

/// How many join at once, as an autoscaler has it.
const AT_ONCE: u8 = 20;

/// One join, step by step.
struct Join {
    enrolled: Duration,
    first_packet: Duration,
}

pub(super) fn run(report: &Report, runs: u8) -> anyhow::Result<()> {
    let size = MeshSize { preps: 1, sentries: runs + AT_ONCE };
    report.say("makes hosts and starts controller and validator");
    let mut mesh = Mesh::new("bench", size)?;
    mesh.controller.start()?;
    mesh.preps[0].enroll(&mesh.controller)?;
    mesh.preps[0].start()?;
    mesh.controller.wait_for_list()?;
    mesh.wait_in_force()?;
    let (bare, _) = bare::measure(&mesh.lab, runs)?;

    report.say("one sentry after the other");
    let Mesh { controller, preps, sentries, .. } = &mut mesh;
    let prep = &preps[0].host;
    let (mut whole, mut enrol, mut start) = (Figures::default(), Figures::default(), Figures::default());
    for sentry in sentries.iter_mut().take(runs.into()) {
        let token = controller.token(NodeRole::Sentry)?;
        let join = join(sentry, controller, &token, prep)?;
        whole.add(millis(join.first_packet));
        enrol.add(millis(join.enrolled));
        start.add(millis(join.first_packet.saturating_sub(join.enrolled)));
    }
    let mut row = json!({
        "case": "one",
        "steps": { "enrol": enrol.row(), "start_to_first_packet": start.row() },
        "beside": { "what": "plain WireGuard, keys set on both ends by hand", "figures": bare.row() },
        "ratio": ratio(&whole, &bare),
    });
    merge(&mut row, &whole)?;
    report.row(&row)?;

    report.say("twenty sentries at once");
    let tokens: Vec<String> =
        (0..AT_ONCE).map(|_| controller.token(NodeRole::Sentry)).collect::<Result<_, LabError>>()?;
    let controller = &*controller;
    let started = Instant::now();
    let joins: Vec<anyhow::Result<Join>> = thread::scope(|scope| {
        let sentries = sentries.iter_mut().skip(runs.into()).zip(&tokens);
        let joining: Vec<_> =
            sentries.map(|(sentry, token)| scope.spawn(move || join(sentry, controller, token, prep))).collect();
        joining.into_iter().map(|join| join.join().unwrap_or_else(|_| anyhow::bail!("a join panicked"))).collect()
    });
    let last = started.elapsed();
    let (mut whole, mut enrol) = (Figures::default(), Figures::default());
    for join in joins {
        let join = join?;
        whole.add(millis(join.first_packet));
        enrol.add(millis(join.enrolled));
    }
    let mut row = json!({
        "case": "twenty",
        "last_ms": super::figures::rounded(millis(last)),
        "steps": { "enrol": enrol.row() },
        "beside": { "what": "one plain WireGuard tunnel, keys set on both ends by hand", "figures": bare.row() },
        "ratio": ratio(&whole, &bare),
    });
    merge(&mut row, &whole)?;
    report.row(&row)
}

fn merge(row: &mut serde_json::Value, figures: &Figures) -> anyhow::Result<()> {
    let fields = figures.row();
    let fields = fields.as_object().context("figures are an object")?;
    row.as_object_mut().context("a row is an object")?.extend(fields.clone());
    Ok(())
}

/// Enrols with a token that is there already, starts the agent, and waits until the validator has an answer from it.
fn join(sentry: &mut Agent, controller: &Controller, token: &str, prep: &Host) -> anyhow::Result<Join> {
    let started = Instant::now();
    let said = sentry.try_enroll(controller.url(), token)?.success()?;
    let enrolled = started.elapsed();
    // "... overlay addresses 192.0.2.3 and fd00::3"; asking the controller would be part of the time.
    let address: IpAddr = said
        .split_once("overlay addresses ")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .context("the enrolment names no overlay address")?;
    sentry.start()?;
    wait_for_ping(prep, address)?;
    Ok(Join { enrolled, first_packet: started.elapsed() })
}
