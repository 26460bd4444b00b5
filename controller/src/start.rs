//! What a start makes or brings up to date: the mesh and the policy.

use crate::{
    config::Overlay,
    state_dir::StateDir,
    store::{Actor, Place, Store},
};
use anyhow::{Context as _, bail};
use picket_model::{MeshId, OverlayPrefixes, Policy, Timestamp};
use picket_pki::random;
use picket_plan::overlay::ula_prefix;
use uuid::Uuid;

/// IPv4 overlay range of a new mesh: 65,534 hosts, and not the range home routers or Docker use.
const OVERLAY_V4: &str = "10.86.0.0/16";

/// An id for something new, sortable by when it was made.
pub(crate) fn new_id() -> String {
    #[cfg(test)]
    if let Some(id) = crate::simulation::rim::id() {
        return id;
    }
    Uuid::now_v7().to_string()
}

/// The id of a new mesh.
pub(crate) fn new_mesh() -> anyhow::Result<MeshId> {
    new_id().parse().context("make a mesh id")
}

/// Refuses to make a new mesh where the database is of one: the CA is copied from another controller, never made again.
pub(crate) async fn check_first_start(state: &StateDir, place: &Place) -> anyhow::Result<()> {
    if matches!(place, Place::File(_)) || state.has_ca() {
        return Ok(());
    }
    if let Some(mesh) = Store::mesh_of(place).await? {
        bail!(
            "database {place} is of mesh {mesh}, and this state folder has no CA: copy ca.pem and ca.key from the state folder of \
             a controller that has them (ca.pem alone where the key is given by ca.key_file or ca.key_command)"
        );
    }
    Ok(())
}

/// Opens the database and enters the mesh where it is not there yet.
pub(crate) async fn open_store(
    place: &Place,
    mesh: &MeshId,
    configured: &Overlay,
    now: Timestamp,
) -> anyhow::Result<(Store, OverlayPrefixes)> {
    let store = Store::at(place, mesh.clone()).await?;
    let mut tx = store.write().await?;
    if let Some(other) = tx.other_mesh().await? {
        bail!(
            "database {place} is of mesh {other} and the CA in the state folder of mesh {mesh}: restore both from the same \
             backup, or give each mesh a database of its own"
        );
    }
    let overlay = match tx.overlay().await? {
        None => {
            let v4 = OVERLAY_V4.parse().context("read the default overlay range")?;
            let overlay = OverlayPrefixes {
                v4: configured.v4.unwrap_or(v4),
                v6: configured.v6.map_or_else(|| random().map(ula_prefix), Ok)?,
            };
            tx.enter_mesh(&overlay, now).await?;
            let detail = format!("overlay {} and {}", overlay.v4, overlay.v6);
            tx.record(now, &Actor::Controller, "mesh.created", mesh.as_str(), &detail).await?;
            overlay
        }
        Some(stored) => {
            let wanted =
                OverlayPrefixes { v4: configured.v4.unwrap_or(stored.v4), v6: configured.v6.unwrap_or(stored.v6) };
            if wanted != stored {
                if tx.addresses_given().await? > 0 {
                    bail!(
                        "overlay ranges {} and {} are configured, and hosts are enrolled in {} and {}: \
                         write the latter, or none",
                        wanted.v4,
                        wanted.v6,
                        stored.v4,
                        stored.v6
                    );
                }
                tx.set_overlay(&wanted).await?;
                let detail = format!("overlay {} and {}", wanted.v4, wanted.v6);
                tx.record(now, &Actor::Controller, "mesh.changed", mesh.as_str(), &detail).await?;
            }
            wanted
        }
    };
    tx.commit().await?;
    Ok((store, overlay))
}

/// Makes the configured policy the next version where it differs from the stored one; a file without a policy changes
/// nothing, and a new mesh gets the `first` one then.
pub(crate) async fn enter_policy(
    store: &Store,
    configured: Option<Policy>,
    first: Policy,
    now: Timestamp,
) -> anyhow::Result<()> {
    let mut tx = store.write().await?;
    let stored = tx.policy().await?;
    let (version, policy) = match (stored, configured) {
        (None, configured) => (1, configured.unwrap_or(first)),
        (Some((version, stored)), Some(configured)) if configured != stored => (version + 1, configured),
        _ => return Ok(()),
    };
    tx.insert_policy(version, &policy, now).await?;
    let detail = serde_json::to_string(&policy).context("write the policy")?;
    tx.record(now, &Actor::Controller, "policy.changed", &format!("version {version}"), &detail).await?;
    tx.commit().await?;
    tracing::info!(version, "policy changed");
    Ok(())
}

/// Bytes in lower-case hexadecimal, for ids.
pub(crate) fn hex<const N: usize>(bytes: [u8; N]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
