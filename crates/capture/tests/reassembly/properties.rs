//! What holds for every stream, however it was cut, ordered, lost and repeated.

use bftap_capture::flow_table::FlowLimits;
use bftap_model::Side::{High, Low};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::wire::{Segment, Told, handshake, millis, run, run_with, segment};

/// Content that differs at every place, as far as one byte can.
fn content(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|at| (at.wrapping_mul(0x9e37_79b9) >> 23) as u8)
        .collect()
}

/// How a stream travels: ranges of it in the order of sending, each with how far it is displaced and whether it gets lost.
#[derive(Clone, Debug)]
struct Journey {
    stream: Vec<u8>,
    isn: u32,
    /// Start, end, place in the order, lost.
    packets: Vec<(usize, usize, usize, bool)>,
}

/// Streams cut at random, with repeats of random ranges, moved by up to 12 places; lost with one in `loss`.
fn journeys(loss: Option<u8>) -> impl Strategy<Value = Journey> {
    let isn = prop_oneof![any::<u32>(), (u32::MAX - 3_000)..=u32::MAX];
    let sizes = vec(1_usize..120, 1..60);
    let repeats = vec(
        (
            any::<prop::sample::Index>(),
            1_usize..300,
            any::<prop::sample::Index>(),
        ),
        0..20,
    );
    (isn, sizes, repeats, vec((0_usize..12, any::<u8>()), 80)).prop_map(
        move |(isn, sizes, repeats, fates)| {
            let len: usize = sizes.iter().sum();
            let mut ranges = Vec::new();
            let mut start = 0;
            for size in sizes {
                ranges.push((start, start + size));
                start += size;
            }
            for (from, size, place) in repeats {
                let from = from.index(len);
                let range = (from, (from + size).min(len));
                ranges.insert(place.index(ranges.len() + 1), range);
            }
            let mut packets: Vec<_> = ranges
                .into_iter()
                .zip(fates)
                .enumerate()
                .map(|(index, ((start, end), (moved, fate)))| {
                    (
                        start,
                        end,
                        index + moved,
                        loss.is_some_and(|loss| fate % loss == 0),
                    )
                })
                .collect();
            packets.sort_by_key(|packet| packet.2);
            Journey {
                stream: content(len),
                isn,
                packets,
            }
        },
    )
}

impl Journey {
    /// The packets that arrive, a millisecond apart from 10 ms on, each acknowledged as far as the stream has got.
    fn segments(&self) -> Vec<Segment> {
        let first = self.isn.wrapping_add(1);
        let mut received = vec![false; self.stream.len()];
        let mut segments = Vec::new();
        for (at, &(start, end, _, lost)) in (10..).zip(&self.packets) {
            received[start..end].fill(true);
            if !lost {
                let number = first.wrapping_add(start as u32);
                segments.push(segment(Low, number, at).data(&self.stream[start..end]).ack(500));
            }
            let edge = received
                .iter()
                .position(|received| !received)
                .unwrap_or(received.len());
            segments.push(segment(High, 500, at).ack(first.wrapping_add(edge as u32)));
        }
        segments
    }

    /// Which bytes were captured.
    fn captured(&self) -> Vec<bool> {
        let mut captured = vec![false; self.stream.len()];
        for &(start, end, _, lost) in &self.packets {
            if !lost {
                captured[start..end].fill(true);
            }
        }
        captured
    }

    /// Every captured byte was given as it was sent, and every other is in a gap.
    fn check(&self, told: &Told) {
        let mut given: Vec<Option<u8>> = vec![None; self.stream.len()];
        for (offset, _, bytes) in &told.chunks[0] {
            for (index, byte) in bytes.iter().enumerate() {
                let place = *offset as usize + index;
                assert_eq!(given[place].replace(*byte), None, "given once");
            }
        }
        for (offset, byte) in given.iter().enumerate() {
            match byte {
                Some(byte) => assert_eq!(*byte, self.stream[offset]),
                None => assert!(!self.captured()[offset], "captured, but not given: {offset}"),
            }
        }
        let missing: u64 = told.gaps[0].iter().map(|gap| gap.1).sum();
        let absent = given.iter().filter(|byte| byte.is_none()).count();
        assert_eq!(missing, absent as u64, "gaps reach to the end of what was sent");
        assert_eq!(told.summary().conflicting_overlaps, 0);
    }
}

proptest! {
    #[test]
    fn what_arrives_in_any_order_comes_out_as_sent(journey in journeys(None), place in any::<prop::sample::Index>()) {
        let mut segments = journey.segments();
        let first = journey.isn.wrapping_add(1);
        segments.push(segment(Low, first.wrapping_add(journey.stream.len() as u32), 500).fin());
        segments.insert(place.index(segments.len()), segment(High, 500, 400).fin());
        let all = [handshake(journey.isn, 499), segments].concat();
        let story = run(&all);
        prop_assert_eq!(story.only().low(), journey.stream);
        prop_assert_eq!(&story.only().gaps, &[vec![], vec![]]);
        prop_assert_eq!(story.only().summary().reason, bftap_capture::connection::CloseReason::Fin);
    }

    #[test]
    fn without_a_syn_the_stream_starts_with_its_earliest_byte(journey in journeys(None)) {
        // Moved by 12 places at most, so the first byte comes within the time for which the first bytes are held back.
        let story = run(&journey.segments());
        prop_assert_eq!(story.only().low(), journey.stream);
        prop_assert_eq!(&story.only().gaps, &[vec![], vec![]]);
    }

    #[test]
    fn chunks_and_gaps_tile_what_was_sent(journey in journeys(Some(5))) {
        let mut segments = [handshake(journey.isn, 499), journey.segments()].concat();
        let end = journey.isn.wrapping_add(1 + journey.stream.len() as u32);
        segments.push(segment(High, 500, 900).ack(end));
        // A single byte missing at the very end could as well be the number of a FIN that was not captured.
        let story = run(&segments);
        let known = journey.captured().iter().rposition(|captured| *captured).map_or(0, |last| last + 1);
        if known + 1 != journey.stream.len() {
            journey.check(story.only());
        }
    }

    #[test]
    fn first_bytes_win(ranges in vec((0_u32..200, 1_usize..60, any::<u8>()), 1..60)) {
        let mut segments = handshake(99, 499);
        let mut expected: Vec<Option<u8>> = vec![None; 260];
        for (index, &(start, len, byte)) in ranges.iter().enumerate() {
            segments.push(segment(Low, 100 + start, 10 + index as i64).data(&vec![byte; len]));
            for place in &mut expected[start as usize..start as usize + len] {
                place.get_or_insert(byte);
            }
        }
        // A single byte that repeats the last one's place is taken for a probe, which says nothing new either.
        segments.push(segment(Low, 100, 100).data(&[b'.'; 260]));
        let expected: Vec<u8> = expected.into_iter().map(|byte| byte.unwrap_or(b'.')).collect();
        prop_assert_eq!(run(&segments).only().low(), expected);
    }

    #[test]
    fn advancing_changes_nothing(
        journeys in vec((journeys(Some(4)), any::<bool>(), any::<bool>()), 1..4),
        pauses in vec(prop_oneof![Just(0), 1..100_i64, 100..4_000_i64, Just(59_000), Just(3_700_000)], 600),
        advances in vec(any::<Option<u8>>(), 600),
    ) {
        let mut queues = Vec::new();
        for (number, (journey, syn, fin)) in journeys.iter().enumerate() {
            let mut segments = journey.segments();
            if *syn {
                segments = [handshake(journey.isn, 499), segments].concat();
            }
            if *fin {
                segments.push(segment(Low, journey.isn.wrapping_add(1 + journey.stream.len() as u32), 0).fin());
                segments.push(segment(High, 500, 0).fin());
                segments.push(segment(High, 501, 0).rst());
            }
            queues.push(segments.into_iter().map(move |segment| segment.of_connection(number as u16)));
        }
        let mut segments = Vec::new();
        let mut at = 0;
        let mut pauses = pauses.into_iter().cycle();
        while !queues.is_empty() {
            let turn = segments.len() * 7 % queues.len();
            match queues[turn].next() {
                Some(mut segment) => {
                    at += pauses.next().expect("endless");
                    segment.head.seen = millis(at);
                    segments.push(segment);
                }
                None => drop(queues.swap_remove(turn)),
            }
        }
        let alone = run(&segments);
        let pushed = run_with(FlowLimits::default(), &segments, |index| {
            // Some time between the last segment and the next.
            let part = i64::from(advances[index % advances.len()]?);
            let next = segments[index].head.seen.nanos();
            let last = if index == 0 { next } else { segments[index - 1].head.seen.nanos() };
            Some(bftap_model::CaptureTime::from_nanos(last + (next - last) / 255 * part))
        });
        prop_assert_eq!(alone.connections, pushed.connections);
    }

    #[test]
    fn every_second_sight_is_told_once(
        journey in journeys(None),
        delays in vec((0_i64..30, 0_u8..10), 80),
    ) {
        let first = journey.isn.wrapping_add(1);
        let mut sights = Vec::new();
        let mut expected = 0;
        for (index, (&(start, end, ..), (delay, fate))) in journey.packets.iter().zip(&delays).enumerate() {
            let at = 10 + index as i64;
            let packet = segment(Low, first.wrapping_add(start as u32), at).data(&journey.stream[start..end]);
            // Missed by the first tap, by the second, or by none.
            if *fate != 0 {
                sights.push(packet.clone());
            }
            if *fate != 1 {
                sights.push(packet.at_tap(1, at + delay));
            }
            expected += usize::from(*fate > 1);
        }
        sights.sort_by_key(|sight| sight.head.seen);
        let story = run(&[handshake(journey.isn, 499), sights].concat());
        let told = story.only();
        prop_assert_eq!(told.low(), journey.stream);
        prop_assert!(told.resights[0].len() <= expected);
        // Packets that brought nothing new are not told of, the others all are.
        let silent = told.summary().duplicate_segments + told.summary().keep_alives;
        prop_assert!(told.resights[0].len() + silent as usize >= expected);
    }

    #[test]
    fn arbitrary_segments_break_nothing(
        segments in vec(
            (any::<bool>(), 0_u32..600, 0_usize..40, 0_u8..32, 0_u32..700, 0_i64..5_000, 0_u16..3, 0_usize..5),
            0..200,
        ),
        limit in 100_usize..4_000,
    ) {
        let segments: Vec<_> = segments
            .into_iter()
            .scan(0, |at, (low, number, len, flags, ack, pause, tap, cut)| {
                *at += pause;
                let mut segment = segment(if low { Low } else { High }, number, *at).data(&content(len));
                segment.head.flags.0 = flags;
                segment.head.ack = segment.head.flags.ack().then_some(bftap_model::SeqNumber(ack));
                Some(segment.cut(cut.min(len)).at_tap(tap, *at))
            })
            .collect();
        let limits = FlowLimits { direction_bytes: limit, total_bytes: limit * 3 / 2, flows: 2, ..FlowLimits::default() };
        run_with(limits, &segments, |index| (index % 3 == 0).then(|| segments[index].head.seen));
    }
}
