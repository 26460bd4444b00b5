//! The firewall without the agent: closed before the network comes up, and gone when Picket is uninstalled.

use crate::{
    cli::Place,
    confirm::interrupted,
    guard::GuardRules,
    guard_hidden::sparing,
    host,
    identity::Identity,
    ledger::Ledger,
    posture::Posture,
    reconcile::{Filter as _, HostFilter},
    release::{self, is_released},
    state::StateDir,
    status::wanted_policy,
};
use anyhow::{Error, Result, bail};
use picket_firewall::{Nft, netlink::close};
use picket_model::FirewallPolicy;
use tracing::error;

/// Brings the ledger's firewall into force, or the closed one where there is none. Where the files cannot be read, or nft
/// is missing or broken: what is in the kernel stays, and where there is nothing, guarded ports are closed; an error in both
/// cases.
pub async fn lockdown(place: &Place) -> Result<()> {
    let mut filter = match Nft::locate() {
        Ok(nft) => HostFilter::new(nft, place),
        Err(error) => return Err(close_without_nft(place, error.into())),
    };
    // A change on trial is not what a machine starts with.
    match wanted_policy(place, |ledger| interrupted(&ledger, host::now())) {
        Ok(Some(policy)) => match filter.apply(&policy).await {
            Ok(_) => Ok(()),
            Err(error) => Err(close_without_nft(place, error)),
        },
        Ok(None) => {
            error!("this host was released by hand: every guarded port is open until `close`");
            filter.remove().await
        }
        Err(error) => match close_if_open(place, &mut filter).await {
            Ok(true) => Err(error.context("guarded ports were closed to all but admin networks")),
            Ok(false) => Err(error.context("the firewall was left as it is")),
            Err(open) => {
                Err(close_without_nft(place, open.context(format!("guarded ports are open, after: {error:#}"))))
            }
        },
    }
}

/// What is done where nft does nothing: guarded ports are closed through the kernel itself, where no table of ours is in
/// it and nobody released the host. The error with what became of that.
pub fn close_without_nft(place: &Place, error: Error) -> Error {
    if is_released(&StateDir::new(&place.state_dir)) {
        return error;
    }
    match close(&closed(place)) {
        Ok(true) => error.context("guarded ports were closed to all but admin networks, without nft"),
        Ok(false) => error.context("the firewall was left as it is"),
        Err(open) => error.context(format!("guarded ports could not be closed: {:#}", Error::from(open))),
    }
}

/// Closes guarded ports to all but admin networks where no table of ours is in the kernel; a table that is there stays
/// as it is, and so does a host that was released by hand. Needs no file to be readable. Whether there was none.
pub async fn close_if_open(place: &Place, filter: &mut HostFilter) -> Result<bool> {
    let state = StateDir::new(&place.state_dir);
    if filter.is_present().await? || is_released(&state) {
        return Ok(false);
    }
    filter.apply(&closed(place)).await?;
    Ok(true)
}

/// All closed to all but admin networks, by as much as can be read.
fn closed(place: &Place) -> FirewallPolicy {
    let state = StateDir::new(&place.state_dir);
    let identity = Identity::load(&state).ok().flatten();
    let ledger = identity.as_ref().map_or_else(|| Ledger::load(&state), |identity| Ledger::load_of(&state, identity));
    let ledger = ledger.unwrap_or_default();
    let rules = GuardRules::load(place.guard.as_deref()).unwrap_or_default();
    let firewall = Posture::LockedDown.firewall(&rules, ledger.config.as_ref());
    let controllers = identity.map(|identity| identity.controller_ports()).unwrap_or_default();
    sparing(firewall.unwrap_or_else(|| rules.closed(None)), &controllers)
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
