//! Out-of-order bytes of one direction, waiting for the bytes before them.

use std::collections::BTreeMap;

use bftap_model::CaptureTime;

/// Pieces of a stream behind a hole, without overlap.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// By offset of the first byte. A tree, so that tiny pieces in a hostile order cost a logarithm and no more.
    pieces: BTreeMap<u64, Piece>,
    /// What `pieces` count as.
    bytes: usize,
}

/// Bytes of one packet.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Never empty.
    pub(crate) bytes: Vec<u8>,
    /// Earliest sight of the packet.
    pub(crate) seen: CaptureTime,
    /// Since when the hole before this piece is known of.
    pub(crate) since: CaptureTime,
    /// Since when the receiver is known to have all bytes before this piece.
    pub(crate) received: Option<CaptureTime>,
}

/// Counted for each piece on top of its bytes: its record, its share of the tree and of the allocator.
pub(crate) const PIECE_OVERHEAD: usize = 96;

impl Waiting {
    /// Whether nothing waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that wait, with what keeping them costs.
    pub(crate) fn cost(&self) -> usize {
        self.bytes
    }

    /// The first piece and its offset.
    pub(crate) fn first(&self) -> Option<(u64, &Piece)> {
        self.pieces
            .first_key_value()
            .map(|(&start, piece)| (start, piece))
    }

    /// End of the last piece.
    pub(crate) fn end(&self) -> Option<u64> {
        self.pieces
            .last_key_value()
            .map(|(&start, piece)| start + piece.bytes.len() as u64)
    }

    /// Takes the first piece out if it starts at `offset`.
    pub(crate) fn take_at(&mut self, offset: u64) -> Option<Piece> {
        let first = self.pieces.first_entry()?;
        if *first.key() != offset {
            return None;
        }
        let piece = first.remove();
        self.bytes -= piece.bytes.len() + PIECE_OVERHEAD;
        Some(piece)
    }

    /// End and differing bytes of the piece that holds the byte at `offset`, `bytes` being what another segment says
    /// is there.
    pub(crate) fn covering(&self, offset: u64, bytes: &[u8]) -> Option<(u64, bool)> {
        let (&start, piece) = self.pieces.range(..=offset).next_back()?;
        let held = piece.bytes.get((offset - start) as usize..)?;
        if held.is_empty() {
            return None;
        }
        let common = held.len().min(bytes.len());
        Some((
            start + piece.bytes.len() as u64,
            held[..common] != bytes[..common],
        ))
    }

    /// Offset of the first piece at or behind `offset`.
    pub(crate) fn next_start(&self, offset: u64) -> Option<u64> {
        self.pieces.range(offset..).next().map(|(&start, _)| start)
    }

    /// Keeps a piece that overlaps no other.
    pub(crate) fn insert(&mut self, start: u64, mut piece: Piece) {
        // What is known about the hole before the first piece holds for an even earlier first piece.
        if let Some((first, old)) = self.pieces.first_key_value()
            && start < *first
        {
            piece.since = piece.since.min(old.since);
            piece.received = match (piece.received, old.received) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        self.bytes += piece.bytes.len() + PIECE_OVERHEAD;
        let displaced = self.pieces.insert(start, piece);
        debug_assert!(displaced.is_none(), "pieces do not overlap");
    }

    /// The receiver has acknowledged all bytes before `to`; it was known for those before `from`.
    pub(crate) fn acknowledge(&mut self, from: u64, to: u64, at: CaptureTime) {
        for piece in self.pieces.range_mut(from..=to).map(|(_, piece)| piece) {
            piece.received.get_or_insert(at);
        }
    }

    /// An earlier sight of the packet that brought the pieces in this range.
    pub(crate) fn seen_earlier(&mut self, start: u64, end: u64, first: CaptureTime, seen: CaptureTime) {
        for piece in self.pieces.range_mut(start..end).map(|(_, piece)| piece) {
            if piece.seen == first {
                piece.seen = seen;
            }
        }
    }

    /// Offset 0 has become known to be at `origin` of what offsets were counted from. Gives how many bytes were before it; those are dropped.
    pub(crate) fn shift(&mut self, origin: u64) -> u64 {
        let mut dropped = 0;
        for (start, mut piece) in std::mem::take(&mut self.pieces) {
            let before = (origin.saturating_sub(start) as usize).min(piece.bytes.len());
            dropped += before as u64;
            self.bytes -= before;
            if before == piece.bytes.len() {
                self.bytes -= PIECE_OVERHEAD;
                continue;
            }
            piece.bytes.drain(..before);
            self.pieces.insert(start.max(origin) - origin, piece);
        }
        dropped
    }

    /// Drops everything; gives how many bytes it was.
    pub(crate) fn clear(&mut self) -> u64 {
        let dropped = self.pieces.values().map(|piece| piece.bytes.len() as u64).sum();
        *self = Self::default();
        dropped
    }
}
