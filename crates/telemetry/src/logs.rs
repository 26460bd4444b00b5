//! Logs: one line an event on stderr, as text or JSON, chosen by the environment. stdout is left to the program. Spans are in no
//! line: they are for traces.

#[cfg(feature = "opentelemetry")]
use crate::traces;
use crate::traces::{Collector, SPANS, TracesError};
use std::io::IsTerminal as _;
use thiserror::Error;
use tracing_subscriber::EnvFilter;

/// Variable with the filter, e.g. `info` or `warn,picket_agent=debug`; what is meant for operators where unset or empty.
pub const FILTER_VARIABLE: &str = "PICKET_LOG";
/// Variable with the format: `text`, which is the default, or `json`.
pub const FORMAT_VARIABLE: &str = "PICKET_LOG_FORMAT";

/// The WireGuard library calls a handshake that was not answered an error, each time.
const DEFAULT_FILTER: &str = "boringtun=off,info";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Logs cannot be set up.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error(
        "{FILTER_VARIABLE}={text:?}: {reason}; write a level (off, error, warn, info, debug, trace) or target=level, separated by commas"
    )]
    Filter {
        /// The filter as given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The format is not known.
    #[error("{FORMAT_VARIABLE}={0:?} is not a log format: text or json")]
    Format(String),
    /// Traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// `init` was called before.
    #[error("set up logs: this program has done so already")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// To be kept until the program ends: dropped, it sends the last spans where traces are on, and waits two seconds for that at most.
#[derive(Debug)]
#[must_use]
pub struct Telling {
    #[cfg(feature = "opentelemetry")]
    _spans: Option<traces::Sender>,
}

/// Starts logging as the environment says, and traces where there is a collector for them; logs the program's name and version.
/// Call once, first thing in `main` and outside of a runtime.
pub fn init(program: &str, version: &str, collector: Option<&Collector>) -> Result<Telling, LogError> {
    let options = Options::read(|name| std::env::var(name).ok(), std::io::stderr().is_terminal())?;
    let telling = match collector {
        None => without_traces(options)?,
        Some(collector) => with_traces(options, program, version, collector)?,
    };
    tracing::info!(target: "picket", program, version, "started");
    Ok(telling)
}

fn without_traces(options: Options) -> Result<Telling, LogError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(options.filter)
        .with_writer(std::io::stderr)
        .with_ansi(options.colours)
        // It would report a closed stderr by a panic.
        .log_internal_errors(false);
    match options.format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(LogError::Twice)?;
    Ok(Telling {
        #[cfg(feature = "opentelemetry")]
        _spans: None,
    })
}

#[cfg(not(feature = "opentelemetry"))]
fn with_traces(_: Options, _: &str, _: &str, collector: &Collector) -> Result<Telling, LogError> {
    Err(TracesError::NotBuilt(collector.clone()).into())
}

/// The same lines, of which those of JSON say to which trace they belong.
#[cfg(feature = "opentelemetry")]
fn with_traces(options: Options, program: &str, version: &str, collector: &Collector) -> Result<Telling, LogError> {
    use tracing_subscriber::{Layer as _, fmt, layer::SubscriberExt as _, registry, util::SubscriberInitExt as _};
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(options.colours).log_internal_errors(false);
    let lines = match options.format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).map_event_format(traces::WithTrace).boxed(),
    };
    let (sender, spans) = traces::sender(program, version, collector)?;
    let all = registry().with(lines.with_filter(options.filter)).with(spans);
    all.try_init().map_err(|error| LogError::Twice(error.into()))?;
    Ok(Telling { _spans: Some(sender) })
}

#[derive(Debug)]
struct Options {
    filter: EnvFilter,
    format: Format,
    colours: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

impl Options {
    fn read(variable: impl Fn(&str) -> Option<String>, terminal: bool) -> Result<Self, LogError> {
        let given = |name| variable(name).filter(|text| !text.is_empty());
        let format = match given(FORMAT_VARIABLE).as_deref() {
            None | Some("text") => Format::Text,
            Some("json") => Format::Json,
            Some(other) => return Err(LogError::Format(other.to_owned())),
        };
        let filter = parse_filter(&given(FILTER_VARIABLE).unwrap_or_else(|| DEFAULT_FILTER.to_owned()))?;
        let colours = terminal && format == Format::Text && given("NO_COLOR").is_none();
        Ok(Self { filter, format, colours })
    }
}

/// The filter as given; of spans for traces it wants none, so that not one is made where nobody else does.
fn parse_filter(text: &str) -> Result<EnvFilter, LogError> {
    let refused = |reason| LogError::Filter { text: text.to_owned(), reason };
    // A misspelt level would be taken for a target and silence everything else.
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let bare = |word: &&str| !word.is_empty() && !word.contains(['=', '[']) && !is_level(word);
    if let Some(word) = text.split(',').map(str::trim).find(bare) {
        return Err(refused(format!("{word:?} is not a level")));
    }
    EnvFilter::builder().parse(format!("{text},{SPANS}=off")).map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn read(filter: &str, format: &str, no_color: &str, terminal: bool) -> Result<Options, String> {
        let variable = |name: &str| match name {
            FILTER_VARIABLE => Some(filter.to_owned()),
            FORMAT_VARIABLE => Some(format.to_owned()),
            "NO_COLOR" => Some(no_color.to_owned()),
            _ => None,
        };
        Options::read(variable, terminal).map_err(|error| error.to_string())
    }

    /// The parts of a filter, in whatever order.
    fn written(options: &Options) -> BTreeSet<String> {
        options.filter.to_string().split(',').map(str::to_owned).collect()
    }

    /// Those of a text, without spans.
    fn of(text: &str) -> BTreeSet<String> {
        text.split(',').chain(["picket_spans=off"]).map(str::to_owned).collect()
    }

    #[test]
    fn nothing_set_means_info_as_text() {
        let options = Options::read(|_| None, false).unwrap();
        assert_eq!((written(&options), options.format, options.colours), (of(DEFAULT_FILTER), Format::Text, false));
    }

    #[test]
    fn filters_are_taken_as_written() {
        let check = |text: &str, expect: &str| assert_eq!(written(&read(text, "", "", false).unwrap()), of(expect));
        check("debug", "debug");
        check("WARN", "warn");
        check("picket_agent=trace,warn", "picket_agent=trace,warn");
    }

    #[test]
    fn a_wrong_filter_is_refused_with_what_to_write() {
        for text in ["infos", "warn,picket_agent=loud", "warn,,picket"] {
            let error = read(text, "", "", false).unwrap_err();
            assert!(error.starts_with(&format!("PICKET_LOG={text:?}: ")) && error.contains("target=level"), "{error}");
        }
        assert_eq!(
            read("", "xml", "", false).unwrap_err(),
            "PICKET_LOG_FORMAT=\"xml\" is not a log format: text or json"
        );
    }

    #[test]
    fn colours_are_for_text_on_a_terminal_where_nobody_minds() {
        let check = |format: &str, no_color: &str, terminal: bool, expect: bool| {
            assert_eq!(read("", format, no_color, terminal).unwrap().colours, expect, "{format} {no_color} {terminal}");
        };
        check("text", "", true, true);
        check("text", "", false, false);
        check("text", "1", true, false);
        check("json", "", true, false);
    }
}
