//! Which idempotency key the request that is answered now bears: the transaction that writes what the request asks for marks the
//! key as carried out, so that after a crash nobody can do it again. A request without a key has no claim.

use picket_model::TokenId;

tokio::task_local! {
    static CLAIM: Claim;
}

/// An operator's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Whose.
    pub(crate) operator: TokenId,
    /// The key.
    pub(crate) key: String,
}

impl Claim {
    /// That of the request which is answered now.
    pub(crate) fn current() -> Option<Self> {
        CLAIM.try_with(Clone::clone).ok()
    }

    /// Answers a request under this claim.
    pub(crate) async fn scope<T>(self, answering: impl Future<Output = T>) -> T {
        CLAIM.scope(self, answering).await
    }
}
