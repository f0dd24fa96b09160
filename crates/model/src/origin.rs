//! Where something was seen, so that every row leads back to packets.

use std::fmt;

use crate::{CaptureTime, StreamOffset};

/// Place of a frame in its stream, and when it was complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Stream offset of the frame's first byte.
    pub offset: StreamOffset,
    /// Capture time of the packet that completed the frame (earliest sight at any tap).
    pub seen: CaptureTime,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream offset {} ({})", self.offset, self.seen)
    }
}
