//! TCP drawn as packets: handshake, segments, acknowledgements, loss and repetition, FIN and RST.
//!
//! Connections that nobody captures carry the same messages at the same pace, but no bytes are made for them.

use std::io;
use std::ops::Range;
use std::rc::Rc;

use bftap_model::{CaptureTime, Endpoint};

use super::Network;
use super::conn::{Bytes, Conn, End, EndState, FrameMark, Half, Written};
use super::event::{ConnIndex, Event, NodeIndex, Time};
use super::frame_log::LoggedFrame;
use super::session::{Delivery, Session};
use super::tap::{packet_bytes, timestamp};
use crate::capture::packet::Station;
use crate::prng::Prng;

/// A packet.
pub(super) struct Segment {
    pub(super) conn: ConnIndex,
    pub(super) side: u8,
    pub(super) kind: SegmentKind,
    /// The packet as it left.
    pub(super) packet: Option<Rc<[u8]>>,
}

#[derive(Clone)]
pub(super) enum SegmentKind {
    Syn,
    SynAck,
    Ack {
        third: bool,
    },
    Data {
        offset: u64,
        bytes: Rc<[u8]>,
        range: Range<usize>,
        push: bool,
    },
    Fin,
    Rst {
        refusal: bool,
    },
}

impl Network<'_> {
    /// Node `from` dials `to`.
    pub(super) fn dial(
        &mut self,
        from: NodeIndex,
        to: NodeIndex,
        to_port: u16,
        session: Session,
    ) -> ConnIndex {
        let index = self.conns.len() as ConnIndex;
        let mut prng = Prng::derive(self.options.seed, "connection", index.into());
        let port = self.nodes[from].next_port(&mut self.prng);
        let captured = self.nodes[from].tap.is_some() || self.nodes[to].tap.is_some();
        let mut end = |node, port| End {
            node,
            port,
            state: EndState::Opening,
            clock: prng.next_u64() as u32,
            packet_id: prng.next_u64() as u16,
            echo: 0,
        };
        let ends = [end(from, port), end(to, to_port)];
        let halves = [Half::new(&mut prng), Half::new(&mut prng)];
        let chain = self.nodes[from].chain;
        let conn = Conn {
            ends,
            halves,
            session,
            prng,
            captured,
            truth: None,
            chain,
            dialled: CaptureTime::from_nanos(self.capture_time(self.now)),
        };
        self.conns.push(Some(Box::new(conn)));
        self.depart_in(0, index, 0, SegmentKind::Syn);
        self.queue.push(
            self.now + SYN_TIMEOUT,
            Event::SynTimer {
                conn: index,
                attempt: 1,
            },
        );
        index
    }

    /// Nobody answered the SYN: tries again, or gives up.
    pub(super) fn syn_timer(&mut self, index: ConnIndex, attempt: u8) {
        let Some(conn) = self.conn(index) else { return };
        if conn.ends[0].state != EndState::Opening {
            return;
        }
        if attempt < SYN_ATTEMPTS {
            self.depart_in(0, index, 0, SegmentKind::Syn);
            let wait = SYN_TIMEOUT << attempt;
            self.queue.push(
                self.now + wait,
                Event::SynTimer {
                    conn: index,
                    attempt: attempt + 1,
                },
            );
        } else {
            self.end_closed(index, 0);
        }
    }

    /// Hands bytes to the socket of an end. `pieces` are written one by one; `bytes` is `None` where nobody captures.
    pub(super) fn write(
        &mut self,
        index: ConnIndex,
        side: usize,
        delay: Time,
        len: usize,
        bytes: Option<Bytes<'_>>,
        what: Written,
    ) {
        let now = self.now;
        let mss = usize::from(self.options.mss);
        let Some(conn) = self.conns.get_mut(index as usize).and_then(Option::as_mut) else {
            return;
        };
        if conn.ends[side].state != EndState::Open {
            return;
        }
        let latency = self
            .latencies
            .draw(conn.ends[side].node, conn.ends[1 - side].node, &mut conn.prng);
        if let (Some(log), Some(_), Some((code, message))) = (&mut self.frame_log, &bytes, &what.frame) {
            let endpoint = |end: &End| Endpoint {
                ip: self.nodes[end.node].ip,
                port: end.port,
            };
            log(LoggedFrame::of(
                conn,
                index,
                [endpoint(&conn.ends[0]), endpoint(&conn.ends[1])],
                side,
                (*code, message.as_deref()),
                len,
                self.truth.chain_name(conn.chain),
            ));
        }
        let half = &mut conn.halves[side];
        let start = half.queued;
        half.queued += len as u64;
        half.deliveries.push_back((half.queued, what.delivery));
        half.last_departure = half.last_departure.max(now + delay);
        let Some(Bytes { bytes, pieces }) = bytes else {
            half.last_departure += WRITE_GAP;
            half.last_arrival = half.last_arrival.max(half.last_departure + latency) + 1;
            let event = Event::Bulk {
                conn: index,
                side: side as u8,
                end: half.queued,
            };
            self.queue.push(half.last_arrival, event);
            return;
        };
        if let Some((code, message)) = what.frame {
            half.unseen.push_back(FrameMark {
                span: start..half.queued,
                code,
                message,
            });
        }
        for piece in pieces {
            let mut at = piece.start;
            while at < piece.end {
                let range = at..piece.end.min(at + mss);
                at = range.end;
                half.last_departure += WRITE_GAP + conn.prng.below(WRITE_GAP);
                let kind = SegmentKind::Data {
                    offset: start + range.start as u64,
                    bytes: Rc::clone(&bytes),
                    push: range.end == piece.end,
                    range,
                };
                let segment = Segment {
                    conn: index,
                    side: side as u8,
                    kind,
                    packet: None,
                };
                self.queue
                    .push(half.last_departure, Event::Depart(Box::new(segment)));
            }
        }
    }

    /// An end closes its connection: what it wrote still leaves, then FIN.
    pub(super) fn close(&mut self, index: ConnIndex, side: usize) {
        let Some(conn) = self.conn_mut(index) else { return };
        let was_open = conn.ends[side].state == EndState::Open;
        conn.ends[side].state = EndState::Closed;
        let half = &mut conn.halves[side];
        half.last_departure += WRITE_GAP;
        let at = half.last_departure;
        if was_open {
            let now = self.now;
            self.depart_in(at.saturating_sub(now), index, side, SegmentKind::Fin);
            self.queue.push(at.max(now) + LINGER, Event::Reap(index));
        }
        self.end_closed(index, side);
    }

    /// All bytes up to `end` reach the other end of a connection that nobody captures.
    pub(super) fn bulk(&mut self, index: ConnIndex, side: usize, end: u64) {
        if self.is_cut(index, side, end.saturating_sub(1)) {
            self.tell_cut(index, side);
            let event = Event::Bulk {
                conn: index,
                side: side as u8,
                end,
            };
            self.queue.push(self.now + RETRANSMISSION_TIMEOUT, event);
            return;
        }
        // The first bytes may overtake the acknowledgement that ends the handshake.
        if side == 0 {
            self.accept(index);
        }
        let Some(conn) = self.conn_mut(index) else { return };
        let half = &mut conn.halves[side];
        half.received = half.received.max(end);
        let ended = half.fin_at == Some(half.received) && !half.fin_received;
        half.fin_received |= ended;
        if conn.ends[1 - side].state == EndState::Open {
            self.deliver_received(index, side);
        }
        if ended {
            self.close(index, 1 - side);
        }
    }

    /// A packet leaves its host.
    pub(super) fn depart(&mut self, segment: Box<Segment>) -> io::Result<()> {
        let now = self.now;
        let (index, side) = (segment.conn, usize::from(segment.side));
        let Some(segment) = self.behind_lost(segment) else {
            return Ok(());
        };
        let mut segment = segment;
        let Some(conn) = self.conns.get_mut(index as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        let (from, to) = (conn.ends[side].node, conn.ends[1 - side].node);
        let silent =
            conn.ends[side].state == EndState::Reset && !matches!(segment.kind, SegmentKind::Rst { .. });
        if silent || !self.nodes[from].powered {
            return Ok(());
        }
        let captured = conn.captured;
        if captured {
            let bytes = packet_bytes(
                conn,
                side,
                &segment.kind,
                now,
                self.options.vlan,
                self.options.mss,
                |end: &End| Station {
                    endpoint: Endpoint {
                        ip: self.nodes[end.node].ip,
                        port: end.port,
                    },
                    mac: self.nodes[end.node].mac,
                },
            );
            segment.packet = Some(bytes);
        }
        let half = &mut conn.halves[side];
        let mut repeat = false;
        let mut seen = None;
        match &segment.kind {
            SegmentKind::Data { offset, range, .. } => {
                let end = offset + range.len() as u64;
                repeat = *offset < half.departed;
                if !repeat {
                    half.departed = end;
                }
                if !repeat && half.seen.is_empty() {
                    // What is on its way while capturing begins will pass the receiver's tap, if there is one.
                    let known = self.nodes[to].tap.map_or(*offset, |_| half.received.min(*offset));
                    seen = Some(known..end);
                } else if !repeat || self.lossy_taps {
                    seen = Some(*offset..end);
                }
            }
            SegmentKind::Fin => half.fin_departed = true,
            SegmentKind::Ack { .. } | SegmentKind::Syn | SegmentKind::SynAck | SegmentKind::Rst { .. } => {}
        }
        // Every packet but a refusal acknowledges what has arrived.
        let other = &mut conn.halves[1 - side];
        other.acknowledged = other.received;
        other.unacknowledged = 0;
        if let Some(bytes) = segment.packet.as_ref().filter(|_| self.nodes[from].tap.is_some()) {
            let bytes = Rc::clone(bytes);
            self.capture(index, from, &bytes, seen.map(|span| (side, span)))?;
        }
        let Some(conn) = self.conns.get_mut(index as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        let latency = self.latencies.draw(from, to, &mut conn.prng);
        let Some(segment) = self.swallowed(segment) else {
            return Ok(());
        };
        let Some(conn) = self.conns.get_mut(index as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        let is_data = matches!(segment.kind, SegmentKind::Data { .. });
        if captured && is_data && !repeat && conn.prng.chance(self.options.loss) {
            let again = Segment {
                conn: index,
                side: side as u8,
                kind: segment.kind,
                packet: None,
            };
            self.queue.push(
                now + RETRANSMISSION_TIMEOUT + 2 * latency,
                Event::Depart(Box::new(again)),
            );
            return Ok(());
        }
        let half = &mut conn.halves[side];
        let mut arrival = now + latency;
        if captured && is_data && conn.prng.chance(self.options.reordering) {
            arrival = arrival.max(half.last_arrival) + REORDERING_DELAY;
        } else {
            arrival = arrival.max(half.last_arrival + 1);
            half.last_arrival = arrival;
        }
        self.queue.push(arrival, Event::Arrive(segment));
        Ok(())
    }

    /// A packet reaches its host.
    pub(super) fn arrive(&mut self, segment: Segment) -> io::Result<()> {
        let now = self.now;
        let (index, side) = (segment.conn, usize::from(segment.side));
        let Some(conn) = self.conns.get_mut(index as usize).and_then(Option::as_mut) else {
            return Ok(());
        };
        let to = conn.ends[1 - side].node;
        if !self.nodes[to].powered {
            return Ok(());
        }
        conn.ends[1 - side].echo = timestamp(conn.ends[side].clock, now);
        let half = &mut conn.halves[side];
        let before = half.received;
        let span = match &segment.kind {
            SegmentKind::Data { offset, range, .. } => Some(*offset..offset + range.len() as u64),
            _ => None,
        };
        let in_turn = span
            .as_ref()
            .is_none_or(|span| half.receive(span.start, span.end));
        let after = half.received;
        if let Some(bytes) = segment.packet.as_ref().filter(|_| self.nodes[to].tap.is_some()) {
            let new = if self.lossy_taps {
                span.clone()
            } else {
                (after > before).then_some(before..after)
            };
            let seen = new.map(|span| (side, span));
            let bytes = Rc::clone(bytes);
            self.capture(index, to, &bytes, seen)?;
        }
        let listening = self.nodes[to].running;
        let Some(conn) = self.conn_mut(index) else {
            return Ok(());
        };
        let reply = |network: &mut Self, kind| network.depart_in(REPLY_TIME, index, 1 - side, kind);
        match segment.kind {
            SegmentKind::Syn => {
                let kind = if listening {
                    SegmentKind::SynAck
                } else {
                    SegmentKind::Rst { refusal: true }
                };
                reply(self, kind);
            }
            SegmentKind::SynAck => {
                if conn.ends[0].state == EndState::Opening {
                    conn.ends[0].state = EndState::Open;
                    reply(self, SegmentKind::Ack { third: true });
                    self.read(index, 1, to, Delivery::Connected);
                }
            }
            SegmentKind::Ack { third } => {
                if third {
                    self.accept(index);
                }
            }
            SegmentKind::Data { .. } => {
                if side == 0 {
                    self.accept(index);
                }
                self.arrive_data(index, side, in_turn);
            }
            SegmentKind::Fin => {
                let half = &mut conn.halves[side];
                half.fin_at = Some(half.queued);
                if half.received == half.queued {
                    half.fin_received = true;
                    reply(self, SegmentKind::Ack { third: false });
                    self.close(index, 1 - side);
                }
            }
            SegmentKind::Rst { .. } => {
                conn.ends[1 - side].state = EndState::Reset;
                self.queue.push(now + LINGER, Event::Reap(index));
                self.end_closed(index, 1 - side);
            }
        }
        Ok(())
    }

    /// A delayed acknowledgement is due.
    pub(super) fn ack_timer(&mut self, index: ConnIndex, side: usize) {
        let Some(conn) = self.conn(index) else { return };
        let half = &conn.halves[side];
        if half.acknowledged < half.received && conn.ends[1 - side].state == EndState::Open {
            self.depart_in(0, index, 1 - side, SegmentKind::Ack { third: false });
        }
    }

    /// Forgets a connection; what the capture holds of it goes into the truth.
    pub(super) fn reap(&mut self, index: ConnIndex) {
        let Some(conn) = self.conns.get_mut(index as usize).and_then(Option::take) else {
            return;
        };
        let Some(mut truth) = conn.truth else { return };
        for (bytes, half) in truth.bytes.iter_mut().zip(&conn.halves) {
            *bytes = half.bytes_seen();
        }
        conn.session.tell(&mut truth);
        let cut_off =
            |side: usize| conn.halves[side].has_hole() && self.nodes[conn.ends[side].node].tap.is_none();
        if truth.state == "ok" && (cut_off(0) || cut_off(1)) {
            truth.state = "lost";
        }
        truth.chain = conn
            .session
            .has_status()
            .then(|| self.truth.chain_name(conn.chain).to_owned());
        if truth.bytes == [0, 0] {
            self.refused += 1;
        }
        if conn.session.is_rlpx() {
            self.truth.session(*truth);
        } else {
            self.other_flows += 1;
        }
    }

    pub(super) fn conn(&self, index: ConnIndex) -> Option<&Conn> {
        self.conns.get(index as usize).and_then(Option::as_deref)
    }

    pub(super) fn conn_mut(&mut self, index: ConnIndex) -> Option<&mut Conn> {
        self.conns.get_mut(index as usize).and_then(Option::as_deref_mut)
    }

    pub(super) fn depart_in(&mut self, delay: Time, conn: ConnIndex, side: usize, kind: SegmentKind) {
        let segment = Segment {
            conn,
            side: side as u8,
            kind,
            packet: None,
        };
        self.queue
            .push(self.now + delay, Event::Depart(Box::new(segment)));
    }

    fn accept(&mut self, index: ConnIndex) {
        if let Some(conn) = self
            .conn_mut(index)
            .filter(|conn| conn.ends[1].state == EndState::Opening)
        {
            conn.ends[1].state = EndState::Open;
            let node = conn.ends[1].node;
            self.read(index, 0, node, Delivery::Connected);
        }
    }

    fn arrive_data(&mut self, index: ConnIndex, side: usize, in_turn: bool) {
        let now = self.now;
        let Some(conn) = self.conn_mut(index) else { return };
        if conn.ends[1 - side].state != EndState::Open {
            self.depart_in(REPLY_TIME, index, 1 - side, SegmentKind::Rst { refusal: false });
            return;
        }
        let captured = conn.captured;
        let half = &mut conn.halves[side];
        half.unacknowledged += 1;
        // At first Linux acknowledges at once, then every second segment, or after a while.
        let at_once = !in_turn || half.unacknowledged >= 2 || half.received < QUICK_ACK_BYTES;
        let ended = half.fin_at == Some(half.received) && !half.fin_received;
        half.fin_received |= ended;
        if captured {
            if at_once {
                self.depart_in(REPLY_TIME, index, 1 - side, SegmentKind::Ack { third: false });
            } else {
                self.queue.push(
                    now + DELAYED_ACK,
                    Event::AckTimer {
                        conn: index,
                        side: side as u8,
                    },
                );
            }
        }
        self.deliver_received(index, side);
        if ended {
            self.close(index, 1 - side);
        }
    }

    fn deliver_received(&mut self, index: ConnIndex, side: usize) {
        loop {
            let Some(conn) = self.conn_mut(index) else { return };
            let node = conn.ends[1 - side].node;
            let half = &mut conn.halves[side];
            match half.deliveries.front() {
                Some((end, _)) if *end <= half.received => {}
                _ => return,
            }
            let Some((_, delivery)) = half.deliveries.pop_front() else {
                return;
            };
            self.read(index, side, node, delivery);
        }
    }

    /// A node reads a piece of a stream, once it does not stand still.
    fn read(&mut self, index: ConnIndex, side: usize, node: NodeIndex, delivery: Delivery) {
        let resumes = self.nodes[node].paused_until;
        if resumes > self.now {
            let delivery = Box::new(delivery);
            self.queue.push(
                resumes,
                Event::Deliver {
                    conn: index,
                    side: side as u8,
                    delivery,
                },
            );
        } else {
            self.deliver(index, side, delivery);
        }
    }
}

/// Least time between two writes of an end.
const WRITE_GAP: Time = 6_000;
/// From a packet's arrival to the kernel's answer.
const REPLY_TIME: Time = 9_000;
const DELAYED_ACK: Time = 40_000_000;
pub(super) const RETRANSMISSION_TIMEOUT: Time = 200_000_000;
/// How late an overtaken segment is.
const REORDERING_DELAY: Time = 900_000;
const SYN_TIMEOUT: Time = 1_000_000_000;
const SYN_ATTEMPTS: u8 = 3;
/// How long a closed connection is remembered.
const LINGER: Time = 5_000_000_000;
const QUICK_ACK_BYTES: u64 = 4096;
