//! The program's arguments and what they start.

use crate::{
    App, Config, ca, check,
    config::{DEFAULT_PATH, DEFAULT_STATE_DIR},
    now, operators, owner,
    state_dir::StateDir,
    upkeep,
};
use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use picket_manual::Manual;
use picket_pki::OperatorRole;
use picket_telemetry::Collector;
use sd_notify::NotifyState;
use secrecy::ExposeSecret as _;
use std::path::{Path, PathBuf};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

/// Polls, plans and answers are short; more threads would only cost memory.
const THREADS: usize = 2;

/// Plans a Picket mesh from the validator list and the operator's policy, and tells its hosts.
#[derive(Debug, Parser)]
#[command(name = "picket-controller", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM or SIGINT.
    Serve {
        /// Configuration file; without it, the default one is read if it exists.
        #[arg(long, env = "PICKET_CONFIG", value_name = "PATH", help = format!("Configuration file [default: {DEFAULT_PATH}, if it exists]"))]
        config: Option<PathBuf>,
        #[command(flatten)]
        state: State,
    },
    /// Read a configuration as `serve` does, and say what is wrong with it, or what it will do; exit status 0 where it is good. Opens
    /// nothing, and starts nothing.
    Check {
        /// Configuration file; without it, the default one is read if it exists.
        #[arg(long, env = "PICKET_CONFIG", value_name = "PATH", help = format!("Configuration file [default: {DEFAULT_PATH}, if it exists]"))]
        config: Option<PathBuf>,
        #[command(flatten)]
        state: State,
    },
    /// Ask the controller that runs on this host whether it is ready, as a container's health check does; exit status 0 where it is.
    Ready {
        /// Configuration file, whose `listen.health` says where it answers.
        #[arg(long, env = "PICKET_CONFIG", value_name = "PATH", help = format!("Configuration file, whose `listen.health` says where it answers [default: {DEFAULT_PATH}, if it exists]"))]
        config: Option<PathBuf>,
    },
    /// Add an operator, and print the file by which `picket --context FILE` asks in their name. Shown once.
    AddOperator {
        /// `enroller` may make join tokens, `viewer` may look, `admin` may change things too.
        #[arg(long)]
        role: OperatorRole,
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        state: State,
    },
    /// Check that no line of the audit log was changed, dropped or put in; prints the log's head. The controller may run.
    VerifyLog {
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        state: State,
    },
    /// Copy the database, whichever it is, into a new file. The controller may run.
    Backup {
        /// The file; there must be none of this name.
        file: PathBuf,
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        state: State,
    },
    /// Put the database of a backup in the place of the one of now. No controller may run.
    Restore {
        /// The backup.
        file: PathBuf,
        /// Go on beyond every generation that a host may hold, where the backup is older than that.
        #[arg(long)]
        advance: bool,
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        state: State,
    },
    /// Go on beyond every generation that a host may hold, after an older database was put back by other means. No controller may run.
    Advance {
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        state: State,
    },
    /// Move between the state folder's database file and the configured server. No controller may run.
    Migrate {
        /// Which way.
        way: Way,
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        state: State,
    },
    /// Print the fingerprint of this mesh's CA, which hosts pin.
    Fingerprint {
        #[command(flatten)]
        state: State,
    },
    /// The mesh's CA at rest.
    Ca {
        #[command(subcommand)]
        command: CaCommand,
        /// Configuration file, whose `[ca]` says where the passphrase comes from.
        #[arg(long, global = true, env = "PICKET_CONFIG", value_name = "PATH", help = format!("Configuration file [default: {DEFAULT_PATH}, if it exists]"))]
        config: Option<PathBuf>,
        /// Folder with the CA.
        #[arg(long, global = true, env = "PICKET_STATE_DIR", value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
        state_dir: PathBuf,
    },
    #[command(flatten)]
    Manual(Manual),
}

impl Command {
    /// The folder whose files it writes.
    fn writes_in(&self) -> Option<&Path> {
        match self {
            Self::Serve { state, .. }
            | Self::AddOperator { state, .. }
            | Self::VerifyLog { state, .. }
            | Self::Backup { state, .. }
            | Self::Restore { state, .. }
            | Self::Advance { state, .. }
            | Self::Migrate { state, .. } => Some(&state.dir),
            Self::Ca { command: CaCommand::Create { .. }, .. } => None,
            Self::Ca { state_dir, .. } => Some(state_dir),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Subcommand)]
enum CaCommand {
    /// Make the CA of a new mesh, before any controller runs, for several that are given it by `ca.certificate_file` and `ca.key_file`.
    Create {
        /// Folder for `ca.pem` and `ca.key`; one that has none of them.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Which CA it is, until when it lasts, and whether its key is encrypted. The controller may run.
    Status,
    /// Encrypt its key under the configured passphrase. The controller must not run.
    Encrypt,
    /// Write its key plain again. The controller must not run.
    Decrypt,
}

#[derive(Debug, Args)]
struct State {
    /// Folder with the database, the CA and the operator's token.
    #[arg(long = "state-dir", env = "PICKET_STATE_DIR", value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    dir: PathBuf,
}

/// From which database to which.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    /// From the file to the server.
    SqliteToPostgres,
    /// From the server to the file.
    PostgresToSqlite,
}

/// For what reads the database beside a controller.
#[derive(Debug, Args)]
struct Database {
    /// Configuration file, whose `database` says where the database is.
    #[arg(long, env = "PICKET_CONFIG", value_name = "PATH", help = format!("Configuration file, whose `database` says where the database is [default: {DEFAULT_PATH}, if it exists]"))]
    config: Option<PathBuf>,
}

impl Database {
    fn load(&self) -> anyhow::Result<Config> {
        Ok(Config::load(self.config.as_deref())?)
    }
}

/// Does what the arguments say; an error is one sentence for the operator.
pub fn run() -> anyhow::Result<()> {
    let command = Arguments::parse().command;
    command.writes_in().map_or(Ok(()), owner::become_owner_of)?;
    match command {
        Command::Serve { config, state } => {
            let config = Config::load(config.as_deref());
            let collector = config.as_ref().ok().and_then(|config| config.traces.collector.as_ref());
            let _telling = picket_telemetry::init("picket-controller", env!("CARGO_PKG_VERSION"), collector)?;
            let config = config?;
            runtime()?.block_on(serve(config, state.dir))
        }
        Command::Check { config, state } => {
            let config = Config::load(config.as_deref())?;
            config.traces.collector.as_ref().map_or(Ok(()), Collector::check)?;
            println!("{}", check::said(&config, &state.dir));
            Ok(())
        }
        Command::Ready { config } => {
            let health = Config::load(config.as_deref())?.listen.health;
            Ok(runtime()?.block_on(picket_telemetry::ask_ready(health))?)
        }
        Command::AddOperator { role, database, state } => {
            let config = database.load()?;
            let context = runtime()?.block_on(operators::add(&state.dir, &config, role, now()))?;
            print!("{}", context.expose_secret());
            Ok(())
        }
        Command::VerifyLog { database, state } => {
            let config = database.load()?;
            println!("{}", runtime()?.block_on(operators::verify_log(&state.dir, &config))?);
            Ok(())
        }
        Command::Backup { file, database, state } => say(upkeep::back_up(&state.dir, &database.load()?, &file)),
        Command::Restore { file, advance, database, state } => {
            say(upkeep::restore(&state.dir, &database.load()?, &file, advance, now()))
        }
        Command::Advance { database, state } => say(upkeep::advance(&state.dir, &database.load()?, now())),
        Command::Migrate { way, database, state } => {
            let config = database.load()?;
            match way {
                Way::SqliteToPostgres => say(upkeep::to_postgres(&state.dir, &config)),
                Way::PostgresToSqlite => say(upkeep::to_sqlite(&state.dir, &config)),
            }
        }
        Command::Fingerprint { state } => {
            println!("{}", StateDir::existing_ca(&state.dir)?.fingerprint());
            Ok(())
        }
        Command::Ca { command, config, state_dir } => {
            let config = Config::load(config.as_deref())?.ca;
            let said = match command {
                CaCommand::Create { out } => runtime()?.block_on(ca::create(&out, &config, now()))?,
                CaCommand::Status => ca::status(&state_dir, &config)?,
                CaCommand::Encrypt => runtime()?.block_on(ca::encrypt(&state_dir, &config))?,
                CaCommand::Decrypt => runtime()?.block_on(ca::decrypt(&state_dir, &config))?,
            };
            println!("{said}");
            Ok(())
        }
        Command::Manual(manual) => Ok(manual.write(Arguments::command())?),
    }
}

/// Does it, and prints what came of it.
fn say(doing: impl Future<Output = anyhow::Result<String>>) -> anyhow::Result<()> {
    println!("{}", runtime()?.block_on(doing)?);
    Ok(())
}

fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().context("start the runtime")
}

async fn serve(config: Config, state_dir: PathBuf) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
    let running = tokio::select! {
        started = App::start(config, &state_dir) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    notify(NotifyState::Ready);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = stay_watched() => {}
    }
    notify(NotifyState::Stopping);
    running.stop().await;
    Ok(())
}

/// Tells the watchdog of the unit, where it has one, that the runtime turns.
async fn stay_watched() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut timer = interval(limit / 2);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        notify(NotifyState::Watchdog);
    }
}

/// Tells systemd, where it started us.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd was not told how this service stands");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_every_verb() {
        Arguments::command().debug_assert();
        let folder = tempfile::tempdir().unwrap();
        Manual::Man { out: folder.path().to_owned() }.write(Arguments::command()).unwrap();
        for verb in ["", "-serve", "-check", "-add-operator", "-backup", "-restore", "-fingerprint", "-ca-encrypt"] {
            let page = folder.path().join(format!("picket-controller{verb}.1"));
            assert!(page.is_file(), "{}", page.display());
        }
    }
}
