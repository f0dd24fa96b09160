//! A store on a thread of its own, so that reading captures does not wait for the database.

use std::mem;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact, RunFacts};
use tokio::runtime::Runtime;

use crate::store::{Access, Batch, NewRun, RunId, Store, open};
use crate::{StoreError, StoreUrl};

/// Rows collected before they are handed over: one transaction.
///
/// Large enough that the transaction's own cost does not count, small enough (about 3 MB) that a few of them may wait.
const ROWS_PER_BATCH: usize = 16_384;

/// Batches that may wait for the thread; then the analysis waits.
const WAITING_BATCHES: usize = 2;

/// Writes a run into a store.
///
/// [`open`](Self::open) finds out whether the store can be written; then come heights and minutes, then
/// [`finish`](Self::finish). An error on the thread comes back at the next call. Dropped without `finish`, the run is marked
/// failed and its rows are removed; an earlier run of the same name stays as it was.
#[derive(Debug)]
pub struct StoreWriter {
    run: RunId,
    batch: Batch,
    thread: Option<Thread>,
}

/// A run that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenRun {
    /// Its id.
    pub run: RunId,
}

#[derive(Debug)]
struct Thread {
    orders: SyncSender<Order>,
    handle: JoinHandle<Result<(), StoreError>>,
}

#[derive(Debug)]
enum Order {
    Write(Batch),
    Finish(Box<RunFacts>),
    Abandon { problem: String },
}

impl StoreWriter {
    /// Opens the store, brings its tables up to date and begins the run.
    ///
    /// # Errors
    /// Whatever makes it impossible to write there, before anything else is done.
    pub fn open(url: &StoreUrl, run: &NewRun) -> Result<Self, StoreError> {
        let (orders, inbox) = sync_channel(WAITING_BATCHES);
        let (ready, begun) = sync_channel(1);
        let (url, run) = (url.clone(), run.clone());
        let work = move || -> Result<(), StoreError> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let started = runtime.map_err(StoreError::Thread).and_then(|runtime| {
                let (store, id) = runtime.block_on(begin(&url, &run))?;
                Ok((runtime, store, id))
            });
            match started {
                Ok((runtime, store, id)) => {
                    // If nobody waits for the answer, the orders are closed too, and the run is abandoned.
                    let _ = ready.send(id);
                    serve(&runtime, store, id, &inbox)
                }
                Err(error) => Err(error),
            }
        };
        let handle = std::thread::Builder::new()
            .name("store".into())
            .spawn(work)
            .map_err(StoreError::Thread)?;
        match begun.recv() {
            Ok(run) => Ok(Self {
                run,
                batch: Batch::default(),
                thread: Some(Thread { orders, handle }),
            }),
            Err(_) => Err(join(handle).err().unwrap_or(StoreError::Stopped)),
        }
    }

    /// Id of the run in the store.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Takes a height. Each comes once.
    ///
    /// # Errors
    /// What went wrong with an earlier one; the run cannot be finished then.
    pub fn height(&mut self, height: HeightFacts) -> Result<(), StoreError> {
        self.batch.push_height(height);
        self.hand_over_if_full()
    }

    /// Takes the links of a minute. Each minute comes once.
    ///
    /// # Errors
    /// As [`height`](Self::height).
    pub fn minute(&mut self, links: &[LinkCountFact]) -> Result<(), StoreError> {
        self.batch.links.extend_from_slice(links);
        self.hand_over_if_full()
    }

    /// Writes the rest and marks the run complete, in place of an earlier run of the same name.
    ///
    /// # Errors
    /// What went wrong, now or before; the run is not complete then.
    pub fn finish(mut self, facts: RunFacts) -> Result<WrittenRun, StoreError> {
        let rest = mem::take(&mut self.batch);
        if !rest.is_empty() {
            self.order(Order::Write(rest))?;
        }
        self.order(Order::Finish(Box::new(facts)))?;
        let thread = self.thread.take().ok_or(StoreError::Stopped)?;
        join(thread.handle)?;
        Ok(WrittenRun { run: self.run })
    }

    /// Gives the run up, with a reason for its row in `run`. Dropping does the same without one.
    ///
    /// # Errors
    /// What went wrong, now or before.
    pub fn abandon(mut self, problem: &str) -> Result<(), StoreError> {
        self.order(Order::Abandon {
            problem: problem.to_owned(),
        })?;
        let thread = self.thread.take().ok_or(StoreError::Stopped)?;
        join(thread.handle)
    }

    fn hand_over_if_full(&mut self) -> Result<(), StoreError> {
        if self.batch.len() < ROWS_PER_BATCH {
            return Ok(());
        }
        let full = mem::take(&mut self.batch);
        self.order(Order::Write(full))
    }

    /// Hands an order to the thread; if it has ended, it says why, the first time.
    fn order(&mut self, order: Order) -> Result<(), StoreError> {
        let thread = self.thread.as_ref().ok_or(StoreError::Stopped)?;
        if thread.orders.send(order).is_ok() {
            return Ok(());
        }
        let Some(thread) = self.thread.take() else {
            return Err(StoreError::Stopped);
        };
        Err(join(thread.handle).err().unwrap_or(StoreError::Stopped))
    }
}

impl Drop for StoreWriter {
    fn drop(&mut self) {
        let Some(Thread { orders, handle }) = self.thread.take() else {
            return;
        };
        drop(orders);
        // An error here has nobody to go to: the run stays `running`, which no reader takes for complete. A panic must not
        // go on here either: this drop may be part of another one.
        let _ = handle.join();
    }
}

impl FactSink for StoreWriter {
    type Error = StoreError;

    fn height(&mut self, height: &HeightFacts) -> Result<(), StoreError> {
        self.batch.counts.extend_from_slice(&height.counts);
        self.batch.deliveries.extend_from_slice(&height.deliveries);
        self.batch.rounds.extend_from_slice(&height.rounds);
        self.hand_over_if_full()
    }

    fn minute(&mut self, links: &[LinkCountFact]) -> Result<(), StoreError> {
        Self::minute(self, links)
    }
}

async fn begin(url: &StoreUrl, run: &NewRun) -> Result<(Box<dyn Store>, RunId), StoreError> {
    let mut store = open(url, Access::Write).await?;
    let id = store.begin_run(run, now_ns()).await?;
    Ok((store, id))
}

/// Works orders off until the run is finished, abandoned or broken.
fn serve(
    runtime: &Runtime,
    mut store: Box<dyn Store>,
    run: RunId,
    inbox: &Receiver<Order>,
) -> Result<(), StoreError> {
    let mut number = 0;
    let done = loop {
        number += 1;
        match inbox.recv() {
            Ok(Order::Write(batch)) => match runtime.block_on(store.write(run, number, &batch)) {
                Ok(()) => {}
                Err(error) => break Err((error, "the store could not be written")),
            },
            Ok(Order::Finish(facts)) => {
                let finished = runtime.block_on(store.finish_run(run, number, &facts, now_ns()));
                break finished.map_err(|error| (error, "the run could not be finished"));
            }
            Ok(Order::Abandon { problem }) => {
                runtime.block_on(store.fail_run(run, &problem, now_ns()))?;
                break Ok(());
            }
            Err(_) => {
                runtime.block_on(store.fail_run(
                    run,
                    "the analysis ended before it was finished",
                    now_ns(),
                ))?;
                break Ok(());
            }
        }
    };
    match done {
        Ok(()) => runtime.block_on(store.close()),
        Err((error, problem)) => {
            // The first error is the one to report. Where marking fails too, the run stays `running`, which no reader
            // takes for complete.
            let _ = runtime.block_on(store.fail_run(run, problem, now_ns()));
            Err(error)
        }
    }
}

/// The thread's result; a panic goes on here.
fn join(handle: JoinHandle<Result<(), StoreError>>) -> Result<(), StoreError> {
    match handle.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The machine's clock: when a run was made is about this machine, not about the capture.
#[allow(
    clippy::disallowed_methods,
    reason = "the store is at the edge; start and end of a run are wall-clock times"
)]
fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
