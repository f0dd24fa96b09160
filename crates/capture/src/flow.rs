//! One TCP connection: the handshake, both directions, and what ends it.

use bftap_model::{CaptureTime, ConnId, FlowKey, SETTLE, SeqNumber, Side};

use crate::assembler::{Assembler, Carried, HOLD_BACK_REACH, JUMP};
use crate::connection::{CloseReason, ConnectionSummary, FlowEvent, Outlet};
use crate::flow_table::FlowLimits;
use crate::measure::Measures;
use crate::segment::SegmentHead;

/// The state of an open connection.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) id: ConnId,
    pub(crate) key: FlowKey,
    pub(crate) first_seen: CaptureTime,
    pub(crate) last_seen: CaptureTime,
    /// When the earliest thing is to be done, but for idling; [`CaptureTime::MAX`] if nothing.
    pub(crate) due: CaptureTime,
    /// The time for which the table has an alarm set; [`CaptureTime::MAX`] if none.
    pub(crate) alarm: CaptureTime,
    /// The table knows that there are sights to forget.
    pub(crate) has_sights: bool,
    directions: [Assembler; 2],
    /// What is measured once there is payload: a flood of SYNs must stay cheap.
    measures: Option<Box<Measures>>,
    syn_from: Option<Side>,
    refused: bool,
    closing: Option<Closing>,
    ignored_resets: u64,
    ignored_syns: u64,
    stale_segments: u64,
    /// The latest SYN that was ignored.
    doubtful_syn: Option<(Side, SeqNumber)>,
    /// Where an earlier connection between the same ends stood, by side.
    earlier: [Option<SeqNumber>; 2],
}

/// A connection that ended, but may still be seen at another tap, or have reordered segments on the way.
#[derive(Clone, Copy, Debug)]
struct Closing {
    reason: CloseReason,
    at: CaptureTime,
    /// Who aborted it, and at which offset of its stream, if that is known.
    reset: Option<(Side, Option<u64>)>,
}

/// Whether a segment was taken as the next one of its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InOrder {
    /// It was not.
    No,
    /// It was.
    Yes,
    /// It was, and its acknowledgement may have brought a deadline of the other side nearer.
    AndAcknowledges,
}

/// What the flow table is to do after a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Taken,
    /// Close this connection: the segment, which is not taken, belongs to a new one.
    Replace,
}

/// What a SYN means to a connection that is known already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SynVerdict {
    /// It tells where the stream of its side starts.
    Start,
    /// It does, and what is known of that side belongs to an earlier attempt.
    Restart,
    /// It is known.
    Known,
    /// It opens another connection.
    Another,
    /// The receiver would not accept it.
    Ignored,
}

/// How long after its first packet a connection may still learn of its SYN.
const SYN_LATE: bftap_model::Nanos = bftap_model::Nanos::from_secs(60);

impl Flow {
    pub(crate) fn new(
        id: ConnId,
        key: FlowKey,
        seen: CaptureTime,
        syn_from: Option<Side>,
        earlier: [Option<SeqNumber>; 2],
    ) -> Self {
        Self {
            id,
            key,
            first_seen: seen,
            last_seen: seen,
            due: CaptureTime::MAX,
            alarm: CaptureTime::MAX,
            has_sights: false,
            directions: [Assembler::new(), Assembler::new()],
            measures: None,
            syn_from,
            refused: false,
            closing: None,
            ignored_resets: 0,
            ignored_syns: 0,
            stale_segments: 0,
            doubtful_syn: None,
            earlier,
        }
    }

    /// Takes a segment if it is simply the next one of its side.
    #[inline]
    pub(crate) fn in_order<'p>(
        &mut self,
        side: Side,
        head: &SegmentHead,
        payload: &'p [u8],
        out: &mut Vec<FlowEvent<'p>>,
    ) -> InOrder {
        let [low, high] = &mut self.directions;
        let (own, other) = if side == Side::Low {
            (low, high)
        } else {
            (high, low)
        };
        if self.closing.is_some()
            || !own.in_order(
                head,
                payload,
                &mut Outlet {
                    id: self.id,
                    side,
                    events: out,
                },
            )
        {
            return InOrder::No;
        }
        self.last_seen = self.last_seen.max(head.seen);
        let measures = self.measures.get_or_insert_default();
        measures.payload(side, head, payload.len(), Carried::Payload { again: false });
        measures.ack(side.other(), head);
        if let Some(ack) = head.ack
            && other.stated_ack() != Some(ack)
        {
            other.ack(ack, head.seen);
            if !other.is_ordinary() {
                return InOrder::AndAcknowledges;
            }
        }
        InOrder::Yes
    }

    /// Takes any segment.
    pub(crate) fn take<'p>(
        &mut self,
        side: Side,
        head: &SegmentHead,
        payload: &'p [u8],
        limits: &FlowLimits,
        out: &mut Vec<FlowEvent<'p>>,
    ) -> Step {
        let seen = head.seen;
        if head.flags.syn() {
            match self.judge_syn(side, head) {
                SynVerdict::Another => return Step::Replace,
                SynVerdict::Ignored => {
                    self.last_seen = self.last_seen.max(seen);
                    self.ignored_syns += 1;
                    self.doubtful_syn = Some((side, head.seq.add(1)));
                    return Step::Taken;
                }
                SynVerdict::Known => {}
                verdict @ (SynVerdict::Start | SynVerdict::Restart) => {
                    self.learn_syn(side, head, verdict == SynVerdict::Restart, out);
                }
            }
        }
        self.last_seen = self.last_seen.max(seen);
        if !head.flags.syn() && self.is_stale(side, head, payload.len()) {
            self.stale_segments += 1;
            return Step::Taken;
        }
        if head.flags.rst() {
            self.reset(side, head);
            return Step::Taken;
        }
        if let Some(ack) = head.ack {
            self.directions[side.other().index()].ack(ack, seen);
            if let Some(measures) = &mut self.measures {
                measures.ack(side.other(), head);
            }
        }
        let own = &mut self.directions[side.index()];
        let carried = own.segment(
            head,
            payload,
            limits,
            &mut Outlet {
                id: self.id,
                side,
                events: out,
            },
        );
        if carried != Carried::Nothing {
            let measures = self.measures.get_or_insert_default();
            measures.payload(side, head, payload.len(), carried);
        }
        if let Some(Closing {
            reset: Some((by, Some(stood))),
            ..
        }) = self.closing
            && by == side
            && !payload.is_empty()
            && self.sends_behind(side, stood, head, payload)
        {
            // Who aborts a connection forgets it, so the RST came from somebody else.
            self.closing = None;
            self.refused = false;
            self.ignored_resets += 1;
        }
        self.note_finish(seen);
        Step::Taken
    }

    /// Whether a segment of `side` carries bytes behind the offset where its reset stood.
    fn sends_behind(&self, side: Side, stood: u64, head: &SegmentHead, payload: &[u8]) -> bool {
        let own = &self.directions[side.index()];
        own.is_near(head.seq) && own.offset_of(head.seq) + payload.len() as i64 > stood as i64
    }

    /// The connection begins to close once both sides have finished.
    fn note_finish(&mut self, at: CaptureTime) {
        if self.closing.is_none() && self.directions.iter().all(Assembler::is_finished) {
            self.closing = Some(Closing {
                reason: CloseReason::Fin,
                at,
                reset: None,
            });
        }
    }

    fn judge_syn(&self, side: Side, head: &SegmentHead) -> SynVerdict {
        let first = head.seq.add(1);
        let own = &self.directions[side.index()];
        let peer = &self.directions[side.other().index()];
        let answer = head.flags.ack();
        // A SYN-ACK that answers the SYN that is known.
        let answers = head.ack.is_some() && head.ack == peer.start();
        let young = head.seen.since(self.first_seen) <= SYN_LATE;
        let before = |known: SeqNumber| {
            let distance = known.distance_from(first);
            young && distance >= 0 && distance as u64 <= HOLD_BACK_REACH
        };
        if own.start() == Some(first) {
            return if own.has_syn() {
                SynVerdict::Known
            } else {
                SynVerdict::Start
            };
        }
        if answer
            && self
                .doubtful_syn
                .is_some_and(|(by, number)| by != side && head.ack == Some(number))
        {
            return SynVerdict::Another;
        }
        if self.closing.is_some() && !answer {
            return SynVerdict::Another;
        }
        if let Some(start) = own.start() {
            if own.has_syn() {
                if answer && answers && own.gave_nothing() {
                    return SynVerdict::Restart;
                }
                if !answer && !peer.has_syn() && !own.has_payload() && !peer.has_payload() {
                    return SynVerdict::Another;
                }
            } else if before(start) {
                return SynVerdict::Start;
            }
            return if own.in_window(first) {
                SynVerdict::Ignored
            } else {
                SynVerdict::Another
            };
        }
        if let Some(held) = own.held_start() {
            return match (before(held), answer, answers) {
                (true, ..) | (_, true, true) => SynVerdict::Start,
                _ => SynVerdict::Another,
            };
        }
        match (answer, peer.start()) {
            // A SYN-ACK may acknowledge the payload of the SYN as well.
            (true, Some(_)) if peer.has_syn() => {
                if head.ack.is_some_and(|ack| peer.is_answered_by(ack)) {
                    SynVerdict::Start
                } else {
                    SynVerdict::Ignored
                }
            }
            (true, _) => SynVerdict::Start,
            // What the other side sent so far may have overtaken the SYN.
            (false, _) if peer.has_syn() || peer.delivered() == 0 => SynVerdict::Start,
            (false, _) => SynVerdict::Another,
        }
    }

    /// A SYN tells where the stream of its side starts; a SYN-ACK also where the other one does.
    fn learn_syn<'p>(&mut self, side: Side, head: &SegmentHead, restart: bool, out: &mut Vec<FlowEvent<'p>>) {
        let opener = if head.flags.ack() { side.other() } else { side };
        if self.syn_from.is_none() {
            self.syn_from = Some(opener);
            out.push(FlowEvent::Syn {
                id: self.id,
                from: opener,
            });
        }
        let own = &mut self.directions[side.index()];
        if restart {
            own.restart(head.seq.add(1));
            self.measures = None;
        }
        own.learn_start(
            head.seq.add(1),
            true,
            &mut Outlet {
                id: self.id,
                side,
                events: out,
            },
        );
        if let Some(ack) = head.ack {
            let side = side.other();
            let peer = &mut self.directions[side.index()];
            peer.learn_start(
                ack,
                false,
                &mut Outlet {
                    id: self.id,
                    side,
                    events: out,
                },
            );
        }
    }

    /// Whether a segment belongs to an earlier connection between the same ends.
    fn is_stale(&self, side: Side, head: &SegmentHead, payload: usize) -> bool {
        self.earlier[side.index()].is_some_and(|end| {
            let last = head.seq.add((payload as u32).saturating_add(head.cut));
            let distance = i64::from(last.distance_from(end));
            let own = &self.directions[side.index()];
            (-JUMP..=0).contains(&distance)
                && !own.is_near(head.seq)
                && own.start().is_none_or(|start| start != head.seq)
        })
    }

    fn reset(&mut self, side: Side, head: &SegmentHead) {
        if self.closing.is_some() {
            return;
        }
        let own = &self.directions[side.index()];
        let peer = &self.directions[side.other().index()];
        let plausible = match own.end() {
            Some(_) => own.expects_reset(head.seq),
            // This side never sent anything else: it refuses, or answers a stray packet.
            None => match (head.ack, peer.end()) {
                (Some(ack), Some(end)) => peer.is_near(ack) || ack == end,
                _ => own.stated_ack().is_none_or(|stated| stated == head.seq),
            },
        };
        if !plausible {
            self.ignored_resets += 1;
            return;
        }
        self.refused = peer.has_syn()
            && !own.has_syn()
            && self.directions.iter().all(|direction| !direction.has_payload());
        let stood = self.directions[side.index()].claim(head.seq);
        self.closing = Some(Closing {
            reason: CloseReason::Rst,
            at: head.seen,
            reset: Some((side, stood)),
        });
    }

    /// Does all that was due by `now`, each thing as of the time when it was due; gives why the connection is over if it is.
    pub(crate) fn run<'p>(
        &mut self,
        now: CaptureTime,
        limits: &FlowLimits,
        out: &mut Vec<FlowEvent<'p>>,
    ) -> Option<CloseReason> {
        loop {
            let [low, high] = Side::BOTH.map(|side| self.directions[side.index()].deadline(limits));
            let closing = self
                .closing
                .map_or(CaptureTime::MAX, |closing| closing.at.saturating_add(SETTLE));
            let idle = self.last_seen.saturating_add(limits.idle);
            let due = low.min(high).min(closing).min(idle);
            // An end of time that nothing is due at must not be reached by a hostile time stamp.
            if due > now || due == CaptureTime::MAX {
                self.due = low.min(high).min(closing);
                return None;
            }
            if due == low || due == high {
                let side = if due == low { Side::Low } else { Side::High };
                self.directions[side.index()].fire(&mut Outlet {
                    id: self.id,
                    side,
                    events: out,
                });
                self.note_finish(due);
            } else if due == closing {
                return self.closing.map(|closing| closing.reason);
            } else {
                return Some(CloseReason::Idle);
            }
        }
    }

    /// When the earliest thing is to be done, but for idling, has changed.
    pub(crate) fn update_due(&mut self, limits: &FlowLimits) {
        let [low, high] = Side::BOTH.map(|side| self.directions[side.index()].deadline(limits));
        let closing = self
            .closing
            .map_or(CaptureTime::MAX, |closing| closing.at.saturating_add(SETTLE));
        self.due = low.min(high).min(closing);
    }

    /// Gives up the most urgent hole because memory is short; says whether there was one.
    pub(crate) fn force<'p>(&mut self, limits: &FlowLimits, out: &mut Vec<FlowEvent<'p>>) -> bool {
        let waiting = |side: &Side| self.directions[side.index()].waiting_cost() > 0;
        let deadline = |side: &Side| self.directions[side.index()].deadline(limits);
        let Some(side) = Side::BOTH.into_iter().filter(waiting).min_by_key(deadline) else {
            return false;
        };
        self.directions[side.index()].force(&mut Outlet {
            id: self.id,
            side,
            events: out,
        });
        self.note_finish(self.last_seen);
        true
    }

    /// What the waiting bytes of both directions count as.
    pub(crate) fn waiting_cost(&self) -> usize {
        self.directions.iter().map(Assembler::waiting_cost).sum()
    }

    /// Forgets the packets seen, which no other tap can still be about to see.
    pub(crate) fn forget_sights(&mut self) {
        for direction in &mut self.directions {
            direction.sights().forget();
        }
        if let Some(measures) = &mut self.measures {
            measures.forget();
        }
    }

    /// Sequence numbers of offset 0 of both streams, where they are settled.
    pub(crate) fn starts(&self) -> [Option<SeqNumber>; 2] {
        Side::BOTH.map(|side| self.directions[side.index()].start())
    }

    /// What a late packet of this connection is known by.
    pub(crate) fn remains(&self) -> Remains {
        Remains {
            id: self.id,
            starts: self.starts(),
            ends: Side::BOTH.map(|side| self.directions[side.index()].end()),
        }
    }

    /// Ends both directions and the connection.
    pub(crate) fn close<'p>(&mut self, reason: CloseReason, out: &mut Vec<FlowEvent<'p>>) {
        let (reason, at) = match self.closing {
            Some(closing) => (closing.reason, closing.at),
            None => (reason, self.last_seen),
        };
        for side in Side::BOTH {
            self.directions[side.index()].close(
                at,
                &mut Outlet {
                    id: self.id,
                    side,
                    events: out,
                },
            );
        }
        out.push(FlowEvent::Closed {
            id: self.id,
            summary: Box::new(self.summary(reason)),
        });
    }

    /// How it went so far.
    pub(crate) fn summary(&self, reason: CloseReason) -> ConnectionSummary {
        let tallies = Side::BOTH.map(|side| self.directions[side.index()].tally());
        let [low, high] = tallies;
        ConnectionSummary {
            key: self.key,
            syn_from: self.syn_from,
            syn_seen: Side::BOTH.map(|side| self.directions[side.index()].has_syn()),
            starts: self.starts(),
            // Payload may still have come after the reset.
            refused: self.refused && self.directions.iter().all(|direction| direction.delivered() == 0),
            payload_bytes: Side::BOTH.map(|side| self.directions[side.index()].delivered()),
            gaps: tallies.map(|tally| tally.gaps),
            missing_bytes: tallies.map(|tally| tally.missing_bytes),
            duplicate_segments: low.duplicate_segments + high.duplicate_segments,
            conflicting_overlaps: low.conflicting_overlaps + high.conflicting_overlaps,
            keep_alives: low.keep_alives + high.keep_alives,
            ignored_resets: self.ignored_resets,
            ignored_syns: self.ignored_syns,
            implausible_segments: low.implausible_segments + high.implausible_segments + self.stale_segments,
            late_bytes: low.late_bytes + high.late_bytes,
            before_start_bytes: low.before_start_bytes + high.before_start_bytes,
            limits_reached: low.limits_reached + high.limits_reached,
            ways: self
                .measures
                .as_ref()
                .map(|measures| measures.sums())
                .unwrap_or_default(),
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            reason,
        }
    }
}

/// What is remembered of a closed connection. Arrays are by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remains {
    /// Which it was.
    pub(crate) id: ConnId,
    /// Number of the first byte.
    pub(crate) starts: [Option<SeqNumber>; 2],
    /// Number behind all that was sent.
    pub(crate) ends: [Option<SeqNumber>; 2],
}

impl Remains {
    /// Whether a segment can be a late one of the closed connection, rather than one of a new connection.
    pub(crate) fn explain(&self, side: Side, head: &SegmentHead, payload: usize) -> bool {
        if head.flags.syn() {
            return self.starts[side.index()] == Some(head.seq.add(1));
        }
        let carried = (payload as u32).saturating_add(head.cut);
        if carried == 0 {
            return true;
        }
        self.ends[side.index()].is_some_and(|end| {
            let distance = i64::from(head.seq.add(carried).distance_from(end));
            (-JUMP..=0).contains(&distance)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_just_a_syn_is_small() {
        // Times 262,144 connections: what a flood of SYNs can take.
        assert!(size_of::<Flow>() <= 512, "{}", size_of::<Flow>());
    }
}
