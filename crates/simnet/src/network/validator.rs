//! A validator on its node: the queue before its consensus, gossip, proposals, and what faults do to them.

use std::sync::{Arc, OnceLock};

use bftap_ibft_decode::{Kind, View};

use super::Network;
use super::blocks::ChainBlock;
use super::event::{Event, NodeIndex, Time};
use super::messages::Message;
use super::misbehaviour::EVERY_OTHER;
use crate::consensus::{
    Action, BlockPlan, Committed, Core, Dialect, NodeSet, Proposal, SignedMessage, TimerToken,
};
use crate::options::{FaultKind, Gossip};

impl Network<'_> {
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
        // A vote for a height that its sender does not have tells nothing of blocks to fetch.
        let ahead = message.view.sequence > core.view().sequence + 1;
        let new = node.relay.received(&message.payload_hash, peer_validator);
        if new {
            self.enqueue(index, message.clone());
        }
        if ahead && self.nodes[peer].head.number + 1 >= message.view.sequence {
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
        if accepted {
            self.script_accepted(index, message);
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

    /// Puts a message into a node's queue.
    fn enqueue(&mut self, index: NodeIndex, message: Arc<SignedMessage>) {
        let mut cost = self.options.processing.0.cast_unsigned() + self.prng.below(20_000);
        for (_, fault) in self.active_faults(index) {
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
        if self.active_fault(index, FaultKind::Silent).is_some() {
            return;
        }
        let node = &mut self.nodes[index];
        let targets = node.relay.forward(&message.payload_hash, node.connected);
        self.send_to(index, targets, message);
    }

    pub(super) fn send_to(&mut self, index: NodeIndex, targets: NodeSet, message: &Arc<SignedMessage>) {
        let targets = match self.allowed(index) {
            Some((fault, allowed)) => {
                let left_out = targets.without(allowed);
                let ours = message.signer == Some(self.nodes[index].key.address());
                if ours && !left_out.is_empty() {
                    self.deed(fault, Some(message.view), left_out.len() as u64);
                }
                targets.without(left_out)
            }
            None => targets,
        };
        // Each peer has a goroutine of its own, and Go walks its peers in no order.
        let turn = self.prng.below(targets.len().max(1) as u64) as usize;
        let order = targets.iter().cycle().skip(turn).take(targets.len());
        let mut delay = 0;
        for validator in order {
            delay += 4_000 + self.prng.below(14_000);
            // Some goroutines wait for a processor; that is how a message overtakes its author's own copy.
            let late = if self.prng.chance(LATE_SENDS) {
                self.prng.below(LATE_SEND)
            } else {
                0
            };
            let peer = self.node_of_validator[validator];
            if let Some(session) = self.nodes[index].peers[peer].sessions[0] {
                let side = self.side_of(session, index);
                self.send(
                    session,
                    side,
                    delay + late,
                    Message::Consensus(Arc::clone(message)),
                );
            }
        }
    }

    /// Does what a node's consensus wants.
    fn run_core(&mut self, index: NodeIndex) {
        self.script_advanced();
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
        let faults: Vec<_> = self.active_faults(index).collect();
        if message.kind == Kind::Preprepare {
            let chain = self.nodes[index].chain;
            self.truth.proposed(chain, message.view, message.claimed);
            // The one half that got another proposal does not get this one.
            let node = &mut self.nodes[index];
            let half = std::mem::take(&mut node.second_proposal);
            node.relay.forward(&message.payload_hash, half);
        }
        if let Some(fault) = self.active_fault(index, FaultKind::Silent) {
            self.deed(fault, Some(message.view), 1);
        } else {
            self.forge(index, &message, &faults);
            // Klaytn's own messages leave once its own consensus has accepted them.
            let at_once = self.options.gossip == Gossip::Direct
                || self.nodes[index].client.dialect() == Dialect::QuorumIbft;
            if at_once {
                let node = &mut self.nodes[index];
                let targets = node.relay.forward(&message.payload_hash, node.connected);
                if !targets.is_empty() || faults.is_empty() {
                    self.send_to(index, targets, &message);
                }
            }
        }
        if message.kind != Kind::Preprepare {
            self.nodes[index].last_vote = Some(Arc::clone(&message));
        }
        self.enqueue(index, message);
    }

    /// It is a node's turn to propose.
    fn propose(&mut self, index: NodeIndex, view: View) {
        if let Some(fault) = self.active_fault(index, FaultKind::NoProposals) {
            self.deed(fault, Some(view), 1);
            return;
        }
        let late = self.active_faults(index).find_map(|(fault, kind)| match kind {
            FaultKind::SlowProposals(by) => Some((fault, by)),
            _ => None,
        });
        if let Some((fault, by)) = late {
            self.deed(fault, Some(view), 1);
            let event = Event::Propose {
                node: index,
                epoch: self.nodes[index].epoch,
                view,
            };
            self.queue.push(self.now + by.0.cast_unsigned(), event);
        } else {
            self.propose_now(index, view);
        }
    }

    /// A proposer that took its time is ready, perhaps too late.
    pub(super) fn propose_late(&mut self, index: NodeIndex, epoch: u32, view: View) {
        let node = &self.nodes[index];
        if node.epoch == epoch && node.core.as_ref().is_some_and(|core| core.view() == view) {
            self.propose_now(index, view);
            self.run_core(index);
        }
    }

    /// Builds a block and proposes it.
    fn propose_now(&mut self, index: NodeIndex, view: View) {
        let block = self.build_block(index);
        if let Some(fault) = self.active_fault(index, FaultKind::Equivocation) {
            let other = self.build_block(index);
            let node = &mut self.nodes[index];
            let other = SignedMessage::preprepare(node.client.dialect(), &node.key, view, other);
            let half = NodeSet(node.connected.0 & EVERY_OTHER);
            node.second_proposal = half;
            self.send_to(index, half, &Arc::new(other));
            self.deed(fault, Some(view), 1);
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
                .map(|_| crate::transaction::made_up(dialect, &mut self.prng))
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

    /// A new height begins: the miner will be ready when the block period is over.
    pub(super) fn core_started(&mut self, index: NodeIndex) {
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
}

/// How often, in a million, a send waits, and how long at most.
const LATE_SENDS: u32 = 80_000;
const LATE_SEND: Time = 3_000_000;
