//! A name that follows the sentries of a hidden validator: a real name server, real sentries that are cut and revoked, and what
//! others read at that server.

use crate::support::{reconfigure, serve_on};
use picket_api::dns::{AdvertiseView, DnsView};
use picket_lab::{
    Host, Process,
    mesh::{Mesh, MeshSize, SOON},
    undisturbed, wait_until,
};
use picket_model::Verdict;
use std::{
    collections::BTreeSet,
    fs::{Permissions, set_permissions},
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

const NAME: &str = "p2p.example.org";
const KEY: &str = "c2l4dGVlbi1vci1tb3JlLWJ5dGVzLW9mLXNlY3JldA==";
/// From the cut of a sentry to its address out of the name: a second until its validator finds it silent, and room for a loaded
/// machine.
const FOLLOWED: Duration = Duration::from_secs(4);
/// From a revoke: nobody has to find out.
const REVOKED: Duration = Duration::from_secs(2);

/// Knot DNS on a host's loopback.
fn knot(host: &Host) -> Process {
    let folder = host.path("");
    let zone = "@ 3600 SOA ns.example.org. admin.example.org. 1 3600 600 86400 60\n@ 3600 NS ns.example.org.\nns 3600 A 127.0.0.1\n";
    host.write("example.org.zone", zone).unwrap();
    let conf = format!(
        "server:\n  rundir: {folder}\n  listen: 127.0.0.1@53\ndatabase:\n  storage: {folder}\n\
         log:\n  - target: stderr\n    any: warning\n\
         key:\n  - id: picket\n    algorithm: hmac-sha256\n    secret: {KEY}\n\
         acl:\n  - id: updates\n    key: picket\n    action: update\n\
         zone:\n  - domain: example.org\n    storage: {folder}\n    file: example.org.zone\n    acl: updates\n"
    );
    let conf = host.write("knot.conf", &conf).unwrap();
    host.start("knotd", "/usr/sbin/knotd", &["-c", &conf], &[]).unwrap()
}

/// The addresses of the name, by the server itself and by nothing of ours.
fn asked(host: &Host) -> Option<BTreeSet<IpAddr>> {
    let ask = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        socket.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
        // A question for addresses of IPv4 (RFC 1035, section 4.1).
        let mut question = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in NAME.split('.') {
            question.push(u8::try_from(label.len()).ok()?);
            question.extend_from_slice(label.as_bytes());
        }
        question.extend_from_slice(&[0, 0, 1, 0, 1]);
        socket.send_to(&question, (Ipv4Addr::LOCALHOST, 53)).ok()?;
        let mut answer = [0; 1024];
        let length = undisturbed(|| socket.recv(&mut answer)).ok()?;
        // Each record: the question's name, type and class, four bytes of time to live, four of address.
        let records = answer[..length]
            .windows(16)
            .filter(|bytes| bytes[..6] == [0xc0, 12, 0, 1, 0, 1] && bytes[10..12] == [0, 4]);
        Some(records.map(|bytes| IpAddr::from([bytes[12], bytes[13], bytes[14], bytes[15]])).collect())
    };
    host.inside(ask).unwrap()
}

fn becomes(host: &Host, expect: &BTreeSet<IpAddr>, within: Duration) -> Duration {
    let started = Instant::now();
    wait_until("the name to follow", SOON, || match asked(host) {
        Some(found) if found == *expect => Ok(()),
        found => Err(format!("{found:?}, and not {expect:?}")),
    })
    .unwrap();
    let took = started.elapsed();
    assert!(took < within, "it took {took:?}");
    took
}

#[test]
fn a_name_follows_the_sentries_that_are_there_within_seconds() {
    let mut mesh = Mesh::started("dns", MeshSize { preps: 1, sentries: 3 }).unwrap();
    let keeper = mesh.controller.host.clone();
    let _knot = knot(&keeper);
    let key = keeper.write("tsig", KEY).unwrap();
    set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let lines = format!(
        "\n[[policy.hidden]]\nprep = \"prep-1\"\nadvertise = \"{NAME}\"\n\
         [[dns]]\nname = \"{NAME}\"\nttl = 30\nreturn_seconds = 2\n\
         [dns.provider.rfc2136]\nserver = \"127.0.0.1\"\nzone = \"example.org\"\nkey = \"picket\"\nsecret_file = \"{key}\"\n"
    );
    reconfigure(&mut mesh, |text| format!("{text}{lines}"));
    let address = |index: usize| mesh.sentries[index].host.v4(0).unwrap().ip();
    let all = BTreeSet::from([address(0), address(1), address(2)]);
    becomes(&keeper, &all, SOON);

    // Cut off from everybody: its validator finds it silent.
    mesh.sentries[0].host.unplug().unwrap();
    let two = BTreeSet::from([address(1), address(2)]);
    let cut = becomes(&keeper, &two, FOLLOWED);
    println!("{} ms from the cut of a sentry to the name without it", cut.as_millis());
    let view: DnsView = mesh.controller.json(&["dns"]).unwrap();
    let out: Vec<_> = view.names[0].sentries.iter().filter_map(|sentry| sentry.out.clone()).collect();
    assert_eq!(out, ["answers prep-1 no more"], "{view:?}");
    mesh.sentries[0].host.plug().unwrap();
    becomes(&keeper, &all, SOON);

    let revoked = mesh.sentries[1].name().to_owned();
    let started = Instant::now();
    assert!(mesh.controller.picket(&["revoke", &revoked]).unwrap().status.success());
    let left = BTreeSet::from([address(0), address(2)]);
    becomes(&keeper, &left, REVOKED);
    println!("{} ms from the order to revoke a sentry to the name without it", started.elapsed().as_millis());

    // The last ones go, and the name stays at who was there last.
    for index in [0, 2] {
        mesh.controller.picket(&["revoke", mesh.sentries[index].name()]).unwrap();
        if index == 0 {
            becomes(&keeper, &BTreeSet::from([address(2)]), REVOKED);
        }
    }
    wait_until("the alarm", SOON, || {
        let complaints = mesh.controller.complaints().map_err(|error| error.to_string())?;
        let is_told = complaints.iter().any(|line| line.contains(&format!("name {NAME} stays at {}", address(2))));
        if is_told { Ok(()) } else { Err(format!("{complaints:?}")) }
    })
    .unwrap();
    assert_eq!(asked(&keeper), Some(BTreeSet::from([address(2)])));
    let events = mesh.controller.events().unwrap();
    assert!(events.iter().filter(|line| line.action == "dns.changed").count() >= 4);
    assert!(!format!("{events:?}").contains(KEY));
}

#[test]
fn what_is_advertised_is_held_against_chain_name_sentries_and_the_way() {
    let mut mesh = Mesh::started("advertise", MeshSize { preps: 1, sentries: 1 }).unwrap();
    let prep_id = mesh.validators[0].prep;
    let lines = format!("\n[[policy.hidden]]\nprep = \"prep-1\"\nadvertise = \"{NAME}\"\nprep_id = \"{prep_id}\"\n");
    reconfigure(&mut mesh, |text| format!("{text}{lines}"));
    let _servers = serve_on(&mesh.preps[0]);
    let sentry = mesh.sentries[0].host.v4(0).unwrap().ip();
    let look = |mesh: &Mesh, more: &[&str]| -> Vec<(String, Verdict, String)> {
        let view: AdvertiseView = mesh.controller.json(&[&["advertise", "prep-1"], more].concat()).unwrap();
        assert_eq!(view.validators[0].set.as_deref(), Some("p2p.example.org:7100"));
        view.validators[0].facts.iter().map(|fact| (fact.about.clone(), fact.verdict, fact.found.clone())).collect()
    };
    let says = |facts: &[(String, Verdict, String)], about: &str, verdict: Verdict, found: &str| {
        let is_said = facts.iter().any(|fact| fact.0.contains(about) && fact.1 == verdict && fact.2.contains(found));
        assert!(is_said, "{about} {verdict:?} {found}: {facts:#?}");
    };
    wait_until("the sentry to forward", SOON, || {
        let facts = look(&mesh, &[]);
        if facts.iter().any(|fact| fact.2 == "forwards port 7100") { Ok(()) } else { Err(format!("{facts:#?}")) }
    })
    .unwrap();
    // The name leads to nobody of ours, and another endpoint is on chain.
    mesh.lab.hosts_file([(NAME, mesh.stranger.v4(0).unwrap().ip())]).unwrap();
    let facts = look(&mesh, &[]);
    says(&facts, "on chain", Verdict::Wrong, &prep_id.to_string());
    says(&facts, "address", Verdict::Wrong, "no sentry's");

    // It leads to the sentry. Where the controller is, that drops strangers; another validator's host is let in.
    mesh.lab.hosts_file([(NAME, sentry)]).unwrap();
    let facts = look(&mesh, &[]);
    says(&facts, &format!("address {sentry}"), Verdict::Good, "which forwards");
    says(&facts, "way to", Verdict::Unknown, "as for any stranger");
    let validator = &mesh.validators[1].host;
    let port = std::num::NonZeroU16::new(7100).unwrap();
    let at = picket_model::GuardedPort { protocol: picket_model::Protocol::Tcp, port };
    let probe = validator.inside(|| picket_api::probe::knock(sentry, &[at].into())).unwrap().unwrap();
    let file = mesh.controller.host.write("found.json", &serde_json::to_string(&probe).unwrap()).unwrap();
    says(&look(&mesh, &["--found", &file]), "way to", Verdict::Good, "somebody answers");
}
