//! What taps do to captures.

use bftap_model::{Direction, Nanos};

use super::connections::{Connections, Place};
use super::headers::{Segment, segment};
use super::pcap::{CaptureError, packets};
use crate::impair::{self, Packet, Seed};

/// One kind of damage. Shares are in a million.
///
/// Connections are told by their SYNs in the undamaged capture; packets of those that began before it are left alone by what
/// acts on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Packets are lost, each by itself.
    Drop {
        /// Of all packets.
        share: u32,
    },
    /// Packets in a row are lost, 1 to `longest`.
    Bursts {
        /// How often a packet begins such a row.
        share: u32,
        /// Most packets in a row.
        longest: usize,
    },
    /// Everything before this time after the first packet is missing: sessions are joined in the middle.
    Cut {
        /// Since the first packet.
        before: Nanos,
    },
    /// Packets are cut to a length; on the wire they were longer.
    Snap {
        /// Of all packets.
        share: u32,
        /// Bytes that stay, from the Ethernet header on.
        len: usize,
    },
    /// Packets are there twice, one behind the other.
    Duplicate {
        /// Of all packets.
        share: u32,
    },
    /// Packets come late, behind up to `window` others. The times of capture stay in order.
    Reorder {
        /// Of all packets.
        share: u32,
        /// How far behind.
        window: usize,
    },
    /// One direction of a connection is missing, acknowledgements included.
    OneWay {
        /// Of all connections.
        share: u32,
        /// The direction that stays.
        keep: Direction,
    },
    /// Packets with SYN are lost.
    DropSyns {
        /// Of those packets.
        share: u32,
    },
    /// Everything that carries some of the first bytes of one direction is lost: the one half of the RLPx handshake.
    DropBegin {
        /// Of all connections.
        share: u32,
        /// Whose bytes.
        direction: Direction,
        /// How many.
        bytes: u64,
    },
}

/// The capture with these harms done to it, one after the other. The same seed does the same; the result has nanoseconds.
pub fn damage(capture: &[u8], harms: &[Harm], seed: u64) -> Result<Vec<u8>, CaptureError> {
    let mut connections = Connections::default();
    let mut seen: Vec<Seen> = packets(capture)?
        .into_iter()
        .map(|packet| {
            let segment = segment(&packet.1);
            let place = segment.and_then(|segment| connections.place(&segment));
            Seen {
                packet,
                segment,
                place,
            }
        })
        .collect();
    for (number, harm) in harms.iter().enumerate() {
        // The same kind twice does not hit the same packets.
        let seed = Seed(Seed(seed).next_number().wrapping_add(number as u64));
        harm.act(&mut seen, seed);
    }
    let packets: Vec<Packet> = seen.into_iter().map(|seen| seen.packet).collect();
    Ok(impair::pcap(&packets))
}

/// Damages worth trying, with names: each alone, and some that come together.
pub fn scenarios() -> Vec<(&'static str, Vec<Harm>)> {
    let (initiator, recipient) = (Direction::FromInitiator, Direction::FromRecipient);
    let begin = |direction, share| Harm::DropBegin {
        share,
        direction,
        bytes: 300,
    };
    let cut = Harm::Cut {
        before: Nanos::from_secs(4),
    };
    let drop = |share| Harm::Drop { share };
    let bursts = Harm::Bursts {
        share: 500,
        longest: 20,
    };
    let snap = Harm::Snap {
        share: 5_000,
        len: 128,
    };
    let duplicate = Harm::Duplicate { share: 300_000 };
    let reorder = Harm::Reorder {
        share: 50_000,
        window: 8,
    };
    vec![
        ("few lost", vec![drop(1_000)]),
        ("many lost", vec![drop(20_000)]),
        ("bursts", vec![bursts]),
        ("cut", vec![cut]),
        ("snapped", vec![snap]),
        ("duplicated", vec![duplicate]),
        ("reordered", vec![reorder]),
        (
            "initiator only",
            vec![Harm::OneWay {
                share: ALL,
                keep: initiator,
            }],
        ),
        (
            "recipient only",
            vec![Harm::OneWay {
                share: ALL,
                keep: recipient,
            }],
        ),
        ("without SYN", vec![Harm::DropSyns { share: ALL }]),
        ("without auth", vec![begin(initiator, ALL)]),
        ("without ack", vec![begin(recipient, ALL)]),
        (
            "without handshake",
            vec![begin(initiator, ALL), begin(recipient, ALL)],
        ),
        (
            "half of the handshakes",
            vec![begin(initiator, 500_000), begin(recipient, 500_000)],
        ),
        ("cut, lost", vec![cut, drop(5_000)]),
        ("cut, snapped, bursts", vec![cut, snap, bursts]),
        (
            "lost, duplicated, reordered",
            vec![drop(5_000), duplicate, reorder],
        ),
        (
            "everything",
            vec![
                Harm::DropSyns { share: 500_000 },
                begin(initiator, 300_000),
                Harm::OneWay {
                    share: 200_000,
                    keep: recipient,
                },
                snap,
                bursts,
                drop(2_000),
                duplicate,
                reorder,
            ],
        ),
    ]
}

struct Seen {
    packet: Packet,
    segment: Option<Segment>,
    place: Option<Place>,
}

impl Harm {
    fn act(self, seen: &mut Vec<Seen>, mut seed: Seed) {
        match self {
            Self::Drop { share } => seen.retain(|_| !chance(&mut seed, share)),
            Self::Bursts { share, longest } => {
                let mut left = 0;
                seen.retain(|_| {
                    if left == 0 && chance(&mut seed, share) {
                        left = 1 + seed.below(longest.max(1));
                    }
                    let lost = left > 0;
                    left -= usize::from(lost);
                    !lost
                });
            }
            Self::Cut { before } => {
                let first = seen.first().map_or(0, |seen| seen.packet.0);
                seen.retain(|seen| seen.packet.0 - first >= before.0);
            }
            Self::Snap { share, len } => {
                for seen in seen {
                    if chance(&mut seed, share) {
                        seen.packet.1.truncate(len);
                    }
                }
            }
            Self::Duplicate { share } => {
                let doubled = std::mem::take(seen).into_iter().flat_map(|one| {
                    let again = chance(&mut seed, share).then(|| Seen {
                        packet: one.packet.clone(),
                        segment: one.segment,
                        place: one.place.clone(),
                    });
                    [Some(one), again]
                });
                *seen = doubled.flatten().collect();
            }
            Self::Reorder { share, window } => {
                let times: Vec<i64> = seen.iter().map(|seen| seen.packet.0).collect();
                let moved = |(index, seen): (usize, Seen)| {
                    let late = chance(&mut seed, share);
                    let by = if late { 1 + seed.below(window.max(1)) } else { 0 };
                    // Behind the packet whose place it takes.
                    ((index + by, late), seen)
                };
                let mut order: Vec<_> = std::mem::take(seen).into_iter().enumerate().map(moved).collect();
                order.sort_by_key(|(place, _)| *place);
                *seen = order.into_iter().map(|(_, seen)| seen).collect();
                for (seen, time) in seen.iter_mut().zip(times) {
                    seen.packet.0 = time;
                }
            }
            Self::OneWay { share, keep } => seen.retain(|seen| {
                let lost = |place: &Place| place.direction != keep && hit(&seed, place, share);
                !seen.place.as_ref().is_some_and(lost)
            }),
            Self::DropSyns { share } => seen.retain(|seen| {
                let syn = seen
                    .segment
                    .is_some_and(|segment| segment.is_syn() || segment.is_syn_ack());
                !(syn && chance(&mut seed, share))
            }),
            Self::DropBegin {
                share,
                direction,
                bytes,
            } => seen.retain(|seen| {
                let lost = |place: &Place| {
                    let begins = place
                        .stream
                        .as_ref()
                        .is_some_and(|stream| stream.start < bytes && !stream.is_empty());
                    place.direction == direction && begins && hit(&seed, place, share)
                };
                !seen.place.as_ref().is_some_and(lost)
            }),
        }
    }
}

/// True for a share of the calls.
fn chance(seed: &mut Seed, share: u32) -> bool {
    seed.below(ALL as usize) < share as usize
}

/// True for a share of the connections: the same for all packets of one.
fn hit(seed: &Seed, place: &Place, share: u32) -> bool {
    let own = (place.connection as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    chance(&mut Seed(seed.0 ^ own), share)
}

const ALL: u32 = 1_000_000;
