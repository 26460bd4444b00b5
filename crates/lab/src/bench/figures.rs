//! Measured times and what is told of them. Values only.

use serde_json::{Value, json};

/// Times of one thing, in milliseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures(Vec<f64>);

impl Figures {
    /// One more.
    pub(super) fn add(&mut self, millis: f64) {
        self.0.push(millis);
        self.0.sort_by(f64::total_cmp);
    }

    /// The one in the middle; zero where nothing was measured.
    pub(super) fn median(&self) -> f64 {
        self.rank(1, 2)
    }

    /// The one that 99 of 100 do not exceed: with fewer than 100, the largest.
    pub(super) fn p99(&self) -> f64 {
        self.rank(99, 100)
    }

    /// The one in the middle; `None` where nothing was measured.
    pub(super) fn measured(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.median())
    }

    /// The smallest; zero where nothing was measured.
    pub(super) fn least(&self) -> f64 {
        self.0.first().copied().unwrap_or_default()
    }

    /// The largest; zero where nothing was measured.
    pub(super) fn most(&self) -> f64 {
        self.0.last().copied().unwrap_or_default()
    }

    /// As fields of a row.
    pub(super) fn row(&self) -> Value {
        json!({ "runs": self.0.len(), "median_ms": rounded(self.median()), "p99_ms": rounded(self.p99()) })
    }

    /// The nearest rank: the smallest that `part` of `whole` do not exceed.
    fn rank(&self, part: usize, whole: usize) -> f64 {
        let rank = (self.0.len() * part).div_ceil(whole);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

impl From<Vec<f64>> for Figures {
    /// Many at once, in any order.
    fn from(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }
}

/// Two digits after the point: the clock gives more, the machine does not.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Memory of this process in RAM, in KiB.
pub(super) fn resident_kib() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f64], median: f64, p99: f64) {
        let mut figures = Figures::default();
        values.iter().for_each(|value| figures.add(*value));
        assert_eq!((figures.median(), figures.p99()), (median, p99), "{values:?}");
    }

    #[test]
    fn medians_and_percentiles_are_of_the_nearest_rank() {
        check(&[], 0.0, 0.0);
        check(&[7.0], 7.0, 7.0);
        check(&[3.0, 1.0, 2.0], 2.0, 3.0);
        check(&[4.0, 3.0, 2.0, 1.0], 2.0, 4.0);
        let hundred: Vec<f64> = (1..=200).map(f64::from).collect();
        check(&hundred, 100.0, 198.0);
    }
}
