//! Who may ask what: every operation of the API's document, asked with nothing and by every role. The document is what is served.

use crate::{document::DOCUMENT, fixture::Mesh, operators::http};
use picket_model::NodeRole;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use std::collections::BTreeSet;

/// One operation, asked for something that is not there and with an empty body, so that nobody changes anything by it.
struct Question {
    listener: &'static str,
    name: String,
    method: Method,
    path: String,
    /// What the document asks for, as alternatives: a scheme and its roles.
    security: Vec<(String, Vec<String>)>,
}

impl Question {
    fn all(listener: &'static str) -> Vec<Self> {
        let mut all = Vec::new();
        for (path, methods) in DOCUMENT["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                if operation["tags"][0] == listener {
                    all.push(Self {
                        listener,
                        name: format!("{method} {path}"),
                        method: method.to_uppercase().parse().unwrap(),
                        path: path.replace(['{', '}'], ""),
                        security: operation["security"].as_array().unwrap().iter().map(alternative).collect(),
                    });
                }
            }
        }
        assert!(!all.is_empty());
        all
    }

    fn ask(&self, mesh: &Mesh, http: &Client) -> RequestBuilder {
        let base = match self.listener {
            "agents" => mesh.agents_url().to_string().trim_end_matches('/').to_owned(),
            _ => mesh.operators_url(),
        };
        let call = http.request(self.method.clone(), format!("{base}{}", self.path));
        if self.method == Method::GET { call } else { call.json(&serde_json::json!({})) }
    }

    fn roles(&self) -> BTreeSet<&str> {
        self.security.iter().filter(|(scheme, _)| scheme == "operator").map(|(_, roles)| roles[0].as_str()).collect()
    }
}

fn alternative(value: &Value) -> (String, Vec<String>) {
    let (scheme, roles) = value.as_object().unwrap().iter().next().unwrap();
    (scheme.clone(), serde_json::from_value(roles.clone()).unwrap())
}

async fn status(call: RequestBuilder) -> u16 {
    call.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn every_role_may_do_what_the_document_says_and_nothing_else() {
    let mesh = Mesh::start().await;
    let http = http(&mesh);
    let questions = Question::all("operators");
    for question in &questions {
        let nobody = status(question.ask(&mesh, &http)).await;
        assert_eq!(nobody == 401, !question.security.is_empty(), "{} without a token: {nobody}", question.name);
    }
    let mut refused = 0;
    for role in ["enroller", "viewer", "admin"] {
        let token = mesh.add_operator(role).await;
        for question in &questions {
            let found = status(question.ask(&mesh, &http).bearer_auth(&token)).await;
            let may = question.security.is_empty() || question.roles().contains(role);
            assert_eq!(found == 403, !may, "{} as {role}: {found}", question.name);
            assert!(found != 401 && found < 500, "{} as {role}: {found}", question.name);
            refused += usize::from(found == 403);
        }
    }
    assert!(refused > questions.len() / 2, "{refused} refusals of {} operations", questions.len());
    // None of them changed anything: what the log has is how the operators were made.
    let events = mesh.operator().events().await.unwrap();
    assert!(events.iter().all(|event| event.actor == "controller"), "{events:?}");
}

#[tokio::test]
async fn a_host_is_known_by_its_certificate_and_by_nothing_else() {
    let mesh = Mesh::start().await;
    let member = mesh.join(NodeRole::Prep, "prep-1").await;
    let (stranger, known) = (http(&mesh), member.http(&mesh));
    let admin = mesh.add_operator("admin").await;
    let mut questions = Question::all("agents");
    // Whoever has left is asked nothing more.
    questions.sort_by_key(|question| question.path.ends_with("leave"));
    for question in &questions {
        let needs = !question.security.is_empty();
        for call in [question.ask(&mesh, &stranger), question.ask(&mesh, &stranger).bearer_auth(&admin)] {
            assert_eq!(status(call).await == 401, needs, "{}", question.name);
        }
        let held: &[(&str, &str)] = if question.path.ends_with("config") { &[("after", "0")] } else { &[] };
        let call = question.ask(&mesh, &known).query(held);
        let found = status(call).await;
        assert!(![401, 403, 410].contains(&found), "{}: {found}", question.name);
    }
    assert!(questions.iter().any(|question| question.security.is_empty()), "enrolment is for strangers");
}

#[tokio::test]
async fn the_document_is_served_as_it_is_committed_and_without_a_token() {
    let mesh = Mesh::start().await;
    let served = http(&mesh).get(format!("{}/v1/openapi.json", mesh.operators_url())).send().await.unwrap();
    assert_eq!(served.headers()["content-type"], "application/json");
    let served: Value = served.json().await.unwrap();
    assert!(served == *DOCUMENT, "docs/openapi.json is not what the code makes: `cargo xtask openapi`");
}
