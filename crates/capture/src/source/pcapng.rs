//! pcapng (`draft-ietf-opsawg-pcapng`): blocks of many kinds, in sections that choose their byte order.

use bftap_model::{CaptureTime, TapId, escape_peer_text};
use zeroize::{Zeroize, Zeroizing};

use super::error::BlockFault;
use super::progress::{Cutting, Next, Progress};
use super::resolution::Clock;
use crate::link::LinkType;
use crate::packet::{RLPX_SECRETS, Record, SecretsBlock};

/// First bytes of a file: the type of a Section Header Block, the same in both byte orders.
pub(super) const MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 0x0a;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const IF_TSOFFSET: u16 = 14;
const ISB_IFDROP: u16 = 5;
const ISB_OSDROP: u16 = 7;

/// Type and length in front of a block's body.
const HEAD_LEN: usize = 8;
/// Head, and the length once more behind the body.
const FRAME_LEN: usize = 12;
/// Up to this length a block that is not needed is taken in, so that the length at its end can be compared;
/// what is longer is passed over unread.
const MAX_CHECKED_SKIP: u32 = 1 << 20;
/// A packet's block has options too; the rest of a block over the largest packet may be so long.
const MAX_OPTIONS: u32 = 1 << 20;

/// Where packets were captured, as the file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// What its packets start with.
    pub link: LinkType,
    /// Its name, escaped.
    pub name: Option<String>,
    /// Packets that the interface or the system dropped, by the last statistics in the file.
    pub dropped: Option<u64>,
}

/// State between blocks.
#[derive(Debug, Default)]
pub(super) struct PcapNg {
    big_endian: bool,
    /// All interfaces of all sections.
    interfaces: Vec<Interface>,
    /// What reading needs of each.
    clocks: Vec<(Clock, u32)>,
    /// The first of the current section.
    section_start: usize,
    /// Time of the latest packet, which stands in for the time of packets that have none.
    latest: CaptureTime,
}

/// One whole block.
struct Block<'a> {
    body: &'a [u8],
    big_endian: bool,
}

impl PcapNg {
    pub(super) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Cuts as many whole blocks as there are in `bytes`; secrets in them are moved out and overwritten.
    pub(super) fn cut(&mut self, bytes: &mut [u8], out: &mut Cutting<'_>) -> Progress {
        let mut at = 0;
        loop {
            match self.cut_block(&mut bytes[at..], at, out) {
                Ok(len) => at += len,
                Err(next) => return Progress { consumed: at, next },
            }
        }
    }

    /// Takes the block at the start of `rest`, which is `at` bytes into its buffer, and returns its length.
    fn cut_block(&mut self, rest: &mut [u8], at: usize, out: &mut Cutting<'_>) -> Result<usize, Next> {
        let fault = |out: &Cutting<'_>, what| Next::Fault(out.bad_block(at, what));
        let Some(head) = rest.first_chunk::<FRAME_LEN>() else {
            return Err(Next::Need(FRAME_LEN));
        };
        if head.starts_with(&MAGIC) {
            self.big_endian = match u32::from_le_bytes([head[8], head[9], head[10], head[11]]) {
                BYTE_ORDER_MAGIC => false,
                other if other.swap_bytes() == BYTE_ORDER_MAGIC => true,
                other => return Err(fault(out, BlockFault::ByteOrder(other))),
            };
        }
        let big_endian = self.big_endian;
        let kind = u32_of(&head[..4], big_endian);
        let len = u32_of(&head[4..8], big_endian);
        let min = match kind {
            SECTION_HEADER => 28,
            INTERFACE_DESCRIPTION | DECRYPTION_SECRETS => 20,
            INTERFACE_STATISTICS => 24,
            ENHANCED_PACKET | OBSOLETE_PACKET => 32,
            SIMPLE_PACKET => 16,
            _ => FRAME_LEN as u32,
        };
        if len < min || !len.is_multiple_of(4) {
            return Err(fault(out, BlockFault::Length(len)));
        }
        let needed = matches!(
            kind,
            SECTION_HEADER
                | INTERFACE_DESCRIPTION
                | INTERFACE_STATISTICS
                | ENHANCED_PACKET
                | OBSOLETE_PACKET
                | SIMPLE_PACKET
                | DECRYPTION_SECRETS
        );
        if !needed && len > MAX_CHECKED_SKIP {
            out.stats.skipped_blocks += 1;
            // What of it is here is passed over with the rest.
            return if rest.len() >= len as usize {
                Ok(len as usize)
            } else {
                Err(Next::Skip(len.into()))
            };
        }
        let limit = out.max_packet.saturating_add(MAX_OPTIONS);
        if len > limit {
            return Err(Next::Fault(out.too_long(at, len.into(), limit.into())));
        }
        let whole = len as usize;
        if rest.len() < whole {
            return Err(Next::Need(whole));
        }
        let second = u32_of(&rest[whole - 4..whole], big_endian);
        if second != len {
            return Err(fault(out, BlockFault::Lengths { first: len, second }));
        }
        let body = &mut rest[HEAD_LEN..whole - 4];
        if kind == DECRYPTION_SECRETS {
            take_secrets(body, big_endian, out).map_err(|what| fault(out, what))?;
        } else {
            let block = Block { body, big_endian };
            self.take(kind, &block, at, out)
                .map_err(|what| fault(out, what))?;
        }
        Ok(whole)
    }

    fn take(
        &mut self,
        kind: u32,
        block: &Block<'_>,
        at: usize,
        out: &mut Cutting<'_>,
    ) -> Result<(), BlockFault> {
        match kind {
            SECTION_HEADER => {
                let (major, minor) = (block.u16(4), block.u16(6));
                // 1.2 is 1.0 as some writers numbered it.
                if major != 1 || !matches!(minor, 0 | 2) {
                    return Err(BlockFault::Version { major, minor });
                }
                self.section_start = self.interfaces.len();
                Ok(())
            }
            INTERFACE_DESCRIPTION => self.describe_interface(block),
            INTERFACE_STATISTICS => self.take_statistics(block),
            ENHANCED_PACKET => {
                let (tap, link, clock) = self.interface(block.u32(0))?;
                let ticks = u64::from(block.u32(4)) << 32 | u64::from(block.u32(8));
                let (len, orig_len) = (block.u32(12), block.u32(16));
                let seen = clock.time(ticks);
                self.packet(
                    Record {
                        seen,
                        block: 0,
                        start: 20,
                        len,
                        orig_len,
                        tap,
                        link,
                    },
                    block,
                    at,
                    out,
                )
            }
            OBSOLETE_PACKET => {
                let (tap, link, clock) = self.interface(block.u16(0).into())?;
                let ticks = u64::from(block.u32(4)) << 32 | u64::from(block.u32(8));
                let (len, orig_len) = (block.u32(12), block.u32(16));
                let seen = clock.time(ticks);
                self.packet(
                    Record {
                        seen,
                        block: 0,
                        start: 20,
                        len,
                        orig_len,
                        tap,
                        link,
                    },
                    block,
                    at,
                    out,
                )
            }
            SIMPLE_PACKET => {
                // Has no time and no captured length; belongs to the section's first interface.
                let (tap, link, _) = self.interface(0)?;
                let snap = self.clocks[usize::from(tap.0)].1;
                let orig_len = block.u32(0);
                let room = block.body.len() as u32 - 4;
                let mut len = orig_len;
                if snap != 0 {
                    len = len.min(snap);
                }
                let seen = self.latest;
                let record = Record {
                    seen,
                    block: 0,
                    start: 4,
                    len: len.min(room),
                    orig_len,
                    tap,
                    link,
                };
                self.packet(record, block, at, out)
            }
            _ => {
                out.stats.skipped_blocks += 1;
                Ok(())
            }
        }
    }

    /// Adds a packet whose `start` is told from the start of the body of the block at `at`.
    fn packet(
        &mut self,
        record: Record,
        block: &Block<'_>,
        at: usize,
        out: &mut Cutting<'_>,
    ) -> Result<(), BlockFault> {
        let room = block.body.len() as u32 - record.start;
        if record.len > room {
            return Err(BlockFault::Content {
                len: record.len,
                room,
            });
        }
        self.latest = record.seen;
        out.stats.packets += 1;
        out.stats.bytes += u64::from(record.len);
        out.batch.records.push(Record {
            start: (at + HEAD_LEN) as u32 + record.start,
            ..record
        });
        Ok(())
    }

    /// Number in the file, link type and clock of an interface of the current section.
    #[inline]
    fn interface(&self, id: u32) -> Result<(TapId, LinkType, Clock), BlockFault> {
        let index = self.section_start.saturating_add(id as usize);
        match (self.interfaces.get(index), self.clocks.get(index)) {
            (Some(interface), Some(&(clock, _))) => Ok((TapId(index as u16), interface.link, clock)),
            _ => Err(BlockFault::Interface {
                id,
                described: (self.interfaces.len() - self.section_start) as u32,
            }),
        }
    }

    fn describe_interface(&mut self, block: &Block<'_>) -> Result<(), BlockFault> {
        if self.interfaces.len() >= usize::from(u16::MAX) {
            return Err(BlockFault::TooManyInterfaces);
        }
        let (mut name, mut resolution, mut offset) = (None, 6, 0);
        for option in block.options(8) {
            let (code, value) = option?;
            match (code, value) {
                (IF_NAME, text) => name = Some(escape_peer_text(text)),
                (IF_TSRESOL, &[byte]) => resolution = byte,
                (IF_TSOFFSET, value) => {
                    let value = value.try_into().map_err(|_| BlockFault::Option)?;
                    offset = i64_of(value, block.big_endian);
                }
                (IF_TSRESOL, _) => return Err(BlockFault::Option),
                _ => {}
            }
        }
        self.clocks.push((Clock::new(resolution, offset), block.u32(4)));
        self.interfaces.push(Interface {
            link: LinkType(block.u16(0)),
            name,
            dropped: None,
        });
        Ok(())
    }

    fn take_statistics(&mut self, block: &Block<'_>) -> Result<(), BlockFault> {
        let (tap, _, _) = self.interface(block.u32(0))?;
        let mut dropped = None;
        for option in block.options(12) {
            let (code, value) = option?;
            if let (ISB_IFDROP | ISB_OSDROP, Ok(value)) = (code, value.try_into()) {
                let count = i64_of(value, block.big_endian).cast_unsigned();
                dropped = Some(dropped.unwrap_or(0_u64).saturating_add(count));
            }
        }
        if dropped.is_some() {
            self.interfaces[usize::from(tap.0)].dropped = dropped;
        }
        Ok(())
    }
}

/// Moves our key log lines out of a Decryption Secrets Block; other programs' secrets are none of ours.
fn take_secrets(body: &mut [u8], big_endian: bool, out: &mut Cutting<'_>) -> Result<(), BlockFault> {
    if u32_of(&body[..4], big_endian) != RLPX_SECRETS {
        out.stats.skipped_blocks += 1;
        return Ok(());
    }
    let len = u32_of(&body[4..8], big_endian);
    let room = body.len() as u32 - 8;
    let content = body
        .get_mut(8..8 + len as usize)
        .ok_or(BlockFault::Content { len, room })?;
    let lines = Zeroizing::new(content.to_vec());
    content.zeroize();
    out.stats.secrets += 1;
    out.batch.secrets.push(SecretsBlock {
        before: out.batch.records.len() as u32,
        lines,
    });
    Ok(())
}

impl<'a> Block<'a> {
    fn u16(&self, at: usize) -> u16 {
        let bytes = [self.body[at], self.body[at + 1]];
        if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    }

    #[inline]
    fn u32(&self, at: usize) -> u32 {
        u32_of(&self.body[at..at + 4], self.big_endian)
    }

    /// Codes and values of the options from `at` to the end of the body or the end-of-options mark.
    fn options(&self, at: usize) -> impl Iterator<Item = Result<(u16, &'a [u8]), BlockFault>> {
        let mut rest = &self.body[at..];
        let big_endian = self.big_endian;
        std::iter::from_fn(move || {
            let (head, tail) = rest.split_first_chunk::<4>()?;
            let word = u32_of(head, big_endian);
            // Both halves are 16-bit numbers of the section's byte order.
            let (code, len) = if big_endian {
                (word >> 16, word & 0xffff)
            } else {
                (word & 0xffff, word >> 16)
            };
            if code == 0 {
                return None;
            }
            let len = len as usize;
            let Some(value) = tail.get(..len) else {
                rest = &[];
                return Some(Err(BlockFault::Option));
            };
            rest = tail.get(len.next_multiple_of(4)..).unwrap_or(&[]);
            Some(Ok((code as u16, value)))
        })
    }
}

/// A 32-bit number; `bytes` are four.
#[inline]
fn u32_of(bytes: &[u8], big_endian: bool) -> u32 {
    let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
    if big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }
}

fn i64_of(bytes: [u8; 8], big_endian: bool) -> i64 {
    if big_endian {
        i64::from_be_bytes(bytes)
    } else {
        i64::from_le_bytes(bytes)
    }
}
