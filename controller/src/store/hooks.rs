//! What came by hooks of clouds: which messages were taken, and what they asked for until that is done.

use super::{
    StoreError, Transaction,
    error::sql,
    row::{json_or_none, plain, text, text_or_none, time, to_json},
    statement::{Row, query},
};
use picket_attest::hooks::{LifecycleAction, Transition};
use picket_model::{NodeName, Timestamp};
use std::{fmt, net::IpAddr, str::FromStr};

/// By which way a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookSource {
    /// An API destination of EventBridge.
    EventBridge,
    /// A topic of SNS.
    Sns,
    /// A push subscription of Pub/Sub.
    PubSub,
    /// A signed webhook.
    Generic,
}

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookState {
    /// For a host to be ready, or to be cut everywhere.
    Waiting,
    /// The cloud is to be told.
    Completing,
    /// Nothing is left to do.
    Done,
}

/// What a lifecycle action is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Go on.
    Continue,
    /// A launching instance is of no use: throw it away.
    Abandon,
}

macro_rules! words {
    ($name:ident, $($variant:ident = $word:literal),+) => {
        impl $name {
            /// As in the database, and in the audit log.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("{text:?} is not known")),
                }
            }
        }
    };
}

words!(HookSource, EventBridge = "eventbridge", Sns = "sns", PubSub = "pubsub", Generic = "generic");
words!(HookState, Waiting = "waiting", Completing = "completing", Done = "done");
words!(Outcome, Continue = "CONTINUE", Abandon = "ABANDON");

/// What a message asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookTask {
    /// Its id.
    pub id: String,
    /// By which way it came.
    pub source: HookSource,
    /// Which way the instance goes.
    pub transition: Transition,
    /// The instance's identity, or the name or id of a host.
    pub subject: String,
    /// What the cloud waits for.
    pub action: Option<LifecycleAction>,
    /// What the cloud calls it.
    pub what: String,
    /// From where the message came.
    pub address: Option<IpAddr>,
    /// How far it is.
    pub state: HookState,
    /// What the cloud is to be told.
    pub outcome: Option<Outcome>,
    /// How it went so far, for people.
    pub note: String,
    /// When it came.
    pub received_at: Timestamp,
    /// When its state changed last.
    pub changed_at: Timestamp,
}

impl Transaction {
    /// Takes a message, by the id its sender gave it; false where it was taken before.
    pub async fn claim_message(&mut self, source: HookSource, id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let done =
            query("INSERT INTO hook_messages (mesh, source, id, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
                .bind(self.mesh.as_str())
                .bind(source.as_str())
                .bind(id)
                .bind(now.as_millis())
                .execute(&mut self.sql)
                .await
                .map_err(sql("take a hook's message"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Enters what a message asked for.
    pub async fn insert_hook_task(&mut self, task: &HookTask) -> Result<(), StoreError> {
        let action = task.action.as_ref().map(|action| to_json(action, "action")).transpose()?;
        query(
            "INSERT INTO hook_tasks (mesh, id, source, transition, subject, action, what, address, state, outcome, note,
                received_at, changed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .bind(self.mesh.as_str())
        .bind(task.id.as_str())
        .bind(task.source.as_str())
        .bind(task.transition.to_string())
        .bind(task.subject.as_str())
        .bind(action)
        .bind(task.what.as_str())
        .bind(task.address.map(|address| address.to_string()))
        .bind(task.state.as_str())
        .bind(task.outcome.map(Outcome::as_str))
        .bind(task.note.as_str())
        .bind(task.received_at.as_millis())
        .bind(task.changed_at.as_millis())
        .execute(&mut self.sql)
        .await
        .map_err(sql("enter what a hook asked for"))?;
        Ok(())
    }

    /// One task.
    pub async fn hook_task(&mut self, id: &str) -> Result<Option<HookTask>, StoreError> {
        let row = query("SELECT * FROM hook_tasks WHERE mesh = $1 AND id = $2")
            .bind(self.mesh.as_str())
            .bind(id)
            .fetch_optional(&mut self.sql)
            .await
            .map_err(sql("read what a hook asked for"))?;
        row.as_ref().map(task).transpose()
    }

    /// Everything that is not done, what came first first.
    pub async fn open_hook_tasks(&mut self) -> Result<Vec<HookTask>, StoreError> {
        let rows = query("SELECT * FROM hook_tasks WHERE mesh = $1 AND state <> 'done' ORDER BY received_at, id")
            .bind(self.mesh.as_str())
            .fetch_all(&mut self.sql)
            .await
            .map_err(sql("read what hooks asked for"))?;
        rows.iter().map(task).collect()
    }

    /// Writes down how far a task is; false where it was done already.
    pub async fn advance_hook_task(&mut self, task: &HookTask) -> Result<bool, StoreError> {
        let done = query(
            "UPDATE hook_tasks SET state = $1, outcome = $2, note = $3, changed_at = $4
             WHERE mesh = $5 AND id = $6 AND state <> 'done'",
        )
        .bind(task.state.as_str())
        .bind(task.outcome.map(Outcome::as_str))
        .bind(task.note.as_str())
        .bind(task.changed_at.as_millis())
        .bind(self.mesh.as_str())
        .bind(task.id.as_str())
        .execute(&mut self.sql)
        .await
        .map_err(sql("write down how far a hook's task is"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Nobody waits any longer for an instance to be ready that is going.
    pub async fn end_launches(&mut self, subject: &str, now: Timestamp) -> Result<(), StoreError> {
        query(
            "UPDATE hook_tasks SET state = 'done', note = 'the instance goes before it was ready', changed_at = $1
             WHERE mesh = $2 AND subject = $3 AND transition IN ('launching', 'warming') AND state = 'waiting'",
        )
        .bind(now.as_millis())
        .bind(self.mesh.as_str())
        .bind(subject)
        .execute(&mut self.sql)
        .await
        .map_err(sql("end what waits for a host"))?;
        Ok(())
    }

    /// Since when a cloud says that an instance goes; for as long as that is kept.
    pub async fn going_since(&mut self, subject: &str) -> Result<Option<Timestamp>, StoreError> {
        let row = query(
            "SELECT received_at FROM hook_tasks WHERE mesh = $1 AND subject = $2 AND transition = 'terminating'
             ORDER BY received_at DESC LIMIT 1",
        )
        .bind(self.mesh.as_str())
        .bind(subject)
        .fetch_optional(&mut self.sql)
        .await
        .map_err(sql("look whether an instance goes"))?;
        row.as_ref().map(|row| time(row, "received_at")).transpose()
    }

    /// Drops what was taken, and what was done, before a moment.
    pub async fn drop_old_hooks(&mut self, before: Timestamp) -> Result<(), StoreError> {
        for statement in [
            "DELETE FROM hook_messages WHERE mesh = $1 AND at < $2",
            "DELETE FROM hook_tasks WHERE mesh = $1 AND state = 'done' AND changed_at < $2",
        ] {
            query(statement)
                .bind(self.mesh.as_str())
                .bind(before.as_millis())
                .execute(&mut self.sql)
                .await
                .map_err(sql("drop old messages of hooks"))?;
        }
        Ok(())
    }

    /// The sentry that its cloud took last, where no sentry is left.
    pub async fn last_sentry_taken(&mut self) -> Result<Option<(NodeName, Timestamp)>, StoreError> {
        let row = query(
            "SELECT name, revoked_at FROM nodes WHERE mesh = $1 AND role = 'sentry' AND ended = 'cloud'
                AND NOT EXISTS (SELECT 1 FROM nodes AS others WHERE others.mesh = $1 AND others.role = 'sentry'
                    AND others.revoked_at IS NULL)
             ORDER BY revoked_at DESC LIMIT 1",
        )
        .bind(self.mesh.as_str())
        .fetch_optional(&mut self.sql)
        .await
        .map_err(sql("look for the last sentry"))?;
        row.as_ref().map(|row| Ok((text(row, "name")?, time(row, "revoked_at")?))).transpose()
    }
}

fn task(row: &Row) -> Result<HookTask, StoreError> {
    let transition = match plain(row, "transition")?.as_str() {
        "launching" => Transition::Launching,
        "warming" => Transition::Warming,
        "terminating" => Transition::Terminating,
        other => return Err(StoreError::row("transition", format!("{other:?} is not known"))),
    };
    Ok(HookTask {
        id: plain(row, "id")?,
        source: text(row, "source")?,
        transition,
        subject: plain(row, "subject")?,
        action: json_or_none(row, "action")?,
        what: plain(row, "what")?,
        address: text_or_none(row, "address")?,
        state: text(row, "state")?,
        outcome: text_or_none(row, "outcome")?,
        note: plain(row, "note")?,
        received_at: time(row, "received_at")?,
        changed_at: time(row, "changed_at")?,
    })
}
