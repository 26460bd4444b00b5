//! Who knocks: a flood is seen by where it comes from, the list of it has nobody who belongs here, and its packets are captured
//! beside the agent that counts them.

use crate::support::{GUARDED, small_mesh};
use picket_lab::{Segment, mesh::SOON, wait_until};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

/// Enough for samples to come as fast as they may; nothing that another test beside this one would feel.
const PER_SECOND: u32 = 200;
/// Hosts report each half minute.
const REPORTED: Duration = SOON.saturating_mul(6);

#[test]
#[ignore = "waits for two reports of a host, up to two minutes: cargo test -p picket-tests --test netns -- --ignored attack"]
fn a_flood_is_seen_by_its_sources_listed_without_members_and_captured() {
    let mesh = small_mesh("attack");
    let prep = &mesh.preps[0];
    let to = prep.host.v4(GUARDED[0]).unwrap();
    let member = mesh.sentries[0].host.v4(GUARDED[0]).unwrap().ip();
    let [one, two] = [1, 2].map(|last| IpAddr::from(Ipv4Addr::new(9, 9, 9, last)));
    let near = IpAddr::from(Ipv4Addr::new(198, 51, 100, 70));
    let sources = BTreeSet::from([one, two, near, member]);
    let _flood = mesh.stranger.flood(sources.iter().copied().collect(), to, Segment::Syn, PER_SECOND).unwrap();

    let picket = |args: &[&str]| mesh.controller.picket(args).map_err(|error| error.to_string());
    let expect = [one, two, near].map(|source| source.to_string());
    wait_until("the sources to be listed", REPORTED, || {
        let list = picket(&["attack", "export", "--least", "5"])?.stdout;
        let listed: Vec<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
        // In order of address.
        let is_whole = listed == expect && list.contains(&format!("# left out {member}: member sentry-1 of the mesh"));
        if is_whole { Ok(()) } else { Err(list) }
    })
    .unwrap();
    let by_prefix = picket(&["attack", "export", "--by", "prefix", "--least", "5", "--format", "nft"]).unwrap();
    assert!(by_prefix.stdout.contains("9.9.9.0/24\n"), "{by_prefix:?}");
    assert!(by_prefix.stderr.contains("left out 198.51.100.0/24: admin network 198.51.100.248/29"), "{by_prefix:?}");
    // Two reports later what acts has a rate.
    wait_until("what stops them to be told", REPORTED, || {
        let screen = picket(&["attack"])?.success().map_err(|error| error.to_string())?;
        let is_told = screen.contains("refused_p2p ") && screen.contains("9.9.9.1") && screen.contains("tcp/7100");
        if is_told { Ok(()) } else { Err(screen) }
    })
    .unwrap();

    let file = prep.host.write("refused.pcap", "").unwrap();

    let said = prep.command(&["capture", &file, "--count", "30", "--for", "60"]).unwrap();
    assert!(said.stderr.contains("30 refused packets written to"), "{said:?}");
    let bytes = std::fs::read(&file).unwrap();
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((word(0), word(20)), (0xa1b2_c3d4, 101));
    let (mut at, mut packets, mut seen) = (24, 0, BTreeSet::new());
    while at < bytes.len() {
        let source: [u8; 4] = bytes[at + 16 + 12..at + 16 + 16].try_into().unwrap();
        seen.insert(IpAddr::from(source));
        packets += 1;
        at += 16 + word(at + 8) as usize;
    }
    assert_eq!((packets, at), (30, bytes.len()));
    // A limit takes every n-th packet: of sources that take turns it may meet the same ones.
    assert!(!seen.is_empty() && seen.is_subset(&sources), "{seen:?}");
}
