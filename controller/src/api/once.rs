//! A request with an idempotency key is carried out once: repeated within a day it gets the same answer. Answers hold secrets that
//! are shown once, so they are kept sealed with the operator's own token, which the database does not know.
//!
//! What a request changes and that it did are one transaction (`claim`). A controller that ended in the middle of a request left
//! either nothing, and the request is carried out when it is repeated, or the change without its answer, and that is said.

mod turns;

use super::{
    ApiProblem,
    auth::{Asker, operator},
};
use crate::{
    claim::Claim,
    controller::Controller,
    now,
    store::{Answer, Progress, StoreError},
};
use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use picket_api::{ProblemKind, operators::IDEMPOTENCY_KEY};
use picket_pki::{OperatorRole, random};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use turns::Turns;

/// Largest body of a request or an answer that is kept.
const LARGEST: usize = 1 << 20;
/// Longest key, in characters.
const LONGEST_KEY: usize = 64;

/// Says that an answer is an earlier one.
const REPLAYED: &str = "idempotency-replayed";

/// What the layer needs.
pub(crate) struct Once {
    controller: Arc<Controller>,
    turns: Turns,
}

impl Once {
    pub(crate) fn new(controller: Arc<Controller>) -> Arc<Self> {
        Arc::new(Self { controller, turns: Turns::default() })
    }
}

/// Carries a request out, or gives the answer that it had.
pub(crate) async fn once(State(once): State<Arc<Once>>, request: Request, next: Next) -> Response {
    let controller = once.controller.clone();
    let key = match key(request.headers()) {
        Ok(Some(key)) if !matches!(*request.method(), Method::GET | Method::HEAD) => key,
        Ok(_) => return next.run(request).await,
        Err(detail) => return ApiProblem::new(ProblemKind::BadRequest, detail).into_response(),
    };
    let (mut parts, body) = request.into_parts();
    // An answer that is kept is one piece: nobody follows it line by line.
    parts.headers.remove(header::ACCEPT);
    // Strangers write nothing: the route tells them so.
    let Ok(operator) = operator(&parts, &controller, OperatorRole::Enroller).await else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    let Ok(body) = to_bytes(body, LARGEST).await else {
        return ApiProblem::new(ProblemKind::BadRequest, "the request's body is too large").into_response();
    };
    let asked = asked(&parts, &body);
    let seal = Seal::new(&parts.headers, &key);
    let claim = Claim::new(operator.id.clone(), key, asked);
    // It was looked up for this request, and need not be again.
    parts.extensions.insert(Asker(operator));
    // Whoever repeats a request that is under way waits for its answer.
    let turn = once.turns.take(&claim).await;
    match kept(&controller, &claim).await {
        Err(error) => return ApiProblem::from(error).into_response(),
        Ok(Some(Answer { request, .. })) if request != claim.asked => {
            let detail = format!("idempotency key {} was used for another request: give each its own", claim.key);
            return ApiProblem::new(ProblemKind::BadRequest, detail).into_response();
        }
        Ok(Some(Answer { progress: Progress::Answered(sealed), .. })) => return replayed(&sealed, &seal, &claim.key),
        Ok(Some(Answer { progress: Progress::CarriedOut, .. })) => return lost(&claim.key).into_response(),
        Ok(Some(Answer { progress: Progress::Begun, .. }) | None) => {}
    }
    // Whoever asked may be gone before the end: what was begun is carried out all the same, and its answer kept.
    let work = tokio::spawn(async move {
        let response = claim.clone().scope(next.run(Request::from_parts(parts, Body::from(body)))).await;
        let response = keep(&controller, &claim, &seal, response).await;
        drop(turn);
        response
    });
    work.await.unwrap_or_else(|error| ApiProblem::internal("carry the request out", &error).into_response())
}

fn key(headers: &HeaderMap) -> Result<Option<String>, String> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let text = value.to_str().ok().filter(|text| (1..=LONGEST_KEY).contains(&text.len()) && text.chars().all(is_plain));
    text.map(|text| Some(text.to_owned()))
        .ok_or_else(|| format!("{IDEMPOTENCY_KEY} is not 1 to {LONGEST_KEY} letters, digits, '-', '_', '.'"))
}

/// What tells one request from another, over whatever connection it came.
fn asked(parts: &Parts, body: &Bytes) -> String {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut hash = Sha256::new();
    hash.update(format!("{} {path} ", parts.method));
    hash.update(body);
    hex::encode(hash.finalize())
}

/// What is kept under a key.
async fn kept(controller: &Controller, claim: &Claim) -> Result<Option<Answer>, StoreError> {
    controller.store.read().await?.answer(&claim.operator, &claim.key).await
}

/// Keeps what was answered. A fault of ours that changed nothing is no answer: the request may be tried again. Nor is one where
/// another controller carried the request out.
async fn keep(controller: &Controller, claim: &Claim, seal: &Seal, response: Response) -> Response {
    let key = &claim.key;
    let (head, body) = response.into_parts();
    let body = match to_bytes(body, LARGEST).await {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(%error, key, "an answer is too long to be kept for its idempotency key");
            return ApiProblem::internal("read its own answer", &error).into_response();
        }
    };
    let is_answer = !head.status.is_server_error() || claim.is_marked();
    if let Some(sealed) = is_answer.then(|| seal.close(head.status, &body)).flatten() {
        let written = async {
            let mut tx = controller.store.write().await?;
            tx.put_answer(claim, &sealed, now()).await?;
            tx.commit().await
        };
        if let Err(error) = written.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "an answer was not kept for its idempotency key");
        }
    }
    Response::from_parts(head, Body::from(body))
}

/// It was carried out and nobody knows the answer any more. Done again, it would be done twice.
fn lost(key: &str) -> ApiProblem {
    let detail = format!(
        "the request with idempotency key {key} was carried out, and the controller ended before its answer was kept: see what \
         it did (`picket events`); a secret that the answer showed is lost, so revoke what it was for and ask with a new key"
    );
    ApiProblem::new(ProblemKind::AnswerLost, detail)
}

fn replayed(sealed: &str, seal: &Seal, key: &str) -> Response {
    let Some((status, body)) = seal.open(sealed) else {
        let detail = format!("the answer kept for idempotency key {key} cannot be read: use a new key");
        return ApiProblem::new(ProblemKind::Conflict, detail).into_response();
    };
    let media = if status.is_success() { "application/json" } else { picket_api::problem::CONTENT_TYPE };
    let head = [(header::CONTENT_TYPE.as_str(), media), (REPLAYED, "true")];
    let head = head.map(|(name, value)| (name, HeaderValue::from_static(value)));
    (status, head, body).into_response()
}

/// Closes and opens answers with a key that is made of the operator's token.
struct Seal(Option<LessSafeKey>);

impl Seal {
    fn new(headers: &HeaderMap, key: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"picket answers 1 ");
        hash.update(headers.get(header::AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes));
        hash.update(format!(" {key}"));
        Self(UnboundKey::new(&CHACHA20_POLY1305, &hash.finalize()).ok().map(LessSafeKey::new))
    }

    fn close(&self, status: StatusCode, body: &[u8]) -> Option<String> {
        let nonce: [u8; NONCE_LEN] = random().ok()?;
        let mut text = [&status.as_u16().to_be_bytes()[..], body].concat();
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.0.as_ref()?.seal_in_place_append_tag(nonce_used, Aad::empty(), &mut text).ok()?;
        Some(hex::encode([&nonce[..], &text].concat()))
    }

    fn open(&self, sealed: &str) -> Option<(StatusCode, Vec<u8>)> {
        let mut bytes = hex::decode(sealed).ok()?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.0.as_ref()?.open_in_place(nonce, Aad::empty(), text).ok()?;
        let (status, body) = text.split_first_chunk::<2>()?;
        Some((StatusCode::from_u16(u16::from_be_bytes(*status)).ok()?, body.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(token: &str, key: &str) -> Seal {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        Seal::new(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]), key)
    }

    #[test]
    fn only_the_asker_reads_the_answer_that_is_kept() {
        let sealed = seal("one", "k-1").close(StatusCode::CREATED, b"picket1.secret").unwrap();
        assert!(!sealed.contains(&hex::encode("secret")));
        assert_eq!(seal("one", "k-1").open(&sealed), Some((StatusCode::CREATED, b"picket1.secret".to_vec())));
        for (token, key) in [("two", "k-1"), ("one", "k-2"), ("", "")] {
            assert_eq!(seal(token, key).open(&sealed), None);
        }
        let turned = if sealed.ends_with('0') { '1' } else { '0' };
        let (last, own) = (sealed.len() - 1, seal("one", "k-1"));
        for damaged in [format!("{}{turned}", &sealed[..last]), sealed[..20].to_owned(), String::new(), "x".to_owned()]
        {
            assert_eq!(own.open(&damaged), None, "{damaged}");
        }
    }

    #[test]
    fn a_key_has_nothing_to_escape() {
        let check = |text: &str, good: bool| {
            let headers =
                HeaderMap::from_iter([(IDEMPOTENCY_KEY.parse().unwrap(), HeaderValue::from_str(text).unwrap())]);
            assert_eq!(key(&headers).is_ok(), good, "{text:?}");
        };
        check("0190-abc_DEF.1", true);
        for bad in ["", "a b", "a/b", "a\"", &"a".repeat(65)] {
            check(bad, false);
        }
        assert_eq!(key(&HeaderMap::new()), Ok(None));
    }
}
