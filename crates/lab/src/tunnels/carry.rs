//! Our engine alone in a process, asked over a socket in the words that others understand, so that it can be measured and
//! judged as they are. For benches and tests; no agent works this way.

use super::wish::{PeerWish, Wish, answer, model_key};
use anyhow::{Context as _, Result};
use picket_model::WireGuardPublicKey;
use picket_wireguard::{
    AnyDevice, Device as _, DeviceChange, PeerConfig, PeerUpdate, Preference, PresharedKey, PrivateKey, open,
};
use std::{collections::BTreeSet, path::PathBuf};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
};

/// What `picket-lab carry` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Interface to make.
    name: String,
    /// Where to listen for configuration.
    socket: PathBuf,
}

/// Carries a device until it is killed.
///
/// # Errors
/// What keeps the device or the socket from being.
pub async fn run(args: Args) -> Result<()> {
    let mut carried = Carried { device: open(&args.name, Preference::Userspace, None).await?, known: BTreeSet::new() };
    let listener = UnixListener::bind(&args.socket).with_context(|| format!("listen on {}", args.socket.display()))?;
    loop {
        let (stream, _) = listener.accept().await?;
        if let Err(error) = serve(stream, &mut carried).await {
            eprintln!("a request was not carried out: {error:#}");
        }
    }
}

struct Carried {
    device: AnyDevice,
    known: BTreeSet<WireGuardPublicKey>,
}

/// One request, which an empty line ends.
async fn serve(mut stream: UnixStream, carried: &mut Carried) -> Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\n\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let request = String::from_utf8(request)?;
    let answered = if request.starts_with("get=1") {
        carried.device.observe().await.map(|state| answer(&state)).map_err(anyhow::Error::from)
    } else {
        carried.set(&request).await.map(|()| "errno=0\n\n".to_owned())
    };
    let text = answered.as_ref().map_or("errno=22\n\n", String::as_str);
    stream.write_all(text.as_bytes()).await?;
    answered.map(drop)
}

impl Carried {
    async fn set(&mut self, request: &str) -> Result<()> {
        let wish: Wish = request.parse()?;
        let mut changes = Vec::new();
        changes.extend(wish.private_key.map(|key| DeviceChange::SetPrivateKey(PrivateKey::from_random(key))));
        changes.extend(wish.listen_port.map(DeviceChange::SetListenPort));
        for peer in &wish.peers {
            changes.extend(self.change(peer)?);
        }
        self.device.apply(&changes).await?;
        Ok(())
    }

    fn change(&mut self, peer: &PeerWish) -> Result<Option<DeviceChange>> {
        let key = model_key(&peer.key)?;
        if peer.remove {
            return Ok(self.known.remove(&key).then_some(DeviceChange::RemovePeer(key)));
        }
        let preshared_key = peer.preshared_key.map(PresharedKey::from_bytes).transpose()?;
        let allowed_ips: BTreeSet<_> = peer.allowed_ips.iter().copied().collect();
        Ok(Some(if self.known.insert(key) {
            let keepalive_seconds = peer.keepalive_seconds.filter(|seconds| *seconds > 0);
            let config = PeerConfig { endpoint: peer.endpoint, allowed_ips, keepalive_seconds, preshared_key };
            DeviceChange::AddPeer(key, config)
        } else {
            let update = PeerUpdate {
                endpoint: peer.endpoint,
                allowed_ips: (!allowed_ips.is_empty()).then_some(allowed_ips),
                keepalive_seconds: peer.keepalive_seconds.map(|seconds| Some(seconds).filter(|seconds| *seconds > 0)),
                preshared_key: preshared_key.map(Some),
            };
            DeviceChange::UpdatePeer(key, update)
        }))
    }
}
