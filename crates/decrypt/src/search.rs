//! Looking for the places of sessions joined in their middle: one pass over every candidate's key stream serves them all.
//!
//! The bytes of the sessions are cut to windows at every offset, and each candidate's key stream is run from its start upward, in
//! steps that grow, until every session has its place. Near places are found first, whatever the number of secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use bftap_model::StreamOffset;

use crate::keystream::{BLOCK_LEN, Keystream};
use crate::locate::Windows;
use crate::secret_store::Candidate;
use crate::secrets::SecretId;
use crate::session::FoundPlace;

/// Bytes of one session without a place.
#[derive(Clone, Debug, Default)]
pub struct SearchRequest {
    /// Runs of bytes of each side that has no place, each with its offset, by [`Side::index`](bftap_model::Side::index).
    pub runs: [Vec<(StreamOffset, Vec<u8>)>; 2],
    /// The only secret that it can be, if that is known.
    pub only: Option<SecretId>,
    /// Blocks behind which the place cannot be.
    pub reach: u64,
}

/// A session's place.
#[derive(Clone, Debug)]
pub struct SearchAnswer {
    /// The secret that opens it.
    pub candidate: Candidate,
    /// Where its frames start; the earliest place that was found on each side.
    pub places: [Option<FoundPlace>; 2],
}

/// What may be spent.
#[derive(Clone, Copy, Debug)]
pub struct SearchLimits {
    /// Threads to use.
    pub jobs: usize,
    /// Blocks of key stream that may still be run through.
    pub budget: u64,
}

/// What a search found, and what it cost.
#[derive(Debug, Default)]
pub struct SearchOutcome {
    /// By request.
    pub answers: Vec<Option<SearchAnswer>>,
    /// Blocks of key stream that were run through.
    pub spent: u64,
    /// Whether the budget ended the search.
    pub exhausted: bool,
}

/// Ends of the steps, in blocks: 1 MiB of stream, 16 MiB, 256 MiB, 4 GiB, 16 GiB, 64 GiB, and on.
const STEPS: [u64; 8] = [
    1 << 16,
    1 << 20,
    1 << 24,
    1 << 28,
    1 << 30,
    1 << 32,
    1 << 36,
    1 << 40,
];

/// Blocks that are searched even if the budget is used up: 16 MiB of stream.
const ALWAYS: u64 = 1 << 20;

/// Windows that are looked for in one pass; more of them cost memory and leave the caches, which long key streams feel.
const WINDOWS_A_PASS: usize = 1 << 22;
const WINDOWS_A_LONG_PASS: usize = 1 << 20;
const LONG: u64 = 1 << 26;

/// Blocks that a thread runs through at a time.
const BLOCKS_A_TASK: u64 = 1 << 22;

/// Looks for the place of every session, in these blocks of the candidates' key streams.
///
/// The answer does not depend on the number of threads.
pub fn search(
    requests: &[SearchRequest],
    candidates: &[Candidate],
    blocks: Range<u64>,
    limits: SearchLimits,
) -> SearchOutcome {
    let mut outcome = SearchOutcome {
        answers: vec![None; requests.len()],
        ..SearchOutcome::default()
    };
    let mut pieces = Pieces::of(requests);
    let most = if blocks.end.saturating_sub(blocks.start) > LONG {
        WINDOWS_A_LONG_PASS
    } else {
        WINDOWS_A_PASS
    };
    while let Some(windows) = pieces.next_pass(requests, &outcome.answers, most) {
        pass(requests, candidates, &blocks, windows, limits, &mut outcome);
        if outcome.exhausted {
            break;
        }
    }
    outcome
}

/// One pass, over all windows that go into it.
fn pass(
    requests: &[SearchRequest],
    candidates: &[Candidate],
    blocks: &Range<u64>,
    mut windows: Windows,
    limits: SearchLimits,
    outcome: &mut SearchOutcome,
) {
    // A candidate is one key stream, whichever sessions it names.
    let mut by_id: BTreeMap<SecretId, usize> = BTreeMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        by_id.entry(candidate.id()).or_insert(index);
    }
    let mut start = blocks.start;
    for end in STEPS {
        let step = start..end.min(blocks.end);
        if step.is_empty() {
            continue;
        }
        let answers = &outcome.answers;
        let fixed = |owner: u32| {
            let request = (owner / 2) as usize;
            let answered = answers[request].as_ref().map(|answer| answer.candidate.id());
            answered.or(requests[request].only)
        };
        let placed = |owner: u32| {
            answers[(owner / 2) as usize]
                .as_ref()
                .is_some_and(|answer| answer.places[(owner % 2) as usize].is_some())
        };
        windows.retain(|window| {
            !placed(window.owner) && requests[(window.owner / 2) as usize].reach > step.start
        });
        if windows.is_empty() {
            return;
        }
        windows.prepare();
        let wanted: Option<BTreeSet<SecretId>> = windows.owners().into_iter().map(fixed).collect();
        let streams: Vec<usize> = by_id
            .iter()
            .filter(|(id, _)| wanted.as_ref().is_none_or(|wanted| wanted.contains(id)))
            .map(|(_, &index)| index)
            .collect();
        if streams.is_empty() {
            return;
        }
        // A step that the budget does not cover is made as far as it goes, for every candidate alike. Near places cost next to
        // nothing: nobody may use up the budget so that others are not even looked for there.
        let left = limits.budget.saturating_sub(outcome.spent) / streams.len() as u64;
        let covered = step.start.saturating_add(left).max(ALWAYS);
        let step = step.start..step.end.min(covered).max(step.start);
        outcome.exhausted = step.end < end.min(blocks.end);
        outcome.spent += streams.len() as u64 * (step.end - step.start);

        let hits = scan_all(&windows, candidates, &streams, &step, limits.jobs);
        let mut found: BTreeMap<(u32, SecretId), FoundPlace> = BTreeMap::new();
        for hit in hits {
            let id = candidates[hit.candidate].id();
            if fixed(hit.owner).is_none_or(|only| only == id) {
                let place = found.entry((hit.owner, id)).or_insert(hit.place);
                *place = (*place).min(hit.place);
            }
        }
        for ((owner, id), place) in found {
            let answer = &mut outcome.answers[(owner / 2) as usize];
            let answer = answer.get_or_insert_with(|| SearchAnswer {
                candidate: candidates[by_id[&id]].clone(),
                places: [None, None],
            });
            if answer.candidate.id() == id {
                answer.places[(owner % 2) as usize].get_or_insert(place);
            }
        }
        if outcome.exhausted {
            return;
        }
        start = step.end;
    }
}

/// A window whose bytes are those of a key stream.
#[derive(Debug)]
struct Hit {
    owner: u32,
    candidate: usize,
    place: FoundPlace,
}

fn scan_all(
    windows: &Windows,
    candidates: &[Candidate],
    streams: &[usize],
    step: &Range<u64>,
    jobs: usize,
) -> Vec<Hit> {
    let per_stream = (step.end - step.start).div_ceil(BLOCKS_A_TASK) as usize;
    let tasks = per_stream * streams.len();
    let next = AtomicUsize::new(0);
    let hits = Mutex::new(Vec::new());
    let work = || {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                return;
            }
            let candidate = streams[task / per_stream];
            let from = step.start + (task % per_stream) as u64 * BLOCKS_A_TASK;
            let range = from..(from + BLOCKS_A_TASK).min(step.end);
            let mut keystream = Keystream::new(&candidates[candidate].secrets.aes);
            let _: Option<()> = windows.scan(&mut keystream, range, |block, window| {
                let place = FoundPlace {
                    offset: StreamOffset(window.offset),
                    block,
                };
                hits.lock().unwrap_or_else(PoisonError::into_inner).push(Hit {
                    owner: window.owner,
                    candidate,
                    place,
                });
                ControlFlow::Continue(())
            });
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..jobs.max(1).min(tasks) {
            scope.spawn(work);
        }
        work();
    });
    hits.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The runs of all requests, cut to passes: the first bytes of every side come first.
struct Pieces {
    /// Owner, run, and how many of its windows went into passes.
    left: Vec<(u32, usize, usize)>,
}

impl Pieces {
    fn of(requests: &[SearchRequest]) -> Self {
        let mut left = Vec::new();
        for (number, request) in requests.iter().enumerate() {
            for (side, runs) in request.runs.iter().enumerate() {
                left.extend((0..runs.len()).map(|run| ((number * 2 + side) as u32, run, 0)));
            }
        }
        Self { left }
    }

    /// The windows of the next pass, of those that have no place yet; `None` when all are through.
    fn next_pass(
        &mut self,
        requests: &[SearchRequest],
        answers: &[Option<SearchAnswer>],
        most: usize,
    ) -> Option<Windows> {
        self.left.retain(|&(owner, run, done)| {
            let (request, side) = ((owner / 2) as usize, (owner % 2) as usize);
            let (_, bytes) = &requests[request].runs[side][run];
            let placed = answers[request]
                .as_ref()
                .is_some_and(|answer| answer.places[side].is_some());
            !placed && done + BLOCK_LEN <= bytes.len()
        });
        if self.left.is_empty() {
            return None;
        }
        let share = (most / self.left.len()).max(1);
        let mut windows = Windows::new();
        for (owner, run, done) in &mut self.left {
            let (offset, bytes) = &requests[(*owner / 2) as usize].runs[(*owner % 2) as usize][*run];
            let to = (*done + share + BLOCK_LEN - 1).min(bytes.len());
            windows.push_all(&bytes[*done..to], 1, *owner, offset.0 + *done as u64);
            *done = to + 1 - BLOCK_LEN;
        }
        Some(windows)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bftap_model::Direction;

    use super::*;
    use crate::sample::Sample;

    const LIMITS: SearchLimits = SearchLimits {
        jobs: 2,
        budget: u64::MAX,
    };

    fn candidate(sample: &Sample) -> Candidate {
        Candidate {
            secrets: Arc::new(sample.secrets.clone()),
            session: None,
            source: "sample".into(),
        }
    }

    /// Sessions of `count` frames a side, of sizes that depend on the seed.
    fn session(seed: u8, count: usize) -> (Sample, [Vec<u64>; 2]) {
        let mut sample = Sample::new(seed, None);
        let mut starts = [Vec::new(), Vec::new()];
        for number in 0..count {
            for direction in [Direction::FromInitiator, Direction::FromRecipient] {
                starts[direction.index()].push(sample.streams[direction.index()].len() as u64);
                let len = 20 + (number * 37 + usize::from(seed) * 11 + direction.index() * 5) % 300;
                sample.frame(direction, &vec![seed; len]);
            }
        }
        (sample, starts)
    }

    fn request(sample: &Sample, spans: [Range<usize>; 2]) -> SearchRequest {
        let mut side = 0;
        SearchRequest {
            runs: spans.map(|span| {
                let run = (
                    StreamOffset(span.start as u64),
                    sample.streams[side][span].to_vec(),
                );
                side += 1;
                vec![run]
            }),
            only: None,
            reach: u64::MAX,
        }
    }

    #[test]
    fn all_sessions_are_found_in_one_search_whatever_the_secrets_beside() {
        let sessions: Vec<_> = (0..6).map(|seed| session(seed, 2000)).collect();
        let mut candidates: Vec<_> = sessions.iter().map(|(sample, _)| candidate(sample)).collect();
        candidates.extend((100..140).map(|seed| candidate(&Sample::new(seed, None))));
        let requests: Vec<_> = sessions
            .iter()
            .enumerate()
            .map(|(number, (sample, _))| {
                let start = 50_000 + number * 7777;
                request(sample, [start..start + 3000, start + 501..start + 4000])
            })
            .collect();
        for jobs in [1, 3] {
            let outcome = search(
                &requests,
                &candidates,
                0..1 << 20,
                SearchLimits { jobs, ..LIMITS },
            );
            for ((request, (sample, starts)), answer) in requests.iter().zip(&sessions).zip(&outcome.answers)
            {
                let answer = answer.as_ref().unwrap();
                assert_eq!(answer.candidate.id(), candidate(sample).id());
                for (side, starts) in starts.iter().enumerate() {
                    let from = request.runs[side][0].0.0;
                    let first = starts.iter().copied().find(|&start| start >= from).unwrap();
                    assert_eq!(answer.places[side].unwrap().offset.0, first);
                }
            }
            assert!(!outcome.exhausted);
            assert_eq!(
                outcome.spent,
                46 << 16,
                "all are near, so the first step finds them"
            );
        }
        // Without their secrets nobody is found.
        let outcome = search(&requests, &candidates[6..], 0..1 << 18, LIMITS);
        assert!(outcome.answers.iter().all(Option::is_none));
        assert_eq!(outcome.spent, 40 << 18);
    }

    #[test]
    fn one_side_narrows_the_other_and_the_budget_ends_a_search() {
        let (mut sample, _) = session(1, 300);
        sample.skip_blocks(Direction::FromRecipient, 1 << 21);
        let far = sample.streams[1].len();
        sample.frame(Direction::FromRecipient, &[1; 3000]);
        let candidates: Vec<_> = std::iter::once(candidate(&sample))
            .chain((50..60).map(|seed| candidate(&Sample::new(seed, None))))
            .collect();
        let requests = [request(&sample, [5000..8000, far - 100..far + 3000])];
        let outcome = search(&requests, &candidates, 0..1 << 22, LIMITS);
        let places = outcome.answers[0].as_ref().unwrap().places;
        assert_eq!(places[1].unwrap().offset.0, far as u64);
        assert_eq!(outcome.spent, (11 << 16) + (1 << 22) - (1 << 16));

        // Without a budget near places are still looked for, and no others.
        let none = SearchLimits { budget: 0, ..LIMITS };
        let outcome = search(&requests, &candidates, 0..1 << 22, none);
        assert!(outcome.exhausted);
        assert_eq!(outcome.spent, (11 << 16) + (1 << 20) - (1 << 16));
        let places = outcome.answers[0].as_ref().unwrap().places;
        assert!(places[0].is_some() && places[1].is_none());
        let outcome = search(&requests, &candidates[1..], 1 << 20..1 << 22, none);
        assert!(outcome.exhausted && outcome.spent == 0);

        let mut bounded = requests;
        bounded[0].reach = 1 << 16;
        let outcome = search(&bounded, &candidates, 0..1 << 22, LIMITS);
        assert_eq!(outcome.spent, 11 << 16);
    }

    #[test]
    fn a_header_behind_megabytes_is_found() {
        let mut sample = Sample::new(3, None);
        sample.frame(Direction::FromInitiator, &[1; 100]);
        sample.frame(Direction::FromInitiator, &vec![2; 10 << 20]);
        let start = sample.streams[0].len();
        sample.frame(Direction::FromInitiator, &[3; 100]);
        let end = sample.streams[0].len();
        let requests = [request(&sample, [2000..end, 0..0])];
        let outcome = search(&requests, &[candidate(&sample)], 0..1 << 24, LIMITS);
        let places = outcome.answers[0].as_ref().unwrap().places;
        assert_eq!(places[0].map(|place| place.offset.0), Some(start as u64));
        assert_eq!(places[1], None);
    }

    /// Random bytes never match: 104 bits do not come by chance. Three sizes of windows, two million trials a secret.
    #[test]
    fn wrong_secrets_find_nothing() {
        let bytes: Vec<u8> = (0..70_000_u32)
            .flat_map(|i| bftap_model::keccak256(&i.to_be_bytes()).0)
            .collect();
        let request = SearchRequest {
            runs: [vec![(StreamOffset(0), bytes)], Vec::new()],
            only: None,
            reach: u64::MAX,
        };
        let candidates: Vec<_> = (0..4).map(|seed| candidate(&Sample::new(seed, None))).collect();
        let outcome = search(&[request], &candidates, 0..1 << 20, LIMITS);
        assert!(outcome.answers[0].is_none());
    }
}
