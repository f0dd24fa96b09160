//! Segments to push, and a listener that checks what every story of a connection has to obey.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bftap_capture::connection::{Connection, ConnectionSummary, FlowEvent};
use bftap_capture::flow_table::{FlowLimits, FlowTable};
use bftap_capture::segment::{SegmentHead, TcpFlags};
use bftap_model::{CaptureTime, ConnId, Endpoint, SeqNumber, Side, StreamItem, TapId};

/// A segment on its way.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) head: SegmentHead,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn millis(at: i64) -> CaptureTime {
    CaptureTime::from_nanos(at * 1_000_000)
}

/// A bare segment of connection 0, `at` in milliseconds.
pub(crate) fn segment(from: Side, seq: u32, at: i64) -> Segment {
    let ends = [1, 2].map(|host| Endpoint {
        ip: [10, 0, 0, host].into(),
        port: 1000 * u16::from(host),
    });
    Segment {
        head: SegmentHead {
            source: ends[from.index()],
            destination: ends[from.other().index()],
            seq: SeqNumber(seq),
            ack: None,
            flags: TcpFlags::default(),
            window: 1000,
            timestamps: None,
            got_twice: None,
            cut: 0,
            identity: 0,
            seen: millis(at),
            tap: TapId(0),
        },
        payload: Vec::new(),
    }
    .named()
}

impl Segment {
    pub(crate) fn data(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self.named()
    }

    pub(crate) fn ack(mut self, ack: u32) -> Self {
        self.head.ack = Some(SeqNumber(ack));
        self.flag(TcpFlags::ACK)
    }

    pub(crate) fn syn(self) -> Self {
        self.flag(TcpFlags::SYN)
    }

    pub(crate) fn fin(self) -> Self {
        self.flag(TcpFlags::FIN)
    }

    pub(crate) fn rst(self) -> Self {
        self.flag(TcpFlags::RST)
    }

    /// The last `bytes` bytes were cut off by the snap length.
    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        self.payload.truncate(self.payload.len() - bytes);
        self.head.cut = bytes as u32;
        self
    }

    /// The same packet, seen elsewhere.
    pub(crate) fn at_tap(&self, tap: u16, at: i64) -> Self {
        let mut other = self.clone();
        other.head.tap = TapId(tap);
        other.head.seen = millis(at);
        other
    }

    /// In another connection between the same hosts.
    pub(crate) fn of_connection(mut self, number: u16) -> Self {
        let end = if self.head.source.port >= 2000 {
            &mut self.head.destination
        } else {
            &mut self.head.source
        };
        end.port += number;
        self.named()
    }

    fn flag(mut self, flag: u8) -> Self {
        self.head.flags.0 |= flag;
        self.named()
    }

    /// Gives the packet an identity of its own: sent twice makes two.
    fn named(mut self) -> Self {
        let mut hasher = DefaultHasher::new();
        (
            self.head.source,
            self.head.seq,
            self.head.ack,
            self.head.flags,
            self.head.seen,
            &self.payload,
        )
            .hash(&mut hasher);
        self.head.identity = hasher.finish();
        self
    }
}

/// What was told of one connection. Pairs are by side.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) connection: Connection,
    /// A SYN learnt later.
    pub(crate) syn: Option<Side>,
    /// Offset, time and content of each chunk.
    pub(crate) chunks: [Vec<(u64, CaptureTime, Vec<u8>)>; 2],
    /// Offset and length of each gap.
    pub(crate) gaps: [Vec<(u64, u64)>; 2],
    /// End and time of each sight at another tap.
    pub(crate) resights: [Vec<(u64, CaptureTime)>; 2],
    pub(crate) ends: [Option<CaptureTime>; 2],
    pub(crate) summary: Option<ConnectionSummary>,
    position: [u64; 2],
}

impl Told {
    /// The bytes of a side, gaps left out.
    pub(crate) fn bytes(&self, side: Side) -> Vec<u8> {
        self.chunks[side.index()]
            .iter()
            .flat_map(|(.., bytes)| bytes)
            .copied()
            .collect()
    }

    pub(crate) fn low(&self) -> Vec<u8> {
        self.bytes(Side::Low)
    }

    pub(crate) fn high(&self) -> Vec<u8> {
        self.bytes(Side::High)
    }

    pub(crate) fn summary(&self) -> &ConnectionSummary {
        self.summary.as_ref().expect("closed")
    }
}

/// All that a table told, by connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) connections: BTreeMap<ConnId, Told>,
    /// Connections in the order of their closing.
    pub(crate) closed: Vec<ConnId>,
}

impl Story {
    /// Hears news, and insists on their order.
    pub(crate) fn hear(&mut self, events: Vec<FlowEvent<'_>>) {
        for event in events {
            match event {
                FlowEvent::Opened { id, connection } => {
                    let told = Told {
                        connection,
                        syn: None,
                        chunks: Default::default(),
                        gaps: Default::default(),
                        resights: Default::default(),
                        ends: [None; 2],
                        summary: None,
                        position: [0; 2],
                    };
                    assert!(self.connections.insert(id, told).is_none(), "an id is used once");
                }
                FlowEvent::Syn { id, from } => {
                    let told = self.open(id);
                    assert_eq!((told.connection.syn_from, told.syn.replace(from)), (None, None));
                }
                FlowEvent::Item { id, side, item } => self.open(id).hear(side.index(), item),
                FlowEvent::Closed { id, summary } => {
                    let told = self.open(id);
                    assert!(
                        told.ends.iter().all(Option::is_some),
                        "both ends before the close"
                    );
                    let bytes = Side::BOTH.map(|side| told.bytes(side).len() as u64);
                    assert_eq!(summary.payload_bytes, bytes);
                    assert_eq!(summary.gaps, [0, 1].map(|side| told.gaps[side].len() as u64));
                    let missing = [0, 1].map(|side| told.gaps[side].iter().map(|gap| gap.1).sum());
                    assert_eq!(summary.missing_bytes, missing);
                    assert_eq!(summary.syn_from, told.connection.syn_from.or(told.syn));
                    told.summary = Some(*summary);
                    self.closed.push(id);
                }
            }
        }
    }

    /// The only connection.
    pub(crate) fn only(&self) -> &Told {
        assert_eq!(self.connections.len(), 1, "{:?}", self.connections.keys());
        self.connections.values().next().expect("one")
    }

    pub(crate) fn nth(&self, id: u64) -> &Told {
        &self.connections[&ConnId(id)]
    }

    fn open(&mut self, id: ConnId) -> &mut Told {
        let told = self.connections.get_mut(&id).expect("opened before");
        assert!(told.summary.is_none(), "nothing comes after the close");
        told
    }
}

impl Told {
    fn hear(&mut self, side: usize, item: StreamItem<'_>) {
        let position = &mut self.position[side];
        match item {
            StreamItem::Data(chunk) => {
                assert!(self.ends[side].is_none() && !chunk.bytes.is_empty());
                assert_eq!(chunk.offset.0, *position, "chunks and gaps tile the stream");
                *position += chunk.bytes.len() as u64;
                self.chunks[side].push((chunk.offset.0, chunk.seen, chunk.bytes.into_owned()));
            }
            StreamItem::Gap(gap) => {
                assert!(self.ends[side].is_none() && gap.len > 0);
                assert_eq!(gap.offset.0, *position, "chunks and gaps tile the stream");
                *position = gap.end().0;
                self.gaps[side].push((gap.offset.0, gap.len));
            }
            StreamItem::Resight { end, seen } => {
                assert!(
                    self.ends[side].is_none() && end.0 > 0 && end.0 <= *position,
                    "about bytes given"
                );
                self.resights[side].push((end.0, seen));
            }
            StreamItem::End { seen } => assert!(self.ends[side].replace(seen).is_none(), "one end"),
        }
    }
}

/// Pushes segments, advancing to `now(i)` before the i-th where it gives a time.
pub(crate) fn run_with(
    limits: FlowLimits,
    segments: &[Segment],
    now: impl Fn(usize) -> Option<CaptureTime>,
) -> Story {
    let mut table = FlowTable::new(limits);
    let mut story = Story::default();
    let mut events = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        if let Some(now) = now(index) {
            table.advance(now, &mut events);
        }
        table.push(&segment.head, &segment.payload, &mut events);
        story.hear(std::mem::take(&mut events));
    }
    table.finish(&mut events);
    story.hear(events);
    assert_eq!((table.open_flows(), table.waiting_bytes()), (0, 0));
    assert_eq!(story.closed.len(), story.connections.len(), "each closed");
    story
}

/// Pushes segments with the usual limits.
pub(crate) fn run(segments: &[Segment]) -> Story {
    run_with(FlowLimits::default(), segments, |_| None)
}

/// SYN of the low side with `low` as its number, SYN-ACK, ACK; at milliseconds 0, 1 and 2.
pub(crate) fn handshake(low: u32, high: u32) -> Vec<Segment> {
    let (next_low, next_high) = (low.wrapping_add(1), high.wrapping_add(1));
    vec![
        segment(Side::Low, low, 0).syn(),
        segment(Side::High, high, 1).syn().ack(next_low),
        segment(Side::Low, next_low, 2).ack(next_high),
    ]
}
