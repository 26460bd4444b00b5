//! Proofs of identity at enrolment: which are believed (`config`), the keys that verify them (`keys`), and what a credential
//! is worth in the admission transaction (`credential`). What is decided about them is decided in `picket-attest`.

mod config;
mod credential;
mod keys;

pub use config::{Attest, IssuerLines};
pub(crate) use credential::{Credential, Known, Worthless};
pub(crate) use keys::Keys;

use anyhow::Context as _;
use picket_api::{Problem, ProblemKind, Proof};
use picket_attest::{
    Asked, Certificate, Denied, Identity, Kind, RegionCertificates, Rule, TokenError, Unverified, admit, document,
    token,
};
use picket_model::{Timestamp, TokenId};
use std::collections::BTreeMap;

/// Everything by which proofs are judged.
pub(crate) struct Proofs {
    certificates: RegionCertificates,
    issuers: Vec<IssuerLines>,
    rules: Vec<Rule>,
    keys: Keys,
}

impl Proofs {
    /// As configured. Certificates are read now, key sets when they are needed.
    pub(crate) fn new(attest: &Attest, rules: Vec<Rule>) -> anyhow::Result<Self> {
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
    async fn verify(&self, proof: &Proof, audience: &str, now: Timestamp) -> Result<Identity, Problem> {
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
        let keys = self.keys.of(&issuer.issuer, token.key(), now).await.map_err(|error| {
            let detail = format!("the keys of token issuer {} cannot be had: {error}; try again", issuer.issuer);
            Problem::new(ProblemKind::Unavailable, detail)
        })?;
        let identity = token::identify(&issuer.issuer(), token, &keys, audience, now);
        identity.map_err(|error: TokenError| refused(error.to_string()))
    }

    /// Ends a proof of a kind that no rule asks for, before any work for it.
    fn asks_for(&self, kind: Kind) -> Result<(), Problem> {
        if self.rules.iter().any(|rule| rule.proof == kind) {
            return Ok(());
        }
        let detail = format!("no [[enroll]] rule of this mesh admits {kind} proofs");
        Err(Problem::new(ProblemKind::ProofDenied, detail))
    }

    /// By which rule a proven identity comes in; `counts` are the members by rule.
    fn admit(
        &self,
        identity: &Identity,
        asked: Asked<'_>,
        counts: &BTreeMap<TokenId, u32>,
        now: Timestamp,
    ) -> Result<TokenId, Problem> {
        let admitted = admit(&self.rules, identity, asked, counts, now);
        admitted
            .map(|admission| admission.rule)
            .map_err(|denied: Denied| Problem::new(ProblemKind::ProofDenied, denied.to_string()))
    }
}

fn refused(detail: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::ProofRefused, detail)
}
