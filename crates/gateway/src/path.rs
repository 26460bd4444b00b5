//! Which requests pass, and as what. What is admitted is a value, from which the request to the node is written anew: no byte of
//! the caller's target gets there. Pure.

use crate::Outcome;
use hyper::{HeaderMap, Method, Uri, Version, header};
use std::collections::BTreeSet;

/// Longest name of a channel; goloop's own are shorter by far.
const LONGEST_CHANNEL: usize = 64;

/// What of a node's HTTP passes, beside `/api/v3`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Streams over WebSocket, by the last part of their path. Only what goloop has is ever let through.
    pub streams: BTreeSet<Stream>,
    /// Whether `/api/v3d` does.
    pub debug: bool,
}

/// What goloop streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// `/api/v3/<channel>/block`.
    Block,
    /// `/api/v3/<channel>/event`.
    Event,
}

/// A request that passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// JSON-RPC, by POST.
    Call {
        /// Of debugging.
        debug: bool,
        /// Name of the chain; the node's default where there is none.
        channel: Option<String>,
    },
    /// A stream, by GET and an upgrade to WebSocket.
    Stream {
        /// Name of the chain.
        channel: String,
        /// What is streamed.
        stream: Stream,
    },
}

impl Admitted {
    /// The target at the node.
    pub fn target(&self) -> String {
        match self {
            Self::Call { debug, channel } => {
                let base = if *debug { "/api/v3d" } else { "/api/v3" };
                channel.as_ref().map_or_else(|| base.to_owned(), |channel| format!("{base}/{channel}"))
            }
            Self::Stream { channel, stream: Stream::Block } => format!("/api/v3/{channel}/block"),
            Self::Stream { channel, stream: Stream::Event } => format!("/api/v3/{channel}/event"),
        }
    }
}

/// Whether a request passes, by its first line and its headers.
///
/// # Errors
/// Why it does not.
pub fn admit(
    rules: &Rules,
    method: &Method,
    target: &Uri,
    version: Version,
    headers: &HeaderMap,
) -> Result<Admitted, Outcome> {
    // A target in another form than `/path` names a host of its own, or none.
    if target.scheme().is_some() || target.authority().is_some() || version < Version::HTTP_10 {
        return Err(Outcome::RefusedHead);
    }
    let hosts = headers.get_all(header::HOST).iter().count();
    if hosts > 1 || hosts == 0 && version == Version::HTTP_11 {
        return Err(Outcome::RefusedHead);
    }
    let admitted = understood(rules, target)?;
    let wants_upgrade = headers.contains_key(header::UPGRADE);
    match &admitted {
        Admitted::Call { .. } if method != Method::POST => Err(Outcome::RefusedMethod),
        Admitted::Stream { .. } if method != Method::GET => Err(Outcome::RefusedMethod),
        // Also h2c, by which a caller would talk past us.
        Admitted::Call { .. } if wants_upgrade => Err(Outcome::RefusedHead),
        Admitted::Stream { .. } if !is_websocket(headers) => Err(Outcome::RefusedHead),
        _ => Ok(admitted),
    }
}

/// The path, in plain letters and nothing else: what is encoded, doubled, dotted or has a query is no path of goloop's that passes.
fn understood(rules: &Rules, target: &Uri) -> Result<Admitted, Outcome> {
    const NO: Outcome = Outcome::RefusedPath;
    if target.query().is_some() {
        return Err(NO);
    }
    let (debug, rest) = match target.path().strip_prefix("/api/v3").ok_or(NO)? {
        rest if rest.starts_with('d') => (true, rest.strip_prefix('d').unwrap_or_default()),
        rest => (false, rest),
    };
    if debug && !rules.debug {
        return Err(NO);
    }
    // goloop takes the base with a slash at its end as well.
    let Some(rest) = rest.strip_prefix('/').filter(|rest| !rest.is_empty()) else {
        return if matches!(rest, "" | "/") { Ok(Admitted::Call { debug, channel: None }) } else { Err(NO) };
    };
    let mut parts = rest.split('/');
    let channel = parts.next().filter(|name| is_channel(name)).ok_or(NO)?.to_owned();
    let admitted = match (parts.next(), debug) {
        (None, debug) => Admitted::Call { debug, channel: Some(channel) },
        (Some("block"), false) => Admitted::Stream { channel, stream: Stream::Block },
        (Some("event"), false) => Admitted::Stream { channel, stream: Stream::Event },
        _ => return Err(NO),
    };
    let is_chosen = match &admitted {
        Admitted::Stream { stream, .. } => rules.streams.contains(stream),
        Admitted::Call { .. } => true,
    };
    if parts.next().is_some() || !is_chosen { Err(NO) } else { Ok(admitted) }
}

fn is_channel(name: &str) -> bool {
    (1..=LONGEST_CHANNEL).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// A request for a WebSocket, RFC 6455 section 4.1, and nothing beside it.
fn is_websocket(headers: &HeaderMap) -> bool {
    let only = |name: header::HeaderName| {
        let mut values = headers.get_all(name).iter();
        let first = values.next().and_then(|value| value.to_str().ok());
        first.filter(|_| values.next().is_none())
    };
    let is = |name, wanted: &str| only(name).is_some_and(|value| value.trim().eq_ignore_ascii_case(wanted));
    let words = only(header::CONNECTION).unwrap_or_default().split(',').map(str::trim);
    let upgrades = words.into_iter().any(|word| word.eq_ignore_ascii_case("upgrade"));
    // 16 bytes in base64.
    let has_key = only(header::SEC_WEBSOCKET_KEY).is_some_and(|key| key.len() == 24);
    let has_body = headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING);
    is(header::UPGRADE, "websocket") && is(header::SEC_WEBSOCKET_VERSION, "13") && upgrades && has_key && !has_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    fn rules() -> Rules {
        Rules { streams: [Stream::Block].into(), debug: false }
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    const HOST: (&str, &str) = ("host", "sentry");
    const SOCKET: [(&str, &str); 5] = [
        HOST,
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn said(rules: &Rules, method: &Method, target: &str, lines: &[(&'static str, &'static str)]) -> String {
        let Ok(target) = target.parse() else { return "no target".to_owned() };
        match admit(rules, method, &target, Version::HTTP_11, &headers(lines)) {
            Ok(admitted) => admitted.target(),
            Err(outcome) => outcome.as_str().to_owned(),
        }
    }

    #[test]
    fn calls_pass_on_the_paths_of_json_rpc_alone() {
        for (target, expect) in [
            ("/api/v3", "/api/v3"),
            ("/api/v3/", "/api/v3"),
            ("/api/v3/icon_dex", "/api/v3/icon_dex"),
            ("/api/v3/0x1-a_B", "/api/v3/0x1-a_B"),
            ("/api/v3d", "refused_path"),
            ("/api/v3d/icon_dex", "refused_path"),
            ("/api/v3x", "refused_path"),
            ("/api/v1", "refused_path"),
            ("/API/v3", "refused_path"),
            ("/api/v3?x=1", "refused_path"),
            ("/api/v3/?", "refused_path"),
            ("/api/v3//", "refused_path"),
            ("//api/v3", "refused_path"),
            ("/api//v3", "refused_path"),
            ("/api/v3/..", "refused_path"),
            ("/api/v3/../../admin/chain", "refused_path"),
            ("/api/v3/.", "refused_path"),
            ("/api/v3/icon_dex/", "refused_path"),
            ("/api/v3/icon_dex/x", "refused_path"),
            ("/api/v3/icon_dex/block/x", "refused_path"),
            ("/api/v3/icon_dex/event", "refused_path"),
            ("/api/v3/%2e%2e/admin", "refused_path"),
            ("/api/v3%2f..%2fadmin", "refused_path"),
            ("/api/v3/icon%5fdex", "refused_path"),
            ("/api/v3/icon_dex;x", "refused_path"),
            ("/api/v3\\..\\admin", "refused_path"),
            ("/admin", "refused_path"),
            ("/admin/chain", "refused_path"),
            ("/metrics", "refused_path"),
            ("/", "refused_path"),
            ("*", "refused_path"),
            ("http://node/api/v3", "refused_head"),
            ("node:9000", "refused_head"),
        ] {
            let found = said(&rules(), &Method::POST, target, &[HOST]);
            assert!(found == expect || found == "no target", "{target}: {found}");
        }
        let debug = Rules { debug: true, ..rules() };
        assert_eq!(said(&debug, &Method::POST, "/api/v3d/icon_dex", &[HOST]), "/api/v3d/icon_dex");
        assert_eq!(said(&debug, &Method::GET, "/api/v3d/icon_dex/block", &SOCKET), "refused_path");
        assert_eq!(said(&rules(), &Method::POST, &format!("/api/v3/{}", "a".repeat(65)), &[HOST]), "refused_path");
    }

    #[test]
    fn streams_pass_where_they_are_chosen_and_upgrades_nowhere_else() {
        let block = "/api/v3/icon_dex/block";
        assert_eq!(said(&rules(), &Method::GET, block, &SOCKET), block);
        assert_eq!(said(&Rules::default(), &Method::GET, block, &SOCKET), "refused_path");
        assert_eq!(said(&rules(), &Method::GET, "/api/v3/icon_dex/event", &SOCKET), "refused_path");
        assert_eq!(said(&rules(), &Method::POST, block, &SOCKET), "refused_method");
        assert_eq!(said(&rules(), &Method::GET, block, &[HOST]), "refused_head");
        for without in &SOCKET[1..] {
            let lines: Vec<_> = SOCKET.iter().copied().filter(|line| line != without).collect();
            assert_eq!(said(&rules(), &Method::GET, block, &lines), "refused_head", "{without:?}");
        }
        for more in [("content-length", "0"), ("transfer-encoding", "chunked")] {
            assert_eq!(said(&rules(), &Method::GET, block, &[&SOCKET[..], &[more]].concat()), "refused_head");
        }
        let h2c = [HOST, ("upgrade", "h2c"), ("connection", "upgrade")];
        assert_eq!(said(&rules(), &Method::POST, "/api/v3", &h2c), "refused_head");
        assert_eq!(said(&rules(), &Method::GET, block, &h2c), "refused_head");
    }

    #[test]
    fn a_request_has_one_host_and_a_method_that_goes_with_its_path() {
        assert_eq!(said(&rules(), &Method::POST, "/api/v3", &[]), "refused_head");
        // A fragment is not sent by who keeps to RFC 9112, section 3.2; it gets no further.
        assert_eq!(said(&rules(), &Method::POST, "/api/v3#x", &[HOST]), "/api/v3");
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS, Method::HEAD, Method::TRACE] {
            assert_eq!(said(&rules(), &method, "/api/v3", &[HOST]), "refused_method");
        }
        let mut two = headers(&[HOST]);
        two.append(header::HOST, HeaderValue::from_static("other"));
        let target = "/api/v3".parse().unwrap();
        let found = admit(&rules(), &Method::POST, &target, Version::HTTP_11, &two);
        assert_eq!(found, Err(Outcome::RefusedHead));
    }

    proptest! {
        /// Whatever stands in a target, what gets to the node is one of few shapes.
        #[test]
        fn what_passes_is_of_a_known_shape(target in "/(api|admin|metrics|%61pi|\\.\\.|)?/?(v3|v3d|%763|\\.)?(/|//|%2f|\\\\)?[a-z_.%/;?#0-9-]{0,12}(/block|/event|/\\.\\./admin)?", get: bool) {
            let method = if get { Method::GET } else { Method::POST };
            let all = Rules { streams: [Stream::Block, Stream::Event].into(), debug: true };
            let lines = if get { &SOCKET[..] } else { &SOCKET[..1] };
            let found = said(&all, &method, &target, lines);
            if found.starts_with('/') {
                let rest = found.strip_prefix("/api/v3").unwrap();
                let rest = rest.strip_prefix('d').unwrap_or(rest);
                prop_assert!(rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-')));
                prop_assert!(!found.contains("//") && rest.matches('/').count() <= 2);
                // And it is what the caller asked for, but for a slash at the end, and for a fragment, which is no part of it.
                let asked = target.split('#').next().unwrap_or_default();
                prop_assert_eq!(found.as_str(), asked.strip_suffix('/').unwrap_or(asked));
            }
        }
    }
}
