//! Spans to a collector: OTLP over HTTP, on threads of the SDK's own, by the reqwest and rustls that are there anyway. The program
//! never waits for it: what it cannot take is dropped and counted (`queue`), and an end waits [`GOODBYE`] at most.

use super::{Collector, SPANS, TracesError, queue};
use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, TraceContextExt as _, TraceState, TracerProvider as _},
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};
use std::{error::Error, fmt, time::Duration};
use tracing::{Event, Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::{
    Layer,
    filter::filter_fn,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// How long a collector may take for a request, with all tries. Spans wait meanwhile, as many as the queue has room for.
const ANSWER: Duration = Duration::from_secs(5);
/// How long an end waits until the last spans are sent.
const GOODBYE: Duration = Duration::from_secs(2);

/// What sends spans for as long as it is kept; dropped, it sends those that wait.
#[derive(Debug)]
pub(crate) struct Sender(SdkTracerProvider);

impl Drop for Sender {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(GOODBYE) {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

/// Starts to send the spans of this program; not within a runtime, whose threads it would block for a moment.
pub(crate) fn sender<S: Subscriber + for<'a> LookupSpan<'a>>(
    program: &str,
    version: &str,
    collector: &Collector,
) -> Result<(Sender, impl Layer<S>), TracesError> {
    let refused = |reason: String| TracesError::SetUp { collector: collector.clone(), reason };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client().map_err(|error| refused(causes(&*error)))?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{collector}/v1/traces"))
        .with_timeout(ANSWER)
        .build()
        .map_err(|error| refused(causes(&error)))?;
    let host = nix::unistd::gethostname().map_err(|error| refused(format!("ask for the host's name: {error}")))?;
    let attributes = [
        KeyValue::new("service.name", program.to_owned()),
        KeyValue::new("service.version", version.to_owned()),
        KeyValue::new("host.name", host.to_string_lossy().into_owned()),
    ];
    let provider = SdkTracerProvider::builder()
        .with_span_processor(queue::before(exporter, collector.clone()))
        // Whoever asks us may name a trace, and has no say in what is kept of it.
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(Resource::builder().with_attributes(attributes).build())
        .build();
    let layer: OpenTelemetryLayer<S, SdkTracer> = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("picket"))
        .with_location(false)
        .with_target(false)
        .with_level(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    Ok((Sender(provider), layer.with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == SPANS))))
}

/// A client that trusts whom the host trusts.
fn client() -> Result<reqwest::blocking::Client, Box<dyn Error>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = reqwest::blocking::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER);
    Ok(client.build()?)
}

/// All causes of an error on one line.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Ids of trace and span at work.
pub(super) fn current() -> Option<(TraceId, SpanId)> {
    let context = Context::current();
    let span = context.span().span_context().clone();
    span.is_valid().then(|| (span.trace_id(), span.span_id()))
}

/// Gives a span another name.
pub(super) fn rename(span: &Span, name: String) {
    span.context().span().update_name(name);
}

/// Makes `span` a child of the one with these ids.
pub(super) fn follow(span: &Span, trace: &str, parent: &str) {
    let (Ok(trace), Ok(parent)) = (TraceId::from_hex(trace), SpanId::from_hex(parent)) else { return };
    let parent = SpanContext::new(trace, parent, TraceFlags::SAMPLED, true, TraceState::default());
    // It can not be where the span is off, and nobody misses it then.
    let _ = span.set_parent(Context::new().with_remote_span_context(parent));
}

/// Lines of JSON with the ids of trace and span, where there are any.
pub(crate) struct WithTrace<F>(pub(crate) F);

impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(ctx, Writer::new(&mut line), event)?;
        match current().zip(line.strip_suffix("}\n")) {
            Some(((trace, span), fields)) => {
                writeln!(writer, "{fields},\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"}}")
            }
            None => writer.write_str(&line),
        }
    }
}
