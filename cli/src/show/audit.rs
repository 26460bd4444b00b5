//! `picket audit`: what was found at a host's ports, held against what is promised of them. Knocks at nothing.

use crate::table::Page;
use picket_model::{Generation, HostVerdict, NodeName, Protocol, Purpose};
use serde::Serialize;
use std::{collections::BTreeMap, net::IpAddr};

/// What the plan says of packets from this machine to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Promise {
    /// They are dropped.
    Closed,
    /// They get through.
    LetIn,
    /// The port is none of Picket's business.
    LeftAlone,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Found {
    /// A connection.
    Open,
    /// An answer that nobody listens: the packet got through.
    NobodyListens,
    /// No answer: dropped on its way, or there is no such host.
    Silent,
    /// It did not get as far, and why.
    Unreachable(String),
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    port: u16,
    promise: Promise,
    found: Found,
    kept: bool,
}

/// All ports, and what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Audit {
    host: NodeName,
    address: IpAddr,
    from: IpAddr,
    generation: Generation,
    verdict: Verdict,
    ports: Vec<Line>,
}

/// What follows from all ports together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// All is as promised.
    Kept,
    /// Something is not.
    Broken,
    /// Nothing at all answered: a host that is off keeps every promise.
    NothingAnswers,
}

impl Promise {
    /// What is promised of the guarded TCP ports of a host. Grants of the mesh count inside the tunnel, where an audit is not.
    pub(crate) fn of(host: &HostVerdict) -> BTreeMap<u16, Self> {
        let tcp = host.ports.iter().filter(|verdict| verdict.port.protocol == Protocol::Tcp);
        tcp.map(|verdict| {
            let is_let_in = verdict.grants.iter().any(|grant| grant.purpose != Purpose::Overlay);
            (verdict.port.port.get(), if is_let_in { Self::LetIn } else { Self::Closed })
        })
        .collect()
    }

    fn is_kept(self, found: &Found) -> bool {
        let got_through = matches!(found, Found::Open | Found::NobodyListens);
        match self {
            Self::Closed => !got_through,
            Self::LetIn => got_through,
            Self::LeftAlone => true,
        }
    }
}

impl Audit {
    pub(crate) fn new(
        host: NodeName,
        address: IpAddr,
        from: IpAddr,
        generation: Generation,
        promised: &BTreeMap<u16, Promise>,
        found: &BTreeMap<u16, Found>,
    ) -> Self {
        let lines = promised.iter().filter_map(|(port, promise)| {
            let found = found.get(port)?.clone();
            Some(Line { port: *port, promise: *promise, kept: promise.is_kept(&found), found })
        });
        let ports: Vec<Line> = lines.collect();
        let answers = ports.iter().any(|line| matches!(line.found, Found::Open | Found::NobodyListens));
        let verdict = match ports.iter().all(|line| line.kept) {
            false if answers => Verdict::Broken,
            true if answers => Verdict::Kept,
            _ => Verdict::NothingAnswers,
        };
        Self { host, address, from, generation, verdict, ports }
    }

    /// Whether the host is there and all is as promised.
    pub(crate) fn is_kept(&self) -> bool {
        self.verdict == Verdict::Kept
    }
}

pub(crate) fn page(audit: &Audit) -> String {
    let Audit { host, address, from, generation, verdict, ports } = audit;
    let mut page = Page::default();
    page.line(format_args!("{host} at {address}, TCP from {from}, by generation {generation}"));
    page.table(["port", "promised", "found", ""], ports.iter().map(row));
    page.blank();
    page.line(match verdict {
        Verdict::Kept => "as promised".to_owned(),
        Verdict::Broken => {
            let broken = ports.iter().filter(|line| !line.kept).count();
            format!("NOT as promised: {broken} of {} ports", ports.len())
        }
        Verdict::NothingAnswers => {
            "nothing answered, which a host that is off does as well: name a port that answers with --port".to_owned()
        }
    });
    page.finish()
}

fn row(line: &Line) -> [String; 4] {
    let promise = match line.promise {
        Promise::Closed => "closed",
        Promise::LetIn => "let in",
        Promise::LeftAlone => "left alone",
    };
    let found = match &line.found {
        Found::Open => "open".to_owned(),
        Found::NobodyListens => "answers, nobody listens".to_owned(),
        Found::Silent => "silent".to_owned(),
        Found::Unreachable(why) => format!("not reached: {why}"),
    };
    let mark = if line.kept { "" } else { "NOT as promised" };
    [line.port.to_string(), promise.to_owned(), found, mark.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{Grant, GuardedPort, NodeRole, PortVerdict, Reason};
    use std::num::NonZeroU16;

    fn audit(ports: &[(u16, Promise, Found)]) -> Audit {
        let promised = ports.iter().map(|(port, promise, _)| (*port, *promise)).collect();
        let found = ports.iter().map(|(port, _, found)| (*port, found.clone())).collect();
        let (address, from) = ("203.0.113.21".parse().unwrap(), "198.51.100.66".parse().unwrap());
        Audit::new("sentry-1".parse().unwrap(), address, from, Generation(7), &promised, &found)
    }

    #[test]
    fn each_promise_is_kept_by_what_was_found_or_broken() {
        let away = || Found::Unreachable("No route to host".to_owned());
        for (promise, kept) in [
            (Promise::Closed, [false, false, true, true]),
            (Promise::LetIn, [true, true, false, false]),
            (Promise::LeftAlone, [true, true, true, true]),
        ] {
            let found = [Found::Open, Found::NobodyListens, Found::Silent, away()];
            assert_eq!(found.map(|found| promise.is_kept(&found)), kept, "{promise:?}");
        }
    }

    #[test]
    fn a_host_that_is_off_keeps_nothing() {
        use {Found::*, Promise::*};
        assert_eq!(audit(&[(22, LeftAlone, NobodyListens), (7100, Closed, Silent)]).verdict, Verdict::Kept);
        assert_eq!(audit(&[(22, LeftAlone, Silent), (7100, Closed, Silent)]).verdict, Verdict::NothingAnswers);
        assert_eq!(audit(&[(22, LeftAlone, Silent), (7100, LetIn, Silent)]).verdict, Verdict::NothingAnswers);
        assert_eq!(audit(&[(22, LeftAlone, Silent), (7100, Closed, NobodyListens)]).verdict, Verdict::Broken);
        assert_eq!(audit(&[(22, LeftAlone, Open), (7100, LetIn, Silent)]).verdict, Verdict::Broken);
        assert_eq!(audit(&[]).verdict, Verdict::NothingAnswers);
    }

    #[test]
    fn what_counts_inside_the_tunnel_lets_nobody_in_outside() {
        let grant = |purpose| Grant {
            purpose,
            network: "198.51.100.0/24".parse().unwrap(),
            reason: Reason::Policy { line: "x".into() },
        };
        let port = |protocol, port, grants| PortVerdict {
            port: GuardedPort { protocol, port: NonZeroU16::new(port).unwrap() },
            purpose: Purpose::P2p,
            grants,
        };
        let ports = vec![
            port(Protocol::Tcp, 7100, vec![grant(Purpose::Overlay)]),
            port(Protocol::Tcp, 9000, vec![grant(Purpose::Overlay), grant(Purpose::Admin)]),
            port(Protocol::Tcp, 9080, vec![]),
            port(Protocol::Udp, 9081, vec![]),
        ];
        let host =
            HostVerdict { node: "n-1".parse().unwrap(), name: "prep-1".parse().unwrap(), role: NodeRole::Prep, ports };
        let expected = [(7100, Promise::Closed), (9000, Promise::LetIn), (9080, Promise::Closed)];
        assert_eq!(Promise::of(&host), BTreeMap::from(expected));
    }

    #[test]
    fn the_page_says_what_is_wrong_and_as_json_too() {
        let ports = [
            (22, Promise::LeftAlone, Found::Open),
            (7100, Promise::Closed, Found::Open),
            (9000, Promise::Closed, Found::Silent),
        ];
        let audit = audit(&ports);
        insta::assert_snapshot!(page(&audit), @r"
        sentry-1 at 203.0.113.21, TCP from 198.51.100.66, by generation 7
        PORT  PROMISED    FOUND
        22    left alone  open
        7100  closed      open    NOT as promised
        9000  closed      silent

        NOT as promised: 1 of 3 ports
        ");
        let json = serde_json::to_value(&audit).unwrap();
        assert_eq!((&json["verdict"], &json["ports"][1]["kept"]), (&"broken".into(), &false.into()));
    }
}
