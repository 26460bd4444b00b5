//! How much of somebody else's text stands in an error or a reason, one length for every parser and client; and which of an error's
//! causes.

use std::error::Error;

/// Characters that are kept.
pub(crate) const LONGEST_QUOTE: usize = 120;

/// The beginning of a text.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_QUOTE).collect()
}

/// The innermost cause: the outer layers only say that a request was sent, and where to.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The beginning of a body that may be no text.
pub(crate) fn start(body: &[u8]) -> String {
    // A character has at most four bytes.
    shortened(&String::from_utf8_lossy(&body[..body.len().min(4 * LONGEST_QUOTE)]))
}
