//! A device of the kernel's own WireGuard. It outlives the process and is adopted by the next one.

mod answer;
mod message;

use crate::{
    device::DeviceState,
    diff::DeviceChange,
    engine::{Device, Engine},
    error::Error,
};
use futures_util::StreamExt as _;
use genetlink::{GenetlinkError, GenetlinkHandle};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_generic::GenlMessage;
use netlink_packet_wireguard::WireguardMessage;
use std::io;

/// How often a dump is tried again that was overtaken by a change.
const DUMP_ATTEMPTS: usize = 5;

/// A WireGuard device in the kernel.
#[derive(Debug)]
pub struct KernelDevice {
    name: String,
    netlink: GenetlinkHandle,
}

impl KernelDevice {
    /// Speaks to the device of that name, which exists. Needs a tokio runtime.
    pub(crate) fn open(name: &str) -> Result<Self, Error> {
        let (connection, netlink, _) =
            genetlink::new_connection().map_err(|e| Error::kernel("open generic netlink", e))?;
        tokio::spawn(connection);
        Ok(Self { name: name.to_owned(), netlink })
    }

    /// Sends one message; its answers, and whether a change overtook them.
    async fn request(&self, message: WireguardMessage, flags: u16) -> io::Result<(Vec<WireguardMessage>, bool)> {
        let mut request = NetlinkMessage::from(GenlMessage::from_payload(message));
        request.header.flags = NLM_F_REQUEST | flags;
        let mut answers = std::pin::pin!(self.netlink.clone().request(request).await.map_err(io_error)?);
        let (mut parts, mut overtaken) = (Vec::new(), false);
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(|error| io_error(error.into()))?;
            overtaken |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => parts.push(inner.payload),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                _ => {}
            }
        }
        Ok((parts, overtaken))
    }

    fn error(&self, action: String, source: io::Error) -> Error {
        match source.raw_os_error() {
            Some(nix::libc::ENODEV) => Error::Gone { name: self.name.clone() },
            _ => Error::kernel(action, source),
        }
    }
}

impl Device for KernelDevice {
    async fn observe(&self) -> Result<DeviceState, Error> {
        let action = || format!("read WireGuard device {}", self.name);
        for _ in 0..DUMP_ATTEMPTS {
            let answer = self.request(message::get_device(&self.name), NLM_F_DUMP).await;
            let (parts, overtaken) = answer.map_err(|source| self.error(action(), source))?;
            if !overtaken {
                return Ok(answer::device_state(&parts));
            }
        }
        Err(Error::kernel(action(), io::Error::other("changes overtook every attempt to read it")))
    }

    async fn apply(&mut self, changes: &[DeviceChange]) -> Result<(), Error> {
        for message in message::set_device(&self.name, changes) {
            let done = self.request(message, NLM_F_ACK).await;
            done.map_err(|source| self.error(format!("change WireGuard device {}", self.name), source))?;
        }
        Ok(())
    }

    fn engine(&self) -> Engine {
        Engine::Kernel
    }
}

fn io_error(error: GenetlinkError) -> io::Error {
    match error {
        GenetlinkError::NetlinkError(source) => source,
        other => io::Error::other(other),
    }
}
