//! What is served beside the pages: one style sheet, one script, one sign. Nothing comes from elsewhere. A path bears a digest of the
//! content, so that a browser may keep what it has for ever.

use maud::{Markup, PreEscaped};

/// The style sheet.
pub const STYLE: Asset =
    Asset { name: "/style.css", media: "text/css; charset=utf-8", content: include_str!("assets/style.css") };
/// The script: keeps what is shown up to date. Every page works without it.
pub const SCRIPT: Asset =
    Asset { name: "/page.js", media: "text/javascript; charset=utf-8", content: include_str!("assets/page.js") };
/// The sign in a browser's tab.
pub const ICON: Asset = Asset { name: "/icon.svg", media: "image/svg+xml", content: include_str!("assets/icon.svg") };

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its path, without the digest.
    pub name: &'static str,
    /// Its media type.
    pub media: &'static str,
    /// What it is.
    pub content: &'static str,
}

impl Asset {
    /// Its path, with the digest.
    pub fn path(&self) -> String {
        format!("{}?{:016x}", self.name, fnv(self.content.as_bytes()))
    }
}

/// The sign beside a heading. Our own text, so it needs no escaping.
pub(crate) fn mark() -> Markup {
    PreEscaped(include_str!("assets/mark.svg").trim().to_owned())
}

/// FNV-1a, of 64 bits: tells versions of our own files apart, and is no protection.
fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for asset in [STYLE, SCRIPT, ICON] {
            let text = asset.content.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("//") || asset.name.ends_with(".js"), "{}", asset.name);
            assert!(
                !["http:", "https:", "url(", "@import", "eval(", "innerHTML"].iter().any(|word| text.contains(word)),
                "{}",
                asset.name
            );
        }
        assert_ne!(STYLE.path(), SCRIPT.path());
    }
}
