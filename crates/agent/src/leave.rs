//! A host leaves its mesh by its own word: the controller is told, the host closes itself, and nothing is left by which it was
//! a member. An agent that runs meanwhile hears of it as of a revoke, and ends.

use crate::{
    cli::Place,
    guard::{Guard, GuardRules},
    host,
    identity::{Identity, Keys, client_certificate},
    ledger::Ledger,
    pairing::PairKeys,
    reconcile::{HostFilter, HostTunnels},
    run::cut_off,
    state::{StateDir, StateError},
    subscribe::Controllers,
    vouch::Vouched,
};
use anyhow::{Context as _, Result, bail};
use picket_api::{AgentClient, ApiError, ProblemKind};
use picket_firewall::Nft;
use picket_progress::Progress;
use picket_wireguard::Preference;
use std::time::Duration;
use tokio::time::timeout;
use tracing::{info, warn};

/// A service manager waits 90 s for a program to stop, an autoscaling group's shutdown often less.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an agent that runs may take to hear of it, close and end.
const AGENT_ENDS: Duration = Duration::from_secs(15);

/// Whether the agent leaves the mesh when it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It stays a member: a restart is no goodbye.
    Never,
    /// It leaves: the host is about to be no more.
    OnStop,
}

impl Leaving {
    /// On stop or never.
    pub const fn when(on_stop: bool) -> Self {
        if on_stop { Self::OnStop } else { Self::Never }
    }
}

/// Leaves the mesh, closes this host and forgets its keys; says what came of it.
pub async fn leave(place: &Place) -> Result<String> {
    let state = StateDir::new(&place.state_dir);
    let Some(identity) = Identity::load(&state)? else {
        bail!("this host is not enrolled ({} has no identity): there is nothing to leave", place.state_dir.display());
    };
    identity.check_machine(&state, host::machine_id().as_deref())?;
    let guard = Guard::new(GuardRules::load(place.guard.as_deref())?, &identity, Vouched::load(&state)?);
    let keys = Keys::load(&state)?;
    let mut controllers = Controllers::new(&identity, &client_certificate(&state)?)?;
    let (mut silent, progress) = (Vec::new(), Progress::begin("a controller"));
    for url in &identity.controllers {
        progress.now(format!("controller {url} to hear that this host leaves"));
        match tell(controllers.client()).await {
            Ok(()) => {
                silent.clear();
                break;
            }
            Err(error) => silent.push(format!("{url}: {error}")),
        }
        controllers.turn();
    }
    if !silent.is_empty() {
        let (name, why) = (&identity.name, silent.join("; "));
        bail!(
            "no controller took this host's leave, and nothing was changed; `picket revoke {name}` does it there: {why}"
        );
    }
    progress.now("the agent of this host to end");
    let lock = state.lock_within(AGENT_ENDS).await;
    let _lock = lock.context("this host left its mesh, and its agent does not end")?;
    let pairs = PairKeys { mesh: identity.mesh.clone(), identity: keys.identity };
    let tunnels = HostTunnels::new(&place.interface, Preference::default(), keys.wireguard, pairs);
    let filter = HostFilter::new(Nft::locate()?, place);
    cut_off(&state, Ledger::load_of(&state, &identity)?, &guard, tunnels, filter).await?;
    forget(&state)?;
    Ok(format!(
        "left: {} ({}) is no member of mesh {} any more; guarded ports are closed until this host is enrolled again or \
         `uninstall --yes`",
        identity.name, identity.node, identity.mesh
    ))
}

/// Tells the controller, without waiting for long. Whether it knows; where it does not, the host's lease will end.
pub(crate) async fn said(client: &AgentClient) -> bool {
    match timeout(PATIENCE, tell(client)).await {
        Ok(Ok(())) => {
            info!("left the mesh");
            true
        }
        Ok(Err(error)) => {
            warn!(%error, "the controller did not hear that this host leaves; its lease will end");
            false
        }
        Err(_) => {
            warn!("the controller did not hear in time that this host leaves; its lease will end");
            false
        }
    }
}

/// Forgets who this host was: identity first, so that nobody takes it for a member without keys.
pub(crate) fn forget(state: &StateDir) -> Result<()> {
    let forgotten = || -> Result<(), StateError> {
        state.remove("identity.json")?;
        state.remove("certificate.pem")?;
        state.keys()?.iter().try_for_each(|key| state.remove(key))
    };
    forgotten().context("this host left its mesh, and its keys are still here")
}

/// A host that was revoked meanwhile has left as well.
async fn tell(client: &AgentClient) -> Result<(), ApiError> {
    match client.leave().await {
        Err(error) if error.kind() == Some(ProblemKind::NodeRevoked) => Ok(()),
        told => told,
    }
}

/// The right to write in the folder, once the agent that runs has ended.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_by_which_the_host_was_a_member() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        for name in ["identity.json", "certificate.pem", "tls.key", "wireguard.key", "another.key", "ledger.json"] {
            state.write(name, b"x").unwrap();
        }
        forget(&state).unwrap();
        let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["ledger.json"]);
        forget(&state).unwrap();
    }
}
