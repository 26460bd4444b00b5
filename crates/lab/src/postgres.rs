//! A PostgreSQL server of a test's own: in a temporary folder, on a socket alone, without fsync. It ends with whoever started it,
//! however that ends. Needs Debian's package `postgresql`; the system's own server, if there is one, is not touched.

use crate::wait::wait_until;
use anyhow::{Context as _, bail, ensure};
use std::{
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Who owns the databases.
const USER: &str = "picket";
/// The user that Debian's package makes; the server refuses to run as root.
const RUNS_AS: &str = "postgres";
/// Where Debian has the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server says that is started while workers of one that crashed are still ending.
const STILL_ENDING: &str = "pre-existing shared memory block";

/// Runs the server until its input says so, which leaves the folder, or ends, which removes it: that happens however the test ends.
const KEEPER: &str = r#"
"$1/postgres" -D "$2/data" -c unix_socket_directories="$2" -c listen_addresses= -c max_connections=300 -c shared_buffers=32MB \
    -c fsync=off -c full_page_writes=off -c log_min_messages=fatal </dev/null >>"$2/log" 2>&1 &
server=$!
if read -r signal; then
    kill -"$signal" $server
    wait $server
else
    kill -INT $server
    wait $server
    rm -rf "$2"
fi
"#;

/// A server with databases for tests.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    keeper: Mutex<Option<Child>>,
    databases: AtomicU32,
}

impl Postgres {
    /// Makes a server and starts it.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start; then its log is told.
    pub fn start() -> anyhow::Result<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("picket-postgres-").tempdir().context("make a folder")?.keep();
        if let Some(user) = other_user()? {
            nix::unistd::chown(&folder, Some(user.uid), Some(user.gid))
                .context("give the folder to the server's user")?;
        }
        let server = Self { programs, folder, keeper: Mutex::default(), databases: AtomicU32::new(0) };
        let data = server.folder.join("data");
        let mut initdb = server.program("initdb")?;
        initdb.args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--username", USER, "--pgdata"]);
        said(initdb.arg(&data))?;
        server.resume()?;
        Ok(server)
    }

    /// The server of all tests of this program, started by the first that asks.
    ///
    /// # Panics
    /// It does not start: then no test can be trusted.
    #[expect(clippy::expect_used, reason = "a test without its server fails")]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::start().expect("start a PostgreSQL server for tests"))
    }

    /// The URL of a new, empty database.
    ///
    /// # Errors
    /// The server does not do as asked.
    pub fn database(&self) -> anyhow::Result<String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut createdb = self.program("createdb")?;
        said(createdb.arg("--host").arg(&self.folder).args(["--username", USER, "--template", "template0", &name]))?;
        Ok(format!("postgres:///{name}?host={}&user={USER}", self.folder.display()))
    }

    /// Stops it by a signal: INT closes all connections and ends in order, KILL is a crash.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub fn stop(&self, signal: &str) -> anyhow::Result<()> {
        let mut keeper = self.keeper().take().context("the server does not run")?;
        end(&mut keeper, signal)
    }

    /// Starts it again where it was stopped; returns once it answers.
    ///
    /// # Errors
    /// It does not start; then its log is told.
    pub fn resume(&self) -> anyhow::Result<()> {
        let mut keeper = self.keep()?;
        let started = wait_until("the server to answer", PATIENCE, || -> anyhow::Result<()> {
            if self.log().contains(STILL_ENDING) {
                fs::remove_file(self.folder.join("log")).context("remove the server's log")?;
                end(&mut keeper, "KILL")?;
                keeper = self.keep()?;
            }
            ensure!(self.is_ready()?, "its log has: {}", self.log());
            Ok(())
        });
        *self.keeper() = Some(keeper);
        started.map(|_| ()).context("start a PostgreSQL server")
    }

    fn keep(&self) -> anyhow::Result<Child> {
        let mut keeper = as_user("/bin/sh")?;
        keeper
            .args(["-c", KEEPER, "sh"])
            .arg(&self.programs)
            .arg(&self.folder)
            .stdin(Stdio::piped())
            .stderr(Stdio::null());
        keeper.spawn().context("start the server's keeper")
    }

    fn is_ready(&self) -> anyhow::Result<bool> {
        let mut ready = self.program("pg_isready")?;
        let output = ready.arg("--quiet").arg("--host").arg(&self.folder).output();
        Ok(output.context("run pg_isready")?.status.success())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn program(&self, name: &str) -> anyhow::Result<Command> {
        as_user(self.programs.join(name))
    }

    fn keeper(&self) -> MutexGuard<'_, Option<Child>> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        match self.keeper().take() {
            Some(mut keeper) => {
                drop(keeper.stdin.take());
                let _ = keeper.wait();
            }
            None => _ = fs::remove_dir_all(&self.folder),
        }
    }
}

/// Has a keeper end its server and leave the folder.
fn end(keeper: &mut Child, signal: &str) -> anyhow::Result<()> {
    let input = keeper.stdin.as_mut().context("tell the server's keeper")?;
    writeln!(input, "{signal}").context("tell the server's keeper")?;
    keeper.wait().context("wait for the server")?;
    Ok(())
}

/// The newest version's programs.
fn programs() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten().map(|version| version.path().join("bin"));
    let newest = versions.filter(|bin| bin.join("initdb").exists()).max_by_key(|bin| number(bin));
    newest.with_context(|| {
        format!("no PostgreSQL in {VERSIONS}: install Debian's package postgresql, as `cargo xtask test` does")
    })
}

/// The version in a path such as `/usr/lib/postgresql/15/bin`.
fn number(bin: &Path) -> u32 {
    let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// Whom the server runs as where we are root.
fn other_user() -> anyhow::Result<Option<nix::unistd::User>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let user = nix::unistd::User::from_name(RUNS_AS).context("look a user up")?;
    user.with_context(|| format!("there is no user {RUNS_AS}, which Debian's package postgresql makes")).map(Some)
}

fn as_user(program: impl AsRef<std::ffi::OsStr>) -> anyhow::Result<Command> {
    let mut command = Command::new(program);
    command.current_dir("/");
    if let Some(user) = other_user()? {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    Ok(command)
}

fn said(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
