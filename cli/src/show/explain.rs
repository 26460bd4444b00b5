//! `picket explain`: the verdict of every host on one address, with every reason.

use crate::table::Page;
use picket_model::{Denied, Explanation, HostVerdict, PolicyDeny, PortVerdict, Purpose};
use std::num::NonZeroU16;

/// The verdicts; `port` is the one that was asked about, if one was.
pub(crate) fn page(explanation: &Explanation, port: Option<NonZeroU16>) -> String {
    let mut page = Page::default();
    if explanation.hosts.is_empty() {
        page.line("no host is enrolled yet");
    } else {
        page.line(format_args!("packets from {}, by generation {}", explanation.address, explanation.generation));
        let rows = explanation.hosts.iter().flat_map(|host| rows(host, port));
        page.table(["host", "port", "for", "verdict", "because"], rows);
    }
    if !explanation.denied.is_empty() {
        page.blank();
        page.line("deny lines of the policy that keep validators there out");
        page.rows(&explanation.denied.iter().map(denied).collect::<Vec<_>>());
    }
    if !explanation.refused.is_empty() {
        page.blank();
        page.line("entries of the validator list that were refused");
        let row = |refused: &picket_model::Refused| [format!("  {}", refused.entry), refused.reason.clone()];
        page.rows(&explanation.refused.iter().map(row).collect::<Vec<_>>());
    }
    page.finish()
}

fn denied(line: &PolicyDeny) -> [String; 3] {
    let whom = match line.whom {
        Denied::Network(network) => network.to_string(),
        Denied::Prep(prep) => prep.to_string(),
    };
    let until = line.until.map_or_else(|| "for good".to_owned(), |until| format!("until {until}"));
    [format!("  {whom}"), line.comment.clone(), until]
}

fn rows(host: &HostVerdict, port: Option<NonZeroU16>) -> Vec<[String; 5]> {
    if host.ports.is_empty() {
        let port = port.map_or_else(|| "all".to_owned(), |port| port.to_string());
        let because = if host.issued { "it runs no agent" } else { "Picket leaves it alone" };
        let [purpose, word, because] = ["-", "not guarded", because].map(str::to_owned);
        return vec![[host.name.to_string(), port, purpose, word, because]];
    }
    host.ports.iter().flat_map(|verdict| verdict_rows(host, verdict)).collect()
}

/// One row for each grant; one that says so where there is none.
fn verdict_rows(host: &HostVerdict, verdict: &PortVerdict) -> Vec<[String; 5]> {
    let row = |word: &str, because| {
        [host.name.to_string(), verdict.port.to_string(), verdict.purpose.to_string(), word.to_owned(), because]
    };
    if !verdict.is_allowed() {
        return vec![row("refused", "nothing lets it in".to_owned())];
    }
    let rows = verdict.grants.iter().map(|grant| {
        let word = if grant.purpose == Purpose::Overlay { "allowed in the tunnel" } else { "allowed" };
        row(word, format!("{} ({}): {}", grant.network, grant.purpose, grant.reason))
    });
    let public = verdict.public.then(|| row("allowed within limits", "the port is public".to_owned()));
    rows.chain(public).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{Generation, Grant, GuardedPort, NodeRole, Protocol, Reason, Refused, Timestamp};

    fn grant(purpose: Purpose, network: &str, reason: Reason) -> Grant {
        Grant { purpose, network: network.parse().unwrap(), reason }
    }

    fn host(name: &str, ports: Vec<PortVerdict>) -> HostVerdict {
        HostVerdict {
            node: "n-1".parse().unwrap(),
            name: name.parse().unwrap(),
            role: NodeRole::Prep,
            issued: false,
            ports,
        }
    }

    fn verdict(port: u16, purpose: Purpose, grants: Vec<Grant>) -> PortVerdict {
        PortVerdict {
            port: GuardedPort { protocol: Protocol::Tcp, port: NonZeroU16::new(port).unwrap() },
            purpose,
            grants,
            public: port == 9080,
        }
    }

    #[test]
    fn every_port_has_a_verdict_and_every_verdict_its_reasons() {
        let prep = Reason::Prep {
            prep: format!("hx{}", "1".repeat(40)).parse().unwrap(),
            endpoint: "192.0.2.1:7100".parse().unwrap(),
            sources: ["a.example", "b.example"].map(|id| id.parse().unwrap()).into(),
            since_height: 31_000_000,
            advertised_by: [].into(),
        };
        let admin = Reason::Policy { line: "admin".to_owned() };
        let node = Reason::Node { node: "n-2".parse().unwrap(), name: "sentry-1".parse().unwrap() };
        let refused = Refused {
            entry: "hx2222222222222222222222222222222222222222".to_owned(),
            reason: "\"192.0.2.1:7100\u{1b}[2K\": two claim it".to_owned(),
        };
        let explanation = Explanation {
            address: "192.0.2.1".parse().unwrap(),
            hosts: vec![
                host(
                    "prep-1",
                    vec![
                        verdict(
                            7100,
                            Purpose::P2p,
                            vec![
                                grant(Purpose::P2p, "192.0.2.1/32", prep),
                                grant(Purpose::Admin, "192.0.2.0/24", admin),
                            ],
                        ),
                        verdict(9000, Purpose::Rpc, vec![]),
                        verdict(9080, Purpose::Rpc, vec![grant(Purpose::Overlay, "192.0.2.1/32", node)]),
                    ],
                ),
                HostVerdict { issued: true, ..host("laptop", vec![]) },
                host("sentry-1", vec![]),
            ],
            refused: vec![refused],
            denied: vec![
                PolicyDeny {
                    whom: Denied::Network("192.0.2.0/30".parse().unwrap()),
                    comment: "rogue\u{7}".to_owned(),
                    until: None,
                },
                PolicyDeny {
                    whom: Denied::Prep(format!("hx{}", "1".repeat(40)).parse().unwrap()),
                    comment: "incident 7".to_owned(),
                    until: Some(Timestamp::from_millis(1_700_000_000_000)),
                },
            ],
            generation: Generation(7),
        };
        insta::assert_snapshot!(page(&explanation, None), @r#"
        packets from 192.0.2.1, by generation 7
        HOST      PORT      FOR  VERDICT                BECAUSE
        prep-1    tcp/7100  p2p  allowed                192.0.2.1/32 (p2p): P-Rep hx1111111111111111111111111111111111111111 at 192.0.2.1:7100, named by a.example, b.example since height 31000000
        prep-1    tcp/7100  p2p  allowed                192.0.2.0/24 (admin): policy: admin
        prep-1    tcp/9000  rpc  refused                nothing lets it in
        prep-1    tcp/9080  rpc  allowed in the tunnel  192.0.2.1/32 (overlay): mesh host sentry-1 (n-2)
        prep-1    tcp/9080  rpc  allowed within limits  the port is public
        laptop    all       -    not guarded            it runs no agent
        sentry-1  all       -    not guarded            Picket leaves it alone

        deny lines of the policy that keep validators there out
          192.0.2.0/30                                rogue\u{7}  for good
          hx1111111111111111111111111111111111111111  incident 7  until 2023-11-14T22:13:20Z

        entries of the validator list that were refused
          hx2222222222222222222222222222222222222222  "192.0.2.1:7100\u{1b}[2K": two claim it
        "#);
    }

    #[test]
    fn a_port_that_is_not_guarded_is_not_ours() {
        let explanation = Explanation {
            address: "2001:db8::1".parse().unwrap(),
            hosts: vec![host("prep-1", vec![])],
            refused: vec![],
            denied: vec![],
            generation: Generation(7),
        };
        insta::assert_snapshot!(page(&explanation, NonZeroU16::new(22)), @r#"
        packets from 2001:db8::1, by generation 7
        HOST    PORT  FOR  VERDICT      BECAUSE
        prep-1  22    -    not guarded  Picket leaves it alone
        "#);
    }

    #[test]
    fn without_hosts_there_is_no_verdict() {
        let explanation = Explanation {
            address: "192.0.2.1".parse().unwrap(),
            hosts: vec![],
            refused: vec![],
            denied: vec![],
            generation: Generation(7),
        };
        assert_eq!(page(&explanation, None), "no host is enrolled yet\n");
    }
}
