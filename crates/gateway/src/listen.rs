//! A door that is open: its sockets, and all connections through it, which end with it.

use crate::{Counts, Door, Limits, relay::Shared};
use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinSet};
use tracing::{debug, info};

/// Out of file descriptors or memory, accepting fails at once again and again; others need time to close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// An open door.
#[derive(Debug)]
pub struct Listener {
    counts: Arc<Counts>,
    tasks: JoinSet<()>,
    addresses: Vec<SocketAddr>,
}

/// A door that cannot be opened.
#[derive(Debug)]
pub struct ListenError {
    address: SocketAddr,
    cause: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listen on {}: {}", self.address, self.cause)
    }
}

impl Error for ListenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

impl Listener {
    /// Listens at the door's addresses, those that this host has. Needs a tokio runtime.
    ///
    /// # Errors
    /// Where one is taken, or none is this host's.
    pub async fn open(door: &Door, limits: Limits) -> Result<Self, ListenError> {
        let sockets = bind(door).await?;
        let addresses: Vec<SocketAddr> = sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        info!(port = door.port, ?addresses, node = %door.node, "serves a node's JSON-RPC");
        let counts = Arc::new(Counts::default());
        let shared = Arc::new(Shared::new(door.clone(), limits, Arc::clone(&counts)));
        let mut tasks = JoinSet::new();
        for socket in sockets {
            tasks.spawn(accept(socket, Arc::clone(&shared)));
        }
        Ok(Self { counts, tasks, addresses })
    }

    /// Closes the door, with all connections through it; its port is free afterwards.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
        info!(addresses = ?self.addresses, "serves a node's JSON-RPC no longer");
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What became of requests.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

async fn bind(door: &Door) -> Result<Vec<TcpListener>, ListenError> {
    let port = door.port.get();
    let at = |address: IpAddr| SocketAddr::new(address, port);
    let listen = async |address| TcpListener::bind(address).await.map_err(|cause| ListenError { address, cause });
    if door.addresses.is_empty() {
        // Takes IPv4 as well; a host without IPv6 has no such address.
        return match listen(at(Ipv6Addr::UNSPECIFIED.into())).await {
            Err(error) if is_not_here(&error) => Ok(vec![listen(at(Ipv4Addr::UNSPECIFIED.into())).await?]),
            all => Ok(vec![all?]),
        };
    }
    let (mut sockets, mut missing) = (Vec::new(), None);
    for address in &door.addresses {
        match listen(at(*address)).await {
            Ok(socket) => sockets.push(socket),
            // Another sentry's.
            Err(error) if is_not_here(&error) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(sockets),
    }
}

fn is_not_here(error: &ListenError) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.cause.kind() == io::ErrorKind::AddrNotAvailable || error.cause.raw_os_error() == Some(EAFNOSUPPORT)
}

async fn accept(socket: TcpListener, shared: Arc<Shared>) {
    // Ends with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = socket.accept() => match accepted {
                Ok((stream, source)) => {
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move { shared.connection(stream, source.ip().to_canonical()).await });
                }
                Err(error) => {
                    debug!(%error, "accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}
