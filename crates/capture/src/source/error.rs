//! What can be wrong with a capture file.

use std::io;

/// Why a capture cannot be opened, or cannot be read further.
///
/// Offsets count bytes of the capture itself: behind the decompression, if the file is compressed. Packets are counted
/// from 1, as other tools show them; `packets` is how many were read whole before.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// It is something else.
    #[error(
        "not a capture file: this looks like {looks_like}; pcap and pcapng are read, also as .gz or .zst"
    )]
    NotACapture {
        /// What its first bytes look like, with an article.
        looks_like: String,
    },
    /// A capture of a kind that is not read.
    #[error("cannot read {what}; convert it to pcapng, for example with `editcap -F pcapng IN OUT`")]
    Unsupported {
        /// Its kind.
        what: String,
    },
    /// The end of the file comes inside its header, a packet or a block.
    #[error(
        "the file is cut off behind packet {packets}: what starts at byte {offset} has {present} of {needed} bytes"
    )]
    Cut {
        /// Where the incomplete piece starts.
        offset: u64,
        /// Packets before it.
        packets: u64,
        /// How much of it is there.
        present: u64,
        /// How long it says it is (at least).
        needed: u64,
    },
    /// The compressed data ends before its own end mark.
    #[error("the {format} data is cut off behind packet {packets}: {offset} bytes could be unpacked")]
    CompressedCut {
        /// `gzip` or `zstd`.
        format: &'static str,
        /// Bytes that could be unpacked.
        offset: u64,
        /// Whole packets in them.
        packets: u64,
    },
    /// The compressed data is damaged.
    #[error("the {format} data is damaged behind packet {packets}, {offset} unpacked bytes in: {source}")]
    CompressedDamaged {
        /// `gzip` or `zstd`.
        format: &'static str,
        /// Bytes that could be unpacked.
        offset: u64,
        /// Whole packets in them.
        packets: u64,
        /// What the decompressor says.
        source: io::Error,
    },
    /// A packet or block says that it is longer than any can be.
    #[error(
        "nonsense at byte {offset}, behind packet {packets}: a length of {len} bytes where at most \
         {limit} are possible; the file is damaged there"
    )]
    TooLong {
        /// Where the packet or block starts.
        offset: u64,
        /// Packets before it.
        packets: u64,
        /// The length it gives.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// A pcapng block contradicts itself or its section.
    #[error("nonsense at byte {offset}, behind packet {packets}: {what}; the file is damaged there")]
    BadBlock {
        /// Where the block starts.
        offset: u64,
        /// Packets before it.
        packets: u64,
        /// What is wrong.
        what: BlockFault,
    },
    /// Reading failed.
    #[error("reading failed behind packet {packets}, {offset} bytes in: {source}")]
    Io {
        /// Bytes read before.
        offset: u64,
        /// Whole packets in them.
        packets: u64,
        /// What the system says.
        source: io::Error,
    },
}

/// How a pcapng block contradicts itself or its section.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockFault {
    /// The length is no multiple of four, or too small for the block's type.
    #[error("a block of {0} bytes, which is no possible length")]
    Length(u32),
    /// The lengths at the start and at the end of a block differ.
    #[error("a block of {first} bytes whose end says {second}")]
    Lengths {
        /// At its start.
        first: u32,
        /// At its end.
        second: u32,
    },
    /// Captured bytes, or secrets, run past the end of their block.
    #[error("{len} bytes of content in a block with room for {room}")]
    Content {
        /// The length given.
        len: u32,
        /// What the block can hold.
        room: u32,
    },
    /// An option runs past the end of its block.
    #[error("an option that runs past the end of its block")]
    Option,
    /// A packet of an interface that was not described.
    #[error("a packet of interface {id} where {described} are described")]
    Interface {
        /// The number given.
        id: u32,
        /// How many interfaces the section describes so far.
        described: u32,
    },
    /// More interfaces than can be told apart.
    #[error("more than 65535 interfaces")]
    TooManyInterfaces,
    /// A section header without its byte-order magic.
    #[error("a section header with byte-order magic {0:#010x}")]
    ByteOrder(u32),
    /// A section of another version of the format.
    #[error("a section of pcapng version {major}.{minor}, where 1.0 is known")]
    Version {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
}
