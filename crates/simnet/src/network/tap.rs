//! What passes a tap: a segment as the bytes of a packet, and what the capture then shows of the streams, for the truth.

use std::io;
use std::ops::Range;
use std::rc::Rc;

use bftap_model::{CaptureTime, Endpoint};

use super::Network;
use super::conn::{Conn, End, EndState};
use super::event::{ConnIndex, NodeIndex, Time};
use super::tcp::SegmentKind;
use super::truth::SessionTruth;
use crate::capture::packet::{self, Flags, Station};

impl Network<'_> {
    /// Writes a packet at a node's tap. `seen` are the stream bytes that the capture did not hold before, by their side.
    pub(super) fn capture(
        &mut self,
        index: ConnIndex,
        node: NodeIndex,
        bytes: &[u8],
        seen: Option<(usize, Range<u64>)>,
    ) -> io::Result<()> {
        let Some(tap) = self.nodes[node].tap.filter(|_| self.now >= self.capture_from) else {
            return Ok(());
        };
        if self.tap_loses(node) {
            return Ok(());
        }
        let time = CaptureTime::from_nanos(self.capture_time(self.now));
        self.captures[tap.file].packet(tap.interface, time, bytes)?;
        let Some(conn) = self.conns.get_mut(index as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        if conn.truth.is_none() {
            let endpoint = |end: &End| Endpoint {
                ip: self.nodes[end.node].ip,
                port: end.port,
            };
            let attached = if conn.ends[0].state == EndState::Opening {
                "handshake"
            } else {
                "midstream"
            };
            conn.truth = Some(Box::new(SessionTruth {
                client: endpoint(&conn.ends[0]),
                server: endpoint(&conn.ends[1]),
                bytes: [0, 0],
                state: "no-key",
                attached,
                preamble: 0,
                frames: [0, 0],
                caps: Vec::new(),
                chain: None,
            }));
        }
        if let Some((side, span)) = seen {
            self.mark_seen(index, side, span);
        }
        Ok(())
    }

    fn mark_seen(&mut self, index: ConnIndex, side: usize, span: Range<u64>) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(index as usize).and_then(Option::as_mut) else {
            return;
        };
        let receiver = conn.ends[1 - side].node;
        let logged = conn.session.secret_logged();
        let half = &mut conn.halves[side];
        half.seen.insert(span);
        let bounds = half.seen.bounds();
        let mut at = 0;
        while let Some(mark) = half.unseen.get(at).filter(|mark| mark.span.end <= bounds.end) {
            let whole = half.seen.covers(&mark.span);
            // A tap that loses packets leaves holes; what has arrived passes no tap any more.
            let never = mark.span.start < bounds.start || mark.span.end <= half.received;
            if !whole && !never {
                at += 1;
                continue;
            }
            let Some(frame) = half.unseen.remove(at) else {
                return;
            };
            if !whole || !logged {
                continue;
            }
            self.frames += 1;
            self.truth.frame(frame.code);
            if let Some(truth) = &mut conn.truth {
                truth.frames[side] += 1;
            }
            if let Some(message) = &frame.message {
                let len = frame.span.end - frame.span.start;
                self.truth.message(now, conn.chain, receiver, message, len);
            }
        }
    }
}

/// The packet that a segment is, as it leaves.
pub(super) fn packet_bytes(
    conn: &mut Conn,
    side: usize,
    kind: &SegmentKind,
    now: Time,
    vlan: Option<u16>,
    mss: u16,
    station: impl Fn(&End) -> Station,
) -> Rc<[u8]> {
    let (half, other) = (&conn.halves[side], &conn.halves[1 - side]);
    let behind_syn = half.isn.wrapping_add(1);
    let next = behind_syn
        .wrapping_add(half.departed as u32)
        .wrapping_add(half.fin_departed.into());
    let ack = other
        .isn
        .wrapping_add(1)
        .wrapping_add(other.received as u32)
        .wrapping_add(other.fin_received.into());
    let (seq, ack, flags) = match kind {
        SegmentKind::Syn => (half.isn, 0, Flags::SYN),
        SegmentKind::SynAck => (half.isn, ack, Flags::SYN_ACK),
        SegmentKind::Ack { .. } => (next, ack, Flags::ACK),
        SegmentKind::Data { offset, push, .. } => {
            let flags = if *push { Flags::PSH_ACK } else { Flags::ACK };
            (behind_syn.wrapping_add(*offset as u32), ack, flags)
        }
        SegmentKind::Fin => (next, ack, Flags::FIN_ACK),
        SegmentKind::Rst { refusal: true } => (0, ack, Flags::RST_ACK),
        SegmentKind::Rst { refusal: false } => (next, 0, Flags::RST),
    };
    let payload = match kind {
        SegmentKind::Data { bytes, range, .. } => &bytes[range.clone()],
        _ => &[],
    };
    let [from, to] = [side, 1 - side].map(|side| station(&conn.ends[side]));
    let end = &mut conn.ends[side];
    end.packet_id = end.packet_id.wrapping_add(1);
    let mut out = Vec::with_capacity(packet::MAX_HEADERS + payload.len());
    let segment = packet::Segment {
        from,
        to,
        seq,
        ack,
        flags,
        window: match kind {
            SegmentKind::Syn => 64_240,
            SegmentKind::SynAck => 65_160,
            SegmentKind::Rst { .. } => 0,
            _ => 63,
        },
        timestamps: (timestamp(end.clock, now), end.echo),
        mss,
        id: end.packet_id,
        vlan,
        payload,
    };
    packet::write(&segment, &mut out);
    out.into()
}

/// A host's clock of TCP timestamps: milliseconds from a start of its own.
pub(super) const fn timestamp(start: u32, now: Time) -> u32 {
    start.wrapping_add((now / 1_000_000) as u32)
}
