//! Every rule of the guard, broken once.

use super::*;
use picket_model::{Generation, WireGuardPeer, WireGuardPublicKey};
use std::os::unix::fs::PermissionsExt;

pub(crate) fn guard() -> Guard {
    let own = OverlayAddresses { v4: "10.77.0.2".parse().unwrap(), v6: "fd00:1:2::2".parse().unwrap() };
    Guard {
        rules: GuardRules::default(),
        role: NodeRole::Prep,
        own,
        vouched: Vouched::default(),
        controllers: BTreeSet::new(),
    }
}

pub(crate) fn config() -> NodeConfig {
    let guarded = GuardRules::default().guarded_ports().map(|port| (port, Purpose::P2p)).collect();
    let mut firewall = FirewallPolicy { guarded, ..FirewallPolicy::default() };
    allow(&mut firewall, Purpose::P2p, "203.0.113.7/32");
    allow(&mut firewall, Purpose::Overlay, "10.77.0.3/32");
    let peer = WireGuardPeer {
        node: "n-2".parse().unwrap(),
        name: "sentry-1".parse().unwrap(),
        endpoint: Some("192.0.2.1:51820".parse().unwrap()),
        allowed_ips: nets(&["10.77.0.3/32", "fd00:1:2::3/128"]),
        keepalive_seconds: Some(25),
        pairing: None,
    };
    NodeConfig {
        mesh: "m-1".parse().unwrap(),
        node: "n-1".parse().unwrap(),
        role: NodeRole::Prep,
        generation: Generation(4),
        revision: Generation(3),
        wireguard: WireGuardConfig {
            listen_port: 51820,
            addresses: guard().own.networks().into(),
            mtu: 1420,
            peers: BTreeMap::from([(key(9), peer)]),
        },
        firewall,
    }
}

fn allow(firewall: &mut FirewallPolicy, purpose: Purpose, network: &str) {
    let reason = Reason::Policy { line: "test".to_owned() };
    firewall.allow.entry(purpose).or_default().insert(network.parse().unwrap(), reason);
}

fn nets(list: &[&str]) -> BTreeSet<IpNet> {
    list.iter().map(|net| net.parse().unwrap()).collect()
}

fn key(byte: u8) -> WireGuardPublicKey {
    WireGuardPublicKey::new([byte; 32]).unwrap()
}

pub(crate) fn number(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).unwrap()
}

/// The addresses of the one peer that `config` has.
pub(crate) fn peer() -> OverlayAddresses {
    OverlayAddresses { v4: "10.77.0.3".parse().unwrap(), v6: "fd00:1:2::3".parse().unwrap() }
}

/// A sentry with that peer, and its guard.
pub(crate) fn sentry() -> (Guard, NodeConfig) {
    (Guard { role: NodeRole::Sentry, ..guard() }, NodeConfig { role: NodeRole::Sentry, ..config() })
}

fn port(protocol: Protocol, port: u16) -> GuardedPort {
    GuardedPort { protocol, port: number(port) }
}

/// What the guard says to the good state after one change; empty when it takes it.
fn check(change: impl FnOnce(&mut Guard, &mut NodeConfig), expect: &str) {
    let (mut guard, mut config) = (guard(), config());
    change(&mut guard, &mut config);
    let said = admit(&guard, &config).err().map(|violation| violation.to_string()).unwrap_or_default();
    assert!(if expect.is_empty() { said.is_empty() } else { said.contains(expect) }, "{said:?}, not {expect:?}");
}

#[test]
fn a_plain_state_is_admitted() {
    check(|_, _| (), "");
}

#[test]
fn the_other_role_is_refused() {
    check(|_, config| config.role = NodeRole::Sentry, "this host enrolled as a prep");
}

#[test]
fn a_guarded_port_cannot_be_opened() {
    for open in [port(Protocol::Tcp, 7100), port(Protocol::Udp, 7100), port(Protocol::Tcp, 9080)] {
        check(|_, config| config.firewall.guarded.retain(|port, _| *port != open), &format!("leaves {open} unguarded"));
    }
    check(|_, config| config.firewall.guarded.clear(), "unguarded");
    let everything_open = |guard: &mut Guard, config: &mut NodeConfig| {
        guard.rules.guarded.clear();
        config.firewall.guarded.clear();
    };
    check(everything_open, "");
}

#[test]
fn the_operator_is_not_locked_out() {
    for way_in in [port(Protocol::Tcp, 22), port(Protocol::Udp, 22)] {
        check(|_, config| config.firewall.guarded.extend([(way_in, Purpose::Rpc)]), "`never_guard`");
    }
    let other_ssh = |guard: &mut Guard, config: &mut NodeConfig| {
        guard.rules.never_guard = BTreeSet::from([NonZeroU16::new(2222).unwrap()]);
        config.firewall.guarded.insert(port(Protocol::Tcp, 2222), Purpose::Rpc);
    };
    check(other_ssh, "`never_guard`");
}

#[test]
fn a_port_is_open_to_everybody_only_where_this_host_says_so() {
    let public = |_: &mut Guard, config: &mut NodeConfig| {
        config.firewall.public.insert(nine_thousand());
    };
    check(public, "it opens port 9000 to everybody, which `may_open` in guard.toml does not name");
    let allowed = |guard: &mut Guard, config: &mut NodeConfig| {
        guard.rules.may_open = BTreeSet::from([nine_thousand()]);
        config.firewall.public.insert(nine_thousand());
    };
    check(allowed, "");
    // A host that closes has no public port left.
    let mut config = config();
    config.firewall.public.insert(nine_thousand());
    let rules = GuardRules { may_open: BTreeSet::from([nine_thousand()]), ..GuardRules::default() };
    assert_eq!(rules.closed(Some(&config.firewall)).public_ports().count(), 0);
}

fn nine_thousand() -> NonZeroU16 {
    NonZeroU16::new(9000).unwrap()
}

#[test]
fn the_tunnels_port_is_not_closed() {
    let guards = |protocol| {
        move |guard: &mut Guard, config: &mut NodeConfig| {
            config.firewall.guarded.insert(port(protocol, 51820), Purpose::Rpc);
            guard.rules.guardable = BTreeSet::from([NonZeroU16::new(51820).unwrap()]);
        }
    };
    check(guards(Protocol::Udp), "tunnels arrive");
    check(guards(Protocol::Tcp), "");
}

#[test]
fn nobody_lets_the_internet_in() {
    for network in ["0.0.0.0/0", "128.0.0.0/1", "10.0.0.0/7", "::/0", "2000::/3", "::ffff:0:0/96", "::ffff:0:0/97"] {
        for purpose in Purpose::ALL {
            check(
                |_, config| allow(&mut config.firewall, purpose, network),
                "wider than `widest_network` in guard.toml",
            );
        }
    }
    for network in ["10.0.0.0/8", "2001::/16", "203.0.113.0/24", "::ffff:10.0.0.0/104"] {
        check(|_, config| allow(&mut config.firewall, Purpose::Admin, network), "");
    }
    let narrow = |guard: &mut Guard, config: &mut NodeConfig| {
        guard.rules.widest_network = Widths { v4: 32, v6: 128 };
        allow(&mut config.firewall, Purpose::Rpc, "203.0.113.0/31");
    };
    check(narrow, "203.0.113.0/31");
}

#[test]
fn nobody_lets_the_internet_in_piece_by_piece() {
    let pieces = |first: u8, last: u8| {
        move |_: &mut Guard, config: &mut NodeConfig| {
            (first..=last).for_each(|n| allow(&mut config.firewall, Purpose::Rpc, &format!("{n}.0.0.0/8")));
        }
    };
    check(pieces(1, 4), "");
    check(pieces(1, 5), "together wider");
    check(pieces(0, 255), "together wider");
}

#[test]
fn floods_are_refused() {
    let few_entries = |guard: &mut Guard, _: &mut NodeConfig| guard.rules.max_allow_entries = 1;
    check(few_entries, "2 entries in its allow sets");
    let few_peers = |guard: &mut Guard, _: &mut NodeConfig| guard.rules.max_peers = 0;
    check(few_peers, "1 peers");
    let many_keys = |guard: &mut Guard, config: &mut NodeConfig| {
        guard.rules.max_peers = 1;
        add_keys(config, 2);
    };
    check(many_keys, "3 peers");
}

#[test]
fn a_peer_that_changes_its_key_is_one_peer() {
    let (mut guard, mut config) = (guard(), config());
    guard.rules.max_peers = config.wireguard.peers.len();
    add_keys(&mut config, 1);
    admit(&guard, &config).unwrap();
}

/// Gives the first peer more keys, which have no addresses.
fn add_keys(config: &mut NodeConfig, more: u8) {
    let peers = &mut config.wireguard.peers;
    let mut peer = peers.first_key_value().unwrap().1.clone();
    peer.allowed_ips.clear();
    peers.extend((0..more).map(|n| (WireGuardPublicKey::new([200 + n; 32]).unwrap(), peer.clone())));
}

#[test]
fn the_hosts_own_addresses_stay() {
    check(|_, config| config.wireguard.addresses.clear(), "other overlay addresses");
    let one_more = |_: &mut Guard, config: &mut NodeConfig| {
        config.wireguard.addresses.insert("203.0.113.9/32".parse().unwrap());
    };
    check(one_more, "other overlay addresses");
}

#[test]
fn only_single_overlay_addresses_go_into_a_tunnel() {
    let peer = |list: &'static [&str]| {
        move |_: &mut Guard, config: &mut NodeConfig| {
            config.wireguard.peers.values_mut().for_each(|peer| peer.allowed_ips = nets(list));
        }
    };
    for bad in
        ["0.0.0.0/0", "::/0", "10.77.0.0/31", "10.78.0.3/32", "fd00:1:3::3/128", "fd00:1:2::/64", "203.0.113.7/32"]
    {
        let list: &'static [&'static str] = Box::leak(Box::new([bad]));
        check(peer(list), &format!("peer sentry-1 has allowed IPs {bad}: not one address inside the overlay"));
    }
    check(peer(&["10.77.255.255/32"]), "");
    check(peer(&["10.77.0.2/32"]), "this host's or another peer's");
    let twin = |_: &mut Guard, config: &mut NodeConfig| {
        let twin = config.wireguard.peers.first_key_value().unwrap().1.clone();
        config.wireguard.peers.insert(key(10), twin);
    };
    check(twin, "this host's or another peer's");
}

#[test]
fn the_file_says_where_the_overlay_is() {
    let elsewhere = |guard: &mut Guard, _: &mut NodeConfig| guard.rules.overlay = nets(&["10.99.0.0/16"]);
    check(elsewhere, "outside the overlay");
    let wider = |guard: &mut Guard, _: &mut NodeConfig| guard.rules.overlay = nets(&["10.0.0.0/8", "fd00::/8"]);
    check(wider, "");
}

#[test]
fn a_mesh_host_has_a_mesh_address() {
    check(|_, config| allow(&mut config.firewall, Purpose::Overlay, "203.0.113.7/32"), "outside the overlay");
}

#[test]
fn an_insane_mtu_is_refused() {
    for (mtu, expect) in [(1279, "1279"), (1280, ""), (9000, ""), (9001, "9001"), (0, "MTU of 0")] {
        check(|_, config| config.wireguard.mtu = mtu, expect);
    }
}

#[test]
fn the_guards_admin_networks_are_always_let_in() {
    let rules = GuardRules { admin: nets(&["198.51.100.0/24"]), ..GuardRules::default() };
    let (wanted, found) = (config().firewall, rules.with_admin(&config().firewall));
    assert!(found.allowed(Purpose::Admin).covering("198.51.100.9".parse().unwrap()).next().is_some());
    assert_eq!((&wanted.guarded, wanted.allowed(Purpose::P2p)), (&found.guarded, found.allowed(Purpose::P2p)));
}

#[test]
fn closed_leaves_only_the_operator_in() {
    let rules = GuardRules { admin: nets(&["198.51.100.0/24"]), ..GuardRules::default() };
    let mut last = config().firewall;
    last.guarded.insert(port(Protocol::Tcp, 8080), Purpose::Rpc);
    last.guarded.insert(port(Protocol::Tcp, 22), Purpose::Rpc);
    allow(&mut last, Purpose::Admin, "192.0.2.0/24");
    allow(&mut last, Purpose::Admin, "0.0.0.0/0");
    let closed = rules.closed(Some(&last));
    let admin: Vec<_> = closed.allowed(Purpose::Admin).0.keys().map(ToString::to_string).collect();
    assert_eq!(admin, ["192.0.2.0/24", "198.51.100.0/24"]);
    assert_eq!(closed.allow.len(), 1);
    assert!(closed.guarded.contains_key(&port(Protocol::Tcp, 8080)));
    assert!(!closed.guarded.contains_key(&port(Protocol::Tcp, 22)));
    assert_eq!(rules.closed(None).guarded.len(), 6);
}

fn load(text: &str, mode: u32) -> Result<GuardRules, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guard.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    let owner = std::fs::metadata(&path).unwrap().uid();
    GuardRules::load_of(Some(&path), owner).map_err(|error| error.to_string())
}

#[test]
fn the_file_is_strict_and_names_line_and_column() {
    assert_eq!(load("", 0o644).unwrap(), GuardRules::default());
    let rules = load("guarded = [7100]\nwidest_network = { v4 = 24, v6 = 48 }\nadmin = [\"192.0.2.0/24\"]\n", 0o600);
    assert_eq!(rules.unwrap().widest_network, Widths { v4: 24, v6: 48 });
    for (text, expect) in [
        ("max_peers = 3\nguraded = [1]\n", "guard.toml:2:1: unknown field `guraded`"),
        ("guarded = [0]\n", "guard.toml:1:12: "),
        ("admin = [\"10.0.0.0/33\"]\n", "guard.toml:1:10: "),
        ("max_peers = \n", "guard.toml:1:"),
        ("guarded = [22]\n", "port 22 is in `guarded` and in `never_guard`"),
    ] {
        let error = load(text, 0o644).unwrap_err();
        assert!(error.contains(expect) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn its_rules_of_proofs_say_nothing_that_only_the_controller_can_give() {
    let rule = "[[enroll]]\nname = \"edge\"\nproof = \"gcp\"\naccount = \"p\"\nrole = \"sentry\"\nmax_nodes = 9\n";
    assert_eq!(load(rule, 0o600).unwrap().enroll.len(), 1);
    for (line, expect) in
        [("pool = \"edge\"", "edge has pool"), ("launch_age_seconds = 60", "edge has launch_age_seconds")]
    {
        let error = load(&format!("{rule}{line}\n"), 0o600).unwrap_err();
        assert!(error.contains(expect) && error.contains("only the controller"), "{error}");
    }
}

#[test]
fn a_file_that_others_may_change_is_refused() {
    assert!(load("", 0o666).unwrap_err().contains("chmod go-w"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guard.toml");
    std::fs::write(&path, "").unwrap();
    let other = std::fs::metadata(&path).unwrap().uid() + 1;
    let error = GuardRules::load_of(Some(&path), other).unwrap_err().to_string();
    assert!(error.contains("belong to user") && error.contains("chown root"), "{error}");
    let missing = GuardRules::load(Some(Path::new("/nowhere/guard.toml"))).unwrap_err().to_string();
    assert!(missing.contains("/nowhere/guard.toml"), "{missing}");
}
