//! Many hosts: what travels where a host says what it holds, and what a person orders while a crowd joins.

use crate::fixture::{Agent, Host, Mesh};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use picket_api::{
    EnrollRequest, Proof,
    node::{ConfigNews, Held},
    operator::RevokeQuery,
};
use picket_model::{Generation, NodeRole};
use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

/// Joins at once: fewer than strangers may have connections.
const CROWD: usize = 200;
/// From each address: fewer than one may have.
const OF_ONE_SOURCE: usize = 20;

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
    assert_eq!(prep.client().newer(after, Some(&held)).await.unwrap().map(|newer| newer.answer), Some(whole.clone()));
    let mut damaged = held.clone();
    damaged.config.wireguard.mtu = 1280;
    damaged.config.wireguard.peers.clear();
    assert_eq!(
        prep.client().newer(after, Some(&damaged)).await.unwrap().map(|newer| newer.answer),
        Some(whole.clone())
    );
    assert_eq!(prep.client().newer(Generation(0), Some(&held)).await.unwrap().map(|newer| newer.answer), Some(whole));
}

/// Asks for a seat from an address of its own, again where too many wait, as the agents' `enroll` does.
async fn enroll_from(mesh: &Mesh, host: &Host, token: &str, number: usize) {
    let source = Ipv4Addr::new(127, 0, 1, u8::try_from(number / OF_ONE_SOURCE).unwrap());
    let tls = picket_pki::client_config(mesh.ca(), None).unwrap();
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).local_address(IpAddr::V4(source));
    let url = mesh.agents_url().join("/v1/enroll").unwrap();
    // No two machines here are one.
    let machine_id = None;
    let proof = Proof::JoinToken { token: token.to_owned() };
    let request = EnrollRequest { proof, machine_id, ..host.request.clone() };
    let client = client.build().unwrap();
    loop {
        let answer = client.post(url.clone()).json(&request).send().await.unwrap();
        match answer.status() {
            reqwest::StatusCode::OK => return,
            status => assert_eq!(status, reqwest::StatusCode::TOO_MANY_REQUESTS, "{}", answer.text().await.unwrap()),
        }
    }
}

/// A host that has everything in force at once, for as long as the test.
async fn follow(prep: &Agent) {
    let mut held = prep.wanted().await;
    loop {
        prep.confirm(&held).await;
        if let Some(news) = prep.client().config(held.revision).await.unwrap() {
            held = news;
        }
    }
}

/// In force means that the peer has said so, which it does over the same controller.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoke_is_in_force_before_the_hosts_that_are_about_to_join_are_in() {
    let mesh = Mesh::start().await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    for sentry in ["sentry-1", "sentry-2"] {
        mesh.join(NodeRole::Sentry, sentry).await;
    }
    let token = mesh.token(NodeRole::Sentry, u32::try_from(CROWD).unwrap()).await;
    let hosts: Vec<Host> = (0..CROWD).map(|number| Host::new(NodeRole::Sentry, &format!("crowd-{number}"))).collect();
    let operator = mesh.operator();
    let wait = RevokeQuery { wait_ms: Some(10_000) };
    let mut following = std::pin::pin!(follow(&prep));
    let revoke = async |name: &str| {
        let began = Instant::now();
        let receipt = operator.revoke(name, &wait).await.unwrap();
        assert_eq!((receipt.in_force.len(), receipt.missing.len()), (1, 0), "{receipt:?}");
        began.elapsed()
    };
    let usual = tokio::select! {
        usual = revoke("sentry-1") => usual,
        () = &mut following => unreachable!(),
    };

    let mut joins: FuturesUnordered<_> =
        hosts.iter().enumerate().map(|(number, host)| enroll_from(&mesh, host, &token, number)).collect();
    joins.next().await.unwrap();
    let mut revoked = std::pin::pin!(revoke("sentry-2"));
    let mut meanwhile = 0;
    let took = loop {
        tokio::select! {
            took = &mut revoked => break took,
            () = &mut following => unreachable!(),
            joined = joins.next() => {
                joined.expect("the crowd joined first");
                meanwhile += 1;
            }
        }
    };
    println!("in force after {took:?}, {usual:?} without the crowd; {meanwhile} of {CROWD} joined meanwhile");
    assert!(meanwhile < CROWD / 4, "{meanwhile} joined before the revoke was in force");
    // And nobody is refused for good.
    while joins.next().await.is_some() {}
    assert_eq!(mesh.status().await.nodes, CROWD + 1);
}
