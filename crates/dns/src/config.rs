//! `[[dns]]`: names that follow the sentries, and where they are written. Secrets are files, never lines.

use crate::record::mark_name;
use picket_model::{DnsName, NodeName};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

/// Longest time that others may keep an address, in seconds: a day, which no fail-over survives.
const LONGEST_TTL: u32 = 24 * 3600;
/// Shortest that Cloudflare takes, in zones of its enterprise plan (its API, "Create DNS Record").
const CLOUDFLARE_TTL: u32 = 30;
/// Most addresses of a name: Picket itself takes sixteen of a validator's name.
const MOST_ADDRESSES: usize = 16;

/// A name that follows the sentries.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsLines {
    /// The name; lines of `policy.hidden` that advertise it say for whom it is.
    pub name: DnsName,
    /// How long others may keep its addresses, in seconds.
    #[serde(default = "default_ttl")]
    pub ttl: u32,
    /// Takes over addresses that stand there already and that nobody marked as theirs.
    #[serde(default)]
    pub adopt: bool,
    /// How long a sentry must have been well before its addresses come back, in seconds.
    #[serde(default = "default_return")]
    pub return_seconds: u64,
    /// Most addresses.
    #[serde(default = "default_most")]
    pub most: usize,
    /// Addresses at which others reach a sentry, by name; that of its tunnels where there are none.
    #[serde(default)]
    pub sentries: BTreeMap<NodeName, BTreeSet<IpAddr>>,
    /// Where it is written.
    pub provider: ProviderLines,
}

/// Where a name is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderLines {
    /// A name server that takes signed updates.
    Rfc2136(Rfc2136Lines),
    /// AWS.
    Route53(Route53Lines),
    /// Cloudflare.
    Cloudflare(CloudflareLines),
}

/// A name server that takes updates (RFC 2136) signed by a shared key (RFC 8945).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rfc2136Lines {
    /// The zone's primary server, `host:port`; 53 where it has no port.
    pub server: String,
    /// The zone.
    pub zone: DnsName,
    /// The key's name, as the server has it.
    pub key: String,
    /// hmac-sha256, hmac-sha384 or hmac-sha512.
    #[serde(default = "default_algorithm")]
    pub algorithm: String,
    /// The key in base64.
    pub secret_file: PathBuf,
}

/// A hosted zone of AWS Route 53. Credentials come from the controller's environment or its instance's role.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route53Lines {
    /// The hosted zone's id.
    pub zone: String,
    /// Another address of Route 53.
    #[serde(default)]
    pub url: Option<String>,
}

/// A zone of Cloudflare.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudflareLines {
    /// The zone's id.
    pub zone: String,
    /// A token that may edit the zone's records.
    pub token_file: PathBuf,
    /// Another address of its API.
    #[serde(default)]
    pub url: Option<String>,
}

const fn default_ttl() -> u32 {
    30
}

const fn default_return() -> u64 {
    10
}

const fn default_most() -> usize {
    8
}

fn default_algorithm() -> String {
    "hmac-sha256".to_owned()
}

impl DnsLines {
    /// Whether all of them can ever work. Files are not opened.
    ///
    /// # Errors
    /// What to write.
    pub fn check(all: &[Self]) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for lines in all {
            if !names.insert(&lines.name) {
                return Err(format!("[[dns]] has {} twice", lines.name));
            }
            lines.check_one().map_err(|what| format!("[[dns]] {}: {what}", lines.name))?;
        }
        Ok(())
    }

    fn check_one(&self) -> Result<(), String> {
        mark_name(&self.name)?;
        if !(1..=LONGEST_TTL).contains(&self.ttl) {
            return Err(format!("ttl is {}: write 1 to {LONGEST_TTL}", self.ttl));
        }
        if self.return_seconds > 3600 {
            return Err(format!("return_seconds is {}: write 3600 at most", self.return_seconds));
        }
        if !(1..=MOST_ADDRESSES).contains(&self.most) {
            return Err(format!("most is {}: write 1 to {MOST_ADDRESSES}", self.most));
        }
        match &self.provider {
            ProviderLines::Rfc2136(lines) => {
                let (name, zone) = (self.name.as_str(), lines.zone.as_str());
                if name != zone && !name.ends_with(&format!(".{zone}")) {
                    return Err(format!("it is not in the zone {zone}"));
                }
                if !["hmac-sha256", "hmac-sha384", "hmac-sha512"].contains(&lines.algorithm.as_str()) {
                    return Err(format!(
                        "algorithm is {:?}: write \"hmac-sha256\", \"hmac-sha384\" or \"hmac-sha512\"",
                        lines.algorithm
                    ));
                }
            }
            ProviderLines::Route53(lines) => is_id(&lines.zone)?,
            ProviderLines::Cloudflare(lines) => {
                is_id(&lines.zone)?;
                if self.ttl < CLOUDFLARE_TTL {
                    return Err(format!(
                        "ttl is {}: Cloudflare takes 60 and more, and {CLOUDFLARE_TTL} in zones of its enterprise plan",
                        self.ttl
                    ));
                }
            }
        }
        Ok(())
    }
}

/// What stands in a path of a URL must not lead elsewhere.
fn is_id(zone: &str) -> Result<(), String> {
    let fits = (1..=64).contains(&zone.len()) && zone.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fits { Ok(()) } else { Err(format!("zone is {zone:?}: write the zone's id, letters and digits")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        dns: Vec<DnsLines>,
    }

    fn parse(text: &str) -> Result<Vec<DnsLines>, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        DnsLines::check(&file.dns).map(|()| file.dns)
    }

    const KNOT: &str = "[[dns]]\nname = \"p2p.example.org\"\n[dns.provider.rfc2136]\nserver = \"192.0.2.53\"\n\
                        zone = \"example.org\"\nkey = \"picket\"\nsecret_file = \"/k\"\n";

    #[test]
    fn few_lines_are_enough() {
        let lines = parse(KNOT).unwrap().remove(0);
        assert_eq!((lines.ttl, lines.adopt, lines.return_seconds, lines.most), (30, false, 10, 8));
        let one = "[[dns]]\nname = \"a.example.org\"\nsentries = { sentry-1 = [\"192.0.2.1\", \"2001:db8::1\"] }\n\
                   provider = { route53 = { zone = \"Z0123\" } }\n";
        assert_eq!(parse(one).unwrap()[0].sentries.values().map(BTreeSet::len).sum::<usize>(), 2);
        assert!(parse("[[dns]]\nname = \"a.example.org\"\nttl = 60\nprovider.cloudflare = { zone = \"abc\", token_file = \"/t\" }\n").is_ok());
    }

    #[test]
    fn what_could_never_work_is_refused_with_what_to_write() {
        let check = |text: &str, expect: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expect), "{error}");
        };
        check(&KNOT.replace("p2p.example.org", "p2p.example.com"), "not in the zone example.org");
        check(&KNOT.replace("p2p.example.org", "p2pexample.org"), "not in the zone");
        check(&format!("{KNOT}algorithm = \"hmac-md5\"\n"), "hmac-sha256");
        check(&KNOT.replace("[dns.provider", "ttl = 0\n[dns.provider"), "ttl is 0");
        check(&KNOT.replace("[dns.provider", "most = 17\n[dns.provider"), "most is 17");
        check(&KNOT.replace("[dns.provider", "secret = \"x\"\n[dns.provider"), "secret");
        check(&format!("{KNOT}{KNOT}"), "twice");
        check("[[dns]]\nname = \"a.example.org\"\nprovider.route53 = { zone = \"../x\" }\n", "the zone's id");
        check(
            "[[dns]]\nname = \"a.example.org\"\nttl = 20\nprovider.cloudflare = { zone = \"a\", token_file = \"/t\" }\n",
            "Cloudflare takes",
        );
    }
}
