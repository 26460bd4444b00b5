//! Clouds beside a mesh: certificates and key sets in files, rules for each kind of proof, instances with metadata servers.

use crate::fixture::{Host, Mesh};
use picket_api::Proof;
use picket_lab::cloud::{FakeMetadata, Instance, Signer, aws_certificate, document, jwks, sign_document};
use picket_model::{NodeRole, Timestamp};
use serde_json::{Value, json};
use std::{path::Path, time::SystemTime};
use tempfile::TempDir;

pub(super) const ACCOUNT: &str = "123456789012";
pub(super) const STS: &str = "https://abc.tokens.sts.global.api.aws";
pub(super) const OIDC: &str = "https://issuer.example";
const RULES: &str = r#"
[[enroll]]
name = "edge-aws"
proof = "aws-document"
account = "123456789012"
regions = ["eu-central-1"]
images = ["ami-0123456789abcdef0"]
role = "sentry"
names = "sentry-*"
max_nodes = 2

[[enroll]]
name = "edge-sts"
proof = "aws-sts"
account = "123456789012"
claims = { sub = "arn:aws:iam::123456789012:role/sentry" }
tags = { pool = "edge" }
role = "sentry"
max_nodes = 5

[[enroll]]
name = "edge-gcp"
proof = "gcp"
account = "my-project-1"
regions = ["us-central1"]
instance_name = "sentries-*"
role = "sentry"
max_nodes = 5

[[enroll]]
name = "own"
proof = "oidc"
account = "https://issuer.example"
claims = { namespace = "mesh" }
role = "prep"
max_nodes = 5
"#;

/// A mesh that believes the clouds played here.
pub(super) struct Cloud {
    pub(super) mesh: Mesh,
    folder: TempDir,
}

impl Cloud {
    pub(super) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With a further line in each of these rules, by their names.
    pub(super) async fn start_with(further: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let at = folder.path().display();
        write("aws.pem", &aws_certificate(0, 2020, 2120));
        let mut lines = format!("[attest]\naws_certificates = {{ eu-central-1 = \"{at}/aws.pem\" }}\n");
        for (kind, issuer, more) in [
            ("aws-sts", STS, format!("account = \"{ACCOUNT}\"\n")),
            ("gcp", "https://accounts.google.com", String::new()),
            ("oidc", OIDC, String::new()),
        ] {
            write(&format!("{kind}.json"), &jwks(&[&Self::signer(kind)]));
            lines += &format!(
                "[[attest.issuers]]\nproof = \"{kind}\"\nissuer = \"{issuer}\"\njwks = \"{at}/{kind}.json\"\n{more}"
            );
        }
        let rules = further.iter().fold(RULES.to_owned(), |rules, (name, line)| {
            let name = format!("name = \"{name}\"\n");
            rules.replace(&name, &format!("{name}{line}\n"))
        });
        Self { mesh: Mesh::start_with(&format!("{lines}{rules}")).await, folder }
    }

    /// The key of each kind of issuer.
    pub(super) fn signer(kind: &str) -> Signer {
        Signer::rsa(kind, usize::from(kind == "gcp"))
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The metadata server of an instance, for AWS and GCP alike.
    pub(super) async fn metadata(&self, account: &str, region: &str, id: &str) -> FakeMetadata {
        let instance = Instance { account: account.into(), region: region.into(), id: id.into(), ..instance() };
        FakeMetadata::start(instance, Self::signer("gcp")).await.unwrap()
    }
}

pub(super) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// Launched a minute ago.
pub(super) fn instance() -> Instance {
    Instance {
        account: ACCOUNT.into(),
        region: "eu-central-1".into(),
        image: "ami-0123456789abcdef0".into(),
        id: "i-0123456789abcdef0".into(),
        launched_at: Timestamp::from_millis(now().as_millis() / 1000 * 1000 - 60_000),
    }
}

/// The document of an instance, rightly signed.
pub(super) fn aws(instance: &Instance) -> Proof {
    let document = document(instance);
    Proof::AwsDocument { signature: sign_document(0, &document), document }
}

pub(super) fn sentry(name: &str) -> Host {
    Host::new(NodeRole::Sentry, name)
}

/// Claims of a token that is good now.
pub(super) fn claims(issuer: &str, audience: &str) -> Value {
    let now = now().as_millis() / 1000;
    json!({"iss": issuer, "sub": "host-1", "aud": audience, "iat": now, "exp": now + 300, "namespace": "mesh"})
}
