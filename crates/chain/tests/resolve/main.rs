//! The resolver against a name server of its own, honest and hostile, and against the files of a host.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod server;

use hickory_resolver::proto::{op::ResponseCode, rr::RecordType};
use picket_chain::{HostFiles, ResolveLimits, Resolver};
use picket_model::{DnsName, NameAnswer};
use server::{NameServer, Reply, Way, addresses, alias, record};
use std::{net::Ipv4Addr, time::Duration};
use tempfile::TempDir;

#[tokio::test]
async fn a_name_gives_both_families_and_the_shortest_time_to_live() {
    let server = NameServer::start(|query, _| {
        addresses(query, &[("192.0.2.2", 300), ("192.0.2.1", 120), ("2001:db8::1", 90), ("192.0.2.2", 300)])
    })
    .await;
    let found = Host::with(&server).lookup("node.example.com").await.unwrap();
    assert_eq!(found, answer(&["192.0.2.1", "192.0.2.2", "2001:db8::1"], 90));
}

#[tokio::test]
async fn every_lookup_asks_again() {
    let server = NameServer::start(|query, _| addresses(query, &[("192.0.2.1", 3600)])).await;
    let host = Host::with(&server);
    let resolver = host.resolver(ResolveLimits::default());
    for _ in 0..2 {
        resolver.lookup(&name("node.example.com")).await.unwrap();
    }
    assert_eq!(server.asked(), vec![("node.example.com.".to_owned(), Way::Udp); 2]);
}

#[tokio::test]
async fn a_thousand_addresses_come_over_tcp_and_the_lowest_are_kept() {
    let server = NameServer::start(|query, way| match (way, query.query_type()) {
        (Way::Udp, RecordType::A) => Reply::Truncated,
        (_, RecordType::A) => {
            let many = (0..1000_u32).rev().map(|n| Ipv4Addr::from(0xc633_6400 + n).into());
            Reply::Records(many.map(|address| record(query.name(), 60, address)).collect())
        }
        _ => addresses(query, &[("2001:db8::1", 60)]),
    })
    .await;
    let found = Host::with(&server).lookup("many.example.com").await.unwrap();
    let lowest: Vec<String> = (0..16).map(|n| format!("198.51.100.{n}")).collect();
    let lowest: Vec<&str> = lowest.iter().map(String::as_str).collect();
    assert_eq!(found, NameAnswer { surplus: 985, ..answer(&lowest, 60) });
    assert_eq!(server.asked().last().unwrap().1, Way::Tcp);
}

#[tokio::test]
async fn aliases_are_followed_and_their_time_to_live_counts() {
    let whole = NameServer::start(|query, _| {
        let Reply::Records(mut records) = addresses(query, &[("192.0.2.1", 300)]) else { unreachable!() };
        records.iter_mut().for_each(|record| record.name = "c.example.net.".parse().unwrap());
        records.insert(0, alias("node.example.com.", 200, "b.example.net."));
        records.insert(1, alias("b.example.net.", 30, "c.example.net."));
        Reply::Records(records)
    })
    .await;
    assert_eq!(Host::with(&whole).lookup("node.example.com").await.unwrap(), answer(&["192.0.2.1"], 30));

    // A server that names only the next step.
    let stepwise = NameServer::start(|query, _| match query.name().to_string().as_str() {
        "node.example.com." => Reply::Records(vec![alias("node.example.com.", 200, "b.example.net.")]),
        "b.example.net." => Reply::Records(vec![alias("b.example.net.", 30, "c.example.net.")]),
        _ => addresses(query, &[("192.0.2.1", 300)]),
    })
    .await;
    assert_eq!(Host::with(&stepwise).lookup("node.example.com").await.unwrap(), answer(&["192.0.2.1"], 30));
}

#[tokio::test]
async fn aliases_in_a_circle_end_in_a_reason() {
    let server = NameServer::start(|query, _| {
        let (from, to) = match query.name().to_string().as_str() {
            "node.example.com." => ("node.example.com.", "b.example.net."),
            _ => ("b.example.net.", "node.example.com."),
        };
        Reply::Records(vec![alias(from, 60, to)])
    })
    .await;
    let reason = Host::with(&server).lookup("node.example.com").await.unwrap_err();
    assert!(!reason.is_empty() && reason.len() < 200, "{reason}");
}

#[tokio::test]
async fn what_a_name_server_refuses_is_told_apart() {
    let check = async |reply: fn() -> Reply, expect: &str| {
        let server = NameServer::start(move |_, _| reply()).await;
        let host = Host::with(&server);
        let limits = ResolveLimits { timeout: Duration::from_millis(300), ..ResolveLimits::default() };
        let reason = host.resolver(limits).lookup(&name("node.example.com")).await.unwrap_err();
        assert!(reason.contains(expect), "{reason}");
    };
    check(|| Reply::Code(ResponseCode::NXDomain), "no such name (NXDOMAIN)").await;
    check(|| Reply::Code(ResponseCode::ServFail), "the name server answers Server Failure").await;
    check(|| Reply::Code(ResponseCode::Refused), "the name server answers Query Refused").await;
    check(|| Reply::Records(Vec::new()), "the name has no address").await;
    check(|| Reply::Silence, "no answer within 300ms").await;
    check(|| Reply::Garbage, "protocol error: decoding error").await;
    check(|| Reply::Truncated, "response was truncated").await;
}

#[tokio::test]
async fn a_server_that_never_answers_for_ipv6_costs_nobody_the_name_and_one_without_ipv4_gives_no_answer() {
    let check = async |silent: RecordType| {
        let server = NameServer::start(move |query, _| match query.query_type() {
            kind if kind == silent => Reply::Silence,
            _ => addresses(query, &[("192.0.2.1", 60), ("2001:db8::1", 60)]),
        })
        .await;
        let host = Host::with(&server);
        let limits = ResolveLimits { timeout: Duration::from_millis(300), ..ResolveLimits::default() };
        host.resolver(limits).lookup(&name("node.example.com")).await
    };
    assert_eq!(check(RecordType::AAAA).await, Ok(answer(&["192.0.2.1"], 60)));
    assert_eq!(check(RecordType::A).await, Err("no answer within 300ms".to_owned()));
}

#[tokio::test]
async fn a_hosts_file_comes_first_and_is_read_again_for_every_lookup() {
    let server = NameServer::start(|query, _| addresses(query, &[("192.0.2.1", 7), ("2001:db8::1", 7)])).await;
    let host = Host::with(&server);
    let lookup = async || host.lookup("node.example.com").await.unwrap();
    assert_eq!(lookup().await, answer(&["192.0.2.1", "2001:db8::1"], 7));
    host.write("hosts", "127.0.0.1 localhost\n198.51.100.7 Node.Example.com # by hand\n");
    assert_eq!(lookup().await, answer(&["198.51.100.7"], 60));
    host.write("hosts", "::ffff:198.51.100.8 node.example.com\n");
    assert_eq!(lookup().await, answer(&["198.51.100.8"], 60));
    std::fs::remove_file(host.folder.path().join("hosts")).unwrap();
    assert_eq!(lookup().await, answer(&["192.0.2.1", "2001:db8::1"], 7));
}

#[tokio::test]
async fn a_host_that_cannot_ask_says_why() {
    let host = Host::new(9);
    host.write("hosts", "192.0.2.1 known.example\n");
    std::fs::remove_file(host.folder.path().join("resolv.conf")).unwrap();
    let resolver = host.resolver(ResolveLimits::default());
    assert_eq!(resolver.lookup(&name("known.example")).await, Ok(answer(&["192.0.2.1"], 60)));
    let reason = resolver.lookup(&name("other.example")).await.unwrap_err();
    assert!(reason.starts_with("no name server: read ") && reason.contains("resolv.conf: No such file"), "{reason}");

    host.write("resolv.conf", "options edns0\n");
    let reason = resolver.lookup(&name("other.example")).await.unwrap_err();
    assert!(reason.contains("resolv.conf has no line `nameserver ADDRESS`"), "{reason}");

    std::fs::remove_file(host.folder.path().join("hosts")).unwrap();
    std::fs::create_dir(host.folder.path().join("hosts")).unwrap();
    let reason = resolver.lookup(&name("known.example")).await.unwrap_err();
    assert!(reason.contains("hosts: Is a directory"), "{reason}");
}

#[tokio::test]
async fn this_hosts_own_files_are_read() {
    let reason = Resolver::new().lookup(&name("no-such-host.invalid")).await.unwrap_err();
    assert!(reason.contains("no such name") || reason.contains("no name server"), "{reason}");
}

/// A host's files in a folder of their own.
struct Host {
    folder: TempDir,
    port: u16,
}

impl Host {
    /// With an empty hosts file, and one name server on loopback.
    fn new(port: u16) -> Self {
        let host = Self { folder: tempfile::tempdir().unwrap(), port };
        host.write("hosts", "");
        host.write("resolv.conf", "nameserver 127.0.0.1\n");
        host
    }

    fn with(server: &NameServer) -> Self {
        Self::new(server.address.port())
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.path().join(file), text).unwrap();
    }

    fn resolver(&self, limits: ResolveLimits) -> Resolver {
        let path = |file: &str| self.folder.path().join(file);
        Resolver::with(limits, HostFiles { hosts: path("hosts"), resolv_conf: path("resolv.conf"), port: self.port })
    }

    async fn lookup(&self, text: &str) -> Result<NameAnswer, String> {
        self.resolver(ResolveLimits::default()).lookup(&name(text)).await
    }
}

fn name(text: &str) -> DnsName {
    text.parse().unwrap()
}

fn answer(addresses: &[&str], seconds: u64) -> NameAnswer {
    NameAnswer {
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        surplus: 0,
        time_to_live: Duration::from_secs(seconds),
    }
}
