//! A mesh to test with: a chain, a controller, hosts that enrol and report as agents do. Whatever the controller answers is held
//! against the API's document.

use crate::document::Told;
use picket_api::{
    AgentClient, ApiError, ConfigAnswer, EnrollRequest, EnrollResponse, OperatorClient, Proof,
    operator::{CreateToken, StatusView},
};
use picket_attest::{audience, keys_digest};
use picket_controller::{App, Config, Running, store::Store};
use picket_lab::{
    Postgres,
    icon::{ChainState, FakeIcon},
};
use picket_model::{
    Generation, IdentityKey, KernelView, NodeId, NodeReport, NodeRole, PrepId, WireGuardPublicKey, fixture::in_force,
};
use picket_pki::{ClientCertificate, Fingerprint, JoinToken, TlsKey, client_config, client_config_of};
use serde::Deserialize;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Output,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Nothing here takes longer, unless it does not happen at all.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Mesh {
    pub(crate) icon: FakeIcon,
    pub(crate) running: Option<Running>,
    pub(crate) config: String,
    dir: TempDir,
    told: Told,
}

#[derive(Deserialize)]
struct OperatorFile {
    url: String,
    ca_fingerprint: Fingerprint,
    token: String,
}

impl Mesh {
    /// With mainnet's list of 100, polled each second.
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// With further lines in the configuration file. The database is a file; where the environment says
    /// `PICKET_TEST_DATABASE=postgresql`, one of the tests' server.
    pub(crate) async fn start_with(lines: &str) -> Self {
        let database = std::env::var("PICKET_TEST_DATABASE").map_or_else(
            |_| String::new(),
            |kind| {
                assert_eq!(kind, "postgresql", "write this into PICKET_TEST_DATABASE, or leave it out");
                Postgres::shared().database().unwrap()
            },
        );
        Self::start_on(&database, lines).await
    }

    /// On the PostgreSQL database of this URL; on a file where it is empty.
    pub(crate) async fn start_on(database: &str, lines: &str) -> Self {
        let database = if database.is_empty() { String::new() } else { format!("database = \"{database}\"\n") };
        let (icon, address) = FakeIcon::start(ChainState::mainnet()).await.unwrap();
        let config = format!(
            "{database}[listen]\nagents = \"127.0.0.1:0\"\noperators = \"127.0.0.1:0\"\nhealth = \"127.0.0.1:0\"\n\
             hooks = \"127.0.0.1:0\"\n\
             [chain]\nsources = [\"http://{address}\"]\npoll_seconds = 1\n{lines}"
        );
        let mut mesh = Self { icon, running: None, config, dir: tempfile::tempdir().unwrap(), told: Told::default() };
        mesh.resume().await;
        mesh.listed().await;
        mesh
    }

    /// Another controller of the same mesh, with the CA of this one: on the same database.
    pub(crate) async fn beside(&self) -> Self {
        let (icon, config) = (self.icon.clone(), self.config.clone());
        let mut other = Self { icon, running: None, config, dir: tempfile::tempdir().unwrap(), told: Told::default() };
        std::fs::create_dir(other.state_dir()).unwrap();
        other.take_ca(self);
        other.resume().await;
        other
    }

    /// Copies another controller's CA into this one's folder.
    pub(crate) fn take_ca(&self, from: &Self) {
        for name in ["ca.pem", "ca.key"] {
            std::fs::copy(from.state_dir().join(name), self.state_dir().join(name)).unwrap();
        }
    }

    pub(crate) async fn stop(&mut self) {
        self.running.take().unwrap().stop().await;
    }

    pub(crate) async fn resume(&mut self) {
        self.try_resume().await.unwrap();
    }

    pub(crate) async fn try_resume(&mut self) -> anyhow::Result<()> {
        let layered = |listener, routes| self.told.layered(listener, routes);
        self.running = Some(App::start_layered(self.parsed(), &self.state_dir(), layered).await?);
        Ok(())
    }

    pub(crate) fn parsed(&self) -> Config {
        Config::parse(&self.config, Path::new("test.toml")).unwrap()
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The configuration as a file, for the program.
    pub(crate) fn config_file(&self) -> PathBuf {
        let file = self.dir.path().join("controller.toml");
        std::fs::write(&file, &self.config).unwrap();
        file
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn agents_url(&self) -> reqwest::Url {
        format!("https://{}", self.running().agents).parse().unwrap()
    }

    pub(crate) fn operators_url(&self) -> String {
        self.operator_file().url
    }

    pub(crate) fn ca(&self) -> Fingerprint {
        self.operator_file().ca_fingerprint
    }

    fn operator_file(&self) -> OperatorFile {
        toml::from_str(&std::fs::read_to_string(self.state_dir().join("operator.toml")).unwrap()).unwrap()
    }

    /// The local operator.
    pub(crate) fn operator(&self) -> OperatorClient {
        let token = self.operator_file().token;
        self.operator_with(&token)
    }

    pub(crate) fn token_of_operator(&self) -> String {
        self.operator_file().token
    }

    pub(crate) fn operator_with(&self, token: &str) -> OperatorClient {
        let file = self.operator_file();
        let tls = client_config(file.ca_fingerprint, None).unwrap();
        OperatorClient::new(file.url.parse().unwrap(), token.to_owned(), tls).unwrap()
    }

    /// Another operator's token, made by the program beside the running controller.
    pub(crate) async fn add_operator(&self, role: &str) -> String {
        let state = self.state_dir();
        let config = self.config_file();
        let (state, config) = (state.to_str().unwrap(), config.to_str().unwrap());
        let output = program(&["add-operator", "--role", role, "--state-dir", state, "--config", config]).await;
        assert!(output.status.success(), "{output:?}");
        let file: OperatorFile = toml::from_str(&String::from_utf8(output.stdout).unwrap()).unwrap();
        assert_eq!((&file.url, file.ca_fingerprint), (&self.operators_url(), self.ca()));
        file.token
    }

    pub(crate) async fn status(&self) -> StatusView {
        self.operator().status().await.unwrap()
    }

    /// The database beside the running controller, for what no call can make.
    pub(crate) async fn store(&self) -> Store {
        let mesh = self.status().await.mesh;
        Store::at(&self.parsed().database(self.state_dir().join("controller.db")), mesh).await.unwrap()
    }

    pub(crate) async fn token(&self, role: NodeRole, uses: u32) -> String {
        let request = CreateToken::new(role, uses, 600);
        self.operator().create_token(&request).await.unwrap().token
    }

    /// A member with a token of its own.
    pub(crate) async fn join(&self, role: NodeRole, name: &str) -> Agent {
        let token = self.token(role, 1).await;
        let host = Host::new(role, name);
        let response = host.enroll(self, &token).await.unwrap();
        host.agent(self, &response)
    }

    /// Waits until the validator list is in.
    pub(crate) async fn listed(&self) {
        eventually("the validator list", async || self.status().await.validators > 0).await;
    }
}

/// A machine with keys.
pub(crate) struct Host {
    pub(crate) request: EnrollRequest,
    tls: TlsKey,
}

impl Host {
    pub(crate) fn new(role: NodeRole, name: &str) -> Self {
        let tls = TlsKey::generate().unwrap();
        let request = EnrollRequest {
            proof: Proof::JoinToken { token: String::new() },
            role,
            name: name.parse().unwrap(),
            wireguard_key: WireGuardPublicKey::new(picket_pki::random().unwrap()).unwrap(),
            identity_key: Some(IdentityKey(WireGuardPublicKey::new(picket_pki::random().unwrap()).unwrap())),
            csr_pem: tls.csr_pem().unwrap(),
            endpoint: (role == NodeRole::Sentry).then_some(SocketAddr::from(([0, 0, 0, 0], 51820))),
            machine_id: Some("0123456789abcdef".into()),
        };
        Self { request, tls }
    }

    pub(crate) async fn enroll(&self, mesh: &Mesh, token: &str) -> Result<EnrollResponse, ApiError> {
        self.prove(mesh, Proof::JoinToken { token: token.to_owned() }).await
    }

    /// The audience that tokens for its keys have.
    pub(crate) async fn audience(&self, mesh: &Mesh) -> String {
        let digest = keys_digest(&self.request.wireguard_key, &self.tls.public_key_sha256()).unwrap();
        audience(&mesh.status().await.mesh, &digest)
    }

    pub(crate) async fn prove(&self, mesh: &Mesh, proof: Proof) -> Result<EnrollResponse, ApiError> {
        // A token says which CA its host trusts.
        let pin = match &proof {
            Proof::JoinToken { token } => token.parse::<JoinToken>().map_or_else(|_| mesh.ca(), |token| token.ca),
            _ => mesh.ca(),
        };
        let tls = client_config(pin, None).unwrap();
        let client = AgentClient::new(mesh.agents_url(), tls).unwrap();
        client.enroll(&EnrollRequest { proof, ..self.request.clone() }).await
    }

    /// A member with its next certificate.
    pub(crate) fn renewed(&self, mesh: &Mesh, node: &NodeId, certificate_pem: &str) -> Agent {
        let certificate =
            ClientCertificate { certificate_pem: certificate_pem.to_owned(), key_pem: self.tls.key_pem() };
        Agent { node: node.clone(), certificate, client: None }.connected(mesh)
    }

    pub(crate) fn agent(&self, mesh: &Mesh, response: &EnrollResponse) -> Agent {
        let certificate =
            ClientCertificate { certificate_pem: response.certificate_pem.clone(), key_pem: self.tls.key_pem() };
        let node = response.node.clone();
        Agent { node, certificate, client: None }.connected(mesh)
    }
}

/// A member.
pub(crate) struct Agent {
    pub(crate) node: NodeId,
    certificate: ClientCertificate,
    client: Option<AgentClient>,
}

impl Agent {
    /// On a connection of its own, to where the controller listens now.
    pub(crate) fn connected(self, mesh: &Mesh) -> Self {
        let tls = client_config(mesh.ca(), Some(&self.certificate)).unwrap();
        Self { client: Some(AgentClient::new(mesh.agents_url(), tls).unwrap()), ..self }
    }

    /// A client without our types, with its certificate.
    pub(crate) fn http(&self, mesh: &Mesh) -> reqwest::Client {
        let tls = client_config(mesh.ca(), Some(&self.certificate)).unwrap();
        reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap()
    }

    /// On a connection of its own that trusts these CAs.
    pub(crate) fn pinning(&self, mesh: &Mesh, pins: &[Fingerprint]) -> AgentClient {
        let tls = client_config_of(pins, Some(&self.certificate)).unwrap();
        AgentClient::new(mesh.agents_url(), tls).unwrap()
    }

    pub(crate) fn client(&self) -> AgentClient {
        self.client.clone().unwrap()
    }

    pub(crate) async fn config(&self, after: Generation) -> ConfigAnswer {
        self.client().config(after).await.unwrap().unwrap()
    }

    /// What it shall be now.
    pub(crate) async fn wanted(&self) -> ConfigAnswer {
        self.config(Generation(0)).await
    }

    /// Says that `answer` is in force.
    pub(crate) async fn confirm(&self, answer: &ConfigAnswer) {
        self.client().report(&report(answer)).await.unwrap();
    }

    /// A poll that waits for news after `answer`; returns once the controller has it.
    pub(crate) async fn waiting(
        &self,
        mesh: &Mesh,
        answer: &ConfigAnswer,
    ) -> tokio::task::JoinHandle<Result<Option<ConfigAnswer>, ApiError>> {
        let (client, after) = (self.client(), answer.revision);
        let poll = tokio::spawn(async move { client.config(after).await });
        eventually("the poll to wait", async || {
            let nodes = mesh.operator().nodes().await.unwrap();
            nodes.iter().any(|view| view.node.id == self.node && view.connected)
        })
        .await;
        poll
    }
}

/// What the program does with these arguments.
pub(crate) async fn program(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_picket-controller");
    tokio::process::Command::new(program).args(arguments).output().await.unwrap()
}

/// The report of a host that has everything in force.
pub(crate) fn report(answer: &ConfigAnswer) -> NodeReport {
    NodeReport {
        kernel: KernelView { peers: answer.full.wireguard.peers.len(), ..KernelView::default() },
        ..in_force(answer.revision, Some(answer.digest.clone()))
    }
}

/// Another secret under the same id.
pub(crate) fn forged(token: &str) -> String {
    let token: JoinToken = token.parse().unwrap();
    format!("picket1.{}.{}.{}", token.ca, token.id, "ab".repeat(32))
}

/// P-Reps of the fake list in its order.
pub(crate) fn preps(icon: &FakeIcon) -> Vec<PrepId> {
    let text = |prep: &picket_lab::icon::Prep| prep["address"].as_str().unwrap().to_owned();
    icon.state().chain.preps.iter().map(|prep| text(prep).parse().unwrap()).collect()
}

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
