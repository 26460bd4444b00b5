//! The only HTTP client for validator lists: one POST under limits of time and size, its outcome as a value.
//! What the bytes mean is read in [`icon`](crate::icon).

use crate::quote::{innermost, shortened};
use crate::{
    fixed::{self, ListError},
    icon::{self, AnswerError, Expected, request},
    network::Network,
    source::{Source, SourceKind},
    tls,
};
use picket_model::{Observation, Timestamp};
use reqwest::{Response, StatusCode, header, redirect};
use rustls::RootCertStore;
use std::time::Duration;
use thiserror::Error;

/// What one request may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// Time to look the host up, connect and shake hands.
    pub connect: Duration,
    /// Time until the last byte of the answer.
    pub total: Duration,
    /// Largest body, in bytes.
    pub body_bytes: usize,
}

impl Default for FetchLimits {
    /// 3 s, 10 s, 4 MiB: mainnet's whole list is about 115 KB (155 P-Reps of some 730 bytes), and a block has at most 1 MiB
    /// of transactions (goloop `chain/config.go`, `ConfigDefaultMaxBlockTxBytes`), which as JSON are less than twice that.
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), total: Duration::from_secs(10), body_bytes: 4 << 20 }
    }
}

/// Why no HTTP client could be made.
#[derive(Debug, Error)]
pub enum FetcherError {
    /// The TLS library refused its own defaults.
    #[error("set up TLS for chain endpoints")]
    Tls(#[source] rustls::Error),
    /// The HTTP library refused its settings.
    #[error("set up the HTTP client for chain endpoints")]
    Client(#[source] reqwest::Error),
}

/// Why a source gave no observation: plain data, each with the endpoint's host in its text, to be kept and shown.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FetchError {
    /// No connection, or one that broke.
    #[error("chain endpoint {host} cannot be reached: {reason}")]
    Unreachable {
        /// Host asked.
        host: String,
        /// The innermost cause, such as `Connection refused`.
        reason: String,
    },
    /// No whole answer in time.
    #[error("chain endpoint {host} gave no whole answer within {after:?}")]
    Timeout {
        /// Host asked.
        host: String,
        /// The limit that ran out.
        after: Duration,
    },
    /// https, on a host without root certificates.
    #[error(
        "chain endpoint {host} needs TLS and this host has no root certificates: install the package ca-certificates"
    )]
    NoRoots {
        /// Host asked.
        host: String,
    },
    /// The body is beyond the limit; the rest was not read.
    #[error("chain endpoint {host} answers with more than {limit} bytes")]
    TooLarge {
        /// Host asked.
        host: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// 429 or 503: goloop itself has no rate limit, proxies before it have; goloop says 503 to a batch beyond its limit.
    #[error("chain endpoint {host} is busy: HTTP {status} {said:?}")]
    Busy {
        /// Host asked.
        host: String,
        /// 429 or 503.
        status: u16,
        /// How the body begins.
        said: String,
        /// `Retry-After` where it is given in seconds.
        retry_after: Option<Duration>,
    },
    /// goloop's 404 for a channel it does not have, or a chain that is stopped, reset or being pruned.
    #[error("chain endpoint {host} has no such channel, or its chain is stopped")]
    NoChannel {
        /// Host asked.
        host: String,
    },
    /// A redirect, which is never followed.
    #[error("chain endpoint {host} redirects to {to:?}: give the final URL")]
    Redirect {
        /// Host asked.
        host: String,
        /// `Location`, shortened.
        to: String,
    },
    /// Any other HTTP status.
    #[error("chain endpoint {host} answers HTTP {status} {said:?}")]
    Status {
        /// Host asked.
        host: String,
        /// The status.
        status: u16,
        /// How the body begins.
        said: String,
    },
    /// A list in a file that cannot be read.
    #[error("validator list {path} cannot be read: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A list that cannot be used.
    #[error("validator list {host}: {reason}")]
    List {
        /// Its host, or its path.
        host: String,
        /// What is wrong with it.
        reason: ListError,
    },
    /// An answer that cannot be used.
    #[error("chain endpoint {host}: {reason}")]
    Answer {
        /// Host asked.
        host: String,
        /// What is wrong with it.
        reason: AnswerError,
    },
}

impl FetchError {
    /// How long the endpoint asks to be left alone, where it does.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Asks chain endpoints for the validator list. Cheap to clone; connections are kept between polls.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: reqwest::Client,
    limits: FetchLimits,
    has_roots: bool,
}

impl Fetcher {
    /// With the root certificates of this host. A host without any can still ask http endpoints.
    ///
    /// # Errors
    /// A [`FetcherError`] where the client cannot be set up.
    pub fn new(limits: FetchLimits) -> Result<Self, FetcherError> {
        Self::with_roots(limits, tls::host_roots())
    }

    /// With these root certificates alone.
    ///
    /// # Errors
    /// A [`FetcherError`] where the client cannot be set up.
    pub fn with_roots(limits: FetchLimits, roots: RootCertStore) -> Result<Self, FetcherError> {
        let has_roots = !roots.is_empty();
        let tls = tls::client_config(roots, &["h2", "http/1.1"])?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(limits.connect)
            .timeout(limits.total)
            // Where the list comes from is the operator's choice alone: not an endpoint's, not the environment's.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("picket/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(FetcherError::Client)?;
        Ok(Self { client, limits, has_roots })
    }

    /// Asks one source once, for its list as it is or as it was at a `height`. `now` is the moment of asking and becomes `seen_at`: an answer is never older than it says.
    ///
    /// # Errors
    /// A [`FetchError`] for anything but a list of the expected chain with at least one entry, refused ones included.
    pub async fn observe(
        &self,
        source: &Source,
        network: &Network,
        height: Option<u64>,
        now: Timestamp,
    ) -> Result<Observation, FetchError> {
        let host = source.host();
        if source.is_tls() && !self.has_roots {
            return Err(FetchError::NoRoots { host });
        }
        let list = |body: &[u8], checksum| {
            let read = fixed::parse(source.id(), checksum, body, now);
            read.map_err(|reason| FetchError::List { host: source.host(), reason })
        };
        let request = match source.kind() {
            SourceKind::List(checksum) if source.url().scheme() == "file" => {
                return list(&self.file(source).await?, checksum);
            }
            SourceKind::List(_) => self.client.get(source.url().clone()),
            SourceKind::Rpc => {
                self.client.post(source.url().clone()).json(&request::validator_list(&network.score, height))
            }
        };
        let response = request.send().await.map_err(|error| self.transport(&host, &error))?;
        let status = response.status();
        let location = header_text(&response, &header::LOCATION).map(str::to_owned);
        let retry_after = header_text(&response, &header::RETRY_AFTER)
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs);
        let body = self.body(&host, response).await?;
        if let (SourceKind::List(checksum), StatusCode::OK) = (source.kind(), status) {
            return list(&body, checksum);
        }

        let said = || shortened(&String::from_utf8_lossy(&body));
        let refused = |host| FetchError::Status { host, status: status.as_u16(), said: said() };
        match status {
            // goloop answers a single refused request, or a refused batch, with 400 and a JSON-RPC error.
            StatusCode::OK | StatusCode::BAD_REQUEST => {
                match icon::parse(source.id(), Expected { nid: network.nid, height }, &body, now) {
                    Err(AnswerError::NotJson { .. }) if status != StatusCode::OK => Err(refused(host)),
                    Err(reason) => Err(FetchError::Answer { host, reason }),
                    Ok(observation) => Ok(observation),
                }
            }
            StatusCode::NOT_FOUND if body.starts_with(b"No channel") => Err(FetchError::NoChannel { host }),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Err(FetchError::Busy { host, status: status.as_u16(), said: said(), retry_after })
            }
            _ if status.is_redirection() => {
                Err(FetchError::Redirect { host, to: shortened(&location.unwrap_or_default()) })
            }
            _ => Err(refused(host)),
        }
    }

    async fn file(&self, source: &Source) -> Result<Vec<u8>, FetchError> {
        let unreadable = |reason: String| FetchError::File { path: source.host(), reason };
        let path = source.url().to_file_path().map_err(|()| unreadable("not a path on this host".to_owned()))?;
        let limit = self.limits.body_bytes;
        let size = tokio::fs::metadata(&path).await.map_err(|error| unreadable(error.to_string()))?.len();
        if usize::try_from(size).map_or(true, |size| size > limit) {
            return Err(unreadable(format!("it has more than {limit} bytes")));
        }
        tokio::fs::read(&path).await.map_err(|error| unreadable(error.to_string()))
    }

    /// The whole body, or an error as soon as it is known to be too large.
    async fn body(&self, host: &str, mut response: Response) -> Result<Vec<u8>, FetchError> {
        let limit = self.limits.body_bytes;
        let too_large = || FetchError::TooLarge { host: host.to_owned(), limit };
        if response.content_length().is_some_and(|length| usize::try_from(length).map_or(true, |l| l > limit)) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport(host, &error))? {
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn transport(&self, host: &str, error: &reqwest::Error) -> FetchError {
        let host = host.to_owned();
        if error.is_timeout() {
            let after = if error.is_connect() { self.limits.connect } else { self.limits.total };
            return FetchError::Timeout { host, after };
        }
        // A certificate's names may be quoted in it.
        FetchError::Unreachable { host, reason: shortened(&innermost(error)).replace(char::is_control, " ") }
    }
}

fn header_text<'a>(response: &'a Response, name: &header::HeaderName) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}
