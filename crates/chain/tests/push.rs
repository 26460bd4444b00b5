//! The WebSocket client against a fake ICON endpoint over loopback with goloop's limits, and against servers that break the
//! rules.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use futures_util::{SinkExt as _, StreamExt as _};
use picket_chain::{
    Network, Source,
    push::{Dialer, End, Message, PushError, PushLimits, Stream, Subscription},
};
use picket_lab::icon::{Behaviour, ChainState, FakeIcon};
use picket_model::PrepId;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{RootCertStore, ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async, tungstenite};

/// Height of the recorded list.
const START: u64 = 30_642_672;
/// goloop's `wsMaxSession`.
const MOST_SESSIONS: usize = 10;

#[tokio::test]
async fn an_event_comes_as_soon_as_its_block() {
    let (fake, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    let mut stream = subscribe(address, START + 1).await.unwrap();
    let height = fake.remove(first(&fake)).unwrap();
    assert_eq!(stream.next().await.unwrap(), Message::Event { height });
    assert_eq!(stream.next().await.unwrap(), Message::Progress { height });
    fake.set_endpoint(first(&fake), "198.51.100.7:7100").unwrap();
    assert_eq!(stream.next().await.unwrap(), Message::Event { height: height + 1 });
}

#[tokio::test]
async fn no_event_is_lost_when_the_node_drops_the_connection() {
    let (fake, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    let mut subscription = Subscription::default();
    let mut events = Vec::new();
    let mut stream = subscribe(address, subscription.begin(START)).await.unwrap();
    let seen = fake.remove(first(&fake)).unwrap();
    hear_until(&mut stream, &mut subscription, seen, &mut events).await;

    fake.drop_sessions();
    assert_eq!(stream.next().await.unwrap_err(), PushError::Closed);
    subscription.end(End::Lost(Duration::ZERO), 0);
    let missed = [fake.remove(first(&fake)).unwrap(), fake.remove(first(&fake)).unwrap()];

    let height = subscription.begin(START);
    assert_eq!(height, seen + 1);
    let mut stream = subscribe(address, height).await.unwrap();
    hear_until(&mut stream, &mut subscription, missed[1], &mut events).await;
    assert_eq!(events, [seen, missed[0], missed[1]]);
}

#[tokio::test]
async fn the_eleventh_session_is_refused_with_goloops_words() {
    let (fake, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..MOST_SESSIONS {
        held.push(subscribe(address, START).await.unwrap());
    }
    let error = subscribe(address, START).await.err().unwrap();
    assert_eq!(error.to_string(), r#"the endpoint refuses with code -31005: "too many monitor""#);
    held.pop();
    until(|| fake.open_sessions() < MOST_SESSIONS).await;
    assert!(subscribe(address, START).await.is_ok());
}

#[tokio::test]
async fn a_request_beyond_16_kib_ends_the_connection() {
    let (_fake, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let (mut socket, _) = client_async(format!("ws://{address}/api/v3/icon_dex/event"), tcp).await.unwrap();
    let text = format!(r#"{{"height":"0x1","event":"{}()"}}"#, "x".repeat(16 << 10));
    socket.send(tungstenite::Message::text(text)).await.unwrap();
    assert!(!matches!(socket.next().await, Some(Ok(_))));
}

#[tokio::test]
async fn a_future_height_is_silent_until_it_comes() {
    let (fake, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    let mut stream = subscribe(address, START + 2).await.unwrap();
    fake.next_block();
    fake.next_block();
    assert_eq!(stream.next().await.unwrap(), Message::Progress { height: START + 2 });
}

#[tokio::test]
async fn a_connection_without_beats_is_dead() {
    let (_fake, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    let limits = PushLimits { silence: Duration::from_millis(50), ..PushLimits::default() };
    let mut stream = subscribe_with(limits, &format!("http://{address}"), START + 1).await.unwrap();
    let error = stream.next().await.unwrap_err();
    assert_eq!(error, PushError::Silent { after: limits.silence });
    assert_eq!(error.end(Duration::ZERO), End::Lost(Duration::ZERO));
}

#[tokio::test]
async fn an_endpoint_without_websocket_is_told_from_one_that_is_busy_or_stuck() {
    let (fake, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
    let absent = |status| PushError::Absent { status };
    let error = subscribe_with(PushLimits::default(), &format!("http://{address}/api/v3/other"), START).await;
    assert_eq!(error.err(), Some(absent(404)));
    // No channel in the path: goloop has only the POST of JSON-RPC there.
    let tcp = TcpStream::connect(address).await.unwrap();
    let error = client_async(format!("ws://{address}/api/v3/event"), tcp).await.unwrap_err();
    assert_eq!(error.to_string(), "HTTP error: 405 Method Not Allowed");

    let check = async |behaviour: Behaviour, expect: PushError| {
        fake.set_behaviour(behaviour);
        assert_eq!(subscribe(address, START).await.err(), Some(expect));
    };
    check(Behaviour::Html, absent(200)).await;
    check(Behaviour::Status(403), absent(403)).await;
    check(Behaviour::Status(429), PushError::Status { status: 429 }).await;
    check(Behaviour::Status(502), PushError::Status { status: 502 }).await;
    assert_eq!(absent(404).end(Duration::ZERO), End::Absent);

    fake.set_behaviour(Behaviour::Stall);
    let limits = PushLimits { connect: Duration::from_millis(50), ..PushLimits::default() };
    let error = subscribe_with(limits, &format!("http://{address}"), START).await.err();
    assert_eq!(error, Some(PushError::Timeout { after: limits.connect }));
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = subscribe(address, START).await.err().unwrap();
    assert_eq!(error.to_string(), "no WebSocket: Connection refused (os error 111)");
}

#[tokio::test]
async fn servers_that_say_something_else_are_left_with_a_reason() {
    let check = async |said: &'static [&'static str], expect: &str| {
        let address = serve(said).await;
        let error = match subscribe(address, START).await {
            Ok(mut stream) => stream.next().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(expect), "{error}");
    };
    check(&["<html>"], r#"a message is not of goloop's form, it begins with "<html>""#).await;
    check(&["{\"progress\":\"0x1\"}"], "pushes without accepting").await;
    check(&["{\"code\":0}", "[]"], r#"begins with "[]""#).await;
    check(&["{\"code\":0}"], "closed the WebSocket").await;
    check(&[], "closed the WebSocket").await;
    let long: &'static str = Box::leak("x".repeat((64 << 10) + 1).into_boxed_str());
    check(Box::leak(Box::new(["{\"code\":0}", long])), "Space limit exceeded").await;
}

#[tokio::test]
async fn pings_are_answered_and_are_no_sign_of_life() {
    let (seen, mut pongs) = tokio::sync::mpsc::channel(1);
    let address = serve_with(move |mut socket| {
        let seen = seen.clone();
        async move {
            socket.next().await.unwrap().unwrap();
            socket.send(tungstenite::Message::text("{\"code\":0}")).await.unwrap();
            loop {
                socket.send(tungstenite::Message::Ping("here".into())).await.unwrap();
                match socket.next().await {
                    Some(Ok(tungstenite::Message::Pong(said))) => drop(seen.try_send(said)),
                    _ => return,
                }
            }
        }
    })
    .await;
    let limits = PushLimits { silence: Duration::from_millis(200), ..PushLimits::default() };
    let mut stream = subscribe_with(limits, &format!("http://{address}"), START).await.unwrap();
    assert_eq!(stream.next().await, Err(PushError::Silent { after: limits.silence }));
    assert_eq!(pongs.recv().await.unwrap(), "here");
}

#[tokio::test]
async fn over_tls_only_a_trusted_endpoint_is_heard() {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(tls) = acceptor.accept(tcp).await else { continue };
            let mut socket = accept_async(tls).await.unwrap();
            socket.next().await.unwrap().unwrap();
            socket.send(tungstenite::Message::text("{\"code\":0}")).await.unwrap();
        }
    });
    let source = Source::new(&format!("https://localhost:{}", address.port())).unwrap();
    let subscribe = async |roots| {
        let dialer = Dialer::with_roots(PushLimits::default(), roots).unwrap();
        dialer.subscribe(&source, &Network::mainnet(), START).await.map(drop)
    };
    let mut trusted = RootCertStore::empty();
    trusted.add(cert.der().clone()).unwrap();
    assert_eq!(subscribe(trusted).await, Ok(()));
    let mut other = RootCertStore::empty();
    let stranger = generate_simple_self_signed(["stranger.example".to_owned()]).unwrap();
    other.add(stranger.cert.der().clone()).unwrap();
    let error = subscribe(other).await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    assert_eq!(subscribe(RootCertStore::empty()).await, Err(PushError::NoRoots));
}

#[tokio::test]
async fn the_upgrade_asks_for_the_channel_and_the_key_in_the_path() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = tcp.read(&mut request).await.unwrap();
        tcp.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        String::from_utf8(request[..length].to_vec()).unwrap()
    });
    let url = format!("http://{address}/key-9f/api/v3?k=1");
    assert_eq!(subscribe_with(PushLimits::default(), &url, START).await.err(), Some(PushError::Absent { status: 404 }));
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("GET /key-9f/api/v3/icon_dex/event?k=1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("picket/"), "{asked}");
}

async fn subscribe(address: SocketAddr, height: u64) -> Result<Stream, PushError> {
    subscribe_with(PushLimits::default(), &format!("http://{address}"), height).await
}

async fn subscribe_with(limits: PushLimits, url: &str, height: u64) -> Result<Stream, PushError> {
    let dialer = Dialer::with_roots(limits, RootCertStore::empty()).unwrap();
    dialer.subscribe(&Source::new(url).unwrap(), &Network::mainnet(), height).await
}

/// Listens until the block at `height` was told of, and collects the heights of events.
async fn hear_until(stream: &mut Stream, subscription: &mut Subscription, height: u64, events: &mut Vec<u64>) {
    loop {
        let message = stream.next().await.unwrap();
        subscription.hear(message);
        if let Message::Event { height: told } = message {
            events.push(told);
            if told == height {
                return;
            }
        }
    }
}

fn first(fake: &FakeIcon) -> PrepId {
    fake.state().chain.preps[0]["address"].as_str().unwrap().parse().unwrap()
}

/// Waits for a condition.
async fn until(holds: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

/// A WebSocket server that reads the request, says this and closes.
async fn serve(said: &'static [&'static str]) -> SocketAddr {
    serve_with(move |mut socket| async move {
        socket.next().await.unwrap().unwrap();
        for text in said {
            socket.send(tungstenite::Message::text(*text)).await.unwrap();
        }
        let _ = socket.close(None).await;
    })
    .await
}

async fn serve_with<F: Future<Output = ()> + Send + 'static>(
    talk: impl Fn(WebSocketStream<TcpStream>) -> F + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(talk(accept_async(tcp).await.unwrap()));
        }
    });
    address
}
