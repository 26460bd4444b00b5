//! Tokens: form, keys, algorithms, issuer, audience, times.

use crate::{NOW, now};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use picket_attest::{Jwks, JwtError, Unverified, jwt};
use picket_lab::cloud::{Signer, jwks};
use picket_model::Timestamp;
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "picket://m-1/enroll/00ff";

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "host-1", "aud": AUDIENCE, "iat": NOW - 5, "exp": NOW + 300})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn verify(token: &str, keys: &Jwks) -> Result<(), JwtError> {
    Unverified::parse(token)?.verify(keys, ISSUER, AUDIENCE, now()).map(drop)
}

fn keys(signers: &[&Signer]) -> Jwks {
    Jwks::parse(jwks(signers).as_bytes()).unwrap()
}

#[test]
fn each_algorithm_verifies_its_own_keys_and_no_others() {
    for signer in [Signer::rsa("k", 0), Signer::p256("k"), Signer::p384("k")] {
        let set = keys(&[&signer]);
        let good = signer.token(&claims());
        assert_eq!(verify(&good, &set), Ok(()), "{signer:?}");
        assert_eq!(verify(&signer.token(&with("aud", json!([AUDIENCE]))), &set), Ok(()));
        // Any bit of any part.
        for part in 0..3 {
            let mut parts: Vec<Vec<u8>> = good.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
            let last = parts[part].len() - 3;
            parts[part][last] ^= 1;
            let bent: Vec<String> = parts.iter().map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
            assert!(verify(&bent.join("."), &set).is_err(), "part {part}");
        }
        for other in [Signer::rsa("k", 1), Signer::p256("k"), Signer::p384("k")] {
            let expect =
                if other.algorithm() == signer.algorithm() { JwtError::Signature } else { JwtError::WrongAlgorithm };
            assert_eq!(verify(&other.token(&claims()), &set), Err(expect), "{other:?} for {signer:?}");
        }
    }
}

#[test]
fn the_key_says_which_algorithm_counts() {
    let signer = Signer::rsa("k", 0);
    let set = keys(&[&signer]);
    let header = |alg: &str| json!({"alg": alg, "kid": "k"});
    let none = signer.token_with(&header("none"), &claims().to_string());
    assert_eq!(verify(&none, &set), Err(JwtError::Algorithm("\"none\"".to_owned())));
    let (unsigned, _) = none.rsplit_once('.').unwrap();
    assert_eq!(verify(&format!("{unsigned}."), &set), Err(JwtError::Algorithm("\"none\"".to_owned())));
    for alg in ["None", "NONE", "RS384", "PS256", "EdDSA", "", "rs256"] {
        let token = signer.token_with(&header(alg), &claims().to_string());
        assert!(matches!(verify(&token, &set), Err(JwtError::Algorithm(_))), "{alg}");
    }
    // HS256 with the public key as the secret, in each form in which a verifier may hold it.
    let public = signer.public();
    let modulus = URL_SAFE_NO_PAD.decode(public["n"].as_str().unwrap()).unwrap();
    for secret in [modulus, public.to_string().into_bytes(), jwks(&[&signer]).into_bytes()] {
        for alg in ["HS256", "RS256"] {
            let signed = format!(
                "{}.{}",
                URL_SAFE_NO_PAD.encode(header(alg).to_string()),
                URL_SAFE_NO_PAD.encode(claims().to_string())
            );
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
            let tag = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes()));
            let expect = if alg == "HS256" { JwtError::Algorithm("\"HS256\"".to_owned()) } else { JwtError::Signature };
            assert_eq!(verify(&format!("{signed}.{tag}"), &set), Err(expect));
        }
    }
    // A key in the header is not looked at.
    let thief = Signer::rsa("k", 1);
    let own = json!({"alg": "RS256", "kid": "k", "jwk": thief.public(), "jku": "https://thief.example/jwks.json"});
    assert_eq!(verify(&thief.token_with(&own, &claims().to_string()), &set), Err(JwtError::Signature));
    for asks in ["crit", "b64", "zip", "enc"] {
        let mut header = header("RS256");
        header[asks] = json!(["exp"]);
        let token = signer.token_with(&header, &claims().to_string());
        assert_eq!(verify(&token, &set), Err(JwtError::Header(asks)));
    }
}

#[test]
fn a_token_names_one_of_the_issuers_keys() {
    let signer = Signer::rsa("k", 0);
    let set = keys(&[&signer, &Signer::p256("other")]);
    assert_eq!(verify(&Signer::rsa("z", 0).token(&claims()), &set), Err(JwtError::UnknownKey("\"z\"".to_owned())));
    let named = |kid: Value| {
        let header = json!({"alg": "RS256", "kid": kid});
        verify(&signer.token_with(&header, &claims().to_string()), &set)
    };
    assert_eq!(named(json!("k")), Ok(()));
    assert_eq!((named(json!("")), named(json!(7))), (Err(JwtError::NoKeyId), Err(JwtError::NoKeyId)));
    let nameless = signer.token_with(&json!({"alg": "RS256"}), &claims().to_string());
    assert_eq!(verify(&nameless, &set), Err(JwtError::NoKeyId));
    assert_eq!(named(json!("other")), Err(JwtError::WrongAlgorithm));
    let hostile = format!("{}\u{1b}[2J", "k".repeat(200));
    let error = named(json!(hostile)).unwrap_err().to_string();
    assert!(error.len() < 400 && !error.contains('\u{1b}'), "{error}");
}

#[test]
fn only_a_whole_token_is_read() {
    let signer = Signer::p256("k");
    let (set, good) = (keys(&[&signer]), signer.token(&claims()));
    let cut = &good[..good.len() - 1];
    let padded = format!("{good}=");
    let spaced = format!("{good}\n");
    let four = format!("{good}.AAAA");
    let encrypted = format!("{good}.AAAA.AAAA");
    let standard = good.replacen(&good[..2], "e+", 1);
    for bad in ["", ".", "..", "a.b", cut, padded.as_str(), spaced.as_str(), four.as_str(), encrypted.as_str()] {
        assert!(verify(bad, &set).is_err(), "{bad:?}");
    }
    assert_eq!(verify(&standard, &set), Err(JwtError::Form));
    assert_eq!(verify(&format!("{good}{}", "A".repeat(jwt::LARGEST)), &set), Err(JwtError::TooLarge));
    let large = signer.token(&with("more", json!("x".repeat(jwt::LARGEST))));
    assert_eq!(verify(&large, &set), Err(JwtError::TooLarge));

    let header = json!({"alg": "ES256", "kid": "k"});
    let text = claims().to_string();
    let inner = text.strip_suffix('}').unwrap();
    let is_json_error = |claims: &str, why: &str| match verify(&signer.token_with(&header, claims), &set) {
        Err(JwtError::Json { part: "claims", why: found }) => assert!(found.contains(why), "{found}"),
        other => panic!("{claims}: {other:?}"),
    };
    is_json_error(&format!("{inner}, \"iss\": \"{ISSUER}\"}}"), "twice");
    is_json_error(&format!("{inner}, \"aud\": \"{AUDIENCE}\"}}"), "twice");
    is_json_error(&format!("{text}{{}}"), "trailing");
    is_json_error("[]", "no object");
    is_json_error(&text[..20], "EOF");
}

#[test]
fn a_token_is_of_its_issuer_and_for_these_keys_alone() {
    let signer = Signer::rsa("k", 0);
    let set = keys(&[&signer]);
    let check = |claims: Value| verify(&signer.token(&claims), &set);
    for other in [json!("https://issuer.example/"), json!("https://thief.example")] {
        assert!(matches!(check(with("iss", other)), Err(JwtError::Issuer { .. })));
    }
    assert_eq!(check(with("iss", json!([ISSUER]))), Err(JwtError::Claim("iss")));
    assert_eq!(check(without("iss")), Err(JwtError::Claim("iss")));
    let other_keys = "picket://m-1/enroll/11ff";
    for other in [
        json!(other_keys),
        json!("picket://m-2/enroll/00ff"),
        json!(format!("{AUDIENCE}/")),
        json!("picket://m-1/enroll/00FF"),
        json!([]),
        json!([AUDIENCE, other_keys]),
        json!({"aud": AUDIENCE}),
        Value::Null,
    ] {
        assert!(matches!(check(with("aud", other.clone())), Err(JwtError::Audience { .. })), "{other}");
    }
    assert_eq!(check(without("aud")), Err(JwtError::Claim("aud")));
}

#[test]
fn a_token_has_a_time() {
    let signer = Signer::rsa("k", 0);
    let set = keys(&[&signer]);
    let check = |claims: Value| verify(&signer.token(&claims), &set);
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
    assert_eq!(check(with("exp", json!(NOW - 60))), Ok(()));
    assert_eq!(check(with("exp", json!(NOW - 61))), Err(JwtError::Expired(at(NOW - 61))));
    assert_eq!(check(with("nbf", json!(NOW + 60))), Ok(()));
    assert_eq!(check(with("nbf", json!(NOW + 61))), Err(JwtError::NotYet(at(NOW + 61))));
    assert_eq!(check(with("iat", json!(NOW + 61))), Err(JwtError::NotYet(at(NOW + 61))));
    let old = |age: i64| {
        let mut claims = with("iat", json!(NOW - age));
        claims["exp"] = json!(NOW + 86_400);
        check(claims)
    };
    assert_eq!((old(3_660), old(3_661)), (Ok(()), Err(JwtError::TooOld(at(NOW - 3_661)))));
    for name in ["iat", "exp"] {
        assert_eq!(check(without(name)), Err(JwtError::Claim(name)));
        for odd in [json!("1795263000"), json!(1.5), json!(i64::MAX), Value::Null] {
            assert_eq!(check(with(name, odd)), Err(JwtError::Claim(name)));
        }
    }
    assert_eq!(check(with("nbf", Value::Null)), Err(JwtError::Claim("nbf")));
}

#[test]
fn nothing_of_a_token_is_printed() {
    let token = Signer::rsa("k", 0).token(&claims());
    assert_eq!(format!("{:?}", Unverified::parse(&token).unwrap()), "Unverified(hidden)");
}
