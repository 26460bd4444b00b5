//! The firewall without the agent: closed before the network comes up, and gone when Picket is uninstalled.

use crate::{
    cli::Place,
    confirm::interrupted,
    guard::GuardRules,
    host,
    identity::Identity,
    ledger::Ledger,
    posture::Posture,
    reconcile::{Filter as _, HostFilter},
    release::{self, is_released},
    state::StateDir,
    status::wanted_policy,
};
use anyhow::{Result, bail};
use picket_firewall::Nft;
use tracing::error;

/// Brings the ledger's firewall into force, or the closed one where there is none. Where the files cannot be read: what
/// is in the kernel stays, and where there is nothing, guarded ports are closed; an error in both cases.
pub async fn lockdown(place: &Place) -> Result<()> {
    let mut filter = HostFilter::new(Nft::locate()?, place);
    // A change on trial is not what a machine starts with.
    match wanted_policy(place, |ledger| interrupted(&ledger, host::now())) {
        Ok(Some(policy)) => {
            filter.apply(&policy).await?;
            Ok(())
        }
        Ok(None) => {
            error!("this host was released by hand: every guarded port is open until `close`");
            filter.remove().await
        }
        Err(error) => match close_if_open(place, &mut filter).await {
            Ok(true) => Err(error.context("guarded ports were closed to all but admin networks")),
            Ok(false) => Err(error.context("the firewall was left as it is")),
            Err(open) => Err(open.context(format!("guarded ports could not be closed, after: {error:#}"))),
        },
    }
}

/// Closes guarded ports to all but admin networks where no table of ours is in the kernel; a table that is there stays
/// as it is, and so does a host that was released by hand. Needs no file to be readable. Whether there was none.
pub async fn close_if_open(place: &Place, filter: &mut HostFilter) -> Result<bool> {
    let state = StateDir::new(&place.state_dir);
    if filter.is_present().await? || is_released(&state) {
        return Ok(false);
    }
    let ledger = match Identity::load(&state) {
        Ok(Some(identity)) => Ledger::load_of(&state, &identity),
        _ => Ledger::load(&state),
    };
    let ledger = ledger.unwrap_or_default();
    let rules = GuardRules::load(place.guard.as_deref()).unwrap_or_default();
    let firewall = Posture::LockedDown.firewall(&rules, ledger.config.as_ref());
    filter.apply(&firewall.unwrap_or_else(|| rules.closed(None))).await?;
    Ok(true)
}

/// Takes our table and device away. The folder stays: the host is still enrolled.
pub async fn uninstall(place: &Place, yes: bool) -> Result<()> {
    if !yes {
        bail!("this opens every guarded port of this host; say --yes if that is what you want");
    }
    let state = StateDir::new(&place.state_dir);
    let _lock = if state.path().exists() { Some(state.lock()?) } else { None };
    release::open(place, host::now(), true).await?;
    println!("removed: firewall table and tunnel device; nothing of Picket is in force on this host");
    if Identity::load(&state)?.is_some() {
        println!("it is still enrolled: revoke it at the controller, then remove {}", state.path().display());
    }
    Ok(())
}
