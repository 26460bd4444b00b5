//! How this host proved who it is, kept so that it can do so again: peers that come later want a proof whose issuer still shows
//! the key that signed it.

use super::{ProofKind, ProofOptions};
use crate::state::{Kind, StateDir, StateError};
use picket_model::Timestamp;
use picket_pki::Fingerprint;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

const KEPT: Kind =
    Kind { name: "proof.json", version: 1, remedy: "remove it: the proof of the enrolment is the last one then" };
/// Between two proofs. Issuers show a key for days after they signed with it last.
const AGAIN: Duration = Duration::from_hours(12);

/// Where this host's proofs come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    kind: ProofKind,
    command: Option<String>,
    file: Option<PathBuf>,
    metadata: Option<String>,
    /// What the last proof was for, and when it was made.
    last: Option<(String, Timestamp)>,
}

impl Kept {
    /// Of a host that has just proved itself for `audience`.
    pub fn new(kind: ProofKind, options: &ProofOptions, audience: String, now: Timestamp) -> Self {
        Self {
            kind,
            command: options.proof_command.clone(),
            file: options.proof_file.clone(),
            metadata: options.metadata.as_ref().map(Url::to_string),
            last: Some((audience, now)),
        }
    }

    /// What is kept in the folder; `None` for a host that came in with a join token, or before it was kept.
    pub fn load(state: &StateDir) -> Result<Option<Self>, StateError> {
        state.read_json(KEPT)
    }

    /// Stores it for a host that joins now, or takes away what an earlier membership left.
    pub fn put(kept: Option<&Self>, state: &StateDir) -> Result<(), StateError> {
        match kept {
            Some(kept) => kept.save(state),
            None => state.remove(KEPT.name),
        }
    }

    /// Stores it.
    pub fn save(&self, state: &StateDir) -> Result<(), StateError> {
        state.write_json(KEPT, self)
    }

    /// Whether another proof is to be made: the last one is old, or for other keys. One that names neither keys nor time is
    /// good for ever.
    pub fn is_due(&self, audience: &str, now: Timestamp) -> bool {
        let is_old = |made_at: Timestamp| now.since(made_at) >= AGAIN || now < made_at;
        self.kind != ProofKind::Aws
            && self.last.as_ref().is_none_or(|(last, made_at)| last != audience || is_old(*made_at))
    }

    /// After another proof was taken.
    pub fn made(&mut self, audience: String, now: Timestamp) {
        self.last = Some((audience, now));
    }

    /// The kind of proof, and how to collect it.
    pub fn options(&self, ca: Fingerprint) -> (ProofKind, ProofOptions) {
        let options = ProofOptions {
            proof: Some(self.kind),
            ca_fingerprint: Some(ca),
            proof_command: self.command.clone(),
            proof_file: self.file.clone(),
            print_audience: false,
            metadata: self.metadata.as_ref().and_then(|url| url.parse().ok()),
        };
        (self.kind, options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_made_again_for_other_keys_and_after_half_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        assert_eq!(Kept::load(&state).unwrap(), None);
        let options = ProofOptions {
            proof_command: Some("token".into()),
            metadata: "http://192.0.2.9/x".parse().ok(),
            ..ProofOptions::default()
        };
        let at = |hours: i64| Timestamp::from_millis(hours * 3_600_000);
        let mut kept = Kept::new(ProofKind::Oidc, &options, "a".into(), at(0));
        kept.save(&state).unwrap();
        assert_eq!(Kept::load(&state).unwrap().as_ref(), Some(&kept));
        let (kind, again) = kept.options(Fingerprint::of(b"ca"));
        assert_eq!(
            (kind, again.proof_command, again.metadata),
            (ProofKind::Oidc, options.proof_command, options.metadata)
        );
        assert!(
            !kept.is_due("a", at(11))
                && kept.is_due("a", at(12))
                && kept.is_due("b", at(1))
                && kept.is_due("a", at(-1))
        );
        kept.made("b".into(), at(12));
        assert!(!kept.is_due("b", at(13)) && kept.is_due("a", at(13)));
        let document = Kept::new(ProofKind::Aws, &ProofOptions::default(), "a".into(), at(0));
        assert!(!document.is_due("b", at(1000)));
    }
}
