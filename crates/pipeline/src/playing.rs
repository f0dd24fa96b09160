//! Reading at a pace, with updates: packets are dealt out when they are due, and a few times a second everybody says how things
//! stand.
//!
//! What the workers are given is what they are given without a pace: a batch is cut as a whole, and handed out in pieces. Nor do
//! pieces make a difference to anything that is told about a connection (see `bftap_capture::flow_table`), as long as the times in a batch
//! rise; where they do not, time only advances behind the batch, as it does without a pace.

use std::sync::atomic::Ordering;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use bftap_analysis::facts::CaptureFact;
use bftap_analysis::{Now, WorkerTotals};
use bftap_capture::packet::Batch;
use bftap_capture::source::{InputStats, PacketSource};
use bftap_model::{CaptureTime, Nanos, SETTLE};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::batch::SegmentBatch;
use crate::captures::fact_of;
use crate::journal::Before;
use crate::pacing::{Clock, Live, Moment, Schedule};
use crate::reading::{Dealer, Dealt, Progress};
use crate::seek::Seeker;
use crate::seek_live::LiveSeeker;
use crate::threads::{Told, Work, ask, seek};

/// Between two updates. With what it takes to judge and to write, rows are there half a second after the packet.
const UPDATE: Nanos = Nanos::from_millis(250);

/// How often an update comes when nothing was read, so that whoever looks knows that this is alive.
const IDLE_UPDATE: Nanos = Nanos::from_secs(2);

/// Packets that are due within this time are dealt out together.
const PIECE: Nanos = Nanos::from_millis(10);

/// A batch, and how things stand with the inputs behind it.
pub(crate) struct Ahead {
    batch: Batch,
    inputs_of_taps: Vec<usize>,
    inputs: Vec<InputStats>,
}

/// Reads on a thread of its own, so that updates come also while a pipe gives nothing.
pub(crate) fn read_ahead<'scope>(
    scope: &'scope Scope<'scope, '_>,
    mut source: Box<dyn PacketSource>,
) -> (Receiver<Ahead>, ScopedJoinHandle<'scope, Box<dyn PacketSource>>) {
    let (ahead, batches) = bounded(1);
    let reading = scope.spawn(move || {
        while let Some(batch) = source.next_batch() {
            let read = Ahead {
                batch,
                inputs_of_taps: source.inputs_of_taps(),
                inputs: source.inputs(),
            };
            if ahead.send(read).is_err() {
                break;
            }
        }
        source
    });
    (batches, reading)
}

/// See the module's documentation.
pub(crate) struct Player<'a> {
    clock: &'a dyn Clock,
    schedule: Schedule,
    queues: &'a [Sender<Work>],
    told: &'a Sender<Told>,
    progress: &'a Progress,
    /// Inputs, as far as they were played.
    captures: Vec<CaptureFact>,
    tcp_packets: u64,
    latest: Option<CaptureTime>,
    /// Time that an idle interface says has come.
    reached: Option<CaptureTime>,
    dealt: Nanos,
    next_update: Nanos,
    last_update: Nanos,
    /// Something was dealt out since the last update.
    changed: bool,
    /// What came before this life of the program, where a journal is kept.
    before: Option<&'a Before>,
    /// How long nobody looked before it was told.
    paused: bool,
    /// Generation of the secrets that all have tried.
    tried: u64,
    /// Looks for places on a thread of its own, where packets come as they are sent.
    aside: Option<LiveSeeker>,
}

/// A worker is gone: there is no point in going on.
#[derive(Debug)]
pub(crate) struct Gone;

impl<'a> Player<'a> {
    pub(crate) fn new(
        live: Live<'a>,
        inputs: Vec<InputStats>,
        before: Option<&'a Before>,
        queues: &'a [Sender<Work>],
        told: &'a Sender<Told>,
        progress: &'a Progress,
    ) -> Self {
        let now = live.clock.now();
        Self {
            clock: live.clock,
            schedule: Schedule::new(live.pace),
            queues,
            told,
            progress,
            captures: inputs.into_iter().map(fact_of).collect(),
            tcp_packets: 0,
            latest: None,
            reached: None,
            dealt: now,
            next_update: Nanos(now.0 + UPDATE.0),
            last_update: now,
            changed: false,
            before,
            paused: false,
            tried: 0,
            aside: live.pace.is_none().then(|| LiveSeeker::new(now)),
        }
    }

    /// Whether it was told that, and how long, nobody looked before this life of the program.
    pub(crate) fn told_pause(&self) -> bool {
        self.paused
    }

    /// Plays everything.
    pub(crate) fn play(
        &mut self,
        batches: &Receiver<Ahead>,
        dealer: &mut Dealer,
        seeker: &mut Seeker,
    ) -> Result<(), Gone> {
        loop {
            let wait = self.next_update.0.saturating_sub(self.clock.now().0).max(0);
            match batches.recv_timeout(Duration::from_nanos(wait.unsigned_abs())) {
                Ok(ahead) => {
                    self.play_batch(&ahead, dealer, seeker)?;
                    if self.aside.is_none() && seeker.is_due(dealer.dealt()) {
                        seek(seeker, self.queues, self.progress, false).ok_or(Gone)?;
                    }
                    self.seek_aside(seeker)?;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.clock.sleep_until(self.next_update);
                    self.seek_aside(seeker)?;
                    self.update_if_due(dealer, seeker)?;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    if let Some(aside) = &mut self.aside {
                        aside.end(seeker, self.queues, self.progress).ok_or(Gone)?;
                    }
                    // What is open now goes on in a later life.
                    return match self.before {
                        Some(_) => self.update(dealer, seeker),
                        None => Ok(()),
                    };
                }
            }
        }
    }

    fn seek_aside(&mut self, seeker: &mut Seeker) -> Result<(), Gone> {
        let Some(aside) = &mut self.aside else {
            return Ok(());
        };
        aside
            .go_on(self.clock.now(), seeker, self.queues, self.progress)
            .ok_or(Gone)
    }

    fn play_batch(&mut self, ahead: &Ahead, dealer: &mut Dealer, seeker: &Seeker) -> Result<(), Gone> {
        let mut order = Vec::with_capacity(ahead.batch.records.len());
        let mut shards = dealer.deal_noting(&ahead.batch, Some(&mut order));
        let end = order
            .iter()
            .map(|dealt| dealt.seen)
            .max()
            .max(ahead.batch.reached);
        self.note_inputs(&ahead.inputs);
        self.reached = self.reached.max(ahead.batch.reached);
        let rises = order.is_sorted_by_key(|dealt| dealt.seen)
            && order
                .first()
                .zip(self.latest)
                .is_none_or(|(first, latest)| first.seen >= latest);
        let mut rest = &order[..];
        let mut reached = order.first().map_or(CaptureTime::MIN, |first| first.seen);
        loop {
            let now = self.clock.now();
            let mut due = None;
            let count = rest
                .iter()
                .position(|dealt| {
                    reached = reached.max(dealt.seen);
                    due = Some(self.schedule.due(reached, now)).filter(|due| *due > now);
                    due.is_some()
                })
                .unwrap_or(rest.len());
            let (piece, later) = rest.split_at(count);
            rest = later;
            if later.is_empty() {
                self.deal_out(piece, &ahead.inputs_of_taps, &mut shards, end)?;
                return self.update_if_due(dealer, seeker);
            }
            if !piece.is_empty() {
                let now = piece.last().map(|last| last.seen).filter(|_| rises);
                self.deal_out(piece, &ahead.inputs_of_taps, &mut shards, now)?;
            }
            self.update_if_due(dealer, seeker)?;
            let due = due.map_or(now, |due| due.max(Nanos(now.0.saturating_add(PIECE.0))));
            self.clock.sleep_until(due.min(self.next_update));
        }
    }

    /// What is known of the inputs but for their packets: those are counted as they are played.
    fn note_inputs(&mut self, inputs: &[InputStats]) {
        for (capture, input) in self.captures.iter_mut().zip(inputs) {
            let known = CaptureFact {
                packets: capture.packets,
                bytes: capture.bytes,
                ..fact_of(input.clone())
            };
            self.changed |= *capture != known;
            *capture = known;
        }
    }

    /// Hands the next packets of a batch to the workers. `now`: time has come this far.
    fn deal_out(
        &mut self,
        piece: &[Dealt],
        inputs_of_taps: &[usize],
        shards: &mut [SegmentBatch],
        now: Option<CaptureTime>,
    ) -> Result<(), Gone> {
        let mut counts = vec![0_usize; shards.len()];
        let mut bytes = 0;
        for dealt in piece {
            bytes += u64::from(dealt.len);
            self.tcp_packets += u64::from(dealt.tcp);
            let input = inputs_of_taps.get(usize::from(dealt.tap.0));
            if let Some(capture) = input.and_then(|&input| self.captures.get_mut(input)) {
                capture.packets += 1;
                capture.bytes += u64::from(dealt.len);
            }
            if let Some(shard) = dealt.shard {
                counts[shard as usize] += 1;
            }
            self.latest = self.latest.max(Some(dealt.seen));
        }
        self.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.progress
            .packets
            .fetch_add(piece.len() as u64, Ordering::Relaxed);
        for ((shard, count), queue) in shards.iter_mut().zip(counts).zip(self.queues) {
            let mut segments = shard.take(count);
            segments.now = now;
            if !segments.segments.is_empty() || now.is_some() {
                queue.send(Work::Segments(segments)).map_err(|_| Gone)?;
            }
        }
        if let Some(last) = piece.last() {
            let now = self.clock.now();
            self.dealt = self.schedule.due(last.seen, now).min(now);
            self.changed = true;
        }
        Ok(())
    }

    fn update_if_due(&mut self, dealer: &Dealer, seeker: &Seeker) -> Result<(), Gone> {
        let now = self.clock.now();
        if now < self.next_update {
            return Ok(());
        }
        self.next_update = Nanos(now.0.saturating_add(UPDATE.0));
        let generation = dealer.secrets_generation();
        self.changed |= generation != self.tried;
        self.tried = generation;
        let idle = !self.changed && now.0.saturating_sub(self.last_update.0) < IDLE_UPDATE.0;
        if idle {
            return Ok(());
        }
        // One at a time: where judging or writing takes longer than the time between updates, they become fewer.
        if self.progress.updating.swap(true, Ordering::AcqRel) {
            self.next_update = Nanos(now.0.saturating_add(PIECE.0));
            return Ok(());
        }
        // Messages wait for a second sight; they come without a packet if time goes on without one.
        self.changed = self
            .reached
            .zip(self.latest)
            .is_some_and(|(reached, latest)| reached.since(latest) <= SETTLE);
        self.last_update = now;
        self.update(dealer, seeker)
    }

    /// Has everybody say how things stand.
    fn update(&mut self, dealer: &Dealer, seeker: &Seeker) -> Result<(), Gone> {
        let queued = self.queues.iter().map(|queue| queue.len() as u64).sum();
        self.progress.queued_batches.store(queued, Ordering::Relaxed);
        self.progress
            .queued_observations
            .store(self.told.len() as u64, Ordering::Relaxed);
        let at = Moment {
            seen: self.latest,
            dealt: self.dealt,
        };
        let workers = ask(self.queues, self.progress, Work::Tell).ok_or(Gone)?;
        let mut totals = WorkerTotals {
            searched_bytes: seeker.searched(),
            ..WorkerTotals::default()
        };
        for (name, count) in dealer.limits() {
            *totals.limits.entry((*name).to_owned()).or_default() += count;
        }
        let mut read = dealer.facts();
        read.tcp_packets = self.tcp_packets;
        read.captures = self.captures.clone();
        let (now, noted) = if let Some(before) = self.before {
            let pause = before.seen.zip(dealer.span()).filter(|_| !self.paused);
            let pause = pause.map(|(seen, (first, _))| (seen.min(first), first));
            self.paused |= pause.is_some();
            let (now, noted) = before.now(workers, totals, read, self.latest, pause);
            (now, Some(Box::new(noted)))
        } else {
            let mut open = Vec::new();
            for worker in workers {
                totals.add(worker.totals);
                open.extend(worker.open);
            }
            let last = false;
            (
                Now {
                    read,
                    totals,
                    open,
                    last,
                },
                None,
            )
        };
        self.told
            .send(Told::Update(Box::new(now), at, noted))
            .map_err(|_| Gone)
    }
}
