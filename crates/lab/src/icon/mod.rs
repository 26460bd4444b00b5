//! A fake ICON endpoint: recorded P-Rep lists over goloop's HTTP surface with its quirks, and told to change, shrink,
//! lie or stall. Answers are functions of [`ChainState`]; only `http`, `ws` and `args` touch the network.

pub mod args;
pub mod chain;
mod control;
mod events;
mod http;
pub mod node;
mod rpc;
mod score;
#[cfg(test)]
mod tests;
mod ws;

pub use args::{Args, run};
pub use chain::{ChainState, FixtureError, Prep};
pub use node::{NodeState, Peer};

use events::Event;
use picket_model::PrepId;
use serde::{Deserialize, Serialize};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::net::{TcpListener, UnixListener};

/// How the endpoint behaves. As JSON: `"normal"`, `{"status": 503}`, `"empty-preps"`, `{"lie": [...]}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// As goloop does.
    #[default]
    Normal,
    /// A page of HTML with status 200, as a parked domain gives.
    Html,
    /// This HTTP status with a page of HTML, as a proxy gives; 429 and 503 with `Retry-After: 30`.
    Status(u16),
    /// The request is read and never answered.
    Stall,
    /// A body of so many bytes, blank after the first.
    Huge(usize),
    /// `getPReps` answers an empty list.
    EmptyPreps,
    /// `getPReps` answers the first half of the list.
    HalfPreps,
    /// Another chain id than the chain's own.
    WrongChain,
    /// Another list of P-Reps than the chain's own.
    Lie(Vec<Prep>),
}

/// What the endpoint is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FakeState {
    /// The chain as it truly is.
    pub chain: ChainState,
    /// How the endpoint tells of it.
    pub behaviour: Behaviour,
    /// What its own node knows of the others.
    #[serde(default)]
    pub node: NodeState,
    /// Requests received so far.
    pub requests: u64,
}

/// Handle to a fake endpoint; clones speak of the same one.
#[derive(Clone, Debug, Default)]
pub struct FakeIcon {
    state: Arc<Mutex<FakeState>>,
    sessions: Arc<ws::Sessions>,
}

impl FakeIcon {
    /// An endpoint of this chain. It serves nothing until [`FakeIcon::serve`].
    pub fn new(chain: ChainState) -> Self {
        let fake = Self::default();
        fake.sessions.log.send_modify(|log| log.height = chain.height);
        fake.lock().chain = chain;
        fake
    }

    /// Binds a free port of 127.0.0.1 and serves there until the runtime ends.
    ///
    /// # Errors
    /// The operating system's, where no port can be bound.
    pub async fn start(chain: ChainState) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let fake = Self::new(chain);
        tokio::spawn(fake.clone().serve(listener, None));
        Ok((fake, address))
    }

    /// Serves JSON-RPC on `listener`, bound by the caller in whatever namespace, and control on the other; never returns
    /// while both work.
    ///
    /// # Errors
    /// The operating system's, where a listener fails.
    pub async fn serve(self, listener: TcpListener, control: Option<TcpListener>) -> io::Result<()> {
        let chain = axum::serve(listener, http::router(self.clone()));
        match control {
            None => chain.await,
            Some(control) => {
                let control = axum::serve(control, control::router(self));
                tokio::try_join!(chain.into_future(), control.into_future()).map(|_| ())
            }
        }
    }

    /// Serves on a socket as goloop does on `cli.sock`: the chain's paths without `/admin`, and no JSON-RPC.
    ///
    /// # Errors
    /// The operating system's, where the listener fails.
    pub async fn serve_socket(self, listener: UnixListener) -> io::Result<()> {
        axum::serve(listener, node::router().with_state(self)).await
    }

    /// The whole state, copied.
    pub fn state(&self) -> FakeState {
        self.lock().clone()
    }

    /// Requests received so far.
    pub fn requests(&self) -> u64 {
        self.lock().requests
    }

    /// How it behaves from the next request on.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.lock().behaviour = behaviour;
    }

    /// Puts the chain at this height.
    pub fn set_height(&self, height: u64) {
        let mut state = self.lock();
        state.chain.height = height;
        self.tell(&state, Vec::new());
    }

    /// Replaces the list, in a new block; returns its height.
    pub fn set_preps(&self, preps: Vec<Prep>) -> u64 {
        let mut state = self.lock();
        let events = events::between(&state.chain.preps, &preps);
        state.chain.preps = preps;
        let height = state.chain.next_block();
        self.tell(&state, events);
        height
    }

    /// Takes a P-Rep off the list, in a new block; returns its height, or `None` where the list has no such P-Rep.
    pub fn remove(&self, prep: PrepId) -> Option<u64> {
        let mut state = self.lock();
        let height = state.chain.remove(prep)?;
        self.tell(&state, vec![Event::unregistered(prep)]);
        Some(height)
    }

    /// Registers any text as a P-Rep's endpoint, in a new block; returns its height, or `None` where the list has no such
    /// P-Rep.
    pub fn set_endpoint(&self, prep: PrepId, endpoint: &str) -> Option<u64> {
        let mut state = self.lock();
        let height = state.chain.set_endpoint(prep, endpoint)?;
        self.tell(&state, vec![Event::set(prep)]);
        Some(height)
    }

    /// Changes what its own node knows of the others.
    pub fn set_node(&self, change: impl FnOnce(&mut NodeState)) {
        change(&mut self.lock().node);
    }

    /// Ends a block; returns its height.
    pub fn next_block(&self) -> u64 {
        let mut state = self.lock();
        let height = state.chain.next_block();
        self.tell(&state, Vec::new());
        height
    }

    /// Drops every WebSocket, as a node does that is restarted.
    pub fn drop_sessions(&self) {
        self.sessions.drop_all();
    }

    /// WebSockets that are open.
    pub fn open_sessions(&self) -> usize {
        self.sessions.open()
    }

    /// Whoever listens hears of the last block. Under the lock of the state, so that blocks are told in order.
    fn tell(&self, state: &FakeState, events: Vec<Event>) {
        let height = state.chain.height;
        self.sessions.log.send_modify(|log| {
            log.height = height;
            if !events.is_empty() {
                log.events.insert(height, events);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, FakeState> {
        // A test that stopped while it held the lock left a whole value behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
