//! `[attest]` of the configuration: whose signatures are believed. Nothing is discovered: what is not written here is not
//! believed, whatever a proof names.

use picket_attest::{Issuer, Kind, Rule};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// Google's issuer of instance identity tokens, and its keys (Compute Engine, "Verify VM identity").
const GOOGLE: [&str; 2] = ["https://accounts.google.com", "https://www.googleapis.com/oauth2/v3/certs"];

/// Whose proofs are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Attest {
    /// AWS's certificates (the one called "RSA") by region, as files in PEM.
    pub aws_certificates: BTreeMap<String, PathBuf>,
    /// Whether RSA keys of 1024 bits are taken for AWS's documents. AWS has no longer ones for them.
    pub aws_short_keys: bool,
    /// Token issuers. Google's is known where a rule asks for it.
    pub issuers: Vec<IssuerLines>,
}

/// One token issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerLines {
    /// What its tokens prove: aws-sts, gcp or oidc.
    pub proof: Kind,
    /// `iss` of its tokens.
    pub issuer: String,
    /// Its key set: an https URL, or a file's path.
    pub jwks: String,
    /// For aws-sts: the account whose issuer it is.
    pub account: Option<String>,
}

impl IssuerLines {
    /// The issuer as tokens are held against it.
    pub(crate) fn issuer(&self) -> Issuer {
        Issuer { kind: self.proof, url: self.issuer.clone(), account: self.account.clone() }
    }

    fn check(&self) -> Result<(), String> {
        let Self { proof, issuer, jwks, account } = self;
        let shows = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains('#');
        if !issuer.starts_with("https://") || !shows(issuer) {
            return Err(format!("attest.issuers: {issuer:?} is no issuer: write `iss` of its tokens, https://..."));
        }
        if !(jwks.starts_with("https://") && shows(jwks) || jwks.starts_with('/')) {
            return Err(format!("attest.issuers: jwks = {jwks:?} is neither https://... nor the path of a file"));
        }
        let is_account = |text: &String| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        match (proof, account) {
            (Kind::AwsDocument, _) => Err("attest.issuers: aws-document has certificates, not an issuer".to_owned()),
            (Kind::AwsSts, Some(account)) if is_account(account) => Ok(()),
            (Kind::AwsSts, _) => {
                Err(format!("attest.issuers: {issuer} speaks for one AWS account: write account = \"12 digits\""))
            }
            (_, Some(_)) => Err(format!("attest.issuers: {issuer}: only aws-sts has an account here")),
            (_, None) => Ok(()),
        }
    }
}

impl Attest {
    /// The issuers, Google's added where a rule asks for it and the file names no other.
    pub fn issuers(&self, rules: &[Rule]) -> Vec<IssuerLines> {
        let has = |kind| self.issuers.iter().any(|issuer| issuer.proof == kind);
        let google = rules.iter().any(|rule| rule.proof == Kind::Gcp) && !has(Kind::Gcp);
        let [issuer, jwks] = GOOGLE.map(str::to_owned);
        let google = google.then_some(IssuerLines { proof: Kind::Gcp, issuer, jwks, account: None });
        self.issuers.iter().cloned().chain(google).collect()
    }

    /// Whether each rule can ever fit.
    ///
    /// # Errors
    /// What to write.
    pub fn check(&self, rules: &[Rule]) -> Result<(), String> {
        let mut urls = BTreeSet::new();
        for issuer in &self.issuers {
            issuer.check()?;
            if !urls.insert(&issuer.issuer) {
                return Err(format!("attest.issuers names {} twice: one issuer proves one thing", issuer.issuer));
            }
        }
        let mut names = BTreeSet::new();
        for rule in rules {
            rule.check().map_err(|error| format!("[[enroll]]: {error}"))?;
            if !names.insert(&rule.name) {
                return Err(format!("[[enroll]]: two rules are called {}", rule.name));
            }
            let (name, account) = (&rule.name, &rule.account);
            let issued = |fits: fn(&IssuerLines, &str) -> bool| {
                self.issuers.iter().any(|issuer| issuer.proof == rule.proof && fits(issuer, account))
            };
            match rule.proof {
                Kind::AwsDocument if self.aws_certificates.is_empty() => {
                    return Err(format!(
                        "[[enroll]]: rule {name} needs attest.aws_certificates = {{ REGION = \"FILE\" }}"
                    ));
                }
                Kind::AwsDocument => {
                    // A zone, eu-central-1a, begins as its region.
                    let known = |place: &&String| self.aws_certificates.keys().any(|region| place.starts_with(region));
                    if let Some(place) = rule.regions.iter().find(|place| !known(place)) {
                        return Err(format!(
                            "[[enroll]]: rule {name} names {place}, for which attest.aws_certificates has no certificate"
                        ));
                    }
                }
                Kind::AwsSts if !issued(|issuer, account| issuer.account.as_deref() == Some(account)) => {
                    return Err(format!(
                        "[[enroll]]: rule {name} needs an aws-sts issuer of account {account} in attest.issuers"
                    ));
                }
                Kind::Oidc if !issued(|issuer, account| issuer.issuer == account) => {
                    return Err(format!("[[enroll]]: rule {name} needs issuer {account} in attest.issuers"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Config {
        attest: Attest,
        enroll: Vec<Rule>,
    }

    const STS: &str =
        "proof = \"aws-sts\"\nissuer = \"https://a.example\"\njwks = \"/j\"\naccount = \"123456789012\"\n";

    fn parse(issuer: &str, rule: &str) -> Result<Config, String> {
        let issuer = if issuer.is_empty() { String::new() } else { format!("[[attest.issuers]]\n{issuer}") };
        let rule = if rule.is_empty() {
            String::new()
        } else {
            format!("[[enroll]]\nname = \"r\"\nrole = \"sentry\"\nmax_nodes = 1\n{rule}")
        };
        let config: Config = toml::from_str(&format!("{issuer}{rule}")).map_err(|error| error.to_string())?;
        config.attest.check(&config.enroll).map(|()| config)
    }

    #[test]
    fn issuers_and_rules_go_together() {
        let sts = "proof = \"aws-sts\"\naccount = \"123456789012\"";
        assert!(parse(STS, sts).is_ok());
        let config = parse("", "proof = \"gcp\"\naccount = \"my-project\"").unwrap();
        let issuers = config.attest.issuers(&config.enroll);
        assert_eq!(issuers[0].jwks, "https://www.googleapis.com/oauth2/v3/certs");
        assert!(Config::default().attest.issuers(&[]).is_empty());
        let own = STS.replace("aws-sts", "gcp").replace("account = \"123456789012\"\n", "");
        let config = parse(&own, "proof = \"gcp\"\naccount = \"my-project\"").unwrap();
        assert_eq!(config.attest.issuers(&config.enroll).len(), 1);
    }

    #[test]
    fn what_could_never_be_believed_is_refused_with_what_to_write() {
        let check = |issuer: &str, rule: &str, expect: &str| {
            let error = parse(issuer, rule).unwrap_err();
            assert!(error.contains(expect), "{error}");
        };
        check("", "proof = \"aws-document\"\naccount = \"123456789012\"", "needs attest.aws_certificates");
        let regions = |place: &str| {
            let rule = format!("proof = \"aws-document\"\naccount = \"123456789012\"\nregions = [\"{place}\"]\n");
            parse("", &format!("{rule}[attest]\naws_certificates = {{ eu-central-1 = \"/c\" }}"))
        };
        assert!(regions("eu-central-1").is_ok() && regions("eu-central-1b").is_ok());
        assert!(regions("us-east-1").unwrap_err().contains("names us-east-1, for which"));
        check("", "proof = \"aws-sts\"\naccount = \"123456789012\"", "needs an aws-sts issuer of account 123456789012");
        check(STS, "proof = \"aws-sts\"\naccount = \"999999999999\"", "of account 999999999999");
        check(STS, "proof = \"oidc\"\naccount = \"https://a.example\"", "needs issuer https://a.example");
        check("", "proof = \"aws-sts\"\naccount = \"1\"", "12 digits");
        check(&STS.replace("https://a", "http://a"), "", "is no issuer");
        check(&STS.replace("a.example", "a.example#x"), "", "is no issuer");
        check(&STS.replace("/j", "http://a.example/j"), "", "neither https://");
        check(&STS.replace("123456789012", "12"), "", "12 digits");
        check(&STS.replace("aws-sts", "oidc"), "", "only aws-sts has an account");
        check(&STS.replace("aws-sts", "aws-document"), "", "not an issuer");
        check(&format!("{STS}[[attest.issuers]]\n{STS}"), "", "twice: one issuer proves one thing");
        let rule = "proof = \"gcp\"\naccount = \"p\"\n";
        let second = format!("{rule}[[enroll]]\nname = \"r\"\nrole = \"prep\"\nmax_nodes = 1\n{rule}");
        check("", &second, "two rules are called r");
        check("", "proof = \"azure\"\naccount = \"p\"", "unknown variant `azure`");
    }
}
