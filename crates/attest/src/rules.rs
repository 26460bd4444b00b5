//! The operator's rules: which proven identities may join, as what, under which names, and how many.

use crate::{
    identity::{Identity, Kind},
    shown::shown,
};
use picket_model::{NodeName, NodeRole, PoolName, Timestamp, TokenId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};
use thiserror::Error;

/// How far the clocks of cloud and controller may be apart.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// How long after its launch an instance may join where the rule does not say, for proofs that a thief could show too.
const LAUNCH_AGE: Duration = Duration::from_mins(15);
/// Longest name of a rule: with `rule.` before it, it stands where a join token's id does.
const LONGEST_NAME: usize = 27;

/// Who may join without a token. Whatever is not said is not asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it is called, in messages and in the audit log.
    pub name: String,
    /// The kind of proof.
    pub proof: Kind,
    /// AWS account, GCP project, or OIDC issuer.
    pub account: String,
    /// Regions or zones; empty for any.
    #[serde(default)]
    pub regions: BTreeSet<String>,
    /// Machine images; empty for any.
    #[serde(default)]
    pub images: BTreeSet<String>,
    /// What the cloud calls the instance.
    #[serde(default)]
    pub instance_name: Option<Pattern>,
    /// Tags that must be there, with these values.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Claims that a token must have, by name or, beginning with `/`, by JSON pointer (RFC 6901).
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
    /// The only role it admits.
    pub role: NodeRole,
    /// Names a host may take.
    #[serde(default)]
    pub names: Pattern,
    /// The pool of those who come in by it.
    #[serde(default)]
    pub pool: Option<PoolName>,
    /// How many members may be here by this rule at once.
    pub max_nodes: u32,
    /// How many seconds after its launch an instance may join. 900 for AWS documents unless said otherwise; else no limit.
    #[serde(default)]
    pub launch_age_seconds: Option<u64>,
}

/// A text with `*` for any characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Default for Pattern {
    fn default() -> Self {
        Self("*".to_owned())
    }
}

impl Pattern {
    /// A pattern.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether the whole text fits.
    pub fn fits(&self, text: &str) -> bool {
        picket_model::pattern::matches(&self.0, text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a host asks to be.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its part.
    pub role: NodeRole,
    /// Its name.
    pub name: &'a NodeName,
}

/// A host is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// By this rule: `rule.` and its name, in the place of a token's id.
    pub rule: TokenId,
    /// Into this pool.
    pub pool: Option<PoolName>,
}

/// A host is not let in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// No rule speaks of that account. Which rules there are is not for strangers.
    #[error("no [[enroll]] rule admits {kind} proofs of account {account}")]
    Account {
        /// The kind of proof.
        kind: Kind,
        /// The account.
        account: String,
    },
    /// Rules for the account, none of which fits.
    #[error("no [[enroll]] rule fits {identity}: {}", reasons.join("; "))]
    Unfit {
        /// The identity, for people.
        identity: String,
        /// Each rule and what it wants.
        reasons: Vec<String>,
    },
}

/// Lets a host in by the first rule that fits, or says what each rule of its account wants. `counts` tells how many members
/// are here by each rule.
///
/// # Errors
/// [`Denied`] where no rule fits.
pub fn admit(
    rules: &[Rule],
    identity: &Identity,
    asked: Asked<'_>,
    counts: &BTreeMap<TokenId, u32>,
    now: Timestamp,
) -> Result<Admission, Denied> {
    let of_account = |rule: &&Rule| rule.proof == identity.kind && rule.account == identity.account;
    let mut reasons = Vec::new();
    for rule in rules.iter().filter(of_account) {
        let refused = match rule.id() {
            Err(reason) => Some(reason),
            Ok(id) => match rule.refusal(identity, asked, counts.get(&id).copied().unwrap_or_default(), now) {
                None => return Ok(Admission { rule: id, pool: rule.pool.clone() }),
                refused => refused,
            },
        };
        reasons.extend(refused.map(|reason| format!("rule {}: {reason}", rule.name)));
    }
    if reasons.is_empty() {
        return Err(Denied::Account { kind: identity.kind, account: shown(&identity.account) });
    }
    Err(Denied::Unfit { identity: shown(&format!("{}/{}", identity.account, identity.instance)), reasons })
}

impl Rule {
    /// What stands for it where a join token's id does.
    ///
    /// # Errors
    /// What to write, where the name does not suit.
    pub fn id(&self) -> Result<TokenId, String> {
        let id = format!("rule.{}", self.name).parse().ok().filter(|_| self.name.len() <= LONGEST_NAME);
        let name = shown(&self.name);
        id.ok_or_else(|| format!("a rule is called {name}: write 1 to {LONGEST_NAME} characters of a-z, 0-9, '-', '.'"))
    }

    /// Whether the rule can ever fit.
    ///
    /// # Errors
    /// What to write instead.
    pub fn check(&self) -> Result<(), String> {
        self.id()?;
        let Self { name, proof, .. } = self;
        let never = |what: &str, of: &str| Err(format!("rule {name} asks for {what}, which only {of} tell"));
        if self.max_nodes == 0 {
            return Err(format!("rule {name} has max_nodes = 0 and would admit nobody"));
        }
        match proof {
            Kind::AwsDocument | Kind::AwsSts
                if self.account.len() != 12 || !self.account.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                return Err(format!("rule {name}: an AWS account is 12 digits, in quotes"));
            }
            _ if self.account.is_empty() => return Err(format!("rule {name} has an empty account")),
            _ => {}
        }
        if !self.images.is_empty() && *proof != Kind::AwsDocument {
            return never("images", "AWS documents");
        }
        if self.instance_name.is_some() && *proof != Kind::Gcp {
            return never("instance_name", "GCP tokens");
        }
        if !self.tags.is_empty() && *proof != Kind::AwsSts {
            return never("tags", "AWS tokens (the tags of the role)");
        }
        if !self.claims.is_empty() && *proof == Kind::AwsDocument {
            return never("claims", "tokens");
        }
        if !self.regions.is_empty() && *proof == Kind::Oidc {
            return never("regions", "AWS and GCP");
        }
        if self.launch_age_seconds.is_some() && !proof.tells_the_launch() {
            return never("launch_age_seconds", "AWS documents and GCP tokens");
        }
        Ok(())
    }

    /// What the rule wants that is not so.
    fn refusal(&self, identity: &Identity, asked: Asked<'_>, count: u32, now: Timestamp) -> Option<String> {
        if asked.role != self.role {
            return Some(format!("it admits a {}, not a {}", self.role, asked.role));
        }
        if !self.names.fits(asked.name.as_str()) {
            return Some(format!("the name {} is not {}", asked.name, self.names));
        }
        let places = [&identity.region, &identity.zone];
        if !self.regions.is_empty() && !places.into_iter().flatten().any(|place| self.regions.contains(place)) {
            return Some(format!("region {} is not one of {}", said(identity.region.as_deref()), list(&self.regions)));
        }
        if !self.images.is_empty() && !identity.image.as_ref().is_some_and(|image| self.images.contains(image)) {
            return Some(format!("image {} is not one of {}", said(identity.image.as_deref()), list(&self.images)));
        }
        if let Some(pattern) = &self.instance_name
            && !identity.instance_name.as_deref().is_some_and(|name| pattern.fits(name))
        {
            return Some(format!("the instance is called {}, not {pattern}", said(identity.instance_name.as_deref())));
        }
        for (name, wanted) in &self.tags {
            let found = identity.tags.get(name);
            if found != Some(wanted) {
                return Some(format!("tag {name} is {}, not {wanted:?}", said(found.map(String::as_str))));
            }
        }
        for (name, wanted) in &self.claims {
            let found = claim(&identity.claims, name);
            if !found.is_some_and(|value| says(value, wanted)) {
                let found = found.map(Value::to_string);
                return Some(format!("claim {name} is {}, not {wanted:?}", said(found.as_deref())));
            }
        }
        if let Some(reason) = self.too_old(identity, now) {
            return Some(reason);
        }
        (count >= self.max_nodes).then(|| format!("{count} hosts are here by it, and max_nodes is {}", self.max_nodes))
    }

    fn too_old(&self, identity: &Identity, now: Timestamp) -> Option<String> {
        let limit = self.launch_age_seconds.map(Duration::from_secs);
        let limit = limit.or((!identity.kind.names_the_keys()).then_some(LAUNCH_AGE))?;
        let Some(launched) = identity.launched_at else {
            return Some("the proof does not tell when the instance was launched".to_owned());
        };
        if launched > now.plus(CLOCK_SKEW) {
            return Some(format!(
                "the instance was launched at {launched}, which is yet to come; see whether clocks are right"
            ));
        }
        (now.since(launched) > limit).then(|| {
            format!("the instance was launched at {launched}, longer ago than launch_age_seconds = {}", limit.as_secs())
        })
    }
}

fn claim<'a>(claims: &'a serde_json::Map<String, Value>, name: &str) -> Option<&'a Value> {
    let Some(rest) = name.strip_prefix('/') else { return claims.get(name) };
    let (first, rest) = rest.split_once('/').map_or((rest, None), |(first, rest)| (first, Some(rest)));
    let value = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
    rest.map_or(Some(value), |rest| value.pointer(&format!("/{rest}")))
}

/// A text, number or truth value as text; a list that has it.
fn says(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        Value::Number(number) => number.to_string() == wanted,
        Value::Bool(value) => wanted == if *value { "true" } else { "false" },
        Value::Array(values) => values.iter().any(|value| value == wanted),
        Value::Null | Value::Object(_) => false,
    }
}

fn said(text: Option<&str>) -> String {
    text.map_or_else(|| "not said".to_owned(), shown)
}

fn list(values: &BTreeSet<String>) -> String {
    values.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
