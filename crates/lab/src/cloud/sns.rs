//! SNS as subscribers ask it: the certificate it signs with, and what it was told of subscriptions.

use super::aws_certificate;
use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::net::TcpListener;

/// A running service whose certificate is of RSA key 0; it ends with the runtime it was started on.
#[derive(Clone)]
pub struct FakeSns {
    /// `http://address:port`.
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl fmt::Debug for FakeSns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeSns({})", self.url)
    }
}

impl FakeSns {
    /// Starts it.
    ///
    /// # Errors
    /// An IO error where it cannot listen.
    pub async fn start() -> io::Result<Self> {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let router = Router::new()
            .route("/{name}", get(certificate))
            .route("/", get(|| async { "<ConfirmSubscriptionResponse/>" }))
            .layer(axum::middleware::from_fn_with_state(asked.clone(), note))
            .with_state(());
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, asked })
    }

    /// What it was asked, each as host, path and query.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn note(
    State(asked): State<Arc<Mutex<Vec<String>>>>,
    headers: HeaderMap,
    uri: Uri,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{host}{uri}"));
    next.run(request).await
}

/// Key 0 for every name but `SimpleNotificationService-none.pem`.
async fn certificate(Path(name): Path<String>) -> Response {
    if name == "SimpleNotificationService-none.pem" {
        return StatusCode::NOT_FOUND.into_response();
    }
    aws_certificate(0, 2020, 2120).into_response()
}
