//! A rotation where several controllers share the database: a step is written there with the order for it, and every controller's
//! folder follows, in order, as if it had taken the step itself. The next CA's key comes encrypted under the operator's passphrase, or is
//! given to each. What the database says of a CA is believed by the word of the CA before, as hosts do.

use super::{
    Authority, Secrets,
    authority::{CaSet, Rotation},
    kept::{Kept, Phase},
};
use crate::{
    state_dir::NEXT_KEY,
    store::{CaSuccession, Store, Transaction},
};
use anyhow::{Context as _, bail};
use picket_model::Timestamp;
use picket_pki::{Ca, CaCertificate, check_succession, seal, unseal};
use std::sync::Arc;

/// Writes a step down for the others. The key goes with the first one, where it may: under a passphrase.
pub(super) async fn put(
    tx: &mut Transaction,
    current: &Ca,
    rotation: &Rotation,
    secrets: Option<&Secrets>,
) -> anyhow::Result<()> {
    let passphrase = secrets.filter(|secrets| secrets.key.is_none()).and_then(|secrets| secrets.passphrase.as_ref());
    let sealed_key = passphrase.map(|passphrase| seal(&rotation.next.to_pem().key, passphrase)).transpose()?;
    let step = serde_json::to_string(&rotation.kept).context("write the rotation as JSON")?;
    tx.put_ca_succession(&CaSuccession { current: current.fingerprint(), step, sealed_key }).await?;
    Ok(())
}

/// Tells the others of a step that this controller's folder has and the database has not: it was killed in between.
pub(super) async fn found(tx: &mut Transaction, ca: &Authority, set: &CaSet) -> anyhow::Result<()> {
    if let Some(rotation) = &set.rotation {
        let secrets = Secrets::fetch(&ca.config).await?;
        return put(tx, &set.current, rotation, Some(&secrets)).await;
    }
    for row in tx.ca_successions().await? {
        let kept = read(&row)?;
        if kept.next_pem == set.current.certificate_pem() && kept.phase != Phase::Finishing {
            let step =
                serde_json::to_string(&Kept { phase: Phase::Finishing, ..kept }).context("write the rotation")?;
            tx.put_ca_succession(&CaSuccession { step, sealed_key: None, ..row }).await?;
        }
    }
    Ok(())
}

/// Whether the database has the step that these CAs are at, and no later one.
pub(super) async fn is_at(tx: &mut Transaction, set: &CaSet) -> anyhow::Result<bool> {
    let current = set.current.fingerprint();
    let rows = tx.ca_successions().await?;
    let step = rows.iter().find(|row| row.current == current).map(read).transpose()?;
    Ok(step.as_ref() == set.rotation.as_ref().map(|rotation| &rotation.kept))
}

/// Takes over what other controllers did.
///
/// # Errors
/// A step is not by the word of the CA before, or its key is not to be had here: nothing of it is taken over.
pub(crate) async fn follow(ca: &Authority, store: &Store, now: Timestamp) -> anyhow::Result<()> {
    if !store.is_shared() {
        return Ok(());
    }
    let _changing = ca.change().await;
    let rows = store.read().await?.ca_successions().await?;
    let set = ca.now();
    let (mut pinned, mut ended, mut begun) = (set.current.certificate()?, None, None);
    // A controller may have slept through more than one rotation.
    while let Some(row) = rows.iter().find(|row| row.current == pinned.fingerprint()) {
        let kept = read(row)?;
        let next = CaCertificate::from_pem(&kept.next_pem).context("read the next CA")?;
        let is_known = set.rotation.as_ref().is_some_and(|known| known.next.fingerprint() == next.fingerprint());
        if !is_known {
            check_succession(&pinned, &next, &kept.cross_pem, now).with_context(|| {
                format!("believe that CA {} follows CA {}", next.fingerprint(), pinned.fingerprint())
            })?;
        }
        if kept.phase != Phase::Finishing {
            begun = Some((row, kept));
            break;
        }
        pinned = next;
        ended = Some((row, kept));
    }
    let mut after = None;
    if let Some((row, kept)) = ended {
        let next = take_over(ca, &set, row, &kept).await?;
        kept.finish(&ca.state, ca.config.key().is_some()).context("move the CA's files")?;
        after = Some(CaSet { current: next, rotation: None });
    }
    let so_far = after.as_ref().unwrap_or(&set);
    if let Some((row, kept)) = begun
        && so_far.rotation.as_ref().is_none_or(|rotation| rotation.kept != kept)
    {
        let next = take_over(ca, so_far, row, &kept).await?;
        let current = so_far.current.clone();
        after = Some(CaSet { current, rotation: Some(Rotation { next, kept }) });
    }
    let Some(after) = after else { return Ok(()) };
    let words = super::agreed::words(&after);
    ca.put(after, now)?;
    tracing::info!(words, "followed a step of another controller");
    Ok(())
}

/// The CA of a step, with its key; both are in the folder then, as they would be had the step been taken here.
async fn take_over(ca: &Authority, set: &CaSet, row: &CaSuccession, kept: &Kept) -> anyhow::Result<Arc<Ca>> {
    let known = set.rotation.as_ref().filter(|known| known.kept.next_pem == kept.next_pem);
    let next = match known {
        Some(known) => known.next.clone(),
        None => {
            let secrets = Secrets::fetch(&ca.config).await?;
            let next = open(row, kept, &secrets)?;
            if secrets.key.is_none() {
                // What an earlier try left must never meet this key.
                super::kept::forget(&ca.state)?;
                ca.state.write_key(NEXT_KEY, &next.to_pem().key, &secrets)?;
            }
            Arc::new(next)
        }
    };
    kept.save(&ca.state)?;
    Ok(next)
}

fn open(row: &CaSuccession, kept: &Kept, secrets: &Secrets) -> anyhow::Result<Ca> {
    if secrets.key.is_some() {
        let given = secrets.given().find_map(|key| Ca::from_pem(&kept.next_pem, key).ok());
        return given.context(
            "the CA's key is given from elsewhere, and the next one's is not: give this controller the same by ca.next_key_file or \
             ca.next_key_command",
        );
    }
    let (Some(sealed), Some(passphrase)) = (&row.sealed_key, &secrets.passphrase) else {
        bail!(
            "the next CA's key did not come through the database, or no passphrase is configured here (ca.passphrase_file, \
             ca.passphrase_command): copy ca.pem and ca.key from the state folder of a controller that has them, once its rotation is \
             finished"
        );
    };
    let key = unseal(sealed, passphrase).context(
        "open the next CA's key: every controller needs the same passphrase (ca.passphrase_file, ca.passphrase_command)",
    )?;
    Ok(Ca::from_pem(&kept.next_pem, &key)?)
}

fn read(row: &CaSuccession) -> anyhow::Result<Kept> {
    serde_json::from_str(&row.step).context("read a step of the CA's rotation in the database")
}
