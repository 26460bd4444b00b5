//! A goloop asked over HTTP and over its socket, a good one and bad ones.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use picket_chain::node::{AskError, Goloop, Inspected};
use picket_lab::icon::{Behaviour, ChainState, FakeIcon};
use picket_model::Timestamp;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};

const VALIDATOR: &str = "hxa61cc3247a694a952aeaf8c6b95ef775b8340559";

async fn ask(place: &str, channel: &str) -> Result<Inspected, AskError> {
    let goloop = Goloop { place: place.parse().unwrap(), channel: channel.parse().unwrap() };
    goloop.ask(&"n-1".parse().unwrap(), Timestamp::from_millis(1)).await
}

fn fake() -> FakeIcon {
    let fake = FakeIcon::new(ChainState::mainnet());
    fake.set_node(|node| drop(node.roots.insert("192.0.2.7:7100".to_owned(), VALIDATOR.to_owned())));
    fake
}

async fn served() -> (FakeIcon, String) {
    let fake = fake();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(fake.clone().serve(listener, None));
    (fake, place)
}

fn check_good(inspected: &Inspected) {
    assert!(inspected.health.is_good());
    let advertised = inspected.advertised.as_ref().unwrap();
    assert_eq!(advertised.endpoints[&VALIDATOR.parse().unwrap()].first().unwrap().to_string(), "192.0.2.7:7100");
}

#[tokio::test]
async fn goloop_is_asked_on_its_rpc_port() {
    let (_fake, place) = served().await;
    check_good(&ask(&place, "icon_dex").await.unwrap());
}

#[tokio::test]
async fn goloop_is_asked_on_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cli.sock");
    tokio::spawn(fake().serve_socket(UnixListener::bind(&path).unwrap()));
    let place = path.to_str().unwrap();
    check_good(&ask(place, "icon_dex").await.unwrap());
    let error = ask(place, "other").await.unwrap_err().to_string();
    assert_eq!(error, format!("goloop at {place} has no chain other; it has: icon_dex"));
    let gone = folder.path().join("gone.sock");
    let error = ask(gone.to_str().unwrap(), "icon_dex").await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached: No such file"), "{error}");
}

#[tokio::test]
async fn each_bad_answer_is_named() {
    let (fake, place) = served().await;
    let check = async |behaviour: Behaviour, expect: &str| {
        fake.set_behaviour(behaviour);
        let error = ask(&place, "icon_dex").await.unwrap_err().to_string();
        assert!(error.contains(expect) && error.contains(&place), "{error}");
    };
    check(Behaviour::Html, "not JSON").await;
    check(Behaviour::Status(401), "HTTP 401").await;
    check(Behaviour::Status(404), "HTTP 404").await;
    check(Behaviour::Status(302), "HTTP 302").await;
    check(Behaviour::Huge(2 << 20), "more than 1048576 bytes").await;
    fake.set_behaviour(Behaviour::Normal);
    let error = ask(&place, "icon_dax").await.unwrap_err().to_string();
    assert!(error.contains("has no chain icon_dax; it has: icon_dex"), "{error}");
    fake.set_node(|node| node.state = "stopped".to_owned());
    let stopped = ask(&place, "icon_dex").await.unwrap();
    assert_eq!((stopped.health.state.as_str(), stopped.advertised), ("stopped", None));
}

#[tokio::test]
async fn a_goloop_that_is_down_or_hangs_is_given_up_soon() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = ask(&place, "icon_dex").await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached: Connection refused"), "{error}");

    let (fake, place) = served().await;
    fake.set_behaviour(Behaviour::Stall);
    let asked = tokio::time::timeout(Duration::from_secs(30), ask(&place, "icon_dex")).await.unwrap();
    assert_eq!(asked.unwrap_err(), AskError::Timeout { place });
}
