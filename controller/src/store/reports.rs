//! The last report of each host, so that a restarted controller knows what was in force.

use super::{
    StoreError, Transaction,
    contents::{places, slices},
    error::sql,
    row::{json, text, time, to_json},
    statement::{query, query_made},
};
use picket_model::{NodeId, NodeReport, Timestamp};
use std::collections::BTreeMap;

/// A report and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReport {
    /// What the host said.
    pub report: NodeReport,
    /// When.
    pub received_at: Timestamp,
}

impl Transaction {
    /// All last reports.
    pub async fn reports(&mut self) -> Result<BTreeMap<NodeId, StoredReport>, StoreError> {
        let rows = query("SELECT * FROM reports WHERE mesh = $1")
            .bind(self.mesh.as_str())
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("read the reports"))?;
        rows.iter()
            .map(|row| {
                let report = StoredReport { report: json(row, "report")?, received_at: time(row, "received_at")? };
                Ok((text(row, "node")?, report))
            })
            .collect()
    }

    /// Keeps reports, each as its host's last; of each host one.
    pub async fn put_reports(&mut self, reports: &[(NodeId, StoredReport)]) -> Result<(), StoreError> {
        for slice in slices(reports) {
            let statement = format!(
                "INSERT INTO reports (mesh, node, report, received_at) VALUES {}
                 ON CONFLICT (node) DO UPDATE SET report = excluded.report, received_at = excluded.received_at",
                places(slice.len(), 4)
            );
            let mut keep = query_made(statement);
            for (node, report) in slice {
                let text = to_json(&report.report, "report")?;
                keep =
                    keep.bind(self.mesh.as_str()).bind(node.as_str()).bind(text).bind(report.received_at.as_millis());
            }
            keep.execute(&mut self.sql).await.map_err(sql("keep reports"))?;
        }
        Ok(())
    }
}
