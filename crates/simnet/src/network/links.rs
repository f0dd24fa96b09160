//! Links that fail: cut for a time, or just where it makes two honest nodes lock different blocks; taps that lose packets.
//!
//! A cut link swallows packets as they leave. TCP sends the first lost segment again and again, less and less often, keeps back what
//! is written meanwhile, and sends all of it once the first one gets through.

use bftap_ibft_decode::{Kind, View};
use bftap_model::Nanos;

use super::Network;
use super::conn::EndState;
use super::event::{ConnIndex, Event, NodeIndex, Time};
use super::tcp::{RETRANSMISSION_TIMEOUT, Segment, SegmentKind};
use super::truth::{Deed, DeedBy};
use crate::consensus::SignedMessage;
use crate::options::FaultKind;

/// How links make two honest nodes lock different blocks (GoQuorum's issue 305).
#[derive(Clone, Copy, Debug)]
pub(super) struct LockScript {
    height: u64,
    /// Rounds in which somebody has locked alone: those before this one.
    round: u64,
    /// Who locks alone in this round; `None` until its proposal is there.
    alone: Option<NodeIndex>,
}

impl LockScript {
    pub(super) const fn new(height: u64) -> Self {
        Self {
            height,
            round: 0,
            alone: None,
        }
    }

    const fn view(&self) -> View {
        View {
            sequence: self.height,
            round: self.round,
        }
    }

    const fn is_over(&self) -> bool {
        self.round > 1
    }
}

impl Network<'_> {
    /// Whether a segment that holds this byte does not pass now.
    pub(super) fn is_cut(&self, index: ConnIndex, side: usize, offset: u64) -> bool {
        let Some(conn) = self.conn(index) else {
            return false;
        };
        let ends = [conn.ends[side].node, conn.ends[1 - side].node];
        conn.halves[side].held_from.is_some_and(|from| offset >= from) || self.cut_by(ends).is_some()
    }

    /// The fault that keeps packets between these two from passing now.
    fn cut_by(&self, [one, other]: [NodeIndex; 2]) -> Option<usize> {
        let now = Nanos(self.now.cast_signed());
        self.options.faults.iter().position(|fault| {
            fault.is_active(now)
                && match fault.kind {
                    FaultKind::Cut(end) => {
                        [fault.node, end] == [one, other] || [fault.node, end] == [other, one]
                    }
                    _ => false,
                }
        })
    }

    /// Writes down that a link swallows something.
    pub(super) fn tell_cut(&mut self, index: ConnIndex, side: usize) {
        let ends = self
            .conn(index)
            .map(|conn| [conn.ends[side].node, conn.ends[1 - side].node]);
        if let Some(fault) = ends.and_then(|ends| self.cut_by(ends)) {
            self.deed(fault, None, 1);
        }
    }

    /// Gives the segment back if nothing before it on its way was lost; else it waits behind that.
    pub(super) fn behind_lost(&mut self, segment: Box<Segment>) -> Option<Box<Segment>> {
        let now = self.now;
        let (index, side) = (segment.conn, usize::from(segment.side));
        let Some(conn) = self.conn_mut(index) else {
            return Some(segment);
        };
        let half = &mut conn.halves[side];
        let first_of = |segment: &Segment| match &segment.kind {
            SegmentKind::Data { offset, .. } => Some(*offset),
            SegmentKind::Fin => Some(u64::MAX),
            _ => None,
        };
        let waits = match (
            half.lost.front().and_then(|lost| first_of(lost)),
            first_of(&segment),
        ) {
            // Until the first repetition nobody knows of a loss.
            (Some(lost), Some(ours)) => ours > lost && now >= half.lost_since + RETRANSMISSION_TIMEOUT,
            _ => false,
        };
        if !waits {
            return Some(segment);
        }
        half.lost.push_back(segment);
        None
    }

    /// Gives the segment back if it gets through.
    pub(super) fn swallowed(&mut self, mut segment: Box<Segment>) -> Option<Box<Segment>> {
        let (index, side) = (segment.conn, usize::from(segment.side));
        let offset = match &segment.kind {
            SegmentKind::Data { offset, .. } => *offset,
            SegmentKind::Fin => u64::MAX,
            // Acknowledgements do not wait for bytes that are held back.
            _ => 0,
        };
        if !self.is_cut(index, side, offset) {
            return Some(segment);
        }
        let now = self.now;
        self.tell_cut(index, side);
        if !matches!(segment.kind, SegmentKind::Data { .. } | SegmentKind::Fin) {
            return None;
        }
        segment.packet = None;
        let conn = self.conn_mut(index)?;
        let half = &mut conn.halves[side];
        if half.lost.is_empty() {
            half.lost_since = now;
            let event = Event::Probe {
                conn: index,
                side: side as u8,
                attempt: 0,
            };
            half.lost.push_back(segment);
            self.queue.push(now + RETRANSMISSION_TIMEOUT, event);
        } else {
            half.lost.push_back(segment);
        }
        None
    }

    /// TCP sends the first lost segment again; if it gets through, the others follow.
    pub(super) fn probe(&mut self, index: ConnIndex, side: usize, attempt: u8) {
        let now = self.now;
        let Some(conn) = self.conn_mut(index) else { return };
        if conn.ends[side].state == EndState::Reset {
            conn.halves[side].lost.clear();
            return;
        }
        let waiting = std::mem::take(&mut conn.halves[side].lost);
        let mut waiting = waiting.into_iter().peekable();
        let offset = |segment: &Segment| match &segment.kind {
            SegmentKind::Data { offset, .. } => *offset,
            _ => u64::MAX,
        };
        while let Some(segment) = waiting.next_if(|segment| !self.is_cut(index, side, offset(segment))) {
            self.queue.push(now, Event::Depart(segment));
        }
        let Some(conn) = self.conn_mut(index) else { return };
        conn.halves[side].lost = waiting.collect();
        if conn.halves[side].lost.is_empty() {
            return;
        }
        conn.halves[side].lost_since = now.saturating_sub(RETRANSMISSION_TIMEOUT);
        let attempt = attempt.saturating_add(1).min(MOST_DOUBLINGS);
        let event = Event::Probe {
            conn: index,
            side: side as u8,
            attempt,
        };
        self.queue.push(now + (RETRANSMISSION_TIMEOUT << attempt), event);
    }

    /// Whether the tap of a node loses the packet that passes it now.
    pub(super) fn tap_loses(&mut self, node: NodeIndex) -> bool {
        if !self.lossy_taps {
            return false;
        }
        let lossy = self.active_faults(node).find_map(|(fault, kind)| match kind {
            FaultKind::LossyTap(share) => Some((fault, share)),
            _ => None,
        });
        let Some((fault, share)) = lossy else { return false };
        let loses = self.tap_prng.chance(share);
        if loses {
            self.deed(fault, None, 1);
        }
        loses
    }

    /// A node has accepted a proposal and passed it on: if the script wants it so, its votes for it reach one node only.
    pub(super) fn script_accepted(&mut self, index: NodeIndex, message: &SignedMessage) {
        let Some(script) = self.lock_script else { return };
        if message.kind != Kind::Preprepare || script.is_over() || message.view != script.view() {
            return;
        }
        let alone = match script.alone {
            Some(node) => node,
            None => self.begin_lock(script, message),
        };
        for peer in (0..self.options.nodes).filter(|&peer| peer != alone && peer != index) {
            let Some(session) = self.nodes[index].peers[peer].sessions[0] else {
                continue;
            };
            let side = self.side_of(session, index);
            if let Some(conn) = self.conn_mut(session) {
                let half = &mut conn.halves[side];
                half.held_from = Some(half.queued);
            }
        }
    }

    /// Chooses who locks alone: never who proposes in the next round, so that another block can be proposed there.
    fn begin_lock(&mut self, mut script: LockScript, message: &SignedMessage) -> NodeIndex {
        let count = self.options.nodes;
        let proposer = self.configs[0]
            .validators
            .binary_search(&message.claimed)
            .unwrap_or(0);
        let alone = self.node_of_validator[(proposer + 2) % count];
        script.alone = Some(alone);
        self.lock_script = Some(script);
        self.truth.deed(
            self.now,
            DeedBy::LockScript(script.round),
            Deed {
                chain: self.nodes[alone].chain,
                node: Some(alone),
                kind: "conflicting-locks".to_owned(),
                by_node: false,
                until: None,
                view: Some(script.view()),
                by_height: true,
                count: 1,
            },
        );
        alone
    }

    /// All have left the round in which somebody locked alone: the links are mended.
    pub(super) fn script_advanced(&mut self) {
        let Some(script) = self.lock_script.filter(|script| script.alone.is_some()) else {
            return;
        };
        let mut cores = self.nodes[..self.options.nodes]
            .iter()
            .filter_map(|node| node.core.as_ref());
        if cores.any(|core| core.view() <= script.view()) {
            return;
        }
        for half in self.conns.iter_mut().flatten().flat_map(|conn| &mut conn.halves) {
            half.held_from = None;
        }
        self.lock_script = Some(LockScript {
            height: script.height,
            round: script.round + 1,
            alone: None,
        });
    }
}

/// The time between two repetitions doubles so often: up to 0.8 s. Linux goes on, and takes longer to notice that a link is back.
const MOST_DOUBLINGS: u8 = 2;
const _: () = assert!(RETRANSMISSION_TIMEOUT << MOST_DOUBLINGS == 800_000_000 as Time);
