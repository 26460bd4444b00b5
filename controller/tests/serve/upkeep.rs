//! The database as a whole: backed up while the controller runs, put back though hosts are ahead of it, and moved to a server and back.

use crate::fixture::{Mesh, program};
use picket_api::ProblemKind;
use picket_lab::Postgres;
use picket_model::NodeRole;
use std::path::Path;

/// What the program says with these arguments for this mesh, or why not.
async fn says(mesh: &Mesh, arguments: &[&str]) -> Result<String, String> {
    let (state, config) = (mesh.state_dir(), mesh.config_file());
    let place = ["--state-dir", state.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let output = program(&[arguments, &place].concat()).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn mode(file: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions()) & 0o777
}

#[tokio::test]
async fn an_older_database_that_is_put_back_goes_on_beyond_what_hosts_hold() {
    let mut mesh = Mesh::start_on("", "").await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    let file = mesh.state_dir().join("backup.db");
    let backup = ["backup", file.to_str().unwrap()];
    let said = says(&mesh, &backup).await.unwrap();
    assert!(said.contains("rows of mesh") && said.contains("ca.key"), "{said}");
    assert_eq!(mode(&file), 0o600);
    assert!(says(&mesh, &backup).await.unwrap_err().contains("exists already"));
    let restore = ["restore", file.to_str().unwrap()];
    assert!(says(&mesh, &restore).await.unwrap_err().contains("another picket-controller runs"));

    // The mesh goes on, and hosts hold what the backup does not know.
    let late = mesh.join(NodeRole::Sentry, "sentry-2").await;
    let held = prep.wanted().await;
    prep.confirm(&held).await;
    mesh.stop().await;
    let error = says(&mesh, &restore).await.unwrap_err();
    assert!(error.contains("--advance") && error.contains(&held.revision.to_string()), "{error}");
    assert!(mesh.state_dir().join("controller.db").exists());
    let said = says(&mesh, &["restore", file.to_str().unwrap(), "--advance"]).await.unwrap();
    assert!(said.contains("goes on at generation"), "{said}");
    mesh.resume().await;
    let (prep, sentry, late) = (prep.connected(&mesh), sentry.connected(&mesh), late.connected(&mesh));
    let news = prep.client().config(held.revision).await.unwrap().unwrap();
    assert!(news.revision > held.revision);
    assert_eq!(news.full.wireguard.peers.len(), 1);
    assert!(sentry.wanted().await.revision > held.revision);
    // Whoever joined since is not known any more.
    let error = late.client().config(held.revision).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::Unauthorized), "{error}");
    let events = mesh.operator().events().await.unwrap();
    assert_eq!(events.iter().filter(|event| event.action == "plan.advanced").count(), 1);
    assert!(mesh.operator().verify_events().await.unwrap().broken.is_none());
    let third = mesh.join(NodeRole::Sentry, "sentry-3").await;
    assert!(third.wanted().await.revision > news.revision);
}

#[tokio::test]
async fn a_backup_is_put_back_into_a_new_database_of_a_server_and_hosts_follow_it_again() {
    let [lost, new] = [(); 2].map(|()| Postgres::shared().database().unwrap());
    let mut mesh = Mesh::start_on(&lost, "").await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let file = mesh.state_dir().join("backup.db");
    says(&mesh, &["backup", file.to_str().unwrap()]).await.unwrap();
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    let held = prep.wanted().await;
    prep.confirm(&held).await;
    let restore = ["restore", file.to_str().unwrap()];
    assert!(says(&mesh, &restore).await.unwrap_err().contains("another picket-controller runs"));
    mesh.stop().await;

    // The old server is lost, and what hosts hold nobody knows.
    mesh.config = mesh.config.replace(&lost, &new);
    let error = says(&mesh, &restore).await.unwrap_err();
    assert!(error.contains("--advance") && error.contains("hosts may hold newer ones"), "{error}");
    let said = says(&mesh, &["restore", file.to_str().unwrap(), "--advance"]).await.unwrap();
    assert!(said.contains("goes on at generation"), "{said}");
    mesh.resume().await;
    let prep = prep.connected(&mesh);
    let news = prep.client().config(held.revision).await.unwrap().unwrap();
    assert!(news.revision > held.revision && news.full.wireguard.peers.is_empty(), "{news:?}");
    // A second controller begins where the first one is.
    let other = mesh.beside().await;
    assert_eq!(other.status().await.generation, mesh.status().await.generation);
    assert!(other.operator().verify_events().await.unwrap().broken.is_none());
}

#[tokio::test]
async fn a_mesh_moves_to_a_server_and_back_and_loses_nothing() {
    let mut mesh = Mesh::start_on("", "").await;
    let (prep, _) = (mesh.join(NodeRole::Prep, "prep-1").await, mesh.join(NodeRole::Sentry, "sentry-1").await);
    let (events, held) = (mesh.operator().events().await.unwrap(), prep.wanted().await);
    mesh.stop().await;
    let (file, alone) = (mesh.state_dir().join("controller.db"), mesh.config.clone());
    assert!(says(&mesh, &["migrate", "sqlite-to-postgres"]).await.unwrap_err().contains("names no server"));
    mesh.config = format!("database = \"{}\"\n{alone}", Postgres::shared().database().unwrap());
    let said = says(&mesh, &["migrate", "sqlite-to-postgres"]).await.unwrap();
    assert!(said.contains("rows are in postgres://"), "{said}");
    assert!(says(&mesh, &["migrate", "sqlite-to-postgres"]).await.unwrap_err().contains("not empty"));
    std::fs::remove_file(&file).unwrap();
    mesh.resume().await;
    let prep = prep.connected(&mesh);
    assert_eq!(prep.wanted().await, held);
    assert!(mesh.operator().events().await.unwrap().starts_with(&events));
    assert!(says(&mesh, &["verify-log"]).await.unwrap().contains("each as it was written"));
    mesh.join(NodeRole::Sentry, "sentry-2").await;
    let later = prep.wanted().await;
    assert!(says(&mesh, &["advance"]).await.unwrap_err().contains("another picket-controller runs"));

    mesh.stop().await;
    let said = says(&mesh, &["migrate", "postgres-to-sqlite"]).await.unwrap();
    assert!(said.contains("take `database` out"), "{said}");
    mesh.config = alone;
    mesh.resume().await;
    let prep = prep.connected(&mesh);
    assert_eq!(prep.wanted().await, later);
    mesh.join(NodeRole::Sentry, "sentry-3").await;
    assert!(prep.wanted().await.revision > later.revision);
    assert!(mesh.operator().verify_events().await.unwrap().broken.is_none());
}
