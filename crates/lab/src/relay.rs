//! A way from this machine's own loopback to a port of a lab's host, for a browser that runs outside. Opens a port of ours on
//! loopback while it lives; of the machine's network nothing is changed.

use crate::{Host, LabError, namespace::Namespace};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};
use tokio::{
    io::copy_bidirectional,
    net::TcpStream,
    task::{AbortHandle, JoinSet, spawn_blocking},
};

/// A running relay. Dropped, its port and its connections close a moment later.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    task: AbortHandle,
}

impl Host {
    /// Has connections to a port of this machine's loopback end at an address of the host's.
    ///
    /// # Errors
    /// [`LabError::Io`] if no port can be had.
    pub fn relay(&self, to: SocketAddr) -> Result<Relay, LabError> {
        let bound = || -> io::Result<(TcpListener, SocketAddr)> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let cannot = |error| LabError::io(format!("make a way to {to} of {}", self.name()), error);
        let (listener, address) = bound().map_err(cannot)?;
        let namespace = self.namespace.clone();
        let task = self.shared.runtime().spawn(async move {
            // Ends by being dropped; an error would show as a browser that finds nobody.
            let _: io::Result<()> = serve(listener, namespace, to).await;
        });
        Ok(Relay { address, task: task.abort_handle() })
    }
}

impl Relay {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, namespace: Namespace, to: SocketAddr) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A connection that is gone before it is accepted is not the relay's end.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(carry(stream, namespace.clone(), to));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(mut from: TcpStream, namespace: Namespace, to: SocketAddr) -> io::Result<()> {
    let connect = move || {
        let inside = namespace.inside(|| std::net::TcpStream::connect(to));
        inside.map_err(io::Error::other)?
    };
    let stream = spawn_blocking(connect).await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    let mut stream = TcpStream::from_std(stream)?;
    copy_bidirectional(&mut from, &mut stream).await.map(drop)
}
