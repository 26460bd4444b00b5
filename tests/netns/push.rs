//! Word from the chain itself: a change is in force within a block although the clock polls every ten minutes, and one
//! endpoint that pushes nothing makes no difference.

use crate::support::{GUARDED, QUIET, dropped, open, reconfigure, serve_on, small_mesh, wait_listening};
use picket_lab::{
    icon::Push,
    mesh::{Mesh, SOON, Validator},
    wait_until,
};
use std::time::{Duration, Instant};

/// How long a change may take on a busy machine: far below the ten minutes between two polls. What it took is printed; ICON
/// makes a block every two seconds.
const PUSHED: Duration = Duration::from_secs(20);
/// P-Reps on the list at the start.
const LISTED: usize = 100;

/// The controller started anew, so that it polls once, and then not for ten minutes.
fn polled_seldom(mesh: &mut Mesh) {
    reconfigure(mesh, |text| text.replace("poll_seconds = 1\n", "poll_seconds = 600\n"));
}

/// Waits until subscriptions stand so, in order of source.
fn subscriptions(mesh: &Mesh, expect: [&str; 3]) {
    wait_until("the subscriptions", SOON, || {
        let sources = mesh.controller.status().map_err(|error| error.to_string())?.sources;
        let found: Vec<String> = sources.into_iter().filter_map(|source| source.push).collect();
        let right = found.len() == 3 && found.iter().zip(expect).all(|(found, part)| found.contains(part));
        if right { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .unwrap();
}

/// A change on the chain cuts a validator's running stream off within a time.
fn cut(mesh: &Mesh, validator: &Validator, what: &str, within: Duration, change: impl FnOnce()) {
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    let stream = validator.host.stream(to).unwrap();
    let changed = Instant::now();
    change();
    let took = stream.wait_dead(QUIET, SOON).unwrap().saturating_duration_since(changed);
    println!("{what}: the last packet {took:?} after the change on the chain");
    assert!(took < within, "{what}: {took:?}");
    dropped(&validator.host, to);
}

#[test]
fn a_removal_a_penalty_and_a_term_are_in_force_within_a_block() {
    let mut mesh = small_mesh("pushed");
    let _servers = serve_on(&mesh.preps[0]);
    mesh.icons[2].set_push(Push::Silent);
    mesh.icons.iter().for_each(picket_lab::icon::FakeIcon::drop_sessions);
    polled_seldom(&mut mesh);
    subscriptions(&mesh, ["connected since"; 3]);
    let [removed, penalised, voted_out] = mesh.validators.as_slice() else { panic!("three validators") };
    let chain = &mesh.chain;
    cut(&mesh, removed, "removal", PUSHED, || assert!(chain.remove(removed.prep).is_some()));
    cut(&mesh, penalised, "penalty", PUSHED, || assert!(chain.penalise(penalised.prep).is_some()));
    let mut elected = chain.state();
    elected.preps.retain(|prep| Some(prep) != chain.state().prep(voted_out.prep));
    cut(&mesh, voted_out, "term", PUSHED, || assert!(chain.start_term(elected.preps) > 0));
}

#[test]
fn a_change_is_not_missed_while_nobody_listens() {
    let mut mesh = small_mesh("resumed");
    let _servers = serve_on(&mesh.preps[0]);
    polled_seldom(&mut mesh);
    subscriptions(&mesh, ["connected since"; 3]);
    let to = mesh.preps[0].host.v4(GUARDED[0]).unwrap();
    let [first, second, third] = mesh.validators.clone().try_into().unwrap();

    // All connections are lost, and in the same moment the chain changes.
    let (chain, icons) = (mesh.chain.clone(), mesh.icons.clone());
    cut(&mesh, &first, "removal while connections are lost", PUSHED, || {
        icons.iter().for_each(picket_lab::icon::FakeIcon::drop_sessions);
        chain.remove(first.prep).unwrap();
    });

    // The chain changes while there is no controller.
    mesh.controller.kill();
    chain.remove(second.prep).unwrap();
    open(&second.host, to);
    let stream = second.host.stream(to).unwrap();
    mesh.controller.start().unwrap();
    let answers = Instant::now();
    wait_until("the removal to be seen", PUSHED, || {
        let found = mesh.controller.status().map_err(|error| error.to_string())?.validators;
        if found == LISTED - 2 { Ok(()) } else { Err(format!("{found} validators")) }
    })
    .unwrap();
    println!("removal while there is no controller: planned {:?} after it answers again", answers.elapsed());
    stream.wait_dead(QUIET, SOON).unwrap();
    dropped(&second.host, to);
    wait_listening(&mesh);

    // And it listens again.
    subscriptions(&mesh, ["connected since"; 3]);
    cut(&mesh, &third, "removal after the restart", PUSHED, || assert!(chain.remove(third.prep).is_some()));
}

#[test]
fn an_endpoint_whose_places_are_taken_is_polled() {
    let mut mesh = small_mesh("too many");
    let _servers = serve_on(&mesh.preps[0]);
    mesh.controller.kill();
    wait_until("the controller's connection to be gone", SOON, || mesh.icons[0].open_sessions() == 0).unwrap();
    let taken = mesh.icons[0].take_sessions();
    polled_seldom(&mut mesh);
    subscriptions(&mesh, ["too many monitor", "connected since", "connected since"]);
    let asked = mesh.requests();
    let (validator, chain) = (&mesh.validators[0], &mesh.chain);
    cut(&mesh, validator, "removal with the places of one endpoint taken", PUSHED, || {
        assert!(chain.remove(validator.prep).is_some());
    });
    let asked_again = mesh.requests();
    assert!(asked.iter().zip(&asked_again).all(|(before, after)| after > before), "{asked:?}, then {asked_again:?}");
    drop(taken);
    subscriptions(&mesh, ["connected since"; 3]);
}
