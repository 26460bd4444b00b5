//! `picket audit`: what was found at a host's ports, held against what is promised of them. Knocks at nothing.

use crate::table::Page;
use picket_api::probe::{Found, Probe, ProbedPort};
use picket_model::{Generation, GuardedPort, HostVerdict, NodeName, Protocol, Purpose};
use serde::Serialize;
use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU16};

/// Where an audit looks from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// By an address that anybody can send to.
    Outside,
    /// Through a tunnel, where grants of the mesh count.
    Inside,
}

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

/// One port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    protocol: Protocol,
    port: NonZeroU16,
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
    /// What is promised of the guarded ports of a host.
    pub(crate) fn of(host: &HostVerdict, from: Where) -> BTreeMap<GuardedPort, Self> {
        let counts = |purpose| purpose != Purpose::Overlay || from == Where::Inside;
        let promise = |is_let_in| if is_let_in { Self::LetIn } else { Self::Closed };
        let ports = host.ports.iter();
        ports
            .map(|port| (port.port, promise(port.public || port.grants.iter().any(|grant| counts(grant.purpose)))))
            .collect()
    }

    /// A listener may well be silent over UDP: there silence breaks no promise to let in, and keeps none.
    fn is_kept(self, protocol: Protocol, found: &Found) -> bool {
        let got_through = matches!(found, Found::Open | Found::NobodyListens);
        match self {
            Self::Closed => !got_through,
            Self::LetIn => got_through || (protocol == Protocol::Udp && *found == Found::Silent),
            Self::LeftAlone => true,
        }
    }
}

impl Audit {
    pub(crate) fn new(
        host: NodeName,
        generation: Generation,
        promised: &BTreeMap<GuardedPort, Promise>,
        probe: Probe,
    ) -> Self {
        let Probe { from, address, ports } = probe;
        let lines = ports.into_iter().map(|ProbedPort { at: GuardedPort { protocol, port }, found }| {
            let promise = promised.get(&GuardedPort { protocol, port }).copied().unwrap_or(Promise::LeftAlone);
            Line { protocol, port, promise, kept: promise.is_kept(protocol, &found), found }
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
    page.line(format_args!("{host} at {address}, from {from}, by generation {generation}"));
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
        Found::Silent if line.promise == Promise::LetIn && line.kept => "silent, which says nothing".to_owned(),
        Found::Silent => "silent".to_owned(),
        // It may be another machine's word.
        Found::Unreachable(why) => format!("not reached: {}", why.escape_debug()),
    };
    let mark = if line.kept { "" } else { "NOT as promised" };
    [format!("{}/{}", line.protocol, line.port), promise.to_owned(), found, mark.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{Grant, NodeRole, PortVerdict, Reason};

    fn at(protocol: Protocol, port: u16) -> GuardedPort {
        GuardedPort { protocol, port: NonZeroU16::new(port).unwrap() }
    }

    fn audit(ports: &[(Protocol, u16, Promise, Found)]) -> Audit {
        let promised = ports.iter().map(|(protocol, port, promise, _)| (at(*protocol, *port), *promise)).collect();
        let found = ports.iter();
        let ports = found
            .map(|(protocol, port, _, found)| ProbedPort { at: at(*protocol, *port), found: found.clone() })
            .collect();
        let (address, from) = ("203.0.113.21".parse().unwrap(), "198.51.100.66".parse().unwrap());
        Audit::new("sentry-1".parse().unwrap(), Generation(7), &promised, Probe { from, address, ports })
    }

    #[test]
    fn each_promise_is_kept_by_what_was_found_or_broken() {
        let away = || Found::Unreachable("No route to host".to_owned());
        for (promise, tcp, udp) in [
            (Promise::Closed, [false, false, true, true], [false, false, true, true]),
            (Promise::LetIn, [true, true, false, false], [true, true, true, false]),
            (Promise::LeftAlone, [true, true, true, true], [true, true, true, true]),
        ] {
            for (protocol, kept) in [(Protocol::Tcp, tcp), (Protocol::Udp, udp)] {
                let found = [Found::Open, Found::NobodyListens, Found::Silent, away()];
                assert_eq!(found.map(|found| promise.is_kept(protocol, &found)), kept, "{promise:?} {protocol}");
            }
        }
    }

    #[test]
    fn a_host_that_is_off_keeps_nothing() {
        use {Found::*, Promise::*, Protocol::*};
        let verdict = |ports: &[(Protocol, u16, Promise, Found)]| audit(ports).verdict;
        assert_eq!(verdict(&[(Tcp, 22, LeftAlone, NobodyListens), (Tcp, 7100, Closed, Silent)]), Verdict::Kept);
        assert_eq!(verdict(&[(Tcp, 22, LeftAlone, Silent), (Tcp, 7100, Closed, Silent)]), Verdict::NothingAnswers);
        assert_eq!(verdict(&[(Tcp, 22, LeftAlone, Silent), (Tcp, 7100, LetIn, Silent)]), Verdict::NothingAnswers);
        assert_eq!(verdict(&[(Tcp, 22, LeftAlone, Silent), (Udp, 7100, LetIn, Silent)]), Verdict::NothingAnswers);
        assert_eq!(verdict(&[(Tcp, 22, LeftAlone, Silent), (Tcp, 7100, Closed, NobodyListens)]), Verdict::Broken);
        assert_eq!(verdict(&[(Tcp, 22, LeftAlone, Silent), (Udp, 7100, Closed, NobodyListens)]), Verdict::Broken);
        assert_eq!(verdict(&[(Tcp, 22, LeftAlone, Open), (Tcp, 7100, LetIn, Silent)]), Verdict::Broken);
        assert_eq!(verdict(&[]), Verdict::NothingAnswers);
    }

    #[test]
    fn what_counts_inside_the_tunnel_lets_nobody_in_outside() {
        use Promise::{Closed, LetIn};
        let grant = |purpose| Grant {
            purpose,
            network: "198.51.100.0/24".parse().unwrap(),
            reason: Reason::Policy { line: "x".into() },
        };
        let port = |protocol, port, grants| PortVerdict {
            port: at(protocol, port),
            purpose: Purpose::P2p,
            grants,
            public: false,
        };
        let ports = vec![
            port(Protocol::Tcp, 7100, vec![grant(Purpose::Overlay)]),
            port(Protocol::Udp, 7100, vec![grant(Purpose::P2p)]),
            port(Protocol::Tcp, 9000, vec![grant(Purpose::Overlay), grant(Purpose::Admin)]),
            port(Protocol::Tcp, 9080, vec![]),
            PortVerdict { public: true, ..port(Protocol::Tcp, 9090, vec![]) },
        ];
        let host = HostVerdict {
            node: "n-1".parse().unwrap(),
            name: "prep-1".parse().unwrap(),
            role: NodeRole::Prep,
            issued: false,
            ports,
        };
        let expected = |mesh| {
            BTreeMap::from([
                (at(Protocol::Tcp, 7100), mesh),
                (at(Protocol::Udp, 7100), LetIn),
                (at(Protocol::Tcp, 9000), LetIn),
                (at(Protocol::Tcp, 9080), Closed),
                (at(Protocol::Tcp, 9090), LetIn),
            ])
        };
        assert_eq!(Promise::of(&host, Where::Outside), expected(Closed));
        assert_eq!(Promise::of(&host, Where::Inside), expected(LetIn));
    }

    #[test]
    fn the_page_says_what_is_wrong_and_as_json_too() {
        let ports = [
            (Protocol::Tcp, 22, Promise::LeftAlone, Found::Open),
            (Protocol::Tcp, 7100, Promise::Closed, Found::Open),
            (Protocol::Tcp, 9000, Promise::Closed, Found::Silent),
            (Protocol::Udp, 7100, Promise::LetIn, Found::Silent),
            (Protocol::Udp, 7101, Promise::LetIn, Found::Unreachable("\u{1b}[2J".into())),
        ];
        let audit = audit(&ports);
        insta::assert_snapshot!(page(&audit), @r"
        sentry-1 at 203.0.113.21, from 198.51.100.66, by generation 7
        PORT      PROMISED    FOUND
        tcp/22    left alone  open
        tcp/7100  closed      open                        NOT as promised
        tcp/9000  closed      silent
        udp/7100  let in      silent, which says nothing
        udp/7101  let in      not reached: \u{1b}[2J      NOT as promised

        NOT as promised: 2 of 5 ports
        ");
        let json = serde_json::to_value(&audit).unwrap();
        assert_eq!((&json["verdict"], &json["ports"][1]["kept"]), (&"broken".into(), &false.into()));
        assert_eq!((&json["ports"][3]["protocol"], &json["ports"][3]["found"]), (&"udp".into(), &"silent".into()));
    }
}
