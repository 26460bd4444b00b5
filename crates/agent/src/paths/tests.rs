//! Tests of which sentry carries what, over a world in which sentries answer probes or do not.

use super::*;
use crate::guard::tests::config;
use health::PERIOD;
use picket_model::{WireGuardPeer, WireGuardPublicKey};
use std::num::NonZeroU8;

const VALIDATORS: usize = 60;

struct World {
    paths: Paths,
    config: NodeConfig,
    now: Instant,
    begun: Instant,
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
    config.firewall.hidden = Some(Box::new(Hidden { sentries, strict, ..Hidden::default() }));
    config
}

impl World {
    fn new(sentries: &[u8]) -> Self {
        let (config, now) = (hidden(sentries, true), Instant::now());
        Self { paths: Paths::of(&config, now).unwrap(), config, now, begun: now }
    }

    fn follow(&mut self, sentries: &[u8]) {
        self.config = hidden(sentries, true);
        self.paths.follow(&self.config, self.now);
    }

    /// Some time with these sentries answering; what moved, with milliseconds since `begun`.
    fn go(&mut self, milliseconds: u64, answering: &[u8]) -> Vec<(u128, Move)> {
        let mut moved = Vec::new();
        let end = self.now + Duration::from_millis(milliseconds);
        while self.now < end {
            let sentries: Vec<NodeId> = self.paths.hidden.sentries.keys().cloned().collect();
            for sentry in &sentries {
                let number = self.paths.probe(sentry, self.now).unwrap();
                if answering.iter().any(|n| id(*n) == *sentry) {
                    let heard = self.now + Duration::from_millis(10);
                    self.paths.answered(sentry, number, heard);
                }
            }
            self.now += PERIOD;
            let at = (self.now - self.begun).as_millis();
            moved.extend(self.paths.step(self.now).into_iter().map(|change| (at, change)));
        }
        moved
    }

    fn share(&self, sentry: u8) -> usize {
        self.paths.carried().values().filter(|(carrying, _)| *carrying == id(sentry)).count()
    }
}

#[test]
fn every_validator_and_the_rest_have_exactly_one_sentry_from_the_first_moment() {
    let mut world = World::new(&[1, 2, 3]);
    let moved = world.paths.step(world.now);
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
    assert_eq!(world.paths.silent(), [&id(2)]);
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
    assert_eq!(world.paths.silent(), Vec::<&NodeId>::new(), "it may be the host's own line");
    // The first that answers again, steadily, takes what it did not have.
    let others = world.share(2);
    assert_eq!(world.go(30_000, &[1]).len(), others);
}

#[test]
fn a_sentry_that_never_answers_holds_nothing_for_long() {
    let mut world = World::new(&[1, 2]);
    world.paths.step(world.now);
    let had = world.share(2);
    let moved = world.go(3000, &[1]);
    assert_eq!((moved.len(), world.share(2)), (had, 0));
    assert!(moved.iter().all(|(at, change)| *at <= 2200 && change.cause == Cause::Lost(Way::Unheard)), "{moved:?}");
}

#[test]
fn a_sentry_that_was_taken_out_holds_nothing_and_a_new_one_proves_itself_first() {
    let mut world = World::new(&[1, 2]);
    world.go(5000, &[1, 2]);
    world.follow(&[1, 3]);
    let moved = world.paths.step(world.now);
    assert!(moved.iter().all(|change| change.cause == Cause::Gone && change.from == Some(id(2))), "{moved:?}");
    assert_eq!(world.share(2), 0);
    // What it was given for want of the other is given back if it never answers.
    world.go(5000, &[1]);
    assert_eq!(world.share(3), 0);
}

#[test]
fn a_destination_is_an_allowed_ip_of_the_tunnel_that_carries_it() {
    let mut world = World::new(&[1, 2]);
    world.paths.step(world.now);
    let steered = world.paths.steer(&world.config.wireguard);
    for (destination, (sentry, _)) in world.paths.carried() {
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
    assert_eq!((world.paths.step(world.now), world.paths.silent()), (vec![], vec![]));
    assert_eq!(world.go(5000, &[1, 2]), []);
    // Who is silent after it is found as ever.
    world.now += Duration::from_secs(90);
    let moved = world.go(2000, &[1]);
    assert!(!moved.is_empty() && moved.iter().all(|(_, change)| change.cause == Cause::Lost(Way::Silent)), "{moved:?}");
}

#[test]
fn a_host_that_is_not_hidden_has_no_paths() {
    assert!(Paths::of(&config(), Instant::now()).is_none());
}
