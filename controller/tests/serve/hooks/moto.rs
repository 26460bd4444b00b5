//! The real moto server: its SNS signs and posts as AWS's does, and its Auto Scaling knows whether a request is rightly signed.
//! It keeps lifecycle hooks and does not honour them: what waits is tested on the lab's own fake.

use super::{Clouds, HOST, INSTANCE, client, sns::lifecycle};
use crate::fixture::eventually;
use axum::{
    Router,
    http::Uri,
    routing::{get, put},
};
use picket_controller::hooks::{Autoscaling, CallError, CredentialSource};
use picket_dns::{
    Change, DnsLines, Found, mark,
    provider::{Credentialed, DnsError, Provider},
};
use picket_lab::cloud::Moto;
use picket_model::NodeRole;
use std::path::Path;

/// Which service is meant stands in the credential's scope; the rest of it counts for nothing where moto asks for no keys.
fn scope(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-central-1/{service}/aws4_request, SignedHeaders=host, Signature=x"
    )
}

/// The host of SNS in front of moto, which by itself does not know an unsigned request for a certificate by its host.
async fn front(moto: &Moto) -> String {
    let url = moto.url.clone();
    let router = Router::new().fallback(move |uri: Uri| async move {
        let place = format!("{}{}", url.trim_end_matches('/'), uri.path());
        let answer = client().get(place).header("authorization", scope("sns")).send().await.unwrap();
        (answer.status(), answer.bytes().await.unwrap())
    });
    serve(router).await
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Asks moto as nobody in particular.
async fn ask(moto: &Moto, service: &str, fields: &[(&str, &str)]) -> String {
    let form = reqwest::Url::parse_with_params("http://form/", fields).unwrap();
    let request = client()
        .post(&moto.url)
        .header("authorization", scope(service))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.query().unwrap().to_owned());
    let answer = request.send().await.unwrap().text().await.unwrap();
    assert!(!answer.contains("<Error"), "{fields:?}: {answer}");
    answer
}

fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let found = xml.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once("</"));
    assert!(found.is_some(), "{name} in {xml}");
    found.unwrap().0
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

async fn publish(moto: &Moto, topic: &str, message: &str) {
    ask(moto, "sns", &[("Action", "Publish"), ("Version", "2010-03-31"), ("TopicArn", topic), ("Message", message)])
        .await;
}

#[tokio::test]
async fn what_motos_sns_signs_and_posts_is_verified_and_done() {
    let moto = Moto::start(folder(), None).await.unwrap();
    let mut clouds = Clouds::start().await;
    // The certificate of each message is at moto too.
    clouds.mesh.stop().await;
    clouds.mesh.config = clouds.mesh.config.replace(&clouds.sns.url, &front(&moto).await);
    clouds.mesh.resume().await;
    let host = clouds.mesh.join(NodeRole::Sentry, HOST).await;
    let create = [("Action", "CreateTopic"), ("Version", "2010-03-31"), ("Name", "picket")];
    let topic = element(&ask(&moto, "sns", &create).await, "TopicArn").to_owned();
    assert_eq!(topic, super::TOPIC);
    let other = [("Action", "CreateTopic"), ("Version", "2010-03-31"), ("Name", "other")];
    let other = element(&ask(&moto, "sns", &other).await, "TopicArn").to_owned();
    let endpoint = format!("http://{}/v1/hooks/aws", clouds.mesh.running().hooks.unwrap());
    for topic in [&topic, &other] {
        let subscribe = [("Action", "Subscribe"), ("Version", "2010-03-31"), ("TopicArn", topic)];
        let to = [("Protocol", "http"), ("Endpoint", endpoint.as_str())];
        ask(&moto, "sns", &[subscribe.as_slice(), &to].concat()).await;
    }
    let event = clouds.autoscaling.terminate(INSTANCE);
    let token = event["detail"]["LifecycleActionToken"].as_str().unwrap();
    let message = lifecycle("TERMINATING", token).to_string();
    // Rightly signed, and of a topic that nobody named.
    publish(&moto, &other, &message).await;
    eventually("the refusal", async || clouds.log("hook.refused").await.len() == 1).await;
    assert!(clouds.log("hook.refused").await[0].detail.contains("does not name the message's topic"));
    publish(&moto, &topic, "{\"Event\": \"autoscaling:TEST_NOTIFICATION\"}").await;
    assert!(clouds.is_member(&host).await && clouds.log("hook.taken").await.is_empty());

    publish(&moto, &topic, &message).await;
    clouds.revoked(&host).await;
    clouds.becomes(INSTANCE, "Terminated").await;
    assert_eq!(clouds.log("node.revoked").await[0].actor, "hook:sns");
    assert_eq!(clouds.log("hook.refused").await.len(), 1);
}

/// The metadata service of an instance whose role has this key.
pub(super) async fn metadata(id: &str, secret: &str, session: &str) -> String {
    let lines = format!(
        "{{\"Code\": \"Success\", \"AccessKeyId\": \"{id}\", \"SecretAccessKey\": \"{secret}\", \"Token\": \"{session}\", \
         \"Expiration\": \"2100-01-01T00:00:00Z\"}}"
    );
    let roles = "/latest/meta-data/iam/security-credentials/";
    let router = Router::new()
        .route("/latest/api/token", put(|| async { "session" }))
        .route(roles, get(|| async { "picket" }))
        .route(&format!("{roles}picket"), get(move || async move { lines }));
    serve(router).await
}

/// A user's key, and its secret, in three requests.
async fn key_that_may(moto: &Moto, actions: &[&str]) -> (String, String) {
    let (iam, user) = (("Version", "2010-05-08"), ("UserName", "picket"));
    ask(moto, "iam", &[("Action", "CreateUser"), iam, user]).await;
    let key = ask(moto, "iam", &[("Action", "CreateAccessKey"), iam, user]).await;
    let statement = serde_json::json!({ "Effect": "Allow", "Resource": "*", "Action": actions });
    let policy = serde_json::json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    ask(moto, "iam", &[("Action", "PutUserPolicy"), iam, user, ("PolicyName", "p"), ("PolicyDocument", &policy)]).await;
    (element(&key, "AccessKeyId").to_owned(), element(&key, "SecretAccessKey").to_owned())
}

#[tokio::test]
async fn moto_finds_our_requests_rightly_signed_and_reads_a_hook_back() {
    // From the eighth request on, whatever is not signed by a key that may is refused.
    let moto = Moto::start(folder(), Some(7)).await.unwrap();
    let (id, secret) =
        key_that_may(&moto, &["autoscaling:DescribeLifecycleHooks", "autoscaling:CompleteLifecycleAction"]).await;
    let version = ("Version", "2011-01-01");
    let (launch, image) = (("LaunchConfigurationName", "sentry"), ("ImageId", "ami-12c6146b"));
    let machine = ("InstanceType", "t2.micro");
    ask(&moto, "autoscaling", &[("Action", "CreateLaunchConfiguration"), version, launch, image, machine]).await;
    let group = ("AutoScalingGroupName", "sentries");
    let (least, most, zone) = (("MinSize", "0"), ("MaxSize", "2"), ("AvailabilityZones.member.1", "eu-central-1a"));
    ask(&moto, "autoscaling", &[("Action", "CreateAutoScalingGroup"), version, group, launch, least, most, zone]).await;
    let hook = ("LifecycleHookName", "picket");
    let transition = ("LifecycleTransition", "autoscaling:EC2_INSTANCE_TERMINATING");
    let (patience, default) = (("HeartbeatTimeout", "300"), ("DefaultResult", "CONTINUE"));
    let put = [("Action", "PutLifecycleHook"), version, group, hook, transition, patience, default];
    ask(&moto, "autoscaling", &put).await;

    let url: reqwest::Url = moto.url.parse().unwrap();
    let asker = async |secret: &str| {
        let source = CredentialSource::new(client(), &metadata(&id, secret, "").await).unwrap();
        Autoscaling::new(client(), source, Some(url.clone()))
    };
    let ours = asker(&secret).await;
    let hooks = ours.call("eu-central-1", "DescribeLifecycleHooks", &[group]).await.unwrap();
    assert_eq!((element(&hooks, "LifecycleHookName"), element(&hooks, "HeartbeatTimeout")), ("picket", "300"));
    // Another secret under the same key id, and an action that the key may not do.
    let forged = asker("another/secret/0000000000000000000000000").await;
    let error = forged.call("eu-central-1", "DescribeLifecycleHooks", &[group]).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Refused { status: 403, code, .. } if code == "SignatureDoesNotMatch"),
        "{error}"
    );
    let error = ours.call("eu-central-1", "DeleteLifecycleHook", &[group, hook]).await.unwrap_err();
    assert!(matches!(&error, CallError::Refused { status: 403, code, .. } if code == "AccessDenied"), "{error}");
    // What moto does not play: no instance ever waits there, and the answer to one is a fault.
    let error = ours.call("eu-central-1", "CompleteLifecycleAction", &[group, hook]).await.unwrap_err();
    assert!(matches!(error, CallError::Refused { status: 500, .. }), "{error}");
}

/// A name in a hosted zone of moto's.
fn lines(zone: &str, url: &str) -> DnsLines {
    let text =
        format!("name = \"p2p.example.org\"\nprovider = {{ route53 = {{ zone = \"{zone}\", url = \"{url}\" }} }}\n");
    toml::from_str(&text).unwrap()
}

/// The provider of a new zone there.
async fn provider_of_zone(moto: &Moto) -> impl Fn(&str, &str) -> Provider {
    let zone = "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>example.org</Name>\
                <CallerReference>1</CallerReference></CreateHostedZoneRequest>";
    let made = client()
        .post(format!("{}2013-04-01/hostedzone", moto.url))
        .header("authorization", scope("route53"))
        .body(zone)
        .send()
        .await
        .unwrap();
    let made = made.text().await.unwrap();
    let lines = lines(element(&made, "Id").trim_start_matches("/hostedzone/"), &moto.url);
    move |id, secret| {
        let credentials = picket_aws::Credentials::new(id, secret, None, None, "test");
        let credentials = Credentialed::by(move || {
            let credentials = credentials.clone();
            async move { Ok(credentials) }
        });
        Provider::new(&lines, &client(), &credentials).unwrap()
    }
}

fn change(from: Found, to: &[&str]) -> Change {
    Change {
        name: "p2p.example.org".parse().unwrap(),
        from,
        to: to.iter().map(|address| address.parse().unwrap()).collect(),
        ttl: 30,
        mark: mark("m-1"),
    }
}

#[tokio::test]
async fn a_name_is_made_changed_and_read_back_at_motos_route_53() {
    let moto = Moto::start(folder(), None).await.unwrap();
    let ours = provider_of_zone(&moto).await("AKIAIOSFODNN7EXAMPLE", "secret");
    let name: picket_model::DnsName = "p2p.example.org".parse().unwrap();
    let found = ours.read(&name).await.unwrap();
    assert_eq!(found, Found::default());
    let first = change(found, &["192.0.2.1", "192.0.2.2"]);
    ours.write(&first).await.unwrap();
    let found = ours.read(&name).await.unwrap();
    assert_eq!((&found.addresses, found.marks.len()), (&first.to, 1));
    // Somebody who found nothing there does not write over it.
    let stale = ours.write(&change(Found::default(), &["192.0.2.9"])).await;
    assert!(matches!(stale, Err(DnsError::Refused { .. })), "{stale:?}");
    let second = change(found, &["192.0.2.2", "2001:db8::3"]);
    ours.write(&second).await.unwrap();
    assert_eq!(ours.read(&name).await.unwrap().addresses, second.to);
}

/// Of changes alone: moto 5.2 leaves the query of a request out when it checks a signature (`moto/iam/access_control.py`,
/// `_create_aws_request`), and finds every reading wrongly signed.
#[tokio::test]
async fn moto_finds_a_change_of_a_name_rightly_signed_and_one_with_a_wrong_secret_not() {
    // From the fifth request on, whatever is not signed by a key that may is refused.
    let moto = Moto::start(folder(), Some(4)).await.unwrap();
    let (id, secret) = key_that_may(&moto, &["route53:ChangeResourceRecordSets"]).await;
    let provider = provider_of_zone(&moto).await;
    let first = change(Found::default(), &["192.0.2.1"]);
    let error = provider(&id, "another/secret/0000000000000000000000000").write(&first).await.unwrap_err().to_string();
    assert!(error.contains("SignatureDoesNotMatch") && !error.contains("another/secret"), "{error}");
    provider(&id, &secret).write(&first).await.unwrap();
}
