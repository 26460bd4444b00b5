//! Typed client of the wire: one for agents (client certificate), one for operators (bearer token).

mod age;
mod agent;
mod lines;
mod operator;

pub use agent::{AgentClient, Newer};
pub use lines::Lines;
pub use operator::OperatorClient;

use crate::{Problem, ProblemKind};
use reqwest::{Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use std::time::Duration;
use thiserror::Error;

/// How long a controller may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 ping interval, so that a controller is noticed that hangs while its host lives (design: every 10 s, dead after 10 s more).
const PING: Duration = Duration::from_secs(10);
/// A host that is gone is noticed by the kernel, which costs neither program anything: it asks after so long a silence, and as often,
const KEEPALIVE: Duration = Duration::from_secs(1);
/// and gives a connection up on which nothing was acknowledged for so long. With the wait before the next controller is asked, that
/// is within 5 s.
const UNACKNOWLEDGED: Duration = Duration::from_secs(3);
/// Largest answer taken: a node's whole wanted state with 100,000 addresses is below it.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

/// A call that did not succeed.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The controller said no, and why.
    #[error("{0}")]
    Problem(#[source] Problem),
    /// The controller could not be reached, or did not finish its answer.
    #[error("ask {url}: {reason}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Every cause in the chain, joined.
        reason: String,
        /// Whether it was to change something and was on its way, so that it may have been carried out.
        sent: bool,
    },
    /// The answer is not what version 1 of the wire says.
    #[error("{url} answered {status} with something that is not Picket's: {reason}; is this the controller's address?")]
    Foreign {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// What could not be read.
        reason: String,
    },
    /// The client could not be set up.
    #[error("set up the client for {url}: {reason}")]
    Setup {
        /// The controller.
        url: String,
        /// Every cause in the chain, joined.
        reason: String,
    },
}

impl ApiError {
    /// The kind of problem the controller named, where it named one.
    pub fn kind(&self) -> Option<ProblemKind> {
        match self {
            Self::Problem(problem) => Some(problem.kind),
            _ => None,
        }
    }

    /// Whether the request may have been carried out and only its answer was lost.
    pub fn is_answer_lost(&self) -> bool {
        matches!(self, Self::Unreachable { sent: true, .. })
    }
}

/// All causes of an error on one line: HTTP clients hide the telling one at the end of the chain.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

fn build(url: &Url, tls: rustls::ClientConfig) -> Result<reqwest::Client, ApiError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE)
        .tcp_user_timeout(UNACKNOWLEDGED)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PING)
        .http2_keep_alive_while_idle(true)
        .build()
        .map_err(|error| ApiError::Setup { url: url.to_string(), reason: chain(&error) })
}

fn join(base: &Url, path: &str) -> Result<Url, ApiError> {
    base.join(path).map_err(|error| ApiError::Setup { url: base.to_string(), reason: error.to_string() })
}

fn unreachable(url: &Url) -> impl FnOnce(reqwest::Error) -> ApiError {
    let url = url.to_string();
    move |error| ApiError::Unreachable { url, reason: chain(&error.without_url()), sent: false }
}

/// The body of a successful answer, read up to a limit; a problem where the controller sent one.
async fn body(mut response: Response) -> Result<(StatusCode, Vec<u8>, String), ApiError> {
    let (status, url) = (response.status(), response.url().clone());
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable(&url))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LARGEST_ANSWER {
            let reason = format!("more than {LARGEST_ANSWER} bytes");
            return Err(ApiError::Foreign { url: url.to_string(), status: status.as_u16(), reason });
        }
    }
    if status.is_success() {
        return Ok((status, bytes, url.to_string()));
    }
    Err(match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => ApiError::Problem(problem),
        Err(error) => ApiError::Foreign { url: url.to_string(), status: status.as_u16(), reason: error.to_string() },
    })
}

async fn json<T: DeserializeOwned>(response: Response) -> Result<T, ApiError> {
    let (status, bytes, url) = body(response).await?;
    serde_json::from_slice(&bytes).map_err(|error| ApiError::Foreign {
        url,
        status: status.as_u16(),
        reason: error.to_string(),
    })
}
