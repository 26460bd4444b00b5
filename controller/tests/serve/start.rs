//! Starts that cannot be: one clear sentence each, and nothing changed.

use crate::fixture::Mesh;
use picket_controller::App;
use std::path::Path;

async fn refused(config: &str, state: &Path) -> String {
    let config = picket_controller::Config::parse(config, Path::new("test.toml")).unwrap();
    format!("{:#}", App::start(config, state).await.unwrap_err())
}

fn config(agents: &str) -> String {
    format!("[listen]\nagents = \"{agents}\"\noperators = \"127.0.0.1:0\"\nhealth = \"127.0.0.1:0\"\n")
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let mesh = Mesh::start().await;
    let taken = mesh.running().agents.to_string();
    let folder = tempfile::tempdir().unwrap();
    let error = refused(&config(&taken), folder.path()).await;
    assert!(error.starts_with(&format!("listen on {taken} (listen.agents)")), "{error}");
    assert!(!folder.path().join("ca.pem").exists());
}

#[tokio::test]
async fn a_folder_in_use_or_unusable_is_named() {
    let mesh = Mesh::start().await;
    let error = refused(&config("127.0.0.1:0"), &mesh.state_dir()).await;
    assert!(error.contains("another picket-controller runs on state folder"), "{error}");
    let error = refused(&config("127.0.0.1:0"), Path::new("/dev/null/state")).await;
    assert!(error.starts_with("make state folder /dev/null/state: "), "{error}");
}

#[tokio::test]
async fn overlay_ranges_stay_once_hosts_are_in_them() {
    let mut mesh = Mesh::start().await;
    let kept = mesh.config.clone();
    mesh.stop().await;
    mesh.config = format!("{kept}[overlay]\nv4 = \"10.99.0.0/16\"\n");
    mesh.resume().await;
    let host = mesh.join(picket_model::NodeRole::Prep, "prep-1").await;
    let addresses = host.wanted().await.full.wireguard.addresses;
    assert!(addresses.iter().any(|address| address.to_string() == "10.99.0.1/32"), "{addresses:?}");
    mesh.stop().await;
    let error = refused(&format!("{kept}[overlay]\nv4 = \"10.98.0.0/16\"\n"), &mesh.state_dir()).await;
    assert!(error.contains("10.99.0.0/16"), "{error}");
}

#[tokio::test]
async fn a_lost_operators_file_is_made_anew_with_another_token() {
    let mut mesh = Mesh::start().await;
    let file = mesh.state_dir().join("operator.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    mesh.stop().await;
    mesh.resume().await;
    let token = |text: &str| text.lines().find(|line| line.starts_with("token")).unwrap().to_owned();
    assert_eq!(token(&std::fs::read_to_string(&file).unwrap()), token(&before));
    mesh.stop().await;
    std::fs::remove_file(&file).unwrap();
    mesh.resume().await;
    assert_ne!(token(&std::fs::read_to_string(&file).unwrap()), token(&before));
    mesh.status().await;
}
