//! The rotation on the disk held against the audit log, at a start: files and database are two, and a crash or a full disk may
//! come between them. What the files say is so, and the log is told what it has not heard.

use super::{
    Authority,
    authority::CaSet,
    kept::{Phase, forget},
};
use crate::store::{Actor, Store};
use picket_model::Timestamp;

/// What the log calls the end of a rotation.
pub(super) const FINISHED: &str = "ca.rotation.finished";

/// How a line of the log about these CAs begins.
pub(super) fn words(set: &CaSet) -> String {
    let current = set.current.fingerprint();
    match &set.rotation {
        None => format!("CA {current} is the mesh's"),
        Some(rotation) if rotation.kept.phase == Phase::Announced => {
            format!("CA {} is to follow CA {current}", rotation.next.fingerprint())
        }
        Some(rotation) => format!("CA {} signs", rotation.next.fingerprint()),
    }
}

/// Writes into the log what it does not know of the CAs of now, and removes the key of a rotation that never began.
///
/// # Errors
/// The database or the folder does not do as asked; nothing is signed by then.
pub(crate) async fn agree(ca: &Authority, store: &Store, now: Timestamp) -> anyhow::Result<()> {
    let set = ca.now();
    let mut tx = store.write().await?;
    let last = tx.last_event_of("ca.rotation.").await?;
    let is_known = match &last {
        None => set.rotation.is_none(),
        Some(last) => last.detail.starts_with(&words(&set)),
    };
    if is_known {
        // A key whose rotation was never written down is nobody's; one whose rotation the log has seen is left to a person.
        if set.rotation.is_none() && last.is_none_or(|last| last.action == FINISHED) {
            forget(&ca.state)?;
        }
        return Ok(());
    }
    let before = last.map_or_else(|| "no rotation".to_owned(), |last| format!("line {}, {}", last.id, last.action));
    let detail = format!("{}, by the state folder; the last that this log has of it is {before}", words(&set));
    tx.record(now, &Actor::Controller, "ca.rotation.found", ca.mesh().as_str(), &detail).await?;
    tx.commit().await?;
    tracing::warn!(detail, "the state folder has another step of the CA's rotation than the audit log");
    Ok(())
}
