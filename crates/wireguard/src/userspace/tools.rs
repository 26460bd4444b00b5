//! The socket at which `wg` finds the device, `/var/run/wireguard/<name>.sock`. It tells secrets and takes orders, so it is
//! for root alone. A device without it works; tools then do not see it.

use super::{
    Core,
    uapi::{self, INVALID, Request},
};
use crate::error::Error;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket},
        stat::{Mode, fchmod},
    },
};
use std::{
    fs::{self, DirBuilder},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::{
            fs::{DirBuilderExt as _, MetadataExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{Builder, JoinHandle},
    time::Duration,
};
use zeroize::Zeroizing;

/// Where tools look.
const FOLDER: &str = "/var/run/wireguard";
/// Longest request: some thousand peers.
const LONGEST: usize = 1 << 20;
/// How long a tool may take over a request or an answer before the next one has its turn.
const PATIENCE: Duration = Duration::from_secs(2);

/// The socket, which goes with this value.
#[derive(Debug)]
pub(super) struct Tools {
    path: PathBuf,
    /// The file's number: another one at its place is not ours to remove.
    inode: u64,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
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
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (core, told) = (core.clone(), stop.clone());
        let thread = Builder::new().name("picket-wg-tools".to_owned()).spawn(move || serve(&listener, &core, &told))?;
        Ok(Self { path, inode, stop, thread: Some(thread) })
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        if fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            fs::remove_file(&self.path).ok();
        }
        if self.stop.write(1).is_ok()
            && let Some(thread) = self.thread.take()
        {
            thread.join().ok();
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

fn serve(listener: &UnixListener, core: &Mutex<Core>, stop: &EventFd) {
    loop {
        let mut watched =
            [PollFd::new(stop.as_fd(), PollFlags::POLLIN), PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            Err(error) => return tracing::warn!(%error, "tools cannot be waited for"),
            Ok(_) if watched[0].revents().is_some_and(|events| !events.is_empty()) => return,
            Ok(_) => {}
        }
        if let Ok((stream, _)) = listener.accept()
            && let Err(error) = answer(stream, core)
        {
            tracing::debug!(%error, "a tool went away");
        }
    }
}

fn answer(mut stream: UnixStream, core: &Mutex<Core>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    while let Some(request) = read(&mut stream)? {
        // The device's owner does not wait for a tool that reads slowly.
        let (text, number) = carry_out(&mut core.lock().unwrap_or_else(PoisonError::into_inner), &request);
        stream.write_all(text.as_bytes())?;
        // Negative, as the kernel has it and `wg` reads it.
        write!(stream, "errno={}\n\n", -number)?;
    }
    Ok(())
}

/// A request up to the empty line that ends it; `None` if the tool has no more.
fn read(stream: &mut UnixStream) -> io::Result<Option<Zeroizing<String>>> {
    let mut request = Zeroizing::new(Vec::with_capacity(4096));
    let mut piece = Zeroizing::new([0; 4096]);
    loop {
        let length = stream.read(piece.as_mut_slice())?;
        request.extend_from_slice(&piece[..length]);
        if request.ends_with(b"\n\n") {
            let text = String::from_utf8_lossy(&request).trim_end().to_owned();
            return Ok(Some(Zeroizing::new(text)));
        }
        if length == 0 {
            return Ok(None);
        }
        if request.len() > LONGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

/// The lines of the answer, and the number that ends it.
fn carry_out(core: &mut Core, request: &str) -> (Zeroizing<String>, i32) {
    let nothing = Zeroizing::new(String::new());
    let state = match core.observe() {
        Ok(state) => state,
        Err(error) => return (nothing, number(&error)),
    };
    match uapi::parse(request, &state) {
        None => (nothing, INVALID),
        Some(Request::Get) => (uapi::describe(&state, core.private_key().as_ref(), core.mark()), 0),
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
