//! Many hosts, each a healthy one with something changed: what is found, how bad it is, and what is to be typed.

use super::findings;
use crate::doctor::{Report, Verdict, facts::*};
use picket_chain::node::System;
use picket_model::{ChainHealth, FirewallPolicy, Generation, Hidden, Protocol, ReconcilerStatus, TakenBack, Timestamp};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::SocketAddr};

fn wire(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn policy() -> FirewallPolicy {
    let answer = wire(include_str!("../../../../tests/fixtures/wire/config-answer.json"));
    serde_json::from_value(answer["full"]["firewall"].clone()).unwrap()
}

fn status(role: &str) -> Status {
    let report = wire(include_str!("../../../../tests/fixtures/wire/report.json"));
    let status = json!({
        "state": "in force", "guard_refuses": null, "agent_seconds_ago": 4, "standing": "member", "more": "than is read",
        "identity": {"name": "host-1", "role": role, "controllers": ["https://c.example:7443"], "ca_fingerprint": "ab".repeat(32)},
        "agent": {"at": 1_795_367_990_000_i64, "controller_answers": true, "report": report},
    });
    serde_json::from_value(status).unwrap()
}

fn listener(protocol: Protocol, address: &str) -> Listener {
    Listener { protocol, address: address.parse::<SocketAddr>().unwrap() }
}

/// A validator's host at which nothing is wrong.
fn prep() -> Facts {
    let health = ChainHealth { state: "started".to_owned(), height: Some(7), error: None };
    let system = System { version: None, p2p: Some("198.51.100.9:7100".to_owned()), rpc: Some(":9000".to_owned()) };
    let there = || Ok(Module::Present);
    Facts {
        part: Part::Prep,
        kernel: Kernel { nf_tables: there(), conntrack: there(), wireguard: there(), tun: Ok(()) },
        nft: Ok("nftables v1.0.6 (Lester Gooch #5)".to_owned()),
        firewalls: Firewalls {
            chains: Ok(Vec::new()),
            ours: Ok(true),
            legacy: Ok(Vec::new()),
            services: Services { lockdown: Some(true), ..Services::default() },
        },
        clock_is_kept: Ok(true),
        name_servers: Ok(vec!["192.0.2.53".parse().unwrap()]),
        names: [("c.example".to_owned(), Ok(vec!["203.0.113.1".parse().unwrap()]))].into(),
        controllers: vec![controller(Ok(Answer { ahead_ms: Some(-400) }))],
        agent: Ok(Some(Agent { status: Ok(status("prep")), policy: Ok(policy()) })),
        listeners: Ok(BTreeSet::from([
            listener(Protocol::Tcp, "0.0.0.0:7100"),
            listener(Protocol::Tcp, "[::]:9000"),
            listener(Protocol::Tcp, "127.0.0.1:22"),
        ])),
        own: BTreeSet::from(["203.0.113.11".parse().unwrap()]),
        widths: [("203.0.113.1".parse().unwrap(), Ok(1500))].into(),
        goloop: Some(Node { place: "http://127.0.0.1:9000".to_owned(), chain: Ok(health), system: Ok(system) }),
    }
}

fn sentry() -> Facts {
    let mut facts = prep();
    facts.part = Part::Sentry;
    facts.agent = Ok(Some(Agent { status: Ok(status("sentry")), policy: Ok(policy()) }));
    facts.goloop = None;
    facts.listeners = Ok([listener(Protocol::Udp, "0.0.0.0:51820")].into());
    facts
}

fn bare(part: Part) -> Facts {
    Facts { part, agent: Ok(None), goloop: None, ..prep() }
}

fn controller(answer: Seen<Answer>) -> Controller {
    Controller { url: "https://c.example:7443".to_owned(), pinned: true, answer }
}

fn agent(facts: &mut Facts) -> &mut Agent {
    facts.agent.as_mut().unwrap().as_mut().unwrap()
}

fn said(facts: &mut Facts) -> &mut Status {
    agent(facts).status.as_mut().unwrap()
}

fn word(facts: &mut Facts) -> &mut LastWord {
    said(facts).agent.as_mut().unwrap()
}

/// Changes a host; this finding comes of it, with these words and this remedy, and nothing that is as bad or worse.
fn check(mut facts: Facts, change: impl FnOnce(&mut Facts), expect: (&str, Verdict, &str, &str)) {
    change(&mut facts);
    let (check, verdict, found, fix) = expect;
    let all = findings(&facts);
    let mut of_it = all.iter().filter(|finding| finding.check == check && finding.verdict == verdict);
    let is_meant = of_it.any(|finding| {
        let remedy = finding.fix.as_deref().unwrap_or_default();
        finding.found.contains(found) && remedy.contains(fix) && (verdict <= Verdict::NotKnown || finding.why.is_some())
    });
    assert!(is_meant, "{expect:?} is not among {all:#?}");
    let others = all.iter().filter(|finding| finding.check != check && finding.verdict >= Verdict::Warn);
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&crate::doctor::Finding>::new(), "{expect:?}");
}

use Verdict::{Bad, NotKnown, Ok as Good, Warn};

#[test]
fn nothing_is_wrong_with_healthy_hosts() {
    let mut controller_host = bare(Part::Controller);
    controller_host.listeners =
        Ok([listener(Protocol::Tcp, "[::]:7443"), listener(Protocol::Tcp, "127.0.0.1:7445")].into());
    for facts in [prep(), sentry(), controller_host, bare(Part::Operator)] {
        let report = Report::new(facts.part, findings(&facts));
        assert!(report.verdict <= NotKnown, "{report:#?}");
        assert!(report.findings.iter().all(|finding| finding.verdict != Good || finding.fix.is_none()), "{report:#?}");
    }
}

#[test]
fn kernels_and_tools() {
    let change = |facts: &mut Facts| {
        facts.kernel.nf_tables = Ok(Module::Missing);
        facts.firewalls.ours = Err("no right".to_owned());
    };
    check(prep(), change, ("kernel-nf-tables", Bad, "no nf_tables", "linux-image"));
    check(prep(), |facts| facts.kernel.conntrack = Ok(Module::Missing), ("kernel-conntrack", Warn, "", "linux-image"));
    check(
        prep(),
        |facts| facts.kernel.wireguard = Ok(Module::Missing),
        ("wireguard", Warn, "the agent carries", "reboot"),
    );
    let neither = |facts: &mut Facts| {
        facts.kernel.wireguard = Ok(Module::Missing);
        facts.kernel.tun = Err("there is no /dev/net/tun".to_owned());
    };
    check(prep(), neither, ("wireguard", Bad, "/dev/net/tun", "modprobe tun"));
    let unseen = |facts: &mut Facts| facts.kernel.wireguard = Err("a container?".to_owned());
    check(prep(), unseen, ("wireguard", Good, "a container?", ""));
    check(
        prep(),
        |facts| facts.nft = Err("there is no nft program".to_owned()),
        ("nft-version", Bad, "no nft", "apt-get install nftables"),
    );
    check(prep(), |facts| facts.nft = Ok("nftables v0.9.3 (x)".to_owned()), ("nft-version", Warn, "0.9.3", "nftables"));
}

#[test]
fn other_firewalls_and_the_command_that_opens_each() {
    let shut = |table: &str, accepts: &[u16]| Chain {
        table: table.to_owned(),
        chain: "INPUT".to_owned(),
        drops: true,
        accepts: accepts.iter().copied().collect(),
    };
    let with = |table: &'static str, accepts: &'static [u16]| {
        move |facts: &mut Facts| facts.firewalls.chains = Ok(vec![shut(table, accepts)])
    };
    let fix = "iptables -I INPUT -p udp --dport 51820 -j ACCEPT";
    check(sentry(), with("ip filter", &[22, 7100]), ("other-firewalls", Warn, "udp/51820", fix));
    let fix = "nft insert rule inet own INPUT tcp dport 7100 accept";
    check(prep(), with("inet own", &[22]), ("other-firewalls", Warn, "tcp/7100", fix));
    let ufw = |facts: &mut Facts| {
        with("ip filter", &[7100])(facts);
        facts.firewalls.services.ufw = true;
    };
    check(sentry(), ufw, ("other-firewalls", Warn, "(ufw)", "ufw allow 51820/udp"));
    let firewalld = |facts: &mut Facts| {
        with("inet firewalld", &[])(facts);
        facts.firewalls.services.firewalld = true;
    };
    check(prep(), firewalld, ("other-firewalls", Warn, "(firewalld)", "--add-port=7100/tcp"));
    check(sentry(), with("inet own", &[51820, 7100]), ("other-firewalls", Good, "seem to let in", ""));
    // Nobody calls a hidden validator directly.
    let hidden = |facts: &mut Facts| {
        with("inet own", &[])(facts);
        hide(facts);
    };
    check(prep(), hidden, ("other-firewalls", Good, "left alone: table inet own", ""));
    let no_right = |facts: &mut Facts| facts.firewalls.chains = Err("Operation not permitted".to_owned());
    check(prep(), no_right, ("other-firewalls", NotKnown, "not permitted", "sudo picket doctor"));
    let legacy = |facts: &mut Facts| facts.firewalls.legacy = Ok(vec!["filter".to_owned()]);
    check(prep(), legacy, ("iptables-legacy", Warn, "filter", "iptables-legacy-save"));
    let flusher = Flusher { enabled: true, flushes: true, has_our_file: false };
    let flushes = |facts: &mut Facts| facts.firewalls.services.flusher = flusher;
    check(prep(), flushes, ("nftables-service", Bad, "flush ruleset", "systemctl disable nftables.service"));
    let lockdown = |facts: &mut Facts| facts.firewalls.services.lockdown = Some(false);
    check(prep(), lockdown, ("lockdown", Warn, "at boot", "systemctl enable picket-lockdown.service"));
}

#[test]
fn time_names_and_controllers() {
    check(prep(), |facts| facts.clock_is_kept = Ok(false), ("clock", Warn, "nobody keeps", "timedatectl set-ntp true"));
    let skewed = |ms| move |facts: &mut Facts| facts.controllers = vec![controller(Ok(Answer { ahead_ms: Some(ms) }))];
    check(prep(), skewed(10_000), ("clock-skew", Warn, "10 s behind", "set-ntp"));
    check(prep(), skewed(-3_600_000), ("clock-skew", Bad, "3600 s ahead of", "set-ntp"));
    let lookup = |found: Seen<Vec<std::net::IpAddr>>| {
        move |facts: &mut Facts| drop(facts.names.insert("c.example".to_owned(), found))
    };
    let why = "Name or service not known";
    check(prep(), lookup(Err(why.to_owned())), ("dns", Bad, why, "getent ahosts c.example"));
    check(prep(), lookup(Ok(Vec::new())), ("dns", Bad, "no address", "getent ahosts c.example"));
    let away = |facts: &mut Facts| facts.controllers = vec![controller(Err("connection refused".to_owned()))];
    check(prep(), away, ("controller", Bad, "connection refused", "systemctl status picket-controller"));
    check(prep(), |facts| facts.controllers.clear(), ("controller", NotKnown, "no controller", "--controller"));
    let width =
        |bytes: Seen<u32>| move |facts: &mut Facts| drop(facts.widths.insert("203.0.113.1".parse().unwrap(), bytes));
    check(prep(), width(Ok(1480)), ("mtu", Good, "1480", ""));
    check(prep(), width(Ok(1400)), ("mtu", Warn, "1400", "ip route get 203.0.113.1"));
    check(prep(), width(Ok(1300)), ("mtu", Bad, "1340", "ip link set"));
    check(prep(), width(Err("Network is unreachable".to_owned())), ("mtu", Bad, "no way", "ip route get"));
    let six = |facts: &mut Facts| drop(facts.widths.insert("2001:db8::1".parse().unwrap(), Ok(1480)));
    check(prep(), six, ("mtu", Warn, "2001:db8::1", ""));
}

#[test]
fn agents_that_are_not_well() {
    let status = |change: fn(&mut Status)| move |facts: &mut Facts| change(said(facts));
    let state = |state: &'static str| move |facts: &mut Facts| state.clone_into(&mut said(facts).state);
    check(prep(), state("released"), ("agent", Bad, "open to everybody", "picket-prep-agent close"));
    check(sentry(), state("revoked"), ("agent", Bad, "was revoked", "picket-sentry-agent enroll"));
    check(prep(), state("controller away"), ("agent", Warn, "without its controller", "journalctl"));
    let refused = |said: &mut Status| said.guard_refuses = Some("port 22".to_owned());
    check(prep(), status(refused), ("agent", Bad, "port 22", "/etc/picket/guard.toml"));
    check(
        prep(),
        status(|said| said.agent_seconds_ago = Some(600)),
        ("agent", Bad, "600 s", "systemctl restart picket-prep-agent"),
    );
    let failed = |facts: &mut Facts| {
        word(facts).report.wireguard = ReconcilerStatus::Failed { error: "no module".to_owned() };
    };
    check(prep(), failed, ("tunnels", Bad, "no module", "journalctl -u picket-prep-agent"));
    check(
        sentry(),
        |facts| facts.firewalls.ours = Ok(false),
        ("firewall", Bad, "not in the kernel", "systemctl restart"),
    );
    let taken = |facts: &mut Facts| {
        let at = Timestamp::from_millis(0);
        word(facts).report.taken_back = Some(TakenBack { revision: Generation(9), at, reason: "no answer".to_owned() });
    };
    check(prep(), taken, ("taken-back", Bad, "revision 9", "picket explain"));
    let narrow = |facts: &mut Facts| word(facts).report.narrow = [("sentry-1".parse().unwrap(), 1280)].into();
    check(prep(), narrow, ("mtu", Warn, "sentry-1", "ping -M do"));
    check(
        sentry(),
        |facts| word(facts).report.peers.clear(),
        ("peers", Warn, "no peer", "picket token create --role prep"),
    );
    let silent = |facts: &mut Facts| {
        word(facts).report.peers.values_mut().for_each(|peer| peer.last_handshake = Some(Timestamp::from_millis(0)));
    };
    check(prep(), silent, ("peers", Bad, "203.0.113.26:51820", "UDP 51820"));
    let one = |facts: &mut Facts| word(facts).report.peers.values_mut().next().unwrap().last_handshake = None;
    check(prep(), one, ("peers", Warn, "never", "picket nodes"));
    let other = |facts: &mut Facts| facts.part = Part::Sentry;
    let mut mistaken = sentry();
    said(&mut mistaken).identity.as_mut().unwrap().role = picket_model::NodeRole::Prep;
    check(mistaken, other, ("agent", Warn, "enrolled as a validator's host", "without --part"));
    let no_right = |facts: &mut Facts| agent(facts).status = Err("needs root".to_owned());
    check(sentry(), no_right, ("agent", NotKnown, "needs root", "sudo picket doctor"));
    // Nothing is open there that should not be: no node listens.
    let facts = Facts { listeners: Ok(BTreeSet::new()), ..bare(Part::Sentry) };
    check(facts, |_| (), ("agent", Bad, "not installed", "apt-get install picket-sentry-agent"));
}

#[test]
fn ports_that_wait_for_the_wrong_ones_or_for_nobody() {
    check(sentry(), |facts| facts.listeners = Ok(BTreeSet::new()), ("reachable", Good, "validators reach", ""));
    let mut dead = sentry();
    dead.listeners = Ok(BTreeSet::new());
    word(&mut dead).report.wireguard = ReconcilerStatus::Failed { error: "x".to_owned() };
    let all = findings(&dead);
    assert!(all.iter().any(|finding| finding.check == "ports" && finding.verdict == Bad), "{all:#?}");
    let no_node = |facts: &mut Facts| {
        facts.listeners = Ok([listener(Protocol::Tcp, "[::]:9000")].into());
    };
    check(prep(), no_node, ("ports", Warn, "TCP 7100", "docker ps"));
    let open = |facts: &mut Facts| {
        facts.goloop = None;
        agent(facts).policy.as_mut().unwrap().guarded.clear();
    };
    check(prep(), open, ("open-ports", Bad, "TCP 9000", "picket-prep-agent status"));
    let mut host = bare(Part::Controller);
    host.listeners = Ok([listener(Protocol::Tcp, "[::]:7443"), listener(Protocol::Tcp, "0.0.0.0:7445")].into());
    check(host, |_| (), ("ports", Warn, "TCP 7445", "listen.health"));
    check(bare(Part::Controller), |_| (), ("ports", Warn, "TCP 7443", "systemctl status picket-controller"));
    check(prep(), |facts| facts.listeners = Err("no /proc".to_owned()), ("ports", NotKnown, "no /proc", ""));
}

#[test]
fn nodes_that_tell_too_much_or_do_not_run() {
    let node = |facts: &mut Facts, change: fn(&mut Node)| change(facts.goloop.as_mut().unwrap());
    let stopped = |node: &mut Node| node.chain.as_mut().unwrap().state = "stopped".to_owned();
    check(prep(), |facts| node(facts, stopped), ("goloop", Bad, "stopped", "goloop chain ls"));
    let unknown = |node: &mut Node| node.chain = Err("goloop at x has no chain icon_dex; it has: none".to_owned());
    check(prep(), |facts| node(facts, unknown), ("goloop", Bad, "no chain", "goloop chain ls"));
    check(prep(), |facts| facts.goloop = None, ("goloop", NotKnown, "no goloop", "--goloop"));
    fn tells(address: &str) -> impl FnOnce(&mut Facts) {
        move |facts| facts.goloop.as_mut().unwrap().system.as_mut().unwrap().p2p = Some(address.to_owned())
    }
    check(prep(), tells("127.0.0.1:7100"), ("goloop-advertises", Bad, "nobody can reach", "GOLOOP_P2P"));
    check(prep(), tells("10.0.0.7:7100"), ("goloop-advertises", Warn, "not an address of the internet", "GOLOOP_P2P"));
    check(prep(), tells("203.0.113.11:7100"), ("goloop-advertises", Good, "203.0.113.11", ""));
    let hidden = |facts: &mut Facts| {
        hide(facts);
        tells("203.0.113.11:7100")(facts);
    };
    check(prep(), hidden, ("goloop-advertises", Bad, "this host's own address", "picket advertise"));
    check(
        prep(),
        |facts| {
            hide(facts);
            tells("prep.example:7100")(facts);
        },
        ("goloop-advertises", Good, "prep.example", ""),
    );

    let admin = |facts: &mut Facts| agent(facts).policy.as_mut().unwrap().guarded.clear();
    let mut open = prep();
    admin(&mut open);
    let all = findings(&open);
    let admin = all.iter().find(|finding| finding.check == "goloop-admin").unwrap();
    assert_eq!(admin.verdict, Bad);
    assert!(admin.fix.as_ref().unwrap().contains("GOLOOP_RPC_ADDR=127.0.0.1:9000"), "{admin:?}");
    let local = |facts: &mut Facts| {
        facts.listeners =
            Ok([listener(Protocol::Tcp, "0.0.0.0:7100"), listener(Protocol::Tcp, "127.0.0.1:9000")].into());
    };
    check(prep(), local, ("goloop-admin", Good, "this host alone", ""));
}

fn hide(facts: &mut Facts) {
    agent(facts).policy.as_mut().unwrap().hidden = Some(Box::new(Hidden::default()));
}
