//! Traces: where they are sent, and how a span is told to which one it belongs. Spans are `tracing`'s, all with the target
//! [`SPANS`]; what sends them is in `otlp`, and nowhere where this crate is built without its feature `opentelemetry`.

#[cfg(feature = "opentelemetry")]
mod otlp;
#[cfg(feature = "opentelemetry")]
mod queue;

#[cfg(feature = "opentelemetry")]
pub(crate) use otlp::{Sender, WithTrace, sender};

use crate::metrics::{Counters, Metrics};
use axum::http::{Uri, uri::Scheme};
use std::{fmt, str::FromStr, sync::LazyLock};
use thiserror::Error;
use tracing::Span;

/// Target of every span of ours. Logs do not have them: they are for traces alone.
pub const SPANS: &str = "picket_spans";
/// Header by which a span is told to another program (W3C Trace Context).
pub const HEADER: &str = "traceparent";

/// Spans by what became of them. As global as the subscriber that counts them.
static COUNTED: LazyLock<Counters> = LazyLock::new(Counters::default);

/// Why no traces can be sent.
#[derive(Debug, Error)]
pub enum TracesError {
    /// The program was built without.
    #[error(
        "traces are to go to {0}, and this program was built without OpenTelemetry (the feature `opentelemetry`): take \
         that out of its configuration, or a program that has it"
    )]
    NotBuilt(Collector),
    /// What sends them cannot be set up.
    #[error("set up traces to {collector}: {reason}")]
    SetUp {
        /// Where they were to go.
        collector: Collector,
        /// Why.
        reason: String,
    },
}

/// A collector of OpenTelemetry: the URL at which it takes OTLP over HTTP, without the path of traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector(String);

impl Collector {
    /// Whether this program can send anything there, before it is asked to.
    ///
    /// # Errors
    /// That it was built without.
    pub fn check(&self) -> Result<(), TracesError> {
        if cfg!(feature = "opentelemetry") { Ok(()) } else { Err(TracesError::NotBuilt(self.clone())) }
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Collector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |what: &str| {
            format!("{text:?} is no collector's URL: {what}; write it like http://127.0.0.1:4318, without /v1/traces")
        };
        let url: Uri = text.parse().map_err(|error| refused(&format!("{error}")))?;
        let (scheme, authority) =
            url.scheme().zip(url.authority()).ok_or_else(|| refused("it has no scheme or host"))?;
        if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
            return Err(refused("it is neither http nor https"));
        }
        // It is shown, in logs and by `check`. What a collector wants to know goes into OTEL_EXPORTER_OTLP_HEADERS.
        if authority.as_str().contains('@') || url.query().is_some() {
            return Err(refused("it has a user, a password or a query"));
        }
        let path = url.path().trim_end_matches('/');
        if path.ends_with("/v1/traces") {
            return Err(refused("it has the path of traces"));
        }
        Ok(Self(format!("{scheme}://{authority}{path}")))
    }
}

impl TryFrom<String> for Collector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl<'de> serde::Deserialize<'de> for Collector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A span by its ids, as the header [`HEADER`] has it. Nothing but ids is taken from one: whether a span is kept is nobody else's
/// to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(String);

impl TraceParent {
    /// The span at work; `None` outside of spans, and wherever traces are not sent.
    pub fn current() -> Option<Self> {
        #[cfg(feature = "opentelemetry")]
        return otlp::current().map(|(trace, span)| Self(format!("00-{trace}-{span}-01")));
        #[cfg(not(feature = "opentelemetry"))]
        None
    }

    /// Reads the header of version 00, all that there is by now: `00-TRACE-SPAN-FLAGS` in lower-case hexadecimal.
    pub fn read(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let is_hex = |part: &str, digits| {
            part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        let is_id = |part: &str, digits| is_hex(part, digits) && part.bytes().any(|byte| byte != b'0');
        match parts[..] {
            ["00", trace, span, flags] if is_id(trace, 32) && is_id(span, 16) && is_hex(flags, 2) => {
                Some(Self(text.to_owned()))
            }
            _ => None,
        }
    }

    /// The header's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Ids of the trace and of the span in it.
    #[cfg(feature = "opentelemetry")]
    fn ids(&self) -> Option<(&str, &str)> {
        Some((self.0.get(3..35)?, self.0.get(36..52)?))
    }
}

/// A number as attributes of spans have it: `tracing` knows more kinds of numbers than OpenTelemetry does.
pub fn number(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// Makes `span`, which nobody has entered yet, a child of one elsewhere or before, if there is one.
pub fn follow(span: &Span, parent: Option<&TraceParent>) {
    #[cfg(feature = "opentelemetry")]
    if let Some((trace, parent)) = parent.and_then(TraceParent::ids) {
        otlp::follow(span, trace, parent);
    }
    #[cfg(not(feature = "opentelemetry"))]
    let _ = (span, parent);
}

/// Calls a span otherwise than it was begun: what it is of may be known at its end alone, and a field that is written then names nothing.
pub fn rename(span: &Span, name: impl FnOnce() -> String) {
    #[cfg(feature = "opentelemetry")]
    if !span.is_disabled() {
        otlp::rename(span, name());
    }
    #[cfg(not(feature = "opentelemetry"))]
    let _ = (span, name);
}

/// Registers the count of spans, as each program that runs does.
pub fn register(metrics: &mut Metrics) {
    let help = "Spans for traces: sent to the collector, failed to be sent, or dropped because too many waited";
    metrics.labelled("trace_spans", help, &[("outcome", "3")], COUNTED.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_url_without_secrets_or_the_path_of_traces() {
        let check = |text: &str, expect: &str| match text.parse::<Collector>() {
            Ok(collector) => assert_eq!(collector.to_string(), expect),
            Err(error) => assert!(!expect.is_empty() && error.contains(expect), "{text}: {error}"),
        };
        check("http://127.0.0.1:4318", "http://127.0.0.1:4318");
        check("https://collector.example/otlp/", "https://collector.example/otlp");
        check("http://[2001:db8::1]:4318/", "http://[2001:db8::1]:4318");
        check("127.0.0.1:4318", "no scheme");
        check("grpc://127.0.0.1:4317", "neither http nor https");
        check("https://me:secret@collector.example", "a user, a password");
        check("https://collector.example/?key=secret", "or a query");
        check("http://127.0.0.1:4318/v1/traces", "the path of traces");
        check("", "is no collector's URL");
    }

    #[test]
    fn of_a_header_only_well_formed_ids_are_read() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceParent::read(good).unwrap().as_str(), good);
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é-1",
        ] {
            assert_eq!(TraceParent::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn outside_of_traces_there_is_no_parent() {
        assert_eq!(TraceParent::current(), None);
        follow(&Span::current(), TraceParent::read("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").as_ref());
    }

    #[test]
    fn a_program_built_without_says_so() {
        let checked = "http://127.0.0.1:4318".parse::<Collector>().unwrap().check().map_err(|error| error.to_string());
        let without = "traces are to go to http://127.0.0.1:4318, and this program was built without OpenTelemetry";
        assert_eq!(checked.is_ok(), cfg!(feature = "opentelemetry"));
        assert!(checked.err().is_none_or(|error| error.starts_with(without)));
    }
}
