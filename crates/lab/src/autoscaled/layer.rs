//! The mesh around the group: its controller with what Terraform wrote, a validator with an agent, others on the list, a stranger.

use super::{
    balancer,
    cloud::{Cloud, HookMade, Scene},
    instance::Sentry,
    must,
};
use crate::{
    Connect, Host, LabError, Waited,
    cloud::{FakeAutoscaling, FakeMetadata, Group, Hook, Instance, aws_certificate},
    command,
    demo::report::Seen,
    mesh::{Controller, Mesh, MeshSize, SOON},
    wait_until,
};
use picket_api::operator::NodeView;
use picket_model::{NodeRole, Timestamp};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};
use toml::{Table, Value};

/// A dropped packet is not answered however long one waits.
const DROPPED: Duration = Duration::from_millis(300);
/// Addresses of instances end with this number and those after it.
const FIRST: u8 = 101;
/// Of `CompleteLifecycleAction`, on the controller's host: it may ask nobody else but over TLS.
const AUTOSCALING: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
/// The controller's own metadata service, which gives its role's key.
const METADATA: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8082);
/// Where clouds call the controller.
const HOOKS: u16 = 7446;

/// The layer, and who is around it.
pub(super) struct Layer {
    pub(super) cloud: Cloud,
    scene: Scene,
    /// With the controller's name and the CA's fingerprint, as the second apply has it.
    user_data: String,
    /// The controller's line of a hosts file.
    controller: String,
    autoscaling: FakeAutoscaling,
    /// From where clouds call, and the balancer looks.
    balancer: Host,
    /// Before the mesh, whose lab takes what still runs on its hosts with it.
    sentries: Vec<Sentry>,
    launched: u8,
    mesh: Mesh,
}

impl Layer {
    /// Starts everything but the instances.
    pub(super) fn start(cloud: Cloud) -> Result<Self, LabError> {
        let scene = cloud.scene()?;
        let mut mesh = Mesh::new("autoscaled", MeshSize { preps: 1, sentries: 0 })?;
        let balancer = mesh.lab.host("balancer").address("203.0.113.90/24").create()?;
        configure(&mesh.controller, &scene)?;
        let autoscaling = play_aws(&mesh, &scene)?;
        mesh.start()?;
        let written = |before: &str, after: char| {
            let found = scene.user_data.split_once(before).and_then(|(_, rest)| rest.split_once(after));
            found
                .map(|(value, _)| value.to_owned())
                .ok_or_else(|| LabError::Unexpected { found: format!("no {before} in the user data") })
        };
        let (name, fingerprint) = (written("--controller 'https://", ':')?, written("--ca-fingerprint ", ' ')?);
        let user_data = scene.user_data.replace(&fingerprint, &mesh.controller.fingerprint()?);
        let controller = format!("{} {name}", mesh.controller.host.v4(0)?.ip());
        Ok(Self { cloud, scene, user_data, controller, autoscaling, balancer, sentries: Vec::new(), launched: 0, mesh })
    }

    pub(super) fn print_logs(&self) {
        for sentry in &self.sentries {
            if let Ok(said) = sentry.machine.run(&["journalctl", "--no-pager", "--lines=60"]) {
                eprintln!("{}: {}", sentry.id, said.stdout);
            }
        }
        self.mesh.lab.print_logs();
    }

    /// Where the cloud has an instance in its life.
    pub(super) fn state(&self, id: &str) -> &'static str {
        self.autoscaling.state(id)
    }

    /// An instance comes up in the cloud: it waits, and the controller is told.
    pub(super) fn launch(&self, id: &str) -> Result<(), LabError> {
        self.tell(&self.autoscaling.launch(id))
    }

    /// Boots instances of the group's image, all at once.
    pub(super) fn boot(&mut self, ids: &[String]) -> Result<(), LabError> {
        let image = self.scene.image.clone();
        self.boot_from(&image, ids)
    }

    /// The same from any image, as their documents say.
    pub(super) fn boot_from(&mut self, image: &str, ids: &[String]) -> Result<(), LabError> {
        let numbers = FIRST + self.launched..;
        let (lab, scene, data, controller) = (&self.mesh.lab, &self.scene, &self.user_data, &self.controller);
        let booted: Vec<Result<Sentry, LabError>> = thread::scope(|scope| {
            let boot = |id: &String, number| {
                let mut sentry = Sentry::launch(lab, scene, image, id, number, data, controller)?;
                sentry.machine.boot()?;
                Ok(sentry)
            };
            let boots: Vec<_> =
                ids.iter().zip(numbers).map(|(id, number)| scope.spawn(move || boot(id, number))).collect();
            boots.into_iter().map(|boot| boot.join().unwrap_or(Err(LabError::Gone))).collect()
        });
        self.launched += u8::try_from(ids.len()).unwrap_or(u8::MAX);
        for sentry in booted {
            self.sentries.push(sentry?);
        }
        Ok(())
    }

    /// Who tried to join and was not let in, with the reason.
    pub(super) fn refused(&self) -> Result<Option<String>, LabError> {
        let events = self.mesh.controller.events()?;
        Ok(events.into_iter().find(|event| event.action == "enroll.refused").map(|event| event.detail))
    }

    /// The time is over in which the cloud waits for a word on instances that come up.
    pub(super) fn launching_is_over(&self) {
        self.autoscaling.pass(Duration::from_secs(self.scene.launching.timeout_seconds));
    }

    /// An instance goes: it waits until the controller says that it is cut, and at that moment it is.
    pub(super) fn goes(&mut self, id: &str) -> Result<Duration, LabError> {
        let overlay = self.node(id)?.node.overlay;
        let started = Instant::now();
        self.tell(&self.autoscaling.terminate(id))?;
        wait_until(&format!("the cloud to let {id} go"), SOON * 2, || match self.state(id) {
            "Terminated" => Ok(()),
            other => Err(other.to_owned()),
        })?;
        let took = started.elapsed();
        for prep in &self.mesh.preps {
            let answered = prep.host.ping(overlay.v4.into(), DROPPED);
            must(answered.is_none(), || format!("{} still has an answer of {id}", prep.name()))?;
        }
        must(!self.node(id)?.node.is_active(), || format!("{id} is still a member"))?;
        Ok(took)
    }

    /// Waits until the balancer finds an instance ready, or not.
    pub(super) fn wait_health(&self, id: &str, wanted: bool) -> Result<Waited<()>, LabError> {
        let [to, _] = self.sentry(id)?.machine.ports(self.scene.health.port);
        balancer::wait(&self.balancer, to, &self.scene.health, wanted)
    }

    /// One of the instances in service.
    pub(super) fn any(&self) -> Result<String, LabError> {
        let found = self.sentries.iter().find(|sentry| self.state(&sentry.id) == "InService");
        found.map(|sentry| sentry.id.clone()).ok_or(LabError::Gone)
    }

    pub(super) fn cut_power(&mut self, id: &str) -> Result<(), LabError> {
        let sentry = self.sentries.iter_mut().find(|sentry| sentry.id == id).ok_or(LabError::Gone)?;
        sentry.machine.cut_power()
    }

    /// An instance that was cut and still runs lets nobody in, whoever it let in before.
    pub(super) fn closed(&self, id: &str) -> Result<(), LabError> {
        let sentry = self.sentry(id)?;
        for port in &self.scene.ports {
            let [v4, v6] = sentry.machine.ports(*port);
            self.mesh.stranger.can_connect(v6, DROPPED).must_be(Connect::Filtered)?;
            let validators = self.mesh.validators.iter().map(|validator| &validator.host);
            for host in validators.chain([&self.mesh.stranger]) {
                host.can_connect(v4, DROPPED).must_be(Connect::Filtered)?;
            }
        }
        Ok(())
    }

    /// Sentries that are members.
    pub(super) fn members(&self) -> Result<usize, LabError> {
        let nodes = self.mesh.controller.nodes()?;
        Ok(nodes.iter().filter(|view| view.node.role == NodeRole::Sentry && view.node.is_active()).count())
    }

    /// At each instance in service: validators of the list reach P2P, a stranger reaches nothing that is passed on, and the
    /// validator's host has its tunnel.
    pub(super) fn let_in_and_out(&self) -> Result<Seen, LabError> {
        self.mesh.wait_in_force()?;
        let serving: Vec<&Sentry> =
            self.sentries.iter().filter(|sentry| self.state(&sentry.id) == "InService").collect();
        must(!serving.is_empty(), || "nobody is in service".to_owned())?;
        for sentry in &serving {
            for port in &self.scene.ports {
                let [v4, v6] = sentry.machine.ports(*port);
                for to in [v4, v6] {
                    self.mesh.stranger.can_connect(to, DROPPED).must_be(Connect::Filtered)?;
                }
                for validator in &self.mesh.validators {
                    validator.host.can_connect(v4, SOON).must_be(Connect::Open)?;
                }
            }
            let overlay = self.node(&sentry.id)?.node.overlay;
            for prep in &self.mesh.preps {
                wait_until("a ping through the tunnel", SOON, || prep.host.ping(overlay.v4.into(), DROPPED))?;
            }
        }
        let (validators, ports) = (self.mesh.validators.len(), &self.scene.ports);
        Ok(Seen::that(format!("{} sentries, {validators} validators, ports {ports:?}, a tunnel each", serving.len())))
    }

    /// What the group is scaled by, of what its hosts report: lines of pool, name, value and unit.
    pub(super) fn scaled_by(&self) -> Result<String, LabError> {
        let controller = &self.mesh.controller;
        let script = controller.host.write("pools", &self.scene.pools_script)?;
        let nodes = controller.picket(&["nodes", "--json"])?.success()?;
        command::run("sh", &[&script], &nodes)?.success()
    }

    fn sentry(&self, id: &str) -> Result<&Sentry, LabError> {
        self.sentries.iter().find(|sentry| sentry.id == id).ok_or(LabError::Gone)
    }

    /// The host that an instance is in the mesh.
    fn node(&self, id: &str) -> Result<NodeView, LabError> {
        let nodes = self.mesh.controller.nodes()?;
        let found = nodes.into_iter().find(|view| view.node.name.as_str().ends_with(id));
        found.ok_or_else(|| LabError::Unexpected { found: format!("no host is called after {id}") })
    }

    /// What becomes of an event: where Terraform's rule passes it on, the controller is told, with the secret of its connection.
    fn tell(&self, event: &serde_json::Value) -> Result<(), LabError> {
        let passed_on = self.cloud.passed_on(event)?;
        must(passed_on == 1, || format!("the rule passes {event} on {passed_on} times"))?;
        let secret = self.balancer.write("secret", &format!("x-picket-hook-secret: {}\n", self.scene.hook_secret))?;
        let body = self.balancer.write("event", &event.to_string())?;
        let url = format!("https://{}/v1/hooks/aws", self.mesh.controller.host.v4(HOOKS)?);
        // As the balancer does, which asks targets for TLS and not for their names.
        let fixed = [
            "--insecure",
            "--silent",
            "--show-error",
            "--fail-with-body",
            "--header",
            "content-type: application/json",
        ];
        let (header, body) = (format!("@{secret}"), format!("@{body}"));
        let arguments = [&fixed[..], &["--header", &header, "--data-binary", &body, &url]].concat();
        self.balancer.run("curl", &arguments)?.success().map(drop)
    }
}

/// Gives the controller what Terraform wrote for it: whom it believes, who may join, whose hooks. Files lie elsewhere, and AWS.
fn configure(controller: &Controller, scene: &Scene) -> Result<(), LabError> {
    let host = &controller.host;
    let unreadable =
        |what: String| LabError::Unexpected { found: format!("the configuration that Terraform wrote: {what}") };
    let mut table: Table = toml::from_str(&scene.configuration).map_err(|error| unreadable(error.to_string()))?;
    let mut take = |name: &str| table.remove(name).ok_or_else(|| unreadable(format!("no {name}")));
    let (mut attest, enroll, mut hooks) = (take("attest")?, take("enroll")?, take("hooks")?);
    let path = |name: &str, text: &str| host.write(name, text).map(Value::String);
    let certificate = path("aws.pem", &aws_certificate(0, 2020, 2120))?;
    let known = attest
        .get_mut("aws_certificates")
        .and_then(Value::as_table_mut)
        .ok_or_else(|| unreadable("no certificate".to_owned()))?;
    known.iter_mut().for_each(|(_, file)| *file = certificate.clone());
    let made = rcgen::generate_simple_self_signed(vec![host.v4(HOOKS)?.ip().to_string()]);
    let made = made.map_err(|error| LabError::Unexpected { found: error.to_string() })?;
    let lines = hooks.as_table_mut().ok_or_else(|| unreadable("hooks is no table".to_owned()))?;
    for (key, value) in [
        ("certificate", path("hooks.pem", &made.cert.pem())?),
        ("key", path("hooks.key", &made.signing_key.serialize_pem())?),
        ("eventbridge_secret_file", path("eventbridge", &scene.hook_secret)?),
        ("autoscaling_url", Value::String(format!("http://{AUTOSCALING}/"))),
        ("metadata_url", Value::String(format!("http://{METADATA}"))),
    ] {
        lines.insert(key.to_owned(), value);
    }
    let ours =
        Table::from_iter([("attest".to_owned(), attest), ("enroll".to_owned(), enroll), ("hooks".to_owned(), hooks)]);
    let ours = toml::to_string(&ours).map_err(|error| unreadable(error.to_string()))?;
    controller.configure(|text| {
        format!("{}\n{ours}", text.replacen("[listen]", &format!("[listen]\nhooks = \"[::]:{HOOKS}\""), 1))
    })
}

/// What moto does not do: instances that wait, and the key of the controller's role.
fn play_aws(mesh: &Mesh, scene: &Scene) -> Result<FakeAutoscaling, LabError> {
    let hook = |made: &HookMade| Hook {
        name: made.name.clone(),
        timeout: Duration::from_secs(made.timeout_seconds),
        default_result: made.default_result.clone(),
    };
    let group = Group {
        account: scene.account.clone(),
        region: scene.region.clone(),
        name: scene.group.clone(),
        launching: hook(&scene.launching),
        terminating: hook(&scene.terminating),
    };
    let instance = Instance {
        account: scene.account.clone(),
        region: scene.region.clone(),
        image: scene.image.clone(),
        id: "i-00000000000000000".to_owned(),
        launched_at: Timestamp::from(std::time::SystemTime::now()),
    };
    let host = &mesh.controller.host;
    FakeMetadata::play(&mesh.lab, host, METADATA, instance)?;
    let asked = host.listen(AUTOSCALING)?;
    let (autoscaling, serving) = mesh
        .lab
        .on_runtime(|| FakeAutoscaling::on(tokio::net::TcpListener::from_std(asked)?, group))
        .map_err(|error| LabError::io(format!("listen on {AUTOSCALING} as Auto Scaling"), error))?;
    mesh.lab.serve(serving);
    Ok(autoscaling)
}
