//! A network namespace of the test's own, gone when the test is, and a watcher of every change to nf_tables in it.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::Duration,
};

/// Far beyond what anything here takes; only a test that failed waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(nix::unistd::geteuid().is_root(), "this test makes a network namespace: run it as root");
        let name = format!("picket-fw-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        run("ip", &["netns", "add", &name], "");
        Self { name }
    }

    /// A cable to another namespace, `wire0` at both ends.
    pub(crate) fn wire(&self, other: &Self) {
        run(
            "ip",
            &["-n", &self.name, "link", "add", "wire0", "type", "veth", "peer", "name", "wire0", "netns", &other.name],
            "",
        );
        for namespace in [self, other] {
            for device in ["lo", "wire0"] {
                namespace.ip(&["link", "set", device, "up"]);
            }
        }
    }

    /// `ip` with these arguments, inside.
    pub(crate) fn ip(&self, arguments: &[&str]) {
        run("ip", &[&["-n", &self.name], arguments].concat(), "");
    }

    /// Runs `body` on a thread inside the namespace; programs it starts are inside as well.
    pub(crate) fn enter<T: Send>(&self, body: impl AsyncFnOnce() -> T + Send) -> T {
        let inside = || {
            let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body())
        };
        std::thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Loads text as somebody else on the host would.
    pub(crate) fn load(&self, text: &str) {
        run("ip", &["netns", "exec", &self.name, "nft", "-f", "-"], text);
    }

    /// `nft` with these arguments: what it prints.
    pub(crate) fn nft(&self, arguments: &[&str]) -> String {
        run("ip", &[&["netns", "exec", &self.name, "nft"], arguments].concat(), "")
    }

    pub(crate) fn watch(&self) -> Watch<'_> {
        Watch::new(self)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing to tell anybody if it fails: the test has its result.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// Writes an executable file. Another program does it: a file that this process had open for writing when some other
/// test forked could not be run ("text file busy").
pub(crate) fn write_program(path: &Path, text: &str) {
    let path = path.to_str().unwrap();
    run("sh", &["-c", "cat > \"$0\" && chmod +x \"$0\"", path], text);
}

fn run(program: &str, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    let mut child =
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `nft monitor`, with fences of our own so that "nothing happened" can be told from "not yet".
pub(crate) struct Watch<'a> {
    namespace: &'a Namespace,
    monitor: Child,
    lines: Receiver<String>,
    fences: u32,
}

impl<'a> Watch<'a> {
    fn new(namespace: &'a Namespace) -> Self {
        let mut monitor = Command::new("ip")
            .args(["netns", "exec", &namespace.name, "nft", "monitor"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(monitor.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut watch = Self { namespace, monitor, lines, fences: 0 };
        // It hears from the moment it listens: call until it answers.
        loop {
            let fence = watch.fence();
            if watch.heard(&fence, Duration::from_millis(100)).is_some() {
                return watch;
            }
            assert!(watch.fences < 200, "nft monitor hears nothing");
        }
    }

    /// Every line about changes since the last call, but for our own.
    pub(crate) fn changes(&mut self) -> Vec<String> {
        let fence = self.fence();
        let lines = self.heard(&fence, PATIENCE).expect("nft monitor has stopped");
        lines.into_iter().filter(|line| !line.contains("fence_")).collect()
    }

    fn fence(&mut self) -> String {
        self.fences += 1;
        let fence = format!("fence_{}_", self.fences);
        self.namespace.load(&format!("add table inet {fence}\n"));
        fence
    }

    /// Lines up to the fence and the line of its generation; `None` where the fence was not heard.
    fn heard(&self, fence: &str, patience: Duration) -> Option<Vec<String>> {
        let mut lines = Vec::new();
        let mut fenced = false;
        loop {
            match self.lines.recv_timeout(patience) {
                Ok(line) if fenced && line.starts_with("# new generation") => return Some(lines),
                Ok(line) => {
                    fenced |= line.contains(fence);
                    lines.push(line);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}
