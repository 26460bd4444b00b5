//! The tunnels of one host, brought from found to wanted in two steps with the firewall between them.

use crate::{
    device::{DeviceConfig, DeviceState},
    diff::{self, DeviceChange, PeerUpdate},
    engine::{self, AnyDevice, Device as _, Engine, Preference},
    error::Error,
    link::{
        self, LinkChange, LinkConfig,
        netlink::{Link, Links},
        steering::{self, SteeringChange, SteeringState},
    },
};
use picket_model::WireGuardPublicKey;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
};

/// The changes one step made, or has still to make. Its text is one change a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// To the device, made first.
    pub device: Vec<DeviceChange>,
    /// To its link.
    pub link: Vec<LinkChange>,
    /// To what is steered into it, made last.
    pub steering: Vec<SteeringChange>,
}

impl Changes {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.device.is_empty() && self.link.is_empty() && self.steering.is_empty()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.device.iter().try_for_each(|change| writeln!(f, "{change}"))?;
        self.link.iter().try_for_each(|change| writeln!(f, "{change}"))?;
        self.steering.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

/// One host's WireGuard device and its link. On a host the order is [`prepare`](Self::prepare), firewall,
/// [`connect`](Self::connect): a peer that leaves is gone before anything else, one that comes finds its filter.
#[derive(Debug)]
pub struct Tunnel {
    name: String,
    preference: Preference,
    own: Option<WireGuardPublicKey>,
    links: Links,
    device: AnyDevice,
    /// What was brought into force last, to tell a peer that roamed from one that is wanted elsewhere.
    previous: Option<DeviceConfig>,
}

impl Tunnel {
    /// Opens the device, making it where there is none, in the network namespace of the calling thread. It has no
    /// peer and no address yet, unless it is a kernel device that an earlier process of ours left, which bears our mark
    /// or has the public key `own`; anybody else's is [`Error::NameTaken`].
    ///
    /// A userspace device lives as long as this value. Needs a tokio runtime and CAP_NET_ADMIN.
    pub async fn open(name: &str, preference: Preference, own: Option<WireGuardPublicKey>) -> Result<Self, Error> {
        let links = Links::open()?;
        let device = engine::open_on(&links, name, preference, own).await?;
        Ok(Self { name: name.to_owned(), preference, own, links, device, previous: None })
    }

    /// Which WireGuard carries the tunnels.
    pub fn engine(&self) -> Engine {
        self.device.engine()
    }

    /// Everything that lets nobody in: removes peers that are not wanted, sets key, port, MTU and addresses, brings
    /// the link up. Makes a device that went away anew. Returns the changes, all read back.
    pub async fn prepare(&mut self, wanted: &DeviceConfig) -> Result<Changes, Error> {
        self.check(wanted)?;
        if self.is_gone().await? {
            self.device = engine::open_on(&self.links, &self.name, self.preference, self.own).await?;
            self.previous = None;
        }
        self.bring_into_force(wanted, Changes::without_peers).await
    }

    /// Peers and routes, once the firewall is in force. Returns the changes, all read back.
    pub async fn connect(&mut self, wanted: &DeviceConfig) -> Result<Changes, Error> {
        self.check(wanted)?;
        let changes = self.bring_into_force(wanted, |changes| changes).await?;
        self.previous = Some(wanted.clone());
        Ok(changes)
    }

    /// Dials every peer with an endpoint that has not had a handshake yet once more, at once: WireGuard by itself waits
    /// five seconds after a first try that was lost, and on a join the other end often learns of us a moment later.
    /// Such a peer has no session to lose, so it is taken away and added again, which every engine answers with a
    /// handshake. Returns how many were dialled.
    pub async fn redial(&mut self) -> Result<usize, Error> {
        let Some(wanted) = &self.previous else { return Ok(0) };
        let found = self.device.observe().await?;
        let changes = redials(wanted, &found);
        self.device.apply(&changes).await?;
        Ok(changes.len() / 2)
    }

    /// Sets where peers were for those whose place is not known: which they are.
    pub async fn look_for(
        &mut self,
        were: &BTreeMap<WireGuardPublicKey, SocketAddr>,
    ) -> Result<Vec<WireGuardPublicKey>, Error> {
        let found = self.device.observe().await?;
        let nowhere = found.peers.iter().filter(|(_, peer)| peer.endpoint.is_none()).map(|(key, _)| *key);
        let looked_for: BTreeMap<_, _> = nowhere.filter_map(|key| Some((key, *were.get(&key)?))).collect();
        let update = |at: &SocketAddr| PeerUpdate { endpoint: Some(*at), ..PeerUpdate::default() };
        let changes: Vec<_> = looked_for.iter().map(|(key, at)| DeviceChange::UpdatePeer(*key, update(at))).collect();
        self.device.apply(&changes).await?;
        Ok(looked_for.into_keys().collect())
    }

    /// Reads the device back.
    pub async fn observe(&self) -> Result<DeviceState, Error> {
        self.device.observe().await
    }

    /// Takes the device away, with all that hangs on it and all that was steered into it: for a host that leaves the mesh.
    pub async fn remove(self) -> Result<(), Error> {
        let link = self.links.find(&self.name).await?;
        let index = link.map(|link| link.index);
        clear_steering(&self.links, index.unwrap_or_default()).await?;
        match index {
            Some(index) => self.links.remove(index).await,
            None => Ok(()),
        }
    }

    fn check(&self, wanted: &DeviceConfig) -> Result<(), Error> {
        wanted.check()?;
        if wanted.name == self.name {
            Ok(())
        } else {
            Err(Error::OtherDevice { name: self.name.clone(), wanted: wanted.name.clone() })
        }
    }

    async fn is_gone(&self) -> Result<bool, Error> {
        match self.device.observe().await {
            Ok(_) => Ok(self.links.find(&self.name).await?.is_none()),
            Err(Error::Gone { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn bring_into_force(
        &mut self,
        wanted: &DeviceConfig,
        step: fn(Changes) -> Changes,
    ) -> Result<Changes, Error> {
        let link = self.link().await?;
        let changes = step(self.outstanding(wanted, self.previous.as_ref(), &link).await?);
        if changes.is_empty() {
            return Ok(changes);
        }
        self.device.apply(&changes.device).await?;
        for change in &changes.link {
            self.links.apply(link.index, change).await.map_err(|error| port_taken(error, change, wanted))?;
        }
        for change in &changes.steering {
            self.links.steer(link.index, &wanted.addresses, *change).await?;
        }
        let left = step(self.outstanding(wanted, Some(wanted), &self.link().await?).await?);
        if left.is_empty() { Ok(changes) } else { Err(Error::NotInForce(left)) }
    }

    async fn outstanding(
        &self,
        wanted: &DeviceConfig,
        previous: Option<&DeviceConfig>,
        link: &Link,
    ) -> Result<Changes, Error> {
        let found = self.links.observe(link).await?;
        Ok(Changes {
            device: diff::diff(wanted, &self.device.observe().await?, previous),
            link: link::diff(&LinkConfig::of(wanted), &found),
            steering: steering::diff(&wanted.steering.wanted(), &self.links.steering(link.index).await?),
        })
    }

    async fn link(&self) -> Result<Link, Error> {
        self.links.find(&self.name).await?.ok_or_else(|| Error::Gone { name: self.name.clone() })
    }
}

/// Takes away what an earlier process steered into a device that is gone: its rules and exceptions outlive it. For a host that
/// leaves the mesh; without any it changes nothing. Needs a tokio runtime and CAP_NET_ADMIN.
pub async fn remove_steering() -> Result<(), Error> {
    clear_steering(&Links::open()?, 0).await
}

/// Routes into the link of this index, or only what needs no link where it is 0, which no link has.
async fn clear_steering(links: &Links, index: u32) -> Result<(), Error> {
    let found = links.steering(index).await?;
    for change in steering::diff(&SteeringState::default(), &found) {
        links.steer(index, &BTreeSet::new(), change).await?;
    }
    Ok(())
}

impl Changes {
    fn without_peers(mut self) -> Self {
        self.device.retain(|change| !change.opens());
        self.link.retain(|change| !change.is_route());
        self.steering.clear();
        self
    }
}

fn redials(wanted: &DeviceConfig, found: &DeviceState) -> Vec<DeviceChange> {
    let never = |key: &WireGuardPublicKey| found.peers.get(key).is_some_and(|peer| peer.last_handshake.is_none());
    let silent = wanted.peers.iter().filter(|(key, peer)| peer.endpoint.is_some() && never(key));
    silent.flat_map(|(key, peer)| [DeviceChange::RemovePeer(*key), DeviceChange::AddPeer(*key, peer.clone())]).collect()
}

/// A kernel device takes its port only when its link comes up.
fn port_taken(error: Error, change: &LinkChange, wanted: &DeviceConfig) -> Error {
    match error {
        Error::Kernel { ref source, .. }
            if *change == LinkChange::Up && source.kind() == std::io::ErrorKind::AddrInUse =>
        {
            Error::PortTaken { port: wanted.listen_port }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PeerConfig, PeerState, PrivateKey};
    use picket_model::Timestamp;

    #[test]
    fn only_peers_that_can_be_dialled_and_never_answered_are_dialled_again() {
        let key = |byte| WireGuardPublicKey::new([byte; 32]).unwrap();
        let peer = |endpoint: Option<&str>| PeerConfig {
            endpoint: endpoint.map(|text| text.parse().unwrap()),
            ..PeerConfig::default()
        };
        let wanted = DeviceConfig {
            name: "picket0".into(),
            private_key: PrivateKey::from_random([1; 32]),
            listen_port: 0,
            addresses: [].into(),
            mtu: 1420,
            steering: crate::Steering::default(),
            peers: [
                (key(2), peer(Some("192.0.2.2:51820"))),
                (key(3), peer(Some("192.0.2.3:51820"))),
                (key(4), peer(None)),
                (key(5), peer(Some("192.0.2.5:51820"))),
            ]
            .into(),
        };
        let state = |last_handshake| PeerState { last_handshake, ..PeerState::default() };
        let found = DeviceState {
            peers: [(key(2), state(None)), (key(3), state(Some(Timestamp::from_millis(1)))), (key(4), state(None))]
                .into(),
            ..DeviceState::default()
        };
        let expected = [DeviceChange::RemovePeer(key(2)), DeviceChange::AddPeer(key(2), wanted.peers[&key(2)].clone())];
        assert_eq!(redials(&wanted, &found), expected);
    }
}
