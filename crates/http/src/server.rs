//! The accept loop of one listener, and how it stops. Who gets in and what happens then is in `connection`.

use crate::{Connections, Limits, connection::Shared};
use axum::{Router, extract::DefaultBodyLimit};
use rustls::ServerConfig;
use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinError, JoinSet},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, info, warn};

/// Out of file descriptors or memory, accepting fails at once again and again; others need time to close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What one listener serves.
#[derive(Debug)]
pub struct Server {
    /// The routes.
    pub router: Router,
    /// `None` for plain HTTP/1, on loopback only. Make it with [`picket_pki::server_config`].
    pub tls: Option<Arc<ServerConfig>>,
    /// What it grants.
    pub limits: Limits,
    /// Where it enters its connections.
    pub connections: Connections,
}

impl Server {
    /// Serves until `stop` ends; then closes the listener, lets requests in flight finish within
    /// [`Limits::stop_grace`] and returns.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(());
        // Our own limit holds for every body, also one that no extractor reads.
        let router = self.router.layer(DefaultBodyLimit::disable());
        let acceptor = self.tls.map(TlsAcceptor::from);
        let shared = Arc::new(Shared::new(router, acceptor, self.limits, self.connections));
        let mut tasks = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let (stream, address) = tokio::select! {
                () = &mut stop => break,
                Some(ended) = tasks.join_next() => {
                    report(ended);
                    continue;
                }
                accepted = accept(&listener) => accepted,
            };
            let (shared, stopped) = (shared.clone(), stopped.clone());
            tasks.spawn(async move { shared.connection(stream, address, stopped).await });
        }
        drop(listener);
        // Every connection holds a receiver and ends by itself, at the latest after the grace.
        drop(stopping);
        info!(connections = tasks.len(), "listener stopped");
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    }
}

/// The next connection; what goes wrong before there is one does not end the loop.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(cause) if is_the_clients(&cause) => debug!(%cause, "client gone before it was accepted"),
            Err(cause) => {
                warn!(%cause, "accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_the_clients(cause: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(cause.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn report(ended: Result<(), JoinError>) {
    if let Err(cause) = ended {
        error!(%cause, "a request's handler panicked");
    }
}
