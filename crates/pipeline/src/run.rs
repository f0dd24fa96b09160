//! Whole analyses on threads, and messages one by one.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bftap_analysis::facts::{CaptureFact, FactSink, RunFacts};
use bftap_analysis::{
    Aggregator, AnalysisOptions, FinishError, Now, Observation, ReadFacts, Update, WorkerTotals,
};
use bftap_capture::source::PacketSource;
use bftap_model::{CaptureTime, Nanos};
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::captures::{Captures, fact_of};
use crate::checkpoint::Checkpoint;
use crate::journal::{Before, Journal, JournalError};
use crate::options::PipelineOptions;
use crate::pacing::{Live, Moment};
use crate::payload_cache::PayloadCache;
use crate::playing::{Player, read_ahead};
use crate::reading::{Dealer, Progress};
use crate::returning::{Earlier, Left};
use crate::seek::Seeker;
use crate::threads::{Leaving, Told, Work, seek, work};
use crate::worker::Worker;

/// One capture to read.
pub struct Input {
    /// Its path as the user gave it, `-` for standard input.
    pub path: String,
    /// Its content.
    pub read: Box<dyn Read + Send>,
}

/// What an analysis found, besides the heights and minutes that went to the sink.
#[derive(Debug)]
pub struct Analysis {
    /// The facts.
    pub facts: RunFacts,
    /// Problems with secrets in the captures and with the checkpoint, for a person.
    pub problems: Vec<String>,
    /// What the next run has to know, if [`PipelineOptions::keep_checkpoint`] asks for it.
    pub checkpoint: Option<Checkpoint>,
}

/// Why an analysis could not be finished. A capture that cannot be read is no such reason: its problem stands in
/// [`CaptureFact::problem`], and what was read is analysed.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError<E> {
    /// The temporary file for closed heights failed.
    #[error("cannot use the temporary file for closed heights (is the disk for temporary files full?)")]
    Spill(#[from] io::Error),
    /// What an earlier life of the program left cannot be taken over.
    #[error("cannot go on with the state of an earlier run")]
    Journal(#[source] JournalError),
    /// The taker of the facts failed.
    #[error("cannot hand over results")]
    Sink(#[source] E),
}

impl<E> From<FinishError<E>> for PipelineError<E> {
    fn from(error: FinishError<E>) -> Self {
        match error {
            FinishError::Spill(error) => Self::Spill(error),
            FinishError::Sink(error) => Self::Sink(error),
        }
    }
}

/// Takes facts while an analysis goes on, and in the end all of them once more.
pub trait LiveSink: FactSink {
    /// What changed since the last time.
    ///
    /// Comes on another thread than the facts of the end, and never at the same time.
    fn update(&mut self, update: Update, at: Moment) -> Result<(), Self::Error>;
}

/// Files as one source of packets, ordered by time.
pub fn files(inputs: Vec<Input>, options: &PipelineOptions) -> Box<dyn PacketSource> {
    Box::new(Captures::open(inputs, options.content_hashes))
}

/// Reads captures as one, ordered by time, and analyses them.
///
/// # Errors
/// See [`PipelineError`].
pub fn analyze<S: FactSink>(
    inputs: Vec<Input>,
    options: Arc<PipelineOptions>,
    progress: &Progress,
    sink: &mut S,
) -> Result<Analysis, PipelineError<S::Error>> {
    let source = files(inputs, &options);
    let observed = observe::<Infallible>(source, &options, progress, None, None, &mut |_, _| Ok(()));
    let observed = observed.map_err(|error| match error {
        PipelineError::Spill(error) => PipelineError::Spill(error),
        PipelineError::Journal(error) => PipelineError::Journal(error),
        PipelineError::Sink(never) => match never {},
    })?;
    observed.finish(&options, sink)
}

/// As [`analyze`], of any source, at the pace of `live`, and hands over what changed a few times a second: as soon as it is known, and the same facts
/// in the end.
///
/// # Errors
/// See [`PipelineError`].
pub fn analyze_live<S>(
    source: Box<dyn PacketSource>,
    options: Arc<PipelineOptions>,
    progress: &Progress,
    live: Live<'_>,
    sink: &mut S,
) -> Result<Analysis, PipelineError<S::Error>>
where
    S: LiveSink + Send,
    S::Error: Send,
{
    analyze_kept(source, options, progress, live, None, sink)
}

/// As [`analyze_live`], and keeps in a journal what a later life of the program has to know; goes on with what an earlier one left there.
///
/// # Errors
/// See [`PipelineError`].
pub fn analyze_kept<S>(
    source: Box<dyn PacketSource>,
    options: Arc<PipelineOptions>,
    progress: &Progress,
    live: Live<'_>,
    journal: Option<&mut Journal>,
    sink: &mut S,
) -> Result<Analysis, PipelineError<S::Error>>
where
    S: LiveSink + Send,
    S::Error: Send,
{
    let take = &mut |update, at| sink.update(update, at);
    let mut observed = observe(source, &options, progress, Some(live), journal, take)?;
    let now = Now {
        read: observed.read.clone(),
        totals: observed.totals.clone(),
        open: Vec::new(),
        last: true,
    };
    let update = observed.aggregator.update(now)?;
    let at = Moment {
        seen: observed.span.map(|(_, last)| last),
        dealt: live.clock.now(),
    };
    sink.update(update, at).map_err(PipelineError::Sink)?;
    observed.finish(&options, sink)
}

/// Everything that was observed, not judged yet.
struct Observed {
    aggregator: Aggregator,
    read: ReadFacts,
    totals: WorkerTotals,
    left: Vec<Left>,
    span: Option<(CaptureTime, CaptureTime)>,
    problems: Vec<String>,
    earlier: Option<Arc<Earlier>>,
}

/// Reads, decrypts and decodes everything; with `live`, `take` gets what changed now and then.
fn observe<E: Send>(
    mut source: Box<dyn PacketSource>,
    options: &Arc<PipelineOptions>,
    progress: &Progress,
    live: Option<Live<'_>>,
    mut journal: Option<&mut Journal>,
    take: &mut (dyn FnMut(Update, Moment) -> Result<(), E> + Send),
) -> Result<Observed, PipelineError<E>> {
    let jobs = options.jobs.max(1);
    let cache = Arc::new(PayloadCache::new(options.signatures, options.payload_cache));
    let mut earlier = options.checkpoint.clone().map(Earlier::new).map(Arc::new);
    let mut analysis = options.analysis.clone();
    if let Some(earlier) = &earlier {
        analysis.known_payloads = Arc::clone(&earlier.checkpoint.payloads);
    }
    let mut aggregator = Aggregator::new(analysis);
    if live.is_some() {
        aggregator.track_changes();
    }
    let mut before = None;
    if let Some(journal) = &mut journal {
        let recalled = journal.recall(&mut aggregator, &options.analysis);
        let recalled = Before::new(recalled.map_err(PipelineError::Journal)?);
        if let Some(seen) = recalled.seen {
            earlier = Some(Arc::new(Earlier::new(Arc::new(recalled.parts.checkpoint(seen)))));
            let nothing = (WorkerTotals::default(), ReadFacts::default());
            let (now, noted) = recalled.now(Vec::new(), nothing.0, nothing.1, None, None);
            let update = aggregator.update(now)?;
            journal.keep(&mut aggregator, update.number, noted, &options.analysis);
            let at = Moment {
                seen: Some(seen),
                dealt: live.map_or(Nanos(0), |live| live.clock.now()),
            };
            take(update, at).map_err(PipelineError::Sink)?;
        }
        before = Some(recalled);
    }
    let mut dealer = Dealer::new(Arc::clone(options), jobs);
    let mut seeker = Seeker::new(Arc::clone(options));
    let mut paused = false;

    let observed = std::thread::scope(|scope| {
        let (told, news) = bounded(QUEUED_OBSERVATIONS);
        let aggregation = scope.spawn(|| {
            aggregate(
                &mut aggregator,
                news,
                progress,
                journal.as_deref_mut(),
                &options.analysis,
                take,
            )
        });
        let mut queues: Vec<Sender<Work>> = Vec::with_capacity(jobs);
        let workers: Vec<_> = (0..jobs)
            .map(|index| {
                let (queue, batches) = bounded(QUEUED_BATCHES);
                queues.push(queue);
                let worker = Worker::new(
                    index as u16,
                    Arc::clone(options),
                    Arc::clone(&cache),
                    true,
                    earlier.clone(),
                    before.as_ref().map(|before| Arc::clone(&before.parts)),
                );
                let told = told.clone();
                scope.spawn(move || work(worker, &batches, &told, progress))
            })
            .collect();

        let source = if let Some(live) = live {
            let inputs = source.inputs();
            let (batches, reading) = read_ahead(scope, source);
            let mut player = Player::new(live, inputs, before.as_ref(), &queues, &told, progress);
            // A worker is gone only if the aggregation failed; its error is told below.
            let _ = player.play(&batches, &mut dealer, &mut seeker);
            paused = player.told_pause();
            drop(batches);
            reading
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        } else {
            'reading: while let Some(batch) = source.next_batch() {
                for (shard, queue) in dealer.deal(&batch, progress).into_iter().zip(&queues) {
                    // As above.
                    if queue.send(Work::Segments(shard)).is_err() {
                        break 'reading;
                    }
                }
                if seeker.is_due(dealer.dealt()) && seek(&mut seeker, &queues, progress, false).is_none() {
                    break;
                }
            }
            source
        };
        drop(told);
        // As above: a worker that is gone tells nothing new.
        let _ = seek(&mut seeker, &queues, progress, true);
        drop(queues);
        let mut totals = WorkerTotals::default();
        let mut left = Vec::with_capacity(jobs);
        for worker in workers {
            let (counted, leaves) = worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            totals.add(counted);
            left.push(leaves);
        }
        aggregation
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok::<_, PipelineError<E>>((source, totals, left))
    });
    let (source, mut totals, left) = observed?;
    note_search(&seeker, &mut totals);
    let span = dealer.span();
    let (mut read, limits, mut problems) = dealer.finish();
    if let Some(earlier) = &earlier
        && let Some((first, _)) = span
        && first.saturating_add(OVERLAP) < earlier.checkpoint.seen
    {
        aggregator.forget_known();
        problems.push(format!(
            "the checkpoint is of {}, and the capture begins before, at {first}: it does not go on there, and all its payloads are \
             taken as new",
            earlier.checkpoint.seen
        ));
    }
    for (name, count) in limits {
        *totals.limits.entry(name.to_owned()).or_default() += count;
    }
    read.captures = source.finish().into_iter().map(fact_of).collect();
    if let Some(before) = &before {
        before.add_totals(&mut totals);
        before.add_read(&mut read);
        for end in before.ends(&mut totals) {
            aggregator.push(end)?;
        }
        if let Some(seen) = before.seen
            && !paused
        {
            aggregator.pause(seen, seen);
        }
    }
    problems.extend(journal.and_then(|journal| journal.problem()));
    Ok(Observed {
        aggregator,
        read,
        totals,
        left,
        span,
        problems,
        earlier,
    })
}

impl Observed {
    /// Judges everything, and hands it over.
    fn finish<S: FactSink>(
        self,
        options: &PipelineOptions,
        sink: &mut S,
    ) -> Result<Analysis, PipelineError<S::Error>> {
        if !options.keep_checkpoint {
            let facts = self.aggregator.finish(self.read, self.totals, sink)?;
            return Ok(Analysis {
                facts,
                problems: self.problems,
                checkpoint: None,
            });
        }
        let (facts, payloads) = self.aggregator.finish_and_keep(self.read, self.totals, sink)?;
        let mut checkpoint = Checkpoint {
            payloads: Arc::new(payloads),
            ..Checkpoint::default()
        };
        let earlier = self.earlier.as_deref().map(|earlier| &*earlier.checkpoint);
        checkpoint.seen = match (self.span, earlier) {
            (Some((_, last)), _) => last,
            (None, Some(earlier)) => earlier.seen,
            (None, None) => CaptureTime::MIN,
        };
        let mut touched = BTreeSet::new();
        for mut left in self.left {
            touched.append(&mut left.touched);
            checkpoint.sessions.extend(left.into_sessions());
        }
        if let Some(earlier) = earlier {
            checkpoint.carry_over(earlier, &touched, options.flows.idle);
        }
        checkpoint.bound();
        Ok(Analysis {
            facts,
            problems: self.problems,
            checkpoint: Some(checkpoint),
        })
    }
}

/// How much of the time of an earlier run a capture that goes on there may repeat: clocks of two machines may differ.
const OVERLAP: Nanos = Nanos::from_secs(60);

/// Batches of segments that may wait for a worker.
const QUEUED_BATCHES: usize = 4;
/// Batches of observations that may wait for the aggregation.
const QUEUED_OBSERVATIONS: usize = 16;

fn aggregate<E>(
    aggregator: &mut Aggregator,
    news: Receiver<Told>,
    progress: &Progress,
    mut journal: Option<&mut Journal>,
    options: &AnalysisOptions,
    take: &mut dyn FnMut(Update, Moment) -> Result<(), E>,
) -> Result<(), PipelineError<E>> {
    let _leaving = Leaving(progress);
    for told in news {
        match told {
            Told::Observed(batch) => {
                for observation in batch {
                    aggregator.push(observation)?;
                }
            }
            Told::Update(now, at, noted) => {
                if let Some((from, to)) = noted.as_ref().and_then(|noted| noted.pause) {
                    aggregator.pause(from, to);
                }
                let update = aggregator.update(*now)?;
                if let (Some(journal), Some(noted)) = (&mut journal, noted) {
                    journal.keep(aggregator, update.number, *noted, options);
                }
                take(update, at).map_err(PipelineError::Sink)?;
                progress.updating.store(false, Ordering::Release);
            }
        }
    }
    Ok(())
}

fn note_search(seeker: &Seeker, totals: &mut WorkerTotals) {
    let (searched, exhausted) = seeker.spent();
    totals.searched_bytes = searched;
    if exhausted {
        *totals.limits.entry("attach_budget".to_owned()).or_default() += 1;
    }
}

/// Reads captures on this thread and hands over every observation as soon as it is made, in capture order.
///
/// `take` returns false to stop. Sessions are told before their messages.
pub fn messages(
    inputs: Vec<Input>,
    options: Arc<PipelineOptions>,
    take: impl FnMut(Observation) -> bool,
) -> (Vec<CaptureFact>, WorkerTotals, Vec<String>) {
    read_alone(Captures::open(inputs, false), options, take)
}

/// As [`messages`], and hashes the captures on the way.
pub fn messages_hashed(
    inputs: Vec<Input>,
    options: Arc<PipelineOptions>,
    take: impl FnMut(Observation) -> bool,
) -> (Vec<CaptureFact>, WorkerTotals, Vec<String>) {
    read_alone(Captures::open(inputs, true), options, take)
}

fn read_alone(
    captures: Captures,
    options: Arc<PipelineOptions>,
    mut take: impl FnMut(Observation) -> bool,
) -> (Vec<CaptureFact>, WorkerTotals, Vec<String>) {
    let mut source = Box::new(captures);
    let cache = Arc::new(PayloadCache::new(options.signatures, options.payload_cache));
    let mut dealer = Dealer::new(Arc::clone(&options), 1);
    let mut seeker = Seeker::new(Arc::clone(&options));
    let earlier = options.checkpoint.clone().map(Earlier::new).map(Arc::new);
    let mut worker = Worker::new(0, options, cache, false, earlier, None);
    let progress = Progress::default();
    let mut out = Vec::new();
    let mut going = true;
    while going && let Some(batch) = source.next_batch() {
        for shard in dealer.deal(&batch, &progress) {
            worker.push(&shard, &mut out);
        }
        if seeker.is_due(dealer.dealt()) {
            seek_alone(&mut seeker, &mut worker, &mut out);
        }
        going = out.drain(..).all(&mut take);
    }
    if going {
        worker.close(&mut out);
        seek_alone(&mut seeker, &mut worker, &mut out);
        out.drain(..).all(&mut take);
    }
    let (_, limits, problems) = dealer.finish();
    let (mut totals, _) = worker.into_totals();
    note_search(&seeker, &mut totals);
    for (name, count) in limits {
        *totals.limits.entry(name.to_owned()).or_default() += count;
    }
    let captures = source.finish().into_iter().map(fact_of).collect();
    (captures, totals, problems)
}

/// As [`seek`], on the thread of the only worker.
fn seek_alone(seeker: &mut Seeker, worker: &mut Worker, out: &mut Vec<Observation>) {
    loop {
        let reply = worker.wanted(&seeker.known(), out);
        let Some(answers) = seeker.answer(vec![reply]) else {
            return;
        };
        for answers in answers {
            worker.attach(answers, out);
        }
    }
}
