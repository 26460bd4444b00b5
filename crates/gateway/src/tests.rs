//! Over loopback, with a node played by axum and callers who write their bytes themselves.

use super::*;
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use picket_http::Share;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

/// Long enough for anything on a loaded machine.
const SOON: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

type Seen = Arc<Mutex<Vec<String>>>;

/// A node, what it saw, and a door to it.
struct Scene {
    gateway: Gateway,
    door: Door,
    seen: Seen,
    at: SocketAddr,
}

async fn scene(limits: Limits, change: impl FnOnce(&mut Door)) -> Scene {
    let seen = Seen::default();
    let node = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = node.local_addr().unwrap();
    let saw = seen.clone();
    let router = Router::new().fallback(async move |request: Request| node_answers(&saw, request).await);
    tokio::spawn(async move { axum::serve(node, router).await });
    // Freed at once, and nobody else's for a while.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut door = Door {
        port: NonZeroU16::new(free.port()).unwrap(),
        addresses: ["127.0.0.1".parse().unwrap()].into(),
        callers: ["127.0.0.0/8".parse().unwrap()].into(),
        node: address,
        rules: Rules { streams: [Stream::Block].into(), debug: false },
    };
    change(&mut door);
    let mut gateway = Gateway::with_limits(limits);
    gateway.follow(std::slice::from_ref(&door)).await;
    assert_eq!(gateway.stands()[&door.port].error, None);
    Scene { gateway, door, seen, at: free }
}

async fn usual() -> Scene {
    scene(Limits::default(), |_| ()).await
}

impl Scene {
    async fn call(&self) -> TcpStream {
        TcpStream::connect(self.at).await.unwrap()
    }

    /// The whole answer to these bytes.
    async fn said(&self, bytes: &str) -> String {
        let mut stream = self.call().await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    fn count(&self, outcome: Outcome) -> u64 {
        self.gateway.stands()[&self.door.port].requests.get(outcome.as_str()).copied().unwrap_or_default()
    }

    async fn until_counted(&self, outcome: Outcome) {
        let deadline = Instant::now() + SOON;
        while self.count(outcome) == 0 {
            assert!(Instant::now() < deadline, "{outcome:?}: {:?}", self.gateway.stands());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after an answer is an end as well.
    let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the connection to end");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Writes down what it sees: everything is served, as a careless node would.
async fn node_answers(seen: &Seen, mut request: Request) -> Response {
    let mut line = format!("{} {}", request.method(), request.uri());
    for (name, value) in request.headers() {
        line += &format!("\n{name}: {}", value.to_str().unwrap());
    }
    seen.lock().unwrap().push(line);
    if let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>()
        && request.headers().contains_key("upgrade")
    {
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut piece = [0; 64];
            while let Ok(length @ 1..) = stream.read(&mut piece).await {
                if stream.write_all(&piece[..length]).await.is_err() {
                    return;
                }
            }
        });
        let headers = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", "accepted")];
        return (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
    }
    let (head, body) = request.into_parts();
    match head.headers.get("user-agent").and_then(|value| value.to_str().ok()) {
        // For ever, as fast as it is taken.
        Some("endless") => {
            return Body::new(Endless).into_response();
        }
        Some("silent") => std::future::pending().await,
        _ => {}
    }
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(body) => format!("node got {} bytes", body.len()).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// A body without an end.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = hyper::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        static PIECE: [u8; 16 << 10] = [b'x'; 16 << 10];
        std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(hyper::body::Bytes::from_static(&PIECE)))))
    }
}

fn post(target: &str, more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: sentry\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    )
}

const SOCKET: &str = "GET /api/v3/icon_dex/block HTTP/1.1\r\nHost: sentry\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn a_call_passes_and_nothing_else_of_the_node_does() {
    let scene = usual().await;
    let answer = scene.said(&post("/api/v3/icon_dex", "", "{}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("node got 2 bytes"), "{answer}");
    for target in [
        "/admin/chain",
        "/metrics",
        "/",
        "/api/v3/../../admin/chain",
        "/api/v3/%2e%2e/%2e%2e/admin/chain",
        "/api/v3/..%2f..%2fadmin",
        "//admin",
        "/api/v3//",
        "/api/v3d",
        "http://127.0.0.1/admin/chain",
        "http://sentry/api/v3",
    ] {
        let answer = scene.said(&post(target, "", "{}")).await;
        let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(matches!(status, 400 | 404), "{target}: {answer}");
        assert!(answer.contains("\"jsonrpc\":\"2.0\""), "{answer}");
    }
    let get = scene.said("GET /api/v3 HTTP/1.1\r\nHost: sentry\r\nConnection: close\r\n\r\n").await;
    assert!(get.starts_with("HTTP/1.1 405 ") && get.contains("allow: POST"), "{get}");
    assert_eq!(scene.seen().len(), 1, "{:?}", scene.seen());
    assert_eq!((scene.count(Outcome::Passed), scene.count(Outcome::RefusedMethod)), (1, 1));
}

#[tokio::test]
async fn the_node_sees_chosen_headers_and_our_word_about_who_is_asking() {
    let scene = usual().await;
    let more = "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\nAuthorization: goloop Signature=x\r\nX-Hop: 1\r\n\
                Connection: X-Hop\r\nContent-Type: application/json\r\nIcon-Options: 5000\r\nCookie: a=b\r\n";
    scene.said(&post("/api/v3/", more, "{}")).await;
    let seen = scene.seen().pop().unwrap();
    let mut lines: Vec<&str> = seen.lines().collect();
    lines.sort_unstable();
    let host = format!("host: {}", scene.door.node);
    let mut expect = vec![
        "POST /api/v3",
        "content-length: 2",
        "content-type: application/json",
        host.as_str(),
        "icon-options: 5000",
        "x-forwarded-for: 127.0.0.1",
    ];
    expect.sort_unstable();
    assert_eq!(lines, expect);
}

#[tokio::test]
async fn a_second_request_in_the_body_of_the_first_is_judged_like_any_other() {
    let scene = usual().await;
    let hidden = "POST /admin/chain HTTP/1.1\r\nHost: node\r\nContent-Length: 0\r\n\r\n";
    // Both framings: whichever is believed, what follows comes from us or not at all.
    let both = format!(
        "POST /api/v3 HTTP/1.1\r\nHost: sentry\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        hidden.len() + 5
    );
    let pipelined = format!("POST /api/v3 HTTP/1.1\r\nHost: sentry\r\nContent-Length: 0\r\n\r\n{hidden}");
    let folded = format!("POST /api/v3 HTTP/1.1\r\nHost: sentry\r\nTransfer-Encoding : chunked\r\n\r\n{hidden}");
    let twice =
        format!("POST /api/v3 HTTP/1.1\r\nHost: sentry\r\nContent-Length: 0\r\nContent-Length: 9\r\n\r\n{hidden}");
    let xchunked = format!("POST /api/v3 HTTP/1.1\r\nHost: sentry\r\nTransfer-Encoding: xchunked\r\n\r\n{hidden}");
    for bytes in [both, pipelined, folded, twice, xchunked] {
        scene.said(&bytes).await;
    }
    assert!(scene.seen().iter().all(|seen| seen.starts_with("POST /api/v3\n")), "{:?}", scene.seen());
}

#[tokio::test]
async fn a_caller_whom_the_door_is_not_for_hears_no_more_than_that() {
    let scene = scene(Limits::default(), |door| door.callers = ["192.0.2.0/24".parse().unwrap()].into()).await;
    let answer = scene.said(&post("/api/v3", "", "{}")).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert_eq!((scene.seen().len(), scene.count(Outcome::RefusedCaller)), (0, 1));
}

#[tokio::test]
async fn a_body_too_large_is_cut_however_it_is_sent() {
    let scene = scene(Limits { body: 1000, ..Limits::default() }, |_| ()).await;
    let fits = scene.said(&post("/api/v3", "", &"x".repeat(1000))).await;
    assert!(fits.ends_with("node got 1000 bytes"), "{fits}");
    let told = scene.said(&post("/api/v3", "", &"x".repeat(1001))).await;
    assert!(told.starts_with("HTTP/1.1 413 "), "{told}");
    assert_eq!(scene.seen().len(), 1);
    let head = "POST /api/v3 HTTP/1.1\r\nHost: sentry\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = scene.said(&format!("{head}3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001))).await;
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
    let fits = scene
        .said(&format!("{head}3e8\r\n{}\r\n0\r\n\r\n", "x".repeat(1000)).replace("Host", "Connection: close\r\nHost"))
        .await;
    assert!(fits.contains("node got 1000 bytes"), "{fits}");
}

#[tokio::test]
async fn an_answer_is_passed_on_while_it_is_made_and_ends_with_the_caller_who_takes_none() {
    let scene = scene(Limits { stall_time: SHORT, ..Limits::default() }, |_| ()).await;
    let mut stream = scene.call().await;
    stream.write_all(post("/api/v3", "User-Agent: endless\r\n", "{}").as_bytes()).await.unwrap();
    // Far more than anybody would hold in memory, of an answer that never ends.
    let mut piece = vec![0; 1 << 20];
    let mut got = 0;
    while got < 256 << 20 {
        got += timeout(SOON, stream.read(&mut piece)).await.unwrap().unwrap();
    }
    assert!(resident() < 200 << 20, "{}", resident());
    // Nothing is taken any more: what was under way is all that comes.
    tokio::time::sleep(SHORT * 4).await;
    let mut left = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut left)).await.expect("the connection to end");
}

/// Bytes of memory that this process has.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn a_head_or_a_body_that_comes_too_slowly_is_cut() {
    let limits = Limits { head_time: SHORT, body_time: SHORT, ..Limits::default() };
    let scene = scene(limits, |_| ()).await;
    for start in ["", "POST /api/v3 HTTP/1.1\r\nHost: "] {
        let mut slow = scene.call().await;
        slow.write_all(start.as_bytes()).await.unwrap();
        rest(&mut slow).await;
    }
    scene.until_counted(Outcome::TooSlow).await;
    let answer = scene.said("POST /api/v3 HTTP/1.1\r\nHost: sentry\r\nContent-Length: 9\r\n\r\n{").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let large = format!("POST /api/v3 HTTP/1.1\r\nHost: sentry\r\nX-A: {}\r\n\r\n", "a".repeat(20_000));
    let answer = scene.said(&large).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_source_has_no_more_than_its_share() {
    let limits = Limits { connections: Share { all: 9, source: 2 }, ..Limits::default() };
    let scene = scene(limits, |_| ()).await;
    let held = [scene.call().await, scene.call().await];
    scene.until_busy().await;
    drop(held);
    let deadline = Instant::now() + SOON;
    while !scene.said(&post("/api/v3", "", "{}")).await.starts_with("HTTP/1.1 200 ") {
        assert!(Instant::now() < deadline);
    }
}

impl Scene {
    async fn until_busy(&self) {
        let deadline = Instant::now() + SOON;
        while self.count(Outcome::Busy) == 0 {
            assert!(Instant::now() < deadline);
            let mut third = self.call().await;
            let _ = timeout(SHORT, third.read(&mut [0; 1])).await;
        }
    }
}

impl Scene {
    /// A stream that has been agreed upon, and works.
    async fn stream(&self) -> TcpStream {
        let mut stream = self.call().await;
        stream.write_all(SOCKET.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(SOON, stream.read_u8()).await.unwrap().unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("sec-websocket-accept: accepted"), "{head}");
        echoed(&mut stream, "block").await;
        stream
    }
}

async fn echoed(stream: &mut TcpStream, word: &str) {
    stream.write_all(word.as_bytes()).await.unwrap();
    let mut echo = vec![0; word.len()];
    timeout(SOON, stream.read_exact(&mut echo)).await.unwrap().unwrap();
    assert_eq!(echo, word.as_bytes());
}

#[tokio::test]
async fn a_stream_lives_on_while_callers_come_and_ends_when_one_leaves() {
    let mut scene = scene(Limits::default(), |door| door.callers = ["127.0.0.1/32".parse().unwrap()].into()).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut newcomer = socket.connect(scene.at).await.unwrap();
    let mut stream = scene.stream().await;
    scene.door.callers.insert("127.0.0.2/32".parse().unwrap());
    scene.gateway.close_all_but(std::slice::from_ref(&scene.door)).await;
    scene.gateway.follow(std::slice::from_ref(&scene.door)).await;
    echoed(&mut stream, "still here").await;
    newcomer.write_all(post("/api/v3", "", "{}").as_bytes()).await.unwrap();
    let answer = rest(&mut newcomer).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    scene.door.callers.remove(&"127.0.0.1/32".parse().unwrap());
    scene.gateway.close_all_but(std::slice::from_ref(&scene.door)).await;
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_stream_takes_its_connection_over_and_ends_with_the_door() {
    let limits = Limits { streams: Share { all: 1, source: 1 }, ..Limits::default() };
    let mut scene = scene(limits, |_| ()).await;
    let mut stream = scene.stream().await;
    echoed(&mut stream, "another").await;
    let busy = scene.said(SOCKET).await;
    assert!(busy.starts_with("HTTP/1.1 503 "), "{busy}");
    scene.gateway.follow(&[]).await;
    assert_eq!(rest(&mut stream).await, "");
    assert!(TcpStream::connect(scene.at).await.is_err());
    // The port is free for whoever is next.
    scene.gateway.follow(std::slice::from_ref(&scene.door)).await;
    assert!(scene.said(&post("/api/v3", "", "{}")).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_stream_in_which_nobody_speaks_ends() {
    let scene = scene(Limits { stream_idle: SHORT, ..Limits::default() }, |_| ()).await;
    let answer = scene.said(SOCKET).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
}

#[tokio::test]
async fn a_node_that_is_away_or_silent_is_told_of() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let scene = scene(Limits::default(), |door| door.node = nobody).await;
    let answer = scene.said(&post("/api/v3", "", "{}")).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let limits = Limits { answer_time: SHORT, body_time: SHORT, ..Limits::default() };
    let silent = self::scene(limits, |_| ()).await;
    let answer = silent.said(&post("/api/v3", "User-Agent: silent\r\n", "{}")).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
}

#[tokio::test]
async fn one_connection_carries_many_calls() {
    let scene = usual().await;
    let mut stream = scene.call().await;
    for _ in 0..3 {
        let request = post("/api/v3", "", "{}").replace("Connection: close\r\n", "");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"node got 2 bytes") {
            answer.push(timeout(SOON, stream.read_u8()).await.unwrap().unwrap());
        }
    }
    assert_eq!(scene.count(Outcome::Passed), 3);
}

#[tokio::test]
async fn a_door_whose_port_is_taken_is_told_of_and_tried_again() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut scene = usual().await;
    scene.door.port = NonZeroU16::new(taken.local_addr().unwrap().port()).unwrap();
    scene.gateway.follow(std::slice::from_ref(&scene.door)).await;
    assert!(scene.gateway.stands()[&scene.door.port].error.as_ref().unwrap().contains("listen on 127.0.0.1:"));
    drop(taken);
    scene.gateway.follow(std::slice::from_ref(&scene.door)).await;
    assert_eq!(scene.gateway.stands()[&scene.door.port].error, None);
}
