//! Entry points of the fuzz targets, kept beside the code so that unit tests run them too.
//!
//! Each takes any bytes and panics when a promise of this crate does not hold.

use std::borrow::Cow;
use std::sync::Arc;

use bftap_model::{
    CaptureTime, Direction, Endpoint, FlowKey, MAX_PEER_TEXT, Side, StreamChunk, StreamGap, StreamItem,
    StreamOffset,
};

use crate::handshake::{Handshake, Hints, delimit};
use crate::hello::Hello;
use crate::keylog::{KeyLog, LastLine, MAX_PROBLEMS, parse_key_log};
use crate::legacy::{legacy_label, parse_legacy};
use crate::sample::Sample;
use crate::snappy::{MAX_DECOMPRESSED, SnappyReader};
use crate::status::Status;
use crate::{Recognised, SecretStore, SessionDecoder, SessionOptions, SessionOutput, SessionSummary};

/// Reads bytes as a key log, whole and as it grows, and as a key file of the original tool.
pub fn fuzz_keylog(data: &[u8]) {
    let whole = parse_key_log(data, 1, LastLine::Whole);
    assert_eq!(whole.consumed, data.len());
    assert!(whole.problems.len() <= MAX_PROBLEMS);
    let cut = data.len() / 2;
    let first = parse_key_log(&data[..cut], 1, LastLine::MayGrow);
    let second = parse_key_log(&data[first.consumed..], first.lines + 1, LastLine::Whole);
    let lines = |log: &KeyLog| {
        log.problems
            .iter()
            .map(|problem| problem.line)
            .collect::<Vec<_>>()
    };
    if whole.problem_count <= MAX_PROBLEMS as u64 {
        assert_eq!([lines(&first), lines(&second)].concat(), lines(&whole));
    }
    assert_eq!([first.entries, second.entries].concat(), whole.entries);
    if parse_legacy(data).is_err() {
        let name = String::from_utf8_lossy(data);
        let label = legacy_label(&name);
        assert!(
            !label
                .split(|c: char| !c.is_ascii_hexdigit())
                .any(|run| run.len() >= 48),
            "{label}"
        );
    }
}

/// Takes bytes for what stands behind a handshake: as they are, and as the contents of valid frames.
pub fn fuzz_frames(data: &[u8]) {
    let [chunk, bytes @ ..] = data else { return };
    let mut raw = Sample::new(*chunk, None);
    raw.hello(Direction::FromInitiator);
    raw.streams[0].extend_from_slice(bytes);
    raw.streams[1].extend_from_slice(bytes);
    check_sample(&raw, usize::from(*chunk) + 1);

    let mut framed = Sample::new(*chunk, Some(*chunk % 5));
    let mut contents = bytes.split(|&byte| byte == 0xfe);
    for (index, content) in contents.by_ref().take(64).enumerate() {
        let direction = if index % 2 == 0 {
            Direction::FromInitiator
        } else {
            Direction::FromRecipient
        };
        if index < 2 && content.is_empty() {
            framed.hello(direction);
        } else {
            framed.frame(direction, content);
        }
    }
    let summary = check_sample(&framed, usize::from(*chunk) + 1);
    assert_eq!(
        (summary.mac_failures, summary.lost_bytes, summary.incomplete_bytes),
        (0, 0, 0)
    );
}

/// Takes bytes for the two streams of a connection of which nothing is known.
pub fn fuzz_handshake(data: &[u8]) {
    let [cut, bytes @ ..] = data else { return };
    let (low, high) = bytes.split_at(bytes.len() * usize::from(*cut) / 256);
    let known = |packet: &[u8]| packet.len() % 2 == 1;
    for syn_from in [None, Some(Side::Low), Some(Side::High)] {
        let hints = Hints {
            syn_from,
            spoke_first: Some(Side::High),
            fallback: Side::Low,
            more: [cut % 2 == 0, cut % 3 == 0],
            is_known_auth: &known,
        };
        if let Handshake::Split(split) = delimit([low, high], &hints) {
            assert!(split.packets[0].end <= low.len() && split.packets[1].end <= high.len());
            assert!(
                split
                    .packets
                    .iter()
                    .all(|packet| packet.start <= 1 && packet.len() >= 210)
            );
            assert!(syn_from.is_none_or(|side| side == split.initiator));
        }
    }
    let streams = [low.to_vec(), high.to_vec()];
    decode(&streams, usize::from(*cut) + 1, &SecretStore::new(), None);
}

/// Reads bytes as a Hello.
pub fn fuzz_hello(data: &[u8]) {
    if let Ok(hello) = Hello::parse(data) {
        assert!(
            hello.client.len() <= MAX_PEER_TEXT + '…'.len_utf8() && !hello.client.contains(char::is_control)
        );
        for offer in &hello.capabilities {
            assert!(!offer.to_string().contains(char::is_control));
        }
        let agreed = crate::capability::Agreed::between(&hello, &hello);
        for code in 0..300 {
            agreed.meaning(code);
        }
    }
}

/// Decompresses bytes, twice with one buffer.
pub fn fuzz_snappy(data: &[u8]) {
    let mut reader = SnappyReader::default();
    if let Ok(len) = reader.decompress(data) {
        assert!(len as u64 <= MAX_DECOMPRESSED && len <= data.len() * 22);
        let first = reader.output(len).to_vec();
        assert_eq!(reader.decompress(data), Ok(len));
        assert_eq!(reader.output(len), first);
    }
}

/// Reads bytes as a Status.
pub fn fuzz_status(data: &[u8]) {
    if let Ok(status) = Status::parse(data) {
        assert_eq!(Status::parse(data), Ok(status));
    }
}

/// Decodes a sample in pieces; every byte must be accounted for.
pub fn check_sample(sample: &Sample, chunk: usize) -> SessionSummary {
    let secrets = SecretStore::new();
    secrets.add(sample.key_log_entry(), &"sample".into());
    let summary = decode(&sample.streams, chunk, &secrets, None);
    if matches!(summary.recognised, Recognised::Decrypted | Recognised::Lost) {
        let all: u64 = summary.stream_bytes.iter().sum();
        let behind = all - sample.handshake.iter().sum::<usize>() as u64;
        assert!(
            summary.lost_bytes + summary.incomplete_bytes + 48 * summary.frames.iter().sum::<u64>() <= behind
        );
    }
    summary
}

/// Decodes two streams in pieces of `chunk` bytes, the initiator's (which is the high side) first in each turn.
///
/// `hole` leaves out these bytes of one direction.
pub fn decode(
    streams: &[Vec<u8>; 2],
    chunk: usize,
    secrets: &SecretStore,
    hole: Option<(Direction, std::ops::Range<usize>)>,
) -> SessionSummary {
    let end = |port| Endpoint {
        ip: [10, 0, 0, 1].into(),
        port,
    };
    let key = FlowKey {
        low: end(32_323),
        high: end(40_000),
    };
    let mut decoder = SessionDecoder::new(Arc::new(SessionOptions::default()), key, Some(Side::High));
    let mut used = [0; 2];
    while used[0] < streams[0].len() || used[1] < streams[1].len() {
        for (direction, side) in [
            (Direction::FromInitiator, Side::High),
            (Direction::FromRecipient, Side::Low),
        ] {
            let at = &mut used[direction.index()];
            let stream = &streams[direction.index()];
            let mut next = stream.len().min(*at + chunk);
            let offset = StreamOffset(*at as u64);
            let seen = CaptureTime::from_nanos(*at as i64);
            let mut missing = 0;
            if let Some((hole_direction, hole)) = &hole
                && *hole_direction == direction
            {
                if hole.contains(at) {
                    missing = hole.end - *at;
                } else if *at < hole.start {
                    next = next.min(hole.start);
                }
            }
            let item = if missing > 0 {
                next = *at + missing;
                StreamItem::Gap(StreamGap {
                    offset,
                    len: missing as u64,
                    seen,
                })
            } else {
                StreamItem::Data(StreamChunk {
                    offset,
                    seen,
                    bytes: Cow::Borrowed(&stream[*at..next]),
                })
            };
            *at = next;
            decoder.push(side, item, secrets);
            drain(&mut decoder);
        }
    }
    decoder.finish(secrets);
    drain(&mut decoder);
    decoder.summary()
}

fn drain(decoder: &mut SessionDecoder) {
    while let Some(output) = decoder.poll() {
        if let SessionOutput::Message(message) = output {
            assert!(message.wire_len >= 48 && message.wire_len % 16 == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that look random, the same in every run.
    fn noise(seed: u8, len: usize) -> Vec<u8> {
        let block = |i: usize| bftap_model::keccak256(&[seed, i as u8, (i >> 8) as u8]).0;
        (0..len.div_ceil(32)).flat_map(block).take(len).collect()
    }

    #[test]
    fn noise_breaks_no_promise() {
        for seed in 0..64 {
            for len in [0, 1, 2, 17, 64, 400, 1500] {
                let bytes = noise(seed, len);
                fuzz_keylog(&bytes);
                fuzz_frames(&bytes);
                fuzz_handshake(&bytes);
                fuzz_hello(&bytes);
                fuzz_snappy(&bytes);
                fuzz_status(&bytes);
            }
        }
    }

    #[test]
    fn near_misses_break_no_promise() {
        let mut sample = Sample::new(3, Some(0));
        sample.hello(Direction::FromInitiator);
        let [auth, ack] = &sample.streams;
        let streams = [&[128], &ack[..300], &auth[..300]].concat();
        let hello: Vec<u8> = {
            let mut stream = rlp::RlpStream::new_list(6);
            stream
                .append(&5_u8)
                .append(&"c\x1b")
                .begin_list(1)
                .begin_list(2)
                .append(&"istanbul")
                .append(&64_u8);
            stream
                .begin_list(1)
                .append(&32_323_u16)
                .append(&vec![9; 64])
                .append(&1_u8);
            stream.out().to_vec()
        };
        let log = format!(
            "RLPX {0} {0} {0} {0} {0}\nRLPX-AES {0} session={0}\n",
            "0a".repeat(32)
        );
        let snappy = [
            &[0x90, 0x03, 0x00, 42][..],
            &[0xfe, 1, 0].repeat(6),
            &[15 << 2 | 2, 1, 0],
        ]
        .concat();
        let frames = [
            &[7, 0xfe, 0xfe][..],
            &[0x10, 0x05, 0x10, 0xc4, 1, 2, 3, 4, 0xfe, 0x01, 0xc1, 0x04],
        ]
        .concat();
        type Target = fn(&[u8]);
        let targets: [(&[u8], Target); 5] = [
            (&streams, fuzz_handshake),
            (&hello, fuzz_hello),
            (log.as_bytes(), fuzz_keylog),
            (&snappy, fuzz_snappy),
            (&frames, fuzz_frames),
        ];
        for (seed, target) in targets {
            target(seed);
            for at in 0..seed.len() {
                target(&seed[..at]);
                for bit in 0..8 {
                    let mut flipped = seed.to_vec();
                    flipped[at] ^= 1 << bit;
                    target(&flipped);
                }
            }
        }
    }
}
