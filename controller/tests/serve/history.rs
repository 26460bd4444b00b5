//! What was: past generations answer as they did then, whatever the list, the policy and the program did since.

use crate::fixture::{Mesh, eventually, preps};
use picket_api::{
    ProblemKind,
    operator::ExplainQuery,
    plans::{PlansQuery, PreviewPlan},
    validators::{DiffQuery, HistoryQuery},
};
use picket_model::{Explanation, Generation, NodeRole, Validator};
use std::{net::IpAddr, time::SystemTime};

async fn explained(mesh: &Mesh, address: IpAddr, generation: Option<Generation>) -> Explanation {
    mesh.operator().explain(&ExplainQuery { address, port: Some(7100), generation }).await.unwrap()
}

fn is_allowed(explanation: &Explanation) -> bool {
    explanation.hosts.iter().flat_map(|host| &host.ports).any(|port| port.is_allowed())
}

/// The only address of a validator that nobody shares.
fn address(validators: &[Validator], validator: &Validator) -> Option<IpAddr> {
    let address = *validator.addresses.first()?;
    (validators.iter().filter(|other| other.addresses.contains(&address)).count() == 1).then_some(address)
}

#[tokio::test]
async fn a_past_generation_is_explained_as_it_was_then() {
    let mut mesh = Mesh::start().await;
    let hostile = preps(&mesh.icon)[5];
    mesh.icon.set_endpoint(hostile, "127.0.0.1:7100").unwrap();
    let loopback: IpAddr = [127, 0, 0, 1].into();
    eventually("the refusal", async || !explained_refused(&mesh).await.is_empty()).await;
    mesh.join(NodeRole::Prep, "prep-1").await;
    let first = mesh.status().await.generation;
    let validators = mesh.operator().validators().await.unwrap().validators;
    let mut known = validators.iter().filter(|validator| validator.prep != hostile);
    let mut next = || known.find_map(|validator| Some((validator.prep, address(&validators, validator)?))).unwrap();
    let ((gone, at), (denied, denied_at)) = (next(), next());
    let then = [at, denied_at, loopback];
    let mut answers = Vec::new();
    for address in then {
        answers.push(explained(&mesh, address, None).await);
    }
    assert!(is_allowed(&answers[0]) && is_allowed(&answers[1]) && !is_allowed(&answers[2]));
    assert!(answers[2].refused[0].reason.contains("loopback"), "{:?}", answers[2].refused);
    assert_eq!(answers[0].generation, first);

    // The list changes, what was refused is well again, and the policy denies another one.
    mesh.icon.set_endpoint(hostile, "9.9.9.9:7100").unwrap();
    mesh.icon.remove(gone).unwrap();
    eventually("the change", async || !is_allowed(&explained(&mesh, at, None).await)).await;
    mesh.stop().await;
    mesh.config.push_str(&format!("[[policy.deny]]\nprep = \"{denied}\"\ncomment = \"rogue\"\n"));
    mesh.resume().await;
    eventually("the end of the refusal", async || explained_refused(&mesh).await.is_empty()).await;
    let now = explained(&mesh, denied_at, None).await;
    assert_eq!((is_allowed(&now), now.denied.len()), (false, 1));
    assert!(now.generation > first);
    for (address, answer) in then.into_iter().zip(&answers) {
        assert_eq!(explained(&mesh, address, Some(first)).await, *answer, "{address}");
    }
    assert_eq!(explained(&mesh, denied_at, Some(now.generation)).await, now);
}

async fn explained_refused(mesh: &Mesh) -> Vec<picket_model::Refused> {
    let refused = mesh.operator().validators().await.unwrap().refused.into_iter().map(|entry| entry.refused);
    refused.filter(|refused| refused.reason.contains("127.0.0.1")).collect()
}

#[tokio::test]
async fn changes_and_differences_are_told_after_a_restart_too() {
    let mut mesh = Mesh::start().await;
    mesh.join(NodeRole::Prep, "prep-1").await;
    let (from, full) = (mesh.status().await.generation, mesh.status().await.validators);
    let list = preps(&mesh.icon);
    mesh.icon.remove(list[0]).unwrap();
    eventually("the change", async || mesh.status().await.validators == full - 1).await;
    eventually("its plan", async || mesh.status().await.generation > from).await;
    let to = mesh.status().await.generation;
    mesh.stop().await;
    mesh.resume().await;

    let operator = mesh.operator();
    let history = operator.history(&HistoryQuery::default()).await.unwrap();
    let last = history.last().unwrap();
    assert_eq!((last.prep, last.before.is_some(), last.after.is_none()), (list[0], true, true));
    let query = HistoryQuery { prep: Some(list[0]), ..HistoryQuery::default() };
    let of_one = operator.history(&query).await.unwrap();
    assert!(of_one.len() >= 2 && of_one.iter().all(|change| change.prep == list[0]), "{of_one:?}");
    let first = operator.history(&HistoryQuery { before: Some(2), limit: Some(5), ..query }).await.unwrap();
    assert_eq!(first.iter().map(|change| (change.version, change.before.is_none())).collect::<Vec<_>>(), [(1, true)]);

    let diff = operator.diff(&DiffQuery { from, to }).await.unwrap();
    assert_eq!((diff.from.validators, diff.to.validators), (full, full - 1));
    let changed = diff.changes.iter().find(|change| change.prep == list[0]).unwrap();
    assert_eq!(changed, last);
    let back = operator.diff(&DiffQuery { from: to, to: from }).await.unwrap();
    let returned = back.changes.iter().find(|change| change.prep == list[0]).unwrap();
    assert_eq!((&returned.before, &returned.after), (&None, &changed.before));
    assert_eq!(operator.diff(&DiffQuery { from: to, to }).await.unwrap().changes, []);

    // What the source said is kept as well, as of then and as of now.
    let store = mesh.store().await;
    let mut tx = store.read().await.unwrap();
    for (at, expect) in [(diff.from.planned_at, true), (SystemTime::now().into(), false)] {
        let listed = tx.listed_at(at).await.unwrap();
        let lists: Vec<bool> = listed.values().map(|entries| entries.contains_key(&list[0])).collect();
        assert_eq!(lists, [expect], "at {at}");
    }
}

#[tokio::test]
async fn a_generation_that_is_not_there_is_said_to_be_so() {
    let mesh = Mesh::start().await;
    mesh.join(NodeRole::Prep, "prep-1").await;
    let newest = mesh.status().await.generation;
    let later = Generation(newest.0 + 1);
    let (operator, address) = (mesh.operator(), [192, 0, 2, 1].into());
    let query = ExplainQuery { address, port: None, generation: Some(later) };
    let errors = [
        operator.explain(&query).await.unwrap_err(),
        operator.diff(&DiffQuery { from: newest, to: later }).await.unwrap_err(),
        operator.diff(&DiffQuery { from: Generation(0), to: newest }).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), Some(ProblemKind::NotFound));
        assert!(error.to_string().contains(&format!("generations 1 to {newest} can be asked for")), "{error}");
    }
}

#[tokio::test]
async fn another_policy_is_tried_first_and_then_changes_what_was_said() {
    let mut mesh = Mesh::start().await;
    mesh.join(NodeRole::Prep, "prep-1").await;
    let first = mesh.status().await.generation;
    let validators = mesh.operator().validators().await.unwrap().validators;
    let (denied, address) =
        validators.iter().find_map(|validator| Some((validator.prep, address(&validators, validator)?))).unwrap();
    let line = format!("[[policy.deny]]\nprep = \"{denied}\"\ncomment = \"rogue\"\n");
    let preview = async |mesh: &Mesh, more: &str| {
        let configuration = format!("{}{more}", mesh.config);
        mesh.operator().preview_plan(&PreviewPlan { configuration }).await
    };
    let said = preview(&mesh, &line).await.unwrap();
    assert_eq!((said.generation, said.differs), (first, true));
    let goes = |changes: &[String]| changes.iter().any(|line| line.starts_with(&format!("- {address}")));
    assert!(goes(&said.changes) && said.errors.is_empty(), "{said:?}");
    assert_eq!(mesh.status().await.generation, first, "a look changes nothing");

    let error = preview(&mesh, "[[policy.deny]]\nnobody = true\n").await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::BadRequest));
    assert!(error.to_string().contains("nobody") && error.to_string().contains("configuration:"), "{error}");
    let nothing = PreviewPlan { configuration: String::new() };
    let error = mesh.operator().preview_plan(&nothing).await.unwrap_err();
    assert!(error.to_string().contains("has no [policy]"), "{error}");

    mesh.stop().await;
    mesh.config.push_str(&line);
    mesh.resume().await;
    eventually("the new plan", async || mesh.status().await.generation > first).await;
    let diff = mesh.operator().plans_diff(&PlansQuery { from: first, to: None }).await.unwrap();
    assert!(goes(&diff.changes), "{diff:?}");
    assert_eq!((diff.from.generation, diff.to.generation), (first, mesh.status().await.generation));
    let back = PlansQuery { from: diff.to.generation, to: Some(first) };
    let back = mesh.operator().plans_diff(&back).await.unwrap();
    assert_eq!(back.changes.len(), diff.changes.len(), "the same, the other way round");
    let missing = PlansQuery { from: Generation(99_999), to: None };
    let error = mesh.operator().plans_diff(&missing).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::NotFound));
}
