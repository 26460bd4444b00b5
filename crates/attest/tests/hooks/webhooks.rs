//! Signed webhooks.

use crate::{NOW, check};
use picket_attest::hooks::{
    LARGEST, Transition,
    webhook::{Headers, Order, Secret, seconds},
};
use picket_model::Timestamp;

/// The example of the format's own libraries (standard-webhooks, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn the_formats_own_example_is_signed_and_verified_alike() {
    let secret = Secret::parse(SECRET).unwrap();
    let (id, at, body) =
        ("msg_p5jXN8AQM9LWM0D4loKWxJek", Timestamp::from_millis(1_614_265_330_000), b"{\"test\": 2432232314}");
    let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(secret.sign(id, at, body), signature);
    let headers = Headers { id, timestamp: "1614265330", signature };
    secret.verify(headers, body, at).unwrap();
    // While a secret is being replaced there are two; kinds that are not known are passed over.
    let several = format!("v1a,xyz v1,{} {signature}", "A".repeat(44));
    secret.verify(Headers { signature: &several, ..headers }, body, at).unwrap();
}

#[test]
fn what_is_altered_old_or_without_a_signature_is_refused() {
    let secret = Secret::parse(SECRET).unwrap();
    let (id, timestamp, body) = ("msg_1", seconds(NOW), br#"{"action": "terminating", "node": "sentry-1"}"#);
    let signature = secret.sign(id, NOW, body);
    let good = Headers { id, timestamp: &timestamp, signature: &signature };
    secret.verify(good, body, NOW).unwrap();
    check(secret.verify(good, b"{}", NOW), "signature is wrong");
    check(secret.verify(Headers { id: "msg_2", ..good }, body, NOW), "signature is wrong");
    let later = seconds(Timestamp::from_millis(NOW.as_millis() + 1000));
    check(secret.verify(Headers { timestamp: &later, ..good }, body, NOW), "signature is wrong");
    for signature in ["", "v1,", "v2,AAAA", signature.trim_start_matches("v1,")] {
        check(secret.verify(Headers { signature, ..good }, body, NOW), "signature is wrong");
    }
    let other = Secret::parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
    check(other.verify(good, body, NOW), "signature is wrong");
    let at = |seconds: i64| Timestamp::from_millis(NOW.as_millis() + seconds * 1000);
    check(secret.verify(good, body, at(301)), "too long ago");
    check(secret.verify(good, body, at(-61)), "has not come");
    check(secret.verify(Headers { id: "", ..good }, body, NOW), "`webhook-id`");
    check(secret.verify(Headers { id: &"a".repeat(129), ..good }, body, NOW), "`webhook-id`");
    check(secret.verify(good, &vec![b' '; LARGEST + 1], NOW), "more than 32768 bytes");
    let signature = "v1,A ".repeat(300);
    check(secret.verify(Headers { signature: &signature, ..good }, body, NOW), "`webhook-signature`");
}

#[test]
fn an_order_names_a_host_and_nothing_else() {
    let order = Order::parse(br#"{"action": "launching", "node": "sentry-1"}"#).unwrap();
    assert_eq!((order.action, order.node.as_str()), (Transition::Launching, "sentry-1"));
    for (bad, expect) in [
        (r#"{"action": "enrol", "node": "sentry-1"}"#, "unknown variant"),
        (r#"{"action": "terminating"}"#, "missing field"),
        (r#"{"action": "terminating", "node": "sentry-1", "role": "prep"}"#, "unknown field"),
        (r#"{"action": "terminating", "node": "a b"}"#, "`node`"),
        (r#"{"action": "terminating", "node": ""}"#, "`node`"),
    ] {
        check(Order::parse(bad.as_bytes()), expect);
    }
}

#[test]
fn a_secret_is_long_enough_and_never_printed() {
    for bad in ["", "whsec_", "whsec_c2hvcnQ=", "password", &format!("whsec_{}", "A".repeat(92))] {
        assert!(Secret::parse(bad).is_err(), "{bad:?}");
    }
    assert_eq!(format!("{:?}", Secret::parse(SECRET).unwrap()), "Secret(hidden)");
}
