//! The CA's key at rest: what it looks like now, and to and from its encrypted form while no controller runs. The new file
//! takes the old one's name only once it is whole on the disk and was read back.

use super::{
    CaConfig,
    kept::{ROTATION, is_under_way},
    secrets::Secrets,
};
use crate::state_dir::{CERTIFICATE, KEY, NEXT_KEY, StateDir, load_ca, read_or_none};
use anyhow::{Context as _, bail};
use picket_pki::{Ca, CaCertificate, is_sealed, seal, unseal};
use secrecy::{ExposeSecret as _, SecretString};
use std::path::Path;

/// What the CA in a state folder is, a line for each fact. Nothing secret is fetched, and the controller may run.
pub(crate) fn status(path: &Path, config: &CaConfig) -> anyhow::Result<String> {
    let certificate = StateDir::existing_ca(path)?;
    let key = match read_or_none(&path.join(KEY))?.map(SecretString::from) {
        Some(key) if config.key().is_some() && is_sealed(&key) => {
            "given from elsewhere (ca.key_file or ca.key_command); an encrypted one lies in the folder as well, for nothing: \
             remove it"
        }
        Some(_) if config.key().is_some() => {
            "given from elsewhere (ca.key_file or ca.key_command), and one lies in the folder as well, NOT encrypted: whoever \
             reads it may be the mesh. Remove it"
        }
        None if config.key().is_some() => "given from elsewhere (ca.key_file or ca.key_command)",
        None => "MISSING: restore it from a backup",
        Some(key) if is_sealed(&key) && config.passphrase().is_none() => {
            "encrypted, and no passphrase is configured: the next start will fail"
        }
        Some(key) if is_sealed(&key) => "encrypted (PKCS#8, PBES2)",
        Some(_) => "NOT encrypted: whoever reads the file is the mesh; see `picket-controller ca encrypt`",
    };
    let rotation = read_or_none(&path.join(ROTATION))?.map_or("", |_| "\nrotation     under way: see `picket ca`");
    Ok(format!(
        "mesh         {}\nfingerprint  {}\nuntil        {}\nkey          {key}{rotation}",
        certificate.mesh(),
        certificate.fingerprint(),
        certificate.not_after()
    ))
}

/// What a start says of keys that lie in the state folder though it has no use for them.
pub(super) fn left_behind(state: &StateDir, config: &CaConfig) -> anyhow::Result<Option<String>> {
    if config.key().is_none() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for name in [KEY, NEXT_KEY] {
        if let Some(text) = state.read(name)?.map(SecretString::from) {
            found.push(if is_sealed(&text) {
                format!("{name} (encrypted)")
            } else {
                format!("{name} (NOT encrypted)")
            });
        }
    }
    let found = found.join(" and ");
    Ok((!found.is_empty()).then(|| {
        format!("the CA's key is given by ca.key_file or ca.key_command, and the state folder has {found}: remove it")
    }))
}

/// Refuses a secret that is given by a file where the CA's own keys lie: a rotation writes over it, or removes it at its end.
pub(super) fn check_given(state: &StateDir, config: &CaConfig) -> anyhow::Result<()> {
    let files = [
        ("key_file", &config.key_file),
        ("next_key_file", &config.next_key_file),
        ("passphrase_file", &config.passphrase_file),
    ];
    for (line, file) in files {
        if let Some(file) = file.as_ref().filter(|file| state.is_of_keys(file)) {
            bail!(
                "ca.{line} is {}, a name that the CA's own keys have in the state folder, where a rotation would replace or \
                 remove it: move the file to another folder and write its path there",
                file.display()
            );
        }
    }
    Ok(())
}

/// Encrypts the key in a state folder that nobody uses; one sentence on what came of it.
pub(crate) async fn encrypt(path: &Path, config: &CaConfig) -> anyhow::Result<String> {
    let key = Key::open(path, config).await?;
    if is_sealed(&key.text) {
        return Ok(format!("{KEY} is encrypted already; nothing was changed"));
    }
    let sealed = seal(&key.text, &key.passphrase)?;
    Ca::from_pem(key.certificate.pem(), &unseal(&sealed, &key.passphrase)?).context("read back what was encrypted")?;
    key.state.write(KEY, sealed.expose_secret())?;
    Ok(format!(
        "{KEY} is encrypted; the plain one has no name any more, but its blocks may stay on the disk until they are written \
         over, as may backups: where that matters, rotate the CA (`picket ca rotate`)"
    ))
}

/// Decrypts it.
pub(crate) async fn decrypt(path: &Path, config: &CaConfig) -> anyhow::Result<String> {
    let key = Key::open(path, config).await?;
    if !is_sealed(&key.text) {
        return Ok(format!("{KEY} is not encrypted; nothing was changed"));
    }
    let plain = unseal(&key.text, &key.passphrase).context("nothing was changed")?;
    Ca::from_pem(key.certificate.pem(), &plain).context("nothing was changed")?;
    key.state.write(KEY, plain.expose_secret())?;
    Ok(format!(
        "{KEY} is not encrypted any more: take ca.passphrase_file or ca.passphrase_command out of the configuration"
    ))
}

/// The key as it lies there, with all that is needed to write it anew.
struct Key {
    state: StateDir,
    certificate: CaCertificate,
    text: SecretString,
    passphrase: SecretString,
}

impl Key {
    async fn open(path: &Path, config: &CaConfig) -> anyhow::Result<Self> {
        if config.key().is_some() {
            bail!("the key is given by ca.key_file or ca.key_command: it is encrypted where it comes from");
        }
        let certificate = StateDir::existing_ca(path)?;
        let state = StateDir::open(path)?;
        if is_under_way(&state)? {
            bail!("a rotation of the CA is under way: finish it first, `picket ca` says how");
        }
        let Secrets { passphrase, .. } = Secrets::fetch(config).await?;
        let Some(passphrase) = passphrase else {
            bail!("no passphrase is configured: write ca.passphrase_file or ca.passphrase_command");
        };
        let Some(text) = read_or_none(&path.join(KEY))?.map(SecretString::from) else {
            bail!("state folder {} has {CERTIFICATE} and no {KEY}: restore it from a backup", path.display());
        };
        let secrets = Secrets { passphrase: Some(passphrase.clone()), ..Secrets::default() };
        // Whatever is done to it, it must be the key of this CA, and this must be its passphrase.
        load_ca(certificate.pem(), &path.join(KEY), &secrets).context("nothing was changed")?;
        Ok(Self { state, certificate, text, passphrase })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_model::Timestamp;
    use std::{fs, path::PathBuf};
    use tempfile::TempDir;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn made(secrets: &Secrets) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        StateDir::open(&path).unwrap().ca(|| Ok("m-1".parse()?), secrets, NOW).unwrap();
        (folder, path)
    }

    fn under(folder: &TempDir, passphrase: &str) -> CaConfig {
        let file = folder.path().join("passphrase");
        fs::write(&file, passphrase).unwrap();
        CaConfig { passphrase_file: Some(file), ..CaConfig::default() }
    }

    fn key(path: &Path) -> String {
        fs::read_to_string(path.join(KEY)).unwrap()
    }

    #[tokio::test]
    async fn a_key_is_encrypted_and_decrypted_and_stays_the_same_ca() {
        let (folder, path) = made(&Secrets::default());
        let (before, plain) = (StateDir::existing_ca(&path).unwrap().fingerprint(), key(&path));
        let config = under(&folder, "a passphrase of its own\n");
        assert!(status(&path, &config).unwrap().contains("NOT encrypted"));
        assert!(encrypt(&path, &config).await.unwrap().starts_with("ca.key is encrypted; "));
        let sealed = key(&path);
        assert!(sealed.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        assert!(status(&path, &config).unwrap().contains("key          encrypted (PKCS#8"));
        // No file in the folder has a line of the plain key.
        let line = plain.lines().nth(1).unwrap();
        for entry in fs::read_dir(&path).unwrap() {
            let text = fs::read(entry.unwrap().path()).unwrap();
            assert!(!text.windows(line.len()).any(|window| window == line.as_bytes()));
        }
        assert!(encrypt(&path, &config).await.unwrap().contains("nothing was changed"));
        assert_eq!(key(&path), sealed);

        let secrets = Secrets::fetch(&config).await.unwrap();
        let ca = StateDir::open(&path).unwrap().ca(|| bail!("made another"), &secrets, NOW).unwrap();
        assert_eq!(ca.fingerprint(), before);
        decrypt(&path, &config).await.unwrap();
        assert_eq!(key(&path), plain);
        assert!(decrypt(&path, &config).await.unwrap().contains("nothing was changed"));
    }

    #[tokio::test]
    async fn a_wrong_passphrase_or_none_changes_nothing() {
        let (folder, path) = made(&Secrets::default());
        encrypt(&path, &under(&folder, "a passphrase of its own")).await.unwrap();
        let sealed = key(&path);
        for attempt in ["a passphrase of another", ""] {
            let config = under(&folder, attempt);
            for error in [encrypt(&path, &config).await.unwrap_err(), decrypt(&path, &config).await.unwrap_err()] {
                let error = format!("{error:#}");
                assert!(error.contains("passphrase") && !error.contains("of another"), "{error}");
            }
        }
        let error = encrypt(&path, &CaConfig::default()).await.unwrap_err().to_string();
        assert!(error.contains("ca.passphrase_file"), "{error}");
        let start = StateDir::open(&path).unwrap().ca(|| bail!("made another"), &Secrets::default(), NOW);
        assert!(format!("{:#}", start.unwrap_err()).contains("no passphrase is configured"));
        assert_eq!(key(&path), sealed);
    }

    #[tokio::test]
    async fn a_short_passphrase_encrypts_nothing_and_a_used_folder_is_left_alone() {
        let (folder, path) = made(&Secrets::default());
        let plain = key(&path);
        let error = encrypt(&path, &under(&folder, "short")).await.unwrap_err().to_string();
        assert!(error.contains("at least 12"), "{error}");
        let _running = StateDir::open(&path).unwrap();
        let error = encrypt(&path, &under(&folder, "a passphrase of its own")).await.unwrap_err().to_string();
        assert!(error.starts_with("another picket-controller runs"), "{error}");
        assert_eq!(key(&path), plain);
    }

    #[tokio::test]
    async fn a_new_ca_is_encrypted_from_its_first_byte_on_and_leftovers_go() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::fetch(&under(&folder, "a passphrase of its own")).await.unwrap();
        let (_folder, path) = made(&secrets);
        assert!(is_sealed(&key(&path).into()));
        fs::write(path.join("ca.new"), "half a key").unwrap();
        StateDir::open(&path).unwrap();
        assert!(!path.join("ca.new").exists());
    }

    #[tokio::test]
    async fn a_given_key_never_lies_in_the_folder_and_another_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("given.key");
        let write = |key: &SecretString| fs::write(&file, key.expose_secret()).unwrap();
        write(&picket_pki::TlsKey::generate().unwrap().key_pem());
        let config = CaConfig { key_file: Some(file.clone()), ..CaConfig::default() };
        let (_state, path) = made(&Secrets::fetch(&config).await.unwrap());
        assert!(!path.join(KEY).exists());
        assert!(status(&path, &config).unwrap().contains("given from elsewhere"));
        assert!(encrypt(&path, &config).await.unwrap_err().to_string().contains("where it comes from"));
        // A key that lies there as well, from before, is pointed out, by the program and by each start.
        let said = || left_behind(&StateDir::open(&path).unwrap(), &config).unwrap();
        assert_eq!(said(), None);
        for (text, expected) in [("plain", "NOT encrypted"), ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "encrypted")] {
            fs::write(path.join(KEY), text).unwrap();
            let status = status(&path, &config).unwrap();
            assert!(status.contains(expected) && status.to_lowercase().contains("remove it"), "{status}");
            assert_eq!(status.contains("NOT encrypted"), text == "plain");
            assert!(said().unwrap().contains(&format!("the state folder has ca.key ({expected}): remove it")));
            assert_eq!(left_behind(&StateDir::open(&path).unwrap(), &CaConfig::default()).unwrap(), None);
        }
        fs::remove_file(path.join(KEY)).unwrap();
        // The file may be encrypted itself.
        let given = fs::read_to_string(&file).unwrap();
        write(&seal(&given.into(), &"a passphrase of its own".into()).unwrap());
        let with_passphrase = CaConfig { key_file: Some(file.clone()), ..under(&folder, "a passphrase of its own") };
        let secrets = Secrets::fetch(&with_passphrase).await.unwrap();
        StateDir::open(&path).unwrap().ca(|| bail!("made another"), &secrets, NOW).unwrap();
        write(&picket_pki::TlsKey::generate().unwrap().key_pem());
        let secrets = Secrets::fetch(&config).await.unwrap();
        let error = StateDir::open(&path).unwrap().ca(|| bail!("made another"), &secrets, NOW).unwrap_err();
        assert!(format!("{error:#}").contains("belongs to the CA's certificate"), "{error:#}");
    }

    #[test]
    fn a_secret_is_not_given_by_a_file_that_a_rotation_removes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let state = StateDir::open(&path).unwrap();
        let given = |file: &Path| {
            let config = CaConfig { key_file: Some(file.to_owned()), ..CaConfig::default() };
            check_given(&state, &config).err().map_or_else(String::new, |error| format!("{error:#}"))
        };
        assert!(given(&path.join(KEY)).contains("ca.key_file is "));
        assert!(given(&path.join("../state").join(NEXT_KEY)).contains("move the file to another folder"));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(!given(&link.join(KEY)).is_empty());
        fs::write(path.join(KEY), "a key").unwrap();
        let named_otherwise = folder.path().join("given.key");
        std::os::unix::fs::symlink(path.join(KEY), &named_otherwise).unwrap();
        assert!(!given(&named_otherwise).is_empty());
        for elsewhere in [folder.path().join(KEY), path.join("given.key"), "/nowhere/ca.key".into()] {
            assert_eq!(given(&elsewhere), "");
        }
        let passphrase = CaConfig { passphrase_file: Some(path.join(KEY)), ..CaConfig::default() };
        assert!(check_given(&state, &passphrase).unwrap_err().to_string().contains("ca.passphrase_file is "));
    }
}
