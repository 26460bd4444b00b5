//! A host for a test: a thread in a network namespace of its own, which goes away with the thread, whatever happens.

use nix::{
    sched::{CloneFlags, unshare},
    sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket},
    unistd::gettid,
};
use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    process::Command,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    runtime::Builder,
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::{LocalSet, spawn_local},
    time::{Instant, sleep_until, timeout_at},
};

/// How long a test waits for what must come. Generous, since the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// How long a test listens for what must not come.
pub(crate) const A_WHILE: Duration = Duration::from_millis(400);

type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// One host.
pub(crate) struct Host {
    jobs: Option<UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
    id: String,
}

impl Host {
    /// A host with a loopback interface and nothing else.
    pub(crate) fn new() -> Self {
        let (jobs, mut inbox) = unbounded_channel::<Job>();
        let (ready, started) = mpsc::channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("tests with network namespaces must be run as root");
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            ready.send(gettid().to_string()).unwrap();
            LocalSet::new().block_on(&runtime, async move {
                while let Some(job) = inbox.recv().await {
                    spawn_local(job());
                }
            });
        });
        let id = started.recv().expect("tests with network namespaces must be run as root");
        let host = Self { jobs: Some(jobs), thread: Some(thread), id };
        host.ip("link set lo up");
        host
    }

    /// Two hosts with one wire between them: 192.0.2.1 and 2001:db8::1, 192.0.2.2 and 2001:db8::2.
    pub(crate) fn pair() -> (Self, Self) {
        let (one, two) = (Self::new(), Self::new());
        one.ip(&format!("link add eth0 type veth peer name eth0 netns {}", two.id));
        for (host, n) in [(&one, 1), (&two, 2)] {
            host.ip(&format!("address add 192.0.2.{n}/24 dev eth0"));
            host.ip(&format!("address add 2001:db8::{n}/64 dev eth0 nodad"));
            host.ip("link set eth0 up");
        }
        (one, two)
    }

    /// Runs a job in the host's namespace and waits for it; other jobs and the tunnels go on meanwhile.
    pub(crate) fn run<T, F, Fut>(&self, job: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
    {
        self.start(job).recv().expect("the job panicked: see above")
    }

    /// Starts a job; its result comes through the channel.
    pub(crate) fn start<T, F, Fut>(&self, job: F) -> mpsc::Receiver<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + 'static,
    {
        let (sender, receiver) = mpsc::channel();
        let job: Job = Box::new(move || {
            Box::pin(async move {
                let result = job().await;
                // The test may have stopped waiting.
                sender.send(result).ok();
            })
        });
        assert!(self.jobs.as_ref().unwrap().send(job).is_ok(), "the host runs");
        receiver
    }

    /// Runs `ip` with these words; what it printed.
    pub(crate) fn ip(&self, words: &str) -> String {
        self.command(&format!("ip {words}")).unwrap_or_else(|error| panic!("ip {words}: {error}"))
    }

    /// Runs a command line without quotes; what it printed, or what it said when it failed.
    pub(crate) fn command(&self, line: &str) -> Result<String, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        // In a task of its own the tunnels would stand still while the command runs.
        let done = self.run(move || async move {
            tokio::process::Command::from(Command::new(&words[0])).args(&words[1..]).output().await
        });
        let output = done.map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
        }
    }

    /// Whether an ICMP echo with this many bytes is answered within a time; asks twice a second.
    pub(crate) fn ping(&self, to: &str, bytes: usize, within: Duration) -> bool {
        let to: IpAddr = to.parse().unwrap();
        self.run(move || async move {
            let socket = ping_socket(to).unwrap();
            let request =
                [&[if to.is_ipv4() { 8 } else { 128 }, 0, 0, 0, 0, 0, 0, 1], vec![0x5a; bytes].as_slice()].concat();
            let deadline = Instant::now() + within;
            let mut answer = vec![0; request.len() + 1];
            while Instant::now() < deadline {
                socket.send_to(&request, SocketAddr::new(to, 0)).await.unwrap();
                let again = deadline.min(Instant::now() + Duration::from_millis(500));
                if let Ok(received) = timeout_at(again, socket.recv(&mut answer)).await {
                    return received.unwrap() == request.len() && answer[8..request.len()] == request[8..];
                }
            }
            false
        })
    }
}

/// A socket for ICMP echoes in this thread's namespace. The kernel fills in identifier and checksum, and gives it answers
/// to its own requests only.
fn ping_socket(to: IpAddr) -> std::io::Result<UdpSocket> {
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, protocol)?;
    // A ping socket is a datagram socket, which is all that the type means.
    UdpSocket::from_std(std::net::UdpSocket::from(socket))
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Waits until the condition holds, looking again every few milliseconds.
pub(crate) async fn until<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let deadline = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep_until(Instant::now() + Duration::from_millis(5)).await;
    }
}
