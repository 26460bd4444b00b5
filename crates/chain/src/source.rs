//! A source of the validator list that the operator names: its URL and the short name it goes by. Nothing is sent here.

use crate::fixed::{Checksum, ChecksumError};
use picket_model::{IdError, SourceId};
use reqwest::Url;
use std::{fmt, net::IpAddr};
use thiserror::Error;

/// Path of goloop's JSON-RPC on the default channel (goloop `server/server.go`).
const DEFAULT_PATH: &str = "/api/v3";

/// Why a URL is not a source.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SourceError {
    /// Not a URL.
    #[error("{text:?} is not a URL: {reason}")]
    Url {
        /// The text.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// Neither http nor https nor a file.
    #[error("{text:?} begins with neither http:// nor https:// nor file:///")]
    Scheme {
        /// The text.
        text: String,
    },
    /// User name or password in the URL; the text is not repeated for that reason.
    #[error("the URL of chain endpoint {host} has a user name or password in it, which is not supported")]
    Credentials {
        /// Host of the URL.
        host: String,
    },
    /// What stands after `#` of a list's URL.
    #[error("{text:?}: after # comes sha256=CHECKSUM and nothing else: {reason}")]
    Checksum {
        /// The text.
        text: String,
        /// What is wrong.
        reason: ChecksumError,
    },
    /// The host makes no id, such as one of more than 80 characters.
    #[error("the host of {text:?} makes no source id: {reason}")]
    Id {
        /// The text.
        text: String,
        /// What is wrong with the id.
        reason: IdError,
    },
}

/// What answers at a source's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceKind {
    /// JSON-RPC of a chain node.
    Rpc,
    /// A list written by hand ([`fixed`](crate::fixed)): a file, or a document on the web, which must have a checksum.
    List(Option<Checksum>),
}

/// One source of the validator list.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    id: SourceId,
    url: Url,
    kind: SourceKind,
}

impl Source {
    /// From the URL of a JSON-RPC endpoint (one without a path gets `/api/v3`), or of a list: `file:///PATH`, with
    /// `#sha256=CHECKSUM` if it shall not change unseen, or `https://.../list.json#sha256=CHECKSUM`.
    ///
    /// The id is the host, then `-` and the port where it is not the scheme's own; characters an id cannot have become
    /// `-`. Two URLs of one host and port have the same id on purpose: they are one witness, not two.
    ///
    /// # Errors
    /// A [`SourceError`] where the text is no http or https URL, or holds credentials.
    pub fn new(text: &str) -> Result<Self, SourceError> {
        let mut url = Url::parse(text)
            .map_err(|reason| SourceError::Url { text: text.to_owned(), reason: reason.to_string() })?;
        let host = url.host_str().unwrap_or_default().to_owned();
        if !matches!(url.scheme(), "http" | "https" | "file") {
            return Err(SourceError::Scheme { text: text.to_owned() });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(SourceError::Credentials { host });
        }
        let checksum = url.fragment().map(|fragment| fragment.strip_prefix("sha256=").unwrap_or_default().parse());
        let checksum =
            checksum.transpose().map_err(|reason| SourceError::Checksum { text: text.to_owned(), reason })?;
        url.set_fragment(None);
        let kind = match (url.scheme(), checksum) {
            ("file", checksum) => SourceKind::List(checksum),
            (_, Some(checksum)) => SourceKind::List(Some(checksum)),
            (_, None) => SourceKind::Rpc,
        };
        if kind == SourceKind::Rpc && url.path() == "/" {
            url.set_path(DEFAULT_PATH);
        }
        let name = if url.scheme() == "file" { format!("file{}", url.path()) } else { host };
        let id =
            id_text(&name, url.port()).parse().map_err(|reason| SourceError::Id { text: text.to_owned(), reason })?;
        Ok(Self { id, url, kind })
    }

    /// Its short name.
    pub fn id(&self) -> &SourceId {
        &self.id
    }

    /// Where to ask. May hold an access key in its path or query: print [`Source::host`] instead.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What answers there.
    pub fn kind(&self) -> SourceKind {
        self.kind
    }

    /// Host, and port where it is not the scheme's own; a file's path.
    pub fn host(&self) -> String {
        if self.url.scheme() == "file" {
            return self.url.path().to_owned();
        }
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Whether the endpoint is asked over TLS.
    pub fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }
}

impl fmt::Debug for Source {
    /// Without path and query, which may hold an access key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({} at {}://{})", self.id, self.url.scheme(), self.host())
    }
}

fn id_text(host: &str, port: Option<u16>) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let name = match bare.parse() {
        // All eight groups: `::1` would begin with a character no id begins with.
        Ok(IpAddr::V6(address)) => address.segments().map(|group| format!("{group:x}")).join("-"),
        _ => bare.to_ascii_lowercase(),
    };
    let mapped = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' });
    mapped.chain(port.into_iter().flat_map(|port| format!("-{port}").into_bytes()).map(char::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, id: &str, asked: &str) {
        let source = Source::new(url).unwrap();
        assert_eq!((source.id().as_str(), source.url().as_str()), (id, asked));
    }

    #[test]
    fn a_url_gives_an_id_and_where_to_ask() {
        check("https://ctz.solidwallet.io/api/v3", "ctz.solidwallet.io", "https://ctz.solidwallet.io/api/v3");
        check("https://ctz.solidwallet.io", "ctz.solidwallet.io", "https://ctz.solidwallet.io/api/v3");
        check("https://Example.COM:443/", "example.com", "https://example.com/api/v3");
        check("http://192.0.2.7:9000/api/v3/icon_dex", "192.0.2.7-9000", "http://192.0.2.7:9000/api/v3/icon_dex");
        check("http://my_node.example:80", "my-node.example", "http://my_node.example/api/v3");
        check("http://[::1]:9000", "0-0-0-0-0-0-0-1-9000", "http://[::1]:9000/api/v3");
        check("http://[2001:db8::a]/", "2001-db8-0-0-0-0-0-a", "http://[2001:db8::a]/api/v3");
        check("https://node.example./", "node.example", "https://node.example./api/v3");
    }

    #[test]
    fn a_file_or_a_checksum_makes_a_list() {
        let sum = "ab".repeat(32);
        let kind = |url: &str| Source::new(url).unwrap().kind();
        let listed = SourceKind::List(Some(sum.parse().unwrap()));
        assert_eq!(kind("https://rpc.example/api/v3"), SourceKind::Rpc);
        assert_eq!(kind("file:///etc/picket/validators.json"), SourceKind::List(None));
        assert_eq!(kind(&format!("file:///etc/picket/validators.json#sha256={sum}")), listed);
        assert_eq!(kind(&format!("https://lists.example/v.json#sha256={sum}")), listed);
        check("file:///etc/Picket/v.json", "file-etc-picket-v.json", "file:///etc/Picket/v.json");
        check(&format!("https://lists.example/#sha256={sum}"), "lists.example", "https://lists.example/");
        for bad in ["https://lists.example/v.json#x", "file:///v.json#sha256=12", "https://lists.example/v.json#md5=00"]
        {
            assert!(Source::new(bad).unwrap_err().to_string().contains("after # comes sha256="), "{bad}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_a_reason() {
        let reason = |url: &str| Source::new(url).unwrap_err().to_string();
        assert_eq!(reason("ctz.solidwallet.io"), r#""ctz.solidwallet.io" is not a URL: relative URL without a base"#);
        assert_eq!(
            reason("ftp://example.com"),
            r#""ftp://example.com" begins with neither http:// nor https:// nor file:///"#
        );
        assert!(reason(&format!("http://{}.example", "a".repeat(80))).contains("makes no source id"));
        let credentials = reason("https://operator:hunter2@example.com");
        assert!(credentials.contains("example.com") && !credentials.contains("hunter2"), "{credentials}");
    }

    #[test]
    fn an_access_key_in_the_path_is_not_printed() {
        let source = Source::new("https://rpc.example/key-9f2c/api/v3").unwrap();
        assert!(!format!("{source:?}").contains("9f2c"));
    }
}
