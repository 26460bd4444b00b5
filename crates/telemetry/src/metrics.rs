//! Metrics as a value: a program makes one, registers what it counts, and hands it to the health router.

use prometheus_client::{
    metrics::info::Info,
    registry::{Metric, Registry},
};
use std::fmt;

pub use prometheus_client::metrics;

/// Media type of `Metrics::render`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything a program counts. Names begin with `picket_`.
#[derive(Debug)]
pub struct Metrics(Registry);

impl Metrics {
    /// Metrics of a program, with `picket_build_info` as the first.
    pub fn new(program: &str, version: &str) -> Self {
        let mut registry = Registry::with_prefix("picket");
        let build = Info::new([("program", program.to_owned()), ("version", version.to_owned())]);
        registry.register("build", "Program and version", build);
        Self(registry)
    }

    /// Adds a metric and gives back a handle that counts into it. `name` has no `picket_`, and a counter's no `_total`;
    /// `help` has no full stop.
    pub fn register<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    /// All metrics in the OpenMetrics text format; an error where a metric cannot be written.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

    #[test]
    fn what_is_counted_is_rendered() {
        let mut metrics = Metrics::new("picket-test", "1.2.3");
        let polls: Counter = metrics.register("polls", "Answers taken", Counter::default());
        let nodes: Gauge = metrics.register("nodes", "Hosts", Gauge::default());
        polls.inc_by(2);
        nodes.set(3);
        let expect = "\
# HELP picket_build Program and version.
# TYPE picket_build info
picket_build_info{program=\"picket-test\",version=\"1.2.3\"} 1
# HELP picket_polls Answers taken.
# TYPE picket_polls counter
picket_polls_total 2
# HELP picket_nodes Hosts.
# TYPE picket_nodes gauge
picket_nodes 3
# EOF
";
        assert_eq!(metrics.render().unwrap(), expect);
    }
}
