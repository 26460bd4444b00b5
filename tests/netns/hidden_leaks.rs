//! That the address of a hidden validator's host is in no packet but those of its tunnels, whatever dies, and while its node
//! goes on calling everybody: by a capture of every cable of the lab, below all firewalls.

use crate::support::{DROPPED, reconfigure};
use picket_lab::{
    Connect,
    mesh::{Internet, SOON},
    p2p::REDIAL,
    wait_until,
};
use std::time::Instant;

/// What a node might do: it calls every validator in both families, from the host itself.
fn calls(internet: &Internet) {
    for (prep, validator) in
        internet.mesh.preps.iter().flat_map(|prep| internet.mesh.validators.iter().map(move |to| (prep, to)))
    {
        for to in [validator.host.v4(7100).unwrap(), validator.host.v6(7100).unwrap()] {
            // Whether it gets through is another test's: here it tries.
            let _ = prep.host.can_connect(to, DROPPED);
        }
    }
}

/// The first hidden validator's node loses its links, and calls each validator once more at least.
fn dials_again(internet: &Internet) {
    let hidden = internet.hidden()[0];
    let dials = || -> Vec<u64> {
        let book = internet.nodes.book();
        (0..internet.mesh.validators.len()).map(|validator| book.dials(hidden, validator)).collect()
    };
    let (host, before) = (&internet.mesh.preps[0].host, dials());
    host.run("ss", &["-K", "-tn", "sport = :7100 or dport = :7100"]).unwrap().success().unwrap();
    wait_until("the node to call everybody again", SOON, || {
        let now = dials();
        if now.iter().zip(&before).all(|(now, before)| now > before) {
            Ok(())
        } else {
            Err(format!("{before:?}, {now:?}"))
        }
    })
    .unwrap();
}

#[test]
fn the_address_is_in_no_packet_but_the_tunnels_whatever_dies() {
    let mut internet = Internet::started("hidden-leaks", 2).unwrap();
    let capture = internet.capture().unwrap();
    calls(&internet);

    // Without a controller.
    internet.mesh.controller.kill();
    calls(&internet);

    // A sentry dies, and the other.
    internet.mesh.sentries[0].kill();
    calls(&internet);
    internet.mesh.sentries[1].kill();
    calls(&internet);
    dials_again(&internet);
    internet.mesh.sentries.iter_mut().for_each(|sentry| sentry.start().unwrap());
    internet.nodes.wait_relinked(Instant::now(), SOON * 2).unwrap();

    // The agent crashes, and its tunnels are gone with it.
    internet.mesh.preps[0].kill();
    dials_again(&internet);
    calls(&internet);

    // The host boots: nothing of Picket is there but what is loaded before the network is up.
    let prep = &mut internet.mesh.preps[0];
    prep.host.link_down().unwrap();
    prep.host.nft(&["delete", "table", "inet", "picket"]).unwrap();
    prep.command(&["lockdown"]).unwrap().success().unwrap();
    // A node runs here already, as none does at a boot: what it sent meanwhile waits for its neighbours' addresses.
    prep.host.run("ip", &["neigh", "flush", "dev", "eth0"]).unwrap().success().unwrap();
    prep.host.link_up().unwrap();
    dials_again(&internet);
    calls(&internet);
    internet.mesh.preps[0].start().unwrap();
    internet.nodes.wait_relinked(Instant::now(), SOON * 2).unwrap();

    // Not strict any more, and again.
    internet.mesh.controller.start().unwrap();
    for (from, to) in [("strict = true", "strict = false"), ("strict = false", "strict = true")] {
        reconfigure(&mut internet.mesh, |text| text.replace(from, to));
        calls(&internet);
        internet.nodes.wait_relinked(Instant::now(), SOON).unwrap();
    }

    let captured = capture.end().unwrap();
    assert_eq!(internet.leaks(&captured).unwrap(), []);

    // The capture sees what there is to see.
    let capture = internet.capture().unwrap();
    let validator = &internet.mesh.validators[0].host;
    let other = validator.v4(2222).unwrap();
    assert_eq!(internet.mesh.preps[0].host.can_connect(other, REDIAL), Connect::Refused);
    internet.nodes.wait_relinked(Instant::now(), SOON).unwrap();
    let leaks = internet.leaks(&capture.end().unwrap()).unwrap();
    assert!(leaks.iter().any(|packet| packet.is_tcp() && packet.to == other), "{leaks:?}");
}
