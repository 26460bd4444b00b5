//! Who this host is: its keys, made here before anybody is asked, and what the controller gave it at enrolment.
//! The identity file is written last: without it the host is not enrolled, whatever else lies in the folder.

use crate::state::{Kind, StateDir, StateError};
use picket_model::{IdentityKey, MeshId, NodeId, NodeName, NodeRole, OverlayAddresses, WireGuardPublicKey};
use picket_pki::{ClientCertificate, Fingerprint, KeyError, TlsKey};
use picket_wireguard::PrivateKey;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, num::NonZeroU16, time::SystemTime};
use thiserror::Error;
use zeroize::Zeroizing;

const IDENTITY: Kind = Kind {
    name: "identity.json",
    version: 1,
    remedy: "restore it from a backup, or remove the folder and enrol this host again",
};
const WIREGUARD_KEY: &str = "wireguard.key";
const NEXT_WIREGUARD_KEY: &str = "wireguard-next.key";
const IDENTITY_KEY: &str = "identity.key";
const TLS_KEY: &str = "tls.key";
const CERTIFICATE: &str = "certificate.pem";

/// What a host is in its mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Its mesh.
    pub mesh: MeshId,
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its part.
    pub role: NodeRole,
    /// Controllers to ask, `https://host:port`, in order of preference.
    pub controllers: Vec<String>,
    /// The mesh's CA.
    pub ca_fingerprint: Fingerprint,
    /// The CA that is to follow it, once the one before has vouched for it; trusted as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ca: Option<Fingerprint>,
    /// CAs that were the mesh's before: not trusted any more, but a repeated enrolment may name them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub former_cas: BTreeSet<Fingerprint>,
    /// Its addresses inside the mesh.
    pub overlay: OverlayAddresses,
    /// The machine it enrolled from: a copy of the folder on another machine is not this host.
    pub machine_id: Option<String>,
}

/// The identity or the keys cannot be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A file.
    #[error(transparent)]
    State(#[from] StateError),
    /// A key file is damaged.
    #[error("{path} is not a key of this agent; restore it from a backup, or remove the folder and enrol again")]
    Key {
        /// The file.
        path: String,
    },
    /// A key could not be made.
    #[error("make this host's keys")]
    Make(#[from] KeyError),
    /// The folder was copied from another machine.
    #[error(
        "this identity ({name}) was made on another machine: a cloned image? remove {folder} and enrol this host \
         under a name of its own"
    )]
    Cloned {
        /// Name of the original.
        name: NodeName,
        /// The folder.
        folder: String,
    },
}

/// A host's private keys. They never leave the host.
#[derive(Debug)]
pub struct Keys {
    /// Of its tunnels.
    pub wireguard: PrivateKey,
    /// From which the preshared keys of its tunnels are derived; `None` on hosts enrolled before there were any.
    pub identity: Option<PrivateKey>,
    /// Of its certificate.
    pub tls: TlsKey,
}

impl Identity {
    /// TCP ports on which the controllers are called.
    pub fn controller_ports(&self) -> BTreeSet<NonZeroU16> {
        let port = |url: &String| NonZeroU16::new(Url::parse(url).ok()?.port_or_known_default()?);
        self.controllers.iter().filter_map(port).collect()
    }

    /// The identity in the folder; `None` where the host is not enrolled.
    pub fn load(state: &StateDir) -> Result<Option<Self>, IdentityError> {
        Ok(state.read_json(IDENTITY)?)
    }

    /// Stores certificate and identity: from now on the host is enrolled.
    pub fn save(&self, state: &StateDir, certificate_pem: &str) -> Result<(), IdentityError> {
        state.write(CERTIFICATE, certificate_pem.as_bytes())?;
        Ok(state.write_json(IDENTITY, self)?)
    }

    /// Replaces the identity alone, and returns once it is on the disk.
    pub fn update(&self, state: &StateDir) -> Result<(), IdentityError> {
        Ok(state.write_json(IDENTITY, self)?)
    }

    /// The CAs that this host trusts.
    pub fn pins(&self) -> Vec<Fingerprint> {
        std::iter::once(self.ca_fingerprint).chain(self.next_ca).collect()
    }

    /// Whether the CA is or was that of this host's mesh.
    pub fn knew(&self, ca: Fingerprint) -> bool {
        self.pins().contains(&ca) || self.former_cas.contains(&ca)
    }

    /// The same host, which trusts the next CA too.
    #[must_use]
    pub fn learned(&self, next: Fingerprint) -> Self {
        Self { next_ca: Some(next), ..self.clone() }
    }

    /// The same host, which trusts this CA and no other.
    #[must_use]
    pub fn settled(&self, ca: Fingerprint) -> Self {
        let mut former_cas = self.former_cas.clone();
        former_cas.extend(self.pins().into_iter().filter(|pin| *pin != ca));
        Self { ca_fingerprint: ca, next_ca: None, former_cas, ..self.clone() }
    }

    /// Refuses an identity that was copied from another machine. Where one of the two has no machine id nothing is known.
    pub fn check_machine(&self, state: &StateDir, machine_id: Option<&str>) -> Result<(), IdentityError> {
        match (self.machine_id.as_deref(), machine_id) {
            (Some(enrolled), Some(here)) if enrolled != here => {
                let folder = state.path().display().to_string();
                Err(IdentityError::Cloned { name: self.name.clone(), folder })
            }
            _ => Ok(()),
        }
    }
}

impl Keys {
    /// The keys in the folder.
    pub fn load(state: &StateDir) -> Result<Self, IdentityError> {
        let wireguard = load_x25519(state, WIREGUARD_KEY)?.ok_or_else(|| no_key(state, WIREGUARD_KEY))?;
        let tls = load_tls(state)?.ok_or_else(|| no_key(state, TLS_KEY))?;
        Ok(Self { wireguard, identity: load_x25519(state, IDENTITY_KEY)?, tls })
    }

    /// The keys in the folder; those that are missing are made, and on the disk when this returns.
    pub fn load_or_make(state: &StateDir) -> Result<Self, IdentityError> {
        let wireguard = load_or_make_x25519(state, WIREGUARD_KEY)?;
        let identity = Some(load_or_make_x25519(state, IDENTITY_KEY)?);
        let tls = match load_tls(state)? {
            Some(key) => key,
            None => {
                let key = TlsKey::generate()?;
                state.write(TLS_KEY, key.key_pem().expose_secret().as_bytes())?;
                key
            }
        };
        Ok(Self { wireguard, identity, tls })
    }

    /// The public half of the identity key.
    pub fn identity_public(&self) -> Option<IdentityKey> {
        self.identity.as_ref().map(|key| IdentityKey(key.public()))
    }

    /// The public half of the tunnels' key.
    pub fn wireguard_public(&self) -> WireGuardPublicKey {
        self.wireguard.public()
    }
}

/// Puts a new certificate in the place of the one before.
pub fn save_certificate(state: &StateDir, certificate_pem: &str) -> Result<(), IdentityError> {
    Ok(state.write(CERTIFICATE, certificate_pem.as_bytes())?)
}

/// What the host shows to the controller: certificate and key.
pub fn client_certificate(state: &StateDir) -> Result<ClientCertificate, IdentityError> {
    let certificate_pem = text(state, CERTIFICATE)?.ok_or_else(|| no_key(state, CERTIFICATE))?;
    let key_pem = secret(state, TLS_KEY)?.ok_or_else(|| no_key(state, TLS_KEY))?;
    Ok(ClientCertificate { certificate_pem, key_pem })
}

/// The key that is to follow the one of the tunnels; `None` where none was made.
pub fn load_next_key(state: &StateDir) -> Result<Option<PrivateKey>, IdentityError> {
    load_x25519(state, NEXT_WIREGUARD_KEY)
}

/// When the key of the tunnels was made.
pub fn key_made_at(state: &StateDir) -> Result<SystemTime, IdentityError> {
    let made = std::fs::metadata(state.path().join(WIREGUARD_KEY)).and_then(|file| file.modified());
    made.map_err(|_| no_key(state, WIREGUARD_KEY))
}

/// Makes that key; it is on the disk when this returns. `None` where one waits, which may be announced: it stays.
pub fn make_next_key(state: &StateDir) -> Result<Option<PrivateKey>, IdentityError> {
    let key = PrivateKey::from_random(picket_pki::random()?);
    Ok(state.create(NEXT_WIREGUARD_KEY, key.to_text().as_bytes())?.then_some(key))
}

/// Puts the next key in the place of the one before, which is gone then; `None` where there is no next one, or another than the
/// one that the peers know.
pub fn use_next_key(state: &StateDir, known: &WireGuardPublicKey) -> Result<Option<PrivateKey>, IdentityError> {
    let Some(next) = load_next_key(state)?.filter(|next| next.public() == *known) else { return Ok(None) };
    state.rename(NEXT_WIREGUARD_KEY, WIREGUARD_KEY)?;
    Ok(Some(next))
}

fn load_x25519(state: &StateDir, name: &str) -> Result<Option<PrivateKey>, IdentityError> {
    let Some(text) = secret(state, name)? else { return Ok(None) };
    text.expose_secret().trim().parse().map(Some).map_err(|_| no_key(state, name))
}

fn load_or_make_x25519(state: &StateDir, name: &str) -> Result<PrivateKey, IdentityError> {
    if let Some(key) = load_x25519(state, name)? {
        return Ok(key);
    }
    let key = PrivateKey::from_random(picket_pki::random()?);
    state.write(name, key.to_text().as_bytes())?;
    Ok(key)
}

fn load_tls(state: &StateDir) -> Result<Option<TlsKey>, IdentityError> {
    let Some(pem) = secret(state, TLS_KEY)? else { return Ok(None) };
    TlsKey::from_pem(&pem).map(Some).map_err(|_| no_key(state, TLS_KEY))
}

fn secret(state: &StateDir, name: &str) -> Result<Option<SecretString>, IdentityError> {
    let Some(bytes) = state.read(name)?.map(Zeroizing::new) else { return Ok(None) };
    let text = std::str::from_utf8(&bytes).map_err(|_| no_key(state, name))?;
    Ok(Some(text.into()))
}

fn text(state: &StateDir, name: &str) -> Result<Option<String>, IdentityError> {
    let Some(bytes) = state.read(name)? else { return Ok(None) };
    String::from_utf8(bytes).map(Some).map_err(|_| no_key(state, name))
}

fn no_key(state: &StateDir, name: &str) -> IdentityError {
    IdentityError::Key { path: state.path().join(name).display().to_string() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn identity() -> Identity {
        Identity {
            mesh: "m-1".parse().unwrap(),
            node: "n-1".parse().unwrap(),
            name: "prep-1".parse().unwrap(),
            role: NodeRole::Prep,
            controllers: vec!["https://192.0.2.1:7400".into()],
            ca_fingerprint: Fingerprint::of(b"ca"),
            next_ca: None,
            former_cas: BTreeSet::new(),
            overlay: OverlayAddresses { v4: "10.77.0.2".parse().unwrap(), v6: "fd00:1:2::2".parse().unwrap() },
            machine_id: Some("0123".into()),
        }
    }

    #[test]
    fn keys_are_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        let (first, second) = (Keys::load_or_make(&state).unwrap(), Keys::load_or_make(&state).unwrap());
        assert_eq!(first.wireguard_public(), second.wireguard_public());
        assert_eq!(first.identity_public(), second.identity_public());
        assert_ne!(first.identity_public().map(|key| key.0), Some(first.wireguard_public()));
        assert_eq!(first.tls.public_key_sha256(), Keys::load(&state).unwrap().tls.public_key_sha256());
    }

    #[test]
    fn a_damaged_key_is_named_and_never_replaced() {
        for name in [WIREGUARD_KEY, IDENTITY_KEY, TLS_KEY] {
            let folder = tempfile::tempdir().unwrap();
            let state = StateDir::new(folder.path());
            state.write(name, b"\xffnot a key").unwrap();
            let error = Keys::load_or_make(&state).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            assert_eq!(state.read(name).unwrap().unwrap(), b"\xffnot a key");
        }
    }

    #[test]
    fn a_host_is_enrolled_once_its_identity_is_stored() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        Keys::load_or_make(&state).unwrap();
        assert_eq!(Identity::load(&state).unwrap(), None);
        identity().save(&state, "pem").unwrap();
        assert_eq!(Identity::load(&state).unwrap(), Some(identity()));
        assert_eq!(client_certificate(&state).unwrap().certificate_pem, "pem");
    }

    #[test]
    fn which_cas_are_trusted_survives_a_restart_and_files_from_before_have_one() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        identity().save(&state, "pem").unwrap();
        let text = state.read("identity.json").unwrap().unwrap();
        assert!(!String::from_utf8(text).unwrap().contains("next_ca"), "an agent from before reads it");
        let (old, next) = (identity().ca_fingerprint, Fingerprint::of(b"next"));
        identity().learned(next).update(&state).unwrap();
        let learned = Identity::load(&state).unwrap().unwrap();
        assert_eq!(learned.pins(), [old, next]);
        learned.settled(next).update(&state).unwrap();
        let settled = Identity::load(&state).unwrap().unwrap();
        assert_eq!(settled.pins(), [next]);
        assert!(settled.knew(old) && settled.knew(next) && !settled.knew(Fingerprint::of(b"other")));
        assert_eq!(client_certificate(&state).err().map(|error| error.to_string().contains("tls.key")), Some(true));
    }

    #[test]
    fn a_copied_folder_is_not_this_host() {
        let state = StateDir::new("/nowhere");
        assert!(identity().check_machine(&state, Some("0123")).is_ok());
        assert!(identity().check_machine(&state, None).is_ok());
        assert!(matches!(identity().check_machine(&state, Some("4567")), Err(IdentityError::Cloned { .. })));
    }
}
