//! Packets that carried the chosen messages, out of the captures.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bftap_capture::link::LinkType;
use bftap_capture::packet::{Batch, CapturedPacket, Record};
use bftap_capture::segment::{PayloadPlace, SegmentHead};
use bftap_capture::slice::{SliceOptions, Sliced, Slicer};
use bftap_capture::source::{InputStats, PcapngWriter};
use bftap_evidence::{Chosen, Collector, PacketEntry, Packets};
use bftap_model::{CaptureTime, FlowKey, Hash256, Nanos, SeqNumber, Side, TapId};
use bftap_pipeline::PipelineOptions;

use crate::inputs;

/// What was found.
pub(super) struct FoundPackets {
    /// Captures in it are numbered by path.
    pub(super) packets: Packets,
    /// The captures, hashed once more.
    pub(super) captures: Vec<InputStats>,
}

/// A frame that is looked for.
struct Wanted {
    sight: (Hash256, usize),
    /// Sequence number of its first byte, and its length.
    bytes: Option<(SeqNumber, u32)>,
    seen: CaptureTime,
}

/// A packet to be written.
struct Kept {
    seen: CaptureTime,
    tap: TapId,
    link: LinkType,
    orig_len: u32,
    bytes: Vec<u8>,
}

/// Reads the captures once more, and keeps the packets whose bytes are bytes of these frames.
pub(super) fn find(
    paths: &[PathBuf],
    chosen: &Chosen,
    collector: &Collector,
) -> anyhow::Result<FoundPackets> {
    let mut wanted: HashMap<(FlowKey, Side), Vec<Wanted>> = HashMap::new();
    let mut by_time = false;
    for (hash, index, sight) in chosen.sights(collector) {
        by_time |= sight.seq.is_none();
        wanted.entry((sight.flow, sight.side)).or_default().push(Wanted {
            sight: (hash, index),
            bytes: sight.seq.map(|seq| (seq, sight.frame_bytes)),
            seen: sight.seen,
        });
    }
    let opened = inputs::open(paths)?;
    let mut source = bftap_pipeline::files(opened.inputs, &PipelineOptions::default());
    let mut search = Search {
        slicer: Slicer::new(SliceOptions::default()),
        wanted,
        numbers: vec![0; paths.len()],
        kept: Vec::new(),
        bytes: 0,
        packets: Packets::default(),
    };
    while let Some(batch) = source.next_batch() {
        let inputs = source.inputs_of_taps();
        for record in &batch.records {
            search.look(&batch, record, &inputs);
        }
    }
    let inputs_of_taps = source.inputs_of_taps();
    let captures = source.finish();
    let names = inputs_of_taps
        .iter()
        .map(|&input| {
            captures
                .get(input)
                .map_or_else(String::new, |stats| file_name(&stats.name))
        })
        .collect();
    let Search {
        kept, mut packets, ..
    } = search;
    let snap_length = kept
        .iter()
        .map(|packet| packet.orig_len)
        .max()
        .unwrap_or(0)
        .max(SNAP_LENGTH);
    let mut writer = PcapngWriter::begin_by(Vec::new(), "bftap evidence", names, snap_length)
        .context("cannot put packets together")?;
    for packet in &kept {
        writer
            .packet(&CapturedPacket {
                seen: packet.seen,
                tap: packet.tap,
                link: packet.link,
                bytes: &packet.bytes,
                orig_len: packet.orig_len,
            })
            .context("cannot put packets together")?;
    }
    packets.file = writer.finish(&[], &[]).context("cannot put packets together")?;
    packets.chosen_by = if by_time {
        "by TCP connection and stream range, or, where that is not known, by the time at which the frame was complete".to_owned()
    } else {
        "by TCP connection and stream range".to_owned()
    };
    Ok(FoundPackets { packets, captures })
}

/// See [`find`].
struct Search {
    slicer: Slicer,
    wanted: HashMap<(FlowKey, Side), Vec<Wanted>>,
    /// Packets so far, by capture.
    numbers: Vec<u64>,
    kept: Vec<Kept>,
    bytes: usize,
    packets: Packets,
}

impl Search {
    fn look(&mut self, batch: &Batch, record: &Record, inputs: &[usize]) {
        let capture = inputs
            .get(usize::from(record.tap.0))
            .copied()
            .unwrap_or(usize::MAX);
        let number = match self.numbers.get_mut(capture) {
            Some(number) => {
                *number += 1;
                *number
            }
            None => 0,
        };
        let packet = batch.packet(record);
        let Sliced::Segment(head, payload) = self.slicer.slice(&packet) else {
            return;
        };
        let (flow, side) = FlowKey::of(head.source, head.destination);
        let Some(wanted) = self.wanted.get(&(flow, side)) else {
            return;
        };
        let len = match payload {
            PayloadPlace::InPacket(range) => range.end - range.start,
            PayloadPlace::Reassembled(bytes) => bytes.len() as u32,
        };
        let carried: Vec<_> = wanted
            .iter()
            .filter(|wanted| wanted.is_in(&head, len + head.cut))
            .map(|wanted| wanted.sight)
            .collect();
        if carried.is_empty() {
            return;
        }
        if self.kept.len() >= MAX_PACKETS || self.bytes + packet.bytes.len() > MAX_BYTES {
            self.packets.left_out += 1;
            return;
        }
        self.bytes += packet.bytes.len();
        self.kept.push(Kept {
            seen: packet.seen,
            tap: packet.tap,
            link: packet.link,
            orig_len: packet.orig_len,
            bytes: packet.bytes.to_vec(),
        });
        for sight in carried {
            let of: &mut BTreeMap<_, Vec<PacketEntry>> = &mut self.packets.of;
            let entries = of.entry(sight).or_default();
            if entries.len() < MAX_PACKETS_OF_A_FRAME {
                entries.push(PacketEntry { capture, number });
            }
        }
    }
}

impl Wanted {
    /// Whether a segment with so many bytes of payload carries bytes of this frame.
    fn is_in(&self, head: &SegmentHead, len: u32) -> bool {
        if len == 0 {
            return false;
        }
        let Some((first, frame)) = self.bytes else {
            return head.seen == self.seen;
        };
        // Sequence numbers come again after 4 GiB, and connections between the same ports.
        let apart = if head.seen > self.seen {
            head.seen.since(self.seen)
        } else {
            self.seen.since(head.seen)
        };
        let ahead = i64::from(head.seq.distance_from(first));
        apart <= NEAR && ahead < i64::from(frame) && ahead + i64::from(len) > 0
    }
}

/// The last part of a path: folders of this machine are nobody's business.
pub(super) fn file_name(path: &str) -> String {
    Path::new(path)
        .file_name()
        .map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// How long a frame may take with all its retransmissions: as long as reassembly waits for missing bytes.
const NEAR: Nanos = Nanos::from_secs(60);
/// A bundle is to be handed on: the packets of a few hundred messages.
const MAX_PACKETS: usize = 100_000;
const MAX_BYTES: usize = 64 << 20;
const MAX_PACKETS_OF_A_FRAME: usize = 64;
/// At least what tcpdump writes.
const SNAP_LENGTH: u32 = 262_144;

#[cfg(test)]
mod tests {
    use bftap_capture::segment::TcpFlags;
    use bftap_model::Endpoint;

    use super::*;

    #[test]
    fn segments_carry_a_frame_if_their_bytes_meet() {
        let end = Endpoint {
            ip: [10, 0, 0, 1].into(),
            port: 1,
        };
        let head = |seq, second: i64| SegmentHead {
            source: end,
            destination: end,
            seq: SeqNumber(seq),
            ack: None,
            flags: TcpFlags::default(),
            window: 0,
            timestamps: None,
            got_twice: None,
            cut: 0,
            identity: 0,
            seen: CaptureTime::from_nanos(second * 1_000_000_000),
            tap: TapId(0),
        };
        let wanted = |bytes| Wanted {
            sight: (Hash256::ZERO, 0),
            bytes,
            seen: CaptureTime::from_nanos(100_000_000_000),
        };
        // A frame of 20 bytes across the wrap.
        let frame = wanted(Some((SeqNumber(u32::MAX - 9), 20)));
        for (seq, len, is_in) in [
            (u32::MAX - 9, 20, true),
            (u32::MAX - 19, 10, false),
            (u32::MAX - 19, 11, true),
            (0, 5, true),
            (9, 1, true),
            (10, 1, false),
            (5, 0, false),
            (u32::MAX - 1000, 2000, true),
        ] {
            assert_eq!(frame.is_in(&head(seq, 99), len), is_in, "{seq} {len}");
        }
        assert!(frame.is_in(&head(0, 40), 5) && frame.is_in(&head(0, 160), 5));
        assert!(!frame.is_in(&head(0, 39), 5) && !frame.is_in(&head(0, 161), 5));
        assert!(wanted(None).is_in(&head(7, 100), 5) && !wanted(None).is_in(&head(7, 101), 5));
    }

    #[test]
    fn folders_stay_here() {
        assert_eq!(file_name("captures/night/tap1.pcap"), "tap1.pcap");
        assert_eq!(file_name("tap1.pcap"), "tap1.pcap");
        assert_eq!(file_name("-"), "-");
    }
}
