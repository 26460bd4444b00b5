//! The audit log: every change of the mesh, written in the same transaction as the change. Never deleted.

use super::{
    StoreError, Transaction,
    error::sql,
    hooks::HookSource,
    log::link,
    row::{integer, number, plain, plain_or_none, text_or_none, time},
    statement::{Row, query, storable},
};
use crate::{claim::Claim, origin::Origin};
use picket_api::operator::EventView;
use picket_model::{NodeId, Timestamp, TokenId};
use std::{fmt, net::IpAddr};

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The controller by itself.
    Controller,
    /// The operator with this token.
    Operator(TokenId),
    /// This host.
    Node(NodeId),
    /// A cloud, or whoever has the secret of a hook.
    Hook(HookSource),
    /// Somebody at this address who could not show who they are.
    Stranger(IpAddr),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller => f.write_str("controller"),
            Self::Operator(id) => id.fmt(f),
            Self::Node(id) => id.fmt(f),
            Self::Hook(source) => write!(f, "hook:{source}"),
            Self::Stranger(address) => address.fmt(f),
        }
    }
}

impl Transaction {
    /// Writes one line. Every change of the mesh has one, so this is also what marks the request's idempotency key.
    pub async fn record(
        &mut self,
        now: Timestamp,
        actor: &Actor,
        action: &'static str,
        subject: &str,
        detail: &str,
    ) -> Result<(), StoreError> {
        let (last, before) = self.log_head().await?;
        // A number is given once: where the last lines were taken out, the gap stays.
        let last = last.max(self.lines_written().await?);
        let Origin { address, reason } = Origin::current();
        let mut line = EventView {
            id: last + 1,
            at: now,
            actor: actor.to_string(),
            action: action.to_owned(),
            // The hash is over what is kept.
            subject: storable(subject).into_owned(),
            detail: storable(detail).into_owned(),
            address,
            reason: reason.map(|reason| storable(&reason).into_owned()),
            hash: String::new(),
        };
        line.hash = link(&before, self.mesh.as_str(), &line);
        query(
            "INSERT INTO events (id, mesh, at, actor, action, subject, detail, address, reason, hash)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(line.id)
        .bind(self.mesh.as_str())
        .bind(now.as_millis())
        .bind(line.actor.as_str())
        .bind(action)
        .bind(line.subject.as_str())
        .bind(line.detail.as_str())
        .bind(line.address.map(|address| address.to_string()))
        .bind(line.reason.as_deref())
        .bind(line.hash.as_str())
        .execute(&mut self.sql)
        .await
        .map_err(sql("write the audit log"))?;
        self.put_lines_written(line.id).await?;
        self.changed = true;
        match Claim::current() {
            Some(claim) if self.carry_out(&claim, now).await? => claim.mark(),
            Some(claim) if !claim.is_marked() => return Err(StoreError::Overtaken { key: claim.key }),
            Some(_) | None => {}
        }
        Ok(())
    }

    /// The newest line whose action begins so.
    pub async fn last_event_of(&mut self, action: &str) -> Result<Option<EventView>, StoreError> {
        let row = query(
            "SELECT * FROM events WHERE mesh = $1 AND substr(action, 1, length($2)) = $2 ORDER BY id DESC LIMIT 1",
        )
        .bind(self.mesh.as_str())
        .bind(action)
        .fetch_optional(&mut self.sql)
        .await
        .map_err(sql("read the audit log"))?;
        row.as_ref().map(event).transpose()
    }

    /// The newest lines, newest last.
    pub async fn events(&mut self, most: usize) -> Result<Vec<EventView>, StoreError> {
        self.events_before(None, most).await
    }

    /// The newest lines before one, newest last.
    pub async fn events_before(&mut self, before: Option<i64>, most: usize) -> Result<Vec<EventView>, StoreError> {
        let rows = query("SELECT * FROM events WHERE mesh = $1 AND id < $2 ORDER BY id DESC LIMIT $3")
            .bind(self.mesh.as_str())
            .bind(before.unwrap_or(i64::MAX))
            .bind(integer(most))
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("read the audit log"))?;
        rows.iter().rev().map(event).collect()
    }
}

pub(super) fn event(row: &Row) -> Result<EventView, StoreError> {
    Ok(EventView {
        id: number(row, "id")?,
        at: time(row, "at")?,
        actor: plain(row, "actor")?,
        action: plain(row, "action")?,
        subject: plain(row, "subject")?,
        detail: plain(row, "detail")?,
        address: text_or_none(row, "address")?,
        reason: plain_or_none(row, "reason")?,
        hash: plain(row, "hash")?,
    })
}
