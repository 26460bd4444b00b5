//! WireGuard engines, ours and others', each in a process of its own on a host of the lab, asked in the same words: to
//! judge ours by those that nobody here wrote, and to measure it beside them. What is asked is in `wish`.

pub mod carry;
mod clock;
mod wish;

pub use clock::Clock;
pub use wish::{KeyBytes, PeerSeen, PeerWish, Wish, private_key, public_key};

use crate::{Host, LabError, Process, command, programs, undisturbed, wait_until};
use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Where engines put their sockets, by the name of the interface.
const SOCKETS: &str = "/var/run/wireguard";
/// Longest that an engine takes to start, or to answer when it has 10,000 peers.
const PATIENCE: Duration = Duration::from_secs(20);

/// An engine that carries tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carrier {
    /// Ours.
    Picket,
    /// wireguard-go.
    WireguardGo,
    /// boringtun-cli as it comes, with four threads.
    Boringtun,
    /// boringtun-cli with one thread, which is faster on few cores.
    BoringtunOneThread,
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Picket => "picket",
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun-cli",
            Self::BoringtunOneThread => "boringtun-cli-1-thread",
        })
    }
}

impl Carrier {
    /// Its program: ours beside this one, others' where `cargo xtask` puts them, or where Debian does.
    ///
    /// # Errors
    /// [`LabError::MissingJudge`] or [`LabError::NotBuilt`] if it is not there.
    pub fn program(self) -> Result<PathBuf, LabError> {
        let (program, how) = match self {
            Self::Picket => {
                let path = programs::Program::folder()?.join("picket-lab");
                return if path.is_file() { Ok(path) } else { Err(LabError::NotBuilt { path }) };
            }
            Self::WireguardGo => ("wireguard-go", "apt-get install wireguard-go"),
            Self::Boringtun | Self::BoringtunOneThread => {
                ("boringtun-cli", "cargo install boringtun-cli --version 0.7.1 --locked --root target/judges")
            }
        };
        let folder = programs::Program::folder()?;
        let own = folder.parent().unwrap_or(&folder).join("judges/bin");
        let folders = [own.as_path(), Path::new("/usr/bin"), Path::new("/usr/local/bin")];
        let found = folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file());
        found.ok_or(LabError::MissingJudge { program, how })
    }

    /// What it says of its version, in one line.
    ///
    /// # Errors
    /// As [`Carrier::program`], or if it cannot be started.
    pub fn version(self) -> Result<String, LabError> {
        if self == Self::Picket {
            return Ok(env!("CARGO_PKG_VERSION").to_owned());
        }
        let output = command::run(&self.program()?.to_string_lossy(), &["--version"], "")?;
        Ok(output.stdout.lines().next().unwrap_or_default().to_owned())
    }
}

/// One end of tunnels: an engine's process and its interface on a host. Dropping it ends the process.
#[derive(Debug)]
pub struct End {
    /// Where it runs.
    pub host: Host,
    /// Name of the interface.
    pub interface: String,
    /// The engine's process.
    pub process: Process,
    socket: PathBuf,
}

impl End {
    /// Starts an engine with an interface of these addresses and this MTU. It has no key, port or peer yet.
    ///
    /// # Errors
    /// As [`Carrier::program`]; [`LabError::Process`] or [`LabError::TimedOut`] if it does not come up.
    pub fn start(host: &Host, carrier: Carrier, addresses: &[&str], mtu: u16) -> Result<Self, LabError> {
        Self::start_by(None, host, carrier, addresses, mtu)
    }

    /// The same, by a clock of the caller's.
    ///
    /// # Errors
    /// As [`End::start`].
    pub fn start_by(
        clock: Option<&Clock>,
        host: &Host,
        carrier: Carrier,
        addresses: &[&str],
        mtu: u16,
    ) -> Result<Self, LabError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);

        // Sockets of others lie in one folder for all namespaces, so names are of this process.
        let interface = format!("w{}x{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let program = carrier.program()?;
        let name = interface.as_str();
        let socket = Path::new(SOCKETS).join(format!("{name}.sock"));
        let boringtun = ["--foreground", "--disable-drop-privileges", "--threads"];
        let arguments = match carrier {
            Carrier::Picket => vec!["carry", name],
            Carrier::WireguardGo => vec!["--foreground", name],
            Carrier::Boringtun => [&boringtun[..], &["4", name]].concat(),
            Carrier::BoringtunOneThread => [&boringtun[..], &["1", name]].concat(),
        };
        let environment: Vec<_> = clock.iter().flat_map(|clock| clock.environment()).collect();
        let environment: Vec<_> = environment.iter().map(|(variable, value)| (*variable, value.as_str())).collect();
        let process = host.start(name, &program, &arguments, &environment)?;
        let end = Self { host: host.clone(), interface, process, socket };
        wait_until("the engine to listen", PATIENCE, || {
            end.process.must_run().map_err(|error| error.to_string())?;
            end.peers().map(drop).map_err(|error| error.to_string())
        })?;
        let mut script = format!("link set {} mtu {mtu} up\n", end.interface);
        addresses.iter().for_each(|address| script += &address_line(address, &end.interface));
        command::ip(Some(host.namespace()), &script)?;
        Ok(end)
    }

    /// Asks for a change: in several requests where there are more peers than fit one.
    ///
    /// # Errors
    /// [`LabError::Unexpected`] if the engine does not do it.
    pub fn set(&self, wish: &Wish) -> Result<(), LabError> {
        wish.requests().iter().try_for_each(|request| self.ask(request).map(drop))
    }

    /// How its peers stand.
    ///
    /// # Errors
    /// [`LabError::Io`] or [`LabError::Unexpected`] if the engine does not say.
    pub fn peers(&self) -> Result<BTreeMap<KeyBytes, PeerSeen>, LabError> {
        wish::peers(&self.ask("get=1\n\n")?)
    }

    /// Changes the interface's MTU while it runs.
    ///
    /// # Errors
    /// What `ip` refused.
    pub fn set_mtu(&self, mtu: u16) -> Result<(), LabError> {
        command::ip(Some(self.host.namespace()), &format!("link set {} mtu {mtu}\n", self.interface))
    }

    /// Processor time the engine took so far, of threads that have ended too.
    ///
    /// # Errors
    /// [`LabError::Process`] if it has ended.
    pub fn cpu(&self) -> Result<Duration, LabError> {
        self.process.cpu()
    }

    fn ask(&self, request: &str) -> Result<String, LabError> {
        let what = |error| LabError::io(format!("ask the engine at {}", self.socket.display()), error);
        let mut stream = UnixStream::connect(&self.socket).map_err(what)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(what)?;
        stream.write_all(request.as_bytes()).map_err(what)?;
        let mut answer = Vec::new();
        let mut part = [0; 65_536];
        // Some engines leave the connection open for the next request.
        while !answer.ends_with(b"\n\n") {
            match undisturbed(|| stream.read(&mut part)).map_err(what)? {
                0 => break,
                length => answer.extend_from_slice(&part[..length]),
            }
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        if answer.lines().any(|line| line == "errno=0") {
            return Ok(answer);
        }
        let said = answer.lines().last().unwrap_or("nothing");
        Err(LabError::Unexpected {
            found: format!("{} answers {said:?}; its log: {}", self.interface, self.process.log()),
        })
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.process.kill();
        // An engine that is killed leaves it.
        let _ = fs::remove_file(&self.socket);
        clock::forget(self.process.id());
    }
}

fn address_line(address: &str, interface: &str) -> String {
    let detection = if address.contains(':') { " nodad" } else { "" };
    format!("address add {address} dev {interface}{detection}\n")
}
