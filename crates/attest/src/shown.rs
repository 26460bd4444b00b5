//! Text of strangers on its way into a message: shortened and escaped.

/// Characters of a stranger's text that are kept: enough for an audience of ours.
const LONGEST: usize = 160;

/// The text in quotes, shortened.
pub(crate) fn shown(text: &str) -> String {
    let kept: String = text.chars().take(LONGEST).collect();
    let more = if kept.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", kept.escape_debug())
}
