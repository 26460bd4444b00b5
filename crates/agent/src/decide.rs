//! What to do with an answer of the controller. Values in, values out.

use crate::{
    confirm::without_cut,
    guard::{Guard, GuardViolation, admit},
    guard_change::admit_change,
    identity::Identity,
    ledger::Ledger,
    sessions::{Session, cut_by},
};
use picket_api::ConfigAnswer;
use picket_model::{Digest, Generation, MeshId, NodeConfig, NodeId, NodeName, Timestamp, WireGuardPeer};
use std::{collections::BTreeMap, net::IpAddr, time::Duration};
use thiserror::Error;

/// Why an answer is not taken. What is in force stays.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The content is not what the controller says it sent.
    #[error("its digest is {found}, the answer says {told}")]
    Digest {
        /// Of what arrived.
        found: Digest,
        /// Of what was sent.
        told: Digest,
    },
    /// The answer and its content disagree.
    #[error("the answer says revision {told}, its content {found}")]
    Revision {
        /// In the content.
        found: Generation,
        /// Beside it.
        told: Generation,
    },
    /// Somebody else's.
    #[error("it is for host {node} in mesh {mesh}")]
    OtherHost {
        /// Whose mesh.
        mesh: MeshId,
        /// Whose it is.
        node: NodeId,
    },
    /// Not newer than what is held.
    #[error(
        "it is revision {offered} of generation {generation}, this host holds or tried a newer or the same one ({held})"
    )]
    Older {
        /// Revision offered.
        offered: Generation,
        /// Generation offered.
        generation: Generation,
        /// Revision held, or tried.
        held: Generation,
    },
    /// Lets too many in at once; the hour will be over, and whom it takes away is taken away now.
    #[error("{violation}; whom it takes away has no access any more, the rest is asked for again")]
    TooSoon {
        /// How many too many.
        violation: GuardViolation,
        /// What is held, without whom the offer takes away.
        left: Box<NodeConfig>,
    },
    /// It was in force before, and the host could not be reached under it.
    #[error("revision {0} was taken back on this host, only a newer one is taken")]
    TakenBack(Generation),
    /// Would cut an operator off in the middle.
    #[error("it guards tcp/{port}, on which {from} of an admin network is right now, and does not let it in any more")]
    CutsSession {
        /// The port.
        port: u16,
        /// Who is on it.
        from: IpAddr,
    },
    /// A host keeps the identity key it joined with: whoever hands out another one wants to stand between the two.
    #[error("it gives {0} another identity key than before, or none: no host changes its identity")]
    Identity(NodeName),
    /// The guard says no.
    #[error("the guard refuses revision {revision}: {violation}")]
    Guard {
        /// Revision offered.
        revision: Generation,
        /// The rule it breaks.
        violation: GuardViolation,
    },
}

/// The host that an answer is for.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// Who it is.
    pub identity: &'a Identity,
    /// What it refuses.
    pub guard: &'a Guard,
    /// What it holds.
    pub ledger: &'a Ledger,
    /// Who is on it.
    pub sessions: &'a [Session],
    /// What its clock says.
    pub now: Timestamp,
}

/// The wanted state in an answer, if it is genuine, ours, newer than what is held, and within the guard's rules.
pub fn judge(here: Here<'_>, answer: ConfigAnswer) -> Result<NodeConfig, Refusal> {
    let Here { identity, guard, ledger, sessions, now } = here;
    let held = ledger.config.as_ref();
    let ConfigAnswer { revision: told, digest, full: offered } = answer;
    if offered.revision != told {
        return Err(Refusal::Revision { found: offered.revision, told });
    }
    if (&offered.mesh, &offered.node) != (&identity.mesh, &identity.node) {
        return Err(Refusal::OtherHost { mesh: offered.mesh, node: offered.node });
    }
    let found = offered.digest();
    if found != digest {
        return Err(Refusal::Digest { found, told: digest });
    }
    if let Some(held) = held
        && (offered.revision <= held.revision || offered.generation < held.generation)
    {
        let (generation, held) = (offered.generation, held.revision);
        return Err(Refusal::Older { offered: offered.revision, generation, held });
    }
    // The agent ended while that one was on trial. It may be tried once more; what a controller that lags has from before it may not.
    if let Some(tried) = ledger.interrupted.filter(|tried| offered.revision < *tried) {
        return Err(Refusal::Older { offered: offered.revision, generation: offered.generation, held: tried });
    }
    if ledger.taken_back.as_ref().is_some_and(|taken| offered.revision <= taken.revision) {
        return Err(Refusal::TakenBack(offered.revision));
    }
    if let Some(name) = held.and_then(|held| reidentified(held, &offered)) {
        return Err(Refusal::Identity(name));
    }
    let admitted = admit(guard, &offered).and_then(|()| admit_change(guard, ledger, &offered, now));
    admitted.map_err(|violation| match (violation, held) {
        (violation @ GuardViolation::TooManyAdditions { .. }, Some(held)) => {
            Refusal::TooSoon { violation, left: Box::new(without_cut(held.clone(), &offered)) }
        }
        (violation, _) => Refusal::Guard { revision: offered.revision, violation },
    })?;
    let after = guard.rules.with_admin(&offered.firewall);
    let before = held.map(|held| guard.rules.with_admin(&held.firewall));
    let before = before.unwrap_or_else(|| guard.rules.closed(None));
    match cut_by(sessions, &before, &after) {
        Some(Session { port, from }) => Err(Refusal::CutsSession { port, from }),
        None => Ok(offered),
    }
}

/// A host that is a peer in both and has another identity key in the second, or none.
fn reidentified(held: &NodeConfig, offered: &NodeConfig) -> Option<NodeName> {
    let identity = |peer: &WireGuardPeer| peer.pairing.map(|pairing| pairing.identity);
    let known: BTreeMap<_, _> =
        held.wireguard.peers.values().filter_map(|peer| Some((&peer.node, identity(peer)?))).collect();
    let mut peers = offered.wireguard.peers.values();
    let other = peers.find(|peer| known.get(&peer.node).is_some_and(|known| identity(peer) != Some(*known)));
    other.map(|peer| peer.name.clone())
}

/// A wait between zero and `longest`, from a random number: hosts that lost the controller together come back apart.
pub fn full_jitter(random: u32, longest: Duration) -> Duration {
    longest.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// When tunnels without a first handshake are dialled again: soon after they are wanted, then ever more seldom, so that
/// an answer over a slow path finds its question still open; after some seconds WireGuard's own pace is left to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redial {
    pause: Duration,
}

impl Redial {
    const FIRST: Duration = Duration::from_millis(50);
    /// WireGuard itself tries again every five seconds (whitepaper section 6.1, Rekey-Timeout).
    const LAST: Duration = Duration::from_secs(5);

    /// For tunnels that have just become wanted.
    pub fn begin() -> Self {
        Self { pause: Self::FIRST }
    }

    /// How long to wait before dialling again; `None` where it is left to WireGuard.
    pub fn pause(self) -> Option<Duration> {
        (self.pause < Self::LAST).then_some(self.pause)
    }

    /// While a peer is about to use another key it is dialled under that one again and again: what waits is its traffic. No
    /// sooner than an answer takes over the slowest path, since each try gives up the one before.
    pub fn awaiting() -> Self {
        Self { pause: Duration::from_secs(1) }
    }

    /// After dialling once more.
    #[must_use]
    pub fn dialled(self) -> Self {
        Self { pause: self.pause * 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        guard::tests::{config, guard},
        identity::tests::identity,
    };
    use picket_model::{IdentityKey, Pairing, TakenBack, WireGuardPublicKey};

    fn judged(held: NodeConfig, answer: ConfigAnswer) -> Result<NodeConfig, Refusal> {
        let ledger = Ledger { config: Some(held), ..Ledger::default() };
        judged_by(&ledger, &[], answer)
    }

    fn judged_by(ledger: &Ledger, sessions: &[Session], answer: ConfigAnswer) -> Result<NodeConfig, Refusal> {
        let (identity, guard, now) = (identity(), guard(), Timestamp::from_millis(0));
        judge(Here { identity: &identity, guard: &guard, ledger, sessions, now }, answer)
    }

    fn answer(full: NodeConfig) -> ConfigAnswer {
        ConfigAnswer { revision: full.revision, digest: full.digest(), full }
    }

    /// What is said to an offer after one change of it, while revision 3 of generation 4 is held.
    fn check(change: impl FnOnce(&mut NodeConfig), expect: &str) {
        let mut offered = config();
        (offered.generation, offered.revision) = (Generation(9), Generation(9));
        change(&mut offered);
        check_answer(answer(offered), expect);
    }

    fn check_answer(answer: ConfigAnswer, expect: &str) {
        let full = answer.full.clone();
        match judged(config(), answer) {
            Ok(taken) => assert!(expect.is_empty() && taken == full, "taken, not {expect:?}"),
            Err(refusal) => {
                let said = refusal.to_string();
                assert!(!expect.is_empty() && said.contains(expect), "{said:?}, not {expect:?}");
            }
        }
    }

    #[test]
    fn a_newer_state_is_taken() {
        check(|_| (), "");
        assert!(judged_by(&Ledger::default(), &[], answer(config())).is_ok());
    }

    #[test]
    fn an_older_or_equal_state_is_refused() {
        check(|offered| offered.revision = Generation(3), "newer or the same");
        check(|offered| offered.revision = Generation(2), "newer or the same");
        check(|offered| offered.generation = Generation(3), "newer or the same");
    }

    #[test]
    fn another_hosts_state_is_refused() {
        check(|offered| offered.node = "n-9".parse().unwrap(), "host n-9");
        check(|offered| offered.mesh = "m-9".parse().unwrap(), "mesh m-9");
    }

    #[test]
    fn a_damaged_answer_is_refused() {
        let (mut damaged, mut relabelled) = (answer(config()), answer(config()));
        damaged.full.wireguard.listen_port += 1;
        check_answer(damaged, "its digest is");
        relabelled.revision = Generation(99);
        check_answer(relabelled, "the answer says revision 99");
    }

    #[test]
    fn the_guard_outranks_the_controller() {
        check(|offered| offered.firewall.guarded.clear(), "the guard refuses revision 9: it leaves");
    }

    #[test]
    fn an_offer_that_lets_too_many_in_still_takes_away_whom_it_takes_away() {
        let mut guard = guard();
        guard.rules.max_additions_per_hour = 0;
        let ledger = Ledger { config: Some(config()), ..Ledger::default() };
        let mut offered = NodeConfig { revision: Generation(9), generation: Generation(9), ..config() };
        offered.wireguard.peers.clear();
        let reason = picket_model::Reason::Policy { line: "x".into() };
        let set = offered.firewall.allow.entry(picket_model::Purpose::Rpc).or_default();
        set.insert("198.51.100.1/32".parse().unwrap(), reason);
        let (identity, now) = (identity(), Timestamp::from_millis(0));
        let here = Here { identity: &identity, guard: &guard, ledger: &ledger, sessions: &[], now };
        match judge(here, answer(offered)) {
            Err(Refusal::TooSoon { left, .. }) => {
                assert!(left.wireguard.peers.is_empty());
                assert_eq!((left.revision, &left.firewall.guarded), (config().revision, &config().firewall.guarded));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_revision_that_was_taken_back_comes_no_second_time() {
        let taken_back = TakenBack { revision: Generation(9), at: Timestamp::from_millis(0), reason: "gone".into() };
        let ledger = Ledger { config: Some(config()), taken_back: Some(taken_back), ..Ledger::default() };
        let offer = |revision| {
            let offered = NodeConfig { revision: Generation(revision), generation: Generation(20), ..config() };
            judged_by(&ledger, &[], answer(offered)).map_err(|refusal| refusal.to_string())
        };
        for revision in [8, 9] {
            assert!(offer(revision).unwrap_err().contains("was taken back on this host"));
        }
        assert!(offer(10).is_ok());
    }

    #[test]
    fn what_is_older_than_an_interrupted_trial_is_refused_although_something_older_yet_is_held() {
        let ledger = Ledger { config: Some(config()), interrupted: Some(Generation(9)), ..Ledger::default() };
        let offer = |revision| {
            let offered = NodeConfig { revision: Generation(revision), generation: Generation(revision), ..config() };
            judged_by(&ledger, &[], answer(offered)).map_err(|refusal| refusal.to_string())
        };
        assert!(offer(8).unwrap_err().contains("holds or tried a newer or the same one (9)"));
        assert!(offer(9).is_ok() && offer(10).is_ok());
    }

    #[test]
    fn a_change_that_cuts_an_operator_off_in_the_middle_is_refused() {
        let admin = |mut config: NodeConfig| {
            let reason = picket_model::Reason::Policy { line: "admin".into() };
            let set = config.firewall.allow.entry(picket_model::Purpose::Admin).or_default();
            set.insert("198.51.100.248/29".parse().unwrap(), reason);
            config
        };
        let port = picket_model::GuardedPort {
            protocol: picket_model::Protocol::Tcp,
            port: std::num::NonZeroU16::new(9000).unwrap(),
        };
        let mut before = admin(config());
        before.firewall.guarded.remove(&port);
        let ledger = Ledger { config: Some(before), ..Ledger::default() };
        let sessions = [Session { port: 9000, from: "198.51.100.250".parse().unwrap() }];
        let offered = NodeConfig { revision: Generation(9), generation: Generation(9), ..config() };
        let refusal = judged_by(&ledger, &sessions, answer(offered.clone())).unwrap_err().to_string();
        assert!(refusal.contains("tcp/9000, on which 198.51.100.250"), "{refusal}");
        assert!(judged_by(&ledger, &sessions, answer(admin(offered.clone()))).is_ok());
        assert!(judged_by(&ledger, &[], answer(offered)).is_ok());
    }

    #[test]
    fn a_known_host_keeps_its_identity_key() {
        let pairing = |byte, epoch| {
            let identity = IdentityKey(WireGuardPublicKey::new([byte; 32]).unwrap());
            Some(Pairing { identity, epoch, before: None })
        };
        let with = |pairing, node: &str, key| {
            let mut config = config();
            let (_, mut peer) = config.wireguard.peers.pop_first().unwrap();
            (peer.pairing, peer.node) = (pairing, node.parse().unwrap());
            config.wireguard.peers.insert(WireGuardPublicKey::new([key; 32]).unwrap(), peer);
            (config.generation, config.revision) = (Generation(9), Generation(9));
            config
        };
        let held = NodeConfig { revision: Generation(3), generation: Generation(4), ..with(pairing(1, 7), "n-2", 9) };
        let check = |offered: NodeConfig, taken: bool| {
            let judged = judged(held.clone(), answer(offered));
            assert_eq!(judged.is_ok(), taken, "{judged:?}");
        };
        check(with(pairing(1, 8), "n-2", 9), true);
        check(with(pairing(2, 8), "n-2", 9), false);
        check(with(None, "n-2", 9), false);
        // Another key of the tunnel is the host's own business, and is of no use without the identity's secret.
        check(with(pairing(1, 8), "n-2", 10), true);
        check(with(pairing(2, 8), "n-2", 10), false);
        check(with(pairing(2, 8), "n-3", 10), true);
    }

    #[test]
    fn redials_double_and_end_before_wireguards_own_pace() {
        let pauses = std::iter::successors(Some(Redial::begin()), |redial| Some(redial.dialled()));
        let pauses: Vec<_> = pauses.map_while(Redial::pause).map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200]);
    }

    #[test]
    fn jitter_is_within_its_limit() {
        let longest = Duration::from_secs(3);
        assert_eq!(full_jitter(0, longest), Duration::ZERO);
        assert_eq!(full_jitter(u32::MAX, longest), longest);
        assert!(full_jitter(1 << 31, longest) < longest);
    }
}
