//! A host that was away while its mesh's CA was rotated trusts the new one by the word of whoever is root on it.

use crate::{
    cli::Place,
    identity::{Identity, Keys, save_certificate},
    state::StateDir,
};
use anyhow::{Context as _, Result, bail};
use picket_api::{
    AgentClient,
    node::{RenewRequest, RenewResponse},
};
use picket_pki::{Fingerprint, client_config};

/// Trusts the CA with this fingerprint and no other, once a controller that shows it has given this host's key a certificate; says
/// what came of it. Where there is none nothing is changed.
pub async fn trust(place: &Place, ca: Fingerprint) -> Result<String> {
    let state = StateDir::new(&place.state_dir);
    let Some(identity) = Identity::load(&state)? else {
        bail!("this host is not enrolled ({} has no identity)", place.state_dir.display());
    };
    if identity.pins() == [ca] {
        return Ok(format!("CA {ca} is trusted already; nothing was changed"));
    }
    let _lock = state.lock()?;
    let csr_pem = Keys::load(&state)?.tls.csr_pem()?;
    let renewed = renew(&identity, ca, csr_pem).await?;
    save_certificate(&state, &renewed.certificate_pem)?;
    identity.settled(ca).update(&state)?;
    Ok(format!("CA {ca} is trusted now, and {} no more", identity.ca_fingerprint))
}

/// A certificate of the first controller that shows the CA; the old one of this host may be worth nothing.
async fn renew(identity: &Identity, ca: Fingerprint, csr_pem: String) -> Result<RenewResponse> {
    let request = RenewRequest { node: identity.node.clone(), csr_pem };
    let mut silent = Vec::new();
    for url in &identity.controllers {
        let base = url.parse().with_context(|| format!("{url:?} is not a controller's URL"))?;
        match AgentClient::new(base, client_config(ca, None)?)?.renew(&request).await {
            Ok(renewed) => return Ok(renewed),
            Err(error) => silent.push(error.to_string()),
        }
    }
    bail!("no controller with CA {ca} gave this host a certificate, and nothing was changed: {}", silent.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::identity;

    #[tokio::test]
    async fn nothing_changes_under_a_running_agent_or_without_a_controller() {
        let folder = tempfile::tempdir().unwrap();
        let place =
            Place { state_dir: folder.path().into(), guard: None, interface: "picket0".parse().unwrap(), log_group: 0 };
        let (state, next) = (StateDir::new(folder.path()), Fingerprint::of(b"next"));
        let refused = async || trust(&place, next).await.unwrap_err().to_string();
        assert!(refused().await.contains("not enrolled"));
        let before = Identity { controllers: vec!["https://127.0.0.1:1".into()], ..identity() };
        before.save(&state, "pem").unwrap();
        Keys::load_or_make(&state).unwrap();
        let running = state.lock().unwrap();
        assert!(refused().await.contains("stop it first"));
        drop(running);
        assert!(refused().await.contains("nothing was changed"));
        assert_eq!(Identity::load(&state).unwrap(), Some(before.clone()));
        assert!(trust(&place, before.ca_fingerprint).await.unwrap().contains("already"));
    }
}
