//! The only WebSocket client: one connection, one request, then messages, under limits of time and size. What a message
//! means is read in [`message`](super::message), when to connect again is in [`subscription`](super::subscription).

use super::{
    message::{self, Message, MessageError},
    request::{event_url, membership_events},
    subscription::{End, LONGEST_SILENCE},
};
use crate::{Network, Source, fetch::FetcherError, tls};
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::{RootCertStore, pki_types::ServerName};
use std::{io, sync::Arc, time::Duration};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, Error as WebSocketError,
        client::IntoClientRequest as _,
        http::{Uri, header},
        protocol::WebSocketConfig,
    },
};

/// goloop's code for a height it does not have (`server/jsonrpc/error.go`).
const NOT_FOUND: i64 = -31_004;
/// Bytes read at once; messages are some 300.
const READ_BUFFER: usize = 8 << 10;

/// What one connection may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushLimits {
    /// Time to look the host up, connect, shake hands and have the request accepted.
    pub connect: Duration,
    /// Longest time between two messages.
    pub silence: Duration,
    /// Largest message, in bytes.
    pub message_bytes: usize,
}

impl Default for PushLimits {
    /// 10 s, three beats, 64 KiB.
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), silence: LONGEST_SILENCE, message_bytes: 64 << 10 }
    }
}

/// Why a source pushes nothing: plain data, to be kept and shown beside the source.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PushError {
    /// No connection, or one that broke.
    #[error("no WebSocket: {reason}")]
    Unreachable {
        /// The innermost cause, such as `Connection refused`.
        reason: String,
    },
    /// Nobody accepted the request in time.
    #[error("no WebSocket within {after:?}")]
    Timeout {
        /// The limit that ran out.
        after: Duration,
    },
    /// https, on a host without root certificates.
    #[error("no WebSocket: this host has no root certificates: install the package ca-certificates")]
    NoRoots,
    /// The path is no WebSocket; 404 and 405 is what goloop says to a wrong channel or to none.
    #[error("the endpoint has no WebSocket for events there (HTTP {status}); it is polled only")]
    Absent {
        /// The HTTP status.
        status: u16,
    },
    /// Too busy for a WebSocket, or broken.
    #[error("no WebSocket now: HTTP {status}")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// Connected, and then something else than goloop's messages, or a refusal.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Connected, and told of blocks before the request was accepted.
    #[error("the endpoint pushes without accepting the request: it is no goloop node")]
    Early,
    /// Connected, and then no beat.
    #[error("no beat on the WebSocket for {after:?}")]
    Silent {
        /// The limit that ran out.
        after: Duration,
    },
    /// The endpoint closed the connection.
    #[error("the endpoint closed the WebSocket")]
    Closed,
}

impl PushError {
    /// Whether the source does not have the height that was asked for, or has it no more (a pruned node).
    pub fn is_unknown_height(&self) -> bool {
        matches!(self, Self::Message(MessageError::Refused { code: NOT_FOUND, .. }))
    }

    /// What it means for a connection that lived so long.
    pub fn end(&self, lived: Duration) -> End {
        if matches!(self, Self::Absent { .. }) { End::Absent } else { End::Lost(lived) }
    }
}

/// Makes subscriptions. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    tls: TlsConnector,
    has_roots: bool,
    limits: PushLimits,
}

impl Dialer {
    /// With the root certificates of this host. A host without any can still subscribe to http endpoints.
    ///
    /// # Errors
    /// A [`FetcherError`] where TLS cannot be set up.
    pub fn new(limits: PushLimits) -> Result<Self, FetcherError> {
        Self::with_roots(limits, tls::host_roots())
    }

    /// With these root certificates alone.
    ///
    /// # Errors
    /// A [`FetcherError`] where TLS cannot be set up.
    pub fn with_roots(limits: PushLimits, roots: RootCertStore) -> Result<Self, FetcherError> {
        let has_roots = !roots.is_empty();
        // The upgrade to a WebSocket is one of HTTP/1.1.
        let tls = tls::client_config(roots, &["http/1.1"])?;
        Ok(Self { tls: TlsConnector::from(Arc::new(tls)), has_roots, limits })
    }

    /// Subscribes to the membership events of a source from `height` on.
    ///
    /// # Errors
    /// A [`PushError`] for anything but an accepted request.
    pub async fn subscribe(&self, source: &Source, network: &Network, height: u64) -> Result<Stream, PushError> {
        if source.is_tls() && !self.has_roots {
            return Err(PushError::NoRoots);
        }
        let after = self.limits.connect;
        let subscribed = timeout(after, self.subscribed(source, network, height));
        subscribed.await.unwrap_or(Err(PushError::Timeout { after }))
    }

    async fn subscribed(&self, source: &Source, network: &Network, height: u64) -> Result<Stream, PushError> {
        let url = event_url(source, &network.channel);
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_or_known_default().unwrap_or_default();
        let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|error| no_connection(&error))?;
        let stream: Box<dyn Transport> = if source.is_tls() {
            let name = ServerName::try_from(host).map_err(|error| no_connection(&error))?;
            Box::new(self.tls.connect(name, tcp).await.map_err(|error| no_connection(&error))?)
        } else {
            Box::new(tcp)
        };
        let uri: Uri = websocket(&url).parse().map_err(|error| no_connection(&error))?;
        let mut request = uri.into_client_request().map_err(refused)?;
        let agent = header::HeaderValue::from_static(concat!("picket/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(header::USER_AGENT, agent);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_message_size(Some(self.limits.message_bytes))
            .max_frame_size(Some(self.limits.message_bytes));
        let (mut socket, _) = client_async_with_config(request, stream, Some(config)).await.map_err(refused)?;
        let text = membership_events(&network.score, height).to_string();
        socket.send(tungstenite::Message::text(text)).await.map_err(refused)?;
        let silence = self.limits.silence;
        let mut stream = Stream { socket, silence, deadline: Instant::now() + silence };
        match stream.next().await? {
            Message::Accepted => Ok(stream),
            Message::Event { .. } | Message::Progress { .. } => Err(PushError::Early),
        }
    }
}

/// An accepted subscription.
pub struct Stream {
    socket: WebSocketStream<Box<dyn Transport>>,
    silence: Duration,
    deadline: Instant,
}

impl Stream {
    /// The next message. Pings are answered on the way and are no sign of life: goloop sends none, and who answers
    /// pings may still be stuck at an old block.
    ///
    /// # Errors
    /// A [`PushError`]; the stream is of no use after it.
    pub async fn next(&mut self) -> Result<Message, PushError> {
        loop {
            let received = timeout_at(self.deadline, self.socket.next()).await;
            let frame = received.map_err(|_| PushError::Silent { after: self.silence })?;
            match frame.ok_or(PushError::Closed)?.map_err(refused)? {
                tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_) | tungstenite::Message::Frame(_) => {}
                tungstenite::Message::Close(_) => return Err(PushError::Closed),
                said @ (tungstenite::Message::Text(_) | tungstenite::Message::Binary(_)) => {
                    let message = message::parse(&said.into_data())?;
                    self.deadline = Instant::now() + self.silence;
                    return Ok(message);
                }
            }
        }
    }
}

/// TCP, with TLS or without.
trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// The same place, for a WebSocket: `http` becomes `ws`, `https` becomes `wss`.
fn websocket(url: &reqwest::Url) -> String {
    url.as_str().replacen("http", "ws", 1)
}

fn no_connection(error: &dyn std::error::Error) -> PushError {
    // A certificate's names may be quoted in it.
    let reason: String = error.to_string().chars().take(120).collect();
    PushError::Unreachable { reason: reason.replace(char::is_control, " ") }
}

fn refused(error: WebSocketError) -> PushError {
    match error {
        WebSocketError::Http(response) => match response.status() {
            status if status.is_server_error() || status.as_u16() == 429 => {
                PushError::Status { status: status.as_u16() }
            }
            status => PushError::Absent { status: status.as_u16() },
        },
        WebSocketError::ConnectionClosed | WebSocketError::AlreadyClosed => PushError::Closed,
        WebSocketError::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => PushError::Closed,
        WebSocketError::Io(error) if error.kind() == io::ErrorKind::ConnectionReset => PushError::Closed,
        error => no_connection(&error),
    }
}
