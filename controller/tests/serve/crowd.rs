//! Many hosts: what travels where a host says what it holds, and what a person orders while a crowd joins.

use crate::fixture::{Host, Mesh};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use picket_api::{
    node::{ConfigNews, Held},
    operator::RevokeQuery,
};
use picket_model::{Generation, NodeRole};

/// Joins at once: fewer than one address may have connections without a certificate.
const CROWD: usize = 60;

#[tokio::test]
async fn who_says_what_it_holds_gets_the_changes_and_who_does_not_the_whole() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    let before = prep.wanted().await;
    mesh.join(NodeRole::Sentry, "sentry-2").await;
    let (whole, after) = (prep.wanted().await, before.revision);

    let url = mesh.agents_url().join("/v1/node/config").unwrap();
    let ask = async |holds: &str| {
        let url = format!("{url}?after={after}&holds={holds}");
        let answer = prep.http(&mesh).get(url).send().await.unwrap();
        let length = answer.content_length();
        let text = answer.text().await.unwrap();
        assert_eq!(length, Some(u64::try_from(text.len()).unwrap()));
        (text.len(), serde_json::from_str::<ConfigNews>(&text).unwrap())
    };
    let (length, news) = ask(&before.digest.to_string()).await;
    assert!(news.full.is_none() && news.changes.is_some());
    assert_eq!(news.of(Some(&before.full)), Some(whole.clone()));
    // A content of another digest is not known: one that was cut down by hand, or damaged.
    let (length_of_whole, news) = ask(&whole.digest.to_string()).await;
    assert_eq!(news.of(None), Some(whole.clone()));
    assert!(length * 10 < length_of_whole, "{length} of {length_of_whole} bytes");

    // As agents ask; what does not make what was said is asked for whole.
    let held = Held { digest: before.digest.clone(), config: before.full.clone() };
    assert_eq!(prep.client().newer(after, Some(&held)).await.unwrap(), Some(whole.clone()));
    let mut damaged = held.clone();
    damaged.config.wireguard.mtu = 1280;
    damaged.config.wireguard.peers.clear();
    assert_eq!(prep.client().newer(after, Some(&damaged)).await.unwrap(), Some(whole.clone()));
    assert_eq!(prep.client().newer(Generation(0), Some(&held)).await.unwrap(), Some(whole));
}

#[tokio::test]
async fn a_revoke_does_not_wait_for_the_hosts_that_are_about_to_join() {
    let mesh = Mesh::start().await;
    mesh.join(NodeRole::Prep, "prep-1").await;
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    let token = mesh.token(NodeRole::Sentry, u32::try_from(CROWD).unwrap()).await;
    let hosts: Vec<Host> = (0..CROWD).map(|number| Host::new(NodeRole::Sentry, &format!("crowd-{number}"))).collect();
    let mut joins: FuturesUnordered<_> = hosts.iter().map(|host| host.enroll(&mesh, &token)).collect();
    joins.next().await.unwrap().unwrap();
    let operator = mesh.operator();
    let at_once = RevokeQuery { wait_ms: Some(0) };
    let mut revoke = std::pin::pin!(operator.revoke("sentry-1", &at_once));
    loop {
        tokio::select! {
            receipt = &mut revoke => {
                assert_eq!(receipt.unwrap().missing.len(), 1);
                break;
            }
            joined = joins.next() => drop(joined.expect("the crowd joined first").unwrap()),
        }
    }
    assert!(!joins.is_empty(), "everybody had joined before the revoke was in force");
    // And nobody is refused for good.
    while let Some(joined) = joins.next().await {
        joined.unwrap();
    }
}
