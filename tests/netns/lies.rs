//! A controller that lies: one that a host's guard knows for its own, with a key that is right and wanted states that are not. Each
//! limit of the guard is broken once; the host refuses, says so, and what was in force stays as it is.

use crate::support::{GUARDED, dropped, open};
use axum::{
    Json, Router,
    extract::Query,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use ipnet::IpNet;
use picket_api::{ConfigAnswer, EnrollRequest, EnrollResponse, node::ConfigQuery};
use picket_http::{Connections, Limits, Server};
use picket_lab::{Host, Lab, Program, mesh::SOON, wait_until};
use picket_model::{
    FirewallPolicy, Generation, GuardedPort, NodeConfig, NodeReport, NodeRole, OverlayAddresses, Protocol, Purpose,
    Reason, Timestamp, WireGuardConfig, WireGuardPeer, WireGuardPublicKey,
};
use picket_pki::{Ca, JoinToken, ServedCertificate, TokenSecret, server_config};
use secrecy::ExposeSecret as _;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tokio::{runtime::Runtime, sync::watch, time::timeout};

/// Who the guard always lets in, and who the wanted state lets in as operator besides.
const GUARD_ADMIN: &str = "198.51.100.250";
const VALIDATOR: &str = "198.51.100.11";
const GUARD: &str = "admin = [\"198.51.100.250/32\"]\nmax_peers = 3\nmax_additions_per_hour = 5\nmax_allow_entries = 12\n\
                     keep_sentries = 1\nconfirm_seconds = 0\n";

type Lie = (&'static str, fn(&mut NodeConfig), &'static str);

/// What is done to the good state, and what the host must say to it.
const LIES: [Lie; 14] = [
    ("a port opened", |wanted| unguard(wanted, tcp(7100)), "it leaves tcp/7100 unguarded"),
    ("ssh closed", |wanted| guard(wanted, tcp(22)), "it guards tcp/22, which `never_guard`"),
    ("another port closed", |wanted| guard(wanted, udp(53)), "neither `guarded` nor `guardable`"),
    (
        "a port for everybody",
        |wanted| wanted.firewall.public.extend(NonZeroU16::new(9000)),
        "it opens port 9000 to everybody, which `may_open`",
    ),
    ("the tunnels' port closed", |wanted| wanted.wireguard.listen_port = 9000, "on which the tunnels arrive"),
    ("the whole internet", |wanted| allow(wanted, Purpose::P2p, "0.0.0.0/0"), "wider than `widest_network`"),
    (
        "the internet in pieces",
        |wanted| {
            ["11.0.0.0/8", "12.0.0.0/8", "13.0.0.0/8", "14.0.0.0/8", "15.0.0.0/8"]
                .iter()
                .for_each(|net| allow(wanted, Purpose::Rpc, net));
        },
        "together wider than `widest_total`",
    ),
    (
        "too many addresses",
        |wanted| (0..12).for_each(|n| allow(wanted, Purpose::Rpc, &format!("198.51.100.{n}/32"))),
        "`max_allow_entries` in guard.toml is 12",
    ),
    ("a stranger as member", |wanted| allow(wanted, Purpose::Overlay, "192.0.2.166/32"), "outside the overlay"),
    (
        "the internet through a tunnel",
        |wanted| reroute(wanted, "0.0.0.0/0"),
        "has allowed IPs 0.0.0.0/0: not one address inside the overlay",
    ),
    (
        "a network through a tunnel",
        |wanted| reroute(wanted, "10.77.0.0/24"),
        "has allowed IPs 10.77.0.0/24: not one address inside the overlay",
    ),
    ("too many tunnels", |wanted| (5..=6).for_each(|n| peer(wanted, n)), "it has 4 peers, `max_peers`"),
    ("no sentry left", |wanted| wanted.wireguard.peers.clear(), "it keeps 0 of the 2 sentries"),
    ("another part", |wanted| wanted.role = NodeRole::Sentry, "this host enrolled as a prep"),
];

fn tcp(port: u16) -> GuardedPort {
    GuardedPort { protocol: Protocol::Tcp, port: NonZeroU16::new(port).unwrap() }
}

fn udp(port: u16) -> GuardedPort {
    GuardedPort { protocol: Protocol::Udp, ..tcp(port) }
}

fn guard(wanted: &mut NodeConfig, port: GuardedPort) {
    wanted.firewall.guarded.insert(port, Purpose::Rpc);
}

fn unguard(wanted: &mut NodeConfig, port: GuardedPort) {
    wanted.firewall.guarded.remove(&port);
}

fn allow(wanted: &mut NodeConfig, purpose: Purpose, network: &str) {
    let reason = Reason::Policy { line: "test".to_owned() };
    let network = network.parse().unwrap_or_else(|_| network.parse::<IpAddr>().unwrap().into());
    wanted.firewall.allow.entry(purpose).or_default().insert(network, reason);
}

fn reroute(wanted: &mut NodeConfig, network: &str) {
    let peer = wanted.wireguard.peers.values_mut().next().unwrap();
    peer.allowed_ips = BTreeSet::from([network.parse().unwrap()]);
}

fn peer(wanted: &mut NodeConfig, number: u8) {
    let addresses: [IpNet; 2] = [
        IpNet::from(IpAddr::from(Ipv4Addr::new(10, 77, 0, number))),
        IpNet::from(IpAddr::from(Ipv6Addr::new(0xfd00, 1, 2, 0, 0, 0, 0, number.into()))),
    ];
    let peer = WireGuardPeer {
        node: format!("n-{number}").parse().unwrap(),
        name: format!("sentry-{number}").parse().unwrap(),
        endpoint: None,
        allowed_ips: BTreeSet::from(addresses),
        keepalive_seconds: None,
        pairing: None,
    };
    wanted.wireguard.peers.insert(WireGuardPublicKey::new([number; 32]).unwrap(), peer);
}

fn own() -> OverlayAddresses {
    OverlayAddresses { v4: Ipv4Addr::new(10, 77, 0, 2), v6: Ipv6Addr::new(0xfd00, 1, 2, 0, 0, 0, 0, 2) }
}

/// What an honest controller would want, in this revision.
fn honest(revision: u64) -> NodeConfig {
    let ports = GUARDED.into_iter().flat_map(|port| [tcp(port), udp(port)]);
    let mut wanted = NodeConfig {
        mesh: "m-1".parse().unwrap(),
        node: "n-1".parse().unwrap(),
        role: NodeRole::Prep,
        generation: Generation(revision),
        revision: Generation(revision),
        wireguard: WireGuardConfig {
            listen_port: 0,
            addresses: BTreeSet::from(own().networks()),
            mtu: 1420,
            peers: std::collections::BTreeMap::new(),
        },
        firewall: FirewallPolicy {
            guarded: ports.map(|port| (port, Purpose::P2p)).collect(),
            ..FirewallPolicy::default()
        },
    };
    allow(&mut wanted, Purpose::P2p, VALIDATOR);
    [3, 4].into_iter().for_each(|number| peer(&mut wanted, number));
    wanted
}

struct Liar {
    url: String,
    token: String,
    wanted: watch::Sender<ConfigAnswer>,
    reports: Arc<Mutex<Option<NodeReport>>>,
    _runtime: Runtime,
}

impl Liar {
    fn start(host: &Host) -> Self {
        let now: Timestamp = SystemTime::now().into();
        let ca = Arc::new(Ca::generate(&"m-1".parse().unwrap(), now).unwrap());
        let wanted = watch::Sender::new(signed(honest(1)));
        let reports: Arc<Mutex<Option<NodeReport>>> = Arc::default();
        let (admitting, waiting, hearing) = (ca.clone(), wanted.clone(), reports.clone());
        let router = Router::new()
            .route("/v1/enroll", post(async move |Json(request): Json<EnrollRequest>| admit(&admitting, &request, now)))
            .route("/v1/node/config", get(async move |Query(query): Query<ConfigQuery>| news(&waiting, query).await))
            .route(
                "/v1/node/report",
                put(async move |Json(report): Json<NodeReport>| {
                    hearing.lock().unwrap().replace(report);
                    StatusCode::NO_CONTENT
                }),
            );
        let served = ServedCertificate::new(ca.server_certificate(now).unwrap()).unwrap();
        let server = Server {
            router,
            tls: Some(Arc::new(server_config(served, Some(&ca)).unwrap())),
            limits: Limits::default(),
            connections: Connections::new(),
        };
        let address = host.v4(7443).unwrap();
        let listener = host.inside(|| std::net::TcpListener::bind(address)).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            server.serve(listener, std::future::pending()).await;
        });
        let secret = TokenSecret::from_bytes([7; 32]);
        let token = JoinToken { ca: ca.fingerprint(), id: "t-1".parse().unwrap(), secret };
        let token = token.to_secret_string().expose_secret().to_owned();
        Self { url: format!("https://{address}"), token, wanted, reports, _runtime: runtime }
    }

    fn wants(&self, wanted: NodeConfig) {
        self.wanted.send_replace(signed(wanted));
    }

    /// Waits for a report that is so; the report.
    fn hears(&self, what: &str, is_so: impl Fn(&NodeReport) -> bool) -> NodeReport {
        let heard = wait_until(what, SOON, || match self.reports.lock().unwrap().clone() {
            Some(report) if is_so(&report) => Ok(report),
            other => Err(format!("{other:?}")),
        });
        heard.unwrap().value
    }
}

fn signed(full: NodeConfig) -> ConfigAnswer {
    ConfigAnswer { revision: full.revision, digest: full.digest(), full }
}

fn admit(ca: &Ca, request: &EnrollRequest, now: Timestamp) -> Json<EnrollResponse> {
    let node = "n-1".parse().unwrap();
    let certificate = ca.sign_node(&request.csr_pem, &node, now, Duration::from_hours(1)).unwrap();
    Json(EnrollResponse {
        mesh: ca.mesh().clone(),
        node,
        overlay: own(),
        certificate_pem: certificate.pem,
        not_after: certificate.not_after,
        ca_pem: ca.certificate_pem().to_owned(),
    })
}

async fn news(wanted: &watch::Sender<ConfigAnswer>, query: ConfigQuery) -> Response {
    let mut wanted = wanted.subscribe();
    match timeout(SOON, wanted.wait_for(|answer| answer.revision > query.after)).await {
        Ok(Ok(answer)) => Json(answer.clone()).into_response(),
        _ => StatusCode::NO_CONTENT.into_response(),
    }
}

/// The table with handles, which show a rule that was replaced by its like; meters and counters aside.
fn table(host: &Host) -> String {
    let listing = host.nft(&["-s", "-a", "list", "table", "inet", "picket"]).unwrap();
    picket_lab::mesh::without_meters(&listing)
}

#[test]
fn every_limit_of_the_guard_holds_against_a_controller_that_lies() {
    let lab = Lab::new("lies").unwrap();
    let host = |name: &str, address: &str| lab.host(name).address(address).create().unwrap();
    let (controller, prep) = (host("controller", "203.0.113.5/24"), host("prep-1", "203.0.113.10/24"));
    let [validator, operator] = [host("validator", "198.51.100.11/24"), host("operator", &format!("{GUARD_ADMIN}/24"))];
    let (stranger, admin) = (host("stranger", "192.0.2.166/24"), host("admin", "192.0.2.200/24"));
    let liar = Liar::start(&controller);
    let (program, state) = (Program::PrepAgent.path().unwrap(), prep.path("state"));
    let guard = prep.write("guard.toml", GUARD).unwrap();
    let enroll = ["enroll", "--controller", &liar.url, "--name", "prep-1", "--state-dir", &state];
    prep.run_with(&program, &enroll, &[("PICKET_JOIN_TOKEN", &liar.token)], SOON).unwrap().success().unwrap();
    let args = ["run", "--state-dir", &state];
    let agent = prep.start("agent", &program, &args, &[("PICKET_GUARD", &guard)]).unwrap();
    let mut first = honest(2);
    allow(&mut first, Purpose::Admin, "192.0.2.200");
    liar.wants(first.clone());
    liar.hears("the good state to be in force", |report| report.applied.0 == 2 && report.firewall.is_in_force());
    let to = prep.v4(GUARDED[0]).unwrap();
    let _echo = prep.listen_echo(to).unwrap();
    [&validator, &operator, &admin].into_iter().for_each(|from| open(from, to));

    // What is said of one lie must not do for the next.
    for (name, _, expect) in LIES {
        assert_eq!(LIES.iter().filter(|(_, _, other)| other.contains(expect)).count(), 1, "{name}");
    }
    let before = table(&prep);
    for ((name, lie, expect), revision) in LIES.into_iter().zip(3..) {
        let mut wanted =
            NodeConfig { revision: Generation(revision), generation: Generation(revision), ..first.clone() };
        lie(&mut wanted);
        liar.wants(wanted);
        let is_told = |report: &NodeReport| report.refused.as_ref().is_some_and(|why| why.contains(expect));
        let report = liar.hears(&format!("the refusal of {name}"), is_told);
        assert_eq!((report.applied.0, report.firewall.is_in_force()), (2, true), "{name}");
        assert_eq!(table(&prep), before, "{name}");
    }
    dropped(&stranger, to);
    open(&validator, to);

    // Its own admin networks the controller may take away; those of the guard stay.
    liar.wants(honest(100));
    let report = liar.hears("the honest state to be in force", |report| report.applied.0 == 100);
    assert_eq!(report.refused, None);
    [&validator, &operator].into_iter().for_each(|from| open(from, to));
    dropped(&admin, to);

    // Last, as the host asks for the rest of it after a while alone.
    let before = table(&prep);
    let mut flood = honest(101);
    (1..=6).for_each(|n| allow(&mut flood, Purpose::Rpc, &format!("192.0.2.{n}")));
    liar.wants(flood);
    let is_told =
        |report: &NodeReport| report.refused.as_ref().is_some_and(|why| why.contains("`max_additions_per_hour`"));
    let report = liar.hears("the refusal of too many at a time", is_told);
    assert_eq!((report.applied.0, table(&prep)), (100, before));
    assert!(agent.is_running());
}
