//! One capture file, read in batches of packets.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use super::blocks::Blocks;
use super::error::CaptureError;
use super::input::Input;
use super::pcap::{self, Pcap};
use super::pcapng::{self, Interface, PcapNg};
use super::progress::{Cutting, Next, ReadStats};
use crate::packet::Batch;

/// How much a reader holds, and what it believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes read at once; a batch holds about as many.
    pub block: usize,
    /// Longest captured packet, and longest block of secrets, that is believed.
    pub packet: u32,
}

impl Default for ReadLimits {
    /// Blocks of 1 MiB; packets up to 64 MiB, hundreds of times what offloading or jumbograms in use give.
    fn default() -> Self {
        Self {
            block: 1 << 20,
            packet: 64 << 20,
        }
    }
}

impl ReadLimits {
    /// Limits for one of `readers` files that are read side by side: smaller blocks, so that all of them together stay small.
    pub fn for_readers(readers: usize) -> Self {
        let share = (16 << 20) / readers.max(1);
        Self {
            block: share.clamp(64 << 10, 1 << 20),
            ..Self::default()
        }
    }
}

/// Reads a pcap or pcapng file, plain or packed with gzip or zstd; the content decides, not the name.
///
/// Everything that stands before a damaged place is delivered before the error is.
pub struct CaptureReader {
    input: Input,
    limits: ReadLimits,
    format: Format,
    blocks: Blocks,
    /// Content that was read but is not a whole record yet.
    carry: Vec<u8>,
    /// Offset of the carried bytes in the content.
    offset: u64,
    /// Bytes that the record at that offset needs, at least.
    needed: usize,
    /// A block being passed over: where it starts, how long it is, and how much of it is left.
    skip: Option<Skip>,
    state: State,
    stats: ReadStats,
}

#[derive(Debug)]
enum Format {
    Pcap(Pcap, [Interface; 1]),
    PcapNg(PcapNg),
}

#[derive(Debug)]
enum State {
    Reading,
    Failing(CaptureError),
    Ended,
}

#[derive(Clone, Copy, Debug)]
struct Skip {
    start: u64,
    len: u64,
    left: u64,
}

impl CaptureReader {
    /// Looks at the start of the content and prepares to read it.
    ///
    /// # Errors
    /// If it is empty, no capture, of a kind that is not read, or cannot be read at all.
    pub fn open(read: Box<dyn Read + Send>, limits: ReadLimits) -> Result<Self, CaptureError> {
        let (mut input, head) = Input::open(read, pcap::HEADER_LEN)?;
        let mut carry = head;
        let mut offset = 0;
        let format = if Pcap::recognises(&carry) {
            let Some(header) = carry.first_chunk::<{ pcap::HEADER_LEN }>() else {
                return Err(CaptureError::Cut {
                    offset: 0,
                    packets: 0,
                    present: carry.len() as u64,
                    needed: pcap::HEADER_LEN as u64,
                });
            };
            let pcap = Pcap::open(header)?;
            offset = pcap::HEADER_LEN as u64;
            carry.drain(..pcap::HEADER_LEN);
            Format::Pcap(
                pcap,
                [Interface {
                    link: pcap.link(),
                    name: None,
                    dropped: None,
                }],
            )
        } else if carry.starts_with(&pcapng::MAGIC) {
            Format::PcapNg(PcapNg::default())
        } else {
            return Err(input.not_a_capture(carry));
        };
        Ok(Self {
            input,
            limits,
            format,
            blocks: Blocks::new(limits.block),
            needed: carry.len() + 1,
            carry,
            offset,
            skip: None,
            state: State::Reading,
            stats: ReadStats::default(),
        })
    }

    /// The next packets, `None` at the end of the file.
    ///
    /// Each [`Record::tap`](crate::packet::Record::tap) is an index of [`interfaces`](Self::interfaces).
    ///
    /// # Errors
    /// Once, behind the last whole packet, if the content cannot be read to its end; `None` follows.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, CaptureError> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Reading => self.state = State::Reading,
                State::Failing(error) => return Err(error),
                State::Ended => return Ok(None),
            }
            let batch = if self.skip.is_some() {
                self.pass_over()
            } else {
                self.read_block()
            };
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
    }

    /// Where the packets were captured, as far as the file has described it up to here.
    pub fn interfaces(&self) -> &[Interface] {
        match &self.format {
            Format::Pcap(_, interface) => interface,
            Format::PcapNg(format) => format.interfaces(),
        }
    }

    /// What was read up to here.
    pub fn stats(&self) -> ReadStats {
        self.stats
    }

    /// Reads one block and cuts it.
    fn read_block(&mut self) -> Batch {
        let carried = self.carry.len();
        // A long record gets its space as its bytes come, so that a lie about a length costs nothing.
        let space = self
            .needed
            .min(carried.saturating_mul(2))
            .max(self.limits.block)
            .max(carried + 1);
        let mut block = self.blocks.take(space);
        let Some(bytes) = Arc::get_mut(&mut block) else {
            unreachable!("a block that is taken is not shared");
        };
        bytes[..carried].copy_from_slice(&self.carry);
        self.carry.fill(0);
        self.carry.clear();
        let filled = self
            .input
            .fill(&mut bytes[carried..], self.needed.saturating_sub(carried));
        let bytes = &mut bytes[..carried + filled.len];

        let mut batch = Batch::default();
        let mut out = Cutting {
            offset: self.offset,
            max_packet: self.limits.packet,
            stats: &mut self.stats,
            batch: &mut batch,
        };
        let progress = match &mut self.format {
            Format::Pcap(format, _) => format.cut(bytes, &mut out),
            Format::PcapNg(format) => format.cut(bytes, &mut out),
        };
        let rest = &mut bytes[progress.consumed..];
        self.offset += progress.consumed as u64;
        match progress.next {
            Next::Need(needed) => {
                self.needed = needed;
                self.carry.extend_from_slice(rest);
                // The rest may be the first half of a block of secrets.
                rest.fill(0);
            }
            Next::Skip(len) => {
                self.skip = Some(Skip {
                    start: self.offset,
                    len,
                    left: len - rest.len() as u64,
                });
            }
            Next::Fault(error) => {
                self.state = State::Failing(error);
                self.input.close();
            }
        }
        if let Some(end) = filled.end {
            self.end(end);
        }
        if !batch.records.is_empty() {
            self.blocks.remember(&block);
            batch.blocks.push(block);
        }
        batch
    }

    /// Reads past a block that is not needed.
    fn pass_over(&mut self) -> Batch {
        let Some(mut skip) = self.skip.take() else {
            return Batch::default();
        };
        let mut block = self.blocks.take(self.limits.block);
        let Some(bytes) = Arc::get_mut(&mut block) else {
            unreachable!("a block that is taken is not shared");
        };
        let space = bytes.len().min(usize::try_from(skip.left).unwrap_or(usize::MAX));
        let filled = self.input.fill(&mut bytes[..space], 1);
        self.blocks.remember(&block);
        skip.left -= filled.len as u64;
        if skip.left > 0 {
            self.skip = Some(skip);
        } else {
            self.offset = skip.start + skip.len;
            self.needed = 1;
        }
        if let Some(end) = filled.end {
            self.end(end);
        }
        Batch::default()
    }

    /// No more content comes. What was wrong before that counts first.
    fn end(&mut self, end: std::io::Result<()>) {
        self.input.close();
        if let State::Failing(_) = self.state {
            return;
        }
        let packets = self.stats.packets;
        self.state = match (end, self.skip) {
            (Err(source), skip) => {
                let read = skip.map_or(self.offset + self.carry.len() as u64, |skip| {
                    skip.start + skip.len - skip.left
                });
                State::Failing(self.input.failure(source, read, packets))
            }
            (Ok(()), Some(skip)) => State::Failing(CaptureError::Cut {
                offset: skip.start,
                packets,
                present: skip.len - skip.left,
                needed: skip.len,
            }),
            (Ok(()), None) if !self.carry.is_empty() => State::Failing(CaptureError::Cut {
                offset: self.offset,
                packets,
                present: self.carry.len() as u64,
                needed: self.needed as u64,
            }),
            (Ok(()), None) => State::Ended,
        };
    }
}

impl fmt::Debug for CaptureReader {
    /// Without content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureReader")
            .field("format", &self.format)
            .field("offset", &self.offset)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
