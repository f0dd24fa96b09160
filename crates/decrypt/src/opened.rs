//! Frames of an opened session to messages: Hello, capabilities, Snappy.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bftap_model::{CaptureTime, Direction, MacState, Meaning, StreamOffset, WireMessage};
use rlp::Rlp;

use crate::capability::Agreed;
use crate::disconnect::Disconnect;
use crate::frame::{FrameErrorKind, FramePlace, FrameReader, KEPT_CAPACITY, MacPart};
use crate::hello::Hello;
use crate::problem::{Problem, ProblemKind};
use crate::session::SessionOptions;
use crate::session::waiting_pool::{Charge, WaitingPool};
use crate::snappy::SnappyReader;
use crate::status::Status;

/// A session whose secret is known. Pairs are by [`Direction::index`].
#[derive(Debug)]
pub(crate) struct OpenSession {
    directions: [OneWay; 2],
    agreed: Agreed,
    snappy: SnappyReader,
    /// Bytes that may wait for the other end's Hello.
    waiting_limit: usize,
    /// Bytes of a direction that may wait for its place.
    unplaced_limit: usize,
    /// Room for large unfinished frames, which all sessions share.
    room: WaitingPool,
    /// An earlier run read the first frames, so nobody has to wait for them.
    goes_on: bool,
    counts: OpenCounts,
}

/// What is counted in an opened session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenCounts {
    /// Frames with a wrong MAC.
    pub(crate) mac_failures: u64,
    /// Messages that were raw where Snappy was due, or the other way round.
    pub(crate) unexpected_compression: u64,
    /// The worst of all frames.
    pub(crate) worst_mac: Option<MacState>,
}

#[derive(Debug)]
struct OneWay {
    reader: FrameReader,
    /// What the reader holds beyond [`KEPT_CAPACITY`].
    charge: Charge,
    frames: u64,
    /// A wrong MAC was told.
    mac_failed: bool,
    ended: bool,
    hello: Option<Arc<Hello>>,
    status: Option<Status>,
    disconnect: Option<Disconnect>,
}

/// A message that is ready, its payload still in a buffer.
#[derive(Debug)]
pub(crate) struct Ready {
    direction: Direction,
    code: u64,
    meaning: Meaning,
    payload: Payload,
    place: FramePlace,
}

#[derive(Clone, Debug)]
enum Payload {
    InFrame(Range<usize>),
    Decompressed(usize),
}

/// What a reader that holds so much counts as among large unfinished frames.
#[inline]
fn beyond_kept(held: usize) -> usize {
    if held > KEPT_CAPACITY { held } else { 0 }
}

impl OpenSession {
    pub(crate) fn new(readers: [FrameReader; 2], options: &SessionOptions) -> Self {
        let directions = readers.map(|reader| OneWay {
            reader,
            charge: options.frames.charge(),
            frames: 0,
            mac_failed: false,
            ended: false,
            hello: None,
            status: None,
            disconnect: None,
        });
        Self {
            directions,
            agreed: Agreed::default(),
            snappy: SnappyReader::default(),
            waiting_limit: options.waiting_limit,
            unplaced_limit: usize::MAX,
            room: options.frames.clone(),
            goes_on: false,
            counts: OpenCounts::default(),
        }
    }

    /// Takes the next bytes; says whether there was room for them. If not, they are missing like those of a gap.
    #[inline]
    pub(crate) fn push(&mut self, direction: Direction, bytes: &[u8], seen: CaptureTime) -> bool {
        let OneWay { reader, charge, .. } = &mut self.directions[direction.index()];
        let held = reader.unread() + bytes.len();
        let beyond = beyond_kept(held);
        if beyond != charge.amount() {
            if beyond > charge.amount() + self.room.room() {
                reader.gap(bytes.len() as u64);
                return false;
            }
            charge.set(beyond);
        }
        reader.push(bytes, seen);
        if reader.is_unplaced() {
            reader.keep_last(self.unplaced_limit);
        }
        true
    }

    /// Bounds what a direction without a place may hold.
    pub(crate) fn hold_unplaced(&mut self, limit: usize) {
        self.unplaced_limit = limit;
    }

    /// Takes what an earlier run read of the ends.
    pub(crate) fn remember(&mut self, hellos: [Option<Arc<Hello>>; 2]) {
        self.goes_on = true;
        for (way, hello) in self.directions.iter_mut().zip(hellos) {
            way.hello = hello;
        }
        self.agree();
    }

    fn agree(&mut self) {
        if let [Some(one), Some(other)] = self.directions.each_ref().map(|way| way.hello.as_deref()) {
            self.agreed = Agreed::between(one, other);
        }
    }

    pub(crate) fn attach(&mut self, direction: Direction, offset: StreamOffset, block: u64) {
        self.directions[direction.index()].reader.attach(offset, block);
    }

    pub(crate) fn forget_before(&mut self, direction: Direction, offset: StreamOffset) {
        self.directions[direction.index()].reader.forget_before(offset);
    }

    /// Directions without a place will not get one.
    pub(crate) fn abandon_unplaced(&mut self) {
        for way in &mut self.directions {
            way.reader.abandon();
        }
    }

    pub(crate) fn gap(&mut self, direction: Direction, len: u64) {
        self.directions[direction.index()].reader.gap(len);
    }

    pub(crate) fn end(&mut self, direction: Direction) {
        let way = &mut self.directions[direction.index()];
        way.ended = true;
        way.reader.finish();
    }

    /// The next message, if one is complete; what goes wrong is added to `problems`.
    ///
    /// First frames go first: they tell what the others mean.
    #[inline]
    pub(crate) fn next(&mut self, problems: &mut VecDeque<Problem>) -> Option<Ready> {
        const BOTH: [Direction; 2] = [Direction::FromInitiator, Direction::FromRecipient];
        for direction in BOTH {
            if self.directions[direction.index()].frames == 0
                && let Some(ready) = self.next_of(direction, problems)
            {
                return Some(ready);
            }
        }
        let ready = BOTH
            .into_iter()
            .find_map(|direction| self.next_of(direction, problems));
        if ready.is_none() {
            // Nothing may follow on this session for long, and others need the room.
            for OneWay { reader, charge, .. } in &mut self.directions {
                if charge.amount() > 0 {
                    charge.set(beyond_kept(reader.unread()));
                }
            }
        }
        ready
    }

    fn next_of(&mut self, direction: Direction, problems: &mut VecDeque<Problem>) -> Option<Ready> {
        while !self.waits_for_other_hello(direction) {
            let way = &mut self.directions[direction.index()];
            let Some(frame) = way.reader.advance() else {
                if let Some(origin) = way.reader.suspect()
                    && !way.mac_failed
                {
                    way.mac_failed = true;
                    self.counts.worst_mac = Some(MacState::Failed);
                    problems.push_back(Problem::at(direction, origin, ProblemKind::Mac(MacPart::Header)));
                }
                return None;
            };
            let (place, data) = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    let kind = match error.kind {
                        FrameErrorKind::HeaderTail => ProblemKind::BadHeader,
                        FrameErrorKind::HeaderMac => {
                            way.mac_failed = true;
                            self.counts.worst_mac = Some(MacState::Failed);
                            ProblemKind::Mac(MacPart::Header)
                        }
                        kind => ProblemKind::PlaceLost(kind),
                    };
                    problems.push_back(Problem::at(direction, error.origin, kind));
                    continue;
                }
            };
            way.frames += 1;
            self.counts.worst_mac = self.counts.worst_mac.max(Some(place.mac));
            if let Some(part) = place.mac_failure {
                self.counts.mac_failures += 1;
                if !way.mac_failed {
                    way.mac_failed = true;
                    problems.push_back(Problem::at(direction, place.origin, ProblemKind::Mac(part)));
                }
            }
            let read = self.read_message(direction, place, data);
            let noted = read.as_ref().map_or(Ok(()), |ready| self.take_note(ready));
            let mut tell = |kind| problems.push_back(Problem::at(direction, place.origin, kind));
            if let Err(kind) = noted {
                tell(kind);
            }
            match read {
                Ok(ready) => return Some(ready),
                Err(kind) => tell(kind),
            }
        }
        None
    }

    /// Puts a message and its payload together.
    pub(crate) fn message(&self, ready: Ready) -> WireMessage<'_> {
        let payload = self.payload(&ready);
        let Ready {
            direction,
            code,
            meaning,
            place,
            ..
        } = ready;
        let FramePlace {
            origin,
            block,
            wire_len,
            mac,
            ..
        } = place;
        WireMessage {
            direction,
            code,
            meaning,
            payload,
            origin,
            block,
            wire_len,
            mac,
        }
    }

    /// Codes have a meaning only once both Hellos are read, and streams of two directions may come in any order: so
    /// what follows an end's first frame waits for the other end's.
    fn waits_for_other_hello(&self, direction: Direction) -> bool {
        let way = &self.directions[direction.index()];
        let other = &self.directions[direction.other().index()];
        !self.goes_on
            && way.frames > 0
            && other.frames == 0
            && !other.ended
            && !other.reader.has_lost_frames()
            && way.reader.incomplete_bytes() <= self.waiting_limit as u64
    }

    fn read_message(
        &mut self,
        direction: Direction,
        place: FramePlace,
        data: Range<usize>,
    ) -> Result<Ready, ProblemKind> {
        let other_hello = &self.directions[direction.other().index()].hello;
        // The end that reads says whether it reads Snappy; unless it is known not to, it does.
        let snappy_due = other_hello.as_ref().is_none_or(|hello| hello.wants_snappy());
        let way = &self.directions[direction.index()];
        let frame = way.reader.data(data.clone());
        let (code, code_len) = read_code(frame).ok_or(ProblemKind::NoCode { len: frame.len() })?;
        let content = &frame[code_len..];
        let raw = Payload::InFrame(data.start + code_len..data.end);
        let payload = if place.block == 0 {
            // Hello, and a Disconnect instead of it, are never compressed.
            raw
        } else if !snappy_due && is_one_item(content) {
            raw
        } else {
            // A Disconnect that answers a Hello goes out before its sender turns Snappy on, and Besu may turn it off again.
            match self.snappy.decompress(content) {
                Ok(len) => {
                    self.counts.unexpected_compression += u64::from(!snappy_due);
                    Payload::Decompressed(len)
                }
                Err(_) if is_one_item(content) => {
                    self.counts.unexpected_compression += 1;
                    raw
                }
                Err(error) => return Err(ProblemKind::Snappy { code, error }),
            }
        };
        Ok(Ready {
            direction,
            code,
            meaning: self.agreed.meaning(code),
            payload,
            place,
        })
    }

    /// Keeps what Hello, Disconnect and Status tell of the session.
    fn take_note(&mut self, ready: &Ready) -> Result<(), ProblemKind> {
        let payload = self.payload(ready);
        match &ready.meaning {
            Meaning::Base { .. } if ready.code == HELLO && ready.place.block == 0 => {
                let hello = Hello::parse(payload).map_err(ProblemKind::Hello)?;
                self.directions[ready.direction.index()].hello = Some(Arc::new(hello));
                self.agree();
            }
            Meaning::Base { .. } if ready.code == DISCONNECT => {
                let disconnect = Disconnect::parse(payload);
                self.directions[ready.direction.index()].disconnect = Some(disconnect);
            }
            Meaning::Sub {
                capability, local, ..
            } if Status::is_in(capability, *local) => {
                let status = Status::parse(payload).map_err(ProblemKind::Status)?;
                self.directions[ready.direction.index()]
                    .status
                    .get_or_insert(status);
            }
            _ => {}
        }
        Ok(())
    }

    fn payload(&self, ready: &Ready) -> &[u8] {
        match &ready.payload {
            Payload::InFrame(range) => self.directions[ready.direction.index()]
                .reader
                .data(range.clone()),
            Payload::Decompressed(len) => self.snappy.output(*len),
        }
    }

    pub(crate) fn counts(&self) -> OpenCounts {
        self.counts
    }

    pub(crate) fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    pub(crate) fn frames(&self) -> [u64; 2] {
        self.directions.each_ref().map(|way| way.frames)
    }

    pub(crate) fn hellos(&self) -> [Option<Arc<Hello>>; 2] {
        self.directions.each_ref().map(|way| way.hello.clone())
    }

    pub(crate) fn statuses(&self) -> [Option<Status>; 2] {
        self.directions.each_ref().map(|way| way.status.clone())
    }

    pub(crate) fn disconnects(&self) -> [Option<Disconnect>; 2] {
        self.directions.each_ref().map(|way| way.disconnect)
    }

    pub(crate) fn readers(&self) -> [&FrameReader; 2] {
        self.directions.each_ref().map(|way| &way.reader)
    }
}

/// The message code in front of a frame's data, and how many bytes it takes: an RLP integer.
#[inline]
fn read_code(frame: &[u8]) -> Option<(u64, usize)> {
    match *frame.first()? {
        0x80 => Some((0, 1)),
        byte @ 0..0x80 => Some((byte.into(), 1)),
        byte @ 0x81..=0x88 => {
            let len = usize::from(byte - 0x80);
            let code = frame
                .get(1..=len)?
                .iter()
                .fold(0, |code, &byte| code << 8 | u64::from(byte));
            Some((code, 1 + len))
        }
        _ => None,
    }
}

/// Whether a payload is RLP: exactly one item, as every message is.
fn is_one_item(payload: &[u8]) -> bool {
    Rlp::new(payload)
        .payload_info()
        .is_ok_and(|info| info.total() == payload.len())
}

const HELLO: u64 = 0x00;
const DISCONNECT: u64 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_rlp_integers() {
        for (frame, code) in [
            (&[0x80, 0xc0][..], Some((0, 1))),
            (&[0x21], Some((0x21, 1))),
            (&[0x00], Some((0, 1))),
            (&[0x81, 0x85, 0xc0], Some((0x85, 2))),
            (&[0x82, 0x01, 0x00], Some((0x100, 3))),
            (&[0x88, 1, 2, 3, 4, 5, 6, 7, 8], Some((0x0102_0304_0506_0708, 9))),
            (&[0x81], None),
            (&[0x89, 1, 2, 3, 4, 5, 6, 7, 8, 9], None),
            (&[0xc0], None),
            (&[], None),
        ] {
            assert_eq!(read_code(frame), code, "{frame:02x?}");
        }
    }

    #[test]
    fn one_item_is_told_from_garbage() {
        for (payload, whole) in [
            (&[0xc0][..], true),
            (&[0x04], true),
            (&[0xc1, 0x04], true),
            (&[0xc1, 0x04, 0x05], false),
            (&[0xc2, 0x04], false),
            (&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], false),
            (&[], false),
        ] {
            assert_eq!(is_one_item(payload), whole, "{payload:02x?}");
        }
    }
}
