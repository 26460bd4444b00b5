//! Idempotency keys: a request that is repeated is carried out once, and its answer is nobody else's.

use crate::{fixture::Mesh, operators::http};
use picket_api::operator::{CreateToken, TokenCreated};
use picket_model::NodeRole;

#[tokio::test]
async fn a_repeated_request_makes_one_token_and_gets_it_again() {
    let mesh = Mesh::start().await;
    let (one, two) = (mesh.add_operator("admin").await, mesh.add_operator("enroller").await);
    let http = http(&mesh);
    let url = format!("{}/v1/tokens", mesh.operators_url());
    let ask = async |operator: &str, key: &str, uses: u32| {
        let request = CreateToken::new(NodeRole::Sentry, uses, 60);
        let call = http.post(&url).bearer_auth(operator).header("idempotency-key", key).json(&request);
        let response = call.send().await.unwrap();
        let replayed = response.headers().get("idempotency-replayed").is_some();
        (response.status().as_u16(), replayed, response.text().await.unwrap())
    };
    let token = |text: &str| serde_json::from_str::<TokenCreated>(text).unwrap().token;
    let first = ask(&one, "k-1", 3).await;
    let again = ask(&one, "k-1", 3).await;
    assert_eq!((first.0, first.1, again.0, again.1), (200, false, 200, true));
    assert_eq!(first.2, again.2);
    // The key is the operator's own, and for this request.
    let other = ask(&two, "k-1", 3).await;
    assert!(!other.1 && token(&other.2) != token(&first.2));
    assert_eq!(ask(&one, "k-1", 4).await.0, 400);
    assert_eq!(ask(&one, "not a key", 3).await.0, 400);
    // A refusal is an answer too, and strangers write nothing.
    assert_eq!((ask(&one, "k-2", 0).await.0, ask(&one, "k-2", 0).await.1), (400, true));
    assert_eq!(ask(&format!("picket-op1.op-x.{}", "ab".repeat(32)), "k-3", 1).await.0, 401);
    let tokens = mesh.operator().tokens().await.unwrap();
    assert_eq!(tokens.len(), 2);
    // Through a restart of the database's readers as well, and without the secret in it.
    let file = mesh.state_dir();
    let secret = token(&first.2).rsplit('.').next().unwrap().to_owned();
    for name in ["controller.db", "controller.db-wal"] {
        let bytes = std::fs::read(file.join(name)).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{name}");
    }
    // Whose token was revoked gets no earlier answer either.
    mesh.operator().revoke_operator(&one.split('.').nth(1).unwrap().parse().unwrap()).await.unwrap();
    assert_eq!(ask(&one, "k-1", 3).await.0, 401);
}

#[tokio::test]
async fn requests_at_once_with_one_key_make_one_token() {
    let mesh = Mesh::start().await;
    let operator = mesh.add_operator("admin").await;
    let http = http(&mesh);
    let url = format!("{}/v1/tokens", mesh.operators_url());
    let asks = (0..8).map(|_| {
        let request = CreateToken::new(NodeRole::Sentry, 1, 60);
        http.post(&url).bearer_auth(&operator).header("idempotency-key", "k").json(&request).send()
    });
    let answers = futures_util::future::join_all(asks).await;
    // Those that come while the first is under way wait for its answer.
    let mut texts = Vec::new();
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200);
        texts.push(answer.text().await.unwrap());
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{} answers", texts.len());
    assert_eq!(mesh.operator().tokens().await.unwrap().len(), 1);
}
