//! The story of three controllers on one database: any two of them are killed in turn, then the database, under joins and revokes.
//! Nothing that was answered is lost, and what packets may do stays as it was or becomes what was asked for.

use super::{
    Stage,
    report::{Report, Seen},
    story::{DROPPED, GUARDED, echo_servers, first_packet, last_packet, must, stays_in_force, still_flowing},
    witness::{Witness, taken},
    writes::Writes,
};
use crate::{
    Connect, EchoServer, Host, LabError, Stream,
    mesh::{Agent, Mesh, MeshSize, SOON, Several},
    wait_until,
};
use picket_api::operator::{EventView, RevokeReceipt};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Two sentries stay, two are revoked, two join.
const SIZE: MeshSize = MeshSize { preps: 2, sentries: 6 };
/// Sentries that are there from the beginning.
const AT_FIRST: usize = 4;
/// Within which an agent asks another controller.
const MOVED: Duration = Duration::from_secs(5);

/// Who plays in it.
struct Story {
    several: Several,
    /// Sentries that are to join.
    late: Vec<Agent>,
    /// What answers on the hosts' ports.
    nodes: Vec<EchoServer>,
    /// Connections that go on from the first chapter to the last.
    streams: Vec<Stream>,
    /// A validator that stays on the list.
    staying: Host,
}

/// Tells it; the mesh goes on running. `go_on` fails when somebody wants to stop.
pub(super) fn tell(report: &mut Report, go_on: &dyn Fn() -> Result<(), LabError>) -> Result<Stage, LabError> {
    report.say("chapter 1: three controllers, one PostgreSQL server");
    let mut story = Story::begin(report)?;
    let witness = Witness::of(story.several.controllers().map(|controller| controller.host.clone()).collect());
    go_on()?;
    report.say("chapter 2: the controller that most hosts ask is killed");
    story.a_controller_is_killed(report)?;
    go_on()?;
    report.say("chapter 3: so is the next");
    story.a_controller_is_killed(report)?;
    go_on()?;
    report.say("chapter 4: both come back");
    story.both_come_back(report)?;
    go_on()?;
    report.say("chapter 5: PostgreSQL is killed under joins and revokes");
    story.the_database_is_killed(report)?;
    go_on()?;
    report.say("chapter 6: the account");
    story.account(report, witness)?;
    let Story { several, .. } = story;
    Ok(Stage::Several(Box::new(several)))
}

impl Story {
    fn begin(report: &mut Report) -> Result<Self, LabError> {
        let started = Instant::now();
        let mut several = Several::new("demo-ha", SIZE)?;
        let late = several.mesh.sentries.split_off(AT_FIRST);
        let made = started.elapsed();
        report.check("PostgreSQL answers on a host of its own, by TLS and password", || {
            Ok(Seen::after(made, "the hosts, the chain's endpoints and initdb included"))
        });
        let started = Instant::now();
        several.start_controllers()?;
        report.check("three controllers start with one CA and have the list", || {
            let mut meshes: Vec<_> = several.controllers().map(|c| c.status()).collect::<Result<_, _>>()?;
            meshes.dedup_by(|one, other| one.mesh == other.mesh);
            must(meshes.len() == 1, || format!("{} meshes", meshes.len()))?;
            Ok(Seen::after(started.elapsed(), "one after the other; the key lies encrypted in each state folder"))
        });
        several.start_agents()?;
        report.check("hosts enrolled through each of them, all in force, every tunnel carries", || {
            let in_force = several.mesh.wait_in_force()?;
            let tunnels = several.mesh.wait_for_tunnels()?;
            let detail = format!("{} hosts, each of which holds three URLs", several.mesh.agents().count());
            Ok(Seen::after(in_force.took + tunnels.took, detail))
        });
        report.check("agents spread themselves over the controllers", || {
            let asked = several.wait_asked()?.value;
            must(hosts_at(&asked).len() > 1, || format!("{asked:?}"))?;
            Ok(Seen::that(told(&asked)))
        });
        let mesh = &several.mesh;
        let nodes = echo_servers(mesh.agents())?;
        let staying = mesh.validators.last().ok_or(LabError::Gone)?.host.clone();
        let mut streams = super::story::streams_to_all(&staying, mesh)?;
        // The first two sentries are revoked later on.
        streams.truncate(mesh.preps.len());
        let stays = mesh.sentries.last().ok_or(LabError::Gone)?;
        for prep in &mesh.preps {
            streams.push(prep.host.stream(stays.overlay_ports(GUARDED[0])?[0])?);
        }
        report.check("validators and members get in, strangers do not", || {
            stays_in_force(mesh, &staying)?;
            Ok(Seen::that(format!("on {} hosts", mesh.agents().count())))
        });
        Ok(Self { several, late, nodes, streams, staying })
    }

    /// The one that most hosts ask. The rest goes on, with a join and a revoke.
    fn a_controller_is_killed(&mut self, report: &mut Report) -> Result<(), LabError> {
        let name = self.several.busiest()?;
        let asked = self.several.asked()?;
        let moving: Vec<&String> = asked.iter().filter(|(_, at)| **at == name).map(|(host, _)| host).collect();
        self.several.named(&name)?.kill();
        let killed = Instant::now();
        let several = &self.several;
        report.check(&format!("kill -9 of {name}: its agents ask another within 5 s"), || {
            let moved = wait_until("its agents to ask another", SOON, || {
                let now = several.asked_but(&name).map_err(|error| error.to_string())?;
                match moving.iter().find(|host| !now.contains_key(host.as_str())) {
                    Some(host) => Err(format!("{host} asks none")),
                    None => Ok(now),
                }
            })?;
            let took = killed.elapsed();
            must(took < MOVED, || format!("the last of {} after {took:?}", moving.len()))?;
            Ok(Seen::after(took, format!("{} agents moved; {}", moving.len(), told(&moved.value))))
        });
        self.nothing_lost(report);
        self.joins(report)?;
        self.is_revoked(report)
    }

    fn joins(&mut self, report: &mut Report) -> Result<(), LabError> {
        let mut sentry = self.late.pop().ok_or(LabError::Gone)?;
        let through = self.several.any()?;
        let check = format!("a sentry joins through {}", through.host.name());
        let preps = &self.several.mesh.preps;
        report.check(&check, || first_packet(through, preps, &mut sentry));
        self.nodes.extend(echo_servers(std::iter::once(&sentry))?);
        // Behind the one to which streams go on.
        self.several.mesh.sentries.push(sentry);
        Ok(())
    }

    /// The first sentry that is left.
    fn is_revoked(&mut self, report: &mut Report) -> Result<(), LabError> {
        let revoked = self.several.mesh.sentries.remove(0);
        let (mesh, through) = (&self.several.mesh, self.several.any()?);
        let to = revoked.overlay_ports(GUARDED[0])?[0];
        let doomed: Vec<Stream> = mesh.preps.iter().map(|prep| prep.host.stream(to)).collect::<Result<_, _>>()?;
        let started = Instant::now();
        let check = format!("{} is revoked through {}: its flows are dead", revoked.name(), through.host.name());
        report.check(&check, || {
            let receipt: RevokeReceipt = through.json(&["revoke", revoked.name(), "--wait", "10s"])?;
            must(receipt.missing.is_empty(), || format!("missing: {:?}", receipt.missing))?;
            let last = last_packet(&doomed)?;
            for prep in &mesh.preps {
                must(prep.host.ping(to.ip(), DROPPED).is_none(), || format!("{} has an answer", prep.name()))?;
            }
            let detail = format!("to the last packet; read back by {} hosts", receipt.in_force.len());
            Ok(Seen::after(last.saturating_duration_since(started), detail))
        });
        self.several.mesh.revoked.push(revoked);
        Ok(())
    }

    fn nothing_lost(&self, report: &mut Report) {
        report.check("meanwhile everything stays in force", || {
            stays_in_force(&self.several.mesh, &self.staying)?;
            still_flowing(&self.streams)
        });
    }

    fn both_come_back(&mut self, report: &mut Report) -> Result<(), LabError> {
        let generation = self.several.any()?.status()?.generation;
        let dead: Vec<String> =
            self.several.controllers().filter(|c| !c.is_running()).map(|c| c.host.name().to_owned()).collect();
        let started = Instant::now();
        for name in &dead {
            self.several.named(name)?.start()?;
        }
        report.check("both controllers are started again and know what the third did", || {
            for controller in self.several.controllers() {
                let now = controller.status()?.generation;
                must(now == generation, || format!("{} is at {now}, not {generation}", controller.host.name()))?;
                controller.wait_in_force()?;
            }
            Ok(Seen::after(started.elapsed(), format!("generation {generation} on all three, in force on all hosts")))
        });
        Ok(())
    }

    fn the_database_is_killed(&mut self, report: &mut Report) -> Result<(), LabError> {
        let mut writes = Writes::prepare(&self.several)?;
        // Who is to hear it again has to have asked once.
        for controller in self.several.controllers() {
            controller.status()?;
        }
        let ran =
            writes.run(&self.several, || self.several.database.stop("KILL").map_err(|error| LabError::of(&error)));
        report.check("kill -9 of PostgreSQL: who wants to change something is told why not", || {
            ran?;
            let (done, refused) = (writes.done().len(), writes.refused().len());
            must(done > 0 && refused > 0, || format!("{done} were done, {refused} refused"))?;
            writes.all_clear()?;
            Ok(Seen::that(format!("{done} joins and revokes were done before, {refused} refused with the reason")))
        });
        report.check("who looks is told what was, and how old that is", || {
            let mut ages = Vec::new();
            for controller in self.several.controllers() {
                let said = controller.picket(&["status"])?.stderr;
                let age = said.lines().find(|line| line.contains("does not answer: this is what it said"));
                ages.push(age.ok_or_else(|| LabError::Unexpected { found: said.clone() })?.to_owned());
            }
            Ok(Seen::that(ages.pop().unwrap_or_default()))
        });
        self.nothing_lost(report);
        let started = Instant::now();
        let back = self.several.database.resume();
        report.check("PostgreSQL is back: every controller goes on by itself", || {
            back.map_err(|error| LabError::of(&error))?;
            for controller in self.several.controllers() {
                wait_until("a controller to take a change", SOON, || {
                    controller.token(picket_model::NodeRole::Sentry).map(drop)
                })?;
            }
            Ok(Seen::after(started.elapsed(), "from its start to a change through each of the three"))
        });
        report.check("what was answered `done` is there", || {
            writes.are_there(self.several.any()?)?;
            Ok(Seen::that(format!("{} joins and revokes", writes.done().len())))
        });
        report.check("what was refused is done when it is asked for again", || {
            let again = writes.repeat(&self.several)?;
            writes.are_there(self.several.any()?)?;
            Ok(Seen::that(format!("{again} joins and revokes")))
        });
        writes.tidy(self.several.any()?)
    }

    fn account(&mut self, report: &mut Report, witness: Witness) -> Result<(), LabError> {
        self.nothing_lost(report);
        report.check("all hosts are in force, every tunnel carries", || {
            let waited = self.several.any()?.wait_in_force()?;
            let tunnels = self.several.mesh.wait_for_tunnels()?;
            Ok(Seen::after(waited.took + tunnels.took, told(&self.several.wait_asked()?.value)))
        });
        report.check("generations only ever grew, on every controller", || {
            let seen = witness.end()?;
            for (controller, said) in &seen {
                must(said.is_sorted(), || format!("{controller} said {said:?}"))?;
            }
            let last = seen.values().filter_map(|said| said.last()).max().copied().unwrap_or_default();
            let looks: usize = seen.values().map(Vec::len).sum();
            Ok(Seen::that(format!("{looks} looks at three controllers, up to generation {last}")))
        });
        report.check("no plan was lost and none repeated: the audit log has each number once", || {
            let events: Vec<EventView> = self.several.any()?.json(&["events", "--limit", "1000"])?;
            let mut plans: Vec<u64> = Vec::new();
            for event in events.iter().filter(|event| event.action == "plan.committed") {
                plans.push(event.subject.parse().map_err(|_| LabError::Unexpected { found: format!("{event:?}") })?);
            }
            plans.sort_unstable();
            let expected: Vec<u64> = (1..).take(plans.len()).collect();
            must(plans == expected && !plans.is_empty(), || format!("{plans:?}"))?;
            self.several.any()?.picket(&["events", "--verify"])?.success()?;
            Ok(Seen::that(format!("1 to {}", plans.len())))
        });
        report.check("no agent ever took an older wanted state", || {
            let (mut taken_in_all, mut agents) = (0, 0);
            let Mesh { preps, sentries, revoked, .. } = &self.several.mesh;
            for agent in preps.iter().chain(sentries).chain(revoked) {
                let taken = taken(agent);
                let grows = taken.windows(2).all(|pair| matches!(pair, [before, after] if before < after));
                must(grows && !taken.is_empty(), || format!("{} took {taken:?}", agent.name()))?;
                (taken_in_all, agents) = (taken_in_all + taken.len(), agents + 1);
            }
            Ok(Seen::that(format!("{taken_in_all} taken by {agents} agents, as their logs have it")))
        });
        report.check("revoked hosts stay out", || {
            for revoked in &self.several.mesh.revoked {
                for prep in &self.several.mesh.preps {
                    let answer = prep.host.ping(revoked.overlay()?.v4.into(), DROPPED);
                    must(answer.is_none(), || format!("{} answers {}", revoked.name(), prep.name()))?;
                    let to = prep.host.v4(GUARDED[0])?;
                    revoked.host.can_connect(to, DROPPED).must_be(Connect::Filtered)?;
                }
            }
            Ok(Seen::that(format!("{} hosts, tunnels and guarded ports", self.several.mesh.revoked.len())))
        });
        Ok(())
    }
}

/// The hosts at each controller.
fn hosts_at(asked: &BTreeMap<String, String>) -> BTreeMap<&str, Vec<&str>> {
    let mut at = BTreeMap::<&str, Vec<&str>>::new();
    asked.iter().for_each(|(host, controller)| at.entry(controller).or_default().push(host));
    at
}

fn told(asked: &BTreeMap<String, String>) -> String {
    let lines = hosts_at(asked).into_iter().map(|(controller, hosts)| format!("{controller}: {}", hosts.join(" ")));
    lines.collect::<Vec<_>>().join(", ")
}
