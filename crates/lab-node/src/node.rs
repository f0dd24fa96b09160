//! A running validator: one task that owns consensus, gossip and chain, and tasks for its connections.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bftap_ibft_decode::View;
use bftap_model::{Address, Hash256, Nanos};
use bftap_simnet::Gossip;
use bftap_simnet::consensus::{
    Action, Config, Core, Dialect, NodeSet, ReceivedBlock, Relay, SignedMessage, TimerToken,
};
use bftap_simnet::devp2p::{self, ChainCodes, DisconnectReason};
use bftap_simnet::key::NodeKey;
use bftap_simnet::prng::Prng;
use bftap_simnet::transaction::made_up;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use crate::chain::{Chain, ChainBlock};
use crate::connection::{self, Role};
use crate::faults::FaultKind;
use crate::options::NodeOptions;
use crate::outbox::{Outbox, Outgoing};
use crate::record::{Entry, Record, address};
use crate::shared::{ConnId, PeerIndex, Shared, fresh_prng};
use crate::sync::Syncing;

/// A validator that runs; it goes on until it is told to stop, or dropped together with its runtime.
#[derive(Debug)]
pub struct LabNode {
    status: watch::Receiver<NodeStatus>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// How far a validator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Height of its chain.
    pub height: u64,
    /// Hash of its head.
    pub hash: Hash256,
    /// Round of the height above.
    pub round: u64,
    /// Validators it is connected to.
    pub peers: usize,
}

/// Why a validator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It is not one of the network's.
    #[error("the key is none of the network's validators: its address is {0}")]
    NotListed(Address),
    /// Nobody can reach it.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Its record cannot be written.
    #[error("cannot write the record {path}")]
    Record {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The system has no random numbers.
    #[error("cannot read random numbers: {0}")]
    Random(io::Error),
    /// Only Klaytn has several connections for each pair of nodes.
    #[error("{0} has no multichannel: only Klaytn's clients have")]
    Multichannel(&'static str),
}

impl LabNode {
    /// How far it is.
    pub fn status(&self) -> NodeStatus {
        *self.status.borrow()
    }

    /// Waits until it is so far.
    pub async fn reaches(&mut self, until: impl FnMut(&NodeStatus) -> bool) {
        // The node is there as long as this is, so it cannot fail.
        let _ = self.status.wait_for(until).await;
    }

    /// Says goodbye to its peers, reads what they still send, and ends.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }

    /// Ends at once, as a killed process does: connections break.
    pub fn kill(self) {
        self.task.abort();
    }
}

/// What connections tell the node.
#[derive(Debug)]
pub(crate) enum Event {
    Up {
        peer: PeerIndex,
        channel: u8,
        conn: ConnId,
        outbox: Outbox,
        height: u64,
    },
    Down {
        peer: PeerIndex,
        channel: u8,
        conn: ConnId,
    },
    Consensus {
        peer: PeerIndex,
        message: Arc<SignedMessage>,
        room: Option<OwnedSemaphorePermit>,
    },
    Chain {
        peer: PeerIndex,
        code: u64,
        payload: Vec<u8>,
        room: Option<OwnedSemaphorePermit>,
    },
}

impl Event {
    /// With the room that its bytes take until the node has done with it.
    pub(crate) fn holding(mut self, held: OwnedSemaphorePermit) -> Self {
        if let Self::Consensus { room, .. } | Self::Chain { room, .. } = &mut self {
            *room = Some(held);
        }
        self
    }
}

pub(crate) enum Timer {
    Core(TimerToken),
    /// The block period is over for this height.
    Request(u64),
    /// A block that a peer sent, unless consensus gets there first.
    Fetch(Arc<ReceivedBlock>),
    /// Consensus begins, whoever is connected.
    WarmUp,
    /// Late, as the fault wants it.
    Propose(View),
}

pub(crate) struct Peer {
    pub(crate) outboxes: [Option<(ConnId, Outbox)>; 2],
    pub(crate) height: u64,
}

pub(crate) struct Node {
    pub(crate) shared: Arc<Shared>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) core: Core,
    core_started: bool,
    pub(crate) relay: Relay,
    pub(crate) chain: Chain,
    pub(crate) peers: Vec<Peer>,
    pub(crate) connected: NodeSet,
    pub(crate) syncing: Option<Syncing>,
    /// Messages for its own consensus: its own, and those whose view has come.
    pub(crate) inbox: VecDeque<Arc<SignedMessage>>,
    pub(crate) mempool: VecDeque<Vec<u8>>,
    pub(crate) prng: Prng,
    /// A key that has no vote, for votes that it should not make.
    pub(crate) stranger: NodeKey,
    /// When the head came.
    pub(crate) imported: Instant,
    pub(crate) timers: Vec<(Instant, Timer)>,
    /// Who got the other proposal of two.
    pub(crate) second_proposal: NodeSet,
    pub(crate) last_vote: Option<Arc<SignedMessage>>,
    /// Height and round that it asked for last in a storm of round changes.
    pub(crate) asked_round: (u64, u64),
    /// Messages of floods so far.
    pub(crate) flood_turn: u64,
    pub(crate) flood_due: f64,
    transactions_due: f64,
    /// Faults that were on at the last look.
    faults_on: Vec<bool>,
}

/// Starts a validator on the runtime this is called in.
///
/// # Errors
/// When it cannot listen, or cannot write its record.
pub async fn start(options: NodeOptions) -> Result<LabNode, StartError> {
    let network = &options.network;
    let ours = network
        .index_of(options.key.id())
        .ok_or(StartError::NotListed(options.key.address()))?;
    if options.multichannel && options.client.dialect() != Dialect::Klaytn {
        return Err(StartError::Multichannel(options.client.as_str()));
    }
    let first = options.listen.unwrap_or(network.validators[ours].endpoint);
    let mut listeners = Vec::new();
    for channel in 0..=u16::from(options.multichannel) {
        let address = SocketAddr::new(first.ip(), first.port().saturating_add(channel));
        let listener = TcpListener::bind(address).await;
        listeners.push(listener.map_err(|source| StartError::Listen { address, source })?);
    }
    let record = Record::open(options.record.as_deref()).map_err(|source| StartError::Record {
        path: options
            .record
            .as_ref()
            .map_or_else(String::new, |path| path.display().to_string()),
        source,
    })?;
    let prng = fresh_prng().map_err(StartError::Random)?;
    let (events, incoming) = mpsc::channel(EVENTS);
    let (stop, stopping) = watch::channel(false);
    let shared = Arc::new(Shared::new(options, ours, record, events, stopping));
    let node = Node::new(Arc::clone(&shared), prng);
    let (tell, status) = watch::channel(node.status());
    let mut tasks = tokio::task::JoinSet::new();
    for (channel, listener) in listeners.into_iter().enumerate() {
        tasks.spawn(accept(Arc::clone(&shared), listener, channel as u8));
    }
    for peer in (0..shared.options.network.validators.len()).filter(|&peer| peer != ours) {
        tasks.spawn(dial(Arc::clone(&shared), peer));
    }
    if shared
        .options
        .faults
        .iter()
        .any(|fault| matches!(fault.kind, FaultKind::Churn(_)))
    {
        tasks.spawn(connection::churn(shared));
    }
    let task = tokio::spawn(async move {
        node.run(incoming, &tell).await;
        // Listeners and dialers go with it.
        drop(tasks);
    });
    Ok(LabNode { status, stop, task })
}

/// Takes connections, a bounded number at a time.
async fn accept(shared: Arc<Shared>, listener: TcpListener, channel: u8) {
    let most = 2 * shared.options.network.validators.len() + SPARE_CONNECTIONS;
    let room = Arc::new(Semaphore::new(most));
    let mut running = tokio::task::JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                running.spawn(async move {
                    // What went wrong stands in the record.
                    let _ = connection::run(shared, stream, Role::Accepted { channel }).await;
                    drop(permit);
                });
            }
            // No descriptors left, for example: others may be closed meanwhile.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Keeps a node connected to a peer.
async fn dial(shared: Arc<Shared>, peer: PeerIndex) {
    let Ok(mut prng) = fresh_prng() else { return };
    let first = if shared.options.simultaneous_dials || shared.ours < peer {
        20
    } else {
        LATER_DIAL
    };
    sleep(Duration::from_millis(first + prng.below(100))).await;
    let mut backoff = FIRST_BACKOFF;
    let mut running = tokio::task::JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        let mut channels = 0..=u8::from(shared.options.multichannel);
        match channels.find(|&channel| !shared.is_connected(peer, channel)) {
            None => {
                backoff = FIRST_BACKOFF;
                shared.freed[peer].notified().await;
            }
            Some(channel) => {
                let mut endpoint = shared.validator(peer).endpoint;
                endpoint.set_port(endpoint.port() + u16::from(channel));
                if let Ok(Ok(stream)) = timeout(DIAL_TIME, TcpStream::connect(endpoint)).await {
                    let (shared, role) = (Arc::clone(&shared), Role::Dialled { peer, channel });
                    // What went wrong stands in the record.
                    let task = running.spawn(connection::run(shared.clone(), stream, role));
                    // The other channel does not wait for this one's end.
                    while !task.is_finished() && !shared.is_connected(peer, channel) {
                        sleep(Duration::from_millis(20)).await;
                    }
                    if shared.is_connected(peer, channel) {
                        backoff = FIRST_BACKOFF;
                        continue;
                    }
                }
            }
        }
        let jitter = Duration::from_millis(prng.below(backoff.as_millis() as u64));
        sleep(backoff + jitter).await;
        backoff = (backoff * 2).min(MOST_BACKOFF);
    }
}

impl Node {
    pub(crate) fn new(shared: Arc<Shared>, mut prng: Prng) -> Self {
        let options = &shared.options;
        let addresses = options.network.addresses();
        let nanos = i64::try_from(options.round_timeout.as_nanos()).unwrap_or(i64::MAX);
        let config = Config {
            commits_prepare: shared.options.client.commits_prepare(),
            dialect: options.client.dialect(),
            quorum: options.client.quorum(addresses.len()),
            validators: addresses.clone(),
            round_timeout: Nanos(nanos),
        };
        let chain = Chain::new(addresses.clone(), config.faulty(), options.network.genesis);
        let core = Core::new(Arc::new(config), options.key.clone(), chain.head());
        let peer = || Peer {
            outboxes: [None, None],
            height: 0,
        };
        Self {
            relay: Relay::new(options.client.gossip_cache()),
            peers: addresses.iter().map(|_| peer()).collect(),
            faults_on: vec![false; options.faults.len()],
            shared,
            addresses,
            core,
            core_started: false,
            chain,
            connected: NodeSet::default(),
            syncing: None,
            inbox: VecDeque::new(),
            mempool: VecDeque::new(),
            stranger: NodeKey::draw(&mut prng),
            prng,
            imported: Instant::now(),
            timers: Vec::new(),
            second_proposal: NodeSet::default(),
            last_vote: None,
            asked_round: (0, 0),
            flood_turn: 0,
            flood_due: 0.0,
            transactions_due: 0.0,
        }
    }

    fn status(&self) -> NodeStatus {
        let head = self.chain.head();
        NodeStatus {
            height: head.number,
            hash: head.hash,
            round: self.core.view().round,
            peers: self.connected.len(),
        }
    }

    async fn run(mut self, mut events: mpsc::Receiver<Event>, status: &watch::Sender<NodeStatus>) {
        let options = &self.shared.options;
        self.shared.record.tell(Entry::Start {
            node: self.shared.name(self.shared.ours),
            address: address(options.key.address()),
            client: options.client.as_str(),
            chain: format!("{}/{}", options.network.network_id, options.network.genesis),
            faults: options.faults.iter().map(ToString::to_string).collect(),
        });
        self.after(self.shared.options.warm_up, Timer::WarmUp);
        let mut ticks = interval(TICK);
        let mut last_tick = Instant::now();
        let mut stop = self.shared.stop.clone();
        while !self.shared.stopping() {
            let due = self.timers.iter().map(|(due, _)| *due).min();
            let event = tokio::select! {
                event = events.recv() => event,
                () = sleep_until(due.unwrap_or_else(|| Instant::now() + TICK)), if due.is_some() => {
                    self.fire();
                    None
                }
                _ = ticks.tick() => {
                    self.tick(last_tick.elapsed());
                    last_tick = Instant::now();
                    None
                }
                _ = stop.wait_for(|stop| *stop) => None,
            };
            if let Some(event) = event {
                let delay = self.delay();
                if matches!(event, Event::Consensus { .. }) && !delay.is_zero() {
                    // A slow node stands still as a whole; its peers wait for their sockets.
                    let _ = timeout(delay, stop.wait_for(|stop| *stop)).await;
                }
                self.take(event);
            }
            self.settle();
            status.send_if_modified(|old| {
                let new = self.status();
                let changed = *old != new;
                *old = new;
                changed
            });
        }
        self.goodbye(&mut events).await;
    }

    /// Says goodbye, and waits until the connections are over.
    async fn goodbye(&mut self, events: &mut mpsc::Receiver<Event>) {
        let farewell = Outgoing::Disconnect(DisconnectReason::Quitting);
        for peer in 0..self.peers.len() {
            for channel in 0..2 {
                self.send(peer, channel, farewell.clone());
            }
        }
        let over = async {
            while self
                .peers
                .iter()
                .any(|peer| peer.outboxes.iter().any(Option::is_some))
            {
                match events.recv().await {
                    Some(Event::Up {
                        outbox,
                        peer,
                        channel,
                        conn,
                        ..
                    }) => {
                        let _ = outbox.send(farewell.clone());
                        self.peers[peer].outboxes[usize::from(channel)] = Some((conn, outbox));
                    }
                    Some(Event::Down { peer, channel, conn }) => self.down(peer, channel, conn),
                    // Read and recorded already; nobody decides any more.
                    Some(Event::Consensus { .. } | Event::Chain { .. }) => {}
                    None => break,
                }
            }
        };
        let _ = timeout(GOODBYE_TIME, over).await;
        self.shared.record.tell(Entry::Stop {
            height: self.chain.head().number,
        });
        self.shared.record.flush();
    }

    pub(crate) fn take(&mut self, event: Event) {
        match event {
            Event::Up {
                peer,
                channel,
                conn,
                outbox,
                height,
            } => {
                self.peers[peer].outboxes[usize::from(channel)] = Some((conn, outbox));
                if channel == 0 {
                    self.connected.insert(peer);
                    self.peer_height(peer, height);
                    if self.connected.len() + 1 == self.peers.len() {
                        self.start_core();
                    }
                }
            }
            Event::Down { peer, channel, conn } => self.down(peer, channel, conn),
            Event::Consensus { peer, message, .. } => self.consensus_arrived(peer, message),
            Event::Chain {
                peer, code, payload, ..
            } => self.chain_message(peer, code, &payload),
        }
    }

    fn down(&mut self, peer: PeerIndex, channel: u8, conn: ConnId) {
        let outbox = &mut self.peers[peer].outboxes[usize::from(channel)];
        if outbox.take_if(|(known, _)| *known == conn).is_some() && channel == 0 {
            self.connected.remove(peer);
        }
    }

    fn start_core(&mut self) {
        if !self.core_started {
            self.core_started = true;
            self.core.start();
            self.schedule_request();
        }
    }

    fn consensus_arrived(&mut self, peer: PeerIndex, message: Arc<SignedMessage>) {
        let ahead = message.view.sequence > self.core.view().sequence + 1;
        if self.relay.received(&message.payload_hash, peer) {
            let height = message.view.sequence.saturating_sub(1);
            let honest = message.honest;
            self.inbox.push_back(message);
            if ahead && honest {
                self.peer_height(peer, height);
            }
        }
    }

    /// Does what consensus wants done, until it wants nothing more.
    pub(crate) fn settle(&mut self) {
        loop {
            while let Some(action) = self.core.poll() {
                match action {
                    Action::Send(message) => self.send_own(message),
                    Action::Again(message) => self.inbox.push_back(message),
                    Action::Propose(view) => self.propose(view),
                    Action::Timer(token, span) => {
                        let span = Duration::from_nanos(span.0.max(0).cast_unsigned());
                        self.after(span, Timer::Core(token));
                    }
                    Action::Commit(committed) => {
                        if committed.block.number() == self.chain.head().number + 1 {
                            let block = ChainBlock {
                                block: committed.block,
                                round: committed.round,
                                seals: committed.seals,
                            };
                            self.import(block, "consensus");
                        }
                    }
                }
            }
            let Some(message) = self.inbox.pop_front() else {
                return;
            };
            let accepted = self.core.handle(&message).is_ok();
            if accepted && self.shared.options.gossip == Gossip::Flood {
                self.gossip(&message);
            }
        }
    }

    /// A block is the new head.
    pub(crate) fn import(&mut self, block: ChainBlock, by: &'static str) {
        let block = self.chain.push(block);
        let head = self.chain.head();
        self.imported = Instant::now();
        self.shared.set_head(head.number, head.hash);
        self.shared.record.tell(Entry::Decided {
            sequence: head.number,
            round: block.round,
            hash: head.hash.to_string(),
            proposer: address(block.block.proposer()),
            transactions: block.block.transaction_count(),
            by,
        });
        self.core.import(head);
        if self.core_started {
            self.schedule_request();
        }
        if by == "consensus" {
            self.spread_block(&block);
        }
    }

    /// The miner is ready for the next height when the block period is over.
    fn schedule_request(&mut self) {
        let period = self.shared.options.block_period;
        let age = crate::clock::now_centis().saturating_sub(self.chain.head_centis());
        let left = period.saturating_sub(Duration::from_millis(age.saturating_mul(10)));
        // GoQuorum's headers tell whole seconds only: short periods go by the time of import, too.
        let left = if self.shared.dialect() == Dialect::QuorumIbft {
            left.max(period / 2)
        } else {
            left
        };
        let height = self.chain.head().number + 1;
        self.after(left, Timer::Request(height));
    }

    pub(crate) fn after(&mut self, span: Duration, timer: Timer) {
        self.timers.push((Instant::now() + span, timer));
    }

    fn fire(&mut self) {
        let now = Instant::now();
        while let Some(index) = self.timers.iter().position(|(due, _)| *due <= now) {
            match self.timers.swap_remove(index).1 {
                Timer::Core(token) => self.core.timeout(token),
                Timer::Request(height) if height == self.chain.head().number + 1 => self.core.request(),
                Timer::Request(_) => {}
                Timer::Fetch(block) => self.fetch(&block),
                Timer::WarmUp => self.start_core(),
                Timer::Propose(view) if view == self.core.view() => self.propose_now(view),
                Timer::Propose(_) => {}
            }
        }
    }

    fn tick(&mut self, since: Duration) {
        let age = self.shared.started.elapsed();
        for (fault, was_on) in self.shared.options.faults.iter().zip(&mut self.faults_on) {
            let on = fault.is_active(age);
            if std::mem::replace(was_on, on) != on {
                let fault = fault.to_string();
                self.shared.record.tell(Entry::Fault { fault, on });
            }
        }
        self.flood(since);
        self.make_transactions(since);
        self.look_behind();
        self.shared.record.flush();
    }

    /// Makes its share of the transactions of a block period, keeps them for its own blocks, and tells its peers.
    fn make_transactions(&mut self, since: Duration) {
        let options = &self.shared.options;
        let (most, dialect) = (4 * options.transactions, self.shared.dialect());
        let share = options.transactions as f64 / self.peers.len() as f64;
        let periods = since.as_secs_f64() / options.block_period.as_secs_f64().max(0.001);
        self.transactions_due = (self.transactions_due + share * periods).min(MOST_TRANSACTIONS);
        let count = self.transactions_due as usize;
        if count == 0 {
            return;
        }
        self.transactions_due -= count as f64;
        let made: Vec<_> = (0..count).map(|_| made_up(dialect, &mut self.prng)).collect();
        let payload: Arc<[u8]> = devp2p::items(made.iter().map(Vec::as_slice)).into();
        let room = most.saturating_sub(self.mempool.len());
        self.mempool.extend(made.into_iter().take(room));
        let code = ChainCodes::of(dialect).transactions;
        for peer in self.connected.iter() {
            let channel = u8::from(self.peers[peer].outboxes[1].is_some());
            self.send(peer, channel, Outgoing::Chain(code, Arc::clone(&payload)));
        }
    }

    /// Queues a message about blocks.
    pub(crate) fn send_chain(&mut self, peer: PeerIndex, code: u64, payload: Arc<[u8]>) {
        self.send(peer, 0, Outgoing::Chain(code, payload));
    }

    /// Queues something for a peer; one whose queue is full is dropped.
    pub(crate) fn send(&mut self, peer: PeerIndex, channel: u8, what: Outgoing) {
        let Some((_, outbox)) = &self.peers[peer].outboxes[usize::from(channel)] else {
            return;
        };
        if outbox.send(what).is_err() {
            outbox.kill.notify_one();
        }
    }
}

/// Events that may wait for the node; then its connections wait, and at last its peers.
const EVENTS: usize = 4096;
/// And the KiB of their messages: 128 MiB.
pub(crate) const EVENTS_KIB: u32 = 128 << 10;
const TICK: Duration = Duration::from_millis(50);
/// Connections beyond two for each validator: strangers, and duplicates on their way out.
const SPARE_CONNECTIONS: usize = 32;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const DIAL_TIME: Duration = Duration::from_secs(5);
/// Who has the higher address dials later, in milliseconds: the other one may have done it by then.
const LATER_DIAL: u64 = 2_000;
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const MOST_BACKOFF: Duration = Duration::from_secs(5);
/// Longer than a connection takes to end.
const GOODBYE_TIME: Duration = Duration::from_secs(5);
/// Transactions in one message, at most.
const MOST_TRANSACTIONS: f64 = 1_000.0;
