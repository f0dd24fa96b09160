//! TCP connections: their ends, their streams, and how long packets take.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use bftap_model::CaptureTime;

use super::event::{NodeIndex, Time};
use super::session::{Delivery, Session};
use super::tcp::Segment;
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
    /// Stream bytes in the capture.
    pub(super) seen: Spans,
    /// What a cut link swallowed, and what waits behind it.
    pub(super) lost: VecDeque<Box<Segment>>,
    /// When the first of that left.
    pub(super) lost_since: Time,
    /// Bytes from here on do not pass, whatever the link does otherwise.
    pub(super) held_from: Option<u64>,
}

/// Stream bytes, as disjoint spans that do not touch.
#[derive(Debug, Default)]
pub(super) struct Spans(BTreeMap<u64, u64>);

impl Spans {
    /// Adds the bytes from `begin` to `end`.
    pub(super) fn insert(&mut self, mut span: Range<u64>) {
        if span.is_empty() {
            return;
        }
        if let Some((&begin, &end)) = self.0.range(..=span.start).next_back()
            && end >= span.start
        {
            span = begin..span.end.max(end);
        }
        while let Some((&begin, &end)) = self.0.range(span.start..=span.end).next() {
            span.end = span.end.max(end);
            self.0.remove(&begin);
        }
        self.0.insert(span.start, span.end);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of these bytes are among them.
    pub(super) fn covers(&self, span: &Range<u64>) -> bool {
        let before = self.0.range(..=span.start).next_back();
        before.is_some_and(|(_, &end)| end >= span.end)
    }

    /// The first byte, and the end of the last.
    pub(super) fn bounds(&self) -> Range<u64> {
        let first = self.0.first_key_value().map_or(0, |(&begin, _)| begin);
        let last = self.0.last_key_value().map_or(0, |(_, &end)| end);
        first..last
    }

    /// How many.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|(begin, end)| end - begin).sum()
    }
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
            seen: Spans::default(),
            lost: VecDeque::new(),
            lost_since: 0,
            held_from: None,
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
        self.seen.len()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_join_where_they_touch() {
        let mut spans = Spans::default();
        assert!(spans.is_empty() && spans.bounds() == (0..0));
        for span in [10..20, 40..50, 30..35, 20..25, 5..5] {
            spans.insert(span);
        }
        assert_eq!(spans.0, BTreeMap::from([(10, 25), (30, 35), (40, 50)]));
        assert_eq!((spans.len(), spans.bounds()), (30, 10..50));
        assert!(spans.covers(&(12..25)) && spans.covers(&(40..50)));
        assert!(!spans.covers(&(24..31)) && !spans.covers(&(9..11)) && !spans.covers(&(50..51)));
        spans.insert(0..45);
        assert_eq!(spans.0, BTreeMap::from([(0, 50)]));
    }
}
