//! What waits to be written, between the analysis and the thread that owns the store: a few batches in memory, the rest in the spool.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bftap_analysis::facts::RunFacts;

use super::clock;
use crate::StoreError;
use crate::spool::{Spool, Told};
use crate::store::Batch;

/// Batches in memory; more wait in the spool, or the analysis does.
const IN_MEMORY: usize = 2;

/// What the thread is to do next.
#[derive(Debug)]
pub(super) enum Order {
    /// Write these rows; with the lists as known now, if it says so.
    Write(Box<Batch>, Option<Told>),
    /// Complete the run.
    Finish(Box<RunFacts>),
    /// Give the run up.
    Abandon(String),
}

/// How writing goes; for metrics and warnings, read while it goes on.
#[derive(Debug, Default)]
pub struct WriterStatus {
    /// Batches that were committed.
    pub commits: AtomicU64,
    /// Number of the last update that was committed as a whole; see `Update::number`.
    pub committed_update: AtomicU64,
    /// When the last one was, in nanoseconds since the epoch by the machine's clock; 0 before the first.
    pub committed_ns: AtomicI64,
    /// Times the database did not answer, or could not at that moment.
    pub errors: AtomicU64,
    /// It is so now.
    pub away: AtomicBool,
    /// Batches that wait in memory and in the spool.
    pub waiting_batches: AtomicU64,
    /// Batches that wait in the spool.
    pub spooled_batches: AtomicU64,
    /// Bytes that wait in the spool.
    pub spooled_bytes: AtomicU64,
    /// Rows of deliveries whose detail was given up because the spool was full.
    pub thinned_rows: AtomicU64,
    /// Copies in those.
    pub thinned_copies: AtomicU64,
    last_error: Mutex<String>,
}

impl WriterStatus {
    /// What was wrong when the database could not be written last.
    pub fn last_error(&self) -> String {
        lock(&self.last_error).clone()
    }

    pub(super) fn failed(&self, error: &StoreError) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        *lock(&self.last_error) = error.to_string();
        self.away.store(true, Ordering::Relaxed);
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    pub(super) status: std::sync::Arc<WriterStatus>,
    pub(super) begun: Instant,
}

#[derive(Debug)]
struct State {
    /// The oldest, in memory.
    front: VecDeque<(Batch, Option<Told>)>,
    /// Those behind them.
    spool: Spool,
    /// The lists as known last; a batch that is to carry some takes these.
    latest: Option<RunFacts>,
    /// What comes behind all batches.
    end: Option<Order>,
    /// The thread is gone.
    closed: bool,
    /// Nobody is in a hurry any more: rows are final, so they wait rather than lose detail.
    settled: bool,
}

/// The thread is gone; it knows why.
#[derive(Debug)]
pub(super) struct Closed;

impl Queue {
    pub(super) fn new(spool: Spool, live: bool, begun: Instant) -> Self {
        Self {
            state: Mutex::new(State {
                front: VecDeque::new(),
                spool,
                latest: None,
                end: None,
                closed: false,
                settled: !live,
            }),
            changed: Condvar::new(),
            status: std::sync::Arc::default(),
            begun,
        }
    }

    /// Puts a batch behind the others. Waits where there is no room, unless its run is written as it is seen: then detail makes room.
    pub(super) fn push(
        &self,
        batch: Batch,
        lists: Option<(RunFacts, Told)>,
    ) -> Result<Result<(), Closed>, StoreError> {
        let mut state = lock(&self.state);
        let told = lists.map(|(facts, told)| {
            state.latest = Some(facts);
            told
        });
        loop {
            if state.closed {
                return Ok(Err(Closed));
            }
            if state.front.len() < IN_MEMORY && state.spool.is_empty() {
                state.front.push_back((batch, told));
                break;
            }
            let away = self.status.away.load(Ordering::Relaxed);
            if (away || !state.settled) && state.spool.push(&batch, told)? {
                break;
            }
            if !state.settled && state.spool.can_shrink() {
                let thinned = state.spool.shrink()?;
                self.status
                    .thinned_rows
                    .fetch_add(thinned.rows, Ordering::Relaxed);
                self.status
                    .thinned_copies
                    .fetch_add(thinned.copies, Ordering::Relaxed);
                continue;
            }
            state = self.wait(state, Duration::from_millis(100));
        }
        self.note(&state);
        self.changed.notify_all();
        Ok(Ok(()))
    }

    /// From now on rows are final.
    pub(super) fn settle(&self) {
        lock(&self.state).settled = true;
    }

    /// Says what comes behind all batches. Abandoning does not wait for them.
    pub(super) fn end(&self, order: Order) {
        let mut state = lock(&self.state);
        state.end.get_or_insert(order);
        self.changed.notify_all();
    }

    /// The next order; waits for one. With the lists that a batch is to carry.
    pub(super) fn next(&self) -> Result<(Order, Option<RunFacts>), StoreError> {
        let mut state = lock(&self.state);
        loop {
            if matches!(state.end, Some(Order::Abandon(_)))
                && let Some(end) = state.end.take()
            {
                return Ok((end, None));
            }
            let next = match state.front.pop_front() {
                Some(next) => Some(next),
                None => state.spool.pop()?,
            };
            if let Some((batch, told)) = next {
                let more = state.spool.has_live() || state.front.iter().any(|(_, told)| told.is_some());
                let lists = match told {
                    Some(_) if more => state.latest.clone(),
                    Some(_) => state.latest.take(),
                    None => None,
                };
                self.note(&state);
                self.changed.notify_all();
                return Ok((Order::Write(Box::new(batch), told), lists));
            }
            if let Some(end) = state.end.take() {
                return Ok((end, None));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits so long, or until the run is to be abandoned; says whether it is.
    pub(super) fn pause(&self, span: Duration) -> bool {
        let until = clock() + span;
        let mut state = lock(&self.state);
        loop {
            if matches!(state.end, Some(Order::Abandon(_))) {
                return true;
            }
            let left = until.saturating_duration_since(clock());
            if left.is_zero() {
                return false;
            }
            state = self.wait(state, left);
        }
    }

    /// Whether the analysis waits for the database, or soon will: it is at its end.
    pub(super) fn is_awaited(&self) -> bool {
        lock(&self.state).settled
    }

    /// The thread ends: nobody waits for it any more.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    /// Waits so long, or until the thread is at its end.
    pub(super) fn wait_closed(&self, span: Duration) {
        let until = clock() + span;
        let mut state = lock(&self.state);
        loop {
            let left = until.saturating_duration_since(clock());
            if state.closed || left.is_zero() {
                return;
            }
            state = self.wait(state, left);
        }
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>, span: Duration) -> MutexGuard<'s, State> {
        let waited = self.changed.wait_timeout(state, span);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn note(&self, state: &State) {
        let spooled = state.spool.len() as u64;
        let waiting = state.front.len() as u64 + spooled;
        self.status.waiting_batches.store(waiting, Ordering::Relaxed);
        self.status.spooled_batches.store(spooled, Ordering::Relaxed);
        self.status
            .spooled_bytes
            .store(state.spool.bytes(), Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
