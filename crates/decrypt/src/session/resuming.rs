//! A session that an earlier run left open: where its frames were, and what was told in it.
//!
//! Nothing of that is believed before a header of the session, decrypted with its secret, was found where it must be. What cannot be
//! confirmed is left alone, and the session is looked for like any other.

use std::sync::Arc;

use bftap_model::{Direction, Side, StreamOffset};

use super::{Chain, FoundPlace, Phase, SessionDecoder};
use crate::frame::{Examination, MAX_GAP, RememberedPlace, Verdict};
use crate::hello::Hello;
use crate::keystream::Keystream;
use crate::secret_store::Candidate;

/// What was told in a session, and by whom. Pairs are by [`Direction::index`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The end that dialled.
    pub initiator: Side,
    /// Hello of each end.
    pub hellos: [Option<Arc<Hello>>; 2],
    /// Klaytn's and Kaia's connection-type bytes.
    pub connection_types: [Option<u8>; 2],
    /// The chain, from Status.
    pub chain: Option<Chain>,
}

/// A session to be gone on with.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// The secret that opened it.
    pub candidate: Candidate,
    /// Where its frames are, by [`Side::index`].
    pub places: [Option<RememberedPlace>; 2],
    /// What was told in it.
    pub told: Told,
}

/// Bytes of a side that may come before a remembered place is taken for one that will not be confirmed soon: dozens of frames of consensus.
const PATIENCE: usize = 64 << 10;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Resuming {
    candidate: Candidate,
    told: Told,
    keystream: Keystream,
    /// By [`Side::index`].
    places: [Option<Examination>; 2],
    /// Bytes seen when it is time to look again.
    next_look: u64,
}

impl SessionDecoder {
    /// Tells what an earlier run knew of this session. Without effect once the session is opened.
    ///
    /// It is believed when the bytes confirm it, perhaps only with later ones.
    pub fn resume(&mut self, remembered: Remembered) {
        if matches!(self.phase, Phase::Open(_) | Phase::Closed { .. }) {
            return;
        }
        self.resuming = Some(Box::new(Resuming {
            keystream: Keystream::new(&remembered.candidate.secrets.aes),
            candidate: remembered.candidate,
            told: remembered.told,
            places: remembered.places.map(|place| place.map(Examination::new)),
            next_look: 0,
        }));
        for side in Side::BOTH {
            self.try_remembered(side);
        }
    }

    /// Tells a place that [`resume`](Self::resume) left out, because it was not known yet where this side's stream begins.
    pub fn resume_side(&mut self, side: Side, place: RememberedPlace) {
        if let Some(resuming) = &mut self.resuming {
            resuming.places[side.index()] = Some(Examination::new(place));
            resuming.next_look = 0;
            self.try_remembered(side);
        }
    }

    /// Whether a remembered place of this side may still turn out right.
    #[inline]
    pub fn is_awaited(&self, side: Side) -> bool {
        self.resuming
            .as_ref()
            .is_some_and(|resuming| resuming.places[side.index()].is_some())
    }

    /// Whether remembered places may still turn out right, so that there is nothing to search for yet.
    pub fn is_resuming(&self) -> bool {
        let Some(resuming) = &self.resuming else {
            return false;
        };
        let Some(sought) = self.sought() else { return false };
        Side::BOTH.into_iter().all(|side| {
            let examined = resuming.places[side.index()].as_ref();
            let open = examined.is_some_and(|place| place.remembered().is_some());
            let runs = &sought.runs[side.index()];
            let held: usize = runs.iter().map(|(_, run)| run.len()).sum();
            runs.is_empty() || (open && !self.ended[side.index()] && held < PATIENCE)
        })
    }

    /// What a later run has to know to go on with this session, as far as it is known: `None` if the session was not opened, and
    /// what an earlier run remembers of it was not refuted either.
    pub fn to_remember(&self) -> Option<Remembered> {
        let unconfirmed = |side: Side| {
            let resuming = self.resuming.as_ref()?;
            resuming.places[side.index()].as_ref()?.remembered()
        };
        let Phase::Open(open) = &self.phase else {
            let resuming = self.resuming.as_ref()?;
            let places = Side::BOTH.map(unconfirmed);
            return places.iter().any(Option::is_some).then(|| Remembered {
                candidate: resuming.candidate.clone(),
                places,
                told: resuming.told.clone(),
            });
        };
        let readers = open.messages.readers();
        let places = Side::BOTH.map(|side| {
            let known = readers[open.direction(side).index()].known_place();
            let known = known.and_then(|(offset, block)| {
                // Sequence numbers do not tell places apart that are further away.
                let near = self.positions[side.index()].saturating_sub(offset.0) < MAX_GAP;
                let offset = i64::try_from(offset.0).ok().filter(|_| near)?;
                Some(RememberedPlace { offset, block })
            });
            known.or_else(|| unconfirmed(side))
        });
        let summary = self.summary();
        Some(Remembered {
            candidate: open.candidate.clone(),
            places,
            told: Told {
                initiator: open.initiator,
                hellos: summary.hellos,
                connection_types: summary.connection_types,
                chain: summary.chain,
            },
        })
    }

    /// Where reading of a side began that was joined in its middle: offset of the first frame in the stream, and block of its header.
    pub fn joined_at(&self, side: Side) -> Option<(StreamOffset, u64)> {
        let Phase::Open(open) = &self.phase else {
            return None;
        };
        open.messages.readers()[open.direction(side).index()].joined_at()
    }

    /// Bytes of a side that have come and complete no frame yet.
    pub fn incomplete_bytes(&self, side: Side) -> u64 {
        let Phase::Open(open) = &self.phase else {
            return 0;
        };
        open.messages.readers()[open.direction(side).index()].incomplete_bytes()
    }

    /// Looks whether the bytes of this side confirm a remembered place by now.
    pub(super) fn try_remembered(&mut self, side: Side) {
        let Some(mut resuming) = self.resuming.take() else {
            return;
        };
        let seen: u64 = self.stream_bytes.iter().sum();
        let ended = self.ended[side.index()];
        if let Phase::Open(open) = &self.phase
            && (open.candidate.id() != resuming.candidate.id()
                || !open.messages.readers().iter().any(|reader| reader.is_unplaced()))
        {
            return;
        }
        let mut found = None;
        if let Some(examination) = &mut resuming.places[side.index()]
            && (ended || seen >= resuming.next_look)
        {
            let runs = self.unplaced(side);
            if !runs.is_empty()
                && let Verdict::Found(offset, block) = examination.look(&runs, &mut resuming.keystream, ended)
            {
                found = Some(FoundPlace { offset, block });
                resuming.places[side.index()] = None;
            }
            // Finding the runs takes as long as there are bytes, so it is not done for every byte that comes.
            let held: u64 = runs.iter().map(|(_, run)| run.len() as u64).sum();
            resuming.next_look = seen + held / 8;
        }
        let candidate = found.map(|_| resuming.candidate.clone());
        self.resuming = Some(resuming);
        if let (Some(candidate), Some(place)) = (candidate, found) {
            let backlogs = match &mut self.phase {
                Phase::Handshake(backlogs) => Some(std::mem::take(backlogs)),
                Phase::Waiting(waiting) => Some(std::mem::take(&mut waiting.backlogs)),
                Phase::Seeking(seeking) => Some(std::mem::take(&mut seeking.backlogs)),
                Phase::Open(_) | Phase::Closed { .. } => None,
            };
            if let Some(backlogs) = backlogs {
                self.open_midstream(&candidate, None, &backlogs);
            }
            let mut places = [None; 2];
            places[side.index()] = Some(place);
            self.attach(&candidate, places);
            self.try_remembered(side.other());
        }
    }

    /// Bytes of a side that have no place.
    fn unplaced(&self, side: Side) -> Vec<(StreamOffset, &[u8])> {
        match &self.phase {
            Phase::Handshake(backlogs) => backlogs[side.index()].runs(),
            Phase::Waiting(waiting) => waiting.backlogs[side.index()].runs(),
            Phase::Seeking(seeking) => seeking.backlogs[side.index()].runs(),
            Phase::Open(open) => {
                let reader = open.messages.readers()[open.direction(side).index()];
                if reader.is_unplaced() {
                    reader.runs()
                } else {
                    Vec::new()
                }
            }
            Phase::Closed { .. } => Vec::new(),
        }
    }

    /// What is remembered of a session with this secret.
    pub(super) fn told_with(&self, candidate: &Candidate) -> Option<Told> {
        let resuming = self.resuming.as_ref()?;
        (resuming.candidate.id() == candidate.id()).then(|| resuming.told.clone())
    }
}

impl Told {
    /// What is known of a session in which nothing was told.
    pub fn nothing(initiator: Side) -> Self {
        Self {
            initiator,
            hellos: [None, None],
            connection_types: [None; 2],
            chain: None,
        }
    }

    /// How many Hellos are known.
    pub fn hello_count(&self) -> u8 {
        [Direction::FromInitiator, Direction::FromRecipient]
            .into_iter()
            .map(|direction| u8::from(self.hellos[direction.index()].is_some()))
            .sum()
    }
}
