//! Believing a place that somebody remembers: it is looked at in the bytes first.
//!
//! A place is where a frame started when its session was last seen. The bytes there, decrypted, must be a header; where they are
//! missing, the next header behind them must be found as behind a gap ([`super::resync`]). Both are sure to 104 bits, so a place of
//! another connection, or one that is out of date, is never taken.

use bftap_model::StreamOffset;

use super::resync::{Depth, Place, Search};
use super::{FIRST_CREDIT, HEADER_TAIL, MAX_GAP, TYPICAL_FRAME};
use crate::keystream::{BLOCK_LEN, Keystream};

/// A remembered place of one direction, in terms of the stream as it is seen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedPlace {
    /// Where a frame started; negative if that was before the first byte seen now.
    pub offset: i64,
    /// Block of its header in the key stream.
    pub block: u64,
}

/// How far the examination of a remembered place is.
#[derive(Debug)]
pub(crate) struct Examination {
    remembered: RememberedPlace,
    state: State,
    /// Blocks of key stream that may still be spent.
    credit: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The bytes at the place itself may still come.
    There,
    /// They are missing: the next header behind them is looked for.
    Behind {
        search: Search,
        /// End of the bytes that were there last time; what begins behind it has a gap before it.
        end: u64,
    },
    /// It is not one of this stream, or nobody can tell.
    Refuted,
}

/// What the bytes so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Open,
    /// A frame starts here, at this block.
    Found(StreamOffset, u64),
    /// The place is not to be believed.
    Refuted,
}

impl Examination {
    pub(crate) fn new(remembered: RememberedPlace) -> Self {
        let sane = remembered.block <= MAX_BLOCK && remembered.offset.unsigned_abs() <= MAX_GAP;
        Self {
            remembered,
            state: if sane { State::There } else { State::Refuted },
            credit: FIRST_CREDIT,
        }
    }

    /// The place, unless it was refuted.
    pub(crate) fn remembered(&self) -> Option<RememberedPlace> {
        (!matches!(self.state, State::Refuted)).then_some(self.remembered)
    }

    /// Looks at the bytes that have no place: all runs of them, from gap to gap, with those of earlier calls or without.
    ///
    /// `closed` if nothing follows the last run. What was looked at once is not looked at again.
    pub(crate) fn look(
        &mut self,
        runs: &[(StreamOffset, &[u8])],
        keystream: &mut Keystream,
        closed: bool,
    ) -> Verdict {
        if let State::There = self.state {
            match self.look_there(runs, keystream) {
                There::Wait => return Verdict::Open,
                There::Header => {
                    let offset = StreamOffset(self.remembered.offset.unsigned_abs());
                    return Verdict::Found(offset, self.remembered.block);
                }
                There::Missing => {
                    let base = Place {
                        offset: shifted(self.remembered.offset),
                        block: self.remembered.block,
                    };
                    self.state = State::Behind {
                        search: Search::new(base, 0),
                        end: 0,
                    };
                }
                There::Else => self.state = State::Refuted,
            }
        }
        self.look_behind(runs, keystream, closed)
    }

    fn look_there(&self, runs: &[(StreamOffset, &[u8])], keystream: &mut Keystream) -> There {
        let Some(last) = runs.last() else {
            return There::Wait;
        };
        let end = last.0.0 as i64 + last.1.len() as i64;
        let at = self.remembered.offset;
        if at.saturating_add(BLOCK_LEN as i64) > end {
            // The frame that was cut when the session was last seen has at most 16 MiB.
            let far = at.saturating_sub(end) > MAX_FRAME;
            // A header that begins here and is cut may still become whole.
            return if far { There::Else } else { There::Wait };
        }
        let header = runs.iter().find_map(|(start, run)| {
            let from = usize::try_from(at - start.0 as i64).ok()?;
            run.get(from..)?.first_chunk::<BLOCK_LEN>()
        });
        let Some(&(mut header)) = header else {
            return There::Missing;
        };
        keystream.seek_block(self.remembered.block);
        keystream.apply(&mut header);
        if header[3..] == HEADER_TAIL {
            There::Header
        } else {
            There::Else
        }
    }

    fn look_behind(
        &mut self,
        runs: &[(StreamOffset, &[u8])],
        keystream: &mut Keystream,
        closed: bool,
    ) -> Verdict {
        let State::Behind { mut search, mut end } = self.state else {
            return Verdict::Refuted;
        };
        let mut verdict = Verdict::Open;
        for (index, (start, run)) in runs.iter().enumerate() {
            let start = start.0.saturating_add(SHIFT);
            let run_end = start.saturating_add(run.len() as u64);
            if run_end <= end.max(search.base.offset + 1) {
                continue;
            }
            // Bytes that nobody could keep are missing, too.
            if start > end || search.next < start {
                search.skip_to(start.max(search.base.offset + 1));
            }
            end = run_end;
            if search.next - search.base.offset >= MAX_GAP {
                verdict = Verdict::Refuted;
                break;
            }
            let closed = closed || index + 1 < runs.len();
            let depth = search.depth(search.places(run_end), closed);
            if depth == Depth::Nothing {
                continue;
            }
            let bytes = &run[(search.next - start) as usize..];
            let (found, cost) = search.run(bytes, keystream, TYPICAL_FRAME, depth);
            self.credit = self.credit.saturating_sub(cost);
            if let Some(found) = found {
                let offset = StreamOffset(found.place.offset - SHIFT);
                return Verdict::Found(offset, found.place.block);
            }
            if self.credit == 0 {
                verdict = Verdict::Refuted;
                break;
            }
        }
        self.state = match verdict {
            Verdict::Refuted => State::Refuted,
            Verdict::Open | Verdict::Found(..) => State::Behind { search, end },
        };
        verdict
    }
}

/// What is at the remembered place.
enum There {
    /// Nothing yet.
    Wait,
    /// A header.
    Header,
    /// Its bytes, or some of them, are missing for good.
    Missing,
    /// Something else.
    Else,
}

/// Stream offsets are counted from before the first byte while a place is looked for, so that none is negative.
const SHIFT: u64 = 1 << 32;

fn shifted(offset: i64) -> u64 {
    SHIFT.saturating_add_signed(offset)
}

/// Blocks behind which no place is believed: no connection carries an exbibyte.
const MAX_BLOCK: u64 = 1 << 56;

/// Most bytes of a frame, and some that may be repeated.
const MAX_FRAME: i64 = 17 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;
    use bftap_model::Direction;

    /// A stream of frames, and of each its start and its block.
    fn frames() -> (Sample, Vec<(usize, u64)>) {
        let mut sample = Sample::new(1, None);
        let mut places = Vec::new();
        let mut block = 0;
        for number in 0_usize..40 {
            places.push((sample.streams[0].len(), block));
            let len = [1, 16, 33, 250, 17, 900, 64, 0][number % 8] + number / 8 * 7;
            sample.frame(Direction::FromInitiator, &vec![number as u8; len]);
            block += 1 + len.next_multiple_of(BLOCK_LEN) as u64 / 16;
        }
        (sample, places)
    }

    /// Looks at a stream that comes in pieces, seen from byte `first` on; what is `missing` is a gap.
    fn look(
        sample: &Sample,
        remembered: (usize, u64),
        first: usize,
        missing: std::ops::Range<usize>,
        piece: usize,
    ) -> Verdict {
        let mut keystream = Keystream::new(&sample.secrets.aes);
        let mut examination = Examination::new(RememberedPlace {
            offset: remembered.0 as i64 - first as i64,
            block: remembered.1,
        });
        let stream = &sample.streams[0];
        let mut to = first;
        while to < stream.len() {
            to = (to + piece).min(stream.len());
            let run = |from: usize, to: usize| {
                (from < to).then(|| (StreamOffset((from - first) as u64), &stream[from..to]))
            };
            let pieces = if missing.is_empty() {
                [run(first, to), None]
            } else {
                let before = run(first, to.min(missing.start.max(first)));
                [before, run(missing.end.max(first), to)]
            };
            let runs: Vec<_> = pieces.into_iter().flatten().collect();
            let verdict = examination.look(&runs, &mut keystream, to == stream.len());
            if verdict != Verdict::Open {
                return verdict;
            }
        }
        Verdict::Open
    }

    fn found(place: (usize, u64), first: usize) -> Verdict {
        Verdict::Found(StreamOffset((place.0 - first) as u64), place.1)
    }

    #[test]
    fn a_place_among_the_bytes_is_looked_at_there() {
        let (sample, places) = frames();
        for first in [places[3].0, places[3].0 - 5, places[2].0] {
            for piece in [1, 15, 16, 17, 400, 100_000] {
                assert_eq!(
                    look(&sample, places[3], first, 0..0, piece),
                    found(places[3], first)
                );
            }
        }
        // One block off, or a byte off, is another place.
        let (at, block) = places[3];
        for wrong in [
            (at, block + 1),
            (at, block - 1),
            (at + 1, block),
            (at + 16, block),
        ] {
            assert_eq!(
                look(&sample, wrong, places[2].0, 0..0, 100),
                Verdict::Refuted,
                "{wrong:?}"
            );
        }
    }

    /// Wherever the stream goes on, and whatever is missing there, it is the first whole header that is found.
    #[test]
    fn behind_missing_bytes_the_next_header_is_found() {
        let (sample, places) = frames();
        for first in (places[4].0 + 1..places[30].0).step_by(37) {
            for gap in [0, 60, 700] {
                let missing = first + 20..first + 20 + gap;
                let next = places.iter().find(|(at, _)| {
                    *at >= first && (at + 16 <= missing.start || *at >= missing.end || missing.is_empty())
                });
                for piece in [16, 333, 100_000] {
                    let verdict = look(&sample, places[4], first, missing.clone(), piece);
                    assert_eq!(verdict, found(*next.unwrap(), first), "{first} {gap} {piece}");
                }
            }
        }
    }

    #[test]
    fn absurd_places_are_refuted_and_unfinished_ones_stay_open() {
        let (sample, places) = frames();
        let mut keystream = Keystream::new(&sample.secrets.aes);
        let stream = &sample.streams[0][places[0].0..];
        for (offset, block) in [
            (i64::MIN, 0),
            (i64::MAX, 0),
            (0, u64::MAX),
            (-1, u64::MAX),
            (1 << 31, 0),
            (20 << 20, 5),
        ] {
            let mut examination = Examination::new(RememberedPlace { offset, block });
            let verdict = examination.look(&[(StreamOffset(0), stream)], &mut keystream, true);
            assert_eq!(verdict, Verdict::Refuted, "{offset} {block}");
            assert_eq!(examination.remembered(), None);
        }
        // So little came that nothing can be told: somebody may remember the place once more.
        let remembered = RememberedPlace {
            offset: -100,
            block: 0,
        };
        let mut examination = Examination::new(remembered);
        for end in 0..12 {
            let runs = [(StreamOffset(0), &stream[..end])];
            let verdict = examination.look(&runs[usize::from(end == 0)..], &mut keystream, end == 11);
            assert_eq!(verdict, Verdict::Open);
        }
        assert_eq!(examination.remembered(), Some(remembered));
    }

    /// A gigabyte of nonsense in small pieces does not make a search that never ends.
    #[test]
    fn what_is_spent_is_bounded() {
        let (sample, _) = frames();
        let mut keystream = Keystream::new(&sample.secrets.aes);
        let mut examination = Examination::new(RememberedPlace {
            offset: -(1 << 30),
            block: 7,
        });
        let piece = [7; 64];
        let mut looks = 0_u64;
        loop {
            let at = StreamOffset(looks * 128);
            let verdict = examination.look(&[(at, &piece)], &mut keystream, true);
            looks += 1;
            if verdict == Verdict::Refuted {
                break;
            }
            assert_eq!(verdict, Verdict::Open);
        }
        assert!(looks <= 5, "{looks}");
    }
}
