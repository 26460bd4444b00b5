//! Where a request comes from, and why, for the audit log: every line that is written while it is answered bears both, whoever
//! writes it. A task of the controller's own has no origin.

use crate::api::ApiProblem;
use axum::{
    extract::Request,
    http::HeaderMap,
    middleware::Next,
    response::{IntoResponse, Response},
};
use picket_api::{ProblemKind, operators::REASON};
use picket_http::Peer;
use picket_model::network::canonical;
use std::net::IpAddr;

/// Longest reason, in characters: it is shown on one line.
const LONGEST_REASON: usize = 200;

tokio::task_local! {
    static ORIGIN: Origin;
}

/// From where, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The address of whoever asks.
    pub(crate) address: Option<IpAddr>,
    /// What they gave as reason.
    pub(crate) reason: Option<String>,
}

impl Origin {
    /// That of the request which is answered now; none outside of one.
    pub(crate) fn current() -> Self {
        ORIGIN.try_with(Clone::clone).unwrap_or_default()
    }
}

/// Does what was asked for earlier, with the origin it had then.
pub(crate) async fn resumed<T>(origin: Origin, work: impl Future<Output = T>) -> T {
    ORIGIN.scope(origin, work).await
}

/// Answers a request with its origin known to the audit log.
pub(crate) async fn known(request: Request, next: Next) -> Response {
    let address = request.extensions().get::<Peer>().map(|peer| canonical(peer.address.ip()));
    match reason(request.headers()) {
        Ok(reason) => ORIGIN.scope(Origin { address, reason }, next.run(request)).await,
        Err(detail) => ApiProblem::new(ProblemKind::BadRequest, detail).into_response(),
    }
}

fn reason(headers: &HeaderMap) -> Result<Option<String>, String> {
    let Some(value) = headers.get(REASON) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| format!("{REASON} is not UTF-8"))?.trim();
    if text.chars().count() > LONGEST_REASON || text.chars().any(char::is_control) {
        return Err(format!("{REASON} is not one line of at most {LONGEST_REASON} characters"));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_reason_is_one_line_of_text() {
        let check = |bytes: &[u8], expect: Result<Option<&str>, ()>| {
            let headers = HeaderMap::from_iter([(REASON.parse().unwrap(), HeaderValue::from_bytes(bytes).unwrap())]);
            assert_eq!(reason(&headers).map_err(|_| ()), expect.map(|text| text.map(str::to_owned)), "{bytes:?}");
        };
        check(b"incident 7", Ok(Some("incident 7")));
        check("Ausfall in Z\u{fc}rich".as_bytes(), Ok(Some("Ausfall in Z\u{fc}rich")));
        check(b"  ", Ok(None));
        check(b"\xff", Err(()));
        check("\u{9b}31m".as_bytes(), Err(()));
        check(&[b'a'; 201], Err(()));
        assert_eq!(reason(&HeaderMap::new()), Ok(None));
    }
}
