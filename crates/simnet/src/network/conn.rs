//! TCP connections: their ends, their streams, and how long packets take.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use bftap_model::CaptureTime;

use super::event::{NodeIndex, Time};
use super::session::{Delivery, Session};
use super::truth::{ChainIndex, SessionTruth};
use crate::consensus::SignedMessage;
use crate::prng::Prng;

/// A TCP connection.
pub(super) struct Conn {
    pub(super) ends: [End; 2],
    /// Stream of each end, the initiator's first.
    pub(super) halves: [Half; 2],
    pub(super) session: Session,
    pub(super) prng: Prng,
    /// A tap sees it.
    pub(super) captured: bool,
    /// What the capture holds of it, once it holds something.
    pub(super) truth: Option<Box<SessionTruth>>,
    pub(super) chain: ChainIndex,
    pub(super) dialled: CaptureTime,
}

pub(super) struct End {
    pub(super) node: NodeIndex,
    pub(super) port: u16,
    pub(super) state: EndState,
    pub(super) clock: u32,
    pub(super) packet_id: u16,
    /// Value of the peer's last timestamp.
    pub(super) echo: u32,
}

/// How far an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndState {
    /// No connection yet.
    Opening,
    /// Open.
    Open,
    /// Closed by this end.
    Closed,
    /// Reset by the other end: nothing more leaves.
    Reset,
}

/// One direction.
pub(super) struct Half {
    pub(super) isn: u32,
    /// Bytes handed to the socket.
    pub(super) queued: u64,
    /// Bytes that left for the first time.
    pub(super) departed: u64,
    pub(super) fin_departed: bool,
    pub(super) last_departure: Time,
    pub(super) last_arrival: Time,
    /// Bytes that arrived in order.
    pub(super) received: u64,
    pub(super) fin_at: Option<u64>,
    pub(super) fin_received: bool,
    /// Arrived ahead of their turn: begin and end.
    pub(super) early: BTreeMap<u64, u64>,
    pub(super) acknowledged: u64,
    /// Segments since the last acknowledgement.
    pub(super) unacknowledged: u32,
    /// On their way, by their end.
    pub(super) deliveries: VecDeque<(u64, Delivery)>,
    /// Frames that no tap has seen whole yet.
    pub(super) unseen: VecDeque<FrameMark>,
    /// First stream byte in the capture, and the end of the bytes in it.
    pub(super) seen: Option<Range<u64>>,
}

/// A frame in a stream.
pub(super) struct FrameMark {
    pub(super) span: Range<u64>,
    pub(super) code: u64,
    pub(super) message: Option<Arc<SignedMessage>>,
}

impl Half {
    pub(super) fn new(prng: &mut Prng) -> Self {
        Self {
            isn: prng.next_u64() as u32,
            queued: 0,
            departed: 0,
            fin_departed: false,
            last_departure: 0,
            last_arrival: 0,
            received: 0,
            fin_at: None,
            fin_received: false,
            early: BTreeMap::new(),
            acknowledged: 0,
            unacknowledged: 0,
            deliveries: VecDeque::new(),
            unseen: VecDeque::new(),
            seen: None,
        }
    }

    /// Takes what arrived from `begin` to `end` into account; tells whether it came in its turn.
    pub(super) fn receive(&mut self, begin: u64, end: u64) -> bool {
        if begin > self.received {
            let known = self.early.entry(begin).or_default();
            *known = end.max(*known);
            return false;
        }
        self.received = self.received.max(end);
        while let Some(entry) = self.early.first_entry() {
            if *entry.key() > self.received {
                break;
            }
            self.received = self.received.max(entry.remove());
        }
        true
    }

    /// Bytes arrived that others before them did not: lost where only the receiver is captured, and not repeated so far.
    pub(super) fn has_hole(&self) -> bool {
        !self.early.is_empty()
    }

    pub(super) fn bytes_seen(&self) -> u64 {
        self.seen.as_ref().map_or(0, |seen| seen.end - seen.start)
    }
}

/// Bytes for a socket.
pub(super) struct Bytes<'b> {
    pub(super) bytes: Rc<[u8]>,
    /// What is written with one call each.
    pub(super) pieces: &'b [Range<usize>],
}

/// What was written to a socket.
pub(super) struct Written {
    /// What the other end reads.
    pub(super) delivery: Delivery,
    /// Code and consensus message, if it is a whole frame.
    pub(super) frame: Option<(u64, Option<Arc<SignedMessage>>)>,
}

/// Times of packets from node to node.
pub(super) struct Latencies {
    /// By sender and receiver.
    base: Vec<Vec<Time>>,
    jitter: Time,
}

impl Latencies {
    pub(super) fn new(hosts: usize, mean: Time, jitter: Time, prng: &mut Prng) -> Self {
        let mut base = vec![vec![0; hosts]; hosts];
        let pairs = (0..hosts).flat_map(|from| (0..from).map(move |to| (from, to)));
        for (from, to) in pairs {
            let latency = prng.between(mean / 2, mean + mean / 2);
            base[from][to] = latency;
            base[to][from] = latency;
        }
        Self { base, jitter }
    }

    pub(super) fn draw(&self, from: NodeIndex, to: NodeIndex, prng: &mut Prng) -> Time {
        self.base[from][to] + prng.between(0, self.jitter)
    }
}
