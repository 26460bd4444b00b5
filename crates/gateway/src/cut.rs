//! How a connection ends whose door is closed: with a reset, at once. An ordinary end waits behind what was sent before, and by then
//! the firewall may drop what the caller would answer to that; its end would hang until TCP gives up.

use nix::{
    libc::linger,
    sys::socket::{setsockopt, sockopt},
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};
use tracing::debug;

/// Held as long as a connection is served. Declared before whatever has the socket, so that it is dropped after that: the last to
/// close it decides how.
#[derive(Debug)]
pub(crate) struct Cut {
    socket: OwnedFd,
    is_over: bool,
}

impl Cut {
    /// For this socket.
    pub(crate) fn of(socket: impl AsFd) -> io::Result<Self> {
        Ok(Self { socket: socket.as_fd().try_clone_to_owned()?, is_over: false })
    }

    /// The connection ended by itself.
    pub(crate) fn over(mut self) {
        self.is_over = true;
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Err(error) = setsockopt(&self.socket, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 }) {
            debug!(%error, "a connection ends without a reset");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{ErrorKind, Read as _, Write as _},
        net::{TcpListener, TcpStream},
    };

    /// What the other end reads at last, with more on the way to it than it has room for.
    fn end(is_over: bool) -> io::Result<usize> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut caller = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        let cut = Cut::of(&served).unwrap();
        served.set_nonblocking(true).unwrap();
        while served.write(&[7; 4096]).is_ok() {}
        drop(served);
        if is_over {
            cut.over();
        } else {
            drop(cut);
        }
        let mut piece = [0; 4096];
        loop {
            match caller.read(&mut piece) {
                Ok(1..) => {}
                end => return end,
            }
        }
    }

    #[test]
    fn who_is_cut_is_reset_and_who_is_not_hears_everything() {
        assert_eq!(end(true).unwrap(), 0);
        assert_eq!(end(false).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
