//! Operators: who may look, who may change, and that every answer is one a program can read.

use crate::fixture::{Mesh, eventually, preps};
use picket_api::{Problem, ProblemKind, operator::CreateToken, problem::CONTENT_TYPE};
use picket_model::NodeRole;
use picket_pki::client_config;

/// A client without our types.
pub(crate) fn http(mesh: &Mesh) -> reqwest::Client {
    let tls = client_config(mesh.ca(), None).unwrap();
    reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap()
}

#[tokio::test]
async fn a_viewer_sees_everything_and_changes_nothing() {
    let mesh = Mesh::start().await;
    let host = mesh.join(NodeRole::Prep, "prep-1").await;
    let viewer = mesh.operator_with(&mesh.add_operator("viewer").await);
    assert_eq!(viewer.status().await.unwrap().nodes, 1);
    assert_eq!(viewer.nodes().await.unwrap().len(), 1);
    viewer.validators().await.unwrap();
    viewer.events().await.unwrap();
    let request = CreateToken::new(NodeRole::Prep, 1, 60);
    assert_eq!(viewer.create_token(&request).await.unwrap_err().kind(), Some(ProblemKind::Forbidden));
    let error = viewer.revoke("prep-1", &Default::default()).await.unwrap_err();
    assert_eq!(error.kind(), Some(ProblemKind::Forbidden));
    let admin = mesh.operator_with(&mesh.add_operator("admin").await);
    admin.create_token(&request).await.unwrap();
    assert_eq!(host.wanted().await.full.node, host.node);
}

#[tokio::test]
async fn a_token_that_is_not_known_opens_nothing() {
    let mesh = Mesh::start().await;
    for token in ["", "nonsense", &format!("picket-op1.op-x.{}", "ab".repeat(32))] {
        let error = mesh.operator_with(token).status().await.unwrap_err();
        assert_eq!(error.kind(), Some(ProblemKind::Unauthorized), "{token:?}");
    }
}

#[tokio::test]
async fn a_token_for_nothing_or_for_ever_is_not_made() {
    let mesh = Mesh::start().await;
    for (uses, ttl_seconds) in [(0, 60), (1, 0), (1, u64::MAX)] {
        let request = CreateToken::new(NodeRole::Prep, uses, ttl_seconds);
        let error = mesh.operator().create_token(&request).await.unwrap_err();
        assert_eq!(error.kind(), Some(ProblemKind::BadRequest));
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_as_a_problem() {
    let mesh = Mesh::start().await;
    let (http, admin) = (http(&mesh), mesh.add_operator("admin").await);
    let (agents, operators) = (mesh.agents_url().to_string(), format!("{}/", mesh.operators_url()));
    let requests = [
        (404, http.get(format!("{agents}v1/nowhere"))),
        (404, http.get(format!("{operators}v1/nowhere"))),
        (405, http.delete(format!("{operators}v1/status"))),
        (400, http.post(format!("{agents}v1/enroll")).body("not json")),
        (400, http.post(format!("{agents}v1/enroll")).header("content-type", "application/json").body("{\"a\": 1}")),
        (401, http.get(format!("{operators}v1/status"))),
        (400, http.post(format!("{operators}v1/tokens/%C3%A7/revoke")).bearer_auth(&admin)),
        (400, http.post(format!("{operators}v1/operators/A/revoke")).bearer_auth(&admin)),
        (400, http.post(format!("{operators}v1/nodes/%FF/readmit")).bearer_auth(&admin)),
        (400, http.get(format!("{operators}v1/explain?address=x")).bearer_auth(&admin)),
    ];
    for (status, request) in requests {
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()["content-type"], CONTENT_TYPE);
        let problem: Problem = response.json().await.unwrap();
        assert_eq!(problem.status, status, "{problem}");
    }
}

#[tokio::test]
async fn health_and_metrics_are_plain() {
    let mesh = Mesh::start().await;
    mesh.join(NodeRole::Prep, "prep-1").await;
    mesh.icon.remove(preps(&mesh.icon)[0]).unwrap();
    let http = http(&mesh);
    let get = async |path: &str| {
        let response = http.get(format!("http://{}{path}", mesh.running().health)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("/health").await.0, 200);
    assert_eq!(get("/ready").await.0, 200);
    eventually("the metrics", async || {
        let text = get("/metrics").await.1;
        let expect = [
            "picket_hosts{state=\"active\"} 1",
            "picket_enrolments_total{result=\"ok\"} 1",
            "picket_list_to_commit_seconds_count 1",
            "result=\"ok\"} ",
        ];
        expect.iter().all(|line| text.contains(line))
    })
    .await;
}
