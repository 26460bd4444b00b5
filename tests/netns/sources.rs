//! Sources that disagree, lag, go back, have other clocks or are gone: the last good set stays, and the operator sees why.

use crate::support::{InForce, serve_on, small_mesh, wait_calm, wait_told};
use picket_lab::{
    icon::{Behaviour, Prep},
    mesh::{Mesh, SOON},
    wait_until,
};

/// Blocks that a source went back: more than the policy's lag of 30, less than its clocks may differ.
const BACK: u64 = 100;
const TEN_MINUTES: i64 = 600;

/// These endpoints behave so; nothing moves, the operator is told, and all is well once they are honest again.
fn check(mesh: &Mesh, behaviours: &[(usize, Behaviour)], told: &[(&str, &str)]) {
    let before = InForce::of(mesh);
    for (icon, behaviour) in behaviours {
        mesh.icons[*icon].set_behaviour(behaviour.clone());
    }
    for (kind, part) in told {
        wait_told(mesh, kind, part);
        before.stands(mesh, part);
    }
    mesh.all_behave(&Behaviour::Normal);
    wait_calm(mesh);
    before.stands(mesh, "all honest again");
}

/// The chain's list with other endpoints for one half of it.
fn half_wrong(mesh: &Mesh, is_wrong: impl Fn(usize) -> bool) -> Behaviour {
    let mut preps: Vec<Prep> = mesh.chain.state().preps;
    for (place, prep) in preps.iter_mut().enumerate().filter(|(place, _)| is_wrong(*place)) {
        prep.insert("p2pEndpoint".to_owned(), format!("8.8.{}.{place}:7100", u8::from(is_wrong(0))).into());
    }
    Behaviour::Lie(preps)
}

#[test]
fn two_sources_each_half_wrong_move_nothing() {
    let mesh = small_mesh("half wrong");
    let _servers = serve_on(&mesh.preps[0]);
    let halves = [half_wrong(&mesh, |place| place < 50), half_wrong(&mesh, |place| place >= 50)];
    let [first, second] = halves;
    let wrong = [(0, first), (1, second)];

    // With an honest third every entry has two sources that agree.
    let before = InForce::of(&mesh);
    for (icon, behaviour) in &wrong {
        mesh.icons[*icon].set_behaviour(behaviour.clone());
    }
    let asked = mesh.requests();
    wait_until("two rounds of answers", SOON, || {
        mesh.requests().iter().zip(&asked).all(|(now, before)| *now >= before + 2)
    })
    .unwrap();
    before.stands(&mesh, "each entry has an honest majority");
    let complaints = mesh.controller.complaints().unwrap();
    let against = complaints.iter().filter(|line| line.contains("says otherwise than enough others of 50 P-Reps"));
    assert_eq!(against.count(), 2, "{complaints:?}");

    // Without it none has.
    let alone = [wrong.as_slice(), &[(2, Behaviour::Status(502))]].concat();
    check(&mesh, &alone, &[("entry-disputed", "no 2 sources agree"), ("source-failing", "502")]);
}

#[test]
fn too_few_sources_move_nothing() {
    let mesh = small_mesh("no quorum");
    let _servers = serve_on(&mesh.preps[0]);
    let gone = |icon| (icon, Behaviour::Status(502));
    check(&mesh, &[gone(0), gone(1)], &[("no-quorum", "1 of 3 sources answered"), ("source-failing", "502")]);

    let before = InForce::of(&mesh);
    let last_seen = || mesh.controller.status().unwrap().sources.into_iter().map(|source| source.seen_at);
    mesh.all_behave(&Behaviour::Status(502));
    wait_told(&mesh, "no-quorum", "0 of 3 sources answered");
    before.stands(&mesh, "all sources are down");
    let since: Vec<_> = last_seen().collect();
    assert!(since.iter().all(Option::is_some), "the status says since when: {since:?}");
    let asked = mesh.requests();
    wait_until("another round", SOON, || mesh.requests().iter().zip(&asked).all(|(now, before)| *now >= before + 2))
        .unwrap();
    assert_eq!(last_seen().collect::<Vec<_>>(), since);
    before.stands(&mesh, "all sources are still down");
    let removed = mesh.validators[1].prep;
    mesh.chain.remove(removed).unwrap();
    mesh.all_behave(&Behaviour::Normal);
    wait_until("the list to be followed again", SOON * 2, || {
        let view = mesh.controller.validators().map_err(|error| error.to_string())?;
        let left = view.validators.iter().all(|validator| validator.prep != removed);
        if left { Ok(()) } else { Err("it is in the set".to_owned()) }
    })
    .unwrap();
    wait_calm(&mesh);
}

#[test]
fn a_source_that_goes_back_or_whose_clock_is_off_does_not_count() {
    let mesh = small_mesh("went back");
    let _servers = serve_on(&mesh.preps[0]);
    let back = || Behaviour::Behind(BACK);
    check(&mesh, &[(0, back())], &[("source-went-back", "went back")]);
    check(
        &mesh,
        &[(0, back()), (1, back()), (2, back())],
        &[("no-quorum", "0 of 3"), ("source-went-back", "went back")],
    );
    let off = |icon, seconds| (icon, Behaviour::ClockOff(seconds));
    check(&mesh, &[off(1, TEN_MINUTES)], &[("source-clock", "ahead of this controller's clock")]);
    let all = [off(0, -TEN_MINUTES), off(1, -TEN_MINUTES), off(2, -TEN_MINUTES)];
    check(&mesh, &all, &[("no-quorum", "0 of 3"), ("source-clock", "stands still or a clock is wrong")]);
}
