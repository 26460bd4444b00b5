//! Another key for this host's tunnels: made and on the disk first, handed to the peers by the controller, and in use once every
//! peer has read it back. One rename takes it into use, so that a crash leaves the one or the other.

use crate::{
    cli::Place,
    identity::{Identity, IdentityError, key_made_at, load_next_key, make_next_key},
    state::StateDir,
};
use anyhow::{Result, bail};
use picket_api::{
    AgentClient, ApiError,
    node::{RekeyAnswer, RekeyRequest},
};
use picket_model::{PeerHealth, WireGuardConfig, WireGuardPublicKey};
use picket_wireguard::DeviceConfig;
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    future::Future,
    pin::Pin,
    time::{Duration, Instant, SystemTime},
};
use tracing::{error, info};

type Asking = Pin<Box<dyn Future<Output = Result<RekeyAnswer, ApiError>>>>;

/// What the controller says of this host's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyWord {
    /// Nothing is to be done.
    Stays,
    /// The peers know this next key: it may be taken into use.
    Use(WireGuardPublicKey),
    /// An operator wishes for another key than this one.
    Replace(WireGuardPublicKey),
}

/// The question whether the next key may be taken into use, of which one is under way at a time.
#[derive(Default)]
pub struct Rekey {
    asking: Option<Asking>,
    /// What the controller was told last and took.
    told: Option<RekeyRequest>,
    asked: Option<RekeyRequest>,
    /// A controller that said no is left alone until then.
    not_before: Option<Instant>,
}

/// How long a controller is left alone after it said no.
const AFTER_A_NO: Duration = Duration::from_mins(1);

impl Rekey {
    /// Tells the controller which key is in use and which is to follow, unless it knows and nothing is to follow.
    ///
    /// # Errors
    /// The next key's file cannot be read.
    pub fn look(
        &mut self,
        state: &StateDir,
        uses: WireGuardPublicKey,
        client: &AgentClient,
    ) -> Result<(), IdentityError> {
        let next = load_next_key(state)?.map(|key| key.public()).filter(|next| *next != uses);
        let request = RekeyRequest { uses, next };
        let rested = self.not_before.is_none_or(|until| Instant::now() >= until);
        if rested && self.asking.is_none() && (next.is_some() || self.told != Some(request)) {
            let client = client.clone();
            self.asked = Some(request);
            self.asking = Some(Box::pin(async move { client.rekey(&request).await }));
        }
        Ok(())
    }

    /// Asks once more at the next look, though the controller knows all there is to say: it may have something to say.
    pub fn ask_again(&mut self) {
        self.told = None;
    }

    /// Waits for an answer, which is about the keys that were asked about. Forever where nobody asks. May be dropped at any time.
    pub async fn answered(&mut self) -> Result<KeyWord, ApiError> {
        let Some(asking) = &mut self.asking else { return std::future::pending().await };
        let answer = asking.await;
        self.asking = None;
        let answer = answer?;
        self.told = self.asked;
        Ok(match self.asked {
            Some(RekeyRequest { next: Some(next), .. }) if answer.ready => KeyWord::Use(next),
            Some(RekeyRequest { uses, next: None }) if answer.replace => KeyWord::Replace(uses),
            _ => KeyWord::Stays,
        })
    }

    /// The controller said no, and may say yes later: a peer may come back, or a policy change.
    pub fn refused(&mut self) {
        self.not_before = Some(Instant::now() + AFTER_A_NO);
    }

    /// The controller does not know the question, and is not asked it again for this.
    pub fn unknown(&mut self) {
        self.told = self.asked;
    }
}

/// Peers of one host under two keys: the one with its addresses, and the next one, which has none yet.
fn successions(wanted: &WireGuardConfig) -> impl Iterator<Item = (&WireGuardPublicKey, &WireGuardPublicKey)> {
    let waiting = wanted.peers.iter().filter(|(_, peer)| peer.allowed_ips.is_empty());
    waiting.filter_map(|(next, peer)| {
        let holds =
            |(_, twin): &(_, &picket_model::WireGuardPeer)| twin.node == peer.node && !twin.allowed_ips.is_empty();
        Some((wanted.peers.iter().find(holds)?.0, next))
    })
}

/// The next keys of peers, and since when nothing has happened to them.
#[derive(Debug, Default)]
pub struct Awaited {
    waiting: BTreeSet<WireGuardPublicKey>,
    since: Option<Instant>,
}

impl Awaited {
    /// How long a peer that is about to use another key is looked at and dialled in haste. One that is away, or waits for
    /// another peer that is, takes as long as it takes.
    const HASTE: Duration = Duration::from_secs(10);

    /// Takes the next keys from a wanted state, and what the kernel knows of them.
    pub fn follow(
        &mut self,
        wanted: Option<&WireGuardConfig>,
        found: &BTreeMap<WireGuardPublicKey, PeerHealth>,
        now: Instant,
    ) {
        let next = wanted.into_iter().flat_map(successions).map(|(_, next)| *next);
        let waiting = next.filter(|next| !has_handshake(found, next)).collect();
        if self.waiting != waiting {
            (self.waiting, self.since) = (waiting, Some(now));
        }
    }

    /// Forgets those that have had their first handshake.
    pub fn look(&mut self, found: &BTreeMap<WireGuardPublicKey, PeerHealth>, now: Instant) {
        let before = self.waiting.len();
        self.waiting.retain(|next| !has_handshake(found, next));
        if self.waiting.len() != before {
            self.since = Some(now);
        }
    }

    /// Whether a peer is to be looked at and dialled in haste.
    pub fn is_pressing(&self, now: Instant) -> bool {
        let recent = self.since.is_some_and(|since| now.saturating_duration_since(since) < Self::HASTE);
        recent && !self.waiting.is_empty()
    }
}

/// Gives a host's addresses to its next key once that has had its first handshake: only who holds it can have made one, and who
/// uses it does not go back.
pub fn hand_over(
    device: &mut DeviceConfig,
    wanted: &WireGuardConfig,
    found: &BTreeMap<WireGuardPublicKey, PeerHealth>,
) {
    for (now, next) in successions(wanted).filter(|(_, next)| has_handshake(found, next)) {
        let networks = device.peers.get_mut(now).map(|peer| std::mem::take(&mut peer.allowed_ips));
        if let (Some(networks), Some(peer)) = (networks, device.peers.get_mut(next)) {
            peer.allowed_ips = networks;
        }
    }
}

fn has_handshake(found: &BTreeMap<WireGuardPublicKey, PeerHealth>, key: &WireGuardPublicKey) -> bool {
    found.get(key).is_some_and(|health| health.last_handshake.is_some())
}

/// How often is looked whether the key is old.
const LOOK: Duration = Duration::from_mins(10);

/// Makes the next key whenever the one in use is older than `every`; does nothing where there is no such time.
pub async fn keep_fresh(state: StateDir, every: Option<Duration>) -> Infallible {
    let Some(every) = every else { return std::future::pending().await };
    loop {
        match make_if_old(&state, every, SystemTime::now()) {
            Ok(Some(next)) => info!(key = %next, "the key of the tunnels is old: the next one is made"),
            Ok(None) => {}
            Err(error) => error!(error = format!("{error:#}"), "whether the key of the tunnels is old is not known"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The next key, made where the one in use is older than `every` and none waits. A key is as old as its file.
fn make_if_old(state: &StateDir, every: Duration, now: SystemTime) -> Result<Option<WireGuardPublicKey>> {
    let made = key_made_at(state)?;
    // A file from the future says nothing.
    if now.duration_since(made).is_ok_and(|age| age >= every) {
        return Ok(make_next_key(state)?.map(|key| key.public()));
    }
    Ok(None)
}

/// Makes the next key, for the agent that runs to take into use; says what came of it.
pub fn rotate(place: &Place) -> Result<String> {
    let state = StateDir::new(&place.state_dir);
    if Identity::load(&state)?.is_none() {
        bail!("this host is not enrolled ({} has no identity)", place.state_dir.display());
    }
    if let Some(next) = make_next_key(&state)? {
        return Ok(format!("key {} is made; the agent takes it into use once every peer knows it", next.public()));
    }
    Ok(match load_next_key(&state)? {
        Some(waiting) => format!("key {} waits to be taken into use already; nothing was changed", waiting.public()),
        None => "the key that waited was taken into use just now; nothing was changed".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::Timestamp;
    use picket_wireguard::PrivateKey;

    fn key(n: u8) -> WireGuardPublicKey {
        WireGuardPublicKey::new([n; 32]).unwrap()
    }

    /// Key 8 with addresses, its next key 9 without.
    fn wanted() -> WireGuardConfig {
        let mut config = crate::guard::tests::config().wireguard;
        let peer = config.peers.pop_first().unwrap().1;
        config.peers.insert(key(9), picket_model::WireGuardPeer { allowed_ips: BTreeSet::new(), ..peer.clone() });
        config.peers.insert(key(8), peer);
        config
    }

    fn found(handshakes: &[u8]) -> BTreeMap<WireGuardPublicKey, PeerHealth> {
        let health = |n| {
            let last_handshake = handshakes.contains(&n).then(|| Timestamp::from_millis(1));
            (key(n), PeerHealth { last_handshake, endpoint: None, received_bytes: 0, sent_bytes: 0 })
        };
        [8, 9].map(health).into()
    }

    #[test]
    fn addresses_move_with_the_first_handshake_of_the_next_key_and_not_before() {
        let check = |handshakes: &[u8], owner: u8, is_awaited: bool| {
            let (wanted, now) = (wanted(), Instant::now());
            let mut device = DeviceConfig::from_model("picket0", PrivateKey::from_random([1; 32]), &wanted).unwrap();
            hand_over(&mut device, &wanted, &found(handshakes));
            for n in [8, 9] {
                assert_eq!(device.peers[&key(n)].allowed_ips.is_empty(), n != owner, "{handshakes:?}");
            }
            device.check().unwrap();
            let mut awaited = Awaited::default();
            awaited.follow(Some(&wanted), &found(handshakes), now);
            assert_eq!(awaited.is_pressing(now), is_awaited);
        };
        check(&[], 8, true);
        check(&[8], 8, true);
        check(&[8, 9], 9, false);
        check(&[9], 9, false);
    }

    #[test]
    fn a_peer_without_addresses_is_no_next_key_by_itself() {
        let mut alone = wanted();
        alone.peers.remove(&key(8));
        let (mut awaited, now) = (Awaited::default(), Instant::now());
        awaited.follow(Some(&alone), &found(&[]), now);
        assert!(!awaited.is_pressing(now));
        let mut device = DeviceConfig::from_model("picket0", PrivateKey::from_random([1; 32]), &alone).unwrap();
        hand_over(&mut device, &alone, &found(&[9]));
        assert!(device.peers[&key(9)].allowed_ips.is_empty());
    }

    #[test]
    fn a_peer_that_is_away_is_not_dialled_in_haste_for_ever() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut awaited = Awaited::default();
        awaited.follow(Some(&wanted()), &found(&[8]), start);
        assert!(awaited.is_pressing(start) && awaited.is_pressing(start + second * 9));
        // The same again, as with each comparison of wanted and found, is nothing new.
        awaited.follow(Some(&wanted()), &found(&[8]), start + second * 9);
        awaited.look(&found(&[8]), start + second * 9);
        assert!(!awaited.is_pressing(start + second * 10));
        // Another next key is.
        let mut other = wanted();
        let peer = other.peers.remove(&key(9)).unwrap();
        other.peers.insert(key(10), peer);
        awaited.follow(Some(&other), &found(&[8]), start + second * 60);
        assert!(awaited.is_pressing(start + second * 69) && !awaited.is_pressing(start + second * 70));
        awaited.follow(Some(&wanted()), &found(&[8]), start + second * 80);
        awaited.look(&found(&[8, 9]), start + second * 81);
        assert!(!awaited.is_pressing(start + second * 81), "it is there");
        awaited.follow(None, &found(&[]), start + second * 81);
        assert!(!awaited.is_pressing(start + second * 81));
    }

    #[test]
    fn an_old_key_gets_a_next_one_and_only_one() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        let (day, hour) = (Duration::from_hours(24), Duration::from_hours(1));
        assert!(make_if_old(&state, day, SystemTime::now()).unwrap_err().to_string().contains("wireguard.key"));
        crate::identity::Keys::load_or_make(&state).unwrap();
        let now = SystemTime::now();
        assert_eq!(make_if_old(&state, day, now + hour).unwrap(), None);
        assert_eq!(make_if_old(&state, day, now - day * 2).unwrap(), None, "a clock that was set back");
        let next = make_if_old(&state, day, now + day * 2).unwrap().unwrap();
        assert_eq!(load_next_key(&state).unwrap().unwrap().public(), next);
        assert_eq!(make_if_old(&state, day, now + day * 2).unwrap(), None, "it waits already");
        crate::identity::use_next_key(&state, &next).unwrap();
        assert_eq!(make_if_old(&state, day, now + hour).unwrap(), None, "it is young");
    }

    #[test]
    fn a_next_key_is_made_once_and_taken_into_use_by_one_rename() {
        let folder = tempfile::tempdir().unwrap();
        let place =
            Place { state_dir: folder.path().into(), guard: None, interface: "picket0".parse().unwrap(), log_group: 0 };
        let state = StateDir::new(folder.path());
        assert!(rotate(&place).unwrap_err().to_string().contains("not enrolled"));
        crate::identity::tests::identity().save(&state, "pem").unwrap();
        let keys = crate::identity::Keys::load_or_make(&state).unwrap();
        rotate(&place).unwrap();
        let next = load_next_key(&state).unwrap().unwrap();
        assert!(rotate(&place).unwrap().contains("nothing was changed"));
        assert_ne!(next.public(), keys.wireguard_public());
        let known = next.public();
        let use_next_key = |known| crate::identity::use_next_key(&state, &known).unwrap().map(|key| key.public());
        assert_eq!(use_next_key(key(7)), None, "peers know another one");
        assert_eq!(load_next_key(&state).unwrap().unwrap().public(), known, "and this one waits on");
        assert_eq!(crate::identity::Keys::load(&state).unwrap().wireguard_public(), keys.wireguard_public());
        assert_eq!(use_next_key(known), Some(known));
        assert_eq!(crate::identity::Keys::load(&state).unwrap().wireguard_public(), next.public());
        assert!(load_next_key(&state).unwrap().is_none() && use_next_key(known).is_none());
    }
}
