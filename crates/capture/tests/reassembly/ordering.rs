//! Reordering, retransmission, overlap, gaps and positions inside a stream.

use bftap_capture::flow_table::{FlowLimits, FlowTable};
use bftap_model::Side::{High, Low};
use bftap_model::{CaptureTime, StreamItem};

use crate::wire::{Segment, Story, handshake, millis, run, segment};

/// A connection whose low side sends from number 100 and high side from 500 on.
fn open(more: impl IntoIterator<Item = Segment>) -> Vec<Segment> {
    handshake(99, 499).into_iter().chain(more).collect()
}

#[test]
fn a_stream_cut_anywhere_gives_the_same_bytes() {
    let text = b"one stream, whichever way it is cut";
    for cut in 0..=text.len() {
        let (first, second) = text.split_at(cut);
        let first = segment(Low, 100, 10).data(first);
        let second = segment(Low, 100 + cut as u32, 11).data(second);
        for segments in [[first.clone(), second.clone()], [second, first]] {
            let story = run(&open(segments));
            assert_eq!(story.only().low(), text, "cut at {cut}");
            assert_eq!(story.only().gaps, [vec![], vec![]]);
        }
    }
}

#[test]
fn bytes_in_order_are_borrowed_and_others_wait() {
    let mut table = FlowTable::new(FlowLimits::default());
    let mut events = Vec::new();
    let segments = open([
        segment(Low, 100, 10).data(b"ab"),
        segment(Low, 104, 11).data(b"ef"),
        segment(Low, 102, 12).data(b"cd"),
    ]);
    for segment in &segments {
        table.push(&segment.head, &segment.payload, &mut events);
    }
    let chunks: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            bftap_capture::connection::FlowEvent::Item {
                item: StreamItem::Data(chunk),
                ..
            } => Some(chunk),
            _ => None,
        })
        .map(|chunk| {
            (
                chunk.offset.0,
                chunk.seen,
                matches!(chunk.bytes, std::borrow::Cow::Borrowed(_)),
            )
        })
        .collect();
    assert_eq!(
        chunks,
        [
            (0, millis(10), true),
            (2, millis(12), true),
            (4, millis(11), false)
        ]
    );
}

#[test]
fn first_bytes_win_in_every_overlap() {
    // Ranges of the waiting piece "XXXX" at offsets 4..8, and of a later "yyy…" that overlaps it.
    for (start, end) in [(2, 5), (4, 6), (5, 7), (6, 10), (4, 8), (2, 10), (7, 8)] {
        let later = vec![b'y'; (end - start) as usize];
        let story = run(&open([
            segment(Low, 104, 10).data(b"XXXX"),
            segment(Low, 100 + start, 11).data(&later),
            segment(Low, 100, 12).data(b"zzzzzzzzzz"),
        ]));
        let mut expected = *b"zzzzzzzzzz";
        expected[start as usize..end as usize].fill(b'y');
        expected[4..8].fill(b'X');
        assert_eq!(story.only().low(), expected, "{start}..{end}");
        assert_eq!(story.only().summary().conflicting_overlaps, 2, "{start}..{end}");
    }
}

#[test]
fn retransmissions_with_other_boundaries_bring_what_is_new() {
    let story = run(&open([
        segment(Low, 100, 10).data(b"abcd"),
        segment(Low, 102, 11).data(b"cdef"),
        segment(Low, 100, 12).data(b"abcdef"),
        segment(Low, 101, 13).data(b"bcdefgh"),
        segment(Low, 100, 14).data(b"abcdefgh"),
    ]));
    assert_eq!(story.only().low(), b"abcdefgh");
    assert_eq!(story.only().summary().duplicate_segments, 2);
}

#[test]
fn a_long_stream_passes_the_wrap_several_times() {
    let mut table = FlowTable::new(FlowLimits::default());
    let payload = vec![7; 60_000];
    let mut seq = u32::MAX - 100_000;
    let mut events = Vec::new();
    for segment in handshake(seq.wrapping_sub(1), 0) {
        table.push(&segment.head, &[], &mut events);
    }
    let mut at = 0;
    while at < 10 << 30 {
        events.clear();
        let next = segment(Low, seq, 10);
        if at % 7 == 3 {
            // The later one first.
            let after = segment(Low, seq.wrapping_add(60_000), 10);
            table.push(&after.head, &payload, &mut Vec::new());
            seq = seq.wrapping_add(60_000);
            at += 60_000;
        }
        table.push(&next.head, &payload, &mut events);
        seq = seq.wrapping_add(60_000);
        at += 60_000;
        let acked = segment(High, 1, 10).ack(seq);
        table.push(&acked.head, &[], &mut events);
        let end = events
            .iter()
            .map(|event| match event {
                bftap_capture::connection::FlowEvent::Item {
                    item: StreamItem::Data(chunk),
                    ..
                } => chunk.offset.0 + chunk.bytes.len() as u64,
                other => panic!("only data, not {other:?}"),
            })
            .max();
        assert_eq!(end, Some(at));
    }
}

#[test]
fn keep_alives_and_probes_bring_nothing() {
    let story = run(&open([
        segment(Low, 100, 10).data(b"abc"),
        segment(Low, 102, 20).ack(500),
        segment(Low, 102, 30).data(b"?").ack(500),
        // A probe of a closed window carries the next byte, which counts.
        segment(Low, 103, 40).data(b"d").ack(500),
        segment(Low, 103, 50).data(b"def").ack(500),
    ]));
    assert_eq!(story.only().low(), b"abcdef");
    assert_eq!(story.only().summary().keep_alives, 2);
    assert_eq!(story.only().summary().duplicate_segments, 0);
}

#[test]
fn offloaded_segments_are_larger_than_any_mtu() {
    let large: Vec<u8> = (0..65_495_u32).map(|index| index as u8).collect();
    let story = run(&open([
        segment(Low, 100, 10).data(&large),
        segment(Low, 65_595, 11).data(&large),
    ]));
    assert_eq!(story.only().low(), [large.clone(), large].concat());
}

/// Gaps of the low side after the segments and a time in milliseconds.
fn gaps_at(segments: &[Segment], at: i64) -> Vec<(u64, u64)> {
    let mut table = FlowTable::new(FlowLimits::default());
    let mut story = Story::default();
    for segment in segments {
        let mut events = Vec::new();
        table.push(&segment.head, &segment.payload, &mut events);
        story.hear(events);
    }
    let mut events = Vec::new();
    table.advance(millis(at), &mut events);
    story.hear(events);
    story.only().gaps[0].clone()
}

#[test]
fn a_hole_is_waited_for_as_long_as_it_can_be_filled() {
    let mut segments = open([
        segment(Low, 100, 10).data(b"ab"),
        segment(Low, 105, 20).data(b"fg"),
    ]);
    assert_eq!(gaps_at(&segments, 60_019), []);
    assert_eq!(gaps_at(&segments, 60_020), [(2, 3)]);
    segments.push(segment(High, 500, 30).ack(105));
    assert_eq!(gaps_at(&segments, 2_029), []);
    assert_eq!(
        gaps_at(&segments, 2_030),
        [(2, 3)],
        "the receiver has it: only another tap could show it"
    );
    segments.push(segment(Low, 102, 2_029).data(b"cde"));
    assert_eq!(gaps_at(&segments, 100_000), []);
}

#[test]
fn an_acknowledgement_inside_a_hole_does_not_tell_of_all_of_it() {
    let segments = open([segment(Low, 105, 20).data(b"fg"), segment(High, 500, 30).ack(104)]);
    assert_eq!(gaps_at(&segments, 60_019), []);
    assert_eq!(gaps_at(&segments, 60_020), [(0, 5)]);
}

#[test]
fn late_bytes_are_counted_and_not_given() {
    let story = run(&open([
        segment(Low, 103, 20).data(b"def"),
        segment(High, 500, 30).ack(106),
        segment(Low, 106, 5_000).data(b"g"),
        segment(Low, 100, 5_001).data(b"abcde"),
    ]));
    assert_eq!(story.only().low(), b"defg");
    assert_eq!(story.only().gaps[0], [(0, 3)]);
    assert_eq!(story.only().summary().late_bytes, 3);
    assert_eq!(story.only().summary().duplicate_segments, 0);
}

#[test]
fn bytes_cut_off_are_a_gap_unless_they_come_after_all() {
    let cut = segment(Low, 100, 10).data(b"abcdef").cut(4);
    let next = segment(Low, 106, 11).data(b"gh");
    let story = run(&open([cut.clone(), next.clone()]));
    assert_eq!(
        (story.only().low(), &story.only().gaps[0]),
        (b"abgh".to_vec(), &vec![(2, 4)])
    );
    let story = run(&open([cut.clone(), next, segment(Low, 100, 12).data(b"abcdef")]));
    assert_eq!(
        (story.only().low(), &story.only().gaps[0]),
        (b"abcdefgh".to_vec(), &vec![])
    );
    let story = run(&open([cut]));
    assert_eq!(
        (story.only().low(), &story.only().gaps[0]),
        (b"ab".to_vec(), &vec![(2, 4)]),
        "at the very end"
    );
    let one = segment(Low, 100, 10).data(b"abc").cut(1);
    assert_eq!(run(&open([one])).only().gaps[0], [(2, 1)]);
}

#[test]
fn the_tail_that_was_acknowledged_is_missing() {
    let story = run(&open([
        segment(Low, 100, 10).data(b"abc"),
        segment(High, 500, 20).ack(110),
    ]));
    assert_eq!(story.only().gaps[0], [(3, 7)]);
    let story = run(&open([
        segment(Low, 100, 10).data(b"abc"),
        segment(High, 500, 20).ack(104),
    ]));
    assert_eq!(story.only().gaps[0], [], "one number more is that of a FIN");
    let story = run(&open([segment(Low, 110, 10).ack(500)]));
    assert_eq!(story.only().gaps[0], [(0, 10)], "the sender says where it stands");
    let story = run(&open([segment(Low, 110, 10).fin().ack(500)]));
    assert_eq!(story.only().gaps[0], [(0, 10)], "the FIN says where it stands");
}

#[test]
fn a_capture_of_one_direction_knows_the_size_of_the_other() {
    let mut segments = vec![segment(High, 499, 0).syn().ack(100)];
    let step = 50_000_000_u32;
    segments.extend(
        (1..=100)
            .map(|n: u32| segment(High, 500, i64::from(n)).ack(100_u32.wrapping_add(n.wrapping_mul(step)))),
    );
    let story = run(&segments);
    assert_eq!(story.only().gaps[0], [(0, 5_000_000_000)]);
}

#[test]
fn a_lone_segment_far_off_makes_no_gap() {
    let far = 100 + (100 << 20);
    let story = run(&open([
        segment(Low, 100, 10).data(b"ab"),
        segment(Low, far, 11).data(b"?"),
        // Sent twice, or seen at two taps, is no support.
        segment(Low, far, 12).data(b"?"),
        segment(High, 500, 13).ack(far - 10_000_000),
        segment(Low, 102, 14).data(b"cd"),
    ]));
    assert_eq!(story.only().low(), b"abcd");
    assert_eq!(story.only().gaps[0], []);
    assert_eq!(story.only().summary().implausible_segments, 3);
}

#[test]
fn two_segments_far_off_support_each_other() {
    for far in [100_u32 << 20, 1 << 30, (2 << 30) - 1000, 3 << 30] {
        let story = run(&open([
            segment(Low, 100, 10).data(b"ab"),
            segment(Low, far, 11).data(b"?"),
            segment(Low, far + 1, 12).data(b"xy"),
            segment(Low, far + 3, 13).data(b"z"),
        ]));
        assert_eq!(story.only().low(), b"abxyz");
        assert_eq!(story.only().gaps[0], [(2, u64::from(far + 1) - 102)]);
        assert_eq!(story.only().summary().implausible_segments, 1);
    }
}

#[test]
fn an_acknowledgement_supports_a_segment_far_off() {
    let far = 200 << 20;
    let story = run(&open([
        segment(Low, 100, 10).data(b"ab"),
        segment(High, 500, 11).ack(far + 2),
        segment(Low, far, 12).data(b"xy"),
    ]));
    assert_eq!(story.only().low(), b"abxy");
    assert_eq!(story.only().gaps[0], [(2, u64::from(far) - 102)]);
}

#[test]
fn a_gap_tells_when_the_byte_before_it_was_seen() {
    let mut table = FlowTable::new(FlowLimits::default());
    let mut events = Vec::new();
    let segments = open([
        segment(Low, 100, 10).data(b"ab"),
        segment(Low, 105, 20).data(b"fg"),
    ]);
    for segment in &segments {
        table.push(&segment.head, &segment.payload, &mut events);
    }
    table.finish(&mut events);
    let seen: Vec<CaptureTime> = events
        .iter()
        .filter_map(|event| match event {
            bftap_capture::connection::FlowEvent::Item {
                item: StreamItem::Gap(gap),
                ..
            } => Some(gap.seen),
            _ => None,
        })
        .collect();
    assert_eq!(seen, [millis(10)]);
}
