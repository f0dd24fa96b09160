//! Finding the place again after a gap of known size.
//!
//! Every frame of `48 + n` stream bytes takes `1 + n/16` blocks of key stream. So `d` bytes behind a known frame start, and with `k`
//! frames in between, the counter has advanced `d/16 - 2k` blocks, and `d` is a multiple of 16: only `k` is unknown, and the 13
//! constant bytes of a header tell when it is right.

use std::ops::{ControlFlow, Range};

use crate::keystream::{BLOCK_LEN, Keystream};
use crate::locate::Windows;

/// What a reader knows while it looks for the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Search {
    /// Start of a frame in the stream, and its header's block: the last place that is known.
    pub(super) base: Place,
    /// Stream offset from which on all bytes were looked at: no frame starts between it and `next`.
    pub(super) from: u64,
    /// Stream offset of the first place that was not looked at.
    pub(super) next: u64,
    /// Some places behind the last gap were looked at already, if only where the next frame was likely.
    pub(super) begun: bool,
}

/// Where a frame starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// In the stream.
    pub(super) offset: u64,
    /// Block of its header in the key stream.
    pub(super) block: u64,
}

/// A place found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) place: Place,
    /// Frames between the known place and this one.
    pub(super) frames: u64,
}

/// Smallest frame: an empty body.
const MIN_FRAME: u64 = 48;

impl Search {
    /// Looks for the frames behind `base`, from stream offset `from` on.
    pub(super) fn new(base: Place, from: u64) -> Self {
        let from = from.max(base.offset + 1);
        Self {
            base,
            from,
            next: aligned(base, from),
            begun: false,
        }
    }

    /// The bytes up to `end` are missing, too.
    pub(super) fn skip_to(&mut self, end: u64) {
        *self = Self::new(self.base, end);
    }

    /// Most frames that may start between the known place and the one looked for.
    fn most_frames(&self) -> u64 {
        (self.from - self.base.offset).div_ceil(MIN_FRAME)
    }

    /// How many places bytes up to stream offset `end` hold that were not looked at.
    pub(super) fn places(&self, end: u64) -> u64 {
        let block = BLOCK_LEN as u64;
        (end + 1).saturating_sub(self.next + block).div_ceil(block)
    }

    /// Whether it is time to look: each pass over the key stream costs the same however many places it serves, so after a large gap
    /// some have to come together first.
    pub(super) fn depth(&self, places: u64, closed: bool) -> Depth {
        let span = 2 * self.most_frames();
        if places == 0 {
            Depth::Nothing
        } else if closed || span <= SMALL_SPAN || places * BLOCKS_PER_PLACE >= span {
            Depth::All
        } else if !self.begun && places >= FIRST_PLACES {
            Depth::Likely
        } else {
            Depth::Nothing
        }
    }

    /// Looks for a header as `depth` says in `bytes`, which begin at `next`, and tells how many blocks that took.
    ///
    /// `frame_len` is the mean length of this direction's frames: what it suggests is looked at first.
    pub(super) fn run(
        &mut self,
        bytes: &[u8],
        keystream: &mut Keystream,
        frame_len: u64,
        depth: Depth,
    ) -> (Option<Found>, u64) {
        let base = self.base;
        let most = self.most_frames();
        let mut windows = Windows::new();
        windows.push_all(bytes, BLOCK_LEN, 0, self.next);
        windows.prepare();
        let places = (bytes.len() as u64).saturating_sub(BLOCK_LEN as u64) / BLOCK_LEN as u64;
        // The block that a frame at this offset had if there were no frame between.
        let top = move |offset: u64| base.block + (offset - base.offset) / BLOCK_LEN as u64;
        let (first, last) = (top(self.next), top(self.next) + places);
        let blocks = first.saturating_sub(2 * most).max(base.block + 1)..(last + 1).saturating_sub(2);
        let likely = first.saturating_sub(2 * ((self.from - base.offset) / frame_len.max(MIN_FRAME)));
        let frames = |block: u64, offset: u64| {
            let less = top(offset).checked_sub(block)?;
            (less % 2 == 0 && (1..=most).contains(&(less / 2))).then_some(less / 2)
        };

        let mut cost = 0;
        let mut found: Option<Found> = None;
        for range in nearest_first(&blocks, likely) {
            if depth == Depth::Likely && cost >= LIKELY_BLOCKS {
                break;
            }
            cost += range.end - range.start;
            found = windows.scan(keystream, range, |block, window| {
                frames(block, window.offset).map_or(ControlFlow::Continue(()), |frames| {
                    ControlFlow::Break(Found {
                        place: Place {
                            offset: window.offset,
                            block,
                        },
                        frames,
                    })
                })
            });
            if found.is_some() {
                break;
            }
        }
        // What was met first need not be the first in the stream.
        if let Some(later) = found {
            windows.retain(|window| window.offset < later.place.offset);
            windows.prepare();
            let before = (later.place.offset - self.next) / BLOCK_LEN as u64;
            let range = later.place.block.saturating_sub(before).max(base.block + 1)..later.place.block;
            cost += range.end - range.start;
            let _: Option<()> = windows.scan(keystream, range, |block, window| {
                let earlier = found.is_none_or(|found| window.offset < found.place.offset);
                if let Some(frames) = frames(block, window.offset).filter(|_| earlier) {
                    found = Some(Found {
                        place: Place {
                            offset: window.offset,
                            block,
                        },
                        frames,
                    });
                }
                ControlFlow::Continue(())
            });
        }
        self.begun = true;
        if depth == Depth::All {
            self.next += (places + 1) * BLOCK_LEN as u64;
        }
        (found, cost + places)
    }
}

/// How much to look for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    Nothing,
    /// Where frames of the usual size put it.
    Likely,
    /// Everywhere.
    All,
}

/// Spans of blocks that are looked through at every new byte.
const SMALL_SPAN: u64 = 4096;
/// Places that suffice for a first look behind a gap: some frames' worth.
const FIRST_PLACES: u64 = 256;
/// Blocks that are looked through for so few places: some milliseconds' worth.
const LIKELY_BLOCKS: u64 = 1 << 18;
/// What a place is worth; 2 GiB are looked through once 11 MB have come behind them.
const BLOCKS_PER_PLACE: u64 = 128;

/// The first offset at or behind `from` where a frame behind `base` can start.
fn aligned(base: Place, from: u64) -> u64 {
    base.offset + (from - base.offset).next_multiple_of(BLOCK_LEN as u64)
}

/// Pieces of a range, those near `likely` first.
fn nearest_first(blocks: &Range<u64>, likely: u64) -> Vec<Range<u64>> {
    const PIECE: u64 = 1 << 14;
    let mut pieces: Vec<Range<u64>> = (blocks.start..blocks.end)
        .step_by(PIECE as usize)
        .map(|from| from..(from + PIECE).min(blocks.end))
        .collect();
    pieces.sort_by_key(|piece| (piece.start + PIECE / 2).abs_diff(likely));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_range_and_begin_where_it_is_likely() {
        let pieces = nearest_first(&(10..100_000), 50_000);
        assert!(pieces[0].contains(&50_000) || pieces[1].contains(&50_000));
        let mut sorted = pieces;
        sorted.sort_by_key(|piece| piece.start);
        assert_eq!(
            (sorted[0].start, sorted.last().map(|last| last.end)),
            (10, Some(100_000))
        );
        assert!(sorted.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!(nearest_first(&(5..5), 0).is_empty());
    }

    #[test]
    fn only_every_sixteenth_byte_can_be_a_start() {
        let base = Place { offset: 5, block: 0 };
        for (from, next) in [(6, 21), (20, 21), (21, 21), (22, 37)] {
            assert_eq!(Search::new(base, from).next, next);
        }
        let search = Search::new(base, 22);
        for (end, places) in [(0, 0), (37, 0), (52, 0), (53, 1), (68, 1), (69, 2)] {
            assert_eq!(search.places(end), places, "{end}");
        }
    }
}
