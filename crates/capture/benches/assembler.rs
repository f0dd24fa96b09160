//! The flow table's cost per segment: in order, reordered, and at two taps.

use std::hint::black_box;

use bftap_capture::flow_table::{FlowLimits, FlowTable};
use bftap_capture::segment::{SegmentHead, TcpFlags};
use bftap_model::{CaptureTime, Endpoint, SeqNumber, TapId};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Connections that take turns, as between validators.
const FLOWS: u16 = 64;
/// Bytes of a segment: a small consensus message.
const LEN: u32 = 180;
const SEGMENTS: u32 = 100_000;

/// Segments of both directions of all connections, each acknowledging what came the other way.
fn segments() -> Vec<SegmentHead> {
    let mut next = vec![[1_000_u32, 2_000]; usize::from(FLOWS)];
    (0..SEGMENTS)
        .map(|number| {
            // Some connections speak more often than others.
            let flow = (number.wrapping_mul(0x9e37_79b9) >> 20) as usize % usize::from(FLOWS);
            let side = (number / 3 % 2) as usize;
            let ends = [
                Endpoint {
                    ip: [10, 0, 0, flow as u8].into(),
                    port: 32_323,
                },
                Endpoint {
                    ip: [10, 0, 1, 0].into(),
                    port: 40_000 + flow as u16,
                },
            ];
            let seq = next[flow][side];
            next[flow][side] += LEN;
            SegmentHead {
                source: ends[side],
                destination: ends[1 - side],
                seq: SeqNumber(seq),
                ack: Some(SeqNumber(next[flow][1 - side])),
                flags: TcpFlags(TcpFlags::ACK),
                window: 500,
                timestamps: None,
                got_twice: None,
                cut: 0,
                identity: u64::from(number),
                seen: CaptureTime::from_nanos(i64::from(number) * 20_000),
                tap: TapId(0),
            }
        })
        .collect()
}

fn push_all(segments: &[SegmentHead], payload: &[u8]) {
    let mut table = FlowTable::new(FlowLimits::default());
    let mut events = Vec::with_capacity(64);
    for batch in segments.chunks(1024) {
        for head in batch {
            table.push(head, payload, &mut events);
            black_box(&events);
            events.clear();
        }
        table.advance(batch[batch.len() - 1].seen, &mut events);
    }
    table.finish(&mut events);
    black_box(&events);
}

fn assembler(c: &mut Criterion) {
    let payload = [0x5a; LEN as usize];
    let in_order = segments();
    let mut swapped = in_order.clone();
    // Every segment changes places with another of its direction nearby.
    for at in (0..swapped.len() - 400).step_by(2) {
        let alike = |head: &SegmentHead| head.source == swapped[at].source;
        if let Some(ahead) = swapped[at + 1..at + 400].iter().position(alike) {
            swapped.swap(at, at + 1 + ahead);
        }
    }
    let two_taps: Vec<_> = in_order
        .iter()
        .flat_map(|head| {
            [
                *head,
                SegmentHead {
                    tap: TapId(1),
                    ..*head
                },
            ]
        })
        .collect();
    let mut group = c.benchmark_group("assembler");
    for (name, segments) in [
        ("in order", &in_order),
        ("reordered", &swapped),
        ("two taps", &two_taps),
    ] {
        group.throughput(Throughput::Elements(segments.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| push_all(segments, &payload)));
    }
    group.finish();
}

criterion_group!(benches, assembler);
criterion_main!(benches);
