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

mod resume;
mod resync;

pub use resume::RememberedPlace;
pub(crate) use resume::{Examination, Verdict};
use resync::{Depth, Found, Place, Search};

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
            last_verified: false,
            frames: 0,
            frame_bytes: 0,
            frames_lost: 0,
            lost_bytes: 0,
            credit: FIRST_CREDIT,
        }
    }

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

    fn unread(&self) -> usize {
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

    /// A gap cuts the frame before `to`: nothing of it can be used, and no running hash goes on behind it.
    fn skip_rest(&mut self, to: Place) {
        self.no_more_macs();
        self.frames_lost += 1;
        self.state = State::Skip(to);
    }

    /// Passes over what is left of a frame; `None` if more bytes are needed.
    fn skip(&mut self, to: Place) -> Option<()> {
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
    fn bad_header(&mut self, here: Place) -> FrameError {
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
    fn search(&mut self, mut search: Search) -> Option<Result<(), FrameError>> {
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

    fn drop_front(&mut self, count: usize) {
        self.start += count;
        self.offset.0 += count as u64;
    }

    fn no_more_macs(&mut self) {
        if let MacCheck::Running(_) = self.mac {
            self.mac = MacCheck::Unverifiable;
        }
    }

    /// Gives up the place.
    fn lose(&mut self, search: Search, kind: FrameErrorKind) -> FrameError {
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

/// When the bytes came that are not read yet.
///
/// A frame is complete when the last of its packets was captured; packets behind it in the stream may have been captured before.
#[derive(Debug, Default)]
struct Arrivals {
    /// End of some bytes, and when they were captured; ordered by end.
    pieces: VecDeque<(StreamOffset, CaptureTime)>,
    latest: CaptureTime,
}

impl Arrivals {
    fn push(&mut self, end: StreamOffset, seen: CaptureTime) {
        self.latest = seen;
        match self.pieces.back_mut() {
            Some((last, time)) if *time == seen => *last = end,
            _ => self.pieces.push_back((end, seen)),
        }
    }

    /// When the bytes up to `end` were all there; forgets them.
    fn complete(&mut self, end: StreamOffset) -> CaptureTime {
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
    fn forget(&mut self, end: StreamOffset) {
        while self
            .pieces
            .front()
            .is_some_and(|&(piece_end, _)| piece_end <= end)
        {
            self.pieces.pop_front();
        }
    }

    fn latest(&self) -> CaptureTime {
        self.latest
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
const KEPT_CAPACITY: usize = 256 << 10;

/// Frames of consensus are a few hundred bytes long; where nothing is known yet, that is where the search begins.
const TYPICAL_FRAME: u64 = 400;

/// Blocks of key stream that a direction may search at first: enough for a gap of 2 GiB, and well under a second.
const FIRST_CREDIT: u64 = 1 << 27;
/// Captured bytes that buy one block more: a search costs a captured byte less than its MAC does, however many gaps there are.
const BYTES_PER_CREDIT: u64 = 4;

/// TCP sequence numbers tell which of two places is the later one up to here.
pub(crate) const MAX_GAP: u64 = 1 << 31;

#[cfg(test)]
mod tests {
    use bftap_model::Direction;

    use super::*;
    use crate::sample::Sample;

    const FROM: Direction = Direction::FromInitiator;

    fn reader(sample: &Sample) -> FrameReader {
        let offset = StreamOffset(sample.handshake[0] as u64);
        FrameReader::new(Keystream::new(&sample.secrets.aes), offset, MacCheck::Skipped)
    }

    fn at(nanos: i64) -> CaptureTime {
        CaptureTime::from_nanos(nanos)
    }

    #[test]
    fn a_reader_can_start_at_any_frame_once_both_places_are_known() {
        let mut sample = Sample::new(1, None);
        for len in [5, 0, 300, 16] {
            sample.frame(FROM, &vec![0x21; len]);
        }
        let mut first = reader(&sample);
        first.push(&sample.streams[0][sample.handshake[0]..], at(1));
        let mut places = Vec::new();
        while let Some(frame) = first.poll() {
            places.push((frame.unwrap().place, first.place()));
        }
        assert_eq!(places.len(), 4);
        for (index, (_, next)) in places.iter().enumerate().take(3) {
            let (offset, block) = next.unwrap();
            let expected = places[index + 1].0;
            assert_eq!((offset, block), (expected.origin.offset, expected.block));
            let mut keystream = Keystream::new(&sample.secrets.aes);
            keystream.seek_block(block);
            let mut later = FrameReader::new(keystream, offset, MacCheck::Unverifiable);
            later.push(&sample.streams[0][offset.0 as usize..], at(1));
            let place = later.poll().unwrap().unwrap().place;
            assert_eq!(
                place,
                FramePlace {
                    mac: MacState::Unverifiable,
                    ..expected
                }
            );
        }
    }

    #[test]
    fn a_frame_is_complete_when_its_last_packet_was_captured() {
        let mut sample = Sample::new(1, None);
        sample.frame(FROM, &[1; 16]);
        sample.frame(FROM, &[2; 16]);
        sample.frame(FROM, &[3; 16]);
        let stream = &sample.streams[0][sample.handshake[0]..];
        let mut reader = reader(&sample);
        // The first piece came late; the others were captured before it.
        reader.push(&stream[..40], at(9));
        reader.push(&stream[40..140], at(5));
        reader.push(&stream[140..], at(6));
        let seen: Vec<_> =
            std::iter::from_fn(|| reader.poll().map(|frame| frame.unwrap().place.origin.seen)).collect();
        assert_eq!(seen, [at(9), at(5), at(6)]);
    }

    /// What a reader makes of a stream with these spans missing: offsets of the frames, errors, and the reader.
    fn read_around(sample: &Sample, missing: &[Range<usize>]) -> (Vec<usize>, Vec<FrameError>, FrameReader) {
        let keys = sample.secrets.mac.as_ref().unwrap();
        let auth = &sample.streams[0][..sample.handshake[0]];
        let mac = FrameMac::new(&keys.secret, &keys.recipient_nonce, auth);
        let offset = StreamOffset(sample.handshake[0] as u64);
        let keystream = Keystream::new(&sample.secrets.aes);
        let mut reader = FrameReader::new(keystream, offset, MacCheck::Running(Box::new(mac)));
        let stream = &sample.streams[0];
        let mut at = sample.handshake[0];
        let (mut frames, mut errors) = (Vec::new(), Vec::new());
        let mut drain = |reader: &mut FrameReader| {
            while let Some(frame) = reader.poll() {
                match frame {
                    Ok(frame) => frames.push(frame.place.origin.offset.0 as usize),
                    Err(error) => errors.push(error),
                }
            }
        };
        for span in missing {
            reader.push(&stream[at..span.start], at_time(at));
            drain(&mut reader);
            reader.gap(span.len() as u64);
            drain(&mut reader);
            at = span.end;
        }
        reader.push(&stream[at..], at_time(at));
        drain(&mut reader);
        reader.finish();
        drain(&mut reader);
        (frames, errors, reader)
    }

    fn at_time(offset: usize) -> CaptureTime {
        at(offset as i64)
    }

    /// Frames of many sizes, and where they start; the last entry is the end.
    fn many_frames() -> (Sample, Vec<usize>) {
        let mut sample = Sample::new(1, None);
        let mut starts = Vec::new();
        for number in 0_usize..60 {
            starts.push(sample.streams[0].len());
            let len = [1, 16, 33, 250, 17, 900, 64, 0][number % 8] + number / 8 * 7;
            sample.frame(FROM, &vec![number as u8; len]);
        }
        starts.push(sample.streams[0].len());
        (sample, starts)
    }

    /// Wherever one or two gaps lie, exactly the frames come out that they do not touch, and all bytes are accounted for.
    #[test]
    fn every_frame_whose_bytes_are_all_there_comes_out() {
        let (sample, starts) = many_frames();
        let (first, end) = (starts[0], starts[60]);
        let whole = |missing: &[Range<usize>]| -> Vec<usize> {
            starts
                .windows(2)
                .filter(|frame| {
                    missing
                        .iter()
                        .all(|gap| gap.end <= frame[0] || frame[1] <= gap.start)
                })
                .map(|frame| frame[0])
                .collect()
        };
        let mut cases: Vec<Vec<Range<usize>>> = Vec::new();
        for from in (first..end - 1).step_by(13) {
            for len in [1, 15, 16, 17, 48, 100, 1460, 5000] {
                let to = (from + len).min(end);
                let one = from..to;
                cases.push(vec![one]);
                let again = to + (from * 7 + len) % 700 + 1;
                if again < end {
                    cases.push(vec![from..to, again..(again + len * 3 / 2).min(end)]);
                }
            }
        }
        for missing in cases {
            let (frames, errors, reader) = read_around(&sample, &missing);
            assert_eq!(frames, whole(&missing), "{missing:?}");
            let bytes: usize = starts
                .windows(2)
                .filter(|frame| frames.contains(&frame[0]))
                .map(|frame| frame[1] - frame[0])
                .sum();
            assert_eq!(reader.lost_bytes() as usize + bytes, end - first, "{missing:?}");
            assert_eq!(reader.incomplete_bytes(), 0, "{missing:?}");
            match &errors[..] {
                [] => assert_eq!(frames.len() as u64 + reader.frames_lost(), 60, "{missing:?}"),
                [error] => {
                    assert_eq!(error.kind, FrameErrorKind::NotFound, "{missing:?}");
                    let last = frames.last().copied();
                    assert!(last.is_none_or(|last| last < missing[missing.len() - 1].end));
                    assert_eq!(reader.lost_since(), Some(error.origin.offset));
                }
                errors => panic!("{missing:?}: {errors:?}"),
            }
        }
    }

    /// A large gap, filled with small frames as well as with one large one.
    #[test]
    fn the_place_is_found_behind_large_gaps() {
        for (frames, len) in [(30_000_usize, 3), (3, 9_000_000), (2000, 250)] {
            let mut sample = Sample::new(1, None);
            sample.frame(FROM, &[1; 40]);
            let from = sample.streams[0].len() - 1;
            for number in 0..frames {
                sample.frame(FROM, &vec![3; len + number % 3]);
            }
            let to = sample.streams[0].len() + 5;
            // A long frame is cut last, so that many bytes come before the next header.
            sample.frame(FROM, &vec![4; 1_500_000]);
            let next = sample.streams[0].len();
            sample.frame(FROM, &[5; 40]);
            let (found, errors, reader) = read_around(&sample, std::slice::from_ref(&(from..to)));
            assert_eq!((found, errors), (vec![next], vec![]), "{frames} of {len}");
            assert_eq!(reader.frames_lost() as usize, frames + 2);
        }
    }

    #[test]
    fn a_gap_of_unknown_size_ends_the_reading() {
        let (sample, starts) = many_frames();
        let mut reader = reader(&sample);
        let stream = &sample.streams[0];
        reader.push(&stream[starts[0]..starts[2] + 3], at(1));
        reader.gap(1 << 31);
        reader.push(&stream[starts[3]..starts[5]], at(2));
        assert!(reader.poll().unwrap().is_ok() && reader.poll().unwrap().is_ok());
        let error = reader.poll().unwrap().unwrap_err();
        assert_eq!(error.kind, FrameErrorKind::GapTooLarge { missing: 1 << 31 });
        assert_eq!(reader.poll(), None);
        let lost = (1 << 31) + 3 + (starts[5] - starts[3]) as u64;
        assert_eq!(reader.lost_bytes(), lost);
        reader.push(&stream[starts[5]..], at(3));
        assert_eq!(reader.poll(), None);
        assert_eq!(reader.lost_bytes(), lost + (starts[60] - starts[5]) as u64);
    }

    #[test]
    fn a_changed_header_costs_its_own_frame_only() {
        let (sample, starts) = many_frames();
        let tail = [FrameErrorKind::HeaderTail];
        let size = [FrameErrorKind::HeaderMac];
        for (byte, told, lost) in [(3, &tail, 1), (15, &tail, 1), (1, &size, 1), (2, &tail, 2)] {
            let mut changed = Sample::new(1, None);
            changed.streams = sample.streams.clone();
            changed.streams[0][starts[10] + byte] ^= 0x40;
            let (found, errors, reader) = read_around(&changed, &[]);
            let kinds: Vec<_> = errors.iter().map(|error| error.kind.clone()).collect();
            assert_eq!(kinds, told, "byte {byte}");
            for error in errors {
                assert!(error.to_string().contains(&error.origin.offset.to_string()));
            }
            // With a wrong size a frame is read that is none, and the one behind it may be lost with it.
            let missing: Vec<_> = starts[..60]
                .iter()
                .filter(|start| !found.contains(start))
                .collect();
            assert!(missing.len() <= lost, "byte {byte}: {missing:?}");
            assert!(found.contains(&starts[59]));
            assert_eq!(reader.lost_since(), None);
        }
    }

    /// Gap after gap with too little in between: at some point the search ends, and says so.
    #[test]
    fn searching_has_a_limit() {
        let (sample, starts) = many_frames();
        let mut reader = reader(&sample);
        reader.push(&sample.streams[0][starts[0]..starts[1] + 3], at(1));
        let mut errors = Vec::new();
        for _ in 0..100_000 {
            reader.gap(1 << 30);
            reader.push(&[7; 64], at(2));
            while let Some(frame) = reader.poll() {
                errors.extend(frame.err().map(|error| error.kind));
            }
            if !errors.is_empty() {
                break;
            }
        }
        assert_eq!(errors, [FrameErrorKind::SearchLimit]);
        assert!(reader.buffer.capacity() < 1 << 20);
    }

    #[test]
    fn memory_of_a_large_frame_is_given_back() {
        let mut sample = Sample::new(1, None);
        sample.frame(FROM, &vec![1; 2 << 20]);
        sample.frame(FROM, &[2; 10]);
        let mut reader = reader(&sample);
        for piece in sample.streams[0][sample.handshake[0]..].chunks(1000) {
            reader.push(piece, at(1));
            while let Some(frame) = reader.poll() {
                frame.unwrap();
            }
        }
        reader.push(&[0; 16], at(2));
        assert!(
            reader.buffer.capacity() <= KEPT_CAPACITY,
            "{}",
            reader.buffer.capacity()
        );
        assert!(reader.arrivals.pieces.len() <= 1);
    }
}
