//! Collectors of proofs of identity: AWS's and GCP's metadata servers, a file, the output of a command. What a proof is worth
//! is decided by the controller.

pub mod kept;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use picket_api::Proof;
use picket_pki::{Fingerprint, client_config};
use reqwest::{Client, RequestBuilder, Url, redirect};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, process::Stdio, time::Duration};
use tokio::{process::Command, time::timeout};

/// Where instances of AWS and of GCP find their metadata server.
const METADATA: &str = "http://169.254.169.254";
/// Time to connect to it, and for an answer: it is on this machine's own hypervisor.
const METADATA_TIMES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// Time that a command may take: it may ask a service elsewhere.
const COMMAND_TIME: Duration = Duration::from_secs(60);
/// Largest proof, in bytes; the controller takes no larger one (`picket_attest::jwt::LARGEST`).
const LARGEST: usize = 16 << 10;
/// Seconds that a session with AWS's metadata server lasts.
const SESSION_SECONDS: &str = "60";
/// Variable that tells a command which audience to ask for.
const AUDIENCE_VARIABLE: &str = "PICKET_AUDIENCE";
/// Characters of what a command said that are shown.
const LONGEST_QUOTE: usize = 200;

/// How this host can prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofKind {
    /// The instance identity document of the metadata server (IMDSv2). It names no keys.
    Aws,
    /// A token of sts:GetWebIdentityToken, from a command or a file.
    AwsSts,
    /// The identity token of the metadata server.
    Gcp,
    /// A token of another OIDC issuer, from a command or a file.
    Oidc,
}

/// How to join without a join token.
#[derive(Args, Clone, Debug, Default)]
pub struct ProofOptions {
    /// Prove who this host is, in place of a join token.
    #[arg(long, value_name = "KIND", conflicts_with_all = ["token", "token_file"], requires = "ca_fingerprint")]
    pub proof: Option<ProofKind>,
    /// Fingerprint of the mesh's CA, as `picket-controller fingerprint` prints it; a join token carries it.
    #[arg(long, value_name = "HEX", env = "PICKET_CA_FINGERPRINT")]
    pub ca_fingerprint: Option<Fingerprint>,
    /// Command of the shell whose output is the token; it finds the audience to ask for in PICKET_AUDIENCE.
    #[arg(long, value_name = "COMMAND", requires = "proof")]
    pub proof_command: Option<String>,
    /// File that holds the token; --print-audience tells which audience it must have.
    #[arg(long, value_name = "FILE", requires = "proof", conflicts_with = "proof_command")]
    pub proof_file: Option<PathBuf>,
    /// Make this host's keys, print the audience that a token for them must have, and do no more.
    #[arg(long, requires = "proof")]
    pub print_audience: bool,
    /// The metadata server [default: http://169.254.169.254].
    #[arg(long, value_name = "URL", env = "PICKET_METADATA")]
    pub metadata: Option<Url>,
}

impl ProofOptions {
    /// The kind of proof and the CA to trust, where the host is to prove itself.
    ///
    /// # Errors
    /// What else to give.
    pub fn chosen(&self) -> Result<Option<(ProofKind, Fingerprint)>> {
        let Some(kind) = self.proof else { return Ok(None) };
        let ca = self.ca_fingerprint.context(
            "give --ca-fingerprint: without a join token it is how this host knows its controller \
             (`picket-controller fingerprint` prints it)",
        )?;
        let given = self.proof_command.is_some() || self.proof_file.is_some();
        match kind {
            ProofKind::Aws | ProofKind::Gcp => {
                ensure!(
                    !given,
                    "--proof aws and gcp ask the metadata server: leave out --proof-command and --proof-file"
                );
            }
            ProofKind::AwsSts | ProofKind::Oidc => {
                ensure!(
                    given || self.print_audience,
                    "give --proof-command or --proof-file: where the token comes from"
                );
            }
        }
        Ok(Some((kind, ca)))
    }

    /// Collects the proof; tokens are asked for with this audience.
    ///
    /// # Errors
    /// What was asked, and what came instead. No error quotes a proof.
    pub async fn collect(&self, kind: ProofKind, ca: Fingerprint, audience: &str) -> Result<Proof> {
        match kind {
            ProofKind::Aws => self.metadata(ca)?.aws().await,
            ProofKind::Gcp => Ok(Proof::Gcp { token: self.metadata(ca)?.gcp(audience).await? }),
            ProofKind::AwsSts => Ok(Proof::AwsSts { token: self.token(audience).await? }),
            ProofKind::Oidc => Ok(Proof::Oidc { token: self.token(audience).await? }),
        }
    }

    fn metadata(&self, ca: Fingerprint) -> Result<Metadata> {
        let base = match &self.metadata {
            Some(url) => url.clone(),
            None => METADATA.parse().context("read the metadata server's address")?,
        };
        ensure!(base.scheme() == "http", "the metadata server speaks plain HTTP: give --metadata http://...");
        let client = Client::builder()
            // Never used, since only http is asked; the library wants one.
            .tls_backend_preconfigured(client_config(ca, None)?)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(METADATA_TIMES.0)
            .timeout(METADATA_TIMES.1)
            .build()
            .context("set up the client for the metadata server")?;
        Ok(Metadata { client, base })
    }

    async fn token(&self, audience: &str) -> Result<String> {
        let text = match (&self.proof_command, &self.proof_file) {
            (Some(command), _) => output(command, audience).await?,
            (None, Some(file)) => {
                let doing = || format!("read the token from {}", file.display());
                let size = tokio::fs::metadata(file).await.with_context(doing)?.len();
                ensure!(
                    size <= LARGEST as u64,
                    "{} has more than {LARGEST} bytes: no token is so large",
                    file.display()
                );
                tokio::fs::read(file).await.with_context(doing)?
            }
            (None, None) => bail!("give --proof-command or --proof-file: where the token comes from"),
        };
        one_line(text).context("what was given as a token is none")
    }
}

struct Metadata {
    client: Client,
    base: Url,
}

impl Metadata {
    /// Document and signature, in a session (IMDSv2).
    async fn aws(&self) -> Result<Proof> {
        let session = self.client.put(self.url("/latest/api/token")?);
        let session = session.header("x-aws-ec2-metadata-token-ttl-seconds", SESSION_SECONDS);
        let session = one_line(self.answer(session, "begin a session").await?)?;
        let get = async |name: &str| {
            let url = self.url(&format!("/latest/dynamic/instance-identity/{name}"))?;
            let asked = self.client.get(url).header("x-aws-ec2-metadata-token", session.as_str());
            self.answer(asked, &format!("get the instance identity {name}")).await
        };
        let document =
            String::from_utf8(get("document").await?).context("the instance identity document is no text")?;
        let mut signature = get("signature").await?;
        // AWS breaks it into lines.
        signature.retain(|byte| !byte.is_ascii_whitespace());
        let signature =
            String::from_utf8(signature).context("the signature of the instance identity document is no text")?;
        Ok(Proof::AwsDocument { document, signature })
    }

    /// The token in full format, which alone names the instance.
    async fn gcp(&self, audience: &str) -> Result<String> {
        let url = self.url("/computeMetadata/v1/instance/service-accounts/default/identity")?;
        let asked = self.client.get(url).query(&[("audience", audience), ("format", "full")]);
        let text = self.answer(asked.header("metadata-flavor", "Google"), "get an identity token").await?;
        one_line(text).context("what the metadata server gave as a token is none")
    }

    fn url(&self, path: &str) -> Result<Url> {
        self.base.join(path).with_context(|| format!("ask {} for {path}", self.base))
    }

    async fn answer(&self, request: RequestBuilder, doing: &str) -> Result<Vec<u8>> {
        let at = || format!("{doing} at the metadata server {}: is this an instance of that cloud?", self.base);
        let mut response = request.send().await.with_context(at)?;
        let status = response.status();
        ensure!(status.is_success(), "{}: it answers HTTP {}", at(), status.as_u16());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.with_context(at)? {
            body.extend_from_slice(&chunk);
            ensure!(body.len() <= LARGEST, "{}: it answers with more than {LARGEST} bytes", at());
        }
        Ok(body)
    }
}

/// What a command writes, which is not shown to anybody: it is a proof.
async fn output(command: &str, audience: &str) -> Result<Vec<u8>> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env(AUDIENCE_VARIABLE, audience).stdin(Stdio::null()).kill_on_drop(true);
    let ended = timeout(COMMAND_TIME, shell.output()).await;
    let ended = ended.with_context(|| format!("--proof-command gave no token within {} s", COMMAND_TIME.as_secs()))?;
    let ended = ended.context("run --proof-command with sh")?;
    if !ended.status.success() {
        let said: String = String::from_utf8_lossy(&ended.stderr).trim().chars().take(LONGEST_QUOTE).collect();
        bail!("--proof-command failed ({}): {}", ended.status, said.escape_debug());
    }
    ensure!(ended.stdout.len() <= LARGEST, "--proof-command wrote more than {LARGEST} bytes: no token is so large");
    Ok(ended.stdout)
}

/// The text without white space around it, if it is one word.
fn one_line(text: Vec<u8>) -> Result<String> {
    let text = String::from_utf8(text).ok().map(|text| text.trim().to_owned());
    let word = text.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()));
    word.context("not one word of visible characters")
}

#[cfg(test)]
mod tests;
