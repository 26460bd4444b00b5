//! The steps by which one CA follows another: start, switch, finish. Each is one line of the audit log and one file on the
//! disk, and none is taken while a host would be lost by it, unless an operator says so by name.

use super::{
    Secrets,
    agreed::{FINISHED, words},
    authority::{CaSet, Rotation},
    kept::{Kept, Phase, forget},
    shared,
};
use crate::{
    api::ApiProblem,
    controller::Controller,
    state_dir::NEXT_KEY,
    store::{Actor, CaTrust, Transaction},
};
use anyhow::bail;
use picket_api::{
    ProblemKind,
    ca::{CaView, RotationPhase, RotationStep, RotationView},
};
use picket_model::{NodeName, Timestamp};
use picket_pki::{Ca, CaPem, Fingerprint, TlsKey};
use std::sync::Arc;

/// Most hosts that a refusal names.
const NAMED: usize = 10;

/// How the CA stands, and whom a step would lose.
pub(crate) async fn view(controller: &Controller, now: Timestamp) -> Result<CaView, ApiProblem> {
    let set = controller.ca.now();
    let mut tx = controller.store.read().await?;
    let rotation = match &set.rotation {
        None => None,
        Some(rotation) => Some(progress(&mut tx, rotation, now).await?),
    };
    let certificate = set.current.certificate().map_err(|error| ApiProblem::internal("read the CA", &error))?;
    Ok(CaView {
        fingerprint: certificate.fingerprint(),
        not_after: certificate.not_after(),
        issues: set.issuer().fingerprint(),
        rotation,
    })
}

/// Takes a step.
pub(crate) async fn step(
    controller: &Controller,
    actor: &Actor,
    step: RotationStep,
    force: bool,
    now: Timestamp,
) -> Result<CaView, ApiProblem> {
    let changing = controller.ca.change().await;
    let set = controller.ca.now();
    let conflict = |detail: &str| ApiProblem::new(ProblemKind::Conflict, detail);
    all_agree(controller, &set).await?;
    match (step, &set.rotation) {
        (RotationStep::Start, None) => start(controller, actor, &set, now).await?,
        (RotationStep::Start, Some(_)) => return Err(conflict("a rotation is under way: see `picket ca`")),
        (_, None) => return Err(conflict("no rotation is under way: begin one with `picket ca rotate --start`")),
        (RotationStep::Switch, Some(rotation)) if rotation.kept.phase == Phase::Announced => {
            switch(controller, actor, &set, rotation, force, now).await?;
        }
        (RotationStep::Switch, Some(_)) => return Err(conflict("the next CA signs already")),
        (RotationStep::Finish, Some(rotation)) if rotation.kept.phase == Phase::Announced => {
            return Err(conflict("the next CA does not sign yet: every host must trust it first; see `picket ca`"));
        }
        (RotationStep::Finish, Some(rotation)) => finish(controller, actor, &set, rotation, force, now).await?,
    }
    drop(changing);
    view(controller, now).await
}

/// An error where another controller is at work that does not go by the same CAs: hosts would be strangers to it after the step.
async fn all_agree(controller: &Controller, set: &CaSet) -> Result<(), ApiProblem> {
    let here = controller.store.controllers().await?;
    let agree = controller.store.controllers_with(&set.told().tag).await?;
    if here <= 1 || agree >= here {
        return Ok(());
    }
    let detail = format!(
        "{agree} of {here} controllers go by the CAs of now: wait a moment; one that does not follow says in its log why, and one of an \
         older version never does: stop it"
    );
    Err(ApiProblem::new(ProblemKind::Conflict, detail))
}

/// In a change: another controller may have taken a step a moment ago, which this one has not heard of.
async fn check_newest(controller: &Controller, tx: &mut Transaction, set: &CaSet) -> Result<(), ApiProblem> {
    if !controller.store.is_shared()
        || shared::is_at(tx, set).await.map_err(|error| unable("read the rotation", &error))?
    {
        return Ok(());
    }
    let detail = "another controller has just taken a step of the rotation: look again in a second";
    Err(ApiProblem::new(ProblemKind::Conflict, detail))
}

/// Lets the next CA sign once every host trusts it.
pub(crate) async fn switch_if_ready(controller: &Controller, now: Timestamp) -> Result<(), ApiProblem> {
    let is_waiting =
        |set: &CaSet| set.rotation.as_ref().is_some_and(|rotation| rotation.kept.phase == Phase::Announced);
    if !is_waiting(&controller.ca.now()) || !controller.duties.is_mine() {
        return Ok(());
    }
    let _changing = controller.ca.change().await;
    let set = controller.ca.now();
    let Some(rotation) = set.rotation.as_ref().filter(|_| is_waiting(&set)) else { return Ok(()) };
    if !progress(&mut controller.store.read().await?, rotation, now).await?.without_trust.is_empty() {
        return Ok(());
    }
    // Said as an error where an operator orders it; here it is waited for.
    if all_agree(controller, &set).await.is_err() {
        return Ok(());
    }
    switch(controller, &Actor::Controller, &set, rotation, false, now).await
}

async fn start(controller: &Controller, actor: &Actor, set: &CaSet, now: Timestamp) -> Result<(), ApiProblem> {
    let made = make_next(controller, &set.current, now).await;
    let (next, kept, secrets) = made.map_err(|error| unable("make the next CA", &error))?;
    if secrets.key.is_none() && secrets.passphrase.is_none() && controller.store.controllers().await? > 1 {
        let detail = "several controllers share this mesh, and the next CA's key would reach the others in the clear: configure the same \
            passphrase at all (ca.passphrase_file, ca.passphrase_command), or give the keys (ca.key_file, ca.next_key_file)";
        return Err(ApiProblem::new(ProblemKind::Conflict, detail));
    }
    let key = secrets.key.is_none().then(|| next.to_pem().key);
    let rotation = Rotation { next: Arc::new(next), kept: kept.clone() };
    let after = CaSet { current: set.current.clone(), rotation: Some(rotation.clone()) };
    let mut tx = controller.store.write().await?;
    check_newest(controller, &mut tx, set).await?;
    shared_step(controller, &mut tx, &set.current, &rotation, Some(&secrets)).await?;
    tx.record(now, actor, "ca.rotation.started", controller.mesh.as_str(), &words(&after)).await?;
    let state = &controller.ca.state;
    let written = || -> anyhow::Result<()> {
        // What an earlier try left must never meet the key of this one.
        forget(state)?;
        if let Some(key) = &key {
            state.write_key(NEXT_KEY, key, &secrets)?;
        }
        kept.save(state)
    };
    match written().map_err(|error| unable("write the next CA down", &error)) {
        Ok(()) => commit(tx, || forget(state)).await?,
        Err(problem) => {
            undo(|| forget(state));
            return Err(problem);
        }
    }
    put(controller, after, now)
}

/// Writes a step down for other controllers, where there may be some.
async fn shared_step(
    controller: &Controller,
    tx: &mut Transaction,
    current: &Ca,
    rotation: &Rotation,
    secrets: Option<&Secrets>,
) -> Result<(), ApiProblem> {
    if !controller.store.is_shared() {
        return Ok(());
    }
    let put = shared::put(tx, current, rotation, secrets).await;
    put.map_err(|error| unable("write the rotation into the database", &error))
}

/// Commits; where that fails, takes back what was written to the folder for it.
async fn commit(tx: Transaction, back: impl FnOnce() -> anyhow::Result<()>) -> Result<(), ApiProblem> {
    let committed = tx.commit().await;
    if committed.is_err() {
        undo(back);
    }
    Ok(committed?)
}

fn undo(back: impl FnOnce() -> anyhow::Result<()>) {
    if let Err(error) = back() {
        tracing::error!(
            error = format!("{error:#}"),
            "a step of the CA's rotation is written down though it was not taken"
        );
    }
}

async fn make_next(controller: &Controller, current: &Ca, now: Timestamp) -> anyhow::Result<(Ca, Kept, Secrets)> {
    let secrets = Secrets::fetch(&controller.ca.config).await?;
    let next = match (&secrets.key, &secrets.next_key) {
        (None, _) => Ca::generate(current.mesh(), now)?,
        (Some(_), None) => bail!(
            "the CA's key is given from elsewhere: give the next one's by ca.next_key_file or ca.next_key_command"
        ),
        // The key under ca.key may be one that was retired: it is never the next one's.
        (Some(_), Some(next)) if Ca::from_pem(current.certificate_pem(), next).is_ok() => bail!(
            "ca.next_key_file or ca.next_key_command gives the key of the CA of now: give that by ca.key_file or \
             ca.key_command, and a new one for the next CA"
        ),
        (Some(_), Some(next)) => Ca::with_key(current.mesh(), TlsKey::from_pem(next)?, now)?,
    };
    let CaPem { certificate, .. } = next.to_pem();
    let cross_pem = current.cross_sign(&next.certificate()?, now)?;
    let phase = Phase::Announced;
    Ok((next, Kept { phase, next_pem: certificate, cross_pem, started_at: now, switched_at: None }, secrets))
}

async fn switch(
    controller: &Controller,
    actor: &Actor,
    set: &CaSet,
    rotation: &Rotation,
    force: bool,
    now: Timestamp,
) -> Result<(), ApiProblem> {
    let mut tx = controller.store.write().await?;
    check_newest(controller, &mut tx, set).await?;
    let lost = progress(&mut tx, rotation, now).await?.without_trust;
    let lost =
        refuse_loss(&lost, force, "have not said that they trust the next CA, and would not reach this controller")?;
    let kept = Kept { phase: Phase::Issuing, switched_at: Some(now), ..rotation.kept.clone() };
    let next = Rotation { next: rotation.next.clone(), kept: kept.clone() };
    shared_step(controller, &mut tx, &set.current, &next, None).await?;
    let after = CaSet { current: set.current.clone(), rotation: Some(next) };
    let detail = format!("{}{lost}", words(&after));
    tx.record(now, actor, "ca.rotation.switched", controller.mesh.as_str(), &detail).await?;
    kept.save(&controller.ca.state).map_err(|error| unable("write the rotation down", &error))?;
    commit(tx, || rotation.kept.save(&controller.ca.state)).await?;
    put(controller, after, now)
}

async fn finish(
    controller: &Controller,
    actor: &Actor,
    set: &CaSet,
    rotation: &Rotation,
    force: bool,
    now: Timestamp,
) -> Result<(), ApiProblem> {
    let mut tx = controller.store.write().await?;
    check_newest(controller, &mut tx, set).await?;
    let view = progress(&mut tx, rotation, now).await?;
    let why = "trust the old CA alone or show a certificate of it, and would be out";
    let mut lost = view.without_trust;
    lost.extend(view.without_certificate);
    lost.sort();
    lost.dedup();
    let text = refuse_loss(&lost, force, why)?;
    let kept = Kept { phase: Phase::Finishing, ..rotation.kept.clone() };
    let ended = Rotation { next: rotation.next.clone(), kept: kept.clone() };
    shared_step(controller, &mut tx, &set.current, &ended, None).await?;
    tx.forget_ca_keys_but_after(&set.current.fingerprint()).await?;
    let after = CaSet { current: rotation.next.clone(), rotation: None };
    let detail = format!("{}; the one before is retired{text}", words(&after));
    tx.record(now, actor, FINISHED, controller.mesh.as_str(), &detail).await?;
    let nodes = tx.nodes().await?;
    let state = &controller.ca.state;
    kept.save(state).map_err(|error| unable("write the rotation's end down", &error))?;
    // From here on the old key goes, and nothing could be taken back.
    commit(tx, || rotation.kept.save(state)).await?;
    let moved = kept.finish(state, controller.ca.config.key().is_some());
    moved.map_err(|error| unable("move the CA's files; the next start does", &error))?;
    put(controller, after, now)?;
    for node in nodes.values().filter(|node| lost.contains(&node.name)) {
        controller.connections.close_node(&node.id);
    }
    Ok(())
}

fn put(controller: &Controller, set: CaSet, now: Timestamp) -> Result<(), ApiProblem> {
    controller.ca.put(set, now).map_err(|error| unable("show the CA's certificates", &error))
}

/// An error where a step would lose hosts and nobody took that upon them; else what the log says of it.
fn refuse_loss(lost: &[NodeName], force: bool, why: &str) -> Result<String, ApiProblem> {
    if lost.is_empty() {
        return Ok(String::new());
    }
    let names = lost.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let more = lost.len().saturating_sub(NAMED);
    let names = if more == 0 { names } else { format!("{names} and {more} more") };
    if force {
        return Ok(format!("; forced without {names}"));
    }
    let detail =
        format!("{names} {why}; wait, revoke hosts that are gone, or --force: lost hosts need `trust` by hand");
    Err(ApiProblem::new(ProblemKind::Conflict, detail))
}

/// How far the hosts are.
async fn progress(tx: &mut Transaction, rotation: &Rotation, now: Timestamp) -> Result<RotationView, ApiProblem> {
    let (nodes, said) = (tx.nodes().await?, tx.ca_trust().await?);
    let next = rotation.next.fingerprint();
    let hosts: Vec<_> = nodes.values().filter(|node| node.reports()).collect();
    let without = |holds: &dyn Fn(&CaTrust, Fingerprint) -> bool| {
        let lacking = hosts.iter().filter(|node| !said.get(&node.id).is_some_and(|said| holds(said, next)));
        let mut names: Vec<NodeName> = lacking.map(|node| node.name.clone()).collect();
        names.sort();
        names
    };
    let Kept { phase, started_at, switched_at, .. } = rotation.kept;
    let made_before = switched_at.unwrap_or(now);
    Ok(RotationView {
        next,
        phase: if phase == Phase::Announced { RotationPhase::Announced } else { RotationPhase::Issuing },
        started_at,
        switched_at,
        hosts: hosts.len(),
        without_trust: without(&|said, next| said.trusts.contains(&next)),
        without_certificate: without(&|said, next| said.shows == Some(next)),
        old_tokens: tx.count_tokens_made_before(made_before, now).await?,
    })
}

/// What could not be done is said to the operator, who is an admin, in full.
fn unable(doing: &str, error: &anyhow::Error) -> ApiProblem {
    tracing::error!(error = format!("{error:#}"), "the rotation of the CA could not {doing}");
    ApiProblem::new(ProblemKind::Unavailable, format!("could not {doing}: {error:#}"))
}
