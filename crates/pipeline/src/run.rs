//! Threads around the stages: whole analyses, and messages one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bftap_analysis::facts::{CaptureFact, FactSink, RunFacts};
use bftap_analysis::{Aggregator, FinishError, Observation, WorkerTotals};
use bftap_capture::source::{CaptureReader, ContentHash, HashingReader, MergedCapture, ReadLimits};
use bftap_model::{CaptureTime, Nanos};
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::batch::SegmentBatch;
use crate::checkpoint::Checkpoint;
use crate::options::PipelineOptions;
use crate::payload_cache::PayloadCache;
use crate::reading::{Dealer, Progress};
use crate::returning::{Earlier, Left};
use crate::seek::{Answers, Known, Reply, Seeker};
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
    let mut captures = Captures::open(inputs, options.content_hashes);
    let jobs = options.jobs.max(1);
    let cache = Arc::new(PayloadCache::new(options.signatures, options.payload_cache));
    let earlier = options.checkpoint.clone().map(Earlier::new).map(Arc::new);
    let mut analysis = options.analysis.clone();
    if let Some(earlier) = &earlier {
        analysis.known_payloads = Arc::clone(&earlier.checkpoint.payloads);
    }
    let mut aggregator = Aggregator::new(analysis);
    let mut dealer = Dealer::new(Arc::clone(&options), jobs);
    let mut seeker = Seeker::new(Arc::clone(&options));

    let totals = std::thread::scope(|scope| -> io::Result<(WorkerTotals, Vec<Left>)> {
        let (observed, observations) = bounded(QUEUED_OBSERVATIONS);
        let aggregation = scope.spawn(|| aggregate(&mut aggregator, observations));
        let mut queues: Vec<Sender<Work>> = Vec::with_capacity(jobs);
        let workers: Vec<_> = (0..jobs)
            .map(|index| {
                let (queue, batches) = bounded(QUEUED_BATCHES);
                queues.push(queue);
                let worker = Worker::new(
                    index as u16,
                    Arc::clone(&options),
                    Arc::clone(&cache),
                    true,
                    earlier.clone(),
                );
                let observed = observed.clone();
                scope.spawn(move || work(worker, &batches, &observed))
            })
            .collect();
        drop(observed);

        'reading: while let Some(batch) = captures.merged.next_batch() {
            for (shard, queue) in dealer.deal(&batch, progress).into_iter().zip(&queues) {
                // A worker is gone only if the aggregation failed; its error is told below.
                if queue.send(Work::Segments(shard)).is_err() {
                    break 'reading;
                }
            }
            if seeker.is_due(dealer.dealt()) && seek(&mut seeker, &queues, progress, false).is_none() {
                break;
            }
        }
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
        Ok((totals, left))
    });
    let (mut totals, left) = totals?;
    note_search(seeker, &mut totals);
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
    read.captures = captures.facts();
    if !options.keep_checkpoint {
        let facts = aggregator.finish(read, totals, sink)?;
        return Ok(Analysis {
            facts,
            problems,
            checkpoint: None,
        });
    }
    let (facts, payloads) = aggregator.finish_and_keep(read, totals, sink)?;
    let mut checkpoint = Checkpoint {
        payloads: Arc::new(payloads),
        ..Checkpoint::default()
    };
    let earlier = earlier.as_deref().map(|earlier| &*earlier.checkpoint);
    checkpoint.seen = match (span, earlier) {
        (Some((_, last)), _) => last,
        (None, Some(earlier)) => earlier.seen,
        (None, None) => CaptureTime::MIN,
    };
    let mut touched = BTreeSet::new();
    for mut left in left {
        touched.append(&mut left.touched);
        checkpoint.sessions.extend(left.into_sessions());
    }
    if let Some(earlier) = earlier {
        checkpoint.carry_over(earlier, &touched, options.flows.idle);
    }
    checkpoint.bound();
    Ok(Analysis {
        facts,
        problems,
        checkpoint: Some(checkpoint),
    })
}

/// How much of the time of an earlier run a capture that goes on there may repeat: clocks of two machines may differ.
const OVERLAP: Nanos = Nanos::from_secs(60);

/// Batches of segments that may wait for a worker.
const QUEUED_BATCHES: usize = 4;
/// Batches of observations that may wait for the aggregation.
const QUEUED_OBSERVATIONS: usize = 16;

fn aggregate(aggregator: &mut Aggregator, observations: Receiver<Vec<Observation>>) -> io::Result<()> {
    for batch in observations {
        for observation in batch {
            aggregator.push(observation)?;
        }
    }
    Ok(())
}

fn work(
    mut worker: Worker,
    work: &Receiver<Work>,
    observed: &Sender<Vec<Observation>>,
) -> (WorkerTotals, Left) {
    let mut out = Vec::new();
    for work in work {
        match work {
            Work::Segments(batch) => worker.push(&batch, &mut out),
            Work::Close => worker.close(&mut out),
            Work::Meet(met) => {
                // As below.
                let _ = met.send(());
            }
            Work::Show(known, reply) => {
                // The reader waits for it; if it does not, the run is over.
                let _ = reply.send(worker.wanted(&known, &mut out));
            }
            Work::Attach(answers) => worker.attach(answers, &mut out),
        }
        if !out.is_empty() && observed.send(std::mem::take(&mut out)).is_err() {
            return worker.into_totals();
        }
    }
    worker.into_totals()
}

/// What a worker is told to do.
enum Work {
    /// Segments of its flows.
    Segments(SegmentBatch),
    /// The capture is over.
    Close,
    /// Say that all that came before is done.
    Meet(Sender<()>),
    /// Say which sessions have no place.
    Show(Arc<Known>, Sender<Reply>),
    /// Places that were found.
    Attach(Answers),
}

/// Stops all workers, and looks for places until nobody has anything to look for; `None` if a worker is gone.
fn seek(seeker: &mut Seeker, queues: &[Sender<Work>], progress: &Progress, last: bool) -> Option<()> {
    if last {
        for queue in queues {
            queue.send(Work::Close).ok()?;
        }
    }
    loop {
        // What all sessions together hold is only certain once nobody works.
        ask(queues, Work::Meet)?;
        let known = Arc::new(seeker.known());
        let replies = ask(queues, |reply| Work::Show(Arc::clone(&known), reply))?;
        progress.searching.store(true, Ordering::Relaxed);
        let answers = seeker.answer(replies);
        progress.searched.store(seeker.searched(), Ordering::Relaxed);
        progress.searching.store(false, Ordering::Relaxed);
        let Some(answers) = answers else {
            return Some(());
        };
        for (queue, answers) in queues.iter().zip(answers) {
            queue.send(Work::Attach(answers)).ok()?;
        }
    }
}

/// Tells all workers to do something, and waits for their answers; `None` if a worker is gone.
fn ask<T>(queues: &[Sender<Work>], work: impl Fn(Sender<T>) -> Work) -> Option<Vec<T>> {
    let replies: Vec<Receiver<T>> = queues
        .iter()
        .map(|queue| {
            let (reply, replies) = bounded(1);
            queue.send(work(reply)).ok()?;
            Some(replies)
        })
        .collect::<Option<_>>()?;
    replies.into_iter().map(|reply| reply.recv().ok()).collect()
}

fn note_search(seeker: Seeker, totals: &mut WorkerTotals) {
    let (searched, exhausted) = seeker.finish();
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
    mut take: impl FnMut(Observation) -> bool,
) -> (Vec<CaptureFact>, WorkerTotals, Vec<String>) {
    let mut captures = Captures::open(inputs, false);
    let cache = Arc::new(PayloadCache::new(options.signatures, options.payload_cache));
    let mut dealer = Dealer::new(Arc::clone(&options), 1);
    let mut seeker = Seeker::new(Arc::clone(&options));
    let earlier = options.checkpoint.clone().map(Earlier::new).map(Arc::new);
    let mut worker = Worker::new(0, options, cache, false, earlier);
    let progress = Progress::default();
    let mut out = Vec::new();
    let mut going = true;
    while going && let Some(batch) = captures.merged.next_batch() {
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
    note_search(seeker, &mut totals);
    for (name, count) in limits {
        *totals.limits.entry(name.to_owned()).or_default() += count;
    }
    (captures.facts(), totals, problems)
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

/// The inputs, opened.
struct Captures {
    merged: MergedCapture,
    /// By reader of `merged`.
    hashes: Vec<(String, Option<ContentHash>)>,
    /// Those that could not be opened.
    failed: Vec<CaptureFact>,
}

impl Captures {
    /// Sorted by path, so that the order in which a user names them makes no difference.
    fn open(mut inputs: Vec<Input>, hashed: bool) -> Self {
        inputs.sort_by(|a, b| a.path.cmp(&b.path));
        let limits = ReadLimits::for_readers(inputs.len());
        let mut readers = Vec::new();
        let mut hashes = Vec::new();
        let mut failed = Vec::new();
        for input in inputs {
            let (read, hash): (Box<dyn Read + Send>, _) = if hashed {
                let (read, hash) = HashingReader::new(input.read);
                (Box::new(read), Some(hash))
            } else {
                (input.read, None)
            };
            match CaptureReader::open(read, limits) {
                Ok(reader) => {
                    readers.push(reader);
                    hashes.push((input.path, hash));
                }
                Err(error) => failed.push(CaptureFact {
                    path: input.path,
                    sha256: content_hash(hash),
                    packets: 0,
                    bytes: 0,
                    problem: Some(error.to_string()),
                }),
            }
        }
        Self {
            merged: MergedCapture::new(readers),
            hashes,
            failed,
        }
    }

    fn facts(self) -> Vec<CaptureFact> {
        let problems: BTreeMap<usize, String> = self
            .merged
            .problems()
            .map(|(index, error)| (index, error.to_string()))
            .collect();
        let mut facts = self.failed;
        for (index, (reader, (path, hash))) in self.merged.readers().zip(self.hashes).enumerate() {
            let stats = reader.stats();
            facts.push(CaptureFact {
                path,
                sha256: content_hash(hash),
                packets: stats.packets,
                bytes: stats.bytes,
                problem: problems.get(&index).cloned(),
            });
        }
        facts
    }
}

/// Empty where it was not wanted, or the rest of the file cannot be read: that problem is told elsewhere.
fn content_hash(hash: Option<ContentHash>) -> String {
    hash.and_then(|hash| hash.finish().ok())
        .map(hex::encode)
        .unwrap_or_default()
}
