//! Joining sessions in their middle: when the workers stop, and what is looked for then.
//!
//! At fixed points of the capture every worker shows which of its sessions have no place in their key stream; one search serves all of
//! them, with all threads, and the workers go on with the answers. The points depend on nothing but the input, and so does what is found.
//!
//! Live it is otherwise: see [`crate::seek_live`].
//!
//! Searching is cheap near the start of a key stream and dear far from it, so it goes by levels: at first a few bytes of each session
//! and [`SHALLOW`] blocks, then all its bytes, and only when its bytes cannot be kept any longer (the connection or the capture
//! ends, or memory is short) as far as the user allows.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bftap_decrypt::search::{SearchAnswer, SearchLimits, SearchRequest, search};
use bftap_decrypt::secret_store::Candidate;
use bftap_decrypt::secrets::SecretId;
use bftap_model::{ConnId, FlowKey, StreamOffset};

use crate::options::PipelineOptions;
use crate::session::Session;

/// Blocks that are searched for every session: 256 MiB of key stream, a tenth of a second for each secret.
pub(crate) const SHALLOW: u64 = 1 << 24;

/// Bytes of each side that are looked at first: frames of consensus are small, so some of them begin there.
const FIRST_BYTES: usize = 8 << 10;

/// The same for long key streams: enough for most gossip of transactions, and few enough that windows stay in the near caches.
const FIRST_DEEP_BYTES: usize = 8 << 10;

/// Blocks of key stream that count as a second of a processor: what one core of a small machine runs through.
pub(crate) const BLOCKS_A_SECOND: u64 = 1 << 27;

/// Captured bytes up to the first point where workers stop, and between later ones.
const FIRST_POINT: u64 = 1 << 20;
const POINT: u64 = 16 << 20;

/// What is known at a point of the capture.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Waiting bytes fill much of what they may.
    pub(crate) pressed: bool,
    /// Ports on which sessions were recognised.
    pub(crate) ports: BTreeSet<u16>,
    /// Packets come as they are sent: bytes are few, and an answer is wanted soon.
    pub(crate) live: bool,
}

/// Bytes of a session that came since it was looked for, before it is looked for again, where packets come as they are sent: a frame of
/// consensus, or a few.
const FIRST_LIVE_BYTES: usize = 512;

/// How far the search for a session's place has come.
#[derive(Debug, Default)]
pub(crate) struct SeekState {
    generation: u64,
    level: Level,
    /// Stream offsets up to which windows were looked at on this level.
    done: [u64; 2],
    /// How many bytes that were.
    bytes: u64,
    /// An answer is still to come.
    asked: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Level {
    #[default]
    First,
    All,
    Deep,
}

/// A session's bytes, and where they are looked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) connection: ConnId,
    pub(crate) flow: FlowKey,
    pub(crate) request: SearchRequest,
    pub(crate) deep: bool,
}

/// What a worker says at a point.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    pub(crate) wanted: Vec<Wanted>,
    /// Ports of sessions that were recognised since the last time.
    pub(crate) ports: Vec<u16>,
    /// Secrets that opened sessions, and whose.
    pub(crate) used: Vec<(SecretId, FlowKey)>,
}

/// Places for a worker's sessions.
pub(crate) type Answers = Vec<(ConnId, Option<SearchAnswer>)>;

/// What becomes of a session that has no place.
pub(crate) enum Next {
    /// Nothing now.
    Wait,
    /// A search.
    Search(Wanted),
    /// All was tried.
    Nothing,
}

impl SeekState {
    /// What to do about this session now. `urgent` if its bytes cannot be kept.
    pub(crate) fn next(
        &mut self,
        connection: ConnId,
        session: &mut Session,
        urgent: bool,
        known: &Known,
        options: &PipelineOptions,
    ) -> Next {
        let generation = options.secrets.generation();
        let flow = session.flow();
        let reach = session.reach();
        let Some(sought) = session.decoder.sought() else {
            return Next::Wait;
        };
        if self.generation != generation {
            *self = Self {
                generation,
                asked: self.asked,
                ..Self::default()
            };
        }
        if options.secrets.counts().is_empty() {
            return Next::Nothing;
        }
        let first = if known.live { FIRST_LIVE_BYTES } else { FIRST_BYTES };
        let total: u64 = sought
            .runs
            .iter()
            .flatten()
            .map(|(_, run)| run.len() as u64)
            .sum();
        // Where both ends were looked for with some of their bytes, and neither was found, the secret is not there; it is not that
        // both are in the middle of a large frame.
        let settled = sought.only.is_none() && sought.runs.iter().all(|runs| !runs.is_empty());
        if self.level == Level::First {
            self.level = Level::All;
        } else if self.level == Level::Deep && self.bytes > 0 && settled {
            return Next::Nothing;
        } else if urgent && self.bytes >= total {
            let port_fits = [flow.low.port, flow.high.port]
                .iter()
                .any(|port| known.ports.contains(port) || options.ports.contains(port));
            // Elsewhere it may be anything: what is no RLPx is not worth a search of many gigabytes.
            let worth = port_fits || known.ports.is_empty() || sought.only.is_some();
            if self.level == Level::Deep || !worth || reach.min(options.attach.reach) <= SHALLOW {
                return Next::Nothing;
            }
            self.level = Level::Deep;
            self.done = [0; 2];
            self.bytes = 0;
        } else if !urgent && total < 2 * self.bytes.max(first as u64) {
            return Next::Wait;
        }
        let most = match self.bytes {
            0 if self.level == Level::All => FIRST_BYTES,
            0 => FIRST_DEEP_BYTES,
            _ => usize::MAX,
        };
        let mut request = SearchRequest {
            only: sought.only.as_ref().map(Candidate::id),
            reach,
            ..SearchRequest::default()
        };
        let mut bytes = 0;
        for (side, runs) in sought.runs.iter().enumerate() {
            let mut room = most;
            for (start, run) in runs {
                // Windows that reach into what was looked at are new if they end behind it.
                let skip = self.done[side].saturating_sub(start.0 + 15).min(run.len() as u64) as usize;
                let piece = &run[skip..run.len().min(skip.saturating_add(room))];
                room -= piece.len();
                bytes += piece.len() as u64;
                let offset = StreamOffset(start.0 + skip as u64);
                if !piece.is_empty() {
                    request.runs[side].push((offset, piece.to_vec()));
                    self.done[side] = self.done[side].max(offset.0 + piece.len() as u64);
                }
            }
        }
        self.bytes = if most == usize::MAX { total } else { bytes };
        self.asked = true;
        Next::Search(Wanted {
            connection,
            flow,
            request,
            deep: self.level == Level::Deep,
        })
    }

    /// Whether an answer is still to come.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked
    }

    /// The answer has come.
    pub(crate) fn answered(&mut self) {
        self.asked = false;
    }

    /// Windows up to these offsets were looked at in vain.
    pub(crate) fn done(&self) -> [StreamOffset; 2] {
        self.done.map(|done| StreamOffset(done.saturating_sub(15)))
    }
}

/// Decides when to stop, and searches.
pub(crate) struct Seeker {
    options: Arc<PipelineOptions>,
    next_point: u64,
    bytes: u64,
    ports: BTreeSet<u16>,
    /// Secrets that opened a connection, and which; `None` if that were several, so that it may be any.
    used: HashMap<SecretId, Option<FlowKey>>,
    budget: u64,
    spent: u64,
    exhausted: bool,
}

impl Seeker {
    pub(crate) fn new(options: Arc<PipelineOptions>) -> Self {
        Self {
            budget: options.attach.budget,
            options,
            next_point: FIRST_POINT,
            bytes: 0,
            ports: BTreeSet::new(),
            used: HashMap::new(),
            spent: 0,
            exhausted: false,
        }
    }

    /// Whether the workers are to stop behind a batch of so many bytes.
    pub(crate) fn is_due(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        let due = self.bytes >= self.next_point;
        if due {
            self.next_point = self.bytes + self.bytes.min(POINT);
        }
        due
    }

    /// What the workers have to know.
    pub(crate) fn known(&self) -> Known {
        Known {
            pressed: self.options.sessions.waiting.is_pressed(),
            ports: self.ports.clone(),
            live: false,
        }
    }

    /// Notes ports and secrets of sessions that were recognised.
    pub(crate) fn note(&mut self, replies: &mut [Reply]) {
        for reply in replies {
            self.ports.extend(reply.ports.drain(..));
            for (secret, flow) in reply.used.drain(..) {
                self.used
                    .entry(secret)
                    .and_modify(|known| *known = known.filter(|known| *known == flow))
                    .or_insert(Some(flow));
            }
        }
    }

    /// Secrets that any of these flows may have: one that opened another connection is not theirs.
    pub(crate) fn free(&self, candidates: &[Candidate], flows: &BTreeSet<FlowKey>) -> Vec<Candidate> {
        let free = |candidate: &&Candidate| {
            let used = self.used.get(&candidate.id()).copied().flatten();
            used.is_none_or(|flow| flows.contains(&flow))
        };
        candidates.iter().filter(free).cloned().collect()
    }

    pub(crate) fn options(&self) -> &Arc<PipelineOptions> {
        &self.options
    }

    /// Counts what a search cost that somebody else made.
    pub(crate) fn spend(&mut self, blocks: u64) {
        self.spent = self.spent.saturating_add(blocks);
    }

    /// Whether more was spent than `earned` and the budget allow.
    pub(crate) fn is_poor(&self, earned: u64) -> bool {
        self.spent >= self.budget.saturating_add(earned)
    }

    /// From now on no more than `blocks` may be spent.
    pub(crate) fn allow_at_most(&mut self, blocks: u64) {
        self.budget = self.budget.max(self.spent).min(self.spent.saturating_add(blocks));
    }

    /// Takes what all workers say, in any order; their answers come in the same order, `None` if there was nothing to look for.
    pub(crate) fn answer(&mut self, mut replies: Vec<Reply>) -> Option<Vec<Answers>> {
        self.note(&mut replies);
        if replies.iter().all(|reply| reply.wanted.is_empty()) {
            return None;
        }
        let candidates = self.options.secrets.all();
        let mut answers: Vec<Answers> = replies.iter().map(|_| Vec::new()).collect();
        let mut all: Vec<(usize, Wanted)> = replies
            .into_iter()
            .enumerate()
            .flat_map(|(worker, reply)| reply.wanted.into_iter().map(move |wanted| (worker, wanted)))
            .collect();
        // What the budget still allows must not depend on which worker has which flow.
        all.sort_by_key(|(_, wanted)| (wanted.flow, wanted.connection));
        for deep in [false, true] {
            let (group, rest): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|(_, wanted)| wanted.deep == deep);
            all = rest;
            let limits = SearchLimits {
                jobs: self.options.jobs,
                budget: self.budget.saturating_sub(self.spent),
            };
            let (requests, owners): (Vec<_>, Vec<_>) = group
                .into_iter()
                .map(|(worker, wanted)| (wanted.request, (worker, wanted.connection, wanted.flow)))
                .unzip();
            if requests.is_empty() {
                continue;
            }
            let outcome = if deep {
                let flows: BTreeSet<FlowKey> = owners.iter().map(|(_, _, flow)| *flow).collect();
                let free = self.free(&candidates, &flows);
                search(&requests, &free, SHALLOW..self.options.attach.reach, limits)
            } else {
                let blocks = 0..SHALLOW.min(self.options.attach.reach);
                search(&requests, &candidates, blocks, limits)
            };
            self.spent += outcome.spent;
            self.exhausted |= outcome.exhausted;
            for ((worker, connection, _), answer) in owners.into_iter().zip(outcome.answers) {
                answers[worker].push((connection, answer));
            }
        }
        Some(answers)
    }

    /// Bytes of key stream that were searched so far.
    pub(crate) fn searched(&self) -> u64 {
        self.spent.saturating_mul(16)
    }

    /// Bytes of key stream that were searched, and whether the budget was used up.
    pub(crate) fn spent(&self) -> (u64, bool) {
        (self.searched(), self.exhausted)
    }
}
