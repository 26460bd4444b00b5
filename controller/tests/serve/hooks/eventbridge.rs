//! Who is believed at EventBridge's door.

use super::{Clouds, EVENTBRIDGE, HOST, INSTANCE, now, refused, taken};
use picket_model::{NodeRole, Timestamp};
use serde_json::json;

#[tokio::test]
async fn an_event_counts_only_with_the_secret_and_of_groups_that_are_allowed() {
    let clouds = Clouds::start().await;
    let host = clouds.mesh.join(NodeRole::Sentry, HOST).await;
    let event = clouds.autoscaling.terminate(INSTANCE);
    let wrong = [("x-picket-hook-secret", "0123456789abcdef0123456789abcdeF")];
    refused(clouds.post("aws", &wrong, event.to_string()).await, 401, "is wrong");
    refused(clouds.post("aws", &[("x-picket-hook-secret", "")], event.to_string()).await, 401, "is wrong");
    // Without the header it is taken for a message of SNS, which must be signed.
    refused(clouds.post("aws", &[], event.to_string()).await, 400, "`TopicArn`");
    for (name, value) in [("account", "999999999999"), ("region", "us-east-1")] {
        let mut other = event.clone();
        other[name] = json!(value);
        refused(clouds.event(&other).await, 403, "no [[hooks.aws]] allows");
    }
    let mut other = event.clone();
    other["detail"]["AutoScalingGroupName"] = json!("databases");
    refused(clouds.event(&other).await, 403, "group databases");
    let at = |seconds: i64| Timestamp::from_millis(now().as_millis() + seconds * 1000).to_string();
    let mut other = event.clone();
    other["time"] = json!(at(-3700));
    refused(clouds.event(&other).await, 400, "too long ago");
    other["time"] = json!(at(120));
    refused(clouds.event(&other).await, 400, "has not come");
    other["detail-type"] = json!("EC2 Instance Terminate Successful");
    refused(clouds.event(&other).await, 400, "are not taken");
    let large = "x".repeat(33 << 10);
    assert_eq!(clouds.post("aws", &[("x-picket-hook-secret", EVENTBRIDGE)], large).await.0, 413);
    assert!(clouds.is_member(&host).await && clouds.log("hook.taken").await.is_empty());
    let refusals = clouds.log("hook.refused").await;
    assert_eq!((refusals.len(), refusals[0].actor.as_str()), (9, "127.0.0.1"), "{refusals:?}");
    assert!(refusals.iter().all(|line| !line.detail.contains("0123456789abcdef0123456789abcde")));

    taken(clouds.event(&event).await, "taken");
    clouds.revoked(&host).await;
    let line = &clouds.log("node.revoked").await[0];
    assert_eq!((line.actor.as_str(), line.address.unwrap().to_string().as_str()), ("hook:eventbridge", "127.0.0.1"));
    assert_eq!(line.reason.as_deref(), Some("EC2 Instance-terminate Lifecycle Action"));
}

#[tokio::test]
async fn an_event_that_comes_again_does_nothing() {
    let clouds = Clouds::start().await;
    let event = clouds.autoscaling.terminate(INSTANCE);
    taken(clouds.event(&event).await, "taken");
    taken(clouds.event(&event).await, "taken before: nothing is done");
    clouds.becomes(INSTANCE, "Terminated").await;
    // Nor after a host of that name has come: the event is spent.
    let host = clouds.mesh.join(NodeRole::Sentry, HOST).await;
    taken(clouds.event(&event).await, "taken before: nothing is done");
    assert!(clouds.is_member(&host).await);
    assert_eq!((clouds.log("hook.taken").await.len(), clouds.autoscaling.requests().len()), (1, 1));
}

#[tokio::test]
async fn a_spot_warning_takes_the_host_out_before_its_instance_goes() {
    let clouds = Clouds::start().await;
    let host = clouds.mesh.join(NodeRole::Sentry, HOST).await;
    let mut event = clouds.autoscaling.terminate(INSTANCE);
    event["detail-type"] = json!("EC2 Spot Instance Interruption Warning");
    event["source"] = json!("aws.ec2");
    event["detail"] = json!({"instance-id": INSTANCE, "instance-action": "terminate"});
    taken(clouds.event(&event).await, "taken");
    clouds.revoked(&host).await;
    crate::fixture::eventually("the task's end", async || !clouds.log("hook.completed").await.is_empty()).await;
    assert!(clouds.autoscaling.requests().is_empty(), "nobody waits for an answer");
}

#[tokio::test]
async fn whoever_guesses_secrets_hears_429_before_long() {
    let clouds = Clouds::start().await;
    let mut seen = Vec::new();
    for _ in 0..250 {
        seen.push(clouds.post("aws", &[("x-picket-hook-secret", "guess")], "{}").await.0);
        if seen.last() == Some(&429) {
            break;
        }
    }
    assert_eq!(seen.pop(), Some(429));
    assert!(seen.len() >= 100 && seen.iter().all(|status| *status == 401), "{seen:?}");
    assert!(clouds.log("hook.refused").await.len() <= 30);
}

#[tokio::test]
async fn what_is_not_configured_is_not_listened_to() {
    let mesh = crate::fixture::Mesh::start().await;
    let url = format!("http://{}/v1/hooks", mesh.running().hooks.unwrap());
    for (path, header) in [("aws", "x-picket-hook-secret"), ("aws", "x"), ("gcp", "x"), ("generic", "x")] {
        refused(super::post(&format!("{url}/{path}"), &[(header, "y")], "{}").await, 404, "is not listened to here");
    }
    refused(super::post(&format!("{url}/azure"), &[], "{}").await, 404, "there is no /v1/hooks/azure");
    // And nothing of the other listeners is there.
    let enroll = format!("http://{}/v1/enroll", mesh.running().hooks.unwrap());
    refused(super::post(&enroll, &[], "{}").await, 404, "there is no /v1/enroll");
}
