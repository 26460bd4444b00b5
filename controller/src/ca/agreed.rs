//! The rotation on the disk held against the audit log, at a start: files and database are two, and a crash or a full disk may
//! come between them. What the files say is so, and the log is told what it has not heard.

use super::{
    Authority,
    authority::CaSet,
    kept::{Phase, forget},
    shared,
};
use crate::store::{Actor, Store};
use anyhow::bail;
use picket_api::operator::EventView;
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

/// Whether the log has another CA signing than a folder that knows of no rotation: that of a controller which slept through one.
/// While the next CA is only announced, the one of before is good.
fn is_of_before(set: &CaSet, last: Option<&EventView>) -> bool {
    let signs = |line: &EventView| {
        let (_, words) = line.detail.split_once("CA ")?;
        let (signing, what) = words.split_once(' ')?;
        let is_signing = ["signs", "is the mesh's"].iter().any(|start| what.starts_with(start));
        is_signing.then(|| signing.to_owned())
    };
    let signing = last.and_then(signs);
    set.rotation.is_none() && signing.is_some_and(|signing| signing != set.current.fingerprint().to_string())
}

/// Writes into the log what it does not know of the CAs of now, and removes the key of a rotation that never began.
///
/// # Errors
/// The database or the folder does not do as asked, or another controller is at work with a CA that followed this one; nothing is
/// signed by then.
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
    if is_of_before(&set, last.as_ref()) && store.controllers().await? > 0 {
        bail!(
            "this folder's CA {} is not the one that signs any more, as line {} of the audit log has it, and another controller is at work: \
             copy ca.pem and ca.key from its state folder once its rotation is finished (`picket ca`)",
            set.current.fingerprint(),
            last.map(|last| last.id).unwrap_or_default()
        );
    }
    if store.is_shared() {
        shared::found(&mut tx, ca, &set).await?;
    }
    let before = last.map_or_else(|| "no rotation".to_owned(), |last| format!("line {}, {}", last.id, last.action));
    let detail = format!("{}, by the state folder; the last that this log has of it is {before}", words(&set));
    tx.record(now, &Actor::Controller, "ca.rotation.found", ca.mesh().as_str(), &detail).await?;
    tx.commit().await?;
    tracing::warn!(detail, "the state folder has another step of the CA's rotation than the audit log");
    Ok(())
}
