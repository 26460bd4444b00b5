//! `picket shield`: what is ordered, and on each host whether limits are tight, since when, and what it stops.

use crate::{
    table::Page,
    time::{ago, rough},
};
use picket_api::shield::{HostShield, ShieldView};
use picket_model::{Defences, NodeId, ShieldOrder, Timestamp};

/// Whether the plan is made and the hosts that were named, all where none was, read back what is wanted of them.
pub(crate) fn is_done(view: &ShieldView, nodes: &[NodeId]) -> bool {
    let is_meant = |host: &&HostShield| {
        nodes.is_empty() || nodes.iter().any(|node| *node == host.node || node.as_str() == host.name.as_str())
    };
    view.refused.is_empty() && view.hosts.iter().filter(is_meant).all(|host| host.in_force)
}

/// The screen. Ages are by the controller's clock.
pub(crate) fn page(view: &ShieldView) -> String {
    let mut page = Page::default();
    let order = view.all.as_ref().map_or_else(
        || "nothing for all hosts".to_owned(),
        |order| format!("{} for all hosts {}, by {}", order.shield, time(order, view.now), order.by),
    );
    page.rows(&[["policy".to_owned(), view.policy.to_string()], ["ordered".to_owned(), order]]);
    for reason in &view.refused {
        page.line(format_args!("! no host changes: the plan is refused: {reason}"));
    }
    page.blank();
    if view.hosts.is_empty() {
        page.line("no host is enrolled yet");
    } else {
        let heading =
            ["name", "wanted", "by", "limits", "stopped", "attack", "tracking", "cookies", "heard", "in force"];
        page.table(heading, view.hosts.iter().map(|host| row(host, view.now)));
    }
    page.finish()
}

fn row(host: &HostShield, now: Timestamp) -> [String; 10] {
    let said =
        |say: fn(&Defences) -> Option<String>| host.defences.as_ref().and_then(say).unwrap_or_else(|| "-".to_owned());
    let limits = host.defences.as_ref().map_or_else(
        || "-".to_owned(),
        |said| format!("{} for {}", if said.is_tight { "tight" } else { "relaxed" }, rough(now.since(said.since))),
    );
    [
        host.name.to_string(),
        host.wanted.to_string(),
        host.order.as_ref().map_or_else(|| "policy".to_owned(), |order| format!("{}, {}", order.by, time(order, now))),
        limits,
        said(|said| said.stopped_per_second.map(|stopped| format!("{stopped}/s"))),
        said(|said| Some(format!("{}/s", said.attack_per_second))),
        said(|said| said.tracking.map(|tracking| format!("{} %", tracking.percent()))),
        said(|said| said.syn_cookies.map(|on| if on { "on" } else { "off" }.to_owned())),
        ago(host.reported_at, now),
        if host.in_force { "yes" } else { "no" }.to_owned(),
    ]
}

fn time(order: &ShieldOrder, now: Timestamp) -> String {
    order
        .until
        .map_or_else(|| "until the next order".to_owned(), |until| format!("for {} more", rough(until.since(now))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::{Generation, Shield, Tracking};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn ago(seconds: i64) -> Timestamp {
        Timestamp::from_millis(NOW.as_millis() - seconds * 1000)
    }

    fn order(shield: Shield, seconds: Option<u64>) -> ShieldOrder {
        let until = seconds.map(|seconds| NOW.plus(Duration::from_secs(seconds)));
        ShieldOrder { shield, by: "op-1".parse().unwrap(), at: ago(60), until }
    }

    fn host(name: &str, wanted: Shield, order: Option<ShieldOrder>, defences: Option<Defences>) -> HostShield {
        let reported_at = defences.is_some().then(|| ago(3));
        let id = format!("n-{name}").parse().unwrap();
        HostShield { node: id, name: name.parse().unwrap(), wanted, order, in_force: true, defences, reported_at }
    }

    fn view() -> ShieldView {
        let said = |is_tight, stopped| Defences {
            is_tight,
            since: ago(200),
            stopped_per_second: stopped,
            attack_per_second: 1000,
            syn_cookies: Some(true),
            tracking: Some(Tracking { connections: 12, most: 100 }),
        };
        let lasting = order(Shield::Off, None);
        let old = Defences { syn_cookies: None, tracking: None, ..said(false, None) };
        ShieldView {
            now: NOW,
            generation: Generation(7),
            policy: Shield::Auto,
            all: Some(order(Shield::On, Some(3540))),
            hosts: vec![
                host("prep-1", Shield::Auto, None, None),
                host("sentry-1", Shield::On, Some(order(Shield::On, Some(3540))), Some(said(true, Some(48_211)))),
                host("sentry-2", Shield::Off, Some(lasting), Some(old)),
            ],
            refused: Vec::new(),
        }
    }

    #[test]
    fn each_host_says_what_it_does_and_why() {
        insta::assert_snapshot!(page(&view()), @r#"
        policy   auto
        ordered  on for all hosts for 59 min more, by op-1

        NAME      WANTED  BY                          LIMITS             STOPPED  ATTACK  TRACKING  COOKIES  HEARD    IN FORCE
        prep-1    auto    policy                      -                  -        -       -         -        never    yes
        sentry-1  on      op-1, for 59 min more       tight for 3 min    48211/s  1000/s  12 %      on       3 s ago  yes
        sentry-2  off     op-1, until the next order  relaxed for 3 min  -        1000/s  -         -        3 s ago  yes
        "#);
        let calm = ShieldView { all: None, hosts: Vec::new(), refused: vec!["no ports\u{1b}[2J".to_owned()], ..view() };
        insta::assert_snapshot!(page(&calm), @r#"
        policy   auto
        ordered  nothing for all hosts
        ! no host changes: the plan is refused: no ports\u{1b}[2J

        no host is enrolled yet
        "#);
    }

    #[test]
    fn an_order_is_done_when_the_hosts_it_is_for_have_it() {
        let mut view = view();
        let [one, other] = ["sentry-1", "n-prep-1"].map(|name| name.parse::<NodeId>().unwrap());
        assert!(is_done(&view, &[]));
        view.hosts[0].in_force = false;
        assert!(!is_done(&view, &[]) && is_done(&view, std::slice::from_ref(&one)) && !is_done(&view, &[one, other]));
        view.hosts[0].in_force = true;
        view.refused = vec!["it was stopped".to_owned()];
        assert!(!is_done(&view, &[]));
    }
}
