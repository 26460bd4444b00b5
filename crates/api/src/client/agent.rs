//! An agent's calls. The controller is known by its CA's fingerprint, whatever its URL.

use super::{ApiError, body, build, join, json, unreachable};
use crate::{
    ConfigAnswer, EnrollInfo, EnrollRequest, EnrollResponse,
    ca::{CaQuery, MeshCas},
    node::{
        ConfigNews, ConfigQuery, Held, LONGEST_POLL, NewerProof, PeerProof, RekeyAnswer, RekeyRequest, RenewRequest,
        RenewResponse,
    },
};
use picket_model::{Generation, NodeId, NodeReport};
use reqwest::{RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Time for a call that is answered at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a controller's agent listener.
#[derive(Clone, Debug)]
pub struct AgentClient {
    http: reqwest::Client,
    base: Url,
    span: fn() -> Option<String>,
}

/// Header by which a span is told (W3C Trace Context).
const TRACE: &str = "traceparent";

/// A wanted state as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Newer {
    /// What the host shall be.
    pub answer: ConfigAnswer,
    /// The span in which that was planned, as the controller's header says.
    pub planned_in: Option<String>,
}

impl AgentClient {
    /// A client for `base` (`https://host:port`) with TLS as given: the pinned CA, and the node's certificate once it has one.
    pub fn new(base: Url, tls: rustls::ClientConfig) -> Result<Self, ApiError> {
        Ok(Self { http: build(&base, tls)?, base, span: || None })
    }

    /// The same, which tells with each request the span that `span` says it is made in.
    #[must_use]
    pub fn in_spans_of(self, span: fn() -> Option<String>) -> Self {
        Self { span, ..self }
    }

    /// What mesh this is, before joining it.
    pub async fn enroll_info(&self) -> Result<EnrollInfo, ApiError> {
        let url = join(&self.base, "/v1/enroll")?;
        let sent = self.get(&url).timeout(CALL_TIMEOUT).send().await;
        json(sent.map_err(unreachable(&url))?).await
    }

    /// Joins the mesh.
    pub async fn enroll(&self, request: &EnrollRequest) -> Result<EnrollResponse, ApiError> {
        let url = join(&self.base, "/v1/enroll")?;
        let sent = self.post(&url).timeout(CALL_TIMEOUT).json(request).send().await;
        json(sent.map_err(unreachable(&url))?).await
    }

    /// Gets a new certificate for the key the host enrolled with; the connection need not show the old one.
    pub async fn renew(&self, request: &RenewRequest) -> Result<RenewResponse, ApiError> {
        let url = join(&self.base, "/v1/renew")?;
        let sent = self.post(&url).timeout(CALL_TIMEOUT).json(request).send().await;
        json(sent.map_err(unreachable(&url))?).await
    }

    /// Takes the host out of the mesh for good.
    pub async fn leave(&self) -> Result<(), ApiError> {
        let url = join(&self.base, "/v1/leave")?;
        let sent = self.post(&url).timeout(CALL_TIMEOUT).send().await;
        body(sent.map_err(unreachable(&url))?).await.map(drop)
    }

    /// The proof with which a peer came in; a problem of kind `NotFound` where it came in without one.
    pub async fn peer_proof(&self, peer: &NodeId) -> Result<PeerProof, ApiError> {
        let url = join(&self.base, &format!("/v1/node/peers/{peer}/proof"))?;
        let sent = self.get(&url).timeout(CALL_TIMEOUT).send().await;
        json(sent.map_err(unreachable(&url))?).await
    }

    /// Brings a newer proof of the host's own.
    pub async fn newer_proof(&self, request: &NewerProof) -> Result<(), ApiError> {
        let url = join(&self.base, "/v1/node/proof")?;
        let sent = self.put(&url).timeout(CALL_TIMEOUT).json(request).send().await;
        body(sent.map_err(unreachable(&url))?).await.map(drop)
    }

    /// Waits for a wanted state newer than `after`; `None` where there was none for the longest poll.
    pub async fn config(&self, after: Generation) -> Result<Option<ConfigAnswer>, ApiError> {
        Ok(self.wanted(&ConfigQuery { after, holds: None }).await?.map(|(answer, _)| answer))
    }

    /// The same for a host that holds something: where that is of the revision `after`, changes of it are asked for, and the whole
    /// where they do not make what the controller says.
    pub async fn newer(&self, after: Generation, held: Option<&Held>) -> Result<Option<Newer>, ApiError> {
        let whole = async || {
            let news = self.wanted(&ConfigQuery { after, holds: None }).await?;
            Ok(news.map(|(answer, planned_in)| Newer { answer, planned_in }))
        };
        let Some(held) = held.filter(|held| held.config.revision == after) else { return whole().await };
        let query = ConfigQuery { after, holds: Some(held.digest.clone()) };
        let Some((news, planned_in)) = self.wanted::<ConfigNews>(&query).await? else { return Ok(None) };
        match news.of(Some(&held.config)) {
            Some(answer) => Ok(Some(Newer { answer, planned_in })),
            None => whole().await,
        }
    }

    async fn wanted<T: DeserializeOwned>(&self, query: &ConfigQuery) -> Result<Option<(T, Option<String>)>, ApiError> {
        let url = join(&self.base, "/v1/node/config")?;
        let request = self.get(&url).query(query).timeout(LONGEST_POLL + CALL_TIMEOUT);
        let response = request.send().await.map_err(unreachable(&url))?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let planned_in = response.headers().get(TRACE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Some((json(response).await?, planned_in)))
    }

    /// Says which CAs this host trusts, and waits for something else to know of the mesh's CAs; `None` where there was nothing
    /// for the longest poll.
    pub async fn cas(&self, query: &CaQuery) -> Result<Option<MeshCas>, ApiError> {
        let url = join(&self.base, "/v1/node/ca")?;
        let request = self.get(&url).query(query).timeout(LONGEST_POLL + CALL_TIMEOUT);
        let response = request.send().await.map_err(unreachable(&url))?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        json(response).await.map(Some)
    }

    /// Says which key the tunnels use and which is to follow, and asks whether that may be now.
    pub async fn rekey(&self, request: &RekeyRequest) -> Result<RekeyAnswer, ApiError> {
        let url = join(&self.base, "/v1/node/key")?;
        let sent = self.post(&url).timeout(CALL_TIMEOUT).json(request).send().await;
        json(sent.map_err(unreachable(&url))?).await
    }

    /// Says what is in force.
    pub async fn report(&self, report: &NodeReport) -> Result<(), ApiError> {
        let url = join(&self.base, "/v1/node/report")?;
        let sent = self.put(&url).timeout(CALL_TIMEOUT).json(report).send().await;
        body(sent.map_err(unreachable(&url))?).await.map(drop)
    }

    fn get(&self, url: &Url) -> RequestBuilder {
        self.told(self.http.get(url.clone()))
    }

    fn post(&self, url: &Url) -> RequestBuilder {
        self.told(self.http.post(url.clone()))
    }

    fn put(&self, url: &Url) -> RequestBuilder {
        self.told(self.http.put(url.clone()))
    }

    fn told(&self, request: RequestBuilder) -> RequestBuilder {
        match (self.span)() {
            Some(span) => request.header(TRACE, span),
            None => request,
        }
    }
}
