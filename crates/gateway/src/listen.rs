//! A door that is open: its sockets, and all connections through it, which end with it.

use crate::{Counts, Door, Limits, relay::Shared};
use ipnet::IpNet;
use nix::sys::socket::{setsockopt, sockopt::IpFreebind};
use std::{
    collections::BTreeSet,
    error::Error,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::JoinSet,
};
use tracing::{debug, info};

/// Out of file descriptors or memory, accepting fails at once again and again; others need time to close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// As many as the runtime's own sockets have waiting to be accepted.
const BACKLOG: u32 = 1024;

/// An open door.
#[derive(Debug)]
pub struct Listener {
    counts: Arc<Counts>,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    /// Dropped, all tasks end by themselves.
    open: watch::Sender<()>,
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
    /// Listens at the door's addresses, also those that this host has not yet. Needs a tokio runtime.
    ///
    /// # Errors
    /// Where one is taken, or of a family that this host has not.
    pub async fn open(door: &Door, limits: Limits) -> Result<Self, ListenError> {
        let sockets = bind(door).await?;
        let addresses: Vec<SocketAddr> = sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        info!(port = door.port, ?addresses, node = %door.node, "serves a node's JSON-RPC");
        let counts = Arc::new(Counts::default());
        let shared = Arc::new(Shared::new(door.clone(), limits, Arc::clone(&counts)));
        let (mut tasks, (open, until)) = (JoinSet::new(), watch::channel(()));
        for socket in sockets {
            tasks.spawn(accept(socket, Arc::clone(&shared), until.clone()));
        }
        Ok(Self { counts, shared, tasks, open, addresses })
    }

    /// Closes the door, with all connections through it: none is left, and its port is free afterwards.
    pub async fn close(self) {
        let Self { mut tasks, open, addresses, .. } = self;
        drop(open);
        while tasks.join_next().await.is_some() {}
        info!(?addresses, "serves a node's JSON-RPC no longer");
    }

    /// Serves these callers from the next request on.
    pub(crate) fn serve(&self, callers: BTreeSet<IpNet>) {
        info!(addresses = ?self.addresses, callers = callers.len(), "serves a node's JSON-RPC to more callers");
        self.shared.serve(callers);
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
    for address in door.addresses.iter().copied().map(at) {
        match listen_ahead(address).map_err(|cause| ListenError { address, cause }) {
            Ok(socket) => sockets.push(socket),
            Err(error) if is_not_here(&error) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(sockets),
    }
}

/// Listens at an address that may be another sentry's, or come to this host later: a floating one, or a tunnel's that is on its way.
fn listen_ahead(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    setsockopt(&socket, IpFreebind, &true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn is_not_here(error: &ListenError) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.cause.kind() == io::ErrorKind::AddrNotAvailable || error.cause.raw_os_error() == Some(EAFNOSUPPORT)
}

/// Takes connections until the door closes, and ends when all have ended.
async fn accept(socket: TcpListener, shared: Arc<Shared>, mut until: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    tokio::select! {
        _ = until.changed() => {}
        () = take(&socket, &shared, &mut connections) => {}
    }
    drop(socket);
    connections.shutdown().await;
}

async fn take(socket: &TcpListener, shared: &Arc<Shared>, connections: &mut JoinSet<()>) {
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = socket.accept() => match accepted {
                Ok((stream, source)) => {
                    let shared = Arc::clone(shared);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;
    use picket_http::Share;
    use std::num::NonZeroU16;
    use tokio::net::TcpStream;

    fn door(at: SocketAddr) -> Door {
        Door {
            port: NonZeroU16::new(at.port()).unwrap(),
            addresses: [at.ip()].into(),
            callers: ["127.0.0.0/8".parse().unwrap()].into(),
            node: at,
            rules: Rules { streams: BTreeSet::new(), debug: false },
        }
    }

    #[tokio::test]
    async fn a_door_waits_at_an_address_that_the_host_has_not_yet() {
        let at = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut door = door(at);
        door.addresses.insert("192.0.2.9".parse().unwrap());
        let listener = Listener::open(&door, Limits::default()).await.unwrap();
        assert_eq!(listener.addresses().len(), 2);
    }

    #[tokio::test]
    async fn no_connection_outlives_the_call_that_closes_its_door() {
        const MANY: usize = 100;
        let all = Share { all: MANY, source: MANY };
        let at = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let listener = Listener::open(&door(at), Limits { connections: all, ..Limits::default() }).await.unwrap();
        let alone = Arc::strong_count(&listener.shared);
        let mut callers = Vec::new();
        for _ in 0..MANY {
            callers.push(TcpStream::connect(at).await.unwrap());
        }
        while Arc::strong_count(&listener.shared) < alone + MANY {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let shared = Arc::downgrade(&listener.shared);
        listener.close().await;
        assert_eq!(shared.strong_count(), 0);
    }
}
