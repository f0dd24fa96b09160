//! Messages as they were on the wire, for those who have to show them: bytes, and the place of their frames.
//!
//! Analyses keep none of it. Who wants it puts a [`RawSink`] into [`PipelineOptions::raw`](crate::PipelineOptions::raw).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bftap_analysis::{Payload, SessionInfo};
use bftap_model::{CaptureTime, Direction, FlowKey, MacState, SeqNumber, Side, StreamOffset};

/// One consensus message as it crossed the wire.
#[derive(Clone, Debug)]
pub struct RawMessage {
    /// What is known of its session.
    pub session: SessionInfo,
    /// The TCP connection.
    pub flow: FlowKey,
    /// The end that sent it.
    pub side: Side,
    /// Which way it went.
    pub direction: Direction,
    /// What it says.
    pub payload: Arc<Payload>,
    /// Its code, the capability's offset taken off.
    pub local: u64,
    /// The message behind its code, decompressed: the payload with its envelope.
    pub bytes: Vec<u8>,
    /// Place of its frame in the stream.
    pub offset: StreamOffset,
    /// TCP sequence number of the frame's first byte.
    pub seq: Option<SeqNumber>,
    /// Bytes of its frame on the wire.
    pub wire_len: u32,
    /// Capture time of the packet that completed its frame.
    pub seen: CaptureTime,
    /// Whether the frame's MACs held.
    pub mac: MacState,
}

/// Takes [`RawMessage`]s of the selected heights, in capture order where one thread reads.
pub struct RawSink(Mutex<Take>);

type Take = Box<dyn FnMut(RawMessage) + Send>;

impl RawSink {
    /// Hands each message to `take`.
    pub fn new(take: impl FnMut(RawMessage) + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(take)))
    }

    pub(crate) fn take(&self, message: RawMessage) {
        let mut take = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        take(message);
    }
}

impl fmt::Debug for RawSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawSink").finish_non_exhaustive()
    }
}
