//! Proofs of identity held against what an operator wrote: whose signatures are believed (`config`), the keys that verify them
//! (`keys`, fetched as `outside` does: the only IO here), and the rules of whom they admit. Controllers ask at enrolment, and
//! hosts again of their peers.
//! What is decided about a proof is decided in `picket-attest`.

mod config;
mod keys;
pub mod outside;

pub use config::{Attest, IssuerLines};
pub use keys::{Keys, KeysError};

use anyhow::Context as _;
use picket_api::{ProblemKind, Proof};
use picket_attest::{
    Admission, Asked, Certificate, Denied, Identity, JwtError, Kind, RegionCertificates, Rule, TokenError, Unverified,
    admit, document, token,
};
use picket_model::{Timestamp, TokenId};
use std::collections::BTreeMap;
use thiserror::Error;

/// Why a proof is worth nothing.
#[derive(Debug, Error)]
pub enum ProofError {
    /// No rule asks for this kind.
    #[error("no [[enroll]] rule of this mesh admits {0} proofs")]
    Kind(Kind),
    /// It is not what it says, or not for these keys, or not now.
    #[error("{0}")]
    Refused(String),
    /// Its issuer's keys cannot be had; it may be good.
    #[error("the keys of token issuer {issuer} cannot be had: {cause}; try again")]
    Keys {
        /// The issuer.
        issuer: String,
        /// Why not.
        cause: KeysError,
    },
}

impl ProofError {
    /// What it is on the wire.
    pub const fn kind(&self) -> ProblemKind {
        match self {
            Self::Kind(_) => ProblemKind::ProofDenied,
            Self::Refused(_) => ProblemKind::ProofRefused,
            Self::Keys { .. } => ProblemKind::Unavailable,
        }
    }
}

/// Everything by which proofs are judged.
pub struct Proofs {
    certificates: RegionCertificates,
    issuers: Vec<IssuerLines>,
    rules: Vec<Rule>,
    keys: Keys,
}

impl Proofs {
    /// As configured. Certificates are read now, key sets when they are needed.
    ///
    /// # Errors
    /// Which certificate cannot be used.
    pub fn new(attest: &Attest, rules: Vec<Rule>) -> anyhow::Result<Self> {
        let mut certificates = BTreeMap::new();
        for (region, path) in &attest.aws_certificates {
            let doing = || format!("read the certificate for AWS region {region} from {}", path.display());
            let pem = std::fs::read_to_string(path).with_context(doing)?;
            certificates.insert(region.clone(), Certificate::parse(&pem, attest.aws_short_keys).with_context(doing)?);
        }
        let issuers = attest.issuers(&rules);
        let keys = Keys::new(&issuers)?;
        Ok(Self { certificates, issuers, rules, keys })
    }

    /// Who a proof says the host is, once its signature, its binding to `audience` and its times are right.
    ///
    /// # Errors
    /// A [`ProofError`] that says what is wrong.
    pub async fn verify(&self, proof: &Proof, audience: &str, now: Timestamp) -> Result<Identity, ProofError> {
        self.verify_as_of(proof, audience, now, |_| now).await
    }

    /// The same of a proof that was good once: a host may ask long after its peer joined, and the keys that a token names do not
    /// change hands. It must have been good when it was made, and have been made by now.
    ///
    /// # Errors
    /// A [`ProofError`] that says what is wrong.
    pub async fn verify_later(&self, proof: &Proof, audience: &str, now: Timestamp) -> Result<Identity, ProofError> {
        self.verify_as_of(proof, audience, now, |made| made.map_or(now, |made| made.min(now))).await
    }

    async fn verify_as_of(
        &self,
        proof: &Proof,
        audience: &str,
        now: Timestamp,
        moment: impl FnOnce(Option<Timestamp>) -> Timestamp,
    ) -> Result<Identity, ProofError> {
        let (kind, token) = match proof {
            Proof::JoinToken { .. } => return Err(refused("a join token is no proof of identity")),
            Proof::AwsDocument { document, signature } => {
                self.asks_for(Kind::AwsDocument)?;
                let identity = document::identify(&self.certificates, document, signature, now);
                return identity.map_err(|error| refused(error.to_string()));
            }
            Proof::AwsSts { token } => (Kind::AwsSts, token),
            Proof::Gcp { token } => (Kind::Gcp, token),
            Proof::Oidc { token } => (Kind::Oidc, token),
        };
        self.asks_for(kind)?;
        let token = Unverified::parse(token).map_err(|error| refused(error.to_string()))?;
        let named = token.issuer().unwrap_or_default();
        let issuer = self.issuers.iter().find(|issuer| issuer.proof == kind && issuer.issuer == named);
        let issuer = issuer.ok_or_else(|| {
            let shown: String = named.chars().take(80).collect();
            refused(format!("the token is of issuer {shown:?}, which attest.issuers does not name for {kind}"))
        })?;
        let keys = self.keys.of(&issuer.issuer, token.key(), now).await;
        let keys = keys.map_err(|cause| ProofError::Keys { issuer: issuer.issuer.clone(), cause })?;
        let moment = moment(token.made_at());
        let identity = token::identify(&issuer.issuer(), token, &keys, audience, moment);
        identity.map_err(|error| match error {
            TokenError::Token(JwtError::Audience { .. }) => {
                refused(format!("{error}, which names this mesh and the host's keys"))
            }
            error => refused(error.to_string()),
        })
    }

    /// Ends a proof of a kind that no rule asks for, before any work for it.
    fn asks_for(&self, kind: Kind) -> Result<(), ProofError> {
        if self.rules.iter().any(|rule| rule.proof == kind) { Ok(()) } else { Err(ProofError::Kind(kind)) }
    }

    /// By which rule a proven identity comes in, and into which pool; `counts` are the members by rule.
    ///
    /// # Errors
    /// What each rule of its account wants.
    pub fn admit(
        &self,
        identity: &Identity,
        asked: Asked<'_>,
        counts: &BTreeMap<TokenId, u32>,
        now: Timestamp,
    ) -> Result<Admission, Denied> {
        admit(&self.rules, identity, asked, counts, now)
    }
}

fn refused(detail: impl Into<String>) -> ProofError {
    ProofError::Refused(detail.into())
}
