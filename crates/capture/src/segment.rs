//! The TCP segment of one packet, cut out of its link, IP and tunnel headers.

use std::ops::Range;

use bftap_model::{CaptureTime, Endpoint, SeqNumber, TapId};

/// Header facts of one TCP packet; its payload is told by [`PayloadPlace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// Who sent it.
    pub source: Endpoint,
    /// Whom it is for.
    pub destination: Endpoint,
    /// Sequence number of the first payload byte, or of the SYN where there is one.
    pub seq: SeqNumber,
    /// Acknowledgement number, if the ACK flag is set.
    pub ack: Option<SeqNumber>,
    /// Control flags.
    pub flags: TcpFlags,
    /// Receive window as it stands in the header (not scaled).
    pub window: u16,
    /// Timestamps option (RFC 7323): value and echo reply.
    pub timestamps: Option<(u32, u32)>,
    /// End of bytes that the sender says it has got twice (RFC 2883: the first SACK block is below the acknowledgement number).
    pub got_twice: Option<SeqNumber>,
    /// Payload bytes that the packet carried behind the captured ones: cut off by the snap length.
    pub cut: u32,
    /// Tells one packet seen at two taps from a retransmission, as far as its headers do: a hash of the
    /// endpoints, IP identification (IPv4), sequence and acknowledgement numbers, flags, payload length, timestamps and
    /// TCP checksum; without TTL and IP checksum, which routers change.
    pub identity: u64,
    /// When it was captured.
    pub seen: CaptureTime,
    /// Where it was captured.
    pub tap: TapId,
}

impl SegmentHead {
    /// Sequence number of the first payload byte: behind the SYN where there is one.
    #[inline]
    pub const fn first_byte(&self) -> SeqNumber {
        if self.flags.syn() {
            self.seq.add(1)
        } else {
            self.seq
        }
    }
}

/// Where the payload of a sliced packet is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PayloadPlace {
    /// In the captured packet, at this range of its bytes.
    InPacket(Range<u32>),
    /// Put together from IP fragments.
    Reassembled(Box<[u8]>),
}

/// TCP control flags, in the bit order of the header's byte 13.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// ACK.
    pub const ACK: u8 = 0x10;

    /// The sender has no more to send.
    pub const fn fin(self) -> bool {
        self.0 & Self::FIN != 0
    }

    /// Opens a connection.
    pub const fn syn(self) -> bool {
        self.0 & Self::SYN != 0
    }

    /// Aborts a connection.
    pub const fn rst(self) -> bool {
        self.0 & Self::RST != 0
    }

    /// The acknowledgement number holds.
    pub const fn ack(self) -> bool {
        self.0 & Self::ACK != 0
    }
}
