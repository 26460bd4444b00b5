//! Tests of which sentry carries what, over a world in which sentries answer probes or do not.

use super::*;
use crate::guard::tests::config;
use health::PERIOD;
use picket_model::{Timestamp, WireGuardPeer, WireGuardPublicKey};
use std::num::{NonZeroU8, NonZeroU16};

const VALIDATORS: usize = 60;
const WALL: Timestamp = Timestamp::from_millis(1_700_000_000_000);

struct World {
    paths: Paths,
    config: NodeConfig,
    now: Instant,
    begun: Instant,
    /// Connections by now; not known where there are none.
    flows: Option<Flows>,
    /// What sentries say of themselves.
    fares: BTreeMap<u8, Condition>,
    /// Round trips, in milliseconds, of those that are further away than ten.
    far: BTreeMap<u8, u64>,
    probes: u64,
}

fn id(n: u8) -> NodeId {
    format!("n-{n}").parse().unwrap()
}

/// A hidden host with these sentries, and validators at 5.0.0.x.
fn hidden(sentries: &[u8], strict: bool) -> NodeConfig {
    let mut config = config();
    let reason = Reason::Prep {
        prep: format!("hx{:040x}", 7).parse().unwrap(),
        endpoint: "5.0.0.1:7100".parse().unwrap(),
        sources: BTreeSet::new(),
        since_height: 1,
        advertised_by: BTreeSet::new(),
    };
    config.firewall.allow.clear();
    for n in 0..VALIDATORS {
        let network = format!("5.0.0.{n}/32").parse().unwrap();
        config.firewall.allow.entry(Purpose::P2p).or_default().insert(network, reason.clone());
    }
    let line = Reason::Policy { line: "monitoring".to_owned() };
    config.firewall.allow.entry(Purpose::Rpc).or_default().insert("198.51.100.0/24".parse().unwrap(), line);
    config.wireguard.peers = sentries
        .iter()
        .map(|n| {
            let peer = WireGuardPeer {
                node: id(*n),
                name: format!("sentry-{n}").parse().unwrap(),
                endpoint: None,
                allowed_ips: BTreeSet::from([format!("10.77.0.{n}/32").parse().unwrap()]),
                keepalive_seconds: None,
                pairing: None,
            };
            (WireGuardPublicKey::new([*n; 32]).unwrap(), peer)
        })
        .collect();
    let sentries = sentries.iter().map(|n| (id(*n), NonZeroU8::MIN)).collect();
    config.firewall.hidden = Some(Box::new(Hidden {
        sentries,
        strict,
        calls: [NonZeroU16::new(7100).unwrap()].into(),
        ..Hidden::default()
    }));
    config
}

impl World {
    fn new(sentries: &[u8]) -> Self {
        let (config, now) = (hidden(sentries, true), Instant::now());
        let paths = Paths::of(&config, &BTreeMap::new(), Moment { steady: now, wall: WALL }).unwrap();
        Self { paths, config, now, begun: now, flows: None, fares: BTreeMap::new(), far: BTreeMap::new(), probes: 0 }
    }

    fn moment(&self) -> Moment {
        Moment { steady: self.now, wall: WALL.plus(self.now - self.begun) }
    }

    fn follow(&mut self, sentries: &[u8]) {
        self.config = hidden(sentries, true);
        self.paths.follow(&self.config, self.moment());
    }

    /// Has a sentry left, from now on, or from so many seconds on.
    fn drain(&mut self, sentry: u8, seconds: u64) {
        let until = self.moment().wall.plus(Duration::from_secs(seconds));
        self.config.firewall.hidden.as_mut().unwrap().draining.insert(id(sentry), until);
        self.paths.follow(&self.config, self.moment());
    }

    fn undrain(&mut self, sentry: u8) {
        self.config.firewall.hidden.as_mut().unwrap().draining.remove(&id(sentry));
        self.paths.follow(&self.config, self.moment());
    }

    /// An agent that starts again, with what was kept.
    fn restart(&mut self) {
        self.paths = Paths::of(&self.config, self.paths.carried(), self.moment()).unwrap();
    }

    fn step(&mut self) -> Vec<Move> {
        let addresses = BTreeMap::new();
        let is_to_look = self.paths.wants_flows(self.now);
        let flows = self.flows.as_ref().filter(|_| is_to_look);
        self.paths.step(self.now, flows.map(|flows| (flows, &addresses)))
    }

    fn of(&self, sentry: u8) -> Vec<IpNet> {
        let carried = self.paths.carried().iter().filter(|(_, carried)| carried.sentry == id(sentry));
        carried.map(|(destination, _)| *destination).collect()
    }

    /// Some time with these sentries answering; what moved, with milliseconds since `begun`.
    fn go(&mut self, milliseconds: u64, answering: &[u8]) -> Vec<(u128, Move)> {
        let mut moved = Vec::new();
        let end = self.now + Duration::from_millis(milliseconds);
        while self.now < end {
            let sentries: Vec<NodeId> = self.paths.hidden.sentries.keys().cloned().collect();
            for sentry in &sentries {
                self.probes += 1;
                assert!(self.paths.probe(sentry, self.probes, self.now));
                if let Some(n) = answering.iter().find(|n| id(**n) == *sentry) {
                    let took = self.far.get(n).copied().unwrap_or(10);
                    self.paths.answered(sentry, self.probes, self.now + Duration::from_millis(took));
                }
            }
            for (sentry, condition) in &self.fares {
                self.paths.told(&id(*sentry), *condition, self.now);
            }
            self.now += PERIOD;
            let at = (self.now - self.begun).as_millis();
            moved.extend(self.step().into_iter().map(|change| (at, change)));
        }
        moved
    }

    fn share(&self, sentry: u8) -> usize {
        self.of(sentry).len()
    }
}

#[test]
fn every_validator_and_the_rest_have_exactly_one_sentry_from_the_first_moment() {
    let mut world = World::new(&[1, 2, 3]);
    let moved = world.step();
    assert_eq!(moved.len(), VALIDATORS + 2);
    assert!(moved.iter().all(|change| change.cause == Cause::New && change.from.is_none()));
    assert!([1, 2, 3].iter().all(|n| world.share(*n) > 8), "{:?}", world.paths.carried());
    // Nothing moves while the tunnels come up, and nothing while all is well.
    assert_eq!(world.go(60_000, &[1, 2, 3]), []);
    // The prefix that a line of the policy lets in is no validator's: it goes with the rest.
    assert!(!world.paths.carried().contains_key(&"198.51.100.0/24".parse().unwrap()));
}

#[test]
fn the_share_of_a_sentry_that_falls_silent_moves_at_once_and_no_other() {
    let mut world = World::new(&[1, 2, 3]);
    world.go(5000, &[1, 2, 3]);
    let (before, cut) = (world.share(2), world.now - world.begun);
    let moved = world.go(3000, &[1, 3]);
    assert_eq!((moved.len(), world.share(2)), (before, 0));
    for (at, change) in moved {
        assert!(at <= cut.as_millis() + 1000, "{at}");
        assert_eq!((change.from, change.cause), (Some(id(2)), Cause::Lost(Way::Silent)));
    }
    assert_eq!(world.paths.to_reset(world.now), [&id(2)].into());
}

#[test]
fn a_sentry_that_is_back_is_given_its_share_one_by_one_after_a_while() {
    let mut world = World::new(&[1, 2]);
    world.go(5000, &[1, 2]);
    let share = world.share(2);
    world.go(5000, &[1]);
    assert_eq!((world.share(2), world.go(2800, &[1, 2])), (0, vec![]));
    let moved = world.go(200_000, &[1, 2]);
    assert_eq!((moved.len(), world.share(2)), (share, share));
    assert!(moved.iter().all(|(_, change)| change.cause == Cause::Better && change.to == id(2)));
    assert!(moved.windows(2).all(|pair| pair[1].0 - pair[0].0 >= PACE.as_millis()));
}

#[test]
fn where_no_sentry_answers_everything_stays_where_it_is() {
    let mut world = World::new(&[1, 2]);
    world.go(5000, &[1, 2]);
    assert_eq!(world.go(60_000, &[]), []);
    assert_eq!(world.paths.to_reset(world.now), BTreeSet::new(), "it may be the host's own line");
    // The first that answers again, steadily, takes what it did not have.
    let others = world.share(2);
    assert_eq!(world.go(30_000, &[1]).len(), others);
}

#[test]
fn a_sentry_that_never_answers_holds_nothing_for_long() {
    let mut world = World::new(&[1, 2]);
    world.step();
    let had = world.share(2);
    let moved = world.go(3000, &[1]);
    assert_eq!((moved.len(), world.share(2)), (had, 0));
    assert!(moved.iter().all(|(at, change)| *at <= 2200 && change.cause == Cause::Lost(Way::Unheard)), "{moved:?}");
    // Its handshake may have to be repeated. After that what came in through it before the agent started is told.
    assert_eq!(world.paths.to_reset(world.now), BTreeSet::new());
    world.go(3000, &[1]);
    assert_eq!((world.paths.to_reset(world.now), world.paths.silent(world.now)), ([&id(2)].into(), [&id(2)].into()));
    world.go(1000, &[1, 2]);
    assert_eq!(world.paths.to_reset(world.now), BTreeSet::new());
}

#[test]
fn a_sentry_that_was_taken_out_holds_nothing_and_a_new_one_proves_itself_first() {
    let mut world = World::new(&[1, 2]);
    world.go(5000, &[1, 2]);
    world.follow(&[1, 3]);
    let moved = world.step();
    assert!(moved.iter().all(|change| change.cause == Cause::Gone && change.from == Some(id(2))), "{moved:?}");
    assert_eq!(world.share(2), 0);
    // What it was given for want of the other is given back if it never answers.
    world.go(5000, &[1]);
    assert_eq!(world.share(3), 0);
}

#[test]
fn a_destination_is_an_allowed_ip_of_the_tunnel_that_carries_it() {
    let mut world = World::new(&[1, 2]);
    world.step();
    let steered = world.paths.steer(&world.config.wireguard);
    for (destination, Carried { sentry, .. }) in world.paths.carried() {
        let holders: Vec<_> = steered.peers.values().filter(|peer| peer.allowed_ips.contains(destination)).collect();
        assert_eq!(holders.iter().map(|peer| &peer.node).collect::<Vec<_>>(), [sentry]);
    }
    // A sentry's next key waits without addresses.
    let mut wireguard = world.config.wireguard.clone();
    let next = WireGuardPublicKey::new([77; 32]).unwrap();
    let mut waiting = wireguard.peers.values().next().unwrap().clone();
    waiting.allowed_ips.clear();
    wireguard.peers.insert(next, waiting);
    assert!(world.paths.steer(&wireguard).peers[&next].allowed_ips.is_empty());
}

#[test]
fn only_a_host_that_is_not_strict_calls_directly_and_only_while_no_sentry_answers() {
    let mut world = World::new(&[1, 2]);
    world.go(5000, &[1, 2]);
    world.paths.hidden.strict = false;
    assert!(world.paths.is_steered(world.now));
    world.go(5000, &[2]);
    assert!(world.paths.is_steered(world.now));
    world.go(5000, &[]);
    assert!(!world.paths.is_steered(world.now));
    world.paths.hidden.strict = true;
    assert!(world.paths.is_steered(world.now));
}

#[test]
fn a_host_that_stood_still_for_a_while_takes_no_sentry_for_silent() {
    let mut world = World::new(&[1, 2]);
    world.go(5000, &[1, 2]);
    world.now += Duration::from_secs(90);
    assert_eq!((world.step(), world.paths.to_reset(world.now)), (vec![], BTreeSet::new()));
    assert_eq!(world.go(5000, &[1, 2]), []);
    // Who is silent after it is found as ever.
    world.now += Duration::from_secs(90);
    let moved = world.go(2000, &[1]);
    assert!(!moved.is_empty() && moved.iter().all(|(_, change)| change.cause == Cause::Lost(Way::Silent)), "{moved:?}");
}

#[test]
fn a_host_that_is_not_hidden_has_no_paths() {
    assert!(Paths::of(&config(), &BTreeMap::new(), Moment { steady: Instant::now(), wall: WALL }).is_none());
}

/// Calls to these destinations, each by its first address.
fn calls(destinations: &[IpNet]) -> Flows {
    let ends: Vec<String> =
        destinations.iter().map(|net| std::net::SocketAddr::new(net.addr(), 7100).to_string()).collect();
    Flows::to(&ends.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_drained_sentry_keeps_live_calls_until_they_end_and_gets_nothing_new() {
    let mut world = World::new(&[1, 2, 3]);
    world.go(5000, &[1, 2, 3]);
    let had: Vec<IpNet> = world.of(2).into_iter().filter(|net| net.prefix_len() == 32).collect();
    world.flows = Some(calls(&had[..3]));
    world.drain(2, 600);
    let moved = world.go(2000, &[1, 2, 3]);
    assert!(!moved.is_empty() && moved.iter().all(|(_, change)| change.cause == Cause::Drained), "{moved:?}");
    assert_eq!(world.of(2), had[..3]);
    assert_eq!(world.go(60_000, &[1, 2, 3]), [], "nothing else moves");
    // One that ended is gone within a second or two; another sentry's loss gives it nothing.
    world.flows = Some(calls(&had[1..3]));
    assert_eq!(world.go(2000, &[1, 2, 3]).len(), 1);
    world.go(3000, &[1, 2]);
    assert_eq!((world.of(2), world.share(3)), (had[1..3].to_vec(), 0));
    assert_eq!(world.paths.to_reset(world.now), [&id(3)].into());
}

#[test]
fn a_drains_end_moves_the_rest_at_once_and_resets_what_came_in() {
    let mut world = World::new(&[1, 2]);
    world.go(5000, &[1, 2]);
    let had = world.share(2);
    // Where connections are not known, all are thought to be alive.
    world.drain(2, 20);
    assert_eq!(world.go(19_000, &[1, 2]), []);
    assert!(world.paths.to_reset(world.now).is_empty());
    let moved = world.go(2000, &[1, 2]);
    assert_eq!((moved.len(), world.share(2)), (had, 0));
    assert_eq!(world.paths.to_reset(world.now), [&id(2)].into());
    world.go(60_000, &[1, 2]);
    assert_eq!((world.share(2), world.paths.to_reset(world.now)), (0, BTreeSet::new()), "and it stays left");
    world.undrain(2);
    let moved = world.go(200_000, &[1, 2]);
    assert_eq!((moved.len(), world.share(2)), (had, had));
    assert!(moved.iter().all(|(_, change)| change.cause == Cause::Better));
}

#[test]
fn a_drain_never_takes_the_last_way() {
    let mut world = World::new(&[1, 2]);
    world.go(5000, &[1, 2]);
    world.drain(1, 0);
    world.drain(2, 0);
    assert_eq!((world.go(60_000, &[1, 2]), world.paths.to_reset(world.now)), (vec![], BTreeSet::new()));
    // The loss of the other is worse than a drain.
    world.go(5000, &[2]);
    assert_eq!((world.share(1), world.share(2)), (0, VALIDATORS + 2));
}

#[test]
fn an_agent_that_starts_again_forgets_nothing_of_a_drain() {
    let mut world = World::new(&[1, 2]);
    world.go(5000, &[1, 2]);
    let had: Vec<IpNet> = world.of(2).into_iter().filter(|net| net.prefix_len() == 32).collect();
    world.flows = Some(calls(&had));
    world.drain(2, 600);
    world.go(2000, &[1, 2]);
    world.flows = Some(calls(&had[..1]));
    world.go(2000, &[1, 2]);
    world.restart();
    assert_eq!((world.go(10_000, &[1, 2]), world.of(2)), (vec![], had[..1].to_vec()));
    // A sentry that is none any more is forgotten with what it carried.
    world.config = hidden(&[1, 3], true);
    world.restart();
    assert!(world.step().iter().all(|change| change.cause == Cause::New));
}

#[test]
fn a_burdened_sentry_gives_its_share_away_one_by_one_and_never_where_all_are() {
    let full = Condition { tracking_permille: Some(950), ..Condition::default() };
    let mut world = World::new(&[1, 2]);
    world.go(5000, &[1, 2]);
    let had = world.share(2);
    world.fares.insert(2, full);
    let moved = world.go(200_000, &[1, 2]);
    assert_eq!((moved.len(), world.share(2)), (had, 0));
    assert!(moved.iter().all(|(_, change)| change.cause == Cause::Burdened && change.to == id(1)));
    assert!(moved.windows(2).all(|pair| pair[1].0 - pair[0].0 >= PACE.as_millis()));
    world.fares.insert(1, full);
    assert_eq!(world.go(60_000, &[1, 2]), []);
    // It takes over where the other is lost, and keeps what it has while it is burdened.
    world.go(60_000, &[2]);
    assert_eq!(world.share(1), 0);
    world.fares.clear();
    let back = world.go(200_000, &[1, 2]);
    assert!(!back.is_empty() && back.iter().all(|(_, change)| change.cause == Cause::Better && change.to == id(1)));
    assert_eq!(world.share(2), had);
}

#[test]
fn a_sentry_whose_node_is_behind_two_others_is_burdened_and_one_alone_says_nothing_of_others() {
    let height = |height| Condition { height: Some(height), ..Condition::default() };
    let mut world = World::new(&[1, 2, 3]);
    world.go(5000, &[1, 2, 3]);
    for (liar, witness) in [(u64::MAX, Condition::default()), (u64::MAX, height(981))] {
        world.fares = [(1, height(liar)), (2, height(980)), (3, witness)].into();
        assert_eq!(world.go(60_000, &[1, 2, 3]), []);
    }
    world.fares = [(1, height(1000)), (2, height(980)), (3, height(999))].into();
    assert_eq!(world.go(29_000, &[1, 2, 3]), []);
    let moved = world.go(5000, &[1, 2, 3]);
    assert!(!moved.is_empty() && moved.iter().all(|(_, change)| change.from == Some(id(2))), "{moved:?}");
}

#[test]
fn near_sentries_carry_all_while_one_of_them_does_and_a_region_that_is_lost_is_so_many_sentries() {
    let prefer = |world: &mut World| {
        world.config.firewall.hidden.as_mut().unwrap().near_milliseconds = NonZeroU16::new(20);
        world.paths.follow(&world.config, world.moment());
    };
    let mut world = World::new(&[1, 2, 3, 4]);
    world.far = [(3, 90), (4, 95)].into();
    prefer(&mut world);
    assert_eq!(world.go(9000, &[1, 2, 3, 4]).len(), VALIDATORS + 2, "all are alike until their distance is known");
    let had = world.share(3) + world.share(4);
    let moved = world.go(200_000, &[1, 2, 3, 4]);
    assert_eq!((moved.len(), world.share(3), world.share(4)), (had, 0, 0));
    assert!(moved.iter().all(|(_, change)| change.cause == Cause::Nearer), "{moved:?}");
    assert!(moved.windows(2).all(|pair| pair[1].0 - pair[0].0 >= PACE.as_millis()));
    let report = world.paths.report(WALL, world.moment());
    assert_eq!([1, 3].map(|n| report.sentries[&id(n)].burden.as_deref()), [None, Some("others are nearer")]);
    // One near sentry has all while the other is away, a far one that joins gets nothing, and a far region has all where it is alone.
    world.go(5000, &[1, 3, 4]);
    assert_eq!(world.share(1), VALIDATORS + 2);
    world.config = hidden(&[1, 2, 3, 4, 5], true);
    world.far.insert(5, 60);
    prefer(&mut world);
    assert_eq!(world.go(60_000, &[1, 3, 4, 5]), []);
    let lost = world.go(1200, &[3, 4, 5]);
    assert!(lost.len() == VALIDATORS + 2 && lost.iter().all(|(_, change)| change.cause == Cause::Lost(Way::Silent)));
    // Where it is back, so are its calls.
    world.go(300_000, &[1, 2, 3, 4, 5]);
    assert_eq!(
        (world.share(1) + world.share(2), world.share(1) > 10, world.share(2) > 10),
        (VALIDATORS + 2, true, true)
    );
    // A near one that has too much to do is worse than a far one.
    let full = Condition { tracking_permille: Some(950), ..Condition::default() };
    world.fares = [(1, full), (2, full)].into();
    world.go(300_000, &[1, 2, 3, 4, 5]);
    assert_eq!(world.share(1) + world.share(2), 0);
}

#[test]
fn a_report_tells_who_carries_what_within_bounds() {
    let mut world = World::new(&[1, 2]);
    world.go(5000, &[1, 2]);
    world.go(5000, &[1]);
    world.paths.close_log(world.now);
    let report = world.paths.report(WALL, world.moment());
    assert_eq!(report.carried.iter().map(|carried| carried.destinations.len()).sum::<usize>(), VALIDATORS + 2);
    assert_eq!((report.share(&id(1)), report.carried.len(), report.more), (VALIDATORS + 2, 2, 0));
    let [moved] = report.moves.as_slice() else { panic!("{report:?}") };
    assert_eq!((moved.cause.as_str(), &moved.from, &moved.to), ("its sentry is silent", &Some(id(2)), &Some(id(1))));
    let way = |n| &report.sentries[&id(n)];
    assert_eq!((way(1).way.as_str(), way(1).round_trip_us, way(1).lost_permille), ("good", Some(10_000), 0));
    assert_eq!((way(2).way.as_str(), way(2).since > WALL), ("silent", true));
    assert!(way(2).lost_permille > 100, "{report:?}");
    // A hundred validators and three sentries are a few kilobytes.
    let text = serde_json::to_string(&report).unwrap();
    assert!(text.len() < 4000, "{} bytes: {text}", text.len());
}
