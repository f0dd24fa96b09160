//! What sessions send: messages made into frames, and frames into writes.

use std::rc::Rc;
use std::sync::Arc;

use super::Network;
use super::blocks::ChainBlock;
use super::conn::{Bytes, EndState, Written};
use super::event::{ConnIndex, NodeIndex, Time};
use super::session::Delivery;
use super::truth::ChainIndex;
use crate::client::{Client, Writes};
use crate::consensus::{Dialect, SignedMessage};
use crate::devp2p::{
    self, CONSENSUS, ChainCodes, DISCONNECT, DisconnectReason, HELLO, Hello, PING, PONG, Status,
};
use crate::rlpx::frame::{FrameParts, compress};

/// A message in a frame.
#[derive(Clone)]
pub(super) enum Message {
    Hello,
    Disconnect(DisconnectReason),
    Ping,
    Pong,
    Status {
        chain: ChainIndex,
        height: u64,
    },
    Consensus(Arc<SignedMessage>),
    /// A consensus message in a frame that holds more behind it, compressed; nodes read the message and ignore the rest.
    Padded(Arc<SignedMessage>, Rc<[u8]>),
    /// Under the code of consensus messages, and none. Already compressed.
    Junk(Rc<[u8]>),
    /// Already compressed.
    Transactions(Rc<[u8]>),
    NewBlock(Arc<ChainBlock>),
    NewBlockHash(u64),
    HeadersRequest {
        from: u64,
        amount: u64,
    },
    Headers(Vec<Arc<ChainBlock>>),
    BodiesRequest(Vec<Arc<ChainBlock>>),
    Bodies(Vec<Arc<ChainBlock>>),
}

impl Network<'_> {
    /// Sends a message as a frame.
    pub(super) fn send(&mut self, index: ConnIndex, side: usize, delay: Time, message: Message) {
        let Some(conn) = self.conn(index) else { return };
        let session = &conn.session;
        let dialect = session.clients[0].dialect();
        let codes = ChainCodes::of(dialect);
        let chain = session.offset(false);
        let (code, payload) = match &message {
            Message::Consensus(consensus) => {
                let code = session.offset(true) + CONSENSUS;
                let frame = Some((code, Some(Arc::clone(consensus))));
                let body = Body::Compressed(&consensus.compressed);
                let what = Written {
                    delivery: Delivery::Frame(message.clone()),
                    frame,
                };
                self.write_frame(index, side, delay, code, body, what);
                return;
            }
            Message::Padded(consensus, compressed) => {
                let code = session.offset(true) + CONSENSUS;
                let compressed = Rc::clone(compressed);
                let what = Written {
                    delivery: Delivery::Frame(Message::Consensus(Arc::clone(consensus))),
                    frame: Some((code, Some(Arc::clone(consensus)))),
                };
                self.write_frame(index, side, delay, code, Body::Compressed(&compressed), what);
                return;
            }
            Message::Junk(compressed) => {
                let code = session.offset(true) + CONSENSUS;
                let compressed = Rc::clone(compressed);
                let what = Written {
                    delivery: Delivery::Frame(message),
                    frame: Some((code, None)),
                };
                self.write_frame(index, side, delay, code, Body::Compressed(&compressed), what);
                return;
            }
            Message::Hello => (HELLO, self.hello(conn.ends[side].node)),
            Message::Disconnect(reason) => (
                DISCONNECT,
                devp2p::disconnect(*reason, session.clients[side].disconnect_form()),
            ),
            Message::Ping => (PING, devp2p::empty()),
            Message::Pong => (PONG, devp2p::empty()),
            Message::Status { chain: index, height } => {
                let node = &self.nodes[conn.ends[side].node];
                let status = Status {
                    version: Client::chain_capability(&session.agreed).map_or(0, |agreed| agreed.version),
                    network: self.options.network_id,
                    height: *height,
                    head: node.head.hash,
                    genesis: self.chains[*index].genesis,
                };
                (chain + codes.status, status.encode(dialect))
            }
            Message::Transactions(compressed) => {
                let (code, compressed) = (chain + codes.transactions, Rc::clone(compressed));
                let what = Written {
                    delivery: Delivery::Frame(message),
                    frame: Some((code, None)),
                };
                self.write_frame(index, side, delay, code, Body::Compressed(&compressed), what);
                return;
            }
            Message::NewBlock(block) => {
                let (code, block) = (chain + codes.new_block, Arc::clone(block));
                let what = Written {
                    delivery: Delivery::Frame(message),
                    frame: Some((code, None)),
                };
                self.write_frame(
                    index,
                    side,
                    delay,
                    code,
                    Body::Compressed(block.new_block()),
                    what,
                );
                return;
            }
            Message::NewBlockHash(number) => {
                let node = &self.nodes[conn.ends[side].node];
                (
                    chain + codes.new_block_hashes,
                    devp2p::new_block_hashes(&node.head.hash, *number),
                )
            }
            Message::HeadersRequest { from, amount } => (
                chain + codes.block_headers_request,
                devp2p::block_headers_request(*from, *amount),
            ),
            Message::Headers(blocks) => {
                let headers: Vec<_> = blocks.iter().map(|block| block.header_rlp()).collect();
                (
                    chain + codes.block_headers,
                    devp2p::items(headers.iter().map(Vec::as_slice)),
                )
            }
            Message::BodiesRequest(blocks) => {
                let hashes: Vec<_> = blocks.iter().map(|block| block.block.hash()).collect();
                (
                    chain + codes.block_bodies_request,
                    devp2p::block_bodies_request(&hashes),
                )
            }
            Message::Bodies(blocks) => {
                let bodies: Vec<_> = blocks
                    .iter()
                    .map(|block| devp2p::body(block.block.transactions(), dialect))
                    .collect();
                (
                    chain + codes.block_bodies,
                    devp2p::items(bodies.iter().map(Vec::as_slice)),
                )
            }
        };
        // Snappy is on once an end has sent its Hello and read the other's.
        let ours = &session.sides[side];
        let body = if ours.hello_sent && ours.hello_read {
            Body::Plain(&payload)
        } else {
            Body::Bare(&payload)
        };
        let what = Written {
            delivery: Delivery::Frame(message),
            frame: Some((code, None)),
        };
        self.write_frame(index, side, delay, code, body, what);
    }

    /// Writes the begin of a frame only: the process dies in the middle of it.
    pub(super) fn tear(&mut self, index: ConnIndex, side: usize) {
        let Some(conn) = self.conn_mut(index) else { return };
        let keep = 1 + conn.prng.below(60) as usize;
        let Some(writer) = &mut conn.session.sides[side].writer else {
            return;
        };
        let mut frame = Vec::new();
        if writer.seal(PING, &[0; 20], &mut frame).is_ok() {
            frame.truncate(keep);
            let whole = 0..frame.len();
            let what = Written {
                delivery: Delivery::Torn,
                frame: None,
            };
            self.write(
                index,
                side,
                0,
                keep,
                Some(Bytes {
                    bytes: frame.into(),
                    pieces: std::slice::from_ref(&whole),
                }),
                what,
            );
        }
    }

    fn hello(&self, node: NodeIndex) -> Vec<u8> {
        let shown = self.shown_key(node);
        let node = &self.nodes[node];
        let port = node.client.port();
        let ports = [port, port + 1];
        let ports = match (node.client.dialect(), self.options.channels) {
            (Dialect::Klaytn, 1) => &ports[..0],
            (Dialect::QuorumIbft, _) => &ports[..1],
            (Dialect::Klaytn, _) => &ports[..],
        };
        Hello {
            name: node.client.name(),
            capabilities: node.client.capabilities(),
            dialect: node.client.dialect(),
            ports,
            id: self.nodes[shown].key.id(),
        }
        .encode()
    }

    fn write_frame(
        &mut self,
        index: ConnIndex,
        side: usize,
        delay: Time,
        code: u64,
        body: Body<'_>,
        what: Written,
    ) {
        let Some(conn) = self.conns.get_mut(index as usize).and_then(Option::as_mut) else {
            return;
        };
        if conn.ends[side].state != EndState::Open {
            return;
        }
        let compressed;
        let body = match body {
            Body::Compressed(bytes) | Body::Bare(bytes) => bytes,
            Body::Plain(bytes) => match compress(bytes) {
                Ok(bytes) => {
                    compressed = bytes;
                    &compressed
                }
                Err(_) => return,
            },
        };
        if !conn.captured {
            let len = FrameParts::of(code, body.len()).len();
            self.write(index, side, delay, len, None, what);
            return;
        }
        let Some(writer) = &mut conn.session.sides[side].writer else {
            return;
        };
        let mut frame = Vec::new();
        // A message too large for a frame could not be sent by any client; blocks here are far smaller.
        let Ok(parts) = writer.seal(code, body, &mut frame) else {
            return;
        };
        let mut pieces = match conn.session.clients[side].writes() {
            Writes::Whole => [0..frame.len(), 0..0, 0..0, 0..0, 0..0],
            Writes::Pieces => [parts.header, parts.code, parts.payload, parts.padding, parts.mac],
        }
        .to_vec();
        pieces.retain(|piece| !piece.is_empty());
        // Now and then two writes come so close that the kernel sends them together.
        if pieces.len() > 1 && conn.prng.below(8) == 0 {
            let at = conn.prng.below(pieces.len() as u64 - 1) as usize;
            pieces[at].end = pieces[at + 1].end;
            pieces.remove(at + 1);
        }
        self.write(
            index,
            side,
            delay,
            frame.len(),
            Some(Bytes {
                bytes: frame.into(),
                pieces: &pieces,
            }),
            what,
        );
    }

    pub(super) fn write_plain(
        &mut self,
        index: ConnIndex,
        side: usize,
        delay: Time,
        bytes: Vec<u8>,
        delivery: Delivery,
    ) {
        let what = Written {
            delivery,
            frame: None,
        };
        let len = bytes.len();
        let captured = self.conn(index).is_some_and(|conn| conn.captured);
        let whole = 0..len;
        let bytes: Option<Rc<[u8]>> = captured.then(|| bytes.into());
        let bytes = bytes.map(|bytes| Bytes {
            bytes,
            pieces: std::slice::from_ref(&whole),
        });
        self.write(index, side, delay, len, bytes, what);
    }

    pub(super) fn write_sized(
        &mut self,
        index: ConnIndex,
        side: usize,
        delay: Time,
        len: usize,
        delivery: Delivery,
    ) {
        self.write(
            index,
            side,
            delay,
            len,
            None,
            Written {
                delivery,
                frame: None,
            },
        );
    }
}

/// Payload of a frame, and what is to be done with it.
enum Body<'b> {
    /// Compressed already.
    Compressed(&'b [u8]),
    /// To be compressed.
    Plain(&'b [u8]),
    /// Goes as it is: Snappy is not on yet.
    Bare(&'b [u8]),
}
