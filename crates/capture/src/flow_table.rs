//! TCP segments in, streams out: which connection a segment belongs to, and what memory and time it may take.
//!
//! What is told about one connection depends on its own segments and their capture times alone: not on when
//! [`FlowTable::advance`] is called, nor on other connections, as long as the limits shared by all
//! ([`FlowLimits::total_bytes`], [`FlowLimits::flows`], [`FlowLimits::remembered`]) are not reached.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::BuildHasher;
use std::net::IpAddr;

use bftap_model::{CaptureTime, ConnId, FlowKey, Nanos, SeqNumber, Side};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::connection::{CloseReason, Connection, ConnectionSummary, FlowEvent};
use crate::flow::{Flow, InOrder, Remains, Step};
use crate::measure::MOST_TRIP;
use crate::segment::SegmentHead;

/// How much memory and patience reassembly has. Times are capture times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowLimits {
    /// Out-of-order bytes held per direction, with what holding them costs. Beyond, the first hole becomes a gap.
    /// Default 4 MiB.
    pub direction_bytes: usize,
    /// Out-of-order bytes held in all. Beyond, the direction that asks for more gives up its holes. Default 64 MiB.
    pub total_bytes: usize,
    /// Connections open at a time. Beyond, the one that was idle for longest is closed. Default 262,144.
    pub flows: usize,
    /// Closed connections remembered for [`Self::remember`]. Default 65,536.
    pub remembered: usize,
    /// How long a connection may be silent before it counts as over. Default one day: a capture clock that is set forward by
    /// hours (a time zone mended, a virtual machine woken) must not end every session; [`Self::flows`] bounds memory.
    pub idle: Nanos,
    /// How long missing bytes that the receiver has acknowledged are waited for: it has them, so only another tap
    /// can still show them. Default 2 seconds.
    pub acked_wait: Nanos,
    /// How long other missing bytes are waited for once later ones were seen. Default 60 seconds, which several
    /// retransmissions fit in.
    pub unacked_wait: Nanos,
    /// How long a closed connection is remembered, so that its late packets open no new one. Default 2 minutes.
    pub remember: Nanos,
}

impl Default for FlowLimits {
    fn default() -> Self {
        Self {
            direction_bytes: 4 << 20,
            total_bytes: 64 << 20,
            flows: 262_144,
            remembered: 65_536,
            idle: Nanos::from_secs(86_400),
            acked_wait: Nanos::from_secs(2),
            unacked_wait: Nanos::from_secs(60),
            remember: Nanos::from_secs(120),
        }
    }
}

/// Counts over all connections of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowStats {
    /// Segments pushed.
    pub segments: u64,
    /// Connections opened.
    pub opened: u64,
    /// Connections closed because the table was full.
    pub evicted: u64,
    /// Segments of connections closed shortly before.
    pub after_close: u64,
    /// Payload bytes in those.
    pub after_close_bytes: u64,
    /// Resets of connections of which nothing else was seen.
    pub lone_resets: u64,
    /// Times that [`FlowLimits::total_bytes`] forced a gap.
    pub total_limit_reached: u64,
}

/// All connections of a capture, or of a share of its flows.
///
/// Push every TCP segment in capture order, call [`advance`](Self::advance) now and then, and [`finish`](Self::finish)
/// at the end. News are appended to the vector that is handed in.
#[derive(Debug)]
pub struct FlowTable {
    limits: FlowLimits,
    hasher: DefaultHashBuilder,
    /// Indices into `flows`, by key.
    index: HashTable<u32>,
    flows: Vec<Option<Box<Flow>>>,
    free: Vec<u32>,
    /// The flow of the latest segment, which is often that of the next.
    latest: u32,
    /// When to look at a flow because something is due. An entry counts if it is the flow's `alarm`.
    alarms: BinaryHeap<Reverse<Alarm>>,
    /// When to look whether a flow has become idle: one entry per flow, perhaps too early.
    idle: BinaryHeap<Reverse<Alarm>>,
    /// Flows that remember packets, by when to look whether they should still.
    with_sights: VecDeque<Alarm>,
    closed: HashMap<FlowKey, Closed>,
    closed_order: VecDeque<(CaptureTime, FlowKey, ConnId)>,
    next_id: u64,
    /// Latest time heard of.
    clock: CaptureTime,
    /// What waiting bytes of all flows count as.
    waiting: usize,
    stats: FlowStats,
}

/// A time to look at a flow; ordered so that equal times go by age of the connection.
type Alarm = (CaptureTime, ConnId, u32);

/// A connection that was closed.
#[derive(Clone, Copy, Debug)]
struct Closed {
    remains: Remains,
    last_seen: CaptureTime,
}

/// How long a silent flow keeps its memory of packets; well above the settling time.
const KEEP_SIGHTS: Nanos = Nanos::from_secs(2);

const _: () = assert!(
    MOST_TRIP.0 <= KEEP_SIGHTS.0,
    "whether a round trip is told must not hang on when silence is noticed"
);

impl FlowTable {
    /// An empty table.
    pub fn new(limits: FlowLimits) -> Self {
        Self {
            limits,
            hasher: DefaultHashBuilder::default(),
            index: HashTable::new(),
            flows: Vec::new(),
            free: Vec::new(),
            latest: u32::MAX,
            alarms: BinaryHeap::new(),
            idle: BinaryHeap::new(),
            with_sights: VecDeque::new(),
            closed: HashMap::new(),
            closed_order: VecDeque::new(),
            next_id: 0,
            clock: CaptureTime::MIN,
            waiting: 0,
            stats: FlowStats::default(),
        }
    }

    /// Takes the next segment of the capture. `payload` are its captured bytes; those cut off are told by
    /// [`SegmentHead::cut`].
    pub fn push<'p>(&mut self, head: &SegmentHead, payload: &'p [u8], out: &mut Vec<FlowEvent<'p>>) {
        self.stats.segments += 1;
        self.clock = self.clock.max(head.seen);
        if self
            .with_sights
            .front()
            .is_some_and(|(since, ..)| self.clock.since(*since) > KEEP_SIGHTS)
        {
            self.sweep_sights();
        }
        let (key, side) = FlowKey::of(head.source, head.destination);
        let Some(slot) = self.find(&key) else {
            return self.open(key, side, head, payload, [None; 2], out);
        };
        let Some(flow) = &mut self.flows[slot as usize] else {
            return;
        };
        if head.seen >= flow.due || head.seen.since(flow.last_seen) >= self.limits.idle {
            let cost = flow.waiting_cost();
            let over = flow.run(head.seen, &self.limits, out);
            self.waiting = self.waiting - cost + flow.waiting_cost();
            if let Some(reason) = over {
                self.close(slot, reason, out);
                return self.open(key, side, head, payload, [None; 2], out);
            }
        }
        if !flow.has_sights {
            flow.has_sights = true;
            self.with_sights.push_back((self.clock, flow.id, slot));
        }
        match flow.in_order(side, head, payload, out) {
            InOrder::Yes => {}
            InOrder::AndAcknowledges => self.schedule(slot),
            InOrder::No => self.take(slot, side, head, payload, out),
        }
    }

    /// Says that the capture has got to `now`: what was due by then happens, also for connections without a segment.
    ///
    /// No segment pushed later should have an earlier capture time; a connection that gets one was just waited
    /// for less long. Costs next to nothing when nothing is due.
    pub fn advance<'p>(&mut self, now: CaptureTime, out: &mut Vec<FlowEvent<'p>>) {
        self.clock = self.clock.max(now);
        while let Some(&Reverse((due, id, slot))) = self.alarms.peek()
            && due <= now
        {
            self.alarms.pop();
            let Some(flow) = self.flow(id, slot) else { continue };
            if flow.alarm == due {
                flow.alarm = CaptureTime::MAX;
                self.run(slot, now, out);
            }
        }
        while let Some(&Reverse((due, id, slot))) = self.idle.peek()
            && due <= now
        {
            self.idle.pop();
            let span = self.limits.idle;
            let Some(flow) = self.flow(id, slot) else { continue };
            let idle = flow.last_seen.saturating_add(span);
            if idle > now || idle == CaptureTime::MAX || !self.run(slot, now, out) {
                // A flow that is always busy was looked at too early, and one at the end of time never is idle.
                let next = if idle > now { idle } else { CaptureTime::MAX };
                self.idle.push(Reverse((next, id, slot)));
                if next <= now {
                    break;
                }
            }
        }
        while self
            .with_sights
            .front()
            .is_some_and(|(since, ..)| self.clock.since(*since) > KEEP_SIGHTS)
        {
            self.sweep_sights();
        }
    }

    /// Ends all connections: the capture is over.
    ///
    /// What was due by the latest time heard of happens first. Then connections end in the order of first
    /// packet, ends and id. To give the same news however flows are spread over tables, [`advance`](Self::advance) every table to the
    /// end of the capture before.
    pub fn finish<'p>(&mut self, out: &mut Vec<FlowEvent<'p>>) {
        self.advance(self.clock, out);
        let mut open: Vec<(CaptureTime, FlowKey, ConnId, u32)> = self
            .flows
            .iter()
            .enumerate()
            .filter_map(|(slot, flow)| {
                flow.as_ref()
                    .map(|flow| (flow.first_seen, flow.key, flow.id, slot as u32))
            })
            .collect();
        open.sort_unstable();
        for (.., slot) in open {
            self.close(slot, CloseReason::EndOfCapture, out);
        }
        self.alarms.clear();
        self.idle.clear();
        self.with_sights.clear();
        self.closed.clear();
        self.closed_order.clear();
    }

    /// Counts over all connections so far.
    pub fn stats(&self) -> FlowStats {
        self.stats
    }

    /// Sequence numbers of offset 0 of both streams of an open connection, by [`Side::index`]; `None` while nothing of the side's
    /// stream was given, and for a connection that is over: see
    /// [`ConnectionSummary::starts`](crate::connection::ConnectionSummary::starts).
    pub fn starts(&self, id: ConnId, key: &FlowKey) -> [Option<SeqNumber>; 2] {
        self.open_flow(id, key).map_or([None; 2], Flow::starts)
    }

    /// How an open connection went so far, as if the capture ended here.
    pub fn summary(&self, id: ConnId, key: &FlowKey) -> Option<ConnectionSummary> {
        let flow = self.open_flow(id, key)?;
        Some(flow.summary(CloseReason::EndOfCapture))
    }

    fn open_flow(&self, id: ConnId, key: &FlowKey) -> Option<&Flow> {
        let is_it = |slot: u32| matches!(self.flows.get(slot as usize), Some(Some(flow)) if flow.id == id);
        let slot = if is_it(self.latest) {
            Some(self.latest)
        } else {
            self.index
                .find(hash(&self.hasher, key), |&slot| is_it(slot))
                .copied()
        };
        self.flows[slot? as usize].as_deref()
    }

    /// Connections open now.
    pub fn open_flows(&self) -> usize {
        self.index.len()
    }

    /// Out-of-order bytes held now, with what holding them costs; see [`FlowLimits::total_bytes`].
    pub fn waiting_bytes(&self) -> usize {
        self.waiting
    }

    /// Takes a segment that is not simply the next one.
    fn take<'p>(
        &mut self,
        slot: u32,
        side: Side,
        head: &SegmentHead,
        payload: &'p [u8],
        out: &mut Vec<FlowEvent<'p>>,
    ) {
        let Some(flow) = &mut self.flows[slot as usize] else {
            return;
        };
        let cost = flow.waiting_cost();
        let step = flow.take(side, head, payload, &self.limits, out);
        // What is over its limit beyond this was so before this segment.
        while self.waiting - cost + flow.waiting_cost() > self.limits.total_bytes
            && flow.force(&self.limits, out)
        {
            self.stats.total_limit_reached += 1;
        }
        self.waiting = self.waiting - cost + flow.waiting_cost();
        match step {
            Step::Taken => self.schedule(slot),
            Step::Replace => {
                let (key, ends) = (flow.key, flow.remains().ends);
                self.close(slot, CloseReason::Replaced, out);
                self.closed.remove(&key);
                self.open(key, side, head, payload, ends, out);
            }
        }
    }

    /// Opens a connection with its first segment, if this is not one of a connection closed before.
    fn open<'p>(
        &mut self,
        key: FlowKey,
        side: Side,
        head: &SegmentHead,
        payload: &'p [u8],
        mut earlier: [Option<SeqNumber>; 2],
        out: &mut Vec<FlowEvent<'p>>,
    ) {
        if let Some(closed) = self.closed.get(&key) {
            if head.seen.since(closed.last_seen) <= self.limits.remember {
                if closed.remains.explain(side, head, payload.len()) {
                    self.stats.after_close += 1;
                    self.stats.after_close_bytes += payload.len() as u64;
                    return;
                }
                earlier = closed.remains.ends;
            }
            self.closed.remove(&key);
        }
        if head.flags.rst() {
            self.stats.lone_resets += 1;
            return;
        }
        while self.index.len() >= self.limits.flows.max(1) && self.evict(out) {}

        let id = ConnId(self.next_id);
        self.next_id += 1;
        self.stats.opened += 1;
        let syn_from = match (head.flags.syn(), head.flags.ack()) {
            (true, false) => Some(side),
            (true, true) => Some(side.other()),
            (false, _) => None,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.flows.push(None);
            (self.flows.len() - 1) as u32
        });
        self.flows[slot as usize] = Some(Box::new(Flow::new(id, key, head.seen, syn_from, earlier)));
        let (flows, hasher) = (&self.flows, &self.hasher);
        self.index.insert_unique(hash(hasher, &key), slot, |&slot| {
            flows[slot as usize]
                .as_ref()
                .map_or(0, |flow| hash(hasher, &flow.key))
        });
        self.latest = slot;
        self.idle
            .push(Reverse((head.seen.saturating_add(self.limits.idle), id, slot)));
        out.push(FlowEvent::Opened {
            id,
            connection: Connection {
                key,
                syn_from,
                seen: head.seen,
            },
        });
        self.take(slot, side, head, payload, out);
    }

    /// Closes the connection that was idle for longest; says whether there was one.
    fn evict(&mut self, out: &mut Vec<FlowEvent<'_>>) -> bool {
        while let Some(Reverse((due, id, slot))) = self.idle.pop() {
            let span = self.limits.idle;
            let Some(flow) = self.flow(id, slot) else { continue };
            let idle = flow.last_seen.saturating_add(span);
            if idle > due {
                self.idle.push(Reverse((idle, id, slot)));
                continue;
            }
            self.stats.evicted += 1;
            self.close(slot, CloseReason::Evicted, out);
            return true;
        }
        false
    }

    /// Does what is due of a flow; says whether that closed it.
    fn run<'p>(&mut self, slot: u32, now: CaptureTime, out: &mut Vec<FlowEvent<'p>>) -> bool {
        let Some(flow) = &mut self.flows[slot as usize] else {
            return false;
        };
        let cost = flow.waiting_cost();
        let over = flow.run(now, &self.limits, out);
        self.waiting = self.waiting - cost + flow.waiting_cost();
        match over {
            Some(reason) => self.close(slot, reason, out),
            None => self.schedule(slot),
        }
        over.is_some()
    }

    fn close<'p>(&mut self, slot: u32, reason: CloseReason, out: &mut Vec<FlowEvent<'p>>) {
        let Some(mut flow) = self.flows[slot as usize].take() else {
            return;
        };
        self.waiting -= flow.waiting_cost();
        flow.close(reason, out);
        if let Ok(entry) = self
            .index
            .find_entry(hash(&self.hasher, &flow.key), |&found| found == slot)
        {
            entry.remove();
        }
        self.free.push(slot);
        // An idle or evicted connection may go on, so its packets must not be taken for late ones.
        if matches!(reason, CloseReason::Fin | CloseReason::Rst) {
            self.remember(&flow);
        }
    }

    fn remember(&mut self, flow: &Flow) {
        while let Some(&(last_seen, key, id)) = self.closed_order.front()
            && (self.closed_order.len() >= self.limits.remembered.max(1)
                || self.clock.since(last_seen) > self.limits.remember)
        {
            self.closed_order.pop_front();
            if self
                .closed
                .get(&key)
                .is_some_and(|closed| closed.remains.id == id)
            {
                self.closed.remove(&key);
            }
        }
        self.closed.insert(
            flow.key,
            Closed {
                remains: flow.remains(),
                last_seen: flow.last_seen,
            },
        );
        self.closed_order.push_back((flow.last_seen, flow.key, flow.id));
    }

    /// Sets an alarm for what is due next of a flow.
    fn schedule(&mut self, slot: u32) {
        let Some(flow) = &mut self.flows[slot as usize] else {
            return;
        };
        flow.update_due(&self.limits);
        if flow.due < flow.alarm {
            flow.alarm = flow.due;
            self.alarms.push(Reverse((flow.due, flow.id, slot)));
        }
    }

    /// Looks at the flow that has remembered packets for longest.
    fn sweep_sights(&mut self) {
        let Some((_, id, slot)) = self.with_sights.pop_front() else {
            return;
        };
        let clock = self.clock;
        let Some(flow) = self.flow(id, slot) else { return };
        if clock.since(flow.last_seen) > KEEP_SIGHTS {
            flow.forget_sights();
            flow.has_sights = false;
        } else {
            self.with_sights.push_back((clock, id, slot));
        }
    }

    fn flow(&mut self, id: ConnId, slot: u32) -> Option<&mut Flow> {
        self.flows[slot as usize]
            .as_deref_mut()
            .filter(|flow| flow.id == id)
    }

    #[inline]
    fn find(&mut self, key: &FlowKey) -> Option<u32> {
        let is_key =
            |slot: u32| matches!(self.flows.get(slot as usize), Some(Some(flow)) if flow.key == *key);
        if is_key(self.latest) {
            return Some(self.latest);
        }
        let found = *self.index.find(hash(&self.hasher, key), |&slot| is_key(slot))?;
        self.latest = found;
        Some(found)
    }
}

/// IPv4 flows, nearly all, take two words instead of the dozen pieces of a derived hash.
#[inline]
fn hash(hasher: &DefaultHashBuilder, key: &FlowKey) -> u64 {
    let ports = u64::from(key.low.port) << 16 | u64::from(key.high.port);
    match (key.low.ip, key.high.ip) {
        (IpAddr::V4(low), IpAddr::V4(high)) => {
            hasher.hash_one((u64::from(low.to_bits()) << 32 | u64::from(high.to_bits()), ports))
        }
        _ => hasher.hash_one(key),
    }
}
