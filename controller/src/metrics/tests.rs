//! Names, types, labels and meanings are what operators write alerts with: they change with the documentation or not at all.

use super::*;
use picket_telemetry::document;
use std::path::Path;

#[test]
fn what_the_controller_counts_is_what_the_documentation_says() {
    let mut metrics = Metrics::new("picket-controller", "0");
    let _counts = Counts::new(&mut metrics, &Begun::default());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    document::hold(&page, "picket-controller", &metrics).unwrap().unwrap();
}
