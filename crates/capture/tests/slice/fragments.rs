//! Fragments of IP datagrams.

use bftap_capture::link::LinkType;
use bftap_capture::packet::CapturedPacket;
use bftap_capture::slice::{SkipReason, SliceOptions, SliceStats, Sliced, Slicer};
use bftap_model::{CaptureTime, TapId};
use bftap_testkit::packet::{self, GRE};

use crate::{Bench, between_switches, slice, v4, v6};

#[test]
fn fragments_are_put_together() {
    let payload: Vec<u8> = (0..3000).map(|i| (i * 7) as u8).collect();
    for segment in [v4().payload(&payload), v6().payload(&payload)] {
        let packet = segment.ip();
        let fragments = if segment.source.is_ipv4() {
            packet::fragments_of_ipv4(&packet, 576)
        } else {
            packet::fragments_of_ipv6(&packet, 9, 576)
        };
        let mut bench = Bench::new();
        // In an order as routers may make it, and each twice.
        let order = [3, 3, 5, 0, 0, 2, 4, 5, 1, 1];
        let results: Vec<_> = order
            .map(|index| {
                bench.after_millis(1);
                bench.slice(
                    LinkType::ETHERNET,
                    &packet::ethernet_ip(&fragments[index]),
                    14 + fragments[index].len(),
                )
            })
            .into();
        for (index, result) in results.iter().enumerate() {
            if index == 8 {
                let (head, whole) = result.as_ref().unwrap();
                assert_eq!(*whole, payload);
                assert_eq!(
                    head.seen,
                    CaptureTime::from_nanos(9_001_000),
                    "when it was complete"
                );
                let unfragmented = slice(LinkType::RAW, &packet).unwrap().0;
                assert_eq!((head.identity, head.cut), (unfragmented.identity, 0));
            } else {
                assert_eq!(result.as_ref().unwrap_err(), &SkipReason::FragmentWaiting);
            }
        }
        let want = SliceStats {
            packets: 10,
            segments: 1,
            fragments_joined: 9,
            datagrams_joined: 1,
            ..SliceStats::default()
        };
        assert_eq!(bench.slicer.stats(), want);
    }
}

#[test]
fn fragmented_tunnels_with_fragments_inside() {
    // A mirrored fragment of a packet too large for the mirror's own path.
    let payload: Vec<u8> = (0..900).map(|i| i as u8).collect();
    let segment = v4().payload(&payload);
    let mut bench = Bench::new();
    let mut found = Vec::new();
    for inner in packet::fragments_of_ipv4(&segment.ip(), 480) {
        let outer = between_switches(GRE, &packet::erspan_2(&packet::ethernet_ip(&inner)));
        for outer in packet::fragments_of_ipv4(&outer, 256) {
            found.extend(bench.slice(LinkType::RAW, &outer, outer.len()).ok());
        }
        // The next mirrored packet has another identification.
        bench.after_millis(600);
    }
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1, payload);
    let stats = bench.slicer.stats();
    assert_eq!(
        (stats.segments, stats.tunnelled, stats.datagrams_joined),
        (1, 1, 3)
    );
    assert_eq!(stats.packets, stats.segments + stats.fragments_joined);
}

#[test]
fn lost_fragments_are_counted() {
    let fragments = packet::fragments_of_ipv4(&v4().payload(&[1; 100]).ip(), 64);
    let mut bench = Bench::new();
    let push = |bench: &mut Bench, index: usize| {
        let fragment: &Vec<u8> = &fragments[index];
        bench
            .slice(LinkType::RAW, fragment, fragment.len())
            .map(|(_, payload)| payload.len())
    };
    assert_eq!(push(&mut bench, 0), Err(SkipReason::FragmentWaiting));
    bench.after_millis(30_001);
    assert_eq!(push(&mut bench, 1), Err(SkipReason::FragmentWaiting), "too late");
    let stats = bench.slicer.stats();
    assert_eq!(
        (
            stats.skipped(SkipReason::FragmentLost),
            stats.skipped(SkipReason::FragmentWaiting)
        ),
        (1, 1)
    );
    bench.after_millis(30_000);
    assert_eq!(push(&mut bench, 0), Err(SkipReason::FragmentWaiting));
    assert_eq!(push(&mut bench, 2), Ok(100), "in time");

    assert_eq!(
        push(&mut bench, 1),
        Err(SkipReason::FragmentWaiting),
        "a copy of what is complete"
    );
    bench.after_millis(1000);
    assert_eq!(
        push(&mut bench, 1),
        Err(SkipReason::FragmentWaiting),
        "another datagram of that number"
    );
    bench.slicer.finish();
    let stats = bench.slicer.stats();
    assert_eq!(
        (
            stats.skipped(SkipReason::FragmentLost),
            stats.skipped(SkipReason::FragmentWaiting)
        ),
        (2, 0)
    );
    assert_eq!(
        (
            stats.datagrams_joined,
            stats.datagrams_lost,
            stats.fragments_joined
        ),
        (1, 2, 3)
    );
    assert_eq!(stats.packets, 6);

    let cut = &fragments[0][..50];
    assert_eq!(
        bench.slice(LinkType::RAW, cut, fragments[0].len()).unwrap_err(),
        SkipReason::FragmentLost
    );
}

#[test]
fn fragments_of_two_taps_stay_apart() {
    let fragments = packet::fragments_of_ipv4(&v4().payload(&[1; 100]).ip(), 96);
    let mut slicer = Slicer::new(SliceOptions::default());
    let mut segments = 0;
    for fragment in &fragments {
        for tap in 0..2 {
            let (seen, link) = (CaptureTime::default(), LinkType::RAW);
            let orig_len = fragment.len() as u32;
            let packet = CapturedPacket {
                seen,
                tap: TapId(tap),
                link,
                bytes: fragment,
                orig_len,
            };
            segments += u32::from(matches!(slicer.slice(&packet), Sliced::Segment(..)));
        }
    }
    assert_eq!((fragments.len(), segments), (2, 2));
}
