//! Text of strangers on its way into a message: shortened and escaped.

/// Characters of a stranger's text that are kept.
const LONGEST: usize = 80;

/// The text in quotes, at most 80 characters of it.
pub(crate) fn shown(text: &str) -> String {
    let kept: String = text.chars().take(LONGEST).collect();
    let more = if kept.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", kept.escape_debug())
}
