//! The four questions of somebody who was woken up, each answered in a sentence: is my validator hidden, who may reach it, what
//! changed, is anything wrong. A claim is made only for hosts that read it back.

mod changed;

pub(crate) use changed::said;

use crate::{
    HostState, Line, Overview, TunnelState,
    advice::found,
    text::{count, counted, names, plain},
};
use changed::changed;
use picket_api::operator::FindingView;
use picket_model::{AllowSet, FirewallPolicy, NodeId, NodeRole, PrepId, Purpose, Reason};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What is called lately.
const LATELY: Duration = Duration::from_hours(24);
/// Names in one sentence; more are counted.
const NAMED: usize = 4;

/// How good an answer is. The order is that of concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// A fact, neither good nor bad.
    Plain,
    /// As it should be.
    Good,
    /// Nobody knows.
    Unknown,
    /// Look at it.
    Notice,
    /// Act.
    Bad,
}

impl Mark {
    /// In one word, which stands beside the colour.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Notice => "look at it",
            Self::Bad => "wrong",
        }
    }

    /// A sign that differs in shape, for who sees no colours.
    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "✓",
            Self::Unknown => "?",
            Self::Notice => "!",
            Self::Bad => "✕",
        }
    }

    /// As the name of a style.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Notice => "notice",
            Self::Bad => "bad",
        }
    }
}

/// One question and its answer. Texts of strangers in it are spelt out, and still to be escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The question.
    pub question: &'static str,
    /// How good the answer is.
    pub mark: Mark,
    /// The answer.
    pub text: String,
    /// More.
    pub more: Vec<Line>,
}

/// The answers, in the order in which people ask.
pub fn answers(of: &Overview) -> [Answer; 4] {
    [wrong(of), hidden(&of.hosts), reach(&of.hosts), changed(of)]
}

/// Hosts of validators that are members and read back what is wanted: of a machine that runs no agent nothing can be claimed.
fn preps(hosts: &[HostState]) -> Vec<&HostState> {
    hosts.iter().filter(|host| host.view.node.role == NodeRole::Prep && host.view.node.reports()).collect()
}

fn wrong(of: &Overview) -> Answer {
    let status = &of.status;
    let mark = |finding: &FindingView| if finding.is_error { Mark::Bad } else { Mark::Notice };
    let mut more: Vec<(Mark, Line)> = status.findings.iter().map(mark).zip(found(&status.findings)).collect();
    let (all, unknown) =
        (of.tunnels.len(), of.tunnels.iter().filter(|tunnel| tunnel.state == TunnelState::Unknown).count());
    let down = of.tunnels.iter().filter(|tunnel| tunnel.state != TunnelState::Up).count() - unknown;
    if down > 0 {
        more.push((
            Mark::Notice,
            format!("{down} of {} {} not up", count(all, "tunnel"), verb(down, "is", "are")).into(),
        ));
    }
    if unknown > 0 {
        more.push((Mark::Notice, format!("nobody reports of {unknown} of {}", count(all, "tunnel")).into()));
    }
    if status.validators == 0 {
        more.push((Mark::Bad, "no list of validators has been seen yet".to_owned().into()));
    }
    let mark = more.iter().map(|(mark, _)| *mark).max().unwrap_or(Mark::Good);
    let text = match more.len() {
        0 if status.nodes == 0 => "Nothing is wrong; no host has joined yet.".to_owned(),
        0 => format!(
            "Nothing is wrong. What is wanted is in force on {} of {}.",
            status.in_force,
            count(status.nodes, "host")
        ),
        1 => "One thing needs a look.".to_owned(),
        things => format!("{things} things need a look."),
    };
    // Those of one kind stay together.
    more.sort_by_key(|(mark, _)| Reverse(*mark));
    Answer { question: "Is anything wrong?", mark, text, more: more.into_iter().map(|(_, line)| line).collect() }
}

fn hidden(hosts: &[HostState]) -> Answer {
    let preps = preps(hosts);
    let mut more = Vec::new();
    let (mut hidden, mut open) = (Vec::new(), Vec::new());
    for prep in &preps {
        let name = prep.name();
        if let Some(lag) = &prep.lag {
            more.push((Mark::Bad, format!("{name} does not confirm what is wanted of it: {}", plain(lag))));
            continue;
        }
        match prep.config.as_ref().and_then(|config| config.firewall.hidden.as_ref()) {
            Some(how) if how.sentries.is_empty() => {
                more.push((Mark::Bad, format!("{name} is to be hidden and has no sentry")));
            }
            Some(how) => {
                let sentries = counted(how.sentries.len(), "sentry", "sentries");
                let text = if how.strict {
                    format!("other validators reach {name}, and are reached by it, through {sentries} alone")
                } else {
                    format!(
                        "other validators reach {name}, and are reached by it, through {sentries}; directly where none of them answers"
                    )
                };
                more.push((Mark::Good, text));
                hidden.push(name);
            }
            None => open.push(name),
        }
    }
    let (mark, text) = match (hidden.as_slice(), open.as_slice()) {
        _ if preps.is_empty() => (Mark::Unknown, "No validator's host has joined yet.".to_owned()),
        ([], []) => (Mark::Bad, "Nobody knows: no validator's host confirms it.".to_owned()),
        (hidden, []) if hidden.len() == preps.len() => (
            Mark::Good,
            format!("Yes. {} {} behind sentries.", names(hidden, NAMED), verb(hidden.len(), "hides", "hide")),
        ),
        (hidden, []) => {
            (Mark::Notice, format!("{} of {} hide behind sentries.", hidden.len(), count(preps.len(), "validator")))
        }
        ([], open) => (
            Mark::Notice,
            format!(
                "No. {} {} guarded, and known by {} own address: the policy hides nobody.",
                names(open, NAMED),
                verb(open.len(), "is", "are"),
                verb(open.len(), "its", "their")
            ),
        ),
        (hidden, open) => (
            Mark::Notice,
            format!(
                "In part. {} {} behind sentries; {} {} guarded, and not hidden.",
                names(hidden, NAMED),
                verb(hidden.len(), "hides", "hide"),
                names(open, NAMED),
                verb(open.len(), "is", "are")
            ),
        ),
    };
    let mark = more.iter().map(|(mark, _)| *mark).max().unwrap_or(mark).max(mark);
    Answer {
        question: "Is my validator hidden?",
        mark,
        text,
        more: more.into_iter().map(|(_, text)| text.into()).collect(),
    }
}

const fn verb<'a>(all: usize, one: &'a str, several: &'a str) -> &'a str {
    if all == 1 { one } else { several }
}

fn reach(hosts: &[HostState]) -> Answer {
    let question = "Who may reach it?";
    let preps = preps(hosts);
    if preps.is_empty() {
        let text = "No validator's host has joined yet.".to_owned();
        return Answer { question, mark: Mark::Unknown, text, more: Vec::new() };
    }
    let mut by_reach: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let (mut is_public, mut unconfirmed) = (false, Vec::new());
    for prep in &preps {
        let Some(config) = &prep.config else { continue };
        is_public |= config.firewall.public_ports().next().is_some();
        if prep.lag.is_some() {
            unconfirmed.push(prep.name());
        }
        by_reach.entry(who(&config.firewall)).or_default().push(prep.name());
    }
    let mut sentences: Vec<String> =
        by_reach.into_iter().map(|(who, hosts)| format!("{}: {who}.", names(&hosts, NAMED))).collect();
    let mark = match (unconfirmed.is_empty(), is_public, sentences.is_empty()) {
        (false, _, _) | (_, _, true) => Mark::Bad,
        (true, true, false) => Mark::Notice,
        (true, false, false) => Mark::Good,
    };
    if !unconfirmed.is_empty() {
        sentences.push(format!("So it is wanted; {} does not confirm it.", names(&unconfirmed, NAMED)));
    }
    if sentences.is_empty() {
        sentences.push("No validator's host is in a plan yet.".to_owned());
    }
    let text = sentences.remove(0);
    Answer { question, mark, text, more: sentences.into_iter().map(Line::from).collect() }
}

/// Who is let in to guarded ports, and that nobody else is.
pub(crate) fn who(policy: &FirewallPolicy) -> String {
    if policy.guarded.is_empty() {
        return "no port is guarded, so everybody reaches every port".to_owned();
    }
    let mut who = Vec::new();
    let public: Vec<String> = policy.public_ports().map(|port| port.to_string()).collect();
    if !public.is_empty() {
        who.push(format!("everybody at {}, within limits", names(&public, NAMED)));
    }
    if let Some(hidden) = &policy.hidden {
        who.push(format!("validators through {}", counted(hidden.sentries.len(), "sentry", "sentries")));
    }
    for (purpose, word) in [(Purpose::P2p, "P2P"), (Purpose::Rpc, "RPC")] {
        let Some(ports) = ports(policy, purpose) else { continue };
        let set = policy.let_in(purpose);
        let (validators, networks) = (validators(&set), networks(&set));
        if validators > 0 {
            who.push(format!("{} at {word} {ports}", count(validators, "validator")));
        }
        if networks > 0 {
            who.push(format!("{} of the policy at {word} {ports}", count(networks, "network")));
        }
    }
    let admin = policy.allowed(Purpose::Admin).0.len();
    if admin > 0 {
        who.push(count(admin, "admin network"));
    }
    let members = members(policy.allowed(Purpose::Overlay));
    if members > 0 {
        who.push(format!("{} inside the tunnel", count(members, "mesh host")));
    }
    if who.is_empty() { "nobody".to_owned() } else { format!("{}; nobody else", names(&who, usize::MAX)) }
}

fn ports(policy: &FirewallPolicy, of: Purpose) -> Option<String> {
    let ports: Vec<String> =
        policy.guarded.iter().filter(|(_, purpose)| **purpose == of).map(|(port, _)| port.to_string()).collect();
    (!ports.is_empty()).then(|| names(&ports, NAMED))
}

/// Validators in an allow set.
pub(crate) fn validators(set: &AllowSet) -> usize {
    let preps: BTreeSet<PrepId> = set
        .0
        .values()
        .flatten()
        .filter_map(|reason| match reason {
            Reason::Prep { prep, .. } => Some(*prep),
            _ => None,
        })
        .collect();
    preps.len()
}

fn networks(set: &AllowSet) -> usize {
    set.0.values().filter(|reasons| reasons.iter().any(|reason| matches!(reason, Reason::Policy { .. }))).count()
}

fn members(set: &AllowSet) -> usize {
    let nodes: BTreeSet<&NodeId> = set
        .0
        .values()
        .flatten()
        .filter_map(|reason| match reason {
            Reason::Node { node, .. } => Some(node),
            _ => None,
        })
        .collect();
    nodes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixture::{NOW, finding, issued, overview, prep, source, with_tunnel},
        tunnels,
    };

    fn answer(of: &Overview, question: &str) -> Answer {
        answers(of).into_iter().find(|answer| answer.question.contains(question)).unwrap()
    }

    #[test]
    fn a_validator_is_hidden_only_where_its_host_confirms_it() {
        let mut of = overview();
        let found = answer(&of, "hidden");
        assert_eq!(found.mark, Mark::Notice);
        assert!(found.text.starts_with("No. prep-1 is guarded"), "{}", found.text);
        of.hosts = vec![prep("prep-1", true)];
        assert_eq!(answer(&of, "hidden").mark, Mark::Good);
        assert!(answer(&of, "hidden").text.starts_with("Yes. prep-1 hides"));
        of.hosts[0].lag = Some("has been silent for 5 min".to_owned());
        let found = answer(&of, "hidden");
        assert_eq!(found.mark, Mark::Bad);
        assert!(!found.text.starts_with("Yes"), "{}", found.text);
        of.hosts.clear();
        assert_eq!(answer(&of, "hidden").mark, Mark::Unknown);
    }

    #[test]
    fn who_may_reach_it_is_counted_and_a_public_port_is_said() {
        let mut of = overview();
        let found = answer(&of, "reach");
        assert_eq!(found.mark, Mark::Good);
        assert_eq!(found.text, "prep-1: 1 validator at P2P tcp/7100 and 1 admin network; nobody else.");
        let config = std::sync::Arc::make_mut(of.hosts[0].config.as_mut().unwrap());
        config.firewall.public.insert(7100.try_into().unwrap());
        let found = answer(&of, "reach");
        assert_eq!(found.mark, Mark::Notice);
        assert!(found.text.contains("everybody at tcp/7100, within limits"), "{}", found.text);
    }

    #[test]
    fn a_source_that_fails_is_one_thing() {
        let mut of = overview();
        of.status.sources = vec![source("a.example", Some("HTTP 500"))];
        of.status.findings = vec![finding("source-failing", None)];
        let found = answer(&of, "wrong");
        assert_eq!((found.text.as_str(), found.more.len()), ("One thing needs a look.", 1), "{:?}", found.more);
    }

    #[test]
    fn a_tunnel_that_is_down_is_something_else_than_one_that_nobody_knows() {
        let mut of = overview();
        of.hosts[0].config = of.hosts[0].config.take().map(|config| with_tunnel(&config, "sentry-1"));
        of.tunnels = tunnels(&of.hosts, NOW);
        let texts = |of: &Overview| answer(of, "wrong").more.into_iter().map(|line| line.text).collect::<Vec<_>>();
        assert_eq!(texts(&of), ["1 of 1 tunnel is not up"]);
        of.hosts[0].is_silent = true;
        of.tunnels = tunnels(&of.hosts, NOW);
        assert_eq!(texts(&of), ["nobody reports of 1 of 1 tunnel"]);
    }

    #[test]
    fn nothing_is_claimed_of_a_machine_that_runs_no_agent() {
        let mut of = overview();
        of.hosts.push(issued("laptop"));
        for question in ["hidden", "reach"] {
            let found = answer(&of, question);
            let all: Vec<&str> =
                found.more.iter().map(|line| line.text.as_str()).chain([found.text.as_str()]).collect();
            assert!(!all.concat().contains("laptop"), "{all:?}");
        }
        of.hosts.remove(0);
        assert_eq!(answer(&of, "reach").text, "No validator's host has joined yet.");
    }

    #[test]
    fn what_is_wrong_is_counted_and_errors_come_first() {
        let mut of = overview();
        let found = answer(&of, "wrong");
        assert_eq!((found.mark, found.more.len()), (Mark::Good, 0));
        let slow = FindingView { text: "a source is slow".to_owned(), ..finding("source-failing", None) };
        let refused =
            FindingView { text: "the plan was refused".to_owned(), is_error: true, ..finding("plan-refused", None) };
        of.status.findings = vec![slow, refused];
        let found = answer(&of, "wrong");
        assert_eq!((found.mark, found.text.as_str()), (Mark::Bad, "2 things need a look."));
        let texts: Vec<&str> = found.more.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["the plan was refused", "a source is slow"]);
    }
}
