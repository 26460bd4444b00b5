//! Several controllers on one database: what one of them changed and the others have not seen, who does what is done once for all,
//! and the wake-up between them. A database that is a file has one controller, which does everything.

use super::{
    Pool, Store, StoreError, StoredReport, Target, Transaction,
    error::sql,
    row::{generation, json, number, text, time},
    statement::{Connection, Row, query},
};
use picket_model::{Generation, NodeId, NodeRole, Timestamp};
use sqlx::postgres::PgListener;
use std::{collections::BTreeSet, time::Duration};

/// By which PostgreSQL tells all who listen that something changed. A wake-up and nothing else.
const CHANNEL: &str = "picket";

/// How the row begins by which a controller says that it is here.
const HERE: &str = "here ";
/// How the row begins by which it says which CAs it goes by.
const CAS: &str = "cas ";

/// How far the database is: whoever has seen this far has seen everything that is to be acted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Number of the target.
    pub generation: Generation,
    /// Number of the newest line of the audit log, of which every change of the mesh has one.
    pub line: i64,
}

/// Hears when another controller has changed something.
#[derive(Debug)]
pub struct Ears(PgListener);

impl Ears {
    /// Returns once something was changed.
    ///
    /// # Errors
    /// The connection is lost, and what was told meanwhile with it.
    pub async fn heard(&mut self) -> Result<(), StoreError> {
        let lost = || sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into());
        let told = self.0.try_recv().await.and_then(|told| told.ok_or_else(lost));
        told.map(|_| ()).map_err(sql("hear of changes"))
    }
}

impl Store {
    /// Whether several controllers may share this database.
    pub const fn is_shared(&self) -> bool {
        matches!(self.pool, Pool::Postgres(_))
    }

    /// Listens for what others change; `None` where there are no others.
    pub async fn listen(&self) -> Result<Option<Ears>, StoreError> {
        let Pool::Postgres(pool) = &self.pool else { return Ok(None) };
        let mut listener = PgListener::connect_with(pool).await.map_err(sql("listen for changes"))?;
        listener.listen(CHANNEL).await.map_err(sql("listen for changes"))?;
        Ok(Some(Ears(listener)))
    }

    /// Takes a duty for so long, or keeps it; false where another controller has it. Nothing waits for this, and this waits for no
    /// change: time is the database's own.
    pub async fn take_duty(&self, duty: &str, holder: &str, length: Duration) -> Result<bool, StoreError> {
        let Pool::Postgres(pool) = &self.pool else { return Ok(true) };
        let taken = sqlx::query(
            "INSERT INTO duties (mesh, duty, holder, until)
             VALUES ($1, $2, $3, (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT + $4)
             ON CONFLICT (mesh, duty) DO UPDATE SET holder = excluded.holder, until = excluded.until
             WHERE duties.holder = excluded.holder
                OR duties.until < (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT",
        )
        .bind(self.mesh.as_str())
        .bind(duty)
        .bind(holder)
        .bind(i64::try_from(length.as_millis()).unwrap_or(i64::MAX))
        .execute(pool)
        .await
        .map_err(sql("take a duty"))?;
        Ok(taken.rows_affected() == 1)
    }

    /// Says for so long that a controller is here, and which CAs it goes by.
    pub async fn be_here(&self, holder: &str, cas: &str, length: Duration) -> Result<(), StoreError> {
        let Pool::Postgres(pool) = &self.pool else { return Ok(()) };
        self.take_duty(&format!("{HERE}{holder}"), holder, length).await?;
        self.take_duty(&format!("{CAS}{cas} {holder}"), holder, length).await?;
        let gone = "DELETE FROM duties WHERE mesh = $1 AND (substr(duty, 1, length($2)) = $2 OR substr(duty, 1, length($3)) = $3)
            AND until < (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT";
        let gone = sqlx::query(gone).bind(self.mesh.as_str()).bind(HERE).bind(CAS).execute(pool).await;
        gone.map(|_| ()).map_err(sql("forget controllers that are gone"))
    }

    /// How many controllers are here, by what they said of late; none where only one could be.
    pub async fn controllers(&self) -> Result<usize, StoreError> {
        self.duties_like(HERE).await
    }

    /// How many of them go by these CAs.
    pub async fn controllers_with(&self, cas: &str) -> Result<usize, StoreError> {
        self.duties_like(&format!("{CAS}{cas} ")).await
    }

    async fn duties_like(&self, start: &str) -> Result<usize, StoreError> {
        let Pool::Postgres(pool) = &self.pool else { return Ok(0) };
        let counted = "SELECT COUNT(*) FROM duties WHERE mesh = $1 AND substr(duty, 1, length($2)) = $2
            AND until >= (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT";
        let row = sqlx::query(counted).bind(self.mesh.as_str()).bind(start).fetch_one(pool).await;
        number(&Row::Postgres(row.map_err(sql("see who is here"))?), "count")
    }

    /// Gives all duties up, so that the next controller need not wait for their end.
    pub async fn leave_duties(&self, holder: &str) -> Result<(), StoreError> {
        let Pool::Postgres(pool) = &self.pool else { return Ok(()) };
        let left =
            sqlx::query("DELETE FROM duties WHERE mesh = $1 AND holder = $2").bind(self.mesh.as_str()).bind(holder);
        left.execute(pool).await.map_err(sql("give duties up"))?;
        Ok(())
    }
}

impl Transaction {
    /// How far the database is.
    pub async fn mark(&mut self) -> Result<Mark, StoreError> {
        let row = query(
            "SELECT generation, (SELECT COALESCE(MAX(lines), 0) FROM log_ends WHERE log_ends.mesh = $1) AS line
             FROM target WHERE mesh = $1",
        )
        .bind(self.mesh.as_str())
        .fetch_one(&mut self.sql)
        .await
        .map_err(sql("see what was changed"))?;
        Ok(Mark { generation: generation(&row, "generation")?, line: number(&row, "line")? })
    }

    /// What was done since a line of the audit log, by its kinds.
    pub async fn actions_since(&mut self, line: i64) -> Result<BTreeSet<String>, StoreError> {
        let rows = query("SELECT DISTINCT action FROM events WHERE mesh = $1 AND id > $2")
            .bind(self.mesh.as_str())
            .bind(line)
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("see what was changed"))?;
        rows.iter().map(|row| super::row::plain(row, "action")).collect()
    }

    /// About whom a kind of line was written since one.
    pub async fn subjects_since(&mut self, line: i64, action: &str) -> Result<Vec<String>, StoreError> {
        let rows = query("SELECT DISTINCT subject FROM events WHERE mesh = $1 AND id > $2 AND action = $3")
            .bind(self.mesh.as_str())
            .bind(line)
            .bind(action)
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("see what was changed"))?;
        rows.iter().map(|row| super::row::plain(row, "subject")).collect()
    }

    /// Reports that came since a moment and that `is_news` wants to have, by host and when they came.
    pub async fn reports_since(
        &mut self,
        since: Timestamp,
        is_news: impl Fn(&NodeId, Timestamp) -> bool,
    ) -> Result<Vec<(NodeId, StoredReport)>, StoreError> {
        let rows = query("SELECT node, received_at FROM reports WHERE mesh = $1 AND received_at >= $2")
            .bind(self.mesh.as_str())
            .bind(since.as_millis())
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("see who reported"))?;
        // Most came here and are known.
        let mut news: Vec<NodeId> = Vec::new();
        for row in &rows {
            let node = text(row, "node")?;
            if is_news(&node, time(row, "received_at")?) {
                news.push(node);
            }
        }
        if news.is_empty() {
            return Ok(Vec::new());
        }
        let rows = query(
            "SELECT node, report, received_at FROM reports
             WHERE mesh = $1 AND node IN (SELECT value FROM json_each($2))",
        )
        .bind(self.mesh.as_str())
        .bind(super::row::to_json(&news, "news")?)
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("read the newest reports"))?;
        let read = |row: &Row| {
            let report = StoredReport { report: json(row, "report")?, received_at: time(row, "received_at")? };
            Ok((text(row, "node")?, report))
        };
        rows.iter().map(read).collect()
    }

    /// The target, where it is newer than the one that is known; contents that have not changed since are taken from that.
    pub async fn target_after(&mut self, known: &Target) -> Result<Option<Target>, StoreError> {
        let number = self.target_generation().await?;
        if number <= known.plan.generation {
            return Ok(None);
        }
        let target = self.kept_plan_after(number, Some(known)).await?;
        target.ok_or_else(|| StoreError::row(format!("target {number}"), "there is no such plan")).map(Some)
    }

    /// When the list was judged last; `None` before the first time.
    pub async fn judged_at(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let row = query("SELECT merged_at FROM validator_sets WHERE mesh = $1")
            .bind(self.mesh.as_str())
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("see when the list was judged"))?;
        row.as_ref().map(|row| time(row, "merged_at")).transpose()
    }

    /// Whether there is a validator set with anybody in it.
    pub async fn has_list(&mut self) -> Result<bool, StoreError> {
        let row =
            query("SELECT COUNT(*) AS lists FROM validator_sets WHERE mesh = $1 AND validators NOT IN ('{}', '[]')")
                .bind(self.mesh.as_str())
                .fetch_one(&mut self.sql)
                .await
                .map_err(sql("read the validator set"))?;
        Ok(number::<u64>(&row, "lists")? > 0)
    }

    /// Whether any member's lease is not over: somebody has heard it, whoever that is.
    pub async fn any_lease_runs(&mut self, role: Option<NodeRole>, now: Timestamp) -> Result<bool, StoreError> {
        let found = query(
            "SELECT 1 AS one FROM nodes
             WHERE mesh = $1 AND revoked_at IS NULL AND lease_until > $2 AND ($3 IS NULL OR role = $3) LIMIT 1",
        )
        .bind(self.mesh.as_str())
        .bind(now.as_millis())
        .bind(role.map(|role| role.to_string()))
        .fetch_optional(&mut self.sql)
        .await
        .map_err(sql("read the leases"))?;
        Ok(found.is_some())
    }

    /// Wakes other controllers once this change is committed.
    pub(super) async fn tell_others(&mut self) -> Result<(), StoreError> {
        if !self.changed || !matches!(self.sql, Connection::Postgres(_)) {
            return Ok(());
        }
        let told = query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(&mut self.sql).await;
        told.map(|_| ()).map_err(sql("tell of a change"))
    }

    /// Renews leases that are about to be over, of members that have an open poll here: other controllers do not see those.
    pub async fn renew_open(
        &mut self,
        open: &BTreeSet<NodeId>,
        now: Timestamp,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        let done = query(
            "UPDATE nodes SET lease_until = $1 + lease_ms
             WHERE mesh = $2 AND revoked_at IS NULL AND lease_until <= $3 AND lease_until < $1 + lease_ms
                AND id IN (SELECT value FROM json_each($4))",
        )
        .bind(now.as_millis())
        .bind(self.mesh.as_str())
        .bind(before.as_millis())
        .bind(super::row::to_json(open, "open")?)
        .execute(&mut self.sql)
        .await
        .map_err(sql("renew leases"))?;
        Ok(done.rows_affected())
    }
}
