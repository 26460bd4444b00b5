//! What goes wrong in a soak: each thing happens, is seen to have happened, and is over.

use crate::{
    LabError, Random,
    icon::Behaviour,
    mesh::{Agent, Mesh, SOON},
    wait_until,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use picket_model::PrepId;
use std::{fmt, fs, io, time::Duration};

/// Questions that chain endpoints answer wrongly before they come to their senses. Who gets no answer asks less and less often.
const QUESTIONS: u64 = 2;
const ASKED_WITHIN: Duration = Duration::from_secs(90);
/// Entries of the list that are hosts of the lab; the others may move.
const OWN: usize = 3;
/// An answer inside the mesh takes well under a millisecond.
const ANSWER: Duration = Duration::from_millis(300);

/// One thing that goes wrong. Hosts are by their place among the mesh's agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    AgentKilled(usize),
    /// It is stopped while the controller asks the chain, and goes on.
    AgentStopped(usize),
    ControllerKilled,
    HostCutOff(usize),
    RulesFlushed(usize),
    InterfaceRemoved(usize),
    /// Revoked, and enrolled anew with new keys.
    SentryReplaced(usize),
    ChainSilent,
    ChainEmpty,
    SourceLies(usize),
    /// The entry with this number of the list, and the last part of its new address.
    ValidatorMoves(usize, usize),
}

impl Fault {
    pub(super) fn draw(random: &mut Random, mesh: &Mesh) -> Self {
        let agent = random.below(mesh.agents().count());
        match random.below(11) {
            0 => Self::AgentKilled(agent),
            1 => Self::AgentStopped(agent),
            2 => Self::ControllerKilled,
            3 => Self::HostCutOff(agent),
            4 => Self::RulesFlushed(agent),
            5 => Self::InterfaceRemoved(agent),
            6 => Self::SentryReplaced(random.below(mesh.sentries.len())),
            7 => Self::ChainSilent,
            8 => Self::ChainEmpty,
            9 => Self::SourceLies(random.below(mesh.icons.len())),
            _ => {
                Self::ValidatorMoves(OWN + random.below(mesh.chain.state().preps.len() - OWN), 100 + random.below(100))
            }
        }
    }

    /// What it is called, whoever it happens to.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::AgentKilled(_) => "agent killed",
            Self::AgentStopped(_) => "agent stopped and continued",
            Self::ControllerKilled => "controller killed",
            Self::HostCutOff(_) => "host cut off",
            Self::RulesFlushed(_) => "rules flushed by hand",
            Self::InterfaceRemoved(_) => "interface removed by hand",
            Self::SentryReplaced(_) => "sentry revoked and enrolled anew",
            Self::ChainSilent => "chain endpoints silent",
            Self::ChainEmpty => "chain endpoints say that there are no validators",
            Self::SourceLies(_) => "chain endpoint leaves out half",
            Self::ValidatorMoves(..) => "validator moves",
        }
    }

    /// Whether it takes away by force what keeps strangers out.
    pub(super) fn takes_the_rules(self) -> bool {
        matches!(self, Self::RulesFlushed(_))
    }

    /// Lets it happen; returns once it is over, and not before it was seen.
    pub(super) fn happen(self, mesh: &mut Mesh) -> Result<(), LabError> {
        match self {
            Self::AgentKilled(number) => {
                let agent = agent(mesh, number);
                agent.kill();
                agent.start()
            }
            Self::AgentStopped(number) => {
                signal(agent(mesh, number), Signal::SIGSTOP)?;
                let asked = wait_asked(mesh);
                signal(agent(mesh, number), Signal::SIGCONT)?;
                asked
            }
            Self::ControllerKilled => {
                mesh.controller.kill();
                mesh.controller.start()
            }
            Self::HostCutOff(number) => cut_off(mesh, number),
            Self::RulesFlushed(number) => agent(mesh, number).host.nft(&["flush", "ruleset"]).map(drop),
            Self::InterfaceRemoved(number) => {
                let removed = agent(mesh, number).host.run("ip", &["link", "delete", "picket0"])?;
                removed.success().map(drop)
            }
            Self::SentryReplaced(number) => replace(mesh, number),
            Self::ChainSilent => behave(mesh, &Behaviour::Html),
            Self::ChainEmpty => behave(mesh, &Behaviour::EmptyPreps),
            Self::SourceLies(number) => {
                mesh.icons[number].set_behaviour(Behaviour::HalfPreps);
                let asked = wait_asked(mesh);
                mesh.icons[number].set_behaviour(Behaviour::Normal);
                asked
            }
            Self::ValidatorMoves(entry, last) => move_entry(mesh, entry, last),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::AgentKilled(number)
            | Self::AgentStopped(number)
            | Self::HostCutOff(number)
            | Self::RulesFlushed(number)
            | Self::InterfaceRemoved(number) => write!(f, " (host {number})"),
            Self::SentryReplaced(number) => write!(f, " (sentry {number})"),
            Self::SourceLies(number) => write!(f, " (source {number})"),
            Self::ValidatorMoves(entry, _) => write!(f, " (entry {entry})"),
            Self::ControllerKilled | Self::ChainSilent | Self::ChainEmpty => Ok(()),
        }
    }
}

fn agent(mesh: &mut Mesh, number: usize) -> &mut Agent {
    let preps = mesh.preps.len();
    if number < preps { &mut mesh.preps[number] } else { &mut mesh.sentries[number - preps] }
}

fn signal(agent: &Agent, signal: Signal) -> Result<(), LabError> {
    let process = agent.process().ok_or(LabError::Gone)?;
    let id = i32::try_from(process.id()).map_err(|_| LabError::Gone)?;
    let sent = kill(Pid::from_raw(id), signal);
    sent.map_err(|error| LabError::io(format!("send {signal} to {}", agent.name()), io::Error::from(error)))
}

/// Until every chain endpoint was asked a few times more.
fn wait_asked(mesh: &Mesh) -> Result<(), LabError> {
    let before = mesh.requests();
    wait_until("the controller to ask the chain", ASKED_WITHIN, || {
        let now = mesh.requests();
        let asked = now.iter().zip(&before).all(|(now, before)| *now >= before + QUESTIONS);
        if asked { Ok(()) } else { Err(format!("{before:?} and {now:?}")) }
    })
    .map(drop)
}

fn behave(mesh: &Mesh, behaviour: &Behaviour) -> Result<(), LabError> {
    mesh.all_behave(behaviour);
    let asked = wait_asked(mesh);
    mesh.all_behave(&Behaviour::Normal);
    asked
}

/// Off the network until others have noticed.
fn cut_off(mesh: &mut Mesh, number: usize) -> Result<(), LabError> {
    let (from, to) = if number < mesh.preps.len() {
        (mesh.sentries[0].host.clone(), mesh.preps[number].overlay()?)
    } else {
        (mesh.preps[0].host.clone(), mesh.sentries[number - mesh.preps.len()].overlay()?)
    };
    let host = agent(mesh, number).host.clone();
    host.unplug()?;
    let gone = wait_until("the host to be gone", SOON, || from.ping(to.v4.into(), ANSWER).is_none());
    host.plug()?;
    gone.map(drop)
}

fn replace(mesh: &mut Mesh, number: usize) -> Result<(), LabError> {
    let name = mesh.sentries[number].name().to_owned();
    mesh.controller.picket(&["revoke", &name, "--wait", "20s"])?.success()?;
    let sentry = &mut mesh.sentries[number];
    wait_until("the revoked agent to end", SOON, || !sentry.is_running())?;
    let state = sentry.state_folder();
    fs::remove_dir_all(state).map_err(|error| LabError::io(format!("remove {state}"), error))?;
    sentry.enroll(&mesh.controller)?;
    sentry.start()
}

/// Until the move is planned, or is told to be one too many.
fn move_entry(mesh: &Mesh, entry: usize, last: usize) -> Result<(), LabError> {
    let address = |entry: &crate::icon::Prep| entry.get("address")?.as_str()?.parse::<PrepId>().ok();
    let prep = mesh.chain.state().preps.get(entry).and_then(address).ok_or(LabError::Gone)?;
    let endpoint = format!("198.51.100.{last}:7100");
    mesh.chain.set_endpoint(prep, &endpoint);
    wait_until("the move to be planned", ASKED_WITHIN, || {
        let known = mesh.controller.validators().map_err(|error| error.to_string())?;
        let found = known.validators.iter().find(|known| known.prep == prep).ok_or("not listed")?.endpoint.to_string();
        let complaints = mesh.controller.complaints().map_err(|error| error.to_string())?;
        let is_held = |line: &String| line.contains(&prep.to_string()) && line.contains("moves too often");
        if found == endpoint || complaints.iter().any(is_held) { Ok(()) } else { Err(found) }
    })
    .map(drop)
}
