//! From exposed to hidden and back as docs/operations.md has it, with nodes that go on: what hangs is ended by hand, a few links
//! at a time, and no node is cut off from most others at any moment.

use picket_lab::{
    mesh::{Agent, Internet, SOON},
    p2p::Pair,
    wait_until,
};
use std::time::{Duration, Instant};

/// A link is made anew within goloop's time to dial, on a loaded machine.
const ANEW: Duration = Duration::from_secs(30);

/// What `ss` says of a host's connections, one a line.
fn connections(agent: &Agent, filter: &str) -> Vec<String> {
    let said = agent.host.run("ss", &["-tnH", "state", "established", filter]).unwrap().success().unwrap();
    said.lines().map(str::to_owned).collect()
}

fn kill_connections(agent: &Agent, filter: &str) {
    agent.host.run("ss", &["-K", "-tn", filter]).unwrap().success().unwrap();
}

/// Every pair exchanges blocks that were made from now on.
fn all_linked(internet: &Internet) {
    let took = internet.nodes.wait_relinked(Instant::now(), ANEW).unwrap();
    eprintln!("{took:?}");
}

#[test]
fn an_exposed_validator_goes_into_hiding_and_comes_back() {
    let mut internet = Internet::exposed("hidden-path", 2).unwrap();
    let own: Vec<String> = internet.mesh.preps.iter().map(|prep| prep.host.v4(0).unwrap().ip().to_string()).collect();
    assert!(internet.carriers().is_empty());

    // Step 3: calls leave through sentries from now on; what was called directly hangs until it is ended.
    internet.hide(false).unwrap();
    for (prep, own) in internet.mesh.preps.iter().zip(&own) {
        kill_connections(prep, &format!("src {own} and dport = :7100"));
    }
    all_linked(&internet);
    for (prep, own) in internet.mesh.preps.iter().zip(&own) {
        wait_until("no call to leave directly", SOON, || {
            let left = connections(prep, &format!("src {own} and dport = :7100"));
            if left.is_empty() { Ok(()) } else { Err(left.join("; ")) }
        })
        .unwrap();
    }

    // Steps 4 and 5: others find it at the sentries, and what came in directly is moved peer by peer.
    internet.advertise_sentries().unwrap();
    for (place, (prep, own)) in internet.hidden().into_iter().zip(internet.mesh.preps.iter().zip(&own)) {
        for (number, validator) in internet.mesh.validators.iter().enumerate() {
            let peer = validator.host.v4(0).unwrap().ip();
            let begun = Instant::now();
            kill_connections(prep, &format!("src {own} and dst {peer} and sport = :7100"));
            internet.nodes.wait_pairs(&[Pair(number, place)], begun, ANEW).unwrap();
        }
    }
    wait_until("sentries to carry every link", SOON, || {
        let (carriers, all) = (internet.carriers().len(), internet.carried().len());
        if carriers == all { Ok(()) } else { Err(format!("{carriers} of {all}")) }
    })
    .unwrap();

    // Step 6: nothing moves any more.
    let (capture, before) = (internet.capture().unwrap(), internet.nodes.book().links());
    internet.hide(true).unwrap();
    all_linked(&internet);
    assert_eq!(internet.nodes.book().links(), before);
    assert_eq!(internet.leaks(&capture.end().unwrap()).unwrap(), []);
}
