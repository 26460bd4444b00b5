//! Over loopback with real TLS: reqwest as agents use it, and bare sockets for clients that misbehave.

mod strangers;
mod support;

use super::*;
use axum::{Router, body::Bytes, http::StatusCode, routing::get, routing::post};
use http_body_util::Full;
use std::{
    fs::File,
    future::pending,
    process::Command,
    time::{Duration, Instant},
};
use support::{HOUR, Mesh, Poll, SHORT, Unsized, closed, node, now, text, until, who, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

#[tokio::test]
async fn node_is_known_and_others_are_anonymous() {
    let mesh = Mesh::new();
    let server = mesh.serve(who(), Limits::default()).await;
    assert_eq!(text(server.get(&mesh.anonymous(), "/").await), "nobody over HTTP/2.0");
    assert_eq!(text(server.get(&mesh.node("sentry-1"), "/").await), "sentry-1 over HTTP/2.0");
    let old = mesh.old_client(None);
    assert_eq!(text(server.get(&old, "/").await), "nobody over HTTP/1.1");
}

#[tokio::test]
async fn node_of_a_foreign_ca_gets_no_answer() {
    let (mesh, foreign) = (Mesh::new(), Mesh::new());
    let server = mesh.serve(who(), Limits::default()).await;
    let certificate = foreign.certificate("sentry-1", now(), HOUR);
    let answer = server.get(&mesh.client(Some(&certificate)), "/").await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(server.connections.count(), 0);
}

#[tokio::test]
async fn controller_of_a_foreign_ca_is_refused_by_name() {
    let (mesh, foreign) = (Mesh::new(), Mesh::new());
    let server = foreign.serve(who(), Limits::default()).await;
    let error = server.get(&mesh.anonymous(), "/").await.unwrap_err();
    assert!(error.contains(&mesh.ca.fingerprint().to_string()), "{error}");
    assert!(error.contains(&foreign.ca.fingerprint().to_string()), "{error}");
}

#[tokio::test]
async fn plain_listener_serves_plain_clients() {
    let server = Mesh::serve_plain(who(), Limits::default()).await;
    let answer = Mesh::new().anonymous().get(format!("http://{}/", server.address)).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "nobody over HTTP/1.1");
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_its_place_given_again() {
    let mesh = Mesh::new();
    let server = mesh.serve(who(), Limits { max_connections: 1, ..Limits::default() }).await;
    let (first, second) = (mesh.node("sentry-1"), mesh.node("sentry-2"));
    server.get(&first, "/").await.unwrap();
    assert!(server.get(&second, "/").await.is_err());
    server.get(&first, "/").await.unwrap();
    drop(first);
    until(async || server.get(&second, "/").await.is_ok()).await;
}

#[tokio::test]
async fn members_oldest_connection_is_closed_for_one_too_many_and_nobody_elses() {
    let mesh = Mesh::new();
    let poll = Poll::default();
    let server = mesh.serve(poll.router(), Limits { of_one_member: 2, ..Limits::default() }).await;
    let other = server.spawn_get(&mesh.node("sentry-2"), "/");
    within(poll.arrived.notified()).await;
    let (mut waiting, mut clients) = (Vec::new(), Vec::new());
    // One and the same certificate, as whoever has stolen it.
    let certificate = mesh.member("sentry-1");
    for _ in 0..4 {
        let client = mesh.client(Some(&certificate));
        waiting.push(server.spawn_get(&client, "/"));
        within(poll.arrived.notified()).await;
        clients.push(client);
    }
    let kept = waiting.split_off(2);
    for closed in waiting {
        assert!(within(closed).await.unwrap().is_err());
    }
    until(async || server.connections.count() == 3).await;
    assert!(!other.is_finished() && kept.iter().all(|poll| !poll.is_finished()));
    poll.answer.send(Some(StatusCode::NO_CONTENT)).unwrap();
    for answered in kept.into_iter().chain([other]) {
        assert_eq!(within(answered).await.unwrap().unwrap().0, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn handshake_that_never_ends_is_cut_off() {
    let mesh = Mesh::new();
    let server = mesh.serve(who(), Limits { handshake_timeout: SHORT, ..Limits::default() }).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(within(silent.read(&mut [0; 1])).await.unwrap(), 0);
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
    assert_eq!(within(slow.read(&mut [0; 1])).await.unwrap(), 0);
}

#[tokio::test]
async fn client_that_asks_for_nothing_is_cut_off() {
    let mesh = Mesh::new();
    let server = mesh.serve(who(), Limits { header_timeout: SHORT, ..Limits::default() }).await;
    for protocol in ["h2", "http/1.1"] {
        let mut silent = mesh.raw(&server, None, protocol).await;
        closed(&mut silent).await;
    }
    let mut slow = mesh.raw(&server, None, "http/1.1").await;
    slow.write_all(b"GET / HTTP/1.1\r\nhost: ").await.unwrap();
    closed(&mut slow).await;
    until(async || server.connections.count() == 0).await;
}

#[tokio::test]
async fn half_open_connection_is_found_and_a_waiting_poll_kept() {
    let mesh = Mesh::new();
    let poll = Poll::default();
    let server = mesh.serve(poll.router(), Limits { keep_alive: SHORT * 10, ..Limits::default() }).await;
    let waiting = server.spawn_get(&mesh.node("sentry-1"), "/");
    within(poll.arrived.notified()).await;
    // GET / on stream 1, after which the client says no more: no settings acknowledged, no ping answered.
    let mut gone = mesh.raw(&server, Some(&mesh.member("sentry-2")), "h2").await;
    gone.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    gone.write_all(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x84\x87\x41\x01a").await.unwrap();
    within(poll.arrived.notified()).await;
    assert_eq!(server.connections.count(), 2);
    closed(&mut gone).await;
    until(async || server.connections.count() == 1).await;
    poll.answer.send(Some(StatusCode::NO_CONTENT)).unwrap();
    assert_eq!(within(waiting).await.unwrap().unwrap().0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn body_over_the_limit_is_refused_however_it_is_sent() {
    let mesh = Mesh::new();
    let router = Router::new().route("/", post(async |body: Bytes| body.len().to_string()));
    let server = mesh.serve(router, Limits { max_body: 1000, ..Limits::default() }).await;
    let client = mesh.node("sentry-1");
    let url = format!("https://{}/", server.address);
    for (length, status) in [(1000, StatusCode::OK), (1001, StatusCode::PAYLOAD_TOO_LARGE)] {
        let whole = client.post(&url).body(vec![0; length]).send().await.unwrap();
        assert_eq!(whole.status(), status);
        let body = reqwest::Body::wrap(Unsized(Full::from(vec![0; length])));
        let streamed = client.post(&url).body(body).send().await.unwrap();
        assert_eq!(streamed.status(), status);
    }
}

#[tokio::test]
async fn request_that_takes_too_long_is_answered_for_its_handler() {
    let mesh = Mesh::new();
    let router = Router::new().route("/", get(async || pending::<()>().await));
    let server = mesh.serve(router, Limits { request_timeout: SHORT, ..Limits::default() }).await;
    assert_eq!(server.get(&mesh.anonymous(), "/").await.unwrap().0, StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn stop_lets_a_running_request_finish_and_takes_no_new_ones() {
    let mesh = Mesh::new();
    let poll = Poll::default();
    let mut server = mesh.serve(poll.router(), Limits::default()).await;
    let client = mesh.node("sentry-1");
    let waiting = server.spawn_get(&client, "/");
    within(poll.arrived.notified()).await;
    server.stop();
    until(async || TcpStream::connect(server.address).await.is_err()).await;
    assert!(!server.done.is_finished());
    poll.answer.send(Some(StatusCode::NO_CONTENT)).unwrap();
    assert_eq!(within(waiting).await.unwrap().unwrap().0, StatusCode::NO_CONTENT);
    within(server.done).await.unwrap();
}

#[tokio::test]
async fn stop_does_not_wait_for_ever() {
    let mesh = Mesh::new();
    let poll = Poll::default();
    let mut server = mesh.serve(poll.router(), Limits { stop_grace: SHORT, ..Limits::default() }).await;
    let waiting = server.spawn_get(&mesh.anonymous(), "/");
    within(poll.arrived.notified()).await;
    let _in_handshake = TcpStream::connect(server.address).await.unwrap();
    server.stop();
    within(server.done).await.unwrap();
    assert!(within(waiting).await.unwrap().is_err());
}

#[tokio::test]
async fn revoked_node_is_answered_and_its_connections_closed_at_once() {
    let mesh = Mesh::new();
    let poll = Poll::default();
    let server = mesh.serve(poll.router(), Limits::default()).await;
    let (revoked, other) = (mesh.node("sentry-1"), mesh.node("sentry-2"));
    let waiting = server.spawn_get(&revoked, "/");
    within(poll.arrived.notified()).await;
    let others = server.spawn_get(&other, "/");
    within(poll.arrived.notified()).await;
    assert_eq!(server.connections.count(), 2);

    poll.answer.send(Some(StatusCode::GONE)).unwrap();
    assert_eq!(server.connections.close_node(&node("sentry-1")), 1);
    assert_eq!(within(waiting).await.unwrap().unwrap().0, StatusCode::GONE);
    until(async || server.connections.count() == 1).await;
    assert_eq!(within(others).await.unwrap().unwrap().0, StatusCode::GONE);
    server.get(&other, "/").await.unwrap();
    assert_eq!(server.connections.close_node(&node("sentry-1")), 0);
    assert_eq!(server.connections.count(), 1);
}

#[tokio::test]
async fn revoked_node_that_nobody_answers_is_cut_off_all_the_same() {
    let mesh = Mesh::new();
    let poll = Poll::default();
    let server = mesh.serve(poll.router(), Limits::default()).await;
    for client in [mesh.node("sentry-1"), mesh.old_client(Some(&mesh.member("sentry-1")))] {
        let waiting = server.spawn_get(&client, "/");
        within(poll.arrived.notified()).await;
        assert_eq!(server.connections.close_node(&node("sentry-1")), 1);
        assert!(within(waiting).await.unwrap().is_err());
        until(async || server.connections.count() == 0).await;
        until(async || poll.answer.receiver_count() == 0).await;
    }
}

#[tokio::test]
async fn connection_ends_with_its_certificate() {
    let mesh = Mesh::new();
    let poll = Poll::default();
    let server = mesh.serve(poll.router(), Limits::default()).await;
    let certificate = mesh.certificate("sentry-1", now(), Duration::from_secs(2));
    let started = Instant::now();
    let waiting = server.spawn_get(&mesh.client(Some(&certificate)), "/");
    within(poll.arrived.notified()).await;
    assert!(within(waiting).await.unwrap().is_err());
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn handler_that_panics_takes_nobody_else_with_it() {
    let mesh = Mesh::new();
    let router = who().route("/panic", get(async || -> StatusCode { panic!("on purpose") }));
    let server = mesh.serve(router, Limits::default()).await;
    let other = mesh.node("sentry-2");
    server.get(&other, "/").await.unwrap();
    for client in [mesh.node("sentry-1"), mesh.old_client(None)] {
        assert!(server.get(&client, "/panic").await.is_err());
    }
    assert_eq!(text(server.get(&other, "/").await), "sentry-2 over HTTP/2.0");
}

/// Limits on files belong to a process, so this test runs itself again in one of its own.
#[tokio::test]
async fn running_out_of_files_does_not_end_the_loop() {
    const INSIDE: &str = "PICKET_TEST_FEW_FILES";
    if std::env::var_os(INSIDE).is_some() {
        return accept_without_files().await;
    }
    let own = std::env::current_exe().unwrap();
    let run = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" --exact \"$1\" --nocapture"])
        .args([own.as_os_str(), "tests::running_out_of_files_does_not_end_the_loop".as_ref()])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(String::from_utf8_lossy(&run.stdout).contains("1 passed"), "the test has another name");
}

async fn accept_without_files() {
    let server = Mesh::serve_plain(who(), Limits::default()).await;
    let socket = TcpSocket::new_v4().unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    let mut client = socket.connect(server.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let early = tokio::time::timeout(SHORT, client.read(&mut [0; 1])).await;
    assert!(early.is_err(), "accepted without a file to spare: {early:?}");
    drop(hoard);
    let mut answer = String::new();
    within(client.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}
