//! One CA follows another where several controllers share the mesh: a step that is taken at one of them is taken at all, whoever of
//! them dies, and whoever slept.

use crate::{
    ca::{Follower, phase, rotate},
    fixture::{Mesh, eventually},
};
use picket_api::ca::{RotationPhase, RotationStep};
use picket_lab::Postgres;
use picket_model::Generation;
use std::{fs, path::Path};
use tempfile::TempDir;

/// Three controllers that open the CA's keys with the same passphrase.
async fn three(secrets: &Path) -> [Mesh; 3] {
    let passphrase = secrets.join("passphrase");
    fs::write(&passphrase, "one that the operator knows\n").unwrap();
    let lines = format!("[ca]\npassphrase_file = {passphrase:?}\n");
    let one = Mesh::start_on(&Postgres::shared().database().unwrap(), &lines).await;
    let (two, three) = (one.beside().await, one.beside().await);
    let store = one.store().await;
    eventually("all to say that they are here", async || store.controllers().await.unwrap() == 3).await;
    [one, two, three]
}

async fn all_at(meshes: &[&Mesh], wanted: Option<RotationPhase>) {
    for mesh in meshes {
        eventually("all to follow", async || phase(mesh).await == wanted).await;
    }
}

/// A step is refused for this reason, once all controllers have said by which CAs they go.
async fn refused_for(mesh: &Mesh, step: RotationStep, reason: &str) {
    eventually("the refusal", async || rotate(mesh, step).await.unwrap_err().to_string().contains(reason)).await;
}

/// What a kill leaves: a folder as it was before.
fn copy(mesh: &Mesh) -> TempDir {
    let kept = tempfile::tempdir().unwrap();
    for name in ["ca.pem", "ca.key", "ca-next.key", "ca-rotation.json"] {
        fs::copy(mesh.state_dir().join(name), kept.path().join(name)).ok();
    }
    kept
}

fn put_back(mesh: &Mesh, kept: &TempDir) {
    for name in ["ca.pem", "ca.key", "ca-next.key", "ca-rotation.json"] {
        fs::remove_file(mesh.state_dir().join(name)).ok();
        fs::copy(kept.path().join(name), mesh.state_dir().join(name)).ok();
    }
}

/// Takes a step, and has the controller that took it killed before it wrote anything of it into its folder.
async fn step_and_kill(mesh: &mut Mesh, others: &[&Mesh], step: RotationStep, after: Option<RotationPhase>) {
    let before = copy(mesh);
    eventually("the step to be taken", async || rotate(mesh, step).await.is_ok()).await;
    mesh.stop().await;
    put_back(mesh, &before);
    all_at(others, after).await;
    mesh.resume().await;
    all_at(&[mesh], after).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_follows_another_at_all_controllers_whoever_of_them_dies() {
    let secrets = tempfile::tempdir().unwrap();
    let [mut a, b, c] = three(secrets.path()).await;
    let old = a.ca();
    let (mut one, mut two) = (Follower::join(&a, "sentry-1").await, Follower::join(&b, "sentry-2").await);
    step_and_kill(&mut a, &[&b, &c], RotationStep::Start, Some(RotationPhase::Announced)).await;

    // Hosts learn it from whichever they ask, and one of the controllers switches.
    let next = one.learn(&c).await;
    refused_for(&b, RotationStep::Switch, "sentry-2 have not said").await;
    assert_eq!(two.learn(&b).await, next);
    all_at(&[&a, &b, &c], Some(RotationPhase::Issuing)).await;
    assert_eq!([a.ca(), b.ca(), c.ca()], [next; 3]);
    one.renew(&c).await;
    two.renew(&a).await;
    for mesh in [&a, &b, &c] {
        for host in [&one, &two] {
            host.client(mesh).config(Generation(0)).await.unwrap().unwrap();
        }
    }

    step_and_kill(&mut a, &[&b, &c], RotationStep::Finish, None).await;
    for mesh in [&a, &b, &c] {
        one.agent.pinning(mesh, &[next]).config(Generation(0)).await.unwrap().unwrap();
        assert!(one.agent.pinning(mesh, &[old]).config(Generation(0)).await.is_err());
    }
    // Nothing of the key before is anywhere, and each folder has the key of now.
    let pem = |mesh: &Mesh, name: &str| fs::read_to_string(mesh.state_dir().join(name)).ok();
    for mesh in [&a, &b, &c] {
        assert_eq!((pem(mesh, "ca.pem"), pem(mesh, "ca-next.key")), (pem(&b, "ca.pem"), None));
        assert!(pem(mesh, "ca.key").unwrap().contains("ENCRYPTED"));
    }
    let log = b.operator().events().await.unwrap();
    let mut steps: Vec<_> = log.iter().filter(|line| line.action.starts_with("ca.")).map(|line| &line.action).collect();
    steps.sort();
    assert_eq!(steps, ["ca.rotation.finished", "ca.rotation.started", "ca.rotation.switched"]);
    assert!(b.operator().verify_events().await.unwrap().broken.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_slept_through_two_rotations_has_the_ca_of_now_when_it_starts() {
    let secrets = tempfile::tempdir().unwrap();
    let [a, b, mut c] = three(secrets.path()).await;
    c.stop().await;
    for _ in 0..2 {
        eventually("two to agree", async || rotate(&a, RotationStep::Start).await.is_ok()).await;
        all_at(&[&a, &b], Some(RotationPhase::Issuing)).await;
        eventually("the other one to follow", async || rotate(&b, RotationStep::Finish).await.is_ok()).await;
        all_at(&[&a, &b], None).await;
    }
    c.resume().await;
    assert_eq!([b.ca(), c.ca()], [a.ca(); 2]);
    // The key of the CA in between is retired: it is not in the database any more.
    let mut tx = a.store().await.read().await.unwrap();
    let keys: Vec<bool> = tx.ca_successions().await.unwrap().iter().map(|row| row.sealed_key.is_some()).collect();
    assert_eq!(keys, [false, true]);
}

/// By the steps of the manual for keys without a passphrase, and with one of them forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_passphrase_no_key_leaves_its_folder() {
    let a = Mesh::start_on(&Postgres::shared().database().unwrap(), "").await;
    let mut b = a.beside().await;
    let store = a.store().await;
    eventually("both to say that they are here", async || store.controllers().await.unwrap() == 2).await;
    refused_for(&a, RotationStep::Start, "in the clear").await;
    b.stop().await;
    eventually("the other one to be gone", async || rotate(&a, RotationStep::Start).await.is_ok()).await;
    all_at(&[&a], Some(RotationPhase::Issuing)).await;
    for finished in [false, true] {
        if finished {
            rotate(&a, RotationStep::Finish).await.unwrap();
        }
        let error = format!("{:#}", b.try_resume().await.unwrap_err());
        assert!(error.contains("copy ca.pem and ca.key"), "{error}");
    }
    b.take_ca(&a);
    b.resume().await;
    assert_eq!(a.ca(), b.ca());
}
