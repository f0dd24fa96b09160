//! The same packet at several taps.

use bftap_model::Side::{High, Low};

use crate::wire::{Segment, handshake, millis, run, segment};

fn open(more: impl IntoIterator<Item = Segment>) -> Vec<Segment> {
    handshake(99, 499).into_iter().chain(more).collect()
}

#[test]
fn a_packet_at_another_tap_is_one_packet() {
    let packet = segment(Low, 100, 10).data(b"abc");
    let story = run(&open([
        packet.clone(),
        packet.at_tap(1, 12),
        packet.at_tap(2, 13),
        // Twice at a tap that saw it.
        packet.at_tap(0, 14),
        packet.at_tap(1, 15),
    ]));
    let told = story.only();
    assert_eq!(told.chunks[0], [(0, millis(10), b"abc".to_vec())]);
    assert_eq!(told.resights[0], [(3, millis(12)), (3, millis(13))]);
    assert_eq!(told.summary().duplicate_segments, 2);
}

#[test]
fn a_retransmission_is_not_the_same_packet() {
    let packet = segment(Low, 100, 10).data(b"abc");
    let again = segment(Low, 100, 210).data(b"abc");
    let story = run(&open([
        packet.clone(),
        packet.at_tap(1, 11),
        again.clone(),
        again.at_tap(1, 211),
    ]));
    assert_eq!(story.only().resights[0], [(3, millis(11))]);
    assert_eq!(
        story.only().summary().duplicate_segments,
        1,
        "one packet sent again, however often seen"
    );
}

#[test]
fn sights_further_apart_than_any_path_are_retransmissions() {
    let packet = segment(Low, 100, 10).data(b"abc");
    let story = run(&open([packet.clone(), packet.at_tap(1, 511)]));
    assert_eq!(story.only().resights[0], []);
    assert_eq!(story.only().summary().duplicate_segments, 1);
    let story = run(&open([packet.clone(), packet.at_tap(1, 510)]));
    assert_eq!(story.only().resights[0], [(3, millis(510))]);
}

#[test]
fn a_waiting_packet_is_told_of_once_its_bytes_are_given() {
    let later = segment(Low, 103, 10).data(b"def");
    let first = segment(Low, 100, 13).data(b"abc");
    let story = run(&open([
        later.clone(),
        later.at_tap(1, 11),
        later.at_tap(2, 9),
        first,
    ]));
    let told = story.only();
    assert_eq!(told.low(), b"abcdef");
    assert_eq!(told.chunks[0][1].1, millis(9), "the earliest sight");
    assert_eq!(told.resights[0], [(6, millis(11)), (6, millis(9))]);
}

#[test]
fn one_tap_fills_the_holes_of_the_other() {
    let packets: Vec<Segment> = (0..4)
        .map(|n| segment(Low, 100 + n * 2, 10 + i64::from(n)).data(&[n as u8; 2]))
        .collect();
    let story = run(&open([
        packets[0].clone(),
        packets[0].at_tap(1, 15),
        packets[1].at_tap(1, 16),
        packets[2].clone(),
        packets[2].at_tap(1, 17),
        packets[3].clone(),
    ]));
    let told = story.only();
    assert_eq!(told.low(), [0, 0, 1, 1, 2, 2, 3, 3]);
    assert_eq!(told.resights[0], [(2, millis(15)), (6, millis(17))]);
    assert_eq!(told.summary().duplicate_segments, 0);
}

#[test]
fn a_packet_cut_at_one_tap_is_completed_by_the_other() {
    for cut in 1..=6 {
        let packet = segment(Low, 100, 10).data(b"abcdef");
        let story = run(&open([
            packet.clone().cut(cut),
            packet.at_tap(1, 12),
            segment(Low, 106, 13).data(b"g"),
        ]));
        let told = story.only();
        assert_eq!(told.low(), b"abcdefg", "{cut}");
        assert!(
            told.chunks[0]
                .iter()
                .all(|chunk| chunk.0 == 6 || chunk.1 == millis(10)),
            "{cut}: {told:?}"
        );
        assert_eq!(told.resights[0], [(6, millis(12))], "{cut}");
        assert_eq!(told.gaps[0], [], "{cut}");
    }
}

#[test]
fn the_last_packets_are_seen_again_after_the_close() {
    let last = segment(Low, 100, 10).data(b"abc").fin();
    let fin = segment(High, 500, 11).fin().ack(104);
    let story = run(&open([last.clone(), fin, last.at_tap(1, 20)]));
    assert_eq!(story.only().resights[0], [(3, millis(20))]);
    let last = segment(Low, 100, 10).data(b"abc");
    let reset = segment(Low, 103, 11).rst();
    let story = run(&open([
        last.clone(),
        reset.clone(),
        last.at_tap(1, 20),
        reset.at_tap(1, 21),
    ]));
    assert_eq!(story.only().resights[0], [(3, millis(20))]);
    assert_eq!(story.only().summary().ignored_resets, 0);
}

#[test]
fn first_bytes_held_back_are_seen_again_too() {
    let packet = segment(Low, 100, 10).data(b"abc");
    let story = run(&[packet.clone(), packet.at_tap(1, 12)]);
    assert_eq!(story.only().low(), b"abc");
    assert_eq!(story.only().resights[0], [(3, millis(12))]);
}

#[test]
fn keep_alives_and_single_bytes_at_two_taps_are_not_confused() {
    let byte = segment(Low, 100, 10).data(b"a");
    let keep_alive = segment(Low, 100, 20).ack(500);
    let probe = segment(Low, 100, 30).data(b"?");
    let story = run(&open([
        byte.clone(),
        byte.at_tap(1, 11),
        keep_alive.clone(),
        keep_alive.at_tap(1, 21),
        probe.clone(),
        probe.at_tap(1, 31),
    ]));
    assert_eq!(story.only().resights[0], [(1, millis(11))]);
    assert_eq!(story.only().summary().keep_alives, 2);
}
