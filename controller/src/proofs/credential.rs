//! What a host shows for itself, a join token or a proof of identity, and what that is worth by the database.

use crate::{
    admission,
    controller::Controller,
    store::{Enrolled, KnownIdentity, StoreError, Token, Transaction},
};
use picket_api::{EnrollRequest, Problem, ProblemKind, Proof};
use picket_attest::{Admission, Asked, Denied, Identity, IdentityId, audience, keys_digest};
use picket_model::{NodeId, PoolName, Timestamp, TokenId, WireGuardPublicKey};
use picket_pki::{JoinToken, request_key_sha256};
use std::{collections::BTreeMap, fmt, net::IpAddr, time::Duration};

/// A refusal of an identity after so long without one is news.
const QUIET: Duration = Duration::from_hours(1);

/// A credential as far as it can be judged without the database. A token's secret is not checked yet; a proof is verified.
pub(crate) enum Credential {
    /// A join token.
    Token(JoinToken),
    /// A proof of identity.
    Identity(IdentityId, Box<Identity>),
}

/// A credential as the database knows it.
pub(crate) enum Known {
    /// A join token whose secret is right.
    Token(Token),
    /// An identity that is not forbidden, and the host that came in with it.
    Identity(Option<KnownIdentity>),
}

/// What a host that joins is entered under, which it has no say in.
pub(crate) struct Entry {
    /// The token, or what stands for a rule in its place.
    pub(crate) by: TokenId,
    /// The pool.
    pub(crate) pool: Option<PoolName>,
}

/// Why a credential does not count.
pub(crate) enum Worthless {
    /// The host's own affair.
    Host(Problem),
    /// Ours.
    Ours(StoreError),
}

impl From<StoreError> for Worthless {
    fn from(error: StoreError) -> Self {
        Self::Ours(error)
    }
}

impl fmt::Display for Credential {
    /// What may be logged of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(token) => write!(f, "token {}", token.id),
            Self::Identity(id, identity) => write!(f, "{} proof of {id}", identity.kind),
        }
    }
}

impl Credential {
    /// Reads a join token, or verifies a proof against the keys that the request is for.
    pub(crate) async fn read(
        controller: &Controller,
        request: &EnrollRequest,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let unreadable = |error: String| Problem::new(ProblemKind::BadRequest, error);
        if let Proof::JoinToken { token } = &request.proof {
            let token = token.parse().map_err(|error: picket_pki::TokenError| unreadable(error.to_string()))?;
            return Ok(Self::Token(token));
        }
        let tls = request_key_sha256(&request.csr_pem).map_err(|error| unreadable(error.to_string()))?;
        let (id, identity) = identify(controller, &request.proof, &request.wireguard_key, &tls, now).await?;
        Ok(Self::Identity(id, Box::new(identity)))
    }

    /// What it is called in the audit log.
    pub(crate) fn subject(&self) -> &str {
        match self {
            Self::Token(token) => token.id.as_str(),
            Self::Identity(id, _) => id.as_str(),
        }
    }

    /// Whether the database knows it as good. Changes nothing.
    pub(crate) async fn known(
        &self,
        tx: &mut Transaction,
        request: &EnrollRequest,
        from: IpAddr,
    ) -> Result<Known, Worthless> {
        match self {
            Self::Token(token) => {
                let known = tx.token(&token.id).await?.filter(|known| known.secret_hash == token.secret_hash());
                let known = known
                    .ok_or_else(|| no(ProblemKind::TokenUnknown, "this join token is not known here".to_owned()))?;
                admission::check(&known, request, from).map_err(Worthless::Host)?;
                Ok(Known::Token(known))
            }
            Self::Identity(id, _) => {
                let known = tx.identity(id).await?;
                if known.as_ref().is_some_and(|known| known.forbidden_at.is_some()) {
                    return Err(no(ProblemKind::IdentityForbidden, format!("{id} is forbidden to join this mesh")));
                }
                Ok(Known::Identity(known))
            }
        }
    }

    /// Whether any rule could admit an identity that is not here yet, however many have come: whoever none is meant for learns
    /// nothing of the mesh and leaves nothing in it.
    pub(crate) fn fits(
        &self,
        known: &Known,
        controller: &Controller,
        request: &EnrollRequest,
        now: Timestamp,
    ) -> Result<(), Worthless> {
        match (self, known) {
            (Self::Identity(_, identity), Known::Identity(known))
                if known.as_ref().is_none_or(|k| k.node.is_none()) =>
            {
                let asked = Asked { role: request.role, name: &request.name };
                controller
                    .proofs
                    .admit(identity, asked, &BTreeMap::new(), now)
                    .map(drop)
                    .map_err(|error| denied(&error))
            }
            _ => Ok(()),
        }
    }

    /// Uses it for a host that is not here yet: a token once more, an identity once. What the host is entered under.
    pub(crate) async fn spend(
        &self,
        known: &Known,
        tx: &mut Transaction,
        controller: &Controller,
        request: &EnrollRequest,
        now: Timestamp,
    ) -> Result<Entry, Worthless> {
        match (self, known) {
            (Self::Identity(id, identity), Known::Identity(known)) => {
                if let Some(holder) = known.as_ref().and_then(|known| known.node.as_ref()) {
                    return Err(bound(id, holder));
                }
                // The hook found no host of it, and does not look again.
                if controller.hooks.lines.roles.contains(&request.role)
                    && let Some(at) = tx.going_since(id.as_str()).await?
                {
                    let detail = format!("the cloud of {id} said at {at} that it goes: it does not join any more");
                    return Err(no(ProblemKind::ProofDenied, detail));
                }
                let asked = Asked { role: request.role, name: &request.name };
                let counts = tx.members_by_token().await?;
                let admitted = controller.proofs.admit(identity, asked, &counts, now);
                let Admission { rule, pool } = admitted.map_err(|error| denied(&error))?;
                Ok(Entry { by: rule, pool })
            }
            (_, Known::Token(known)) => {
                admission::is_in_time(known, now).map_err(Worthless::Host)?;
                if !tx.use_token(&known.id).await? {
                    let detail = format!("this join token has been used {} times, as often as it may", known.uses);
                    return Err(no(ProblemKind::TokenUsed, detail));
                }
                Ok(Entry { by: known.id.clone(), pool: known.terms.pool.clone() })
            }
            (Self::Token(_), Known::Identity(_)) => {
                Err(no(ProblemKind::TokenUnknown, "this join token is not known here".to_owned()))
            }
        }
    }

    /// Ties it to the host that came in with it.
    pub(crate) async fn bind(
        &self,
        tx: &mut Transaction,
        node: &NodeId,
        proof: &Proof,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match self {
            Self::Token(_) => Ok(()),
            Self::Identity(id, _) => tx.bind_identity(id, node, proof, now).await,
        }
    }

    /// Writes down that it was shown and refused, where it is an identity that is known. Whether that had not happened for a
    /// while.
    pub(crate) async fn count_refusal(&self, tx: &mut Transaction, now: Timestamp) -> Result<bool, StoreError> {
        let Self::Identity(id, _) = self else { return Ok(false) };
        let last = tx.identity(id).await?.and_then(|known| known.refused_at);
        tx.count_refused_identity(id, now).await?;
        Ok(last.is_none_or(|at| now.since(at) >= QUIET))
    }
}

/// Who a proof says the host with these keys is.
pub(super) async fn identify(
    controller: &Controller,
    proof: &Proof,
    wireguard_key: &WireGuardPublicKey,
    tls_key_sha256: &str,
    now: Timestamp,
) -> Result<(IdentityId, Identity), Problem> {
    let digest = keys_digest(wireguard_key, tls_key_sha256);
    let unnamed = || Problem::new(ProblemKind::BadRequest, "the keys of the request cannot be named");
    let audience = audience(&controller.mesh, &digest.ok_or_else(unnamed)?);
    let identity = controller.proofs.verify(proof, &audience, now).await;
    let identity = identity.map_err(|error| Problem::new(error.kind(), error.to_string()))?;
    let id = identity.id().map_err(|error| Problem::new(ProblemKind::ProofRefused, error.to_string()))?;
    Ok((id, identity))
}

impl Known {
    /// Whether a host may come again under another name: a token's own pattern says which, a proof's rule is not asked again.
    pub(crate) fn may_rename(&self) -> bool {
        matches!(self, Self::Token(_))
    }

    /// How long its hosts are members without being heard, where it says.
    pub(crate) fn lease(&self) -> Option<Duration> {
        match self {
            Self::Token(token) => token.terms.lease,
            Self::Identity(_) => None,
        }
    }

    /// Whether this host came in with it.
    pub(crate) fn let_in(&self, holder: &Enrolled) -> bool {
        match self {
            Self::Token(token) => holder.token == token.id,
            Self::Identity(known) => known.as_ref().and_then(|known| known.node.as_ref()) == Some(&holder.node.id),
        }
    }
}

fn bound(id: &IdentityId, holder: &NodeId) -> Worthless {
    let detail = format!(
        "{id} came in before, as host {holder}: it is good for that host's keys alone, and not once that host was revoked; \
         if the instance lost its keys, revoke that host and `picket identities forget {id}`"
    );
    no(ProblemKind::IdentityBound, detail)
}

fn denied(denied: &Denied) -> Worthless {
    no(ProblemKind::ProofDenied, denied.to_string())
}

fn no(kind: ProblemKind, detail: String) -> Worthless {
    Worthless::Host(Problem::new(kind, detail))
}
