//! Joining sessions in their middle while packets come as they are sent.
//!
//! Nobody can wait for a search then, and in a quiet network the next sixteen megabytes are far away. So workers are asked once a second what
//! they want, the search runs on a thread of its own, a piece of key stream at a time, and answers are told when they are there; bytes
//! are held meanwhile. What was found when depends on the machine, as live everything does.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use bftap_decrypt::search::{SearchAnswer, SearchLimits, SearchOutcome, search};
use bftap_decrypt::secret_store::Candidate;
use bftap_model::{FlowKey, Nanos};
use crossbeam_channel::Sender;

use crate::reading::Progress;
use crate::seek::{Answers, BLOCKS_A_SECOND, Known, SHALLOW, Seeker, Wanted};
use crate::threads::{Work, ask};

/// Between two points.
const POINT: Nanos = Nanos::from_secs(1);

/// Blocks of the first piece of a search, for all secrets together: an eighth of a second of a processor.
const FIRST_PIECE: u64 = BLOCKS_A_SECOND / 8;
/// The same for later pieces, which double.
const LARGEST_PIECE: u64 = BLOCKS_A_SECOND / 2;

/// Blocks of each secret that a piece has at least: a mebibyte of stream.
const LEAST: u64 = 1 << 16;

/// Blocks that one search far from the start of the key streams may take: a connection that is over, or for whose bytes there is no room, must
/// not keep a processor busy for minutes.
const DEEP: u64 = 8 * BLOCKS_A_SECOND;

/// Blocks that the searches at the end may take: somebody waits for it.
const LAST: u64 = 10 * BLOCKS_A_SECOND;

/// Part of a processor that searches may take for ever, beyond the budget.
const SHARE: u64 = 16;

/// Blocks that are searched also when the budget is used up: 16 MiB of stream.
const ALWAYS: u64 = 1 << 20;

/// See the module's documentation.
pub(crate) struct LiveSeeker {
    begun: Nanos,
    next_point: Nanos,
    generation: u64,
    groups: VecDeque<Group>,
    running: Option<Running>,
}

struct Running {
    deep: bool,
    thread: JoinHandle<(Group, SearchOutcome)>,
}

/// A session, with the number of its worker, and what was found so far.
type Asked = (usize, Wanted, Option<SearchAnswer>);

/// Sessions that are looked for together.
struct Group {
    deep: bool,
    wanted: Vec<Asked>,
    candidates: Arc<[Candidate]>,
    /// Blocks that were not searched yet.
    blocks: Range<u64>,
    piece: u64,
    spent: u64,
    /// Generation of the secrets that the candidates are.
    generation: u64,
}

impl LiveSeeker {
    pub(crate) fn new(now: Nanos) -> Self {
        Self {
            begun: now,
            next_point: now,
            generation: 0,
            groups: VecDeque::new(),
            running: None,
        }
    }

    /// Tells what was found, and at a point goes on; `None` if a worker is gone.
    pub(crate) fn go_on(
        &mut self,
        now: Nanos,
        seeker: &mut Seeker,
        queues: &[Sender<Work>],
        progress: &Progress,
    ) -> Option<()> {
        if self
            .running
            .as_ref()
            .is_some_and(|running| running.thread.is_finished())
        {
            self.collect(seeker, queues, progress)?;
        }
        if now < self.next_point {
            return Some(());
        }
        self.next_point = Nanos(now.0.saturating_add(POINT.0));
        let secrets = &seeker.options().secrets;
        let generation = secrets.generation();
        if generation != self.generation {
            self.generation = generation;
            // With the new ones it begins anew.
            while let Some(group) = self.groups.pop_front() {
                tell(group.wanted, queues)?;
            }
        }
        self.take_wishes(now, seeker, queues, progress)?;
        if self.running.is_none()
            && let Some(group) = self.groups.pop_front()
        {
            let deep = group.deep;
            let thread = std::thread::spawn(move || group.search(1));
            self.running = Some(Running { deep, thread });
            progress.searching.store(true, Ordering::Relaxed);
        }
        Some(())
    }

    /// Asks all workers what is to be looked for.
    fn take_wishes(
        &mut self,
        now: Nanos,
        seeker: &mut Seeker,
        queues: &[Sender<Work>],
        progress: &Progress,
    ) -> Option<()> {
        let known = Arc::new(Known {
            live: true,
            ..seeker.known()
        });
        let mut replies = ask(queues, progress, |reply| Work::Show(Arc::clone(&known), reply))?;
        seeker.note(&mut replies);
        let (deep, shallow): (Vec<_>, Vec<_>) = replies
            .into_iter()
            .enumerate()
            .flat_map(|(worker, reply)| reply.wanted.into_iter().map(move |wanted| (worker, wanted, None)))
            .partition(|(_, wanted, _)| wanted.deep);
        let candidates = seeker.options().secrets.all();
        let reach = seeker.options().attach.reach;
        let seconds = u64::try_from((now.0 - self.begun.0) / 1_000_000_000).unwrap_or(0);
        let poor = seeker.is_poor(seconds.saturating_mul(BLOCKS_A_SECOND / SHARE));
        if !shallow.is_empty() {
            let end = if poor { ALWAYS } else { SHALLOW };
            let near = self.groups.partition_point(|group| !group.deep);
            let group = Group::new(shallow, candidates.clone(), 0..end.min(reach), self.generation);
            self.groups.insert(near, group);
        }
        if !deep.is_empty() {
            let flows: BTreeSet<FlowKey> = deep.iter().map(|(_, wanted, _)| wanted.flow).collect();
            let free = seeker.free(&candidates, &flows);
            let blocks = if poor { 0..0 } else { SHALLOW..reach.max(SHALLOW) };
            let group = Group::new(deep, free, blocks, self.generation);
            self.groups.push_back(Group { deep: true, ..group });
        }
        Some(())
    }

    /// Takes what the thread has found; waits for it.
    fn collect(&mut self, seeker: &mut Seeker, queues: &[Sender<Work>], progress: &Progress) -> Option<()> {
        let Some(running) = self.running.take() else {
            return Some(());
        };
        let (group, outcome) = running
            .thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        progress.searching.store(false, Ordering::Relaxed);
        seeker.spend(outcome.spent);
        progress.searched.store(seeker.searched(), Ordering::Relaxed);
        let current = group.generation == seeker.options().secrets.generation();
        let (group, done) = group.sort_out(outcome);
        tell(done, queues)?;
        if let Some(group) = group {
            if !current {
                return tell(group.wanted, queues);
            }
            let near = self.groups.partition_point(|other| !other.deep);
            let at = if running.deep { self.groups.len() } else { near };
            self.groups.insert(at, group);
        }
        Some(())
    }

    /// Nothing more comes: near the start of the key streams all is looked for that was asked, elsewhere nothing more.
    pub(crate) fn end(
        &mut self,
        seeker: &mut Seeker,
        queues: &[Sender<Work>],
        progress: &Progress,
    ) -> Option<()> {
        self.collect(seeker, queues, progress)?;
        let jobs = seeker.options().jobs;
        let mut left = LAST;
        while let Some(mut group) = self.groups.pop_front() {
            if group.deep || left == 0 {
                tell(group.wanted, queues)?;
                continue;
            }
            group.piece = LARGEST_PIECE * jobs.max(1) as u64;
            let (group, outcome) = group.search(jobs);
            seeker.spend(outcome.spent);
            left = left.saturating_sub(outcome.spent);
            let (group, done) = group.sort_out(outcome);
            tell(done, queues)?;
            self.groups.extend(group);
        }
        progress.searched.store(seeker.searched(), Ordering::Relaxed);
        seeker.allow_at_most(left);
        Some(())
    }
}

impl Group {
    fn new(wanted: Vec<Asked>, candidates: Vec<Candidate>, blocks: Range<u64>, generation: u64) -> Self {
        Self {
            deep: false,
            generation,
            wanted,
            candidates: candidates.into(),
            blocks,
            piece: FIRST_PIECE,
            spent: 0,
        }
    }

    /// Searches the next piece.
    fn search(mut self, jobs: usize) -> (Self, SearchOutcome) {
        let streams = self.candidates.len().max(1) as u64;
        let end = self
            .blocks
            .start
            .saturating_add((self.piece / streams).max(LEAST));
        let piece = self.blocks.start..end.min(self.blocks.end);
        let requests: Vec<_> = self
            .wanted
            .iter_mut()
            .map(|(_, wanted, _)| std::mem::take(&mut wanted.request))
            .collect();
        let limits = SearchLimits {
            jobs,
            budget: u64::MAX,
        };
        let outcome = search(&requests, &self.candidates, piece.clone(), limits);
        for ((_, wanted, _), request) in self.wanted.iter_mut().zip(requests) {
            wanted.request = request;
        }
        self.blocks.start = piece.end;
        self.piece = (2 * self.piece).min(LARGEST_PIECE);
        self.spent = self.spent.saturating_add(outcome.spent);
        (self, outcome)
    }

    /// Who is looked for further, and who is not.
    fn sort_out(mut self, outcome: SearchOutcome) -> (Option<Self>, Vec<Asked>) {
        let over = self.blocks.is_empty() || self.spent >= DEEP;
        let mut done = Vec::new();
        let mut left = Vec::new();
        for ((worker, mut wanted, mut found), answer) in self.wanted.drain(..).zip(outcome.answers) {
            if let Some(answer) = answer {
                let known = found.get_or_insert_with(|| answer.clone());
                for (side, place) in answer.places.into_iter().enumerate() {
                    known.places[side] = known.places[side].or(place);
                    if known.places[side].is_some() {
                        wanted.request.runs[side].clear();
                    }
                }
                // The other side has the same secret.
                wanted.request.only = Some(known.candidate.id());
                // It is not far away; else later bytes tell, and reading of this side need not wait.
                let near = known
                    .places
                    .iter()
                    .flatten()
                    .map(|place| place.block)
                    .max()
                    .unwrap_or(0);
                wanted.request.reach = wanted
                    .request
                    .reach
                    .min(near.saturating_mul(4).saturating_add(ALWAYS));
            }
            let nothing_left = wanted.request.runs.iter().all(Vec::is_empty);
            if over || nothing_left || wanted.request.reach <= self.blocks.start {
                done.push((worker, wanted, found));
            } else {
                left.push((worker, wanted, found));
            }
        }
        self.wanted = left;
        ((!self.wanted.is_empty()).then_some(self), done)
    }
}

/// Gives the workers their answers.
fn tell(done: Vec<Asked>, queues: &[Sender<Work>]) -> Option<()> {
    let mut answers: Vec<Answers> = queues.iter().map(|_| Vec::new()).collect();
    for (worker, wanted, found) in done {
        answers[worker].push((wanted.connection, found));
    }
    for (queue, answers) in queues.iter().zip(answers) {
        if !answers.is_empty() {
            queue.send(Work::Attach(answers)).ok()?;
        }
    }
    Some(())
}
