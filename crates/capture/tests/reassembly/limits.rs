//! Memory stays bounded, whatever is sent.

use bftap_capture::connection::CloseReason;
use bftap_capture::flow_table::{FlowLimits, FlowTable};
use bftap_model::Side::{High, Low};
use bftap_model::{CaptureTime, Endpoint};

use crate::wire::{Story, handshake, millis, run_with, segment};

#[test]
fn a_direction_over_its_limit_gives_up_its_first_hole() {
    let limits = FlowLimits {
        direction_bytes: 1_000,
        ..FlowLimits::default()
    };
    let mut segments = handshake(99, 499);
    segments.push(segment(Low, 102, 10).data(&[1; 400]));
    segments.push(segment(Low, 600, 11).data(&[2; 400]));
    segments.push(segment(Low, 1_100, 12).data(&[3; 400]));
    let mut table = FlowTable::new(limits);
    let mut story = Story::default();
    for segment in &segments {
        let mut events = Vec::new();
        table.push(&segment.head, &segment.payload, &mut events);
        story.hear(events);
        assert!(table.waiting_bytes() <= 1_000);
    }
    assert_eq!(story.only().gaps[0], [(0, 2)]);
    assert_eq!(story.only().low(), [1; 400]);
    let mut events = Vec::new();
    table.finish(&mut events);
    story.hear(events);
    assert_eq!(story.only().gaps[0], [(0, 2), (402, 98), (900, 100)]);
    assert_eq!(story.only().summary().limits_reached, 1);
}

#[test]
fn all_flows_together_keep_the_total() {
    let limits = FlowLimits {
        total_bytes: 10_000,
        ..FlowLimits::default()
    };
    let mut table = FlowTable::new(limits);
    let mut story = Story::default();
    for round in 0..20_u32 {
        for number in 0..50 {
            let mut segments = if round == 0 {
                handshake(99, 499)
                    .into_iter()
                    .map(|segment| segment.of_connection(number))
                    .collect()
            } else {
                Vec::new()
            };
            segments.push(
                segment(Low, 200 + round * 200, 10)
                    .of_connection(number)
                    .data(&[1; 100]),
            );
            for segment in &segments {
                let mut events = Vec::new();
                table.push(&segment.head, &segment.payload, &mut events);
                story.hear(events);
                assert!(table.waiting_bytes() <= 10_000);
            }
        }
    }
    assert!(table.stats().total_limit_reached > 0);
    let mut events = Vec::new();
    table.finish(&mut events);
    story.hear(events);
    for told in story.connections.values() {
        assert_eq!(told.low().len(), 2_000, "all that was captured is given");
    }
}

#[test]
fn single_bytes_count_with_what_keeping_them_costs() {
    let limits = FlowLimits {
        direction_bytes: 100_000,
        ..FlowLimits::default()
    };
    let mut table = FlowTable::new(limits);
    let mut story = Story::default();
    let mut segments = handshake(99, 499);
    segments.extend((0..20_000).map(|n| segment(Low, 102 + 2 * n, 10).data(b"!")));
    for segment in &segments {
        let mut events = Vec::new();
        table.push(&segment.head, &segment.payload, &mut events);
        story.hear(events);
        assert!(table.waiting_bytes() <= 100_000);
    }
    let given = story.only().low().len();
    assert!(
        (18_000..19_500).contains(&given),
        "about a thousand single bytes may wait, {given} were given"
    );
}

#[test]
fn the_longest_idle_connection_makes_room() {
    let limits = FlowLimits {
        flows: 3,
        ..FlowLimits::default()
    };
    let data = |number, at| segment(Low, 100 + at as u32, at).of_connection(number).data(b"a");
    let segments = [
        data(0, 0),
        data(1, 1),
        data(2, 2),
        data(0, 3),
        data(3, 4),
        data(1, 5),
    ];
    let story = run_with(limits, &segments, |_| None);
    let evicted: Vec<_> = story
        .connections
        .iter()
        .filter(|(_, told)| told.summary().reason == CloseReason::Evicted)
        .map(|(id, _)| id.0)
        .collect();
    assert_eq!(evicted, [1, 2]);
    assert_eq!(story.nth(4).connection.key.low.port, 1001);
    assert_eq!(story.connections.len(), 5);
}

#[test]
fn a_flood_of_syns_stays_within_the_table() {
    let limits = FlowLimits {
        flows: 1_000,
        remembered: 100,
        ..FlowLimits::default()
    };
    let mut table = FlowTable::new(limits);
    let mut events = Vec::new();
    let (mut opened, mut closed) = (0, 0);
    for number in 0..20_000_u32 {
        let mut syn = segment(Low, number, i64::from(number)).syn();
        syn.head.source = Endpoint {
            ip: std::net::Ipv4Addr::from_bits(number << 3).into(),
            port: 7,
        };
        table.push(&syn.head, &[], &mut events);
        if number % 3 == 0 {
            let mut refusal = segment(High, 0, i64::from(number))
                .rst()
                .ack(number.wrapping_add(1));
            refusal.head.source = syn.head.destination;
            refusal.head.destination = syn.head.source;
            table.push(&refusal.head, &[], &mut events);
        }
        assert!(table.open_flows() <= 1_000);
        for event in events.drain(..) {
            match event {
                bftap_capture::connection::FlowEvent::Opened { .. } => opened += 1,
                bftap_capture::connection::FlowEvent::Closed { .. } => closed += 1,
                _ => {}
            }
        }
    }
    assert_eq!((opened, opened - closed), (20_000, table.open_flows()));
    assert!(table.stats().evicted > 0);
}

#[test]
fn hostile_times_neither_hang_nor_panic() {
    let times = [
        CaptureTime::MAX,
        CaptureTime::MIN,
        millis(0),
        CaptureTime::MAX,
        CaptureTime::from_nanos(-1),
    ];
    let mut segments = handshake(99, 499);
    for round in 0..4 {
        for (index, time) in times.into_iter().enumerate() {
            let mut segment = segment(Low, 100 + 10 * index as u32, 10)
                .data(b"abc")
                .ack(500 + round);
            segment.head.seen = time;
            segments.push(segment);
            let mut segment = self::segment(High, 500 + 10 * index as u32, 10)
                .data(b"abc")
                .ack(100);
            segment.head.seen = time;
            segments.push(segment);
        }
    }
    for now in [
        None,
        Some(CaptureTime::MAX),
        Some(CaptureTime::MIN),
        Some(millis(0)),
    ] {
        let story = run_with(FlowLimits::default(), &segments, |_| now);
        let given: usize = story.connections.values().map(|told| told.low().len()).sum();
        assert!(given >= 15, "{given}");
    }
}
