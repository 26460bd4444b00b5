//! Tests of the rules.

use super::*;
use serde_json::{Map, json};

const NOW: i64 = 1_795_263_000_000;

fn rule(text: &str) -> Rule {
    toml::from_str(text).unwrap()
}

fn aws() -> Rule {
    rule(
        "name = \"edge\"\nproof = \"aws-document\"\naccount = \"123456789012\"\nregions = [\"eu-central-1\"]\n\
         images = [\"ami-1\"]\nrole = \"sentry\"\nnames = \"sentry-*\"\nmax_nodes = 3\n",
    )
}

fn identity() -> Identity {
    Identity {
        kind: Kind::AwsDocument,
        account: "123456789012".into(),
        instance: "i-0123456789abcdef0".into(),
        region: Some("eu-central-1".into()),
        zone: Some("eu-central-1a".into()),
        image: Some("ami-1".into()),
        instance_name: None,
        tags: BTreeMap::new(),
        claims: Map::new(),
        launched_at: Some(Timestamp::from_millis(NOW - 60_000)),
        issued_at: None,
        expires_at: None,
    }
}

fn admit_one(rule: &Rule, identity: &Identity) -> Result<Admission, Denied> {
    let name = "sentry-1".parse().unwrap();
    let asked = Asked { role: NodeRole::Sentry, name: &name };
    admit(std::slice::from_ref(rule), identity, asked, &BTreeMap::new(), Timestamp::from_millis(NOW))
}

fn refused(rule: &Rule, identity: &Identity, expect: &str) {
    let error = admit_one(rule, identity).unwrap_err().to_string();
    assert!(error.contains(expect), "{error}");
}

#[test]
fn what_a_rule_wants_must_be_so() {
    assert_eq!(admit_one(&aws(), &identity()).unwrap().rule.as_str(), "rule.edge");
    let check = |change: fn(&mut Identity), expect: &str| {
        let mut identity = identity();
        change(&mut identity);
        refused(&aws(), &identity, expect);
    };
    check(
        |i| i.account = "999999999999".into(),
        "no [[enroll]] rule admits aws-document proofs of account \"999999999999\"",
    );
    check(|i| i.kind = Kind::Gcp, "no [[enroll]] rule admits gcp proofs");
    check(|i| i.region = Some("us-east-1".into()), "region \"us-east-1\" is not one of eu-central-1");
    check(|i| (i.region, i.zone) = (None, None), "region not said is not one of");
    check(|i| i.image = Some("ami-2".into()), "image \"ami-2\" is not one of ami-1");
    check(|i| i.image = None, "image not said");
    let zone = Rule { regions: ["eu-central-1b".to_owned()].into(), ..aws() };
    refused(&zone, &identity(), "not one of eu-central-1b");
}

#[test]
fn role_and_name_are_the_rules() {
    let ask = |role, name: &str| {
        let name = name.parse().unwrap();
        let asked = Asked { role, name: &name };
        admit(&[aws()], &identity(), asked, &BTreeMap::new(), Timestamp::from_millis(NOW)).map_err(|e| e.to_string())
    };
    assert!(ask(NodeRole::Sentry, "sentry-9").is_ok());
    assert!(ask(NodeRole::Prep, "sentry-9").unwrap_err().contains("it admits a sentry, not a prep"));
    assert!(ask(NodeRole::Sentry, "prep-1").unwrap_err().contains("the name prep-1 is not sentry-*"));
}

#[test]
fn a_copy_of_a_document_is_of_no_use_for_long() {
    let age = |seconds: i64, limit: Option<u64>| {
        let identity = Identity { launched_at: Some(Timestamp::from_millis(NOW - seconds * 1000)), ..identity() };
        admit_one(&Rule { launch_age_seconds: limit, ..aws() }, &identity).map_err(|error| error.to_string())
    };
    assert!(age(900, None).is_ok());
    assert!(age(901, None).unwrap_err().contains("longer ago than launch_age_seconds = 900"));
    assert!(age(3600, Some(3600)).is_ok());
    assert!(age(3601, Some(3600)).is_err());
    assert!(age(-60, None).is_ok());
    assert!(age(-61, None).unwrap_err().contains("yet to come"));
    refused(&aws(), &Identity { launched_at: None, ..identity() }, "does not tell when");
    // A token that names the keys may come later, unless the rule says otherwise.
    let old = Identity { kind: Kind::Gcp, launched_at: Some(Timestamp::from_millis(0)), ..identity() };
    let gcp = Rule { proof: Kind::Gcp, images: BTreeSet::new(), ..aws() };
    assert!(admit_one(&gcp, &old).is_ok());
    refused(&Rule { launch_age_seconds: Some(60), ..gcp }, &old, "longer ago");
}

#[test]
fn the_pool_is_that_of_the_rule_that_fits() {
    let pooled = |pool: Option<&str>| Rule { pool: pool.map(|pool| pool.parse().unwrap()), ..aws() };
    let into = |rules: &[Rule]| {
        let name = "sentry-1".parse().unwrap();
        let asked = Asked { role: NodeRole::Sentry, name: &name };
        let admission = admit(rules, &identity(), asked, &BTreeMap::new(), Timestamp::from_millis(NOW)).unwrap();
        admission.pool.map(|pool| pool.to_string())
    };
    assert_eq!(into(&[pooled(None), pooled(Some("edge"))]), None);
    let elsewhere = Rule { regions: ["us-east-1".to_owned()].into(), ..pooled(Some("us")) };
    assert_eq!(into(&[elsewhere, pooled(Some("edge"))]).as_deref(), Some("edge"));
    let text = toml::to_string(&pooled(Some("edge"))).unwrap();
    assert_eq!(rule(&text).pool, Some("edge".parse().unwrap()));
    let bad = toml::from_str::<Rule>(&text.replace("pool = \"edge\"", "pool = \"Edge 1\"")).unwrap_err().to_string();
    assert!(bad.contains("pool name: \"Edge 1\" is not"), "{bad}");
}

#[test]
fn so_many_and_no_more() {
    let name = "sentry-1".parse().unwrap();
    let with = |rules: &[Rule], counts: &[(&str, u32)]| {
        let counts = counts.iter().map(|(rule, count)| (rule.parse().unwrap(), *count)).collect();
        let asked = Asked { role: NodeRole::Sentry, name: &name };
        admit(rules, &identity(), asked, &counts, Timestamp::from_millis(NOW))
            .map(|admission| admission.rule.to_string())
    };
    assert!(with(&[aws()], &[("rule.edge", 2), ("rule.other", 9)]).is_ok());
    let error = with(&[aws()], &[("rule.edge", 3)]).unwrap_err().to_string();
    assert!(error.contains("3 hosts are here by it, and max_nodes is 3"), "{error}");
    // The first rule that fits.
    let second = Rule { name: "more".into(), ..aws() };
    assert_eq!(with(&[aws(), second.clone()], &[]).unwrap(), "rule.edge");
    assert_eq!(with(&[aws(), second.clone()], &[("rule.edge", 3)]).unwrap(), "rule.more");
    let error = with(&[aws(), second], &[("rule.edge", 3), ("rule.more", 3)]).unwrap_err().to_string();
    assert!(error.contains("rule edge: ") && error.contains("; rule more: "), "{error}");
}

#[test]
fn tags_claims_and_instance_names_must_be_there() {
    let mut token = Identity { kind: Kind::Oidc, account: "https://i.example".into(), ..identity() };
    token.claims =
        json!({"ns": "mesh", "n": 7, "ok": true, "groups": ["a", "b"], "kubernetes.io": {"pod/x": {"uid": "u"}}})
            .as_object()
            .unwrap()
            .clone();
    token.tags = [("pool".to_owned(), "edge".to_owned())].into();
    let with = |claims: &[(&str, &str)]| {
        let claims = claims.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let rule = Rule { proof: Kind::Oidc, account: "https://i.example".into(), claims, ..aws() };
        Rule { images: BTreeSet::new(), regions: BTreeSet::new(), ..rule }
    };
    for good in [
        &[("ns", "mesh"), ("n", "7")][..],
        &[("ok", "true")],
        &[("groups", "b")],
        &[("/kubernetes.io/pod~1x/uid", "u")],
        &[("/ns", "mesh")],
    ] {
        assert!(admit_one(&with(good), &token).is_ok(), "{good:?}");
    }
    for bad in [
        ("ns", "other"),
        ("ns", "mes"),
        ("groups", "c"),
        ("none", "x"),
        ("kubernetes.io", "x"),
        ("/kubernetes.io/x", "u"),
    ] {
        refused(&with(&[("ns", "mesh"), bad]), &token, &format!("claim {} is", bad.0));
    }
    let tagged = |value: &str| Rule { tags: [("pool".to_owned(), value.to_owned())].into(), ..with(&[]) };
    assert!(admit_one(&tagged("edge"), &token).is_ok());
    refused(&tagged("core"), &token, "tag pool is \"edge\", not \"core\"");
    refused(&tagged("edge"), &Identity { tags: BTreeMap::new(), ..token.clone() }, "tag pool is not said");
    let named = Rule { instance_name: Some(Pattern::new("sentries-*")), ..with(&[]) };
    refused(&named, &token, "the instance is called not said");
    let instance_name = Some("sentries-x7kq".to_owned());
    assert!(admit_one(&named, &Identity { instance_name, ..token }).is_ok());
}

#[test]
fn patterns_fit_whole_texts() {
    let check = |pattern: &str, text: &str, expect: bool| {
        assert_eq!(Pattern::new(pattern).fits(text), expect, "{pattern} {text}");
    };
    for (pattern, text) in
        [("*", ""), ("*", "a"), ("a*", "a"), ("a*c", "abc"), ("*b*", "abc"), ("a*b*a", "aba"), ("abc", "abc")]
    {
        check(pattern, text, true);
    }
    for (pattern, text) in
        [("", "a"), ("a*", "ba"), ("a*a", "a"), ("ab", "abc"), ("*b", "abc"), ("a*b*b", "ab"), ("a*", "A")]
    {
        check(pattern, text, false);
    }
}

#[test]
fn a_rule_that_could_never_fit_is_no_rule() {
    let check = |change: fn(&mut Rule), expect: &str| {
        let mut rule = aws();
        change(&mut rule);
        let error = rule.check().unwrap_err();
        assert!(error.contains(expect), "{error}");
    };
    assert_eq!(aws().check(), Ok(()));
    check(|r| r.name = "Edge one".into(), "1 to 27 characters of a-z");
    check(|r| r.name = "a".repeat(28), "1 to 27 characters");
    check(|r| r.max_nodes = 0, "max_nodes = 0");
    check(|r| r.account = "12345".into(), "12 digits");
    check(|r| (r.proof, r.account) = (Kind::Gcp, String::new()), "empty account");
    check(|r| r.proof = Kind::AwsSts, "only AWS documents tell");
    check(|r| r.instance_name = Some(Pattern::default()), "only GCP tokens tell");
    check(|r| r.tags = [("a".to_owned(), "b".to_owned())].into(), "only AWS tokens");
    check(|r| r.claims = [("a".to_owned(), "b".to_owned())].into(), "only tokens tell");
    check(|r| (r.proof, r.images) = (Kind::Oidc, BTreeSet::new()), "only AWS and GCP tell");
    check(
        |r| (r.proof, r.images, r.launch_age_seconds) = (Kind::AwsSts, BTreeSet::new(), Some(60)),
        "launch_age_seconds, which only",
    );
    assert!(toml::from_str::<Rule>("name = \"a\"\nregion = \"x\"").unwrap_err().to_string().contains("unknown field"));
}
