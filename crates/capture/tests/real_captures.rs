//! Captures of real nodes: counts as tshark 4.0 gives them (`-Y tcp`, `tcp.len`, `tcp.checksum.status`).

use std::fs::File;
use std::path::{Path, PathBuf};

use bftap_capture::segment::PayloadPlace;
use bftap_capture::slice::{SkipReason, SliceOptions, Sliced, Slicer};
use bftap_capture::source::{CaptureReader, HashingReader, MergedCapture, ReadLimits};

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    packets: u64,
    captured: u64,
    segments: u64,
    payload: u64,
    with_payload: u64,
    syns: u64,
    bad_checksums: u64,
}

/// How often a packet's time is before that of the packet in front of it: the kernel stamps packets of several
/// processors. A file keeps its order all the same.
fn steps_back(capture: &mut MergedCapture) -> usize {
    let mut times = Vec::new();
    while let Some(batch) = capture.next_batch() {
        times.extend(batch.records.iter().map(|record| record.seen));
    }
    times.windows(2).filter(|pair| pair[1] < pair[0]).count()
}

fn count(capture: &mut MergedCapture) -> Counts {
    let mut counts = Counts::default();
    let mut slicer = Slicer::new(SliceOptions::default());
    while let Some(batch) = capture.next_batch() {
        for packet in batch.packets() {
            counts.packets += 1;
            counts.captured += packet.bytes.len() as u64;
            match slicer.slice(&packet) {
                Sliced::Segment(head, PayloadPlace::InPacket(range)) => {
                    assert_eq!(head.cut, 0, "captured in full");
                    counts.payload += u64::from(range.end - range.start);
                    counts.with_payload += u64::from(!range.is_empty());
                    counts.syns += u64::from(head.flags.syn());
                }
                other => panic!("no segment in one packet: {other:?}"),
            }
        }
    }
    slicer.finish();
    assert!(
        SkipReason::ALL
            .iter()
            .all(|&reason| slicer.stats().skipped(reason) == 0)
    );
    counts.segments = slicer.stats().segments;
    counts.bad_checksums = slicer.stats().bad_checksums;
    counts
}

fn open(files: &[&Path]) -> MergedCapture {
    let limits = ReadLimits::for_readers(files.len());
    let open = |path: &&Path| CaptureReader::open(Box::new(File::open(path).unwrap()), limits).unwrap();
    MergedCapture::new(files.iter().map(open).collect())
}

#[test]
fn klaytn_7cn() {
    let Some(captures) = bftap_testkit::shared_captures() else {
        return;
    };
    let tap1 = captures.join("klaytn-7cn/tap1.pcap");
    let all = captures.join("klaytn-7cn/all-taps-26s.pcapng");
    assert_eq!(count(&mut open(&[&tap1])), TAP1);
    assert_eq!(steps_back(&mut open(&[&tap1])), 3);
    let mut reader = open(&[&all]);
    assert_eq!(count(&mut reader), ALL_TAPS);
    assert_eq!(reader.taps().len(), 1, "merged into one interface");
}

#[test]
fn quorum_taps_merge_to_their_sum() {
    let Some(captures) = bftap_testkit::shared_captures() else {
        return;
    };
    let paths = [1, 2, 3, 4].map(|tap| captures.join(format!("quorum-4/tap{tap}.pcap")));
    let mut capture = open(&paths.each_ref().map(PathBuf::as_path));
    assert_eq!(count(&mut capture), QUORUM);
    let packets: Vec<_> = capture.readers().map(|reader| reader.stats().packets).collect();
    assert_eq!(packets, [11_521, 11_420, 11_187, 11_510]);
}

#[test]
fn a_hash_of_the_content_comes_along() {
    let Some(captures) = bftap_testkit::shared_captures() else {
        return;
    };
    let path = captures.join("klaytn-7cn/tap1.pcap");
    for (read, hash) in [
        HashingReader::new(File::open(&path).unwrap()),
        HashingReader::on_thread(File::open(&path).unwrap()).unwrap(),
    ] {
        let reader = CaptureReader::open(Box::new(read), ReadLimits::default()).unwrap();
        assert_eq!(count(&mut MergedCapture::new(vec![reader])), TAP1);
        assert_eq!(hash.bytes_read(), 9_216_696);
        assert_eq!(hex::encode(hash.finish().unwrap()), TAP1_SHA256);
    }
}

const TAP1: Counts = Counts {
    packets: 66_610,
    captured: 8_150_912,
    segments: 66_610,
    payload: 3_749_744,
    with_payload: 57_611,
    syns: 45,
    bad_checksums: 0,
};

const TAP1_SHA256: &str = "a5def7ee4cd3454c98003b17dfd35c9b4783c75d7afa665a29a768de0e9ff698";

const ALL_TAPS: Counts = Counts {
    packets: 44_584,
    captured: 5_475_620,
    segments: 44_584,
    payload: 2_531_276,
    with_payload: 39_788,
    syns: 126,
    bad_checksums: 0,
};

/// Sum over the four files.
const QUORUM: Counts = Counts {
    packets: 45_638,
    captured: 5_442_866,
    segments: 45_638,
    payload: 2_429_214,
    with_payload: 39_088,
    syns: 70,
    bad_checksums: 0,
};
