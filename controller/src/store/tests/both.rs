//! One test on both databases: SQLite in a folder of its own, and a database of its own on the tests' PostgreSQL server.

use super::*;
use crate::store::{postgres, schema::Opened, sqlite};
use picket_lab::Postgres;

/// A database of a test's own; it goes with the test.
pub(super) struct Own {
    place: Place,
    _folder: TempDir,
}

impl Own {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { place: Place::File(folder.path().join("db")), _folder: folder }
    }

    fn postgres() -> Self {
        let url = Postgres::shared().database().unwrap().try_into().unwrap();
        Self { place: Place::Server(Server { url, password_file: None }), _folder: tempfile::tempdir().unwrap() }
    }

    /// The database as one more controller opens it.
    pub(super) async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    /// The same for steps of its schema.
    pub(super) async fn for_steps(&self) -> Opened {
        match &self.place {
            Place::File(path) => Opened::Sqlite(sqlite::open(path).await.unwrap()),
            Place::Server(server) => Opened::Postgres(postgres::open(server.url.as_str(), None).await.unwrap()),
        }
    }

    pub(super) async fn try_open(&self) -> Result<Store, StoreError> {
        Store::at(&self.place, "m-1".parse().unwrap()).await
    }
}

/// Runs a test on a new database of each kind, with the mesh in it.
pub(super) async fn on_both(test: impl AsyncFn(Store, Own)) {
    for own in [Own::sqlite(), Own::postgres()] {
        println!("on {}", own.place);
        let store = own.open().await;
        enter_mesh(&store).await;
        test(store.clone(), own).await;
        store.close().await;
    }
}
