//! `picket attack`: what each host stops and by what, the sources of refused packets, and that as a blocklist.

use crate::{
    args::Format,
    table::{Page, count, visible},
    time::ago,
};
use picket_api::attack::{AttackHost, AttackView};
use picket_model::{AttackSource, Blocklist, Timestamp, network::Shown};

/// Sources of each kind on a screen; as JSON there are more.
const MOST: usize = 15;
/// Hosts and ports that are named of one source.
const MOST_NAMED: usize = 3;

/// The screen. Ages are by the controller's clock.
pub(crate) fn page(view: &AttackView) -> String {
    let mut page = Page::default();
    if view.hosts.is_empty() {
        page.line("no host is enrolled yet");
        return page.finish();
    }
    page.table(["host", "stopped", "limits", "samples", "heard", "by"], view.hosts.iter().map(|at| host(at, view.now)));
    if view.addresses.is_empty() {
        page.blank();
        page.line("no source was refused more than once in the last ten minutes, or hosts do not say");
        return page.finish();
    }
    for (heading, sources) in [("address", &view.addresses), ("network", &view.networks)] {
        page.blank();
        let heading = [heading, "samples", "about", "last", "ports", "hosts"];
        page.table(heading, sources.iter().take(MOST).map(|source| row(source, view.now)));
        if sources.len() > MOST {
            page.line(format_args!("and {} more: --json", sources.len() - MOST));
        }
    }
    page.blank();
    page.line("source addresses can be forged; `picket attack export` leaves out who belongs here");
    page.finish()
}

/// A blocklist as it is written, and what to say beside it.
pub(crate) fn export(list: &Blocklist, format: Format) -> anyhow::Result<(String, String)> {
    let text = match format {
        Format::Text => list.text(),
        Format::Nft => list.nft(),
        Format::Json => serde_json::to_string_pretty(list)? + "\n",
    };
    let left_out = list.left_out.iter().map(|left| visible(&left.to_string()) + "\n");
    let said = format!("{} with {} samples or more\n", count(list.sources.len(), "source"), list.least);
    Ok((text, left_out.chain([said]).collect()))
}

fn host(host: &AttackHost, now: Timestamp) -> [String; 6] {
    let dash = || "-".to_owned();
    let stopped = host.defences.as_ref().and_then(|said| said.stopped_per_second);
    let mut acting: Vec<(&String, &u64)> = host.acting.iter().collect();
    acting.sort_by_key(|(_, rate)| std::cmp::Reverse(**rate));
    let acting: Vec<String> = acting.into_iter().map(|(name, rate)| format!("{name} {rate}/s")).collect();
    [
        host.name.to_string(),
        stopped.map_or_else(dash, |stopped| format!("{stopped}/s")),
        host.defences.as_ref().map_or_else(dash, |said| if said.is_tight { "tight" } else { "relaxed" }.to_owned()),
        host.samples.map_or_else(dash, |(samples, _)| samples.to_string()),
        ago(host.reported_at, now),
        if acting.is_empty() { dash() } else { acting.join(", ") },
    ]
}

fn row(source: &AttackSource, now: Timestamp) -> [String; 6] {
    let ports: Vec<String> = source.ports.iter().map(ToString::to_string).collect();
    let hosts: Vec<String> = source.hosts.iter().map(ToString::to_string).collect();
    [
        Shown(source.source).to_string(),
        source.samples.to_string(),
        format!("{}/s", source.per_second),
        ago(Some(source.last), now),
        some(&ports),
        some(&hosts),
    ]
}

fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(MOST_NAMED);
    let named = names.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
    match (named.is_empty(), more) {
        (true, _) => "-".to_owned(),
        (false, 0) => named,
        (false, more) => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{BlocklistBy, Defences, GuardedPort, LeftOut, Protocol};
    use std::collections::BTreeMap;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn source(source: &str, samples: u64, per_second: u64) -> AttackSource {
        let port = |port: u16| GuardedPort { protocol: Protocol::Tcp, port: port.try_into().unwrap() };
        AttackSource {
            source: source.parse().unwrap(),
            samples,
            per_second,
            last: Timestamp::from_millis(NOW.as_millis() - 4000),
            ports: [7100, 9000, 9080, 9081].map(port).into(),
            hosts: ["sentry-1".parse().unwrap()].into(),
        }
    }

    fn view() -> AttackView {
        let defences = Defences {
            is_tight: true,
            since: NOW,
            stopped_per_second: Some(48_211),
            attack_per_second: 1000,
            syn_cookies: None,
            tracking: None,
        };
        let acting = [("refused_p2p", 48_000), ("limited_new_public", 211)].map(|(name, rate)| (name.to_owned(), rate));
        let host = |name: &str, defences: Option<Defences>| AttackHost {
            node: format!("n-{name}").parse().unwrap(),
            name: name.parse().unwrap(),
            samples: defences.as_ref().map(|_| (1800, 600)),
            acting: if defences.is_some() { acting.clone().into() } else { BTreeMap::new() },
            reported_at: defences.as_ref().map(|_| NOW),
            defences,
        };
        AttackView {
            now: NOW,
            hosts: vec![host("prep-1", None), host("sentry-1", Some(defences))],
            addresses: vec![source("9.9.9.9/32", 1700, 45_000), source("2a00::7/128", 2, 53)],
            networks: vec![source("9.9.9.0/24", 1700, 45_000)],
        }
    }

    #[test]
    fn the_screen_says_where_what_acts_and_who_knocks() {
        insta::assert_snapshot!(page(&view()), @"
        HOST      STOPPED  LIMITS  SAMPLES  HEARD    BY
        prep-1    -        -       -        never    -
        sentry-1  48211/s  tight   1800     0 s ago  refused_p2p 48000/s, limited_new_public 211/s

        ADDRESS  SAMPLES  ABOUT    LAST     PORTS                                    HOSTS
        9.9.9.9  1700     45000/s  4 s ago  tcp/7100, tcp/9000, tcp/9080 and 1 more  sentry-1
        2a00::7  2        53/s     4 s ago  tcp/7100, tcp/9000, tcp/9080 and 1 more  sentry-1

        NETWORK     SAMPLES  ABOUT    LAST     PORTS                                    HOSTS
        9.9.9.0/24  1700     45000/s  4 s ago  tcp/7100, tcp/9000, tcp/9080 and 1 more  sentry-1

        source addresses can be forged; `picket attack export` leaves out who belongs here
        ");
        let calm = AttackView { addresses: Vec::new(), networks: Vec::new(), ..view() };
        assert!(
            page(&calm)
                .ends_with("no source was refused more than once in the last ten minutes, or hosts do not say\n")
        );
        assert_eq!(page(&AttackView { hosts: Vec::new(), ..view() }), "no host is enrolled yet\n");
    }

    #[test]
    fn a_list_is_alone_on_stdout_and_who_is_not_in_it_is_said_beside_it() {
        let left_out =
            vec![LeftOut { source: "7.7.7.7/32".parse().unwrap(), why: "member sentry-1 of the mesh".into() }];
        let sources = vec![source("9.9.9.9/32", 30, 7)];
        let list = Blocklist { made_at: NOW, by: BlocklistBy::Address, least: 20, sources, left_out };
        let (text, said) = export(&list, Format::Text).unwrap();
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>(), ["9.9.9.9"]);
        assert_eq!(said, "left out 7.7.7.7: member sentry-1 of the mesh\n1 source with 20 samples or more\n");
        assert!(export(&list, Format::Nft).unwrap().0.contains("table inet blocklist"));
        let (json, _) = export(&list, Format::Json).unwrap();
        assert_eq!(serde_json::from_str::<Blocklist>(&json).unwrap(), list);
    }
}
