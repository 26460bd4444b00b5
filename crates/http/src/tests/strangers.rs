//! Clients without a certificate where members show one: what they get, and that members do not suffer from them.

use super::support::{HOUR, Mesh, Poll, SHORT, Served, Unsized, closed, text, until, who, within};
use crate::{Limits, Peer, Share, Strangers};
use axum::{Router, body::Bytes, http::StatusCode, routing::get, routing::post};
use http_body_util::Full;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

#[tokio::test]
async fn strangers_fill_their_share_and_a_member_gets_in_at_once() {
    let mesh = Mesh::new();
    let strangers = Strangers { connections: Share { all: 3, source: 2 }, lifetime: HOUR, ..Strangers::default() };
    let server = mesh.serve(who(), patient(strangers)).await;
    let mut held = Vec::new();
    for source in ["127.0.0.1", "127.0.0.1", "127.0.0.2"] {
        held.push(hold(&mesh, &server, source).await);
    }
    closed(&mut stranger(&mesh, &server, "127.0.0.3").await).await;
    assert_eq!(text(server.get(&mesh.node("sentry-1"), "/").await), "sentry-1 over HTTP/2.0");
    drop(held);
    until(async || server.get(&mesh.anonymous(), "/").await.is_ok()).await;
}

#[tokio::test]
async fn ninth_connection_of_one_address_is_closed_while_another_address_gets_in() {
    let mesh = Mesh::new();
    let connections = Share { all: 256, source: 8 };
    let server = mesh.serve(who(), patient(Strangers { connections, lifetime: HOUR, ..Strangers::default() })).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(hold(&mesh, &server, "127.0.0.1").await);
    }
    closed(&mut stranger(&mesh, &server, "127.0.0.1").await).await;
    assert_eq!(server.connections.count(), 8);
    let _other = hold(&mesh, &server, "127.0.0.2").await;
    assert_eq!(text(server.get(&mesh.node("sentry-1"), "/").await), "sentry-1 over HTTP/2.0");
}

#[tokio::test]
async fn handshakes_under_way_are_limited_for_one_address_and_in_all() {
    let mesh = Mesh::new();
    let handshakes = Share { all: 3, source: 2 };
    let limits = Limits { handshakes, handshake_timeout: HOUR, ..Limits::default() };
    let server = mesh.serve(who(), limits).await;
    let mut silent = vec![server.connect("127.0.0.2").await, server.connect("127.0.0.2").await];
    refused(server.connect("127.0.0.2").await).await;
    assert_eq!(text(server.get(&mesh.node("sentry-1"), "/").await), "sentry-1 over HTTP/2.0");
    silent.push(server.connect("127.0.0.3").await);
    refused(server.connect("127.0.0.4").await).await;
    drop(silent);
    until(async || server.get(&mesh.node("sentry-1"), "/").await.is_ok()).await;
}

#[tokio::test]
async fn connection_of_a_stranger_ends_after_one_answer_and_that_of_a_member_stays() {
    let mesh = Mesh::new();
    let router =
        Router::new().route("/", post(async |peer: Peer, body: Bytes| format!("{} {}", peer.address, body.len())));
    let server = mesh.serve(router, Limits::default()).await;
    let url = format!("https://{}/", server.address);
    let enrol = async |client: &reqwest::Client| {
        let answer = client.post(&url).body(vec![0; 2000]).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.text().await.unwrap()
    };
    // The client keeps its connection for the next request, unless the server ends it.
    for client in [mesh.anonymous(), mesh.old_client(None)] {
        assert!(enrol(&client).await.ends_with(" 2000"));
        until(async || server.connections.count() == 0).await;
        assert!(enrol(&client).await.ends_with(" 2000"));
        until(async || server.connections.count() == 0).await;
    }
    for client in [mesh.node("sentry-1"), mesh.old_client(Some(&mesh.member("sentry-1")))] {
        assert_eq!(enrol(&client).await, enrol(&client).await);
    }
}

#[tokio::test]
async fn slow_stranger_is_cut_off_and_a_members_poll_kept() {
    let mesh = Mesh::new();
    let poll = Poll::default();
    let router = poll.router().route("/slow", post(async |_: Bytes| StatusCode::OK));
    let server = mesh.serve(router, patient(Strangers { lifetime: SHORT * 10, ..Strangers::default() })).await;
    let waiting = server.spawn_get(&mesh.node("sentry-1"), "/");
    within(poll.arrived.notified()).await;
    for protocol in PROTOCOLS {
        closed(&mut mesh.raw(&server, None, protocol).await).await;
    }
    let mut slow = mesh.raw(&server, None, "http/1.1").await;
    slow.write_all(b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nsome").await.unwrap();
    closed(&mut slow).await;
    until(async || server.connections.count() == 1).await;
    poll.answer.send(Some(StatusCode::NO_CONTENT)).unwrap();
    assert_eq!(within(waiting).await.unwrap().unwrap().0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn stranger_has_one_request_at_a_time() {
    /// Type RST_STREAM, stream 3, REFUSED_STREAM (RFC 9113, 6.4 and 7).
    const REFUSED: &[u8] = b"\0\0\x04\x03\0\0\0\0\x03\0\0\0\x07";
    let mesh = Mesh::new();
    let poll = Poll::default();
    let server = mesh.serve(poll.router(), patient(Strangers { lifetime: HOUR, ..Strangers::default() })).await;
    let mut stream = mesh.raw(&server, None, "h2").await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    stream.write_all(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x84\x87\x41\x01a").await.unwrap();
    within(poll.arrived.notified()).await;
    stream.write_all(b"\0\0\x06\x01\x05\0\0\0\x03\x82\x84\x87\x41\x01a").await.unwrap();
    let mut said = Vec::new();
    while !said.windows(REFUSED.len()).any(|frame| frame == REFUSED) {
        assert_ne!(within(stream.read_buf(&mut said)).await.unwrap(), 0, "closed after {said:?}");
    }
}

#[tokio::test]
async fn body_of_a_stranger_is_limited_to_less_than_a_members() {
    let mesh = Mesh::new();
    let router = Router::new().route("/", post(async |body: Bytes| body.len().to_string()));
    let server = mesh.serve(router, Limits::default()).await;
    let url = format!("https://{}/", server.address);
    for (client, limit) in [(mesh.anonymous(), 32 << 10), (mesh.node("sentry-1"), 1 << 20)] {
        for (length, status) in [(limit, StatusCode::OK), (limit + 1, StatusCode::PAYLOAD_TOO_LARGE)] {
            let body = reqwest::Body::wrap(Unsized(Full::from(vec![0; length])));
            assert_eq!(client.post(&url).body(body).send().await.unwrap().status(), status, "{length}");
        }
    }
}

#[tokio::test]
async fn nobody_is_a_stranger_where_nobody_shows_a_certificate() {
    let mesh = Mesh::new();
    let router = Router::new().route("/", get(async |peer: Peer| peer.address.to_string()));
    let limits = Limits { header_timeout: HOUR, handshake_timeout: HOUR, ..Limits::everybody_anonymous() };
    let server = mesh.serve_all(router, limits).await;
    let (mut held, mut silent) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        silent.push(server.connect("127.0.0.1").await);
        held.push(hold(&mesh, &server, "127.0.0.1").await);
    }
    let client = mesh.anonymous();
    let first = text(server.get(&client, "/").await);
    assert_eq!(text(server.get(&client, "/").await), first);
}

/// Ends no connection but for the reason that a test is about.
fn patient(strangers: Strangers) -> Limits {
    Limits { strangers: Some(strangers), header_timeout: HOUR, keep_alive: HOUR, ..Limits::default() }
}

/// A stranger's connection that has a place when this returns, and keeps it.
async fn hold(mesh: &Mesh, server: &Served, source: &str) -> TlsStream<TcpStream> {
    let before = server.connections.count();
    let stream = stranger(mesh, server, source).await;
    until(async || server.connections.count() == before + 1).await;
    stream
}

async fn stranger(mesh: &Mesh, server: &Served, source: &str) -> TlsStream<TcpStream> {
    mesh.raw_from(server.connect(source).await, None, "http/1.1").await
}

async fn refused(mut stream: TcpStream) {
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0; 1])).await;
    // The end, or a reset: whichever the kernel makes of a connection closed without a word.
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
}
