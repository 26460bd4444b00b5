//! The CA at rest and its rotation, as a whole controller has them.

use crate::fixture::{Mesh, program};
use picket_controller::App;
use picket_model::NodeRole;

const SENTRY: NodeRole = NodeRole::Sentry;

#[tokio::test]
async fn a_controller_starts_with_an_encrypted_key_and_not_without_its_passphrase() {
    let folder = tempfile::tempdir().unwrap();
    let passphrase = folder.path().join("passphrase");
    std::fs::write(&passphrase, "a passphrase of its own\n").unwrap();
    let mut mesh = Mesh::start_with(&format!("[ca]\npassphrase_file = {passphrase:?}\n")).await;
    let key = || std::fs::read_to_string(mesh.state_dir().join("ca.key")).unwrap();
    assert!(key().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    let sentry = mesh.join(SENTRY, "sentry-1").await;
    // What needs the certificate alone does not ask for the passphrase.
    let state = mesh.state_dir();
    for arguments in [&["fingerprint"][..], &["verify-log"], &["ca", "status"]] {
        let output = program(&[arguments, &["--state-dir", state.to_str().unwrap()]].concat()).await;
        assert!(output.status.success(), "{output:?}");
    }
    mesh.stop().await;
    std::fs::write(&passphrase, "a passphrase of another\n").unwrap();
    let error = format!("{:#}", App::start(mesh.parsed(), &state).await.unwrap_err());
    assert!(error.contains("passphrase is not the one") && !error.contains("of another"), "{error}");
    std::fs::write(&passphrase, "a passphrase of its own\n").unwrap();
    mesh.resume().await;
    assert_eq!(sentry.connected(&mesh).wanted().await.full.role, SENTRY);
}
