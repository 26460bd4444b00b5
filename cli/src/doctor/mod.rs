//! `picket doctor`: what of this host would keep it from its part in a mesh. `look` gathers facts, `judge` says what they mean
//! and what to do; this puts them together.

pub(crate) mod facts;
mod judge;
mod look;

pub(crate) use judge::findings;
pub(crate) use look::{Asked, look};

use facts::Part;
use serde::Serialize;

/// How one thing stands, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// As it shall be.
    Ok,
    /// It could not be seen.
    NotKnown,
    /// It works, and something is worse than it need be.
    Warn,
    /// The host's part in the mesh suffers, or a port is open that should not be.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Which, in words that stay the same for scripts.
    pub(crate) check: &'static str,
    /// How it stands.
    pub(crate) verdict: Verdict,
    /// What was looked at, and what was there.
    pub(crate) found: String,
    /// Why it matters; `None` where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<&'static str>,
    /// What to type, or what to do where no command does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// What the host is for.
    pub(crate) part: Part,
    /// The worst of all.
    pub(crate) verdict: Verdict,
    /// One by one.
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn new(part: Part, findings: Vec<Finding>) -> Self {
        let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
        Self { part, verdict, findings }
    }

    /// Whether scripts shall stop here: something is bad, or, where they are strict, not as good as it could be.
    pub(crate) fn wants_attention(&self, strict: bool) -> bool {
        self.verdict == Verdict::Bad || (strict && self.verdict == Verdict::Warn)
    }
}

impl Finding {
    pub(crate) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), why: None, fix: None }
    }

    pub(crate) fn warn(
        check: &'static str,
        found: impl Into<String>,
        why: &'static str,
        fix: impl Into<String>,
    ) -> Self {
        Self { check, verdict: Verdict::Warn, found: found.into(), why: Some(why), fix: Some(fix.into()) }
    }

    pub(crate) fn bad(
        check: &'static str,
        found: impl Into<String>,
        why: &'static str,
        fix: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Bad, ..Self::warn(check, found, why, fix) }
    }

    /// `because` says what kept us from seeing it.
    pub(crate) fn not_known(check: &'static str, because: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::NotKnown, found: because.into(), why: None, fix: None }
    }

    pub(crate) fn or(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}
