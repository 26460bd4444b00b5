//! The last wanted state the host accepted, on disk before it is put in force. Unreadable is an error, never empty.

use crate::{
    additions::Additions,
    confirm::Trial,
    guard::{Guard, GuardViolation, admit},
    guard_hidden::sparing,
    identity::Identity,
    posture::{AgentIs, Facts, Posture},
    state::{Kind, StateDir, StateError},
};
use picket_model::{FirewallPolicy, Generation, NodeConfig, NodeId, TakenBack};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

const LEDGER: Kind = Kind {
    name: "ledger.json",
    version: 1,
    remedy: "move it away and start the agent, which asks the controller again (until it has answered, only admin \
             networks of the guard reach guarded ports)",
};

/// What the host holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Member or not.
    pub standing: Standing,
    /// The last wanted state accepted; `None` before the first.
    pub config: Option<NodeConfig>,
    /// Where that changed more than elements and is not confirmed yet: what returns if it never is. Written before the change
    /// is applied, so that an agent that is killed in between knows at its next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// The revision whose trial an agent did not live to see the end of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<Generation>,
    /// The change that was taken back, until something newer is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<TakenBack>,
    /// That change, as long as it is only suspected: no controller was reached without it either, so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspected: Option<NodeConfig>,
    /// Entries let in within the last hour, for the guard's limit.
    #[serde(default, skip_serializing_if = "Additions::is_empty")]
    pub additions: Additions,
}

/// Whether the host belongs to its mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It does.
    #[default]
    Member,
    /// It was cut off for good.
    Revoked,
}

impl Ledger {
    /// The ledger in the folder; a new one where there is none yet.
    pub fn load(state: &StateDir) -> Result<Self, StateError> {
        Ok(state.read_json(LEDGER)?.unwrap_or_default())
    }

    /// The ledger of the host that `identity` speaks of; one of another host or mesh is an error.
    pub fn load_of(state: &StateDir, identity: &Identity) -> Result<Self, StateError> {
        let ledger = Self::load(state)?;
        let stranger = |config: &NodeConfig| (&config.mesh, &config.node) != (&identity.mesh, &identity.node);
        match &ledger.config {
            Some(config) if stranger(config) => Err(StateError::OtherHost {
                path: state.path().join(LEDGER.name),
                found: format!("{} in mesh {}", config.node, config.mesh),
                wanted: format!("{} in mesh {}", identity.node, identity.mesh),
                remedy: LEDGER.remedy,
            }),
            _ => Ok(ledger),
        }
    }

    /// Moves the ledger of an earlier membership out of the way, readable or not, for a host that becomes `node` now:
    /// its generations are not those of the new mesh, and that it was revoked there says nothing here.
    pub fn put_aside(state: &StateDir, node: &NodeId) -> Result<(), StateError> {
        state.rename(LEDGER.name, &format!("{}.before-{node}", LEDGER.name))
    }

    /// Stores it; on the disk when this returns.
    pub fn save(&self, state: &StateDir) -> Result<(), StateError> {
        state.write_json(LEDGER, self)
    }

    /// Revision held; zero for none.
    pub fn revision(&self) -> Generation {
        self.config.as_ref().map_or_else(Generation::default, |config| config.revision)
    }

    /// The wanted state that is to be in force, without peers whose proof the guard wants and has not seen: none before the
    /// first, after a revoke, or where the guard, whose file may have changed since it was accepted, refuses it now.
    pub fn admitted(&self, guard: &Guard) -> Result<Option<Cow<'_, NodeConfig>>, GuardViolation> {
        match (&self.config, self.standing) {
            (Some(config), Standing::Member) => admit(guard, config).map(|()| Some(guard.proven(config))),
            _ => Ok(None),
        }
    }

    /// The newest revision that was judged for good: nothing up to it is taken any more.
    pub fn judged(&self) -> Generation {
        self.revision().max(self.taken_back.as_ref().map_or_else(Generation::default, |taken| taken.revision))
    }

    /// The state of an enrolled host that holds this.
    pub fn posture(&self, guard: &Guard, released: bool, agent: AgentIs) -> Posture {
        let refused = self.admitted(guard).is_err();
        Posture::of(Facts { released, enrolled: true, ledger: self, refused, agent })
    }

    /// The firewall of an enrolled host in that state that holds this; `None` where it is to have none.
    pub fn firewall(&self, guard: &Guard, posture: Posture) -> Option<FirewallPolicy> {
        let admitted = self.admitted(guard).ok().flatten();
        let firewall = posture.firewall(&guard.rules, admitted.as_deref().or(self.config.as_ref()));
        firewall.map(|firewall| sparing(firewall, &guard.controllers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{guard::tests::config, identity::tests::identity};

    #[test]
    fn what_was_accepted_is_held_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        assert_eq!(Ledger::load(&state).unwrap(), Ledger::default());
        let ledger = Ledger { standing: Standing::Revoked, config: Some(config()), ..Ledger::default() };
        ledger.save(&state).unwrap();
        assert_eq!(Ledger::load(&state).unwrap(), ledger);
        assert_eq!(ledger.revision(), config().revision);
    }

    #[test]
    fn an_unreadable_ledger_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        Ledger { config: Some(config()), ..Ledger::default() }.save(&state).unwrap();
        let whole = state.read("ledger.json").unwrap().unwrap();
        for damaged in [&whole[..whole.len() / 2], b"", b"{\"version\":9}"] {
            state.write("ledger.json", damaged).unwrap();
            let error = Ledger::load(&state).unwrap_err().to_string();
            assert!(error.contains("ledger.json") && error.contains("move it away"), "{error}");
        }
    }

    #[test]
    fn the_ledger_of_another_host_or_mesh_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        let ledger = Ledger { config: Some(config()), ..Ledger::default() };
        ledger.save(&state).unwrap();
        assert_eq!(Ledger::load_of(&state, &identity()).unwrap(), ledger);
        for other in [
            Identity { mesh: "m-2".parse().unwrap(), ..identity() },
            Identity { node: "n-9".parse().unwrap(), ..identity() },
        ] {
            let error = Ledger::load_of(&state, &other).unwrap_err().to_string();
            assert!(error.contains("ledger.json is of n-1 in mesh m-1") && error.contains("move it away"), "{error}");
        }
    }
}
