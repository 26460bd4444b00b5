//! Plans and which of them is the target. A host's content is kept once for each of its revisions, so that a change
//! that touches two hosts writes two contents.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{generation, integer, json, time, to_json},
};
use picket_model::{AllowSet, Generation, NodeConfig, NodeId, Purpose, Timestamp};
use picket_plan::Plan;
use sqlx::query;
use std::collections::BTreeMap;

/// Plans kept: enough to look back on. A change of the list writes each host's state anew, about 50 kB with mainnet's, so
/// 50 hosts keep 125 MB at the most.
const KEPT: u64 = 50;

/// The wanted state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The plan.
    pub plan: Plan,
    /// When it became the target.
    pub planned_at: Timestamp,
}

/// A host's removal by a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The plan.
    pub generation: Generation,
    /// Hosts that had a tunnel or a grant for it and have none by that plan.
    pub hosts: Vec<NodeId>,
}

impl Transaction {
    /// Number of the target; zero before the first plan.
    pub async fn target_generation(&mut self) -> Result<Generation, StoreError> {
        let row = query("SELECT generation FROM target WHERE mesh = $1")
            .bind(self.mesh.as_str())
            .fetch_one(&mut *self.sql)
            .await
            .map_err(sql("read the target"))?;
        generation(&row, "generation")
    }

    /// The target; `None` before the first plan.
    pub async fn target(&mut self) -> Result<Option<Target>, StoreError> {
        let number = self.target_generation().await?;
        if number == Generation(0) {
            return Ok(None);
        }
        let row = query("SELECT * FROM plans WHERE mesh = $1 AND generation = $2")
            .bind(self.mesh.as_str())
            .bind(integer(number.0))
            .fetch_optional(&mut *self.sql)
            .await
            .map_err(sql("read a plan"))?
            .ok_or_else(|| StoreError::row(format!("target {number}"), "there is no such plan"))?;
        let revisions: BTreeMap<NodeId, Generation> = json(&row, "revisions")?;
        let mut nodes = BTreeMap::new();
        let mut sets = BTreeMap::new();
        for (node, revision) in revisions {
            let mut config = self.config(&node, revision).await?;
            share(&mut config, &mut sets);
            nodes.insert(node, NodeConfig { generation: number, ..config });
        }
        let plan = Plan { generation: number, parent: generation(&row, "parent")?, nodes, basis: json(&row, "basis")? };
        Ok(Some(Target { plan, planned_at: time(&row, "planned_at")? }))
    }

    /// Makes `plan` the target if its parent still is; false, with nothing written, where another plan came first.
    pub async fn commit_plan(&mut self, plan: &Plan, now: Timestamp) -> Result<bool, StoreError> {
        let swapped = query("UPDATE target SET generation = $1 WHERE mesh = $2 AND generation = $3")
            .bind(integer(plan.generation.0))
            .bind(self.mesh.as_str())
            .bind(integer(plan.parent.0))
            .execute(&mut *self.sql)
            .await
            .map_err(sql("change the target"))?;
        if swapped.rows_affected() != 1 {
            return Ok(false);
        }
        let revisions: BTreeMap<&NodeId, Generation> = plan.nodes.iter().map(|(id, c)| (id, c.revision)).collect();
        query(
            "INSERT INTO plans (mesh, generation, parent, basis, revisions, planned_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(self.mesh.as_str())
        .bind(integer(plan.generation.0))
        .bind(integer(plan.parent.0))
        .bind(to_json(&plan.basis, "basis")?)
        .bind(to_json(&revisions, "revisions")?)
        .bind(now.as_millis())
        .execute(&mut *self.sql)
        .await
        .map_err(sql("enter a plan"))?;
        for config in plan.nodes.values().filter(|config| config.revision == plan.generation) {
            query("INSERT INTO configs (mesh, node, revision, config) VALUES ($1, $2, $3, $4)")
                .bind(self.mesh.as_str())
                .bind(config.node.as_str())
                .bind(integer(config.revision.0))
                .bind(to_json(config, "config")?)
                .execute(&mut *self.sql)
                .await
                .map_err(sql("enter a host's content"))?;
        }
        self.forget_plans(Generation(plan.generation.0.saturating_sub(KEPT - 1))).await?;
        Ok(true)
    }

    /// Keeps which plan cut a host.
    pub async fn put_cut(&mut self, node: &NodeId, cut: &Cut) -> Result<(), StoreError> {
        query(
            "INSERT INTO cuts (mesh, node, generation, hosts) VALUES ($1, $2, $3, $4)
             ON CONFLICT (mesh, node) DO UPDATE SET generation = excluded.generation, hosts = excluded.hosts",
        )
        .bind(self.mesh.as_str())
        .bind(node.as_str())
        .bind(integer(cut.generation.0))
        .bind(to_json(&cut.hosts, "hosts")?)
        .execute(&mut *self.sql)
        .await
        .map_err(sql("keep a cut"))?;
        Ok(())
    }

    /// Which plan cut a host; `None` where none did.
    pub async fn cut(&mut self, node: &NodeId) -> Result<Option<Cut>, StoreError> {
        let row = query("SELECT generation, hosts FROM cuts WHERE mesh = $1 AND node = $2")
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .fetch_optional(&mut *self.sql)
            .await
            .map_err(sql("read a cut"))?;
        row.map(|row| Ok(Cut { generation: generation(&row, "generation")?, hosts: json(&row, "hosts")? })).transpose()
    }

    async fn config(&mut self, node: &NodeId, revision: Generation) -> Result<NodeConfig, StoreError> {
        let row = query("SELECT config FROM configs WHERE mesh = $1 AND node = $2 AND revision = $3")
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .bind(integer(revision.0))
            .fetch_optional(&mut *self.sql)
            .await
            .map_err(sql("read a host's content"))?;
        let what = || format!("content {revision} of host {node}");
        let row = row.ok_or_else(|| StoreError::row(what(), "it is missing"))?;
        json(&row, "config").map_err(|error| StoreError::row(what(), error.to_string()))
    }

    /// Drops plans before `oldest`, and contents that no plan from there on names.
    async fn forget_plans(&mut self, oldest: Generation) -> Result<(), StoreError> {
        const SUPERSEDED: &str = "DELETE FROM configs WHERE mesh = $1 AND EXISTS (
                 SELECT 1 FROM configs AS later WHERE later.mesh = configs.mesh AND later.node = configs.node
                     AND later.revision > configs.revision AND later.revision <= $2)";
        const CUT: &str = "DELETE FROM configs WHERE mesh = $1
             AND node IN (SELECT node FROM cuts WHERE mesh = $1 AND generation <= $2)";
        for statement in ["DELETE FROM plans WHERE mesh = $1 AND generation < $2", SUPERSEDED, CUT] {
            query(statement)
                .bind(self.mesh.as_str())
                .bind(integer(oldest.0))
                .execute(&mut *self.sql)
                .await
                .map_err(sql("drop old plans"))?;
        }
        Ok(())
    }

    /// Number of plans and of contents kept.
    #[cfg(test)]
    pub(crate) async fn plans_kept(&mut self) -> (i64, i64) {
        use sqlx::Row as _;
        let row = query("SELECT (SELECT COUNT(*) FROM plans) AS plans, (SELECT COUNT(*) FROM configs) AS configs")
            .fetch_one(&mut *self.sql)
            .await
            .unwrap();
        (row.get("plans"), row.get("configs"))
    }
}

/// Hosts have most of their allow sets in common: equal ones are held once.
fn share(config: &mut NodeConfig, sets: &mut BTreeMap<Purpose, AllowSet>) {
    for (purpose, set) in &mut config.firewall.allow {
        match sets.get(purpose) {
            Some(known) if known == set => *set = known.clone(),
            _ => drop(sets.insert(*purpose, set.clone())),
        }
    }
}
