//! A CA that is made before any controller runs and given to all of them, which have folders of their own: in containers, whose
//! folders do not last, and wherever several begin at once.

use super::{CaConfig, secrets::Secrets};
use crate::{
    start::new_mesh,
    state_dir::{CERTIFICATE, KEY, StateDir},
};
use anyhow::{Context as _, bail};
use picket_model::Timestamp;
use picket_pki::CaCertificate;
use std::{fs, path::Path};

/// Puts the configured certificate into a state folder that has none. One that is there stays: it may be a newer CA's.
pub(crate) fn adopt(state: &StateDir, config: &CaConfig) -> anyhow::Result<()> {
    let Some(file) = config.certificate_file.as_ref().filter(|_| !state.has_ca()) else { return Ok(()) };
    let pem = fs::read_to_string(file).with_context(|| format!("read {} (ca.certificate_file)", file.display()))?;
    let certificate = CaCertificate::from_pem(&pem).with_context(|| format!("read the CA in {}", file.display()))?;
    state.write(CERTIFICATE, certificate.pem())?;
    tracing::info!(mesh = %certificate.mesh(), fingerprint = %certificate.fingerprint(), "took the CA that is given");
    Ok(())
}

/// Makes the CA of a new mesh in a folder that has none, its key encrypted where a passphrase is configured.
pub(crate) async fn create(folder: &Path, config: &CaConfig, now: Timestamp) -> anyhow::Result<String> {
    if config.key().is_some() {
        bail!("the key is given by ca.key_file or ca.key_command: leave these lines out where a new one is to be made");
    }
    let state = StateDir::open(folder)?;
    if state.has_ca() {
        bail!("{} has a CA already; nothing was changed", folder.join(CERTIFICATE).display());
    }
    let secrets = Secrets::fetch(config).await?;
    let is_encrypted = secrets.passphrase.is_some();
    let ca = state.ca(new_mesh, &secrets, now)?;
    let care = if is_encrypted { "encrypted" } else { "NOT encrypted: whoever reads it is the mesh" };
    Ok(format!(
        "mesh         {}\nfingerprint  {}\nca.certificate_file = {:?}\nca.key_file = {:?}    # {care}",
        ca.mesh(),
        ca.fingerprint(),
        folder.join(CERTIFICATE),
        folder.join(KEY)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[tokio::test]
    async fn what_is_made_once_is_the_ca_of_every_folder() {
        let made = tempfile::tempdir().unwrap();
        let passphrase = made.path().join("passphrase");
        fs::write(&passphrase, "correct horse battery staple").unwrap();
        let config = CaConfig { passphrase_file: Some(passphrase), ..CaConfig::default() };
        let out = made.path().join("out");
        let said = create(&out, &config, NOW).await.unwrap();
        assert!(said.ends_with("# encrypted"), "{said}");
        let error = create(&out, &config, NOW).await.unwrap_err().to_string();
        assert!(error.contains("has a CA already"), "{error}");

        let given = CaConfig { certificate_file: Some(out.join(CERTIFICATE)), key_file: Some(out.join(KEY)), ..config };
        let error = create(&made.path().join("other"), &given, NOW).await.unwrap_err().to_string();
        assert!(error.contains("leave these lines out"), "{error}");
        let secrets = Secrets::fetch(&given).await.unwrap();
        for name in ["first", "second"] {
            let state = StateDir::open(&made.path().join(name)).unwrap();
            adopt(&state, &given).unwrap();
            let ca = state.ca(|| bail!("made another"), &secrets, NOW).unwrap();
            assert!(said.contains(&ca.fingerprint().to_string()), "{said}");
        }
    }

    #[test]
    fn a_folder_that_has_a_ca_keeps_it_and_no_other_file_is_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("state")).unwrap();
        let file = folder.path().join("given.pem");
        fs::write(&file, "no certificate").unwrap();
        let config = CaConfig { certificate_file: Some(file), ..CaConfig::default() };
        let error = format!("{:#}", adopt(&state, &config).unwrap_err());
        assert!(error.contains("given.pem") && !state.has_ca(), "{error}");
        let own = state.ca(|| Ok("m-1".parse()?), &Secrets::default(), NOW).unwrap().fingerprint();
        adopt(&state, &config).unwrap();
        assert_eq!(StateDir::existing_ca(&folder.path().join("state")).unwrap().fingerprint(), own);
    }
}
