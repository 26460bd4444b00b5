//! EventBridge events and Pub/Sub messages.

use crate::{NOW, check};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use picket_attest::hooks::{LARGEST, Transition, event::Event, pubsub::Push};
use serde_json::{Value, json};

fn lifecycle() -> Value {
    json!({
        "version": "0", "id": "12345678-1234-1234-1234-123456789012", "account": "123456789012",
        "detail-type": "EC2 Instance-terminate Lifecycle Action", "source": "aws.autoscaling",
        "time": "2026-11-21T18:00:00Z", "region": "eu-central-1",
        "resources": ["arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:uuid:autoScalingGroupName/sentries"],
        "detail": {
            "LifecycleActionToken": "87654321-4321-4321-4321-210987654321", "AutoScalingGroupName": "sentries",
            "LifecycleHookName": "picket", "EC2InstanceId": "i-0123456789abcdef0",
            "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING", "Origin": "AutoScalingGroup", "Destination": "EC2",
        },
    })
}

fn event(value: &Value) -> Result<Event, picket_attest::hooks::HookError> {
    Event::parse(value.to_string().as_bytes())
}

#[test]
fn lifecycle_actions_and_spot_warnings_are_read() {
    let read = event(&lifecycle()).unwrap();
    assert_eq!((read.id.as_str(), read.at), ("12345678-1234-1234-1234-123456789012", NOW));
    let notice = read.notice;
    assert_eq!(notice.transition, Transition::Terminating);
    assert_eq!(notice.identity.as_str(), "aws/123456789012/i-0123456789abcdef0");
    let action = notice.action.unwrap();
    assert_eq!((action.region.as_str(), action.group.as_str()), ("eu-central-1", "sentries"));
    assert_eq!((action.hook.as_str(), action.token.as_str()), ("picket", "87654321-4321-4321-4321-210987654321"));

    let mut launch = lifecycle();
    launch["detail-type"] = json!("EC2 Instance-launch Lifecycle Action");
    launch["detail"]["LifecycleTransition"] = json!("autoscaling:EC2_INSTANCE_LAUNCHING");
    assert_eq!(event(&launch).unwrap().notice.transition, Transition::Launching);
    // Into the warm pool, and out of it into service.
    launch["detail"]["Destination"] = json!("WarmPool");
    assert_eq!(event(&launch).unwrap().notice.transition, Transition::Warming);
    (launch["detail"]["Origin"], launch["detail"]["Destination"]) = (json!("WarmPool"), json!("AutoScalingGroup"));
    assert_eq!(event(&launch).unwrap().notice.transition, Transition::Launching);

    let mut spot = lifecycle();
    spot["detail-type"] = json!("EC2 Spot Instance Interruption Warning");
    spot["source"] = json!("aws.ec2");
    spot["detail"] = json!({"instance-id": "i-0123456789abcdef0", "instance-action": "terminate"});
    let read = event(&spot).unwrap().notice;
    assert_eq!((read.transition, read.group, read.action), (Transition::Terminating, None, None));
    // A stopped instance comes back with its disk.
    spot["detail"]["instance-action"] = json!("stop");
    check(event(&spot), "do not terminate");
}

#[test]
fn events_that_are_not_as_aws_writes_them_are_refused() {
    let with = |pointer: &str, value: Value| {
        let mut changed = lifecycle();
        *changed.pointer_mut(pointer).unwrap() = value;
        event(&changed)
    };
    check(with("/detail-type", json!("EC2 Instance Launch Successful")), "messages of kind");
    check(with("/source", json!("custom.app")), "`source`");
    check(with("/account", json!("12345")), "`account`");
    check(with("/region", json!("evil.example/?")), "`region`");
    check(with("/time", json!("yesterday")), "`time`");
    check(with("/id", json!("")), "`id`");
    check(with("/id", json!("a\u{1b}[2J")), "`id`");
    check(with("/detail", json!([])), "`detail`");
    check(with("/detail/EC2InstanceId", json!("i-../../x")), "`EC2InstanceId`");
    check(with("/detail/EC2InstanceId", Value::Null), "`EC2InstanceId`");
    check(with("/detail/AutoScalingGroupName", json!("a".repeat(256))), "`AutoScalingGroupName`");
    check(with("/detail/LifecycleTransition", json!("autoscaling:EC2_INSTANCE_LAUNCHING")), "`LifecycleTransition`");
    check(Event::parse(b"[]"), "no object");
    check(Event::parse(format!("{}{{}}", lifecycle()).as_bytes()), "trailing");
    check(Event::parse(br#"{"id": "a", "id": "b"}"#), "twice");
    check(Event::parse(&vec![b' '; LARGEST + 1]), "more than 32768 bytes");
}

fn entry() -> Value {
    json!({
        "insertId": "x", "severity": "NOTICE", "timestamp": "2026-11-21T17:59:59.5Z",
        "logName": "projects/my-project/logs/cloudaudit.googleapis.com%2Factivity",
        "protoPayload": {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog", "serviceName": "compute.googleapis.com",
            "methodName": "v1.compute.instances.delete",
            "resourceName": "projects/my-project/zones/us-central1-a/instances/sentry-1",
        },
        "resource": {"type": "gce_instance", "labels": {
            "project_id": "my-project", "instance_id": "4570452845155348778", "zone": "us-central1-a",
        }},
    })
}

fn push(entry: &Value) -> Result<Push, picket_attest::hooks::HookError> {
    push_where(entry, false)
}

/// Where preempted instances are deleted, or not.
fn push_where(entry: &Value, preempted: bool) -> Result<Push, picket_attest::hooks::HookError> {
    let message = json!({
        "subscription": "projects/my-project/subscriptions/picket",
        "message": {
            "data": STANDARD.encode(entry.to_string()), "messageId": "2070443601311540", "message_id": "2070443601311540",
            "publishTime": "2026-11-21T18:00:00.25Z", "attributes": {"logging.googleapis.com/timestamp": "x"},
        },
    });
    Push::parse(message.to_string().as_bytes(), preempted)
}

#[test]
fn ends_of_instances_are_found_in_the_audit_log() {
    let read = push(&entry()).unwrap();
    assert_eq!((read.id.as_str(), read.at.as_millis()), ("2070443601311540", NOW.as_millis() + 250));
    assert_eq!(read.subscription, "projects/my-project/subscriptions/picket");
    let notice = read.notice.unwrap();
    assert_eq!(
        (notice.transition, notice.identity.as_str()),
        (Transition::Terminating, "gcp/my-project/4570452845155348778")
    );
    let mut other = entry();
    other["protoPayload"]["methodName"] = json!("beta.compute.instances.delete");
    assert!(push(&other).unwrap().notice.is_some());
}

#[test]
fn a_preemption_is_an_end_only_where_the_operator_says_so() {
    for method in ["compute.instances.preempted", "v1.compute.instances.preempted"] {
        let mut preempted = entry();
        preempted["protoPayload"]["methodName"] = json!(method);
        // It is stopped, and comes back with its id and its keys.
        assert_eq!(push(&preempted).unwrap().notice, None, "{method}");
        let notice = push_where(&preempted, true).unwrap().notice.unwrap();
        assert_eq!(notice.transition, Transition::Terminating);
    }
    assert!(push_where(&entry(), true).unwrap().notice.is_some(), "a delete is one in any case");
}

#[test]
fn entries_that_speak_of_no_end_end_nothing() {
    let with = |pointer: &str, value: Value| {
        let mut changed = entry();
        changed.pointer_mut(pointer.rsplit_once('/').unwrap().0).unwrap()[pointer.rsplit_once('/').unwrap().1] = value;
        push(&changed)
    };
    for method in
        ["v1.compute.instances.insert", "v1.compute.instances.deleteAccessConfig", "xcompute.instances.delete"]
    {
        assert_eq!(with("/protoPayload/methodName", json!(method)).unwrap().notice, None, "{method}");
    }
    let denied = json!({"code": 7, "message": "PERMISSION_DENIED"});
    assert_eq!(with("/protoPayload/status", denied).unwrap().notice, None, "a delete that was refused");
    assert_eq!(with("/protoPayload/status", json!({"code": "0"})).unwrap().notice, None);
    check(with("/protoPayload/serviceName", json!("evil.example")), "`serviceName`");
    check(with("/resource/type", json!("gce_disk")), "gce_disk");
    check(with("/resource/labels", json!({})), "`project_id`");
    let mut named = entry();
    named["resource"]["labels"]["instance_id"] = json!("sentry-1");
    check(push(&named), "`instance_id`");
    check(Push::parse(b"{}", false), "`message`");
    check(Push::parse(br#"{"message": {"data": "!"}}"#, false), "`data`");
    check(
        Push::parse(
            br#"{"message": {"data": "W10=", "messageId": "1", "publishTime": "2026-11-21T18:00:00Z"}}"#,
            false,
        ),
        "`subscription`",
    );
    check(push(&json!([])), "no object");
}
