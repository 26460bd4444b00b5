//! Any bytes as what a stranger shows to join: a token as it is, a token whose header and claims they are (with a zero byte
//! between), an AWS document, an identity; and as an issuer's key set. Nothing of it is signed, so nothing may be believed.
#![no_main]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use picket_attest::{IdentityId, Jwks, RegionCertificates, Unverified, document};
use picket_fuzz::NOW;

/// Longest text of a refusal in bytes: some words around what was shown, of which 160 characters are kept and escaped.
const LONGEST_REFUSAL: usize = 4000;

fuzz_target!(|body: &[u8]| {
    let text = String::from_utf8_lossy(body);
    check_token(&text);
    let parts: Vec<String> = body.splitn(2, |byte| *byte == 0).map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
    check_token(&format!("{}.AAAA", parts.join(".")));

    let refused = document::identify(&RegionCertificates::new(), &text, "AAAA", NOW).expect_err("nobody signed it");
    check_refusal(&refused.to_string());
    if let Ok(id) = text.parse::<IdentityId>() {
        assert_eq!((id.as_str(), id.to_string().parse().as_ref()), (&*text, Ok(&id)));
    }
    match Jwks::parse(body) {
        Ok(keys) => assert!(!keys.has("") || text.contains("kid")),
        Err(refused) => check_refusal(&refused.to_string()),
    }
});

fn check_token(text: &str) {
    let refused = match Unverified::parse(text) {
        Err(refused) => refused,
        Ok(token) => {
            assert!(!token.key().is_empty());
            token.verify(&Jwks::default(), "https://issuer.example", "audience", NOW).expect_err("nobody signed it")
        }
    };
    check_refusal(&refused.to_string());
}

fn check_refusal(text: &str) {
    assert!(text.len() <= LONGEST_REFUSAL, "{} bytes", text.len());
    assert!(!text.chars().any(char::is_control), "{text:?}");
}
