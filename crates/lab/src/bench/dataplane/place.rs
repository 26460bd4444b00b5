//! Where it is measured: for each carrier two hosts on a cable of their own, and a tunnel between them.

use super::{name, run_tool};
use crate::{
    Host, Lab, LabError, command,
    mesh::SOON,
    tunnels::{Carrier, End, PeerWish, Wish, private_key, public_key},
    wait_until,
};
use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::Duration,
};

/// As on a link of 1,500 bytes over IPv6, which is what `wg-quick` takes.
pub(super) const MTU: u16 = 1420;
/// The hosts' ends of the cable, and below them their addresses inside the tunnel.
pub(super) const OUTER: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)];
const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
pub(super) const PORT: u16 = 51820;
const CABLE: &str = "cable0";
const ANSWER: Duration = Duration::from_millis(100);

/// What the cable between two hosts does for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Cable {
    /// Carries packets of 64 KiB whole, as between two containers of one machine.
    Offload,
    /// Carries what a wire does: sending cuts to the link's size, receiving joins again.
    Card,
}

impl Cable {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Offload => "veth-offload",
            Self::Card => "real-nic",
        }
    }

    /// What ethtool is told of both ends.
    fn features(self) -> &'static [&'static str] {
        match self {
            Self::Offload => &["gro", "on"],
            Self::Card => &["gro", "on", "tso", "off", "tx-udp-segmentation", "off"],
        }
    }
}

/// All pairs on one kind of cable.
pub(super) struct Place {
    pub(super) pairs: Vec<Pair>,
    _lab: Lab,
}

/// Two hosts, a tunnel between them or none, and iperf3's server on the second.
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) hosts: [Host; 2],
    /// The engines; empty without a tunnel.
    pub(super) ends: Vec<End>,
    /// Where the second is reached.
    pub(super) to: IpAddr,
    /// How TCP finds its speed, as iperf3 is told of each flow.
    pub(super) congestion: String,
}

impl Place {
    pub(super) fn new(cable: Cable, congestion: &str, carriers: &[Option<Carrier>]) -> anyhow::Result<Self> {
        let lab = Lab::new("dataplane")?;
        let pair = |carrier: &Option<Carrier>| Pair::new(&lab, cable, congestion, *carrier);
        let pairs = carriers.iter().map(pair).collect::<Result<_, _>>()?;
        Ok(Self { pairs, _lab: lab })
    }
}

impl Pair {
    fn new(lab: &Lab, cable: Cable, congestion: &str, carrier: Option<Carrier>) -> Result<Self, LabError> {
        let name = name(carrier);
        let hosts = [lab.host(&format!("{name}-a")).create()?, lab.host(&format!("{name}-b")).create()?];
        connect(&hosts, cable)?;
        let ends = carrier.map(|carrier| join(&hosts, carrier)).transpose()?.unwrap_or_default();
        let to = IpAddr::from(if carrier.is_some() { INNER[1] } else { OUTER[1] });
        wait_until("the first packet", SOON, || hosts[0].ping(to, ANSWER).ok_or("no answer"))?;
        let server = hosts[1].start("iperf3", "iperf3", &["-s", "-B", &to.to_string(), "--forceflush"], &[])?;
        wait_until("iperf3 to listen", SOON, || server.log().contains("Server listening"))?;
        Ok(Self { name, hosts, ends, to, congestion: congestion.to_owned() })
    }

    /// Processor time that both engines took so far.
    pub(super) fn cpu(&self) -> Result<Duration, LabError> {
        self.ends.iter().map(End::cpu).sum()
    }
}

/// Lays a cable between two hosts.
pub(super) fn connect(hosts: &[Host; 2], cable: Cable) -> Result<(), LabError> {
    let other = hosts[1].namespace();
    command::ip(Some(hosts[0].namespace()), &format!("link add {CABLE} type veth peer name {CABLE} netns {other}\n"))?;
    for (host, address) in hosts.iter().zip(OUTER) {
        let script = format!("address add {address}/24 dev {CABLE}\nlink set {CABLE} up\n");
        command::ip(Some(host.namespace()), &script)?;
        run_tool(host, "ethtool", &[&["-K", CABLE], cable.features()].concat(), SOON)?;
    }
    Ok(())
}

/// A tunnel between two hosts.
fn join(hosts: &[Host; 2], carrier: Carrier) -> Result<Vec<End>, LabError> {
    let mut ends = Vec::new();
    for own in [0, 1] {
        let end = End::start(&hosts[own], carrier, &[&format!("{}/24", INNER[own])], MTU)?;
        let other = 1 - own;
        let peer = PeerWish {
            key: public_key(if other == 0 { 1 } else { 2 }),
            endpoint: (own == 0).then_some((OUTER[other], PORT).into()),
            allowed_ips: vec![IpAddr::from(INNER[other]).into()],
            ..PeerWish::default()
        };
        let key = private_key(if own == 0 { 1 } else { 2 });
        end.set(&Wish { private_key: Some(key), listen_port: Some(PORT), peers: vec![peer] })?;
        ends.push(end);
    }
    Ok(ends)
}

/// The judges of flows and cables are there.
pub(super) fn check_tools() -> Result<(), LabError> {
    for (program, how) in [("iperf3", "apt-get install iperf3"), ("ethtool", "apt-get install ethtool")] {
        let folders = ["/usr/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];
        if !folders.iter().any(|folder| Path::new(folder).join(program).is_file()) {
            return Err(LabError::MissingJudge { program, how });
        }
    }
    Ok(())
}
