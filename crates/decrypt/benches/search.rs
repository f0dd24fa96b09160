//! How fast a place in a key stream is found: in the middle of a session, and behind a gap; beside the raw cipher.
//!
//! `cargo bench -p bftap-decrypt --bench search`. Rates are of key stream on one core.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Duration;

use bftap_decrypt::frame::{FrameReader, MacCheck};
use bftap_decrypt::keystream::{BLOCK_LEN, Keystream};
use bftap_decrypt::locate::Windows;
use bftap_decrypt::sample::Sample;
use bftap_model::{CaptureTime, Direction, StreamOffset, keccak256};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const BLOCKS: u64 = 1 << 22;

fn noise(len: usize) -> Vec<u8> {
    (0..len.div_ceil(32) as u32)
        .flat_map(|number| keccak256(&number.to_be_bytes()).0)
        .take(len)
        .collect()
}

/// The cipher alone, then the whole search for windows of one session, of twelve, and of many.
fn middle(criterion: &mut Criterion) {
    let secret = Sample::new(1, None).secrets.aes;
    let mut group = criterion.benchmark_group("key_stream");
    group
        .throughput(Throughput::BytesDecimal(BLOCKS * BLOCK_LEN as u64))
        .sample_size(20)
        .measurement_time(Duration::from_secs(4));
    group.bench_function("cipher", |bencher| {
        let mut keystream = Keystream::new(&secret);
        let mut buffer = [[0; BLOCK_LEN]; 512];
        bencher.iter(|| {
            for _ in 0..BLOCKS / 512 {
                keystream.write_blocks(black_box(&mut buffer));
            }
        });
    });
    // 8 KiB of each side are looked at first.
    for sessions in [1, 12, 64] {
        let mut windows = Windows::new();
        windows.push_all(&noise(sessions * 2 * (8 << 10)), 1, 0, 0);
        windows.prepare();
        group.bench_with_input(
            BenchmarkId::new("search", sessions),
            &windows,
            |bencher, windows| {
                let mut keystream = Keystream::new(&secret);
                bencher.iter(|| {
                    let found: Option<u64> =
                        windows.scan(&mut keystream, 0..BLOCKS, |block, _| ControlFlow::Break(block));
                    assert_eq!(found, None);
                });
            },
        );
    }
    group.finish();
}

/// From the news of a gap to the first frame behind it. Rates are of the gap.
///
/// What is missing is like what came before, or all of it small, which the mean size of frames before the gap does not suggest.
fn gap(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gap");
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    let usual: [u64; 5] = [200, 260, 300, 420, 1500];
    for (name, sizes) in [("usual frames", usual), ("small frames", [16; 5])] {
        for megabytes in [1_u64, 10, 100, 2000] {
            let mut sample = Sample::new(2, None);
            let start = sample.streams[0].len();
            let write = |sample: &mut Sample, count: usize| {
                for number in 0..count {
                    sample.frame(FROM, &vec![1; usual[number * 7 % 11 % 5] as usize]);
                }
            };
            write(&mut sample, 200);
            let before = sample.streams[0].len();
            // Missing frames are counted, not written.
            let (mut gap, mut blocks) = (0, 0);
            for number in 0.. {
                let padded = sizes[number * 7 % 11 % 5].next_multiple_of(16);
                if gap + 48 + padded > megabytes * 1_000_000 {
                    break;
                }
                gap += 48 + padded;
                blocks += 1 + padded / 16;
            }
            sample.skip_blocks(FROM, blocks);
            write(&mut sample, 20);
            let stream = &sample.streams[0];
            let seen = CaptureTime::from_nanos(1);
            group.throughput(Throughput::BytesDecimal(gap));
            let id = BenchmarkId::new(name, format!("{megabytes} MB"));
            group.bench_function(id, |bencher| {
                let prepare = || {
                    let keystream = Keystream::new(&sample.secrets.aes);
                    let offset = StreamOffset(start as u64);
                    let mut reader = FrameReader::new(keystream, offset, MacCheck::Unverifiable);
                    reader.push(&stream[start..before], seen);
                    while reader.poll().is_some() {}
                    reader.gap(gap);
                    reader.push(&stream[before..], seen);
                    reader.finish();
                    reader
                };
                bencher.iter_batched_ref(
                    prepare,
                    |reader| assert!(reader.poll().is_some_and(|frame| frame.is_ok())),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

const FROM: Direction = Direction::FromInitiator;

criterion_group!(benches, middle, gap);
criterion_main!(benches);
