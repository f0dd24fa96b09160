//! RLPx framing for one direction: stream bytes in, decrypted frames out.
//!
//! Layout: WIRE-FORMATS 2.5 (devp2p `rlpx.md`, "Framing"). MAC bytes do not advance the key stream. Both places of a
//! reader, in the stream and in the key stream, are known for every frame, so that a place found again after a gap, or in the
//! middle of a session, is all it takes to start a reader there.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use bftap_model::{CaptureTime, MacState, Origin, StreamOffset};

use crate::keystream::{BLOCK_LEN, Keystream};
use crate::mac::{FrameMac, MAC_LEN};

/// Cuts one direction of a session into frames.
///
/// Reads no clock and does no I/O. Call [`push`](Self::push), then [`poll`](Self::poll) until `None`. Bytes are decrypted
/// in place in one buffer, which never holds more than one unfinished frame besides the bytes not polled yet.
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
    arrivals: Arrivals,
    /// Bytes missing behind those in `buffer`: the place is lost once these are read.
    gap_ahead: Option<u64>,
    lost_bytes: u64,
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

/// Why the place in the stream was lost, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the place in the stream is lost at {origin}: {kind}")]
pub struct FrameError {
    /// Start of the frame that could not be read.
    pub origin: Origin,
    /// Why not.
    pub kind: FrameErrorKind,
}

/// Why the place in the stream was lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameErrorKind {
    /// A decrypted header lacks its constant part.
    #[error("a frame header does not decrypt to its constant part")]
    HeaderTail,
    /// Bytes are missing from the capture.
    #[error("{missing} bytes are missing from the capture")]
    Gap {
        /// How many.
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
    /// The place is lost: bytes are counted, not read.
    Lost { since: StreamOffset },
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
            gap_ahead: None,
            lost_bytes: 0,
        }
    }

    /// Takes the next bytes of the stream, and when they were captured.
    pub fn push(&mut self, bytes: &[u8], seen: CaptureTime) {
        if self.gap_ahead.is_some() || matches!(self.state, State::Lost { .. }) {
            self.lost_bytes = self.lost_bytes.saturating_add(bytes.len() as u64);
            return;
        }
        self.make_room(bytes.len());
        self.buffer.extend_from_slice(bytes);
        let end = StreamOffset(self.offset.0 + self.unread() as u64);
        self.arrivals.push(end, seen);
    }

    /// Takes the news that the next `len` bytes of the stream are missing.
    ///
    /// They count as lost, as do the bytes of the frame that is cut and all that follow. Frames complete before the gap can
    /// still be polled, then comes the error.
    pub fn gap(&mut self, len: u64) {
        self.lost_bytes = self.lost_bytes.saturating_add(len);
        if !matches!(self.state, State::Lost { .. }) {
            self.gap_ahead.get_or_insert(len);
        }
    }

    /// The next complete frame, or `None` while more bytes are needed or the place is lost.
    ///
    /// After an error only `None` follows.
    pub fn poll(&mut self) -> Option<Result<Frame<'_>, FrameError>> {
        Some(self.advance()?.map(|(place, data)| Frame {
            data: &self.buffer[data],
            place,
        }))
    }

    /// As [`poll`](Self::poll), for a caller that keeps the reader and borrows the data later, with [`data`](Self::data).
    pub(crate) fn advance(&mut self) -> Option<Result<(FramePlace, Range<usize>), FrameError>> {
        if let State::Header = self.state {
            let Some(head) = self.buffer[self.start..].first_chunk_mut::<{ BLOCK_LEN + MAC_LEN }>() else {
                return self.out_of_bytes();
            };
            let (header, wire_mac) = head.split_first_chunk_mut::<BLOCK_LEN>()?;
            let header_mac_failed = match &mut self.mac {
                MacCheck::Running(mac) => mac.header(header) != *wire_mac,
                MacCheck::Skipped | MacCheck::Unverifiable => false,
            };
            let block = self.keystream.block();
            self.keystream.apply(header);
            if header[3..] != HEADER_TAIL {
                return self.lose(FrameErrorKind::HeaderTail).map(Err);
            }
            let len = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            self.state = State::Body {
                offset: self.offset,
                block,
                len,
                header_mac_failed,
            };
            self.start += BLOCK_LEN + MAC_LEN;
            self.offset.0 += (BLOCK_LEN + MAC_LEN) as u64;
        }

        let State::Body {
            offset,
            block,
            len,
            header_mac_failed,
        } = self.state
        else {
            return None;
        };
        let padded = (len as usize).next_multiple_of(BLOCK_LEN);
        let Some(body) = self.buffer.get_mut(self.start..self.start + padded + MAC_LEN) else {
            return self.out_of_bytes();
        };
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
        let place = FramePlace {
            origin: Origin { offset, seen },
            block,
            wire_len,
            mac,
            mac_failure,
        };
        Some(Ok((place, data)))
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
            State::Body { .. } | State::Lost { .. } => None,
        }
    }

    /// Start of the first frame that could not be read, once the place is lost.
    pub fn lost_since(&self) -> Option<StreamOffset> {
        match self.state {
            State::Lost { since } => Some(since),
            State::Header | State::Body { .. } => None,
        }
    }

    /// The MAC state of a frame here, if nothing is wrong with it.
    pub fn mac_state(&self) -> MacState {
        match self.mac {
            MacCheck::Running(_) => MacState::Verified,
            MacCheck::Skipped => MacState::Skipped,
            MacCheck::Unverifiable => MacState::Unverifiable,
        }
    }

    /// Bytes missing, bytes of the frame cut by that, and bytes that came after the place was lost.
    pub fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    /// Bytes that came and do not complete a frame; with [`lost_bytes`](Self::lost_bytes) and the frames it is all bytes.
    pub fn incomplete_bytes(&self) -> u64 {
        let of_header = match self.state {
            State::Body { offset, .. } => self.offset.0 - offset.0,
            State::Header | State::Lost { .. } => 0,
        };
        of_header + self.unread() as u64
    }

    fn unread(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// More bytes are needed: an error if they cannot come.
    fn out_of_bytes<T>(&mut self) -> Option<Result<T, FrameError>> {
        let missing = self.gap_ahead.take()?;
        self.lose(FrameErrorKind::Gap { missing }).map(Err)
    }

    /// Gives up the place. `None` if it is lost already.
    fn lose(&mut self, kind: FrameErrorKind) -> Option<FrameError> {
        let (offset, unread) = match self.state {
            State::Header => (self.offset, self.unread() as u64),
            State::Body { offset, .. } => (offset, self.incomplete_bytes()),
            State::Lost { .. } => return None,
        };
        let seen = self.arrivals.latest();
        self.lost_bytes = self.lost_bytes.saturating_add(unread);
        self.state = State::Lost { since: offset };
        self.buffer = Vec::new();
        self.start = 0;
        self.arrivals = Arrivals::default();
        self.gap_ahead = None;
        Some(FrameError {
            origin: Origin { offset, seen },
            kind,
        })
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

    fn latest(&self) -> CaptureTime {
        self.latest
    }
}

/// The constant part of every header: RLP of `[0, 0]` and zero padding.
pub const HEADER_TAIL: [u8; 13] = [0xc2, 0x80, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Bytes of a frame besides its padded body.
pub const FRAME_OVERHEAD: u32 = (BLOCK_LEN + 2 * MAC_LEN) as u32;

/// Buffers up to this size are kept for the next frames: most proposals fit, and thousands of sessions may be open.
const KEPT_CAPACITY: usize = 256 << 10;

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

    #[test]
    fn frames_before_a_gap_come_out_and_what_follows_is_counted() {
        let mut sample = Sample::new(1, None);
        sample.frame(FROM, &[1; 100]);
        let whole = sample.streams[0].len() - sample.handshake[0];
        sample.frame(FROM, &[2; 100]);
        let stream = &sample.streams[0][sample.handshake[0]..];
        let mut reader = reader(&sample);
        reader.push(&stream[..whole + 50], at(1));
        reader.gap(30);
        reader.push(&stream[whole + 80..], at(2));
        assert_eq!(reader.poll().unwrap().unwrap().data, [1; 100]);
        let error = reader.poll().unwrap().unwrap_err();
        let since = StreamOffset((sample.handshake[0] + whole) as u64);
        assert_eq!(
            (error.origin.offset, error.kind),
            (since, FrameErrorKind::Gap { missing: 30 })
        );
        assert_eq!(reader.poll(), None);
        assert_eq!((reader.lost_since(), reader.place()), (Some(since), None));
        assert_eq!(reader.lost_bytes(), (stream.len() - whole) as u64);
        reader.gap(1000);
        reader.push(&[0; 10], at(3));
        assert_eq!(reader.lost_bytes(), (stream.len() - whole) as u64 + 1010);
        assert_eq!(reader.incomplete_bytes(), 0);
    }

    #[test]
    fn a_header_without_its_constant_loses_the_place() {
        let mut sample = Sample::new(1, None);
        sample.frame(FROM, &[1; 100]);
        let start = sample.handshake[0];
        sample.streams[0][start + 7] ^= 1;
        let mut reader = reader(&sample);
        reader.push(&sample.streams[0][start..], at(4));
        let error = reader.poll().unwrap().unwrap_err();
        assert_eq!(error.kind, FrameErrorKind::HeaderTail);
        assert_eq!(
            error.origin,
            Origin {
                offset: StreamOffset(start as u64),
                seen: at(4)
            }
        );
        assert!(error.to_string().contains(&start.to_string()), "{error}");
        assert_eq!(reader.lost_bytes(), (sample.streams[0].len() - start) as u64);
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
