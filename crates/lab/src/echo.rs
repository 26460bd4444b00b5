//! A server on a host that sends back what it gets, over TCP and UDP: the other end of probes and streams.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::mpsc,
    time::Duration,
};

use tokio::{
    io::copy,
    net::{TcpStream, tcp},
    task::{AbortHandle, JoinSet},
};

use crate::{Host, LabError};

/// The largest UDP datagram.
const DATAGRAM: usize = 65_535;

/// Time for the server's tasks to end, which takes microseconds.
const STOP_WITHIN: Duration = Duration::from_secs(5);

impl Host {
    /// Serves echo on this address and port, TCP and UDP, until the server is dropped. Port 0 takes a free one.
    ///
    /// # Errors
    /// [`LabError::Io`] if the address is not the host's or the port is taken.
    pub fn listen_echo(&self, address: SocketAddr) -> Result<EchoServer, LabError> {
        let cannot = |error| LabError::io(format!("serve echo on {address} of {}", self.name()), error);
        let (tcp, udp, address) = self.inside(|| listen(address))?.map_err(cannot)?;
        let (alive, ended) = mpsc::channel();
        let task = self.shared.runtime().spawn(async move {
            let _alive = alive;
            // Ends by being dropped; an error would show as probes that find nobody.
            let _: io::Result<()> = serve(tcp, udp).await;
        });
        Ok(EchoServer { address, task: task.abort_handle(), ended })
    }
}

/// A running echo server. Dropping it closes its connections and its port.
#[derive(Debug)]
pub struct EchoServer {
    address: SocketAddr,
    task: AbortHandle,
    ended: mpsc::Receiver<()>,
}

impl EchoServer {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.task.abort();
        // Nothing is ever sent: this returns when the task has dropped its sockets.
        let _ = self.ended.recv_timeout(STOP_WITHIN);
    }
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, UdpSocket, SocketAddr)> {
    let tcp = TcpListener::bind(address)?;
    let address = tcp.local_addr()?;
    let udp = UdpSocket::bind(address)?;
    tcp.set_nonblocking(true)?;
    udp.set_nonblocking(true)?;
    Ok((tcp, udp, address))
}

async fn serve(tcp: TcpListener, udp: UdpSocket) -> io::Result<()> {
    let tcp = tokio::net::TcpListener::from_std(tcp)?;
    let udp = tokio::net::UdpSocket::from_std(udp)?;
    let mut connections = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM];
    loop {
        tokio::select! {
            accepted = tcp.accept() => {
                // A connection that is gone before it is accepted is not the server's end.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(echo(stream));
                }
            }
            received = udp.recv_from(&mut datagram) => {
                if let Ok((length, from)) = received {
                    // Datagrams may get lost, this one because of the firewall under test.
                    let _ = udp.send_to(datagram.get(..length).unwrap_or_default(), from).await;
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer): (tcp::ReadHalf<'_>, tcp::WriteHalf<'_>) = stream.split();
    copy(&mut reader, &mut writer).await.map(drop)
}
