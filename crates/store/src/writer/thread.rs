//! The thread that owns the store: one order after the other, each until it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bftap_analysis::facts::RunFacts;
use tokio::runtime::Runtime;

use super::queue::{Order, Queue};
use super::{END_TAKES, OPENING_TAKES, Opener, clock, now_ns, within};
use crate::StoreError;
use crate::spool::Told;
use crate::store::{Batch, LiveState, RunId, Store};

/// Waits between two tries, the first and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Works orders off until the run is finished, abandoned or broken.
pub(super) struct Server {
    pub(super) runtime: Runtime,
    pub(super) opener: Box<dyn Opener>,
    pub(super) store: Option<Box<dyn Store>>,
    pub(super) run: RunId,
    pub(super) queue: Arc<Queue>,
    /// How long the end of the analysis waits for a database that is away.
    pub(super) patience: Duration,
    /// How long a batch may go without an answer.
    pub(super) answer: Duration,
    /// Number of the run's last transaction.
    pub(super) number: i64,
    /// The run can be gone on with, so it is left as it is rather than given up.
    pub(super) kept: bool,
}

/// What is to be done, with its number.
#[derive(Clone, Copy)]
enum Verb<'a> {
    Write(i64, &'a Batch),
    Finish(i64, &'a RunFacts),
}

/// Why a verb was not done.
enum Undone {
    Failed(StoreError),
    /// The run is to be abandoned.
    Abandoned,
}

impl Server {
    pub(super) fn serve(mut self) -> Result<(), StoreError> {
        let served = self.work_off();
        self.queue.close();
        match served {
            Ok(()) => match self.store.take() {
                Some(store) => self.runtime.block_on(within(self.answer, store.close())),
                None => Ok(()),
            },
            Err((error, problem)) => {
                // The first error is the one to report. Where marking fails too, the run stays `running`, which no reader
                // takes for complete.
                if let Some(store) = &mut self.store
                    && !self.kept
                {
                    let failed = store.fail_run(self.run, problem, now_ns());
                    let _ = self.runtime.block_on(within(self.answer * END_TAKES, failed));
                }
                Err(error)
            }
        }
    }

    fn work_off(&mut self) -> Result<(), (StoreError, &'static str)> {
        let mut number = self.number;
        loop {
            // Numbers are given here: what is repeated keeps its own, and what became one batch while it waited has one.
            number += 1;
            let queue = Arc::clone(&self.queue);
            let order = queue.next().map_err(|error| (error, WRITING))?;
            let update = match &order.0 {
                Order::Write(_, Some(told)) => told.update,
                _ => 0,
            };
            let done = match order {
                (Order::Write(mut batch, told), lists) => {
                    batch.live = told.map(|told| live_state(&queue, told, lists.unwrap_or_default()));
                    self.until_done(Verb::Write(number, &batch))
                        .map_err(|undone| (undone, WRITING))
                }
                (Order::Finish(facts), _) => {
                    return match self.until_done(Verb::Finish(number, &facts)) {
                        Ok(()) => Ok(()),
                        Err(Undone::Failed(error)) => Err((error, "the run could not be finished")),
                        Err(Undone::Abandoned) => self.abandon(),
                    };
                }
                (Order::Abandon(problem), _) => return self.give_up(&problem),
            };
            match done {
                Ok(()) => {
                    queue.status.commits.fetch_add(1, Ordering::Relaxed);
                    queue.status.committed_update.fetch_max(update, Ordering::Release);
                    queue.status.committed_ns.store(now_ns(), Ordering::Relaxed);
                }
                Err((Undone::Failed(error), problem)) => return Err((error, problem)),
                Err((Undone::Abandoned, _)) => return self.abandon(),
            }
        }
    }

    /// Repeats a verb until it is done: with a new connection each time, since nobody knows what became of the old one. Its number makes
    /// sure that what was committed, and only its answer lost, is not done twice.
    fn until_done(&mut self, verb: Verb<'_>) -> Result<(), Undone> {
        let mut pause = FIRST_PAUSE;
        let mut away: Option<Instant> = None;
        loop {
            let done = match &mut self.store {
                Some(store) => {
                    let (verb, limit) = match verb {
                        Verb::Write(number, batch) => (store.write(self.run, number, batch), self.answer),
                        Verb::Finish(number, facts) => {
                            let verb = store.finish_run(self.run, number, facts, now_ns());
                            (verb, self.answer * END_TAKES)
                        }
                    };
                    self.runtime.block_on(within(limit, verb))
                }
                None => match self
                    .runtime
                    .block_on(within(self.answer * OPENING_TAKES, self.opener.open()))
                {
                    Ok(store) => {
                        self.store = Some(store);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            let error = match done {
                Ok(()) => {
                    self.queue.status.away.store(false, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(Undone::Failed(error)),
            };
            self.store = None;
            self.queue.status.failed(&error);
            let now = clock();
            // The clock of patience runs while the analysis has nothing else to do than wait.
            let since = *away.get_or_insert(now);
            if !self.queue.is_awaited() {
                away = Some(now);
            } else if now.duration_since(since) >= self.patience {
                return Err(Undone::Failed(StoreError::Away {
                    waited_s: self.patience.as_secs(),
                    source: Box::new(error),
                }));
            }
            if self.queue.pause(pause) {
                return Err(Undone::Abandoned);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The run is given up while the database is away.
    fn abandon(&mut self) -> Result<(), (StoreError, &'static str)> {
        match self.queue.next() {
            Ok((Order::Abandon(problem), _)) => self.give_up(&problem),
            // Only an order to abandon interrupts, and it comes before all others.
            Ok(_) => Err((StoreError::Stopped, WRITING)),
            Err(error) => Err((error, WRITING)),
        }
    }

    /// Marks the run failed, if the database is there.
    fn give_up(&mut self, problem: &str) -> Result<(), (StoreError, &'static str)> {
        let Some(store) = self.store.as_mut().filter(|_| !self.kept) else {
            return Ok(());
        };
        let failed = store.fail_run(self.run, problem, now_ns());
        let failed = self.runtime.block_on(within(self.answer * END_TAKES, failed));
        failed.map_err(|error| (error, WRITING))
    }
}

const WRITING: &str = "the store could not be written";

fn live_state(queue: &Queue, told: Told, facts: RunFacts) -> Box<LiveState> {
    let status = &queue.status;
    let count = |value: &AtomicU64| i64::try_from(value.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
    let waited = elapsed_ns(queue.begun).saturating_sub(told.handed_ns);
    Box::new(LiveState {
        facts,
        seen_ns: told.seen_ns,
        written_ns: now_ns(),
        lag_ns: told.lag_ns.saturating_add(waited),
        spooled_batches: count(&status.spooled_batches),
        spooled_bytes: count(&status.spooled_bytes),
    })
}

pub(super) fn elapsed_ns(since: Instant) -> i64 {
    i64::try_from(clock().duration_since(since).as_nanos()).unwrap_or(i64::MAX)
}
