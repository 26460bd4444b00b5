//! One played agent's connection: a socket from an address of its own, mutual TLS, HTTP/2. It reads an answer's first lines and
//! counts the rest, for the agents share two cores with the controller they measure.

use anyhow::{Context as _, bail, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use picket_model::{Digest, Generation};
use picket_pki::SERVER_NAME;
use serde_json::json;
use std::{net::Ipv4Addr, sync::Arc};
use tokio::net::TcpSocket;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

/// What one takes of an answer that does not read.
const NARROW: u32 = 256;
/// The least that HTTP/2 has for a connection.
const NARROW_ALL: u32 = 65_535;
/// As much of an answer as is kept: revision and digest come first.
const HEAD: usize = 256;

/// An open connection to the controller.
#[derive(Clone)]
pub(super) struct Link(SendRequest<Full<Bytes>>);

/// An answer with a wanted state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) revision: Generation,
    pub(super) digest: Digest,
    /// Of the whole body.
    pub(super) bytes: usize,
    /// Whether it has the changes alone.
    pub(super) is_changes: bool,
}

impl Link {
    /// Connects from an address of 127/8 to a controller's port.
    pub(super) async fn open(tls: Arc<ClientConfig>, source: Ipv4Addr, port: u16) -> anyhow::Result<Self> {
        Self::open_with(tls, source, port, &http2::Builder::new(TokioExecutor::new())).await
    }

    /// Connects as one that takes next to nothing of any answer until it reads, which it does not.
    pub(super) async fn open_narrow(tls: Arc<ClientConfig>, source: Ipv4Addr, port: u16) -> anyhow::Result<Self> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(NARROW).initial_connection_window_size(NARROW_ALL);
        Self::open_with(tls, source, port, &builder).await
    }

    async fn open_with(
        tls: Arc<ClientConfig>,
        source: Ipv4Addr,
        port: u16,
        builder: &http2::Builder<TokioExecutor>,
    ) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4().context("make a socket")?;
        socket.bind((source, 0).into()).with_context(|| format!("bind {source}"))?;
        let stream = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.context("connect to the controller")?;
        stream.set_nodelay(true).context("set a socket up")?;
        let name = ServerName::try_from(SERVER_NAME).context("name the controller")?;
        let stream = TlsConnector::from(tls).connect(name, stream).await.context("shake hands with the controller")?;
        let (requests, connection) = builder.handshake(TokioIo::new(stream)).await.context("begin HTTP/2")?;
        // Its end shows in the next request.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self(requests))
    }

    /// Waits for something newer than what is held, and says what that is; `None` where there was nothing for the longest poll.
    pub(super) async fn poll(&self, held: Option<&News>) -> anyhow::Result<Option<News>> {
        let holds =
            held.map_or_else(|| "after=0".to_owned(), |held| format!("after={}&holds={}", held.revision, held.digest));
        let (status, mut body) = self.send(Method::GET, &format!("/v1/node/config?{holds}"), String::new()).await?;
        if status == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        ensure!(status == StatusCode::OK, "the poll was answered with {status}");
        let (mut head, mut bytes) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let data = frame.context("read an answer")?.into_data().unwrap_or_default();
            bytes += data.len();
            head.extend_from_slice(&data[..data.len().min(HEAD.saturating_sub(head.len()))]);
        }
        news(&String::from_utf8_lossy(&head), bytes).map(Some)
    }

    /// Asks for the whole wanted state so many times and reads none of the answers; held for as long as what is returned.
    pub(super) async fn stall(&self, streams: usize) -> anyhow::Result<Vec<Incoming>> {
        let mut stalled = Vec::new();
        for _ in 0..streams {
            let (status, body) = self.send(Method::GET, "/v1/node/config?after=0", String::new()).await?;
            ensure!(status == StatusCode::OK, "the poll was answered with {status}");
            stalled.push(body);
        }
        Ok(stalled)
    }

    /// Puts a report up.
    pub(super) async fn report(&self, report: String) -> anyhow::Result<()> {
        let (status, _) = self.send(Method::PUT, "/v1/node/report", report).await?;
        ensure!(status == StatusCode::NO_CONTENT, "the report was answered with {status}");
        Ok(())
    }

    /// Asks for a seat; the answer's text.
    pub(super) async fn enroll(&self, request: String) -> anyhow::Result<String> {
        let (status, body) = self.send(Method::POST, "/v1/enroll", request).await?;
        let text = body.collect().await.context("read an answer")?.to_bytes();
        let text = String::from_utf8_lossy(&text).into_owned();
        if status != StatusCode::OK {
            bail!("the enrolment was answered with {status}: {text}");
        }
        Ok(text)
    }

    async fn send(&self, method: Method, path: &str, body: String) -> anyhow::Result<(StatusCode, Incoming)> {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{SERVER_NAME}{path}"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .context("make a request")?;
        let answer = self.0.clone().send_request(request).await.context("ask the controller")?;
        Ok((answer.status(), answer.into_body()))
    }
}

/// What an answer begins with: `{"revision":7,"digest":"…","full":{` or `"changes":{` in its place.
fn news(head: &str, bytes: usize) -> anyhow::Result<News> {
    let read = || {
        let (revision, rest) = head.strip_prefix("{\"revision\":")?.split_once(",\"digest\":\"")?;
        let (digest, rest) = rest.split_once("\",\"")?;
        let is_changes = rest.starts_with("changes\"");
        let digest = serde_json::from_value(json!(digest)).ok()?;
        Some(News { revision: Generation(revision.parse().ok()?), digest, bytes, is_changes })
    };
    read().with_context(|| format!("an answer begins with {head:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_by_its_head() {
        let read =
            |text: &str| news(text, 9).ok().map(|news| (news.revision.0, news.digest.to_string(), news.is_changes));
        let digest = "d".to_owned();
        assert_eq!(read("{\"revision\":7,\"digest\":\"d\",\"full\":{\"mesh"), Some((7, digest.clone(), false)));
        assert_eq!(read("{\"revision\":8,\"digest\":\"d\",\"changes\":{\"gen"), Some((8, digest, true)));
        assert_eq!(read("{\"type\":\"about:blank\"}"), None);
    }
}
