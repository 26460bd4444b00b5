//! One controller of the mesh: its folder, its memory while it runs, and an operation of its that waits. Starts as the program does,
//! up to where that would listen.

use crate::{
    app::restored,
    ca::{self, Authority, CaConfig},
    config::{Chain, Keys, Overlay, SourceUrl},
    controller::Controller,
    dns::Names,
    hooks::{Hooks, HooksLines},
    leases::Leases,
    metrics::Counts,
    start::{enter_policy, new_mesh, open_store},
    state_dir::StateDir,
    store::{Place, moments::Fate},
    tasks::{follow::Seen, plan},
};
use picket_model::{Policy, Timestamp};
use picket_proofs::{Attest, Proofs};
use picket_telemetry::Metrics;
use std::{path::PathBuf, pin::Pin, sync::Arc};
use tokio::sync::Mutex;

/// What an operation of a controller says in the end.
pub(super) type Operation<T> = Pin<Box<dyn Future<Output = T>>>;

/// A controller's host.
pub(super) struct Site<T> {
    pub(super) folder: PathBuf,
    /// `None` while it is down.
    pub(super) running: Option<Running>,
    /// What it was about to do when others went on.
    pub(super) waits: Option<(Operation<T>, Fate)>,
    /// What its clock says beside the others'.
    pub(super) skew_millis: i64,
}

/// A controller that runs.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) controller: Arc<Controller>,
    /// How far it has seen what others did.
    pub(super) seen: Arc<Mutex<Seen>>,
    _state: Arc<StateDir>,
}

impl<T> Site<T> {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, running: None, waits: None, skew_millis: 0 }
    }

    /// Ends it as a kill does: what was under way is gone, and so is what it knew.
    pub(super) async fn kill(&mut self) {
        self.waits = None;
        if let Some(running) = self.running.take() {
            running.controller.store.close().await;
        }
    }
}

/// A controller on this folder and database, as far as it is before it listens.
pub(super) async fn start(
    folder: PathBuf,
    place: Place,
    sources: Vec<SourceUrl>,
    first: Policy,
    at: Timestamp,
) -> anyhow::Result<Running> {
    let state = StateDir::open(&folder)?;
    let ca = Authority::open(Arc::new(state.borrowed()), CaConfig::default(), new_mesh, at).await?;
    let overlay = Overlay { v4: Some("10.86.0.0/16".parse()?), v6: Some("fd00:1::/48".parse()?) };
    let (store, overlay) = open_store(&place, &ca.mesh(), &overlay, at).await?;
    let opened = async {
        ca::agree(&ca, &store, at).await?;
        enter_policy(&store, None, first, at).await?;
        let mut metrics = Metrics::new("picket-controller", "simulated");
        let counts = Counts::new(&mut metrics, store.begun());
        let proofs = Proofs::new(&Attest::default(), Vec::new())?;
        let chain = Chain { sources, ..Chain::default() };
        let beside = (Leases::default(), Hooks::new(HooksLines::default())?, Names::new(Vec::new(), at));
        let restored = restored(store.clone(), ca, proofs, overlay, (chain, Keys::default()), beside, counts);
        let controller = Arc::new(restored.await?);
        plan::run_once(&controller).await?;
        anyhow::Ok(controller)
    };
    match opened.await {
        Ok(controller) => {
            let seen = Arc::new(Mutex::new(Seen::nothing(at)));
            Ok(Running { controller, seen, _state: Arc::new(state) })
        }
        Err(error) => {
            store.close().await;
            Err(error)
        }
    }
}
