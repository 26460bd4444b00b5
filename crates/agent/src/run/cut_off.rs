//! The end of membership: written down, then tunnels go, then the firewall closes.

use super::{End, telling::note};
use crate::{
    chain::Word,
    guard::Guard,
    host,
    ledger::{Ledger, Standing},
    posture::{AgentIs, Posture},
    reconcile::{Found, HostFilter, HostTunnels, Wanted, reconcile},
    release::is_released,
    report::report,
    state::StateDir,
    status::LastWord,
};
use anyhow::{Context as _, Result, bail};
use picket_api::{ApiError, ProblemKind};
use picket_model::Generation;
use tracing::warn;

/// Leaves the mesh: written down first, so that a restart stays closed; then tunnels, then the firewall.
pub(crate) async fn cut_off(
    state: &StateDir,
    mut ledger: Ledger,
    guard: &Guard,
    mut tunnels: HostTunnels,
    mut filter: HostFilter,
) -> Result<End> {
    ledger.standing = Standing::Revoked;
    let written = ledger.save(state).map_err(anyhow::Error::from);
    let posture = ledger.posture(guard, is_released(state), AgentIs::Away);
    let wanted = Wanted { wireguard: None, firewall: ledger.firewall(guard, posture) };
    let found = reconcile(&mut tunnels, &mut filter, &wanted).await;
    let refused = Some("the controller revoked this host".to_owned());
    let mut report = report(&found, Generation::default(), None, refused, tunnels.engine(), Word::default());
    report.state = Some(posture.name().to_owned());
    note(state, &LastWord { at: host::now(), controller_answers: None, report });
    written.context("this host was revoked, and that could not be written down")?;
    if posture == Posture::Released && found.wireguard.is_in_force() {
        warn!("this host was revoked, and was opened by hand before: its guarded ports are open until `close`");
    } else if !found.is_in_force() {
        let Found { wireguard, firewall, .. } = &found;
        bail!("this host was revoked, and could not be closed: tunnels {wireguard}, firewall {firewall}");
    }
    Ok(End::Revoked)
}

/// Whether a controller says that this host is not a member any more.
pub(super) fn is_revoked(error: &ApiError) -> bool {
    error.kind() == Some(ProblemKind::NodeRevoked)
}
