//! What a host makes of the proofs of its peers, without any network.

use super::*;
use crate::guard::tests::{config, guard};
use picket_attest::Kind as ProofKind;

const RULE: &str = "[[enroll]]\nname = \"edge\"\nproof = \"gcp\"\naccount = \"p\"\nrole = \"sentry\"\nmax_nodes = 9";

/// A validator's guard that wants proofs of sentries.
fn strict() -> Guard {
    Guard { rules: toml::from_str(RULE).unwrap(), ..guard() }
}

fn identity(instance: &str, kind: ProofKind, issued: Option<i64>) -> Identity {
    Identity {
        kind,
        account: "p".into(),
        instance: instance.into(),
        region: None,
        zone: None,
        image: None,
        instance_name: None,
        tags: BTreeMap::new(),
        claims: serde_json::Map::new(),
        launched_at: None,
        issued_at: issued.map(Timestamp::from_millis),
        expires_at: None,
    }
}

fn peer(config: &NodeConfig) -> (WireGuardPublicKey, &WireGuardPeer) {
    config.wireguard.peers.iter().next().map(|(key, peer)| (*key, peer)).unwrap()
}

fn key(byte: u8) -> WireGuardPublicKey {
    WireGuardPublicKey::new([byte; 32]).unwrap()
}

fn rule() -> (TokenId, Option<Digest>) {
    let rule = "rule.edge".parse().unwrap();
    let terms = strict().rules.terms(&rule);
    (rule, terms)
}

/// The one peer under another key.
fn under(key: WireGuardPublicKey) -> WireGuardConfig {
    let mut wanted = config().wireguard;
    let (_, host) = wanted.peers.pop_first().unwrap();
    wanted.peers.insert(key, host);
    wanted
}

fn take(vouched: &mut Vouched, identity: &Identity, byte: u8, at: i64) -> Result<(), String> {
    let now = Timestamp::from_millis(at);
    vouched.take(&identity.id().unwrap(), identity, key(byte), &under(key(byte)), rule(), now)
}

#[test]
fn a_peer_without_a_proof_gets_neither_tunnel_nor_way_in() {
    let (mut guard, config) = (strict(), config());
    assert!(!config.wireguard.peers.is_empty() && !config.firewall.allowed(Purpose::Overlay).0.is_empty());
    let left = guard.proven(&config);
    assert!(left.wireguard.peers.is_empty() && left.firewall.allowed(Purpose::Overlay).0.is_empty());
    assert_eq!(left.firewall.allowed(Purpose::P2p), config.firewall.allowed(Purpose::P2p));
    // With its proof it has both, under this key and no other.
    let (known, _) = peer(&config);
    let (proven, now) = (identity("1", ProofKind::Gcp, Some(5)), Timestamp::from_millis(0));
    guard.vouched.take(&proven.id().unwrap(), &proven, known, &config.wireguard, rule(), now).unwrap();
    assert!(matches!(guard.proven(&config), Cow::Borrowed(_)));
    let other = identity("2", ProofKind::Gcp, Some(5)).id().unwrap();
    assert_eq!(guard.vouched.counts(&config.wireguard, &other), BTreeMap::from([(rule().0, 1)]));
    assert_eq!(guard.vouched.counts(&config.wireguard, &proven.id().unwrap()), BTreeMap::new());
    let mut swapped = config.clone();
    let (_, host) = swapped.wireguard.peers.pop_first().unwrap();
    swapped.wireguard.peers.insert(WireGuardPublicKey::new([77; 32]).unwrap(), host);
    assert!(guard.proven(&swapped).wireguard.peers.is_empty());
    let mut renamed = config.clone();
    renamed.wireguard.peers.values_mut().for_each(|peer| peer.node = "n-77".parse().unwrap());
    assert!(guard.proven(&renamed).wireguard.peers.is_empty());
}

#[test]
fn rules_ask_only_where_they_are_and_of_whom_they_are() {
    let config = config();
    assert!(matches!(guard().proven(&config), Cow::Borrowed(_)));
    let sentry = Guard { role: NodeRole::Sentry, ..strict() };
    assert!(matches!(sentry.proven(&config), Cow::Borrowed(_)));
    let mut exempt = strict();
    exempt.rules.without_proof = config.wireguard.peers.keys().copied().collect();
    assert!(matches!(exempt.proven(&config), Cow::Borrowed(_)));
}

#[test]
fn what_the_rules_do_not_say_any_more_lets_nobody_in() {
    let (mut guard, config) = (strict(), config());
    let (known, _) = peer(&config);
    let (proven, now) = (identity("1", ProofKind::Gcp, Some(5)), Timestamp::from_millis(0));
    guard.vouched.take(&proven.id().unwrap(), &proven, known, &config.wireguard, rule(), now).unwrap();
    let check = |change: &dyn Fn(&mut GuardRules), is_in: bool| {
        let mut guard = guard.clone();
        change(&mut guard.rules);
        assert_eq!(matches!(guard.proven(&config), Cow::Borrowed(_)), is_in, "{:?}", guard.rules.enroll);
    };
    check(&|_| (), true);
    check(&|rules| rules.max_peers = 7, true);
    check(&|rules| rules.enroll[0].name = "other".into(), false);
    check(&|rules| rules.enroll[0].regions = ["us".to_owned()].into(), false);
    check(&|rules| rules.attest.aws_short_keys = true, false);
}

#[test]
fn a_next_key_is_asked_about_once_the_one_in_use_is_known() {
    let mut guard = strict();
    let mut wanted = config().wireguard;
    let (used, host) = wanted.peers.iter().next().map(|(key, host)| (*key, host.clone())).unwrap();
    // Before the other one in order of keys, as half of all are.
    let next = key(1);
    wanted.peers.insert(next, WireGuardPeer { allowed_ips: BTreeSet::new(), ..host });
    let asked = |guard: &Guard| guard.to_ask(&wanted).map(|(key, _)| *key).collect::<Vec<_>>();
    assert_eq!(asked(&guard), [used]);
    let proven = identity("1", ProofKind::Gcp, Some(5));
    let now = Timestamp::from_millis(0);
    guard.vouched.take(&proven.id().unwrap(), &proven, used, &wanted, rule(), now).unwrap();
    assert_eq!(asked(&guard), [next]);
    let newer = identity("1", ProofKind::Gcp, Some(6));
    guard.vouched.take(&newer.id().unwrap(), &newer, next, &wanted, rule(), now).unwrap();
    assert_eq!(asked(&guard), []);
}

#[test]
fn an_identity_stays_with_its_key_unless_its_cloud_names_another_one_later() {
    let mut vouched = Vouched::default();
    let document = identity("1", ProofKind::AwsDocument, None);
    take(&mut vouched, &document, 1, 0).unwrap();
    take(&mut vouched, &document, 1, 1).unwrap();
    let error = take(&mut vouched, &document, 2, 2).unwrap_err();
    assert!(error.contains("aws/p/1 was shown here for another WireGuard key, by sentry-1"), "{error}");
    assert!(error.contains("proofs forget aws/p/1"), "{error}");
    assert!(vouched.0.remove("aws/p/1").is_some());
    take(&mut vouched, &document, 2, 3).unwrap();

    let token = |issued| identity("2", ProofKind::Gcp, Some(issued));
    take(&mut vouched, &token(10), 1, 4).unwrap();
    take(&mut vouched, &token(10), 2, 5).unwrap_err();
    take(&mut vouched, &token(9), 2, 5).unwrap_err();
    take(&mut vouched, &token(11), 2, 5).unwrap();
    // The old proof is still about: it brings the old key back no more.
    take(&mut vouched, &token(10), 1, 6).unwrap_err();
}

#[test]
fn a_key_in_use_stays_good_while_a_next_one_waits_and_not_after_it_took_over() {
    let mut vouched = Vouched::default();
    let token = |issued| identity("2", ProofKind::Gcp, Some(issued));
    let (host, id, now) = (peer(&config()).1.clone(), token(1).id().unwrap(), Timestamp::from_millis(0));
    let next = || WireGuardPeer { allowed_ips: BTreeSet::new(), ..host.clone() };
    let with = |peers: &[(u8, WireGuardPeer)]| WireGuardConfig {
        peers: peers.iter().map(|(byte, peer)| (key(*byte), peer.clone())).collect(),
        ..config().wireguard
    };
    let knows = |vouched: &Vouched| {
        (1..=3).filter(|byte| vouched.knows(&strict().rules, &key(*byte), &host.node)).collect::<Vec<u8>>()
    };
    let take = |vouched: &mut Vouched, byte: u8, wanted: &WireGuardConfig| {
        vouched.take(&id, &token(byte.into()), key(byte), wanted, rule(), now).unwrap();
    };
    take(&mut vouched, 1, &with(&[(1, host.clone())]));
    let waiting = with(&[(1, host.clone()), (2, next())]);
    take(&mut vouched, 2, &waiting);
    assert!(!vouched.settle(&waiting));
    assert_eq!(knows(&vouched), [1, 2]);
    // Given up for a third one, and that one takes over.
    let other = with(&[(1, host.clone()), (3, next())]);
    take(&mut vouched, 3, &other);
    assert_eq!(knows(&vouched), [1, 3]);
    assert!(vouched.settle(&with(&[(3, host.clone())])));
    assert_eq!(knows(&vouched), [3]);
}

#[test]
fn what_is_remembered_survives_and_has_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::new(folder.path());
    assert_eq!(Vouched::load(&state).unwrap(), Vouched::default());
    let mut vouched = Vouched::default();
    for n in 0..=MOST {
        // The last one has the only key that is a peer's by then.
        let key = if n == MOST { 2 } else { 1 };
        let identity = identity(&n.to_string(), ProofKind::Gcp, Some(0));
        take(&mut vouched, &identity, key, i64::try_from(n).unwrap()).unwrap();
    }
    let known = ["gcp/p/0", "gcp/p/1", &format!("gcp/p/{MOST}")].map(|id| vouched.0.contains_key(id));
    assert_eq!((vouched.0.len(), known), (MOST, [false, true, true]));
    // A peer is not forgotten, however long ago its proof was looked at.
    take(&mut vouched, &identity("old", ProofKind::Gcp, Some(0)), 2, -1).unwrap();
    assert!(vouched.0.contains_key("gcp/p/old") && vouched.0.len() == MOST);
    vouched.save(&state).unwrap();
    assert_eq!(Vouched::load(&state).unwrap(), vouched);
}
