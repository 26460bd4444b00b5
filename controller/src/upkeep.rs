//! The database while no controller runs, and its backup while one does: into a file, back from one, from SQLite to PostgreSQL and
//! back, and on to a generation that no host is ahead of. Each says what it did in one sentence.

use crate::{
    Config,
    state_dir::StateDir,
    store::{Actor, Place, Store},
};
use anyhow::{Context as _, bail, ensure};
use picket_model::{Generation, MeshId, Timestamp};
use picket_progress::Progress;
use std::path::Path;

/// How far an advance goes beyond all that is known: more plans than a mesh makes between two backups.
const AHEAD: u64 = 1_000_000;
/// What is waited for before the first table.
const WAITS: &str = "the database";

/// Copies the database into a file, while a controller may run.
pub(crate) async fn back_up(state_dir: &Path, config: &Config, file: &Path) -> anyhow::Result<String> {
    let (mesh, place) = mesh_and_place(state_dir, config)?;
    let store = Store::at(&place, mesh.clone()).await?;
    let progress = Progress::begin(WAITS);
    let rows = store.back_up(file, &progress).await;
    store.close().await;
    let rows = rows.with_context(|| format!("back {place} up to {}", file.display()))?;
    Ok(format!(
        "{rows} rows of mesh {mesh} are in {}; back ca.pem and ca.key of {} up as well, and keep them apart",
        file.display(),
        state_dir.display()
    ))
}

/// Puts the database of a backup in the place of the one of now. Hosts refuse generations below the one they hold: where the backup's may
/// be such a one, `advance` has to be said, and has the mesh go on beyond it.
pub(crate) async fn restore(
    state_dir: &Path,
    config: &Config,
    file: &Path,
    advance: bool,
    now: Timestamp,
) -> anyhow::Result<String> {
    ensure!(file.exists(), "there is no backup {}", file.display());
    let state = StateDir::open(state_dir)?;
    let (mesh, place) = mesh_and_place(state_dir, config)?;
    let backup = Place::File(file.to_owned());
    let found = Store::mesh_of(&backup).await.with_context(|| format!("read backup {}", file.display()))?;
    ensure!(
        found.as_ref() == Some(&mesh),
        "backup {} is of {}, and the CA in {} of mesh {mesh}: restore both from the same backup",
        file.display(),
        found.map_or_else(|| "no mesh".to_owned(), |found| format!("mesh {found}")),
        state_dir.display()
    );
    let from = Store::at(&backup, mesh.clone()).await?;
    let (old, held) = generations(&from).await?;
    // Of the database that is to be replaced, where there is one that can be read.
    let current = match &place {
        Place::File(path) if !path.exists() => None,
        place => Store::mesh_of(place).await.ok().flatten(),
    };
    let mut known = old.max(held);
    if current.is_some() {
        let store = Store::at(&place, mesh.clone()).await?;
        check_nobody(&store).await?;
        let (target, held) = generations(&store).await?;
        known = known.max(target).max(held);
        store.close().await;
    }
    ensure!(
        advance || current.is_some() && known <= old,
        "the backup has generation {old}, and hosts may hold newer ones{}: they would refuse everything. Say --advance, which has the \
         mesh go on beyond them; revoke again who was revoked since the backup",
        if current.is_some() { format!(" (up to {known})") } else { String::new() },
    );
    empty(&place, &state, now).await?;
    let to = Store::at(&place, mesh).await?;
    let progress = Progress::begin(WAITS);
    let rows = from.copy_to(&to, &progress).await?;
    from.close().await;
    let said = if advance { format!(", and {}", go_on(&to, known, now).await?) } else { String::new() };
    to.close().await;
    Ok(format!("{rows} rows of {} are in {place}{said}", file.display()))
}

/// Has the mesh go on beyond every generation that a host may hold, after an older database was put back by other means.
pub(crate) async fn advance(state_dir: &Path, config: &Config, now: Timestamp) -> anyhow::Result<String> {
    let _state = StateDir::open(state_dir)?;
    let (mesh, place) = mesh_and_place(state_dir, config)?;
    let store = Store::at(&place, mesh).await?;
    check_nobody(&store).await?;
    let (target, held) = generations(&store).await?;
    let said = go_on(&store, target.max(held), now).await;
    store.close().await;
    said
}

/// Copies the database of the state folder's file to the configured server.
pub(crate) async fn to_postgres(state_dir: &Path, config: &Config) -> anyhow::Result<String> {
    let _state = StateDir::open(state_dir)?;
    let (mesh, server) = mesh_and_place(state_dir, config)?;
    ensure!(
        matches!(server, Place::Server(_)),
        "the configuration names no server: write `database = \"postgres://…\"`"
    );
    let file = StateDir::database_in(state_dir);
    ensure!(file.exists(), "there is no database {}", file.display());
    let from = Store::open(&file, mesh.clone()).await?;
    let rows = copy(&from, &Store::at(&server, mesh).await?).await.with_context(|| format!("copy to {server}"))?;
    Ok(format!("{rows} rows are in {server}; {} is as it was: keep it as a backup, or remove it", file.display()))
}

/// Copies the configured server's database to the state folder's file.
pub(crate) async fn to_sqlite(state_dir: &Path, config: &Config) -> anyhow::Result<String> {
    let _state = StateDir::open(state_dir)?;
    let (mesh, server) = mesh_and_place(state_dir, config)?;
    ensure!(
        matches!(server, Place::Server(_)),
        "the configuration names no server to copy from: leave `database` in it until then"
    );
    let file = StateDir::database_in(state_dir);
    let from = Store::at(&server, mesh).await?;
    check_nobody(&from).await?;
    let progress = Progress::begin(WAITS);
    let rows = from.back_up(&file, &progress).await;
    from.close().await;
    let rows = rows.with_context(|| format!("copy {server} to {}", file.display()))?;
    Ok(format!("{rows} rows are in {}: take `database` out of the configuration and start", file.display()))
}

async fn copy(from: &Store, to: &Store) -> anyhow::Result<u64> {
    let rows = from.copy_to(to, &Progress::begin(WAITS)).await;
    from.close().await;
    to.close().await;
    Ok(rows?)
}

fn mesh_and_place(state_dir: &Path, config: &Config) -> anyhow::Result<(MeshId, Place)> {
    let mesh = StateDir::existing_ca(state_dir)?.mesh().clone();
    Ok((mesh, config.database(StateDir::database_in(state_dir))))
}

/// The target's generation, and the greatest that any host said it holds.
async fn generations(store: &Store) -> anyhow::Result<(Generation, Generation)> {
    let mut tx = store.read().await?;
    let held = tx.reports().await?.into_values().map(|stored| stored.report.applied).max();
    Ok((tx.target_generation().await?, held.unwrap_or_default()))
}

async fn check_nobody(store: &Store) -> anyhow::Result<()> {
    let here = store.controllers().await?;
    ensure!(here == 0, "{here} controllers run on this database: stop them, and try again ten seconds later");
    Ok(())
}

async fn go_on(store: &Store, known: Generation, now: Timestamp) -> anyhow::Result<String> {
    let to = Generation(known.0.saturating_add(AHEAD));
    let mut tx = store.write().await?;
    let Some(target) = tx.advance(to, now).await? else {
        return Ok("there is no plan yet, so that nothing had to be advanced".to_owned());
    };
    let detail = format!("by a person at the controller's host, beyond {known}; {} hosts", target.plan.nodes.len());
    tx.record(now, &Actor::Controller, "plan.advanced", &to.to_string(), &detail).await?;
    tx.commit().await?;
    Ok(format!("the mesh goes on at generation {to}: every host takes its state anew"))
}

/// Makes room for a database that is restored: a file is put aside, a server's tables must be empty already.
async fn empty(place: &Place, state: &StateDir, now: Timestamp) -> anyhow::Result<()> {
    match place {
        Place::Server(server) => {
            if let Some(mesh) = Store::mesh_of(place).await? {
                bail!(
                    "database {} has mesh {mesh} in it: restore into an empty one (`dropdb`, `createdb`), so that nothing is lost by \
                     mistake",
                    server.url.as_str()
                );
            }
            Ok(())
        }
        Place::File(_) => state.put_database_aside(now),
    }
}
