//! One worker: from the segments of its flows to observations.
//!
//! A worker owns its flows from reassembly to decoding, so nothing here is shared but the cache of decoded payloads and the
//! secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bftap_analysis::{Observation, Occurrence, SessionEnd, SessionKey, WorkerTotals};
use bftap_capture::connection::{ConnectionSummary, FlowEvent};
use bftap_capture::flow_table::{FlowLimits, FlowTable};
use bftap_decrypt::SessionOptions;
use bftap_model::{CaptureTime, ConnId, Nanos, SETTLE, StreamItem, StreamOffset};

use hashbrown::HashMap;

use crate::batch::SegmentBatch;
use crate::covered::Covered;
use crate::journal::Part;
use crate::options::PipelineOptions;
use crate::payload_cache::PayloadCache;
use crate::returning::{Earlier, Left, Parts, Returning};
use crate::seek::{Answers, Known, Next, Reply};
use crate::session::{Pushed, Session, Surroundings};

/// See the module's documentation.
pub(crate) struct Worker {
    index: u16,
    options: Arc<PipelineOptions>,
    session_options: Arc<SessionOptions>,
    cache: Arc<PayloadCache>,
    flows: FlowTable,
    sessions: HashMap<ConnId, Session>,
    covered: Covered,
    totals: WorkerTotals,
    /// Generation of the secrets that all waiting sessions have tried.
    tried: u64,
    /// Sessions with messages that wait for a second sight.
    unsettled: BTreeSet<ConnId>,
    /// Messages may wait for a second sight, where there are several taps.
    may_hold: bool,
    hold: bool,
    /// Sessions without a place whose connection is over; they end when all was tried.
    lingering: BTreeMap<ConnId, (Session, Box<ConnectionSummary>)>,
    /// Ports and secrets of sessions that were recognised, to be told at the next point.
    recognised: Reply,
    /// What an earlier run left.
    earlier: Option<Arc<Earlier>>,
    /// What the next run has to know.
    left: Left,
    /// Sessions that were open when the program was killed, where a journal is kept.
    parts: Option<Arc<Parts>>,
}

/// How things stand at a worker.
#[derive(Debug, Default)]
pub(crate) struct WorkerNow {
    /// What was counted, open sessions included.
    pub(crate) totals: WorkerTotals,
    /// Open sessions, as if they ended now.
    pub(crate) open: Vec<SessionEnd>,
    /// Open sessions as a journal keeps them. Then they are neither in `open` nor in `totals`.
    pub(crate) parts: Vec<(Option<SessionKey>, Part)>,
    /// Messages that wait for a second sight.
    pub(crate) pending: Vec<Occurrence>,
}

impl Worker {
    pub(crate) fn new(
        index: u16,
        options: Arc<PipelineOptions>,
        cache: Arc<PayloadCache>,
        may_hold: bool,
        earlier: Option<Arc<Earlier>>,
        parts: Option<Arc<Parts>>,
    ) -> Self {
        Self {
            index,
            session_options: Arc::new(options.sessions.clone()),
            cache,
            flows: FlowTable::new(share(&options.flows, options.jobs.max(1))),
            sessions: HashMap::new(),
            covered: Covered::default(),
            totals: WorkerTotals::default(),
            tried: 0,
            unsettled: BTreeSet::new(),
            may_hold,
            hold: false,
            lingering: BTreeMap::new(),
            recognised: Reply::default(),
            earlier,
            left: Left::default(),
            parts,
            options,
        }
    }

    /// Works through a batch.
    pub(crate) fn push(&mut self, batch: &SegmentBatch, out: &mut Vec<Observation>) {
        self.hold = self.may_hold && batch.several_taps;
        self.retry(out);
        let mut events = Vec::new();
        for (head, piece) in &batch.segments {
            self.flows.push(head, batch.payload(*piece), &mut events);
            for event in events.drain(..) {
                self.take(event, out);
            }
        }
        if let Some(now) = batch.now {
            self.flows.advance(now, &mut events);
            for event in events.drain(..) {
                self.take(event, out);
            }
            self.settle(now, out);
        }
    }

    /// The capture is over: all connections are.
    pub(crate) fn close(&mut self, out: &mut Vec<Observation>) {
        self.retry(out);
        let mut events = Vec::new();
        self.flows.finish(&mut events);
        for event in events {
            self.take(event, out);
        }
        debug_assert!(
            self.sessions.is_empty(),
            "the flow table closes every connection it opened"
        );
    }

    /// What is to be looked for at this point.
    pub(crate) fn wanted(&mut self, known: &Known, out: &mut Vec<Observation>) -> Reply {
        let mut reply = std::mem::take(&mut self.recognised);
        let lingering: Vec<ConnId> = self.lingering.keys().copied().collect();
        for id in lingering {
            let Some((session, _)) = self.lingering.get_mut(&id) else {
                continue;
            };
            if session.seek.is_asked() {
                continue;
            }
            match next_of(id, session, true, known, &self.options) {
                Next::Search(wanted) => reply.wanted.push(wanted),
                Next::Wait | Next::Nothing => self.end_lingering(id, out),
            }
        }
        let mut open: Vec<(&ConnId, &mut Session)> = self.sessions.iter_mut().collect();
        open.sort_unstable_by_key(|(id, _)| **id);
        for (&id, session) in open {
            if session.seek.is_asked() {
                continue;
            }
            let flow = session.flow();
            session.resume(|| self.flows.starts(id, &flow), &self.options.secrets);
            match next_of(id, session, known.pressed, known, &self.options) {
                Next::Search(wanted) => reply.wanted.push(wanted),
                Next::Wait => {}
                Next::Nothing => {
                    session.decoder.give_up(self.options.secrets.generation());
                    session.decoder.forget_before(session.seek.done());
                }
            }
        }
        reply
    }

    /// Takes what was found.
    pub(crate) fn attach(&mut self, answers: Answers, out: &mut Vec<Observation>) {
        for (id, answer) in answers {
            let lingering = self.lingering.get_mut(&id).map(|(session, _)| session);
            let Some(session) = lingering.or_else(|| self.sessions.get_mut(&id)) else {
                continue;
            };
            session.seek.answered();
            let Some(answer) = answer else { continue };
            session.decoder.attach(&answer.candidate, answer.places);
            announce(session, &mut self.recognised);
            let mut around = Surroundings {
                options: &self.options,
                cache: &self.cache,
                covered: &mut self.covered,
                totals: &mut self.totals,
                out,
            };
            end_strange_part(session, &mut around);
            session.drain(None, false, &mut around);
        }
    }

    fn end_lingering(&mut self, id: ConnId, out: &mut Vec<Observation>) {
        if let Some((session, summary)) = self.lingering.remove(&id) {
            self.end(session, &summary, out);
        }
    }

    fn end(&mut self, mut session: Session, summary: &ConnectionSummary, out: &mut Vec<Observation>) {
        let mut around = Surroundings {
            options: &self.options,
            cache: &self.cache,
            covered: &mut self.covered,
            totals: &mut self.totals,
            out,
        };
        session.decoder.abandon();
        session.drain(None, false, &mut around);
        session.settle(None, around.out);
        if self.options.keep_checkpoint {
            session.leave(summary, &mut self.left);
        }
        session.end(summary, &mut around);
    }

    /// How things stand: what was counted, and the open sessions as if the capture ended here. Changes nothing.
    pub(crate) fn now(&self) -> WorkerNow {
        let mut now = WorkerNow {
            totals: self.totals.clone(),
            ..WorkerNow::default()
        };
        self.add_flow_limits(&mut now.totals);
        if self.parts.is_some() {
            self.note_parts(&mut now);
            return now;
        }
        for (&id, session) in &self.sessions {
            // Of a connection that has carried nothing yet nobody can say that it is refused.
            if let Some(flow) = self.flows.summary(id, &session.flow())
                && flow.payload_bytes != [0; 2]
            {
                now.open.extend(session.judge(&flow, &mut now.totals));
            }
        }
        for (session, flow) in self.lingering.values() {
            now.open.extend(session.judge(flow, &mut now.totals));
        }
        now
    }

    fn note_parts(&self, now: &mut WorkerNow) {
        for (&id, session) in &self.sessions {
            if let Some(flow) = self.flows.summary(id, &session.flow())
                && (flow.payload_bytes != [0; 2] || session.part.is_some())
            {
                now.parts.push(session.as_part(&flow));
                now.pending.extend(session.pending().cloned());
            }
        }
        for (session, flow) in self.lingering.values() {
            now.parts.push(session.as_part(flow));
        }
    }

    /// What was counted, and what the next run has to know.
    pub(crate) fn into_totals(mut self) -> (WorkerTotals, Left) {
        let mut totals = std::mem::take(&mut self.totals);
        self.add_flow_limits(&mut totals);
        (totals, self.left)
    }

    fn add_flow_limits(&self, totals: &mut WorkerTotals) {
        let stats = self.flows.stats();
        for (name, count) in [
            ("evicted_flows", stats.evicted),
            ("reassembly_total_memory", stats.total_limit_reached),
            ("bytes_after_close", stats.after_close_bytes),
        ] {
            if count > 0 {
                *totals.limits.entry(name.to_owned()).or_default() += count;
            }
        }
    }

    /// Sessions that wait for a secret look again when new ones have come.
    pub(crate) fn retry(&mut self, out: &mut Vec<Observation>) {
        let generation = self.options.secrets.generation();
        if generation == self.tried {
            return;
        }
        self.tried = generation;
        let mut waiting: Vec<ConnId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.decoder.is_waiting())
            .map(|(&id, _)| id)
            .collect();
        waiting.sort_unstable();
        for id in waiting {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.decoder.retry(&self.options.secrets);
                session.drain(
                    None,
                    false,
                    &mut Surroundings {
                        options: &self.options,
                        cache: &self.cache,
                        covered: &mut self.covered,
                        totals: &mut self.totals,
                        out,
                    },
                );
            }
        }
    }

    fn settle(&mut self, now: CaptureTime, out: &mut Vec<Observation>) {
        if self.unsettled.is_empty() {
            return;
        }
        let before = now.saturating_add(Nanos(-SETTLE.0));
        let sessions = &mut self.sessions;
        self.unsettled.retain(|id| {
            sessions.get_mut(id).is_some_and(|session| {
                session.settle(Some(before), out);
                session.is_unsettled()
            })
        });
    }

    fn take(&mut self, event: FlowEvent<'_>, out: &mut Vec<Observation>) {
        let mut around = Surroundings {
            options: &self.options,
            cache: &self.cache,
            covered: &mut self.covered,
            totals: &mut self.totals,
            out,
        };
        match event {
            FlowEvent::Opened { id, connection } => {
                let key = SessionKey {
                    worker: self.index,
                    connection: id.0,
                };
                let mut session =
                    Session::new(key, connection.key, connection.syn_from, &self.session_options);
                if let Some(earlier) = &self.earlier
                    && let Some(index) = earlier.find(&connection.key)
                {
                    // Behind a SYN it is another connection, and one that comes up again was given up by this run.
                    let first = self.left.touched.insert(index);
                    if first && connection.syn_from.is_none() {
                        session.returning = Some(Box::new(Returning::new(earlier, index)));
                    }
                }
                if let Some(parts) = &self.parts
                    && let Some(part) = parts.claim(&connection.key)
                {
                    if connection.syn_from.is_none() {
                        session.part = Some(part);
                    } else {
                        end_part(&part, connection.seen, &mut around);
                    }
                }
                self.sessions.insert(id, session);
            }
            FlowEvent::Syn { id, from } => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.decoder.set_syn_from(from);
                }
            }
            FlowEvent::Item { id, side, item } => {
                let Some(session) = self.sessions.get_mut(&id) else {
                    return;
                };
                let flow = session.flow();
                session.resume(|| self.flows.starts(id, &flow), &self.options.secrets);
                if self.options.raw.is_some() {
                    session.starts = self.flows.starts(id, &flow);
                }
                let pushed = match &item {
                    StreamItem::Data(chunk) => Some(Pushed {
                        side,
                        end: StreamOffset(chunk.offset.0 + chunk.bytes.len() as u64),
                    }),
                    StreamItem::Resight { end, seen } => {
                        let (end, seen) = (*end, *seen);
                        session.resight(side, end, seen);
                        return;
                    }
                    StreamItem::Gap(gap) => {
                        session.gap(side, gap.seen);
                        None
                    }
                    StreamItem::End { .. } => None,
                };
                let awaited = session.decoder.is_awaited(side);
                session.decoder.push(side, item, &self.options.secrets);
                if awaited && !session.decoder.is_awaited(side) {
                    // What comes out now was waiting, and settled long ago.
                    session.drain(None, false, &mut around);
                } else {
                    session.drain(pushed, self.hold, &mut around);
                }
                announce(session, &mut self.recognised);
                end_strange_part(session, &mut around);
                if session.is_unsettled() {
                    self.unsettled.insert(id);
                }
            }
            FlowEvent::Closed { id, summary } => {
                let Some(mut session) = self.sessions.remove(&id) else {
                    return;
                };
                session.resume(|| summary.starts, &self.options.secrets);
                session.starts = summary.starts;
                session.decoder.finish(&self.options.secrets);
                session.drain(None, false, &mut around);
                announce(&mut session, &mut self.recognised);
                end_strange_part(&mut session, &mut around);
                if session.decoder.sought().is_some() {
                    self.lingering.insert(id, (session, summary));
                } else {
                    self.end(session, &summary, out);
                }
            }
        }
    }
}

/// What to do about a session's place; most have one.
fn next_of(
    id: ConnId,
    session: &mut Session,
    urgent: bool,
    known: &Known,
    options: &PipelineOptions,
) -> Next {
    // What an earlier run left may tell soon, and costs nothing.
    if !urgent && session.decoder.is_resuming() {
        return Next::Wait;
    }
    let mut seek = std::mem::take(&mut session.seek);
    let next = seek.next(id, session, urgent, known, options);
    session.seek = seek;
    next
}

/// Notes the port and the secret of a session once it is opened.
#[inline]
fn announce(session: &mut Session, recognised: &mut Reply) {
    if !session.announced
        && let Some((port, secret)) = session.decoder.opened_by()
    {
        session.announced = true;
        recognised.ports.push(port);
        recognised.used.push((secret, session.flow()));
    }
}

/// Tells that a session of an earlier life has ended, if its flow is that of another one now.
#[inline]
fn end_strange_part(session: &mut Session, around: &mut Surroundings<'_>) {
    if session.part.is_some()
        && let Some(part) = session.strange_part()
    {
        end_part(&part, part.last_seen, around);
    }
}

/// Tells that a session of an earlier life ended before `seen`, while nobody looked.
fn end_part(part: &Part, seen: CaptureTime, around: &mut Surroundings<'_>) {
    around.totals.add(part.totals.clone());
    if let Some(end) = part.ended(seen) {
        around.out.push(Observation::End(part.key(), Box::new(end)));
    }
}

/// One worker's part of what all flows together may take.
fn share(limits: &FlowLimits, workers: usize) -> FlowLimits {
    FlowLimits {
        total_bytes: limits.total_bytes.div_ceil(workers),
        flows: limits.flows.div_ceil(workers),
        remembered: limits.remembered.div_ceil(workers),
        ..*limits
    }
}
