//! Packets with any byte flipped, cut at any byte.

use bftap_capture::fuzzing::fuzz_packet;
use bftap_testkit::packet::{self, GRE, TRANSPARENT_ETHERNET, UDP};

use crate::{between_switches, v4, v6};

/// Records as [`fuzz_packet`] takes them, of all shapes above.
fn corpus() -> Vec<Vec<u8>> {
    let long = v4().payload(&[3; 200]);
    let mut packets = vec![
        (0, v4().ethernet()),
        (0, packet::vlan(&v6().ethernet(), 0x88a8, 1)),
        (1, v6().ip()),
        (2, packet::linux_sll(&v4().ip())),
        (3, packet::linux_sll2(&v4().ip())),
        (4, [&[2, 0, 0, 0], &v4().ip()[..]].concat()),
        (1, between_switches(UDP, &packet::vxlan(4789, &v4().ethernet()))),
        (
            1,
            between_switches(
                UDP,
                &packet::geneve(TRANSPARENT_ETHERNET, &[0; 8], &v4().ethernet()),
            ),
        ),
        (
            1,
            between_switches(GRE, &packet::erspan_3(true, &v4().ethernet())),
        ),
        (
            1,
            between_switches(
                GRE,
                &packet::gre(TRANSPARENT_ETHERNET, true, Some(1), Some(2), &v4().ethernet()),
            ),
        ),
    ];
    packets.extend(
        packet::fragments_of_ipv4(&long.ip(), 96)
            .into_iter()
            .map(|fragment| (1, fragment)),
    );
    let long = v6().payload(&[3; 200]);
    packets.extend(
        packet::fragments_of_ipv6(&long.ip(), 9, 96)
            .into_iter()
            .map(|fragment| (1, fragment)),
    );
    let record = |(link, bytes): (u8, Vec<u8>)| {
        [&[link][..], &(bytes.len() as u16).to_be_bytes(), &[0], &bytes[..]].concat()
    };
    packets.into_iter().map(record).collect()
}

#[test]
fn no_flipped_byte_and_no_cut_makes_it_panic() {
    let corpus = corpus();
    fuzz_packet(&corpus.concat());
    for record in &corpus {
        for at in 0..record.len() {
            fuzz_packet(&record[..at]);
            for flip in [0x01, 0x10, 0x80, 0xff] {
                let mut flipped = record.clone();
                flipped[at] ^= flip;
                fuzz_packet(&flipped);
            }
        }
    }
    // Fragments, with the others around.
    let all = corpus[corpus.len() - 6..].concat();
    for at in 0..all.len() {
        let mut flipped = all.clone();
        flipped[at] ^= 0xff;
        fuzz_packet(&flipped);
    }
}
