//! The controller from start to stop: opens what it needs, listens, polls.

use crate::{
    Config, api,
    ca::{self, Authority},
    config::{Chain, Keys, Listen},
    controller::Controller,
    dns::Names,
    duties::Duties,
    hooks::{Hooks, Shown},
    joins::Joins,
    knocks::Knocks,
    leases::Leases,
    metrics::{Counts, Progress},
    now, operators,
    page::{self, PageLines},
    planning::Planning,
    reports::Reports,
    start::{check_first_start, enter_policy, new_id, new_mesh, open_store},
    state_dir::StateDir,
    store::{Store, StoreError},
    tasks,
    wanted::Wanted,
};
use anyhow::Context as _;
use axum::Router;
use picket_http::{Connections, Limits, Server};
use picket_model::OverlayPrefixes;
use picket_pki::server_config_accepting;
use picket_proofs::Proofs;
use picket_telemetry::{Metrics, health};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicBool},
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
    /// Where it listens for clouds.
    pub hooks: Option<SocketAddr>,
    /// Where it shows the status page.
    pub page: Option<SocketAddr>,
    /// Where it shows everybody what everybody may see.
    pub public: Option<SocketAddr>,
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
        Self::start_layered(config, state_dir, |_, routes| routes).await
    }

    /// As [`start`](Self::start), with a layer of the caller's round the routes of each listener, whose name it is given
    /// (`agents` or `operators`): it sees every request as it came, and every answer as it goes.
    pub async fn start_layered(
        config: Config,
        state_dir: &Path,
        layered: impl Fn(&'static str, Router) -> Router,
    ) -> anyhow::Result<Running> {
        let at = now();
        let state = StateDir::open(state_dir)?;
        // A port that is taken is found before anything is written.
        let listeners = Listeners::bind(&config.listen, config.page.as_ref()).await?;
        let proofs = Proofs::new(&config.attest, config.enroll.clone())?;
        let shown = Shown::new(&config.hooks)?;
        let (hooks, senders) = (Hooks::new(config.hooks.clone())?, tasks::webhooks::Sender::all(&config.webhook)?);
        let keepers = tasks::dns::Keeper::all(&config.dns, &config.hooks.metadata_url)?;
        let names = Names::new(config.dns.clone(), at);
        let place = config.database(state.database());
        ca::adopt(&state, &config.ca)?;
        check_first_start(&state, &place).await?;
        let ca = Authority::open(Arc::new(state.borrowed()), config.ca.clone(), new_mesh, at).await?;
        let (store, overlay) = open_store(&place, &ca.mesh(), &config.overlay, at).await?;
        ca::follow(&ca, &store, at).await.context("follow the CA's rotation by the database")?;
        ca::agree(&ca, &store, at).await?;
        let first = config.first_policy();
        enter_policy(&store, config.policy, first, at).await?;
        let url = format!("https://{}", listeners.operators_address()?);
        operators::enter_local(&state, &store, &url, ca.fingerprint(), at).await?;

        let agents_tls = server_config_accepting(ca.served(), Some(ca.accepted()))?;
        let operators_tls = server_config_accepting(ca.served(), None)?;
        let mut metrics = Metrics::new("picket-controller", env!("CARGO_PKG_VERSION"));
        let counts = Counts::new(&mut metrics, store.begun());
        let leases = Leases::new(config.leases);
        let restored =
            restored(store, ca, proofs, overlay, (config.chain, config.keys), (leases, hooks, names), counts);
        let controller = Arc::new(restored.await?);
        tasks::plan::run_once(&controller).await?;

        let mut running = Running {
            agents: listeners.agents.local_addr().context("read the agents' address")?,
            operators: listeners.operators.local_addr().context("read the operators' address")?,
            health: listeners.health.local_addr().context("read the health address")?,
            hooks: address(listeners.hooks.as_ref(), "hooks")?,
            page: address(listeners.page.as_ref(), "page")?,
            public: address(listeners.public.as_ref(), "public page")?,
            controller: controller.clone(),
            tasks: tasks::spawn_all(&controller)?,
            _state: state,
        };
        let ready = {
            let controller = controller.clone();
            move || controller.readiness()
        };
        let agents = layered("agents", api::agents::router(controller.clone()));
        let operators = layered("operators", api::operators::router(controller.clone()));
        let anybody = Limits::everybody_anonymous();
        running.serve(listeners.agents, agents, Some(agents_tls), Limits::default());
        running.serve(listeners.operators, operators, Some(operators_tls), anybody);
        if let Some(listener) = listeners.hooks {
            let tls = shown.as_ref().map(Shown::tls).transpose()?;
            // Whoever tells us of instances shows no certificate, and asks once.
            running.serve(listener, api::hooks::router(controller.clone()), tls, Limits::default());
            tracing::info!(hooks = ?running.hooks, "listening for clouds");
        }
        running.tell(senders, shown);
        if let Some(lines) = config.page {
            running.show(lines, listeners.page, listeners.public)?;
        }
        for keeper in keepers {
            let task = tasks::dns::run(controller.clone(), keeper);
            running.tasks.spawn(tasks::until_stopped(controller.clone(), task));
        }
        running.serve(listeners.health, health::router(ready, Arc::new(metrics)), None, anybody);
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
        if let Err(error) = self.controller.store.leave_duties(&self.controller.duties.holder).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the next controller takes over a few seconds later"
            );
        }
        self.controller.store.close().await;
        tracing::info!("stopped");
    }

    /// Starts what is told to others, and what keeps the hooks' certificate fresh.
    fn tell(&mut self, senders: Vec<tasks::webhooks::Sender>, shown: Option<Shown>) {
        let controller = self.controller.clone();
        for sender in senders {
            self.tasks
                .spawn(tasks::until_stopped(controller.clone(), tasks::webhooks::run(controller.clone(), sender)));
        }
        if let Some(shown) = shown {
            self.tasks.spawn(tasks::until_stopped(controller, tasks::hooks::renew(shown)));
        }
    }

    /// Serves the status page, over TLS but on loopback without a certificate of its own.
    fn show(
        &mut self,
        lines: PageLines,
        operators: Option<TcpListener>,
        everybody: Option<TcpListener>,
    ) -> anyhow::Result<()> {
        let shown = Shown::of("the status page", lines.certificate.as_deref(), lines.key.as_deref())?;
        let controller = self.controller.clone();
        let tls = |address: SocketAddr| match &shown {
            Some(shown) => shown.tls().map(Some),
            None if address.ip().is_loopback() => Ok(None),
            None => Ok(Some(server_config_accepting(controller.ca.served(), None)?)),
        };
        if let Some(listener) = operators {
            let tls = tls(lines.listen)?;
            let router = page::router(controller.clone(), lines.oidc, tls.is_some())?;
            let scheme = if tls.is_some() { "https" } else { "http" };
            self.serve(listener, router, tls, page::limits());
            tracing::info!(page = ?self.page, scheme, "the status page is up");
        }
        if let (Some(listener), Some(public)) = (everybody, lines.public) {
            let tls = tls(public.listen)?;
            self.serve(listener, page::public_router(controller.clone(), public), tls, page::limits());
            tracing::info!(public = ?self.public, "the public page is up");
        }
        if let Some(shown) = shown {
            self.tasks.spawn(tasks::until_stopped(controller, tasks::hooks::renew(shown)));
        }
        Ok(())
    }

    fn serve(&mut self, listener: TcpListener, router: Router, tls: Option<rustls::ServerConfig>, limits: Limits) {
        let controller = self.controller.clone();
        let server = Server {
            router,
            tls: tls.map(Arc::new),
            limits: Limits { stop_grace: STOP_GRACE, ..limits },
            connections: controller.connections.clone(),
        };
        self.tasks.spawn(async move { server.serve(listener, async move { controller.stopped().await }).await });
    }
}

/// The controller as it was when it stopped.
pub(crate) async fn restored(
    store: Store,
    ca: Authority,
    proofs: Proofs,
    overlay: OverlayPrefixes,
    (chain, keys): (Chain, Keys),
    (leases, hooks, dns): (Leases, Hooks, Names),
    counts: Counts,
) -> Result<Controller, StoreError> {
    let mut tx = store.read().await?;
    let (reports, merged, nodes) = (tx.reports().await?, tx.merged().await?, tx.nodes().await?);
    drop(tx);
    let wanted = Wanted::with(store.digests());
    for node in nodes.values().filter(|node| !node.is_active()) {
        wanted.revoke(&node.id);
    }
    Ok(Controller {
        mesh: ca.mesh(),
        overlay,
        chain,
        keys,
        duties: Duties::new(store.is_shared(), new_id(), std::time::Instant::now()),
        store,
        ca,
        proofs,
        wanted,
        reports: Reports::new(reports),
        connections: Connections::new(),
        push: tasks::push::Push::default(),
        rounds: tasks::poll::Rounds::default(),
        names: tasks::names::Desk::default(),
        anew: tasks::judge::Anew::default(),
        shield_ordered: watch::Sender::new(()),
        drained: watch::Sender::new(()),
        leases,
        hooks,
        dns,
        knocks: Knocks::default(),
        counts,
        progress: Progress::default(),
        joins: Joins::default(),
        planning: Planning::default(),
        stopping: watch::Sender::new(false),
        listed: AtomicBool::new(merged.is_some_and(|merged| !merged.set.is_empty())),
        findings: Mutex::default(),
        refusals: Mutex::default(),
    })
}

/// The listeners, bound before anything is served.
struct Listeners {
    agents: TcpListener,
    operators: TcpListener,
    health: TcpListener,
    hooks: Option<TcpListener>,
    page: Option<TcpListener>,
    public: Option<TcpListener>,
}

impl Listeners {
    async fn bind(listen: &Listen, page: Option<&PageLines>) -> anyhow::Result<Self> {
        let public = page.and_then(|page| Some(page.public.as_ref()?.listen));
        Ok(Self {
            agents: bind(listen.agents, "agents").await?,
            operators: bind(listen.operators, "operators").await?,
            health: bind(listen.health, "health").await?,
            hooks: bind_some(listen.hooks, "hooks").await?,
            page: bind_some(page.map(|page| page.listen), "page").await?,
            public: bind_some(public, "page.public").await?,
        })
    }

    /// Where an operator on this host finds the controller.
    fn operators_address(&self) -> anyhow::Result<SocketAddr> {
        let mut address = self.operators.local_addr().context("read the operators' address")?;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        Ok(address)
    }
}

/// Where one listens that may not be there.
fn address(listener: Option<&TcpListener>, name: &'static str) -> anyhow::Result<Option<SocketAddr>> {
    let address = listener.map(TcpListener::local_addr).transpose();
    address.with_context(|| format!("read the address of {name}"))
}

async fn bind_some(address: Option<SocketAddr>, name: &'static str) -> anyhow::Result<Option<TcpListener>> {
    match address {
        Some(address) => bind(address, name).await.map(Some),
        None => Ok(None),
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
