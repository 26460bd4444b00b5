//! AWS's signature of requests, version 4, as a service verifies it (IAM user guide, "Create a signed AWS API request"). Written
//! from that text and not from the signer's, so that the two check each other.

use axum::http::HeaderMap;
use ring::{digest, hmac};

/// The one caller that is known.
pub(super) struct Keys {
    pub(super) id: &'static str,
    pub(super) secret: &'static str,
    pub(super) session: &'static str,
}

/// Whether a `POST /` is rightly signed; why not.
pub(super) fn verify(keys: &Keys, region: &str, service: &str, headers: &HeaderMap, body: &[u8]) -> Result<(), String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(format!("no {name}"));
    let given = header("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("another algorithm")?;
    let part = |name: &str| {
        let parts = given.split(',').map(str::trim);
        parts.filter_map(|part| part.strip_prefix(name)).next().ok_or(format!("no {name}"))
    };
    let (credential, names, signature) = (part("Credential=")?, part("SignedHeaders=")?, part("Signature=")?);
    let at = header("x-amz-date")?;
    let date = at.get(..8).ok_or("a short date")?;
    let scope = format!("{date}/{region}/{service}/aws4_request");
    if credential != format!("{}/{scope}", keys.id) {
        return Err(format!("the credential is {credential}"));
    }
    if header("x-amz-security-token")? != keys.session {
        return Err("another session".to_owned());
    }
    for needed in ["host", "x-amz-date", "x-amz-security-token"] {
        if !names.split(';').any(|name| name == needed) {
            return Err(format!("{needed} is not signed"));
        }
    }
    let mut lines = String::new();
    for name in names.split(';') {
        lines += &format!("{name}:{}\n", header(name)?.trim());
    }
    let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", hex(digest::digest(&digest::SHA256, body).as_ref()));
    let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashed}");
    let mut key = format!("AWS4{}", keys.secret).into_bytes();
    for step in [date, region, service, "aws4_request", &text] {
        key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), step.as_bytes()).as_ref().to_vec();
    }
    if hex(&key) == signature { Ok(()) } else { Err("the signature is wrong".to_owned()) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
