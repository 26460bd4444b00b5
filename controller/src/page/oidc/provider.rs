//! The issuer's side, asked over HTTPS: what it says of itself (OpenID Connect Discovery 1.0), the code that a browser brings back made
//! into a token (OAuth 2.0 with PKCE, by the `oauth2` crate), and what more it knows of somebody. Whose signature counts is
//! `picket-attest`'s to say, who comes in `person`'s.

use super::{config::OidcLines, person::wants_more};
use anyhow::Context as _;
use futures_util::future::BoxFuture;
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    RequestTokenError, Scope, StandardRevocableToken, StandardTokenResponse, TokenResponse as _, TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType},
};
use picket_attest::{JwtError, Kind, Unverified};
use picket_model::Timestamp;
use picket_proofs::{
    IssuerLines, Keys, KeysError,
    outside::{self, body, innermost},
};
use reqwest::StatusCode;
use rustls::{RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};
use thiserror::Error;
use tokio::sync::Mutex;

/// Where an issuer says what it has, below its own URL.
const CONFIGURATION: &str = "/.well-known/openid-configuration";
/// How long what it says of itself counts as fresh.
const FRESH: Duration = Duration::from_hours(1);
/// Largest answer of an issuer, in bytes: tokens with many groups in them are the largest.
const LARGEST: usize = 256 << 10;

/// Why an issuer's word is not to be had, or not to be taken.
#[derive(Debug, Error)]
pub(super) enum ProviderError {
    /// No answer, or one that cannot be read.
    #[error("{place}: {reason}")]
    Unreachable {
        /// URL.
        place: String,
        /// Why.
        reason: String,
    },
    /// What it says of itself cannot be used.
    #[error("{place} {reason}")]
    Configuration {
        /// URL.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// It makes no token of the code, for this reason of its own.
    #[error("the issuer does not take the code: {0}")]
    Code(String),
    /// It gives no token that says who somebody is.
    #[error("the issuer's answer has no id_token: is `openid` among the scopes that this page may ask for there?")]
    NoToken,
    /// Its keys are not to be had.
    #[error("the issuer's keys cannot be had: {0}")]
    Keys(#[from] KeysError),
    /// Not a good token.
    #[error(transparent)]
    Token(#[from] JwtError),
    /// A token for another login than this browser's.
    #[error("the token is of another login than the one that this browser began")]
    Nonce,
    /// What it tells more is of somebody else.
    #[error("what the issuer tells more is of somebody else")]
    Subject,
}

/// What an issuer says of itself (OpenID Connect Discovery 1.0, 3), as far as it matters here.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

struct Known {
    metadata: Metadata,
    keys: Keys,
    had_at: Instant,
}

/// The field of a token answer that OpenID Connect adds.
#[derive(Debug, Deserialize, Serialize)]
struct IdToken {
    id_token: Option<String>,
}

impl ExtraTokenFields for IdToken {}

/// What `oauth2` knows of an issuer with both its endpoints.
type Asking = Client<
    BasicErrorResponse,
    StandardTokenResponse<IdToken, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// What one login has of its own; all of it made of what the browser holds.
pub(super) struct Attempt {
    /// Comes back with the browser.
    pub(super) state: String,
    /// Comes back in the token.
    pub(super) nonce: String,
    /// Shows the issuer that who brings the code is who asked for it (RFC 7636).
    pub(super) verifier: String,
}

/// The configured issuer.
pub(super) struct Provider {
    pub(super) lines: OidcLines,
    secret: Option<SecretString>,
    client: reqwest::Client,
    roots: RootCertStore,
    known: Mutex<Option<Arc<Known>>>,
}

impl Provider {
    /// Reads the files that the configuration names; the issuer is asked when somebody comes.
    pub(super) fn new(lines: OidcLines) -> anyhow::Result<Self> {
        let secret = lines.client_secret_file.as_ref().map(|path| {
            let text = fs::read_to_string(path)
                .with_context(|| format!("read page.oidc.client_secret_file {}", path.display()))?;
            anyhow::Ok(SecretString::from(text.trim().to_owned()))
        });
        let mut roots = outside::host_roots();
        if let Some(path) = &lines.certificates {
            let doing = || format!("read page.oidc.certificates {}", path.display());
            let pem = fs::read(path).with_context(doing)?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                roots.add(certificate.with_context(doing)?).with_context(doing)?;
            }
        }
        let client = outside::client(roots.clone(), true)?;
        Ok(Self { secret: secret.transpose()?, client, roots, known: Mutex::default(), lines })
    }

    /// Where a browser goes to say who it is.
    pub(super) async fn way(&self, attempt: &Attempt) -> Result<String, ProviderError> {
        let known = self.known().await?;
        let asking = self.asking(&known.metadata)?;
        let verifier = PkceCodeVerifier::new(attempt.verifier.clone());
        let scopes = std::iter::once("openid").chain(self.lines.scopes.iter().map(String::as_str));
        let (url, _) = asking
            .authorize_url(|| CsrfToken::new(attempt.state.clone()))
            .add_scopes(scopes.map(|scope| Scope::new(scope.to_owned())))
            .add_extra_param("nonce", &attempt.nonce)
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .url();
        Ok(url.into())
    }

    /// What the issuer says of whoever brought this code, once its signature, audience, times and nonce are right. What it tells
    /// beside the token is asked for where a rule wants it.
    pub(super) async fn claims(
        &self,
        code: &str,
        attempt: Attempt,
        now: Timestamp,
    ) -> Result<Map<String, Value>, ProviderError> {
        let known = self.known().await?;
        let place = &known.metadata.token_endpoint;
        let answer = self
            .asking(&known.metadata)?
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(attempt.verifier))
            .request_async(self)
            .await
            .map_err(|error| match error {
                RequestTokenError::ServerResponse(refusal) => ProviderError::Code(shortened(&refusal.to_string())),
                RequestTokenError::Request(error) => error,
                RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                    unreachable_at(place, "its answer is no answer of a token endpoint")
                }
            })?;
        let token = answer.extra_fields().id_token.as_deref().ok_or(ProviderError::NoToken)?;
        let token = Unverified::parse(token)?;
        let keys = known.keys.of(&self.lines.issuer, token.key(), now).await?;
        let mut claims = token.verify(&keys, &self.lines.issuer, &self.lines.client_id, now)?.into_inner();
        if claims.get("nonce").and_then(Value::as_str) != Some(&attempt.nonce) {
            return Err(ProviderError::Nonce);
        }
        if let Some(place) = known.metadata.userinfo_endpoint.as_ref().filter(|_| wants_more(&self.lines, &claims)) {
            let call = self.client.get(place).bearer_auth(answer.access_token().secret());
            let more: Map<String, Value> = read(place, call).await?;
            // OpenID Connect Core 1.0, 5.3.2: else it may be of anybody.
            if more.get("sub") != claims.get("sub") {
                return Err(ProviderError::Subject);
            }
            for (name, value) in more {
                claims.entry(name).or_insert(value);
            }
        }
        Ok(claims)
    }

    /// What the issuer says of itself: kept for an hour, and for longer while it cannot be asked.
    async fn known(&self) -> Result<Arc<Known>, ProviderError> {
        let mut held = self.known.lock().await;
        if let Some(known) = held.as_ref().filter(|known| known.had_at.elapsed() < FRESH) {
            return Ok(known.clone());
        }
        match (self.ask().await, held.as_ref()) {
            (Ok(known), _) => Ok(held.insert(Arc::new(known)).clone()),
            (Err(error), Some(known)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the issuer of logins says nothing new");
                Ok(known.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn ask(&self) -> Result<Known, ProviderError> {
        let issuer = &self.lines.issuer;
        let place = format!("{}{CONFIGURATION}", issuer.trim_end_matches('/'));
        let metadata: Metadata = read(&place, self.client.get(&place)).await?;
        let wrong = |reason: String| ProviderError::Configuration { place: place.clone(), reason };
        if metadata.issuer != *issuer {
            let found = shortened(&metadata.issuer);
            return Err(wrong(format!("speaks for issuer {found:?}, and page.oidc.issuer is {issuer:?}")));
        }
        let Metadata { authorization_endpoint, token_endpoint, jwks_uri, userinfo_endpoint, .. } = &metadata;
        let places = [authorization_endpoint, token_endpoint, jwks_uri].into_iter().chain(userinfo_endpoint);
        if let Some(bad) = places.into_iter().find(|url| !url.starts_with("https://")) {
            return Err(wrong(format!("names {:?}, which is no https:// address", shortened(bad))));
        }
        let lines =
            IssuerLines { proof: Kind::Oidc, issuer: issuer.clone(), jwks: metadata.jwks_uri.clone(), account: None };
        let keys = Keys::with_roots(&[lines], self.roots.clone()).map_err(|error| wrong(format!("{error:#}")))?;
        Ok(Known { metadata, keys, had_at: Instant::now() })
    }

    fn asking(&self, metadata: &Metadata) -> Result<Asking, ProviderError> {
        let wrong = |place: &str| {
            let place = place.to_owned();
            move |error| ProviderError::Configuration { place, reason: format!("is no address: {error}") }
        };
        let Metadata { authorization_endpoint, token_endpoint, .. } = metadata;
        let back = self.lines.back();
        let asking = Client::new(ClientId::new(self.lines.client_id.clone()))
            .set_auth_uri(AuthUrl::new(authorization_endpoint.clone()).map_err(wrong(authorization_endpoint))?)
            .set_token_uri(TokenUrl::new(token_endpoint.clone()).map_err(wrong(token_endpoint))?)
            .set_redirect_uri(RedirectUrl::new(back.clone()).map_err(wrong(&back))?);
        let Some(secret) = &self.secret else { return Ok(asking) };
        // Basic is what an issuer has that says nothing (OpenID Connect Discovery 1.0, 3).
        let methods = &metadata.token_endpoint_auth_methods_supported;
        let is_basic = methods.is_empty() || methods.iter().any(|method| method == "client_secret_basic");
        let way = if is_basic { AuthType::BasicAuth } else { AuthType::RequestBody };
        Ok(asking.set_auth_type(way).set_client_secret(ClientSecret::new(secret.expose_secret().to_owned())))
    }

    /// As `oauth2` wants it sent.
    async fn sent(&self, request: HttpRequest) -> Result<HttpResponse, ProviderError> {
        let place = request.uri().to_string();
        let request = reqwest::Request::try_from(request).map_err(|error| unreachable_at(&place, innermost(&error)))?;
        let answer = self.client.execute(request).await.map_err(|error| unreachable_at(&place, innermost(&error)))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = body(answer, LARGEST).await.map_err(|error| unreachable_at(&place, error.to_string()))?;
        let mut response = HttpResponse::new(body);
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }
}

impl<'c> AsyncHttpClient<'c> for Provider {
    type Error = ProviderError;
    type Future = BoxFuture<'c, Result<HttpResponse, ProviderError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.sent(request))
    }
}

/// An answer of 200 as JSON.
async fn read<T: DeserializeOwned>(place: &str, call: reqwest::RequestBuilder) -> Result<T, ProviderError> {
    let answer = call.send().await.map_err(|error| unreachable_at(place, innermost(&error)))?;
    if answer.status() != StatusCode::OK {
        return Err(unreachable_at(place, format!("it answers HTTP {}", answer.status().as_u16())));
    }
    let body = body(answer, LARGEST).await.map_err(|error| unreachable_at(place, error.to_string()))?;
    serde_json::from_slice(&body)
        .map_err(|error| unreachable_at(place, format!("its answer is not as it should be: {error}")))
}

fn unreachable_at(place: &str, reason: impl Into<String>) -> ProviderError {
    ProviderError::Unreachable { place: place.to_owned(), reason: reason.into() }
}

/// A stranger's text on one line, and not too much of it.
pub(super) fn shortened(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(200).collect()
}
