//! Which idempotency key the request that is answered now bears: the transaction that writes what the request asks for marks the
//! key as carried out, so that after a crash nobody can do it again. A request without a key has no claim.

use picket_model::TokenId;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

tokio::task_local! {
    static CLAIM: Claim;
}

/// An operator's key.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// Whose.
    pub(crate) operator: TokenId,
    /// The key.
    pub(crate) key: String,
    /// Digest of the request.
    pub(crate) asked: String,
    /// Whether this request has marked it: of two that are answered by two controllers at once, one has.
    marked: Arc<AtomicBool>,
}

impl Claim {
    /// A key that nobody has carried out as far as is known.
    pub(crate) fn new(operator: TokenId, key: String, asked: String) -> Self {
        Self { operator, key, asked, marked: Arc::default() }
    }

    /// Whether this request has marked the key.
    pub(crate) fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Relaxed)
    }

    /// This request has marked the key.
    pub(crate) fn mark(&self) {
        self.marked.store(true, Ordering::Relaxed);
    }

    /// That of the request which is answered now.
    pub(crate) fn current() -> Option<Self> {
        CLAIM.try_with(Clone::clone).ok()
    }

    /// Answers a request under this claim.
    pub(crate) async fn scope<T>(self, answering: impl Future<Output = T>) -> T {
        CLAIM.scope(self, answering).await
    }
}
