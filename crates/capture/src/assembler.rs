//! One direction of a TCP connection: segments in any order to a stream in order, and news of what is missing.
//!
//! Positions are 64-bit offsets; a sequence number is turned into one by its wrapping distance from the next byte that
//! is due (RFC 9293, section 3.4), so streams of any length keep their place.

mod numbers;
mod start;

use std::borrow::Cow;
use std::collections::VecDeque;

use bftap_model::{CaptureTime, SeqNumber, StreamChunk, StreamGap, StreamItem, StreamOffset, TapId};

pub(crate) use self::numbers::JUMP;
pub(crate) use self::start::HOLD_BACK_REACH;
use self::start::{HOLD_BACK, HOLD_BACK_BYTES};
use crate::connection::Outlet;
use crate::flow_table::FlowLimits;
use crate::segment::{SegmentHead, TcpFlags};
use crate::sights::{Acquaintance, Sights};
use crate::waiting::{Piece, Waiting};

/// The reassembly of one direction.
#[derive(Debug)]
pub(crate) struct Assembler {
    phase: Phase,
    /// A SYN of this side was captured.
    syn: bool,
    /// Nothing waits, no FIN is known: a segment at the expected place can be passed on as it is.
    ordinary: bool,
    /// Sequence number of offset 0; while held back, of an offset that shares its low 32 bits.
    base: SeqNumber,
    /// The next byte due.
    next: u64,
    /// End of the payload that packets of this side carried, captured or cut off; may lag behind `next`.
    sent: u64,
    /// Where the numbers of packets without payload say that this side stands; a FIN may be counted in.
    claimed: u64,
    /// End of the bytes that the other side has acknowledged.
    acked: u64,
    /// Latest acknowledgement number of the other side.
    stated_ack: Option<SeqNumber>,
    /// Sight of the latest byte given.
    latest: CaptureTime,
    /// Bytes given.
    delivered: u64,
    sights: Sights,
    /// What most directions never need.
    rare: Option<Box<Rare>>,
}

/// What is known of the stream's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing.
    Unknown,
    /// Some bytes, but perhaps not the first; nothing was given yet.
    Held {
        /// Capture time of the first segment.
        since: CaptureTime,
    },
    /// Offset 0 is settled.
    Running,
}

#[derive(Debug, Default)]
struct Rare {
    waiting: Waiting,
    fin: Option<Fin>,
    /// Sights at another tap of packets whose bytes still wait: end of the bytes, and when.
    resights: Vec<(u64, CaptureTime)>,
    /// The latest gaps declared.
    gaps: VecDeque<(u64, u64)>,
    /// A number that was too far off to be believed alone.
    jump: Option<SeqNumber>,
    tally: Tally,
}

#[derive(Clone, Copy, Debug)]
struct Fin {
    offset: u64,
    seen: CaptureTime,
    /// Since when the receiver is known to have all bytes before it.
    received: Option<CaptureTime>,
}

/// What a segment turned out to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    /// No payload, or none that belongs to the stream.
    Nothing,
    /// Payload in a packet that was not seen before.
    Payload {
        /// Bytes of it had been seen before, in another packet.
        again: bool,
    },
    /// A packet that this tap has seen before.
    Twice,
    /// A packet that another tap has seen before.
    Elsewhere {
        /// The first one.
        tap: TapId,
        /// When that saw it.
        first: CaptureTime,
    },
}

/// Counts of one direction; see [`ConnectionSummary`](crate::connection::ConnectionSummary).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) gaps: u64,
    pub(crate) missing_bytes: u64,
    pub(crate) duplicate_segments: u64,
    pub(crate) conflicting_overlaps: u64,
    pub(crate) keep_alives: u64,
    pub(crate) implausible_segments: u64,
    pub(crate) late_bytes: u64,
    pub(crate) before_start_bytes: u64,
    pub(crate) limits_reached: u64,
}

/// Gaps remembered per direction, to tell late bytes from retransmissions.
const GAPS_REMEMBERED: usize = 64;

/// Sights at other taps that may wait for their bytes, per direction.
const RESIGHTS_WAITING: usize = 1024;

impl Assembler {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Unknown,
            syn: false,
            ordinary: false,
            base: SeqNumber(0),
            next: 0,
            sent: 0,
            claimed: 0,
            acked: 0,
            stated_ack: None,
            latest: CaptureTime::MIN,
            delivered: 0,
            sights: Sights::default(),
            rare: None,
        }
    }

    /// Passes a segment on if it is the next one and nothing else is to be thought of; says whether it did.
    #[inline]
    pub(crate) fn in_order<'p>(
        &mut self,
        head: &SegmentHead,
        payload: &'p [u8],
        out: &mut Outlet<'_, 'p>,
    ) -> bool {
        const SPECIAL: u8 = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST;
        if !self.ordinary
            || head.seq != self.seq_at(self.next)
            || self.sent > self.next
            || head.flags.0 & SPECIAL != 0
            || head.cut != 0
            || payload.is_empty()
        {
            return false;
        }
        self.deliver(head.seen, Cow::Borrowed(payload), out);
        self.sights.note(head.identity, head.tap, head.seen, self.next);
        true
    }

    /// Takes any segment of a side, but resets.
    pub(crate) fn segment<'p>(
        &mut self,
        head: &SegmentHead,
        payload: &'p [u8],
        limits: &FlowLimits,
        out: &mut Outlet<'_, 'p>,
    ) -> Carried {
        let first = head.first_byte();
        let whole = payload.len() as i64 + i64::from(head.cut);
        let fin = head.flags.fin();
        if self.phase == Phase::Unknown {
            if whole == 0 && !fin {
                return Carried::Nothing;
            }
            self.hold(first, head.seen);
        }
        let Some(start) = self.place(first) else {
            self.rare().tally.implausible_segments += 1;
            return Carried::Nothing;
        };
        let mut carried = Carried::Nothing;
        if whole > 0 {
            carried = self.payload(head, start, payload, out);
        } else if !fin && !head.flags.syn() {
            self.bare(head, start);
        }
        if fin {
            self.fin(start + whole, head.seen);
        }
        self.keep_limits(limits, out);
        self.drain(out);
        carried
    }

    /// Takes payload whose first byte is at `start`, which may be before offset 0.
    fn payload<'p>(
        &mut self,
        head: &SegmentHead,
        start: i64,
        payload: &'p [u8],
        out: &mut Outlet<'_, 'p>,
    ) -> Carried {
        let known = self.sights.recall(head.identity, head.tap, head.seen);
        let elsewhere = matches!(known, Acquaintance::OtherTap { .. });
        let whole = payload.len() as i64 + i64::from(head.cut);
        if whole == 1 && self.repeats_last_byte(start) && known == Acquaintance::New && !head.flags.fin() {
            self.sights.note(head.identity, head.tap, head.seen, 0);
            self.rare().tally.keep_alives += 1;
            return Carried::Nothing;
        }
        let mut end = start + payload.len() as i64;
        let mut behind_fin = 0;
        if let Some(fin) = self.fin_mark()
            && start + whole > fin.offset as i64
        {
            if self.next < fin.offset {
                // Nobody sends on after a FIN, so that FIN was not one of this stream.
                let rare = self.rare();
                rare.fin = None;
                rare.tally.implausible_segments += 1;
            } else {
                behind_fin = end - start.max(fin.offset as i64).min(end);
                end -= behind_fin;
            }
        }
        if self.fin_mark().is_none() {
            self.sent = self.sent.max((start + whole).max(0) as u64);
        }

        let floor = if self.is_held() { self.next as i64 } else { 0 };
        let before_start = (end.min(floor) - start).max(0);
        let passed = start.max(floor)..end.min(self.next as i64);
        let late = if passed.is_empty() {
            0
        } else {
            self.in_gaps(passed.start as u64, passed.end as u64)
        };
        let seen = match known {
            Acquaintance::OtherTap { first, .. } => first.min(head.seen),
            _ => head.seen,
        };
        let from = start.max(self.next as i64);
        let brought = if from < end {
            let bytes = &payload[(from - start) as usize..(end - start) as usize];
            self.take(from as u64, bytes, seen, head.seen, out)
        } else {
            0
        };
        if !elsewhere && (late > 0 || behind_fin > 0 || before_start > 0 || brought == 0) {
            let tally = &mut self.rare().tally;
            tally.late_bytes += late + behind_fin as u64;
            tally.before_start_bytes += before_start as u64;
            tally.duplicate_segments +=
                u64::from(brought == 0 && late == 0 && behind_fin == 0 && before_start == 0);
        }

        let strange = late + before_start as u64 + behind_fin as u64;
        let again = payload.len() as u64 > brought + strange;
        let brought_to = if brought > 0 { end as u64 } else { 0 };
        match known {
            Acquaintance::SameTap if brought == 0 => {}
            Acquaintance::New | Acquaintance::SameTap => {
                self.sights.note(head.identity, head.tap, head.seen, brought_to);
            }
            Acquaintance::OtherTap {
                index,
                end: known_to,
                first,
                ..
            } => {
                if brought > 0 {
                    self.sights.extend(index, brought_to);
                }
                if head.seen < first && from < end {
                    self.rare()
                        .waiting
                        .seen_earlier(from as u64, end as u64, first, head.seen);
                }
                self.resight(known_to.max(brought_to), head.seen, out);
            }
        }
        match known {
            Acquaintance::New => Carried::Payload { again },
            Acquaintance::SameTap => Carried::Twice,
            Acquaintance::OtherTap { tap, first, .. } => Carried::Elsewhere { tap, first },
        }
    }

    /// Takes the bytes from `start` on, all at or behind the next one due; gives how many of them are new.
    fn take<'p>(
        &mut self,
        start: u64,
        bytes: &'p [u8],
        seen: CaptureTime,
        at: CaptureTime,
        out: &mut Outlet<'_, 'p>,
    ) -> u64 {
        let held = self.is_held();
        let mut rest = bytes;
        let mut offset = start;
        let mut brought = 0;
        let mut differs = false;
        while !rest.is_empty() {
            let waiting = self.rare.as_ref().map(|rare| &rare.waiting);
            if let Some((end, differing)) = waiting.and_then(|waiting| waiting.covering(offset, rest)) {
                differs |= differing;
                let skip = rest.len().min((end - offset) as usize);
                rest = &rest[skip..];
                offset += skip as u64;
                continue;
            }
            let next_start = waiting.and_then(|waiting| waiting.next_start(offset));
            let len = next_start.map_or(rest.len(), |next| rest.len().min((next - offset) as usize));
            let (fresh, behind) = rest.split_at(len);
            if offset == self.next && !held {
                self.deliver(seen, Cow::Borrowed(fresh), out);
            } else {
                let received = (self.acked >= offset).then_some(at);
                let piece = Piece {
                    bytes: fresh.to_vec(),
                    seen,
                    since: at,
                    received,
                };
                self.rare().waiting.insert(offset, piece);
            }
            brought += len as u64;
            rest = behind;
            offset += len as u64;
        }
        if differs {
            self.rare().tally.conflicting_overlaps += 1;
        }
        brought
    }

    /// Takes a segment without payload: a keep-alive, or evidence of what was sent.
    fn bare(&mut self, head: &SegmentHead, start: i64) {
        if self.repeats_last_byte(start) {
            if self.sights.recall(head.identity, head.tap, head.seen) == Acquaintance::New {
                self.sights.note(head.identity, head.tap, head.seen, 0);
                self.rare().tally.keep_alives += 1;
            }
        } else if !self.is_held() {
            self.claimed = self.claimed.max(start.max(0) as u64);
        }
    }

    /// Whether a segment of no or one byte at `start` is a keep-alive or window probe (RFC 9293, section 3.8.4).
    fn repeats_last_byte(&self, start: i64) -> bool {
        self.phase == Phase::Running && start + 1 == self.next as i64
    }

    fn fin(&mut self, offset: i64, seen: CaptureTime) {
        if let Some(known) = self.fin_mark() {
            if known.offset as i64 != offset {
                self.rare().tally.implausible_segments += 1;
            }
            return;
        }
        let acked = self.acked;
        let next = self.next as i64;
        let rare = self.rare();
        if offset < next || rare.waiting.end().is_some_and(|end| offset < end as i64) {
            rare.tally.implausible_segments += 1;
            return;
        }
        let offset = offset as u64;
        rare.fin = Some(Fin {
            offset,
            seen,
            received: (acked >= offset).then_some(seen),
        });
        self.ordinary = false;
        self.sent = self.sent.max(offset);
        self.acked = acked.min(offset);
    }

    /// Takes an acknowledgement number of the other side.
    pub(crate) fn ack(&mut self, ack: SeqNumber, at: CaptureTime) {
        if self.stated_ack == Some(ack) {
            return;
        }
        self.stated_ack = Some(ack);
        if self.phase == Phase::Unknown {
            return;
        }
        let reference = self.acked.max(self.next);
        let near = reference as i64 + i64::from(ack.distance_from(self.seq_at(reference)));
        if near <= self.acked as i64 && near >= self.acked as i64 - JUMP {
            return;
        }
        let offset = if near > self.acked as i64 && near <= self.top() as i64 + JUMP {
            near as u64
        } else if let Some(far) = self.supported(ack) {
            far
        } else {
            self.rare().tally.implausible_segments += 1;
            return;
        };
        let from = self.acked;
        self.acked = offset;
        if let Some(rare) = &mut self.rare {
            rare.waiting.acknowledge(from, offset, at);
            if let Some(fin) = &mut rare.fin
                && offset >= fin.offset
            {
                fin.received.get_or_insert(at);
                self.acked = fin.offset;
            }
        }
    }

    /// When something is to be done about this direction, if nothing else comes.
    pub(crate) fn deadline(&self, limits: &FlowLimits) -> CaptureTime {
        if let Phase::Held { since } = self.phase {
            return since.saturating_add(HOLD_BACK);
        }
        let Some(rare) = &self.rare else {
            return CaptureTime::MAX;
        };
        let (since, received) = match (rare.waiting.first(), rare.fin) {
            (Some((_, piece)), _) => (piece.since, piece.received),
            (None, Some(fin)) if self.next < fin.offset => (fin.seen, fin.received),
            _ => return CaptureTime::MAX,
        };
        let unacked = since.saturating_add(limits.unacked_wait);
        received.map_or(unacked, |received| {
            received.saturating_add(limits.acked_wait).min(unacked)
        })
    }

    /// Does what its deadline is for.
    pub(crate) fn fire<'p>(&mut self, out: &mut Outlet<'_, 'p>) {
        if self.is_held() {
            self.give_up_holding(out);
        } else {
            self.declare_hole(out);
        }
    }

    /// Gives up the first hole because memory is short.
    pub(crate) fn force<'p>(&mut self, out: &mut Outlet<'_, 'p>) {
        self.rare().tally.limits_reached += 1;
        self.fire(out);
    }

    fn keep_limits<'p>(&mut self, limits: &FlowLimits, out: &mut Outlet<'_, 'p>) {
        if self.is_held() && self.waiting_cost() > HOLD_BACK_BYTES.min(limits.direction_bytes) {
            self.give_up_holding(out);
        }
        while self.waiting_cost() > limits.direction_bytes {
            // What can go on needs no gap.
            self.drain(out);
            if self.waiting_cost() <= limits.direction_bytes {
                break;
            }
            self.force(out);
        }
    }

    /// Declares the first hole a gap, and gives what waited behind it.
    fn declare_hole<'p>(&mut self, out: &mut Outlet<'_, 'p>) {
        let Some(rare) = &self.rare else { return };
        let target = match (rare.waiting.first(), rare.fin) {
            (Some((start, piece)), _) => Some((start, piece.seen)),
            (None, fin) => fin.map(|fin| (fin.offset, fin.seen)),
        };
        if let Some((to, seen)) = target {
            self.gap(to, seen, out);
        }
        self.drain(out);
    }

    /// Gives the news that the bytes up to `to` are missing; `after` is when what follows was seen.
    fn gap(&mut self, to: u64, after: CaptureTime, out: &mut Outlet<'_, '_>) {
        if to <= self.next {
            return;
        }
        let offset = self.next;
        let len = to - offset;
        let seen = if self.delivered > 0 { self.latest } else { after };
        out.item(StreamItem::Gap(StreamGap {
            offset: StreamOffset(offset),
            len,
            seen,
        }));
        self.next = to;
        let rare = self.rare();
        rare.tally.gaps += 1;
        rare.tally.missing_bytes += len;
        if rare.gaps.len() == GAPS_REMEMBERED {
            rare.gaps.pop_front();
        }
        rare.gaps.push_back((offset, to));
    }

    /// Gives what has become the next in order.
    fn drain<'p>(&mut self, out: &mut Outlet<'_, 'p>) {
        if !self.is_held() {
            while let Some(piece) = self
                .rare
                .as_mut()
                .and_then(|rare| rare.waiting.take_at(self.next))
            {
                self.deliver(piece.seen, Cow::Owned(piece.bytes), out);
            }
            if let Some(rare) = &mut self.rare
                && !rare.resights.is_empty()
            {
                let next = self.next;
                rare.resights.retain(|&(end, seen)| {
                    let waits = end > next;
                    if !waits {
                        out.item(StreamItem::Resight {
                            end: StreamOffset(end),
                            seen,
                        });
                    }
                    waits
                });
            }
        }
        self.update_ordinary();
    }

    #[inline]
    fn deliver<'p>(&mut self, seen: CaptureTime, bytes: Cow<'p, [u8]>, out: &mut Outlet<'_, 'p>) {
        let offset = StreamOffset(self.next);
        let len = bytes.len() as u64;
        self.next += len;
        self.delivered += len;
        self.latest = seen;
        out.item(StreamItem::Data(StreamChunk { offset, seen, bytes }));
    }

    /// A packet that brought the bytes up to `end` (0: none) was seen at another tap.
    fn resight(&mut self, end: u64, seen: CaptureTime, out: &mut Outlet<'_, '_>) {
        if end == 0 {
        } else if end <= self.next && !self.is_held() {
            out.item(StreamItem::Resight {
                end: StreamOffset(end),
                seen,
            });
        } else {
            let rare = self.rare();
            if rare.resights.len() < RESIGHTS_WAITING {
                rare.resights.push((end, seen));
            } else {
                rare.tally.limits_reached += 1;
            }
        }
    }

    /// Ends the direction: gives all that waits, the gaps in it, and the news of a tail that was sent but not captured.
    pub(crate) fn close<'p>(&mut self, at: CaptureTime, out: &mut Outlet<'_, 'p>) {
        if self.is_held() {
            self.give_up_holding(out);
        }
        while self.rare.as_ref().is_some_and(|rare| !rare.waiting.is_empty()) {
            self.declare_hole(out);
        }
        let fin = self.fin_mark();
        if self.phase == Phase::Running {
            let carried = self.sent.max(self.next);
            let claimed = self.claimed.max(self.acked);
            let end = match fin {
                Some(fin) => fin.offset,
                // One more number is that of a FIN that was not captured.
                None if claimed > carried + 1 => claimed,
                None => carried,
            };
            self.gap(end, at, out);
        }
        out.item(StreamItem::End {
            seen: fin.map_or(at, |fin| fin.seen),
        });
    }

    /// Whether all bytes up to the FIN were given.
    pub(crate) fn is_finished(&self) -> bool {
        self.phase == Phase::Running && self.fin_mark().is_some_and(|fin| self.next >= fin.offset)
    }

    /// Latest number that the other side stated to expect.
    #[inline]
    pub(crate) fn stated_ack(&self) -> Option<SeqNumber> {
        self.stated_ack
    }

    /// Whether nothing waits or has a deadline.
    #[inline]
    pub(crate) fn is_ordinary(&self) -> bool {
        self.ordinary
    }

    /// Whether a SYN of this side was captured.
    pub(crate) fn has_syn(&self) -> bool {
        self.syn
    }

    /// Whether any byte of payload is known.
    pub(crate) fn has_payload(&self) -> bool {
        self.delivered > 0 || self.waiting_cost() > 0
    }

    /// Whether nothing was told of the stream yet, bytes or gaps, and nothing waits: it can still begin anew.
    pub(crate) fn gave_nothing(&self) -> bool {
        self.next == 0 && self.waiting_cost() == 0
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(crate) fn tally(&self) -> Tally {
        self.rare.as_ref().map(|rare| rare.tally).unwrap_or_default()
    }

    /// What the waiting bytes count as.
    #[inline]
    pub(crate) fn waiting_cost(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.waiting.cost())
    }

    pub(crate) fn sights(&mut self) -> &mut Sights {
        &mut self.sights
    }

    /// How many bytes of a range were declared missing.
    fn in_gaps(&self, start: u64, end: u64) -> u64 {
        let Some(rare) = &self.rare else { return 0 };
        rare.gaps
            .iter()
            .map(|&(from, to)| to.min(end).saturating_sub(from.max(start)))
            .sum()
    }

    fn is_held(&self) -> bool {
        matches!(self.phase, Phase::Held { .. })
    }

    fn fin_mark(&self) -> Option<Fin> {
        self.rare.as_ref().and_then(|rare| rare.fin)
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn update_ordinary(&mut self) {
        self.ordinary = self.phase == Phase::Running
            && self
                .rare
                .as_ref()
                .is_none_or(|rare| rare.waiting.is_empty() && rare.fin.is_none() && rare.resights.is_empty());
    }
}
