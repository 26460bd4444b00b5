//! Any bytes as what a kernel says of sets, of counters, and of who changed what. Any program on the host with the right to write
//! tables decides what is in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_firewall::{
    Set,
    netlink::{additions, counters_in, elements_in, events::Commits},
};

/// A message and an attribute have a header of their own at the least.
const SMALLEST: usize = 4;

fuzz_target!(|received: &[u8]| {
    let kinds = [
        Set::Ports([].into()),
        Set::Hosts4([].into()),
        Set::Hosts6([].into()),
        Set::Nets4([].into()),
        Set::Nets6([].into()),
    ];
    for like in kinds {
        let Ok(Some(set)) = elements_in(received, &like) else { continue };
        assert!(set.len() <= received.len() / SMALLEST, "{} elements of {} bytes", set.len(), received.len());
        // What was understood is written as it was understood.
        assert_eq!(elements_in(&additions("any", &set), &like), Ok(Some(set)));
    }
    let counters = counters_in(received).unwrap_or_default();
    assert!(counters.len() <= received.len() / SMALLEST);
    let mut commits = Commits::default();
    for commit in commits.take(received).unwrap_or_default() {
        assert!(commit.author.program.chars().count() <= 15, "{:?}", commit.author);
        let told = commit.touched.map(|touched| touched.to_string()).unwrap_or_default();
        assert!(told.len() <= 1000 && !told.chars().any(char::is_control), "{told:?}");
    }
});
