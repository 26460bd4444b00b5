//! One connection from accept to close: handshake, identity, its place, HTTP/1 or 2, and every reason for which it ends.

use crate::{
    ClientIdentity, Connections, Limits, Peer, Share,
    connections::Entered,
    places::{Place, Places},
};
use axum::{Router, body::Body, http::Request, http::StatusCode, response::IntoResponse};
use http_body_util::Limited;
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use std::{
    convert::Infallible,
    fmt,
    future::pending,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Notify, watch},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::ServiceExt;
use tracing::{debug, warn};

/// What a request in flight may still take when its connection is closed under it.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// Requests at once on one HTTP/2 connection; an agent has a poll, a report and a renewal.
const MAX_STREAMS: u32 = 64;

/// What all connections of a listener have in common.
pub(crate) struct Shared {
    router: Router,
    acceptor: Option<TlsAcceptor>,
    limits: Limits,
    connections: Connections,
    handshakes: Places,
    /// Of members, or of everybody where nobody is a stranger.
    members: Places,
    strangers: Places,
}

impl Shared {
    pub(crate) fn new(router: Router, acceptor: Option<TlsAcceptor>, limits: Limits, connections: Connections) -> Self {
        let strangers = limits.strangers.unwrap_or_default().connections;
        Self {
            router,
            acceptor,
            limits,
            connections,
            handshakes: Places::new("TLS handshakes", limits.handshakes),
            members: Places::new("connections", Share::whole(limits.max_connections)),
            strangers: Places::new("connections without a certificate", strangers),
        }
    }

    /// Serves one connection to its end. `stopped` fails once the listener stops.
    ///
    /// Thousands of connections wait, and for as long as one does it holds the room of the largest of its steps: each step that is
    /// over by then, and what is larger than a pointer and stays, is in a box of its own.
    pub(crate) async fn connection(&self, stream: TcpStream, address: SocketAddr, stopped: watch::Receiver<()>) {
        if let Err(cause) = stream.set_nodelay(true) {
            debug!(%address, %cause, "client gone at once");
            return;
        }
        let serving = match &self.acceptor {
            None => self.serve(stream, Peer { address, identity: ClientIdentity::Anonymous }, Version::Http1, stopped),
            Some(acceptor) => Box::pin(self.handshake(acceptor, stream, address, stopped)).await,
        };
        if let Some(serving) = serving {
            serving.await;
        }
    }

    async fn handshake(
        &self,
        acceptor: &TlsAcceptor,
        stream: TcpStream,
        address: SocketAddr,
        mut stopped: watch::Receiver<()>,
    ) -> Option<Serving<'_>> {
        let place = self.handshakes.take(address.ip())?;
        let handshake = timeout(self.limits.handshake_timeout, acceptor.accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            _ = stopped.changed() => return None,
        };
        drop(place);
        match shaken {
            Err(_) => debug!(%address, "TLS handshake took too long"),
            Ok(Err(cause)) => debug!(%address, %cause, "TLS handshake refused"),
            Ok(Ok(stream)) => match identity(&stream) {
                Err(cause) => warn!(%address, %cause, "certificate of our CA without a node"),
                Ok(identity) => {
                    let version = Version::of(&stream);
                    return self.serve(stream, Peer { address, identity }, version, stopped);
                }
            },
        }
        None
    }

    /// `None` where there is no place for it.
    fn serve<S>(&self, stream: S, peer: Peer, version: Version, stopped: watch::Receiver<()>) -> Option<Serving<'_>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Limits { header_timeout, request_timeout, keep_alive, stop_grace, .. } = self.limits;
        let stranger = self.limits.strangers.filter(|_| peer.node().is_none());
        let places = if stranger.is_some() { &self.strangers } else { &self.members };
        let place = places.take(peer.address.ip())?;
        let max_body = stranger.map_or(self.limits.max_body, |granted| granted.max_body);
        let said = Arc::new(Said::default());
        let certified = peer.node().map(|node| node.not_after.since(SystemTime::now().into()));
        let node = peer.node().map(|node| (node.node.clone(), node.serial.clone()));
        let end = End {
            entered: self.connections.enter(node, self.limits.of_one_member),
            stopped,
            stop_grace,
            valid_for: certified.or(stranger.map(|granted| granted.lifetime)),
            only_one: stranger.is_some(),
            header_timeout,
            address: peer.address,
        };
        let (router, saying) = (self.router.clone(), said.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            saying.asked.notify_one();
            let mut request = request.map(|body| Body::new(Limited::new(body, max_body)));
            request.extensions_mut().insert(peer.clone());
            let (answer, saying) = (router.clone().oneshot(request), saying.clone());
            async move {
                let answer = timeout(request_timeout, answer).await;
                saying.answered.notify_one();
                Ok::<_, Infallible>(match answer {
                    Ok(Ok(response)) => response,
                    Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
                })
            }
        });
        let io = TokioIo::new(stream);
        Some(match version {
            Version::Http1 => {
                let mut http = conn::http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(header_timeout).keep_alive(stranger.is_none());
                let connection = Box::pin(http.serve_connection(io, service));
                Box::pin(end.drive(connection, said, place))
            }
            Version::Http2 => {
                let mut http = conn::http2::Builder::new(TokioExecutor::new());
                http.timer(TokioTimer::new()).keep_alive_interval(keep_alive).keep_alive_timeout(keep_alive);
                http.max_concurrent_streams(if stranger.is_some() { 1 } else { MAX_STREAMS });
                let connection = Box::pin(http.serve_connection(io, service));
                Box::pin(end.drive(connection, said, place))
            }
        })
    }
}

/// A connection up to its end.
type Serving<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// What has been said on a connection.
#[derive(Default)]
struct Said {
    asked: Notify,
    answered: Notify,
}

/// Every reason for which a connection ends before the client ends it.
struct End {
    entered: Entered,
    stopped: watch::Receiver<()>,
    stop_grace: Duration,
    /// What is left of the client's certificate, or what a stranger has without one.
    valid_for: Option<Duration>,
    /// The first answer is the last.
    only_one: bool,
    header_timeout: Duration,
    address: SocketAddr,
}

impl End {
    async fn drive<C>(mut self, mut connection: Pin<Box<C>>, said: Arc<Said>, _place: Place<'_>)
    where
        C: GracefulConnection,
        C::Error: fmt::Display,
    {
        let address = self.address;
        let grace = tokio::select! {
            ended = connection.as_mut() => return say(address, ended),
            () = no_request(&said.asked, self.header_timeout) => return debug!(%address, "client asks for nothing"),
            () = self.entered.told_to_close() => CLOSE_GRACE,
            () = expiry(self.valid_for) => CLOSE_GRACE,
            () = said.answered.notified(), if self.only_one => CLOSE_GRACE,
            _ = self.stopped.changed() => self.stop_grace,
        };
        connection.as_mut().graceful_shutdown();
        match timeout(grace, connection).await {
            Ok(ended) => say(address, ended),
            Err(_) => debug!(%address, "connection cut with requests in flight"),
        }
    }
}

/// The protocol that the client chose in its handshake.
#[derive(Clone, Copy)]
enum Version {
    Http1,
    Http2,
}

impl Version {
    fn of(stream: &TlsStream<TcpStream>) -> Self {
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Self::Http2,
            _ => Self::Http1,
        }
    }
}

/// Who the client is by the certificate that the handshake has verified.
fn identity(stream: &TlsStream<TcpStream>) -> Result<ClientIdentity, picket_pki::IdentityError> {
    match stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()) {
        None => Ok(ClientIdentity::Anonymous),
        Some(certificate) => picket_pki::node_of(certificate).map(ClientIdentity::Node),
    }
}

/// Ends if no request arrives in time: neither hyper's HTTP/2 handshake nor an idle connection has a limit of its own.
async fn no_request(first: &Notify, within: Duration) {
    if timeout(within, first.notified()).await.is_ok() {
        pending::<()>().await;
    }
}

/// Ends with the client's certificate or a stranger's time: what it may no longer open it may no longer keep.
async fn expiry(valid_for: Option<Duration>) {
    match valid_for {
        Some(left) => tokio::time::sleep(left).await,
        None => pending().await,
    }
}

fn say(address: SocketAddr, ended: Result<(), impl fmt::Display>) {
    if let Err(cause) = ended {
        debug!(%address, %cause, "connection broke");
    }
}
