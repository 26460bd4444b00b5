//! What each source said of each entry, from when until when. Only changes make rows, and a source that says something
//! else all the time makes no more than so many a day.

use super::{
    Actor, StoreError, Transaction,
    error::sql,
    row::{integer, json, number, plain, text, to_json},
    statement::{Row, query},
};
use picket_api::validators::RefusedView;
use picket_model::{Observation, ObservedValidator, PrepId, Refused, SourceId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Most rows of one source in a day (UTC): mainnet's list makes a hundred at first and a few on each day after. A hostile
/// source of which each row takes a kilobyte fills 5 MB a day, and 2 GB until the first of them are dropped.
pub const MOST_ROWS_A_DAY: u64 = 5000;

const DAY_MILLIS: i64 = 24 * 3600 * 1000;

/// What kind of thing a source said.
#[derive(Clone, Copy)]
enum Kind {
    /// A P-Rep, as parsed.
    Listed,
    /// An entry that was not taken, with the reasons.
    Refused,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Refused => "refused",
        }
    }
}

/// What stands by one source's word: the text by entry.
type Said = BTreeMap<String, String>;

impl Transaction {
    /// Keeps what sources listed, where it changed. Their height, clock, and the voting power alone are no change. What was
    /// refused of it, by the parser or by the merge, comes with [`put_merged`](Self::put_merged).
    pub async fn put_observed(&mut self, seen: &[Observation], at: Timestamp) -> Result<(), StoreError> {
        for observation in seen {
            let entries = observation.entries.iter().map(|(prep, entry)| {
                let entry = ObservedValidator { power: None, ..entry.clone() };
                Ok((prep.to_string(), to_json(&entry, "what")?))
            });
            let said = entries.collect::<Result<Said, StoreError>>()?;
            self.keep_said(&observation.source, Kind::Listed, &said, at, Some(observation.height)).await?;
        }
        Ok(())
    }

    /// Keeps which entries are refused, where that changed.
    pub(super) async fn put_refused(
        &mut self,
        refused: &[RefusedView],
        at: Timestamp,
        height: Option<u64>,
    ) -> Result<(), StoreError> {
        let open = query("SELECT DISTINCT source FROM observations WHERE mesh = $1 AND kind = $2 AND ended_at IS NULL")
            .bind(self.mesh.as_str())
            .bind(Kind::Refused.as_str())
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("read what sources said"))?;
        let open = open.iter().map(|row| Ok((text::<SourceId>(row, "source")?, BTreeMap::new())));
        let mut reasons: BTreeMap<SourceId, BTreeMap<&str, BTreeSet<&str>>> =
            open.collect::<Result<_, StoreError>>()?;
        for RefusedView { source, refused: Refused { entry, reason } } in refused {
            reasons.entry(source.clone()).or_default().entry(entry).or_default().insert(reason);
        }
        for (source, entries) in &reasons {
            let said = entries.iter().map(|(entry, reasons)| Ok(((*entry).to_owned(), to_json(reasons, "what")?)));
            let said = said.collect::<Result<Said, StoreError>>()?;
            self.keep_said(source, Kind::Refused, &said, at, height).await?;
        }
        Ok(())
    }

    /// What was refused at a moment of the past, by source.
    pub async fn refused_at(&mut self, at: Timestamp) -> Result<Vec<RefusedView>, StoreError> {
        let mut refused = Vec::new();
        for row in self.said_at(Kind::Refused, at).await? {
            let (source, entry): (SourceId, String) = (text(&row, "source")?, plain(&row, "entry")?);
            for reason in json::<BTreeSet<String>>(&row, "what")? {
                refused.push(RefusedView { source: source.clone(), refused: Refused { entry: entry.clone(), reason } });
            }
        }
        Ok(refused)
    }

    /// What each source listed at a moment of the past.
    pub async fn listed_at(
        &mut self,
        at: Timestamp,
    ) -> Result<BTreeMap<SourceId, BTreeMap<PrepId, ObservedValidator>>, StoreError> {
        let mut listed: BTreeMap<SourceId, BTreeMap<PrepId, ObservedValidator>> = BTreeMap::new();
        for row in self.said_at(Kind::Listed, at).await? {
            listed.entry(text(&row, "source")?).or_default().insert(text(&row, "entry")?, json(&row, "what")?);
        }
        Ok(listed)
    }

    async fn said_at(&mut self, kind: Kind, at: Timestamp) -> Result<Vec<Row>, StoreError> {
        query(
            "SELECT source, entry, what FROM observations WHERE mesh = $1 AND kind = $2 AND at <= $3
                 AND (ended_at IS NULL OR ended_at > $3) ORDER BY source, entry",
        )
        .bind(self.mesh.as_str())
        .bind(kind.as_str())
        .bind(at.as_millis())
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("read what sources said"))
    }

    /// Ends what a source says no more and enters what it says anew, as far as the day allows; what was too much for the
    /// day stands as it was and is compared again by the next poll.
    async fn keep_said(
        &mut self,
        source: &SourceId,
        kind: Kind,
        said: &Said,
        at: Timestamp,
        height: Option<u64>,
    ) -> Result<(), StoreError> {
        let rows = query(
            "SELECT entry, what FROM observations WHERE mesh = $1 AND source = $2 AND kind = $3 AND ended_at IS NULL",
        )
        .bind(self.mesh.as_str())
        .bind(source.as_str())
        .bind(kind.as_str())
        .fetch_all(&mut self.sql)
        .await
        .map_err(sql("read what sources said"))?;
        let before = rows
            .iter()
            .map(|row| Ok((plain(row, "entry")?, plain(row, "what")?)))
            .collect::<Result<Said, StoreError>>()?;
        for entry in before.keys().filter(|entry| !said.contains_key(*entry)) {
            self.end_said(source, kind, entry, at).await?;
        }
        let news: Vec<_> = said.iter().filter(|(entry, what)| before.get(*entry) != Some(what)).collect();
        let kept = self.count_day(source, news.len(), at).await?;
        for (entry, what) in news.into_iter().take(kept) {
            self.end_said(source, kind, entry, at).await?;
            query(
                "INSERT INTO observations (mesh, source, kind, entry, what, at, height)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(self.mesh.as_str())
            .bind(source.as_str())
            .bind(kind.as_str())
            .bind(entry)
            .bind(what)
            .bind(at.as_millis())
            .bind(height.map(integer))
            .execute(&mut self.sql)
            .await
            .map_err(sql("keep what a source said"))?;
        }
        Ok(())
    }

    /// Ends what sources listed that are none any more. What was refused of it ends with [`put_merged`](Self::put_merged).
    pub async fn end_observed_except<'a>(
        &mut self,
        sources: impl Iterator<Item = &'a SourceId>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let sources: Vec<&str> = sources.map(SourceId::as_str).collect();
        query(
            "UPDATE observations SET ended_at = $1 WHERE mesh = $2 AND kind = $3 AND ended_at IS NULL
                 AND source NOT IN (SELECT value FROM json_each($4))",
        )
        .bind(at.as_millis())
        .bind(self.mesh.as_str())
        .bind(Kind::Listed.as_str())
        .bind(to_json(&sources, "sources")?)
        .execute(&mut self.sql)
        .await
        .map_err(sql("end what former sources said"))?;
        Ok(())
    }

    async fn end_said(&mut self, source: &SourceId, kind: Kind, entry: &str, at: Timestamp) -> Result<(), StoreError> {
        query(
            "UPDATE observations SET ended_at = $1
             WHERE mesh = $2 AND source = $3 AND kind = $4 AND entry = $5 AND ended_at IS NULL",
        )
        .bind(at.as_millis())
        .bind(self.mesh.as_str())
        .bind(source.as_str())
        .bind(kind.as_str())
        .bind(entry)
        .execute(&mut self.sql)
        .await
        .map_err(sql("keep what a source said"))?;
        Ok(())
    }

    /// How many of `wanted` further rows of a source the day allows. The first that are too many leave a line in the audit
    /// log.
    async fn count_day(&mut self, source: &SourceId, wanted: usize, at: Timestamp) -> Result<usize, StoreError> {
        if wanted == 0 {
            return Ok(0);
        }
        let day = at.as_millis().div_euclid(DAY_MILLIS);
        let row = query("SELECT kept, lost FROM observation_days WHERE mesh = $1 AND source = $2 AND day = $3")
            .bind(self.mesh.as_str())
            .bind(source.as_str())
            .bind(day)
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("count what a source said"))?;
        let (before, lost): (u64, u64) = match row {
            Some(row) => (number(&row, "kept")?, number(&row, "lost")?),
            None => (0, 0),
        };
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
        let kept = wanted.min(MOST_ROWS_A_DAY.saturating_sub(before));
        query(
            "INSERT INTO observation_days (mesh, source, day, kept, lost) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (mesh, source, day) DO UPDATE SET kept = excluded.kept, lost = excluded.lost",
        )
        .bind(self.mesh.as_str())
        .bind(source.as_str())
        .bind(day)
        .bind(integer(before + kept))
        .bind(integer(lost.saturating_add(wanted - kept)))
        .execute(&mut self.sql)
        .await
        .map_err(sql("count what a source said"))?;
        if lost == 0 && kept < wanted {
            let detail = format!(
                "it said something else more than {MOST_ROWS_A_DAY} times today: the rest of the day is not written down"
            );
            tracing::warn!(%source, "{detail}");
            self.record(at, &Actor::Controller, "observations.capped", source.as_str(), &detail).await?;
        }
        Ok(usize::try_from(kept).unwrap_or(usize::MAX))
    }

    /// Drops what ended before a moment.
    pub(super) async fn prune_observed(&mut self, before: Timestamp) -> Result<(), StoreError> {
        query("DELETE FROM observations WHERE mesh = $1 AND ended_at < $2")
            .bind(self.mesh.as_str())
            .bind(before.as_millis())
            .execute(&mut self.sql)
            .await
            .map_err(sql("drop old observations"))?;
        query("DELETE FROM observation_days WHERE mesh = $1 AND day < $2")
            .bind(self.mesh.as_str())
            .bind(before.as_millis().div_euclid(DAY_MILLIS))
            .execute(&mut self.sql)
            .await
            .map_err(sql("drop old observations"))?;
        Ok(())
    }
}
