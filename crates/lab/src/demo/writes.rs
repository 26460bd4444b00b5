//! Joins and revokes through three controllers while their database dies: what came of each, and whether that is so afterwards.

use super::story::must;
use crate::{
    LabError,
    mesh::{Agent, Controller, SOON, Several},
    wait_until,
};
use picket_api::operator::RevokeReceipt;
use std::{
    sync::{Mutex, PoisonError},
    thread,
};

/// Hosts that join through each controller; every second one is revoked again.
const HOSTS: usize = 3;
/// So many are done before the database dies.
const BEFORE: usize = 3;
/// What a refusal has to say.
const WHY: &str = "database does not answer";

/// One thing that was asked for, and what was said.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    wish: Wish,
    /// The number of the host that it is about.
    host: usize,
    /// Empty where it was done.
    pub(super) said: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Join,
    Revoke,
}

/// A host that is to join, and its token.
struct Newcomer {
    agent: Agent,
    token: String,
}

/// Everything that was asked for.
pub(super) struct Writes {
    newcomers: Vec<Newcomer>,
    asked: Vec<Asked>,
}

impl Writes {
    /// Makes the hosts and their tokens.
    pub(super) fn prepare(several: &Several) -> Result<Self, LabError> {
        let controllers: Vec<&Controller> = several.controllers().collect();
        let mut newcomers = Vec::new();
        for (number, through) in (0..HOSTS * controllers.len()).zip(controllers.iter().cycle()) {
            let agent = several.newcomer(&format!("newcomer-{number}"), 100 + number)?;
            let token = through.token(agent.role)?;
            newcomers.push(Newcomer { agent, token });
        }
        Ok(Self { newcomers, asked: Vec::new() })
    }

    /// Has hosts join and be revoked through all controllers at once, and does `meanwhile` once some of that is done.
    pub(super) fn run(
        &mut self,
        several: &Several,
        meanwhile: impl FnOnce() -> Result<(), LabError>,
    ) -> Result<(), LabError> {
        let controllers: Vec<&Controller> = several.controllers().collect();
        let (newcomers, asked) = (&self.newcomers, Mutex::new(Vec::new()));
        let done = || lock(&asked).iter().filter(|asked: &&Asked| asked.said.is_empty()).count();
        let outcome = thread::scope(|scope| {
            for (which, through) in controllers.iter().enumerate() {
                let (asked, count) = (&asked, controllers.len());
                scope.spawn(move || {
                    for (host, newcomer) in newcomers.iter().enumerate().skip(which).step_by(count) {
                        let wishes = if (host / count).is_multiple_of(2) {
                            &[Wish::Join, Wish::Revoke][..]
                        } else {
                            &[Wish::Join]
                        };
                        for wish in wishes {
                            let said = carry_out(*wish, newcomer, through);
                            lock(asked).push(Asked { wish: *wish, host, said });
                        }
                    }
                });
            }
            wait_until("some joins and revokes to be done", SOON, || done() >= BEFORE)?;
            meanwhile()
        });
        self.asked = asked.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcome
    }

    /// What was answered as done.
    pub(super) fn done(&self) -> Vec<&Asked> {
        self.asked.iter().filter(|asked| asked.said.is_empty()).collect()
    }

    /// What was not.
    pub(super) fn refused(&self) -> Vec<&Asked> {
        self.asked.iter().filter(|asked| !asked.said.is_empty()).collect()
    }

    /// Whether each refusal says what is wrong.
    pub(super) fn all_clear(&self) -> Result<(), LabError> {
        let unclear = self.refused().into_iter().find(|refused| !refused.said.contains(WHY));
        must(unclear.is_none(), || format!("{unclear:?}"))
    }

    /// Whether a controller knows of everything that was answered as done. A revoke that was refused may have been carried out: the
    /// database may have died with its answer.
    pub(super) fn are_there(&self, controller: &Controller) -> Result<(), LabError> {
        let nodes = controller.nodes()?;
        for asked in self.done() {
            let name = self.name(asked.host);
            let known = nodes.iter().find(|view| view.node.name.as_str() == name);
            let mut revokes = self.asked.iter().filter(|other| other.host == asked.host && other.wish == Wish::Revoke);
            let is_so = known.is_some_and(|view| match revokes.next() {
                Some(revoke) => !view.node.is_active() || !revoke.said.is_empty(),
                None => view.node.is_active(),
            });
            must(is_so, || format!("{:?} was done, and {name} is {known:?}", asked.wish))?;
        }
        Ok(())
    }

    /// Asks again for what was refused, each through another controller; how many that were.
    pub(super) fn repeat(&mut self, several: &Several) -> Result<usize, LabError> {
        let controllers: Vec<&Controller> = several.controllers().collect();
        let mut again = 0;
        for number in 0..self.asked.len() {
            let Some(Asked { wish, host, said }) = self.asked.get(number).cloned() else { continue };
            if said.is_empty() {
                continue;
            }
            let (Some(newcomer), Some(through)) =
                (self.newcomers.get(host), controllers.get((host + 1) % controllers.len()))
            else {
                return Err(LabError::Gone);
            };
            let said = carry_out(wish, newcomer, through);
            must(said.is_empty(), || format!("{wish:?} of {}: {said}", newcomer.agent.name()))?;
            if let Some(asked) = self.asked.get_mut(number) {
                asked.said.clear();
            }
            again += 1;
        }
        Ok(again)
    }

    /// Takes those out that are members: no agent of theirs runs.
    pub(super) fn tidy(&self, controller: &Controller) -> Result<(), LabError> {
        for view in controller.nodes()?.iter().filter(|view| view.node.is_active()) {
            let name = view.node.name.as_str();
            if self.newcomers.iter().any(|newcomer| newcomer.agent.name() == name) {
                let _: RevokeReceipt = controller.json(&["revoke", name, "--wait", "10s"])?;
            }
        }
        Ok(())
    }

    fn name(&self, host: usize) -> &str {
        self.newcomers.get(host).map_or("", |newcomer| newcomer.agent.name())
    }
}

/// Asks once; empty if it was done, else what was said.
fn carry_out(wish: Wish, newcomer: &Newcomer, through: &Controller) -> String {
    let done = match wish {
        Wish::Join => {
            newcomer.agent.try_enroll(through.url(), &newcomer.token).and_then(crate::Output::success).map(drop)
        }
        Wish::Revoke => {
            let revoked: Result<RevokeReceipt, LabError> =
                through.json(&["revoke", newcomer.agent.name(), "--wait", "0s"]);
            revoked.map(drop)
        }
    };
    match done {
        Ok(()) => String::new(),
        Err(LabError::Command { stderr, .. }) => stderr.trim().to_owned(),
        Err(error) => error.to_string(),
    }
}

fn lock(asked: &Mutex<Vec<Asked>>) -> std::sync::MutexGuard<'_, Vec<Asked>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}
