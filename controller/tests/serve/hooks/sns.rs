//! SNS's door: signed, of a topic that is named, or nothing.

use super::{ACCOUNT, Clouds, HOST, INSTANCE, TOPIC, now, refused, taken};
use picket_lab::cloud::sign_sns;
use picket_model::NodeRole;
use serde_json::{Value, json};

const PEM: &str = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-f3ec.pem";

pub(super) fn lifecycle(transition: &str, token: &str) -> Value {
    json!({
        "Service": "AWS Auto Scaling", "Time": now().to_string(), "RequestId": "r-1", "AccountId": ACCOUNT,
        "LifecycleActionToken": token, "AutoScalingGroupName": "sentries", "LifecycleHookName": "picket",
        "EC2InstanceId": INSTANCE, "LifecycleTransition": format!("autoscaling:EC2_INSTANCE_{transition}"),
    })
}

fn notification(id: &str, message: &Value) -> Value {
    signed(json!({
        "Type": "Notification", "MessageId": id, "TopicArn": TOPIC, "Subject": "Auto Scaling", "Message": message.to_string(),
        "Timestamp": now().to_string(), "SignatureVersion": "2", "SigningCertURL": PEM,
    }))
}

fn subscription(topic: &str) -> Value {
    signed(json!({
        "Type": "SubscriptionConfirmation", "MessageId": "s-1", "Token": "2336412f37f", "TopicArn": topic,
        "Message": "You have chosen to subscribe", "Timestamp": now().to_string(), "SignatureVersion": "2",
        "SubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&x", "SigningCertURL": PEM,
    }))
}

fn signed(mut message: Value) -> Value {
    message["Signature"] = json!(sign_sns(0, &message));
    message
}

impl Clouds {
    async fn message(&self, message: &Value) -> (u16, Value) {
        self.post("aws", &[("content-type", "text/plain; charset=UTF-8")], message.to_string()).await
    }
}

#[tokio::test]
async fn a_signed_notification_does_as_an_event_does_and_once() {
    let clouds = Clouds::start().await;
    let host = clouds.mesh.join(NodeRole::Sentry, HOST).await;
    let event = clouds.autoscaling.terminate(INSTANCE);
    let token = event["detail"]["LifecycleActionToken"].as_str().unwrap();
    let message = notification("m-1", &lifecycle("TERMINATING", token));
    taken(clouds.message(&message).await, "taken");
    taken(clouds.message(&message).await, "taken before: nothing is done");
    clouds.revoked(&host).await;
    clouds.becomes(INSTANCE, "Terminated").await;
    assert_eq!(clouds.log("node.revoked").await[0].actor, "hook:sns");
    let test = json!({"AccountId": ACCOUNT, "Event": "autoscaling:TEST_NOTIFICATION", "Service": "AWS Auto Scaling"});
    taken(clouds.message(&notification("m-2", &test)).await, "asks for nothing");
    // The certificate was fetched once, at the topic's own host.
    assert_eq!(clouds.sns.asked(), ["sns.eu-central-1.amazonaws.com/SimpleNotificationService-f3ec.pem"]);
}

#[tokio::test]
async fn what_is_not_rightly_signed_or_not_of_the_topic_does_nothing() {
    let clouds = Clouds::start().await;
    let host = clouds.mesh.join(NodeRole::Sentry, HOST).await;
    let good = notification("m-1", &lifecycle("TERMINATING", "t-1"));
    let with = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        changed
    };
    let other = "arn:aws:sns:eu-central-1:999999999999:picket";
    refused(clouds.message(&with("TopicArn", json!(other))).await, 403, "does not name the message's topic");
    let evil = json!("https://sns.eu-central-1.amazonaws.com.evil.example/SimpleNotificationService-f3ec.pem");
    refused(
        clouds.message(&with("SigningCertURL", evil)).await,
        400,
        "must be at https://sns.eu-central-1.amazonaws.com/",
    );
    refused(clouds.message(&with("SignatureVersion", json!("1"))).await, 401, "SHA-1");
    assert!(clouds.sns.asked().is_empty(), "nothing is fetched for them");
    refused(clouds.message(&with("Message", json!("{}"))).await, 401, "signature is wrong");
    refused(clouds.message(&with("Signature", json!(""))).await, 401, "signature is wrong");
    let none = json!("https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-none.pem");
    refused(clouds.message(&with("SigningCertURL", none)).await, 401, "it did not sign the message");
    let old = with("Timestamp", json!("2020-01-01T00:00:00.000Z"));
    refused(clouds.message(&signed(old)).await, 400, "too long ago");
    let mut stranger = lifecycle("TERMINATING", "t-1");
    stranger["AccountId"] = json!("999999999999");
    refused(clouds.message(&notification("m-3", &stranger)).await, 403, "no [[hooks.aws]] allows account 999999999999");
    assert!(clouds.is_member(&host).await && clouds.log("hook.taken").await.is_empty());
    assert!(clouds.autoscaling.requests().is_empty());
}

#[tokio::test]
async fn whoever_names_invented_certificates_is_written_down_and_hears_429_before_long() {
    let clouds = Clouds::start().await;
    let good = notification("m-1", &lifecycle("TERMINATING", "t-1"));
    let mut message = good.clone();
    message["SigningCertURL"] = json!("https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-none.pem");
    refused(clouds.message(&message).await, 401, "it did not sign the message");
    let line = &clouds.log("hook.refused").await[0];
    assert!(line.detail.contains("SimpleNotificationService-none.pem is no certificate"), "{}", line.detail);
    for _ in 0..20 {
        refused(clouds.message(&message).await, 401, "it did not sign the message");
    }
    // What comes in between is verified all the same.
    taken(clouds.message(&good).await, "taken");
    let mut seen = Vec::new();
    while seen.last() != Some(&429) && seen.len() < 250 {
        seen.push(clouds.message(&message).await.0);
    }
    assert_eq!(seen.last(), Some(&429), "{seen:?}");
    assert!(clouds.sns.asked().len() <= 120, "{}", clouds.sns.asked().len());
}

#[tokio::test]
async fn a_subscription_is_confirmed_for_topics_that_are_named_and_no_others() {
    let clouds = Clouds::start().await;
    let other = subscription("arn:aws:sns:eu-central-1:123456789012:other");
    refused(clouds.message(&other).await, 403, "does not name the message's topic");
    let mut elsewhere = subscription(TOPIC);
    elsewhere["SubscribeURL"] = json!("https://evil.example/?Action=ConfirmSubscription&x");
    refused(clouds.message(&signed(elsewhere)).await, 400, "must be at https://sns.eu-central-1.amazonaws.com/");
    assert!(!clouds.sns.asked().iter().any(|place| place.contains("Action")));

    taken(clouds.message(&subscription(TOPIC)).await, "asks for nothing");
    let expect =
        format!("sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37f");
    assert_eq!(clouds.sns.asked().last(), Some(&expect));
    let line = &clouds.log("hook.subscribed").await[0];
    assert_eq!((line.actor.as_str(), line.subject.as_str()), ("hook:sns", TOPIC));
    let mut end = subscription(TOPIC);
    (end["Type"], end["MessageId"]) = (json!("UnsubscribeConfirmation"), json!("s-2"));
    taken(clouds.message(&signed(end)).await, "asks for nothing");
    assert_eq!(clouds.log("hook.unsubscribed").await.len(), 1);
    assert_eq!(clouds.sns.asked().last(), Some(&expect), "nobody subscribes anew");
}
