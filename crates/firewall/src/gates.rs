//! The chains that packets to guarded ports go through. First the gates, before connection tracking: who is let in, and how
//! often a source may begin something new. Then the caps, after tracking: how much a source may have open.

use crate::{
    Chain, Family, HalfOpen, HostFacts, Log, Match, Measure, Metered, Rate, Rule, Ruleset, Source, Verdict,
    features::agents_group, rule::HOSTS,
};
use picket_model::{Limits, Purpose};
use std::fmt;

/// What a guarded port is for. Each has a set of ports and a chain that decides about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// What the policy guards it for.
    Of(Purpose),
    /// A node's JSON-RPC for the mesh and for citizens: an RPC port at which nobody else of the RPC ports' sources is let in.
    Sync,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(purpose) => purpose.fmt(f),
            Self::Sync => f.write_str("sync"),
        }
    }
}

/// The gates there are, the one for citizens only where something is served to them.
pub(crate) fn gates(with_sync: bool) -> impl Iterator<Item = Gate> {
    let always = [Purpose::P2p, Purpose::Rpc, Purpose::Admin].map(Gate::Of);
    with_sync.then_some(Gate::Sync).into_iter().chain(always)
}

/// Whether others than the mesh and the operator may be let in by it: they have limits.
fn is_limited(gate: Gate) -> bool {
    gate != Gate::Of(Purpose::Admin)
}
/// What strangers on public ports are called in names of chains, meters and counters.
const PUBLIC: &str = "public";

/// What members of networks are called there; sources that are listed one by one are `HOSTS`.
const NETS: &str = "nets";

/// Lets mesh and operator in, and comes back with the others.
const MESH: &str = "mesh_in";
/// The same after tracking, where they have been counted already.
const MESH_FREE: &str = "mesh_free";
/// Time limits of half-open connections, one for each family.
const HALF_OPEN: [(&str, Family); 2] = [("half_open4", Family::V4), ("half_open6", Family::V6)];
/// The answer to a first packet is sent again after one and three seconds, and each time this begins anew.
const HALF_OPEN_SECONDS: u32 = 3;
/// How often refused packets are told of to whoever listens.
const SAMPLE: Rate = Rate { per_second: 5, burst: 20 };
/// How often to the agent, which counts where they come from: a source that sends a hundredth of all shows within seconds.
const COUNTED: Rate = Rate { per_second: 20, burst: 100 };

/// Sources by whole addresses.
const EACH: [Source; 2] = [Source::V4(32), Source::V6(128)];
/// Who has one address of IPv6 has 2^64 of them.
const SITES: [Source; 2] = [Source::V4(32), Source::V6(64)];
/// Networks of which there are no more than a meter has room for, however many addresses are forged.
const NETWORKS: [Source; 2] = [Source::V4(16), Source::V6(16)];

/// Set of the ports of a gate, or of those that are open to strangers.
pub(crate) fn ports(of: impl Copy + ToString) -> String {
    format!("{}_ports", of.to_string())
}

/// Set of ports open to strangers.
pub(crate) fn public_ports() -> String {
    ports(PUBLIC)
}

/// The chain that decides before tracking. All names end in a word of their own after an underscore: `ct`, `fwd` and the like
/// are nft's keywords.
pub(crate) fn gate(of: impl Copy + ToString) -> String {
    format!("gate_{}", of.to_string())
}

/// Adds the chains of before tracking, with the counters and meters they name.
pub(crate) fn add_gates(ruleset: &mut Ruleset, host: &HostFacts, limits: &Limits, with_sync: bool) {
    let mut build = Build { ruleset, host };
    build.mesh(MESH, |purpose| Some(allowed(Gate::Of(purpose))));
    for purpose in gates(with_sync) {
        let mut rules = Vec::new();
        if is_limited(purpose) {
            let [hosts, nets] = [HOSTS, NETS].map(|kind| format!("{kind}_{purpose}"));
            let [hosts4, hosts6, nets4, nets6] = sources(purpose);
            rules.extend([go(hosts4, &hosts), go(hosts6, &hosts), go(nets4, &nets), go(nets6, &nets)]);
            // Sources of a whole network can be forged by the thousand: they have meters of their own to fill.
            build.members(purpose, &hosts, limits, EACH);
            build.members(purpose, &nets, limits, SITES);
        }
        rules.push(does(Verdict::Jump(MESH.to_owned())));
        if matches!(purpose, Gate::Of(Purpose::P2p | Purpose::Rpc)) {
            rules.push(go(Match::Port(public_ports()), &gate(PUBLIC)));
        }
        rules.extend(build.refuse(purpose));
        build.chain(gate(purpose), rules);
    }
    build.strangers(limits);
}

/// Adds the chains of after tracking; the rules that lead to them, none where nothing is capped.
pub(crate) fn add_caps(ruleset: &mut Ruleset, host: &HostFacts, limits: &Limits, with_sync: bool) -> Vec<Rule> {
    let sync = with_sync.then_some((Gate::Sync, limits.rpc_connections));
    let caps = [(Gate::Of(Purpose::P2p), limits.p2p_connections), (Gate::Of(Purpose::Rpc), limits.rpc_connections)];
    let caps: Vec<(Gate, u32)> = sync.into_iter().chain(caps).collect();
    let public = limits.public.connections;
    if !host.features.connections || public == 0 && caps.iter().all(|(_, most)| *most == 0) {
        return Vec::new();
    }
    let mut build = Build { ruleset, host };
    build.mesh(MESH_FREE, |_| None);
    if host.features.half_open {
        let limit = |(name, family): (&str, _)| (name.to_owned(), HalfOpen { family, seconds: HALF_OPEN_SECONDS });
        build.ruleset.half_open.extend(HALF_OPEN.map(limit));
    }
    for (purpose, most) in caps.iter().copied() {
        let [hosts, nets] = [HOSTS, NETS].map(|kind| format!("{kind}_{purpose}"));
        let [hosts4, hosts6, nets4, nets6] = sources(purpose);
        let sources = [(hosts4, &hosts), (hosts6, &hosts), (nets4, &nets), (nets6, &nets)];
        let mut rules: Vec<Rule> = sources
            .map(|(source, name)| match most {
                0 => when([source], Verdict::Accept),
                _ => go(source, &format!("count_{name}")),
            })
            .into();
        if most > 0 {
            build.cap(purpose, &hosts, most, EACH);
            build.cap(purpose, &nets, most, SITES);
        }
        if public > 0 && purpose != Gate::Sync {
            rules.push(go(Match::Port(public_ports()), "count_public"));
        }
        build.chain(format!("caps_{purpose}"), rules);
    }
    if public > 0 {
        build.cap_strangers("count_public", public);
    }
    caps.into_iter().map(|(purpose, _)| go(Match::Port(ports(purpose)), &format!("caps_{purpose}"))).collect()
}

struct Build<'a> {
    ruleset: &'a mut Ruleset,
    host: &'a HostFacts,
}

impl Build<'_> {
    fn chain(&mut self, name: impl Into<String>, rules: Vec<Rule>) {
        for rule in &rules {
            self.ruleset.counters.extend(rule.counter.clone());
            for condition in &rule.matches {
                if let Match::Metered(metered) = condition {
                    self.ruleset.meters.insert(metered.meter.clone(), metered.kind());
                }
            }
        }
        self.ruleset.chains.insert(name.into(), Chain { hook: None, rules });
    }

    /// Mesh and operator have no limits: what floods must not lock the operator out.
    fn mesh(&mut self, name: &str, counter: fn(Purpose) -> Option<String>) {
        let overlay = Match::Interface(self.host.overlay_interface.clone());
        let rule = |purpose, matches| Rule { matches, counter: counter(purpose), verdict: Verdict::Accept };
        let members =
            sources(Gate::Of(Purpose::Overlay)).map(|source| rule(Purpose::Overlay, vec![overlay.clone(), source]));
        let admins = sources(Gate::Of(Purpose::Admin)).map(|source| rule(Purpose::Admin, vec![source]));
        self.chain(name, members.into_iter().chain(admins).collect());
    }

    /// Those who are let in for a purpose. A full meter refuses newcomers' first packets, and what runs goes on.
    fn members(&mut self, purpose: Gate, name: &str, limits: &Limits, by: [Source; 2]) {
        let admit = |matches| Rule { matches, counter: Some(allowed(purpose)), verdict: Verdict::Accept };
        let mut rules = vec![admit(Vec::new())];
        if self.host.features.meters {
            let begin = format!("new_{name}");
            rules.insert(0, go(Match::FirstSyn, &begin));
            let rate = Rate { per_second: limits.new_per_second.get(), burst: limits.new_at_once.get() };
            let within = by.map(|source| admit(vec![metered("syn", name, source, Measure::Within(rate, source))]));
            let operator = does(Verdict::Jump(MESH.to_owned()));
            let over = drops(Vec::new(), format!("limited_new_{purpose}"));
            self.chain(begin, within.into_iter().chain([operator, over]).collect());
        }
        self.chain(name, rules);
    }

    /// Strangers on public ports. A full meter of addresses lets pass, or forged ones would lock everybody out; networks cannot
    /// outnumber theirs.
    fn strangers(&mut self, limits: &Limits) {
        let limits = &limits.public;
        let admit = |matches| Rule { matches, counter: Some(format!("allowed_{PUBLIC}")), verdict: Verdict::Accept };
        let mut rules = vec![admit(Vec::new())];
        if self.host.features.meters {
            rules.insert(0, go(Match::FirstSyn, "new_public"));
            let limited = || format!("limited_new_{PUBLIC}");
            let each = Rate { per_second: limits.new_per_second.get(), burst: limits.new_at_once.get() };
            let network =
                Rate { per_second: limits.network_new_per_second.get(), burst: limits.network_new_at_once.get() };
            let over = SITES.map(|by| drops(vec![metered("syn", PUBLIC, by, Measure::Over(each, by))], limited()));
            let within =
                NETWORKS.map(|by| admit(vec![metered("syn_networks", PUBLIC, by, Measure::Within(network, by))]));
            let rest = drops(Vec::new(), limited());
            self.chain("new_public", over.into_iter().chain(within).chain([rest]).collect());
        }
        self.chain(gate(PUBLIC), rules);
    }

    fn refuse(&self, purpose: Gate) -> Vec<Rule> {
        let told = self.host.features.log_group.into_iter().flat_map(|group| {
            [(SAMPLE, group), (COUNTED, agents_group(group))].map(|(rate, group)| {
                let prefix = format!("picket refused {purpose} ");
                when([Match::Sampled(rate)], Verdict::Log(Log { prefix, group }))
            })
        });
        told.chain([drops(Vec::new(), format!("refused_{purpose}"))]).collect()
    }

    /// Asked while a connection is new: kernels from 6.18 on do not count one that tracking has confirmed.
    fn cap(&mut self, purpose: Gate, name: &str, most: u32, by: [Source; 2]) {
        let within = by.map(|by| when([metered("open", name, by, Measure::AtMost(most, by))], Verdict::Accept));
        let operator = does(Verdict::Jump(MESH_FREE.to_owned()));
        let over = drops(Vec::new(), format!("limited_open_{purpose}"));
        self.chain(format!("count_{name}"), self.expiry().into_iter().chain(within).chain([operator, over]).collect());
    }

    fn cap_strangers(&mut self, name: &str, most: u32) {
        let over = SITES.map(|by| {
            drops(vec![metered("open", PUBLIC, by, Measure::MoreThan(most, by))], format!("limited_open_{PUBLIC}"))
        });
        let operator = does(Verdict::Jump(MESH_FREE.to_owned()));
        self.chain(name, [operator].into_iter().chain(self.expiry()).chain(over).collect());
    }

    fn expiry(&self) -> Vec<Rule> {
        let limits = self.ruleset.half_open.iter();
        limits
            .map(|(name, limit)| when([Match::FirstSyn, Match::Family(limit.family)], Verdict::Expire(name.clone())))
            .collect()
    }
}

/// The four sets of a purpose's sources, as matches: single addresses, then networks.
fn sources(purpose: Gate) -> [Match; 4] {
    [
        Match::Source4(format!("{purpose}_hosts4")),
        Match::Source6(format!("{purpose}_hosts6")),
        Match::Source4(format!("{purpose}_nets4")),
        Match::Source6(format!("{purpose}_nets6")),
    ]
}

fn allowed(purpose: Gate) -> String {
    format!("allowed_{purpose}")
}

fn metered(what: &str, of: &str, by: Source, measure: Measure) -> Match {
    let family = match by {
        Source::V4(_) => 4,
        Source::V6(_) => 6,
    };
    Match::Metered(Metered { meter: format!("{what}_{of}{family}"), measure })
}

fn when(matches: impl Into<Vec<Match>>, verdict: Verdict) -> Rule {
    Rule { matches: matches.into(), counter: None, verdict }
}

fn go(condition: Match, to: &str) -> Rule {
    when([condition], Verdict::Goto(to.to_owned()))
}

fn does(verdict: Verdict) -> Rule {
    when([], verdict)
}

fn drops(matches: Vec<Match>, counter: String) -> Rule {
    Rule { matches, counter: Some(counter), verdict: Verdict::Drop }
}
