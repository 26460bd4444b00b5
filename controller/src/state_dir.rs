//! The state folder: database, CA and the local operator's token. Only the controller's own user may look into it.

use crate::ca::{Secrets, plain};
use anyhow::{Context as _, bail};
use picket_model::{MeshId, Timestamp};
use picket_pki::{Ca, CaCertificate, CaPem, Fingerprint, OperatorToken, TlsKey, is_sealed, seal};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

pub(crate) const CERTIFICATE: &str = "ca.pem";
pub(crate) const KEY: &str = "ca.key";
/// The key of the CA that is to follow, while it is not the mesh's.
pub(crate) const NEXT_KEY: &str = "ca-next.key";
/// Where keys are written before they take their names.
const UNFINISHED: [&str; 2] = ["ca.new", "ca-next.new"];
const DATABASE: &str = "controller.db";
const OPERATOR: &str = "operator.toml";
const LOCK: &str = "lock";

/// An open state folder; no other controller has it open at the same time.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// `None` where somebody else keeps the folder open.
    lock: Option<File>,
}

impl Drop for StateDir {
    /// Said, since closing the file is not enough: a program that is just being started has it open too, until it has begun.
    fn drop(&mut self) {
        // It ends with this process in any case.
        self.lock.as_ref().map(File::unlock).transpose().ok();
    }
}

/// The part of the operator's file that is read back.
#[derive(Deserialize)]
pub(crate) struct OperatorContext {
    /// Where the controller listened for operators at its last start.
    pub(crate) url: String,
    /// The whole token, secret included.
    pub(crate) token: String,
    /// The CA that signs.
    pub(crate) ca_fingerprint: Option<Fingerprint>,
}

impl StateDir {
    /// Opens the folder, made where there is none, readable by its owner alone.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("make state folder {shown}"))?;
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .with_context(|| format!("close state folder {shown} to others"))?;
        let lock = create_private(&path.join(LOCK)).with_context(|| format!("write to state folder {shown}"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another picket-controller runs on state folder {shown}"),
            Err(TryLockError::Error(cause)) => {
                return Err(cause).with_context(|| format!("lock state folder {shown}"));
            }
        }
        // What was begun before a crash may be a key that should not lie here.
        for name in UNFINISHED {
            remove(&path.join(name))?;
        }
        Ok(Self { path: path.to_owned(), lock: Some(lock) })
    }

    /// The same folder for whatever lives as long as a connection may: the lock stays with who opened the folder.
    pub(crate) fn borrowed(&self) -> Self {
        Self { path: self.path.clone(), lock: None }
    }

    /// The CA's certificate in a state folder that may be in use.
    pub fn existing_ca(path: &Path) -> anyhow::Result<CaCertificate> {
        let Some(pem) = read_or_none(&path.join(CERTIFICATE))? else {
            bail!("state folder {} has no CA yet: `picket-controller serve` makes it", path.display())
        };
        CaCertificate::from_pem(&pem).with_context(|| format!("read the CA in {}", path.display()))
    }

    /// Whether a CA is here.
    pub(crate) fn has_ca(&self) -> bool {
        self.path.join(CERTIFICATE).exists()
    }

    /// Where the database is.
    pub fn database(&self) -> PathBuf {
        Self::database_in(&self.path)
    }

    /// Where the database of a state folder that may be in use is.
    pub fn database_in(path: &Path) -> PathBuf {
        path.join(DATABASE)
    }

    /// Gives the database another name, with those files beside it that belong to it; nothing where there is none.
    pub(crate) fn put_database_aside(&self, now: Timestamp) -> anyhow::Result<()> {
        for end in ["-wal", "-shm", ""] {
            self.rename(&format!("{DATABASE}{end}"), &format!("{DATABASE}.before-{}{end}", now.as_millis()))?;
        }
        Ok(())
    }

    /// The mesh's CA; at the first start a new one, for a mesh with a new id.
    pub fn ca(
        &self,
        mesh: impl FnOnce() -> anyhow::Result<MeshId>,
        secrets: &Secrets,
        now: Timestamp,
    ) -> anyhow::Result<Ca> {
        if let Some(certificate) = read_or_none(&self.path.join(CERTIFICATE))? {
            return self.load_ca(&certificate, KEY, secrets);
        }
        if self.database().exists() {
            bail!(
                "state folder {} has a database and no {CERTIFICATE}: restore {CERTIFICATE} and {KEY} from a backup, \
                 every host pins them",
                self.path.display()
            );
        }
        let key = secrets.key.as_ref().map_or_else(TlsKey::generate, TlsKey::from_pem)?;
        let ca = Ca::with_key(&mesh()?, key, now).context("make the mesh's CA")?;
        let CaPem { certificate, key } = ca.to_pem();
        // The certificate comes last: with it the CA is whole.
        if secrets.key.is_none() {
            self.write_key(KEY, &key, secrets)?;
        }
        write_private(&self.path.join(CERTIFICATE), &certificate)?;
        tracing::info!(mesh = %ca.mesh(), fingerprint = %ca.fingerprint(), "made the mesh's CA");
        Ok(ca)
    }

    /// Writes a CA's key, encrypted where there is a passphrase.
    pub(crate) fn write_key(&self, name: &str, key: &SecretString, secrets: &Secrets) -> anyhow::Result<()> {
        match &secrets.passphrase {
            Some(passphrase) => {
                self.write(name, seal(key, passphrase).context("encrypt the CA's key")?.expose_secret())
            }
            None => self.write(name, key.expose_secret()),
        }
    }

    /// Replaces a file, which only its owner reads: it is either whole or as before.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        write_private(&self.path.join(name), text)
    }

    /// A file's text; `None` where it is not there.
    pub(crate) fn read(&self, name: &str) -> anyhow::Result<Option<String>> {
        read_or_none(&self.path.join(name))
    }

    /// Removes a file, and returns once that is on the disk; nothing where there is none.
    pub(crate) fn remove(&self, name: &str) -> anyhow::Result<()> {
        remove(&self.path.join(name))
    }

    /// Whether a path leads to a name that the CA's keys have here, whatever lies there now.
    pub(crate) fn is_of_keys(&self, file: &Path) -> bool {
        let Ok(own) = self.path.canonicalize() else { return false };
        let beside = file.parent().and_then(|folder| Some(folder.canonicalize().ok()?.join(file.file_name()?)));
        let behind_links = file.canonicalize().ok();
        beside.into_iter().chain(behind_links).any(|path| path == own.join(KEY) || path == own.join(NEXT_KEY))
    }

    /// Gives a file the name of another, and returns once that is on the disk; nothing where there is none.
    pub(crate) fn rename(&self, name: &str, to: &str) -> anyhow::Result<()> {
        let renamed = match fs::rename(self.path.join(name), self.path.join(to)) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
            renamed => renamed.and_then(|()| File::open(&self.path)?.sync_all()),
        };
        renamed.with_context(|| format!("rename {name} to {to} in state folder {}", self.path.display()))
    }

    /// The CA of a certificate, with its key from the file of this name or from the given ones.
    pub(crate) fn load_ca(&self, certificate: &str, key: &str, secrets: &Secrets) -> anyhow::Result<Ca> {
        load_ca(certificate, &self.path.join(key), secrets)
            .with_context(|| format!("read the CA in {}", self.path.display()))
    }

    /// The local operator's file; `None` where it is not there.
    pub(crate) fn context(&self) -> anyhow::Result<Option<OperatorContext>> {
        Self::read_context(&self.path)
    }

    /// The local operator's file in a state folder that may be in use.
    pub(crate) fn read_context(path: &Path) -> anyhow::Result<Option<OperatorContext>> {
        let path = path.join(OPERATOR);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(cause).with_context(|| format!("read {}", path.display())),
        };
        // The parser's own message may quote the line, and with it the token.
        let context: Option<OperatorContext> = toml::from_str(&text).ok();
        let context = context.filter(|context| context.token.parse::<OperatorToken>().is_ok());
        let unreadable = || format!("{} cannot be read: delete it and start again for a new token", path.display());
        context.with_context(unreadable).map(Some)
    }

    /// Writes the local operator's file.
    pub(crate) fn write_context(&self, text: &SecretString) -> anyhow::Result<()> {
        write_private(&self.path.join(OPERATOR), text.expose_secret())
    }
}

/// The CA of a certificate, with its key from the file beside it, or that of the given ones which belongs to it.
pub(crate) fn load_ca(certificate: &str, key: &Path, secrets: &Secrets) -> anyhow::Result<Ca> {
    if secrets.key.is_some() {
        let belonging = secrets.given().find_map(|key| Ca::from_pem(certificate, key).ok());
        return belonging.context(
            "no key that ca.key_file, ca.key_command or their `next_` lines give belongs to the CA's certificate",
        );
    }
    let text = SecretString::from(fs::read_to_string(key).with_context(|| format!("read {}", key.display()))?);
    if secrets.passphrase.is_some() && !is_sealed(&text) {
        tracing::warn!(
            path = %key.display(),
            "a passphrase is configured and the CA's key is not encrypted: stop and run `picket-controller ca encrypt`"
        );
    }
    let plain = plain(&text, secrets.passphrase.as_ref()).with_context(|| format!("open {}", key.display()))?;
    Ok(Ca::from_pem(certificate, &plain)?)
}

/// A file's text; `None` where it is not there.
pub(crate) fn read_or_none(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause).with_context(|| format!("read {}", path.display())),
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = match fs::remove_file(path) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
        removed => removed.and_then(|()| path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())),
    };
    removed.with_context(|| format!("remove {}", path.display()))
}

/// A new or emptied file that only its owner reads.
fn create_private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Writes beside and renames, so that a file is either whole or as before.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = create_private(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn mesh() -> anyhow::Result<MeshId> {
        Ok("m-1".parse()?)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_ca_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let made = StateDir::open(&path).unwrap().ca(mesh, &Secrets::default(), NOW).unwrap().fingerprint();
        let again =
            StateDir::open(&path).unwrap().ca(|| bail!("asked for a second mesh"), &Secrets::default(), NOW).unwrap();
        assert_eq!((again.fingerprint(), again.mesh().as_str()), (made, "m-1"));
        assert_eq!(StateDir::existing_ca(&path).unwrap().fingerprint(), made);
        assert_eq!((mode(&path), mode(&path.join(KEY))), (0o700, 0o600));
    }

    #[test]
    fn two_controllers_do_not_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _first = StateDir::open(folder.path()).unwrap();
        let error = StateDir::open(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("another picket-controller runs"), "{error}");
    }

    #[test]
    fn a_lost_or_damaged_ca_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        state.ca(mesh, &Secrets::default(), NOW).unwrap();
        fs::write(folder.path().join(KEY), "").unwrap();
        assert!(state.ca(mesh, &Secrets::default(), NOW).is_err());
        fs::write(state.database(), "").unwrap();
        fs::remove_file(folder.path().join(CERTIFICATE)).unwrap();
        let error = state.ca(mesh, &Secrets::default(), NOW).unwrap_err().to_string();
        assert!(error.contains("from a backup"), "{error}");
    }

    #[test]
    fn the_operators_file_comes_back_and_a_damaged_one_does_not_show_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        assert!(state.context().unwrap().is_none());
        let secret = "ab".repeat(32);
        let text = format!("url = \"https://127.0.0.1:7444\"\ntoken = \"picket-op1.admin.{secret}\"\n");
        state.write_context(&text.into()).unwrap();
        assert_eq!(state.context().unwrap().unwrap().url, "https://127.0.0.1:7444");
        assert_eq!(mode(&folder.path().join(OPERATOR)), 0o600);
        fs::write(folder.path().join(OPERATOR), format!("url = \"x\"\ntoken = \"picket-op2.{secret}\"")).unwrap();
        let error = format!("{:#}", state.context().err().unwrap());
        assert!(error.contains("delete it") && !error.contains(&secret), "{error}");
    }
}
