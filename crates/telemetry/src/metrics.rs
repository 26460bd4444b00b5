//! Metrics as a value: a program makes one, registers what it counts, and hands it to the health router.
//! Each is described once, with its labels and what bounds them: the text that is scraped and the table in the
//! documentation both come from here.

use crate::classic;
use prometheus_client::{
    encoding::EncodeMetric as _,
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry},
};
use std::{
    fmt::{self, Write as _},
    sync::atomic::AtomicU64,
};

pub use prometheus_client::metrics;

/// Media type of `Metrics::render`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Media type of `Metrics::render_classic`.
pub const CLASSIC_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Names and values of labels.
pub type Labels = Vec<(&'static str, String)>;
/// Gauges by label.
pub type Gauges = Family<Labels, Gauge>;
/// Gauges of fractions by label: seconds and ratios.
pub type Fractions = Family<Labels, Gauge<f64, AtomicU64>>;
/// Counters by label.
pub type Counters = Family<Labels, Counter>;
/// Histograms by label.
pub type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Upper bounds in seconds of what a program does itself, from a millisecond to a minute.
const SECONDS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Labels that Prometheus itself makes are no part of a description.
const NO_LABELS: &[(&str, &str)] = &[];

/// A histogram of durations in seconds, from a millisecond to a minute.
pub fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// Histograms of durations, by label.
pub fn seconds_by_label() -> Histograms {
    Family::new_with_constructor(seconds)
}

/// A count as a gauge takes it.
pub fn gauge(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Everything a program counts. Names begin with `picket_`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    described: Vec<Description>,
}

/// A metric as it stands in the documentation.
#[derive(Debug)]
struct Description {
    name: String,
    kind: &'static str,
    labels: &'static [(&'static str, &'static str)],
    help: String,
}

impl Metrics {
    /// Metrics of a program, with `picket_build_info` as the first. What it counts of its traces is `traces::register`'s to add.
    pub fn new(program: &str, version: &str) -> Self {
        let mut metrics = Self { registry: Registry::with_prefix("picket"), described: Vec::new() };
        let build = Info::new([("program", program.to_owned()), ("version", version.to_owned())]);
        metrics.describe("build", "Program and version", &[("program", "1"), ("version", "1")], build.metric_type());
        metrics.registry.register("build", "Program and version", build);
        metrics
    }

    /// Adds a metric without labels and gives back a handle that counts into it. `name` has no `picket_`, and a counter's no
    /// `_total`; `help` has no full stop.
    pub fn register<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.labelled(name, help, NO_LABELS, metric)
    }

    /// Adds a metric with these labels, each with what bounds the number of its values, in words for operators.
    pub fn labelled<M: Metric + Clone>(
        &mut self,
        name: &str,
        help: &str,
        labels: &'static [(&'static str, &'static str)],
        metric: M,
    ) -> M {
        self.describe(name, help, labels, metric.metric_type());
        self.registry.register(name, help, metric.clone());
        metric
    }

    fn describe(&mut self, name: &str, help: &str, labels: &'static [(&'static str, &'static str)], kind: MetricType) {
        let (end, kind) = match kind {
            MetricType::Counter => ("_total", "counter"),
            MetricType::Histogram => ("", "histogram"),
            MetricType::Info => ("_info", "gauge"),
            _ => ("", "gauge"),
        };
        self.described.push(Description { name: format!("picket_{name}{end}"), kind, labels, help: help.to_owned() });
    }

    /// All metrics in the OpenMetrics text format; an error where a metric cannot be written.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(without_empty_labels(&text))
    }

    /// The same in Prometheus' own text format, for those who ask for nothing newer.
    pub fn render_classic(&self) -> Result<String, fmt::Error> {
        self.render().map(|text| classic::from_open_metrics(&text))
    }

    /// All metrics by name as a table in Markdown, whether they have a value or not.
    pub fn table(&self) -> String {
        let mut described: Vec<&Description> = self.described.iter().collect();
        described.sort_by(|a, b| a.name.cmp(&b.name));
        let mut text =
            "| name | type | labels, and how many values each may have | meaning |\n|---|---|---|---|\n".to_owned();
        for Description { name, kind, labels, help } in described {
            let labels: Vec<String> = labels.iter().map(|(name, bound)| format!("`{name}`: {bound}")).collect();
            // Writing to a text cannot fail.
            let _ = writeln!(text, "| `{name}` | {kind} | {} | {help} |", labels.join("; "));
        }
        text
    }
}

/// A family without labels, which may have no value at all, is written as a metric without labels is.
fn without_empty_labels(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for line in text.lines() {
        match line.split_once("{} ") {
            Some((name, value)) if !name.contains([' ', '{']) => plain.extend([name, " ", value, "\n"]),
            _ => plain.extend([line, "\n"]),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Metrics {
        let mut metrics = Metrics::new("picket-test", "1.2.3");
        let polls: Counter = metrics.register("polls", "Answers taken", Counter::default());
        let up = metrics.labelled("up", "Whether it is", NO_LABELS, Gauges::default());
        up.get_or_create(&Labels::new()).set(1);
        let nodes = metrics.labelled("nodes", "Hosts", &[("state", "2")], Gauges::default());
        let took = metrics.register("took_seconds", "Time of all", seconds());
        polls.inc_by(2);
        nodes.get_or_create(&vec![("state", "act\"ive".to_owned())]).set(3);
        took.observe(0.002);
        took.observe(70.0);
        metrics
    }

    #[test]
    fn what_is_counted_is_rendered() {
        let text = metrics().render().unwrap();
        let start = "\
# HELP picket_build Program and version.
# TYPE picket_build info
picket_build_info{program=\"picket-test\",version=\"1.2.3\"} 1
# HELP picket_polls Answers taken.
# TYPE picket_polls counter
picket_polls_total 2
# HELP picket_up Whether it is.
# TYPE picket_up gauge
picket_up 1
# HELP picket_nodes Hosts.
# TYPE picket_nodes gauge
picket_nodes{state=\"act\\\"ive\"} 3
# HELP picket_took_seconds Time of all.
# TYPE picket_took_seconds histogram
picket_took_seconds_sum 70.002
picket_took_seconds_count 2
picket_took_seconds_bucket{le=\"0.001\"} 0
picket_took_seconds_bucket{le=\"0.0025\"} 1
";
        assert!(text.starts_with(start), "{text}");
        assert!(text.ends_with("le=\"60.0\"} 1\npicket_took_seconds_bucket{le=\"+Inf\"} 2\n# EOF\n"), "{text}");
    }

    #[test]
    fn the_older_format_names_metrics_as_their_samples() {
        let text = metrics().render_classic().unwrap();
        let start = "\
# HELP picket_build_info Program and version.
# TYPE picket_build_info gauge
picket_build_info{program=\"picket-test\",version=\"1.2.3\"} 1
# HELP picket_polls_total Answers taken.
# TYPE picket_polls_total counter
picket_polls_total 2
# HELP picket_up Whether it is.
# TYPE picket_up gauge
picket_up 1
";
        assert!(text.starts_with(start) && !text.contains("# EOF"), "{text}");
    }

    #[test]
    fn the_table_says_what_there_is_without_a_value_too() {
        let mut metrics = Metrics::new("picket-test", "1.2.3");
        let _: Counters =
            metrics.labelled("polls", "Answers", &[("source", "as configured"), ("result", "2")], Counters::default());
        let expect = "\
| name | type | labels, and how many values each may have | meaning |
|---|---|---|---|
| `picket_build_info` | gauge | `program`: 1; `version`: 1 | Program and version |
| `picket_polls_total` | counter | `source`: as configured; `result`: 2 | Answers |
";
        assert_eq!(metrics.table(), expect);
    }
}
