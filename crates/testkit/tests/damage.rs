//! Each kind of damage does what it says, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use bftap_model::{Direction, Nanos};
use bftap_simnet::{SimulateOptions, Taps};
use bftap_testkit::damage::{
    Harm, Segment, Simulated, damage, packets, recoverable, scenarios, segment, simulated,
};
use bftap_testkit::impair::Packet;

const ALL: u32 = 1_000_000;

fn network() -> &'static Simulated {
    static NETWORK: OnceLock<Simulated> = OnceLock::new();
    NETWORK.get_or_init(|| {
        simulated(&SimulateOptions {
            nodes: 7,
            sequences: Some(5),
            taps: Taps::Only(vec![1]),
            ..SimulateOptions::default()
        })
        .unwrap()
    })
}

fn clean() -> Vec<Packet> {
    packets(&network().capture).unwrap()
}

fn damaged(harms: &[Harm]) -> Vec<Packet> {
    packets(&damage(&network().capture, harms, 7).unwrap()).unwrap()
}

fn seen(packet: &Packet) -> Segment {
    segment(&packet.1).unwrap()
}

/// How many packets in a row are missing, row by row; the rest stands in its order.
fn rows_lost(damaged: &[Packet]) -> Vec<usize> {
    let mut rest = damaged.iter().peekable();
    let mut rows = vec![0];
    for packet in clean() {
        if rest.next_if(|next| **next == packet).is_some() {
            rows.push(0);
        } else {
            *rows.last_mut().unwrap() += 1;
        }
    }
    assert!(rest.next().is_none(), "packets out of their order");
    rows.retain(|&row| row > 0);
    rows
}

#[test]
fn nothing_is_done_without_harm() {
    assert!(damaged(&[]) == clean());
    for harm in [
        Harm::Drop { share: 0 },
        Harm::Bursts {
            share: 0,
            longest: 20,
        },
        Harm::Snap { share: 0, len: 60 },
        Harm::Duplicate { share: 0 },
        Harm::Reorder { share: 0, window: 5 },
        Harm::OneWay {
            share: 0,
            keep: Direction::FromInitiator,
        },
        Harm::DropSyns { share: 0 },
        Harm::DropBegin {
            share: ALL,
            direction: Direction::FromInitiator,
            bytes: 0,
        },
        Harm::Cut { before: Nanos(0) },
    ] {
        assert!(damaged(&[harm]) == clean(), "{harm:?}");
    }
}

#[test]
fn a_share_of_the_packets_is_lost() {
    let total = clean().len();
    let lost: usize = rows_lost(&damaged(&[Harm::Drop { share: 50_000 }])).iter().sum();
    assert!((total / 40..total / 10).contains(&lost), "{lost} of {total}");
    assert!(damaged(&[Harm::Drop { share: ALL }]).is_empty());
}

#[test]
fn bursts_are_as_long_as_allowed() {
    let harm = Harm::Bursts {
        share: 5_000,
        longest: 6,
    };
    let rows = rows_lost(&damaged(&[harm]));
    // Two bursts may follow each other.
    assert!(rows.len() > 5 && rows.iter().all(|&row| row <= 12), "{rows:?}");
    assert!(rows.iter().any(|&row| row > 2), "{rows:?}");
}

#[test]
fn a_cut_takes_the_begin() {
    let clean = clean();
    let left = damaged(&[Harm::Cut {
        before: Nanos::from_secs(3),
    }]);
    let border = clean[0].0 + 3_000_000_000;
    let expected: Vec<Packet> = clean.into_iter().filter(|packet| packet.0 >= border).collect();
    assert!(!expected.is_empty());
    assert!(left == expected);
}

#[test]
fn snapped_packets_keep_their_length_on_the_wire() {
    let left = damaged(&[Harm::Snap {
        share: 300_000,
        len: 100,
    }]);
    let mut cut = 0;
    for (clean, left) in clean().iter().zip(&left) {
        assert_eq!((clean.0, clean.2), (left.0, left.2));
        if clean.1 != left.1 {
            assert!(left.1 == clean.1[..100]);
            cut += 1;
        }
    }
    assert!(cut > 10 && left.iter().any(|packet| packet.1.len() > 100));
}

#[test]
fn duplicates_stand_behind_each_other() {
    let left = damaged(&[Harm::Duplicate { share: ALL }]);
    assert!(left.chunks(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(left.len(), 2 * clean().len());
    let some = damaged(&[Harm::Duplicate { share: 200_000 }]).len();
    assert!(some > clean().len() && some < left.len());
}

#[test]
fn reordered_packets_go_no_further_than_the_window() {
    let mut clean = clean();
    // Told apart by their bytes: an IP id and a timestamp are in each.
    let places: HashMap<Vec<u8>, usize> = clean
        .iter()
        .enumerate()
        .map(|(index, packet)| (packet.1.clone(), index))
        .collect();
    assert_eq!(places.len(), clean.len());
    let mut left = damaged(&[Harm::Reorder {
        share: 100_000,
        window: 4,
    }]);
    let mut furthest = 0;
    for (now, (clean, left)) in clean.iter().zip(&left).enumerate() {
        assert_eq!(clean.0, left.0, "times stay in order");
        furthest = furthest.max(now.saturating_sub(places[&left.1]));
    }
    assert_eq!(furthest, 4);
    for packet in clean.iter_mut().chain(&mut left) {
        packet.0 = 0;
    }
    clean.sort();
    left.sort();
    assert!(clean == left, "no packet is lost");
}

#[test]
fn one_direction_stays() {
    // Klaytn nodes listen on this port; refused connections have packets, too.
    let dialled = |packet: &Packet| seen(packet).destination.port == 32323;
    for (keep, from_initiator) in [
        (Direction::FromInitiator, true),
        (Direction::FromRecipient, false),
    ] {
        let left = damaged(&[Harm::OneWay { share: ALL, keep }]);
        let expected: Vec<Packet> = clean()
            .into_iter()
            .filter(|packet| dialled(packet) == from_initiator)
            .collect();
        assert!(!expected.is_empty());
        assert!(left == expected);
    }
}

#[test]
fn connections_are_hit_as_a_whole() {
    let left = damaged(&[Harm::OneWay {
        share: 500_000,
        keep: Direction::FromInitiator,
    }]);
    let count = |packets: &[Packet]| {
        let mut counts: BTreeMap<_, usize> = BTreeMap::new();
        for packet in packets {
            let seen = seen(packet);
            *counts.entry((seen.source, seen.destination)).or_default() += 1;
        }
        counts
    };
    let (before, after) = (count(&clean()), count(&left));
    assert!(after.len() < before.len(), "some connections are hit");
    assert!(after.len() > before.len() / 2, "others are not");
    assert!(after.iter().all(|(ends, count)| before[ends] == *count));
}

#[test]
fn syns_are_lost_alone() {
    let left = damaged(&[Harm::DropSyns { share: ALL }]);
    let without: Vec<Packet> = clean()
        .into_iter()
        .filter(|packet| !seen(packet).is_syn() && !seen(packet).is_syn_ack())
        .collect();
    assert!(without.len() < clean().len());
    assert!(left == without);
}

#[test]
fn one_half_of_a_handshake_is_lost() {
    for direction in [Direction::FromInitiator, Direction::FromRecipient] {
        let harm = Harm::DropBegin {
            share: ALL,
            direction,
            bytes: 100,
        };
        let left = damaged(&[harm]);
        let isns: HashMap<_, u32> = network()
            .frames
            .iter()
            .map(|frame| {
                let key = (frame.initiator, frame.recipient);
                let key = if direction == Direction::FromInitiator {
                    key
                } else {
                    (key.1, key.0)
                };
                (key, frame.isn[direction.index()])
            })
            .collect();
        let begins = |packet: &Packet| {
            let seen = seen(packet);
            isns.get(&(seen.source, seen.destination))
                .is_some_and(|isn| seen.sent > 0 && seen.seq.wrapping_sub(*isn).wrapping_sub(1) < 100)
        };
        let expected: Vec<Packet> = clean().into_iter().filter(|packet| !begins(packet)).collect();
        let lost = clean().len() - expected.len();
        assert!(lost >= isns.len(), "{lost} packets of {} connections", isns.len());
        assert!(left == expected);
    }
}

#[test]
fn places_are_those_of_the_undamaged_capture() {
    // Without its SYN nobody could tell where a connection begins; the order of harms does not matter for that.
    let begin = Harm::DropBegin {
        share: ALL,
        direction: Direction::FromInitiator,
        bytes: 100,
    };
    let syns = Harm::DropSyns { share: ALL };
    assert!(damaged(&[syns, begin]) == damaged(&[begin, syns]));
    assert!(damaged(&[syns, begin]).len() < damaged(&[syns]).len());
}

#[test]
fn scenarios_are_reproducible_and_never_add_messages() {
    let network = network();
    let whole = recoverable(&[&network.capture], &network.frames).unwrap();
    let total: u64 = whole.values().sum();
    for (name, harms) in scenarios() {
        let one = damage(&network.capture, &harms, 1).unwrap();
        assert!(damage(&network.capture, &harms, 1).unwrap() == one, "{name}");
        let left = recoverable(&[&one], &network.frames).unwrap();
        for (key, messages) in &left {
            assert!(messages <= &whole[key], "{name}: {key:?}");
        }
        let rest: u64 = left.values().sum();
        match name {
            // All bytes of all messages are there.
            "duplicated"
            | "reordered"
            | "without SYN"
            | "without auth"
            | "without ack"
            | "without handshake"
            | "half of the handshakes" => assert_eq!(left, whole, "{name}"),
            _ => {
                assert!(
                    damage(&network.capture, &harms, 2).unwrap() != one
                        || name == "cut"
                        || name.ends_with("only"),
                    "{name}"
                );
                assert!(
                    rest > 0 && rest < total,
                    "{name} leaves {rest} of {total} messages"
                );
            }
        }
    }
}
