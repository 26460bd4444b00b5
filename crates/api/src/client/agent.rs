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
use reqwest::{StatusCode, Url};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Time for a call that is answered at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a controller's agent listener.
#[derive(Clone, Debug)]
pub struct AgentClient {
    http: reqwest::Client,
    base: Url,
}

impl AgentClient {
    /// A client for `base` (`https://host:port`) with TLS as given: the pinned CA, and the node's certificate once it has one.
    pub fn new(base: Url, tls: rustls::ClientConfig) -> Result<Self, ApiError> {
        Ok(Self { http: build(&base, tls)?, base })
    }

    /// What mesh this is, before joining it.
    pub async fn enroll_info(&self) -> Result<EnrollInfo, ApiError> {
        let url = join(&self.base, "/v1/enroll")?;
        let sent = self.http.get(url.clone()).timeout(CALL_TIMEOUT).send().await;
        json(sent.map_err(unreachable(&url))?).await
    }

    /// Joins the mesh.
    pub async fn enroll(&self, request: &EnrollRequest) -> Result<EnrollResponse, ApiError> {
        let url = join(&self.base, "/v1/enroll")?;
        let sent = self.http.post(url.clone()).timeout(CALL_TIMEOUT).json(request).send().await;
        json(sent.map_err(unreachable(&url))?).await
    }

    /// Gets a new certificate for the key the host enrolled with; the connection need not show the old one.
    pub async fn renew(&self, request: &RenewRequest) -> Result<RenewResponse, ApiError> {
        let url = join(&self.base, "/v1/renew")?;
        let sent = self.http.post(url.clone()).timeout(CALL_TIMEOUT).json(request).send().await;
        json(sent.map_err(unreachable(&url))?).await
    }

    /// Takes the host out of the mesh for good.
    pub async fn leave(&self) -> Result<(), ApiError> {
        let url = join(&self.base, "/v1/leave")?;
        let sent = self.http.post(url.clone()).timeout(CALL_TIMEOUT).send().await;
        body(sent.map_err(unreachable(&url))?).await.map(drop)
    }

    /// The proof with which a peer came in; a problem of kind `NotFound` where it came in without one.
    pub async fn peer_proof(&self, peer: &NodeId) -> Result<PeerProof, ApiError> {
        let url = join(&self.base, &format!("/v1/node/peers/{peer}/proof"))?;
        let sent = self.http.get(url.clone()).timeout(CALL_TIMEOUT).send().await;
        json(sent.map_err(unreachable(&url))?).await
    }

    /// Brings a newer proof of the host's own.
    pub async fn newer_proof(&self, request: &NewerProof) -> Result<(), ApiError> {
        let url = join(&self.base, "/v1/node/proof")?;
        let sent = self.http.put(url.clone()).timeout(CALL_TIMEOUT).json(request).send().await;
        body(sent.map_err(unreachable(&url))?).await.map(drop)
    }

    /// Waits for a wanted state newer than `after`; `None` where there was none for the longest poll.
    pub async fn config(&self, after: Generation) -> Result<Option<ConfigAnswer>, ApiError> {
        self.wanted(&ConfigQuery { after, holds: None }).await
    }

    /// The same for a host that holds something: where that is of the revision `after`, changes of it are asked for, and the whole
    /// where they do not make what the controller says.
    pub async fn newer(&self, after: Generation, held: Option<&Held>) -> Result<Option<ConfigAnswer>, ApiError> {
        let Some(held) = held.filter(|held| held.config.revision == after) else { return self.config(after).await };
        let Some(news) = self.wanted(&ConfigQuery { after, holds: Some(held.digest.clone()) }).await? else {
            return Ok(None);
        };
        match ConfigNews::of(news, Some(&held.config)) {
            Some(answer) => Ok(Some(answer)),
            None => self.config(after).await,
        }
    }

    async fn wanted<T: DeserializeOwned>(&self, query: &ConfigQuery) -> Result<Option<T>, ApiError> {
        let url = join(&self.base, "/v1/node/config")?;
        let request = self.http.get(url.clone()).query(query).timeout(LONGEST_POLL + CALL_TIMEOUT);
        let response = request.send().await.map_err(unreachable(&url))?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        json(response).await.map(Some)
    }

    /// Says which CAs this host trusts, and waits for something else to know of the mesh's CAs; `None` where there was nothing
    /// for the longest poll.
    pub async fn cas(&self, query: &CaQuery) -> Result<Option<MeshCas>, ApiError> {
        let url = join(&self.base, "/v1/node/ca")?;
        let request = self.http.get(url.clone()).query(query).timeout(LONGEST_POLL + CALL_TIMEOUT);
        let response = request.send().await.map_err(unreachable(&url))?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        json(response).await.map(Some)
    }

    /// Says which key the tunnels use and which is to follow, and asks whether that may be now.
    pub async fn rekey(&self, request: &RekeyRequest) -> Result<RekeyAnswer, ApiError> {
        let url = join(&self.base, "/v1/node/key")?;
        let sent = self.http.post(url.clone()).timeout(CALL_TIMEOUT).json(request).send().await;
        json(sent.map_err(unreachable(&url))?).await
    }

    /// Says what is in force.
    pub async fn report(&self, report: &NodeReport) -> Result<(), ApiError> {
        let url = join(&self.base, "/v1/node/report")?;
        let sent = self.http.put(url.clone()).timeout(CALL_TIMEOUT).json(report).send().await;
        body(sent.map_err(unreachable(&url))?).await.map(drop)
    }
}
