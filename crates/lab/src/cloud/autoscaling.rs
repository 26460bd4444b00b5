//! EC2 Auto Scaling's lifecycle actions, played: instances that really wait in `Pending:Wait` and `Terminating:Wait`, until they
//! are answered or their hook's time is over, over the query API with requests whose signatures are verified. moto 5.2 keeps
//! hooks and does not honour them.

use super::sigv4;
use axum::{
    Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

/// The only key that the fake knows.
pub const ACCESS_KEY: &str = "AKIAPICKETLAB0000000";
/// Its secret.
pub const SECRET_KEY: &str = "lab/secret/that/opens/nothing/0000000000";
/// The session that must come with it.
pub const ROLE_SESSION: &str = "a-session-of-the-lab";

/// Where an instance is that came up and waits.
const PENDING: &str = "Pending:Wait";
/// The same of one that goes into the warm pool.
const WARMED: &str = "Warmed:Pending:Wait";
const TERMINATING: &str = "Terminating:Wait";

/// A group whose instances wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Account.
    pub account: String,
    /// Region.
    pub region: String,
    /// Name.
    pub name: String,
    /// What an instance waits for that comes up.
    pub launching: Hook,
    /// What an instance waits for that goes.
    pub terminating: Hook,
}

/// A lifecycle hook of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Name.
    pub name: String,
    /// How long an instance waits without a heartbeat.
    pub timeout: Duration,
    /// What is done with an instance whose time is over: `CONTINUE` or `ABANDON`.
    pub default_result: String,
}

/// A running service; it ends with the runtime it was started on.
#[derive(Clone)]
pub struct FakeAutoscaling {
    /// `http://address:port/`.
    pub url: String,
    shared: Arc<Shared>,
}

impl fmt::Debug for FakeAutoscaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeAutoscaling({})", self.url)
    }
}

struct Shared {
    group: Group,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    instances: BTreeMap<String, Instance>,
    /// How much later it is than the machine's clock says.
    later: Duration,
    requests: Vec<String>,
    broken: Option<(StatusCode, &'static str)>,
    events: u64,
}

struct Instance {
    /// `Pending:Wait`, `InService`, `Terminating:Wait`, `Terminated`; of a warm pool `Warmed:Pending:Wait`, `Warmed:Stopped`.
    state: &'static str,
    token: String,
    until: Instant,
    heartbeats: u32,
}

impl FakeAutoscaling {
    /// Starts with one group and no instance.
    ///
    /// # Errors
    /// An IO error where it cannot listen.
    pub async fn start(group: Group) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let (fake, serving) = Self::on(listener, group)?;
        tokio::spawn(serving);
        Ok(fake)
    }

    /// The same on a socket that was made elsewhere; it answers while the second value is polled.
    ///
    /// # Errors
    /// An IO error of the socket.
    pub fn on(
        listener: TcpListener,
        group: Group,
    ) -> io::Result<(Self, impl Future<Output = io::Result<()>> + Send + 'static)> {
        let shared = Arc::new(Shared { group, inner: Mutex::default() });
        let router = Router::new().route("/", post(ask)).with_state(shared.clone());
        let url = format!("http://{}/", listener.local_addr()?);
        Ok((Self { url, shared }, async move { axum::serve(listener, router).await }))
    }

    /// An instance comes up and waits; the event that EventBridge sends of it.
    pub fn launch(&self, instance: &str) -> Value {
        self.begin(instance, PENDING)
    }

    /// An instance comes up for the warm pool and waits; the event that EventBridge sends of it.
    pub fn warm(&self, instance: &str) -> Value {
        self.begin(instance, WARMED)
    }

    /// An instance goes and waits; the event that EventBridge sends of it.
    pub fn terminate(&self, instance: &str) -> Value {
        self.begin(instance, TERMINATING)
    }

    /// Where an instance is in its life.
    pub fn state(&self, instance: &str) -> &'static str {
        self.shared.looked().instances.get(instance).map_or("none", |instance| instance.state)
    }

    /// Heartbeats that came for an instance.
    pub fn heartbeats(&self, instance: &str) -> u32 {
        self.shared.looked().instances.get(instance).map_or(0, |instance| instance.heartbeats)
    }

    /// The actions of all requests that were rightly signed, in order.
    pub fn requests(&self) -> Vec<String> {
        self.shared.looked().requests.clone()
    }

    /// Answers everything with this status and code from now on; `None` is well again.
    pub fn break_down(&self, with: Option<(u16, &'static str)>) {
        let status = |(status, code)| (StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), code);
        self.shared.looked().broken = with.map(status);
    }

    /// Time goes by.
    pub fn pass(&self, time: Duration) {
        self.shared.looked().later += time;
    }

    fn begin(&self, id: &str, state: &'static str) -> Value {
        let Group { account, region, name, .. } = &self.shared.group;
        let Hook { name: hook, timeout, .. } = self.shared.group.hook(state);
        let mut inner = self.shared.looked();
        let is_warm = inner.instances.get(id).is_some_and(|instance| instance.state == "Warmed:Stopped");
        let (event, transition, origin, destination) = match state {
            TERMINATING => ("terminate", "TERMINATING", "AutoScalingGroup", "EC2"),
            WARMED => ("launch", "LAUNCHING", "EC2", "WarmPool"),
            _ if is_warm => ("launch", "LAUNCHING", "WarmPool", "AutoScalingGroup"),
            _ => ("launch", "LAUNCHING", "EC2", "AutoScalingGroup"),
        };
        inner.events += 1;
        let number = inner.events;
        let token = format!("00000000-0000-0000-0000-{number:012}");
        let instance = Instance { state, token: token.clone(), until: inner.now() + *timeout, heartbeats: 0 };
        inner.instances.insert(id.to_owned(), instance);
        let now = picket_model::Timestamp::from(std::time::SystemTime::now());
        json!({
            "version": "0", "id": format!("11111111-0000-0000-0000-{number:012}"), "detail-type": format!("EC2 Instance-{event} Lifecycle Action"),
            "source": "aws.autoscaling", "account": account, "time": now.to_string(), "region": region,
            "resources": [format!("arn:aws:autoscaling:{region}:{account}:autoScalingGroup:1:autoScalingGroupName/{name}")],
            "detail": {
                "LifecycleActionToken": token, "AutoScalingGroupName": name, "LifecycleHookName": hook,
                "EC2InstanceId": id, "LifecycleTransition": format!("autoscaling:EC2_INSTANCE_{transition}"), "Origin": origin,
                "Destination": destination,
            },
        })
    }
}

impl Group {
    /// The hook that an instance in this state waits for, or would.
    fn hook(&self, state: &str) -> &Hook {
        if state == TERMINATING { &self.terminating } else { &self.launching }
    }
}

impl Shared {
    /// What there is by now: whose time is over has gone on.
    fn looked(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = inner.now();
        for instance in inner.instances.values_mut().filter(|instance| now >= instance.until) {
            instance.go_on(&self.group.hook(instance.state).default_result);
        }
        inner
    }
}

impl Inner {
    fn now(&self) -> Instant {
        Instant::now() + self.later
    }
}

impl Instance {
    fn is_waiting(&self) -> bool {
        self.state.ends_with(":Wait")
    }

    fn go_on(&mut self, result: &str) {
        self.state = match (self.state, result) {
            (PENDING, "CONTINUE") => "InService",
            (WARMED, "CONTINUE") => "Warmed:Stopped",
            (PENDING | WARMED | TERMINATING, _) => "Terminated",
            (state, _) => state,
        };
    }
}

async fn ask(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let keys = sigv4::Keys { id: ACCESS_KEY, secret: SECRET_KEY, session: ROLE_SESSION };
    if let Err(why) = sigv4::verify(&keys, &shared.group.region, "autoscaling", &headers, &body) {
        return error(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", &why);
    }
    let form = format!("/?{}", String::from_utf8_lossy(&body)).parse::<Uri>().ok();
    let form = form.and_then(|uri| Query::<BTreeMap<String, String>>::try_from_uri(&uri).ok());
    let Some(Query(form)) = form else {
        return error(StatusCode::BAD_REQUEST, "MalformedQueryString", "no form");
    };
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let (group, mut inner) = (&shared.group, shared.looked());
    inner.requests.push(field("Action").to_owned());
    if let Some((status, code)) = inner.broken {
        return error(status, code, "it does not work now");
    }
    let now = inner.now();
    let instance = inner.instances.get_mut(field("InstanceId"));
    let is_ours = |known: &Instance| {
        field("AutoScalingGroupName") == group.name && field("LifecycleHookName") == group.hook(known.state).name
    };
    let waiting =
        instance.filter(|known| is_ours(known) && known.is_waiting() && known.token == field("LifecycleActionToken"));
    let Some(instance) = waiting else {
        let message = format!("No active Lifecycle Action found with instance ID {}", field("InstanceId"));
        return error(StatusCode::BAD_REQUEST, "ValidationError", &message);
    };
    match (field("Action"), field("Version"), field("LifecycleActionResult")) {
        ("CompleteLifecycleAction", "2011-01-01", result @ ("CONTINUE" | "ABANDON")) => instance.go_on(result),
        ("RecordLifecycleActionHeartbeat", "2011-01-01", "") => {
            instance.heartbeats += 1;
            instance.until = now + group.hook(instance.state).timeout;
        }
        (action, ..) => return error(StatusCode::BAD_REQUEST, "InvalidAction", action),
    }
    let action = field("Action");
    format!("<{action}Response xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><{action}Result/></{action}Response>")
        .into_response()
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let xml = format!(
        "<ErrorResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>0</RequestId></ErrorResponse>"
    );
    (status, xml).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fake(default_result: &str) -> FakeAutoscaling {
        let hook =
            Hook { name: "picket".into(), timeout: Duration::from_secs(60), default_result: default_result.into() };
        let group = Group {
            account: "123456789012".into(),
            region: "eu-central-1".into(),
            name: "sentries".into(),
            launching: hook.clone(),
            terminating: hook,
        };
        FakeAutoscaling::start(group).await.expect("a listener")
    }

    #[tokio::test]
    async fn an_instance_waits_until_its_time_is_over_and_goes_the_default_way() {
        for (default, launched) in [("ABANDON", "Terminated"), ("CONTINUE", "InService")] {
            let fake = fake(default).await;
            fake.launch("i-1");
            fake.terminate("i-2");
            fake.pass(Duration::from_secs(59));
            assert_eq!((fake.state("i-1"), fake.state("i-2")), ("Pending:Wait", "Terminating:Wait"));
            fake.pass(Duration::from_secs(1));
            assert_eq!((fake.state("i-1"), fake.state("i-2")), (launched, "Terminated"), "{default}");
        }
    }
}
