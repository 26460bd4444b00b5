//! Sentries that are to be left, and what hosts tell of their ways: who may, what each host is told, and what is written down.

use crate::fixture::{Agent, Mesh, eventually, report};
use picket_api::{
    ProblemKind,
    paths::{DrainNode, PathsQuery},
};
use picket_model::{
    Hidden, NodeReport, NodeRole, PathsReport, Timestamp,
    paths::{Carried, Moved, SentryWay},
};

const LINE: &str = "[[policy.hidden]]\nprep = \"prep-1\"\n";

fn drain(seconds: u64) -> DrainNode {
    DrainNode { seconds: Some(seconds), force: false }
}

async fn hidden_mesh() -> (Mesh, Agent, [Agent; 2]) {
    let mesh = Mesh::start_with(LINE).await;
    let prep = mesh.join(NodeRole::Prep, "prep-1").await;
    let sentries = [mesh.join(NodeRole::Sentry, "sentry-1").await, mesh.join(NodeRole::Sentry, "sentry-2").await];
    for host in sentries.iter().chain([&prep]) {
        host.confirm(&host.wanted().await).await;
    }
    (mesh, prep, sentries)
}

async fn told(prep: &Agent) -> Hidden {
    *prep.wanted().await.full.firewall.hidden.unwrap()
}

/// Forwards of a sentry that take calls; those that do not let calls out still.
async fn forwards(sentry: &Agent) -> usize {
    let forwards = sentry.wanted().await.full.firewall.forwards;
    assert_eq!(forwards.len(), 1);
    forwards.iter().filter(|forward| !forward.is_closed).count()
}

async fn lines(mesh: &Mesh, action: &str) -> Vec<(String, String)> {
    let events = mesh.operator().events().await.unwrap();
    let of = events.into_iter().filter(|event| event.action == action);
    of.map(|event| (event.subject, event.detail)).collect()
}

#[tokio::test]
async fn a_drain_reaches_the_hosts_behind_it_survives_a_restart_and_is_taken_back() {
    let (mut mesh, prep, [one, two]) = hidden_mesh().await;
    assert!(told(&prep).await.draining.is_empty());
    let view = mesh.operator().drain("sentry-1", &drain(600)).await.unwrap();
    assert_eq!((view.node.clone(), view.is_over, view.hosts.len()), (one.node.clone(), false, 1));
    assert!(!view.is_left(), "{view:?}");
    let hidden = told(&prep).await;
    assert_eq!(hidden.draining.get(&one.node), Some(&view.drain.until));
    assert_eq!((hidden.draining.len(), hidden.sentries.len(), forwards(&one).await), (1, 2, 1));
    assert_eq!(lines(&mesh, "node.drained").await.len(), 1);

    mesh.stop().await;
    mesh.resume().await;
    let (prep, one, two) = (prep.connected(&mesh), one.connected(&mesh), two.connected(&mesh));
    assert_eq!(told(&prep).await, hidden);
    // The other is the last, and is drained by force alone.
    two.confirm(&two.wanted().await).await;
    let error = mesh.operator().drain("sentry-2", &drain(600)).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::Conflict));
    assert!(error.to_string().contains("prep-1 would be left without a sentry"), "{error}");
    mesh.operator().drain("sentry-2", &DrainNode { force: true, ..drain(600) }).await.unwrap();
    assert_eq!(told(&prep).await.draining.len(), 2);
    for _ in 0..2 {
        mesh.operator().undrain("sentry-2").await.unwrap();
    }
    mesh.operator().undrain("sentry-1").await.unwrap();
    assert!(told(&prep).await.draining.is_empty());
    assert_eq!((lines(&mesh, "node.undrained").await.len(), forwards(&one).await), (2, 1));
}

#[tokio::test]
async fn a_sentry_takes_no_call_once_its_drain_is_over_and_again_when_it_is_taken_back() {
    let (mesh, prep, [one, two]) = hidden_mesh().await;
    mesh.operator().drain("sentry-1", &drain(1)).await.unwrap();
    assert_eq!((forwards(&one).await, forwards(&two).await), (1, 1));
    eventually("its end", async || forwards(&one).await == 0).await;
    assert_eq!((forwards(&two).await, told(&prep).await.draining.len()), (1, 1), "it stays drained");
    eventually("a line of it", async || lines(&mesh, "drain.over").await.len() == 1).await;
    mesh.operator().undrain("sentry-1").await.unwrap();
    assert_eq!(forwards(&one).await, 1);
}

#[tokio::test]
async fn what_cannot_be_drained_is_refused_and_changes_nothing() {
    let (mesh, prep, [one, two]) = hidden_mesh().await;
    let before = prep.wanted().await.revision;
    let operator = mesh.operator();
    operator.revoke(two.node.as_str(), &picket_api::operator::RevokeQuery { wait_ms: Some(0) }).await.unwrap();
    for (node, seconds, expect) in [
        ("nobody", 60, ProblemKind::NotFound),
        ("prep-1", 60, ProblemKind::Conflict),
        (two.node.as_str(), 60, ProblemKind::Conflict),
        (one.node.as_str(), 60, ProblemKind::Conflict),
        ("sentry-1", 86_401, ProblemKind::BadRequest),
    ] {
        let error = operator.drain(node, &drain(seconds)).await.unwrap_err();
        assert_eq!(error.kind(), Some(expect), "{node}: {error}");
    }
    let viewer = mesh.operator_with(&mesh.add_operator("viewer").await);
    assert_eq!(viewer.drain("sentry-1", &drain(1)).await.unwrap_err().kind(), Some(ProblemKind::Forbidden));
    assert_eq!(viewer.undrain("sentry-1").await.unwrap_err().kind(), Some(ProblemKind::Forbidden));
    let wanted = prep.wanted().await;
    assert!(wanted.revision > before && wanted.full.firewall.hidden.unwrap().draining.is_empty());
    assert_eq!(lines(&mesh, "node.drained").await, []);
    // A sentry that nobody hides behind may go at any time.
    let (mesh, sentry) = (Mesh::start().await, "sentry-9");
    mesh.join(NodeRole::Sentry, sentry).await;
    assert!(mesh.operator().drain(sentry, &drain(0)).await.unwrap().is_empty());
}

#[tokio::test]
async fn ways_are_shown_with_names_and_each_move_is_written_down_once() {
    let (mut mesh, prep, [one, two]) = hidden_mesh().await;
    let wanted = prep.wanted().await;
    let allowed = wanted.full.firewall.allowed(picket_model::Purpose::P2p).0.keys().next().copied().unwrap();
    let at = Timestamp::from_millis(1_700_000_000_000);
    let moved = |number, count, from: Option<&Agent>, to: Option<&Agent>| Moved {
        number,
        run: at,
        at,
        cause: "its sentry is silent".to_owned(),
        from: from.map(|agent| agent.node.clone()),
        to: to.map(|agent| agent.node.clone()),
        count,
    };
    let way = SentryWay { way: "good".to_owned(), since: at, round_trip_us: Some(700), ..SentryWay::default() };
    let carried = |sentry: &Agent, destinations: &[ipnet::IpNet]| Carried {
        sentry: sentry.node.clone(),
        since: at,
        cause: "new\u{7}".to_owned(),
        destinations: destinations.to_vec(),
    };
    let paths = PathsReport {
        sentries: [(one.node.clone(), way.clone())].into(),
        carried: vec![
            carried(&one, &[allowed]),
            carried(&two, &["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]),
        ],
        moves: vec![moved(1, 12, Some(&two), Some(&one)), moved(2, 1, None, Some(&one))],
        ..PathsReport::default()
    };
    let said = |paths: &PathsReport| NodeReport { paths: Some(Box::new(paths.clone())), ..report(&wanted) };
    for _ in 0..2 {
        prep.client().report(&said(&paths)).await.unwrap();
    }
    let view = mesh.operator().paths(&PathsQuery { node: Some("prep-1".to_owned()) }).await.unwrap();
    let [host] = view.hosts.as_slice() else { panic!("{view:?}") };
    let sentries: Vec<_> = host.sentries.iter().map(|way| (way.name.as_str(), way.carries, way.way.clone())).collect();
    assert_eq!(sentries, [("sentry-1", 1, Some(way)), ("sentry-2", 2, None)]);
    let named = host.destinations.iter().find(|path| path.destination == allowed).unwrap();
    assert!(!named.validators.is_empty() && named.name.as_str() == "sentry-1", "{named:?}");
    assert_eq!((host.destinations.len(), host.in_force, host.moves.len()), (3, true, 2));
    let nobody = PathsQuery { node: Some("nobody".to_owned()) };
    assert_eq!(mesh.operator().paths(&nobody).await.unwrap_err().kind(), Some(ProblemKind::NotFound));

    let expect = |name: &str, detail: &str| (name.to_owned(), detail.to_owned());
    let first = [
        expect("prep-1", "12 destinations from sentry-2 to sentry-1: its sentry is silent"),
        expect("prep-1", "1 destination from several to sentry-1: its sentry is silent"),
    ];
    eventually("the moves", async || lines(&mesh, "paths.moved").await == first).await;
    // A controller that starts anew knows what it wrote down.
    mesh.stop().await;
    mesh.resume().await;
    let prep = prep.connected(&mesh);
    let later = PathsReport { moves: vec![moved(2, 1, None, Some(&one)), moved(3, 2, Some(&one), None)], ..paths };
    prep.client().report(&said(&later)).await.unwrap();
    eventually("the last move", async || lines(&mesh, "paths.moved").await.len() == 3).await;
    assert!(lines(&mesh, "paths.moved").await[..2] == first);
    // A sentry has no ways to tell of.
    let one = one.connected(&mesh);
    let own = one.wanted().await;
    let lie = NodeReport { paths: Some(Box::new(later)), ..report(&own) };
    one.client().report(&lie).await.unwrap();
    let nodes = mesh.operator().nodes().await.unwrap();
    let of = nodes.iter().find(|view| view.node.id == one.node).unwrap();
    assert_eq!(of.report.as_ref().unwrap().paths, None);
}
