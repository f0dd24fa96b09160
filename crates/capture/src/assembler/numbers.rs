//! Which sequence numbers belong to a stream, and where in it.
//!
//! # How far a segment may jump
//!
//! A segment or acknowledgement further than [`JUMP`] from all that is known of the stream is dropped, unless a second
//! one, with another number, supports it within [`SUPPORT`]. So one stray packet makes no gap of gigabytes, and a
//! stream that really went on while the capture stood still is found again with its second packet.

use bftap_model::SeqNumber;

use super::start::HELD_ORIGIN;
use super::{Assembler, Phase};

/// How far, in bytes, one segment may lead or trail what is known of a stream.
pub(crate) const JUMP: i64 = 64 << 20;

/// How near two numbers must be to support each other.
const SUPPORT: u32 = 1 << 20;

/// How far outside its window a reset or SYN still counts as inside: windows are scaled by a factor that the capture
/// may not hold.
const WINDOW: u64 = 64 << 10;

impl Assembler {
    /// The offset of a number, which may be before 0; `None` if it is too far off to be believed.
    pub(super) fn place(&mut self, seq: SeqNumber) -> Option<i64> {
        let next = self.next as i64;
        let top = self.top();
        let near = next + i64::from(seq.distance_from(self.seq_at(self.next)));
        if near >= next - JUMP && near <= top as i64 + JUMP {
            return Some(near);
        }
        let distance = i64::from(seq.distance_from(self.seq_at(top)));
        if distance.abs() <= JUMP {
            return Some(top as i64 + distance);
        }
        self.supported(seq).map(|offset| offset as i64)
    }

    /// The offset of a number far off, if another one supports it; else it is kept to support the next.
    pub(super) fn supported(&mut self, seq: SeqNumber) -> Option<u64> {
        let top = self.top();
        let ahead = seq.0.wrapping_sub(self.seq_at(top).0);
        let rare = self.rare();
        let supported = rare
            .jump
            .is_some_and(|other| other != seq && seq.distance_from(other).unsigned_abs() <= SUPPORT);
        rare.jump = if supported { None } else { Some(seq) };
        supported.then_some(top + u64::from(ahead))
    }

    /// Whether this number belongs to the stream as far as it is known.
    pub(crate) fn is_near(&self, seq: SeqNumber) -> bool {
        let distance = i64::from(seq.distance_from(self.seq_at(self.next)));
        self.phase == Phase::Running
            && self.next as i64 + distance >= 0
            && self.next as i64 + distance <= self.top() as i64 + JUMP
    }

    /// Whether a SYN leads to a number inside the stream's window.
    pub(crate) fn in_window(&self, first: SeqNumber) -> bool {
        let near = self.next as i64 + i64::from(first.distance_from(self.seq_at(self.next)));
        near >= self.next.saturating_sub(WINDOW) as i64 && near <= (self.top() + u64::from(SUPPORT)) as i64
    }

    /// Whether a reset with this number could come from the sender of this stream: the receiver expects something
    /// between what it last acknowledged and a little behind what was seen (RFC 9293, section 3.10.7.4; RFC 5961,
    /// section 3.2).
    pub(crate) fn expects_reset(&self, seq: SeqNumber) -> bool {
        let low = if self.acked > 0 {
            self.acked.min(self.next)
        } else {
            self.next.saturating_sub(WINDOW)
        };
        let high = self.top() + WINDOW;
        (low as i64..=high as i64).contains(&self.offset_of(seq))
    }

    /// Its sender stands at `seq`; gives the offset of that, if offset 0 is settled.
    pub(crate) fn claim(&mut self, seq: SeqNumber) -> Option<u64> {
        let stood = self.offset_of(seq).max(0) as u64;
        if self.phase != Phase::Running {
            return None;
        }
        self.claimed = self.claimed.max(stood);
        Some(stood)
    }

    /// Whether a SYN-ACK with this acknowledgement number answers the SYN of this side: it takes none of the payload
    /// seen so far, or some.
    pub(crate) fn is_answered_by(&self, ack: SeqNumber) -> bool {
        self.phase == Phase::Running && (0..=self.top() as i64).contains(&self.offset_of(ack))
    }

    /// The offset nearest to the next byte due that has this number.
    pub(crate) fn offset_of(&self, seq: SeqNumber) -> i64 {
        self.next as i64 + i64::from(seq.distance_from(self.seq_at(self.next)))
    }

    /// Number of the first byte, once it is settled.
    pub(crate) fn start(&self) -> Option<SeqNumber> {
        (self.phase == Phase::Running).then_some(self.base)
    }

    /// Number of the first byte seen, while it is not settled whether it is the first.
    pub(crate) fn held_start(&self) -> Option<SeqNumber> {
        self.is_held().then(|| self.seq_at(HELD_ORIGIN))
    }

    /// Number behind all that is known to have been sent, FIN included.
    pub(crate) fn end(&self) -> Option<SeqNumber> {
        let end = self.fin_mark().map_or(self.top(), |fin| fin.offset + 1);
        (self.phase != Phase::Unknown).then(|| self.seq_at(end))
    }

    #[inline]
    pub(super) fn seq_at(&self, offset: u64) -> SeqNumber {
        self.base.add(offset as u32)
    }

    /// End of all that is known of the stream.
    pub(super) fn top(&self) -> u64 {
        self.next.max(self.sent).max(self.claimed).max(self.acked)
    }
}
