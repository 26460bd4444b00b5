//! Where somebody wanted to go before they had to log in: a page of ours and nothing else, whatever a link says. Values only.

use axum::http::Uri;
use serde::{Deserialize, Deserializer};

/// Longest path that is kept, in bytes.
const LONGEST: usize = 512;

/// A path of this page, as it may stand in a header, a cookie and an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted(String);

impl Default for Wanted {
    fn default() -> Self {
        Self("/".to_owned())
    }
}

impl Wanted {
    /// The page that was asked for.
    pub(super) fn of(uri: &Uri) -> Self {
        Self::parse(uri.path_and_query().map_or("/", |path| path.as_str()))
    }

    /// What a link or a form says; the overview where that is no page of ours, as `//elsewhere` is none.
    pub(super) fn parse(text: &str) -> Self {
        let is_ours = text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/login");
        let is_plain = |byte: u8| {
            byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'"' | b'\'' | b'<' | b'>' | b';' | b',' | b'#')
        };
        if is_ours && text.len() <= LONGEST && text.bytes().all(is_plain) {
            Self(text.to_owned())
        } else {
            Self::default()
        }
    }

    /// The path.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// This way of logging in, so that it leads there.
    pub(super) fn by(&self, login: &str) -> String {
        if *self == Self::default() {
            return login.to_owned();
        }
        let encoded = self.0.replace('%', "%25").replace('&', "%26").replace('+', "%2B");
        format!("{login}?to={encoded}")
    }
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::parse(&text))
    }
}

/// What a login is asked with.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    /// Where to go then.
    #[serde(default)]
    pub(super) to: Wanted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_a_page_of_ours_or_to_the_overview() {
        for good in ["/", "/hosts/prep-1", "/why?address=198.51.100.11&port=7100", "/events?before=%201"] {
            assert_eq!(Wanted::parse(good).as_str(), good);
        }
        for bad in [
            "",
            "hosts",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/a b",
            "/a;b",
            "/a\r\nx: y",
            "/login",
            "/ü",
            "/\"x",
        ] {
            assert_eq!(Wanted::parse(bad), Wanted::default(), "{bad}");
        }
        assert_eq!(Wanted::parse(&format!("/{}", "a".repeat(600))), Wanted::default());
    }

    #[test]
    fn the_login_that_leads_somewhere_says_so() {
        assert_eq!(Wanted::parse("/").by("/login"), "/login");
        assert_eq!(Wanted::parse("/why?a=1&b=%20").by("/login"), "/login?to=/why?a=1%26b=%2520");
    }
}
