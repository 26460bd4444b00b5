//! The socket at which `wg` finds the device, `/var/run/wireguard/<name>.sock`. It tells secrets and takes orders, so it is
//! for root alone. A device without it works; tools then do not see it.

use super::{
    Core,
    uapi::{self, INVALID, Request},
    worker::Worker,
};
use crate::error::Error;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::EventFd,
        socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket},
        stat::{Mode, fchmod},
    },
};
use std::{
    fs::{self, DirBuilder},
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::{
            fs::{DirBuilderExt as _, MetadataExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use zeroize::Zeroizing;

/// Where tools look.
const FOLDER: &str = "/var/run/wireguard";
/// Longest request: some thousand peers.
const LONGEST: usize = 1 << 20;
/// Bytes read or written in one go.
const PIECE: usize = 4096;
/// How long a tool may take over a request or an answer before the next one has its turn.
const PATIENCE: Duration = Duration::from_secs(2);

/// The socket, which goes with this value.
#[derive(Debug)]
pub(super) struct Tools {
    path: PathBuf,
    /// The file's number: another one at its place is not ours to remove.
    inode: u64,
    served: Arc<Mutex<Served>>,
    /// Told to end once no tool is served any more.
    _worker: Worker,
}

/// Which tool is being served, so that it can be cut short.
#[derive(Debug, Default)]
struct Served {
    tool: Option<UnixStream>,
    is_over: bool,
}

impl Tools {
    /// Listens for tools; `None`, said in the log, where that cannot be.
    pub(super) fn listen(name: &str, core: &Arc<Mutex<Core>>) -> Option<Self> {
        match Self::try_listen(name, core) {
            Ok(tools) => Some(tools),
            Err(error) => {
                tracing::info!(name, %error, "wg and other tools will not see this device");
                None
            }
        }
    }

    fn try_listen(name: &str, core: &Arc<Mutex<Core>>) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(FOLDER)?;
        let path = Path::new(FOLDER).join(format!("{name}.sock"));
        if UnixStream::connect(&path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another program serves a device of that name"));
        }
        // What a process that is gone left behind.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = private_listener(&path)?;
        let inode = fs::metadata(&path)?.ino();
        let served = Arc::default();
        let (core, serving) = (core.clone(), Arc::clone(&served));
        let worker = Worker::start("picket-wg-tools", move |bond| serve(&listener, &core, &bond.stop, &serving))?;
        Ok(Self { path, inode, served, _worker: worker })
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        if fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            fs::remove_file(&self.path).ok();
        }
        let mut served = lock(&self.served);
        served.is_over = true;
        if let Some(tool) = &served.tool {
            tool.shutdown(Shutdown::Both).ok();
        }
    }
}

/// A socket that nobody but its owner could ever connect to: its mode is set before it has a name.
fn private_listener(path: &Path) -> io::Result<UnixListener> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::new(8)?)?;
    let listener = UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn serve(listener: &UnixListener, core: &Mutex<Core>, stop: &EventFd, served: &Mutex<Served>) {
    loop {
        let mut watched =
            [PollFd::new(stop.as_fd(), PollFlags::POLLIN), PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            Err(error) => return tracing::warn!(%error, "tools cannot be waited for"),
            Ok(_) if watched[0].revents().is_some_and(|events| !events.is_empty()) => return,
            Ok(_) => {}
        }
        let Ok((tool, _)) = listener.accept() else { continue };
        if let Err(error) = begin(&tool, served).and_then(|()| answer(tool, core)) {
            tracing::debug!(%error, "a tool went away");
        }
        lock(served).tool = None;
    }
}

fn begin(tool: &UnixStream, served: &Mutex<Served>) -> io::Result<()> {
    let mut served = lock(served);
    if served.is_over {
        return Err(io::ErrorKind::Interrupted.into());
    }
    served.tool = Some(tool.try_clone()?);
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(mut stream: UnixStream, core: &Mutex<Core>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    while let Some(request) = read(&mut stream)? {
        // The device's owner does not wait for a tool that reads slowly.
        let (text, number) = carry_out(&mut lock(core), &request);
        let end = Instant::now() + PATIENCE;
        write(&mut stream, text.as_bytes(), end)?;
        // Negative, as the kernel has it and `wg` reads it.
        write(&mut stream, format!("errno={}\n\n", -number).as_bytes(), end)?;
    }
    Ok(())
}

/// A request up to the empty line that ends it; `None` if the tool has no more.
fn read(stream: &mut UnixStream) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let end = Instant::now() + PATIENCE;
    let mut request = Zeroizing::new(Vec::with_capacity(PIECE));
    let mut piece = Zeroizing::new([0; PIECE]);
    loop {
        stream.set_read_timeout(Some(left_until(end)?))?;
        let length = match stream.read(piece.as_mut_slice()) {
            // With a time limit it ends so when the process was stopped and goes on, signal(7).
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            length => length?,
        };
        append(&mut request, &piece[..length]);
        if request.ends_with(b"\n\n") {
            return Ok(Some(request));
        }
        if length == 0 {
            return Ok(None);
        }
        if request.len() > LONGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

/// Appends, and leaves no secret behind where there was no room for more. As large as it may ever be at once it would have to be
/// wiped as a whole after each request, for a quarter of a millisecond.
fn append(request: &mut Zeroizing<Vec<u8>>, piece: &[u8]) {
    if request.capacity() - request.len() < piece.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity(2 * (request.len() + piece.len())));
        larger.extend_from_slice(request);
        *request = larger;
    }
    request.extend_from_slice(piece);
}

fn write(stream: &mut UnixStream, text: &[u8], end: Instant) -> io::Result<()> {
    // The kernel begins its timeout anew within one long call.
    for piece in text.chunks(PIECE) {
        stream.set_write_timeout(Some(left_until(end)?))?;
        stream.write_all(piece)?;
    }
    Ok(())
}

fn left_until(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The lines of the answer, and the number that ends it.
fn carry_out(core: &mut Core, request: &[u8]) -> (Zeroizing<String>, i32) {
    let nothing = Zeroizing::new(String::new());
    let Ok(request) = str::from_utf8(request) else { return (nothing, INVALID) };
    if let Err(error) = core.check_running() {
        return (nothing, number(&error));
    }
    match uapi::parse(request.trim_end(), core) {
        None => (nothing, INVALID),
        Some(Request::Get) => match core.observe() {
            Ok(state) => (uapi::describe(&state, core.private_key().as_ref(), core.mark()), 0),
            Err(error) => (nothing, number(&error)),
        },
        Some(Request::Set { changes, mark }) => {
            let done = mark.map_or(Ok(()), |mark| core.set_mark(mark)).and_then(|()| core.apply(&changes));
            (nothing, done.map_or_else(|error| number(&error), |()| 0))
        }
    }
}

/// What tools are told of an error.
fn number(error: &Error) -> i32 {
    let errno = match error {
        Error::PortTaken { .. } => Errno::EADDRINUSE,
        Error::Gone { .. } => Errno::ENODEV,
        Error::NotPermitted { .. } => Errno::EPERM,
        Error::Kernel { source, .. } => Errno::from_raw(source.raw_os_error().unwrap_or(INVALID)),
        _ => Errno::EINVAL,
    };
    errno as i32
}
