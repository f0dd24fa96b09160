//! Where a stream starts.
//!
//! With its SYN, or the SYN-ACK that answers it, offset 0 is the byte after the SYN. Without, the first bytes are held
//! back for [`HOLD_BACK`] or [`HOLD_BACK_BYTES`], whichever is reached first, so that reordering right at the start
//! costs nothing: then offset 0 is the earliest byte held, unless a SYN turned up.

use bftap_model::{CaptureTime, Nanos, SeqNumber};

use super::{Assembler, Fin, JUMP, Phase};
use crate::connection::Outlet;

/// How long the first bytes of a stream without SYN are held back.
pub(super) const HOLD_BACK: Nanos = Nanos::from_millis(50);

/// How many bytes of a stream without SYN are held back.
pub(super) const HOLD_BACK_BYTES: usize = 64 << 10;

/// How far before the first byte seen the stream may turn out to start.
pub(crate) const HOLD_BACK_REACH: u64 = 1 << 20;

/// Offset given to the first byte seen while offset 0 is open; a multiple of 2^32, to be the same sequence number.
pub(super) const HELD_ORIGIN: u64 = 1 << 32;

impl Assembler {
    /// Settles offset 0: it is the byte with number `first`, known from a SYN of this side or from its answer.
    pub(crate) fn learn_start<'p>(&mut self, first: SeqNumber, syn: bool, out: &mut Outlet<'_, 'p>) {
        self.syn |= syn;
        match self.phase {
            Phase::Running => {}
            Phase::Unknown => {
                self.start_at(first);
                if let Some(ack) = self.stated_ack.take() {
                    // Stated before the start was known; without the start it could not be placed.
                    let near = i64::from(ack.distance_from(first));
                    if (0..=JUMP).contains(&near) {
                        self.acked = near as u64;
                        self.stated_ack = Some(ack);
                    }
                }
            }
            Phase::Held { .. } => {
                let near = HELD_ORIGIN as i64 + i64::from(first.distance_from(self.seq_at(HELD_ORIGIN)));
                if (near - HELD_ORIGIN as i64).abs() <= JUMP {
                    self.settle_start(near as u64, out);
                } else {
                    self.restart(first);
                }
            }
        }
    }

    /// Begins anew at `first`, when nothing was given yet: what waits belongs to an earlier connection.
    pub(crate) fn restart(&mut self, first: SeqNumber) {
        let rare = self.rare();
        let stale = rare.waiting.clear();
        rare.tally.before_start_bytes += stale;
        rare.fin = None;
        rare.resights = Vec::new();
        self.sights.forget();
        self.start_at(first);
    }

    pub(super) fn start_at(&mut self, first: SeqNumber) {
        self.base = first;
        self.next = 0;
        self.sent = 0;
        self.claimed = 0;
        self.acked = 0;
        self.phase = Phase::Running;
        self.update_ordinary();
    }

    /// Begins to hold bytes back: offset 0 is open.
    pub(super) fn hold(&mut self, first: SeqNumber, since: CaptureTime) {
        self.base = first;
        self.next = HELD_ORIGIN - HOLD_BACK_REACH;
        self.sent = HELD_ORIGIN;
        self.acked = self.next;
        self.phase = Phase::Held { since };
    }

    /// Ends holding back: offset 0 is at `origin`.
    pub(super) fn settle_start<'p>(&mut self, origin: u64, out: &mut Outlet<'_, 'p>) {
        let rare = self.rare();
        let before = rare.waiting.shift(origin);
        rare.tally.before_start_bytes += before;
        rare.fin = rare.fin.and_then(|fin| {
            Some(Fin {
                offset: fin.offset.checked_sub(origin)?,
                ..fin
            })
        });
        for (end, _) in &mut rare.resights {
            *end = end.saturating_sub(origin);
        }
        rare.resights.retain(|(end, _)| *end > 0);
        self.base = self.seq_at(origin);
        self.next = 0;
        self.sent = self.sent.saturating_sub(origin);
        self.acked = self.acked.saturating_sub(origin);
        self.sights.shift(origin);
        self.phase = Phase::Running;
        self.drain(out);
    }

    /// Ends holding back without having learnt the start: it is the earliest byte seen.
    pub(super) fn give_up_holding<'p>(&mut self, out: &mut Outlet<'_, 'p>) {
        let rare = self.rare();
        let first = rare.waiting.first().map(|(start, _)| start);
        let origin = first.or(rare.fin.map(|fin| fin.offset)).unwrap_or(HELD_ORIGIN);
        self.settle_start(origin, out);
    }
}
