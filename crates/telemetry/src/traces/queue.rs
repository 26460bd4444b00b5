//! What stands between the program and the SDK: no more than [`ROOM`] spans wait, what there is no room for is dropped and counted,
//! and a collector that does not take them is told of once. The SDK drops too, and does not say how many.

use super::{COUNTED, Collector};
use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Spans that may wait, with those under way: of a kilobyte each, two megabytes.
const ROOM: usize = 2_048;
/// Spans in one request.
const BATCH: usize = 512;
/// How long one waits for others.
const GATHER: Duration = Duration::from_secs(1);

/// The way to this collector.
pub(super) fn before<E: SpanExporter + 'static>(exporter: E, collector: Collector) -> impl SpanProcessor {
    let waiting = Arc::new(AtomicUsize::new(0));
    let out = Out { exporter, collector, waiting: waiting.clone(), fails: AtomicBool::default() };
    // All that the environment could say otherwise is said here.
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(ROOM)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(GATHER)
        .build();
    In { batches: BatchSpanProcessor::builder(out).with_batch_config(config).build(), waiting }
}

fn count(outcome: &'static str, spans: usize) {
    COUNTED.get_or_create(&vec![("outcome", outcome.to_owned())]).inc_by(spans.try_into().unwrap_or(u64::MAX));
}

/// Where spans come in.
#[derive(Debug)]
struct In {
    batches: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
}

impl SpanProcessor for In {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        let room = |waiting| (waiting < ROOM).then_some(waiting + 1);
        match self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, room) {
            Ok(_) => self.batches.on_end(span),
            Err(_) => count("dropped", 1),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Where they leave.
#[derive(Debug)]
struct Out<E> {
    exporter: E,
    collector: Collector,
    waiting: Arc<AtomicUsize>,
    fails: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Out<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.exporter.export(batch).await;
        self.waiting.fetch_sub(spans, Ordering::AcqRel);
        count(if sent.is_ok() { "sent" } else { "failed" }, spans);
        let failed = self.fails.swap(sent.is_err(), Ordering::AcqRel);
        match &sent {
            Err(error) if !failed => {
                tracing::warn!(collector = %self.collector, %error, "spans were not taken; they are dropped until they are");
            }
            Ok(()) if failed => tracing::info!(collector = %self.collector, "spans are taken again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use std::sync::mpsc::{Receiver, channel};

    /// Takes a batch, and is through with it when told.
    #[derive(Debug)]
    struct Slow(std::sync::Mutex<Receiver<()>>);

    impl SpanExporter for Slow {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            let _ = self.0.lock().unwrap().recv();
            Ok(())
        }
    }

    #[test]
    fn what_there_is_no_room_for_is_dropped_and_counted_and_nothing_else_is() {
        let (go_on, wait) = channel();
        let queue = before(Slow(std::sync::Mutex::new(wait)), "http://127.0.0.1:1".parse().unwrap());
        let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
        let tracer = provider.tracer("test");
        for _ in 0..ROOM + 100 {
            tracer.start("span");
        }
        let counted = |outcome: &str| {
            let labels =
                [("sent", vec![("outcome", "sent".to_owned())]), ("dropped", vec![("outcome", "dropped".to_owned())])];
            let (_, labels) = labels.iter().find(|(name, _)| *name == outcome).unwrap();
            COUNTED.get_or_create(labels).get()
        };
        assert_eq!((counted("sent"), counted("dropped")), (0, 100));
        drop(go_on);
        provider.shutdown_with_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((counted("sent"), counted("dropped")), (ROOM as u64, 100));
    }
}
