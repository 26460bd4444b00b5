//! The mesh with everything that is watched on it, Prometheus, Alertmanager, and the receiver that stands for a pager.

use super::{Args, texts::encoded};
use crate::{
    Host,
    icon::FakeIcon,
    mesh::{Mesh, MeshSize},
    wait_until,
};
use anyhow::{Context as _, Result, ensure};
use axum::{Json, Router, extract::State, routing::post};
use serde_json::Value;
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Time for what the real thing takes seconds for, on a loaded machine.
pub(super) const SOON: Duration = Duration::from_secs(60);
/// Where agents answer, on the address of their host.
const HEALTH: u16 = 7447;
/// Where the controller answers, on loopback.
const CONTROLLER: &str = "127.0.0.1:7445";
const PROMETHEUS: u16 = 9090;
/// Where the example of an Alertmanager sends what wakes somebody.
const PAGER: u16 = 9095;

/// Everything. The mesh goes with it.
pub(super) struct Site {
    /// The mesh: a hidden validator with a node, and two sentries.
    pub(super) mesh: Mutex<Mesh>,
    /// The validator's node.
    pub(super) node: FakeIcon,
    /// Folder of the tools.
    pub(super) tools: PathBuf,
    /// The project's.
    pub(super) project: PathBuf,
    /// What the pager was told.
    pages: Pages,
    /// Where Prometheus runs.
    host: Host,
    /// Where each agent is scraped, the validator's first.
    pub(super) agents: Vec<String>,
}

/// Debian's Alertmanager looks for its templates below /usr/share and nowhere else: for it alone they are there.
const WITH_ITS_FILES: &str = r#"mount -t overlay overlay -o "lowerdir=$1:/usr/share" /usr/share && shift && exec "$@""#;

type Pages = Arc<Mutex<Vec<Value>>>;

impl Site {
    /// Starts all of it.
    pub(super) fn new(args: &Args) -> Result<Self> {
        let mut mesh = Mesh::new("monitoring", MeshSize { preps: 1, sentries: 2 })?;
        mesh.controller.configure(|text| format!("{text}\n[[policy.hidden]]\nprep = \"prep-1\"\n"))?;
        let prep = mesh.validators[0].prep.to_string();
        let mut agents = Vec::new();
        for agent in mesh.preps.iter_mut().chain(&mut mesh.sentries) {
            let health = agent.host.v4(HEALTH)?.to_string();
            agent.settings.extend([("PICKET_HEALTH", health.clone()), ("PICKET_LOG_FORMAT", "json".to_owned())]);
            agents.push(health);
        }
        let data = mesh.preps[0].host.path("");
        mesh.preps[0].settings.extend([("PICKET_PREP_ADDRESS", prep), ("PICKET_NODE_DATA", data)]);
        mesh.start()?;
        let node = mesh.start_beside_goloop(0)?;
        mesh.wait_in_force()?;
        mesh.wait_for_tunnels()?;
        let host = mesh.controller.host.clone();
        let pages = Pages::default();
        serve_pager(&mesh, &host, pages.clone())?;
        start_alertmanager(&host, args)?;
        start_prometheus(&host, args, &agents)?;
        let (tools, project) = (args.tools.clone(), args.project.clone());
        Ok(Self { mesh: Mutex::new(mesh), node, tools, project, pages, host, agents })
    }

    /// The text at this path of a program: of the controller, or an agent.
    pub(super) fn told(&self, program: &str, path: &str) -> Result<(u16, String)> {
        get(&self.host, program.parse()?, path)
    }

    /// Where everybody is scraped, the controller first.
    pub(super) fn programs(&self) -> Vec<String> {
        std::iter::once(CONTROLLER.to_owned()).chain(self.agents.iter().cloned()).collect()
    }

    /// What Prometheus gives for an expression now.
    pub(super) fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let answer = self.prometheus(&format!("/api/v1/query?query={}", encoded(expression)))?;
        let result = answer["data"]["result"].as_array().cloned();
        result.with_context(|| format!("{expression}: {answer}"))
    }

    /// What Prometheus answers at this path.
    pub(super) fn prometheus(&self, path: &str) -> Result<Value> {
        let (status, body) = get(&self.host, (Ipv4Addr::LOCALHOST, PROMETHEUS).into(), path)?;
        ensure!(status == 200, "{path}: {status} {body}");
        serde_json::from_str(&body).with_context(|| format!("read the answer to {path}"))
    }

    /// What the pager was told by now.
    pub(super) fn pages(&self) -> Vec<Value> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The mesh, to do something to it.
    pub(super) fn mesh(&self) -> std::sync::MutexGuard<'_, Mesh> {
        self.mesh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints what all programs logged.
    pub(super) fn print_logs(&self) {
        self.mesh().lab.print_logs();
    }
}

fn serve_pager(mesh: &Mesh, host: &Host, pages: Pages) -> Result<()> {
    let listener = host.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, PAGER)))?.context("listen for pages")?;
    listener.set_nonblocking(true).context("listen for pages")?;
    let take = async |State(pages): State<Pages>, Json(page): Json<Value>| {
        pages.lock().unwrap_or_else(PoisonError::into_inner).push(page);
    };
    let router = Router::new().route("/alerts", post(take)).with_state(pages);
    mesh.lab.serve(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, router).await
    });
    Ok(())
}

/// The example as it is: what it sends to the outside gets nowhere, and is tried again.
fn start_alertmanager(host: &Host, args: &Args) -> Result<()> {
    let config = args.project.join("monitoring/alertmanager/alertmanager.yml");
    let flags = [
        format!("--config.file={}", config.display()),
        format!("--storage.path={}", host.path("alertmanager")),
        "--web.listen-address=127.0.0.1:9093".to_owned(),
        "--cluster.listen-address=".to_owned(),
    ];
    let (program, share) = (args.tools.join("prometheus-alertmanager"), args.tools.join("../share"));
    let (program, share) = (program.to_string_lossy(), share.to_string_lossy());
    let start = ["--mount", "sh", "-c", WITH_ITS_FILES, "alertmanager", &share, &program];
    let args: Vec<&str> = start.into_iter().chain(flags.iter().map(String::as_str)).collect();
    host.start("alertmanager", "unshare", &args, &[])?;
    Ok(())
}

/// With the example's jobs, scraping each second; alerts fire after two seconds in the place of minutes, since how long each
/// waits is what the rules' own tests look at.
fn start_prometheus(host: &Host, args: &Args, agents: &[String]) -> Result<()> {
    let monitoring = args.project.join("monitoring");
    let read = |name: &str| fs::read_to_string(monitoring.join(name)).with_context(|| format!("read {name}"));
    let rules = read("rules/picket.yml")?;
    let quick = |line: &str| if line.trim_start().starts_with("for: ") { "        for: 2s" } else { line }.to_owned();
    let rules: Vec<String> = rules.lines().map(quick).collect();
    let rules = host.write("rules.yml", &(rules.join("\n") + "\n"))?;
    let agents = host.write("agents.json", &serde_json::json!([{"targets": agents}]).to_string())?;
    let config = read("prometheus/prometheus.yml")?;
    let config = config.replace("../rules/picket.yml", &rules).replace("agents.json\"]", &format!("{agents}\"]"));
    let config = config.replace(": 15s", ": 1s").replace(&format!("\"{agents}\""), &format!("{agents:?}"));
    let config = host.write("prometheus.yml", &config)?;
    let flags = [
        format!("--config.file={config}"),
        format!("--storage.tsdb.path={}", host.path("prometheus")),
        format!("--web.listen-address=127.0.0.1:{PROMETHEUS}"),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    host.start("prometheus", args.tools.join("prometheus"), &flags, &[])?;
    wait_until("Prometheus to be ready", SOON, || {
        match get(host, (Ipv4Addr::LOCALHOST, PROMETHEUS).into(), "/-/ready") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    Ok(())
}

/// Status and body of a GET from this host; HTTP/1.0, so that the body is as it comes.
fn get(host: &Host, to: SocketAddr, path: &str) -> Result<(u16, String)> {
    let asked = host.inside(|| -> std::io::Result<String> {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {to}\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?;
    let answer = asked.with_context(|| format!("ask {to} for {path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("an answer without a status")?;
    Ok((status, body.to_owned()))
}
