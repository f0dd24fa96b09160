//! What travels from the reading thread to the workers: slices of file content, not copies of it.

use std::sync::Arc;

use bftap_capture::segment::SegmentHead;
use bftap_model::CaptureTime;

/// Where a segment's payload is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// Block of file content, or [`REASSEMBLED`].
    pub(crate) block: u32,
    /// Start in the block; index of the buffer where it was put together from fragments.
    pub(crate) start: u32,
    /// Length.
    pub(crate) len: u32,
}

/// [`Piece::block`] of a payload put together from IP fragments.
pub(crate) const REASSEMBLED: u32 = u32::MAX;

/// Segments of the flows that one worker owns, in capture order.
#[derive(Debug, Default)]
pub(crate) struct SegmentBatch {
    pub(crate) blocks: Vec<Arc<Vec<u8>>>,
    pub(crate) reassembled: Arc<Vec<Box<[u8]>>>,
    pub(crate) segments: Vec<(SegmentHead, Piece)>,
    /// Latest capture time of the whole batch, over all workers.
    pub(crate) now: Option<CaptureTime>,
    /// More than one tap was seen, so that a packet may be seen again.
    pub(crate) several_taps: bool,
}

impl SegmentBatch {
    /// Takes the first `count` segments out.
    pub(crate) fn take(&mut self, count: usize) -> Self {
        Self {
            blocks: self.blocks.clone(),
            reassembled: Arc::clone(&self.reassembled),
            segments: self.segments.drain(..count).collect(),
            now: None,
            several_taps: self.several_taps,
        }
    }

    pub(crate) fn payload(&self, piece: Piece) -> &[u8] {
        if piece.block == REASSEMBLED {
            &self.reassembled[piece.start as usize]
        } else {
            let start = piece.start as usize;
            &self.blocks[piece.block as usize][start..start + piece.len as usize]
        }
    }
}
