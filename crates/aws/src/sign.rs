//! Signature version 4 of one request. The key is used and never shown.

use crate::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign as sign_request},
    sign::v4,
};
use std::time::SystemTime;
use thiserror::Error;

/// A request as it will be sent.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// GET or POST.
    pub method: &'a str,
    /// Where to, with its query.
    pub url: &'a str,
    /// What its body is.
    pub content_type: &'a str,
    /// Empty where there is none.
    pub body: &'a [u8],
}

/// What a signature is good for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The service as signatures name it, `autoscaling`.
    pub service: &'a str,
    /// The region whose service it is.
    pub region: &'a str,
}

/// A request cannot be signed.
#[derive(Debug, Error)]
#[error("sign a request to AWS {service}: {reason}")]
pub struct SignError {
    /// Of which service.
    pub service: String,
    /// Why, in the signer's words.
    pub reason: String,
}

/// The headers that the request is to be sent with, `host` alone excepted: by them AWS knows who sent it, what, and when.
///
/// # Errors
/// The address is none, or a credential has bytes that no header can have.
pub fn sign(
    request: &Request<'_>,
    scope: Scope<'_>,
    credentials: Credentials,
    now: SystemTime,
) -> Result<Vec<(String, String)>, SignError> {
    let failed = |reason: String| SignError { service: scope.service.to_owned(), reason };
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| failed(error.to_string()))?
        .into();
    let headers = [("content-type", request.content_type)];
    let signable =
        SignableRequest::new(request.method, request.url, headers.into_iter(), SignableBody::Bytes(request.body));
    let signed =
        signable.and_then(|request| sign_request(request, &params)).map_err(|error| failed(error.to_string()))?;
    let added = signed.output().headers();
    Ok(headers.into_iter().chain(added).map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, time::Duration};

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const REQUEST: Request<'_> = Request {
        method: "GET",
        url: "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
        content_type: "application/x-www-form-urlencoded; charset=utf-8",
        body: b"",
    };

    fn signed(request: &Request<'_>, token: Option<&str>) -> Result<BTreeMap<String, String>, SignError> {
        let credentials = Credentials::new("AKIDEXAMPLE", SECRET, token.map(str::to_owned), None, "test");
        // 2015-08-30 12:36:00 UTC.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let scope = Scope { service: "iam", region: "us-east-1" };
        sign(request, scope, credentials, now).map(|headers| headers.into_iter().collect())
    }

    /// AWS's own worked example (IAM user guide, "Create a signed AWS API request", as of 2015).
    #[test]
    fn awss_example_is_signed_as_aws_signs_it() {
        let headers = signed(&REQUEST, None).unwrap();
        assert_eq!(
            headers["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
        assert_eq!((headers["x-amz-date"].as_str(), headers.len()), ("20150830T123600Z", 3));
        assert_eq!(headers["content-type"], REQUEST.content_type);
    }

    #[test]
    fn a_session_is_part_of_what_is_signed_and_any_other_byte_is_another_signature() {
        let plain = signed(&REQUEST, None).unwrap();
        let of_session = signed(&REQUEST, Some("token")).unwrap();
        assert_eq!(of_session["x-amz-security-token"], "token");
        assert!(of_session["authorization"].contains("x-amz-security-token"));
        for other in [
            Request { method: "POST", ..REQUEST },
            Request { url: "https://iam.amazonaws.com/?Action=ListRoles&Version=2010-05-08", ..REQUEST },
            Request { content_type: "text/plain", ..REQUEST },
            Request { body: b"x", ..REQUEST },
        ] {
            assert_ne!(signed(&other, None).unwrap()["authorization"], plain["authorization"], "{other:?}");
        }
    }

    #[test]
    fn what_cannot_be_signed_is_told_without_the_key() {
        let error = signed(&Request { url: "no address", ..REQUEST }, None).unwrap_err();
        assert!(error.to_string().starts_with("sign a request to AWS iam: "), "{error}");
        assert!(!format!("{error:?}").contains(SECRET));
    }
}
