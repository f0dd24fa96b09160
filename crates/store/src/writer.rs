//! A store on a thread of its own, so that reading captures does not wait for the database.
//!
//! While the database is away batches wait, in memory and then in the spool, and are written in order when it is back.

mod queue;
mod thread;

use std::mem;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bftap_analysis::facts::{FactSink, HeightFacts, LinkCountFact, RunFacts};
use bftap_analysis::{NamedHeight, Update};

use crate::spool::{Spool, Told};
use crate::store::{Access, Batch, NewRun, RunId, Store, open};
use crate::{StoreError, StoreUrl};

pub use queue::WriterStatus;
use queue::{Order, Queue};
use thread::{Server, elapsed_ns};

/// Rows collected before they are handed over: one transaction.
///
/// Large enough that the transaction's own cost does not count, small enough (about 3 MB) that a few of them may wait.
const ROWS_PER_BATCH: usize = 16_384;

/// Rows of one update that are written in one transaction.
const ROWS_PER_UPDATE: usize = 4 * ROWS_PER_BATCH;

/// What a writer does while the database is away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterOptions {
    /// Bytes that may wait in the spool.
    pub spool_bytes: u64,
    /// Folder of the spool, a file without a name.
    pub spool_folder: PathBuf,
    /// How long the end of an analysis waits for a database that is away.
    pub patience: Duration,
    /// How long a batch may go without an answer until the connection counts as lost: a host that vanished never says so. The end of a run
    /// may take 20 times as long.
    pub answer: Duration,
    /// Whether rows of `vote` and `node_round` are written: after deliveries the longest tables.
    pub votes: bool,
}

/// How much longer the end of a run may take than a batch: it removes the run before it.
const END_TAKES: u32 = 20;

/// How much longer opening may take than a batch: it may wait for another program that makes the tables.
const OPENING_TAKES: u32 = 2;

/// What a database answers, if it does so in time.
async fn within<T>(
    limit: Duration,
    verb: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, verb).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError::NoAnswer {
            waited_s: limit.as_secs(),
        }),
    }
}

impl Default for WriterOptions {
    /// 1 GiB in the system's folder for temporary files; 5 minutes; 1 minute; everything is written.
    fn default() -> Self {
        Self {
            spool_bytes: 1 << 30,
            spool_folder: std::env::temp_dir(),
            patience: Duration::from_secs(300),
            answer: Duration::from_secs(60),
            votes: true,
        }
    }
}

/// What an [`Opener`] gives; it stays on the thread that asked.
pub type Opening = Pin<Box<dyn Future<Output = Result<Box<dyn Store>, StoreError>>>>;

/// Opens a store, again and again if need be.
pub trait Opener: Send {
    /// A store that can be written.
    fn open(&mut self) -> Opening;
}

impl Opener for StoreUrl {
    fn open(&mut self) -> Opening {
        let url = self.clone();
        Box::pin(async move { open(&url, Access::Write).await })
    }
}

/// Writes a run into a store.
///
/// [`open`](Self::open) finds out whether the store can be written; then come [updates](Self::update), if the run is written as it is
/// seen, then heights and minutes, then [`finish`](Self::finish). An error on the thread comes back at the next call. Dropped
/// without `finish`, the run is marked failed and its rows are removed; an earlier run of the same name stays as it was.
#[derive(Debug)]
pub struct StoreWriter {
    run: RunId,
    /// It goes on with a run that was there.
    resumed: bool,
    /// Rows of `vote` and `node_round` are written.
    votes: bool,
    batch: Batch,
    /// Rows of a height or a minute replace all that were written of it.
    renamed: bool,
    queue: Arc<Queue>,
    thread: Option<JoinHandle<Result<(), StoreError>>>,
}

/// A run that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenRun {
    /// Its id.
    pub run: RunId,
}

impl StoreWriter {
    /// Opens the store, brings its tables up to date and begins the run.
    ///
    /// # Errors
    /// Whatever makes it impossible to write there, before anything else is done.
    pub fn open(url: &StoreUrl, run: &NewRun, options: &WriterOptions) -> Result<Self, StoreError> {
        Self::with(Box::new(url.clone()), run, options)
    }

    /// As [`open`](Self::open), for a run whose state is kept elsewhere: if `resume`, goes on with the live run of that name if there is one
    /// ([`resumed`](Self::resumed) tells), and whatever goes wrong later leaves the run as it is, so that it can be gone on with.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_kept(
        url: &StoreUrl,
        run: &NewRun,
        options: &WriterOptions,
        resume: bool,
    ) -> Result<Self, StoreError> {
        Self::begin(Box::new(url.clone()), run, options, Some(resume))
    }

    /// As [`open`](Self::open), with any store.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with(opener: Box<dyn Opener>, run: &NewRun, options: &WriterOptions) -> Result<Self, StoreError> {
        Self::begin(opener, run, options, None)
    }

    /// `kept`: the run's state is kept elsewhere; whether it is one to go on with.
    fn begin(
        opener: Box<dyn Opener>,
        run: &NewRun,
        options: &WriterOptions,
        kept: Option<bool>,
    ) -> Result<Self, StoreError> {
        let (ready, begun) = sync_channel(1);
        let spool = Spool::create(&options.spool_folder, options.spool_bytes)?;
        let queue = Arc::new(Queue::new(spool, run.live, clock()));
        let (of_thread, run) = (Arc::clone(&queue), run.clone());
        let (patience, answer) = (options.patience, options.answer);
        let work = move || -> Result<(), StoreError> {
            let mut opener = opener;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(StoreError::Thread)?;
            let (store, id, resumed) = runtime.block_on(async {
                let mut store = within(answer * OPENING_TAKES, opener.open()).await?;
                let mut resumed = None;
                if kept == Some(true) {
                    resumed = within(answer * END_TAKES, store.resume_run(&run)).await?;
                }
                let id = match resumed {
                    Some((id, _)) => id,
                    None => within(answer * END_TAKES, store.begin_run(&run, now_ns())).await?,
                };
                Ok::<_, StoreError>((store, id, resumed.map(|(_, number)| number)))
            })?;
            // If nobody waits for the answer, the run is abandoned below.
            let _ = ready.send((id, resumed.is_some()));
            let server = Server {
                runtime,
                opener,
                store: Some(store),
                run: id,
                queue: of_thread,
                patience,
                answer,
                number: resumed.unwrap_or(0),
                kept: kept.is_some(),
            };
            server.serve()
        };
        let handle = std::thread::Builder::new()
            .name("store".into())
            .spawn(work)
            .map_err(StoreError::Thread)?;
        match begun.recv() {
            Ok((run, resumed)) => Ok(Self {
                run,
                resumed,
                votes: options.votes,
                batch: Batch::default(),
                renamed: false,
                queue,
                thread: Some(handle),
            }),
            Err(_) => Err(join(handle).err().unwrap_or(StoreError::Stopped)),
        }
    }

    /// Id of the run in the store.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Whether it goes on with a run that was there.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// How writing goes.
    pub fn status(&self) -> Arc<WriterStatus> {
        Arc::clone(&self.queue.status)
    }

    /// Takes what changed since the last time, to be written at once. `seen_ns`: capture time of the newest packet in it, which was due
    /// or came so long ago.
    ///
    /// # Errors
    /// What went wrong with an earlier one; the run cannot be finished then.
    pub fn update(&mut self, update: Update, seen_ns: Option<i64>, age: Duration) -> Result<(), StoreError> {
        self.renamed |= update.renamed;
        let told = Told {
            // Only the last part makes it whole.
            update: update.number.saturating_sub(1),
            seen_ns,
            lag_ns: i64::try_from(age.as_nanos()).unwrap_or(i64::MAX),
            handed_ns: elapsed_ns(self.queue.begun),
        };
        self.batch.replaced.heights.extend(update.gone);
        let facts = update.facts;
        for height in update.heights {
            self.add_height(height);
            if self.batch.len() >= ROWS_PER_UPDATE {
                let part = mem::take(&mut self.batch);
                self.push(part, Some((facts.clone(), told)))?;
            }
        }
        for minute in update.links.chunk_by(|a, b| a.minute == b.minute) {
            self.add_minute(minute);
        }
        let rest = mem::take(&mut self.batch);
        let told = Told {
            update: update.number,
            ..told
        };
        self.push(rest, Some((facts, told)))
    }

    /// Takes a height. Each comes once.
    ///
    /// # Errors
    /// What went wrong with an earlier one; the run cannot be finished then.
    pub fn height(&mut self, height: HeightFacts) -> Result<(), StoreError> {
        self.queue.settle();
        self.add_height(height);
        self.hand_over_if_full()
    }

    /// Takes the links of a minute. Each minute comes once.
    ///
    /// # Errors
    /// As [`height`](Self::height).
    pub fn minute(&mut self, links: &[LinkCountFact]) -> Result<(), StoreError> {
        self.queue.settle();
        self.add_minute(links);
        self.hand_over_if_full()
    }

    /// Writes the rest and marks the run complete, in place of an earlier run of the same name.
    ///
    /// # Errors
    /// What went wrong, now or before; the run is not complete then.
    pub fn finish(mut self, facts: RunFacts) -> Result<WrittenRun, StoreError> {
        self.queue.settle();
        let rest = mem::take(&mut self.batch);
        if !rest.is_empty() {
            self.push(rest, None)?;
        }
        self.end(Order::Finish(Box::new(facts)))?;
        Ok(WrittenRun { run: self.run })
    }

    /// Gives the run up, with a reason for its row in `run`. Dropping does the same without one.
    ///
    /// # Errors
    /// What went wrong, now or before.
    pub fn abandon(mut self, problem: &str) -> Result<(), StoreError> {
        self.end(Order::Abandon(problem.to_owned()))
    }

    /// What gives the run up from another thread, for programs that are told to end.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.queue))
    }

    fn add_height(&mut self, mut height: HeightFacts) {
        if !self.votes {
            height.votes.clear();
            height.node_rounds.clear();
        }
        if self.renamed
            && let Some(named) = named(&height)
        {
            self.batch.replaced.heights.push(named);
        }
        self.batch.push_height(height);
    }

    fn add_minute(&mut self, links: &[LinkCountFact]) {
        if self.renamed
            && let Some(link) = links.first()
        {
            self.batch.replaced.minutes.push(link.minute);
        }
        self.batch.links.extend_from_slice(links);
    }

    fn hand_over_if_full(&mut self) -> Result<(), StoreError> {
        if self.batch.len() < ROWS_PER_BATCH {
            return Ok(());
        }
        let full = mem::take(&mut self.batch);
        self.push(full, None)
    }

    /// Hands a batch to the thread; if it has ended, it says why, the first time.
    fn push(&mut self, batch: Batch, lists: Option<(RunFacts, Told)>) -> Result<(), StoreError> {
        if self.thread.is_none() {
            return Err(StoreError::Stopped);
        }
        match self.queue.push(batch, lists) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(queue::Closed)) => Err(self.ended().err().unwrap_or(StoreError::Stopped)),
            Err(error) => {
                // What waits cannot be written any more, so neither can what comes.
                let _ = self.end(Order::Abandon(
                    "rows that waited for the database were lost".to_owned(),
                ));
                Err(error)
            }
        }
    }

    fn end(&mut self, order: Order) -> Result<(), StoreError> {
        self.queue.end(order);
        self.ended()
    }

    /// Waits for the thread, and gives its result.
    fn ended(&mut self) -> Result<(), StoreError> {
        self.thread.take().map_or(Err(StoreError::Stopped), join)
    }
}

/// Gives a run up that a [`StoreWriter`] writes; made by [`StoreWriter::stopper`].
#[derive(Clone, Debug)]
pub struct Stopper(Arc<Queue>);

impl Stopper {
    /// Marks the run failed, with a reason, and removes its rows, if the database lets that be done within `wait`. The writer ends; a run that
    /// was being completed already is completed.
    pub fn stop(&self, problem: &str, wait: Duration) {
        self.0.end(Order::Abandon(problem.to_owned()));
        self.0.wait_closed(wait);
    }
}

impl Drop for StoreWriter {
    fn drop(&mut self) {
        let Some(handle) = self.thread.take() else {
            return;
        };
        self.queue.end(Order::Abandon(
            "the analysis ended before it was finished".to_owned(),
        ));
        // An error here has nobody to go to: the run stays `running`, which no reader takes for complete. A panic must not
        // go on here either: this drop may be part of another one.
        let _ = handle.join();
    }
}

impl FactSink for StoreWriter {
    type Error = StoreError;

    fn height(&mut self, height: &HeightFacts) -> Result<(), StoreError> {
        Self::height(self, height.clone())
    }

    fn minute(&mut self, links: &[LinkCountFact]) -> Result<(), StoreError> {
        Self::minute(self, links)
    }
}

fn named(height: &HeightFacts) -> Option<NamedHeight> {
    let count = height.counts.first()?;
    Some((count.chain.clone(), count.sequence))
}

/// The thread's result; a panic goes on here.
fn join(handle: JoinHandle<Result<(), StoreError>>) -> Result<(), StoreError> {
    match handle.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The machine's clock for spans of time: how long something waits is about this machine, not about the capture.
#[allow(
    clippy::disallowed_methods,
    reason = "the store is at the edge; waits and lag are spans of the machine's time"
)]
fn clock() -> Instant {
    Instant::now()
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
