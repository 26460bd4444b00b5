//! What hosts shall be, taken apart: allow sets, and a host's content without them. Equal parts are kept once for all
//! hosts and revisions, because hosts have their sets in common and a change of the list changes nothing else.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{integer, json, number, number_or_none, plain, text},
    statement::{query, query_made},
};
use picket_model::{AllowSet, Generation, NodeConfig, NodeId, Purpose};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

/// Rows that one statement enters: a change to all hosts is many. Of few sizes, so that each statement comes again and is ready.
const AT_ONCE: [usize; 4] = [256, 32, 4, 1];

/// Sets that were read already: a plan's hosts share them in memory as they do in the database.
pub(super) type Sets = BTreeMap<i64, AllowSet>;

/// Sets by digest, each with how many contents name it.
pub(super) type Named = BTreeMap<String, (AllowSet, u64)>;

/// Parts to be kept, by digest: the text, and how many contents name it.
#[derive(Default)]
pub(super) struct Parts(BTreeMap<String, (String, u64)>);

impl Parts {
    fn text(value: &impl Serialize) -> Result<(String, String), StoreError> {
        let text = serde_json::to_string(value).map_err(|cause| StoreError::row("content", cause.to_string()))?;
        Ok((hex::encode(Sha256::digest(&text)), text))
    }

    fn add(&mut self, digest: &str, text: String, named: u64) {
        self.0.entry(digest.to_owned()).or_insert((text, 0)).1 += named;
    }
}

impl Transaction {
    /// Enters the contents of hosts, each under its revision.
    pub(super) async fn put_contents(&mut self, configs: &[&Arc<NodeConfig>]) -> Result<(), StoreError> {
        let (mut parts, mut rows) = (Parts::default(), Vec::new());
        let mut sets = Named::new();
        for config in configs {
            let mut body = NodeConfig::clone(config);
            (body.generation, body.revision) = (Generation::default(), Generation::default());
            let allow = std::mem::take(&mut body.firewall.allow);
            let (body, text) = Parts::text(&body)?;
            parts.add(&body, text, 1);
            let mut names = BTreeMap::new();
            for (purpose, set) in allow {
                let digest = self.digest(&set);
                sets.entry(digest.clone()).or_insert((set, 0)).1 += 1;
                names.insert(purpose, digest);
            }
            rows.push((*config, body, names));
        }
        let ids = self.put_sets(&sets, parts).await?;
        for rows in slices(&rows) {
            let columns = "mesh, node, revision, body, p2p, rpc, admin, overlay";
            let mut statement = query_made(format!("INSERT INTO configs ({columns}) VALUES {}", places(rows.len(), 8)));
            for (config, body, names) in rows {
                let id = |purpose| names.get(&purpose).and_then(|digest| ids.get(digest));
                statement = statement
                    .bind(self.mesh.as_str())
                    .bind(config.node.as_str())
                    .bind(integer(config.revision.0))
                    .bind(ids.get(body))
                    .bind(id(Purpose::P2p))
                    .bind(id(Purpose::Rpc))
                    .bind(id(Purpose::Admin))
                    .bind(id(Purpose::Overlay));
            }
            statement.execute(&mut self.sql).await.map_err(sql("enter hosts' contents"))?;
        }
        Ok(())
    }

    /// Has sets named so many times more, and enters those that are new, with other new parts; the number of each, by digest.
    pub(super) async fn put_sets(
        &mut self,
        sets: &Named,
        mut parts: Parts,
    ) -> Result<BTreeMap<String, i64>, StoreError> {
        let mut ids = BTreeMap::new();
        let digests: Vec<_> = sets.iter().map(|(digest, (_, named))| (digest.as_str(), *named)).collect();
        for digests in slices(&digests) {
            self.name_parts(digests, &mut ids).await?;
        }
        for (digest, (set, named)) in sets {
            if !ids.contains_key(digest) {
                parts.add(digest, Parts::text(set)?.1, *named);
            }
        }
        let parts: Vec<_> =
            parts.0.iter().map(|(digest, (text, named))| (digest.as_str(), text.as_str(), *named)).collect();
        for parts in slices(&parts) {
            self.put_parts(parts, &mut ids).await?;
        }
        Ok(ids)
    }

    /// The digest by which a set is kept, which is the one that hosts know it by.
    pub(super) fn digest(&self, set: &AllowSet) -> String {
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        digests.tidy();
        digests.of(set).to_string()
    }

    /// Has parts named so many times more, and says which are there already.
    async fn name_parts(&mut self, digests: &[(&str, u64)], ids: &mut BTreeMap<String, i64>) -> Result<(), StoreError> {
        let values: Vec<String> =
            (0..digests.len()).map(|row| format!("(${}, ${})", 2 * row + 2, 2 * row + 3)).collect();
        // Both databases call the columns of values so.
        let mut statement = query_made(format!(
            "UPDATE parts SET named = parts.named + given.column2 FROM (VALUES {}) AS given
             WHERE parts.mesh = $1 AND parts.digest = given.column1 RETURNING parts.id AS id, parts.digest AS digest",
            values.join(", ")
        ));
        statement = statement.bind(self.mesh.as_str());
        for (digest, named) in digests {
            statement = statement.bind(*digest).bind(integer(*named));
        }
        let rows = statement.fetch_all(&mut self.sql).await.map_err(sql("name parts of hosts' contents"))?;
        for row in &rows {
            ids.insert(plain(row, "digest")?, number(row, "id")?);
        }
        Ok(())
    }

    async fn put_parts(
        &mut self,
        parts: &[(&str, &str, u64)],
        ids: &mut BTreeMap<String, i64>,
    ) -> Result<(), StoreError> {
        let mut statement = query_made(format!(
            "INSERT INTO parts (mesh, digest, named, content) VALUES {}
             ON CONFLICT (mesh, digest) DO UPDATE SET named = parts.named + excluded.named RETURNING id, digest",
            places(parts.len(), 4)
        ));
        for (digest, text, named) in parts {
            statement = statement.bind(self.mesh.as_str()).bind(*digest).bind(integer(*named)).bind(*text);
        }
        let rows = statement.fetch_all(&mut self.sql).await.map_err(sql("enter parts of hosts' contents"))?;
        for row in &rows {
            ids.insert(plain(row, "digest")?, number(row, "id")?);
        }
        Ok(())
    }

    /// One host's content, stamped with its revision.
    pub(super) async fn content(
        &mut self,
        node: &NodeId,
        revision: Generation,
        sets: &mut Sets,
    ) -> Result<NodeConfig, StoreError> {
        let row = query(
            "SELECT configs.*, parts.content FROM configs JOIN parts ON parts.id = configs.body
             WHERE configs.mesh = $1 AND configs.node = $2 AND configs.revision = $3",
        )
        .bind(self.mesh.as_str())
        .bind(node.as_str())
        .bind(integer(revision.0))
        .fetch_optional(&mut self.sql)
        .await
        .map_err(sql("read a host's content"))?;
        let what = || format!("content {revision} of host {node}");
        let broken = |error: StoreError| StoreError::row(what(), error.to_string());
        let row = row.ok_or_else(|| StoreError::row(what(), "it is missing"))?;
        let mut config: NodeConfig = json(&row, "content").map_err(broken)?;
        for purpose in Purpose::ALL {
            let Some(id) = number_or_none(&row, column(purpose))? else { continue };
            let set = match sets.get(&id) {
                Some(known) => known.clone(),
                None => self.set(id).await.map_err(broken)?,
            };
            sets.insert(id, set.clone());
            config.firewall.allow.insert(purpose, set);
        }
        Ok(NodeConfig { generation: revision, revision, ..config })
    }

    async fn set(&mut self, id: i64) -> Result<AllowSet, StoreError> {
        let row = query("SELECT content FROM parts WHERE id = $1")
            .bind(id)
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read an allow set"))?;
        json(&row.ok_or_else(|| StoreError::row(format!("allow set {id}"), "it is missing"))?, "content")
    }

    /// Drops contents that no plan from `oldest` on has, and the parts that no content names any more. Those that no plan from
    /// `before` on has are dropped already, so that looked at are hosts which got another content since, or departed.
    pub(super) async fn forget_contents(&mut self, before: Generation, oldest: Generation) -> Result<(), StoreError> {
        let rows = query(
            "SELECT configs.* FROM configs JOIN (
                 SELECT node, MAX(ended) AS ended FROM (
                     SELECT node, revision AS ended FROM configs
                     WHERE mesh = $1 AND revision > $2 AND revision <= $3
                     UNION ALL
                     SELECT node, generation AS ended FROM departures
                     WHERE mesh = $1 AND generation > $2 AND generation <= $3
                 ) AS ends GROUP BY node
             ) AS later ON later.node = configs.node
             WHERE configs.mesh = $1 AND configs.revision < later.ended",
        )
        .bind(self.mesh.as_str())
        .bind(integer(before.0))
        .bind(integer(oldest.0))
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("find old contents"))?;
        let mut named: BTreeMap<i64, i64> = BTreeMap::new();
        for row in &rows {
            *named.entry(number(row, "body")?).or_default() += 1;
            for purpose in Purpose::ALL {
                if let Some(id) = number_or_none(row, column(purpose))? {
                    *named.entry(id).or_default() += 1;
                }
            }
            query("DELETE FROM configs WHERE mesh = $1 AND node = $2 AND revision = $3")
                .bind(self.mesh.as_str())
                .bind(text::<NodeId>(row, "node")?.as_str())
                .bind(number::<i64>(row, "revision")?)
                .execute(&mut self.sql)
                .await
                .map_err(sql("drop an old content"))?;
        }
        for (id, fewer) in named {
            let left = query("UPDATE parts SET named = named - $1 WHERE id = $2 RETURNING named")
                .bind(fewer)
                .bind(id)
                .fetch_optional(&mut self.sql)
                .await
                .map_err(sql("drop an old content"))?;
            let left = left.as_ref().map(|row| number::<i64>(row, "named")).transpose()?;
            if left.is_some_and(|named| named <= 0) {
                query("DELETE FROM parts WHERE id = $1")
                    .bind(id)
                    .execute(&mut self.sql)
                    .await
                    .map_err(sql("drop an old part"))?;
            }
        }
        // The last departure stays: who knows a plan of long ago is to learn of it.
        query(
            "DELETE FROM departures WHERE mesh = $1 AND EXISTS (SELECT 1 FROM departures AS later
                 WHERE later.mesh = departures.mesh AND later.node = departures.node
                     AND later.generation > departures.generation AND later.generation <= $2)",
        )
        .bind(self.mesh.as_str())
        .bind(integer(oldest.0))
        .execute(&mut self.sql)
        .await
        .map_err(sql("drop old departures"))?;
        Ok(())
    }
}

/// Rows in slices, each of one of the sizes that statements have.
pub(super) fn slices<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = AT_ONCE.into_iter().find(|size| *size <= rows.len())?;
        let (slice, rest) = rows.split_at(size);
        rows = rest;
        Some(slice)
    })
}

/// Places for so many rows of so many values: `($1,$2),($3,$4)`.
pub(super) fn places(rows: usize, values: usize) -> String {
    let row = |row: usize| {
        let places: Vec<String> = (1..=values).map(|place| format!("${}", row * values + place)).collect();
        format!("({})", places.join(","))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(",")
}

/// Where a content names its set of this purpose.
const fn column(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::P2p => "p2p",
        Purpose::Rpc => "rpc",
        Purpose::Admin => "admin",
        Purpose::Overlay => "overlay",
    }
}
