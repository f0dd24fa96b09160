//! Where a stream starts: SYN, SYN-ACK, both reordered, or none.

use bftap_capture::flow_table::{FlowLimits, FlowTable};
use bftap_model::Side::{High, Low};
use bftap_model::{ConnId, FlowKey, SeqNumber};

use crate::wire::{Story, handshake, millis, run, segment};

#[test]
fn a_handshake_tells_who_opened() {
    let story = run(&handshake(99, 499));
    let told = story.only();
    assert_eq!(
        (told.connection.syn_from, told.connection.seen),
        (Some(Low), millis(0))
    );
    assert_eq!(told.summary().syn_seen, [true, true]);
    assert_eq!(
        (told.low(), told.high(), told.summary().refused),
        (vec![], vec![], false)
    );
}

#[test]
fn a_syn_ack_alone_tells_who_opened_and_where_both_start() {
    let story = run(&[
        segment(High, 499, 0).syn().ack(100),
        segment(Low, 103, 1).data(b"def"),
        segment(Low, 100, 70).data(b"abc"),
    ]);
    assert_eq!(story.only().connection.syn_from, Some(Low));
    assert_eq!(story.only().low(), b"abcdef");
    assert_eq!(story.only().summary().syn_seen, [false, true]);
}

#[test]
fn sequence_numbers_of_offset_0_are_told() {
    // With its SYN, and without: then of the earliest byte held back. A side that is silent has none.
    let with_syn = run(&[
        segment(High, u32::MAX, 0).syn().ack(100),
        segment(High, 0, 1).data(b"abc"),
    ]);
    assert_eq!(
        with_syn.only().summary().starts,
        [Some(SeqNumber(100)), Some(SeqNumber(0))]
    );
    let packets = [
        segment(Low, 2, 0).data(b"d"),
        segment(Low, u32::MAX, 1).data(b"abcd"),
        segment(Low, 3, 60).data(b"e"),
    ];
    let story = run(&packets);
    assert_eq!(story.only().low(), b"abcde");
    assert_eq!(story.only().summary().starts, [Some(SeqNumber(u32::MAX)), None]);

    // While the connection is open the table tells; of another one between the same ends it does not.
    let mut table = FlowTable::new(FlowLimits::default());
    let mut events = Vec::new();
    let mut starts = Vec::new();
    for packet in &packets {
        table.push(&packet.head, &packet.payload, &mut events);
        let (key, _) = FlowKey::of(packet.head.source, packet.head.destination);
        starts.push(table.starts(ConnId(0), &key)[Low.index()]);
        assert_eq!(table.starts(ConnId(1), &key), [None; 2]);
    }
    assert_eq!(starts, [None, None, Some(SeqNumber(u32::MAX))]);
}

#[test]
fn handshake_packets_in_any_order_make_one_connection() {
    let packets = [
        segment(Low, 99, 0).syn(),
        segment(High, 499, 1).syn().ack(100),
        segment(Low, 100, 2).ack(500),
        segment(Low, 100, 3).data(b"hello").ack(500),
        segment(High, 500, 4).data(b"you").ack(105),
    ];
    let orders = (0..5_usize.pow(5)).filter_map(|number| {
        let order = [1, 5, 25, 125, 625].map(|power| number / power % 5);
        let mut sorted = order;
        sorted.sort_unstable();
        (sorted == [0, 1, 2, 3, 4]).then_some(order)
    });
    for order in orders {
        let story = run(&order.map(|index| packets[index].clone()));
        let told = story.only();
        assert_eq!(told.summary().syn_from, Some(Low), "{order:?}");
        assert_eq!(
            (told.low(), told.high()),
            (b"hello".to_vec(), b"you".to_vec()),
            "{order:?}"
        );
        assert_eq!(told.gaps, [vec![], vec![]], "{order:?}");
    }
}

#[test]
fn a_stream_joined_in_the_middle_starts_with_the_earliest_of_the_first_bytes() {
    let story = run(&[
        segment(Low, 1010, 0).data(b"kl"),
        segment(Low, 1000, 10).data(b"abcdefghij"),
        segment(Low, 1012, 60).data(b"m"),
        segment(Low, 995, 61).data(b"?????ab"),
    ]);
    assert_eq!(story.only().connection.syn_from, None);
    assert_eq!(story.only().low(), b"abcdefghijklm");
    assert_eq!(story.only().summary().before_start_bytes, 5);
    assert_eq!(story.only().gaps[0], []);
}

#[test]
fn first_bytes_are_held_back_for_a_moment_only() {
    let mut table = FlowTable::new(FlowLimits::default());
    let mut story = Story::default();
    let first = segment(Low, 1000, 0).data(b"ab");
    let mut events = Vec::new();
    table.push(&first.head, &first.payload, &mut events);
    table.advance(millis(49), &mut events);
    story.hear(std::mem::take(&mut events));
    assert_eq!(story.only().low(), b"");
    table.advance(millis(50), &mut events);
    story.hear(events);
    assert_eq!(story.only().low(), b"ab");
}

#[test]
fn many_first_bytes_are_not_held_back() {
    let mut table = FlowTable::new(FlowLimits::default());
    let mut story = Story::default();
    let payload = vec![1; 40_000];
    for number in 0..2 {
        let mut events = Vec::new();
        table.push(&segment(Low, 40_000 * number, 0).head, &payload, &mut events);
        story.hear(events);
    }
    assert_eq!(story.only().low().len(), 80_000);
}

#[test]
fn a_syn_just_behind_the_first_data_is_recognised() {
    let story = run(&[segment(Low, 100, 0).data(b"abc"), segment(Low, 99, 1).syn()]);
    assert_eq!(
        (story.only().connection.syn_from, story.only().syn),
        (None, Some(Low))
    );
    assert_eq!(story.only().low(), b"abc");
}

#[test]
fn a_syn_shows_that_the_first_byte_is_still_to_come() {
    let story = run(&[
        segment(Low, 103, 0).data(b"def"),
        segment(Low, 99, 1).syn(),
        segment(Low, 100, 60).data(b"abc"),
    ]);
    assert_eq!(
        (story.only().syn, story.only().low()),
        (Some(Low), b"abcdef".to_vec())
    );
}

#[test]
fn a_syn_too_late_for_its_bytes_still_belongs_to_its_connection() {
    let story = run(&[
        segment(Low, 103, 0).data(b"def"),
        segment(Low, 106, 60).data(b"ghi"),
        segment(Low, 99, 61).syn(),
        segment(Low, 100, 62).data(b"abc"),
    ]);
    assert_eq!(
        (story.only().syn, story.only().low()),
        (Some(Low), b"defghi".to_vec())
    );
    assert_eq!(story.only().summary().before_start_bytes, 3);
}

#[test]
fn a_syn_may_carry_payload() {
    let story = run(&[
        segment(Low, 99, 0).syn().data(b"abc"),
        segment(High, 499, 1).syn().ack(103),
        segment(Low, 103, 2).data(b"def").ack(500),
    ]);
    assert_eq!(story.only().low(), b"abcdef");
    // Where the answer does not take it, it is sent again.
    let story = run(&[
        segment(Low, 99, 0).syn().data(b"abc"),
        segment(High, 499, 1).syn().ack(100),
        segment(Low, 100, 2).data(b"abcdef").ack(500),
    ]);
    assert_eq!(story.only().low(), b"abcdef");
}

#[test]
fn both_sides_may_open_at_once() {
    let story = run(&[
        segment(High, 499, 0).syn(),
        segment(Low, 99, 1).syn(),
        segment(High, 499, 2).syn().ack(100),
        segment(Low, 99, 3).syn().ack(500),
        segment(Low, 100, 4).data(b"abc").ack(500),
        segment(High, 500, 5).data(b"xyz").ack(103),
    ]);
    assert_eq!(story.only().summary().syn_from, Some(High));
    assert_eq!(
        (story.only().low(), story.only().high()),
        (b"abc".to_vec(), b"xyz".to_vec())
    );
}

#[test]
fn a_syn_sent_again_opens_nothing() {
    let mut segments = handshake(99, 499);
    segments.insert(1, segment(Low, 99, 1).syn());
    segments.push(segment(Low, 99, 5).syn());
    segments.push(segment(Low, 100, 6).data(b"abc"));
    assert_eq!(run(&segments).only().low(), b"abc");
}

#[test]
fn a_syn_tried_again_with_another_number_is_another_connection() {
    let story = run(&[
        segment(Low, 99, 0).syn(),
        segment(Low, 5_000, 3_000).syn(),
        segment(High, 499, 3_001).syn().ack(5_001),
        segment(Low, 5_001, 3_002).data(b"abc"),
    ]);
    assert_eq!(story.connections.len(), 2);
    assert_eq!(
        (story.nth(0).low(), story.nth(1).low()),
        (vec![], b"abc".to_vec())
    );
}

#[test]
fn a_syn_ack_that_answers_another_syn_is_ignored() {
    let story = run(&[
        segment(Low, 99, 0).syn(),
        segment(High, 77_777, 1).syn().ack(12_345),
        segment(High, 499, 2).syn().ack(100),
        segment(High, 500, 3).data(b"abc"),
    ]);
    assert_eq!(story.only().high(), b"abc");
    assert_eq!(story.only().summary().ignored_syns, 1);
}

#[test]
fn a_syn_ack_behind_a_declared_gap_restarts_nothing() {
    // The byte of a SYN-ACK with payload was cut off, its FIN says that it is missing, and the acknowledgement that nobody waits for it.
    let mut table = FlowTable::new(FlowLimits::default());
    let mut story = Story::default();
    let mut events = Vec::new();
    let first = segment(High, 0, 0).syn().fin().ack(280).data(&[1]).cut(1);
    let acknowledged = segment(Low, 0, 0).ack(2);
    let again = segment(High, 1, 2000).syn().ack(280).data(&[1]);
    table.push(&first.head, &first.payload, &mut events);
    table.push(&acknowledged.head, &[], &mut events);
    table.advance(millis(2000), &mut events);
    table.push(&again.head, &again.payload, &mut events);
    table.finish(&mut events);
    story.hear(events);
    assert_eq!(story.nth(0).gaps[High.index()], [(0, 1)]);
    assert_eq!(story.nth(0).summary().ignored_syns, 1);
}
