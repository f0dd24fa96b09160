//! Readers that hold what comes until they are told where the frames are.

use std::collections::VecDeque;

use bftap_model::StreamOffset;

use super::resync::Place;
use super::{FrameReader, MacCheck, State};
use crate::keystream::Keystream;

impl FrameReader {
    /// A reader that holds what comes until it is told where the frames are; `offset` is where its bytes begin.
    pub fn unplaced(keystream: Keystream, offset: StreamOffset, mac: MacCheck) -> Self {
        Self {
            state: State::Unplaced,
            ..Self::new(keystream, offset, mac)
        }
    }

    /// Tells an unplaced reader that a frame starts at `offset` of the stream, and at `block` of the key stream.
    ///
    /// What came before is lost. Without effect on a reader that has a place, or if `offset` is not among its bytes.
    pub fn attach(&mut self, offset: StreamOffset, block: u64) {
        let inside = |(start, bytes): &(StreamOffset, &[u8])| {
            offset >= *start && offset.0 - start.0 < bytes.len() as u64
        };
        let Some((at, _)) = self.runs().into_iter().find(inside) else {
            return;
        };
        if !self.is_unplaced() {
            return;
        }
        while self.offset < at {
            let readable = self.readable();
            self.drop_front(readable);
            self.lost_bytes = self.lost_bytes.saturating_add(readable as u64);
            if let Some((gap, len)) = self.gaps.pop_front() {
                self.offset.0 = gap.0 + len;
            }
        }
        let before = offset.0 - self.offset.0;
        self.drop_front(before as usize);
        self.lost_bytes = self.lost_bytes.saturating_add(before);
        self.arrivals.forget(self.offset);
        self.keystream.seek_block(block);
        self.state = State::Header;
        self.joined.get_or_insert(Place {
            offset: offset.0,
            block,
        });
    }

    /// Where a reader that was [told](Self::attach) its place began to read: offset of the first frame in the stream, and block of its
    /// header in the key stream.
    pub fn joined_at(&self) -> Option<(StreamOffset, u64)> {
        self.joined.map(|place| (StreamOffset(place.offset), place.block))
    }

    /// Forgets what an unplaced reader holds before `offset`: no frame starts there.
    pub fn forget_before(&mut self, offset: StreamOffset) {
        while self.is_unplaced() && self.offset < offset {
            let readable = self.readable();
            let dropped = (offset.0 - self.offset.0).min(readable as u64);
            self.drop_front(dropped as usize);
            self.lost_bytes = self.lost_bytes.saturating_add(dropped);
            if dropped == readable as u64 {
                let Some((gap, len)) = self.gaps.pop_front() else {
                    break;
                };
                self.offset.0 = gap.0 + len;
            }
        }
        self.arrivals.forget(self.offset);
        self.make_room(0);
    }

    /// Lets an unplaced reader hold no more than the last `limit` bytes.
    pub fn keep_last(&mut self, limit: usize) {
        // Half of it at a time, so that bytes are moved rarely.
        if self.unread() > limit {
            let mut excess = self.unread() - limit / 2;
            for (start, run) in self.runs() {
                if run.len() > excess {
                    return self.forget_before(StreamOffset(start.0 + excess as u64));
                }
                excess -= run.len();
            }
        }
    }

    /// No place will be found: what an unplaced reader holds is lost.
    pub fn abandon(&mut self) {
        if self.is_unplaced() && self.end > self.offset {
            self.lost_bytes = self.lost_bytes.saturating_add(self.unread() as u64);
            self.state = State::Lost {
                since: self.offset,
                base: None,
            };
            self.buffer = Vec::new();
            self.start = 0;
            self.offset = self.end;
            self.gaps = VecDeque::new();
        }
    }

    /// Whether no place is known yet.
    pub fn is_unplaced(&self) -> bool {
        matches!(self.state, State::Unplaced)
    }

    /// The bytes that were not read, from gap to gap: each run with the offset of its first byte.
    pub fn runs(&self) -> Vec<(StreamOffset, &[u8])> {
        let mut runs = Vec::with_capacity(self.gaps.len() + 1);
        let (mut at, mut rest) = (self.offset, &self.buffer[self.start..]);
        for &(gap, len) in &self.gaps {
            let (run, behind) = rest.split_at((gap.0 - at.0) as usize);
            runs.push((at, run));
            (at, rest) = (StreamOffset(gap.0 + len), behind);
        }
        runs.push((at, rest));
        runs.retain(|(_, run)| !run.is_empty());
        runs
    }
}
