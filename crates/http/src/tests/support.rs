//! A mesh, its server and its clients, as the tests need them.

use crate::{Connections, Limits, Peer, Server};
use axum::{Router, body::Bytes, extract::State, http::StatusCode, http::Version, routing::get};
use http_body_util::Full;
use hyper::body::Body;
use picket_model::{NodeId, Timestamp};
use picket_pki::{Ca, ClientCertificate, ServedCertificate, TlsKey, client_config, server_config};
use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::Context,
    time::{Duration, SystemTime},
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(super) const SHORT: Duration = Duration::from_millis(50);
/// Longer than anything here may take, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const HOUR: Duration = Duration::from_hours(1);

/// A CA and its clients.
pub(super) struct Mesh {
    pub(super) ca: Ca,
}

impl Mesh {
    pub(super) fn new() -> Self {
        Self { ca: Ca::generate(&"harbour".parse().unwrap(), now()).unwrap() }
    }

    pub(super) async fn serve(&self, router: Router, limits: Limits) -> Served {
        let served = ServedCertificate::new(self.ca.server_certificate(now()).unwrap()).unwrap();
        Served::start(Some(Arc::new(server_config(served, Some(&self.ca)).unwrap())), router, limits).await
    }

    /// As operators' clients meet it: no certificate is asked for.
    pub(super) async fn serve_all(&self, router: Router, limits: Limits) -> Served {
        let served = ServedCertificate::new(self.ca.server_certificate(now()).unwrap()).unwrap();
        Served::start(Some(Arc::new(server_config(served, None).unwrap())), router, limits).await
    }

    pub(super) async fn serve_plain(router: Router, limits: Limits) -> Served {
        Served::start(None, router, limits).await
    }

    pub(super) fn anonymous(&self) -> reqwest::Client {
        self.client(None)
    }

    pub(super) fn node(&self, node: &str) -> reqwest::Client {
        self.client(Some(&self.member(node)))
    }

    pub(super) fn client(&self, certificate: Option<&ClientCertificate>) -> reqwest::Client {
        client(self.tls(certificate))
    }

    /// One that speaks HTTP/1 only.
    pub(super) fn old_client(&self, certificate: Option<&ClientCertificate>) -> reqwest::Client {
        let mut tls = self.tls(certificate);
        tls.alpn_protocols = vec!["http/1.1".into()];
        client(tls)
    }

    pub(super) fn tls(&self, certificate: Option<&ClientCertificate>) -> rustls::ClientConfig {
        client_config(self.ca.fingerprint(), certificate).unwrap()
    }

    pub(super) fn member(&self, node: &str) -> ClientCertificate {
        self.certificate(node, now(), HOUR)
    }

    pub(super) fn certificate(&self, name: &str, at: Timestamp, lifetime: Duration) -> ClientCertificate {
        let key = TlsKey::generate().unwrap();
        let signed = self.ca.sign_node(&key.csr_pem().unwrap(), &node(name), at, lifetime).unwrap();
        ClientCertificate { certificate_pem: signed.pem, key_pem: key.key_pem() }
    }

    /// A connection past its handshake, on which nothing has been said.
    pub(super) async fn raw(
        &self,
        server: &Served,
        certificate: Option<&ClientCertificate>,
        alpn: &str,
    ) -> TlsStream<TcpStream> {
        self.raw_from(server.connect("127.0.0.1").await, certificate, alpn).await
    }

    pub(super) async fn raw_from(
        &self,
        stream: TcpStream,
        certificate: Option<&ClientCertificate>,
        alpn: &str,
    ) -> TlsStream<TcpStream> {
        let mut tls = self.tls(certificate);
        tls.alpn_protocols = vec![alpn.into()];
        TlsConnector::from(Arc::new(tls)).connect("localhost".try_into().unwrap(), stream).await.unwrap()
    }
}

pub(super) fn client(tls: rustls::ClientConfig) -> reqwest::Client {
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(PATIENCE).build().unwrap()
}

/// A running server.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    pub(super) connections: Connections,
    stop: Option<oneshot::Sender<()>>,
    pub(super) done: JoinHandle<()>,
}

impl Served {
    pub(super) async fn start(tls: Option<Arc<rustls::ServerConfig>>, router: Router, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections::new();
        let server = Server { router, tls, limits, connections: connections.clone() };
        let (stop, stopped) = oneshot::channel();
        let done = tokio::spawn(server.serve(listener, async {
            let _ = stopped.await;
        }));
        Self { address, connections, stop: Some(stop), done }
    }

    /// A connection from this address of the loopback.
    pub(super) async fn connect(&self, source: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    pub(super) async fn get(&self, client: &reqwest::Client, path: &str) -> Result<(StatusCode, String), String> {
        get_url(client.clone(), format!("https://{}{path}", self.address)).await
    }

    pub(super) fn spawn_get(
        &self,
        client: &reqwest::Client,
        path: &str,
    ) -> JoinHandle<Result<(StatusCode, String), String>> {
        tokio::spawn(get_url(client.clone(), format!("https://{}{path}", self.address)))
    }

    pub(super) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

pub(super) async fn get_url(client: reqwest::Client, url: String) -> Result<(StatusCode, String), String> {
    let answer = client.get(url).send().await.map_err(|error| chain(&error))?;
    Ok((answer.status(), answer.text().await.map_err(|error| chain(&error))?))
}

/// As programs print it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

/// A handler that waits until the test gives it its answer.
#[derive(Clone)]
pub(super) struct Poll {
    pub(super) arrived: Arc<Notify>,
    pub(super) answer: watch::Sender<Option<StatusCode>>,
}

impl Default for Poll {
    fn default() -> Self {
        Self { arrived: Arc::default(), answer: watch::Sender::new(None) }
    }
}

impl Poll {
    pub(super) fn router(&self) -> Router {
        Router::new().route("/", get(Self::wait)).with_state(self.clone())
    }

    pub(super) async fn wait(State(poll): State<Self>) -> StatusCode {
        poll.arrived.notify_one();
        poll.answer.subscribe().wait_for(Option::is_some).await.unwrap().unwrap()
    }
}

/// A body that does not say how long it is.
pub(super) struct Unsized(pub(super) Full<Bytes>);

impl Body for Unsized {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> std::task::Poll<Option<FrameOf>> {
        Pin::new(&mut self.0).poll_frame(context)
    }
}

pub(super) type FrameOf = Result<hyper::body::Frame<Bytes>, Infallible>;

pub(super) fn who() -> Router {
    Router::new().route(
        "/",
        get(async |peer: Peer, version: Version| {
            let name = peer.node().map_or("nobody", |node| node.node.as_str());
            assert!(peer.address.ip().is_loopback());
            format!("{name} over {version:?}")
        }),
    )
}

#[track_caller]
pub(super) fn text(answer: Result<(StatusCode, String), String>) -> String {
    let (status, text) = answer.unwrap();
    assert_eq!(status, StatusCode::OK);
    text
}

/// The other side closes the connection, whatever it says before.
pub(super) async fn closed(stream: &mut TlsStream<TcpStream>) {
    let mut said = Vec::new();
    let _ = within(stream.read_to_end(&mut said)).await;
}

pub(super) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("still waiting")
}

pub(super) async fn until(condition: impl AsyncFn() -> bool) {
    within(async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub(super) fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

pub(super) fn now() -> Timestamp {
    SystemTime::now().into()
}
