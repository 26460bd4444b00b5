//! AWS instance identity documents.

use crate::now;
use picket_attest::{
    Certificate, DocumentError, Kind, RegionCertificates,
    document::{self, CertificateError},
};
use picket_lab::cloud::{Instance, aws_certificate, document, sign_document};
use picket_model::Timestamp;

const SHORT: [&str; 3] = [
    include_str!("../short/certificate.pem"),
    include_str!("../short/document.json"),
    include_str!("../short/signature.base64"),
];

fn certificates() -> RegionCertificates {
    let certificate = |which| Certificate::parse(&aws_certificate(which, 2020, 2120), false).unwrap();
    [("eu-central-1", 0), ("us-east-1", 1)].map(|(region, which)| (region.to_owned(), certificate(which))).into()
}

fn text() -> String {
    document(&Instance {
        account: "123456789012".into(),
        region: "eu-central-1".into(),
        image: "ami-0123456789abcdef0".into(),
        id: "i-0123456789abcdef0".into(),
        launched_at: "2026-11-21T12:00:00Z".parse().unwrap(),
    })
}

fn identify(text: &str, signature: &str) -> Result<picket_attest::Identity, DocumentError> {
    document::identify(&certificates(), text, signature, now())
}

/// Signed by the right key, whatever it says.
fn signed(text: &str) -> Result<picket_attest::Identity, DocumentError> {
    identify(text, &sign_document(0, text))
}

#[test]
fn a_document_names_its_instance() {
    let good = signed(&text()).unwrap();
    assert_eq!(good.id().unwrap().as_str(), "aws/123456789012/i-0123456789abcdef0");
    assert_eq!((good.kind, good.kind.names_the_keys()), (Kind::AwsDocument, false));
    assert_eq!((good.region.as_deref(), good.zone.as_deref()), (Some("eu-central-1"), Some("eu-central-1a")));
    assert_eq!(good.image.as_deref(), Some("ami-0123456789abcdef0"));
    assert_eq!(good.launched_at.unwrap().to_string(), "2026-11-21T12:00:00Z");
}

#[test]
fn keys_of_1024_bits_are_taken_only_where_the_operator_says_so() {
    let [pem, document, signature] = SHORT;
    assert_eq!(Certificate::parse(pem, false), Err(CertificateError::Short(1024)));
    let certificate = Certificate::parse(pem, true).unwrap();
    let of = |certificate| [("ap-southeast-2".to_owned(), certificate)].into();
    let good = document::identify(&of(certificate.clone()), document, signature, now()).unwrap();
    assert_eq!(good.instance, "i-0123456789abcdef0");
    let bent = document.replace("123456789012", "123456789013");
    let error = document::identify(&of(certificate), &bent, signature, now()).unwrap_err();
    assert_eq!(error, DocumentError::Signature("ap-southeast-2".to_owned()));
}

#[test]
fn only_the_exact_bytes_under_the_regions_own_key_count() {
    let (text, other) = (text(), text().replace("eu-central-1", "us-east-1"));
    let signature = sign_document(0, &text);
    let wrong = |region: &str| Err(DocumentError::Signature(region.to_owned()));
    assert_eq!(identify(&text, &sign_document(1, &text)), wrong("eu-central-1"));
    assert_eq!(identify(&other, &sign_document(0, &other)), wrong("us-east-1"));
    assert!(identify(&other, &sign_document(1, &other)).is_ok());
    for bent in [
        text.replace("i-0123456789abcdef0", "i-0123456789abcdef1"),
        text.replace("2026-11-21T12:00:00Z", "2026-11-21T12:09:00Z"),
        format!("{text}\n"),
        text.replace("\n", "\r\n"),
    ] {
        assert_eq!(identify(&bent, &signature), wrong("eu-central-1"), "{bent}");
    }
    let nowhere = text.replace("eu-central-1", "mars-north-1");
    assert_eq!(signed(&nowhere), Err(DocumentError::Region("\"mars-north-1\"".to_owned())));
}

#[test]
fn a_signature_is_base64_on_one_line() {
    let (text, signature) = (text(), sign_document(0, &text()));
    for bad in [
        &signature[..signature.len() - 1],
        &signature[..signature.len() - 2],
        &format!("{signature}AAAA"),
        &format!("{signature}\n"),
        &format!("{}\n{}", &signature[..76], &signature[76..]),
        &signature.replace('=', ""),
        "not base64!",
    ] {
        assert_eq!(identify(&text, bad), Err(DocumentError::Base64), "{bad}");
    }
    for bad in ["", "AAAA", &signature[..signature.len() - 4]] {
        assert_eq!(identify(&text, bad), Err(DocumentError::Signature("eu-central-1".to_owned())), "{bad}");
    }
    assert_eq!(identify(&text, &"A".repeat(2000)), Err(DocumentError::TooLarge));
}

#[test]
fn a_document_is_one_small_object_without_doubles() {
    let text = text();
    let json = |text: &str, expect: &str| match signed(text) {
        Err(DocumentError::Json(found)) => assert!(found.contains(expect), "{found}"),
        other => panic!("{text}: {other:?}"),
    };
    json(&text.replace("\"kernelId\" : null", "\"instanceId\" : \"i-0aaaaaaaaaaaaaaaa\""), "twice");
    json(&format!("{text}{{}}"), "trailing");
    json(&format!("{text}x"), "trailing");
    json("[]", "no object");
    json("", "EOF");
    assert_eq!(signed(&format!("{text}{}", " ".repeat(document::LARGEST))), Err(DocumentError::TooLarge));
    for (from, to, field) in [
        ("123456789012", "12345678901x", "accountId"),
        ("123456789012", "1234567890123", "accountId"),
        ("\"i-0123456789abcdef0\"", "null", "instanceId"),
        ("i-0123456789abcdef0", "i-0123456789ABCDEF0", "instanceId"),
        ("i-0123456789abcdef0", "../../etc", "instanceId"),
        ("2026-11-21T12:00:00Z", "yesterday", "pendingTime"),
        ("\"pendingTime\"", "\"bootTime\"", "pendingTime"),
        ("\"ami-0123456789abcdef0\"", "7", "imageId"),
        ("\"region\" : \"eu-central-1\"", "\"region\" : null", "region"),
    ] {
        assert_eq!(signed(&text.replace(from, to)), Err(DocumentError::Field(field)), "{to}");
    }
}

#[test]
fn a_certificate_has_a_time_and_an_rsa_key() {
    let over = Certificate::parse(&aws_certificate(0, 2020, 2026), false).unwrap();
    let text = text();
    let check = |at: &str| {
        let at: Timestamp = at.parse().unwrap();
        document::identify(&[("eu-central-1".to_owned(), over.clone())].into(), &text, &sign_document(0, &text), at)
    };
    assert!(check("2025-12-31T00:00:00Z").is_ok());
    assert!(matches!(check("2026-01-02T00:00:00Z"), Err(DocumentError::Certificate { .. })));
    assert!(matches!(check("2019-12-31T00:00:00Z"), Err(DocumentError::Certificate { .. })));

    let pem = aws_certificate(0, 2020, 2120);
    for bad in ["", "x", &pem[..200], &format!("{pem}{pem}"), &pem.replace("CERTIFICATE", "PRIVATE KEY")] {
        assert_eq!(Certificate::parse(bad, true), Err(CertificateError::Pem), "{bad}");
    }
    let key = rcgen::KeyPair::generate().unwrap();
    let elliptic = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
    assert_eq!(Certificate::parse(&elliptic, true), Err(CertificateError::NotRsa));
}
