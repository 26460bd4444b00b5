//! The story, chapter by chapter. Each check is a sentence that packets have to make true.

use super::{
    attack, hidden,
    report::{Report, Seen},
    scale, trust,
};
use crate::{
    Connect, EchoServer, Host, LabError, Machine, Stream,
    mesh::{Agent, Cloud, Controller, Mesh, SOON, without_meters},
    wait_until,
};
use picket_api::operator::RevokeReceipt;
use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// Guarded ports: P2P and the two of JSON-RPC.
pub(super) const GUARDED: [u16; 3] = [7100, 9000, 9080];
/// A port that is nobody's business: stands for SSH.
pub(super) const UNGUARDED: u16 = 2222;
/// A packet that has not come back in this time was dropped: the lab's round trips take well under a millisecond.
pub(super) const DROPPED: Duration = Duration::from_millis(300);
/// A stream with this long a silence is dead.
const QUIET: Duration = Duration::from_millis(400);

/// Tells it; the machine that was booted at its end goes on running. `go_on` fails when somebody wants to stop.
pub(super) fn tell(
    mesh: &mut Mesh,
    report: &mut Report,
    go_on: &dyn Fn() -> Result<(), LabError>,
) -> Result<Machine, LabError> {
    go_on()?;
    let cloud = Cloud::around(&mesh.controller)?;
    report.say("chapter 1: a controller on the real mainnet list");
    controller_starts(mesh, report)?;
    go_on()?;
    report.say("chapter 2: hosts enrol, tunnels come up");
    hosts_enrol(mesh, report)?;
    go_on()?;
    let nodes = echo_servers(mesh.agents())?;
    tunnels_carry(mesh, report);
    go_on()?;
    report.say("chapter 3: ports are closed to strangers");
    ports_are_private(mesh, report);
    go_on()?;
    report.say("chapter 4: one of three chain endpoints lies");
    trust::an_endpoint_lies(mesh, report)?;
    go_on()?;
    report.say("chapter 5: a P-Rep leaves the list while its connection runs");
    validator_leaves(mesh, report)?;
    go_on()?;
    report.say("chapter 6: forty P-Reps leave the list at once");
    trust::a_mass_removal_is_held(mesh, report)?;
    go_on()?;
    report.say("chapter 7: a sentry is revoked while its tunnels carry traffic");
    sentry_is_revoked(mesh, report)?;
    go_on()?;
    report.say("chapter 8: sentries scale to ten and back, vouched for by their cloud");
    scale::to_ten_and_back(mesh, cloud, report)?;
    go_on()?;
    report.say("chapter 9: the controller dies and comes back");
    controller_dies(mesh, report)?;
    go_on()?;
    report.say("chapter 10: floods from strangers, and in a validator's name");
    attack::floods(mesh, report)?;
    go_on()?;
    report.say("chapter 11: another program wipes the firewall");
    attack::a_foreign_flush(mesh, report)?;
    go_on()?;
    report.say("chapter 12: an agent is killed");
    attack::an_agent_is_killed(mesh, report)?;
    memory(mesh, report);
    go_on()?;
    // The machine has its own listeners.
    drop(nodes);
    report.say("chapter 13: two validators hide, and a sentry is killed under traffic");
    hidden::a_sentry_is_killed_under_traffic(report)?;
    go_on()?;
    report.say("chapter 14: a Debian boots on a validator's host, and reboots");
    attack::a_machine_boots(mesh, report)
}

fn controller_starts(mesh: &mut Mesh, report: &mut Report) -> Result<(), LabError> {
    let started = Instant::now();
    mesh.controller.start()?;
    report.check("controller starts with its own CA and database", || {
        Ok(Seen::after(started.elapsed(), "first start, nothing but a small TOML file"))
    });
    let (page, context) = (mesh.controller.page()?, mesh.controller.context());
    report.check("the status page answers a browser on this machine", || {
        let first = first_line(page)?;
        must(first.contains(" 200 "), || first.clone())?;
        Ok(Seen::that(format!("http://{page}")))
    });
    report.line(&format!("  the status page: http://{page}"));
    report.line(&format!("  log in with what this prints: sed -n 's/^token = \"\\(.*\\)\"/\\1/p' {context}"));
    report.check("the real mainnet list is read: 100 validators", || {
        let waited = mesh.controller.wait_for_list()?;
        let view = mesh.controller.validators()?;
        must(view.validators.len() == 100, || format!("{} validators", view.validators.len()))?;
        let height = view.height.unwrap_or_default();
        Ok(Seen::after(waited.took, format!("{} refused, height {height}", view.refused.len())))
    });
    Ok(())
}

/// The first line of the answer to a browser that wants to log in.
fn first_line(page: SocketAddr) -> Result<String, LabError> {
    let asked = || -> io::Result<String> {
        let mut stream = TcpStream::connect(page)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(format!("GET /login HTTP/1.1\r\nHost: {page}\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.lines().next().unwrap_or_default().to_owned())
    };
    asked().map_err(|error| LabError::io(format!("ask http://{page}"), error))
}

fn hosts_enrol(mesh: &mut Mesh, report: &mut Report) -> Result<(), LabError> {
    let Some(mut late) = mesh.sentries.pop() else { return Err(LabError::Gone) };
    let Mesh { preps, sentries, controller, .. } = mesh;
    let mut slowest = Duration::ZERO;
    for agent in preps.iter_mut().chain(sentries.iter_mut()) {
        slowest = slowest.max(agent.enroll(controller)?);
        agent.start()?;
    }
    report.check("two P-Reps and two sentries enrolled by token", || {
        Ok(Seen::after(slowest, "the slowest, from the command to its certificate"))
    });
    mesh.wait_in_force()?;
    mesh.wait_for_tunnels()?;
    report.check("a third sentry joins the running mesh", || first_packet(&mesh.controller, &mesh.preps, &mut late));
    mesh.sentries.push(late);
    report.check("every host has read back what is wanted of it", || {
        let waited = mesh.wait_in_force()?;
        let status = mesh.controller.status()?;
        Ok(Seen::after(waited.took, format!("in force on {} of {}", status.in_force, status.nodes)))
    });
    Ok(())
}

/// The whole way of an autoscaled sentry, from its first command to a packet from every validator.
pub(super) fn first_packet(controller: &Controller, preps: &[Agent], sentry: &mut Agent) -> Result<Seen, LabError> {
    let token = controller.token(sentry.role)?;
    let started = Instant::now();
    sentry.try_enroll(controller.url(), &token)?.success()?;
    let enrolled = started.elapsed();
    sentry.start()?;
    sentry.learn_overlay(controller)?;
    let overlay = sentry.overlay()?;
    for prep in preps {
        wait_until("the first ping from a validator to the new sentry", SOON, || {
            prep.host.ping(overlay.v4.into(), Duration::from_millis(100))
        })?;
    }
    let certificate = enrolled.as_secs_f64() * 1e3;
    Ok(Seen::after(
        started.elapsed(),
        format!("to a packet from every validator; {certificate:.0} ms to its certificate"),
    ))
}

/// What stands for goloop on each host: something that answers on the guarded ports and on one that is not guarded.
pub(super) fn echo_servers<'a>(agents: impl Iterator<Item = &'a Agent>) -> Result<Vec<EchoServer>, LabError> {
    let mut servers = Vec::new();
    for agent in agents {
        for port in GUARDED.into_iter().chain([UNGUARDED]) {
            // Takes IPv4 as well.
            servers.push(agent.host.listen_echo(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?);
        }
    }
    Ok(servers)
}

fn tunnels_carry(mesh: &Mesh, report: &mut Report) {
    report.check("ping through every tunnel, IPv4 and IPv6", || {
        let waited = mesh.wait_for_tunnels()?;
        Ok(Seen::after(waited.took, format!("{} tunnels", mesh.preps.len() * mesh.sentries.len())))
    });
    report.check("TCP over the overlay reaches guarded ports, both ways", || {
        let mut connections = 0;
        for (prep, sentry) in mesh.preps.iter().flat_map(|prep| mesh.sentries.iter().map(move |s| (prep, s))) {
            for (from, to) in [(prep, sentry), (sentry, prep)] {
                for address in to.overlay_ports(GUARDED[0])? {
                    from.host.can_connect(address, Duration::from_secs(2)).must_be(Connect::Open)?;
                    connections += 1;
                }
            }
        }
        Ok(Seen::that(format!("{connections} connections")))
    });
}

fn ports_are_private(mesh: &Mesh, report: &mut Report) {
    let reach = |from: &Host, wanted: &Connect, ports: &[u16], v6: bool| -> Result<Seen, LabError> {
        let mut tried = 0;
        for agent in mesh.agents() {
            for port in ports {
                let to = if v6 { agent.host.v6(*port)? } else { agent.host.v4(*port)? };
                let within = if *wanted == Connect::Filtered { DROPPED } else { Duration::from_secs(2) };
                from.can_connect(to, within).must_be(wanted.clone())?;
                tried += 1;
            }
        }
        Ok(Seen::that(format!("{tried} of {tried} attempts")))
    };
    if let Some(validator) = mesh.validators.first() {
        let check = "a validator's address reaches 7100, 9000, 9080";
        report.check(check, || reach(&validator.host, &Connect::Open, &GUARDED, false));
    }
    let stranger = &mesh.stranger;
    report.check("a stranger does not, IPv4", || reach(stranger, &Connect::Filtered, &GUARDED, false));
    report.check("a stranger does not, IPv6", || reach(stranger, &Connect::Filtered, &GUARDED, true));
    report
        .check("a stranger still reaches what is not guarded", || reach(stranger, &Connect::Open, &[UNGUARDED], false));
    report.check("the operator reaches them, IPv4", || reach(&mesh.admin, &Connect::Open, &GUARDED, false));
    report.check("the operator reaches them, IPv6", || reach(&mesh.admin, &Connect::Open, &GUARDED, true));
}

fn validator_leaves(mesh: &Mesh, report: &mut Report) -> Result<(), LabError> {
    let [leaving, staying, ..] = mesh.validators.as_slice() else { return Err(LabError::Gone) };
    let streams = streams_to_all(&leaving.host, mesh)?;
    let others = streams_to_all(&staying.host, mesh)?;
    let asked = mesh.requests();
    mesh.chain.remove(leaving.prep);
    let removed = Instant::now();
    wait_until("the controller to ask for the list again", SOON, || {
        mesh.requests().iter().zip(&asked).all(|(now, before)| now > before)
    })?;
    let answered = Instant::now();
    report.check("its running TCP streams die on every host", || {
        let last = last_packet(&streams)?;
        let whole = last.saturating_duration_since(removed).as_secs_f64() * 1e3;
        let detail =
            format!("{} streams, from the answer to the last packet; {whole:.0} ms with the poll", streams.len());
        Ok(Seen::after(last.saturating_duration_since(answered), detail))
    });
    report.check("it cannot come back", || {
        for agent in mesh.agents() {
            leaving.host.can_connect(agent.host.v4(GUARDED[0])?, DROPPED).must_be(Connect::Filtered)?;
        }
        Ok(Seen::that("refused on every host"))
    });
    report.check("another validator's streams went on", || still_flowing(&others));
    Ok(())
}

fn sentry_is_revoked(mesh: &mut Mesh, report: &mut Report) -> Result<(), LabError> {
    let Some(revoked) = mesh.sentries.pop() else { return Err(LabError::Gone) };
    let to = revoked.overlay_ports(GUARDED[0])?[0];
    let doomed: Vec<Stream> = mesh.preps.iter().map(|prep| prep.host.stream(to)).collect::<Result<_, _>>()?;
    let mut others = Vec::new();
    for (prep, sentry) in mesh.preps.iter().flat_map(|prep| mesh.sentries.iter().map(move |s| (prep, s))) {
        others.push(prep.host.stream(sentry.overlay_ports(GUARDED[0])?[0])?);
    }
    let started = Instant::now();
    let receipt = mesh.controller.json::<RevokeReceipt>(&["revoke", revoked.name()]);
    report.check("the revoke is read back by every host it concerns", || {
        let receipt = receipt?;
        must(receipt.missing.is_empty(), || format!("missing: {:?}", receipt.missing))?;
        let slowest = receipt.in_force.iter().map(|host| host.after_ms).max().unwrap_or_default();
        let hosts = receipt.in_force.len();
        must(hosts == mesh.preps.len(), || format!("{hosts} receipts for {} validators", mesh.preps.len()))?;
        Ok(Seen::after(Duration::from_millis(slowest), format!("in force on {hosts} of {hosts} hosts")))
    });
    report.check("its tunnel is dead on every peer", || {
        let last = last_packet(&doomed)?;
        for (prep, address) in mesh.preps.iter().map(|prep| (prep, to.ip())) {
            must(prep.host.ping(address, DROPPED).is_none(), || format!("{} still has an answer", prep.name()))?;
        }
        let detail = "from the start of the command to the last packet";
        Ok(Seen::after(last.saturating_duration_since(started), detail))
    });
    report.check("the tunnels of the other sentries went on", || still_flowing(&others));
    mesh.revoked.push(revoked);
    Ok(())
}

fn controller_dies(mesh: &mut Mesh, report: &mut Report) -> Result<(), LabError> {
    let before = rules(mesh)?;
    let generation = mesh.controller.status()?.generation;
    let Some(staying) = mesh.validators.last().cloned() else { return Err(LabError::Gone) };
    let streams = streams_to_all(&staying.host, mesh)?;
    mesh.controller.kill();
    report.check("controller killed: everything stays in force", || {
        stays_in_force(mesh, &staying.host)?;
        must(rules(mesh)? == before, || "a ruleset changed".to_owned())?;
        still_flowing(&streams)
    });
    report.check("an agent killed and started without a controller: its tunnels come back", || {
        let prep = mesh.preps.first_mut().ok_or(LabError::Gone)?;
        prep.kill();
        stays_in_force(mesh, &staying.host)?;
        let started = Instant::now();
        mesh.preps.first_mut().ok_or(LabError::Gone)?.start()?;
        mesh.wait_for_tunnels()?;
        let took = started.elapsed();
        must(rules(mesh)? == before, || "a ruleset changed".to_owned())?;
        Ok(Seen::after(took, "from its ledger; its rules stayed in force meanwhile"))
    });
    let started = Instant::now();
    mesh.controller.start()?;
    report.check("controller back: nothing changed", || {
        mesh.wait_in_force()?;
        let took = started.elapsed();
        let now = mesh.controller.status()?.generation;
        must(now == generation, || format!("generation {generation} became {now}"))?;
        must(rules(mesh)? == before, || "a ruleset changed".to_owned())?;
        still_flowing(&streams)?;
        Ok(Seen::after(took, format!("generation {now}, the same rules and handles in every kernel")))
    });
    Ok(())
}

fn memory(mesh: &Mesh, report: &mut Report) {
    let mib = |bytes: u64| format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20);
    report.check("memory in use (resident, development build)", || {
        let controller = mesh.controller.process().ok_or(LabError::Gone)?.resident_memory_bytes()?;
        let mut largest = 0;
        for agent in mesh.agents() {
            largest = largest.max(agent.process().ok_or(LabError::Gone)?.resident_memory_bytes()?);
        }
        Ok(Seen::that(format!("controller {}, largest agent {}", mib(controller), mib(largest))))
    });
}

/// Nobody new gets in and nobody loses what he has, agent or not.
pub(super) fn stays_in_force(mesh: &Mesh, validator: &Host) -> Result<(), LabError> {
    for agent in mesh.agents() {
        let port = agent.host.v4(GUARDED[0])?;
        validator.can_connect(port, Duration::from_secs(2)).must_be(Connect::Open)?;
        mesh.stranger.can_connect(port, DROPPED).must_be(Connect::Filtered)?;
    }
    Ok(())
}

/// Every host's rules with their handles: a rule that was replaced by the same one shows as well.
pub(super) fn rules(mesh: &Mesh) -> Result<Vec<String>, LabError> {
    let listing = |agent: &Agent| agent.host.nft(&["-s", "-a", "list", "table", "inet", "picket"]);
    mesh.agents().map(|agent| Ok(without_meters(&listing(agent)?))).collect()
}

pub(super) fn streams_to_all(from: &Host, mesh: &Mesh) -> Result<Vec<Stream>, LabError> {
    mesh.agents().map(|agent| from.stream(agent.host.v4(GUARDED[0])?)).collect()
}

/// When the last of these streams had its last packet; an error if one still flows.
pub(super) fn last_packet(streams: &[Stream]) -> Result<Instant, LabError> {
    let ends: Vec<Instant> = streams.iter().map(|stream| stream.wait_dead(QUIET, SOON)).collect::<Result<_, _>>()?;
    ends.into_iter().max().ok_or(LabError::Gone)
}

pub(super) fn still_flowing(streams: &[Stream]) -> Result<Seen, LabError> {
    streams.iter().try_for_each(|stream| stream.wait_flowing(SOON))?;
    let silence = streams.iter().map(Stream::longest_silence).max().unwrap_or_default();
    must(silence < QUIET, || format!("one was silent for {silence:?}"))?;
    Ok(Seen::after(silence, format!("{} streams; their longest silence", streams.len())))
}

pub(super) fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), LabError> {
    if holds { Ok(()) } else { Err(LabError::Unexpected { found: otherwise() }) }
}
