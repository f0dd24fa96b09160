//! What a format and the reader tell each other about a block of file content.

use super::error::{BlockFault, CaptureError};
use crate::packet::Batch;

/// How far a format got in a block, and why not further.
#[derive(Debug)]
pub(super) struct Progress {
    /// Bytes of whole records.
    pub(super) consumed: usize,
    /// What comes at that place.
    pub(super) next: Next,
}

/// Why a format cannot go on.
#[derive(Debug)]
pub(super) enum Next {
    /// The record there needs this many bytes (at least); more than there are.
    Need(usize),
    /// The record there is of no interest and this long; more than there are.
    Skip(u64),
    /// It cannot be read from here on.
    Fault(CaptureError),
}

/// How much was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// Packets.
    pub packets: u64,
    /// Captured bytes in them.
    pub bytes: u64,
    /// Blocks of secrets.
    pub secrets: u64,
    /// Blocks of pcapng that hold neither packets nor anything needed to read them.
    pub skipped_blocks: u64,
}

/// Where a format puts what it finds, and what it may take for possible.
#[derive(Debug)]
pub(super) struct Cutting<'a> {
    /// Offset of the block's first byte in the capture.
    pub(super) offset: u64,
    /// Longest captured packet that is believed.
    pub(super) max_packet: u32,
    /// Sums so far.
    pub(super) stats: &'a mut ReadStats,
    /// Packets and secrets of this block.
    pub(super) batch: &'a mut Batch,
}

impl Cutting<'_> {
    /// The record at `at` cannot be so long.
    pub(super) fn too_long(&self, at: usize, len: u64, limit: u64) -> CaptureError {
        CaptureError::TooLong {
            offset: self.place(at),
            packets: self.stats.packets,
            len,
            limit,
        }
    }

    /// The block at `at` cannot be right.
    pub(super) fn bad_block(&self, at: usize, what: BlockFault) -> CaptureError {
        CaptureError::BadBlock {
            offset: self.place(at),
            packets: self.stats.packets,
            what,
        }
    }

    fn place(&self, at: usize) -> u64 {
        self.offset.saturating_add(at as u64)
    }
}
