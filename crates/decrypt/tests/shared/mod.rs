//! The shared captures as connections: just enough pcap, Ethernet, IPv4 and TCP for loss-free files of veth ports.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use bftap_model::{CaptureTime, Endpoint, FlowKey, SeqNumber, Side, StreamChunk, StreamItem, StreamOffset};

/// The folder of shared captures; tests ask [`bftap_testkit::shared_captures`] first whether it is there.
pub(crate) fn shared() -> PathBuf {
    bftap_testkit::shared_captures().expect("asked before")
}

/// The right answers for a capture.
pub(crate) fn expected(folder: &str, file: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(shared().join(folder).join(file)).unwrap()).unwrap()
}

/// A connection, and its bytes in the order they were captured.
pub(crate) struct Connection {
    pub(crate) key: FlowKey,
    /// Who sent the SYN.
    pub(crate) client: Side,
    next: [SeqNumber; 2],
    offsets: [u64; 2],
    early: [Vec<(SeqNumber, Vec<u8>)>; 2],
    chunks: Vec<(Side, StreamOffset, CaptureTime, Vec<u8>)>,
}

impl Connection {
    /// What reassembly would give.
    pub(crate) fn items(&self) -> impl Iterator<Item = (Side, StreamItem<'_>)> {
        self.chunks.iter().map(|(side, offset, seen, bytes)| {
            (
                *side,
                StreamItem::Data(StreamChunk {
                    offset: *offset,
                    seen: *seen,
                    bytes: Cow::Borrowed(bytes),
                }),
            )
        })
    }

    fn take(&mut self, side: Side, seq: SeqNumber, seen: CaptureTime, payload: &[u8]) {
        if payload.is_empty() {
            return;
        }
        let index = side.index();
        let ahead = seq.distance_from(self.next[index]);
        if ahead > 0 {
            self.early[index].push((seq, payload.to_vec()));
            return;
        }
        let fresh = payload.get(ahead.unsigned_abs() as usize..).unwrap_or_default();
        if fresh.is_empty() {
            return;
        }
        self.chunks
            .push((side, StreamOffset(self.offsets[index]), seen, fresh.to_vec()));
        self.next[index] = self.next[index].add(fresh.len() as u32);
        self.offsets[index] += fresh.len() as u64;
        for (seq, payload) in std::mem::take(&mut self.early[index]) {
            self.take(side, seq, seen, &payload);
        }
    }
}

/// The connections in some capture files of a folder, taken as one capture.
pub(crate) fn connections(folder: &str, files: &[&str]) -> Vec<Connection> {
    let mut packets = Vec::new();
    for file in files {
        let bytes = std::fs::read(shared().join(folder).join(file)).unwrap();
        let nanoseconds = match u32::from_le_bytes(bytes[..4].try_into().unwrap()) {
            0xa1b2_c3d4 => 1000,
            0xa1b2_3c4d => 1,
            magic => panic!("{file}: not a pcap file: {magic:#x}"),
        };
        assert_eq!(bytes[20..24], [1, 0, 0, 0], "{file}: Ethernet");
        let mut rest = &bytes[24..];
        while let Some((head, behind)) = rest.split_at_checked(16) {
            let word = |at: usize| i64::from(u32::from_le_bytes(head[at..at + 4].try_into().unwrap()));
            let seen = CaptureTime::from_nanos(word(0) * 1_000_000_000 + word(4) * nanoseconds);
            let (packet, behind) = behind.split_at(word(8) as usize);
            packets.push((seen, packet.to_vec()));
            rest = behind;
        }
    }
    packets.sort_by_key(|(seen, _)| *seen);

    let mut done = Vec::new();
    let mut open: BTreeMap<FlowKey, Connection> = BTreeMap::new();
    for (seen, packet) in packets {
        let Some(segment) = Segment::of(&packet) else {
            continue;
        };
        let (key, side) = FlowKey::of(segment.source, segment.destination);
        if segment.syn {
            let next = segment.seq.add(1);
            if !segment.ack {
                let known = open
                    .get(&key)
                    .is_some_and(|c| c.client == side && c.next[side.index()] == next);
                let used = open.get(&key).is_some_and(|c| c.offsets != [0, 0]);
                if !known {
                    assert!(!used, "{key}: port used again");
                    let fresh = Connection {
                        key,
                        client: side,
                        next: [next; 2],
                        offsets: [0; 2],
                        early: Default::default(),
                        chunks: Vec::new(),
                    };
                    done.extend(open.insert(key, fresh));
                }
            } else if let Some(connection) = open.get_mut(&key)
                && connection.offsets[side.index()] == 0
            {
                connection.next[side.index()] = next;
            }
        } else if let Some(connection) = open.get_mut(&key) {
            connection.take(side, segment.seq, seen, segment.payload);
        }
    }
    done.extend(open.into_values());
    for connection in &done {
        assert!(
            connection.early.iter().all(Vec::is_empty),
            "{}: bytes are missing",
            connection.key
        );
    }
    done
}

struct Segment<'p> {
    source: Endpoint,
    destination: Endpoint,
    seq: SeqNumber,
    syn: bool,
    ack: bool,
    payload: &'p [u8],
}

impl<'p> Segment<'p> {
    fn of(packet: &'p [u8]) -> Option<Self> {
        let ip = packet.get(14..).filter(|_| packet[12..14] == [0x08, 0x00])?;
        let ip_len = usize::from(ip[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        let tcp = ip.get(ip_len..total).filter(|_| ip[9] == 6)?;
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let address = |at: usize| <[u8; 4]>::try_from(&ip[at..at + 4]).unwrap().into();
        Some(Self {
            source: Endpoint {
                ip: address(12),
                port: port(0),
            },
            destination: Endpoint {
                ip: address(16),
                port: port(2),
            },
            seq: SeqNumber(u32::from_be_bytes(tcp[4..8].try_into().unwrap())),
            syn: tcp[13] & 0x02 != 0,
            ack: tcp[13] & 0x10 != 0,
            payload: &tcp[usize::from(tcp[12] >> 4) * 4..],
        })
    }
}
