//! `GET /health`, `/ready` and `/metrics` as a router. On which listener it is served is the program's decision;
//! there is no authentication here.

use crate::metrics::{self, Metrics};
use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use std::sync::Arc;

/// Whether a program can do its work now: it can when there is no reason why not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// What is missing, for people; empty when ready.
    pub reasons: Vec<String>,
}

impl Readiness {
    /// Whether nothing is missing.
    pub fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// `/health` answers 200 while the program runs, `/ready` 200 or 503 with the reasons as JSON, `/metrics` OpenMetrics
/// to those who accept it, and Prometheus' older text to all others. `ready` is called for each request and must not block.
pub fn router(ready: impl Fn() -> Readiness + Clone + Send + Sync + 'static, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/health", get(async || "ok\n"))
        .route("/ready", get(async move || answer(ready())))
        .route("/metrics", get(async move |headers: HeaderMap| render(&metrics, &headers)))
}

/// `/ready` alone, 200 or 503 without a word: for a load balancer, where strangers may hear it.
pub fn ready_alone(ready: impl Fn() -> Readiness + Clone + Send + Sync + 'static) -> Router {
    let status = move || if ready().is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Router::new().route("/ready", get(async move || status()))
}

#[derive(Serialize)]
struct Answer {
    ready: bool,
    reasons: Vec<String>,
}

fn answer(readiness: Readiness) -> Response {
    let ready = readiness.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Answer { ready, reasons: readiness.reasons })).into_response()
}

fn render(metrics: &Metrics, headers: &HeaderMap) -> Response {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|accepted| accepted.to_str().ok());
    let is_open = accepted.into_iter().any(|accepted| accepted.contains("application/openmetrics-text"));
    let (kind, text) = if is_open {
        (metrics::CONTENT_TYPE, metrics.render())
    } else {
        (metrics::CLASSIC_TYPE, metrics.render_classic())
    };
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body, extract::Request};
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn a_balancer_hears_whether_and_nothing_else() {
        for (path, reason, expect) in [
            ("/ready", None, 200),
            ("/ready", Some("tunnels: failed"), 503),
            ("/metrics", None, 404),
            ("/health", None, 404),
        ] {
            let readiness = Readiness { reasons: reason.map(str::to_owned).into_iter().collect() };
            let router = ready_alone(move || readiness.clone());
            let response = router.oneshot(Request::get(path).body(body::Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status().as_u16(), expect, "{path}");
            let told = body::to_bytes(response.into_body(), 1024).await.unwrap();
            assert!(told.is_empty(), "{told:?}");
        }
    }

    async fn get(path: &str, reasons: &[&str]) -> (u16, String, String) {
        get_as(path, "*/*", reasons).await
    }

    async fn get_as(path: &str, accept: &str, reasons: &[&str]) -> (u16, String, String) {
        let readiness = Readiness { reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect() };
        let router = router(move || readiness.clone(), Arc::new(Metrics::new("picket-test", "1.2.3")));
        let request = Request::get(path).header(header::ACCEPT, accept).body(body::Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers().get(header::CONTENT_TYPE).map(|v| v.to_str().unwrap().to_owned());
        let bytes = body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, kind.unwrap_or_default(), String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn alive_is_not_ready() {
        assert_eq!(get("/health", &["no plan yet"]).await.0, 200);
        let (status, kind, text) = get("/ready", &["no plan yet", "no \"list\""]).await;
        assert_eq!((status, kind.as_str()), (503, "application/json"));
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer, serde_json::json!({"ready": false, "reasons": ["no plan yet", "no \"list\""]}));
    }

    #[tokio::test]
    async fn ready_is_200() {
        let (status, _, text) = get("/ready", &[]).await;
        assert_eq!((status, text.as_str()), (200, r#"{"ready":true,"reasons":[]}"#));
    }

    #[tokio::test]
    async fn metrics_are_openmetrics_to_those_who_accept_it() {
        // As Prometheus asks.
        let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let (status, kind, text) = get_as("/metrics", accept, &[]).await;
        assert_eq!((status, kind.as_str()), (200, metrics::CONTENT_TYPE));
        assert!(text.contains("# TYPE picket_build info") && text.ends_with("# EOF\n"), "{text}");
        let (status, kind, text) = get("/metrics", &[]).await;
        assert_eq!((status, kind.as_str()), (200, metrics::CLASSIC_TYPE));
        assert!(text.contains("# TYPE picket_build_info gauge") && !text.contains("EOF"), "{text}");
    }
}
