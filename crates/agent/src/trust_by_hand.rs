//! A host that was away while its mesh's CA was rotated trusts the new one by the word of whoever is root on it.

use crate::{cli::Place, identity::Identity, state::StateDir};
use anyhow::{Result, bail};
use picket_pki::Fingerprint;

/// Trusts the CA with this fingerprint from the agent's next start on, and no other; says what came of it. The certificate may be
/// of the old one: the agent renews it with its key.
pub fn trust(place: &Place, ca: Fingerprint) -> Result<String> {
    let state = StateDir::new(&place.state_dir);
    let Some(identity) = Identity::load(&state)? else {
        bail!("this host is not enrolled ({} has no identity)", place.state_dir.display());
    };
    if identity.pins() == [ca] {
        return Ok(format!("CA {ca} is trusted already; nothing was changed"));
    }
    let _lock = state.lock()?;
    identity.settled(ca).update(&state)?;
    let before = identity.ca_fingerprint;
    Ok(format!(
        "CA {ca} is trusted from the agent's next start on, and {before} no more; whoever gave you this fingerprint is believed"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::identity;

    #[test]
    fn what_root_says_is_trusted_alone_and_not_under_a_running_agent() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place { state_dir: folder.path().into(), guard: None, interface: "picket0".parse().unwrap() };
        let state = StateDir::new(folder.path());
        assert!(trust(&place, Fingerprint::of(b"next")).unwrap_err().to_string().contains("not enrolled"));
        let before = identity();
        before.save(&state, "pem").unwrap();
        let running = state.lock().unwrap();
        assert!(trust(&place, Fingerprint::of(b"next")).unwrap_err().to_string().contains("stop it first"));
        drop(running);
        trust(&place, Fingerprint::of(b"next")).unwrap();
        let after = Identity::load(&state).unwrap().unwrap();
        assert_eq!(after.pins(), [Fingerprint::of(b"next")]);
        assert!(after.knew(before.ca_fingerprint) && after.node == before.node);
        assert!(trust(&place, Fingerprint::of(b"next")).unwrap().contains("already"));
    }
}
