//! Refused packets as the agent hears them, by real packets between two namespaces; and a blocklist as somebody else loads it.

use crate::{
    namespace::Namespace,
    policies::{lowered, prep},
};
use picket_firewall::{
    features::{LOG_GROUP, agents_group},
    netlink::samples::Samples,
};
use picket_model::{AttackSource, Blocklist, BlocklistBy, Timestamp};
use std::{collections::BTreeSet, time::Duration};
use tokio::{net::UdpSocket, time::timeout};

/// Far beyond what the kernel takes, which gathers for a second.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_refused_packet_is_heard_with_who_sent_it_and_a_group_has_one_listener() {
    let (server, world) = (Namespace::new(), Namespace::new());
    server.wire(&world);
    server.ip(&["address", "add", "203.0.113.10/24", "dev", "wire0"]);
    server.ip(&["address", "add", "2001:db8:5::10/64", "dev", "wire0", "nodad"]);
    world.ip(&["address", "add", "203.0.113.66/24", "dev", "wire0"]);
    world.ip(&["address", "add", "2001:db8:5::66/64", "dev", "wire0", "nodad"]);
    server.load(&lowered(&prep()).to_string());
    let group = agents_group(LOG_GROUP);
    server.enter(async || {
        let mut samples = Samples::open(group, 96).unwrap();
        let refused = Samples::open(group, 96).unwrap_err().to_string();
        assert!(refused.contains("nflog group 72, to which another program may be listening"), "{refused}");
        // The other group is somebody else's.
        let mut other = Samples::open(LOG_GROUP, 96).unwrap();
        let send = async || {
            for (from, to) in
                [("203.0.113.66:5000", "203.0.113.10:7100"), ("[2001:db8:5::66]:5000", "[2001:db8:5::10]:7100")]
            {
                let socket = UdpSocket::bind(from).await.unwrap();
                socket.send_to(&[7; 200], to).await.unwrap();
            }
        };
        world.enter(send);
        for listener in [&mut samples, &mut other] {
            let mut heard = BTreeSet::new();
            while heard.len() < 2 {
                let sample = timeout(PATIENCE, listener.next()).await.unwrap().unwrap();
                assert_eq!((sample.prefix.as_str(), sample.packet.len()), ("picket refused p2p ", 96));
                let caller = sample.caller().unwrap();
                heard.insert((caller.address.to_string(), caller.port.unwrap().to_string()));
            }
            let expect = ["2001:db8:5::66", "203.0.113.66"].map(|address| (address.to_owned(), "udp/7100".to_owned()));
            assert_eq!(heard, BTreeSet::from(expect));
        }
    });
}

#[test]
fn a_blocklist_loads_again_and_again_and_stops_its_sources() {
    let namespace = Namespace::new();
    let of = |source: &str| AttackSource {
        source: source.parse().unwrap(),
        samples: 12,
        per_second: 0,
        last: Timestamp::from_millis(0),
        ports: BTreeSet::new(),
        hosts: BTreeSet::new(),
    };
    for sources in [&["127.0.0.0/24", "9.9.9.9/32", "2001:db8:6::/48"][..], &[], &["127.0.0.1/32"]] {
        let sources = sources.iter().map(|source| of(source)).collect();
        let (made_at, by) = (Timestamp::from_millis(0), BlocklistBy::Address);
        namespace.load(&Blocklist { made_at, by, least: 1, sources, left_out: Vec::new() }.nft());
    }
    let listing = namespace.nft(&["list", "table", "inet", "blocklist"]);
    assert!(listing.contains("elements = { 127.0.0.1 }") && !listing.contains("9.9.9.9"), "{listing}");
}
