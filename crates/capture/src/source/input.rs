//! The bytes of a capture: unpacked if need be, with their first ones looked at.

use std::io::{self, Cursor, Read};

use super::error::CaptureError;
use super::identify;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A decompressor is asked for so much at once: what it has unpacked in the call in which it finds damage is lost.
const UNPACKED_PIECE: usize = 4 << 10;

/// Unpacked content of a capture file.
pub(super) struct Input {
    read: Box<dyn Read + Send>,
    /// How it was packed, if it was.
    packed: Option<&'static str>,
}

impl Input {
    /// Looks at the first bytes and unpacks if they say so. Returns the first `wanted` unpacked bytes too (fewer if there are
    /// no more), which a later [`fill`](Self::fill) does not repeat.
    pub(super) fn open(
        mut read: Box<dyn Read + Send>,
        wanted: usize,
    ) -> Result<(Self, Vec<u8>), CaptureError> {
        let mut head = Vec::new();
        let plain = |read| Self { read, packed: None };
        if let Err(source) = top_up(&mut read, &mut head, ZSTD.len()) {
            return Err(plain(read).failure(source, head.len() as u64, 0));
        }
        let packed = if head.starts_with(&GZIP) {
            "gzip"
        } else if is_zstd(&head) {
            "zstd"
        } else {
            let mut input = plain(read);
            input.top_up(&mut head, wanted)?;
            return Ok((input, head));
        };
        let whole = Cursor::new(head).chain(read);
        let read: Box<dyn Read + Send> = if packed == "gzip" {
            Box::new(flate2::read::MultiGzDecoder::new(whole))
        } else {
            let decoder = zstd::stream::read::Decoder::new(whole).map_err(|source| {
                CaptureError::CompressedDamaged {
                    format: packed,
                    offset: 0,
                    packets: 0,
                    source,
                }
            })?;
            Box::new(decoder)
        };
        let mut input = Self {
            read,
            packed: Some(packed),
        };
        let mut head = Vec::new();
        input.top_up(&mut head, wanted)?;
        Ok((input, head))
    }

    /// Why a file that starts with `head` is no capture.
    pub(super) fn not_a_capture(&mut self, mut head: Vec<u8>) -> CaptureError {
        match self.top_up(&mut head, identify::SNIFF_LEN) {
            // A damaged end of a short file says less than what its start looks like.
            Ok(()) | Err(_) => identify::not_a_capture(&head, self.packed),
        }
    }

    fn top_up(&mut self, head: &mut Vec<u8>, wanted: usize) -> Result<(), CaptureError> {
        top_up(&mut self.read, head, wanted).map_err(|source| self.failure(source, head.len() as u64, 0))
    }

    /// Reads into `space` until at least `enough` bytes are there (an end or a failure comes earlier).
    ///
    /// Content that was packed is read until the space is full, since a decompressor gives small pieces. A plain
    /// file gives as much in one call, and a pipe what is in it at once: someone may be capturing into it.
    pub(super) fn fill(&mut self, space: &mut [u8], enough: usize) -> Filled {
        let piece = if self.packed.is_some() {
            UNPACKED_PIECE
        } else {
            usize::MAX
        };
        let mut filled = 0_usize;
        let end = loop {
            let piece_end = filled.saturating_add(piece).min(space.len());
            match self.read.read(&mut space[filled..piece_end]) {
                Ok(0) => break Some(Ok(())),
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(Err(error)),
            }
            if filled == space.len() || (self.packed.is_none() && filled >= enough) {
                break None;
            }
        };
        Filled { len: filled, end }
    }

    /// Lets go of the file: nothing more will be read from it.
    pub(super) fn close(&mut self) {
        self.read = Box::new(io::empty());
    }

    /// A failed read in the terms of a capture.
    pub(super) fn failure(&self, source: io::Error, offset: u64, packets: u64) -> CaptureError {
        match self.packed {
            None => CaptureError::Io {
                offset,
                packets,
                source,
            },
            Some(format) if source.kind() == io::ErrorKind::UnexpectedEof => CaptureError::CompressedCut {
                format,
                offset,
                packets,
            },
            Some(format) => CaptureError::CompressedDamaged {
                format,
                offset,
                packets,
                source,
            },
        }
    }
}

/// What [`Input::fill`] did.
pub(super) struct Filled {
    /// Bytes that are new in the space.
    pub(super) len: usize,
    /// Set if no more will come: whether that is the end of the content, or a failure.
    pub(super) end: Option<io::Result<()>>,
}

/// True for the magic number of a frame, and for those of frames to be skipped, which may come first.
fn is_zstd(head: &[u8]) -> bool {
    head.starts_with(&ZSTD) || matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// Reads until `head` has `wanted` bytes or there are no more; what was read before a failure stays in `head`.
fn top_up(read: &mut dyn Read, head: &mut Vec<u8>, wanted: usize) -> io::Result<()> {
    let missing = wanted.saturating_sub(head.len());
    read.take(missing as u64).read_to_end(head).map(drop)
}
