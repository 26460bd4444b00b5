//! The controller from start to stop: opens what it needs, listens, polls.

use crate::{
    Config, api,
    config::Listen,
    controller::Controller,
    metrics::Counts,
    now, operators,
    reports::Reports,
    start::{enter_policy, new_mesh, open_store},
    state_dir::StateDir,
    tasks,
    wanted::Wanted,
};
use anyhow::Context as _;
use axum::Router;
use picket_http::{Connections, Limits, Server};
use picket_model::{NodeId, Timestamp};
use picket_pki::{ServedCertificate, server_config};
use picket_telemetry::{Metrics, health};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout_at},
};

/// How long requests in flight may still run when the controller stops; waiting polls are answered at once.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// After so long a stop waits for nothing any more.
const STOP_LIMIT: Duration = Duration::from_millis(1_800);

/// Starts a controller.
#[derive(Debug)]
pub struct App;

/// A running controller.
pub struct Running {
    /// Where it listens for agents.
    pub agents: SocketAddr,
    /// Where it listens for operators.
    pub operators: SocketAddr,
    /// Where it answers for its health.
    pub health: SocketAddr,
    controller: Arc<Controller>,
    tasks: JoinSet<()>,
    /// Held until the end, so that no second controller takes the folder.
    _state: StateDir,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running(agents {}, operators {}, health {})", self.agents, self.operators, self.health)
    }
}

impl App {
    /// Starts with this configuration and state folder. On return it listens, and the wanted state is up as it was.
    pub async fn start(config: Config, state_dir: &Path) -> anyhow::Result<Running> {
        let Config { listen, chain, overlay, policy } = config;
        let state = StateDir::open(state_dir)?;
        let ca = state.ca(new_mesh, now())?;
        let (store, overlay) = open_store(&state, ca.mesh(), &overlay, now()).await?;
        enter_policy(&store, policy, now()).await?;
        let listeners = Listeners::bind(&listen).await?;
        let url = format!("https://{}", listeners.operators.local_addr().context("read the operators' address")?);
        operators::enter_local(&state, &store, &url, ca.fingerprint(), now()).await?;

        let served = ServedCertificate::new(ca.server_certificate(now())?)?;
        let (agents_tls, operators_tls) =
            (server_config(served.clone(), Some(&ca))?, server_config(served.clone(), None)?);
        let mut metrics = Metrics::new("picket-controller", env!("CARGO_PKG_VERSION"));
        let counts = Counts::new(&mut metrics);
        let mut tx = store.read().await?;
        let (reports, listed) = (tx.reports().await?, tx.merged().await?.is_some_and(|merged| !merged.set.is_empty()));
        let nodes = tx.nodes().await?;
        drop(tx);
        let controller = Arc::new(Controller {
            mesh: ca.mesh().clone(),
            overlay,
            chain,
            store,
            ca,
            wanted: Wanted::default(),
            reports: Reports::new(reports),
            connections: Connections::new(),
            counts,
            planning: tokio::sync::Mutex::default(),
            stopping: watch::Sender::new(false),
            listed: AtomicBool::new(listed),
            findings: std::sync::Mutex::default(),
            refusals: std::sync::Mutex::new((Timestamp::default(), 0)),
        });
        let revoked: Vec<&NodeId> = nodes.values().filter(|node| !node.is_active()).map(|node| &node.id).collect();
        revoked.into_iter().for_each(|node| controller.wanted.revoke(node));
        tasks::plan::run_once(&controller).await?;

        let mut running = Running {
            agents: listeners.agents.local_addr().context("read the agents' address")?,
            operators: listeners.operators.local_addr().context("read the operators' address")?,
            health: listeners.health.local_addr().context("read the health address")?,
            controller: controller.clone(),
            tasks: tasks::spawn_all(&controller, served)?,
            _state: state,
        };
        let ready = {
            let controller = controller.clone();
            move || controller.readiness()
        };
        running.serve(listeners.agents, api::agents::router(controller.clone()), Some(agents_tls));
        running.serve(listeners.operators, api::operators::router(controller.clone()), Some(operators_tls));
        running.serve(listeners.health, health::router(ready, Arc::new(metrics)), None);
        tracing::info!(
            mesh = %controller.mesh, ca = %controller.ca.fingerprint(), agents = %running.agents,
            operators = %running.operators, health = %running.health, "serving"
        );
        Ok(running)
    }
}

impl Running {
    /// Answers waiting polls, keeps what is not kept yet and ends within two seconds.
    pub async fn stop(mut self) {
        let deadline = Instant::now() + STOP_LIMIT;
        tracing::info!("stopping");
        self.controller.stopping.send_replace(true);
        while let Ok(Some(_)) = timeout_at(deadline, self.tasks.join_next()).await {}
        self.tasks.abort_all();
        if let Err(error) = tasks::reports::run_once(&self.controller).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the last reports were not kept");
        }
        self.controller.store.close().await;
        tracing::info!("stopped");
    }

    fn serve(&mut self, listener: TcpListener, router: Router, tls: Option<rustls::ServerConfig>) {
        let controller = self.controller.clone();
        let server = Server {
            router,
            tls: tls.map(Arc::new),
            limits: Limits { stop_grace: STOP_GRACE, ..Limits::default() },
            connections: controller.connections.clone(),
        };
        self.tasks.spawn(async move { server.serve(listener, async move { controller.stopped().await }).await });
    }
}

/// The three listeners, bound before anything is served.
struct Listeners {
    agents: TcpListener,
    operators: TcpListener,
    health: TcpListener,
}

impl Listeners {
    async fn bind(listen: &Listen) -> anyhow::Result<Self> {
        Ok(Self {
            agents: bind(listen.agents, "agents").await?,
            operators: bind(listen.operators, "operators").await?,
            health: bind(listen.health, "health").await?,
        })
    }
}

/// Binds; `[::]` takes both families, and on a host without IPv6 stands for 0.0.0.0.
async fn bind(address: SocketAddr, name: &'static str) -> anyhow::Result<TcpListener> {
    let bound = match TcpListener::bind(address).await {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && is_without_ipv6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    bound.with_context(|| format!("listen on {address} (listen.{name})"))
}

fn is_without_ipv6(error: &std::io::Error) -> bool {
    /// EAFNOSUPPORT and EADDRNOTAVAIL on Linux (errno.h): no IPv6 in the kernel, or disabled by sysctl.
    const WITHOUT_IPV6: [i32; 2] = [97, 99];
    error.raw_os_error().is_some_and(|code| WITHOUT_IPV6.contains(&code))
}
