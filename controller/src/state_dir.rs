//! The state folder: database, CA and the local operator's token. Only the controller's own user may look into it.

use anyhow::{Context as _, bail};
use picket_model::{MeshId, Timestamp};
use picket_pki::{Ca, OperatorToken};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";
const DATABASE: &str = "controller.db";
const OPERATOR: &str = "operator.toml";
const LOCK: &str = "lock";

/// An open state folder; no other controller has it open at the same time.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

/// The part of the operator's file that is read back.
#[derive(Deserialize)]
pub(crate) struct OperatorContext {
    /// Where the controller listened for operators at its last start.
    pub(crate) url: String,
    /// The whole token, secret included.
    pub(crate) token: String,
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
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!("another picket-controller runs on state folder {shown}"),
            Err(TryLockError::Error(cause)) => Err(cause).with_context(|| format!("lock state folder {shown}")),
        }
    }

    /// The CA in a state folder that may be in use.
    pub fn existing_ca(path: &Path) -> anyhow::Result<Ca> {
        match load_ca(path)? {
            Some(ca) => Ok(ca),
            None => bail!("state folder {} has no CA yet: `picket-controller serve` makes it", path.display()),
        }
    }

    /// Where the database is.
    pub fn database(&self) -> PathBuf {
        Self::database_in(&self.path)
    }

    /// Where the database of a state folder that may be in use is.
    pub fn database_in(path: &Path) -> PathBuf {
        path.join(DATABASE)
    }

    /// The mesh's CA; at the first start a new one, for a mesh with a new id.
    pub fn ca(&self, mesh: impl FnOnce() -> anyhow::Result<MeshId>, now: Timestamp) -> anyhow::Result<Ca> {
        if let Some(ca) = load_ca(&self.path)? {
            return Ok(ca);
        }
        if self.database().exists() {
            bail!(
                "state folder {} has a database and no {CERTIFICATE}: restore {CERTIFICATE} and {KEY} from a backup, \
                 every host pins them",
                self.path.display()
            );
        }
        let ca = Ca::generate(&mesh()?, now).context("make the mesh's CA")?;
        let pem = ca.to_pem();
        // The certificate comes last: with it the CA is whole.
        write_private(&self.path.join(KEY), pem.key.expose_secret())?;
        write_private(&self.path.join(CERTIFICATE), &pem.certificate)?;
        tracing::info!(mesh = %ca.mesh(), fingerprint = %ca.fingerprint(), "made the mesh's CA");
        Ok(ca)
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

fn load_ca(path: &Path) -> anyhow::Result<Option<Ca>> {
    let (certificate, key) = (path.join(CERTIFICATE), path.join(KEY));
    let read = |file: &Path| fs::read_to_string(file).with_context(|| format!("read {}", file.display()));
    if !certificate.exists() {
        return Ok(None);
    }
    let (certificate_pem, key_pem) = (read(&certificate)?, SecretString::from(read(&key)?));
    let ca = Ca::from_pem(&certificate_pem, &key_pem).with_context(|| format!("read the CA in {}", path.display()))?;
    Ok(Some(ca))
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
        let made = StateDir::open(&path).unwrap().ca(mesh, NOW).unwrap().fingerprint();
        let again = StateDir::open(&path).unwrap().ca(|| bail!("asked for a second mesh"), NOW).unwrap();
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
        state.ca(mesh, NOW).unwrap();
        fs::write(folder.path().join(KEY), "").unwrap();
        assert!(state.ca(mesh, NOW).is_err());
        fs::write(state.database(), "").unwrap();
        fs::remove_file(folder.path().join(CERTIFICATE)).unwrap();
        let error = state.ca(mesh, NOW).unwrap_err().to_string();
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
