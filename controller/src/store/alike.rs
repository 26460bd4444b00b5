//! Contents that are as they were but for their allow sets, as a change of the list leaves those of all hosts: what they have beside the
//! sets is neither gone through again nor written.

use super::{
    StoreError, Transaction,
    contents::{Named, Parts},
    error::sql,
    row::{integer, to_json},
    statement::query,
};
use picket_model::{Generation, NodeConfig, NodeId, Purpose};
use std::{collections::BTreeMap, sync::Arc};

/// Fewer hosts than this are written as if all were new: many of those share a statement.
const FEW: usize = 8;

/// Digests of sets, by purpose.
type Names = BTreeMap<Purpose, String>;

impl Transaction {
    /// Enters contents of hosts, before and after; those before are kept.
    pub(super) async fn put_changed(
        &mut self,
        changed: &[(&Arc<NodeConfig>, &Arc<NodeConfig>)],
    ) -> Result<(), StoreError> {
        // By the revisions before and after, and the sets.
        let mut alike: BTreeMap<(Generation, Generation, Names), Vec<&Arc<NodeConfig>>> = BTreeMap::new();
        let mut others = Vec::new();
        for (before, after) in changed {
            if before.same_beside_sets(after) {
                let names = after.firewall.allow.iter().map(|(purpose, set)| (*purpose, self.digest(set)));
                alike.entry((before.revision, after.revision, names.collect())).or_default().push(after);
            } else {
                others.push(*after);
            }
        }
        let mut sets = Named::new();
        alike.retain(|(_, _, names), hosts| {
            if hosts.len() < FEW {
                others.append(hosts);
                return false;
            }
            // They are alike in this too.
            for (set, digest) in hosts.iter().take(1).flat_map(|host| host.firewall.allow.values()).zip(names.values())
            {
                let named = u64::try_from(hosts.len()).unwrap_or(u64::MAX);
                sets.entry(digest.clone()).or_insert_with(|| (set.clone(), 0)).1 += named;
            }
            true
        });
        let ids = self.put_sets(&sets, Parts::default()).await?;
        for ((before, after, names), hosts) in alike {
            let hosts: Vec<&NodeId> = hosts.into_iter().map(|host| &host.node).collect();
            self.put_alike(before, after, &hosts, |purpose| names.get(&purpose).and_then(|set| ids.get(set))).await?;
        }
        self.put_contents(&others).await
    }

    /// Enters a revision of hosts with these sets, and with all else as under the revision before.
    async fn put_alike<'a>(
        &mut self,
        before: Generation,
        after: Generation,
        hosts: &[&NodeId],
        set: impl Fn(Purpose) -> Option<&'a i64>,
    ) -> Result<(), StoreError> {
        let list = to_json(&hosts, "hosts")?;
        // CROSS JOIN keeps SQLite from going through all of the revision and, for each, through all that is given.
        let entered = query(
            "INSERT INTO configs (mesh, node, revision, body, p2p, rpc, admin, overlay)
             SELECT configs.mesh, configs.node, $3, configs.body, $4, $5, $6, $7
             FROM json_each($8) AS given CROSS JOIN configs
             WHERE configs.mesh = $1 AND configs.node = given.value AND configs.revision = $2",
        )
        .bind(self.mesh.as_str())
        .bind(integer(before.0))
        .bind(integer(after.0))
        .bind(set(Purpose::P2p))
        .bind(set(Purpose::Rpc))
        .bind(set(Purpose::Admin))
        .bind(set(Purpose::Overlay))
        .bind(list.as_str())
        .execute(&mut self.sql)
        .await
        .map_err(sql("enter hosts' contents"))?;
        if entered.rows_affected() != u64::try_from(hosts.len()).unwrap_or(u64::MAX) {
            let problem = format!("of {} hosts that have it {} are there", hosts.len(), entered.rows_affected());
            return Err(StoreError::row(format!("contents {before}"), problem));
        }
        // What a content has beside its sets names its host, so that no two hosts have it in common.
        query(
            "UPDATE parts SET named = named + 1 WHERE id IN (SELECT configs.body FROM json_each($3) AS given CROSS JOIN configs
                 WHERE configs.mesh = $1 AND configs.node = given.value AND configs.revision = $2)",
        )
        .bind(self.mesh.as_str())
        .bind(integer(after.0))
        .bind(list.as_str())
        .execute(&mut self.sql)
        .await
        .map_err(sql("name parts of hosts' contents"))?;
        Ok(())
    }
}
