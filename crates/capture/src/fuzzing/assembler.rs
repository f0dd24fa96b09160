//! Segments of arbitrary shape for the flow table.

use std::collections::BTreeMap;

use bftap_model::{CaptureTime, ConnId, Endpoint, Nanos, SeqNumber, Side, StreamItem, TapId};

use crate::connection::FlowEvent;
use crate::flow_table::{FlowLimits, FlowTable};
use crate::segment::{SegmentHead, TcpFlags};

/// Eight bytes make a segment: flow, side and tap; flags; number; acknowledgement; length and cut; time since the last.
///
/// The byte with number n is always n modulo 256, so a stream that mixes up its places is noticed. The same segments with
/// and without advancing must tell the same of each connection.
pub fn fuzz_assembler(data: &[u8]) {
    let quiet = play(data, false);
    let advanced = play(data, true);
    assert_eq!(quiet, advanced, "advancing changes nothing");
}

/// What was told of a connection, and what it has to go on with.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// Each piece as text, by side.
    pieces: [Vec<String>; 2],
    position: [u64; 2],
    delivered: [u64; 2],
    /// What the byte at offset 0 is, once a byte was given.
    first: [Option<u8>; 2],
    ended: [bool; 2],
    closed: Option<String>,
}

fn play(data: &[u8], advance: bool) -> BTreeMap<ConnId, Told> {
    // Small enough to be reached by one direction, never in all: what flows share may not be.
    let limits = FlowLimits {
        direction_bytes: 2_000,
        ..FlowLimits::default()
    };
    let mut table = FlowTable::new(limits);
    let mut told = BTreeMap::new();
    let mut seen = CaptureTime::default();
    for &[who, flags, n0, n1, a0, a1, len, pause] in data.as_chunks().0 {
        let last = seen;
        seen = seen.saturating_add(pause_of(pause));
        let mut events = Vec::new();
        if advance {
            table.advance(last.saturating_add(Nanos(seen.since(last).0 / 2)), &mut events);
            table.advance(seen, &mut events);
        }
        let seq = number(n0, n1);
        let whole = u32::from(len) * 2;
        let cut = if flags & 0x40 != 0 { whole / 3 } else { 0 };
        let payload: Vec<u8> = (0..whole - cut)
            .map(|index| seq.wrapping_add(index) as u8)
            .collect();
        let flags = TcpFlags(flags & 0x1f);
        // The byte after a SYN has the next number.
        let payload: Vec<u8> = payload
            .iter()
            .map(|byte| byte.wrapping_add(flags.syn().into()))
            .collect();
        let low = Endpoint {
            ip: [10, 0, 0, 1].into(),
            port: u16::from(who >> 4 & 3),
        };
        let high = Endpoint {
            ip: [10, 0, 0, 2].into(),
            port: 9,
        };
        let (source, destination) = if who & 1 == 0 { (low, high) } else { (high, low) };
        let head = SegmentHead {
            source,
            destination,
            seq: SeqNumber(seq),
            ack: flags.ack().then(|| SeqNumber(number(a0, a1))),
            flags,
            window: 0,
            timestamps: None,
            got_twice: None,
            cut,
            identity: u64::from_be_bytes([who & 0xf1, flags.0, n0, n1, a0, a1, len, 0]),
            seen,
            tap: TapId(u16::from(who >> 1 & 3)),
        };
        table.push(&head, &payload, &mut events);
        hear(&mut told, events);
        assert!(table.waiting_bytes() <= 2_000 * 2 * 4);
    }
    let mut events = Vec::new();
    table.finish(&mut events);
    hear(&mut told, events);
    assert_eq!((table.open_flows(), table.waiting_bytes()), (0, 0));
    assert!(told.values().all(|told| told.closed.is_some()));
    told
}

/// Near 0, around the wrap, or anywhere.
fn number(high: u8, low: u8) -> u32 {
    let near = u32::from(high & 0x0f) << 8 | u32::from(low);
    match high >> 4 {
        0..=9 => near,
        10..=13 => 0_u32.wrapping_sub(near),
        _ => u32::from(high).wrapping_mul(0x0123_4567) ^ u32::from(low) << 20,
    }
}

/// Mostly none; up to more than an hour.
fn pause_of(pause: u8) -> Nanos {
    match pause {
        0..=127 => Nanos(i64::from(pause) * 1_000),
        128..=191 => Nanos::from_millis(i64::from(pause - 127) * 10),
        192..=250 => Nanos::from_secs(i64::from(pause - 191)),
        _ => Nanos::from_secs(i64::from(pause - 250) * 900),
    }
}

fn hear(connections: &mut BTreeMap<ConnId, Told>, events: Vec<FlowEvent<'_>>) {
    for event in events {
        match event {
            FlowEvent::Opened { id, .. } => {
                assert!(
                    connections.insert(id, Told::default()).is_none(),
                    "an id is used once"
                );
            }
            FlowEvent::Syn { id, .. } => assert!(connections[&id].closed.is_none()),
            FlowEvent::Item { id, side, item } => {
                let told = connections.get_mut(&id).expect("opened before");
                assert!(told.closed.is_none(), "nothing comes after the close");
                told.hear(side, &item);
            }
            FlowEvent::Closed { id, summary } => {
                let told = connections.get_mut(&id).expect("opened before");
                assert_eq!(told.ended, [true; 2]);
                assert_eq!(told.delivered, summary.payload_bytes);
                let missing = [0, 1].map(|side| told.position[side] - told.delivered[side]);
                assert_eq!(missing, summary.missing_bytes);
                assert_eq!(summary.conflicting_overlaps, 0);
                assert!(!summary.refused || told.delivered == [0, 0]);
                assert!(
                    told.closed.replace(format!("{summary:?}")).is_none(),
                    "closed once"
                );
            }
        }
    }
}

impl Told {
    fn hear(&mut self, side: Side, item: &StreamItem<'_>) {
        let side = side.index();
        assert!(!self.ended[side], "nothing comes after the end");
        self.pieces[side].push(match item {
            // Where the bytes are kept is no matter.
            StreamItem::Data(chunk) => format!("{:?} {:?} {:?}", chunk.offset, chunk.seen, &chunk.bytes[..]),
            other => format!("{other:?}"),
        });
        match item {
            StreamItem::Data(chunk) => {
                assert_eq!(chunk.offset.0, self.position[side]);
                assert!(!chunk.bytes.is_empty());
                for (index, byte) in chunk.bytes.iter().enumerate() {
                    let first = byte.wrapping_sub((chunk.offset.0 + index as u64) as u8);
                    assert_eq!(
                        *self.first[side].get_or_insert(first),
                        first,
                        "each byte at its place"
                    );
                }
                self.position[side] += chunk.bytes.len() as u64;
                self.delivered[side] += chunk.bytes.len() as u64;
            }
            StreamItem::Gap(gap) => {
                assert_eq!(gap.offset.0, self.position[side]);
                assert!(gap.len > 0);
                self.position[side] = gap.end().0;
            }
            StreamItem::Resight { end, .. } => assert!(end.0 > 0 && end.0 <= self.position[side]),
            StreamItem::End { .. } => self.ended[side] = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_of_any_shape_keep_the_rules() {
        for seed in 0..400_u64 {
            let mut state = seed;
            let mut data: Vec<u8> = std::iter::repeat_with(|| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .take(8 * 150)
            .collect();
            // Odd seeds: the flags that TCP mostly has, numbers and times near each other.
            if seed % 2 == 1 {
                for segment in data.chunks_exact_mut(8) {
                    segment[0] &= 0x17;
                    segment[1] &= if segment[1] > 240 { 0x17 } else { 0x50 };
                    segment[2] &= 0x03;
                    segment[4] &= 0x03;
                    segment[7] = segment[7].saturating_sub(60);
                }
            }
            fuzz_assembler(&data);
        }
    }

    #[test]
    fn a_handshake_and_its_bytes_in_the_format_of_the_fuzzer() {
        let data = [
            [0, 0x02, 0, 9, 0, 0, 0, 1],
            [1, 0x12, 0, 19, 0, 10, 0, 1],
            [0, 0x10, 0, 10, 0, 20, 5, 1],
            [1, 0x10, 0, 20, 0, 20, 3, 1],
        ];
        let told = play(data.as_flattened(), false);
        assert_eq!(told.len(), 1);
        assert_eq!(told[&ConnId(0)].delivered, [10, 6]);
        fuzz_assembler(data.as_flattened());
    }
}
