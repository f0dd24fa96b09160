//! Sessions that an earlier run left open, and what this one leaves to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bftap_capture::connection::{CloseReason, ConnectionSummary};
use bftap_decrypt::{Remembered, RememberedPlace, SecretStore, SessionDecoder};
use bftap_model::{CaptureTime, FlowKey, SeqNumber, Side};

use crate::checkpoint::{Checkpoint, SavedInference, SavedPlace, SavedSession};
use crate::inferred::Inferred;
use crate::journal::Part;
use crate::meanings::Meanings;

/// The checkpoint that a run begins with; shared by all workers.
#[derive(Debug)]
pub(crate) struct Earlier {
    pub(crate) checkpoint: Arc<Checkpoint>,
    by_flow: BTreeMap<FlowKey, usize>,
}

/// A session that has a place in the checkpoint.
#[derive(Debug)]
pub(crate) struct Returning {
    earlier: Arc<Earlier>,
    index: usize,
    /// The decoder knows of it.
    begun: bool,
    /// Generation of the secrets among which its own was looked for.
    tried: Option<u64>,
    /// Sides whose place the decoder was told, by [`Side::index`].
    told: [bool; 2],
    /// What the session's codes mean was taken over.
    understood: bool,
}

/// What a worker leaves to the next run.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Connections that are not over, as they were when last heard of.
    sessions: BTreeMap<FlowKey, SavedSession>,
    /// Sessions of the earlier checkpoint of which something was seen: what it says of them is out of date.
    pub(crate) touched: BTreeSet<usize>,
}

impl Earlier {
    pub(crate) fn new(checkpoint: Arc<Checkpoint>) -> Self {
        Self {
            by_flow: checkpoint.index(),
            checkpoint,
        }
    }

    /// The session of a flow.
    pub(crate) fn find(&self, flow: &FlowKey) -> Option<usize> {
        self.by_flow.get(flow).copied()
    }
}

/// Sessions that were open when the program was killed; shared by all workers. Each goes on, or has ended, once.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    parts: Vec<Arc<Part>>,
    by_flow: BTreeMap<FlowKey, usize>,
    claimed: Vec<AtomicBool>,
}

impl Parts {
    pub(crate) fn new(parts: Vec<Part>) -> Self {
        let by_flow = |(index, part): (usize, &Part)| (part.flow, index);
        Self {
            by_flow: parts.iter().enumerate().map(by_flow).collect(),
            claimed: parts.iter().map(|_| AtomicBool::new(false)).collect(),
            parts: parts.into_iter().map(Arc::new).collect(),
        }
    }

    /// The part of a flow that has come up again; only the first time.
    pub(crate) fn claim(&self, flow: &FlowKey) -> Option<Arc<Part>> {
        let &index = self.by_flow.get(flow)?;
        let first = !self.claimed[index].swap(true, Ordering::Relaxed);
        first.then(|| Arc::clone(&self.parts[index]))
    }

    /// Those of which nothing has come up yet.
    pub(crate) fn unclaimed(&self) -> impl Iterator<Item = &Arc<Part>> {
        let all = self.parts.iter().zip(&self.claimed);
        all.filter(|(_, claimed)| !claimed.load(Ordering::Relaxed))
            .map(|(part, _)| part)
    }

    /// What the decoders of their sessions have to know.
    pub(crate) fn checkpoint(&self, seen: CaptureTime) -> Checkpoint {
        Checkpoint {
            seen,
            sessions: self.parts.iter().filter_map(|part| part.saved.clone()).collect(),
            payloads: Arc::default(),
        }
    }
}

impl Returning {
    pub(crate) fn new(earlier: &Arc<Earlier>, index: usize) -> Self {
        Self {
            earlier: Arc::clone(earlier),
            index,
            begun: false,
            tried: None,
            told: [false; 2],
            understood: false,
        }
    }

    fn saved(&self) -> &SavedSession {
        &self.earlier.checkpoint.sessions[self.index]
    }

    /// Whether the decoder is still to be told something.
    pub(crate) fn is_untold(&self) -> bool {
        self.told != [true; 2]
    }

    /// Tells the decoder what is known, as far as the sequence numbers of offset 0 are.
    pub(crate) fn tell(
        &mut self,
        starts: [Option<SeqNumber>; 2],
        decoder: &mut SessionDecoder,
        secrets: &SecretStore,
    ) {
        if starts == [None; 2] {
            return;
        }
        if !self.begun {
            let generation = secrets.generation();
            if self.tried == Some(generation) {
                return;
            }
            self.tried = Some(generation);
            let Some(candidate) = secrets.with_id(self.saved().secret) else {
                return;
            };
            self.begun = true;
            decoder.resume(Remembered {
                candidate,
                places: [None; 2],
                told: self.saved().told(),
            });
        }
        for side in Side::BOTH {
            let Some(start) = starts[side.index()].filter(|_| !self.told[side.index()]) else {
                continue;
            };
            self.told[side.index()] = true;
            if let Some(place) = self.saved().place(side) {
                let offset = i64::from(place.sequence.distance_from(start));
                let block = place.block;
                decoder.resume_side(side, RememberedPlace { offset, block });
            }
        }
    }

    /// Once the session is opened by the same secret, its codes mean what they meant.
    pub(crate) fn understand(&mut self, decoder: &SessionDecoder, meanings: &mut Meanings) {
        if self.understood {
            return;
        }
        let Some((_, secret)) = decoder.opened_by() else {
            return;
        };
        self.understood = true;
        let saved = self.saved();
        if saved.secret == secret {
            let inferred = saved.inferred.as_ref().and_then(Inferred::remembered);
            meanings.remember(saved.told().hello_count(), inferred);
        }
    }
}

impl Left {
    /// Takes note of a connection that is no longer followed.
    pub(crate) fn note(
        &mut self,
        flow: FlowKey,
        summary: &ConnectionSummary,
        decoder: &SessionDecoder,
        meanings: &Meanings,
        returning: Option<&Returning>,
    ) {
        if matches!(
            summary.reason,
            CloseReason::Fin | CloseReason::Rst | CloseReason::Replaced
        ) {
            self.sessions.remove(&flow);
        } else if let Some(session) = saved(flow, summary, decoder, meanings, returning)
            && self.sessions.len() < Checkpoint::SESSIONS
        {
            self.sessions.insert(flow, session);
        }
    }

    pub(crate) fn into_sessions(self) -> impl Iterator<Item = SavedSession> {
        self.sessions.into_values()
    }
}

/// What a later run has to know of a session, if it was opened or an earlier run left it open.
pub(crate) fn saved(
    flow: FlowKey,
    summary: &ConnectionSummary,
    decoder: &SessionDecoder,
    meanings: &Meanings,
    returning: Option<&Returning>,
) -> Option<SavedSession> {
    let Some(known) = decoder.to_remember() else {
        // Nothing said anything about it: neither its bytes nor, perhaps, its secret were there.
        let returning = returning.filter(|returning| !returning.begun)?;
        let mut saved = returning.saved().clone();
        saved.last_seen = saved.last_seen.max(summary.last_seen);
        return Some(saved);
    };
    let secret = known.candidate.id();
    let initiator = known.told.initiator;
    let earlier = returning.filter(|returning| returning.saved().secret == secret);
    let places = [initiator, initiator.other()].map(|side| {
        let untold = earlier.filter(|earlier| !earlier.told[side.index()]);
        match (known.places[side.index()], summary.starts[side.index()]) {
            (Some(place), Some(start)) => Some(SavedPlace {
                // Sequence numbers wrap, and so does this.
                sequence: start.add(place.offset as u32),
                block: place.block,
            }),
            _ => untold.and_then(|earlier| earlier.saved().place(side)),
        }
    });
    let inferred = meanings.inferred.as_ref().map(|inferred| SavedInference {
        dialect: inferred.dialect.name().to_owned(),
        offset: inferred.offset(),
        told: inferred.is_told(),
    });
    Some(SavedSession {
        initiator: flow.endpoint(initiator),
        recipient: flow.endpoint(initiator.other()),
        secret,
        last_seen: summary.last_seen,
        places,
        hellos: known.told.hellos,
        connection_types: known.told.connection_types,
        chain: known.told.chain,
        inferred: inferred.or_else(|| earlier?.saved().inferred.clone()),
    })
}
