//! A long way between two hosts: datagrams to a port of one go on to a port of another later, and what comes back is as late.
//! Where a kernel can delay packets by itself (`tc netem`) this would be its work; many cannot, and no router of ours is that far.

use crate::{Host, LabError};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};

/// The longest datagram.
const LONGEST: usize = 65_535;

/// A way that is open while this lives.
#[derive(Debug)]
pub struct LongWay {
    address: SocketAddr,
    task: AbortHandle,
}

impl Host {
    /// Sends datagrams to this host's `port` on to `to`, each `late` after it came, and answers back in the same way. Each source has
    /// a port of its own on this host, as behind any router that translates addresses.
    ///
    /// # Errors
    /// [`LabError::Io`] if the port cannot be had, [`LabError::NoAddress`] if the host has none of that family.
    pub fn long_way(&self, port: u16, to: SocketAddr, late: Duration) -> Result<LongWay, LabError> {
        let address = if to.is_ipv4() { self.v4(port)? } else { self.v6(port)? };
        let door = self.datagrams(address)?;
        let host = self.clone();
        let task = self.shared.runtime().spawn(async move {
            let Ok(door) = UdpSocket::from_std(door) else { return };
            // Ends by being dropped; an error would show as a way on which nothing arrives.
            let _: io::Result<()> = carry(&host, Arc::new(door), to, late).await;
        });
        Ok(LongWay { address, task: task.abort_handle() })
    }

    fn datagrams(&self, at: SocketAddr) -> Result<std::net::UdpSocket, LabError> {
        let bind = || {
            let socket = std::net::UdpSocket::bind(at)?;
            socket.set_nonblocking(true).map(|()| socket)
        };
        self.inside(bind)?
            .map_err(|error| LabError::io(format!("listen for datagrams at {at} of {}", self.name()), error))
    }
}

impl LongWay {
    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for LongWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(host: &Host, door: Arc<UdpSocket>, to: SocketAddr, late: Duration) -> io::Result<()> {
    let mut callers: BTreeMap<SocketAddr, mpsc::UnboundedSender<Vec<u8>>> = BTreeMap::new();
    let mut ways = JoinSet::new();
    let mut datagram = vec![0; LONGEST];
    loop {
        let (length, from) = door.recv_from(&mut datagram).await?;
        let queue = match callers.get(&from) {
            Some(queue) => queue,
            None => {
                let any = host.datagrams(SocketAddr::new(door.local_addr()?.ip(), 0)).map_err(io::Error::other)?;
                let own = Arc::new(UdpSocket::from_std(any)?);
                let (queue, there) = mpsc::unbounded_channel();
                let (answers, back) = mpsc::unbounded_channel();
                ways.spawn(later(there, Arc::clone(&own), to, late));
                ways.spawn(later(back, Arc::clone(&door), from, late));
                ways.spawn(hear(own, answers));
                callers.entry(from).or_insert(queue)
            }
        };
        let _ = queue.send(datagram[..length].to_vec());
    }
}

/// Passes on what comes to a socket.
async fn hear(socket: Arc<UdpSocket>, queue: mpsc::UnboundedSender<Vec<u8>>) {
    let mut datagram = vec![0; LONGEST];
    while let Ok((length, _)) = socket.recv_from(&mut datagram).await {
        let _ = queue.send(datagram[..length].to_vec());
    }
}

/// Sends each datagram on when its time has come, in their order.
async fn later(mut queue: mpsc::UnboundedReceiver<Vec<u8>>, socket: Arc<UdpSocket>, to: SocketAddr, late: Duration) {
    let mut waiting = VecDeque::new();
    loop {
        let due = waiting.front().map(|(due, _)| *due);
        tokio::select! {
            came = queue.recv() => match came {
                Some(datagram) => waiting.push_back((Instant::now() + late, datagram)),
                None => return,
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                if let Some((_, datagram)) = waiting.pop_front() {
                    // One that cannot be sent is lost, as on any way.
                    let _ = socket.send_to(&datagram, to).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Connect, Lab};

    #[test]
    fn what_goes_the_long_way_is_late_both_ways_and_arrives() {
        let lab = Lab::new("long way").unwrap();
        let host = |name: &str, address: &str| lab.host(name).address(address).create().unwrap();
        let (near, far) = (host("near", "203.0.113.1/24"), host("far", "203.0.113.2/24"));
        let between = host("between", "198.51.100.1/24");
        let _echo = far.listen_echo(far.v4(9000).unwrap()).unwrap();
        let way = between.long_way(51820, far.v4(9000).unwrap(), Duration::from_millis(40)).unwrap();
        let started = Instant::now();
        assert_eq!(near.can_udp_echo(way.address(), Duration::from_secs(5)), Connect::Open);
        assert!(started.elapsed() >= Duration::from_millis(80), "{:?}", started.elapsed());
    }
}
