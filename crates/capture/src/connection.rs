//! What the flow table tells about a TCP connection: that it began, its stream items, and how it went.

use bftap_model::{CaptureTime, ConnId, FlowKey, SeqNumber, Side, StreamItem, WaySums};

/// A TCP connection, as its first packet shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its two ends.
    pub key: FlowKey,
    /// The side that opened it, if the first packet tells: the sender of a SYN, or the receiver of a SYN-ACK.
    pub syn_from: Option<Side>,
    /// Capture time of its first packet.
    pub seen: CaptureTime,
}

/// News from a [`FlowTable`](crate::flow_table::FlowTable).
///
/// Of one connection: `Opened` first, then items and at most one `Syn`, one [`StreamItem::End`] per side, `Closed` last.
///
/// The ends come together with `Closed`, [`SETTLE`](bftap_model::SETTLE) after the second FIN or the RST, since until then the last
/// packets may still come to another tap; [`StreamItem::End`] gives the time of the FIN or RST itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlowEvent<'p> {
    /// The first packet of a connection was seen.
    Opened {
        /// Its name from now on.
        id: ConnId,
        /// What the first packet tells.
        connection: Connection,
    },
    /// It was learnt who opened the connection, later than from its first packet: the SYN or SYN-ACK was reordered.
    Syn {
        /// Which connection.
        id: ConnId,
        /// The side that opened it.
        from: Side,
    },
    /// The next piece of one direction.
    Item {
        /// Which connection.
        id: ConnId,
        /// The side that sent the bytes.
        side: Side,
        /// The piece.
        item: StreamItem<'p>,
    },
    /// The connection is over. Comes exactly once per connection, after the end of both directions.
    Closed {
        /// Which connection; the id does not come again.
        id: ConnId,
        /// How it went.
        summary: Box<ConnectionSummary>,
    },
}

/// What became of a connection. Arrays are by the side that sent, see [`Side::index`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSummary {
    /// Its two ends.
    pub key: FlowKey,
    /// The side that opened it: the sender of the first SYN without ACK, else the receiver of the SYN-ACK; `None` if
    /// neither was captured.
    pub syn_from: Option<Side>,
    /// Whether a SYN (with or without ACK) of that side was captured.
    pub syn_seen: [bool; 2],
    /// Sequence number of the byte at offset 0; `None` if nothing of that side's stream was seen.
    pub starts: [Option<SeqNumber>; 2],
    /// A RST answered the SYN, and no payload was seen.
    pub refused: bool,
    /// Stream bytes given as [`StreamItem::Data`].
    pub payload_bytes: [u64; 2],
    /// Gaps given.
    pub gaps: [u64; 2],
    /// Bytes in those gaps.
    pub missing_bytes: [u64; 2],
    /// Segments that brought nothing new: retransmissions, and packets captured twice at one tap.
    pub duplicate_segments: u64,
    /// Segments that said something else about bytes still waiting for their turn; the first bytes won.
    ///
    /// Bytes that were already given are not kept, so a conflict with them is not noticed.
    pub conflicting_overlaps: u64,
    /// Keep-alive and window probes that repeat the last byte's place.
    pub keep_alives: u64,
    /// Resets that the receiver would not have accepted: outside its window, or followed by new data.
    pub ignored_resets: u64,
    /// SYNs with another initial sequence number inside the window of a live stream; not taken for a new connection.
    pub ignored_syns: u64,
    /// Segments too far from the stream to belong to it, and no second one to support them; or left over from an earlier
    /// connection of the same ends.
    pub implausible_segments: u64,
    /// Captured bytes that came after their gap was declared, or behind the FIN.
    pub late_bytes: u64,
    /// Captured bytes before offset 0 of their stream.
    pub before_start_bytes: u64,
    /// How often a memory limit forced a gap.
    pub limits_reached: u64,
    /// Segments, retransmissions and times of each direction.
    pub ways: [WaySums; 2],
    /// Capture time of the first packet.
    pub first_seen: CaptureTime,
    /// Capture time of the latest packet.
    pub last_seen: CaptureTime,
    /// What ended it.
    pub reason: CloseReason,
}

/// What ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// Both sides finished.
    Fin,
    /// A side aborted it.
    Rst,
    /// Another connection began between the same ends.
    Replaced,
    /// Nothing was seen of it for the time of [`FlowLimits::idle`](crate::flow_table::FlowLimits::idle).
    Idle,
    /// It was the longest idle when the table was full.
    Evicted,
    /// The capture ended.
    EndOfCapture,
}

/// Where the items of one direction go.
pub(crate) struct Outlet<'o, 'p> {
    /// The connection they belong to.
    pub(crate) id: ConnId,
    /// The side that sent them.
    pub(crate) side: Side,
    /// Where they are put.
    pub(crate) events: &'o mut Vec<FlowEvent<'p>>,
}

impl<'p> Outlet<'_, 'p> {
    #[inline]
    pub(crate) fn item(&mut self, item: StreamItem<'p>) {
        self.events.push(FlowEvent::Item {
            id: self.id,
            side: self.side,
            item,
        });
    }
}
