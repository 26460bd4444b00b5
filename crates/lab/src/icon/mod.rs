//! A fake ICON endpoint: recorded P-Rep lists over goloop's HTTP surface with its quirks, and told to change, shrink,
//! lie or stall. Several may tell of one chain. Answers are functions of values; only `http`, `ws` and `args` touch the
//! network.

pub mod args;
pub mod behaviour;
pub mod chain;
mod control;
mod events;
mod http;
pub mod node;
mod past;
mod rpc;
mod score;
pub mod shared;
#[cfg(test)]
mod tests;
mod ws;

pub use args::{Args, run};
pub use behaviour::{Behaviour, Push};
pub use chain::{ChainState, FixtureError, Prep};
pub use node::{NodeState, Peer};
pub use shared::FakeChain;
pub use ws::SessionsTaken;

use picket_model::PrepId;
use serde::{Deserialize, Serialize};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::net::{TcpListener, UnixListener};

/// What the endpoint is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FakeState {
    /// The chain as it truly is.
    pub chain: ChainState,
    /// How the endpoint tells of it.
    pub behaviour: Behaviour,
    /// How it serves its WebSocket.
    #[serde(default)]
    pub push: Push,
    /// What its own node knows of the others.
    #[serde(default)]
    pub node: NodeState,
    /// Requests received so far.
    pub requests: u64,
}

/// Handle to a fake endpoint; clones speak of the same one.
#[derive(Clone, Debug)]
pub struct FakeIcon {
    chain: FakeChain,
    own: Arc<Mutex<Own>>,
    sessions: Arc<ws::Sessions>,
}

/// What is an endpoint's own, and not its chain's.
#[derive(Debug, Default)]
struct Own {
    behaviour: Behaviour,
    push: Push,
    node: NodeState,
    requests: u64,
}

impl FakeIcon {
    /// An endpoint of a chain of its own. It serves nothing until [`FakeIcon::serve`].
    pub fn new(chain: ChainState) -> Self {
        Self::of(FakeChain::new(chain))
    }

    /// One more endpoint of this chain.
    pub(super) fn of(chain: FakeChain) -> Self {
        Self { chain, own: Arc::default(), sessions: Arc::default() }
    }

    /// The chain it tells of.
    pub fn chain(&self) -> &FakeChain {
        &self.chain
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
        let chain = self.chain.state();
        let Own { behaviour, push, node, requests } = &*self.lock();
        FakeState { chain, behaviour: behaviour.clone(), push: *push, node: node.clone(), requests: *requests }
    }

    /// Requests received so far.
    pub fn requests(&self) -> u64 {
        self.lock().requests
    }

    /// How it behaves from the next request on.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.lock().behaviour = behaviour;
    }

    /// How it serves its WebSocket from the next connection on.
    pub fn set_push(&self, push: Push) {
        self.lock().push = push;
    }

    /// As [`FakeChain::set_height`].
    pub fn set_height(&self, height: u64) {
        self.chain.set_height(height);
    }

    /// As [`FakeChain::set_preps`].
    pub fn set_preps(&self, preps: Vec<Prep>) -> u64 {
        self.chain.set_preps(preps)
    }

    /// As [`FakeChain::remove`].
    pub fn remove(&self, prep: PrepId) -> Option<u64> {
        self.chain.remove(prep)
    }

    /// As [`FakeChain::set_endpoint`].
    pub fn set_endpoint(&self, prep: PrepId, endpoint: &str) -> Option<u64> {
        self.chain.set_endpoint(prep, endpoint)
    }

    /// As [`FakeChain::next_block`].
    pub fn next_block(&self) -> u64 {
        self.chain.next_block()
    }

    /// Changes what its own node knows of the others.
    pub fn set_node(&self, change: impl FnOnce(&mut NodeState)) {
        change(&mut self.lock().node);
    }

    /// Drops every WebSocket, as a node does that is restarted.
    pub fn drop_sessions(&self) {
        self.sessions.drop_all();
    }

    /// WebSockets that are open.
    pub fn open_sessions(&self) -> usize {
        self.sessions.open()
    }

    /// Others take the places for WebSockets that are free, until what is returned is dropped.
    pub fn take_sessions(&self) -> SessionsTaken {
        self.sessions.take()
    }

    fn lock(&self) -> MutexGuard<'_, Own> {
        // A test that stopped while it held the lock left a whole value behind.
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
