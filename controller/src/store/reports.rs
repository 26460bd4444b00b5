//! The last report of each host, so that a restarted controller knows what was in force.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{json, text, time, to_json},
    statement::query,
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

    /// Keeps a host's report as its last.
    pub async fn put_report(&mut self, node: &NodeId, report: &StoredReport) -> Result<(), StoreError> {
        query(
            "INSERT INTO reports (mesh, node, report, received_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (node) DO UPDATE SET report = excluded.report, received_at = excluded.received_at",
        )
        .bind(self.mesh.as_str())
        .bind(node.as_str())
        .bind(to_json(&report.report, "report")?)
        .bind(report.received_at.as_millis())
        .execute(&mut self.sql)
        .await
        .map_err(sql("keep a report"))?;
        Ok(())
    }
}
