//! What the state folder knows of a rotation. One file, written whole: a crash at any moment leaves the step before or the step
//! after, and a finish that was begun is finished at the next start.

use super::Secrets;
use crate::state_dir::{CERTIFICATE, KEY, NEXT_KEY, StateDir};
use anyhow::Context as _;
use picket_model::Timestamp;
use picket_pki::Ca;
use serde::{Deserialize, Serialize};

pub(super) const ROTATION: &str = "ca-rotation.json";

/// How far it is, by the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// Hosts learn the next CA; the old one signs.
    Announced,
    /// The next one signs.
    Issuing,
    /// The next one takes the old one's place; what remains is to move files.
    Finishing,
}

/// A rotation on the disk; the next CA's key is in a file of its own, written before this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kept {
    pub(crate) phase: Phase,
    /// Certificate of the next CA.
    pub(crate) next_pem: String,
    /// The old CA's word for it.
    pub(crate) cross_pem: String,
    pub(crate) started_at: Timestamp,
    pub(crate) switched_at: Option<Timestamp>,
}

impl Kept {
    /// The rotation that is under way; one that was about to finish is finished first.
    pub(super) fn resume(state: &StateDir, secrets: &Secrets) -> anyhow::Result<Option<Self>> {
        let Some(text) = state.read(ROTATION)? else { return Ok(None) };
        let kept: Self = serde_json::from_str(&text)
            .with_context(|| format!("read {ROTATION} in the state folder; restore it from a backup"))?;
        if kept.phase == Phase::Finishing {
            let is_given = secrets.given().any(|key| Ca::from_pem(&kept.next_pem, key).is_ok());
            kept.finish(state, is_given)?;
            return Ok(None);
        }
        Ok(Some(kept))
    }

    /// The next CA, with its key.
    pub(super) fn load(&self, state: &StateDir, secrets: &Secrets) -> anyhow::Result<Ca> {
        state.load_ca(&self.next_pem, NEXT_KEY, secrets)
    }

    pub(super) fn save(&self, state: &StateDir) -> anyhow::Result<()> {
        state.write(ROTATION, &serde_json::to_string_pretty(self).context("write the rotation as JSON")?)
    }

    /// Moves the next CA's files to where the mesh's CA is; repeated, it ends the same. Where its key is given from elsewhere,
    /// what lies under a key's name is of the CA before, or a copy: none stays.
    pub(super) fn finish(&self, state: &StateDir, is_given: bool) -> anyhow::Result<()> {
        if is_given {
            state.remove(KEY)?;
            state.remove(NEXT_KEY)?;
        } else {
            state.rename(NEXT_KEY, KEY)?;
        }
        state.write(CERTIFICATE, &self.next_pem)?;
        state.remove(ROTATION)
    }
}

/// Removes what a rotation that never began left behind: its file first, so that none is ever there without its key.
pub(super) fn forget(state: &StateDir) -> anyhow::Result<()> {
    state.remove(ROTATION)?;
    state.remove(NEXT_KEY)
}

/// Whether a rotation is under way in a state folder.
pub(super) fn is_under_way(state: &StateDir) -> anyhow::Result<bool> {
    Ok(state.read(ROTATION)?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use secrecy::ExposeSecret as _;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn a_finish_that_was_cut_short_at_any_step_is_finished_at_the_next_start() {
        for steps in 0..=3 {
            let folder = tempfile::tempdir().unwrap();
            let state = StateDir::open(folder.path()).unwrap();
            let secrets = Secrets::default();
            let old = state.ca(|| Ok("m-1".parse()?), &secrets, NOW).unwrap();
            let next = Ca::generate(old.mesh(), NOW).unwrap();
            let cross_pem = old.cross_sign(&next.certificate().unwrap(), NOW).unwrap();
            state.write_key(NEXT_KEY, &next.to_pem().key, &secrets).unwrap();
            let kept = Kept {
                phase: Phase::Finishing,
                next_pem: next.certificate_pem().to_owned(),
                cross_pem,
                started_at: NOW,
                switched_at: Some(NOW),
            };
            kept.save(&state).unwrap();
            // As far as it came.
            if steps > 0 {
                state.rename(NEXT_KEY, KEY).unwrap();
            }
            if steps > 1 {
                state.write(CERTIFICATE, &kept.next_pem).unwrap();
            }
            if steps > 2 {
                state.remove(ROTATION).unwrap();
            }
            assert_eq!(Kept::resume(&state, &secrets).unwrap(), None);
            let found = state.ca(|| bail!("made another"), &secrets, NOW).unwrap();
            assert_eq!(found.fingerprint(), next.fingerprint(), "{steps}");
            assert!(!is_under_way(&state).unwrap());
            let old = old.to_pem();
            let line = old.key.expose_secret().lines().nth(1).unwrap();
            for entry in std::fs::read_dir(folder.path()).unwrap() {
                let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
                assert!(!text.contains(line), "the old key is nowhere");
            }
        }
    }

    #[test]
    fn a_start_that_was_cut_short_is_no_rotation_and_a_damaged_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        state.write(NEXT_KEY, "a key without its rotation").unwrap();
        let secrets = Secrets::default();
        assert_eq!(Kept::resume(&state, &secrets).unwrap(), None);
        state.write(ROTATION, "{").unwrap();
        assert!(format!("{:#}", Kept::resume(&state, &secrets).unwrap_err()).contains(ROTATION));
    }
}
