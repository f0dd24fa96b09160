//! Blocks and transactions between nodes: announcing, answering, fetching what is missing (WIRE-FORMATS 4.3, 4.4).
//!
//! As in the simulation (`bftap-simnet`), which follows the nodes' fetcher and downloader.

use std::sync::Arc;
use std::time::Duration;

use bftap_ibft_decode::DecodeError;
use bftap_ibft_decode::rlp_view::{Item, ItemKind};
use bftap_model::Hash256;
use bftap_simnet::consensus::{Dialect, ReceivedBlock};
use bftap_simnet::devp2p::{self, ChainCodes};
use tokio::time::Instant;

use crate::chain::ChainBlock;
use crate::node::{Node, Timer};
use crate::shared::PeerIndex;

/// A request that is under way.
pub(crate) struct Syncing {
    peer: PeerIndex,
    since: Instant,
    /// Headers that came; their bodies are asked for.
    headers: Vec<Vec<u8>>,
}

impl Node {
    /// A message about blocks came. One that is malformed changes nothing.
    pub(crate) fn chain_message(&mut self, peer: PeerIndex, code: u64, payload: &[u8]) {
        let _ = self.try_chain_message(peer, code, payload);
    }

    fn try_chain_message(&mut self, peer: PeerIndex, code: u64, payload: &[u8]) -> Result<(), DecodeError> {
        let dialect = self.shared.dialect();
        let codes = ChainCodes::of(dialect);
        let klaytn = dialect == Dialect::Klaytn;
        let item = Item::first(payload, 0, "message")?;
        match code {
            _ if code == codes.new_block => {
                let [block, _] = item.exactly("NewBlock")?;
                let block = ReceivedBlock::read(dialect, &block)?;
                self.block_arrived(peer, block);
            }
            _ if code == codes.new_block_hashes => {
                for entry in item.items("NewBlockHashes")?.take(MOST_HASHES) {
                    let [_, number] = entry?.exactly("NewBlockHashes")?;
                    let number = number.uint(MAX_HEIGHT, "NewBlockHashes.Number")?;
                    self.peer_height(peer, number);
                }
            }
            _ if code == codes.block_headers_request => {
                let [origin, amount, skip, reverse] = item.exactly("BlockHeadersRequest")?;
                let from = if origin.content().len() == Hash256::LEN {
                    self.chain.number_of(&Hash256(origin.fixed("Origin")?))
                } else {
                    Some(origin.uint(u64::MAX, "Origin")?)
                };
                let amount = amount.uint(u64::MAX, "Amount")?.min(MOST_HEADERS) as usize;
                let step = skip.uint(u64::MAX, "Skip")?.saturating_add(1);
                let reverse = reverse.uint(1, "Reverse")? == 1;
                let headers = from
                    .into_iter()
                    .flat_map(|from| self.chain.range(from, step, reverse))
                    .take(amount)
                    .map(|block| block.header_rlp());
                let blocks = up_to_limit(headers);
                let payload = devp2p::items(blocks.iter().map(Vec::as_slice));
                self.send_chain(peer, codes.block_headers, payload.into());
            }
            _ if code == codes.block_bodies_request => {
                let bodies = self.bodies(&item)?;
                self.send_chain(peer, codes.block_bodies, bodies.into());
            }
            _ if code == codes.block_headers => self.headers_arrived(peer, &item)?,
            _ if code == codes.block_bodies => self.bodies_arrived(peer, &item)?,
            // BlockHeaderFetchRequest is a bare hash; its answer is one header.
            0x02 if klaytn => {
                let hash = Hash256(item.fixed("BlockHeaderFetchRequest")?);
                if let Some(block) = self.chain.by_hash(&hash) {
                    let header = block.header_rlp();
                    self.send_chain(peer, 0x03, header.into());
                }
            }
            0x04 if klaytn => {
                let bodies = self.bodies(&item)?;
                self.send_chain(peer, 0x05, bodies.into());
            }
            // State, receipts and staking information: a lab node has none, and says so with an empty list.
            0x0c | 0x0e | 0x12 if klaytn => self.send_chain(peer, code + 1, devp2p::empty().into()),
            0x0d | 0x0f if !klaytn => self.send_chain(peer, code + 1, devp2p::empty().into()),
            _ => {}
        }
        Ok(())
    }

    fn bodies(&self, hashes: &Item<'_>) -> Result<Vec<u8>, DecodeError> {
        let dialect = self.shared.dialect();
        let mut wanted = Vec::new();
        for hash in hashes.items("BlockBodiesRequest")?.take(MOST_BODIES) {
            wanted.push(Hash256(hash?.fixed("BlockBodiesRequest")?));
        }
        let known = wanted.iter().filter_map(|hash| self.chain.by_hash(hash));
        let bodies = up_to_limit(known.map(|block| block.body(dialect)));
        Ok(devp2p::items(bodies.iter().map(Vec::as_slice)))
    }

    fn block_arrived(&mut self, peer: PeerIndex, received: ReceivedBlock) {
        let number = received.block.number();
        if number == self.chain.head().number + 1 {
            let known = &mut self.peers[peer].height;
            *known = (*known).max(number);
            // A peer may send any number of blocks: only one that enough validators sealed waits, and once.
            let hash = received.block.hash();
            let fetches = self.timers.iter().filter_map(|(_, timer)| match timer {
                Timer::Fetch(block) => Some(block.block.hash()),
                _ => None,
            });
            let (count, known) = fetches.fold((0, false), |(count, known), other| {
                (count + 1, known || other == hash)
            });
            if known || count >= MOST_FETCHES || self.chain.check(&received).is_err() {
                return;
            }
            // The fetcher gives consensus half a second to get there by itself.
            self.after(FETCH_DELAY, Timer::Fetch(Arc::new(received)));
        } else {
            self.peer_height(peer, number);
        }
    }

    /// Imports a block that a peer sent, unless it is there by now.
    pub(crate) fn fetch(&mut self, received: &ReceivedBlock) {
        if received.block.number() == self.chain.head().number + 1 && self.chain.check(received).is_ok() {
            self.import(
                ChainBlock {
                    block: Arc::clone(&received.block),
                    round: received.round,
                    seals: received.seals.clone(),
                },
                "peer",
            );
        }
    }

    /// A peer has this height: fetch what is missing, if more is than the block that consensus works on.
    pub(crate) fn peer_height(&mut self, peer: PeerIndex, height: u64) {
        let known = &mut self.peers[peer].height;
        *known = (*known).max(height);
        let head = self.chain.head().number;
        let patient = self
            .syncing
            .as_ref()
            .is_some_and(|syncing| syncing.since.elapsed() < PATIENCE);
        if patient || height <= head + 1 || self.peers[peer].outboxes[0].is_none() {
            return;
        }
        self.request_headers(peer, head + 1, (height - head).min(BATCH));
    }

    /// A node that is one block behind and gets no more of it asks for it, too.
    pub(crate) fn look_behind(&mut self) {
        let head = self.chain.head().number;
        // One that did not answer has not what it promised, until it promises more: others are asked meanwhile.
        if let Some(silent) = self
            .syncing
            .take_if(|syncing| syncing.since.elapsed() >= PATIENCE)
        {
            self.peers[silent.peer].height = head;
        }
        let ahead = self.connected.iter().find(|&peer| self.peers[peer].height > head);
        let idle = self.syncing.is_none();
        if let Some(peer) = ahead.filter(|_| idle && self.imported.elapsed() >= PATIENCE) {
            let missing = self.peers[peer].height - head;
            self.request_headers(peer, head + 1, missing.min(BATCH));
        }
    }

    fn request_headers(&mut self, peer: PeerIndex, from: u64, amount: u64) {
        self.syncing = Some(Syncing {
            peer,
            since: Instant::now(),
            headers: Vec::new(),
        });
        let codes = ChainCodes::of(self.shared.dialect());
        let request = devp2p::block_headers_request(from, amount);
        self.send_chain(peer, codes.block_headers_request, request.into());
    }

    fn headers_arrived(&mut self, peer: PeerIndex, list: &Item<'_>) -> Result<(), DecodeError> {
        let dialect = self.shared.dialect();
        let Some(syncing) = self.syncing.as_mut().filter(|syncing| syncing.peer == peer) else {
            return Ok(());
        };
        let mut hashes = Vec::new();
        syncing.headers.clear();
        for header in list.items("BlockHeaders")?.take(BATCH as usize) {
            let header = header?;
            let read = ReceivedBlock::from_parts(dialect, &header, &[])?;
            hashes.push(read.block.hash());
            syncing.headers.push(header.raw().to_vec());
        }
        if hashes.is_empty() {
            // It has not what its messages promise. It is not asked again before it promises more: a flood would make us flood it.
            self.peers[peer].height = self.chain.head().number;
            return Ok(());
        }
        let codes = ChainCodes::of(dialect);
        let request = devp2p::block_bodies_request(&hashes);
        self.send_chain(peer, codes.block_bodies_request, request.into());
        Ok(())
    }

    fn bodies_arrived(&mut self, peer: PeerIndex, list: &Item<'_>) -> Result<(), DecodeError> {
        let dialect = self.shared.dialect();
        let Some(syncing) = self.syncing.take_if(|syncing| syncing.peer == peer) else {
            return Ok(());
        };
        for (header, body) in syncing.headers.iter().zip(list.items("BlockBodies")?) {
            let header = Item::only(header, 0, "Header")?;
            let transactions = body?
                .items("Body")?
                .next()
                .unwrap_or_else(|| Item::first(&[], 0, "Body.Transactions"))?;
            if transactions.kind() != ItemKind::List {
                return Ok(());
            }
            let received = ReceivedBlock::from_parts(dialect, &header, transactions.content())?;
            if received.block.number() <= self.chain.head().number {
                continue;
            }
            if self.chain.check(&received).is_err() {
                return Ok(());
            }
            self.import(received.into(), "peer");
        }
        // There may be more by now.
        let height = self.peers[peer].height;
        self.peer_height(peer, height);
        Ok(())
    }

    /// Sends a new block to peers that are not known to have it: all of them from its proposer, some from others.
    pub(crate) fn spread_block(&mut self, block: &ChainBlock) {
        let number = block.block.number();
        let codes = ChainCodes::of(self.shared.dialect());
        let ours = block.block.proposer() == self.shared.options.key.address();
        let count = self.peers.len();
        let most = if ours { count } else { count.isqrt() };
        let whole: Arc<[u8]> = block.new_block().into();
        let hash: Arc<[u8]> = devp2p::new_block_hashes(&block.block.hash(), number).into();
        let turn = self.prng.below(count as u64) as usize;
        let mut sent = 0;
        for peer in (0..count).map(|step| (turn + step) % count) {
            if peer == self.shared.ours || self.peers[peer].height >= number {
                continue;
            }
            if sent < most {
                sent += 1;
                self.peers[peer].height = number;
                self.send_chain(peer, codes.new_block, Arc::clone(&whole));
            } else if self.prng.chance(ANNOUNCEMENTS) {
                self.send_chain(peer, codes.new_block_hashes, Arc::clone(&hash));
            }
        }
    }
}

/// As many as an answer may hold; whoever wants more asks again.
fn up_to_limit(items: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut bytes = 0;
    items
        .take_while(|item| {
            let more = bytes < ANSWER_BYTES;
            bytes += item.len();
            more
        })
        .collect()
}

/// Half a second, as the fetcher's `arriveTimeout`.
const FETCH_DELAY: Duration = Duration::from_millis(500);
/// After this time without an answer another peer is asked.
const PATIENCE: Duration = Duration::from_secs(3);
/// Blocks in one request of ours.
const BATCH: u64 = 64;
/// Headers and bodies in one answer (`MaxHeaderFetch`, `MaxBlockFetch`).
const MOST_HEADERS: u64 = 192;
const MOST_BODIES: usize = 128;
/// Bytes behind which an answer takes up nothing more (`softResponseLimit`).
const ANSWER_BYTES: usize = 2 << 20;
/// Blocks of peers that wait for consensus to get there by itself.
const MOST_FETCHES: usize = 16;
const MOST_HASHES: usize = 64;
const MAX_HEIGHT: u64 = i64::MAX as u64;
/// How often, in a million, a peer that gets no block is told its hash.
const ANNOUNCEMENTS: u32 = 20_000;
