//! The CA's secrets, fetched from where the configuration says: a file, or what a program prints. No shell is ever asked.

use super::config::{CaConfig, Origin};
use anyhow::{Context as _, bail, ensure};
use picket_pki::{is_sealed, sealed, unseal};
use secrecy::SecretString;
use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    time::timeout,
};
use zeroize::Zeroizing;

/// Most bytes a secret has: a key in PEM is below one thousand.
const LONGEST: u64 = 64 * 1024;
/// Most of a program's complaint that is shown, in characters.
const LONGEST_COMPLAINT: usize = 500;

/// What is needed to read and write the CA's keys.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// The passphrase; `None` where keys are not encrypted.
    pub(crate) passphrase: Option<SecretString>,
    /// The key that is given from elsewhere, plain, PEM; `None` where keys lie in the state folder.
    pub(crate) key: Option<SecretString>,
    /// The key that is given for the next CA.
    pub(crate) next_key: Option<SecretString>,
}

impl Secrets {
    /// Fetches what is configured. A program's complaint is part of the error, what it prints is not.
    ///
    /// # Errors
    /// Says what was fetched, from where, and why it is not there.
    pub async fn fetch(config: &CaConfig) -> anyhow::Result<Self> {
        let patience = config.patience();
        let passphrase = match config.passphrase() {
            None => None,
            Some(origin) => {
                let text = read(&origin, patience).await.context("fetch the passphrase of the CA's key")?;
                let passphrase = sealed::passphrase(text.as_str());
                Some(passphrase.with_context(|| format!("use what {} gave", shown(&origin)))?)
            }
        };
        let fetch = async |origin: Option<Origin>| -> anyhow::Result<Option<SecretString>> {
            let Some(origin) = origin else { return Ok(None) };
            let text = read(&origin, patience).await.context("fetch the CA's key")?;
            let key = plain(&text.as_str().into(), passphrase.as_ref());
            key.map(Some).with_context(|| format!("use the key that {} gave", shown(&origin)))
        };
        let (key, next_key) = (fetch(config.key()).await?, fetch(config.next_key()).await?);
        Ok(Self { passphrase, key, next_key })
    }

    /// The keys that are given from elsewhere. Which of them is a CA's, its certificate says.
    pub(crate) fn given(&self) -> impl Iterator<Item = &SecretString> {
        self.key.iter().chain(&self.next_key)
    }
}

/// The plain key in a key's text, which may be encrypted.
pub(crate) fn plain(key: &SecretString, passphrase: Option<&SecretString>) -> anyhow::Result<SecretString> {
    match (is_sealed(key), passphrase) {
        (false, _) => Ok(key.clone()),
        (true, Some(passphrase)) => Ok(unseal(key, passphrase)?),
        (true, None) => bail!(
            "the key is encrypted and no passphrase is configured: write ca.passphrase_file or ca.passphrase_command"
        ),
    }
}

async fn read(origin: &Origin, patience: Duration) -> anyhow::Result<Zeroizing<String>> {
    match origin {
        Origin::File(path) => read_file(path).with_context(|| format!("read {}", path.display())),
        Origin::Program(words) => run(words, patience).await.with_context(|| format!("run {}", shown(origin))),
    }
}

fn read_file(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let about = std::fs::metadata(path)?;
    ensure!(about.len() <= LONGEST, "it has more than {LONGEST} bytes");
    if about.permissions().mode() & 0o007 != 0 {
        tracing::warn!(path = %path.display(), "everybody on this host may read this secret: chmod 600");
    }
    Ok(Zeroizing::new(std::fs::read_to_string(path)?))
}

async fn run(words: &[String], patience: Duration) -> anyhow::Result<Zeroizing<String>> {
    let Some((program, arguments)) = words.split_first() else { bail!("no program is named") };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("start it")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = timeout(patience, async { tokio::join!(all(stdout), all(stderr), child.wait()) }).await;
    let Ok((printed, complaint, status)) = ended else {
        bail!("it took longer than {} s (ca.command_seconds) and was killed", patience.as_secs());
    };
    // First: a program whose reader has had enough may end by the signal of that.
    let printed = printed.context("read what it prints")?;
    let status = status.context("wait for it")?;
    if !status.success() {
        let complaint = complaint.unwrap_or_default();
        let complaint = String::from_utf8_lossy(&complaint);
        let complaint: String = complaint.trim().chars().take(LONGEST_COMPLAINT).collect();
        bail!("it ended with {status} and said: {}", complaint.escape_debug());
    }
    let text = std::str::from_utf8(&printed).ok().context("what it prints is not text")?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Everything a program writes, up to a limit.
async fn all(pipe: Option<impl AsyncRead + Unpin>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
    if let Some(pipe) = pipe {
        pipe.take(LONGEST + 1).read_to_end(&mut bytes).await?;
    }
    ensure!(u64::try_from(bytes.len()).is_ok_and(|read| read <= LONGEST), "it printed more than {LONGEST} bytes");
    Ok(bytes)
}

/// Arguments may be secrets: the program alone is named.
fn shown(origin: &Origin) -> String {
    match origin {
        Origin::File(path) => path.display().to_string(),
        Origin::Program(words) => words.first().map_or_else(|| "a program".to_owned(), Clone::clone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    async fn printed(script: &str, seconds: u64) -> Result<String, String> {
        let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let config = CaConfig { passphrase_command: Some(words), command_seconds: seconds, ..CaConfig::default() };
        let secrets = Secrets::fetch(&config).await.map_err(|error| format!("{error:#}"))?;
        Ok(secrets.passphrase.unwrap().expose_secret().to_owned())
    }

    #[tokio::test]
    async fn a_program_prints_the_passphrase_and_its_complaint_is_shown_where_it_fails() {
        assert_eq!(printed("echo a passphrase of its own", 10).await.unwrap(), "a passphrase of its own");
        let error = printed("echo hunter2; printf 'no\\033 access' >&2; exit 3", 10).await.unwrap_err();
        assert!(error.contains("/bin/sh") && error.contains("said: no\\u{1b} access"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert!(printed("true", 10).await.unwrap_err().contains("one line"));
        assert!(printed("printf 'two\\nlines'", 10).await.unwrap_err().contains("one line"));
        assert!(printed("head -c 70000 /dev/zero", 10).await.unwrap_err().contains("more than 65536 bytes"));
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed() {
        let error = printed("echo early; exec sleep 600", 1).await.unwrap_err();
        assert!(error.contains("longer than 1 s"), "{error}");
    }

    #[tokio::test]
    async fn a_file_gives_the_passphrase_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        let config = CaConfig { passphrase_file: Some(path.clone()), ..CaConfig::default() };
        let error = format!("{:#}", Secrets::fetch(&config).await.unwrap_err());
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        std::fs::write(&path, "one of a file\n").unwrap();
        let secrets = Secrets::fetch(&config).await.unwrap();
        assert_eq!(secrets.passphrase.as_ref().unwrap().expose_secret(), "one of a file");
        assert!(!format!("{secrets:?}").contains("one of a file"));
    }
}
