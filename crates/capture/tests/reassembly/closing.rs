//! FIN, RST, port reuse, silence: what ends a connection, and what only seems to.

use bftap_capture::connection::CloseReason;
use bftap_capture::flow_table::{FlowLimits, FlowTable};
use bftap_model::Side::{High, Low};

use crate::wire::{Segment, Story, handshake, millis, run, segment};

/// A connection whose low side sends from number 100 and high side from 500 on.
fn open(more: impl IntoIterator<Item = Segment>) -> Vec<Segment> {
    handshake(99, 499).into_iter().chain(more).collect()
}

/// Low sends `abc`, then both finish; takes from 10 to 14 ms.
fn whole() -> Vec<Segment> {
    open([
        segment(Low, 100, 10).data(b"abc").ack(500),
        segment(High, 500, 11).data(b"x").ack(103),
        segment(Low, 103, 12).fin().ack(501),
        segment(High, 501, 13).fin().ack(104),
        segment(Low, 104, 14).ack(502),
    ])
}

#[test]
fn two_fins_close_once_packets_have_settled() {
    let mut table = FlowTable::new(FlowLimits::default());
    let mut story = Story::default();
    let mut events = Vec::new();
    let segments = whole();
    for segment in &segments {
        table.push(&segment.head, &segment.payload, &mut events);
    }
    table.advance(millis(512), &mut events);
    assert_eq!(table.open_flows(), 1);
    table.advance(millis(513), &mut events);
    assert_eq!(table.open_flows(), 0);
    story.hear(events);
    let told = story.only();
    assert_eq!(told.ends, [Some(millis(12)), Some(millis(13))]);
    assert_eq!(told.summary().reason, CloseReason::Fin);
    assert_eq!((told.low(), told.high()), (b"abc".to_vec(), b"x".to_vec()));
    assert_eq!(told.gaps, [vec![], vec![]]);
}

#[test]
fn the_number_of_a_fin_is_behind_its_payload() {
    let story = run(&open([
        segment(Low, 103, 10).data(b"def").fin(),
        segment(Low, 100, 11).data(b"abc"),
        segment(High, 500, 12).fin().ack(107),
        segment(Low, 103, 13).data(b"def").fin(),
    ]));
    assert_eq!(story.only().low(), b"abcdef");
    assert_eq!(story.only().summary().reason, CloseReason::Fin);
    assert_eq!(story.only().gaps, [vec![], vec![]]);
}

#[test]
fn a_fin_before_its_last_bytes_waits_for_them() {
    let story = run(&open([
        segment(Low, 106, 10).fin(),
        segment(High, 500, 10).fin(),
        segment(Low, 103, 11).data(b"def"),
        segment(Low, 100, 12).data(b"abc"),
    ]));
    assert_eq!(story.only().low(), b"abcdef");
    assert_eq!(story.only().summary().reason, CloseReason::Fin);
}

#[test]
fn a_hole_before_a_fin_becomes_a_gap_and_the_connection_closes() {
    let mut table = FlowTable::new(FlowLimits::default());
    let mut story = Story::default();
    let segments = open([
        segment(Low, 100, 10).data(b"abc"),
        segment(Low, 106, 20).fin(),
        segment(High, 500, 30).fin().ack(107),
    ]);
    let mut events = Vec::new();
    for segment in &segments {
        table.push(&segment.head, &segment.payload, &mut events);
    }
    table.advance(millis(2_530), &mut events);
    story.hear(events);
    assert_eq!(story.only().gaps[0], [(3, 3)]);
    assert_eq!(story.only().summary().reason, CloseReason::Fin);
}

#[test]
fn one_side_may_finish_long_before_the_other() {
    let story = run(&open([
        segment(Low, 100, 10).data(b"abc").fin(),
        segment(High, 500, 5_000).data(b"all ").ack(104),
        segment(High, 504, 9_000).data(b"of it").ack(104),
        segment(High, 509, 9_001).fin().ack(104),
    ]));
    let told = story.only();
    assert_eq!(
        (told.low(), told.high()),
        (b"abc".to_vec(), b"all of it".to_vec())
    );
    assert_eq!(told.ends, [Some(millis(10)), Some(millis(9_001))]);
}

#[test]
fn bytes_behind_a_fin_show_that_it_was_none() {
    let story = run(&open([
        segment(Low, 102, 10).fin(),
        segment(Low, 100, 11).data(b"abcdef"),
        segment(Low, 106, 12).data(b"ghi"),
    ]));
    assert_eq!(story.only().low(), b"abcdefghi");
    assert_eq!(story.only().summary().implausible_segments, 1);
}

#[test]
fn bytes_behind_a_fin_that_was_reached_are_counted() {
    let story = run(&open([
        segment(Low, 100, 10).data(b"abc").fin(),
        segment(Low, 100, 11).data(b"abcdef"),
    ]));
    assert_eq!(story.only().low(), b"abc");
    assert_eq!(story.only().summary().late_bytes, 3);
    assert_eq!(story.only().gaps[0], []);
}

#[test]
fn a_reset_that_answers_a_syn_refuses() {
    let story = run(&[segment(Low, 99, 0).syn(), segment(High, 0, 1).rst().ack(100)]);
    let told = story.only();
    assert!(told.summary().refused);
    assert_eq!(told.summary().reason, CloseReason::Rst);
    assert_eq!(
        (told.low(), told.high(), &told.gaps),
        (vec![], vec![], &[vec![], vec![]])
    );
    assert_eq!(told.ends, [Some(millis(1)); 2]);
}

#[test]
fn a_connection_that_gave_payload_was_not_refused() {
    let story = run(&[
        segment(Low, 99, 0).syn(),
        segment(High, 0, 1).rst().ack(100),
        segment(Low, 100, 2).data(b"abc"),
    ]);
    assert_eq!(story.only().low(), b"abc");
    assert!(!story.only().summary().refused);
}

#[test]
fn a_reset_of_an_opened_connection_does_not_refuse() {
    let story = run(&open([segment(Low, 100, 10).rst()]));
    assert_eq!(
        (story.only().summary().refused, story.only().summary().reason),
        (false, CloseReason::Rst)
    );
    let story = run(&[
        segment(Low, 99, 0).syn(),
        segment(High, 499, 1).syn().ack(100),
        segment(Low, 100, 2).rst(),
    ]);
    assert!(!story.only().summary().refused, "a scan without a third packet");
}

#[test]
fn a_reset_gives_what_waited_and_what_is_missing() {
    let story = run(&open([
        segment(Low, 100, 10).data(b"ab"),
        segment(Low, 104, 11).data(b"ef"),
        segment(Low, 110, 12).rst(),
    ]));
    assert_eq!(story.only().low(), b"abef");
    assert_eq!(story.only().gaps[0], [(2, 2), (6, 4)]);
    assert_eq!(story.only().summary().reason, CloseReason::Rst);
}

#[test]
fn a_blind_reset_is_ignored() {
    for number in [0, 99_000_000, 0x8000_0000, u32::MAX, 200_000] {
        let story = run(&open([
            segment(Low, 100, 10).data(b"abc"),
            segment(High, 500, 11).ack(103),
            segment(Low, number, 12).rst(),
            segment(Low, 103, 13).data(b"def"),
        ]));
        assert_eq!(story.only().low(), b"abcdef");
        assert_eq!(story.only().summary().ignored_resets, 1, "{number}");
        assert_eq!(story.only().summary().reason, CloseReason::EndOfCapture);
    }
}

#[test]
fn a_reset_followed_by_new_data_was_none() {
    let story = run(&open([
        segment(Low, 100, 10).data(b"abc"),
        segment(Low, 103, 11).rst(),
        segment(Low, 103, 12).data(b"def"),
    ]));
    assert_eq!(story.only().low(), b"abcdef");
    assert_eq!(story.only().summary().ignored_resets, 1);
    assert_eq!(story.only().summary().reason, CloseReason::EndOfCapture);
}

#[test]
fn bytes_on_their_way_when_a_reset_comes_still_count() {
    let story = run(&open([
        segment(Low, 103, 10).rst(),
        segment(Low, 100, 11).data(b"abc"),
        segment(High, 500, 12).data(b"xyz"),
    ]));
    assert_eq!(
        (story.only().low(), story.only().high()),
        (b"abc".to_vec(), b"xyz".to_vec())
    );
    assert_eq!(story.only().summary().reason, CloseReason::Rst);
    assert_eq!(story.only().gaps, [vec![], vec![]]);
}

#[test]
fn a_lone_reset_opens_nothing() {
    let mut table = FlowTable::new(FlowLimits::default());
    let mut events = Vec::new();
    table.push(&segment(Low, 7, 0).rst().head, &[], &mut events);
    assert_eq!((events.len(), table.stats().lone_resets), (0, 1));
}

/// A second connection between the same ends, opened by `from` with number `number`, which sends `new`.
fn again(from: bftap_model::Side, number: u32, at: i64) -> Vec<Segment> {
    let other = number.wrapping_add(77_000_000);
    vec![
        segment(from, number, at).syn(),
        segment(from.other(), other, at + 1)
            .syn()
            .ack(number.wrapping_add(1)),
        segment(from, number.wrapping_add(1), at + 2)
            .data(b"new")
            .ack(other.wrapping_add(1)),
    ]
}

#[test]
fn a_port_may_be_used_again_after_closing() {
    for pause in [1, 400, 1_000, 100_000, 1_000_000] {
        for from in [Low, High] {
            for number in [5_000, 2_000_000, 0x8000_0000] {
                let mut segments = whole();
                segments.extend(again(from, number, 14 + pause));
                let story = run(&segments);
                assert_eq!(story.connections.len(), 2, "{pause} {from:?} {number}");
                assert_eq!(story.nth(0).low(), b"abc");
                assert_eq!(story.nth(0).summary().reason, CloseReason::Fin);
                assert_eq!(story.nth(1).summary().syn_from, Some(from));
                assert_eq!(story.nth(1).bytes(from), b"new");
            }
        }
    }
}

#[test]
fn a_port_used_again_replaces_a_connection_that_never_closed() {
    let mut segments = open([
        segment(Low, 100, 10).data(b"abc"),
        segment(Low, 110, 11).data(b"waits"),
    ]);
    segments.extend(again(Low, 40_000_000, 100));
    let story = run(&segments);
    assert_eq!(story.nth(0).summary().reason, CloseReason::Replaced);
    assert_eq!(story.nth(0).low(), b"abcwaits");
    assert_eq!(story.nth(0).gaps[0], [(3, 7)]);
    assert_eq!(story.nth(1).low(), b"new");
    assert_eq!(story.nth(1).gaps, [vec![], vec![]]);
}

#[test]
fn a_syn_inside_the_window_is_ignored_until_it_is_answered() {
    let mut segments = open([segment(Low, 100, 10).data(b"abc")]);
    let second = again(Low, 50_000, 100);
    segments.push(second[0].clone());
    segments.push(segment(Low, 103, 101).data(b"def"));
    let story = run(&segments);
    assert_eq!(story.only().low(), b"abcdef");
    assert_eq!(story.only().summary().ignored_syns, 1);
    segments.extend_from_slice(&second[1..]);
    let story = run(&segments);
    assert_eq!(story.connections.len(), 2);
    assert_eq!(story.nth(1).summary().syn_from, Some(Low));
    assert_eq!(story.nth(1).low(), b"new");
}

#[test]
fn late_packets_of_the_old_connection_leave_the_new_one_alone() {
    let old = whole();
    for number in [5_000_000, 1_000, 0x9000_0000] {
        let second = again(Low, number, 1_000);
        for place in 0..=second.len() {
            let mut segments = old.clone();
            segments.extend_from_slice(&second[..place]);
            segments.extend_from_slice(&old[3..]);
            segments.push(segment(Low, 104, 1_001).rst());
            segments.extend_from_slice(&second[place..]);
            let story = run(&segments);
            assert_eq!(story.connections.len(), 2, "{number} {place}");
            assert_eq!(story.nth(1).low(), b"new", "{number} {place}");
            assert_eq!(story.nth(1).high(), b"", "{number} {place}");
            assert_eq!(story.nth(1).gaps, [vec![], vec![]], "{number} {place}");
            assert_eq!(
                story.nth(1).summary().reason,
                CloseReason::EndOfCapture,
                "{number} {place}"
            );
        }
    }
}

#[test]
fn late_packets_of_a_closed_connection_open_none() {
    let mut segments = whole();
    segments.push(segment(Low, 100, 2_000).data(b"abc"));
    segments.push(segment(High, 501, 3_000).fin().ack(104));
    segments.push(segment(Low, 99, 4_000).syn());
    segments.push(segment(High, 499, 4_000).syn().ack(100));
    segments.push(segment(Low, 104, 5_000).rst());
    let story = run(&segments);
    assert_eq!(story.only().low(), b"abc");
    // New bytes are no late packet.
    segments.push(segment(Low, 104, 6_000).data(b"more"));
    let story = run(&segments);
    assert_eq!(story.nth(1).low(), b"more");
    // And after two minutes nothing is remembered.
    segments.truncate(segments.len() - 1);
    segments.push(segment(Low, 100, 200_000).data(b"abc"));
    assert_eq!(run(&segments).connections.len(), 2);
}

#[test]
fn silence_closes_and_what_follows_is_another_connection() {
    let day = 86_400_000;
    let story = run(&open([
        segment(Low, 100, 10).data(b"abc"),
        segment(Low, 103, 9 + day).data(b"def"),
        segment(Low, 106, 9 + day + day).data(b"ghi"),
    ]));
    assert_eq!(story.connections.len(), 2);
    assert_eq!(story.nth(0).low(), b"abcdef");
    assert_eq!(story.nth(0).summary().reason, CloseReason::Idle);
    assert_eq!(story.nth(0).ends, [Some(millis(9 + day)); 2]);
    assert_eq!(story.nth(1).low(), b"ghi");
}

#[test]
fn connections_left_open_end_with_the_capture_in_order() {
    let story = run(&[
        segment(Low, 1, 5).of_connection(3).data(b"d"),
        segment(Low, 1, 4).of_connection(2).data(b"c"),
        segment(Low, 1, 4).of_connection(1).data(b"b"),
        segment(Low, 1, 5).data(b"a"),
    ]);
    let order: Vec<_> = story.closed.iter().map(|id| id.0).collect();
    assert_eq!(order, [2, 1, 3, 0], "by first packet, then ends");
    for told in story.connections.values() {
        assert_eq!(told.summary().reason, CloseReason::EndOfCapture);
    }
}
