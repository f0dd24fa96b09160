//! Captures of real nodes: every stream has exactly the bytes that an independent decoder found.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use bftap_capture::connection::{ConnectionSummary, FlowEvent};
use bftap_capture::flow_table::{FlowLimits, FlowTable};
use bftap_capture::segment::PayloadPlace;
use bftap_capture::slice::{SliceOptions, Sliced, Slicer};
use bftap_capture::source::{CaptureReader, MergedCapture, ReadLimits};
use bftap_model::{CaptureTime, ConnId, StreamItem};
use bftap_testkit::shared_captures;

/// What a connection gave, by side.
#[derive(Debug, Default)]
struct Streams {
    bytes: [u64; 2],
    resights: [u64; 2],
    ends: [u64; 2],
    summary: Option<Box<ConnectionSummary>>,
}

fn reassemble(files: &[&Path], batchwise: bool) -> BTreeMap<ConnId, Streams> {
    let readers = files
        .iter()
        .map(|path| {
            let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            CaptureReader::open(Box::new(file), ReadLimits::default()).expect("a capture")
        })
        .collect();
    let mut capture = MergedCapture::new(readers);
    let mut slicer = Slicer::new(SliceOptions::default());
    let mut table = FlowTable::new(FlowLimits::default());
    let mut streams: BTreeMap<ConnId, Streams> = BTreeMap::new();
    let mut now = CaptureTime::MIN;
    while let Some(batch) = capture.next_batch() {
        for packet in batch.packets() {
            let mut events = Vec::new();
            match slicer.slice(&packet) {
                Sliced::Segment(head, PayloadPlace::InPacket(range)) => {
                    let payload = &packet.bytes[range.start as usize..range.end as usize];
                    table.push(&head, payload, &mut events);
                }
                Sliced::Segment(head, PayloadPlace::Reassembled(payload)) => {
                    table.push(&head, &payload, &mut events);
                    take(&mut streams, events);
                    continue;
                }
                Sliced::Skipped(_) => continue,
            }
            take(&mut streams, events);
            now = now.max(packet.seen);
        }
        if batchwise {
            let mut events = Vec::new();
            table.advance(now, &mut events);
            take(&mut streams, events);
        }
    }
    let mut events = Vec::new();
    table.finish(&mut events);
    take(&mut streams, events);
    streams
}

fn take(streams: &mut BTreeMap<ConnId, Streams>, events: Vec<FlowEvent<'_>>) {
    for event in events {
        match event {
            FlowEvent::Opened { id, .. } => assert!(streams.insert(id, Streams::default()).is_none()),
            FlowEvent::Syn { .. } => {}
            FlowEvent::Item { id, side, item } => {
                let stream = streams.get_mut(&id).expect("opened before");
                let side = side.index();
                match item {
                    StreamItem::Data(chunk) => {
                        assert_eq!(chunk.offset.0, stream.bytes[side], "in order, nothing missing");
                        stream.bytes[side] += chunk.bytes.len() as u64;
                    }
                    StreamItem::Resight { end, .. } => {
                        assert!(end.0 <= stream.bytes[side]);
                        stream.resights[side] += 1;
                    }
                    StreamItem::Gap(gap) => panic!("{id:?}: nothing is missing, but {gap:?}"),
                    StreamItem::End { .. } => stream.ends[side] += 1,
                }
            }
            FlowEvent::Closed { id, summary } => {
                let stream = streams.get_mut(&id).expect("opened before");
                assert_eq!(stream.ends, [1, 1]);
                assert_eq!(stream.bytes, summary.payload_bytes);
                assert!(stream.summary.replace(summary).is_none(), "closed once");
            }
        }
    }
}

/// Compares with the sessions of an expected file; gives all connections.
fn check(folder: &str, files: &[&str], expected: &str) -> Vec<Streams> {
    let Some(captures) = shared_captures() else {
        return Vec::new();
    };
    let folder = captures.join(folder);
    let paths: Vec<_> = files.iter().map(|file| folder.join(file)).collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let streams = reassemble(&paths, true);
    let found: BTreeMap<(String, String), [u64; 2]> = streams
        .values()
        .filter_map(|stream| {
            let summary = stream.summary.as_ref().expect("closed");
            let client = summary.syn_from.expect("captured from the first SYN");
            let end = |side| summary.key.endpoint(side).to_string();
            let bytes = [stream.bytes[client.index()], stream.bytes[client.other().index()]];
            let refused = summary.refused;
            assert!(!refused || bytes == [0, 0]);
            (!refused).then(|| ((end(client), end(client.other())), bytes))
        })
        .collect();
    let expected: serde_json::Value =
        serde_json::from_reader(File::open(folder.join(expected)).expect("expected file")).expect("JSON");
    let mut wanted = BTreeMap::new();
    for session in expected["sessions"].as_array().expect("sessions") {
        let end = |name: &str| session[name].as_str().expect("an endpoint").to_owned();
        let bytes = |index: usize| session["bytes"][index].as_u64().expect("a number");
        wanted.insert((end("client"), end("server")), [bytes(0), bytes(1)]);
    }
    // The expected file lists some refused connections, too, as those without a byte.
    let bare = |map: &BTreeMap<(String, String), [u64; 2]>| -> BTreeMap<(String, String), [u64; 2]> {
        map.iter()
            .filter(|(_, bytes)| **bytes != [0, 0])
            .map(|(ends, bytes)| (ends.clone(), *bytes))
            .collect()
    };
    assert_eq!(bare(&found), bare(&wanted));
    let unbatched = reassemble(&paths, false);
    for ((id, one), (other_id, other)) in streams.iter().zip(&unbatched) {
        assert_eq!(
            (id, one.bytes, one.resights, &one.summary),
            (other_id, other.bytes, other.resights, &other.summary)
        );
    }
    streams.into_values().collect()
}

/// A single tap sees no packet twice.
fn none_twice(streams: &[Streams]) {
    for stream in streams {
        assert_eq!(stream.resights, [0, 0]);
    }
}

/// Every packet stands in the file twice, but of one interface, so that nothing tells which sight is the arrival.
fn twice_at_one_tap(streams: &[Streams]) {
    none_twice(streams);
    for stream in streams {
        let duplicates = stream.summary.as_ref().expect("closed").duplicate_segments;
        assert_eq!(duplicates > 0, stream.bytes != [0, 0]);
    }
}

/// Every packet was captured at the port of its sender and at that of its receiver.
fn all_twice(streams: &[Streams]) {
    for stream in streams {
        for side in 0..2 {
            assert_eq!(
                stream.resights[side] > 0,
                stream.bytes[side] > 0,
                "{:?}",
                stream.summary
            );
        }
        assert_eq!(stream.summary.as_ref().expect("closed").conflicting_overlaps, 0);
    }
}

#[test]
fn one_tap_of_seven_klaytn_nodes() {
    none_twice(&check("klaytn-7cn", &["tap1.pcap"], "tap1.expected.json"));
}

#[test]
fn all_taps_of_seven_klaytn_nodes_in_one_file() {
    twice_at_one_tap(&check(
        "klaytn-7cn",
        &["all-taps-26s.pcapng"],
        "all-taps-26s.expected.json",
    ));
}

#[test]
fn all_taps_of_four_goquorum_nodes() {
    let taps = ["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"];
    all_twice(&check("quorum-4", &taps, "all-taps.expected.json"));
}

#[test]
fn all_taps_of_four_klaytn_nodes_with_faults() {
    let taps = ["tap1.pcap", "tap2.pcap", "tap3.pcap", "tap4.pcap"];
    check("klaytn-4cn-faults", &taps, "all-taps.expected.json");
}
