//! Programs running on a host: started, watched, stopped. Each has its own process group and a log in the lab's folder.

use std::{
    fs::{self, File},
    io::{Read, Seek},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    time::ClockId,
    unistd::Pid,
};

use crate::{Host, LabError, Output, command, wait::wait_until};

/// Time for a program to end after SIGTERM; ours take milliseconds.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Starts a program that sees the host's load in place of the machine's: `ip netns exec` gives it mounts of its own.
const WITH_ITS_LOAD: &str = r#"mount --bind "$0" /proc/loadavg && exec "$@""#;
/// Time for `ip netns exec` to become the program; it takes milliseconds.
const START_WITHIN: Duration = Duration::from_secs(10);
/// Time for a program that runs to its end.
const RUN_WITHIN: Duration = Duration::from_secs(30);
/// What programs get of the caller's environment. Not the rest: proxies and `PICKET_*` would change what they do.
const INHERITED: [&str; 4] = ["PATH", "HOME", "RUST_LOG", "RUST_BACKTRACE"];
/// Lines of a log in an error.
const LOG_LINES: usize = 30;

impl Host {
    /// Starts a program that keeps running until it is stopped or the lab is dropped, whatever becomes of the handle.
    /// `name` is what its log and errors call it. Variables of the caller are not passed on, except a few harmless ones.
    ///
    /// # Errors
    /// [`LabError::Io`] if the program or its log cannot be opened.
    pub fn start(
        &self,
        name: &str,
        program: impl AsRef<Path>,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Result<Process, LabError> {
        let process = self.watch(name, |stdout, stderr| self.spawn(program.as_ref(), args, env, stdout, stderr))?;
        process.wait_for_the_program()?;
        Ok(process)
    }

    /// Starts something whose output goes to a log of that name, and which the lab ends.
    pub(crate) fn watch(
        &self,
        name: &str,
        start: impl FnOnce(File, File) -> Result<Child, LabError>,
    ) -> Result<Process, LabError> {
        let log = self.new_log(name);
        let cannot_log = |error| LabError::io(format!("write {}", log.display()), error);
        let stdout = File::create(&log).map_err(cannot_log)?;
        let stderr = stdout.try_clone().map_err(cannot_log)?;
        let child = start(stdout, stderr)?;
        let running = Arc::new(Running {
            name: name.to_owned(),
            host: self.name().to_owned(),
            id: child.id(),
            log,
            child: Mutex::new(child),
        });
        self.shared.inventory().processes.push(Arc::clone(&running));
        Ok(Process(running))
    }

    /// Runs a program to its end, half a minute at most. A status other than 0 is no error here; see [`Output::success`].
    ///
    /// # Errors
    /// [`LabError::Io`] if it cannot be started, [`LabError::TimedOut`] if it does not end; it is killed then.
    pub fn run(&self, program: impl AsRef<Path>, args: &[&str]) -> Result<Output, LabError> {
        self.run_with(program, args, &[], RUN_WITHIN)
    }

    /// As [`Host::run`], with variables and a time limit.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn run_with(
        &self,
        program: impl AsRef<Path>,
        args: &[&str],
        env: &[(&str, &str)],
        within: Duration,
    ) -> Result<Output, LabError> {
        let command = command::line(&program.as_ref().to_string_lossy(), args);
        // Files and not pipes: nobody has to read while the program runs.
        let file = || tempfile::tempfile_in(&self.shared.folder);
        let keep = |error| LabError::io(format!("keep the output of `{command}`"), error);
        let (mut stdout, mut stderr) = (file().map_err(keep)?, file().map_err(keep)?);
        let mut child = self.spawn(
            program.as_ref(),
            args,
            env,
            stdout.try_clone().map_err(keep)?,
            stderr.try_clone().map_err(keep)?,
        )?;
        let ended = wait_until(&format!("`{command}` to end"), within, || {
            child.try_wait().map_err(|error| error.to_string())?.ok_or_else(|| "it still runs".to_owned())
        });
        if ended.is_err() {
            signal(child.id(), Signal::SIGKILL);
            let _ = child.wait();
        }
        let status = ended?.value;
        let stdout = text(&mut stdout).map_err(keep)?;
        let stderr = text(&mut stderr).map_err(keep)?;
        Ok(Output { command, status, stdout, stderr })
    }

    fn spawn(
        &self,
        program: &Path,
        args: &[&str],
        env: &[(&str, &str)],
        stdout: File,
        stderr: File,
    ) -> Result<Child, LabError> {
        // `ip` would say this only in the log.
        if program.components().count() > 1 {
            fs::metadata(program).map_err(|error| LabError::io(format!("start {}", program.display()), error))?;
        }
        let inherited = INHERITED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        Command::new("ip")
            .args(["netns", "exec", self.namespace()])
            .args(["sh", "-c", WITH_ITS_LOAD, &self.load_file()])
            .arg(program)
            .args(args)
            .env_clear()
            .envs(inherited)
            .envs(env.iter().copied())
            .current_dir(&self.shared.folder)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(|error| command::cannot_start("ip", error))
    }

    /// A log for each start: that of an earlier run is evidence.
    fn new_log(&self, name: &str) -> PathBuf {
        let inventory = self.shared.inventory();
        let before = inventory.processes.iter().filter(|p| p.host == self.name() && p.name == name).count();
        let number = if before == 0 { String::new() } else { format!("-{}", before + 1) };
        PathBuf::from(self.path(&format!("{name}{number}.log")))
    }
}

/// A program on a host. Dropping the handle leaves it running; the lab ends it.
#[derive(Debug, Clone)]
pub struct Process(Arc<Running>);

/// The program behind a [`Process`], which the lab keeps to end it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) host: String,
    id: u32,
    log: PathBuf,
    child: Mutex<Child>,
}

impl Process {
    /// The process id, which is the program's own and that of its process group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id
    }

    /// What it wrote so far to stdout and stderr.
    #[must_use]
    pub fn log(&self) -> String {
        self.0.log()
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.0.ended().is_none()
    }

    /// That it has not ended; in a condition of [`wait_until`](crate::wait_until) this tells why something never comes.
    ///
    /// # Errors
    /// [`LabError::Process`] with its status and log if it has.
    pub fn must_run(&self) -> Result<(), LabError> {
        self.0.ended().map_or(Ok(()), |status| Err(self.0.error(format!("has ended with {status}"))))
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// [`LabError::Process`] with its log if it still runs after `within`.
    pub fn wait(&self, within: Duration) -> Result<ExitStatus, LabError> {
        let ended = wait_until("the program to end", within, || self.0.ended());
        ended.map(|waited| waited.value).map_err(|_| self.0.error(format!("still runs after {within:?}")))
    }

    /// Waits for it to end by itself, and hands on each line of its log as it comes.
    ///
    /// # Errors
    /// As [`Process::wait`]; [`LabError::Io`] if the log cannot be read.
    pub(crate) fn follow(&self, within: Duration, mut line: impl FnMut(&str)) -> Result<ExitStatus, LabError> {
        let cannot_read = |error| LabError::io(format!("read {}", self.0.log.display()), error);
        let mut log = File::open(&self.0.log).map_err(cannot_read)?;
        let mut pending = Vec::new();
        let ended = wait_until("the program to end", within, || {
            // Asked before the log is read, so that nothing of it is missed.
            let ended = self.0.ended();
            if log.read_to_end(&mut pending).map_err(|error| error.to_string())? > 0 {
                let whole = pending.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
                let lines: Vec<u8> = pending.drain(..whole).collect();
                String::from_utf8_lossy(&lines).lines().for_each(&mut line);
            }
            ended.ok_or_else(|| "it still runs".to_owned())
        });
        ended.map(|waited| waited.value).map_err(|_| self.0.error(format!("still runs after {within:?}")))
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// [`LabError::Process`] with its log if it does not end within ten seconds; it is killed then.
    pub fn stop(&self) -> Result<ExitStatus, LabError> {
        self.0.signal(Signal::SIGTERM);
        self.wait(STOP_WITHIN).inspect_err(|_| self.0.kill())
    }

    /// Ends it at once (SIGKILL), with its children.
    pub fn kill(&self) {
        self.0.kill();
    }

    /// Processor time it had so far, of threads that have ended too, to the nanosecond: ticks of `/proc/PID/stat` are 10 ms.
    ///
    /// # Errors
    /// [`LabError::Process`] with its status and log if it has ended; [`LabError::Io`] if the kernel does not say.
    pub fn cpu(&self) -> Result<Duration, LabError> {
        self.must_run()?;
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(self.0.id).unwrap_or_default()));
        let time = clock.and_then(ClockId::now).map_err(|errno| {
            LabError::io(format!("read the processor time of {}", self.0.id), std::io::Error::from(errno))
        })?;
        Ok(time.into())
    }

    /// Memory it holds in RAM (`VmRSS`), in bytes.
    ///
    /// # Errors
    /// [`LabError::Process`] with its log if it has ended.
    pub fn resident_memory_bytes(&self) -> Result<u64, LabError> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id)).unwrap_or_default();
        // VmRSS:    12345 kB
        let kibibytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kibibytes.map(|kib| kib * 1024).ok_or_else(|| self.0.error("has ended".to_owned()))
    }

    /// Returns once the process is the program and no longer `ip` or `sh`, which replace themselves by it.
    fn wait_for_the_program(&self) -> Result<(), LabError> {
        let command_line = format!("/proc/{}/cmdline", self.0.id);
        wait_until("`ip netns exec` to start the program", START_WITHIN, || {
            let line = fs::read(&command_line).unwrap_or_default();
            !line.starts_with(b"ip\0netns\0exec\0") && !line.starts_with(format!("sh\0-c\0{WITH_ITS_LOAD}").as_bytes())
        })?;
        Ok(())
    }
}

impl Running {
    /// Ends the whole process group at once and waits until the program is gone.
    pub(crate) fn kill(&self) {
        self.signal(Signal::SIGKILL);
        // Its status does not matter: it was killed.
        let _ = self.child().wait();
    }

    /// Prints the end of its log, for whoever has to find out why something failed.
    pub(crate) fn print_log(&self) {
        eprintln!("--- {} on {}:\n{}", self.name, self.host, self.log_tail(LOG_LINES));
    }

    /// The last lines of its log.
    fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let lines_in_all = log.lines().count();
        log.lines().skip(lines_in_all.saturating_sub(lines)).collect::<Vec<_>>().join("\n")
    }

    fn log(&self) -> String {
        // A log is there from the start; it can only be gone with the lab.
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn ended(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    /// Signals the group while the program has not been waited for, so that its id cannot be somebody else's.
    fn signal(&self, wanted: Signal) {
        let mut child = self.child();
        if matches!(child.try_wait(), Ok(None)) {
            signal(child.id(), wanted);
        }
    }

    fn error(&self, what: String) -> LabError {
        LabError::Process { name: self.name.clone(), host: self.host.clone(), what, log: self.log_tail(LOG_LINES) }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn signal(group: u32, signal: Signal) {
    if let Ok(group) = i32::try_from(group) {
        // Gone by itself is as good.
        let _ = killpg(Pid::from_raw(group), signal);
    }
}

fn text(file: &mut File) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
