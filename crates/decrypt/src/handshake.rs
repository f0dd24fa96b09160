//! Where auth and ack end, told from their shape alone, without any key.
//!
//! Shapes: WIRE-FORMATS 1 (connection-type byte), 2.1 (packets), 2.2 (tests). Both packets are plain or both EIP-8, and either
//! both ends send a connection-type byte or none does. Where more than one reading is left, the key-free check decides: both
//! directions use the same key stream from block 0 on, so the first two frame headers differ in their sizes only.

use std::ops::Range;

use bftap_model::Side;

use crate::keystream::BLOCK_LEN;

/// What the two streams of a connection look like so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// They may be a handshake; more bytes will tell.
    NeedMore,
    /// They begin like a handshake that never finished.
    Unfinished,
    /// They are something else.
    NotRlpx,
    /// Auth and ack are complete, and this is where they are.
    Split(Split),
}

/// Where the handshake ends and frames begin. Pairs are by [`Side::index`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The end that dialled.
    pub initiator: Side,
    /// Klaytn's and Kaia's connection-type bytes, where there are any.
    pub connection_type: Option<[u8; 2]>,
    /// Auth (on the initiator's side) and ack, with their size prefix; frames begin behind them.
    pub packets: [Range<usize>; 2],
    /// What the first two frame headers say about this reading.
    pub headers: HeaderCheck,
}

/// Outcome of the key-free check of the first two frame headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderCheck {
    /// They are not there yet.
    NotYet,
    /// They fit, to 104 bits.
    Agree,
    /// They do not fit: not frames, or headers with an unusual constant part.
    Disagree,
}

/// What is known besides the bytes.
pub struct Hints<'a> {
    /// Who sent the SYN.
    pub syn_from: Option<Side>,
    /// Who sent its first packet first, after the connection-type byte.
    pub spoke_first: Option<Side>,
    /// Who is taken for the initiator when nothing else tells.
    pub fallback: Side,
    /// Whether more bytes can come from each side.
    pub more: [bool; 2],
    /// Whether a secret is known for the session that starts with this auth packet.
    pub is_known_auth: &'a dyn Fn(&[u8]) -> bool,
}

/// Looks for auth and ack in the first bytes of both streams, by [`Side::index`].
///
/// Looks at no more than the first [`MAX_LOOK`] bytes of each.
pub fn delimit(streams: [&[u8]; 2], hints: &Hints<'_>) -> Handshake {
    let mut complete: Vec<Reading> = Vec::new();
    let mut pending = false;
    let mut unfinished = false;
    for (format, preamble) in SHAPES {
        for initiator in Side::BOTH {
            if hints.syn_from.is_some_and(|side| side != initiator) {
                continue;
            }
            let parts = Side::BOTH.map(|side| {
                let role = if side == initiator { Role::Auth } else { Role::Ack };
                packet(streams[side.index()], format, preamble, role)
            });
            match parts {
                [Part::Complete(low), Part::Complete(high)] => {
                    let packets = [low, high];
                    let headers = check_headers(streams, &packets);
                    complete.push(Reading {
                        initiator,
                        format,
                        preamble,
                        packets,
                        headers,
                    });
                }
                [Part::Impossible, _] | [_, Part::Impossible] => {}
                parts => {
                    unfinished = true;
                    let stuck = |side: Side| parts[side.index()] == Part::Begun && !hints.more[side.index()];
                    pending |= !Side::BOTH.into_iter().any(stuck);
                }
            }
        }
    }
    if complete.is_empty() {
        return match (pending, unfinished) {
            (true, _) => Handshake::NeedMore,
            (false, true) => Handshake::Unfinished,
            (false, false) => Handshake::NotRlpx,
        };
    }

    let auth = |reading: &Reading| {
        let side = reading.initiator.index();
        &streams[side][reading.packets[side].clone()]
    };
    let known: Vec<bool> = complete
        .iter()
        .map(|reading| (hints.is_known_auth)(auth(reading)))
        .collect();
    let mut known = known.into_iter();
    let mut readings: Vec<(bool, Reading)> = complete
        .into_iter()
        .map(|reading| (known.next().unwrap_or(false), reading))
        .collect();

    let decided = readings
        .iter()
        .any(|(known, reading)| *known || reading.headers == HeaderCheck::Agree);
    if !decided {
        let first = &readings[0].1;
        let unambiguous = !pending
            && readings
                .iter()
                .all(|(_, reading)| reading.packets == first.packets);
        let more = hints.more.iter().all(|&more| more);
        let waiting = pending
            || readings
                .iter()
                .any(|(_, reading)| reading.headers == HeaderCheck::NotYet);
        if !unambiguous && more && waiting {
            return Handshake::NeedMore;
        }
    }
    readings.sort_by_key(|(known, reading)| std::cmp::Reverse(reading.rank(*known, hints)));
    let (_, best) = readings.swap_remove(0);
    let byte = |side: Side| streams[side.index()][0];
    Handshake::Split(Split {
        initiator: best.initiator,
        connection_type: best.preamble.then(|| Side::BOTH.map(byte)),
        packets: best.packets,
        headers: best.headers,
    })
}

/// Most bytes of a stream that [`delimit`] looks at: a connection-type byte, the longest packet and a frame header.
pub const MAX_LOOK: usize = 1 + 2 + MAX_EIP8_SIZE + BLOCK_LEN;

/// One way to read both streams.
#[derive(Debug)]
struct Reading {
    initiator: Side,
    format: Format,
    preamble: bool,
    packets: [Range<usize>; 2],
    headers: HeaderCheck,
}

impl Reading {
    /// How well it fits, the strongest sign first.
    fn rank(&self, known: bool, hints: &Hints<'_>) -> [u8; 6] {
        let headers = match self.headers {
            HeaderCheck::Agree => 2,
            HeaderCheck::NotYet => 1,
            HeaderCheck::Disagree => 0,
        };
        let initiator = self.initiator.index();
        let auth_len = self.packets[initiator].len();
        let ack_len = self.packets[1 - initiator].len();
        let usual = match self.format {
            Format::Plain => true,
            Format::Eip8 => USUAL_AUTH.contains(&auth_len) && USUAL_ACK.contains(&ack_len),
        };
        [
            headers,
            known.into(),
            usual.into(),
            (self.format == Format::Eip8).into(),
            (hints.spoke_first == Some(self.initiator)).into(),
            (hints.fallback == self.initiator).into(),
        ]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Plain,
    Eip8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Auth,
    Ack,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Impossible,
    /// What is there fits, and more belongs to it.
    Begun,
    Complete(Range<usize>),
}

const SHAPES: [(Format, bool); 4] = [
    (Format::Eip8, true),
    (Format::Eip8, false),
    (Format::Plain, true),
    (Format::Plain, false),
];

/// How much of a handshake packet of this shape is in `stream`.
fn packet(stream: &[u8], format: Format, preamble: bool, role: Role) -> Part {
    let mut packet = stream;
    if preamble {
        match stream.split_first() {
            None => return Part::Begun,
            Some((&connection_type, _)) if connection_type > MAX_CONNECTION_TYPE => return Part::Impossible,
            Some((_, rest)) => packet = rest,
        }
    }
    let (len, point) = match format {
        Format::Plain => (
            if role == Role::Auth { PLAIN_AUTH } else { PLAIN_ACK },
            packet.first(),
        ),
        Format::Eip8 => {
            let min = if role == Role::Auth {
                MIN_EIP8_AUTH
            } else {
                MIN_EIP8_ACK
            };
            let size = match *packet {
                [] => return Part::Begun,
                // Any size with this first byte will do as long as the second one is not there.
                [high] => usize::from(u16::from_be_bytes([high, 0xff])).min(MAX_EIP8_SIZE),
                [high, low, ..] => u16::from_be_bytes([high, low]).into(),
            };
            let first_fits = packet
                .first()
                .is_some_and(|&high| usize::from(high) << 8 <= MAX_EIP8_SIZE);
            if !first_fits || !(min..=MAX_EIP8_SIZE).contains(&size) {
                return Part::Impossible;
            }
            (2 + size, packet.get(2))
        }
    };
    if point.is_some_and(|&byte| byte != UNCOMPRESSED_POINT) {
        return Part::Impossible;
    }
    let start = usize::from(preamble);
    if packet.len() < len {
        Part::Begun
    } else {
        Part::Complete(start..start + len)
    }
}

fn check_headers(streams: [&[u8]; 2], packets: &[Range<usize>; 2]) -> HeaderCheck {
    let header = |side: usize| streams[side].get(packets[side].end..)?.first_chunk::<BLOCK_LEN>();
    match (header(0), header(1)) {
        (Some(low), Some(high)) if low[3..] == high[3..] => HeaderCheck::Agree,
        (Some(_), Some(_)) => HeaderCheck::Disagree,
        _ => HeaderCheck::NotYet,
    }
}

/// Highest connection type that Klaytn and Kaia define (`common/types.go`, `ConnType`).
const MAX_CONNECTION_TYPE: u8 = 4;
/// First byte of an uncompressed secp256k1 point, with which every ECIES ciphertext starts.
const UNCOMPRESSED_POINT: u8 = 0x04;
/// A plain auth packet: 194 bytes and 113 of ECIES.
const PLAIN_AUTH: usize = 307;
/// A plain ack packet: 97 bytes and 113 of ECIES.
const PLAIN_ACK: usize = 210;
/// Size field of an EIP-8 auth without any padding: 169 bytes of RLP and 113 of ECIES.
const MIN_EIP8_AUTH: usize = 282;
/// Size field of an EIP-8 ack without any padding: 102 bytes of RLP and 113 of ECIES.
const MIN_EIP8_ACK: usize = 215;
/// Largest size field that go-ethereum accepts.
const MAX_EIP8_SIZE: usize = 2048;
/// Auth packets with the padding that clients use, 100 to 299 bytes; see WIRE-FORMATS 2.1.
const USUAL_AUTH: Range<usize> = 384..584;
/// Ack packets with that padding.
const USUAL_ACK: Range<usize> = 317..517;

#[cfg(test)]
mod tests {
    use super::*;

    const HINTS: Hints<'static> = Hints {
        syn_from: Some(Side::High),
        spoke_first: None,
        fallback: Side::High,
        more: [true; 2],
        is_known_auth: &|_| false,
    };

    fn eip8(len: usize) -> Vec<u8> {
        let mut packet = vec![0x77; len];
        packet[..2].copy_from_slice(&(len as u16 - 2).to_be_bytes());
        packet[2] = 0x04;
        packet
    }

    fn with_type(byte: u8, packet: Vec<u8>) -> Vec<u8> {
        [vec![byte], packet].concat()
    }

    fn split(low: &[u8], high: &[u8], hints: &Hints<'_>) -> Split {
        match delimit([low, high], hints) {
            Handshake::Split(split) => split,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_shape_is_found_at_its_last_byte_and_not_before() {
        let mut plain_auth = vec![0x99; 307];
        plain_auth[0] = 0x04;
        let mut plain_ack = vec![0x99; 210];
        plain_ack[0] = 0x04;
        for (auth, ack, types) in [
            (eip8(400), eip8(330), None),
            (with_type(0, eip8(399)), with_type(0, eip8(411)), Some([0, 0])),
            (with_type(1, eip8(583)), with_type(2, eip8(317)), Some([2, 1])),
            (plain_auth.clone(), plain_ack.clone(), None),
            (with_type(3, plain_auth), with_type(0, plain_ack), Some([0, 3])),
            (eip8(284), eip8(217), None),
        ] {
            for cut in 0..auth.len() {
                assert_eq!(
                    delimit([&ack, &auth[..cut]], &HINTS),
                    Handshake::NeedMore,
                    "auth cut at {cut}"
                );
                let ended = Hints {
                    more: [true, false],
                    ..HINTS
                };
                assert_eq!(
                    delimit([&ack, &auth[..cut]], &ended),
                    Handshake::Unfinished,
                    "auth ends at {cut}"
                );
            }
            for cut in 0..ack.len() {
                assert_eq!(
                    delimit([&ack[..cut], &auth], &HINTS),
                    Handshake::NeedMore,
                    "ack cut at {cut}"
                );
            }
            let found = split(&ack, &auth, &HINTS);
            assert_eq!(found.connection_type, types);
            let start = usize::from(types.is_some());
            assert_eq!(found.packets, [start..ack.len(), start..auth.len()]);
            assert_eq!(found.initiator, Side::High);
        }
    }

    #[test]
    fn other_protocols_are_refused_early() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01\x02\x00",
            b"\x01\x80\x05",
            b"\x00\x09",
            b"SSH-2.0",
        ] {
            assert_eq!(delimit([b"", bytes], &HINTS), Handshake::NotRlpx);
        }
        assert_eq!(delimit([b"HTTP", &eip8(400)], &HINTS), Handshake::NotRlpx);
        // One end with a connection-type byte and the other without is no handshake.
        assert_eq!(
            delimit([&with_type(0, eip8(330)), &eip8(400)], &HINTS),
            Handshake::NotRlpx
        );
    }

    #[test]
    fn simultaneously_cut_dials_are_unfinished() {
        let ended = Hints {
            more: [false; 2],
            ..HINTS
        };
        for streams in [[&b"\0"[..], b"\0"], [b"\0", b""], [b"", b"\x01"]] {
            assert_eq!(delimit(streams, &HINTS), Handshake::NeedMore);
            assert_eq!(delimit(streams, &ended), Handshake::Unfinished);
        }
    }

    /// A PN's type byte and a size of 0x0204: the same bytes are a size of 0x0202 with a point behind it.
    #[test]
    fn an_ambiguous_start_is_decided_by_the_first_headers() {
        let mut auth = with_type(2, eip8(518));
        auth[1..4].copy_from_slice(&[0x02, 0x04, 0x04]);
        auth[2] = 0x04;
        let mut ack = with_type(2, eip8(518));
        ack[1..4].copy_from_slice(&[0x02, 0x04, 0x04]);
        let both_done = 519;
        assert_eq!((auth.len(), ack.len()), (both_done, both_done));
        assert_eq!(delimit([&ack, &auth], &HINTS), Handshake::NeedMore);
        let header_a: [u8; 16] = std::array::from_fn(|i| i as u8 * 9);
        let mut header_b = header_a;
        header_b[1] ^= 0x55;
        auth.extend_from_slice(&header_a);
        ack.extend_from_slice(&header_b);
        let found = split(&ack, &auth, &HINTS);
        assert_eq!(
            (found.connection_type, found.headers),
            (Some([2, 2]), HeaderCheck::Agree)
        );
        assert_eq!(found.packets, [1..both_done, 1..both_done]);
    }

    #[test]
    fn an_ambiguous_start_is_decided_by_a_known_auth() {
        let mut auth = with_type(2, eip8(518));
        auth[1..4].copy_from_slice(&[0x02, 0x04, 0x04]);
        let ack = auth.clone();
        let expected = auth[1..].to_vec();
        let known = move |packet: &[u8]| packet == expected;
        let hints = Hints {
            is_known_auth: &known,
            ..HINTS
        };
        assert_eq!(split(&ack, &auth, &hints).connection_type, Some([2, 2]));
    }

    #[test]
    fn without_a_syn_the_initiator_is_found_by_shape_then_by_time() {
        let hints = Hints {
            syn_from: None,
            spoke_first: Some(Side::Low),
            ..HINTS
        };
        assert_eq!(
            split(&eip8(330), &eip8(400), &hints).initiator,
            Side::High,
            "330 bytes are an ack"
        );
        assert_eq!(
            split(&eip8(400), &eip8(550), &hints).initiator,
            Side::High,
            "550 bytes are an auth"
        );
        assert_eq!(
            split(&eip8(450), &eip8(400), &hints).initiator,
            Side::Low,
            "either; it spoke first"
        );
        let unknown = Hints {
            spoke_first: None,
            ..hints
        };
        assert_eq!(
            split(&eip8(450), &eip8(400), &unknown).initiator,
            Side::High,
            "either; by ports"
        );
        let known = |packet: &[u8]| packet.len() == 450;
        let by_secret = Hints {
            is_known_auth: &known,
            ..unknown
        };
        assert_eq!(split(&eip8(450), &eip8(400), &by_secret).initiator, Side::Low);
    }

    #[test]
    fn headers_that_disagree_are_told() {
        let low = [eip8(330), vec![1; 16]].concat();
        let high = [eip8(400), vec![2; 16]].concat();
        assert_eq!(split(&low, &high, &HINTS).headers, HeaderCheck::Disagree);
    }
}
