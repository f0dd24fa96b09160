//! Packets of several interfaces in one order of time.
//!
//! A packet goes on when every other interface has shown something later, or has said that it has nothing before it, or when the piece it
//! came in has waited for [`WINDOW`]. What comes later than that goes on behind its time, and is counted. By the machine's steady clock, so
//! that a step of its calendar holds up nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bftap_model::{CaptureTime, Nanos};
use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::fill::Piece;
use super::follow::now;
use crate::packet::{Batch, Record};

/// Longer than the kernel and an interface's thread hold packets back on a machine that is not overloaded.
const WINDOW: Duration = Duration::from_millis(50);

/// Bytes and packets that may wait for other interfaces; beyond, they do not wait.
const MOST_BYTES: usize = 32 << 20;
const MOST_RECORDS: usize = 1 << 18;

/// Packets of a batch that was merged.
const BATCH_RECORDS: usize = 8192;

/// Steps in which idle time goes on.
const STEP: Nanos = Nanos::from_millis(50);

/// See the module's documentation.
pub(super) struct Join {
    arrivals: Receiver<Piece>,
    lanes: Vec<Lane>,
    waiting_bytes: usize,
    waiting_records: usize,
    /// All threads are gone.
    ended: bool,
    /// Latest packet that went on.
    given: Option<CaptureTime>,
    /// Time that was said to have come.
    told: Option<CaptureTime>,
    late: Arc<AtomicU64>,
}

/// One interface.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    reached: Option<CaptureTime>,
}

struct Waiting {
    batch: Batch,
    /// Records that went on already.
    at: usize,
    since: Instant,
    /// Place of its block in the batch that is being put together.
    slot: Option<u32>,
}

impl Waiting {
    fn head(&self) -> Option<&Record> {
        self.batch.records.get(self.at)
    }
}

impl Join {
    pub(super) fn new(interfaces: usize, arrivals: Receiver<Piece>) -> Self {
        Self {
            arrivals,
            lanes: std::iter::repeat_with(Lane::default).take(interfaces).collect(),
            waiting_bytes: 0,
            waiting_records: 0,
            ended: false,
            given: None,
            told: None,
            late: Arc::default(),
        }
    }

    pub(super) fn late(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.late)
    }

    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        loop {
            while !self.is_full()
                && let Ok(piece) = self.arrivals.try_recv()
            {
                self.take(piece);
            }
            if let Some(batch) = self.give() {
                return Some(batch);
            }
            if self.ended {
                return None;
            }
            let wait = self
                .oldest()
                .map_or(WINDOW, |since| WINDOW.saturating_sub(now().duration_since(since)));
            match self.arrivals.recv_timeout(wait.max(Duration::from_millis(1))) {
                Ok(piece) => self.take(piece),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.ended = true,
            }
        }
    }

    fn is_full(&self) -> bool {
        self.waiting_bytes >= MOST_BYTES || self.waiting_records >= MOST_RECORDS
    }

    fn oldest(&self) -> Option<Instant> {
        self.lanes
            .iter()
            .filter_map(|lane| Some(lane.waiting.front()?.since))
            .min()
    }

    fn take(&mut self, piece: Piece) {
        let Some(lane) = self.lanes.get_mut(piece.interface) else {
            return;
        };
        lane.reached = lane.reached.max(piece.reached);
        if !piece.batch.records.is_empty() {
            self.waiting_bytes += bytes_of(&piece.batch);
            self.waiting_records += piece.batch.records.len();
            lane.waiting.push_back(Waiting {
                batch: piece.batch,
                at: 0,
                since: piece.at,
                slot: None,
            });
        }
    }

    /// What may go on now: packets, or only that time goes on.
    fn give(&mut self) -> Option<Batch> {
        let mut batch = if let [lane] = &mut self.lanes[..] {
            let whole = lane.waiting.pop_front().map(|waiting| waiting.batch);
            if let Some(batch) = &whole {
                self.waiting_bytes -= bytes_of(batch);
                self.waiting_records -= batch.records.len();
                self.note(batch);
            }
            whole
        } else {
            self.merge()
        };
        let idle = self.lanes.iter().all(|lane| lane.waiting.is_empty());
        let reached = self.reached().filter(|_| idle);
        if let Some(reached) = reached
            && self.told.is_none_or(|told| reached.since(told) >= STEP)
        {
            self.told = Some(reached);
            batch.get_or_insert_default().reached = Some(reached);
        }
        batch
    }

    /// What all interfaces have reached.
    fn reached(&self) -> Option<CaptureTime> {
        let mut least = None;
        for lane in &self.lanes {
            let reached = lane.reached?;
            least = Some(least.map_or(reached, |least: CaptureTime| least.min(reached)));
        }
        least
    }

    fn merge(&mut self) -> Option<Batch> {
        // Up to here nobody is waited for.
        let now = now();
        let all = self.ended || self.is_full();
        let ripe = |waiting: &Waiting| all || now.duration_since(waiting.since) >= WINDOW;
        let ripe = self
            .lanes
            .iter()
            .flat_map(|lane| &lane.waiting)
            .filter(|waiting| ripe(waiting))
            .filter_map(|waiting| waiting.batch.records.iter().map(|record| record.seen).max())
            .max();
        for waiting in self.lanes.iter_mut().flat_map(|lane| &mut lane.waiting) {
            waiting.slot = None;
        }
        let mut out = Batch::default();
        while out.records.len() < BATCH_RECORDS {
            let Some((first, seen, until)) = self.first() else {
                break;
            };
            if ripe.is_none_or(|ripe| seen > ripe) && !self.all_have_reached(first, seen) {
                break;
            }
            self.emit(first, until, ripe, &mut out);
        }
        if out.records.is_empty() {
            return None;
        }
        self.note(&out);
        Some(out)
    }

    /// The interface whose next packet comes first, when, and the time of the next one of all others.
    fn first(&self) -> Option<(usize, CaptureTime, Option<CaptureTime>)> {
        let mut first: Option<(usize, CaptureTime)> = None;
        let mut until: Option<CaptureTime> = None;
        for (index, lane) in self.lanes.iter().enumerate() {
            let Some(head) = lane.waiting.front().and_then(Waiting::head) else {
                continue;
            };
            let later = match first {
                Some((_, seen)) if seen <= head.seen => Some(head.seen),
                before => {
                    first = Some((index, head.seen));
                    before.map(|(_, seen)| seen)
                }
            };
            until = match (until, later) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        first.map(|(index, seen)| (index, seen, until))
    }

    /// None of the other interfaces can still show something earlier, as far as they say.
    fn all_have_reached(&self, but: usize, seen: CaptureTime) -> bool {
        self.lanes.iter().enumerate().all(|(index, lane)| {
            index == but || !lane.waiting.is_empty() || lane.reached.is_some_and(|reached| reached >= seen)
        })
    }

    /// Moves the first packet of a lane into `out`, and those after it that come before all others.
    fn emit(&mut self, lane: usize, until: Option<CaptureTime>, ripe: Option<CaptureTime>, out: &mut Batch) {
        // Others with nothing waiting allow as much as they have reached.
        let allowed = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(index, other)| *index != lane && other.waiting.is_empty())
            .map(|(_, other)| other.reached.unwrap_or(CaptureTime::MIN))
            .min();
        let allowed = allowed.map(|allowed| ripe.map_or(allowed, |ripe| allowed.max(ripe)));
        let waiting = &mut self.lanes[lane].waiting;
        let Some(front) = waiting.front_mut() else { return };
        let slot = *front.slot.get_or_insert_with(|| {
            out.blocks.extend(front.batch.blocks.iter().map(Arc::clone));
            (out.blocks.len() - 1) as u32
        });
        while let Some(&record) = front.batch.records.get(front.at) {
            out.records.push(Record {
                block: slot,
                ..record
            });
            front.at += 1;
            let more = front.head().is_some_and(|next| {
                until.is_none_or(|until| next.seen < until)
                    && allowed.is_none_or(|allowed| next.seen <= allowed)
            });
            if !more || out.records.len() >= BATCH_RECORDS {
                break;
            }
        }
        if front.head().is_none() {
            self.waiting_bytes -= bytes_of(&front.batch);
            self.waiting_records -= front.batch.records.len();
            waiting.pop_front();
        }
    }

    /// Counts what goes on behind its time.
    fn note(&mut self, batch: &Batch) {
        let mut late = 0;
        for record in &batch.records {
            if self.given.is_some_and(|given| record.seen < given) {
                late += 1;
            } else {
                self.given = Some(record.seen);
            }
        }
        if late > 0 {
            self.late.fetch_add(late, Ordering::Relaxed);
        }
    }
}

fn bytes_of(batch: &Batch) -> usize {
    batch.records.iter().map(|record| record.len as usize).sum()
}

#[cfg(test)]
mod tests {
    use bftap_model::TapId;
    use crossbeam_channel::{Sender, unbounded};

    use super::*;
    use crate::link::LinkType;

    fn piece(interface: usize, times: &[i64]) -> Piece {
        let bytes: Vec<u8> = times.iter().map(|time| *time as u8).collect();
        let record = |(index, time): (usize, &i64)| Record {
            seen: CaptureTime::from_nanos(*time),
            block: 0,
            start: index as u32,
            len: 1,
            orig_len: 1,
            tap: TapId(interface as u16),
            link: LinkType::ETHERNET,
        };
        Piece {
            interface,
            batch: Batch {
                blocks: vec![Arc::new(bytes)],
                records: times.iter().enumerate().map(record).collect(),
                ..Batch::default()
            },
            reached: times.last().map(|time| CaptureTime::from_nanos(*time)),
            at: now(),
        }
    }

    fn tick(interface: usize, reached: i64) -> Piece {
        Piece {
            batch: Batch::default(),
            reached: Some(CaptureTime::from_nanos(reached)),
            ..piece(interface, &[])
        }
    }

    fn join(interfaces: usize) -> (Sender<Piece>, Join) {
        let (sender, arrivals) = unbounded();
        (sender, Join::new(interfaces, arrivals))
    }

    /// Times and first bytes of all that comes until the end.
    fn rest(join: &mut Join) -> Vec<(u16, i64)> {
        let mut all = Vec::new();
        while let Some(batch) = join.next_batch() {
            for packet in batch.packets() {
                assert_eq!(packet.bytes, [packet.seen.nanos() as u8], "its own bytes");
                all.push((packet.tap.0, packet.seen.nanos()));
            }
        }
        all
    }

    #[test]
    fn packets_are_put_in_order() {
        let (sender, mut join) = join(3);
        for piece in [
            piece(0, &[1, 5, 9]),
            piece(1, &[2, 3, 4, 11]),
            piece(0, &[10, 12]),
            piece(2, &[6, 7]),
        ] {
            sender.send(piece).unwrap();
        }
        drop(sender);
        let all = rest(&mut join);
        let times: Vec<i64> = all.iter().map(|(_, time)| *time).collect();
        assert_eq!(times, [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12]);
        assert_eq!((all[5], join.late().load(Ordering::Relaxed)), ((2, 6), 0));
    }

    #[test]
    fn a_silent_interface_holds_up_only_what_it_may_still_precede() {
        let (sender, mut join) = join(2);
        sender.send(piece(0, &[1, 2, 3, 4])).unwrap();
        sender.send(tick(1, 2)).unwrap();
        let first = join.next_batch().unwrap();
        let times = |batch: &Batch| {
            batch
                .packets()
                .map(|packet| packet.seen.nanos())
                .collect::<Vec<_>>()
        };
        assert_eq!(times(&first), [1, 2]);
        // It never says more: the rest goes on all the same.
        let second = join.next_batch().unwrap();
        assert_eq!(times(&second), [3, 4]);
        // And what comes behind that is given and counted.
        sender.send(piece(1, &[3])).unwrap();
        drop(sender);
        assert_eq!(rest(&mut join), [(1, 3)]);
        assert_eq!(join.late().load(Ordering::Relaxed), 1);
    }

    #[test]
    fn time_goes_on_where_all_are_silent() {
        let (sender, mut join) = join(2);
        let second = 1_000_000_000;
        sender.send(tick(0, second)).unwrap();
        sender.send(tick(1, 3 * second)).unwrap();
        let batch = join.next_batch().unwrap();
        assert!(batch.is_empty());
        assert_eq!(batch.reached, Some(CaptureTime::from_nanos(second)));
        sender.send(tick(0, 2 * second)).unwrap();
        let reached = join.next_batch().unwrap().reached;
        assert_eq!(reached, Some(CaptureTime::from_nanos(2 * second)));
        drop(sender);
        assert!(join.next_batch().is_none());
    }

    #[test]
    fn what_waits_is_bounded() {
        let (sender, mut join) = join(2);
        let times: Vec<i64> = (0..8192).collect();
        for _ in 0..80 {
            sender.send(piece(0, &times)).unwrap();
        }
        let mut most = 0;
        let mut given = 0;
        drop(sender);
        while let Some(batch) = join.next_batch() {
            given += batch.records.len();
            most = most.max(join.waiting_records);
        }
        assert_eq!(given, 80 * 8192);
        assert!(most <= MOST_RECORDS + 8192, "{most}");
    }
}
