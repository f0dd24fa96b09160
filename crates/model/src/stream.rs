//! What reassembly gives: the ordered bytes of one direction, and news of bytes that are missing.

use std::borrow::Cow;
use std::fmt;

use crate::{CaptureTime, Nanos};

/// Position of a byte in a stream.
///
/// 0 is the byte after the SYN, or the first byte seen where the SYN was not captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamOffset(pub u64);

impl fmt::Display for StreamOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bytes of a stream, in order: each chunk or gap starts where the one before it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamChunk<'p> {
    /// Position of `bytes[0]`.
    pub offset: StreamOffset,
    /// Earliest sight of the packet that carried these bytes, at any tap.
    pub seen: CaptureTime,
    /// Borrowed from the packet where they arrived in order, owned where they had to wait.
    pub bytes: Cow<'p, [u8]>,
}

/// Bytes that the capture does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamGap {
    /// Position of the first missing byte.
    pub offset: StreamOffset,
    /// How many bytes are missing. Exact below 2 GiB (TCP sequence numbers wrap at 4 GiB).
    pub len: u64,
    /// When the gap was noticed to begin: capture time of the last byte before it (or of the first after).
    pub seen: CaptureTime,
}

/// One piece of one direction of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamItem<'p> {
    /// The next bytes.
    Data(StreamChunk<'p>),
    /// The next bytes are missing.
    Gap(StreamGap),
    /// The packet that carried the bytes up to `end` was seen once more, at another tap on its way.
    ///
    /// Always about bytes already given as `Data`; comes at most a settling time later.
    Resight {
        /// End of the bytes that the packet carried.
        end: StreamOffset,
        /// When the other tap saw it.
        seen: CaptureTime,
    },
    /// No more bytes will come in this direction (FIN, RST, port reused, idle, or end of the capture).
    End {
        /// Capture time of what ended it.
        seen: CaptureTime,
    },
}

impl StreamGap {
    /// Position after the gap.
    pub const fn end(&self) -> StreamOffset {
        StreamOffset(self.offset.0.saturating_add(self.len))
    }
}

/// How long a packet may take from the first tap that sees it to the last; see [`StreamItem::Resight`].
///
/// Half a second is far above any path inside a lab or a data centre, and small beside a block period's bookkeeping.
pub const SETTLE: Nanos = Nanos::from_millis(500);
