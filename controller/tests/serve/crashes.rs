//! An agent that crashes at any step of enrolment goes on where it was: the same host, by the same token.

use crate::fixture::Mesh;
use picket_agent::{
    cli::{EnrollOptions, Place},
    enroll::enroll,
    identity::{Identity, Keys, client_certificate},
    proof::ProofOptions,
    state::StateDir,
};
use picket_model::NodeRole;
use std::{collections::BTreeMap, fs, path::Path};

/// Files in the order in which they come to lie in the folder; the keys are made before anybody is asked.
const STEPS: [&[&str]; 4] = [
    &["wireguard.key", "identity.key"],
    &["tls.key"],
    // From here on the token is used up, and the answer may have been lost.
    &["certificate.pem"],
    &["identity.json"],
];

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let entries = entries.filter(|entry| entry.file_type().unwrap().is_file());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[tokio::test]
async fn an_agent_that_crashes_at_any_step_of_enrolment_is_the_same_host_afterwards() {
    let mesh = Mesh::start().await;
    let token = mesh.token(NodeRole::Sentry, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| Place {
        state_dir: folder.path().join(name),
        guard: None,
        interface: "picket0".parse().unwrap(),
        log_group: 0,
    };
    let options = EnrollOptions {
        controllers: vec![mesh.agents_url().to_string()],
        token: Some(token),
        token_file: None,
        proof: ProofOptions::default(),
        name: Some("sentry-1".parse().unwrap()),
        endpoint: None,
    };
    let whole = place("whole");
    let said = enroll(&whole, &options, NodeRole::Sentry).await.unwrap();
    assert!(said.starts_with("enrolled sentry-1 as a sentry"), "{said}");
    let state = StateDir::new(&whole.state_dir);
    let (identity, keys) = (Identity::load(&state).unwrap().unwrap(), Keys::load(&state).unwrap());
    let left = files(&whole.state_dir);
    let known: Vec<&str> = STEPS.concat();
    assert!(known.iter().all(|file| left.contains_key(*file)), "{:?}", left.keys());

    // What each crash leaves, once the keys that the controller knows are there; what it may not have yet is not.
    for steps in 2..=STEPS.len() {
        let crashed = place(&format!("after-{steps}"));
        fs::create_dir(&crashed.state_dir).unwrap();
        let lost: Vec<&str> = STEPS[steps..].concat();
        for (name, content) in left.iter().filter(|(name, _)| !lost.contains(&name.as_str())) {
            fs::write(crashed.state_dir.join(name), content).unwrap();
        }
        let said = enroll(&crashed, &options, NodeRole::Sentry).await.unwrap();
        let expected = if lost.is_empty() { "already enrolled" } else { "enrolled sentry-1 as a sentry" };
        assert!(said.starts_with(expected), "{steps}: {said}");
        let state = StateDir::new(&crashed.state_dir);
        assert_eq!(Identity::load(&state).unwrap().unwrap(), identity);
        assert_eq!(Keys::load(&state).unwrap().wireguard_public(), keys.wireguard_public());
        client_certificate(&state).unwrap();
    }
    // A crash among the keys: those that are there are kept, the others made, and the host is a new one.
    let early = place("early");
    fs::create_dir(&early.state_dir).unwrap();
    fs::write(early.state_dir.join("wireguard.key"), b"").unwrap();
    let error = enroll(&early, &options, NodeRole::Sentry).await.unwrap_err();
    assert!(format!("{error:#}").contains("wireguard.key is not a key of this agent"), "{error:#}");
    assert_eq!(mesh.status().await.nodes, 1);
}
