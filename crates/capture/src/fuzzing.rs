//! Entry functions of the fuzz targets. They panic where an invariant does not hold.

mod assembler;

use std::io::{self, Read};
use std::sync::Arc;

use bftap_model::{CaptureTime, TapId};

use crate::link::LinkType;
use crate::packet::CapturedPacket;
use crate::segment::PayloadPlace;
use crate::slice::{SkipReason, SliceOptions, Sliced, Slicer};
use crate::source::{CaptureReader, ReadLimits, ReadStats};

pub use assembler::fuzz_assembler;

/// A capture file, pcap or packed: it reads the same in one piece and in small ones.
pub fn fuzz_pcap(data: &[u8]) {
    reads_alike(data);
}

/// A capture file, pcapng.
pub fn fuzz_pcapng(data: &[u8]) {
    reads_alike(data);
}

/// Packets, each led by a byte that chooses the link type, two of length and one of captured bytes beyond it: each is counted once.
pub fn fuzz_packet(data: &[u8]) {
    const LINKS: [LinkType; 8] = [
        LinkType::ETHERNET,
        LinkType::RAW,
        LinkType::LINUX_SLL,
        LinkType::LINUX_SLL2,
        LinkType::NULL,
        LinkType::LOOP,
        LinkType::IPV6,
        LinkType(147),
    ];
    let mut slicer = Slicer::new(SliceOptions::default());
    let mut rest = data;
    let mut seen = CaptureTime::default();
    while let Some((&[link, l0, l1, cut], tail)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([l0, l1])).min(tail.len());
        let (bytes, tail) = tail.split_at(len);
        rest = tail;
        seen = seen.saturating_add(bftap_model::Nanos::from_millis(100));
        let packet = CapturedPacket {
            seen,
            tap: TapId(0),
            link: LINKS[usize::from(link) % LINKS.len()],
            bytes,
            orig_len: (len + usize::from(cut)) as u32,
        };
        match slicer.slice(&packet) {
            Sliced::Segment(head, PayloadPlace::InPacket(range)) => {
                assert!(
                    range.start <= range.end && range.end as usize <= bytes.len(),
                    "payload in the packet"
                );
                assert_eq!(head.seen, seen);
            }
            Sliced::Segment(head, PayloadPlace::Reassembled(payload)) => {
                assert!(payload.len() < 1 << 16, "a datagram's payload");
                assert_eq!(head.cut, 0, "of fragments in full");
            }
            Sliced::Skipped(_) => {}
        }
    }
    slicer.finish();
    let stats = slicer.stats();
    assert_eq!(
        stats.packets,
        stats.segments + stats.fragments_joined + stats.skipped.iter().sum::<u64>()
    );
    assert_eq!(stats.skipped(SkipReason::FragmentWaiting), 0);
}

/// All that a capture file gives.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Time, interface, link type, bytes and length on the wire.
    pub packets: Vec<(CaptureTime, TapId, LinkType, Vec<u8>, u32)>,
    /// Number of packets before each block of secrets, and its content.
    pub secrets: Vec<(usize, Vec<u8>)>,
    /// Why it could not be opened, or read to its end.
    pub problem: Option<String>,
    /// What the reader counted.
    pub stats: ReadStats,
}

/// Reads `data` in steps of at most `step` bytes into blocks of `block` bytes; believes packets up to `packet` bytes.
pub fn read_all(data: &[u8], step: usize, block: usize, packet: u32) -> Content {
    let limits = ReadLimits { block, packet };
    let mut content = Content::default();
    let mut reader = match CaptureReader::open(
        Box::new(Steps {
            data: data.into(),
            at: 0,
            step,
        }),
        limits,
    ) {
        Ok(reader) => reader,
        Err(error) => {
            return Content {
                problem: Some(error.to_string()),
                ..content
            };
        }
    };
    loop {
        match reader.next_batch() {
            Ok(Some(batch)) => {
                assert!(!batch.is_empty());
                for secrets in &batch.secrets {
                    assert!(secrets.before as usize <= batch.records.len());
                    content.secrets.push((
                        content.packets.len() + secrets.before as usize,
                        secrets.lines.to_vec(),
                    ));
                }
                for packet in batch.packets() {
                    content.packets.push((
                        packet.seen,
                        packet.tap,
                        packet.link,
                        packet.bytes.to_vec(),
                        packet.orig_len,
                    ));
                }
            }
            Ok(None) => break,
            Err(error) => {
                content.problem = Some(error.to_string());
                assert!(matches!(reader.next_batch(), Ok(None)), "an error comes once");
                break;
            }
        }
    }
    content.stats = reader.stats();
    assert_eq!(content.stats.packets, content.packets.len() as u64);
    content
}

fn reads_alike(data: &[u8]) {
    let whole = read_all(data, usize::MAX, 1 << 16, 1 << 16);
    let pieces = read_all(data, 7, 64, 1 << 16);
    let is_packed = matches!(
        data,
        [0x1f, 0x8b, ..] | [_, 0xb5, 0x2f, 0xfd, ..] | [_, 0x2a, 0x4d, 0x18, ..]
    );
    if is_packed && whole.problem.is_some() {
        // How much a decompressor gives before the damage depends on how much it is asked for.
        let common = whole.packets.len().min(pieces.packets.len());
        assert_eq!(whole.packets[..common], pieces.packets[..common]);
        assert!(pieces.problem.is_some());
    } else {
        assert_eq!(whole, pieces);
    }
}

/// Gives a few bytes a call.
struct Steps {
    data: Arc<[u8]>,
    at: usize,
    step: usize,
}

impl Read for Steps {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let rest = &self.data[self.at..];
        let len = rest.len().min(space.len()).min(self.step);
        space[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}
