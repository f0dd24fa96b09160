//! Reading a capture and slicing its packets, in MiB/s of file and packets/s: many small packets, as RLPx makes them.
//!
//! One iteration reads a file of 200,000 packets out of memory, so what the disk does is left out.

use std::hint::black_box;
use std::io::{Cursor, Read};
use std::sync::Arc;

use bftap_capture::slice::{SliceOptions, Sliced, Slicer};
use bftap_capture::source::{CaptureReader, HashingReader, MergedCapture, ReadLimits};
use bftap_testkit::capture_file::{PcapFile, PcapNgFile};
use bftap_testkit::packet::Tcp;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const PACKETS: u32 = 200_000;

/// Cheap to clone, so that an iteration does not copy the file.
#[derive(Clone)]
struct Content(Arc<Vec<u8>>);

impl AsRef<[u8]> for Content {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Frames of the sizes of a real capture: acknowledgements, small messages, now and then a full segment.
fn frames() -> Vec<Vec<u8>> {
    let lens = [0, 64, 0, 32, 96, 0, 160, 48, 320, 0, 64, 1448];
    let segment = |(index, len): (usize, &usize)| {
        Tcp::new("10.0.0.1:40000", "10.0.0.2:32323")
            .seq(index as u32)
            .ack(1)
            .timestamps(index as u32, 1)
            .payload(&vec![index as u8; *len])
            .ethernet()
    };
    lens.iter().enumerate().map(segment).collect()
}

fn pcap() -> Content {
    let frames = frames();
    let mut file = PcapFile::new(false, PcapFile::MICROS, 1);
    for index in 0..PACKETS {
        let frame = &frames[index as usize % frames.len()];
        file.packet(index / 1000, index % 1000, frame, frame.len() as u32);
    }
    Content(Arc::new(file.bytes()))
}

fn pcapng() -> Content {
    let frames = frames();
    let mut file = PcapNgFile::new(false);
    file.interface(1, 0, &[(9, &[9])]);
    for index in 0..PACKETS {
        let frame = &frames[index as usize % frames.len()];
        file.enhanced(0, u64::from(index) * 1000, frame, frame.len() as u32);
    }
    Content(Arc::new(file.bytes()))
}

fn open(read: impl Read + Send + 'static) -> CaptureReader {
    CaptureReader::open(Box::new(read), ReadLimits::default()).expect("a capture")
}

/// Reads to the end and returns how many packets there were.
fn read(mut capture: MergedCapture) -> u64 {
    let mut packets = 0;
    while let Some(batch) = capture.next_batch() {
        packets += black_box(&batch).records.len() as u64;
    }
    packets
}

/// Reads and slices to the end and returns how many segments there were.
fn slice(mut capture: MergedCapture, verify_checksums: bool) -> u64 {
    let mut slicer = Slicer::new(SliceOptions {
        verify_checksums,
        ..SliceOptions::default()
    });
    let mut segments = 0;
    while let Some(batch) = capture.next_batch() {
        for packet in batch.packets() {
            if let Sliced::Segment(head, _) = slicer.slice(&packet) {
                black_box(head);
                segments += 1;
            }
        }
    }
    segments
}

fn read_and_slice(c: &mut Criterion) {
    let one = |content: &Content| MergedCapture::new(vec![open(Cursor::new(content.clone()))]);
    let (pcap, pcapng) = (pcap(), pcapng());
    let packets = u64::from(PACKETS);
    assert_eq!(slice(one(&pcap), true), packets);
    assert_eq!(slice(one(&pcapng), true), packets);

    for (unit, throughput) in [
        ("bytes", Throughput::Bytes(pcap.0.len() as u64)),
        ("packets", Throughput::Elements(packets)),
    ] {
        let mut group = c.benchmark_group(format!("capture/{unit}"));
        group.throughput(throughput);
        group.bench_function("read pcap", |b| b.iter(|| read(one(&pcap))));
        group.bench_function("read pcap, hashed", |b| {
            b.iter(|| {
                let (content, hash) = HashingReader::new(Cursor::new(pcap.clone()));
                (
                    read(MergedCapture::new(vec![open(content)])),
                    hash.finish().expect("content in memory"),
                )
            });
        });
        group.bench_function("read and slice pcap", |b| b.iter(|| slice(one(&pcap), true)));
        group.bench_function("read and slice pcap, no checksums", |b| {
            b.iter(|| slice(one(&pcap), false));
        });
        group.bench_function("read and slice pcapng", |b| b.iter(|| slice(one(&pcapng), true)));
        group.finish();
    }

    let mut group = c.benchmark_group("capture/merged");
    group.throughput(Throughput::Elements(4 * packets));
    group.bench_function("read and slice 4 files", |b| {
        b.iter(|| {
            let readers = (0..4).map(|_| open(Cursor::new(pcap.clone()))).collect();
            slice(MergedCapture::new(readers), true)
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = read_and_slice
}
criterion_main!(benches);
