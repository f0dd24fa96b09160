//! What a reader does about missing bytes: passes over frames that they cut, and looks for the next one.

use std::collections::VecDeque;

use bftap_model::{Origin, StreamOffset};

use super::arrivals::Arrivals;
use super::resync::{Depth, Found, Place, Search};
use super::{FrameError, FrameErrorKind, FrameReader, MAX_GAP, MacCheck, State, TYPICAL_FRAME};

impl FrameReader {
    /// A gap cuts the frame before `to`: nothing of it can be used, and no running hash goes on behind it.
    pub(super) fn skip_rest(&mut self, to: Place) {
        self.no_more_macs();
        self.frames_lost += 1;
        self.state = State::Skip(to);
    }

    /// Passes over what is left of a frame; `None` if more bytes are needed.
    pub(super) fn skip(&mut self, to: Place) -> Option<()> {
        let left = to.offset - self.offset.0;
        let readable = self.readable();
        let dropped = left.min(readable as u64);
        self.drop_front(dropped as usize);
        self.lost_bytes = self.lost_bytes.saturating_add(dropped);
        if dropped == left {
            self.arrivals.forget(self.offset);
            self.keystream.seek_block(to.block);
            self.state = State::Header;
            return Some(());
        }
        let &(at, len) = self.gaps.front()?;
        let end = at.0.saturating_add(len);
        if end > to.offset {
            self.state = State::Search(Search::new(to, to.offset));
        } else {
            self.gaps.pop_front();
            self.offset.0 = end;
        }
        Some(())
    }

    /// What should be a header is none.
    pub(super) fn bad_header(&mut self, here: Place) -> FrameError {
        let error = FrameError {
            origin: Origin {
                offset: StreamOffset(here.offset),
                seen: self.arrivals.latest(),
            },
            kind: FrameErrorKind::HeaderTail,
        };
        self.no_more_macs();
        // Perhaps the size in the header before was changed: then that frame's start is the last place that is sure.
        let base = self.previous.unwrap_or(here);
        self.state = State::Search(Search::new(base, here.offset));
        error
    }

    /// Looks for the next frame; `None` if more bytes are needed.
    pub(super) fn search(&mut self, mut search: Search) -> Option<Result<(), FrameError>> {
        let unused = search
            .next
            .saturating_sub(self.offset.0)
            .min(self.readable() as u64);
        self.drop_front(unused as usize);
        self.lost_bytes = self.lost_bytes.saturating_add(unused);
        let readable = self.readable();
        let gap = self.gaps.front().copied();
        let end = self.offset.0 + readable as u64;
        let places = search.places(end);
        let depth = match search.depth(places, gap.is_some() || self.ended) {
            depth if self.offset.0 == search.next => depth,
            _ => Depth::Nothing,
        };
        if depth != Depth::Nothing {
            let bytes = &self.buffer[self.start..self.start + readable];
            let frame_len = self.frame_bytes.checked_div(self.frames).unwrap_or(TYPICAL_FRAME);
            let (found, cost) = search.run(bytes, &mut self.keystream, frame_len, depth);
            self.credit = self.credit.saturating_sub(cost);
            match found {
                Some(Found { place, frames }) => {
                    let passed = place.offset - self.offset.0;
                    self.drop_front(passed as usize);
                    self.lost_bytes = self.lost_bytes.saturating_add(passed);
                    // A frame that was read is no lost one, even if its size was wrong.
                    self.frames_lost += frames - u64::from(self.previous == Some(search.base));
                    self.arrivals.forget(self.offset);
                    self.keystream.seek_block(place.block);
                    self.previous = None;
                    self.state = State::Header;
                }
                None if self.credit == 0 => return Some(Err(self.lose(search, FrameErrorKind::SearchLimit))),
                None => self.state = State::Search(search),
            }
            return Some(Ok(()));
        }
        match gap {
            Some((_, missing)) if missing >= MAX_GAP => {
                Some(Err(self.lose(search, FrameErrorKind::GapTooLarge { missing })))
            }
            Some((at, missing)) => {
                self.drop_front(readable);
                self.lost_bytes = self.lost_bytes.saturating_add(readable as u64);
                self.gaps.pop_front();
                self.offset.0 = at.0 + missing;
                self.arrivals.forget(self.offset);
                search.skip_to(self.offset.0);
                self.state = State::Search(search);
                Some(Ok(()))
            }
            None if self.ended => Some(Err(self.lose(search, FrameErrorKind::NotFound))),
            None => None,
        }
    }

    pub(super) fn no_more_macs(&mut self) {
        if let MacCheck::Running(_) = self.mac {
            self.mac = MacCheck::Unverifiable;
        }
    }

    /// Gives up the place.
    pub(super) fn lose(&mut self, search: Search, kind: FrameErrorKind) -> FrameError {
        let since = StreamOffset(search.base.offset);
        let seen = self.arrivals.latest();
        self.lost_bytes = self.lost_bytes.saturating_add(self.unread() as u64);
        let base = (!matches!(kind, FrameErrorKind::GapTooLarge { .. })).then_some(search.base);
        self.state = State::Lost { since, base };
        self.buffer = Vec::new();
        self.start = 0;
        self.offset = self.end;
        self.arrivals = Arrivals::default();
        self.gaps = VecDeque::new();
        FrameError {
            origin: Origin { offset: since, seen },
            kind,
        }
    }
}
