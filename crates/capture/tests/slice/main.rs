//! Packets of all links, tunnels and shapes, to their TCP segments.

mod damage;
mod fragments;

use bftap_capture::link::LinkType;
use bftap_capture::packet::CapturedPacket;
use bftap_capture::segment::{PayloadPlace, SegmentHead};
use bftap_capture::slice::{SkipReason, SliceOptions, Sliced, Slicer};
use bftap_model::{CaptureTime, SeqNumber, TapId};
use bftap_testkit::packet::{self, GRE, TCP, TRANSPARENT_ETHERNET, Tcp, UDP};

const PAYLOAD: &[u8] = b"some payload of a segment";

fn v4() -> Tcp {
    Tcp::new("10.0.0.1:40000", "10.0.0.2:32323")
        .seq(0xffff_fff0)
        .ack(77)
        .flags(8)
        .ip_id(0x1234)
        .timestamps(5, 6)
        .payload(PAYLOAD)
}

fn v6() -> Tcp {
    let ends = Tcp::new("[fd00::1]:40000", "[fd00::2]:32323");
    Tcp {
        source: ends.source,
        destination: ends.destination,
        ..v4()
    }
}

/// Puts a packet into a tunnel between two other hosts.
fn between_switches(protocol: u8, content: &[u8]) -> Vec<u8> {
    packet::ip(
        [192, 168, 0, 1].into(),
        [192, 168, 0, 2].into(),
        protocol,
        content,
    )
}

struct Bench {
    slicer: Slicer,
    now: CaptureTime,
}

impl Bench {
    fn new() -> Self {
        Self {
            slicer: Slicer::new(SliceOptions::default()),
            now: CaptureTime::from_nanos(1_000),
        }
    }

    fn slice(
        &mut self,
        link: LinkType,
        bytes: &[u8],
        orig_len: usize,
    ) -> Result<(SegmentHead, Vec<u8>), SkipReason> {
        let (seen, tap) = (self.now, TapId(3));
        let packet = CapturedPacket {
            seen,
            tap,
            link,
            bytes,
            orig_len: orig_len as u32,
        };
        match self.slicer.slice(&packet) {
            Sliced::Segment(head, PayloadPlace::InPacket(range)) => {
                Ok((head, bytes[range.start as usize..range.end as usize].to_vec()))
            }
            Sliced::Segment(head, PayloadPlace::Reassembled(payload)) => Ok((head, payload.into())),
            Sliced::Skipped(reason) => Err(reason),
        }
    }

    fn after_millis(&mut self, millis: i64) {
        self.now = self.now.saturating_add(bftap_model::Nanos::from_millis(millis));
    }
}

fn slice(link: LinkType, bytes: &[u8]) -> Result<(SegmentHead, Vec<u8>), SkipReason> {
    Bench::new().slice(link, bytes, bytes.len())
}

/// Asserts that the packet holds the whole segment, with a right checksum.
fn holds(segment: &Tcp, link: LinkType, bytes: &[u8]) {
    let mut bench = Bench::new();
    let (head, payload) = bench
        .slice(link, bytes, bytes.len())
        .unwrap_or_else(|reason| panic!("{reason:?}: {bytes:x?}"));
    assert_eq!(payload, segment.payload);
    assert_eq!(head.source.to_string(), segment.source.to_string());
    assert_eq!(head.destination.to_string(), segment.destination.to_string());
    assert_eq!(head.seq, SeqNumber(segment.seq));
    assert_eq!(head.ack, segment.ack.map(SeqNumber));
    assert_eq!(head.flags.0, 0x18);
    assert_eq!((head.window, head.timestamps, head.cut), (501, Some((5, 6)), 0));
    assert_eq!((head.seen, head.tap), (bench.now, TapId(3)));
    let bare = slice(LinkType::RAW, &segment.ip()).unwrap().0;
    assert_eq!(
        head.identity, bare.identity,
        "what is around a packet does not change its identity"
    );
    let stats = bench.slicer.stats();
    assert_eq!((stats.packets, stats.segments, stats.bad_checksums), (1, 1, 0));
}

#[test]
fn links() {
    for segment in [v4(), v6()] {
        let ip = segment.ip();
        let frame = segment.ethernet();
        holds(&segment, LinkType::ETHERNET, &frame);
        for link in [101, 12, 14, 228, 229] {
            holds(&segment, LinkType(link), &ip);
        }
        holds(&segment, LinkType::LINUX_SLL, &packet::linux_sll(&ip));
        holds(&segment, LinkType::LINUX_SLL2, &packet::linux_sll2(&ip));
        let families: &[u32] = if segment.source.is_ipv4() {
            &[2]
        } else {
            &[24, 28, 30, 10]
        };
        for family in families {
            for link in [LinkType::NULL, LinkType::LOOP] {
                holds(&segment, link, &[&family.to_le_bytes(), &ip[..]].concat());
                holds(&segment, link, &[&family.to_be_bytes(), &ip[..]].concat());
            }
        }
    }
}

#[test]
fn vlan_tags() {
    let frame = v4().ethernet();
    for tag_type in [0x8100, 0x88a8, 0x9100] {
        holds(&v4(), LinkType::ETHERNET, &packet::vlan(&frame, tag_type, 7));
        let inner = packet::vlan(&frame, 0x8100, 8);
        holds(&v4(), LinkType::ETHERNET, &packet::vlan(&inner, tag_type, 7));
        holds(
            &v4(),
            LinkType::ETHERNET,
            &packet::vlan(&packet::vlan(&inner, 0x8100, 9), tag_type, 7),
        );
    }
    let mut cooked = packet::linux_sll(&v4().ip());
    cooked.splice(14..16, [0x81, 0, 0, 7, 8, 0]);
    holds(&v4(), LinkType::LINUX_SLL, &cooked);
}

#[test]
fn ip_options_and_extension_headers() {
    let (source, destination) = (v4().source.ip(), v4().destination.ip());
    let mut with_options = packet::ip_with(
        source,
        destination,
        TCP,
        &[7, 7, 4, 0, 0, 0, 0, 0],
        &v4().segment(),
    );
    with_options[4..6].copy_from_slice(&v4().ip_id.to_be_bytes());
    holds(&v4(), LinkType::RAW, &with_options);

    let (source, destination) = (v6().source.ip(), v6().destination.ip());
    let segment = v6().segment();
    // Hop-by-hop, destination options, routing, an authentication header, a fragment that is all of it.
    let chain: &[u8] = &[
        60, 0, 1, 4, 0, 0, 0, 0, //
        43, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
        51, 0, 4, 0, 0, 0, 0, 0, //
        44, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9, 9, 9, //
        6, 0, 0, 0, 0, 0, 0, 5,
    ];
    holds(
        &v6(),
        LinkType::RAW,
        &packet::ip_with(source, destination, 0, chain, &segment),
    );
    let nothing = packet::ip_with(source, destination, 0, &[59, 0, 1, 4, 0, 0, 0, 0], &segment);
    assert_eq!(
        slice(LinkType::RAW, &nothing),
        Err(SkipReason::NotTcp),
        "no next header"
    );
}

#[test]
fn tunnels() {
    for segment in [v4(), v6()] {
        let (ip, frame) = (segment.ip(), segment.ethernet());
        let tagged = packet::vlan(&frame, 0x8100, 7);
        let ether_type = packet::ether_type_of(&ip);
        let mut tunnels = vec![(if segment.source.is_ipv4() { 4 } else { 41 }, ip.clone())];
        for (checksum, key, sequence) in [
            (false, None, None),
            (true, None, None),
            (false, Some(7), None),
            (false, None, Some(8)),
            (true, Some(7), Some(8)),
        ] {
            tunnels.push((
                GRE,
                packet::gre(TRANSPARENT_ETHERNET, checksum, key, sequence, &tagged),
            ));
            tunnels.push((GRE, packet::gre(ether_type, checksum, key, sequence, &ip)));
        }
        tunnels.push((GRE, packet::erspan_1(&tagged)));
        tunnels.push((GRE, packet::erspan_2(&tagged)));
        tunnels.push((GRE, packet::erspan_3(false, &tagged)));
        tunnels.push((GRE, packet::erspan_3(true, &frame)));
        tunnels.push((UDP, packet::vxlan(4789, &tagged)));
        tunnels.push((UDP, packet::vxlan(8472, &frame)));
        tunnels.push((UDP, packet::geneve(TRANSPARENT_ETHERNET, &[], &tagged)));
        tunnels.push((
            UDP,
            packet::geneve(TRANSPARENT_ETHERNET, &[1, 2, 3, 1, 0, 0, 0, 0], &frame),
        ));
        tunnels.push((UDP, packet::geneve(ether_type, &[], &ip)));
        for (protocol, content) in tunnels {
            let packet = between_switches(protocol, &content);
            holds(&segment, LinkType::ETHERNET, &packet::ethernet_ip(&packet));
            let over_v6 = packet::ip([0xfd; 16].into(), [0xfe; 16].into(), protocol, &content);
            holds(&segment, LinkType::RAW, &over_v6);
        }
    }
}

#[test]
fn erspan_3_may_carry_bare_ip() {
    let mut gre = packet::erspan_3(false, &v4().ip());
    // Frame type 2 in the second last byte of the header behind the 8 of GRE.
    gre[8 + 10] |= 2 << 2;
    holds(&v4(), LinkType::RAW, &between_switches(GRE, &gre));
}

#[test]
fn tunnels_in_tunnels_up_to_four() {
    let mut packet = v4().ip();
    for depth in 1..=5 {
        packet = between_switches(UDP, &packet::vxlan(4789, &packet::ethernet_ip(&packet)));
        if depth <= 4 {
            holds(&v4(), LinkType::RAW, &packet);
        } else {
            assert_eq!(slice(LinkType::RAW, &packet), Err(SkipReason::TunnelTooDeep));
        }
    }
    let mut bench = Bench::new();
    let one = between_switches(4, &v4().ip());
    bench.slice(LinkType::RAW, &one, one.len()).unwrap();
    assert_eq!(bench.slicer.stats().tunnelled, 1);
}

#[test]
fn other_traffic_is_named() {
    let (a, b) = (v4().source.ip(), v4().destination.ip());
    let not_vxlan = packet::udp(1, 4789, &[0; 30]);
    let pptp = [0x30, 0x81, 0x88, 0x0b, 0, 0, 0, 0];
    let geneve_control = {
        let mut datagram = packet::geneve(TRANSPARENT_ETHERNET, &[], &v4().ethernet());
        datagram[8 + 1] |= 0x80;
        datagram
    };
    let cases: &[(LinkType, Vec<u8>, SkipReason)] = &[
        (
            LinkType::ETHERNET,
            packet::ethernet(0x0806, &[0; 28]),
            SkipReason::NotIp,
        ),
        (
            LinkType::ETHERNET,
            packet::ethernet(0x88cc, &[0; 28]),
            SkipReason::NotIp,
        ),
        (
            LinkType::ETHERNET,
            packet::ethernet(0x0026, &[0x42, 0x42, 3, 0]),
            SkipReason::NotIp,
        ),
        (LinkType::NULL, vec![7, 0, 0, 0, 0x45], SkipReason::NotIp),
        (
            LinkType::LINUX_SLL,
            [&[0; 14], &[8, 6][..], &[0; 28]].concat(),
            SkipReason::NotIp,
        ),
        (LinkType(147), v4().ethernet(), SkipReason::UnknownLink),
        (LinkType::RAW, packet::ip(a, b, 1, &[8; 20]), SkipReason::NotTcp),
        (
            LinkType::RAW,
            packet::ip(a, b, UDP, &packet::udp(53, 53, b"query")),
            SkipReason::NotTcp,
        ),
        (
            LinkType::RAW,
            packet::ip(a, b, UDP, &not_vxlan),
            SkipReason::NotTcp,
        ),
        // These are extension headers in IPv6 alone.
        (LinkType::RAW, packet::ip(a, b, 60, &[6; 60]), SkipReason::NotTcp),
        (LinkType::RAW, packet::ip(a, b, 44, &[6; 60]), SkipReason::NotTcp),
        (
            LinkType::RAW,
            packet::ip(a, b, GRE, &pptp),
            SkipReason::UnknownTunnel,
        ),
        (
            LinkType::RAW,
            packet::ip(a, b, GRE, &packet::gre(0x8847, false, None, None, &[0; 40])),
            SkipReason::UnknownTunnel,
        ),
        (
            LinkType::RAW,
            packet::ip(a, b, UDP, &geneve_control),
            SkipReason::UnknownTunnel,
        ),
        (LinkType::RAW, vec![0x55; 40], SkipReason::Malformed),
        (LinkType::RAW, vec![], SkipReason::Malformed),
        (LinkType::ETHERNET, vec![0; 13], SkipReason::Malformed),
    ];
    let mut bench = Bench::new();
    for (link, bytes, reason) in cases {
        assert_eq!(
            bench.slice(*link, bytes, bytes.len()).unwrap_err(),
            *reason,
            "{bytes:x?}"
        );
    }
    let stats = bench.slicer.stats();
    assert_eq!(stats.skipped(SkipReason::UnknownTunnel), 3);
    assert_eq!(stats.skipped.iter().sum::<u64>(), cases.len() as u64);
    let words: std::collections::BTreeSet<_> = SkipReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(words.len(), SkipReason::ALL.len());
    assert!(
        SkipReason::ALL
            .iter()
            .enumerate()
            .all(|(index, reason)| reason.index() == index)
    );
}

#[test]
fn padding_is_not_payload() {
    let segment = Tcp {
        payload: b"1".to_vec(),
        ..v4()
    };
    let mut frame = segment.ethernet();
    frame.resize(80, 0xee);
    holds(&segment, LinkType::ETHERNET, &frame);
    let empty = Tcp {
        payload: Vec::new(),
        ..v6()
    };
    let mut frame = empty.ethernet();
    frame.extend([0xee; 4]);
    holds(&empty, LinkType::ETHERNET, &frame);
}

#[test]
fn segmentation_offload_leaves_the_length_open() {
    let mut packet = v4().ip();
    packet[2..4].fill(0);
    assert_eq!(slice(LinkType::RAW, &packet).unwrap().1, PAYLOAD);
    let (head, payload) = Bench::new()
        .slice(LinkType::RAW, &packet, packet.len() + 70_000)
        .unwrap();
    assert_eq!(
        (&payload[..], head.cut),
        (PAYLOAD, 70_000),
        "cut by the snap length"
    );
    let mut packet = v6().ip();
    packet[4..6].fill(0);
    assert_eq!(slice(LinkType::RAW, &packet).unwrap().1, PAYLOAD);
}

#[test]
fn packets_cut_by_the_snap_length() {
    for (segment, head_len) in [(v4(), 14 + 20 + 32), (v6(), 14 + 40 + 32)] {
        let mut frame = segment.ethernet();
        let whole = frame.len();
        // The wire had padding too; what is cut is counted by the IP length.
        frame.extend([0; 6]);
        let identity = slice(LinkType::ETHERNET, &frame).unwrap().0.identity;
        for snap in 0..frame.len() {
            let mut bench = Bench::new();
            let result = bench.slice(LinkType::ETHERNET, &frame[..snap], frame.len());
            if snap < head_len {
                assert_eq!(result.unwrap_err(), SkipReason::TruncatedHeaders, "cut at {snap}");
            } else {
                let (head, payload) = result.unwrap();
                let captured = (snap - head_len).min(PAYLOAD.len());
                assert_eq!(payload, PAYLOAD[..captured]);
                assert_eq!(head.cut as usize, whole.saturating_sub(snap), "cut at {snap}");
                assert_eq!(head.identity, identity, "the same packet");
                assert_eq!(bench.slicer.stats().bad_checksums, 0, "not checked in part");
            }
        }
    }
}

#[test]
fn inner_packets_cut_by_a_mirror() {
    // The mirror cut the frame before it put its header in front: no snap length tells.
    let frame = v4().ethernet();
    let packet = between_switches(GRE, &packet::erspan_2(&frame[..frame.len() - 9]));
    let (head, payload) = slice(LinkType::RAW, &packet).unwrap();
    assert_eq!((&payload[..], head.cut), (&PAYLOAD[..PAYLOAD.len() - 9], 9));
}

#[test]
fn contradictory_headers_are_malformed() {
    let change = |segment: Tcp, at: usize, value: u8| {
        let mut packet = segment.ip();
        packet[at] = value;
        slice(LinkType::RAW, &packet).map(|(head, _)| head.cut)
    };
    assert_eq!(
        change(v4(), 20 + 12, 0x40),
        Err(SkipReason::Malformed),
        "TCP header of 16 bytes"
    );
    assert_eq!(
        change(v4(), 20 + 12, 0xf0),
        Err(SkipReason::Malformed),
        "TCP header longer than the packet"
    );
    assert_eq!(
        change(v4(), 0, 0x44),
        Err(SkipReason::Malformed),
        "IPv4 header of 16 bytes"
    );
    assert_eq!(
        change(v4(), 3, 19),
        Err(SkipReason::Malformed),
        "packet shorter than its header"
    );
    assert_eq!(
        change(v4(), 3, 39),
        Err(SkipReason::Malformed),
        "no room for the TCP header"
    );
    assert_eq!(
        change(v6(), 5, 10),
        Err(SkipReason::Malformed),
        "no room for the TCP header"
    );
    assert_eq!(
        change(v4(), 3, 100),
        Ok(100 - 77),
        "what the length promises is missing"
    );
}

#[test]
fn unusual_tcp_options() {
    let with = |options: &[u8]| {
        let segment = Tcp {
            options: options.to_vec(),
            ..v4()
        };
        let (head, payload) = slice(LinkType::RAW, &segment.ip()).unwrap();
        assert_eq!(payload, PAYLOAD);
        head.timestamps
    };
    assert_eq!(with(&[]), None);
    assert_eq!(
        with(&[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7]),
        Some((1, 2)),
        "as in a SYN"
    );
    assert_eq!(with(&[8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0]), Some((1, 2)));
    assert_eq!(
        with(&[0, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 0]),
        None,
        "behind the end of options"
    );
    assert_eq!(with(&[5, 99, 8, 10]), None, "nonsense");
    assert_eq!(with(&[8, 10, 0, 0]), None, "cut");
}

#[test]
fn wrong_checksums_are_counted_and_no_reason_to_drop() {
    for mut packet in [v4().ip(), v6().ip()] {
        *packet.last_mut().unwrap() ^= 1;
        let mut bench = Bench::new();
        bench.slice(LinkType::RAW, &packet, packet.len()).unwrap();
        assert_eq!(bench.slicer.stats().bad_checksums, 1);
        bench.slicer = Slicer::new(SliceOptions {
            verify_checksums: false,
            ..SliceOptions::default()
        });
        bench.slice(LinkType::RAW, &packet, packet.len()).unwrap();
        assert_eq!(bench.slicer.stats().bad_checksums, 0);
    }
}

#[test]
fn identity_tells_packets_apart() {
    let identity = |segment: &Tcp| slice(LinkType::RAW, &segment.ip()).unwrap().0.identity;
    let mut all = vec![
        identity(&v4()),
        identity(&v6()),
        identity(&v4().seq(1)),
        identity(&v4().ack(78)),
        identity(&v4().flags(0)),
        identity(&v4().ip_id(0x1235)),
        identity(&v4().timestamps(5, 7)),
        identity(&v4().timestamps(6, 6)),
        identity(&v4().payload(b"other")),
        identity(&Tcp {
            options: Vec::new(),
            ..v4()
        }),
        identity(&Tcp::new("10.0.0.2:32323", "10.0.0.1:40000")),
        identity(&Tcp::new("10.0.0.1:32323", "10.0.0.2:40000")),
    ];
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    // A router takes one from the time to live.
    let mut routed = v4().ip();
    routed[8] -= 1;
    packet::sign_ipv4(&mut routed);
    assert_eq!(slice(LinkType::RAW, &routed).unwrap().0.identity, identity(&v4()));
    assert_eq!(
        identity(&v4()),
        0x6d21_61e8_8b14_e920,
        "the same on every machine and in every run"
    );
}

#[test]
fn an_acknowledgement_may_say_that_bytes_came_twice() {
    let got_twice = |blocks: &[[u32; 2]], timestamps: bool| {
        let mut options = if timestamps { v4().options } else { Vec::new() };
        if !blocks.is_empty() {
            options.extend([1, 1, 5, 2 + 8 * blocks.len() as u8]);
            options.extend(
                blocks
                    .as_flattened()
                    .iter()
                    .flat_map(|number| number.to_be_bytes()),
            );
        }
        let segment = Tcp {
            options,
            ..v4().ack(1_000).flags(0x10)
        };
        slice(LinkType::RAW, &segment.ip()).unwrap().0.got_twice
    };
    assert_eq!(got_twice(&[], true), None);
    for timestamps in [true, false] {
        assert_eq!(got_twice(&[[900, 1_000]], timestamps), Some(SeqNumber(1_000)));
        assert_eq!(
            got_twice(&[[900, 950], [1_200, 1_300]], timestamps),
            Some(SeqNumber(950))
        );
        assert_eq!(
            got_twice(&[[1_200, 1_300]], timestamps),
            None,
            "what is missing before it is told"
        );
        assert_eq!(got_twice(&[[950, 900]], timestamps), None);
    }
}
