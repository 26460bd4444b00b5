//! First packets at a guarded port, as fast as the machine sends them: from strangers, and in the names of allowed sources.
//! What one costs, from the call that sends it to the verdict, how many there are in a second, and what an allowed peer has
//! meanwhile. The same under other firewalls, in one run.

use super::{Figures, Report, figures::rounded, millis};
use crate::{Connect, Host, Lab, LabError, Segment, command};
use anyhow::{Context as _, ensure};
use picket_firewall::{Features, HostFacts, Ruleset, lower};
use picket_model::{AllowSet, FirewallPolicy, GuardedPort, Protocol, Purpose, Reason};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    num::NonZeroU16,
    thread,
    time::{Duration, Instant},
};

/// Where the server is, and on the same bridge the peer and whoever floods.
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const WORLD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 3);
const PORT: u16 = 7100;
/// Allowed sources beside the peer: validators of a large network. 198.18.0.0/15 is for benches (RFC 2544).
const ALLOWED: u32 = 300;
const FIRST_ALLOWED: u32 = 0xc612_0001;
const FIRST_STRANGER: u32 = 0xc613_0001;
const STRANGERS: u32 = 50_000;
/// More than this machine sends.
const AS_FAST_AS_IT_GOES: u32 = 10_000_000;
/// How long each figure is measured.
const FOR: Duration = Duration::from_millis(800);
/// All of it takes less than two minutes.
const MOST_RUNS: u8 = 3;
/// An answer that takes longer is lost.
const LOST: Duration = Duration::from_millis(500);
const CONNECTS: usize = 8;
/// Bytes that go there and back at once.
const CHUNK: usize = 32 << 10;

/// A way to let 301 sources in and nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// None: what the flood does without a firewall.
    Open,
    Picket,
    /// Ours, and a share of the way out kept for answers from the port (HTB).
    PicketAndShare,
    /// Tracking decides what runs, then a set.
    EstablishedFirst,
    IptablesLinear,
    Ipset,
}

const LAYOUTS: [Layout; 6] = [
    Layout::Picket,
    Layout::PicketAndShare,
    Layout::EstablishedFirst,
    Layout::Ipset,
    Layout::IptablesLinear,
    Layout::Open,
];

pub(super) fn run(report: &Report, runs: u8) -> anyhow::Result<()> {
    let mut costs = BTreeMap::new();
    for layout in LAYOUTS {
        report.say(&format!("{layout:?}"));
        measure_layout(report, runs, layout, &mut costs)?;
    }
    for ((flooders, layout), cost) in &costs {
        let ours = costs.get(&(*flooders, format!("{:?}", Layout::Picket))).copied().unwrap_or_default();
        report.row(&json!({
            "case": "what a packet costs, theirs/ours", "flood": format!("{flooders:?}").to_lowercase(), "layout": layout,
            "ratio": rounded(cost / ours.max(0.01)),
        }))?;
    }
    Ok(())
}

/// What a packet costs in microseconds, by whose name it has and under which firewall.
type Costs = BTreeMap<(Flooders, String), f64>;

/// One firewall, on hosts of its own: what was tracked under another is not there.
fn measure_layout(report: &Report, runs: u8, layout: Layout, costs: &mut Costs) -> anyhow::Result<()> {
    let lab = Lab::new("bench")?;
    let host = |name: &str, at: Ipv4Addr| lab.host(name).address(&format!("{at}/24")).create();
    let (server, peer, world) = (host("wall", SERVER)?, host("peer", PEER)?, host("world", WORLD)?);
    // Answers to forged sources go to whoever forges.
    for (host, way) in [(&server, WORLD), (&world, SERVER)] {
        command::ip(Some(host.namespace()), &format!("route add 198.18.0.0/15 via {way}\n"))?;
    }
    if let Err(error) = server.inside(|| layout.load())? {
        return report.row(&json!({ "layout": format!("{layout:?}"), "not_measured": format!("{error:#}") }));
    }
    for flood in [None, Some(Flooders::Strangers), Some(Flooders::Forged)] {
        let mut measured = Measured::default();
        for _ in 0..runs.min(MOST_RUNS) {
            measure(&server, &peer, &world, flood, &mut measured)?;
        }
        if let Some(flooders) = flood {
            costs.insert((flooders, format!("{layout:?}")), measured.cost.median());
        }
        let name = flood.map_or("none".to_owned(), |flooders| format!("{flooders:?}").to_lowercase());
        report.row(&measured.row(layout, &name))?;
    }
    server.inside(|| layout.unload())?
}

/// In whose name packets are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Flooders {
    Strangers,
    Forged,
}

#[derive(Default)]
struct Measured {
    sent: Figures,
    /// Of one packet, in microseconds.
    cost: Figures,
    round_trip: Figures,
    worst: Figures,
    megabytes: Figures,
    connect: Figures,
    lost_connects: usize,
    tracked: Figures,
}

impl Measured {
    fn row(&self, layout: Layout, flood: &str) -> Value {
        json!({
            "layout": format!("{layout:?}"), "flood": flood, "packets_per_second": self.sent.median().round(),
            "packet_costs_microseconds": self.cost.measured().map(rounded),
            "round_trip_ms": rounded(self.round_trip.median()), "round_trip_p99_ms": rounded(self.worst.median()),
            "echoed_megabytes_per_second": rounded(self.megabytes.median()),
            "connect_ms": self.connect.measured().map(rounded), "connects_lost": self.lost_connects,
            "tracked_connections": self.tracked.median(),
        })
    }
}

/// Runs one flood, or none, and looks at the peer meanwhile.
fn measure(
    server: &Host,
    peer: &Host,
    world: &Host,
    flood: Option<Flooders>,
    into: &mut Measured,
) -> anyhow::Result<()> {
    let to = SocketAddr::from((SERVER, PORT));
    let echo = server.listen_echo(to)?;
    let (talk, bulk) = peer.inside(|| (TcpStream::connect(to), TcpStream::connect(to)))?;
    let (talk, bulk) = (talk.context("connect before the flood")?, bulk.context("connect before the flood")?);
    for stream in [&talk, &bulk] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOST))?;
        stream.set_write_timeout(Some(LOST))?;
    }
    let sources = |first: u32, count: u32| (first..first + count).map(|n| IpAddr::from(Ipv4Addr::from(n))).collect();
    let flood = flood.map(|flooders| match flooders {
        Flooders::Strangers => sources(FIRST_STRANGER, STRANGERS),
        Flooders::Forged => sources(FIRST_ALLOWED, ALLOWED),
    });
    let flood = flood.map(|sources| world.flood(sources, to, Segment::Syn, AS_FAST_AS_IT_GOES)).transpose()?;
    let started = Instant::now();
    let ((trips, worst), megabytes) = thread::scope(|scope| {
        let trips = scope.spawn(|| round_trips(talk));
        let megabytes = scope.spawn(|| echoed(bulk));
        (trips.join().unwrap_or_default(), megabytes.join().unwrap_or_default())
    });
    for _ in 0..CONNECTS {
        let begun = Instant::now();
        match peer.can_connect(to, LOST) {
            Connect::Open => into.connect.add(millis(begun.elapsed())),
            _ => into.lost_connects += 1,
        }
    }
    if let Some(flood) = &flood {
        let sent = flood.sent();
        into.sent.add(rate(sent, started.elapsed()));
        into.cost.add(1e6 / rate(sent.max(1), flood.busy()));
    }
    into.tracked.add(server.inside(tracked)?);
    into.round_trip.add(trips);
    into.worst.add(worst);
    into.megabytes.add(megabytes);
    drop((flood, echo));
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a count of packets is far below 2^52")]
fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Median and 99th percentile of small round trips, in milliseconds; one that is lost counts as what was waited for it.
fn round_trips(mut stream: TcpStream) -> (f64, f64) {
    let (started, mut figures, mut word) = (Instant::now(), Figures::default(), [7; 64]);
    while started.elapsed() < FOR {
        let begun = Instant::now();
        let answered = stream.write_all(&word).and_then(|()| stream.read_exact(&mut word));
        figures.add(millis(begun.elapsed()));
        if answered.is_err() {
            break;
        }
        thread::yield_now();
    }
    (figures.median(), figures.p99())
}

/// Megabytes a second, there and back.
fn echoed(mut stream: TcpStream) -> f64 {
    let (started, mut bytes, mut chunk) = (Instant::now(), 0_u64, vec![7; CHUNK]);
    while started.elapsed() < FOR {
        if stream.write_all(&chunk).and_then(|()| stream.read_exact(&mut chunk)).is_err() {
            break;
        }
        bytes += CHUNK as u64;
    }
    rate(bytes, started.elapsed()) / 1e6
}

/// Connections that the network namespace tracks; each takes some 320 bytes.
fn tracked() -> f64 {
    let count = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap_or_default();
    count.trim().parse().unwrap_or_default()
}

impl Layout {
    fn load(self) -> anyhow::Result<()> {
        let allowed = || (FIRST_ALLOWED..FIRST_ALLOWED + ALLOWED).map(Ipv4Addr::from).chain([PEER]);
        match self {
            Self::Open => Ok(()),
            Self::Picket => program("nft", &["-f", "-"], &ours(allowed())?.to_string()),
            Self::PicketAndShare => {
                program("nft", &["-f", "-"], &ours(allowed())?.to_string())?;
                program("tc", &["-batch", "-"], SHARE)
            }
            Self::EstablishedFirst => {
                let list: Vec<String> = allowed().map(|address| address.to_string()).collect();
                let text = format!(
                    "table inet beside {{
                        set allowed {{ typeof ip saddr; elements = {{ {} }}; }}
                        chain in {{
                            type filter hook input priority filter; policy accept;
                            ct state established,related accept
                            tcp dport {PORT} ip saddr @allowed accept
                            tcp dport {PORT} drop
                        }}
                    }}",
                    list.join(", ")
                );
                program("nft", &["-f", "-"], &text)
            }
            Self::IptablesLinear => {
                let mut text = "*filter\n".to_owned();
                for address in allowed() {
                    writeln!(text, "-A INPUT -p tcp --dport {PORT} -s {address} -j ACCEPT")?;
                }
                write!(text, "-A INPUT -p tcp --dport {PORT} -j DROP\nCOMMIT\n")?;
                program("iptables-nft-restore", &[], &text)
            }
            Self::Ipset => {
                let mut text = "create allowed hash:ip\n".to_owned();
                allowed().try_for_each(|address| writeln!(text, "add allowed {address}"))?;
                program("ipset", &["restore"], &text)?;
                let rule = "-m set --match-set allowed src -j ACCEPT";
                let text = format!(
                    "*filter\n-A INPUT -p tcp --dport {PORT} {rule}\n-A INPUT -p tcp --dport {PORT} -j DROP\nCOMMIT\n"
                );
                program("iptables-nft-restore", &[], &text)
            }
        }
    }

    fn unload(self) -> anyhow::Result<()> {
        program("nft", &["flush", "ruleset"], "")?;
        match self {
            Self::Ipset => program("ipset", &["destroy"], ""),
            Self::PicketAndShare => program("tc", &["qdisc", "del", "dev", DEVICE, "root"], ""),
            _ => Ok(()),
        }
    }
}

/// How hosts of the lab call their interface.
const DEVICE: &str = "eth0";
/// Four fifths of the way out for what the guarded port answers, and what others leave of the rest.
const SHARE: &str = "qdisc add dev eth0 root handle 1: htb default 20
class add dev eth0 parent 1: classid 1:1 htb rate 10gbit
class add dev eth0 parent 1:1 classid 1:10 htb rate 8gbit ceil 10gbit prio 0
class add dev eth0 parent 1:1 classid 1:20 htb rate 2gbit ceil 10gbit prio 1
filter add dev eth0 parent 1: protocol ip u32 match ip sport 7100 0xffff flowid 1:10
";

/// The table of a host that lets these in.
fn ours(allowed: impl Iterator<Item = Ipv4Addr>) -> anyhow::Result<Ruleset> {
    let mut set = AllowSet::default();
    for address in allowed {
        set.insert(IpAddr::from(address).into(), Reason::Policy { line: "bench".to_owned() });
    }
    ensure!(set.0.len() > 1, "nobody would be let in");
    let port = GuardedPort { protocol: Protocol::Tcp, port: NonZeroU16::new(PORT).context("a port")? };
    let policy = FirewallPolicy {
        guarded: BTreeMap::from([(port, Purpose::P2p)]),
        allow: BTreeMap::from([(Purpose::P2p, set)]),
        ..FirewallPolicy::default()
    };
    Ok(lower(&policy, &HostFacts { overlay_interface: "picket0".parse()?, features: Features::default() }))
}

fn program(name: &str, arguments: &[&str], input: &str) -> anyhow::Result<()> {
    let output: Result<_, LabError> = command::run(name, arguments, input);
    output?.success()?;
    Ok(())
}
