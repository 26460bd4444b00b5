//! What a caller hears from the door itself, and what is left of the node's headers.

use crate::Outcome;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Response, StatusCode,
    body::Bytes,
    header::{self, HeaderName, HeaderValue},
};
use std::error::Error;

/// What goes wrong in a body.
pub(crate) type BodyError = Box<dyn Error + Send + Sync>;
/// The body of an answer.
pub(crate) type Reply = UnsyncBoxBody<Bytes, BodyError>;

/// Headers that are about one connection and not about the message: RFC 9110 section 7.6.1, and those of old that some still send.
const OF_A_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const OF_A_CONNECTION_OF_OLD: [&str; 2] = ["keep-alive", "proxy-connection"];

/// The door's own answer: an HTTP status, and an error as JSON-RPC has it, for whoever reads only bodies.
pub(crate) fn refusal(outcome: Outcome) -> Response<Reply> {
    let (status, message) = said(outcome);
    let body = serde_json::json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32000, "message": message } });
    let body = Full::from(format!("{body}\n")).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    if outcome == Outcome::RefusedMethod {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    if is_last(outcome) {
        // What is left of the request is read by nobody.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether nothing more is heard from that caller on this connection.
fn is_last(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Passed | Outcome::Streamed | Outcome::NodeAway | Outcome::NodeSlow)
}

const fn said(outcome: Outcome) -> (StatusCode, &'static str) {
    match outcome {
        Outcome::RefusedCaller => (StatusCode::FORBIDDEN, "this port is not for your address"),
        Outcome::RefusedPath => (StatusCode::NOT_FOUND, "only /api/v3 is served here"),
        Outcome::RefusedMethod => (StatusCode::METHOD_NOT_ALLOWED, "that path has another method"),
        Outcome::RefusedHead => (StatusCode::BAD_REQUEST, "the request's head is not plain"),
        Outcome::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the request is too large"),
        Outcome::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the request came too slowly"),
        Outcome::Busy => (StatusCode::SERVICE_UNAVAILABLE, "too many are open"),
        Outcome::NodeSlow => (StatusCode::GATEWAY_TIMEOUT, "the node did not answer in time"),
        Outcome::Passed | Outcome::Streamed | Outcome::NodeAway => {
            (StatusCode::BAD_GATEWAY, "the node cannot be reached")
        }
    }
}

/// Takes away what is about the connection to the node, also what that says is.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    named.iter().chain(&OF_A_CONNECTION).for_each(|name| drop(headers.remove(name)));
    OF_A_CONNECTION_OF_OLD.iter().for_each(|name| drop(headers.remove(*name)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_connection_go_and_those_it_names() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Secret"),
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("x-secret", "1"),
            ("content-type", "application/json"),
            ("content-length", "3"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["content-type", "content-length"]);
    }
}
