//! The way to the node: one connection for each of the caller's, so that no caller's request ever follows another's on the same
//! one; used again while both live.

use crate::{Limits, Outcome, body::Upload};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tracing::debug;

/// Larger heads are none of a node's.
const LARGEST_HEAD: usize = 64 << 10;
/// What is left of the answer before is taken off the connection at once, or another is made.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The node's end of one caller's connection.
pub(crate) struct Upstream {
    node: SocketAddr,
    limits: Limits,
    idle: Mutex<Option<SendRequest<Upload>>>,
    /// Move bytes; end with this value.
    drivers: Mutex<JoinSet<()>>,
}

impl Upstream {
    pub(crate) fn new(node: SocketAddr, limits: Limits) -> Self {
        Self { node, limits, idle: Mutex::default(), drivers: Mutex::default() }
    }

    /// Sends a request, on the connection of before if it still stands.
    pub(crate) async fn send(&self, request: Request<Upload>) -> Result<Response<Incoming>, Outcome> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut request = request;
        if let Some(mut idle) = idle
            && timeout(AT_ONCE, idle.ready()).await.is_ok_and(|ready| ready.is_ok())
        {
            match self.patiently(idle.try_send_request(request)).await? {
                Ok(response) => {
                    self.keep(idle);
                    return Ok(response);
                }
                // The node closed it meanwhile, and has seen nothing of the request.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(away(self.node, &error.into_error())),
                },
            }
        }
        let mut fresh = self.connect().await?;
        let response = self.patiently(fresh.send_request(request)).await?.map_err(|error| away(self.node, &error))?;
        self.keep(fresh);
        Ok(response)
    }

    /// Sends a request that may become a stream, on a connection of its own.
    pub(crate) async fn upgrade(&self, request: Request<Upload>) -> Result<Response<Incoming>, Outcome> {
        let mut fresh = self.connect().await?;
        self.patiently(fresh.send_request(request)).await?.map_err(|error| away(self.node, &error))
    }

    async fn connect(&self) -> Result<SendRequest<Upload>, Outcome> {
        let connected = timeout(self.limits.connect_time, TcpStream::connect(self.node)).await;
        let stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(away(self.node, &error)),
            Err(_) => return Err(Outcome::NodeAway),
        };
        stream.set_nodelay(true).ok();
        let mut http = http1::Builder::new();
        http.max_buf_size(LARGEST_HEAD);
        let (sender, connection) =
            http.handshake(TokioIo::new(stream)).await.map_err(|error| away(self.node, &error))?;
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        // A caller may ask as long as it likes; those that are done are forgotten.
        while drivers.try_join_next().is_some() {}
        drivers.spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(%error, "connection to the node broke");
            }
        });
        Ok(sender)
    }

    async fn patiently<T>(&self, sent: impl Future<Output = T>) -> Result<T, Outcome> {
        timeout(self.limits.body_time + self.limits.answer_time, sent).await.map_err(|_| Outcome::NodeSlow)
    }

    fn keep(&self, sender: SendRequest<Upload>) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
    }
}

fn away(node: SocketAddr, error: &dyn std::error::Error) -> Outcome {
    debug!(%node, %error, "the node cannot be reached");
    Outcome::NodeAway
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn connections_that_are_done_are_forgotten() {
        let node = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Upstream::new(node.local_addr().unwrap(), Limits::default());
        for _ in 0..50 {
            let sender = upstream.connect().await.unwrap();
            let (stream, _) = node.accept().await.unwrap();
            drop((sender, stream));
            // Its driver sees that nobody asks any more.
            tokio::task::yield_now().await;
        }
        let left = upstream.drivers.lock().unwrap().len();
        assert!(left < 10, "{left}");
    }
}
