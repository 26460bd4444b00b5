//! From exposed to hidden and back as docs/operations.md has it, with nodes that go on: what hangs is ended by hand, a few links
//! at a time, and no node is cut off from most others at any moment.

use crate::support::reconfigure;
use picket_lab::{
    mesh::{Agent, Internet, SOON},
    wait_until,
};
use std::time::{Duration, Instant};

/// A link is made anew within goloop's time to dial, on a loaded machine.
const ANEW: Duration = Duration::from_secs(20);

/// Connections, and those that one end has closed and the other knows nothing of: they still send.
const OPEN: [&str; 4] = ["state", "connected", "exclude", "time-wait"];

/// What `ss` says of a host's connections, one a line.
fn connections(agent: &Agent, filter: &str) -> Vec<String> {
    let said = agent.host.run("ss", &[&["-tnH"][..], &OPEN, &[filter]].concat()).unwrap().success().unwrap();
    said.lines().map(str::to_owned).collect()
}

fn kill_connections(agent: &Agent, filter: &str) {
    agent.host.run("ss", &[&["-K", "-tn"][..], &OPEN, &[filter]].concat()).unwrap().success().unwrap();
}

/// Every pair exchanges blocks that were made from now on.
fn all_linked(internet: &Internet) {
    internet.nodes.wait_relinked(Instant::now(), ANEW).unwrap();
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
    for (prep, own) in internet.mesh.preps.iter().zip(&own) {
        while let Some(line) = connections(prep, &format!("src {own} and sport = :7100")).first() {
            let peer = line.split_whitespace().last().unwrap();
            kill_connections(prep, &format!("src {own} and dst {peer}"));
            all_linked(&internet);
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

    // The whole way back at once.
    reconfigure(&mut internet.mesh, |text| text.split("\n[[policy.hidden]]").next().unwrap().to_owned());
    for (place, prep) in internet.hidden().into_iter().zip(&internet.mesh.preps) {
        internet.nodes.advertise(place, vec![prep.host.v4(7100).unwrap()]);
        kill_connections(prep, &format!("src {}", prep.overlay().unwrap().v4));
    }
    all_linked(&internet);
    assert!(internet.carriers().is_empty());
}
