//! A small internet whose sentries are cut in every way: each pair of nodes is linked again within seconds, nothing moves but
//! what the cut sentry carried, and nobody sees a hidden validator's own address meanwhile.

use crate::support::dropped;
use picket_lab::{
    mesh::{Agent, Internet, SOON},
    p2p::{Pair, lost},
    wait_until,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// From a cut to the last pair: a second until it is known, as much as goloop takes to dial again, and room for a loaded machine.
const RELINKED: Duration = Duration::from_secs(10);

/// Three lost packets in ten are known after some fifty probes.
const LOSS_KNOWN: Duration = Duration::from_secs(60);

/// Drops packets between a sentry and the hidden validators' hosts, in one direction and both families: all, or which.
fn black_hole(sentry: &Agent, preps: &[Agent], hook: &str, end: &str, which: &str) {
    let mut rules = String::new();
    for prep in preps {
        let (v4, v6) = (prep.host.v4(0).unwrap().ip(), prep.host.v6(0).unwrap().ip());
        rules += &format!("ip {end} {v4} {which} drop; ip6 {end} {v6} {which} drop; ");
    }
    let table = format!("table inet hole {{ chain c {{ type filter hook {hook} priority -500; {rules} }}; }}");
    sentry.host.load_nft(&table).unwrap();
}

/// Cuts the sentry that carries most, and waits until all is well without it.
fn cut(internet: &mut Internet, how: &str, cut: impl FnOnce(&mut Agent, &[Agent])) -> usize {
    let (sentry, before) = (internet.busiest(), internet.nodes.book().links());
    let carried = internet.carriers();
    assert!(carried.values().any(|carrier| *carrier == sentry), "{carried:?}");
    let mesh = &mut internet.mesh;
    cut(&mut mesh.sentries[sentry], &mesh.preps);
    let moment = Instant::now();
    let took = internet.nodes.wait_relinked(moment, RELINKED).unwrap();
    let slowest = took.values().max().unwrap();
    eprintln!(
        "{how}: the last pair after {slowest:?}, {} of {} flows lost",
        lost(&before, &internet.nodes.book().links()).len(),
        before.len()
    );
    only_its_share(internet, how, sentry, &carried, &before, internet.carriers());
    sentry
}

/// No link was lost but those that the sentry carried, and it carries none any more.
fn only_its_share(
    internet: &Internet,
    how: &str,
    sentry: usize,
    carried: &BTreeMap<Pair, usize>,
    before: &BTreeMap<Pair, u64>,
    after: BTreeMap<Pair, usize>,
) {
    let between_hidden = Pair(internet.hidden()[0], internet.hidden()[1]);
    for pair in lost(before, &internet.nodes.book().links()) {
        // How these two reach each other, no validator sees.
        assert!(
            carried.get(&pair) == Some(&sentry) || pair == between_hidden,
            "{how}: {pair:?} of {carried:?} was cut"
        );
    }
    let still = after.into_iter().find(|(_, carrier)| *carrier == sentry);
    assert_eq!(still, None, "{how}");
}

#[test]
fn every_pair_is_linked_again_within_seconds_whatever_cuts_a_sentry() {
    let mut internet = Internet::started("hidden-cuts", 5).unwrap();
    let capture = internet.capture().unwrap();
    let killed = cut(&mut internet, "killed", |sentry, _| sentry.kill());
    assert!(!internet.mesh.sentries[killed].is_running());
    cut(&mut internet, "deaf", |sentry, preps| black_hole(sentry, preps, "prerouting", "saddr", ""));
    cut(&mut internet, "dumb", |sentry, preps| black_hole(sentry, preps, "output", "daddr", ""));
    cut(&mut internet, "without a link", |sentry, _| sentry.host.link_down().unwrap());
    let last = internet.busiest();
    for port in [7100, 7200] {
        dropped(&internet.mesh.stranger, internet.mesh.sentries[last].host.v4(port).unwrap());
    }
    let captured = capture.end().unwrap();
    assert_eq!(internet.leaks(&captured).unwrap(), []);
}

#[test]
fn a_sentry_that_flaps_loses_or_boots_moves_its_share_once() {
    let mut internet = Internet::started("hidden-odd", 3).unwrap();

    // Its cable is pulled and put back five times: it is not trusted again before it was steady for a while.
    let (flapping, carried, before) = (internet.busiest(), internet.carriers(), internet.nodes.book().links());
    for _ in 0..5 {
        let sentry = &internet.mesh.sentries[flapping];
        sentry.host.link_down().unwrap();
        internet.nodes.wait_relinked(Instant::now(), RELINKED).unwrap();
        sentry.host.link_up().unwrap();
        let overlay = sentry.overlay().unwrap().v4.into();
        wait_until("the tunnels to carry again", SOON, || {
            internet.mesh.preps.iter().all(|prep| prep.host.ping(overlay, Duration::from_millis(200)).is_some())
        })
        .unwrap();
    }
    only_its_share(&internet, "flapping", flapping, &carried, &before, internet.carriers());
    internet.mesh.sentries[flapping].kill();

    // Three packets in ten are lost on the way from one.
    let (lossy, carried, before) = (internet.busiest(), internet.carriers(), internet.nodes.book().links());
    let sentry = &internet.mesh.sentries[lossy];
    black_hole(sentry, &internet.mesh.preps, "output", "daddr", "numgen random mod 100 < 30");
    wait_until("it to carry nothing", LOSS_KNOWN, || {
        let left = internet.dialled_carriers().into_values().filter(|carrier| *carrier == lossy).count();
        if left == 0 { Ok(()) } else { Err(format!("{left} links")) }
    })
    .unwrap();
    internet.nodes.wait_relinked(Instant::now(), RELINKED).unwrap();
    // What validators dialled through it gets through, slowly, and is theirs to end.
    only_its_share(&internet, "lossy", lossy, &carried, &before, internet.dialled_carriers());
    internet.mesh.sentries[lossy].host.nft(&["delete", "table", "inet", "hole"]).unwrap();

    // The last one boots: nothing carries anything until it, or the one that lost packets, is back.
    let last = internet.busiest();
    assert!(![flapping, lossy].contains(&last));
    let sentry = &mut internet.mesh.sentries[last];
    sentry.kill();
    sentry.host.link_down().unwrap();
    sentry.host.nft(&["delete", "table", "inet", "picket"]).unwrap();
    sentry.command(&["lockdown"]).unwrap().success().unwrap();
    sentry.host.link_up().unwrap();
    sentry.start().unwrap();
    internet.nodes.wait_relinked(Instant::now(), SOON * 2).unwrap();
    internet.mesh.wait_in_force().unwrap();
}
