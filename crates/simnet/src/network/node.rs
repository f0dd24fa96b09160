//! Nodes: a validator with its queue, its gossip, its peers, and its chain.

use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use bftap_ibft_decode::{Kind, SIGNATURE_LEN, View};
use bftap_model::Hash256;

use super::Network;
use super::event::{ConnIndex, Event, NodeIndex, Time};
use super::session::{Message, Session};
use super::truth::ChainIndex;
use crate::client::Client;
use crate::consensus::{
    Action, BlockPlan, Committed, Core, Forgery, Head, NodeSet, Proposal, Relay, SignedMessage, TimerToken,
};
use crate::devp2p;
use crate::key::NodeKey;
use crate::options::{FaultKind, Gossip};
use crate::prng::Prng;
use crate::rlpx::frame::compress;

/// A host with a node on it.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) ip: std::net::IpAddr,
    pub(super) mac: [u8; 6],
    pub(super) key: NodeKey,
    pub(super) client: Client,
    /// Its place among the validators.
    pub(super) validator: usize,
    /// Where its port is captured.
    pub(super) tap: Option<Tap>,
    /// The host has power.
    pub(super) powered: bool,
    /// The process runs.
    pub(super) running: bool,
    /// It will not come back.
    pub(super) gone: bool,
    /// Counts starts: events of an earlier life are void.
    pub(super) epoch: u32,
    pub(super) paused_until: Time,
    pub(super) chain: ChainIndex,
    pub(super) head: ChainHead,
    pub(super) peers: Vec<Peer>,
    /// Validators with a ready session.
    pub(super) connected: NodeSet,
    pub(super) core: Option<Core>,
    relay: Relay,
    /// When the consensus thread is done with what it has.
    busy_until: Time,
    /// Fetching blocks since.
    syncing: Option<Time>,
    /// Who got another proposal than the one that comes next.
    second_proposal: NodeSet,
    last_port: u16,
}

/// Where a node's port is captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub(super) file: usize,
    pub(super) interface: u32,
}

/// A node's last block.
#[derive(Clone, Copy)]
pub(super) struct ChainHead {
    pub(super) number: u64,
    pub(super) hash: Hash256,
    pub(super) proposer: Option<bftap_model::Address>,
    /// When it was made.
    pub(super) time: Time,
}

/// What a node knows of another.
#[derive(Clone, Default)]
pub(super) struct Peer {
    /// Session on each channel.
    pub(super) sessions: [Option<ConnIndex>; 2],
    dialing: [bool; 2],
    /// Highest block it is known to have.
    height: u64,
}

/// A decided block.
pub(super) struct ChainBlock {
    pub(super) block: Arc<Proposal>,
    round: u64,
    seals: Vec<[u8; SIGNATURE_LEN]>,
    time: Time,
    new_block: OnceLock<Vec<u8>>,
}

impl ChainBlock {
    pub(super) fn number(&self) -> u64 {
        self.block.number()
    }

    pub(super) fn header_rlp(&self) -> Vec<u8> {
        self.block.header_rlp(self.round, &self.seals)
    }

    /// NewBlock with it, compressed.
    pub(super) fn new_block(&self) -> &[u8] {
        self.new_block.get_or_init(|| {
            let rlp = self.block.decided_rlp(self.round, &self.seals);
            compress(&devp2p::new_block(&rlp, self.number())).unwrap_or_default()
        })
    }

    fn head(&self) -> ChainHead {
        ChainHead {
            number: self.number(),
            hash: self.block.hash(),
            proposer: Some(self.block.proposer()),
            time: self.time,
        }
    }
}

impl Node {
    pub(super) fn new(
        name: String,
        ip: std::net::IpAddr,
        mac: [u8; 6],
        key: NodeKey,
        client: Client,
    ) -> Self {
        Self {
            name,
            ip,
            mac,
            key,
            client,
            validator: 0,
            tap: None,
            powered: true,
            running: false,
            gone: false,
            epoch: 0,
            paused_until: 0,
            chain: 0,
            head: ChainHead {
                number: 0,
                hash: Hash256::ZERO,
                proposer: None,
                time: 0,
            },
            peers: Vec::new(),
            connected: NodeSet::default(),
            core: None,
            relay: Relay::new(client.gossip_cache()),
            busy_until: 0,
            syncing: None,
            second_proposal: NodeSet::default(),
            last_port: 0,
        }
    }

    /// A port to dial from: none is used twice before all were.
    pub(super) fn next_port(&mut self, prng: &mut Prng) -> u16 {
        self.last_port = match self.last_port {
            0 => FIRST_PORT + prng.below(u64::from(LAST_PORT - FIRST_PORT)) as u16,
            LAST_PORT.. => FIRST_PORT,
            last => last + 1,
        };
        self.last_port
    }

    fn core_head(&self) -> Head {
        Head {
            number: self.head.number,
            hash: self.head.hash,
            proposer: self.head.proposer,
        }
    }
}

impl Network<'_> {
    /// A node's process starts.
    pub(super) fn start_node(&mut self, index: NodeIndex) {
        let warm_up = if self.now < self.consensus_start {
            // On a new chain all begin together, so that no proposal meets a node that does not listen yet.
            self.consensus_start - self.now
        } else {
            self.options.warm_up.0.cast_unsigned()
        };
        let peers = self.options.nodes;
        let node = &mut self.nodes[index];
        node.powered = true;
        node.running = true;
        node.epoch += 1;
        node.peers = vec![Peer::default(); peers];
        node.connected = NodeSet::default();
        node.relay = Relay::new(node.client.gossip_cache());
        node.busy_until = 0;
        node.syncing = None;
        node.core = Some(Core::new(
            Arc::clone(&self.configs[index]),
            node.key.clone(),
            node.core_head(),
        ));
        let epoch = node.epoch;
        self.queue
            .push(self.now + warm_up, Event::CoreStart { node: index, epoch });
        for peer in 0..peers {
            if peer != index && (index < peer || self.options.simultaneous_dials) {
                let wait = if self.options.simultaneous_dials {
                    // As soon as the last node listens.
                    self.dial_start.saturating_sub(self.now) + self.prng.below(400_000)
                } else {
                    20_000_000 + self.prng.below(200_000_000)
                };
                self.schedule_dials(index, peer, wait);
            }
        }
    }

    /// A node dials a peer, unless it has a session.
    pub(super) fn dial_peer(&mut self, index: NodeIndex, epoch: u32, peer: NodeIndex, channel: u8) {
        let node = &self.nodes[index];
        if !node.running || node.epoch != epoch {
            return;
        }
        if node.paused_until > self.now {
            let event = Event::Dial {
                node: index,
                epoch,
                peer,
                channel,
            };
            self.queue.push(node.paused_until, event);
            return;
        }
        let known = &node.peers[peer];
        if known.sessions[usize::from(channel)].is_some() || known.dialing[usize::from(channel)] {
            return;
        }
        let clients = [node.client, self.nodes[peer].client];
        let port = clients[1].port() + u16::from(channel);
        self.nodes[index].peers[peer].dialing[usize::from(channel)] = true;
        self.dial(index, peer, port, Session::rlpx(clients, channel));
    }

    /// A session, or the attempt at one, is over for `index`.
    pub(super) fn session_over(&mut self, conn: ConnIndex, index: NodeIndex, peer: NodeIndex, channel: u8) {
        let dialled = self.conn(conn).is_some_and(|conn| conn.ends[0].node == index);
        let validator = self.nodes[peer].validator;
        let node = &mut self.nodes[index];
        if !node.running || node.peers.is_empty() {
            return;
        }
        let known = &mut node.peers[peer];
        let slot = &mut known.sessions[usize::from(channel)];
        let was_session = *slot == Some(conn);
        if was_session {
            *slot = None;
        }
        if dialled {
            known.dialing[usize::from(channel)] = false;
        }
        let mut twin = None;
        if was_session && channel == 0 {
            twin = known.sessions[1];
            node.connected.remove(validator);
            node.syncing = None;
        }
        if dialled || was_session {
            let wait = 2_000_000_000 + self.prng.below(2_500_000_000);
            if index < peer || self.options.simultaneous_dials {
                self.schedule_dials(index, peer, wait);
            }
        }
        if let Some(twin) = twin {
            let side = self
                .conn(twin)
                .map_or(0, |conn| usize::from(conn.ends[1].node == index));
            self.close(twin, side);
        }
    }

    /// A node's consensus begins.
    pub(super) fn core_start(&mut self, index: NodeIndex, epoch: u32) {
        let node = &mut self.nodes[index];
        if let Some(core) = node.core.as_mut().filter(|_| node.epoch == epoch) {
            core.start();
            self.core_started(index);
        }
    }

    /// A consensus message came from a peer.
    pub(super) fn consensus_arrived(
        &mut self,
        index: NodeIndex,
        peer: NodeIndex,
        message: Arc<SignedMessage>,
    ) {
        let peer_validator = self.nodes[peer].validator;
        let node = &mut self.nodes[index];
        let Some(core) = node
            .core
            .as_ref()
            .filter(|core| core.view().sequence > core.head().number)
        else {
            return;
        };
        let ahead = message.view.sequence > core.view().sequence + 1;
        let new = node.relay.received(&message.payload_hash, peer_validator);
        if new {
            self.enqueue(index, message.clone());
        }
        if ahead {
            self.peer_height(index, peer, message.view.sequence - 1);
        }
    }

    /// A node's consensus takes a message from its queue.
    pub(super) fn core_message(&mut self, index: NodeIndex, epoch: u32, message: &Arc<SignedMessage>) {
        let node = &mut self.nodes[index];
        if node.epoch != epoch {
            return;
        }
        if node.paused_until > self.now {
            let event = Event::Core {
                node: index,
                epoch,
                message: Arc::clone(message),
            };
            self.queue.push(node.paused_until, event);
            return;
        }
        let Some(core) = &mut node.core else { return };
        let accepted = core.handle(message).is_ok();
        if accepted && self.options.gossip == Gossip::Flood {
            self.gossip(index, message);
        }
        self.run_core(index);
    }

    /// A round timer runs off.
    pub(super) fn core_timer(&mut self, index: NodeIndex, epoch: u32, token: TimerToken) {
        let node = &mut self.nodes[index];
        if node.epoch != epoch {
            return;
        }
        if node.paused_until > self.now {
            self.queue.push(
                node.paused_until,
                Event::Timer {
                    node: index,
                    epoch,
                    token,
                },
            );
            return;
        }
        if let Some(core) = &mut node.core {
            core.timeout(token);
        }
        self.run_core(index);
    }

    /// A node's miner is ready for a height.
    pub(super) fn request(&mut self, index: NodeIndex, epoch: u32, height: u64) {
        let node = &mut self.nodes[index];
        if node.epoch != epoch || node.head.number + 1 != height {
            return;
        }
        if node.paused_until > self.now {
            self.queue.push(
                node.paused_until,
                Event::Request {
                    node: index,
                    epoch,
                    height,
                },
            );
            return;
        }
        if let Some(core) = &mut node.core {
            core.request();
        }
        self.run_core(index);
    }

    /// A node imports the block it decided.
    pub(super) fn import(&mut self, index: NodeIndex, epoch: u32, committed: Committed) {
        let node = &self.nodes[index];
        if node.epoch != epoch || node.head.number + 1 != committed.block.number() {
            return;
        }
        if node.paused_until > self.now {
            let committed = Box::new(committed);
            self.queue.push(
                node.paused_until,
                Event::Import {
                    node: index,
                    epoch,
                    committed,
                },
            );
            return;
        }
        let block = Arc::new(ChainBlock {
            time: self
                .block_times
                .get(&committed.block.hash())
                .copied()
                .unwrap_or(self.now),
            block: committed.block,
            round: committed.round,
            seals: committed.seals,
            new_block: OnceLock::new(),
        });
        self.ledger
            .entry((node.chain, block.number()))
            .or_insert_with(|| Arc::clone(&block));
        self.advance(index, &block);
        if self.options.background {
            self.spread_block(index, &block);
        }
    }

    /// A block came from a peer.
    pub(super) fn block_arrived(&mut self, index: NodeIndex, peer: NodeIndex, block: Arc<ChainBlock>) {
        let node = &mut self.nodes[index];
        let known = &mut node.peers[peer];
        known.height = known.height.max(block.number());
        if block.number() == node.head.number + 1 {
            // The fetcher gives consensus half a second to get there by itself.
            let epoch = node.epoch;
            self.queue.push(
                self.now + FETCH_DELAY,
                Event::Fetch {
                    node: index,
                    epoch,
                    block,
                },
            );
        } else {
            let height = block.number();
            self.peer_height(index, peer, height);
        }
    }

    /// A node imports a block that a peer sent, unless it has it by now.
    pub(super) fn fetch(&mut self, index: NodeIndex, epoch: u32, block: Arc<ChainBlock>) {
        let node = &self.nodes[index];
        if node.epoch == epoch && node.head.number + 1 == block.number() && node.paused_until <= self.now {
            self.advance(index, &block);
        }
    }

    /// A peer has this height: fetch what is missing, if much is.
    pub(super) fn peer_height(&mut self, index: NodeIndex, peer: NodeIndex, height: u64) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let known = &mut node.peers[peer];
        known.height = known.height.max(height);
        let patient = node.syncing.is_some_and(|since| now < since + SYNC_PATIENCE);
        let Some(session) = known.sessions[0].filter(|_| !patient && height > node.head.number + 1) else {
            return;
        };
        node.syncing = Some(now);
        let (from, amount) = (node.head.number + 1, (height - node.head.number).min(SYNC_BATCH));
        let side = self.side_of(session, index);
        self.send(session, side, 200_000, Message::HeadersRequest { from, amount });
    }

    /// Blocks that a node has, for a peer that asks.
    pub(super) fn blocks(&self, index: NodeIndex, from: u64, amount: u64) -> Vec<Arc<ChainBlock>> {
        let node = &self.nodes[index];
        if from > node.head.number {
            return Vec::new();
        }
        let kept = (node.chain, from)..=(node.chain, node.head.number);
        self.ledger
            .range(kept)
            .take(amount as usize)
            .map(|(_, block)| Arc::clone(block))
            .collect()
    }

    /// The blocks that a node asked for.
    pub(super) fn blocks_arrived(&mut self, index: NodeIndex, blocks: Vec<Arc<ChainBlock>>) {
        for block in blocks {
            // The first may be far ahead when the peers keep no older ones: a node of the simulation believes it.
            if block.number() > self.nodes[index].head.number {
                self.advance(index, &block);
            }
        }
        self.sync_over(index);
    }

    pub(super) fn sync_over(&mut self, index: NodeIndex) {
        self.nodes[index].syncing = None;
    }

    /// Sends transactions from a node to all its peers.
    pub(super) fn send_transactions(&mut self) {
        let period = self.options.block_period.0.cast_unsigned();
        let ticks = (period / TRANSACTION_TICK).max(1);
        let wanted = self.options.transactions as u64;
        let count = wanted / ticks + u64::from(self.prng.below(ticks) < wanted % ticks);
        self.queue
            .push(self.now + period.min(TRANSACTION_TICK), Event::Transactions);
        let index = self.prng.below(self.options.nodes as u64) as usize;
        if count == 0 || !self.nodes[index].running || self.nodes[index].paused_until > self.now {
            return;
        }
        let dialect = self.nodes[index].client.dialect();
        let made: Vec<Vec<u8>> = (0..count)
            .map(|_| super::traffic::transaction(dialect, &mut self.prng))
            .collect();
        let payload = devp2p::items(made.iter().map(Vec::as_slice));
        let Ok(compressed) = compress(&payload) else {
            return;
        };
        let compressed: Rc<[u8]> = compressed.into();
        let room = (4 * self.options.transactions).saturating_sub(self.mempool.len());
        self.mempool.extend(made.into_iter().take(room));
        let channel = usize::from(self.options.channels - 1);
        for peer in 0..self.options.nodes {
            if let Some(session) = self.nodes[index].peers[peer].sessions[channel] {
                let delay = self.prng.below(300_000);
                let side = self.side_of(session, index);
                self.send(
                    session,
                    side,
                    delay,
                    Message::Transactions(Rc::clone(&compressed)),
                );
            }
        }
    }

    /// Puts a message into a node's queue.
    fn enqueue(&mut self, index: NodeIndex, message: Arc<SignedMessage>) {
        let mut cost = self.options.processing.0.cast_unsigned() + self.prng.below(20_000);
        for fault in self.active_faults(index) {
            if let FaultKind::Slow(extra) = fault {
                cost += extra.0.cast_unsigned();
            }
        }
        let node = &mut self.nodes[index];
        node.busy_until = node.busy_until.max(self.now) + cost;
        let event = Event::Core {
            node: index,
            epoch: node.epoch,
            message,
        };
        self.queue.push(node.busy_until, event);
    }

    /// Passes a message on to all who are not known to have it.
    fn gossip(&mut self, index: NodeIndex, message: &Arc<SignedMessage>) {
        if self.active_faults(index).any(|fault| fault == FaultKind::Silent) {
            return;
        }
        let node = &mut self.nodes[index];
        let targets = node.relay.forward(&message.payload_hash, node.connected);
        self.send_to(index, targets, message);
    }

    fn send_to(&mut self, index: NodeIndex, targets: NodeSet, message: &Arc<SignedMessage>) {
        // Each peer has a goroutine of its own, and Go walks its peers in no order.
        let turn = self.prng.below(targets.len().max(1) as u64) as usize;
        let order = targets.iter().cycle().skip(turn).take(targets.len());
        let mut delay = 0;
        for validator in order {
            delay += 4_000 + self.prng.below(14_000);
            let peer = self.node_of_validator[validator];
            if let Some(session) = self.nodes[index].peers[peer].sessions[0] {
                let side = self.side_of(session, index);
                self.send(session, side, delay, Message::Consensus(Arc::clone(message)));
            }
        }
    }

    /// Does what a node's consensus wants.
    fn run_core(&mut self, index: NodeIndex) {
        while let Some(action) = self.nodes[index].core.as_mut().and_then(Core::poll) {
            let epoch = self.nodes[index].epoch;
            match action {
                Action::Send(message) => self.send_own(index, message),
                Action::Again(message) => self.enqueue(index, message),
                Action::Propose(view) => self.propose(index, view),
                Action::Timer(token, after) => {
                    let event = Event::Timer {
                        node: index,
                        epoch,
                        token,
                    };
                    self.queue.push(self.now + after.0.cast_unsigned(), event);
                }
                Action::Commit(committed) => {
                    let chain = self.nodes[index].chain;
                    self.truth
                        .decided(self.now, chain, committed.round, &committed.block, index);
                    let committed = Box::new(committed);
                    let delay = 1_500_000 + self.prng.below(3_000_000);
                    self.queue.push(
                        self.now + delay,
                        Event::Import {
                            node: index,
                            epoch,
                            committed,
                        },
                    );
                }
            }
        }
    }

    /// Sends a message of the node's own, and gives it to its own consensus.
    fn send_own(&mut self, index: NodeIndex, message: Arc<SignedMessage>) {
        let faults: Vec<FaultKind> = self.active_faults(index).collect();
        let forgery = faults.iter().find_map(|fault| match fault {
            FaultKind::WrongSignatures => {
                let mut signature: [u8; SIGNATURE_LEN] = self.prng.bytes();
                signature[SIGNATURE_LEN - 1] &= 1;
                Some(Forgery::RandomSignature(signature))
            }
            FaultKind::WrongAddresses => {
                let other = (self.nodes[index].validator + 1) % self.options.nodes;
                Some(Forgery::ClaimedAddress(self.configs[index].validators[other]))
            }
            _ => None,
        });
        let silent = faults.contains(&FaultKind::Silent);
        if message.kind == Kind::Preprepare {
            // The one half that got another proposal does not get this one.
            let node = &mut self.nodes[index];
            let half = std::mem::take(&mut node.second_proposal);
            node.relay.forward(&message.payload_hash, half);
        }
        let connected = self.nodes[index].connected;
        if let Some(forgery) = forgery.filter(|_| message.kind != Kind::Preprepare && !silent) {
            let node = &mut self.nodes[index];
            let (kind, view, digest) = (message.kind, message.view, message.digest);
            let dialect = node.client.dialect();
            let forged = SignedMessage::vote(
                dialect,
                &node.key,
                kind,
                view,
                digest,
                message.parent,
                Some(forgery),
            );
            let forged = Arc::new(forged);
            // Nobody gets the honest one.
            node.relay
                .forward(&message.payload_hash, NodeSet::first(self.options.nodes));
            let targets = self.nodes[index].relay.forward(&forged.payload_hash, connected);
            self.send_to(index, targets, &forged);
        } else if !silent {
            // Klaytn's own messages leave once its own consensus has accepted them.
            let at_once = self.options.gossip == Gossip::Direct
                || self.nodes[index].client.dialect() == crate::consensus::Dialect::QuorumIbft;
            if at_once {
                let targets = self.nodes[index].relay.forward(&message.payload_hash, connected);
                self.send_to(index, targets, &message);
            }
        }
        self.enqueue(index, message);
    }

    /// Builds a block and proposes it.
    fn propose(&mut self, index: NodeIndex, view: View) {
        let faults: Vec<FaultKind> = self.active_faults(index).collect();
        if faults.contains(&FaultKind::NoProposals) {
            return;
        }
        let block = self.build_block(index);
        let chain = self.nodes[index].chain;
        self.truth
            .proposed(chain, view.sequence, view.round, block.proposer());
        if faults.contains(&FaultKind::Equivocation) {
            let other = self.build_block(index);
            let node = &mut self.nodes[index];
            let other = SignedMessage::preprepare(node.client.dialect(), &node.key, view, other);
            let half = NodeSet(node.connected.0 & EVERY_OTHER);
            node.second_proposal = half;
            self.send_to(index, half, &Arc::new(other));
        }
        if let Some(core) = &mut self.nodes[index].core {
            core.propose(block);
        }
    }

    fn build_block(&mut self, index: NodeIndex) -> Arc<Proposal> {
        let dialect = self.nodes[index].client.dialect();
        let wanted = self.options.transactions;
        let mut transactions: Vec<Vec<u8>> = self.mempool.drain(..wanted.min(self.mempool.len())).collect();
        if !self.options.background {
            transactions = (0..wanted)
                .map(|_| super::traffic::transaction(dialect, &mut self.prng))
                .collect();
        }
        let node = &self.nodes[index];
        let time = self.now;
        let plan = BlockPlan {
            form: self.header_form,
            parent: node.head.hash,
            number: node.head.number + 1,
            centis: (self.capture_time(time) / 10_000_000).max(0).cast_unsigned(),
            validators: &self.configs[index].validators,
            transaction_count: transactions.len(),
            transactions: transactions.concat(),
            entropy: self.prng.bytes(),
        };
        let block = Arc::new(Proposal::seal(plan, &node.key));
        self.block_times.insert(block.hash(), time);
        block
    }

    /// A node has a new head.
    fn advance(&mut self, index: NodeIndex, block: &Arc<ChainBlock>) {
        let node = &mut self.nodes[index];
        node.head = block.head();
        let head = node.core_head();
        if let Some(core) = &mut node.core {
            core.import(head);
        }
        self.core_started(index);
    }

    /// A new height begins: the miner will be ready when the block period is over.
    fn core_started(&mut self, index: NodeIndex) {
        self.run_core(index);
        let jitter = 1_000_000 + self.prng.below(2_000_000);
        let node = &self.nodes[index];
        let due = node.head.time + self.options.block_period.0.cast_unsigned();
        let event = Event::Request {
            node: index,
            epoch: node.epoch,
            height: node.head.number + 1,
        };
        self.queue.push(due.max(self.now) + jitter, event);
    }

    /// Sends a new block to peers that are not known to have it: all of them from its proposer, some from others.
    fn spread_block(&mut self, index: NodeIndex, block: &Arc<ChainBlock>) {
        let ours = block.block.proposer() == self.nodes[index].key.address();
        let count = self.options.nodes;
        let most = if ours { count } else { count.isqrt() };
        let turn = self.prng.below(count as u64) as usize;
        let mut sent = 0;
        for peer in (0..count).map(|step| (turn + step) % count) {
            let known = &mut self.nodes[index].peers[peer];
            let Some(session) = known.sessions[0].filter(|_| known.height < block.number()) else {
                continue;
            };
            let side = self.side_of(session, index);
            let delay = 100_000 + self.prng.below(400_000);
            if sent < most {
                sent += 1;
                self.nodes[index].peers[peer].height = block.number();
                self.send(session, side, delay, Message::NewBlock(Arc::clone(block)));
            } else if self.prng.chance(ANNOUNCEMENTS) {
                self.send(session, side, delay, Message::NewBlockHash(block.number()));
            }
        }
    }

    fn schedule_dials(&mut self, node: NodeIndex, peer: NodeIndex, wait: Time) {
        let epoch = self.nodes[node].epoch;
        for channel in 0..self.options.channels {
            let wait = wait + u64::from(channel) * 1_500_000;
            self.queue.push(
                self.now + wait,
                Event::Dial {
                    node,
                    epoch,
                    peer,
                    channel,
                },
            );
        }
    }

    fn side_of(&self, conn: ConnIndex, node: NodeIndex) -> usize {
        self.conn(conn)
            .map_or(0, |conn| usize::from(conn.ends[1].node == node))
    }
}

/// Ports that Linux dials from.
const FIRST_PORT: u16 = 32_768;
const LAST_PORT: u16 = 60_999;
/// Half a second, as the fetcher's `arriveTimeout`.
const FETCH_DELAY: Time = 500_000_000;
/// After this time without an answer a node asks another peer.
const SYNC_PATIENCE: Time = 3_000_000_000;
/// Blocks in one request.
const SYNC_BATCH: u64 = 64;
const TRANSACTION_TICK: Time = 100_000_000;
/// How often, in a million, a peer that gets no block is told its hash.
const ANNOUNCEMENTS: u32 = 20_000;
/// Validators with an odd number.
const EVERY_OTHER: u128 = u128::MAX / 3 * 2;
