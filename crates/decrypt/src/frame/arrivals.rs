//! When the bytes of a stream were captured.

use std::collections::VecDeque;

use bftap_model::{CaptureTime, StreamOffset};

/// When the bytes came that are not read yet.
///
/// A frame is complete when the last of its packets was captured; packets behind it in the stream may have been captured before.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// End of some bytes, and when they were captured; ordered by end.
    pub(super) pieces: VecDeque<(StreamOffset, CaptureTime)>,
    latest: CaptureTime,
}

impl Arrivals {
    pub(super) fn push(&mut self, end: StreamOffset, seen: CaptureTime) {
        self.latest = seen;
        match self.pieces.back_mut() {
            Some((last, time)) if *time == seen => *last = end,
            _ => self.pieces.push_back((end, seen)),
        }
    }

    /// When the bytes up to `end` were all there; forgets them.
    pub(super) fn complete(&mut self, end: StreamOffset) -> CaptureTime {
        let mut complete = CaptureTime::MIN;
        while let Some(&(piece_end, seen)) = self.pieces.front() {
            complete = complete.max(seen);
            if piece_end > end {
                break;
            }
            self.pieces.pop_front();
            if piece_end == end {
                break;
            }
        }
        complete
    }

    /// Forgets when the bytes up to `end` came.
    pub(super) fn forget(&mut self, end: StreamOffset) {
        while self
            .pieces
            .front()
            .is_some_and(|&(piece_end, _)| piece_end <= end)
        {
            self.pieces.pop_front();
        }
    }

    pub(super) fn latest(&self) -> CaptureTime {
        self.latest
    }
}
