//! `[hooks]` and `[[webhook]]` of the configuration: which clouds are listened to, about what, and who is told of events.
//! Secrets are files, never lines.

use anyhow::Context as _;
use picket_attest::{
    Pattern,
    hooks::{is_region, sns::Topic, webhook::Secret},
};
use picket_model::NodeRole;
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

/// Largest file of a secret, in bytes.
const LARGEST_SECRET: u64 = 4096;
/// Shortest secret of EventBridge, in characters: 128 bits in hexadecimal.
const SHORTEST_SECRET: usize = 32;

/// What may come by hooks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HooksLines {
    /// Certificate that clouds trust, with those it needs, in PEM. Read again each hour.
    pub certificate: Option<PathBuf>,
    /// Its key, in PEM.
    pub key: Option<PathBuf>,
    /// Hosts of these roles may be taken out by a hook.
    pub roles: BTreeSet<NodeRole>,
    /// How old a cloud's message may be, in seconds: clouds send again what they could not deliver.
    pub oldest_seconds: u64,
    /// How long a launching instance has to be ready, in seconds; then it is thrown away (`ABANDON`).
    pub ready_seconds: u64,
    /// How long an instance that goes into a warm pool has to be set up before its cloud stops it, in seconds.
    pub warm_seconds: u64,
    /// How often the cloud is told that a launching instance is still awaited, in seconds.
    pub heartbeat_seconds: u64,
    /// How long hidden validators have to leave a terminating sentry before it is cut, in seconds; 0 for none.
    pub drain_seconds: u64,
    /// How long a terminating instance is kept until all hosts have read back that it is cut, in seconds.
    pub cut_seconds: u64,
    /// How long it is tried to tell the cloud the outcome, in seconds.
    pub complete_seconds: u64,
    /// The secret that EventBridge sends in the header `x-picket-hook-secret`.
    pub eventbridge_secret_file: Option<PathBuf>,
    /// The secret of signed webhooks.
    pub generic_secret_file: Option<PathBuf>,
    /// Topics of SNS that are listened to, and whose subscription is confirmed.
    pub topics: Vec<String>,
    /// Whether SNS may sign with SHA-1, which it does unless a topic's attribute says otherwise.
    pub sns_sha1: bool,
    /// Whose autoscaling groups.
    pub aws: Vec<AwsLines>,
    /// Google's audit log.
    pub gcp: Option<GcpLines>,
    /// Another address of Auto Scaling, as that of an interface endpoint.
    pub autoscaling_url: Option<String>,
    /// Another address of SNS, where certificates are fetched and subscriptions confirmed.
    pub sns_url: Option<String>,
    /// Another address of the instance's metadata.
    pub metadata_url: String,
}

impl Default for HooksLines {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            roles: [NodeRole::Sentry].into(),
            oldest_seconds: 3600,
            ready_seconds: 900,
            warm_seconds: 180,
            heartbeat_seconds: 60,
            drain_seconds: 20,
            cut_seconds: 20,
            complete_seconds: 600,
            eventbridge_secret_file: None,
            generic_secret_file: None,
            topics: Vec::new(),
            sns_sha1: false,
            aws: Vec::new(),
            gcp: None,
            autoscaling_url: None,
            sns_url: None,
            metadata_url: "http://169.254.169.254".to_owned(),
        }
    }
}

/// Whose autoscaling groups are listened to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsLines {
    /// Account.
    pub account: String,
    /// Regions.
    pub regions: BTreeSet<String>,
    /// Names of groups, with `*` for any characters. Warnings of spot instances name no group.
    pub groups: Vec<Pattern>,
}

/// Whose audit log is listened to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GcpLines {
    /// The audience of the push subscription's tokens.
    pub audience: String,
    /// The service account that pushes.
    pub service_account: String,
    /// The push subscription: `projects/PROJECT/subscriptions/NAME`.
    pub subscription: String,
    /// Projects whose instances it may speak of.
    pub projects: BTreeSet<String>,
    /// Keys of Google's tokens: an https URL or a file's path.
    #[serde(default = "google_keys")]
    pub jwks: String,
    /// Whether instances that are preempted are deleted, and not stopped, which is the default.
    #[serde(default)]
    pub preempted: bool,
}

fn google_keys() -> String {
    "https://www.googleapis.com/oauth2/v3/certs".to_owned()
}

/// Who is told of events.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookLines {
    /// What it is called in messages; another name begins at the end of the log.
    pub name: String,
    /// Where it is sent; https, or on this host.
    pub url: String,
    /// The secret that signs.
    pub secret_file: PathBuf,
    /// Actions of the audit log, with `*` for any characters.
    pub events: Vec<Pattern>,
}

impl HooksLines {
    /// How long a message is taken for that a cloud sends.
    pub(crate) const fn oldest(&self) -> Duration {
        Duration::from_secs(self.oldest_seconds)
    }

    /// Whether a notice is of an instance that is listened to.
    pub(crate) fn allows_aws(&self, account: &str, region: &str, group: Option<&str>) -> bool {
        let of = |lines: &&AwsLines| lines.account == account && lines.regions.contains(region);
        self.aws
            .iter()
            .filter(of)
            .any(|lines| group.is_none_or(|group| lines.groups.iter().any(|pattern| pattern.fits(group))))
    }

    /// Whether all of it can ever work.
    ///
    /// # Errors
    /// What to write.
    pub(crate) fn check(&self, listen: Option<SocketAddr>) -> Result<(), String> {
        if self.certificate.is_some() != self.key.is_some() {
            return Err("hooks.certificate and hooks.key go together: write both, or none".to_owned());
        }
        if let Some(address) = listen
            && self.certificate.is_none()
            && !address.ip().is_loopback()
        {
            return Err(format!(
                "listen.hooks is {address}: write hooks.certificate and hooks.key, or a loopback address behind a proxy"
            ));
        }
        for (name, seconds, most) in [
            ("oldest_seconds", self.oldest_seconds, 24 * 3600),
            ("ready_seconds", self.ready_seconds, 48 * 3600),
            ("warm_seconds", self.warm_seconds, 48 * 3600),
            ("heartbeat_seconds", self.heartbeat_seconds, 7200),
            ("cut_seconds", self.cut_seconds, 600),
            ("complete_seconds", self.complete_seconds, 48 * 3600),
        ] {
            if !(1..=most).contains(&seconds) {
                return Err(format!("hooks.{name} is {seconds}: write 1 to {most}"));
            }
        }
        if self.drain_seconds > 3600 {
            return Err(format!("hooks.drain_seconds is {}: write 0 to 3600", self.drain_seconds));
        }
        for topic in &self.topics {
            topic.parse::<Topic>().map_err(|error| format!("hooks.topics: {error}"))?;
        }
        let is_account = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        for AwsLines { account, regions, groups } in &self.aws {
            if !is_account(account) {
                return Err(format!("hooks.aws: account is {account:?}: an AWS account is 12 digits, in quotes"));
            }
            if let Some(region) = regions.iter().find(|region| !is_region(region)) {
                return Err(format!("hooks.aws: {region:?} is no region: write it as in \"eu-central-1\""));
            }
            if regions.is_empty() || groups.is_empty() {
                return Err(format!(
                    "hooks.aws: account {account} has no regions or no groups: it would allow nothing"
                ));
            }
        }
        if self.aws.is_empty() && (self.eventbridge_secret_file.is_some() || !self.topics.is_empty()) {
            return Err("hooks: EventBridge or SNS is listened to, and [[hooks.aws]] allows no group".to_owned());
        }
        if let Some(gcp) = &self.gcp {
            if gcp.projects.is_empty() {
                return Err("hooks.gcp.projects is empty: it would allow nothing".to_owned());
            }
            if !(gcp.jwks.starts_with("https://") || gcp.jwks.starts_with('/')) {
                return Err(format!("hooks.gcp.jwks = {:?} is neither https://... nor the path of a file", gcp.jwks));
            }
        }
        for (name, url) in [("autoscaling_url", &self.autoscaling_url), ("sns_url", &self.sns_url)] {
            if let Some(url) = url {
                safe_url(url).map_err(|error| format!("hooks.{name}: {error}"))?;
            }
        }
        self.metadata_url.parse::<reqwest::Url>().map_err(|error| format!("hooks.metadata_url: {error}"))?;
        Ok(())
    }
}

impl WebhookLines {
    /// Whether each can ever be sent.
    ///
    /// # Errors
    /// What to write.
    pub(crate) fn check(all: &[Self]) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for Self { name, url, events, .. } in all {
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            if !(1..=40).contains(&name.len()) || !name.chars().all(is_name) {
                return Err(format!("[[webhook]]: name is {name:?}: write 1 to 40 characters of a-z, 0-9, '-', '.'"));
            }
            if !names.insert(name) {
                return Err(format!("[[webhook]]: two are called {name}"));
            }
            safe_url(url).map_err(|error| format!("[[webhook]] {name}: url: {error}"))?;
            if events.is_empty() {
                return Err(format!(
                    "[[webhook]] {name}: events is empty: write what is to be sent, as in [\"node.*\"]"
                ));
            }
        }
        Ok(())
    }
}

/// An address to which more than public text may be sent: https, or on this host.
pub(crate) fn safe_url(text: &str) -> Result<reqwest::Url, String> {
    let url: reqwest::Url = text.parse().map_err(|_| format!("{text:?} is no URL"))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let is_here = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it has a password in it: whoever may read this file would have it".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here => Ok(url),
        _ => Err(format!("{text:?} is neither https://... nor on this host (http://127.0.0.1...)")),
    }
}

/// The secret of EventBridge.
pub(crate) fn header_secret(path: &Path) -> anyhow::Result<String> {
    let text = secret(path)?;
    let text = text.trim();
    let shows = text.bytes().all(|byte| byte.is_ascii_graphic());
    anyhow::ensure!(
        text.len() >= SHORTEST_SECRET && shows,
        "the secret in {} is not {SHORTEST_SECRET} or more visible characters: make one with `openssl rand -hex 32`",
        path.display()
    );
    Ok(text.to_owned())
}

/// The secret of a signed webhook.
pub(crate) fn webhook_secret(path: &Path) -> anyhow::Result<Secret> {
    let text = secret(path)?;
    Secret::parse(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

fn secret(path: &Path) -> anyhow::Result<String> {
    let doing = || format!("read the secret in {}", path.display());
    let size = std::fs::metadata(path).with_context(doing)?.len();
    anyhow::ensure!(size <= LARGEST_SECRET, "{} has {size} bytes and is no secret", path.display());
    std::fs::read_to_string(path).with_context(doing)
}

#[cfg(test)]
mod tests {
    use crate::Config;
    use std::path::Path;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("c.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_could_never_work_or_would_be_unsafe_is_refused_with_what_to_write() {
        let aws =
            "[[hooks.aws]]\naccount = \"123456789012\"\nregions = [\"eu-central-1\"]\ngroups = [\"sentries-*\"]\n";
        assert!(parse(&format!("[hooks]\neventbridge_secret_file = \"/s\"\n{aws}")).is_ok());
        assert!(parse("[listen]\nhooks = \"127.0.0.1:7446\"\n").is_ok());
        assert!(parse("[listen]\nhooks = \"[::]:7446\"\n[hooks]\ncertificate = \"/c\"\nkey = \"/k\"\n").is_ok());
        let check = |text: &str, expect: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expect), "{error}");
        };
        check("[listen]\nhooks = \"[::]:7446\"\n", "write hooks.certificate and hooks.key");
        check("[hooks]\ncertificate = \"/c\"\n", "go together");
        check("[hooks]\neventbridge_secret = \"hunter2\"\n", "unknown field `eventbridge_secret`");
        check("[hooks]\neventbridge_secret_file = \"/s\"\n", "allows no group");
        check(&format!("[hooks]\ntopics = [\"picket\"]\n{aws}"), "is no topic");
        check(&aws.replace("123456789012", "1"), "12 digits");
        check(&aws.replace("eu-central-1", "evil.example/"), "no region");
        check(&aws.replace("\"sentries-*\"", ""), "would allow nothing");
        check("[hooks]\nready_seconds = 0\n", "write 1 to 172800");
        check("[hooks]\nsns_url = \"http://sns.example\"\n", "neither https://... nor on this host");
        check("[hooks]\nautoscaling_url = \"http://127.0.0.1.evil.example\"\n", "neither https://...");
        let gcp = "[hooks.gcp]\naudience = \"a\"\nservice_account = \"s\"\nsubscription = \"x\"\nprojects = []\n";
        check(gcp, "would allow nothing");
        let webhook =
            "[[webhook]]\nname = \"a\"\nurl = \"https://a.example/x\"\nsecret_file = \"/s\"\nevents = [\"node.*\"]\n";
        assert!(parse(webhook).is_ok());
        check(&webhook.replace("https://a", "http://a"), "neither https://...");
        check(&webhook.replace("https://a", "https://me:secret@a"), "has a password in it");
        check(&webhook.replace("\"node.*\"", ""), "events is empty");
        check(&webhook.replace("\"a\"", "\"a b\""), "name is \"a b\"");
        check(&format!("{webhook}{webhook}"), "two are called a");
    }

    #[test]
    fn a_notice_is_allowed_by_account_region_and_group_together() {
        let config = parse(
            "[[hooks.aws]]\naccount = \"123456789012\"\nregions = [\"eu-central-1\"]\ngroups = [\"sentries-*\"]\n\
             [[hooks.aws]]\naccount = \"210987654321\"\nregions = [\"us-east-1\"]\ngroups = [\"edge\"]\n",
        );
        let hooks = config.unwrap().hooks;
        let check = |account: &str, region: &str, group: Option<&str>, expect: bool| {
            assert_eq!(hooks.allows_aws(account, region, group), expect, "{account} {region} {group:?}");
        };
        check("123456789012", "eu-central-1", Some("sentries-1"), true);
        check("123456789012", "eu-central-1", None, true);
        check("123456789012", "eu-central-1", Some("edge"), false);
        check("123456789012", "us-east-1", Some("edge"), false);
        check("210987654321", "us-east-1", Some("edge"), true);
        check("999999999999", "us-east-1", None, false);
    }
}
