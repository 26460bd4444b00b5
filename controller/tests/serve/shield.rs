//! Orders about the shield: who may, what each host is told, how they end, and what hosts say of their defences.

use crate::fixture::{Agent, Mesh, eventually, report};
use picket_api::{
    ProblemKind,
    shield::{HostShield, OrderShield, ShieldWish},
};
use picket_model::{Defences, NodeReport, NodeRole, Shield, Timestamp, Tracking};
use std::time::SystemTime;

fn order(shield: ShieldWish, hosts: &[&str], seconds: Option<u64>) -> OrderShield {
    OrderShield { shield, hosts: hosts.iter().map(|name| (*name).to_owned()).collect(), seconds }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

async fn told(agent: &Agent) -> Shield {
    agent.wanted().await.full.firewall.shield
}

async fn host(mesh: &Mesh, agent: &Agent) -> HostShield {
    let view = mesh.operator().shield().await.unwrap();
    view.hosts.into_iter().find(|host| host.node == agent.node).unwrap()
}

async fn lines(mesh: &Mesh, action: &str) -> Vec<(String, String, Option<String>)> {
    let events = mesh.operator().events().await.unwrap();
    let of = events.into_iter().filter(|event| event.action == action);
    of.map(|event| (event.subject, event.detail, event.reason)).collect()
}

#[tokio::test]
async fn an_order_reaches_the_hosts_it_names_at_once_and_is_in_the_log_with_its_reason() {
    let mesh = Mesh::start_with("[policy]\nshield = \"auto\"\n").await;
    let [one, two] = [mesh.join(NodeRole::Sentry, "sentry-1").await, mesh.join(NodeRole::Sentry, "sentry-2").await];
    assert_eq!((told(&one).await, told(&two).await), (Shield::Auto, Shield::Auto));
    let before = one.wanted().await;
    one.confirm(&before).await;
    let waiting = one.waiting(&mesh, &before).await;

    let operator = mesh.operator().because(Some("flood from AS64500".to_owned()));
    let asked = tokio::spawn(async move { operator.order_shield(&order(ShieldWish::On, &["sentry-1"], None)).await });
    let answer = waiting.await.unwrap().unwrap().unwrap();
    assert_eq!((answer.full.firewall.shield, answer.revision > before.revision), (Shield::On, true));
    one.confirm(&answer).await;
    let view = asked.await.unwrap().unwrap();
    assert_eq!((view.policy, view.all, view.generation), (Shield::Auto, None, answer.revision));
    assert_eq!(view.hosts.len(), 1, "of whom it is about");
    let found = view.hosts.iter().find(|host| host.node == one.node).unwrap();
    let given = found.order.clone().unwrap();
    assert_eq!((found.wanted, found.in_force), (Shield::On, true), "{found:?}");
    assert_eq!(given.until.unwrap().since(given.at).as_secs(), 3600, "tight limits last an hour by themselves");
    assert_eq!(told(&two).await, Shield::Auto, "nobody else");
    let log = lines(&mesh, "shield.ordered").await;
    assert_eq!((log.len(), log[0].0.as_str(), log[0].2.as_deref()), (1, "sentry-1", Some("flood from AS64500")));
    assert!(log[0].1.starts_with("on until 2"), "{log:?}");
}

#[tokio::test]
async fn the_last_word_counts_and_survives_a_restart() {
    let mut mesh = Mesh::start().await;
    let [one, two] = [mesh.join(NodeRole::Sentry, "sentry-1").await, mesh.join(NodeRole::Prep, "prep-1").await];
    let orders = [
        (order(ShieldWish::Auto, &[], None), [Shield::Auto, Shield::Auto]),
        (order(ShieldWish::On, &["sentry-1", one.node.as_str()], Some(600)), [Shield::On, Shield::Auto]),
        (order(ShieldWish::Policy, &["prep-1"], None), [Shield::On, Shield::Auto]),
        (order(ShieldWish::Off, &["prep-1"], None), [Shield::On, Shield::Off]),
        (order(ShieldWish::Policy, &["sentry-1"], None), [Shield::Auto, Shield::Off]),
        (order(ShieldWish::On, &[], Some(600)), [Shield::On, Shield::On]),
    ];
    for (order, expect) in orders {
        mesh.operator().order_shield(&order).await.unwrap();
        assert_eq!([told(&one).await, told(&two).await], expect, "{order:?}");
    }
    mesh.stop().await;
    mesh.resume().await;
    let (one, two) = (one.connected(&mesh), two.connected(&mesh));
    assert_eq!([told(&one).await, told(&two).await], [Shield::On; 2]);
    let view = mesh.operator().order_shield(&order(ShieldWish::Policy, &[], None)).await.unwrap();
    assert_eq!((view.all, view.hosts.iter().all(|host| host.order.is_none())), (None, true));
    assert_eq!([told(&one).await, told(&two).await], [Shield::Off; 2]);
}

#[tokio::test]
async fn an_order_ends_by_its_time_though_nobody_does_anything() {
    let mesh = Mesh::start().await;
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    // The one that ends later is given first: the next end is looked for anew with each.
    mesh.operator().order_shield(&order(ShieldWish::Auto, &[], Some(3600))).await.unwrap();
    mesh.operator().order_shield(&order(ShieldWish::On, &["sentry-1"], Some(1))).await.unwrap();
    let until = host(&mesh, &sentry).await.order.and_then(|order| order.until);
    eventually("its end", async || told(&sentry).await == Shield::Auto).await;
    assert!(until.is_none_or(|until| now() >= until));
    let log = lines(&mesh, "shield.ended").await;
    assert_eq!((log.len(), log[0].0.as_str()), (1, "sentry-1"));
    assert!(log[0].1.contains("had ordered on at"), "{log:?}");
    assert_eq!(host(&mesh, &sentry).await.wanted, Shield::Auto);
}

#[tokio::test]
async fn what_cannot_be_ordered_is_refused_and_changes_nothing() {
    let mesh = Mesh::start().await;
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    let before = sentry.wanted().await;
    let refused = [
        (order(ShieldWish::On, &["nobody"], None), ProblemKind::NotFound),
        (order(ShieldWish::On, &["sentry-1", "nobody"], None), ProblemKind::NotFound),
        (order(ShieldWish::On, &[], Some(0)), ProblemKind::BadRequest),
        (order(ShieldWish::On, &[], Some(30 * 24 * 3600 + 1)), ProblemKind::BadRequest),
        (order(ShieldWish::Policy, &[], Some(60)), ProblemKind::BadRequest),
        (order(ShieldWish::On, &["x"; 1001], None), ProblemKind::BadRequest),
    ];
    for (order, expect) in refused {
        let error = mesh.operator().order_shield(&order).await.unwrap_err();
        assert_eq!(error.kind(), Some(expect), "{error}");
    }
    let viewer = mesh.operator_with(&mesh.add_operator("viewer").await);
    let error = viewer.order_shield(&order(ShieldWish::On, &[], None)).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::Forbidden));
    assert_eq!(viewer.shield().await.unwrap().hosts.len(), 1);
    assert_eq!(sentry.wanted().await.revision, before.revision);
    assert_eq!(lines(&mesh, "shield.ordered").await, []);
}

#[tokio::test]
async fn an_attack_on_a_host_is_shown_counted_and_told_of_until_it_is_over() {
    let mesh = Mesh::start_with("[policy]\nshield = \"auto\"\n").await;
    let sentry = mesh.join(NodeRole::Sentry, "sentry-1").await;
    let wanted = sentry.wanted().await;
    let said = |is_tight, stopped, connections| {
        let tracking = Some(Tracking { connections, most: 100 });
        let (since, stopped_per_second) = (now(), Some(stopped));
        let defences = Defences {
            is_tight,
            since,
            stopped_per_second,
            attack_per_second: 1000,
            syn_cookies: Some(true),
            tracking,
        };
        NodeReport { defences: Some(defences), ..report(&wanted) }
    };
    let alarms = async || mesh.status().await.alarms;
    sentry.client().report(&said(true, 5000, 81)).await.unwrap();
    let found = alarms().await;
    assert!(found.iter().any(|alarm| alarm.contains("sentry-1 is attacked and tightened its limits")), "{found:?}");
    assert!(found.iter().any(|alarm| alarm.contains("81 % full (81 of 100)")), "{found:?}");
    let defences = host(&mesh, &sentry).await.defences.unwrap();
    assert_eq!((defences.is_tight, defences.stopped_per_second), (true, Some(5000)));
    let raised = async || {
        let log = lines(&mesh, "alarm.raised").await;
        ["host-attacked sentry-1", "tracking-full sentry-1"].iter().all(|alarm| log.iter().any(|line| line.0 == *alarm))
    };
    eventually("the audit log to have it", raised).await;
    sentry.client().report(&said(false, 3, 10)).await.unwrap();
    let found = alarms().await;
    assert!(!found.iter().any(|alarm| alarm.contains("attacked") || alarm.contains("full")), "{found:?}");
    // A host from before says nothing of it.
    sentry.client().report(&report(&wanted)).await.unwrap();
    assert_eq!(host(&mesh, &sentry).await.defences, None);
}
