//! Counts how transactions begin: how long they wait, and which cannot. What they do is not counted.

use super::StoreError;
use picket_telemetry::metrics::{Counters, Histograms, metrics::gauge::Gauge, seconds_by_label};
use std::time::Instant;

/// Handles that the store counts into; who shows them registers clones.
#[derive(Clone, Debug)]
pub struct Begun {
    /// How long transactions waited, by `kind`: `read` or `write`.
    pub waited: Histograms,
    /// Those that could not be begun, by `kind`.
    pub failed: Counters,
    /// Whether the last one could.
    pub up: Gauge,
}

impl Default for Begun {
    fn default() -> Self {
        Self { waited: seconds_by_label(), failed: Counters::default(), up: Gauge::default() }
    }
}

impl Begun {
    /// Counts this beginning.
    pub(super) async fn of<T>(
        &self,
        kind: &'static str,
        begin: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let asked = Instant::now();
        let begun = begin.await;
        let labels = vec![("kind", kind.to_owned())];
        self.up.set(begun.is_ok().into());
        match &begun {
            Ok(_) => self.waited.get_or_create(&labels).observe(asked.elapsed().as_secs_f64()),
            Err(_) => {
                self.failed.get_or_create(&labels).inc();
            }
        }
        begun
    }
}
