//! What goes into force without any new list: names as soon as they are looked up, lines of the policy when they end.

use crate::fixture::{Mesh, eventually, preps};
use picket_model::{NodeRole, Purpose, Timestamp};
use std::time::{Duration, SystemTime};

/// A mesh that stopped, to be polled once when it is started again, and then not for an hour.
async fn polled_once() -> Mesh {
    let mut mesh = Mesh::start().await;
    mesh.stop().await;
    mesh.config = mesh.config.replace("poll_seconds = 1\n", "poll_seconds = 3600\npush = false\n");
    mesh
}

#[tokio::test]
async fn what_a_lookup_gave_is_judged_without_another_poll() {
    let mut mesh = polled_once().await;
    let named = preps(&mesh.icon)[0];
    mesh.icon.set_endpoint(named, "no-such-host.invalid:7100").unwrap();
    mesh.resume().await;
    eventually("the alarm", async || {
        let alarms = mesh.status().await.alarms;
        alarms.iter().any(|alarm| alarm.contains("no-such-host.invalid does not resolve"))
    })
    .await;
    let set = mesh.operator().validators().await.unwrap().validators;
    // Where it was before the name it stays until the name is answered.
    let known = set.iter().find(|validator| validator.prep == named).unwrap();
    assert_eq!((known.endpoint.to_string().as_str(), known.addresses.len()), ("no-such-host.invalid:7100", 1));
}

#[tokio::test]
async fn a_line_that_ends_is_taken_from_every_host_when_it_ends() {
    let mut mesh = polled_once().await;
    // Enough for a busy machine to start and to take one host in.
    let until = Timestamp::from(SystemTime::now()).plus(Duration::from_secs(20)).to_string();
    let line = format!("{{ purpose = \"rpc\", network = \"192.0.2.0/24\", comment = \"x\", until = \"{until}\" }}");
    mesh.config.push_str(&format!("[policy]\nallow = [{line}]\n"));
    mesh.resume().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let allowed = |answer: &picket_api::ConfigAnswer| {
        answer.full.firewall.allowed(Purpose::Rpc).0.contains_key(&"192.0.2.0/24".parse().unwrap())
    };
    let before = prep.wanted().await;
    assert!(allowed(&before));
    let poll = prep.waiting(&mesh, &before).await;
    let after = poll.await.unwrap().unwrap().unwrap();
    assert!(!allowed(&after));
    assert!(Timestamp::from(SystemTime::now()) >= until.parse().unwrap());
}
