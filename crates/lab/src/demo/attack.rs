//! The story's chapters about the firewall as a promise: floods, a program that wipes everything, an agent that is killed, a
//! machine that boots. A stranger knocks all the time, and its answers are counted.

use super::{
    report::{Report, Seen},
    story::{DROPPED, GUARDED, UNGUARDED, must, still_flowing},
};
use crate::{
    Connect, Heard, Host, LabError, Machine, Segment, Stream,
    mesh::{Agent, Mesh, SOON},
    wait_until,
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

/// Segments a second of each flood, and how many of them have to be dropped before it ends.
const PER_SECOND: u32 = 5000;
const ENOUGH: u64 = 5000;

/// Strangers by the ten thousand, and somebody in a validator's own name.
pub(super) fn floods(mesh: &Mesh, report: &mut Report) -> Result<(), LabError> {
    let (Some(validator), Some(prep)) = (mesh.validators.last(), mesh.preps.first()) else {
        return Err(LabError::Gone);
    };
    let to = prep.host.v4(GUARDED[0])?;
    let streams = [validator.host.stream(to)?];
    let strangers = (0..=255).flat_map(|c| (1..=250).map(move |d| Ipv4Addr::new(198, 18, c, d).into())).collect();
    let started = Instant::now();
    let floods = [
        mesh.stranger.flood(strangers, to, Segment::Syn, PER_SECOND)?,
        mesh.stranger.flood(vec![validator.host.v4(0)?.ip()], to, Segment::Syn, PER_SECOND)?,
    ];
    for (check, counter) in [
        ("a flood from 64,000 forged strangers is dropped", "refused_p2p"),
        ("a flood in a validator's own name is limited", "limited_new_p2p"),
    ] {
        report.check(check, || {
            let waited = wait_until(counter, SOON, || {
                let dropped = counted(&prep.host, counter).map_err(|error| error.to_string())?;
                if dropped > ENOUGH { Ok(dropped) } else { Err(format!("{dropped} dropped")) }
            })?;
            Ok(Seen::that(format!("{} packets dropped, {PER_SECOND} a second", waited.value)))
        });
    }
    report.check("meanwhile the operator gets in, a stranger does not", || {
        mesh.admin.can_connect(to, Duration::from_secs(2)).must_be(Connect::Open)?;
        mesh.stranger.can_connect(to, DROPPED).must_be(Connect::Filtered)?;
        Ok(Seen::that("both tried during the floods"))
    });
    let lasted = started.elapsed().as_secs_f64();
    drop(floods);
    report.check("that validator's stream went on through both floods", || {
        let Seen { measured, .. } = still_flowing(&streams)?;
        Ok(Seen { measured, detail: format!("its longest silence in {lasted:.1} s of floods") })
    });
    Ok(())
}

/// Another program empties the whole of nf_tables.
pub(super) fn a_foreign_flush(mesh: &Mesh, report: &mut Report) -> Result<(), LabError> {
    let (Some(validator), Some(prep)) = (mesh.validators.last(), mesh.preps.first()) else {
        return Err(LabError::Gone);
    };
    let to = prep.host.v4(GUARDED[0])?;
    let (before, streams) = (prep.rules_in_kernel()?, [validator.host.stream(to)?]);
    let knocks = mesh.stranger.knock(&[to])?;
    prep.host.nft(&["flush", "ruleset"])?;
    let flushed = Instant::now();
    report.check("`nft flush ruleset` by another program: the agent puts the table back", || {
        wait_until("the rules to be as before", SOON, || prep.rules_in_kernel().is_ok_and(|now| now == before))?;
        let took = flushed.elapsed();
        mesh.stranger.can_connect(to, DROPPED).must_be(Connect::Filtered)?;
        Ok(Seen::after(took, "until the whole table was read back as before"))
    });
    report.check("how long strangers were let in by that", || {
        let window = knocks.end()?.window(to).unwrap_or_default();
        must(window < Duration::from_secs(1), || format!("for {window:?}"))?;
        still_flowing(&streams)?;
        Ok(Seen::after(window, "from the first knock that was answered to the last; the validator's stream went on"))
    });
    Ok(())
}

/// An agent dies without a word.
pub(super) fn an_agent_is_killed(mesh: &mut Mesh, report: &mut Report) -> Result<(), LabError> {
    let stranger = mesh.stranger.clone();
    let streams = mesh.validators.last().map(|validator| stream_to(&validator.host, mesh)).ok_or(LabError::Gone)??;
    let prep = mesh.preps.first_mut().ok_or(LabError::Gone)?;
    let to = [prep.host.v4(GUARDED[0])?, prep.host.v6(GUARDED[0])?];
    let open = prep.host.v4(UNGUARDED)?;
    let knocks = stranger.knock(&[to[0], to[1], open])?;
    prep.kill();
    stranger.can_connect(to[0], DROPPED).must_be(Connect::Filtered)?;
    prep.start()?;
    mesh.wait_for_tunnels()?;
    report.check("an agent killed (-9) and started again: not one knock of a stranger answered", || {
        let heard = knocks.end()?;
        nothing_answered(&heard, &to, open)?;
        still_flowing(&streams)?;
        Ok(Seen::that(format!("{} knocks on each guarded port; the validator's stream went on", heard.sent.len())))
    });
    Ok(())
}

/// A Debian boots on a validator's host, and again.
pub(super) fn a_machine_boots(mesh: &mut Mesh, report: &mut Report) -> Result<Machine, LabError> {
    let validator = mesh.validators.last().ok_or(LabError::Gone)?.host.clone();
    let prep = mesh.preps.first_mut().ok_or(LabError::Gone)?;
    prep.kill();
    let ports: Vec<u16> = GUARDED.into_iter().chain([UNGUARDED]).collect();
    let mut machine = Machine::new(&prep.host, &ports)?;
    machine.install(prep)?;
    machine.known_to(&mesh.stranger)?;
    let ([v4, v6], [open, _]) = (machine.ports(GUARDED[0]), machine.ports(UNGUARDED));
    for (check, is_reboot) in [
        ("a Debian with our units is switched on: closed from its first packet on", false),
        ("it reboots: closed from its first packet on", true),
    ] {
        let knocks = mesh.stranger.knock(&[v4, v6, open])?;
        let started = Instant::now();
        let up = if is_reboot { machine.reboot() } else { machine.boot() };
        up?;
        let took = started.elapsed();
        report.check(check, || {
            let waited = wait_until("the validator to get in", SOON, || {
                validator.can_connect(v4, Duration::from_secs(2)).must_be(Connect::Open)
            });
            let heard = knocks.end()?;
            waited?;
            nothing_answered(&heard, &[v4, v6], open)?;
            let (sent, heard) = (heard.sent.len(), heard.answered(open).len());
            let detail = format!(
                "until it was up; {sent} knocks on each guarded port, none answered; {heard} on one that nobody guards were"
            );
            Ok(Seen::after(took, detail))
        });
    }
    report.check("its agent is in force again", || {
        let waited = mesh.wait_in_force()?;
        Ok(Seen::after(waited.took, "read back by the agent inside the machine"))
    });
    Ok(machine)
}

fn stream_to(from: &Host, mesh: &Mesh) -> Result<[Stream; 1], LabError> {
    let prep: &Agent = mesh.preps.first().ok_or(LabError::Gone)?;
    Ok([from.stream(prep.host.v4(GUARDED[0])?)?])
}

/// Not one, though knocks came through: those on a port that nobody guards were answered.
fn nothing_answered(heard: &Heard, guarded: &[SocketAddr], open: SocketAddr) -> Result<(), LabError> {
    for port in guarded {
        let answered = heard.answered(*port).len();
        must(answered == 0, || format!("{port} answered {answered} of {} knocks", heard.sent.len()))?;
    }
    must(!heard.answered(open).is_empty(), || format!("not one knock on {open} was answered either"))
}

/// Packets that a counter of our table has seen.
fn counted(host: &Host, counter: &str) -> Result<u64, LabError> {
    let listing = host.nft(&["list", "counter", "inet", "picket", counter])?;
    let mut words = listing.split_whitespace().skip_while(|word| *word != "packets");
    let found = words.nth(1).and_then(|packets| packets.parse().ok());
    found.ok_or(LabError::Unexpected { found: listing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_answers_is_told() {
        let [guarded, open]: [SocketAddr; 2] = ["203.0.113.1:7100", "203.0.113.1:22"].map(|text| text.parse().unwrap());
        let now = Instant::now();
        let heard = |answers: &[SocketAddr]| Heard {
            sent: vec![now],
            answers: answers.iter().map(|port| (*port, vec![now])).collect(),
            acknowledges: 0,
        };
        assert!(nothing_answered(&heard(&[open]), &[guarded], open).is_ok());
        assert!(nothing_answered(&heard(&[open, guarded]), &[guarded], open).is_err());
        assert!(nothing_answered(&heard(&[]), &[guarded], open).is_err());
    }
}
