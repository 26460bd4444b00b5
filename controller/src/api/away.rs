//! Reads while the database is away: whoever asked the same before, with the same token, hears the same again, and how old it is. In
//! memory, and never more than a limit; nothing is told that the asker was not told before.

use axum::{
    body::{Body, Bytes, HttpBody as _, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Longest answer that is kept, in bytes: the hosts of a large mesh, a page at a time.
const LARGEST: usize = 1 << 20;
/// All answers together.
const MOST: usize = 8 << 20;

/// Who asked what: a digest of token and URL.
type Asked = [u8; 32];

/// The last answers.
#[derive(Debug, Default)]
pub(crate) struct Last(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    answers: BTreeMap<Asked, (Bytes, Instant)>,
    bytes: usize,
}

impl Kept {
    /// `at`: when it was asked. An answer that was long on its way does not take the place of one to a later question.
    fn put(&mut self, asked: Asked, body: Bytes, at: Instant) {
        if self.answers.get(&asked).is_some_and(|(_, later)| *later > at) {
            return;
        }
        self.bytes += body.len();
        let before = self.answers.insert(asked, (body, at));
        self.bytes -= before.map_or(0, |(body, _)| body.len());
        while self.bytes > MOST
            && let Some(oldest) = self.answers.iter().min_by_key(|(_, (_, at))| *at).map(|(asked, _)| *asked)
        {
            self.bytes -= self.answers.remove(&oldest).map_or(0, |(body, _)| body.len());
        }
    }
}

impl Last {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers as the routes do, and where those have no database, as they did last.
pub(crate) async fn or_last(State(last): State<Arc<Last>>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET {
        return next.run(request).await;
    }
    let (asked, at) = (asked(&request), Instant::now());
    let response = next.run(request).await;
    match response.status() {
        StatusCode::OK => keep(&last, asked, at, response).await,
        StatusCode::SERVICE_UNAVAILABLE => {
            let kept = last.lock().answers.get(&asked).cloned();
            kept.map_or(response, |(body, at)| again(body, at.elapsed().as_secs()))
        }
        _ => response,
    }
}

fn asked(request: &Request) -> Asked {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let token = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    let mut hash = Sha256::new();
    hash.update(token.len().to_be_bytes());
    hash.update(token);
    hash.update(path);
    hash.finalize().into()
}

/// Keeps an answer that is in one piece and not too long.
async fn keep(last: &Last, asked: Asked, at: Instant, response: Response) -> Response {
    let is_kept = response.body().size_hint().exact().is_some_and(|length| length <= LARGEST as u64);
    if !is_kept {
        return response;
    }
    let (head, body) = response.into_parts();
    match to_bytes(body, LARGEST).await {
        Ok(body) => {
            last.lock().put(asked, body.clone(), at);
            Response::from_parts(head, Body::from(body))
        }
        Err(error) => super::ApiProblem::internal("read its own answer", &error).into_response(),
    }
}

/// An answer of before, with its age in seconds (RFC 9111, 5.1).
fn again(body: Bytes, seconds: u64) -> Response {
    let head = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), (header::AGE, seconds.into())];
    (head, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn request(token: &str, path: &str) -> Request {
        Request::get(path).header(header::AUTHORIZATION, token).body(Body::empty()).unwrap()
    }

    #[test]
    fn an_answer_is_for_who_asked_and_for_what() {
        let one = asked(&request("Bearer a", "/v1/status"));
        assert_eq!(one, asked(&request("Bearer a", "/v1/status")));
        for other in
            [request("Bearer b", "/v1/status"), request("Bearer a", "/v1/nodes"), request("Bearer a", "/v1/status?x")]
        {
            assert_ne!(one, asked(&other));
        }
    }

    #[test]
    fn what_is_kept_has_a_limit_and_the_oldest_goes_first() {
        let (mut kept, start) = (Kept::default(), Instant::now());
        for number in 0..20_u8 {
            kept.put([number; 32], vec![0; LARGEST].into(), start + Duration::from_secs(number.into()));
        }
        assert_eq!((kept.answers.len(), kept.bytes), (8, MOST));
        assert_eq!(kept.answers.first_key_value().map(|(asked, _)| asked[0]), Some(12));
        kept.put([19; 32], Bytes::from_static(b"late"), start);
        assert_eq!(kept.bytes, MOST, "one that was asked for before stays away");
        kept.put([19; 32], Bytes::from_static(b"shorter"), start + Duration::from_secs(20));
        assert_eq!(kept.bytes, MOST - LARGEST + 7);
    }
}
