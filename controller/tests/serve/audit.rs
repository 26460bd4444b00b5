//! The audit log as operators see it: who, from where and why, page by page, and whether it is whole. And who those operators
//! are, and how often somebody may ask who is none.

use crate::{
    fixture::{Host, Mesh, program},
    operators::http,
};
use picket_api::{
    ProblemKind,
    operator::CreateToken,
    operators::{CreateOperator, EventsQuery},
};
use picket_model::NodeRole;
use picket_pki::OperatorRole;

fn enroller(expires_seconds: Option<u64>) -> CreateOperator {
    CreateOperator { role: OperatorRole::Enroller, expires_seconds, comment: "ci".to_owned() }
}

#[tokio::test]
async fn every_change_says_who_from_where_and_why() {
    let mesh = Mesh::start().await;
    let why = Some("incident 7, Zürich".to_owned());
    let operator = mesh.operator().because(why.clone());
    operator.create_token(&CreateToken::new(NodeRole::Sentry, 1, 60)).await.unwrap();
    mesh.join(NodeRole::Sentry, "sentry-1").await;
    operator.revoke("sentry-1", &Default::default()).await.unwrap();
    let events = mesh.operator().events().await.unwrap();
    let find = |action: &str| events.iter().find(|event| event.action == action).unwrap();
    let here = Some("127.0.0.1".parse().unwrap());
    for action in ["token.created", "node.revoked"] {
        assert_eq!((find(action).address, &find(action).reason), (here, &why), "{action}");
    }
    assert_eq!((find("node.enrolled").address, &find("node.enrolled").reason), (here, &None));
    // What the controller does by itself has no origin.
    assert_eq!((find("mesh.created").address, &find("mesh.created").reason), (None, &None));
    let long = mesh.operator().because(Some("x".repeat(201)));
    assert_eq!(long.status().await.unwrap_err().kind(), Some(ProblemKind::BadRequest));
}

#[tokio::test]
async fn the_log_is_read_page_by_page_and_checked_as_a_whole() {
    let mut mesh = Mesh::start().await;
    mesh.join(NodeRole::Prep, "prep-1").await;
    let operator = mesh.operator();
    let all = operator.events().await.unwrap();
    let (mut pages, mut before) = (Vec::new(), None);
    loop {
        let page = operator.events_page(&EventsQuery { before, limit: Some(2) }).await.unwrap();
        let Some(oldest) = page.first() else { break };
        before = Some(oldest.id);
        pages.splice(0..0, page);
    }
    assert_eq!(pages, all);
    let none = operator.events_page(&EventsQuery { before: None, limit: Some(1001) }).await.unwrap_err();
    assert_eq!(none.kind(), Some(ProblemKind::BadRequest));

    let verdict = operator.verify_events().await.unwrap();
    let newest = operator.events().await.unwrap();
    assert!(verdict.broken.is_none() && newest.iter().any(|event| event.hash == verdict.head), "{verdict:?}");
    let state = mesh.state_dir();
    let arguments = ["verify-log", "--state-dir", state.to_str().unwrap()];
    let output = program(&arguments).await;
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("each as it was written; head"));
    // What the database does not allow, the file does: a byte of a line that is on the disk.
    mesh.stop().await;
    let file = state.join("controller.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let line = b"prep prep-1 from 127.0.0.1";
    let at = bytes.windows(line.len()).position(|window| window == line).unwrap();
    bytes[at + line.len() - 1] = b'9';
    std::fs::write(&file, bytes).unwrap();
    let output = program(&arguments).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("not as it was written"), "{error}");
}

#[tokio::test]
async fn operators_are_made_listed_and_revoked_by_admins() {
    let mesh = Mesh::start().await;
    let admin = mesh.operator();
    let made = admin.create_operator(&enroller(Some(3600))).await.unwrap();
    let ci = mesh.operator_with(&made.token);
    ci.nodes().await.unwrap();
    let error = ci.create_operator(&enroller(None)).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::Forbidden));
    assert_eq!(ci.operators().await.unwrap_err().kind(), Some(ProblemKind::Forbidden));
    let list = admin.operators().await.unwrap();
    assert_eq!((list.len(), list[1].id.clone(), list[1].comment.as_str()), (2, made.operator.id.clone(), "ci"));
    assert_eq!(list[1].made_by.as_ref(), Some(&list[0].id));

    admin.revoke_operator(&made.operator.id).await.unwrap();
    admin.revoke_operator(&made.operator.id).await.unwrap();
    assert_eq!(ci.nodes().await.unwrap_err().kind(), Some(ProblemKind::Unauthorized));
    assert_eq!(admin.revoke_operator(&list[0].id).await.unwrap_err().kind(), Some(ProblemKind::Conflict));
    let nobody = "op-nobody".parse().unwrap();
    assert_eq!(admin.revoke_operator(&nobody).await.unwrap_err().kind(), Some(ProblemKind::NotFound));
    let bad = [enroller(Some(1)), enroller(Some(u64::MAX)), CreateOperator { comment: "\n".into(), ..enroller(None) }];
    for request in bad {
        assert_eq!(admin.create_operator(&request).await.unwrap_err().kind(), Some(ProblemKind::BadRequest));
    }
    let events = admin.events().await.unwrap();
    let revoked: Vec<_> = events.iter().filter(|event| event.action == "operator.revoked").collect();
    assert_eq!((revoked.len(), revoked[0].subject.as_str()), (1, made.operator.id.as_str()));
    assert!(!format!("{events:?}").contains(made.token.rsplit('.').next().unwrap()));
}

#[tokio::test]
async fn a_token_whose_time_is_over_opens_nothing() {
    let mesh = Mesh::start().await;
    let made = mesh.operator().create_operator(&enroller(Some(60))).await.unwrap();
    let store = mesh.store().await;
    let mut tx = store.write().await.unwrap();
    let kept = tx.operator(&made.operator.id).await.unwrap().unwrap();
    let now = picket_model::Timestamp::from(std::time::SystemTime::now());
    assert!(kept.is_good(now) && !kept.is_good(made.operator.expires_at.unwrap()));
    let id = "op-old".parse().unwrap();
    tx.insert_operator(&picket_controller::store::Operator { id, expires_at: Some(now), ..kept }).await.unwrap();
    tx.commit().await.unwrap();
    let old = made.token.replace(made.operator.id.as_str(), "op-old");
    assert_eq!(mesh.operator_with(&old).nodes().await.unwrap_err().kind(), Some(ProblemKind::Unauthorized));
}

#[tokio::test]
async fn strangers_may_be_refused_so_often_and_members_are_not_counted() {
    let mesh = Mesh::start().await;
    let member = mesh.join(NodeRole::Prep, "prep-1").await;
    let http = http(&mesh);
    let guess = || http.post(format!("{}v1/enroll", mesh.agents_url())).body("x").send();
    let mut refused = None;
    for _ in 0..400 {
        let response = guess().await.unwrap();
        if response.status() == 429 {
            refused = Some(response);
            break;
        }
        assert_eq!(response.status(), 400);
    }
    let refused = refused.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    member.wanted().await;
    let error = Host::new(NodeRole::Prep, "prep-2")
        .enroll(&mesh, &format!("picket1.{}.t-1.{}", mesh.ca(), "ab".repeat(32)))
        .await;
    // A tenth of a second is one more.
    assert!(matches!(error.unwrap_err().kind(), Some(ProblemKind::TooManyRequests | ProblemKind::TokenUnknown)));
}

#[tokio::test]
async fn guesses_of_operators_tokens_are_counted_and_good_tokens_are_not() {
    let mesh = Mesh::start().await;
    let (good, bad) = (mesh.operator(), mesh.operator_with(&format!("picket-op1.op-x.{}", "ab".repeat(32))));
    for _ in 0..100 {
        good.status().await.unwrap();
    }
    let mut kinds = Vec::new();
    for _ in 0..80 {
        kinds.push(bad.status().await.unwrap_err().kind().unwrap());
    }
    assert_eq!(kinds.first(), Some(&ProblemKind::Unauthorized));
    assert!(kinds.contains(&ProblemKind::TooManyRequests));
}
