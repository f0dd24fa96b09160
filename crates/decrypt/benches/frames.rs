//! How fast frames are read, beside the cryptography that cannot be avoided over the same bytes.
//!
//! `cargo bench -p bftap-decrypt`; throughput is in stream bytes, so that all lines of a group compare.

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;

use aes::Aes256Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use bftap_decrypt::frame::{FrameReader, MacCheck};
use bftap_decrypt::keccak::keccak_f1600;
use bftap_decrypt::keystream::Keystream;
use bftap_decrypt::mac::FrameMac;
use bftap_decrypt::sample::Sample;
use bftap_decrypt::{SecretStore, SessionDecoder, SessionOptions, SessionOutput};
use bftap_model::{CaptureTime, Direction, Endpoint, FlowKey, Side, StreamChunk, StreamItem, StreamOffset};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Frames of one size: how many make a run, bytes of content, bytes of a TCP segment.
const SIZES: [(&str, usize, usize, usize); 2] = [("256 B", 1000, 256, 304), ("64 KiB", 40, 64 << 10, 1448)];

const FROM: Direction = Direction::FromInitiator;

fn frames(criterion: &mut Criterion) {
    for (name, count, len, segment) in SIZES {
        let mut sample = Sample::new(7, None);
        let start = sample.streams[0].len();
        let content: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        for _ in 0..count {
            sample.frame(FROM, &content);
        }
        let stream = &sample.streams[0][start..];
        let auth = &sample.streams[0][..start];
        let mac = sample.secrets.mac.clone().expect("a sample has all secrets");

        let mut group = criterion.benchmark_group(format!("{count} frames of {name}"));
        group.throughput(Throughput::Bytes(stream.len() as u64));
        let read = |check: MacCheck| {
            let mut reader = FrameReader::new(
                Keystream::new(&sample.secrets.aes),
                StreamOffset(start as u64),
                check,
            );
            let mut read = 0;
            for bytes in stream.chunks(segment) {
                reader.push(bytes, CaptureTime::MIN);
                while let Some(frame) = reader.poll() {
                    read += frame.expect("the sample is whole").data.len();
                }
            }
            assert_eq!(read, count * len);
            read
        };
        let running = || MacCheck::Running(Box::new(FrameMac::new(&mac.secret, &mac.recipient_nonce, auth)));
        group.bench_function("FrameReader with MACs", |b| b.iter(|| read(running())));
        group.bench_function("FrameReader without MACs", |b| b.iter(|| read(MacCheck::Skipped)));

        let encrypted = len.next_multiple_of(16);
        group.bench_function("floor: AES-256-CTR alone", |b| {
            let mut body = vec![0; encrypted + 16];
            b.iter(|| {
                let mut keystream = Keystream::new(&sample.secrets.aes);
                for _ in 0..count {
                    keystream.apply(&mut body);
                }
                body[0]
            });
        });
        group.bench_function("floor: Keccak permutations and MAC ciphers alone", |b| {
            // Per frame: three digests, two seeds of one block each, and what is absorbed.
            let permutations = count * 3 + count * (encrypted + 2 * 16) / 136;
            let cipher = Aes256Enc::new(mac.secret.expose().into());
            b.iter(|| {
                let mut state = [0; 25];
                let mut block = Default::default();
                for _ in 0..permutations {
                    keccak_f1600(&mut state);
                }
                for _ in 0..2 * count {
                    cipher.encrypt_block(&mut block);
                }
                (state[0], block)
            });
        });
        group.finish();
    }
}

/// A whole session of 256-byte messages, Snappy and meanings included.
fn sessions(criterion: &mut Criterion) {
    const MESSAGES: u64 = 1000;
    let mut sample = Sample::new(9, Some(0));
    sample.hello(FROM);
    sample.hello(FROM.other());
    let mut random = 1_u32;
    let payload: Vec<u8> = std::iter::repeat_with(|| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as u8
    })
    .take(250)
    .collect();
    for _ in 0..MESSAGES {
        sample.message(FROM, 0x21, &payload);
    }
    let secrets = SecretStore::new();
    secrets.add(sample.key_log_entry(), &"sample".into());
    let end = |port| Endpoint {
        ip: [10, 0, 0, 1].into(),
        port,
    };
    let key = FlowKey {
        low: end(32_323),
        high: end(40_000),
    };

    let mut group = criterion.benchmark_group(format!("session of {MESSAGES} messages of 250 B"));
    group.throughput(Throughput::Bytes(sample.streams[0].len() as u64));
    for (name, verify_mac) in [("with MACs", true), ("without MACs", false)] {
        let options = Arc::new(SessionOptions {
            verify_mac,
            ..SessionOptions::default()
        });
        group.bench_function(name, |b| {
            b.iter_batched(
                || SessionDecoder::new(Arc::clone(&options), key, Some(Side::High)),
                |mut decoder| {
                    let mut messages = 0;
                    for (side, stream) in [(Side::Low, &sample.streams[1]), (Side::High, &sample.streams[0])]
                    {
                        let mut offset = 0;
                        for bytes in stream.chunks(304) {
                            let chunk = StreamChunk {
                                offset: StreamOffset(offset),
                                seen: CaptureTime::MIN,
                                bytes: Cow::Borrowed(bytes),
                            };
                            offset += bytes.len() as u64;
                            decoder.push(side, StreamItem::Data(chunk), &secrets);
                            while let Some(output) = decoder.poll() {
                                assert!(matches!(black_box(output), SessionOutput::Message(_)));
                                messages += 1;
                            }
                        }
                    }
                    assert_eq!(messages, MESSAGES + 2);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, frames, sessions);
criterion_main!(benches);
