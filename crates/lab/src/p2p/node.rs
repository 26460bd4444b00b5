//! One node: it listens, dials, sends blocks, and keeps one link for each other node. Tasks on the lab's runtime; what they
//! see goes into the network's book.

use super::{
    BLOCK, Link, Pair, REDIAL, Shared,
    frame::{self, Message, PeerId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval_at, timeout},
};

/// goloop's `DefaultDialTimeout`; Go shares it among the addresses of a name.
const DIAL_WITHIN: Duration = Duration::from_secs(5);
/// Frames that wait for a link before the next is dropped, as goloop's queues do.
const QUEUE: usize = 64;

/// A node, shared by its tasks.
#[derive(Debug, Clone)]
pub(super) struct Node {
    own: usize,
    shared: Arc<Shared>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    links: BTreeMap<usize, (u64, mpsc::Sender<Vec<u8>>)>,
    dialling: BTreeSet<usize>,
}

impl Node {
    pub(super) fn new(own: usize, shared: Arc<Shared>) -> Self {
        Self { own, shared, state: Arc::default() }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(self, listener: TcpListener, phase: Duration) {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        let begin = tokio::time::Instant::now() + phase;
        let (mut dial, mut block) = (interval_at(begin, REDIAL), interval_at(begin, BLOCK));
        dial.set_missed_tick_behavior(MissedTickBehavior::Delay);
        block.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0;
        // They end with the node.
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, from)) = accepted {
                        tasks.spawn(self.clone().welcome(stream, from));
                    }
                }
                _ = dial.tick() => {
                    for other in self.missing() {
                        tasks.spawn(self.clone().dial(other));
                    }
                }
                _ = block.tick() => {
                    number += 1;
                    self.send(Message::Block { number, made: self.shared.clock() });
                }
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    /// Those without a link that are not being dialled.
    fn missing(&self) -> Vec<usize> {
        let mut state = self.state();
        let others = (0..self.shared.places.len()).filter(|other| *other != self.own);
        let missing: Vec<usize> =
            others.filter(|other| !state.links.contains_key(other) && !state.dialling.contains(other)).collect();
        state.dialling.extend(&missing);
        missing
    }

    async fn dial(self, other: usize) {
        // As a resolver does, another first each time, and not the same for everybody.
        let mut addresses = self.shared.advertised(other);
        let turn = usize::try_from(self.shared.book().dialled(self.own, other)).unwrap_or(0);
        let first = (self.own + turn).checked_rem(addresses.len()).unwrap_or(0);
        addresses.rotate_left(first);
        let within = DIAL_WITHIN / u32::try_from(addresses.len().max(1)).unwrap_or(1);
        let mut connected = None;
        for to in addresses {
            connected = self.connect(to, within).await.map(|stream| (stream, to));
            if connected.is_some() {
                break;
            }
        }
        self.state().dialling.remove(&other);
        let Some((mut stream, to)) = connected else { return };
        let number = self.shared.next_link();
        if stream.write_all(&self.frame(Message::Hello { link: number })).await.is_err() {
            return;
        }
        // For ever: goloop has no time-out here.
        if let Ok((id, Message::Welcome)) = frame::read(&mut stream).await {
            self.keep(stream, id, Link { number, remote: to, dialled: true, since: Instant::now() }).await;
        }
    }

    async fn connect(&self, to: SocketAddr, within: Duration) -> Option<TcpStream> {
        let host = self.shared.places.get(self.own)?.host.clone();
        let socket = tokio::task::spawn_blocking(move || host.open(None, to)).await.ok()?.ok()?.ok()?;
        timeout(within, socket.connect(to)).await.ok()?.ok()
    }

    async fn welcome(self, mut stream: TcpStream, from: SocketAddr) {
        // A packet is one write, and waits for no other.
        let _ = stream.set_nodelay(true);
        let Ok((id, Message::Hello { link: number })) = frame::read(&mut stream).await else { return };
        if stream.write_all(&self.frame(Message::Welcome)).await.is_ok() {
            self.keep(stream, id, Link { number, remote: from, dialled: false, since: Instant::now() }).await;
        }
    }

    /// Keeps a link until it ends, or until a newer one to the same node is there.
    async fn keep(self, stream: TcpStream, id: PeerId, link: Link) {
        let Some(other) = self.who(id) else { return };
        let (sender, queue) = mpsc::channel(QUEUE);
        // The one before ends by losing its sender.
        self.state().links.insert(other, (link.number, sender));
        self.shared.book().linked(self.own, other, link);
        let (reader, writer) = stream.into_split();
        tokio::select! {
            () = send(writer, queue) => {}
            () = self.receive(reader, other) => {}
        }
        let mut state = self.state();
        if state.links.get(&other).is_some_and(|(number, _)| *number == link.number) {
            state.links.remove(&other);
        }
        drop(state);
        self.shared.book().parted(self.own, other, link.number);
    }

    async fn receive(&self, mut reader: OwnedReadHalf, other: usize) {
        while let Ok((_, message)) = frame::read(&mut reader).await {
            if let Message::Block { made, .. } = message {
                let made = self.shared.begun + Duration::from_micros(made);
                self.shared.book().arrived(self.own, other, made, Instant::now());
            }
        }
    }

    /// To every node there is a link to.
    fn send(&self, message: Message) {
        let frame = self.frame(message);
        for (_, link) in self.state().links.values() {
            // A full queue loses it.
            let _ = link.try_send(frame.clone());
        }
    }

    fn frame(&self, message: Message) -> Vec<u8> {
        frame::encode(id(self.own), message)
    }

    fn who(&self, peer: PeerId) -> Option<usize> {
        (0..self.shared.places.len()).find(|node| *node != self.own && id(*node) == peer)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By which a node is known, whatever its address.
fn id(node: usize) -> PeerId {
    [u8::try_from(node).unwrap_or(u8::MAX); 20]
}

async fn send(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = queue.recv().await {
        if writer.write_all(&frame).await.is_err() {
            return;
        }
    }
}

impl Pair {
    /// Whether a node is one of the two.
    #[must_use]
    pub fn has(self, node: usize) -> bool {
        self.0 == node || self.1 == node
    }

    /// The other of the two; itself where the node is neither.
    #[must_use]
    pub fn other(self, node: usize) -> usize {
        if node == self.0 { self.1 } else { self.0 }
    }
}
