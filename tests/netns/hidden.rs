//! A validator that hides behind sentries: who reaches it and how, whom it reaches and as whom, what becomes of a flow when a
//! sentry is drained, and that nobody sees its own address.

use crate::support::{ANSWERED, DROPPED, GUARDED, both, dropped, open, reconfigure, serve_on};
use picket_api::paths::{PathsView, SentryPath};
use picket_lab::{
    Connect, Host, Segment,
    mesh::{Agent, Mesh, MeshSize, SOON},
    wait_until,
};
use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

/// From the cut of a sentry to the first packet through another: a second until it is silent, and room for a loaded machine.
pub(crate) const REROUTED: Duration = Duration::from_secs(4);

/// A share that is given back comes one destination a second, in any order.
pub(crate) const LATER: Duration = Duration::from_secs(30);
/// A share comes back one destination a second, and about half of the list's hundred are one of two sentries'.
const RETURNED: Duration = Duration::from_mins(3);
/// Beyond those that a host calls from unless told otherwise.
const OWN_PORTS: &str = "61000 65535";

pub(crate) fn hidden_mesh(label: &str, sentries: u8, line: &str) -> Mesh {
    let mut mesh = Mesh::started(label, MeshSize { preps: 1, sentries }).unwrap();
    reconfigured_hidden(&mut mesh, line);
    mesh
}

/// Hides the first validator's host of a mesh that runs, with `line` in the policy beside that.
pub(crate) fn reconfigured_hidden(mesh: &mut Mesh, line: &str) {
    reconfigure(mesh, |text| format!("{text}\n[[policy.hidden]]\nprep = \"prep-1\"\n{line}\n"));
}

/// What the hidden validator's host says of its ways.
pub(crate) fn ways(mesh: &Mesh) -> Result<Vec<SentryPath>, String> {
    let view: PathsView = mesh.controller.json(&["paths", "prep-1"]).map_err(|error| error.to_string())?;
    Ok(view.hosts.into_iter().flat_map(|host| host.sentries).collect())
}

/// A validator's server, which tells who called.
pub(crate) struct Called {
    listener: TcpListener,
    address: SocketAddr,
}

impl Called {
    pub(crate) fn at(host: &Host) -> Self {
        let address = host.v4(GUARDED[0]).unwrap();
        let listener = host.inside(|| TcpListener::bind(address)).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener, address }
    }

    /// As whom `host` calls, once it gets through.
    pub(crate) fn by(&self, host: &Host) -> IpAddr {
        self.try_by(host).unwrap()
    }

    /// The same, for a host whose tunnels may be on their way.
    pub(crate) fn try_by(&self, host: &Host) -> Result<IpAddr, String> {
        match host.can_connect(self.address, ANSWERED) {
            Connect::Open => {}
            other => return Err(format!("{} to {}: {other:?}", host.name(), self.address)),
        }
        // Lost after all, where its way moved between the answer to the call and the word that it was heard.
        let taken = wait_until("the call to be taken", SOON, || match self.listener.accept() {
            Ok((_, from)) => Ok(from.ip()),
            Err(error) => Err(error.to_string()),
        });
        taken.map(|taken| taken.value).map_err(|error| error.to_string())
    }

    fn nobody_called(&self) {
        assert_eq!(self.listener.accept().map(|(_, from)| from).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

/// Counts every packet of TCP that arrives from a host's own addresses, as a witness of its own.
fn witness(host: &Host, of: &Host) {
    host.nft(&["add", "table", "inet", "witness"]).unwrap();
    host.nft(&["add", "chain", "inet", "witness", "seen", "{ type filter hook prerouting priority -400; }"]).unwrap();
    for source in [format!("ip saddr {}", of.v4(0).unwrap().ip()), format!("ip6 saddr {}", of.v6(0).unwrap().ip())] {
        let rule = format!("{source} meta l4proto tcp counter");
        host.nft(&["add", "rule", "inet", "witness", "seen", &rule]).unwrap();
    }
}

fn seen(host: &Host) -> u64 {
    counted(&host.nft(&["list", "table", "inet", "witness"]).unwrap())
}

/// Packets of all counters of a listing.
fn counted(listing: &str) -> u64 {
    let words: Vec<&str> = listing.split_whitespace().collect();
    words.windows(2).filter(|pair| pair[0] == "packets").map(|pair| pair[1].parse::<u64>().unwrap()).sum()
}

fn addresses(hosts: &[Agent]) -> BTreeSet<IpAddr> {
    hosts.iter().map(|agent| agent.host.v4(0).unwrap().ip()).collect()
}

#[test]
fn validators_reach_it_through_any_sentry_and_nobody_reaches_it_directly() {
    let mesh = hidden_mesh("hidden-in", 2, "");
    let prep = &mesh.preps[0];
    let _servers = serve_on(prep);
    let validator = &mesh.validators[0].host;
    for sentry in &mesh.sentries {
        let to = sentry.host.v4(GUARDED[0]).unwrap();
        open(validator, to);
        validator.stream(to).unwrap().wait_flowing(SOON).unwrap();
        dropped(&mesh.stranger, to);
        // Nothing else of the validator's host is forwarded.
        assert_ne!(validator.can_connect(sentry.host.v4(GUARDED[1]).unwrap(), ANSWERED), Connect::Open);
    }
    let [direct, direct6] = both(prep, GUARDED[0]);
    for from in [validator, &mesh.stranger] {
        dropped(from, direct);
        dropped(from, direct6);
    }
    open(&mesh.admin, direct);
}

#[test]
fn a_sentry_that_passed_no_ipv6_on_does_so_and_goes_on_taking_routes_from_its_router() {
    let mut mesh = Mesh::started("hidden-v6", MeshSize { preps: 1, sentries: 1 }).unwrap();
    let (validator, sentry) = (mesh.validators[0].host.clone(), mesh.sentries[0].host.clone());
    sentry.sysctl("net/ipv6/conf/eth0/accept_ra", "1").unwrap();
    sentry.sysctl("net/ipv6/conf/all/forwarding", "0").unwrap();
    let from = validator.v6(0).unwrap().ip();
    let lines = "\n[[policy.hidden]]\nprep = \"prep-1\"\n\n[[policy.allow]]\npurpose = \"p2p\"\n";
    reconfigure(&mut mesh, |text| format!("{text}{lines}network = \"{from}/128\"\ncomment = \"its IPv6\"\n"));
    let _servers = serve_on(&mesh.preps[0]);
    open(&validator, sentry.v6(GUARDED[0]).unwrap());
    dropped(&mesh.stranger, sentry.v6(GUARDED[0]).unwrap());
    let value = |key: &str| {
        let path = format!("/proc/sys/net/ipv6/conf/{key}");
        sentry.inside(|| std::fs::read_to_string(path)).unwrap().unwrap().trim().to_owned()
    };
    assert_eq!([value("all/forwarding"), value("eth0/accept_ra")], ["1", "2"]);
}

#[test]
fn its_calls_leave_through_sentries_and_its_own_address_is_seen_by_nobody() {
    let mesh = hidden_mesh("hidden-out", 2, "");
    let prep = &mesh.preps[0];
    let called: Vec<Called> = mesh.validators.iter().map(|validator| Called::at(&validator.host)).collect();
    mesh.validators.iter().for_each(|validator| witness(&validator.host, &prep.host));
    let sentries = addresses(&mesh.sentries);
    for (validator, called) in mesh.validators.iter().zip(&called) {
        let from = called.by(&prep.host);
        assert!(sentries.contains(&from), "{} was called by {from}", validator.host.name());
    }
    // A node also calls addresses that are on no list: they see no more.
    let unlisted = Called::at(&mesh.stranger);
    witness(&mesh.stranger, &prep.host);
    assert!(sentries.contains(&unlisted.by(&prep.host)));
    // Another port is none of Picket's business.
    let other = mesh.validators[0].host.v4(2222).unwrap();
    let _server = mesh.validators[0].host.listen_echo(other).unwrap();
    assert_eq!((seen(&mesh.validators[1].host), seen(&mesh.validators[2].host), seen(&mesh.stranger)), (0, 0, 0));
    assert_eq!(seen(&mesh.validators[0].host), 0);
    open(&prep.host, other);
    assert!(seen(&mesh.validators[0].host) > 0, "the witness sees");
}

#[test]
fn without_sentries_or_agent_a_strict_host_calls_nobody() {
    let mut mesh = hidden_mesh("hidden-strict", 1, "");
    let validator = mesh.validators[0].host.clone();
    let called = Called::at(&validator);
    witness(&validator, &mesh.preps[0].host);
    assert_eq!(called.by(&mesh.preps[0].host), mesh.sentries[0].host.v4(0).unwrap().ip());
    mesh.sentries[0].host.unplug().unwrap();
    assert_ne!(mesh.preps[0].host.can_connect(called.address, REROUTED), Connect::Open);
    // The tunnels of an agent that is killed go with it, and their rules lead nowhere: the table stays.
    mesh.preps[0].kill();
    assert_ne!(mesh.preps[0].host.can_connect(called.address, DROPPED), Connect::Open);
    called.nobody_called();
    assert_eq!(seen(&validator), 0);
}

#[test]
fn a_host_that_is_not_strict_calls_directly_while_no_sentry_answers() {
    let mesh = hidden_mesh("hidden-lax", 1, "strict = false");
    let prep = &mesh.preps[0];
    let (own, sentry) = (prep.host.v4(0).unwrap().ip(), mesh.sentries[0].host.v4(0).unwrap().ip());
    let called = Called::at(&mesh.validators[0].host);
    assert_eq!(called.by(&prep.host), sentry);
    mesh.sentries[0].host.unplug().unwrap();
    wait_until("calls to leave directly", SOON, || match called.try_by(&prep.host)? {
        from if from == own => Ok(()),
        from => Err(format!("by {from}")),
    })
    .unwrap();
    mesh.sentries[0].host.plug().unwrap();
    wait_until("calls to leave through the sentry again", SOON, || match called.try_by(&prep.host)? {
        from if from == sentry => Ok(()),
        from => Err(format!("by {from}")),
    })
    .unwrap();
}

/// What `picket drain` says about a sentry.
fn drain(mesh: &Mesh, sentry: &Agent, args: &[&str]) {
    mesh.controller.picket(&[&["drain", sentry.name()], args].concat()).unwrap().success().unwrap();
}

/// Until `called` is called through this sentry.
pub(crate) fn called_through(called: &Called, prep: &Host, sentry: &Agent) {
    called_through_within(LATER, called, prep, sentry);
}

fn called_through_within(patience: Duration, called: &Called, prep: &Host, sentry: &Agent) {
    let of_sentry = sentry.host.v4(0).unwrap().ip();
    wait_until("calls to leave through the sentry", patience, || match called.try_by(prep)? {
        from if from == of_sentry => Ok(()),
        from => Err(format!("by {from}, not {of_sentry}")),
    })
    .unwrap();
}

#[test]
fn a_drained_sentry_keeps_what_runs_through_it_until_its_end_and_gets_nothing_new() {
    let mut mesh = hidden_mesh("hidden-drain", 2, "");
    let prep = mesh.preps[0].host.clone();
    // The tunnels' handshakes and first probes are over, and every host is heard.
    let called: Vec<Called> = mesh.validators.iter().map(|validator| Called::at(&validator.host)).collect();
    let first = called[0].by(&prep);
    let (drained, other) = if mesh.sentries[0].host.v4(0).unwrap().ip() == first { (0, 1) } else { (1, 0) };
    let outward = prep.inside(|| TcpStream::connect(called[0].address)).unwrap().unwrap();
    let (mut end, from) =
        wait_until("the call", SOON, || called[0].listener.accept().map_err(|error| error.to_string())).unwrap().value;
    assert_eq!(from.ip(), first);
    let own = prep.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, GUARDED[0]))).unwrap().unwrap();
    let to = mesh.sentries[drained].host.v4(GUARDED[0]).unwrap();
    let caller = mesh.validators[1].host.inside(|| TcpStream::connect(to)).unwrap().unwrap();
    let (mut inward, _) = own.accept().unwrap();

    drain(&mesh, &mesh.sentries[drained], &["--for", "1h"]);
    for called in &called[1..] {
        called_through(called, &prep, &mesh.sentries[other]);
    }
    // An agent that starts again knows what it left, and what it did not.
    mesh.preps[0].stop().unwrap();
    mesh.preps[0].start().unwrap();
    let (drained, other) = (&mesh.sentries[drained], &mesh.sentries[other]);
    for called in &called[1..] {
        called_through(called, &prep, other);
    }
    exchange(&outward, &mut end);
    exchange(&caller, &mut inward);
    // The connection ends, and its destination goes with it.
    drop((outward, end));
    called_through(&called[0], &prep, other);
    let told: serde_json::Value = mesh.controller.json(&["paths", "prep-1"]).unwrap();
    assert_eq!(told["drains"][0]["name"], drained.name(), "{told}");
    wait_until("the move to be written down", SOON, || {
        let events = mesh.controller.events().unwrap();
        let is_it = |detail: &str| detail.contains(drained.name()) && detail.ends_with("its sentry is drained");
        let found = events.iter().any(|event| event.action == "paths.moved" && is_it(&event.detail));
        if found { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .unwrap();

    drain(&mesh, drained, &["--undo"]);
    called_through_within(RETURNED, &called[0], &prep, drained);
    exchange(&caller, &mut inward);
    // From a port of its own: the other sentry has heard of all those that were called from meanwhile, and takes what comes from
    // one of them for late packets of a call that is over.
    prep.sysctl("net/ipv4/ip_local_port_range", OWN_PORTS).unwrap();
    let outward = prep.inside(|| TcpStream::connect(called[0].address)).unwrap().unwrap();
    // At its end what still runs through it is cut: both ends of each are told, and call anew elsewhere.
    drain(&mesh, drained, &["--for", "0s"]);
    told_dead(&inward);
    told_dead(&outward);
    called_through(&called[0], &prep, other);
    drain(&mesh, drained, &["--for", "0s", "--wait", "30s"]);
    wait_until("the sentry to forward no more", SOON, || match mesh.validators[1].host.can_connect(to, ANSWERED) {
        Connect::Open => Err("it does"),
        _ => Ok(()),
    })
    .unwrap();
    // It is a way out still, for who has no other.
    other.host.unplug().unwrap();
    called_through(&called[0], &prep, drained);
    let metrics = mesh.controller.metrics().unwrap();
    assert!(
        metrics.lines().any(|line| line.starts_with("picket_paths_moved_total{") && line.contains("drained")),
        "{metrics}"
    );
}

#[test]
fn what_belongs_to_no_connection_does_not_leave_a_sentry() {
    let mesh = hidden_mesh("hidden-astray", 1, "");
    let (prep, sentry, validator) = (&mesh.preps[0], &mesh.sentries[0].host, &mesh.validators[0].host);
    // The way is open.
    called_through(&Called::at(validator), &prep.host, &mesh.sentries[0]);
    let own = IpAddr::from(prep.overlay().unwrap().v4);
    validator
        .load_nft(&format!(
            "table inet witness {{ chain seen {{ type filter hook prerouting priority -400; ip saddr {own} counter; }}; }}"
        ))
        .unwrap();
    let refused = || counted(&sentry.nft(&["list", "counter", "inet", "picket", "refused_forward"]).unwrap());
    let before = refused();
    prep.host.forge_by("picket0", own, validator.v4(GUARDED[0]).unwrap(), Segment::Bare).unwrap();
    wait_until("the sentry to refuse it", SOON, || refused() > before).unwrap();
    assert_eq!(seen(validator), 0);
}

#[test]
fn a_sentry_that_has_too_much_to_do_gives_its_share_away() {
    let mesh = hidden_mesh("hidden-load", 2, "");
    // More than twice what any number of processors here can do.
    mesh.sentries[0].host.set_load(60_000.0).unwrap();
    let nodes = mesh.controller.nodes().unwrap();
    let burdened = nodes.iter().find(|view| view.node.name.as_str() == mesh.sentries[0].name()).unwrap();
    let of = burdened.node.id.as_str();
    let prep = mesh.preps[0].process().unwrap();
    wait_until("a destination to leave it", SOON, || {
        let log = prep.log();
        let is_it = |line: &str| line.contains("its sentry is burdened") && line.contains(of);
        if log.lines().any(is_it) { Ok(()) } else { Err(log) }
    })
    .unwrap();
}

/// One word from the first to the second.
fn exchange(mut from: &TcpStream, to: &mut TcpStream) {
    from.write_all(b"block").unwrap();
    to.set_nonblocking(false).unwrap();
    to.set_read_timeout(Some(SOON)).unwrap();
    let mut heard = [0; 5];
    to.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"block");
}

/// A node always has something to send, and its next packet, or TCP's repetition of it, is answered.
pub(crate) fn told_dead(mut stream: &TcpStream) {
    wait_until("the flow to be told", LATER, || match stream.write(b"block") {
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .unwrap();
}
