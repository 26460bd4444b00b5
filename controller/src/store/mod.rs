//! What must survive a restart: one database, one file per noun. The same SQL for both databases, no decisions.
//! A row that cannot be read is an error that names it, never an empty default.

mod addresses;
mod alike;
mod answers;
mod begun;
mod ca_successions;
mod ca_trust;
mod certificates;
mod clones;
mod contents;
mod copy;
mod drains;
mod error;
mod events;
mod file;
mod history;
mod hooks;
mod hosts;
mod identities;
mod leases;
mod log;
mod meshes;
#[cfg(test)]
pub(crate) mod moments;
mod nodes;
mod observations;
mod observed;
mod operators;
mod orders;
mod place;
mod plans;
mod policies;
mod postgres;
mod rekeys;
mod reports;
mod row;
mod schema;
mod several;
mod shield;
mod sqlite;
mod statement;
mod tokens;
mod validators;
mod versions;
mod webhooks;

pub use answers::{Answer, Progress};
pub use begun::Begun;
pub use ca_successions::CaSuccession;
pub use ca_trust::CaTrust;
pub use certificates::Standing;
pub use clones::{ClonedHost, Machine};
pub use error::StoreError;
pub use events::Actor;
pub use history::{KeptVersions, RETENTION};
pub use hooks::{HookSource, HookState, HookTask, Outcome};
pub use identities::KnownIdentity;
pub use leases::{Ended, RoleCount};
pub use nodes::Enrolled;
pub use observations::SourceRow;
pub use observed::MOST_ROWS_A_DAY;
pub use operators::Operator;
pub(crate) use operators::PERSON;
pub use place::{Place, Server, ServerUrl};
pub use plans::{Cut, Target};
pub use reports::StoredReport;
pub use several::{Ears, Mark};
pub use tokens::{Token, TokenTerms};
pub use validators::MergeRow;
pub use webhooks::WebhookRow;

use error::sql;
use file::File;
use hosts::Hosts;
use picket_model::{MeshId, SetDigests};
use schema::Opened;
use shield::LastOrders;
use sqlx::PgPool;
use statement::Connection;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};

/// How long a change waits for those of this program that came before it: a disk that syncs in a second, and thirty of them.
const QUEUED: Duration = Duration::from_secs(30);
/// How often a transaction is begun anew whose connection turned out to be lost: nothing was done yet.
const BEGUN_AGAIN: u8 = 2;

/// Digests of allow sets, of the whole program: a long set is gone through once, by whoever needs its digest first.
pub type SharedDigests = Arc<std::sync::Mutex<SetDigests>>;

/// The database of one mesh.
#[derive(Clone, Debug)]
pub struct Store {
    pool: Pool,
    mesh: MeshId,
    /// The newest step of its schema that this program does not know, where a newer one has been at it.
    beyond: Option<i64>,
    /// First come, first served. SQLite lets whoever happens to look at the right moment write next, so that many who wait
    /// starve each other; and who waits in the database has a connection, which readers want.
    writer: Arc<Mutex<()>>,
    digests: SharedDigests,
    begun: Begun,
    hosts: Arc<Hosts>,
    orders: Arc<LastOrders>,
    patience: Duration,
    /// How many changes could not begin because the database was away.
    away: Arc<AtomicU64>,
}

/// Connections to one of the two databases.
#[derive(Clone, Debug)]
enum Pool {
    Sqlite(File),
    Postgres(PgPool),
}

impl Store {
    /// Opens the database of a file, made where there is none, and brings its schema up to date.
    pub async fn open(path: &Path, mesh: MeshId) -> Result<Self, StoreError> {
        Self::at(&Place::File(path.to_owned()), mesh).await
    }

    /// Opens the database, made where it is a file that is not there yet, and brings its schema up to date.
    pub async fn at(place: &Place, mesh: MeshId) -> Result<Self, StoreError> {
        let store = Self::as_it_is(place, mesh).await?;
        store.chain_old_events().await?;
        Ok(store)
    }

    /// The same, without a word of this mesh in it.
    async fn as_it_is(place: &Place, mesh: MeshId) -> Result<Self, StoreError> {
        let (pool, beyond) = match place {
            Place::File(path) => {
                let opened = sqlite::open(path).await?;
                let beyond = schema::bring_up_to_date(&Opened::Sqlite(opened.clone()), place).await;
                opened.close().await;
                let beyond = beyond?;
                (Pool::Sqlite(File::open(path).map_err(error::opening(place))?), beyond)
            }
            Place::Server(server) => {
                let pool = postgres::open(server.url.as_str(), server.password_file.as_deref()).await?;
                let beyond = schema::bring_up_to_date(&Opened::Postgres(pool.clone()), place).await?;
                (Pool::Postgres(pool), beyond)
            }
        };
        Ok(Self {
            pool,
            mesh,
            beyond,
            writer: Arc::default(),
            digests: Arc::default(),
            begun: Begun::default(),
            hosts: Arc::default(),
            orders: Arc::default(),
            patience: QUEUED,
            away: Arc::default(),
        })
    }

    /// Digests of the sets that are kept.
    pub fn digests(&self) -> SharedDigests {
        Arc::clone(&self.digests)
    }

    /// How transactions begin here.
    pub fn begun(&self) -> &Begun {
        &self.begun
    }

    /// Forgets what it remembers of hosts: this is another database than that of before.
    pub fn forget_hosts(&self) {
        self.hosts.forget();
    }

    /// A consistent view of everything.
    pub async fn read(&self) -> Result<Transaction, StoreError> {
        self.begun.of("read", self.begin(None)).await
    }

    /// A change. No other begins before this one is committed or dropped, by whatever controller; dropped, it leaves nothing
    /// behind. Whoever holds one must not ask for a second. Who waits while one before it finds the database away is told so with
    /// it: were each to find out for itself, the last of a queue would hear nothing for minutes.
    pub async fn write(&self) -> Result<Transaction, StoreError> {
        let in_turn = async {
            let away = self.away.load(Ordering::Relaxed);
            let turn = timeout(self.patience, Arc::clone(&self.writer).lock_owned()).await;
            if self.away.load(Ordering::Relaxed) != away {
                return Err(error::away_for_one_before());
            }
            let turn = turn.map_err(|_| StoreError::Queued { seconds: self.patience.as_secs() })?;
            self.begin(Some(turn)).await
        };
        self.begun.of("write", in_turn).await
    }

    async fn begin(&self, turn: Option<OwnedMutexGuard<()>>) -> Result<Transaction, StoreError> {
        let mut again = BEGUN_AGAIN;
        let begun = loop {
            match self.connection(turn.is_some()).await {
                Err(cause) if again > 0 && error::is_lost(&cause) => again -= 1,
                begun => break begun.map_err(sql("begin a transaction")),
            }
        };
        if turn.is_some() && matches!(begun, Err(StoreError::Away { .. })) {
            // Before the turn is given on.
            self.away.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Transaction {
            sql: begun?,
            mesh: self.mesh.clone(),
            digests: Arc::clone(&self.digests),
            hosts: Arc::clone(&self.hosts),
            orders: Arc::clone(&self.orders),
            writes: turn.is_some(),
            changed: false,
            _turn: turn,
        })
    }

    async fn connection(&self, writes: bool) -> Result<Connection, sqlx::Error> {
        #[cfg(test)]
        moments::before_begin(writes).await?;
        let begun = match &self.pool {
            Pool::Sqlite(file) => file.begin(writes).await.map(Connection::Sqlite),
            Pool::Postgres(pool) => {
                let begun = async {
                    if writes {
                        postgres::write(pool, postgres::turn(self.mesh.as_str())).await
                    } else {
                        postgres::read(pool).await
                    }
                };
                let begun = timeout(postgres::STATEMENT, begun).await;
                begun.unwrap_or_else(|_| Err(postgres::timed_out())).map(Connection::Postgres)
            }
        };
        #[cfg(test)]
        moments::after(moments::Moment::Begin).await?;
        begun
    }

    /// Waits for what is under way and closes the database.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(file) => file.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }
}

/// One transaction; each noun's file adds its statements.
#[derive(Debug)]
pub struct Transaction {
    sql: Connection,
    mesh: MeshId,
    digests: SharedDigests,
    hosts: Arc<Hosts>,
    orders: Arc<LastOrders>,
    /// Whether it is a change: what it sees, others may never see.
    writes: bool,
    /// Whether the audit log got a line: then others are to look.
    changed: bool,
    /// Of a change: given on after `sql` is done.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Transaction {
    /// Makes the change last.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        self.tell_others().await?;
        self.sql.commit().await.map_err(sql("commit a transaction"))
    }
}

#[cfg(test)]
mod tests;
