//! One caller's connection: each request judged, written anew for the node, and its answer passed on as it comes. A stream takes
//! the connection over.

use crate::{
    Admitted, Counts, Door, Limits, Outcome, admit,
    answer::{Reply, refusal, strip},
    body::{Download, Fate, Upload},
    cut::Cut,
    stalled::Stalled,
    upstream::Upstream,
};
use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use picket_http::{Place, Places};
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};
use tracing::{debug, warn};

/// A flood of refusals is one line in so long.
const TELL_EVERY: Duration = Duration::from_mins(1);
/// Bytes of a stream under way in one direction.
const PIECE: usize = 16 << 10;

/// Headers of a call that the node gets to see. Nothing else of the caller's does: no credentials, no word about who is asking.
const PASSED: [HeaderName; 6] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::ORIGIN,
    header::USER_AGENT,
];
/// goloop's own: how long it may wait for a transaction's result.
const ICON_OPTIONS: &str = "icon-options";
/// Of a stream besides.
const OF_A_STREAM: [HeaderName; 4] = [
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
];
/// Of the node's answer to it.
const OF_A_STREAMS_ANSWER: [HeaderName; 3] =
    [header::SEC_WEBSOCKET_ACCEPT, header::SEC_WEBSOCKET_PROTOCOL, header::SEC_WEBSOCKET_EXTENSIONS];
const FORWARDED_FOR: &str = "x-forwarded-for";

/// What all connections of a door have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    door: Door,
    /// The door's, as they are now.
    callers: RwLock<BTreeSet<IpNet>>,
    limits: Limits,
    counts: Arc<Counts>,
    connections: Places,
    streams: Places,
    told: Mutex<BTreeMap<Outcome, Instant>>,
}

/// One connection of a caller.
struct Session<'a> {
    source: IpAddr,
    upstream: Upstream,
    stream: Mutex<Option<Agreed<'a>>>,
    asked: AtomicBool,
}

/// A stream that has been agreed upon: both ends, and its place.
struct Agreed<'a> {
    caller: OnUpgrade,
    node: OnUpgrade,
    _place: Place<'a>,
}

impl Shared {
    pub(crate) fn new(door: Door, limits: Limits, counts: Arc<Counts>) -> Self {
        let connections = Places::new("connections to a node", limits.connections);
        let streams = Places::new("streams of a node", limits.streams);
        let callers = RwLock::new(door.callers.clone());
        Self { door, callers, limits, counts, connections, streams, told: Mutex::default() }
    }

    /// Serves these from the next request on.
    pub(crate) fn serve(&self, callers: BTreeSet<IpNet>) {
        *self.callers.write().unwrap_or_else(PoisonError::into_inner) = callers;
    }

    fn serves(&self, source: IpAddr) -> bool {
        let callers = self.callers.read().unwrap_or_else(PoisonError::into_inner);
        callers.iter().any(|network| network.contains(&source))
    }

    /// Serves one connection to its end.
    pub(crate) async fn connection(&self, stream: TcpStream, source: IpAddr) {
        let Some(_place) = self.connections.take(source) else { return self.note(Outcome::Busy, source) };
        if let Err(error) = stream.set_nodelay(true) {
            return debug!(%source, %error, "caller gone at once");
        }
        let cut = match Cut::of(&stream) {
            Ok(cut) => cut,
            Err(error) => return debug!(%source, %error, "caller's connection has no second handle"),
        };
        let upstream = Upstream::new(self.door.node, self.limits);
        let session = Session { source, upstream, stream: Mutex::default(), asked: AtomicBool::new(false) };
        let service = service_fn(|request| async {
            let answer = self.answer(&session, request).await;
            Ok::<_, Infallible>(answer.unwrap_or_else(|outcome| {
                self.note(outcome, source);
                refusal(outcome)
            }))
        });
        let io = TokioIo::new(Stalled::new(stream, self.limits.stall_time));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.limits.head_time);
        http.max_headers(self.limits.header_lines).max_buf_size(self.limits.head);
        match http.serve_connection(io, service).with_upgrades().await {
            Ok(()) => {}
            // One that asked before may fall silent.
            Err(error) if error.is_timeout() && !session.asked.load(Ordering::Relaxed) => {
                self.note(Outcome::TooSlow, source);
            }
            Err(error) => debug!(%source, %error, "caller's connection broke"),
        }
        let stream = session.stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(stream) = stream {
            stream.flow(self.limits).await;
        }
        cut.over();
    }

    async fn answer<'a>(
        &'a self,
        session: &Session<'a>,
        request: Request<Incoming>,
    ) -> Result<Response<Reply>, Outcome> {
        session.asked.store(true, Ordering::Relaxed);
        if !self.serves(session.source) {
            return Err(Outcome::RefusedCaller);
        }
        let (method, uri, version) = (request.method(), request.uri(), request.version());
        let admitted = admit(&self.door.rules, method, uri, version, request.headers())?;
        match admitted {
            Admitted::Call { .. } => self.call(session, &admitted, request).await,
            Admitted::Stream { .. } => self.stream(session, &admitted, request).await,
        }
    }

    async fn call(
        &self,
        session: &Session<'_>,
        admitted: &Admitted,
        request: Request<Incoming>,
    ) -> Result<Response<Reply>, Outcome> {
        let fate = Fate::default();
        let (head, body) = request.into_parts();
        let headers = self.headers(&head.headers, session.source, &[]);
        let body = Upload::new(body, &self.limits, fate.clone())?;
        let request = written(Method::POST, admitted, headers, body)?;
        let response = match session.upstream.send(request).await {
            Ok(response) => response,
            // Where it was the caller who spoiled it, that is what is said.
            Err(outcome) => return Err(fate.get().copied().unwrap_or(outcome)),
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Outcome::NodeAway);
        }
        Ok(self.passed(response))
    }

    async fn stream<'a>(
        &'a self,
        session: &Session<'a>,
        admitted: &Admitted,
        mut request: Request<Incoming>,
    ) -> Result<Response<Reply>, Outcome> {
        let place = self.streams.take(session.source).ok_or(Outcome::Busy)?;
        let caller = hyper::upgrade::on(&mut request);
        let (head, body) = request.into_parts();
        let mut headers = self.headers(&head.headers, session.source, &OF_A_STREAM);
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let body = Upload::new(body, &self.limits, Fate::default())?;
        let request = written(Method::GET, admitted, headers, body)?;
        let mut response = session.upstream.upgrade(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(self.passed(response));
        }
        let is_websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
        if !response.headers().get(header::UPGRADE).is_some_and(is_websocket) {
            return Err(Outcome::NodeAway);
        }
        let node = hyper::upgrade::on(&mut response);
        let agreed = Agreed { caller, node, _place: place };
        *session.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(agreed);
        self.counts.add(Outcome::Streamed);
        let mut answer = Response::new(http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *answer.headers_mut() = chosen(response.headers(), &OF_A_STREAMS_ANSWER);
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        answer.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        Ok(answer)
    }

    /// Headers for the node: chosen ones of the caller's, and our own word about who is asking, whatever the caller said of it.
    fn headers(&self, of_caller: &HeaderMap, source: IpAddr, more: &[HeaderName]) -> HeaderMap {
        let mut headers = chosen(of_caller, &PASSED);
        headers.extend(chosen(of_caller, more));
        headers.extend(chosen(of_caller, &[HeaderName::from_static(ICON_OPTIONS)]));
        let own = |text: String| HeaderValue::try_from(text).ok();
        headers.extend(own(self.door.node.to_string()).map(|node| (header::HOST, node)));
        headers.extend(own(source.to_string()).map(|source| (HeaderName::from_static(FORWARDED_FOR), source)));
        headers
    }

    fn passed(&self, response: Response<Incoming>) -> Response<Reply> {
        self.counts.add(Outcome::Passed);
        let (mut head, body) = response.into_parts();
        strip(&mut head.headers);
        head.version = hyper::Version::HTTP_11;
        Response::from_parts(head, Download::new(body, &self.limits).boxed_unsync())
    }

    /// Counts, and tells of it once in a while.
    fn note(&self, outcome: Outcome, source: IpAddr) {
        self.counts.add(outcome);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(&outcome).is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            told.insert(outcome, Instant::now());
            warn!(port = self.door.port, %source, outcome = outcome.as_str(), "request to a node not passed on");
        }
    }
}

fn written(method: Method, admitted: &Admitted, headers: HeaderMap, body: Upload) -> Result<Request<Upload>, Outcome> {
    let target: Uri = admitted.target().parse().map_err(|_| Outcome::RefusedPath)?;
    let mut request = Request::new(body);
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, target, headers);
    Ok(request)
}

fn chosen(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut chosen = HeaderMap::new();
    for name in names {
        chosen.extend(headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
    }
    chosen
}

impl Agreed<'_> {
    /// Moves bytes both ways until either end is done, or neither says anything for too long.
    async fn flow(self, limits: Limits) {
        let both = async { tokio::try_join!(self.caller, self.node) };
        let Ok(Ok((caller, node))) = timeout(limits.connect_time, both).await else { return };
        let (from_caller, to_caller) = split(TokioIo::new(caller));
        let (from_node, to_node) = split(TokioIo::new(node));
        let said = Notify::new();
        tokio::select! {
            () = pump(from_caller, to_node, &said, limits.stall_time) => {}
            () = pump(from_node, to_caller, &said, limits.stall_time) => {}
            () = silence(&said, limits.stream_idle) => debug!("a stream fell silent"),
        }
    }
}

/// Moves bytes one way until there are no more, or they are not taken.
async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, said: &Notify, stall: Duration) {
    let mut piece = vec![0; PIECE];
    loop {
        let Ok(length @ 1..) = from.read(&mut piece).await else { return };
        let Some(bytes) = piece.get(..length) else { return };
        said.notify_one();
        let taken = timeout(stall, async {
            to.write_all(bytes).await?;
            to.flush().await
        });
        if !taken.await.is_ok_and(|taken| taken.is_ok()) {
            return;
        }
    }
}

async fn silence(said: &Notify, longest: Duration) {
    while timeout(longest, said.notified()).await.is_ok() {}
}
