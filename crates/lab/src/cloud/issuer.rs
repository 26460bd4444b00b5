//! Signed things: tokens by RSA and ECDSA keys, AWS documents by the RSA key of a made-up region. The RSA keys lie beside this
//! file, since ring makes none; they are worth nothing outside these tests.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RsaKeyPair, RsaPublicKeyComponents,
    },
};
use serde_json::{Value, json};
use std::fmt;

const RSA: [&str; 2] = [include_str!("keys/first.pem"), include_str!("keys/second.pem")];

enum Key {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
}

/// A key of an issuer, and its id.
pub struct Signer {
    id: String,
    key: Key,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.id)
    }
}

/// Faults of a test's own set-up end the test.
#[expect(clippy::expect_used, reason = "keys of the tests are good, or no test can run")]
impl Signer {
    /// RSA of 2048 bits; there are two such keys, 0 and 1.
    pub fn rsa(id: &str, which: usize) -> Self {
        Self { id: id.to_owned(), key: Key::Rsa(rsa(which)) }
    }

    /// A new P-256 key.
    pub fn p256(id: &str) -> Self {
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &SystemRandom::new()).expect("a key");
        Self { id: id.to_owned(), key: Key::P256(key) }
    }

    /// A new P-384 key.
    pub fn p384(id: &str) -> Self {
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
        let algorithm = &ECDSA_P384_SHA384_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &SystemRandom::new()).expect("a key");
        Self { id: id.to_owned(), key: Key::P384(key) }
    }

    /// The algorithm's name in tokens.
    pub fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Rsa(_) => "RS256",
            Key::P256(_) => "ES256",
            Key::P384(_) => "ES384",
        }
    }

    /// The public half as it stands in a key set.
    pub fn public(&self) -> Value {
        let (id, alg) = (&self.id, self.algorithm());
        let point = |key: &EcdsaKeyPair, curve: &str| {
            let (x, y) = key.public_key().as_ref()[1..].split_at(key.public_key().as_ref().len() / 2);
            json!({"kty": "EC", "crv": curve, "kid": id, "use": "sig", "alg": alg, "x": encoded(x), "y": encoded(y)})
        };
        match &self.key {
            Key::Rsa(key) => {
                let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                let (n, e) = (encoded(&n), encoded(&e));
                json!({"kty": "RSA", "kid": id, "use": "sig", "alg": alg, "n": n, "e": e})
            }
            Key::P256(key) => point(key, "P-256"),
            Key::P384(key) => point(key, "P-384"),
        }
    }

    /// A token with these claims and the usual header.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm(), "typ": "JWT", "kid": self.id}), &claims.to_string())
    }

    /// A token with this header and these claims as they are written.
    pub fn token_with(&self, header: &Value, claims: &str) -> String {
        let signed = format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(claims.as_bytes()));
        format!("{signed}.{}", encoded(&self.sign(signed.as_bytes())))
    }

    /// A signature of any bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            Key::Rsa(key) => rsa_signature(key, message),
            Key::P256(key) | Key::P384(key) => {
                key.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec()
            }
        }
    }
}

/// The key set of these keys.
pub fn jwks(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|signer| signer.public()).collect::<Vec<_>>()}).to_string()
}

/// An instance identity document as AWS writes it.
pub fn document(instance: &super::Instance) -> String {
    let super::Instance { account, region, image, id, launched_at } = instance;
    format!(
        "{{\n  \"accountId\" : \"{account}\",\n  \"architecture\" : \"arm64\",\n  \"availabilityZone\" : \"{region}a\",\n  \
         \"billingProducts\" : null,\n  \"devpayProductCodes\" : null,\n  \"marketplaceProductCodes\" : null,\n  \
         \"imageId\" : \"{image}\",\n  \"instanceId\" : \"{id}\",\n  \"instanceType\" : \"t4g.small\",\n  \
         \"kernelId\" : null,\n  \"pendingTime\" : \"{launched_at}\",\n  \"privateIp\" : \"10.0.1.242\",\n  \
         \"ramdiskId\" : null,\n  \"region\" : \"{region}\",\n  \"version\" : \"2017-09-30\"\n}}"
    )
}

/// Its signature by RSA key 0 or 1, base64 on one line.
pub fn sign_document(which: usize, document: &str) -> String {
    STANDARD.encode(rsa_signature(&rsa(which), document.as_bytes()))
}

/// The `Signature` of an SNS message by RSA key 0 or 1, with SHA-256: over the fields that its `Type` has signed.
pub fn sign_sns(which: usize, message: &Value) -> String {
    let fields: &[&str] = if message["Type"] == "Notification" {
        &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    } else {
        &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    };
    let lines = fields.iter().filter_map(|field| Some(format!("{field}\n{}\n", message[*field].as_str()?)));
    STANDARD.encode(rsa_signature(&rsa(which), lines.collect::<String>().as_bytes()))
}

/// The certificate of RSA key 0 or 1 as AWS has one for each region, in PEM, good for these years.
#[expect(clippy::expect_used, reason = "as above")]
pub fn aws_certificate(which: usize, from: i32, until: i32) -> String {
    let key = KeyPair::from_pkcs8_pem_and_sign_algo(RSA[which], &PKCS_RSA_SHA256).expect("a key");
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    params.self_signed(&key).expect("a certificate").pem()
}

#[expect(clippy::expect_used, reason = "as above")]
fn rsa(which: usize) -> RsaKeyPair {
    let text: String = RSA[which].lines().filter(|line| !line.starts_with("-----")).collect();
    RsaKeyPair::from_pkcs8(&STANDARD.decode(text).expect("base64")).expect("a key")
}

#[expect(clippy::expect_used, reason = "as above")]
fn rsa_signature(key: &RsaKeyPair, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("a signature");
    signature
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
