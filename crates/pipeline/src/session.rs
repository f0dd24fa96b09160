//! One session on its worker: the decoder, and what is kept about its messages.

mod judging;

use std::collections::VecDeque;
use std::sync::Arc;

use bftap_analysis::facts::EventFact;
use bftap_analysis::{
    ChainId, Observation, Occurrence, Payload, SessionInfo, SessionKey, Spoken, WorkerTotals,
};
use bftap_capture::connection::ConnectionSummary;
use bftap_decrypt::hello::Family as HelloFamily;
use bftap_decrypt::{
    Problem, ProblemKind, SecretStore, SessionDecoder, SessionOptions, SessionOutput, SessionSummary,
};
use bftap_ibft_decode::{DecodeError, Family};
use bftap_model::{
    CaptureTime, Direction, FlowKey, MacState, Meaning, Origin, SeqNumber, Side, StreamOffset, WireMessage,
};

use crate::breaks::Breaks;
use crate::covered::{Covered, Place};
use crate::journal::Part;
use crate::meanings::Meanings;
use crate::options::{PipelineOptions, Selection};
use crate::payload_cache::PayloadCache;
use crate::raw::RawMessage;
use crate::returning::{Left, Returning};
use crate::seek::SeekState;

/// What a session needs of its worker.
pub(crate) struct Surroundings<'w> {
    pub(crate) options: &'w PipelineOptions,
    pub(crate) cache: &'w PayloadCache,
    pub(crate) covered: &'w mut Covered,
    pub(crate) totals: &'w mut WorkerTotals,
    pub(crate) out: &'w mut Vec<Observation>,
}

/// Where the bytes that were just pushed end, for messages that they complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pushed {
    pub(crate) side: Side,
    pub(crate) end: StreamOffset,
}

/// A message whose packet may still be seen at another tap.
#[derive(Debug)]
struct Pending {
    side: Side,
    end: StreamOffset,
    occurrence: Occurrence,
}

/// Frames of one code, as the session means it.
#[derive(Debug)]
struct CodeCount {
    code: u64,
    meaning: Meaning,
    frames: u64,
    bytes: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Session {
    id: SessionKey,
    key: FlowKey,
    pub(crate) decoder: SessionDecoder,
    told: Option<SessionInfo>,
    /// By [`Direction::index`]: something besides Hello was said, before any Disconnect.
    went_on: [bool; 2],
    /// The same when `told` was made.
    told_on: [bool; 2],
    /// By [`Direction::index`]: Disconnect was said.
    left: [bool; 2],
    /// Hello or Status came since `told` was made.
    stale: bool,
    covered: Option<Place>,
    meanings: Meanings,
    codes: Vec<CodeCount>,
    pending: VecDeque<Pending>,
    /// When something may be missing.
    breaks: Breaks,
    /// When Hello and Status of each direction were seen.
    hellos_seen: [Option<CaptureTime>; 2],
    statuses_seen: [Option<CaptureTime>; 2],
    /// Consensus messages by [`Direction::index`].
    spoken: [Spoken; 2],
    /// The highest heights of them.
    tops: [u64; 2],
    /// Search for a place in the key stream.
    pub(crate) seek: SeekState,
    /// Its port and secret were told.
    pub(crate) announced: bool,
    /// An earlier run left it open.
    pub(crate) returning: Option<Box<Returning>>,
    /// What came of it before the program was killed.
    pub(crate) part: Option<Arc<Part>>,
    /// Sequence numbers of offset 0 by side; known only where messages are wanted as they were on the wire.
    pub(crate) starts: [Option<SeqNumber>; 2],
}

impl Session {
    pub(crate) fn new(
        id: SessionKey,
        key: FlowKey,
        syn_from: Option<Side>,
        options: &Arc<SessionOptions>,
    ) -> Self {
        Self {
            id,
            key,
            decoder: SessionDecoder::new(Arc::clone(options), key, syn_from),
            told: None,
            went_on: [false; 2],
            told_on: [false; 2],
            left: [false; 2],
            stale: true,
            covered: None,
            meanings: Meanings::default(),
            codes: Vec::new(),
            pending: VecDeque::new(),
            breaks: Breaks::default(),
            hellos_seen: [None; 2],
            statuses_seen: [None; 2],
            spoken: [Spoken::default(); 2],
            tops: [0; 2],
            seek: SeekState::default(),
            announced: false,
            returning: None,
            part: None,
            starts: [None; 2],
        }
    }

    pub(crate) fn flow(&self) -> FlowKey {
        self.key
    }

    /// Blocks of key stream that it can have used at most, where the beginning of the connection was seen.
    ///
    /// With a margin: if one end's SYN is missing, its stream may have begun before its first byte here.
    pub(crate) fn reach(&self) -> u64 {
        if self.decoder.saw_syn() {
            let end = self.decoder.positions().into_iter().max().unwrap_or(0);
            end / 16 + REACH_MARGIN
        } else {
            u64::MAX
        }
    }

    /// Tells the decoder what an earlier run left, as far as the sequence numbers of offset 0 are known.
    #[inline]
    pub(crate) fn resume(&mut self, starts: impl FnOnce() -> [Option<SeqNumber>; 2], secrets: &SecretStore) {
        if let Some(returning) = &mut self.returning
            && returning.is_untold()
        {
            returning.tell(starts(), &mut self.decoder, secrets);
        }
    }

    /// Leaves to a later run what it has to know.
    pub(crate) fn leave(&self, flow: &ConnectionSummary, left: &mut Left) {
        let returning = self.returning.as_deref();
        left.note(self.key, flow, &self.decoder, &self.meanings, returning);
    }

    /// Bytes of this side are missing from here on.
    pub(crate) fn gap(&mut self, side: Side, seen: CaptureTime) {
        self.breaks.gap(self.decoder.direction(side), seen);
    }

    /// Takes everything that the decoder has ready.
    ///
    /// With `hold`, messages wait for a second sight of the packet that completed them.
    pub(crate) fn drain(&mut self, pushed: Option<Pushed>, hold: bool, around: &mut Surroundings<'_>) {
        if let Some(returning) = &mut self.returning {
            returning.understand(&self.decoder, &mut self.meanings);
        }
        while let Some(output) = self.decoder.poll() {
            let message = match output {
                SessionOutput::Message(message) => message,
                SessionOutput::Problem(problem) => {
                    self.problem(&problem, around);
                    continue;
                }
            };
            let frame = FrameFacts::of(&message);
            self.breaks.read(frame.direction, frame.origin.seen);
            let way = frame.direction.index();
            match message.meaning {
                Meaning::Base { name: "Hello" } => {}
                Meaning::Base { name: "Disconnect" } => self.left[way] = true,
                _ => self.went_on[way] |= !self.left[way],
            }
            // Until the secret is named, which Hello brings about, nothing can have been read before.
            if !self.stale
                && let Some(place) = self.covered
                && !around
                    .covered
                    .note(place, frame.direction, frame.block, frame.next_block)
            {
                continue;
            }
            count_code(&mut self.codes, &message);
            match &message.meaning {
                Meaning::Base { name: "Hello" } => {
                    self.stale = true;
                    self.meanings.hellos += 1;
                    self.hellos_seen[frame.direction.index()].get_or_insert(frame.origin.seen);
                    continue;
                }
                Meaning::Sub { name: "Status", .. } => {
                    self.stale = true;
                    self.statuses_seen[frame.direction.index()].get_or_insert(frame.origin.seen);
                    continue;
                }
                Meaning::Base { .. } => continue,
                Meaning::Sub { .. } | Meaning::Unknown => {}
            }
            let decoded = self
                .meanings
                .decode(&message, around.options.dialect, around.cache);
            let raw = match &decoded {
                Some((Ok(payload), _)) if around.options.raw.is_some() => {
                    Raw::of(&message, payload, &self.meanings, &around.options.selection)
                }
                _ => None,
            };
            if self.stale || self.went_on != self.told_on {
                let uncovered = self.stale;
                self.refresh(around);
                if uncovered
                    && let Some(place) = self.covered
                    && !around
                        .covered
                        .note(place, frame.direction, frame.block, frame.next_block)
                {
                    continue;
                }
            }
            match decoded {
                None => {}
                Some((Ok(payload), _)) => {
                    if let Some(raw) = raw {
                        self.tell_raw(raw, &payload, &frame, around.options);
                    }
                    self.consensus(payload, &frame, pushed, hold, around);
                }
                Some((Err(error), offset)) => self.undecodable(&error, offset, &frame, around),
            }
        }
    }

    /// Tells who is at the ends, and on which chain, if that changed.
    fn refresh(&mut self, around: &mut Surroundings<'_>) {
        self.stale = false;
        self.told_on = self.went_on;
        let summary = self.decoder.summary();
        self.covered = summary.secret_id.map(|id| around.covered.place((self.key, id)));
        if let (Some(place), Some(saved)) = (self.covered, self.saved_before())
            && Some(saved.secret) == summary.secret_id
        {
            for direction in [Direction::FromInitiator, Direction::FromRecipient] {
                if let Some(before) = saved.places[direction.index()] {
                    around.covered.note(place, direction, 0, before.block);
                }
            }
        }
        let hello = summary.hellos.iter().flatten().next();
        self.meanings.refresh(hello.map(|hello| match hello.family() {
            HelloFamily::Klaytn => Family::Klaytn,
            HelloFamily::Ethereum => Family::Ethereum,
        }));
        let info = session_info(self.key, &summary, self.went_on);
        if self.told.as_ref() != Some(&info) {
            around
                .out
                .push(Observation::Session(self.id, Box::new(info.clone())));
            self.told = Some(info);
        }
    }

    fn consensus(
        &mut self,
        payload: Arc<Payload>,
        frame: &FrameFacts,
        pushed: Option<Pushed>,
        hold: bool,
        around: &mut Surroundings<'_>,
    ) {
        self.spoken[frame.direction.index()].note(frame.origin.seen);
        let sequence = payload.message.view.sequence;
        let stale = around.options.analysis.rules.is_stale(sequence, self.tops);
        let top = &mut self.tops[frame.direction.index()];
        *top = (*top).max(sequence);
        if !around
            .options
            .selection
            .covers(frame.origin.seen, payload.message.view.sequence)
        {
            return;
        }
        around.totals.consensus_messages += 1;
        let occurrence = Occurrence {
            session: self.id,
            direction: frame.direction,
            payload,
            seen: frame.origin.seen,
            arrived: None,
            wire_len: frame.wire_len,
            stale,
        };
        match pushed {
            // Only the packet at hand can be seen again; what waited for a secret has settled long ago.
            Some(Pushed { side, end }) if hold => self.pending.push_back(Pending {
                side,
                end,
                occurrence,
            }),
            _ => around.out.push(Observation::Message(occurrence)),
        }
    }

    /// Hands a message over as it was on the wire.
    fn tell_raw(&self, raw: Raw, payload: &Arc<Payload>, frame: &FrameFacts, options: &PipelineOptions) {
        let seen = frame.origin.seen;
        if let Some(sink) = &options.raw
            && options.selection.covers(seen, payload.message.view.sequence)
        {
            let summary = self.decoder.summary();
            let side = match frame.direction {
                Direction::FromInitiator => summary.initiator,
                Direction::FromRecipient => summary.initiator.other(),
            };
            // Sequence numbers wrap at 4 GiB, and so does this.
            let seq = self.starts[side.index()].map(|start| start.add(frame.origin.offset.0 as u32));
            sink.take(RawMessage {
                session: session_info(self.key, &summary, self.went_on),
                flow: self.key,
                side,
                direction: frame.direction,
                payload: Arc::clone(payload),
                local: raw.local,
                bytes: raw.bytes,
                offset: frame.origin.offset,
                seq,
                wire_len: frame.wire_len,
                seen,
                mac: raw.mac,
            });
        }
    }

    fn undecodable(
        &self,
        error: &DecodeError,
        offset: usize,
        frame: &FrameFacts,
        around: &mut Surroundings<'_>,
    ) {
        *around
            .totals
            .undecodable
            .entry(error.reason().to_owned())
            .or_default() += 1;
        let detail = format!("{}: {}", frame.origin, error.clone().shifted(offset));
        self.event(
            "undecodable",
            frame.origin.seen,
            Some(frame.direction),
            &detail,
            around,
        );
    }

    fn problem(&mut self, problem: &Problem, around: &mut Surroundings<'_>) {
        let rule = match &problem.kind {
            ProblemKind::Mac(_) => "mac_mismatch",
            ProblemKind::BadHeader => {
                self.breaks.gap(problem.direction, problem.origin.seen);
                "bad_header"
            }
            ProblemKind::PlaceLost(_) => {
                self.breaks.gap(problem.direction, problem.origin.seen);
                "place_lost"
            }
            ProblemKind::NoCode { .. } => {
                *around.totals.undecodable.entry("no_code".to_owned()).or_default() += 1;
                "undecodable"
            }
            ProblemKind::Snappy { .. } => {
                *around.totals.undecodable.entry("snappy".to_owned()).or_default() += 1;
                "undecodable"
            }
            ProblemKind::Hello(_) => "bad_hello",
            ProblemKind::Status(_) => "bad_status",
            ProblemKind::WaitingLimit { .. } => {
                *around
                    .totals
                    .limits
                    .entry("waiting_ciphertext".to_owned())
                    .or_default() += 1;
                "waiting_limit"
            }
            ProblemKind::FrameMemory { .. } => {
                *around
                    .totals
                    .limits
                    .entry("unfinished_frames".to_owned())
                    .or_default() += 1;
                "frame_memory"
            }
            _ => "session_unreadable",
        };
        let detail = format!("{}: {}", problem.origin, problem.kind);
        self.event(rule, problem.origin.seen, problem.direction, &detail, around);
    }

    fn event(
        &self,
        rule: &'static str,
        time: CaptureTime,
        direction: Option<Direction>,
        detail: &str,
        around: &mut Surroundings<'_>,
    ) {
        let info = session_info(self.key, &self.decoder.summary(), self.went_on);
        let [initiator, recipient] = info.ends;
        let (from, to) = match direction {
            Some(Direction::FromRecipient) => (recipient, initiator),
            Some(Direction::FromInitiator) | None => (initiator, recipient),
        };
        let mut event = EventFact::new(rule, time, format!("{from} to {to}, {detail}"));
        if rule == "undecodable" && direction.is_some() {
            let at = usize::from(direction == Some(Direction::FromRecipient));
            event.ip = Some(from.ip);
            event.node_id = info.node_ids[at];
            event.address = info.node_ids[at].map(|id| id.address());
            // Whether both Hellos told what the code means, or it is only inferred.
            event.numbers.insert("hellos", i64::from(self.meanings.hellos));
        }
        if let Some(chain) = info.chain {
            event.chain = chain.to_string().into();
        }
        around.out.push(Observation::Event(Box::new(event)));
    }

    /// The packet that carried the bytes up to `end` was seen at another tap.
    pub(crate) fn resight(&mut self, side: Side, end: StreamOffset, seen: CaptureTime) {
        for pending in self.pending.iter_mut().rev() {
            if pending.side == side && pending.end == end {
                let arrived = &mut pending.occurrence.arrived;
                *arrived = (*arrived).max(Some(seen));
            } else if pending.side == side && pending.end < end {
                break;
            }
        }
    }

    /// Gives up waiting for messages seen before `before`; all of them if it is `None`.
    pub(crate) fn settle(&mut self, before: Option<CaptureTime>, out: &mut Vec<Observation>) {
        while let Some(pending) = self.pending.front()
            && before.is_none_or(|before| pending.occurrence.seen < before)
        {
            out.extend(
                self.pending
                    .pop_front()
                    .map(|pending| Observation::Message(pending.occurrence)),
            );
        }
    }

    /// True while messages wait for a second sight.
    pub(crate) fn is_unsettled(&self) -> bool {
        !self.pending.is_empty()
    }
}

/// A mebibyte of stream.
const REACH_MARGIN: u64 = 1 << 16;

/// What is needed of a message when it is no longer borrowed.
struct FrameFacts {
    direction: Direction,
    origin: Origin,
    block: u64,
    next_block: u64,
    wire_len: u32,
}

impl FrameFacts {
    fn of(message: &WireMessage<'_>) -> Self {
        // 48 bytes of header and MACs, then the padded body; header and body take a block of key stream per 16 bytes.
        let body = u64::from(message.wire_len).saturating_sub(48);
        Self {
            direction: message.direction,
            origin: message.origin,
            block: message.block,
            next_block: message.block + 1 + body / 16,
            wire_len: message.wire_len,
        }
    }
}

/// What is kept of a message that somebody wants as it was on the wire.
struct Raw {
    bytes: Vec<u8>,
    local: u64,
    mac: MacState,
}

impl Raw {
    #[cold]
    fn of(
        message: &WireMessage<'_>,
        payload: &Payload,
        meanings: &Meanings,
        selection: &Selection,
    ) -> Option<Self> {
        if !selection.sequences.contains(&payload.message.view.sequence) {
            return None;
        }
        // Where Hello does not tell, it was inferred just now.
        let inferred = meanings.of_code(message.code);
        let local = match (&message.meaning, &inferred) {
            (Meaning::Sub { local, .. }, _) | (_, Meaning::Sub { local, .. }) => *local,
            _ => return None,
        };
        Some(Self {
            bytes: message.payload.to_vec(),
            local,
            mac: message.mac,
        })
    }
}

fn count_code(codes: &mut Vec<CodeCount>, message: &WireMessage<'_>) {
    let bytes = u64::from(message.wire_len);
    let found = codes
        .iter()
        .position(|count| count.code == message.code && same_meaning(&count.meaning, &message.meaning));
    let at = found.unwrap_or_else(|| {
        // A hostile peer may use every code there is; what comes when the list is full is counted under the last code.
        if codes.len() < MAX_CODES {
            codes.push(CodeCount {
                code: message.code,
                meaning: message.meaning.clone(),
                frames: 0,
                bytes: 0,
            });
        } else if codes.len() == MAX_CODES {
            codes.push(CodeCount {
                code: u64::MAX,
                meaning: Meaning::Unknown,
                frames: 0,
                bytes: 0,
            });
        }
        codes.len() - 1
    });
    codes[at].frames += 1;
    codes[at].bytes += bytes;
}

/// Codes that one session is expected to use: all capabilities together have fewer.
const MAX_CODES: usize = 256;

fn same_meaning(a: &Meaning, b: &Meaning) -> bool {
    match (a, b) {
        (Meaning::Sub { capability: a, .. }, Meaning::Sub { capability: b, .. }) => Arc::ptr_eq(a, b),
        (Meaning::Base { .. }, Meaning::Base { .. }) | (Meaning::Unknown, Meaning::Unknown) => true,
        _ => false,
    }
}

/// `went_on`: which ends said something besides Hello, before any Disconnect.
fn session_info(key: FlowKey, summary: &SessionSummary, went_on: [bool; 2]) -> SessionInfo {
    let accepts = |at: usize| {
        let hello = summary.hellos[at].as_ref();
        went_on[at] && !(at == 1 && hello.is_some_and(|hello| believes_anybody(&hello.client)))
    };
    SessionInfo {
        // Each end's key by the other's word.
        accepted: [accepts(1), accepts(0)],
        ends: [
            key.endpoint(summary.initiator),
            key.endpoint(summary.initiator.other()),
        ],
        node_ids: summary
            .hellos
            .each_ref()
            .map(|hello| hello.as_ref().map(|hello| hello.node_id)),
        clients: summary
            .hellos
            .each_ref()
            .map(|hello| hello.as_ref().map(|hello| hello.client.clone())),
        chain: summary.chain.map(|chain| ChainId {
            network_id: chain.network_id,
            genesis: chain.genesis,
        }),
    }
}

/// Whether a client takes whoever dials it at the word of its Hello.
///
/// geth and what grew from it compare (Klaytn v1.4.2 and GoQuorum v20.10.0 `p2p/server.go` `setupConn`: `DiscUnexpectedIdentity`). Besu does
/// so for peers that it dialled only: `rlpx/connections/netty/DeFramer.java`, where `expectedPeer` is empty for the others.
fn believes_anybody(client: &str) -> bool {
    client
        .get(..4)
        .is_some_and(|name| name.eq_ignore_ascii_case("besu"))
}
