//! goloop's WebSocket surface (`server/websocket.go`): the upgrade, the limits, and what is sent when. What is said is made
//! in `events`.

use super::{
    Behaviour, FakeIcon, Push,
    events::{Kind, Subscription, refusal},
    http, rpc,
};
use axum::{
    extract::{Path, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

/// goloop's `wsMaxSession`.
const MOST_SESSIONS: usize = 10;
/// Largest message that goloop reads, in bytes.
const LARGEST_MESSAGE: usize = 16 << 10;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What all sessions of one endpoint share.
#[derive(Debug)]
pub(super) struct Sessions {
    /// Counts how often all connections were dropped.
    drops: watch::Sender<u64>,
    places: Arc<Semaphore>,
}

/// Places for WebSockets that others have taken; free again when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct SessionsTaken(#[expect(dead_code, reason = "held, never read")] Option<OwnedSemaphorePermit>);

impl Default for Sessions {
    fn default() -> Self {
        let places = Arc::new(Semaphore::new(MOST_SESSIONS));
        Self { drops: watch::Sender::default(), places }
    }
}

impl Sessions {
    /// Drops every connection, as a node does that is restarted.
    pub(super) fn drop_all(&self) {
        self.drops.send_modify(|drops| *drops += 1);
    }

    /// Takes the places that are free.
    pub(super) fn take(&self) -> SessionsTaken {
        let free = self.places.available_permits();
        SessionsTaken(u32::try_from(free).ok().and_then(|free| self.places.clone().try_acquire_many_owned(free).ok()))
    }

    /// Sessions that are open.
    pub(super) fn open(&self) -> usize {
        MOST_SESSIONS - self.places.available_permits()
    }
}

/// `GET /api/v3/{channel}/{kind}`.
pub(super) async fn upgrade(
    State(fake): State<FakeIcon>,
    Path((channel, kind)): Path<(String, String)>,
    mut request: Request,
) -> Response {
    let (behaviour, push) = {
        let own = fake.lock();
        (own.behaviour.clone(), own.push)
    };
    match behaviour {
        Behaviour::Icon1 => return StatusCode::NOT_FOUND.into_response(),
        _ if push == Push::Absent => return StatusCode::NOT_FOUND.into_response(),
        Behaviour::Html => return http::page(StatusCode::OK),
        Behaviour::Status(code) => return http::status(code),
        Behaviour::Stall => std::future::pending().await,
        _ => {}
    }
    let kind = match kind.as_str() {
        _ if channel != rpc::CHANNEL => return http::text(StatusCode::NOT_FOUND, "No channel".to_owned()),
        "block" => Kind::Block,
        "event" => Kind::Event,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let accept = key.and_then(|accept| HeaderValue::try_from(accept).ok());
    let (Some(accept), Some(upgrade)) = (accept, request.extensions_mut().remove::<OnUpgrade>()) else {
        return http::text(StatusCode::BAD_REQUEST, "Bad Request\n".to_owned());
    };
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let limits = WebSocketConfig::default().max_message_size(Some(LARGEST_MESSAGE));
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits)).await;
            // The client is gone; there is nobody to tell.
            let _ = session(&fake, socket, kind, push).await;
        }
    });
    let headers = [
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// From the first message to the end, which is always goloop's: without a word of goodbye.
async fn session(
    fake: &FakeIcon,
    mut socket: Socket,
    kind: Kind,
    push: Push,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let (mut log, mut drops) = (fake.chain.listen(), fake.sessions.drops.subscribe());
    let Ok(_place) = fake.sessions.places.clone().try_acquire_owned() else {
        return socket.send(Message::text(refusal(-31005, "too many monitor"))).await;
    };
    let Some(request) = socket.next().await.transpose()? else { return Ok(()) };
    let mut subscription = match Subscription::parse(kind, &request.into_data()) {
        Ok(subscription) => subscription,
        Err(refusal) => return socket.send(Message::text(refusal)).await,
    };
    socket.send(Message::text("{\"code\":0}\n")).await?;
    loop {
        let (messages, more) = match push {
            Push::Silent => (Vec::new(), false),
            Push::Served | Push::Absent => {
                let log = log.borrow_and_update();
                let height = fake.lock().behaviour.height(log.height);
                subscription.due(&log, height)
            }
        };
        for message in messages {
            socket.send(Message::text(message)).await?;
        }
        if more {
            continue;
        }
        tokio::select! {
            changed = log.changed(), if push != Push::Silent => if changed.is_err() { return Ok(()) },
            _ = drops.changed() => return Ok(()),
            // What the client says is read and not heeded.
            said = socket.next() => if said.transpose()?.is_none() { return Ok(()) },
        }
    }
}
