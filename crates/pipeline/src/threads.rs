//! Worker threads, and how they are talked to.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bftap_analysis::{Now, Observation, WorkerTotals};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::batch::SegmentBatch;
use crate::journal::Noted;
use crate::pacing::Moment;
use crate::reading::Progress;
use crate::returning::Left;
use crate::seek::{Answers, Known, Reply, Seeker};
use crate::worker::{Worker, WorkerNow};

/// Works until there is no more to do.
pub(crate) fn work(
    mut worker: Worker,
    work: &Receiver<Work>,
    told: &Sender<Told>,
    progress: &Progress,
) -> (WorkerTotals, Left) {
    let _leaving = Leaving(progress);
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
            Work::Tell(reply) => {
                // Secrets come also while no packets do.
                worker.retry(&mut out);
                // What was observed goes before.
                if !out.is_empty() && told.send(Told::Observed(std::mem::take(&mut out))).is_err() {
                    return worker.into_totals();
                }
                // As above.
                let _ = reply.send(worker.now());
            }
        }
        if !out.is_empty() && told.send(Told::Observed(std::mem::take(&mut out))).is_err() {
            return worker.into_totals();
        }
    }
    worker.into_totals()
}

/// Says so when a thread is left, in whatever way.
pub(crate) struct Leaving<'p>(pub(crate) &'p Progress);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.left.store(true, Ordering::Release);
    }
}

/// What the aggregation is told.
pub(crate) enum Told {
    /// Observations of a worker.
    Observed(Vec<Observation>),
    /// It is time for an update; all that belongs to it was told before. With what a journal keeps.
    Update(Box<Now>, Moment, Option<Box<Noted>>),
}

/// What a worker is told to do.
pub(crate) enum Work {
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
    /// Say how things stand.
    Tell(Sender<WorkerNow>),
}

/// Stops all workers, and looks for places until nobody has anything to look for; `None` if a worker is gone.
pub(crate) fn seek(
    seeker: &mut Seeker,
    queues: &[Sender<Work>],
    progress: &Progress,
    last: bool,
) -> Option<()> {
    if last {
        for queue in queues {
            queue.send(Work::Close).ok()?;
        }
    }
    loop {
        // What all sessions together hold is only certain once nobody works.
        ask(queues, progress, Work::Meet)?;
        let known = Arc::new(seeker.known());
        let replies = ask(queues, progress, |reply| Work::Show(Arc::clone(&known), reply))?;
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
pub(crate) fn ask<T>(
    queues: &[Sender<Work>],
    progress: &Progress,
    work: impl Fn(Sender<T>) -> Work,
) -> Option<Vec<T>> {
    let replies: Vec<Receiver<T>> = queues
        .iter()
        .map(|queue| {
            let (reply, replies) = bounded(1);
            queue.send(work(reply)).ok()?;
            Some(replies)
        })
        .collect::<Option<_>>()?;
    let answer = |reply: Receiver<T>| {
        loop {
            // Before the answer: who leaves answers no more.
            let left = progress.left.load(Ordering::Acquire);
            match reply.recv_timeout(PATIENCE) {
                Ok(answer) => return Some(answer),
                // A question that waits for a worker who is gone is not dropped.
                Err(RecvTimeoutError::Timeout) if !left => {}
                Err(_) => return None,
            }
        }
    };
    replies.into_iter().map(answer).collect()
}

/// Between two looks whether a worker that does not answer is gone.
const PATIENCE: Duration = Duration::from_millis(50);
