//! RLPx framing for one direction: stream bytes in, decrypted frames out.
//!
//! Layout: WIRE-FORMATS 2.5 (devp2p `rlpx.md`, "Framing"). MAC bytes do not advance the key stream. Both places of a
//! reader, in the stream and in the key stream, are known for every frame, so that a place found again after a gap, or in the
//! middle of a session, is all it takes to go on there.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use bftap_model::{CaptureTime, MacState, Origin, StreamOffset};

use crate::keystream::{BLOCK_LEN, Keystream};
use crate::mac::{FrameMac, MAC_LEN};

mod arrivals;
mod gaps;
mod resume;
mod resync;
#[cfg(test)]
mod tests;
mod unplaced;

use arrivals::Arrivals;
pub use resume::RememberedPlace;
pub(crate) use resume::{Examination, Verdict};
use resync::{Place, Search};

/// Cuts one direction of a session into frames.
///
/// Reads no clock and does no I/O. Call [`push`](Self::push) and [`gap`](Self::gap), then [`poll`](Self::poll) until `None`. Bytes
/// are decrypted in place in one buffer, which never holds more than one unfinished frame besides the bytes not polled yet.
///
/// Behind a gap the reader looks for the next frame by itself: every frame whose bytes are all there comes out, whatever is missing
/// around it. Its MACs are [`MacState::Unverifiable`] from then on, since a MAC is a running hash over all frames.
#[derive(Debug)]
pub struct FrameReader {
    state: State,
    keystream: Keystream,
    mac: MacCheck,
    buffer: Vec<u8>,
    /// Where in `buffer` the bytes begin that are not read yet.
    start: usize,
    /// Position of `buffer[start]` in the stream.
    offset: StreamOffset,
    /// Position behind all that was pushed.
    end: StreamOffset,
    arrivals: Arrivals,
    /// Where bytes are missing between those in `buffer` or behind them, and how many.
    gaps: VecDeque<(StreamOffset, u64)>,
    /// Nothing will follow.
    ended: bool,
    /// Start of the frame read last.
    previous: Option<Place>,
    /// Where reading began, if that was not at the start of the session.
    joined: Option<Place>,
    /// The MACs of the frame read last were right.
    last_verified: bool,
    frames: u64,
    frame_bytes: u64,
    frames_lost: u64,
    lost_bytes: u64,
    /// Blocks of key stream that may still be searched.
    credit: u64,
}

/// What is done about MACs.
#[derive(Debug)]
pub enum MacCheck {
    /// They are compared with this running hash.
    Running(Box<FrameMac>),
    /// They are not looked at, on the user's wish.
    Skipped,
    /// They cannot be checked: no mac-secret, or no running hash at this place.
    Unverifiable,
}

/// A frame whose bytes are all there, decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Message code and content, without the padding.
    pub data: &'a [u8],
    /// Where it stands, and how its MACs are.
    pub place: FramePlace,
}

/// Where a frame stands, and how its MACs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePlace {
    /// Place in the stream, and when the frame was complete.
    pub origin: Origin,
    /// Key stream block of its header.
    pub block: u64,
    /// Its bytes on the wire.
    pub wire_len: u32,
    /// What is known of its authenticity.
    pub mac: MacState,
    /// Which of its MACs is wrong, if one is: the first one.
    pub mac_failure: Option<MacPart>,
}

/// One of the two MACs of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacPart {
    /// The one behind the header.
    Header,
    /// The one behind the body.
    Body,
}

impl fmt::Display for MacPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header MAC",
            Self::Body => "frame MAC",
        })
    }
}

/// What is wrong with the stream, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at {origin}: {kind}")]
pub struct FrameError {
    /// Start of the frame that could not be read.
    pub origin: Origin,
    /// Why not.
    pub kind: FrameErrorKind,
}

/// What is wrong with the stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameErrorKind {
    /// A decrypted header lacks its constant part: bytes were changed on the way, or put in. The next good frame is looked for.
    #[error("a frame header does not decrypt to its constant part")]
    HeaderTail,
    /// A header's MAC is wrong, and the frame that it announces does not end in the stream. The next good frame is looked for.
    #[error("a header MAC is wrong, and the frame behind it never ends")]
    HeaderMac,
    /// After a gap no further frame was found to the end of the stream.
    #[error("no frame was found behind missing bytes")]
    NotFound,
    /// What may be spent on looking for the place is used up: the rest of the stream is not read.
    #[error("so many gaps, and so little between them, that looking for the next frame was given up")]
    SearchLimit,
    /// TCP tells the size of a gap modulo 4 GiB only.
    #[error("{missing} bytes in a row are missing, too many to know where the stream goes on")]
    GapTooLarge {
        /// How many, if the sequence numbers did not wrap.
        missing: u64,
    },
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The next bytes are a frame's header and its MAC.
    Header,
    /// The next bytes are the body and MAC of the frame that started at `offset`.
    Body {
        offset: StreamOffset,
        block: u64,
        len: u32,
        header_mac_failed: bool,
    },
    /// A frame is cut by a gap, and its size is known: what is left of it is passed over.
    Skip(Place),
    /// The next frame is looked for.
    Search(Search),
    /// No place is known yet; it comes with [`FrameReader::attach`].
    Unplaced,
    /// The place is lost for good: bytes are counted, not read.
    Lost {
        since: StreamOffset,
        /// The last place that was known, if its distance still is.
        base: Option<Place>,
    },
}

impl FrameReader {
    /// A reader whose next byte is the first one of a frame, at `offset` of the stream and at the place of `keystream`.
    pub fn new(keystream: Keystream, offset: StreamOffset, mac: MacCheck) -> Self {
        Self {
            state: State::Header,
            keystream,
            mac,
            buffer: Vec::new(),
            start: 0,
            offset,
            arrivals: Arrivals::default(),
            end: offset,
            gaps: VecDeque::new(),
            ended: false,
            previous: None,
            joined: None,
            last_verified: false,
            frames: 0,
            frame_bytes: 0,
            frames_lost: 0,
            lost_bytes: 0,
            credit: FIRST_CREDIT,
        }
    }

    /// Takes the next bytes of the stream, and when they were captured.
    pub fn push(&mut self, bytes: &[u8], seen: CaptureTime) {
        self.end.0 += bytes.len() as u64;
        if let State::Lost { .. } = self.state {
            self.lost_bytes = self.lost_bytes.saturating_add(bytes.len() as u64);
            return;
        }
        self.credit = self.credit.saturating_add(bytes.len() as u64 / BYTES_PER_CREDIT);
        self.make_room(bytes.len());
        self.buffer.extend_from_slice(bytes);
        self.arrivals.push(self.end, seen);
    }

    /// Takes the news that the next `len` bytes of the stream are missing.
    ///
    /// They count as lost, as do the bytes of the frames that this cuts.
    pub fn gap(&mut self, len: u64) {
        self.lost_bytes = self.lost_bytes.saturating_add(len);
        if !matches!(self.state, State::Lost { .. }) {
            match self.gaps.back_mut() {
                Some((at, known)) if at.0 + *known == self.end.0 => *known += len,
                _ => self.gaps.push_back((self.end, len)),
            }
        }
        self.end.0 = self.end.0.saturating_add(len);
    }

    /// Takes the news that nothing follows: what is there must do to find the place.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// The next complete frame, or `None` while more bytes are needed or the place is lost.
    ///
    /// Frames may follow an error.
    pub fn poll(&mut self) -> Option<Result<Frame<'_>, FrameError>> {
        Some(self.advance()?.map(|(place, data)| Frame {
            data: &self.buffer[data],
            place,
        }))
    }

    /// As [`poll`](Self::poll), for a caller that keeps the reader and borrows the data later, with [`data`](Self::data).
    #[inline]
    pub(crate) fn advance(&mut self) -> Option<Result<(FramePlace, Range<usize>), FrameError>> {
        loop {
            match self.state {
                State::Header => {
                    if let Err(error) = self.read_header()? {
                        return Some(Err(error));
                    }
                }
                State::Body {
                    offset,
                    block,
                    len,
                    header_mac_failed,
                } => {
                    if let Some(frame) = self.read_body(offset, block, len, header_mac_failed) {
                        return Some(Ok(frame));
                    }
                    if self.gaps.is_empty() && self.ended && header_mac_failed && self.last_verified {
                        // It may be the size that was changed, and the frame's end far beyond.
                        self.no_more_macs();
                        let here = Place {
                            offset: offset.0,
                            block,
                        };
                        let origin = Origin {
                            offset,
                            seen: self.arrivals.latest(),
                        };
                        self.state = State::Search(Search::new(here, self.offset.0));
                        self.lost_bytes = self.lost_bytes.saturating_add(self.offset.0 - offset.0);
                        let kind = FrameErrorKind::HeaderMac;
                        return Some(Err(FrameError { origin, kind }));
                    }
                    self.gaps.front()?;
                    let of_header = self.offset.0 - offset.0;
                    self.lost_bytes = self.lost_bytes.saturating_add(of_header);
                    self.skip_rest(behind(offset, block, len));
                }
                State::Skip(to) => self.skip(to)?,
                State::Search(search) => {
                    if let Err(error) = self.search(search)? {
                        return Some(Err(error));
                    }
                }
                State::Unplaced | State::Lost { .. } => return None,
            }
        }
    }

    /// Goes on to the body, or to looking for another place; `None` if more bytes are needed.
    #[inline]
    fn read_header(&mut self) -> Option<Result<(), FrameError>> {
        let readable = self.readable();
        let bytes = &self.buffer[self.start..self.start + readable];
        let head = bytes.first_chunk::<{ BLOCK_LEN + MAC_LEN }>();
        if head.is_none() && self.gaps.is_empty() {
            return None;
        }
        let here = Place {
            offset: self.offset.0,
            block: self.keystream.block(),
        };
        let Some(&(mut header)) = bytes.first_chunk::<BLOCK_LEN>() else {
            // A gap cuts the header itself.
            self.no_more_macs();
            self.state = State::Search(Search::new(here, self.offset.0));
            return Some(Ok(()));
        };
        let header_mac_failed = match (&mut self.mac, head) {
            (MacCheck::Running(mac), Some(head)) => mac.header(&header) != head[BLOCK_LEN..],
            _ => false,
        };
        let whole = head.is_some();
        self.keystream.apply(&mut header);
        if header[3..] != HEADER_TAIL {
            return Some(Err(self.bad_header(here)));
        }
        let len = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        if whole {
            self.start += BLOCK_LEN + MAC_LEN;
            self.offset.0 += (BLOCK_LEN + MAC_LEN) as u64;
            self.state = State::Body {
                offset: StreamOffset(here.offset),
                block: here.block,
                len,
                header_mac_failed,
            };
        } else {
            self.skip_rest(behind(StreamOffset(here.offset), here.block, len));
        }
        Some(Ok(()))
    }

    /// The frame that began at `offset`, if its body is there.
    #[inline]
    fn read_body(
        &mut self,
        offset: StreamOffset,
        block: u64,
        len: u32,
        header_mac_failed: bool,
    ) -> Option<(FramePlace, Range<usize>)> {
        let padded = (len as usize).next_multiple_of(BLOCK_LEN);
        if self.readable() < padded + MAC_LEN {
            return None;
        }
        let body = self.buffer.get_mut(self.start..self.start + padded + MAC_LEN)?;
        let (body, wire_mac) = body.split_at_mut(padded);
        let (mac, mac_failure) = match &mut self.mac {
            MacCheck::Running(mac) => {
                let body_mac_failed = mac.body(body) != *wire_mac;
                match (header_mac_failed, body_mac_failed) {
                    (false, false) => (MacState::Verified, None),
                    (true, _) => (MacState::Failed, Some(MacPart::Header)),
                    (false, true) => (MacState::Failed, Some(MacPart::Body)),
                }
            }
            MacCheck::Skipped => (MacState::Skipped, None),
            MacCheck::Unverifiable => (MacState::Unverifiable, None),
        };
        self.keystream.apply(body);

        let data = self.start..self.start + len as usize;
        self.start += padded + MAC_LEN;
        self.offset.0 += (padded + MAC_LEN) as u64;
        self.state = State::Header;
        let seen = self.arrivals.complete(self.offset);
        let wire_len = (self.offset.0 - offset.0) as u32;
        self.last_verified = mac == MacState::Verified;
        self.frames += 1;
        self.frame_bytes += u64::from(wire_len);
        self.previous = Some(Place {
            offset: offset.0,
            block,
        });
        let place = FramePlace {
            origin: Origin { offset, seen },
            block,
            wire_len,
            mac,
            mac_failure,
        };
        Some((place, data))
    }

    /// The data of the frame that [`advance`](Self::advance) gave last.
    pub(crate) fn data(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// Start of the frame that is being read, if its header MAC is wrong: its size may be wrong too, and then it never ends.
    pub fn suspect(&self) -> Option<Origin> {
        match self.state {
            State::Body {
                offset,
                header_mac_failed: true,
                ..
            } => Some(Origin {
                offset,
                seen: self.arrivals.latest(),
            }),
            _ => None,
        }
    }

    /// Where the next frame starts, in the stream and in blocks of the key stream; `None` when that is not known.
    pub fn place(&self) -> Option<(StreamOffset, u64)> {
        match self.state {
            State::Header => Some((self.offset, self.keystream.block())),
            State::Body {
                offset, block, len, ..
            } => {
                let next = behind(offset, block, len);
                Some((StreamOffset(next.offset), next.block))
            }
            State::Skip(next) => Some((StreamOffset(next.offset), next.block)),
            State::Search(_) | State::Unplaced | State::Lost { .. } => None,
        }
    }

    /// The last place that is known: where the next frame starts, else a frame start behind which the next one is looked for, or was
    /// looked for in vain.
    pub fn known_place(&self) -> Option<(StreamOffset, u64)> {
        let of = |place: Place| (StreamOffset(place.offset), place.block);
        match self.state {
            // Its size may be wrong, too.
            State::Body {
                offset,
                block,
                header_mac_failed: true,
                ..
            } => Some((offset, block)),
            State::Search(search) => Some(of(search.base)),
            State::Lost { base, .. } => base.map(of),
            _ => self.place(),
        }
    }

    /// Start of the first frame that could not be read, once the place is lost for good.
    pub fn lost_since(&self) -> Option<StreamOffset> {
        match self.state {
            State::Lost { since, .. } => Some(since),
            _ => None,
        }
    }

    /// Whether any frame was passed over, so that what came first may be among the lost.
    pub fn has_lost_frames(&self) -> bool {
        let reading = matches!(self.state, State::Header | State::Body { .. });
        self.frames_lost > 0 || !reading
    }

    /// Frames that gaps cut or swallowed, as far as a place behind them was found.
    pub fn frames_lost(&self) -> u64 {
        self.frames_lost
    }

    /// The MAC state of a frame here, if nothing is wrong with it.
    pub fn mac_state(&self) -> MacState {
        match self.mac {
            MacCheck::Running(_) => MacState::Verified,
            MacCheck::Skipped => MacState::Skipped,
            MacCheck::Unverifiable => MacState::Unverifiable,
        }
    }

    /// Bytes missing, bytes of frames cut by that, and bytes that came after the place was lost.
    pub fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    /// Bytes that came and do not complete a frame; with [`lost_bytes`](Self::lost_bytes) and the frames it is all bytes.
    pub fn incomplete_bytes(&self) -> u64 {
        let of_header = match self.state {
            State::Body { offset, .. } => self.offset.0 - offset.0,
            _ => 0,
        };
        of_header + self.unread() as u64
    }

    pub(crate) fn unread(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Unread bytes before the next gap.
    #[inline]
    fn readable(&self) -> usize {
        match self.gaps.front() {
            Some((at, _)) => (at.0 - self.offset.0) as usize,
            None => self.unread(),
        }
    }

    fn drop_front(&mut self, count: usize) {
        self.start += count;
        self.offset.0 += count as u64;
    }

    /// Moves unread bytes to the front before the buffer grows, and gives memory back after a large frame.
    fn make_room(&mut self, more: usize) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
            if self.buffer.capacity() > KEPT_CAPACITY && more <= KEPT_CAPACITY {
                self.buffer = Vec::new();
            }
        } else if self.start > 0 && self.buffer.len() + more > self.buffer.capacity() {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }
}

/// Where the frame behind the one at `offset` starts.
fn behind(offset: StreamOffset, block: u64, len: u32) -> Place {
    let padded = u64::from(len).next_multiple_of(BLOCK_LEN as u64);
    Place {
        offset: offset.0 + u64::from(FRAME_OVERHEAD) + padded,
        block: block + 1 + padded / BLOCK_LEN as u64,
    }
}

/// The constant part of every header: RLP of `[0, 0]` and zero padding.
pub const HEADER_TAIL: [u8; 13] = [0xc2, 0x80, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Bytes of a frame besides its padded body.
pub const FRAME_OVERHEAD: u32 = (BLOCK_LEN + 2 * MAC_LEN) as u32;

/// Buffers up to this size are kept for the next frames: most proposals fit, and thousands of sessions may be open.
pub(crate) const KEPT_CAPACITY: usize = 256 << 10;

/// Frames of consensus are a few hundred bytes long; where nothing is known yet, that is where the search begins.
const TYPICAL_FRAME: u64 = 400;

/// Blocks of key stream that a direction may search at first: enough for a gap of 2 GiB, and well under a second.
const FIRST_CREDIT: u64 = 1 << 27;
/// Captured bytes that buy one block more: a search costs a captured byte less than its MAC does, however many gaps there are.
const BYTES_PER_CREDIT: u64 = 4;

/// TCP sequence numbers tell which of two places is the later one up to here.
pub(crate) const MAX_GAP: u64 = 1 << 31;
