//! Decided blocks on their way to nodes that lack them: NewBlock, announcements, fetching what is missing.

use std::sync::{Arc, OnceLock};

use bftap_ibft_decode::SIGNATURE_LEN;
use bftap_model::{Address, Hash256};

use super::Network;
use super::event::{Event, NodeIndex, Time};
use super::messages::Message;
use crate::consensus::Proposal;
use crate::devp2p;
use crate::rlpx::frame::compress;

/// A node's last block.
#[derive(Clone, Copy)]
pub(super) struct ChainHead {
    pub(super) number: u64,
    pub(super) hash: Hash256,
    pub(super) proposer: Option<Address>,
    /// When it was made.
    pub(super) time: Time,
}

/// A decided block.
pub(super) struct ChainBlock {
    pub(super) block: Arc<Proposal>,
    pub(super) round: u64,
    pub(super) seals: Vec<[u8; SIGNATURE_LEN]>,
    pub(super) time: Time,
    pub(super) new_block: OnceLock<Vec<u8>>,
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

    pub(super) fn head(&self) -> ChainHead {
        ChainHead {
            number: self.number(),
            hash: self.block.hash(),
            proposer: Some(self.block.proposer()),
            time: self.time,
        }
    }
}

impl Network<'_> {
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

    /// A node has a new head.
    pub(super) fn advance(&mut self, index: NodeIndex, block: &Arc<ChainBlock>) {
        let node = &mut self.nodes[index];
        node.head = block.head();
        let head = node.core_head();
        if let Some(core) = &mut node.core {
            core.import(head);
        }
        if index >= self.options.nodes {
            self.observer_votes(index);
            return;
        }
        self.core_started(index);
    }

    /// Sends a new block to peers that are not known to have it: all of them from its proposer, some from others.
    pub(super) fn spread_block(&mut self, index: NodeIndex, block: &Arc<ChainBlock>) {
        let ours = block.block.proposer() == self.nodes[index].key.address();
        let count = self.options.hosts();
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
}

/// Half a second, as the fetcher's `arriveTimeout`.
const FETCH_DELAY: Time = 500_000_000;
/// After this time without an answer a node asks another peer.
const SYNC_PATIENCE: Time = 3_000_000_000;
/// Blocks in one request.
const SYNC_BATCH: u64 = 64;
/// How often, in a million, a peer that gets no block is told its hash.
const ANNOUNCEMENTS: u32 = 20_000;
