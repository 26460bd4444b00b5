//! The TUN interface: opened with the offloads the kernel has, read and written whole packets at a time.

use super::{
    join::Joins,
    offloads::{Help, Offloads},
    split::Segments,
    tunnels::LARGEST,
    vnet::{self, Header},
};
use crate::error::Error;
use nix::libc;
use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd},
};
use tun_rs::{DeviceBuilder, SyncDevice};

/// Room for whatever one read brings.
pub(super) const READ: usize = vnet::LENGTH + LARGEST;

pub(super) struct Tun {
    device: SyncDevice,
    /// Whether each packet comes and goes with a header that says what is still to be done to it.
    has_header: bool,
    pub(super) joins: Joins,
}

impl Tun {
    /// Makes the interface, in the network namespace of the calling thread.
    pub(super) fn open(name: &str, offloads: Offloads) -> Result<Self, Error> {
        let build = |offload| DeviceBuilder::new().name(name).enable(false).offload(offload).build_sync();
        let help = Help::new("tun", offloads.tun);
        let device = match build(offloads.tun) {
            Err(error) if offloads.tun && is_unknown(&error) => {
                help.is_missing(&error);
                build(false)
            }
            device => device,
        };
        let device = device.map_err(|source| tun_error(name, source))?;
        device.set_nonblocking(true).map_err(|source| tun_error(name, source))?;
        let has_header = device.tcp_gso();
        let udp = Help::new("tun udp", offloads.tun_udp && has_header);
        if udp.is_there() && !device.udp_gso() {
            udp.is_missing(&"this kernel is older than 6.2");
        }
        let joins = Joins { tcp: has_header, udp: udp.is_there() };
        Ok(Self { device, has_header, joins })
    }

    /// Reads what the host sends, without waiting. `None` is a packet that makes no sense.
    pub(super) fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Segments<'a>>> {
        let length = self.device.recv(buffer)?;
        let read = &mut buffer[..length];
        if !self.has_header {
            return Ok(Segments::new(Header::default(), read));
        }
        let Some((header, packet)) = read.split_first_chunk_mut::<{ vnet::LENGTH }>() else { return Ok(None) };
        Ok(Header::read(header).and_then(|header| Segments::new(header, packet)))
    }

    /// Gives the host a packet, joined of pieces where there is a header for it. What it refuses is lost.
    pub(super) fn write(&self, header: &[u8; vnet::LENGTH], pieces: &[IoSlice<'_>]) {
        let written = if self.has_header {
            let mut all = [IoSlice::new(&[]); super::join::MOST_PIECES + 1];
            all[0] = IoSlice::new(header);
            all[1..=pieces.len()].copy_from_slice(pieces);
            self.device.send_vectored(&all[..=pieces.len()])
        } else {
            self.device.send_vectored(pieces)
        };
        if let Err(error) = written {
            tracing::trace!(%error, "packet lost");
        }
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// Whether the kernel does not know what it was asked for.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTTY | libc::EOPNOTSUPP))
}

fn tun_error(name: &str, source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => Error::NoTun(source),
        Some(libc::EBUSY) => Error::NameTaken { name: name.to_owned(), kind: "tun".to_owned() },
        _ => Error::kernel(format!("make TUN interface {name}"), source),
    }
}
