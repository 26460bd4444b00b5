//! Plans and which of them is the target. A host's content is kept once for each of its revisions, so that a change
//! that touches two hosts writes two contents; what those are made of is in `contents`. Which hosts a plan has follows from
//! that, and from the plans in which hosts departed.

use super::{
    StoreError, Transaction,
    contents::Sets,
    error::sql,
    row::{generation, integer, json, text, time, to_json},
    statement::query,
};
use picket_model::{Generation, NodeId, Timestamp};
use picket_plan::{Basis, Differences, Plan};
use std::{collections::BTreeMap, sync::Arc};

/// Plans kept: months of a list that changes a few times a day. With 50 hosts and mainnet's list, a change that touches
/// every host takes 25 kB (`tests::contents` measures it; 2.6 MB when each host's state was kept whole), so all of them
/// together take 25 MB.
const KEPT: u64 = 1000;
/// Old ones are dropped with each plan whose number this divides: looking for them costs more than most changes do.
const DROPPED_EACH: u64 = 50;

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
            .fetch_one(&mut self.sql)
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
        let target = self.kept_plan(number).await?;
        target.ok_or_else(|| StoreError::row(format!("target {number}"), "there is no such plan")).map(Some)
    }

    /// A plan of the past, or the target; `None` where it is not kept.
    pub async fn kept_plan(&mut self, number: Generation) -> Result<Option<Target>, StoreError> {
        self.kept_plan_after(number, None).await
    }

    /// The same, where an earlier plan is known: read is what is otherwise.
    pub(super) async fn kept_plan_after(
        &mut self,
        number: Generation,
        known: Option<&Target>,
    ) -> Result<Option<Target>, StoreError> {
        let row = query("SELECT * FROM plans WHERE mesh = $1 AND generation = $2")
            .bind(self.mesh.as_str())
            .bind(integer(number.0))
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read a plan"))?;
        let Some(row) = row else { return Ok(None) };
        let after = known.map(|known| known.plan.generation).unwrap_or_default();
        let mut nodes = known.map(|known| known.plan.nodes.clone()).unwrap_or_default();
        let departed = self.departed(after, number).await?;
        for node in departed.keys() {
            nodes.remove(node);
        }
        let mut sets = Sets::new();
        for (node, revision) in self.revisions(after, number).await? {
            // Who came back has a content from then on.
            if departed.get(&node).is_none_or(|departed| *departed < revision) {
                let config = Arc::new(self.content(&node, revision, &mut sets).await?);
                nodes.insert(node, config);
            }
        }
        let plan = Plan { generation: number, parent: generation(&row, "parent")?, nodes, basis: json(&row, "basis")? };
        Ok(Some(Target { plan, planned_at: time(&row, "planned_at")? }))
    }

    /// The last revision up to a plan, of each host that got one after another plan.
    async fn revisions(&mut self, after: Generation, to: Generation) -> Result<Vec<(NodeId, Generation)>, StoreError> {
        let rows = query(
            "SELECT node, MAX(revision) AS revision FROM configs
             WHERE mesh = $1 AND revision > $2 AND revision <= $3 GROUP BY node",
        )
        .bind(self.mesh.as_str())
        .bind(integer(after.0))
        .bind(integer(to.0))
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("read which contents a plan has"))?;
        rows.iter().map(|row| Ok((text(row, "node")?, generation(row, "revision")?))).collect()
    }

    /// The last plan up to one, of each host that departed after another, in which it did.
    async fn departed(
        &mut self,
        after: Generation,
        to: Generation,
    ) -> Result<BTreeMap<NodeId, Generation>, StoreError> {
        let rows = query(
            "SELECT node, MAX(generation) AS generation FROM departures
             WHERE mesh = $1 AND generation > $2 AND generation <= $3 GROUP BY node",
        )
        .bind(self.mesh.as_str())
        .bind(integer(after.0))
        .bind(integer(to.0))
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("read who departed"))?;
        rows.iter().map(|row| Ok((text(row, "node")?, generation(row, "generation")?))).collect()
    }

    /// What a plan was made from, and when it became the target; `None` where it is not kept.
    pub async fn basis(&mut self, number: Generation) -> Result<Option<(Basis, Timestamp)>, StoreError> {
        let row = query("SELECT basis, planned_at FROM plans WHERE mesh = $1 AND generation = $2")
            .bind(self.mesh.as_str())
            .bind(integer(number.0))
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read a plan"))?;
        row.map(|row| Ok((json(&row, "basis")?, time(&row, "planned_at")?))).transpose()
    }

    /// The oldest and the newest plan kept; `None` before the first.
    pub async fn plans_kept(&mut self) -> Result<Option<(Generation, Generation)>, StoreError> {
        let row = query(
            "SELECT COALESCE(MIN(generation), 0) AS oldest, COALESCE(MAX(generation), 0) AS newest
             FROM plans WHERE mesh = $1",
        )
        .bind(self.mesh.as_str())
        .fetch_one(&mut self.sql)
        .await
        .map_err(sql("read which plans are kept"))?;
        let newest = generation(&row, "newest")?;
        Ok((newest > Generation::default()).then_some((generation(&row, "oldest")?, newest)))
    }

    /// Makes `plan` the target if its parent still is; false, with nothing written, where another plan came first. Written is what
    /// is otherwise than by the parent.
    pub async fn commit_plan(
        &mut self,
        parent: Option<&Plan>,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let swapped = query("UPDATE target SET generation = $1 WHERE mesh = $2 AND generation = $3")
            .bind(integer(plan.generation.0))
            .bind(self.mesh.as_str())
            .bind(integer(plan.parent.0))
            .execute(&mut self.sql)
            .await
            .map_err(sql("change the target"))?;
        if swapped.rows_affected() != 1 {
            return Ok(false);
        }
        let against = parent.map(|parent| parent.generation).unwrap_or_default();
        if against != plan.parent {
            let problem = format!("its parent is {}, and it was compared with {against}", plan.parent);
            return Err(StoreError::row(format!("plan {}", plan.generation), problem));
        }
        query("INSERT INTO plans (mesh, generation, parent, basis, planned_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(self.mesh.as_str())
            .bind(integer(plan.generation.0))
            .bind(integer(plan.parent.0))
            .bind(to_json(&plan.basis, "basis")?)
            .bind(now.as_millis())
            .execute(&mut self.sql)
            .await
            .map_err(sql("enter a plan"))?;
        let Differences { came, changed, went } = plan.differences(parent);
        self.put_changed(&changed).await?;
        self.put_contents(&came).await?;
        for config in went {
            self.put_departure(&config.node, plan.generation).await?;
        }
        if plan.generation.0.is_multiple_of(DROPPED_EACH) {
            self.forget_plans().await?;
        }
        Ok(true)
    }

    async fn put_departure(&mut self, node: &NodeId, by: Generation) -> Result<(), StoreError> {
        query("INSERT INTO departures (mesh, node, generation) VALUES ($1, $2, $3)")
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .bind(integer(by.0))
            .execute(&mut self.sql)
            .await
            .map_err(sql("note that a host departed"))?;
        Ok(())
    }

    /// Has the target go on at a greater number, with every host's content as it is under that number: hosts that hold newer
    /// ones than this database knows take it. `None` before the first plan.
    pub async fn advance(&mut self, to: Generation, now: Timestamp) -> Result<Option<Target>, StoreError> {
        let Some(target) = self.target().await? else { return Ok(None) };
        let parent = target.plan;
        let mut plan = Plan { generation: to, parent: parent.generation, ..parent.clone() };
        if to <= plan.parent {
            let problem = format!("it is {} already", plan.parent);
            return Err(StoreError::row(format!("generation to advance to {to}"), problem));
        }
        for config in plan.nodes.values_mut().map(Arc::make_mut) {
            (config.generation, config.revision) = (to, to);
        }
        self.commit_plan(Some(&parent), &plan, now).await?;
        Ok(Some(Target { plan, planned_at: now }))
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
        .execute(&mut self.sql)
        .await
        .map_err(sql("keep a cut"))?;
        Ok(())
    }

    /// Which plan cut a host; `None` where none did.
    pub async fn cut(&mut self, node: &NodeId) -> Result<Option<Cut>, StoreError> {
        let row = query("SELECT generation, hosts FROM cuts WHERE mesh = $1 AND node = $2")
            .bind(self.mesh.as_str())
            .bind(node.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read a cut"))?;
        row.map(|row| Ok(Cut { generation: generation(&row, "generation")?, hosts: json(&row, "hosts")? })).transpose()
    }

    /// Drops plans before the newest thousand, and contents that none of those has.
    async fn forget_plans(&mut self) -> Result<(), StoreError> {
        // Numbers have gaps where the generation was advanced.
        let row = query("SELECT generation FROM plans WHERE mesh = $1 ORDER BY generation DESC LIMIT 1 OFFSET $2")
            .bind(self.mesh.as_str())
            .bind(integer(KEPT - 1))
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("find old plans"))?;
        let Some(row) = row else { return Ok(()) };
        let oldest = generation(&row, "generation")?;
        let before = self.plans_kept().await?.map_or(oldest, |(before, _)| before);
        query("DELETE FROM plans WHERE mesh = $1 AND generation < $2")
            .bind(self.mesh.as_str())
            .bind(integer(oldest.0))
            .execute(&mut self.sql)
            .await
            .map_err(sql("drop old plans"))?;
        self.forget_contents(before, oldest).await
    }

    /// Number of plans, of contents and of parts kept.
    #[cfg(test)]
    pub(crate) async fn rows_kept(&mut self) -> (i64, i64, i64) {
        let count = "SELECT (SELECT COUNT(*) FROM plans) AS plans, (SELECT COUNT(*) FROM configs) AS configs,
                     (SELECT COUNT(*) FROM parts) AS parts";
        let row = query(count).fetch_one(&mut self.sql).await.unwrap();
        let [plans, configs, parts] =
            ["plans", "configs", "parts"].map(|column| super::row::number(&row, column).unwrap());
        (plans, configs, parts)
    }
}
