//! The classic capture file format (`draft-ietf-opsawg-pcap`): a file header, then packets.

use bftap_model::{CaptureTime, TapId};

use super::error::CaptureError;
use super::progress::{Cutting, Next, Progress};
use crate::link::LinkType;
use crate::packet::Record;

/// Length of the file header.
pub(super) const HEADER_LEN: usize = 24;

/// Length of a packet's header.
const RECORD_LEN: usize = 16;

/// Length of a packet's header in files of the `libpcap` patched by Alexey Kuznetsov: index of the interface, protocol and
/// packet type follow the usual fields.
const PATCHED_RECORD_LEN: usize = 24;

/// What a file's header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pcap {
    big_endian: bool,
    /// Nanoseconds in a unit of a time stamp's second field.
    scale: u32,
    record_len: usize,
    link: LinkType,
}

impl Pcap {
    /// True if a file that starts so is of this format.
    pub(super) fn recognises(head: &[u8]) -> bool {
        magic(head).is_some()
    }

    /// Reads the file header.
    pub(super) fn open(header: &[u8; HEADER_LEN]) -> Result<Self, CaptureError> {
        let Some((big_endian, scale, record_len)) = magic(header) else {
            return Err(CaptureError::NotACapture {
                looks_like: "no pcap file".to_owned(),
            });
        };
        let major = u16_at(header, 4, big_endian);
        if major != 2 {
            let minor = u16_at(header, 6, big_endian);
            return Err(CaptureError::Unsupported {
                what: format!("pcap of version {major}.{minor}"),
            });
        }
        let link = LinkType::from_pcap_field(u32_at(header, 20, big_endian));
        Ok(Self {
            big_endian,
            scale,
            record_len,
            link,
        })
    }

    /// What all its packets start with.
    pub(super) fn link(&self) -> LinkType {
        self.link
    }

    /// Cuts as many whole packets as there are in `bytes`.
    pub(super) fn cut(&self, bytes: &[u8], out: &mut Cutting<'_>) -> Progress {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let Some(header) = rest.first_chunk::<RECORD_LEN>() else {
                return Progress {
                    consumed: at,
                    next: Next::Need(self.record_len),
                };
            };
            let seconds = i64::from(u32_at(header, 0, self.big_endian));
            let fraction = i64::from(u32_at(header, 4, self.big_endian));
            let len = u32_at(header, 8, self.big_endian);
            if len > out.max_packet {
                let fault = out.too_long(at, len.into(), out.max_packet.into());
                return Progress {
                    consumed: at,
                    next: Next::Fault(fault),
                };
            }
            let whole = self.record_len + len as usize;
            if rest.len() < whole {
                return Progress {
                    consumed: at,
                    next: Next::Need(whole),
                };
            }
            out.batch.records.push(Record {
                seen: CaptureTime::from_nanos(seconds * 1_000_000_000 + fraction * i64::from(self.scale)),
                block: 0,
                start: (at + self.record_len) as u32,
                len,
                orig_len: u32_at(header, 12, self.big_endian),
                tap: TapId(0),
                link: self.link,
            });
            out.stats.packets += 1;
            out.stats.bytes += u64::from(len);
            at += whole;
        }
    }
}

/// Byte order, nanoseconds a unit and length of packet headers that go with the magic number at the start.
fn magic(head: &[u8]) -> Option<(bool, u32, usize)> {
    Some(match head.first_chunk()? {
        [0xd4, 0xc3, 0xb2, 0xa1] => (false, 1000, RECORD_LEN),
        [0xa1, 0xb2, 0xc3, 0xd4] => (true, 1000, RECORD_LEN),
        [0x4d, 0x3c, 0xb2, 0xa1] => (false, 1, RECORD_LEN),
        [0xa1, 0xb2, 0x3c, 0x4d] => (true, 1, RECORD_LEN),
        [0x34, 0xcd, 0xb2, 0xa1] => (false, 1000, PATCHED_RECORD_LEN),
        [0xa1, 0xb2, 0xcd, 0x34] => (true, 1000, PATCHED_RECORD_LEN),
        _ => return None,
    })
}

#[inline]
fn u16_at<const N: usize>(header: &[u8; N], at: usize, big_endian: bool) -> u16 {
    let bytes = [header[at], header[at + 1]];
    if big_endian {
        u16::from_be_bytes(bytes)
    } else {
        u16::from_le_bytes(bytes)
    }
}

#[inline]
fn u32_at<const N: usize>(header: &[u8; N], at: usize, big_endian: bool) -> u32 {
    let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
    if big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }
}
