//! SNS messages, signed by an RSA key of the lab in the place of AWS's.

use crate::{NOW, check};
use picket_attest::{
    Certificate,
    hooks::{
        HookError,
        sns::{Message, Purpose, Topic, Unverified},
    },
};
use picket_lab::cloud::{aws_certificate, sign_sns};
use picket_model::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:picket";
const HOUR: Duration = Duration::from_hours(1);

fn notification(message: &Value) -> Value {
    json!({
        "Type": "Notification", "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": TOPIC,
        "Subject": "Auto Scaling: Lifecycle action 'TERMINATING'", "Message": message.to_string(),
        "Timestamp": "2026-11-21T17:59:58.000Z", "SignatureVersion": "2",
        "SigningCertURL": "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem",
        "UnsubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe&SubscriptionArn=x",
    })
}

fn lifecycle() -> Value {
    json!({
        "Service": "AWS Auto Scaling", "Time": "2026-11-21T17:59:57.000Z", "RequestId": "e4b0", "AccountId": "123456789012",
        "LifecycleActionToken": "71514b9d-6a40-4b26-8523-05e7ee35fa40", "AutoScalingGroupName": "sentries",
        "LifecycleHookName": "picket", "EC2InstanceId": "i-0123456789abcdef0", "NotificationMetadata": null,
        "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
    })
}

fn confirmation() -> Value {
    let url = format!(
        "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37f"
    );
    json!({
        "Type": "SubscriptionConfirmation", "MessageId": "165545c9", "Token": "2336412f37f", "TopicArn": TOPIC,
        "Message": "You have chosen to subscribe", "SubscribeURL": url, "Timestamp": "2026-11-21T17:59:58.000Z",
        "SignatureVersion": "2",
        "SigningCertURL": "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-f3ec.pem",
    })
}

fn signed(mut value: Value) -> Value {
    value["Signature"] = json!(sign_sns(0, &value));
    value
}

fn certificate(key: usize) -> Certificate {
    Certificate::parse(&aws_certificate(key, 2020, 2120), false).unwrap()
}

fn verify(value: &Value) -> Result<Message, HookError> {
    let message = Unverified::parse(value.to_string().as_bytes())?;
    message.certificate_path(false)?;
    message.verify(&certificate(0), false, HOUR, NOW)
}

#[test]
fn notices_of_autoscaling_are_read_once_they_are_verified() {
    let message = verify(&signed(notification(&lifecycle()))).unwrap();
    assert_eq!(message.id, "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324");
    let Purpose::Notice(notice) = message.purpose else { panic!("{message:?}") };
    assert_eq!(notice.identity.as_str(), "aws/123456789012/i-0123456789abcdef0");
    assert_eq!(notice.action.unwrap().region, "eu-central-1");
    // Without a subject the signature is over one line less.
    let mut plain = notification(&lifecycle());
    plain.as_object_mut().unwrap().remove("Subject");
    assert!(verify(&signed(plain)).is_ok());
    let test =
        json!({"AccountId": "123456789012", "Event": "autoscaling:TEST_NOTIFICATION", "Service": "AWS Auto Scaling"});
    assert_eq!(verify(&signed(notification(&test))).unwrap().purpose, Purpose::Test);
    // A rule of EventBridge may have the topic as its target.
    let event = json!({
        "id": "e-1", "account": "123456789012", "region": "eu-central-1", "source": "aws.ec2", "time": "2026-11-21T18:00:00Z",
        "detail-type": "EC2 Spot Instance Interruption Warning",
        "detail": {"instance-id": "i-0123456789abcdef0", "instance-action": "terminate"},
    });
    assert!(matches!(verify(&signed(notification(&event))).unwrap().purpose, Purpose::Notice(_)));
}

#[test]
fn a_subscription_is_confirmed_at_the_topics_own_host_only() {
    let path = "/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-central-1:123456789012:picket&Token=2336412f37f";
    assert_eq!(verify(&signed(confirmation())).unwrap().purpose, Purpose::Subscription { path: path.into() });
    let with = |name: &str, value: &str| {
        let mut changed = confirmation();
        changed[name] = json!(value);
        verify(&signed(changed))
    };
    for url in [
        "https://sns.eu-central-1.amazonaws.com.evil.example/?Action=ConfirmSubscription&x",
        "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&x",
        "http://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&x",
        "https://sns.eu-central-1.amazonaws.com@evil.example/?Action=ConfirmSubscription&x",
        "https://sns.eu-central-1.amazonaws.com/?Action=DeleteTopic&x",
    ] {
        check(with("SubscribeURL", url), "must be at https://sns.eu-central-1.amazonaws.com/");
    }
    check(with("Token", "a&Action=DeleteTopic"), "`Token`");
    assert_eq!(with("Type", "UnsubscribeConfirmation").unwrap().purpose, Purpose::Unsubscribed);
}

#[test]
fn a_certificate_comes_from_sns_of_the_topics_region_and_nowhere_else() {
    let path = |url: &str| {
        let mut changed = notification(&lifecycle());
        changed["SigningCertURL"] = json!(url);
        Unverified::parse(changed.to_string().as_bytes()).unwrap().certificate_path(false)
    };
    let good = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-f3ec.pem";
    assert_eq!(path(good).unwrap(), "/SimpleNotificationService-f3ec.pem");
    for bad in [
        "http://sns.eu-central-1.amazonaws.com/SimpleNotificationService-f3ec.pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-f3ec.pem",
        "https://sns.eu-central-1.amazonaws.com.evil.example/SimpleNotificationService-f3ec.pem",
        "https://sns.eu-central-1.amazonaws.com:8443/SimpleNotificationService-f3ec.pem",
        "https://evil@sns.eu-central-1.amazonaws.com/SimpleNotificationService-f3ec.pem",
        "https://sns.eu-central-1.amazonaws.com.cn/SimpleNotificationService-f3ec.pem",
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-f3ec.pem?x=.pem",
        "https://sns.eu-central-1.amazonaws.com/other/SimpleNotificationService-f3ec.pem",
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-../../x.pem",
        "https://bucket.s3.amazonaws.com/SimpleNotificationService-f3ec.pem",
    ] {
        check(path(bad), "must be at https://sns.eu-central-1.amazonaws.com/");
    }
    let china: Topic = "arn:aws-cn:sns:cn-north-1:123456789012:picket".parse().unwrap();
    assert_eq!(china.host(), "sns.cn-north-1.amazonaws.com.cn");
    for bad in [
        "",
        "picket",
        "arn:aws:sqs:eu-central-1:123456789012:picket",
        "arn:aws:sns:evil.example/:123456789012:picket",
        "arn:aws:sns:eu-central-1:1:picket",
        "arn:aws:sns:eu-central-1:123456789012:a&b",
        "arn:aws:sns:eu-central-1:123456789012:picket:sub",
    ] {
        assert!(bad.parse::<Topic>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_message_that_is_not_rightly_signed_says_nothing() {
    let good = signed(notification(&lifecycle()));
    for field in ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"] {
        let mut altered = good.clone();
        altered[field] = json!(match field {
            "Timestamp" => "2026-11-21T17:59:59.000Z",
            "TopicArn" => "arn:aws:sns:eu-central-1:123456789012:other",
            "Type" => "Other",
            _ => "another",
        });
        check(verify(&altered), if field == "Type" { "messages of kind" } else { "signature is wrong" });
    }
    let mut bare = good.clone();
    bare.as_object_mut().unwrap().remove("Subject");
    check(verify(&bare), "signature is wrong");
    bare.as_object_mut().unwrap().remove("Signature");
    check(verify(&bare), "`Signature`");
    let other = Unverified::parse(good.to_string().as_bytes()).unwrap();
    check(other.verify(&certificate(1), false, HOUR, NOW), "signature is wrong");
    let over = Certificate::parse(&aws_certificate(0, 2020, 2021), false).unwrap();
    check(other.verify(&over, false, HOUR, NOW), "not in date");
    assert!(
        Certificate::parse(include_str!("../short/certificate.pem"), false).is_err(),
        "a short key is no key for this"
    );
}

#[test]
fn sha_1_counts_only_where_it_is_asked_for() {
    let mut old = notification(&lifecycle());
    old["SignatureVersion"] = json!("1");
    let old = signed(old);
    check(verify(&old), "SHA-1");
    let message = Unverified::parse(old.to_string().as_bytes()).unwrap();
    check(message.verify(&certificate(0), false, HOUR, NOW), "SHA-1");
    // The lab signs with SHA-256 alone: a version that is allowed still has to be the right one.
    check(message.verify(&certificate(0), true, HOUR, NOW), "signature is wrong");
    let mut newer = notification(&lifecycle());
    newer["SignatureVersion"] = json!("3");
    check(verify(&signed(newer)), "version \"3\"");
}

#[test]
fn old_and_early_messages_are_refused_and_notices_are_read_strictly() {
    let message = Unverified::parse(signed(notification(&lifecycle())).to_string().as_bytes()).unwrap();
    let at = |seconds: i64| Timestamp::from_millis(NOW.as_millis() + seconds * 1000);
    check(message.verify(&certificate(0), false, HOUR, at(3700)), "too long ago");
    check(message.verify(&certificate(0), false, HOUR, at(-100)), "has not come");
    for (name, value) in [
        ("AccountId", json!("1")),
        ("EC2InstanceId", json!("sentry-1")),
        ("LifecycleHookName", json!("")),
        ("LifecycleActionToken", Value::Null),
        ("LifecycleTransition", json!("autoscaling:EC2_INSTANCE_LAUNCH")),
    ] {
        let mut changed = lifecycle();
        changed[name] = value;
        let expect = if name == "LifecycleTransition" { "messages of kind" } else { name };
        check(verify(&signed(notification(&changed))), expect);
    }
    let mut text = notification(&lifecycle());
    text["Message"] = json!("hello");
    check(verify(&signed(text)), "cannot be read");
}
