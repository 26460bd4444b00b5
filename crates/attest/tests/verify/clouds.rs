//! What tokens of AWS STS, GCP and others say of a host.

use crate::{NOW, now};
use picket_attest::{Issuer, Jwks, Kind, TokenError, Unverified, token};
use picket_lab::cloud::{Signer, jwks};
use serde_json::{Value, json};

const AUDIENCE: &str = "picket://m-1/enroll/00ff";
const STS: &str = "https://sts.amazonaws.com/";
const ARN: &str = "arn:aws:ec2:eu-central-1:123456789012:instance/i-0123456789abcdef0";

fn issuer(kind: Kind, url: &str) -> Issuer {
    Issuer { kind, url: url.to_owned(), account: (kind == Kind::AwsSts).then(|| "123456789012".to_owned()) }
}

fn identify(issuer: &Issuer, own: &[(&str, Value)]) -> Result<picket_attest::Identity, TokenError> {
    let signer = Signer::rsa("k", 0);
    let mut claims = json!({"iss": issuer.url, "sub": "sub-1", "aud": AUDIENCE, "iat": NOW, "exp": NOW + 300});
    for (name, value) in own {
        claims[*name] = value.clone();
    }
    let (token, keys) = (signer.token(&claims), Jwks::parse(jwks(&[&signer]).as_bytes()).unwrap());
    token::identify(issuer, Unverified::parse(&token).unwrap(), &keys, AUDIENCE, now())
}

#[test]
fn an_sts_token_names_an_ec2_instance_of_the_issuers_account() {
    let aws = issuer(Kind::AwsSts, "https://abc.tokens.sts.global.api.aws");
    let claim = |name: &str, value: Value| {
        let mut own = json!({
            "aws_account": "123456789012", "source_region": "us-east-1", "ec2_source_instance_arn": ARN,
            "principal_tags": {"pool": "edge"}, "request_tags": {"pool": "chosen by the host"},
        });
        own[name] = value;
        identify(&aws, &[(STS, own)])
    };
    let good = claim("org_id", json!("o-1")).unwrap();
    assert_eq!(good.id().unwrap().as_str(), "aws/123456789012/i-0123456789abcdef0");
    assert_eq!((good.region.as_deref(), good.tags["pool"].as_str()), (Some("eu-central-1"), "edge"));
    assert_eq!((good.launched_at, good.expires_at.unwrap().as_millis()), (None, (NOW + 300) * 1000));

    assert!(matches!(claim("aws_account", json!("999999999999")), Err(TokenError::Account { .. })));
    assert!(matches!(claim("aws_account", Value::Null), Err(TokenError::Claim { claim: "aws_account", .. })));
    let foreign = json!(ARN.replace("123456789012", "999999999999"));
    assert!(matches!(claim("ec2_source_instance_arn", foreign), Err(TokenError::Account { .. })));
    for arn in [
        Value::Null,
        json!(""),
        json!("arn:aws:iam::123456789012:role/x"),
        json!("arn:aws:ec2:eu-central-1:123456789012:volume/i-0123456789abcdef0"),
        json!("arn:aws:ec2:eu-central-1:123456789012:instance/i-../../x"),
        json!(format!("{ARN}:more")),
    ] {
        let error = claim("ec2_source_instance_arn", arn.clone()).unwrap_err();
        assert!(matches!(error, TokenError::Claim { claim: "ec2_source_instance_arn", .. }), "{arn}: {error}");
    }
    assert!(matches!(identify(&aws, &[]), Err(TokenError::Claim { claim: STS, .. })));
    // An issuer without an account speaks for none.
    let anybody = Issuer { account: None, ..aws };
    let own = json!({"aws_account": "123456789012", "ec2_source_instance_arn": ARN});
    assert!(matches!(identify(&anybody, &[(STS, own)]), Err(TokenError::Account { .. })));
}

#[test]
fn a_gcp_token_names_a_compute_engine_instance() {
    let google = issuer(Kind::Gcp, "https://accounts.google.com");
    let claim = |name: &str, value: Value| {
        let mut own = json!({
            "instance_creation_timestamp": NOW - 60, "instance_id": "4570452845155348778",
            "instance_name": "sentries-nfc1", "project_id": "my-project-1", "project_number": 1_071_284_184_436_u64,
            "zone": "us-central1-c",
        });
        own[name] = value;
        identify(&google, &[("google", json!({"compute_engine": own}))])
    };
    let good = claim("license_id", json!(["1"])).unwrap();
    assert_eq!(good.id().unwrap().as_str(), "gcp/my-project-1/4570452845155348778");
    assert_eq!((good.region.as_deref(), good.zone.as_deref()), (Some("us-central1"), Some("us-central1-c")));
    assert_eq!(good.launched_at.unwrap().as_millis(), (NOW - 60) * 1000);
    assert_eq!(good.instance_name.as_deref(), Some("sentries-nfc1"));
    for (name, bad) in [
        ("instance_id", json!("")),
        ("instance_id", json!("45/../1")),
        ("instance_id", json!(4570)),
        ("project_id", json!("other/project")),
        ("zone", Value::Null),
        ("zone", json!("us central")),
        ("instance_creation_timestamp", json!("soon")),
    ] {
        let error = claim(name, bad.clone()).unwrap_err();
        assert!(matches!(error, TokenError::Claim { claim, .. } if claim == name), "{name} {bad}: {error}");
    }
    // The standard format names no instance: any service account's token of the project would do.
    let error = identify(&google, &[]).unwrap_err();
    assert!(error.to_string().contains("format=full"), "{error}");
}

#[test]
fn any_other_token_names_its_subject() {
    let own = issuer(Kind::Oidc, "https://issuer.example/tenant");
    let good = identify(&own, &[("namespace", json!("mesh"))]).unwrap();
    assert_eq!(good.id().unwrap().as_str(), "oidc/https://issuer.example/tenant#sub-1");
    assert_eq!(good.claims["namespace"], "mesh");
    assert!(identify(&own, &[("sub", Value::Null)]).is_err());
    assert!(identify(&own, &[("sub", json!("a\nb"))]).unwrap().id().is_err());
    // What AWS and GCP say of an instance counts only in their own tokens.
    let forged = json!({"aws_account": "123456789012", "ec2_source_instance_arn": ARN});
    assert_eq!(identify(&own, &[(STS, forged)]).unwrap().kind, Kind::Oidc);
}
