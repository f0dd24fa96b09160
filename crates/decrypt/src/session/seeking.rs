//! Sessions without a whole handshake: joined in their middle, at a place that somebody else finds.
//!
//! A search costs passes over key streams, which all sessions of a run share, so the decoder does not search: it shows what it holds
//! with [`SessionDecoder::sought`], and is told with [`SessionDecoder::attach`].

use std::sync::Arc;

use bftap_model::{Direction, Side, StreamOffset};

use super::{Attached, Fits, Known, Opened, Phase, SessionDecoder, likely_initiator};
use crate::backlog::{Backlog, Part};
use crate::frame::{FrameReader, MacCheck};
use crate::keystream::Keystream;
use crate::opened::OpenSession;
use crate::problem::{Problem, ProblemKind};
use crate::secret_store::{Candidate, SecretStore};

/// What waits for its place.
#[derive(Debug)]
pub(super) struct Seeking {
    pub(super) backlogs: [Backlog; 2],
    /// It begins like a handshake.
    pub(super) looks_like_rlpx: bool,
    /// Its handshake is there, and what came of it; but a gap swallowed the first headers.
    pub(super) handshake: Option<(Known, Fits)>,
    /// All was searched in vain: nothing is held until the secrets are of a later generation than this one.
    dormant: Option<u64>,
}

/// What a search for a session's place has to go by. Pairs are by [`Side::index`].
#[derive(Debug)]
pub struct Sought<'a> {
    /// The bytes of each side that has no place yet, from gap to gap, each run with its offset.
    pub runs: [Vec<(StreamOffset, &'a [u8])>; 2],
    /// The only secret that it can be, where the other side has its place already.
    pub only: Option<Candidate>,
}

/// Where a frame starts, found by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundPlace {
    /// In the stream.
    pub offset: StreamOffset,
    /// Block of the header in the key stream.
    pub block: u64,
}

/// Bytes that a session without a handshake may always hold: more than most searches need.
const FLOOR: usize = 64 << 10;

impl Seeking {
    pub(super) fn new(backlogs: [Backlog; 2], looks_like_rlpx: bool) -> Self {
        Self {
            backlogs,
            looks_like_rlpx,
            handshake: None,
            dormant: None,
        }
    }

    pub(super) fn behind_handshake(backlogs: [Backlog; 2], handshake: Known, fits: Fits) -> Self {
        Self {
            handshake: Some((handshake, fits)),
            ..Self::new(backlogs, true)
        }
    }
}

impl SessionDecoder {
    /// What has no place in the key stream yet; `None` if that is nothing.
    pub fn sought(&self) -> Option<Sought<'_>> {
        let sought = match &self.phase {
            Phase::Seeking(seeking) => Sought {
                runs: seeking.backlogs.each_ref().map(Backlog::runs),
                only: None,
            },
            Phase::Open(open) => Sought {
                runs: Side::BOTH.map(|side| {
                    let reader = open.messages.readers()[open.direction(side).index()];
                    if reader.is_unplaced() {
                        reader.runs()
                    } else {
                        Vec::new()
                    }
                }),
                only: Some(open.candidate.clone()),
            },
            Phase::Handshake(_) | Phase::Waiting(_) | Phase::Closed { .. } => return None,
        };
        sought.runs.iter().any(|runs| !runs.is_empty()).then_some(sought)
    }

    /// Tells at which places frames start under this secret; by [`Side::index`].
    ///
    /// Bytes before the places are lost. A side without a place is held until it has one. Without effect on a session that another secret
    /// has opened meanwhile.
    pub fn attach(&mut self, candidate: &Candidate, places: [Option<FoundPlace>; 2]) {
        if let Phase::Seeking(seeking) = &mut self.phase {
            let backlogs = std::mem::take(&mut seeking.backlogs);
            let handshake = seeking.handshake.take().map(|(known, _)| known);
            self.open_midstream(candidate, handshake, &backlogs);
        }
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        if open.candidate.id() != candidate.id() {
            return;
        }
        for side in Side::BOTH {
            if let Some(place) = places[side.index()] {
                let direction = open.direction(side);
                open.messages.attach(direction, place.offset, place.block);
            }
        }
    }

    /// Opens the session with a secret, both directions without a place.
    pub(super) fn open_midstream(
        &mut self,
        candidate: &Candidate,
        handshake: Option<Known>,
        backlogs: &[Backlog; 2],
    ) {
        let told = self.told_with(candidate);
        let initiator = match (&handshake, &told) {
            (Some(handshake), _) => handshake.split.initiator,
            (None, Some(told)) => told.initiator,
            (None, None) => self.syn_from.unwrap_or_else(|| likely_initiator(&self.key)),
        };
        let readers = [initiator, initiator.other()].map(|side| {
            let backlog = &backlogs[side.index()];
            let mac = if self.options.verify_mac {
                MacCheck::Unverifiable
            } else {
                MacCheck::Skipped
            };
            let keystream = Keystream::new(&candidate.secrets.aes);
            let mut reader = FrameReader::unplaced(keystream, StreamOffset(0), mac);
            for part in backlog.parts_from(0) {
                match part {
                    Part::Data(bytes, seen) => reader.push(bytes, seen),
                    Part::Gap(len) => reader.gap(len),
                }
            }
            reader
        });
        let mut messages = OpenSession::new(readers, &self.options);
        messages.hold_unplaced(self.options.seeking_limit / 2);
        if let Some(told) = &told {
            messages.remember(told.hellos.clone());
        }
        self.phase = Phase::Open(Box::new(Opened {
            handshake,
            initiator,
            attached: Attached::Midstream,
            candidate: candidate.clone(),
            source: Arc::clone(&candidate.source),
            unused_candidates: 0,
            messages,
            told,
        }));
        self.charge.set(0);
        if self.dropped_bytes > 0 {
            let limit = self.options.seeking_limit;
            self.problems
                .push_back(Problem::of_session(ProblemKind::WaitingLimit { limit }));
        }
        self.tell_ends();
    }

    /// Tells that no frame starts before these offsets; by [`Side::index`]. What is held there can go, once a secret is known.
    pub fn forget_before(&mut self, offsets: [StreamOffset; 2]) {
        if let Phase::Open(open) = &mut self.phase {
            for side in Side::BOTH {
                let direction = open.direction(side);
                open.messages.forget_before(direction, offsets[side.index()]);
            }
        }
    }

    /// Tells that no secret of this generation opens the session: nothing is held until others come. What is let go counts as
    /// [`dropped_bytes`](super::SessionSummary::dropped_bytes).
    pub fn give_up(&mut self, generation: u64) {
        if let Phase::Seeking(seeking) = &mut self.phase {
            seeking.dormant = Some(generation);
            for backlog in &mut seeking.backlogs {
                self.dropped_bytes += backlog.forget();
            }
            self.charge.set(0);
        }
    }

    /// Takes what comes while the place is unknown.
    pub(super) fn hold_for_search(&mut self, side: Side, part: Part<'_>, secrets: &SecretStore) {
        let Phase::Seeking(seeking) = &mut self.phase else {
            return;
        };
        if let Some(generation) = seeking.dormant {
            if secrets.generation() == generation {
                let backlog = &mut seeking.backlogs[side.index()];
                match part {
                    Part::Data(bytes, _) => {
                        backlog.gap(bytes.len() as u64);
                        self.dropped_bytes += bytes.len() as u64;
                    }
                    Part::Gap(len) => backlog.gap(len),
                }
                return;
            }
            seeking.dormant = None;
        }
        let held: usize = seeking.backlogs.iter().map(Backlog::held).sum();
        let backlog = &mut seeking.backlogs[side.index()];
        match part {
            Part::Data(bytes, seen) => {
                let own = self.options.seeking_limit.saturating_sub(held);
                let room = own.min(self.options.waiting.room().max(FLOOR.saturating_sub(held)));
                let kept = bytes.len().min(room);
                backlog.push(&bytes[..kept], seen);
                if kept < bytes.len() {
                    let dropped = (bytes.len() - kept) as u64;
                    backlog.gap(dropped);
                    self.dropped_bytes += dropped;
                }
            }
            Part::Gap(len) => backlog.gap(len),
        }
        let held = seeking.backlogs.iter().map(Backlog::held).sum();
        self.charge.set(held);
    }

    pub(super) fn tell_ends(&mut self) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        for side in Side::BOTH {
            if self.ended[side.index()] {
                open.messages.end(open.direction(side));
            }
        }
    }
}

impl Opened {
    #[inline]
    pub(super) fn direction(&self, side: Side) -> Direction {
        if side == self.initiator {
            Direction::FromInitiator
        } else {
            Direction::FromRecipient
        }
    }
}
