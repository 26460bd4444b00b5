//! The last wanted state the host accepted, on disk before it is put in force. Unreadable is an error, never empty.

use crate::{
    guard::{Guard, GuardViolation, admit},
    identity::Identity,
    state::{Kind, StateDir, StateError},
};
use picket_model::{FirewallPolicy, Generation, NodeConfig, NodeId};
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

    /// The firewall that is to be in force.
    pub fn firewall(&self, guard: &Guard) -> FirewallPolicy {
        match self.admitted(guard) {
            Ok(Some(config)) => guard.rules.with_admin(&config.firewall),
            _ => guard.rules.closed(self.config.as_ref().map(|config| &config.firewall)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        guard::tests::{config, guard},
        identity::tests::identity,
    };
    use picket_model::Purpose;

    #[test]
    fn what_was_accepted_is_held_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        assert_eq!(Ledger::load(&state).unwrap(), Ledger::default());
        let ledger = Ledger { standing: Standing::Revoked, config: Some(config()) };
        ledger.save(&state).unwrap();
        assert_eq!(Ledger::load(&state).unwrap(), ledger);
        assert_eq!(ledger.revision(), config().revision);
    }

    #[test]
    fn an_unreadable_ledger_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        Ledger { standing: Standing::Member, config: Some(config()) }.save(&state).unwrap();
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
        let ledger = Ledger { standing: Standing::Member, config: Some(config()) };
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

    /// Whether a validator's address is let in under a ledger.
    fn lets_in(guard: &Guard, ledger: &Ledger) -> bool {
        let policy = ledger.firewall(guard);
        assert!(guard.rules.guarded_ports().all(|port| policy.guarded.contains_key(&port)));
        policy.allowed(Purpose::P2p).covering("203.0.113.7".parse().unwrap()).next().is_some()
    }

    #[test]
    fn only_a_member_with_an_admitted_state_lets_anybody_in() {
        let (guard, config) = (guard(), Some(config()));
        let mut strict = guard.clone();
        strict.rules.max_peers = 0;
        let member = Ledger { standing: Standing::Member, config: config.clone() };
        assert!(lets_in(&guard, &member));
        assert!(!lets_in(&strict, &member));
        assert!(!lets_in(&guard, &Ledger { standing: Standing::Revoked, config }));
        assert!(!lets_in(&guard, &Ledger::default()));
    }
}
