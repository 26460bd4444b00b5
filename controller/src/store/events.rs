//! The audit log: every change of the mesh, written in the same transaction as the change. Never deleted.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{integer, number, plain, time},
};
use picket_api::operator::EventView;
use picket_model::{NodeId, Timestamp, TokenId};
use sqlx::query;
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
    /// Somebody at this address who could not show who they are.
    Stranger(IpAddr),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller => f.write_str("controller"),
            Self::Operator(id) => id.fmt(f),
            Self::Node(id) => id.fmt(f),
            Self::Stranger(address) => address.fmt(f),
        }
    }
}

impl Transaction {
    /// Writes one line.
    pub async fn record(
        &mut self,
        now: Timestamp,
        actor: &Actor,
        action: &'static str,
        subject: &str,
        detail: &str,
    ) -> Result<(), StoreError> {
        query("INSERT INTO events (mesh, at, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(self.mesh.as_str())
            .bind(now.as_millis())
            .bind(actor.to_string())
            .bind(action)
            .bind(subject)
            .bind(detail)
            .execute(&mut *self.sql)
            .await
            .map_err(sql("write the audit log"))?;
        Ok(())
    }

    /// The newest lines, newest last.
    pub async fn events(&mut self, most: usize) -> Result<Vec<EventView>, StoreError> {
        let rows = query("SELECT * FROM events WHERE mesh = $1 ORDER BY id DESC LIMIT $2")
            .bind(self.mesh.as_str())
            .bind(integer(most))
            .fetch_all(&mut *self.sql)
            .await
            .map_err(sql("read the audit log"))?;
        rows.iter()
            .rev()
            .map(|row| {
                Ok(EventView {
                    id: number(row, "id")?,
                    at: time(row, "at")?,
                    actor: plain(row, "actor")?,
                    action: plain(row, "action")?,
                    subject: plain(row, "subject")?,
                    detail: plain(row, "detail")?,
                })
            })
            .collect()
    }
}
