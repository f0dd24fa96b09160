//! What came of one direction before the session could be opened.

use std::collections::VecDeque;

use bftap_model::{CaptureTime, StreamOffset};

/// Bytes and gaps from the start of a stream on, with the times of their capture.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    bytes: Vec<u8>,
    pieces: VecDeque<Piece>,
    /// Bytes before the first gap.
    prefix: usize,
    gap: bool,
    /// Bytes were dropped at its end.
    full: bool,
}

/// A part of a backlog, in order; data parts stand one behind the other in its bytes.
#[derive(Clone, Copy, Debug)]
enum Piece {
    Data { len: usize, seen: CaptureTime },
    Gap { len: u64 },
}

/// A part of a backlog, as it is handed on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// Bytes, and when they were captured.
    Data(&'a [u8], CaptureTime),
    /// So many bytes are missing.
    Gap(u64),
}

impl Backlog {
    pub(crate) fn push(&mut self, bytes: &[u8], seen: CaptureTime) {
        if bytes.is_empty() {
            return;
        }
        self.bytes.extend_from_slice(bytes);
        if !self.gap {
            self.prefix += bytes.len();
        }
        match self.pieces.back_mut() {
            Some(Piece::Data { len, seen: last }) if *last == seen => *len += bytes.len(),
            _ => self.pieces.push_back(Piece::Data {
                len: bytes.len(),
                seen,
            }),
        }
    }

    pub(crate) fn gap(&mut self, missing: u64) {
        self.gap = true;
        match self.pieces.back_mut() {
            Some(Piece::Gap { len }) => *len = len.saturating_add(missing),
            _ => self.pieces.push_back(Piece::Gap { len: missing }),
        }
    }

    /// Takes the news that bytes came and were dropped; they are missing like those of a gap, and nothing can follow.
    pub(crate) fn overflow(&mut self, dropped: u64) {
        self.full = true;
        self.gap(dropped);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Bytes from the start of the stream up to the first gap.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.bytes[..self.prefix]
    }

    pub(crate) fn has_gap(&self) -> bool {
        self.gap
    }

    /// Memory that is held, near enough: many small pieces cost more than their bytes.
    pub(crate) fn held(&self) -> usize {
        self.bytes.len() + self.pieces.len() * size_of::<Piece>()
    }

    /// Lets go of all bytes, which are missing from now on; gives how many there were.
    pub(crate) fn forget(&mut self) -> u64 {
        let dropped = self.bytes.len() as u64;
        let missing = self
            .pieces
            .iter()
            .map(|piece| match *piece {
                Piece::Data { len, .. } => len as u64,
                Piece::Gap { len } => len,
            })
            .fold(0, u64::saturating_add);
        *self = Self::default();
        if missing > 0 {
            self.gap(missing);
        }
        dropped
    }

    /// Everything from byte `from` of the stream on.
    pub(crate) fn parts_from(&self, from: u64) -> impl Iterator<Item = Part<'_>> {
        let mut skip = from;
        let mut rest = self.bytes.as_slice();
        self.pieces.iter().filter_map(move |piece| match *piece {
            Piece::Data { len, seen } => {
                let (data, behind) = rest.split_at(len);
                rest = behind;
                let skipped = skip.min(len as u64);
                skip -= skipped;
                (skipped < len as u64).then(|| Part::Data(&data[skipped as usize..], seen))
            }
            Piece::Gap { len } => {
                let skipped = skip.min(len);
                skip -= skipped;
                (skipped < len).then_some(Part::Gap(len - skipped))
            }
        })
    }

    /// The bytes from gap to gap: each run with the offset of its first byte.
    pub(crate) fn runs(&self) -> Vec<(StreamOffset, &[u8])> {
        let mut runs: Vec<(StreamOffset, &[u8])> = Vec::new();
        let (mut at, mut from, mut to) = (0, 0, 0);
        for piece in &self.pieces {
            match *piece {
                Piece::Data { len, .. } => to += len,
                Piece::Gap { len } => {
                    runs.push((StreamOffset(at), &self.bytes[from..to]));
                    at += (to - from) as u64 + len;
                    from = to;
                }
            }
        }
        runs.push((StreamOffset(at), &self.bytes[from..to]));
        runs.retain(|(_, run)| !run.is_empty());
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_as_they_came_without_the_skipped_bytes() {
        let at = CaptureTime::from_nanos;
        let mut backlog = Backlog::default();
        backlog.push(b"ab", at(1));
        backlog.push(b"cd", at(1));
        backlog.push(b"ef", at(2));
        backlog.gap(7);
        backlog.gap(3);
        backlog.push(b"gh", at(3));
        assert_eq!((backlog.prefix(), backlog.has_gap()), (&b"abcdef"[..], true));
        let parts: Vec<_> = backlog.parts_from(3).collect();
        assert_eq!(
            parts,
            [
                Part::Data(b"d", at(1)),
                Part::Data(b"ef", at(2)),
                Part::Gap(10),
                Part::Data(b"gh", at(3))
            ]
        );
        assert_eq!(backlog.parts_from(4).count(), 3);
        assert_eq!(
            backlog.runs(),
            [(StreamOffset(0), &b"abcdef"[..]), (StreamOffset(16), b"gh")]
        );
        let rest: Vec<_> = backlog.parts_from(9).collect();
        assert_eq!(rest, [Part::Gap(7), Part::Data(b"gh", at(3))]);

        assert!(backlog.held() > 8);

        // What it let go is missing, and the next byte keeps its offset.
        assert_eq!((backlog.forget(), backlog.prefix()), (8, &b""[..]));
        backlog.push(b"ij", at(4));
        assert_eq!(backlog.runs(), [(StreamOffset(18), &b"ij"[..])]);
        let rest: Vec<_> = backlog.parts_from(0).collect();
        assert_eq!(rest, [Part::Gap(18), Part::Data(b"ij", at(4))]);
        assert_eq!(Backlog::default().forget(), 0);
    }
}
