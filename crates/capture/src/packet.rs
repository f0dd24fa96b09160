//! Captured packets, one by one and in batches that travel between threads without copying.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bftap_model::{CaptureTime, TapId};
use zeroize::Zeroizing;

use crate::link::LinkType;

/// One packet as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapturedPacket<'p> {
    /// When.
    pub seen: CaptureTime,
    /// Where.
    pub tap: TapId,
    /// What its first bytes are.
    pub link: LinkType,
    /// The captured bytes: all of the packet, or as many as the snap length left.
    pub bytes: &'p [u8],
    /// Length of the packet on the wire.
    pub orig_len: u32,
}

/// Place and facts of one packet of a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was captured.
    pub seen: CaptureTime,
    /// Which of [`Batch::blocks`] holds its bytes.
    pub block: u32,
    /// Where they start in it.
    pub start: u32,
    /// How many there are.
    pub len: u32,
    /// Length of the packet on the wire.
    pub orig_len: u32,
    /// Where it was captured: out of a single reader the number of the interface in the file, out of
    /// [`MergedCapture`](crate::source::MergedCapture) the tap among all files.
    pub tap: TapId,
    /// What its first bytes are.
    pub link: LinkType,
}

impl Record {
    /// Its bytes' place in the block.
    #[inline]
    pub fn range(&self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.len as usize
    }
}

/// Packets in order, with the blocks of file content that hold their bytes.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// File content; what is in no record's range has no meaning.
    pub blocks: Vec<Arc<Vec<u8>>>,
    /// The packets.
    pub records: Vec<Record>,
    /// Secrets found between the packets.
    pub secrets: Vec<SecretsBlock>,
    /// Time has come this far, whatever the packets say. Only interfaces know; in files time is what the packets say.
    pub reached: Option<CaptureTime>,
}

impl Batch {
    /// Bytes of one of its records.
    ///
    /// # Panics
    /// If the record belongs to another batch.
    #[inline]
    pub fn bytes(&self, record: &Record) -> &[u8] {
        &self.blocks[record.block as usize][record.range()]
    }

    /// One of its records as a packet.
    ///
    /// # Panics
    /// If the record belongs to another batch.
    #[inline]
    pub fn packet(&self, record: &Record) -> CapturedPacket<'_> {
        CapturedPacket {
            seen: record.seen,
            tap: record.tap,
            link: record.link,
            bytes: self.bytes(record),
            orig_len: record.orig_len,
        }
    }

    /// All packets, in order.
    pub fn packets(&self) -> impl ExactSizeIterator<Item = CapturedPacket<'_>> {
        self.records.iter().map(|record| self.packet(record))
    }

    /// True if it holds neither packets nor secrets.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.secrets.is_empty()
    }
}

/// Key log lines out of the capture file itself (pcapng Decryption Secrets Block, secrets type [`RLPX_SECRETS`]).
#[derive(Clone, PartialEq, Eq)]
pub struct SecretsBlock {
    /// Index of the record of the batch before which they stand; the number of records if behind all.
    pub before: u32,
    /// The lines.
    pub lines: Zeroizing<Vec<u8>>,
}

/// Secrets type of our key log lines in pcapng: `RLPX`.
pub const RLPX_SECRETS: u32 = 0x524c_5058;

impl fmt::Debug for SecretsBlock {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsBlock")
            .field("before", &self.before)
            .field("len", &self.lines.len())
            .finish()
    }
}
