//! moto, AWS played by others: its server from PyPI, of one pinned version, in a Python environment under the build folder that
//! the first test makes. What it plays is not what AWS does; docs/operations.md says which of it our tests stand on.

use std::{
    ffi::OsStr,
    fmt, fs,
    io::{self, Error},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::sleep,
};

/// What is installed; another version is another environment.
const PACKAGE: &str = "moto[server]==5.2.2";
const FOLDER: &str = "moto-5.2.2";
/// A cold start imports half of Python.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; it ends with this value.
pub struct Moto {
    /// `http://127.0.0.1:port/`, for all services.
    pub url: String,
    child: Child,
}

impl fmt::Debug for Moto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Moto({})", self.url)
    }
}

impl Moto {
    /// Starts it; its environment is made under `folder` where it is not there yet. After `unsigned` requests it demands that all
    /// others are signed by a key that it knows; without a number it never does.
    ///
    /// # Errors
    /// An IO error that says what is missing.
    pub async fn start(folder: &Path, unsigned: Option<u32>) -> io::Result<Self> {
        let environment = folder.join(FOLDER);
        let made = environment.clone();
        tokio::task::spawn_blocking(move || make(&made)).await.map_err(Error::other)??;
        // Free now; nobody else here asks for ports by number.
        let address = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?.local_addr()?;
        let mut command = Command::new(python(&environment));
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &address.port().to_string()]);
        if let Some(unsigned) = unsigned {
            command.env("INITIAL_NO_AUTH_ACTION_COUNT", unsigned.to_string());
        }
        let log = fs::File::create(environment.join(format!("server-{}.log", address.port())))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn()?;
        let mut server = Self { url: format!("http://{address}/"), child };
        let started = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if server.child.try_wait()?.is_some() || started.elapsed() > PATIENCE {
                return Err(Error::other(format!("moto does not listen: see {}/*.log", environment.display())));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(server)
    }
}

fn python(environment: &Path) -> PathBuf {
    environment.join("bin/python")
}

/// Makes the environment, once for all test programs of this build folder.
fn make(environment: &Path) -> io::Result<()> {
    let folder = environment.parent().ok_or_else(|| Error::other("no folder"))?;
    fs::create_dir_all(folder)?;
    let lock = fs::File::create(environment.with_extension("lock"))?;
    lock.lock()?;
    let whole = environment.join("whole");
    if whole.exists() {
        return Ok(());
    }
    run(OsStr::new("python3"), &["-m".as_ref(), "venv".as_ref(), "--clear".as_ref(), environment.as_os_str()])?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE];
    run(python(environment).as_os_str(), &pip.map(OsStr::new))?;
    fs::write(whole, PACKAGE)
}

fn run(program: &OsStr, arguments: &[&OsStr]) -> io::Result<()> {
    let doing = || format!("{} {}", program.display(), arguments.join(OsStr::new(" ")).display());
    let output = std::process::Command::new(program).args(arguments).output();
    let output =
        output.map_err(|error| Error::other(format!("{}: {error}; Debian has it in python3-venv", doing())))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::other(format!("{}: {said}; Debian has it in python3-venv", doing())))
}
