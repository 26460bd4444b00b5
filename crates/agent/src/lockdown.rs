//! The firewall without the agent: closed before the network comes up, and gone when Picket is uninstalled.

use crate::{
    cli::Place,
    guard::GuardRules,
    identity::{Identity, Keys},
    ledger::Ledger,
    reconcile::{Filter as _, HostFilter, remove_device},
    state::StateDir,
    status::wanted_policy,
};
use anyhow::{Context as _, Result, bail};
use picket_firewall::{Firewall, Nft};

/// Brings the ledger's firewall into force, or the closed one where there is none. Where the files cannot be read: what
/// is in the kernel stays, and where there is nothing, guarded ports are closed; an error in both cases.
pub async fn lockdown(place: &Place) -> Result<()> {
    let mut filter = HostFilter::new(Nft::locate()?, place);
    match wanted_policy(place) {
        Ok(policy) => {
            filter.apply(&policy).await?;
            Ok(())
        }
        Err(error) => match close_if_open(place, &mut filter).await {
            Ok(true) => Err(error.context("guarded ports were closed to all but admin networks")),
            Ok(false) => Err(error.context("the firewall was left as it is")),
            Err(open) => Err(open.context(format!("guarded ports could not be closed, after: {error:#}"))),
        },
    }
}

/// Closes guarded ports to all but admin networks where no table of ours is in the kernel; a table that is there stays
/// as it is. Needs no file to be readable. Whether there was none.
pub async fn close_if_open(place: &Place, filter: &mut HostFilter) -> Result<bool> {
    if filter.is_present().await? {
        return Ok(false);
    }
    let state = StateDir::new(&place.state_dir);
    let ledger = match Identity::load(&state) {
        Ok(Some(identity)) => Ledger::load_of(&state, &identity),
        _ => Ledger::load(&state),
    };
    let ledger = ledger.unwrap_or_default();
    let rules = GuardRules::load(place.guard.as_deref()).unwrap_or_default();
    filter.apply(&rules.closed(ledger.config.as_ref().map(|config| &config.firewall))).await?;
    Ok(true)
}

/// Takes our table and device away. The folder stays: the host is still enrolled.
pub async fn uninstall(place: &Place, yes: bool) -> Result<()> {
    if !yes {
        bail!("this opens every guarded port of this host; say --yes if that is what you want");
    }
    let state = StateDir::new(&place.state_dir);
    let _lock = if state.path().exists() { Some(state.lock()?) } else { None };
    let own = Keys::load(&state).ok().map(|keys| keys.wireguard_public());
    let removed = remove_device(&place.interface.to_string(), own).await;
    Firewall::new(Nft::locate()?).remove().await?;
    removed.context("the firewall was removed, the tunnels were not")?;
    println!("removed: firewall table and tunnel device; nothing of Picket is in force on this host");
    if Identity::load(&state)?.is_some() {
        println!("it is still enrolled: revoke it at the controller, then remove {}", state.path().display());
    }
    Ok(())
}
