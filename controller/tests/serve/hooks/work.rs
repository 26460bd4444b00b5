//! What is done for a message, and that it is done whatever happens in between.

use super::{Clouds, HOST, INSTANCE, REGION, client, moto::metadata, taken, up};
use crate::fixture::{eventually, report};
use picket_api::Proof;
use picket_attest::{IdentityId, hooks::event::Event};
use picket_controller::{
    hooks::{Autoscaling, CallError, CredentialSource},
    store::{HookSource, HookState, HookTask},
};
use picket_lab::cloud::{ACCESS_KEY, ROLE_SESSION, SECRET_KEY};
use picket_model::{NodeReport, NodeRole, ReconcilerStatus};
use std::time::Duration;

#[tokio::test]
async fn a_launching_instance_is_awaited_until_its_tunnels_are_up() {
    let clouds = Clouds::start_with("heartbeat_seconds = 1", "").await;
    // Each heartbeat is sent after a look at the host: with the second one, a look has begun and ended.
    let looked = async || {
        let before = clouds.autoscaling.heartbeats(INSTANCE);
        eventually("a look", async || clouds.autoscaling.heartbeats(INSTANCE) >= before + 2).await;
        assert_eq!(clouds.autoscaling.state(INSTANCE), "Pending:Wait");
    };
    let prep = clouds.mesh.join(NodeRole::Prep, "prep-1").await;
    taken(clouds.event(&clouds.autoscaling.launch(INSTANCE)).await, "taken");
    let host = clouds.mesh.join(NodeRole::Sentry, HOST).await;
    // In force is not yet up, and up is not yet in force.
    host.confirm(&host.wanted().await).await;
    looked().await;
    let broken = NodeReport { firewall: ReconcilerStatus::Failed { error: "no nft".into() }, ..up(&host).await };
    host.client().report(&broken).await.unwrap();
    prep.confirm(&prep.wanted().await).await;
    looked().await;
    host.client().report(&up(&host).await).await.unwrap();
    clouds.becomes(INSTANCE, "InService").await;
    eventually("the log's line", async || !clouds.log("hook.completed").await.is_empty()).await;
    let line = &clouds.log("hook.completed").await[0];
    assert_eq!(line.subject, format!("aws/123456789012/{INSTANCE}"));
    assert!(line.detail.contains(&format!("host {HOST} is ready; told the cloud CONTINUE")), "{}", line.detail);
    let requests = clouds.autoscaling.requests();
    assert_eq!(requests.iter().filter(|action| *action == "CompleteLifecycleAction").count(), 1);
    assert_eq!(requests.last().map(String::as_str), Some("CompleteLifecycleAction"));
}

#[tokio::test]
async fn an_instance_that_does_not_come_up_is_thrown_away() {
    let clouds = Clouds::start_with("ready_seconds = 1", "").await;
    taken(clouds.event(&clouds.autoscaling.launch(INSTANCE)).await, "taken");
    clouds.becomes(INSTANCE, "Terminated").await;
    eventually("the log's line", async || !clouds.log("hook.abandoned").await.is_empty()).await;
    let detail = &clouds.log("hook.abandoned").await[0].detail;
    assert!(detail.contains("not ready within 1 s: no host of it has joined; told the cloud ABANDON"), "{detail}");
}

#[tokio::test]
async fn an_instance_of_a_warm_pool_is_given_its_time_and_awaited_when_it_is_to_serve() {
    let clouds = Clouds::start_with("warm_seconds = 3\nheartbeat_seconds = 1\nready_seconds = 1", "").await;
    taken(clouds.event(&clouds.autoscaling.warm(INSTANCE)).await, "taken");
    eventually("a heartbeat", async || clouds.autoscaling.heartbeats(INSTANCE) >= 1).await;
    assert_eq!(clouds.autoscaling.state(INSTANCE), "Warmed:Pending:Wait");
    clouds.becomes(INSTANCE, "Warmed:Stopped").await;
    eventually("the log's line", async || !clouds.log("hook.completed").await.is_empty()).await;
    let detail = &clouds.log("hook.completed").await[0].detail;
    assert!(detail.contains("it had 3 s to be set up for its group's warm pool"), "{detail}");
    // Out of the pool it is a launch like any other: one that does not join is of no use.
    taken(clouds.event(&clouds.autoscaling.launch(INSTANCE)).await, "taken");
    clouds.becomes(INSTANCE, "Terminated").await;
    // One that goes before its time is over is waited for no longer.
    taken(clouds.event(&clouds.autoscaling.warm("i-0bbbbbbbbbbbbbbbb")).await, "taken");
    taken(clouds.event(&clouds.autoscaling.terminate("i-0bbbbbbbbbbbbbbbb")).await, "taken");
    clouds.becomes("i-0bbbbbbbbbbbbbbbb", "Terminated").await;
}

#[tokio::test]
async fn the_cloud_is_told_to_go_on_waiting() {
    let clouds = Clouds::start_with("heartbeat_seconds = 1", "").await;
    taken(clouds.event(&clouds.autoscaling.launch(INSTANCE)).await, "taken");
    clouds.autoscaling.pass(Duration::from_secs(3590));
    eventually("two heartbeats", async || clouds.autoscaling.heartbeats(INSTANCE) >= 2).await;
    clouds.autoscaling.pass(Duration::from_secs(3590));
    assert_eq!(clouds.autoscaling.state(INSTANCE), "Pending:Wait");
    // The cloud's own patience is over: nobody waits any more, and nobody goes on asking.
    clouds.autoscaling.pass(Duration::from_secs(3600));
    eventually("the end", async || !clouds.log("hook.not-completed").await.is_empty()).await;
    let detail = &clouds.log("hook.not-completed").await[0].detail;
    assert!(detail.contains("the cloud waits no longer") && detail.contains("No active Lifecycle Action"), "{detail}");
}

#[tokio::test]
async fn a_terminating_instance_is_kept_until_it_is_cut_everywhere() {
    let clouds = Clouds::start().await;
    let prep = clouds.mesh.join(NodeRole::Prep, "prep-1").await;
    let other = clouds.mesh.join(NodeRole::Sentry, "other").await;
    let host = clouds.mesh.join(NodeRole::Sentry, "sentry-1").await;
    // It proved who it is: its name tells nothing.
    let identity: IdentityId = format!("aws/123456789012/{INSTANCE}").parse().unwrap();
    let mut tx = clouds.mesh.store().await.write().await.unwrap();
    tx.bind_identity(&identity, &host.node, &Proof::Oidc { token: String::new() }, super::now()).await.unwrap();
    tx.commit().await.unwrap();
    taken(clouds.event(&clouds.autoscaling.terminate(INSTANCE)).await, "taken");
    clouds.revoked(&host).await;
    assert!(clouds.is_member(&other).await);
    assert_eq!(clouds.autoscaling.state(INSTANCE), "Terminating:Wait", "prep-1 has not said that it is cut");
    prep.confirm(&prep.wanted().await).await;
    clouds.becomes(INSTANCE, "Terminated").await;
    eventually("the log's line", async || !clouds.log("hook.completed").await.is_empty()).await;
    let detail = &clouds.log("hook.completed").await[0].detail;
    assert!(detail.contains("host sentry-1 revoked, in force on 1 of 1 hosts; told the cloud CONTINUE"), "{detail}");
}

#[tokio::test]
async fn a_host_that_proved_to_be_another_instance_is_not_taken_for_this_one() {
    let clouds = Clouds::start().await;
    let liar = clouds.mesh.join(NodeRole::Sentry, HOST).await;
    let identity: IdentityId = "aws/123456789012/i-0aaaaaaaaaaaaaaaa".parse().unwrap();
    let mut tx = clouds.mesh.store().await.write().await.unwrap();
    tx.bind_identity(&identity, &liar.node, &Proof::Oidc { token: String::new() }, super::now()).await.unwrap();
    tx.commit().await.unwrap();
    taken(clouds.event(&clouds.autoscaling.terminate(INSTANCE)).await, "taken");
    clouds.becomes(INSTANCE, "Terminated").await;
    assert!(clouds.is_member(&liar).await);
}

#[tokio::test]
async fn more_launches_than_are_awaited_at_once_keep_no_host_from_being_cut() {
    let clouds = Clouds::start().await;
    let host = clouds.mesh.join(NodeRole::Sentry, HOST).await;
    for number in 0..201 {
        let body = format!("{{\"action\": \"launching\", \"node\": \"none-{number}\"}}");
        taken(clouds.webhook(&format!("w-{number}"), super::now(), &body).await, "taken");
    }
    taken(clouds.event(&clouds.autoscaling.terminate(INSTANCE)).await, "taken");
    clouds.revoked(&host).await;
    clouds.becomes(INSTANCE, "Terminated").await;
}

#[tokio::test]
async fn hosts_that_do_not_answer_keep_no_instance() {
    let clouds = Clouds::start_with("cut_seconds = 1", "").await;
    clouds.mesh.join(NodeRole::Prep, "silent").await;
    let (host, _other) =
        (clouds.mesh.join(NodeRole::Sentry, HOST).await, clouds.mesh.join(NodeRole::Sentry, "other").await);
    taken(clouds.event(&clouds.autoscaling.terminate(INSTANCE)).await, "taken");
    clouds.becomes(INSTANCE, "Terminated").await;
    clouds.revoked(&host).await;
    eventually("the log's line", async || !clouds.log("hook.completed").await.is_empty()).await;
    let detail = &clouds.log("hook.completed").await[0].detail;
    assert!(detail.contains("in force on 0 of 1 hosts"), "{detail}");
}

#[tokio::test]
async fn what_was_asked_for_survives_the_controllers_end() {
    let mut clouds = Clouds::start().await;
    let (launching, terminating) = ("i-0aaaaaaaaaaaaaaaa", INSTANCE);
    let host = clouds.mesh.join(NodeRole::Sentry, HOST).await;
    let comer = clouds.mesh.join(NodeRole::Sentry, &format!("edge-{launching}")).await;
    // The cloud does not answer: one instance is awaited, the other is cut and nobody knows.
    clouds.autoscaling.break_down(Some((503, "ServiceUnavailable")));
    let (up_event, down_event) = (clouds.autoscaling.launch(launching), clouds.autoscaling.terminate(terminating));
    taken(clouds.event(&up_event).await, "taken");
    taken(clouds.event(&down_event).await, "taken");
    clouds.revoked(&host).await;
    eventually("a try", async || clouds.autoscaling.requests().contains(&"CompleteLifecycleAction".to_owned())).await;
    clouds.mesh.stop().await;
    clouds.autoscaling.break_down(None);
    assert_eq!(clouds.autoscaling.state(terminating), "Terminating:Wait");
    clouds.mesh.resume().await;
    clouds.becomes(terminating, "Terminated").await;
    // Known from before the end too.
    taken(clouds.event(&down_event).await, "taken before: nothing is done");
    assert_eq!(clouds.autoscaling.state(launching), "Pending:Wait");
    let comer = comer.connected(&clouds.mesh);
    comer.client().report(&report(&comer.wanted().await)).await.unwrap();
    clouds.becomes(launching, "InService").await;
    eventually("the log's lines", async || clouds.log("hook.completed").await.len() == 2).await;
    assert_eq!(clouds.log("node.revoked").await.len(), 1);
}

#[tokio::test]
async fn a_launch_whose_time_came_while_the_controller_was_down_is_not_given_up_at_once() {
    let mut clouds = Clouds::start_with("heartbeat_seconds = 1\nready_seconds = 5", "").await;
    let comer = clouds.mesh.join(NodeRole::Sentry, HOST).await;
    let event = clouds.autoscaling.launch(INSTANCE);
    let notice = Event::parse(event.to_string().as_bytes()).unwrap().notice;
    let store = clouds.mesh.store().await;
    clouds.mesh.stop().await;
    let before = super::Timestamp::from_millis(super::now().as_millis() - 3_600_000);
    let task = HookTask {
        id: "t-1".into(),
        source: HookSource::EventBridge,
        transition: notice.transition,
        subject: notice.identity.to_string(),
        action: notice.action,
        what: notice.what,
        address: None,
        state: HookState::Waiting,
        outcome: None,
        note: String::new(),
        received_at: before,
        changed_at: before,
    };
    let mut tx = store.write().await.unwrap();
    tx.insert_hook_task(&task).await.unwrap();
    tx.commit().await.unwrap();
    clouds.mesh.resume().await;
    eventually("looks", async || clouds.autoscaling.heartbeats(INSTANCE) >= 2).await;
    assert_eq!(clouds.autoscaling.state(INSTANCE), "Pending:Wait");
    let comer = comer.connected(&clouds.mesh);
    comer.client().report(&report(&comer.wanted().await)).await.unwrap();
    clouds.becomes(INSTANCE, "InService").await;
}

#[tokio::test]
async fn a_cloud_that_no_longer_waits_after_an_earlier_try_is_no_failure() {
    let clouds = Clouds::start().await;
    clouds.autoscaling.break_down(Some((503, "ServiceUnavailable")));
    taken(clouds.event(&clouds.autoscaling.terminate(INSTANCE)).await, "taken");
    eventually("a try", async || !clouds.autoscaling.requests().is_empty()).await;
    clouds.autoscaling.pass(Duration::from_secs(3600));
    clouds.autoscaling.break_down(None);
    eventually("the log's line", async || !clouds.log("hook.completed").await.is_empty()).await;
    let detail = &clouds.log("hook.completed").await[0].detail;
    assert!(detail.contains("the cloud no longer waits: an earlier try has told it CONTINUE, or"), "{detail}");
    assert!(clouds.log("hook.not-completed").await.is_empty());
    // Without an earlier one it is.
    let mut event = clouds.autoscaling.terminate("i-0aaaaaaaaaaaaaaaa");
    event["detail"]["LifecycleActionToken"] = "of-nobody".into();
    taken(clouds.event(&event).await, "taken");
    eventually("the log's line", async || !clouds.log("hook.not-completed").await.is_empty()).await;
}

#[tokio::test]
async fn a_host_that_was_revoked_before_was_not_taken_by_its_cloud() {
    let clouds = Clouds::start().await;
    let host = clouds.mesh.join(NodeRole::Sentry, "sentry-1").await;
    let identity: IdentityId = format!("aws/123456789012/{INSTANCE}").parse().unwrap();
    let store = clouds.mesh.store().await;
    let mut tx = store.write().await.unwrap();
    tx.bind_identity(&identity, &host.node, &Proof::Oidc { token: String::new() }, super::now()).await.unwrap();
    tx.commit().await.unwrap();
    clouds.mesh.operator().revoke("sentry-1", &Default::default()).await.unwrap();
    taken(clouds.event(&clouds.autoscaling.terminate(INSTANCE)).await, "taken");
    eventually("the log's line", async || !clouds.log("hook.completed").await.is_empty()).await;
    assert_eq!(store.read().await.unwrap().last_sentry_taken().await.unwrap(), None);
}

#[tokio::test]
async fn an_instance_that_goes_before_it_was_ready_is_not_awaited_any_more() {
    let clouds = Clouds::start().await;
    taken(clouds.event(&clouds.autoscaling.launch(INSTANCE)).await, "taken");
    taken(clouds.event(&clouds.autoscaling.terminate(INSTANCE)).await, "taken");
    clouds.becomes(INSTANCE, "Terminated").await;
    let host = clouds.mesh.join(NodeRole::Sentry, HOST).await;
    host.client().report(&up(&host).await).await.unwrap();
    eventually("the log's line", async || !clouds.log("hook.completed").await.is_empty()).await;
    let done = clouds.log("hook.").await.into_iter().filter(|line| line.action != "hook.taken");
    assert!(done.into_iter().all(|line| line.detail.starts_with("terminating")));
    assert_eq!(clouds.autoscaling.requests(), ["CompleteLifecycleAction"]);
}

#[tokio::test]
async fn without_credentials_hosts_are_revoked_all_the_same() {
    // Nobody listens there.
    let clouds = Clouds::start_at("http://127.0.0.1:9", "complete_seconds = 1", "").await;
    let host = clouds.mesh.join(NodeRole::Sentry, HOST).await;
    taken(clouds.event(&clouds.autoscaling.terminate(INSTANCE)).await, "taken");
    clouds.revoked(&host).await;
    eventually("the end", async || !clouds.log("hook.not-completed").await.is_empty()).await;
    let detail = &clouds.log("hook.not-completed").await[0].detail;
    assert!(
        detail.contains("revoked") && detail.contains("the cloud was not told CONTINUE: no AWS credentials"),
        "{detail}"
    );
    assert_eq!((clouds.autoscaling.state(INSTANCE), clouds.autoscaling.requests().len()), ("Terminating:Wait", 0));
}

#[tokio::test]
async fn the_fake_takes_no_request_that_is_wrongly_signed() {
    let clouds = Clouds::start().await;
    let url: reqwest::Url = clouds.autoscaling.url.parse().unwrap();
    let code = async |id: &str, secret: &str, session: &str, region: &str| {
        let source = CredentialSource::new(client(), &metadata(id, secret, session).await).unwrap();
        let asker = Autoscaling::new(client(), source, Some(url.clone()));
        match asker.call(region, "CompleteLifecycleAction", &[]).await {
            Err(CallError::Refused { code, .. }) => code,
            other => format!("{other:?}"),
        }
    };
    assert_eq!(
        code(ACCESS_KEY, SECRET_KEY, ROLE_SESSION, REGION).await,
        "ValidationError",
        "rightly signed, for nothing"
    );
    for (id, secret, session, region) in [
        ("AKIAANOTHER000000000", SECRET_KEY, ROLE_SESSION, REGION),
        (ACCESS_KEY, "another/secret", ROLE_SESSION, REGION),
        (ACCESS_KEY, SECRET_KEY, "another-session", REGION),
        (ACCESS_KEY, SECRET_KEY, "", REGION),
        (ACCESS_KEY, SECRET_KEY, ROLE_SESSION, "us-east-1"),
    ] {
        assert_eq!(
            code(id, secret, session, region).await,
            "SignatureDoesNotMatch",
            "{id} {secret} {session} {region}"
        );
    }
    assert_eq!(clouds.autoscaling.requests(), ["CompleteLifecycleAction"]);
}

#[tokio::test]
async fn the_last_sentry_goes_with_an_alarm_and_a_validators_host_stays() {
    // Whoever confirms may have asked just before the plan without the host was made.
    let clouds = Clouds::start_with("cut_seconds = 2", "").await;
    let prep = clouds.mesh.join(NodeRole::Prep, "edge-i-0bbbbbbbbbbbbbbbb").await;
    let host = clouds.mesh.join(NodeRole::Sentry, HOST).await;
    taken(clouds.event(&clouds.autoscaling.terminate("i-0bbbbbbbbbbbbbbbb")).await, "taken");
    clouds.becomes("i-0bbbbbbbbbbbbbbbb", "Terminated").await;
    assert!(clouds.is_member(&prep).await, "hooks.roles names sentries alone");
    eventually("the log's line", async || !clouds.log("hook.completed").await.is_empty()).await;
    assert!(clouds.log("hook.completed").await[0].detail.contains("which hooks.roles does not name: it stays"));

    taken(clouds.event(&clouds.autoscaling.terminate(INSTANCE)).await, "taken");
    clouds.revoked(&host).await;
    prep.confirm(&prep.wanted().await).await;
    clouds.becomes(INSTANCE, "Terminated").await;
    let alarmed = async || clouds.mesh.status().await.alarms.iter().any(|alarm| alarm.contains("no sentry is left"));
    eventually("the alarm", alarmed).await;
    clouds.mesh.join(NodeRole::Sentry, "sentry-2").await;
    eventually("the alarm's end", async || !alarmed().await).await;
}
