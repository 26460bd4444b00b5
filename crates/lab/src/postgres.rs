//! A PostgreSQL server of a test's own: in a temporary folder, without fsync, on a socket alone or on a host of a lab with password
//! and TLS. It ends with whoever started it, however that ends. Needs Debian's package `postgresql`; the system's own server, if
//! there is one, is not touched.

use crate::{Host, command::said, wait::wait_until};
use anyhow::{Context as _, ensure};
use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    net::IpAddr,
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
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
"$1/postgres" -D "$2/data" -c unix_socket_directories="$2" -c listen_addresses="$3" -c ssl="$4" -c ssl_cert_file="$2/server.pem" \
    -c ssl_key_file="$2/server.key" -c max_connections=300 -c shared_buffers=32MB -c fsync=off -c full_page_writes=off \
    -c log_min_messages=fatal </dev/null >>"$2/log" 2>&1 &
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

/// Who may come over the network: the owner of the databases, by password, in the clear never.
const OVER_THE_NETWORK: &str = "hostssl all picket all scram-sha-256\n";
/// The owner's password there.
const PASSWORD: &str = "only this lab's";

/// A server with databases for tests.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    /// Where it listens besides its socket.
    place: Option<(Host, IpAddr)>,
    keeper: Mutex<Option<Child>>,
    databases: AtomicU32,
}

impl Postgres {
    /// Makes a server on a socket alone and starts it.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start; then its log is told.
    pub fn start() -> anyhow::Result<Self> {
        let server = Self::make(None)?;
        server.init(&["--auth=trust"])?;
        server.resume()?;
        Ok(server)
    }

    /// Makes a server that listens on a host too, and starts it there. Whoever comes over the network has to verify its certificate
    /// and needs the password in [`Postgres::password_file`].
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn start_on(host: &Host) -> anyhow::Result<Self> {
        let address = host.v4(0)?.ip();
        let server = Self::make(Some((host.clone(), address)))?;
        server.give("password", PASSWORD)?;
        let password_file = format!("--pwfile={}", server.password_file());
        server.init(&["--auth-local=trust", "--auth-host=scram-sha-256", &password_file])?;
        server.give("data/pg_hba.conf", &format!("local all all trust\n{OVER_THE_NETWORK}"))?;
        let made =
            rcgen::generate_simple_self_signed(vec![address.to_string()]).context("make the server's certificate")?;
        server.give("server.pem", &made.cert.pem())?;
        server.give("server.key", &made.signing_key.serialize_pem())?;
        server.resume()?;
        Ok(server)
    }

    fn make(place: Option<(Host, IpAddr)>) -> anyhow::Result<Self> {
        let programs = programs()?;
        // One in a lab is killed with it, whatever ends that: its folder is a left-over of the lab then.
        let prefix = match &place {
            Some((host, _)) => format!("{}-postgres-", host.shared.id.name()),
            None => "picket-postgres-".to_owned(),
        };
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir().context("make a folder")?.keep();
        let server = Self { programs, folder, place, keeper: Mutex::default(), databases: AtomicU32::new(0) };
        server.hand_over(&server.folder)?;
        Ok(server)
    }

    fn init(&self, access: &[&str]) -> anyhow::Result<()> {
        let mut initdb = self.program("initdb")?;
        initdb.args(access).args(["--no-sync", "--encoding=UTF8", "--locale=C", "--username", USER, "--pgdata"]);
        said(initdb.arg(self.folder.join("data")))?;
        Ok(())
    }

    /// Writes a file for the server's user alone, as it wants its key and its list of who may come in to be.
    fn give(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("write {}", path.display()))?;
        self.hand_over(&path)
    }

    fn hand_over(&self, path: &Path) -> anyhow::Result<()> {
        let Some(user) = other_user()? else { return Ok(()) };
        nix::unistd::chown(path, Some(user.uid), Some(user.gid))
            .with_context(|| format!("give {} to the server's user", path.display()))
    }

    /// The file with the password for whoever comes over the network.
    #[must_use]
    pub fn password_file(&self) -> String {
        self.folder.join("password").display().to_string()
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
        let folder = self.folder.display();
        Ok(match &self.place {
            None => format!("postgres:///{name}?host={folder}&user={USER}"),
            Some((_, address)) => {
                format!("postgres://{USER}@{address}/{name}?sslmode=verify-full&sslrootcert={folder}/server.pem")
            }
        })
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
        let (listens_at, tls) = match &self.place {
            None => (String::new(), "off"),
            Some((_, address)) => (address.to_string(), "on"),
        };
        let mut keeper = as_user("/bin/sh")?;
        keeper.args(["-c", KEEPER, "sh"]).arg(&self.programs).arg(&self.folder).args([&listens_at, tls]);
        keeper.stdin(Stdio::piped()).stderr(Stdio::null());
        let started = match &self.place {
            None => keeper.spawn(),
            Some((host, _)) => host.inside(|| keeper.spawn())?,
        };
        started.context("start the server's keeper")
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
        if let Some(mut keeper) = self.keeper().take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
        // Where nothing kept it any more.
        let _ = fs::remove_dir_all(&self.folder);
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
