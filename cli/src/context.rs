//! Which controller, which CA, which token: from arguments, the environment and the context file, in this order.

use crate::{
    args::{Connection, parse_url},
    contexts,
};
use anyhow::{Context as _, anyhow, bail};
use picket_api::OperatorClient;
use picket_pki::{Fingerprint, OperatorToken, client_config};
use reqwest::Url;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use std::{fs, io::ErrorKind, path::Path};

/// The token's variable. There is no argument for it: every user of a host can read the arguments of its processes.
const TOKEN_VARIABLE: &str = "PICKET_TOKEN";

/// A client for the controller that arguments, environment (`variable`) and context file name.
pub(crate) fn client(
    connection: &Connection,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<OperatorClient> {
    let context = Context::find(connection, variable)?;
    let tls = client_config(context.ca, None).context("set up TLS")?;
    let token = context.token.to_secret_string().expose_secret().to_owned();
    Ok(OperatorClient::new(context.url, token, tls)?)
}

#[derive(Debug)]
struct Context {
    url: Url,
    ca: Fingerprint,
    token: OperatorToken,
}

/// The file, which the controller writes at its first start.
#[derive(Deserialize)]
struct ContextFile {
    url: String,
    ca_fingerprint: String,
    token: String,
}

impl Context {
    fn find(connection: &Connection, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let token = variable(TOKEN_VARIABLE).filter(|text| !text.is_empty());
        let token = token.map(|text| text.parse()).transpose().context(TOKEN_VARIABLE)?;
        match (&connection.url, connection.ca, token) {
            (Some(url), Some(ca), Some(token)) => Ok(Self { url: url.clone(), ca, token }),
            // The file's token is for the file's CA; it is not shown to another one.
            (_, Some(_), None) => bail!("--ca is given without a token: set {TOKEN_VARIABLE}, or leave --ca out"),
            (url, ca, token) => {
                let file = Self::read(&contexts::file(&connection.context, &variable))?;
                Ok(Self {
                    url: url.clone().unwrap_or(file.url),
                    ca: ca.unwrap_or(file.ca),
                    token: token.unwrap_or(file.token),
                })
            }
        }
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| {
            let next = match error.kind() {
                ErrorKind::NotFound => {
                    "run picket on the controller's host, or copy its operator.toml and name it with --context"
                }
                ErrorKind::PermissionDenied => "run picket as root, or as a user who may read the file",
                _ => "name another file with --context",
            };
            anyhow!("read context {}: {error}; {next}", path.display())
        })?;
        Self::parse(&text).with_context(|| format!("read context {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        // The error's own text would quote the line, and a line of this file may be the token.
        let file: ContextFile = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            anyhow!("line {}: {}", before.matches('\n').count() + 1, error.message())
        })?;
        Ok(Self {
            url: parse_url(&file.url).map_err(anyhow::Error::msg).context("url")?,
            ca: file.ca_fingerprint.parse().context("ca_fingerprint")?,
            token: file.token.parse().context("token")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn ca(digit: &str) -> String {
        digit.repeat(64)
    }

    fn token(id: &str) -> String {
        format!("picket-op1.{id}.{SECRET}")
    }

    fn file(url: &str, ca: &str, token: &str) -> String {
        format!("url = {url:?}\nca_fingerprint = {ca:?}\ntoken = {token:?}\n")
    }

    fn find(url: Option<&str>, ca: Option<&str>, token: Option<&str>, context: PathBuf) -> Result<String, String> {
        let connection =
            Connection { context, url: url.map(|url| parse_url(url).unwrap()), ca: ca.map(|ca| ca.parse().unwrap()) };
        Context::find(&connection, |_| token.map(str::to_owned))
            .map(|found| format!("{} {:.2} {}", found.url, found.ca.to_string(), found.token.id))
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn arguments_go_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.toml");
        fs::write(&path, file("https://192.0.2.1:8443", &ca("a"), &token("file"))).unwrap();
        let check = |url, ca: Option<&str>, token: Option<&str>, expect: &str| {
            assert_eq!(find(url, ca, token, path.clone()).unwrap(), expect);
        };
        let (other, mine) = (ca("b"), token("mine"));
        check(None, None, None, "https://192.0.2.1:8443/ aa file");
        check(Some("https://127.0.0.1:1"), None, None, "https://127.0.0.1:1/ aa file");
        check(None, None, Some(&mine), "https://192.0.2.1:8443/ aa mine");
        check(None, Some(&other), Some(&mine), "https://192.0.2.1:8443/ bb mine");
        let error = find(None, Some(&other), None, path.clone()).unwrap_err();
        assert_eq!(error, "--ca is given without a token: set PICKET_TOKEN, or leave --ca out");
    }

    #[test]
    fn with_everything_given_no_file_is_read() {
        let (ca, token) = (ca("b"), token("mine"));
        let found = find(Some("https://[fd00::1]:8443"), Some(&ca), Some(&token), PathBuf::from("/nonexistent"));
        assert_eq!(found.unwrap(), "https://[fd00::1]:8443/ bb mine");
    }

    #[test]
    fn a_missing_file_says_what_to_do() {
        let error = find(None, None, None, PathBuf::from("/nonexistent/operator.toml")).unwrap_err();
        assert!(
            error.starts_with("read context /nonexistent/operator.toml: ") && error.contains("--context"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_file_is_refused_without_showing_the_token() {
        let check = |text: &str, expect: &str| {
            let error = format!("{:#}", Context::parse(text).unwrap_err());
            assert!(error.starts_with(expect) && !error.contains(SECRET), "{error}");
        };
        let good = "https://192.0.2.1:8443";
        check(&format!("url = {good:?}\nca_fingerprint = \"a\"\ntoken = {SECRET}\n"), "line 3: ");
        check(&format!("url = {good:?}\ntoken = \"{SECRET}\n"), "line 2: ");
        check(&format!("token = {:?}\n", token("x")), "line 1: missing field");
        check(&file("http://192.0.2.1", &ca("a"), &token("x")), "url: the scheme is not https");
        check(&file(good, "abc", &token("x")), "ca_fingerprint: a CA fingerprint is 64");
        check(&file(good, &ca("a"), SECRET), "token: an operator token begins with");
    }

    #[test]
    fn a_wrong_token_in_the_environment_is_named_and_not_shown() {
        let error = find(None, None, Some(SECRET), PathBuf::from("/nonexistent")).unwrap_err();
        assert_eq!(error, "PICKET_TOKEN: an operator token begins with `picket-op1.`");
    }
}
