//! What guard, nft and kernel would say to the firewall that this host is to have, and what would change. Changes nothing.

use crate::{
    cli::Place,
    guard::{Guard, GuardRules},
    identity::Identity,
    ledger::Ledger,
    reconcile::HostFilter,
    state::StateDir,
    status::{policy, print_json},
    vouch::Vouched,
};
use anyhow::{Result, bail};
use picket_firewall::Nft;
use serde::Serialize;

#[derive(Serialize)]
struct Judged {
    /// Why the guard refuses the wanted state that is held; then this is about the closed firewall in its place.
    guard_refuses: Option<String>,
    /// Why nft or the kernel would refuse the rules.
    nft_refuses: Option<String>,
    /// What would change.
    changes: Vec<String>,
}

/// Prints what each of them says; an error where one would refuse.
pub async fn dry_run(place: &Place, json: bool) -> Result<()> {
    let (policy, mut filter) = (policy(place)?, HostFilter::new(Nft::locate()?, place));
    let changes = filter.changes(&policy).await?;
    let judged = Judged {
        guard_refuses: guard_refuses(place)?,
        nft_refuses: filter.complaint(&policy).await?,
        changes: changes.iter().map(ToString::to_string).collect(),
    };
    if json {
        print_json(&judged)?;
    } else {
        print_judged(&judged);
    }
    if judged.guard_refuses.is_some() || judged.nft_refuses.is_some() {
        bail!("the firewall that this host is to have would not be taken as it is");
    }
    Ok(())
}

fn print_judged(judged: &Judged) {
    match &judged.guard_refuses {
        Some(violation) => println!("guard    refuses what is held: {}", violation.escape_debug()),
        None => println!("guard    refuses nothing"),
    }
    match &judged.nft_refuses {
        Some(complaint) => println!("nft      would refuse the rules:\n{complaint}"),
        None => println!("nft      would take the rules"),
    }
    match judged.changes.len() {
        0 => println!("changes  none: they are in force"),
        count => println!("changes  {count}"),
    }
    judged.changes.iter().for_each(|change| println!("  {change}"));
}

fn guard_refuses(place: &Place) -> Result<Option<String>> {
    let state = StateDir::new(&place.state_dir);
    let rules = GuardRules::load(place.guard.as_deref())?;
    let Some(identity) = Identity::load(&state)? else { return Ok(None) };
    let guard = Guard::new(rules, &identity, Vouched::load(&state)?);
    let refused = Ledger::load_of(&state, &identity)?.admitted(&guard).err();
    Ok(refused.map(|violation| violation.to_string()))
}
