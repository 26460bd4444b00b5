//! The validator list: what changes it, what is held, what is shown.

use crate::fixture::{Mesh, eventually, preps, report};
use picket_api::operator::{ExplainQuery, StatusView};
use picket_lab::icon::{Behaviour, ChainState, FakeIcon};
use picket_model::{ChainHealth, NodeReport, NodeRole, Purpose};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_validator_that_leaves_is_taken_from_every_host() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let before = prep.wanted().await;
    let poll = prep.waiting(&mesh, &before).await;
    mesh.icon.remove(preps(&mesh.icon)[0]).unwrap();
    let after = poll.await.unwrap().unwrap().unwrap();
    let allowed = |answer: &picket_api::ConfigAnswer| answer.full.firewall.allowed(Purpose::P2p).0.len();
    assert_eq!(allowed(&after), allowed(&before) - 1);
    let events = mesh.operator().events().await.unwrap();
    let change = events.iter().rfind(|event| event.action == "validators.changed").unwrap();
    assert!(change.detail.starts_with("- hx"), "{}", change.detail);
}

#[tokio::test]
async fn a_list_that_shrinks_too_far_is_held_and_shown() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let before = prep.wanted().await;
    let full = mesh.status().await.validators;
    for (behaviour, reason) in [(Behaviour::HalfPreps, "max_removed"), (Behaviour::EmptyPreps, "")] {
        mesh.icon.set_behaviour(behaviour);
        eventually("the alarm", async || {
            let alarms = mesh.status().await.alarms;
            alarms.iter().any(|alarm| alarm.starts_with("validator list held") && alarm.contains(reason))
        })
        .await;
        let view = mesh.operator().validators().await.unwrap();
        assert_eq!((view.validators.len(), view.held.is_some()), (full, true));
        assert_eq!(prep.wanted().await.revision, before.revision);
        mesh.icon.set_behaviour(Behaviour::Normal);
        eventually("the release", async || mesh.operator().validators().await.unwrap().held.is_none()).await;
    }
    for kind in ["list-held ", "no-quorum"] {
        eventually("the line in the audit log", async || {
            let events = mesh.operator().events().await.unwrap();
            events.iter().any(|event| event.action == "alarm.raised" && event.subject.starts_with(kind))
        })
        .await;
    }
}

#[tokio::test]
async fn a_node_that_is_behind_the_sources_is_an_alarm_where_one_is_watched() {
    let mesh = Mesh::start().await;
    let (prep, other) = (mesh.join(NodeRole::Prep, "prep-1").await, mesh.join(NodeRole::Prep, "prep-2").await);
    other.confirm(&other.wanted().await).await;
    let height = mesh.status().await.sources[0].height.unwrap();
    let say = async |behind: u64| {
        let chain = ChainHealth { state: "started".to_owned(), height: Some(height - behind), error: None };
        let said = NodeReport { chain: Some(chain), ..report(&prep.wanted().await) };
        prep.client().report(&said).await.unwrap();
        mesh.status().await
    };
    // Of prep-2, which was told of no node, nothing is said.
    let of_nodes = |status: &StatusView| {
        status.findings.iter().filter(|found| found.kind.starts_with("node-")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(of_nodes(&say(0).await), []);
    let status = say(100).await;
    let [found] = of_nodes(&status).try_into().unwrap();
    assert_eq!((found.kind.as_str(), found.host.as_deref()), ("node-behind", Some("prep-1")));
    assert!(found.text.contains("100 blocks behind") && status.alarms.contains(&found.text), "{status:?}");
    eventually("the line in the audit log", async || {
        let events = mesh.operator().events().await.unwrap();
        events.iter().any(|event| event.action == "alarm.raised" && event.subject == "node-behind prep-1")
    })
    .await;
}

#[tokio::test]
async fn a_source_that_fails_is_shown_and_changes_nothing() {
    let mesh = Mesh::start().await;
    let full = mesh.status().await.validators;
    let bad = [
        (Behaviour::Html, "JSON"),
        (Behaviour::WrongChain, "chain"),
        (Behaviour::Huge(10 << 20), "more than"),
        (Behaviour::Status(500), "500"),
    ];
    for (behaviour, reason) in bad {
        mesh.icon.set_behaviour(behaviour.clone());
        eventually(reason, async || {
            let status = mesh.status().await;
            status.sources[0].error.as_ref().is_some_and(|error| error.contains(reason))
                && status.alarms.iter().any(|alarm| alarm.starts_with("source 127.0.0.1-"))
        })
        .await;
        let status = mesh.status().await;
        assert_eq!((status.validators, status.sources[0].entries), (full, 100), "{behaviour:?}");
        assert!(status.sources[0].height.is_some());
    }
    mesh.icon.set_behaviour(Behaviour::Normal);
    eventually("the recovery", async || mesh.status().await.sources[0].error.is_none()).await;
}

#[tokio::test]
async fn hostile_endpoints_are_refused_and_the_reason_is_shown() {
    let mesh = Mesh::start().await;
    mesh.join(NodeRole::Prep, "prep-1").await;
    let list = preps(&mesh.icon);
    for (prep, endpoint) in list.iter().zip(["127.0.0.1:7100", "012.034.056.078:7100", "999.999.999.999:7100"]) {
        mesh.icon.set_endpoint(*prep, endpoint).unwrap();
    }
    eventually("the refusals", async || {
        let refused = mesh.operator().validators().await.unwrap().refused;
        list[..3].iter().all(|prep| refused.iter().any(|entry| entry.refused.entry == prep.to_string()))
    })
    .await;
    // The addresses that were good before stay in force, and loopback is let in nowhere.
    let validators = mesh.operator().validators().await.unwrap().validators;
    let stays = |prep: &picket_model::PrepId| {
        validators.iter().any(|validator| validator.prep == *prep && !validator.addresses.is_empty())
    };
    assert!(list[..3].iter().all(stays));
    let query = ExplainQuery { address: "127.0.0.1".parse().unwrap(), port: Some(7100), generation: None };
    let explanation = mesh.operator().explain(&query).await.unwrap();
    assert!(explanation.hosts.iter().flat_map(|host| &host.ports).all(|port| !port.is_allowed()));
    assert!(explanation.refused[0].reason.contains("loopback"), "{:?}", explanation.refused);
}

#[tokio::test]
async fn an_address_is_explained_by_its_prep() {
    let mesh = Mesh::start().await;
    mesh.join(NodeRole::Prep, "prep-1").await;
    let validators = mesh.operator().validators().await.unwrap().validators;
    let validator = validators.iter().find(|validator| !validator.addresses.is_empty()).unwrap();
    let query = ExplainQuery { address: *validator.addresses.first().unwrap(), port: Some(7100), generation: None };
    let explanation = mesh.operator().explain(&query).await.unwrap();
    let grant = &explanation.hosts[0].ports[0].grants[0];
    assert!(grant.reason.to_string().contains(&validator.prep.to_string()), "{}", grant.reason);
}

#[tokio::test]
async fn a_source_that_hangs_holds_up_nothing_while_the_others_agree() {
    let mut mesh = Mesh::start().await;
    mesh.stop().await;
    let (second, second_at) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    let (third, third_at) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    third.set_behaviour(Behaviour::Stall);
    let further = format!(", \"http://{second_at}\", \"http://{third_at}\"]\npoll");
    mesh.config = mesh.config.replace("]\npoll", &further);
    mesh.resume().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let poll = prep.waiting(&mesh, &prep.wanted().await).await;
    let gone = preps(&mesh.icon)[0];
    let start = Instant::now();
    mesh.icon.remove(gone).unwrap();
    second.remove(gone).unwrap();
    poll.await.unwrap().unwrap().unwrap();
    // A poll's interval and the last call of two seconds; a request that hangs is given up after ten.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    let sources = mesh.status().await.sources;
    assert_eq!(sources.iter().filter(|source| source.error.is_none()).count(), 2);
    // One alone is not believed.
    second.set_behaviour(Behaviour::Status(500));
    mesh.icon.remove(preps(&mesh.icon)[0]).unwrap();
    eventually("the hold", async || mesh.operator().validators().await.unwrap().held.is_some()).await;
}
