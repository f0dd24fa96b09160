//! One TCP connection, from its streams to its messages.

use std::collections::VecDeque;
use std::sync::Arc;

use bftap_model::{
    Direction, FlowKey, Hash256, Origin, Side, StreamChunk, StreamItem, StreamOffset, WireMessage, keccak256,
};

use crate::backlog::{Backlog, Part};
use crate::frame::{FrameReader, MacCheck};
use crate::handshake::{Handshake, HeaderCheck, Hints, MAX_LOOK, Split, delimit};
use crate::keystream::{BLOCK_LEN, Keystream};
use crate::opened::OpenSession;
use crate::opening::{Door, Opening};
use crate::problem::{Problem, ProblemKind};
use crate::secret_store::{Candidate, SecretStore};
use crate::secrets::SecretId;

mod resuming;
mod seeking;
mod summary;
pub(crate) mod waiting_pool;

use resuming::Resuming;
pub use resuming::{Remembered, Told};
use seeking::Seeking;
pub use seeking::{FoundPlace, Sought};
use waiting_pool::Charge;
pub use waiting_pool::WaitingPool;

pub use summary::{Attached, Chain, Recognised, SessionSummary};

/// How sessions are decoded.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Whether MACs are checked where that is possible.
    pub verify_mac: bool,
    /// Bytes of one session that wait for a secret, in both directions together.
    pub waiting_limit: usize,
    /// Bytes of a session without a handshake that wait for its place, in both directions together.
    pub seeking_limit: usize,
    /// Bytes of all sessions that wait.
    pub waiting: WaitingPool,
    /// Bytes of all unfinished frames of more than 256 KiB; a frame may have up to 16 MiB, and the sender decides when it ends.
    pub frames: WaitingPool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            verify_mac: true,
            waiting_limit: 1 << 20,
            // No client takes messages of more than 12 MiB, so among so many bytes a header must be.
            seeking_limit: 16 << 20,
            waiting: WaitingPool::default(),
            frames: WaitingPool::new(1 << 30),
        }
    }
}

/// Decodes one TCP connection.
///
/// Call [`push`](Self::push) for every item of either stream, then [`poll`](Self::poll) until `None`; at the end [`finish`](Self::finish),
/// and poll again. Items of one side come in order; the two sides may be interleaved in any way, and for each direction the
/// messages are the same. In the steady state nothing is allocated per message.
#[derive(Debug)]
pub struct SessionDecoder {
    options: Arc<SessionOptions>,
    key: FlowKey,
    syn_from: Option<Side>,
    /// Who sent more than a connection-type byte first.
    spoke_first: Option<Side>,
    phase: Phase,
    /// What an earlier run remembers of the session.
    resuming: Option<Box<Resuming>>,
    problems: VecDeque<Problem>,
    /// By [`Side::index`].
    ended: [bool; 2],
    /// Where the streams are, by [`Side::index`].
    positions: [u64; 2],
    /// Bytes seen, by [`Side::index`].
    stream_bytes: [u64; 2],
    gaps: u64,
    /// Bytes missing, as gaps told.
    missing_bytes: u64,
    /// Bytes that came while too much was waiting.
    dropped_bytes: u64,
    /// It was told that there was no room for a frame.
    no_room_told: bool,
    charge: Charge,
}

/// How far a session has come. Pairs of backlogs are by [`Side::index`].
#[derive(Debug)]
enum Phase {
    /// The bytes so far may be a handshake.
    Handshake([Backlog; 2]),
    /// The handshake is there, a secret that opens it is not.
    Waiting(Box<Waiting>),
    /// The handshake is not there, and somebody may find where the frames are.
    Seeking(Box<Seeking>),
    /// Messages come out.
    Open(Box<Opened>),
    /// Never anything will.
    Closed { looks_like_rlpx: bool },
}

#[derive(Debug)]
struct Waiting {
    handshake: Known,
    backlogs: [Backlog; 2],
    /// Generation of the secrets that were tried.
    tried: u64,
    /// Bytes that were there when they were tried.
    tried_bytes: usize,
    fits: Fits,
    full: bool,
}

/// What the handshake told.
#[derive(Clone, Debug)]
struct Known {
    split: Split,
    session: Hash256,
}

/// How secrets and a session fit before it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fits {
    /// No secret is known.
    None,
    /// Some name the session, and no frame has shown whether they open it.
    Named { candidates: usize, whole: bool },
    /// Some name it, and none opens it.
    Wrong { candidates: usize },
}

#[derive(Debug)]
struct Opened {
    handshake: Option<Known>,
    initiator: Side,
    attached: Attached,
    candidate: Candidate,
    source: Arc<str>,
    unused_candidates: usize,
    messages: OpenSession,
    /// What an earlier run was told, where this one was not.
    told: Option<Told>,
}

/// What a session gives.
#[derive(Debug)]
pub enum SessionOutput<'a> {
    /// A message whose frame is complete.
    Message(WireMessage<'a>),
    /// Something that could not be read or trusted.
    Problem(Problem),
}

impl SessionDecoder {
    /// A decoder for the connection `key`, opened by `syn_from` where its SYN was seen.
    pub fn new(options: Arc<SessionOptions>, key: FlowKey, syn_from: Option<Side>) -> Self {
        let charge = options.waiting.charge();
        Self {
            options,
            key,
            syn_from,
            spoke_first: None,
            phase: Phase::Handshake(Default::default()),
            resuming: None,
            problems: VecDeque::new(),
            ended: [false; 2],
            positions: [0; 2],
            stream_bytes: [0; 2],
            gaps: 0,
            missing_bytes: 0,
            dropped_bytes: 0,
            no_room_told: false,
            charge,
        }
    }

    /// Tells who sent the SYN, where that becomes known later. Without effect once the handshake is read.
    pub fn set_syn_from(&mut self, side: Side) {
        self.syn_from = Some(side);
    }

    /// Takes the next item of one side's stream.
    #[inline]
    pub fn push(&mut self, side: Side, item: StreamItem<'_>, secrets: &SecretStore) {
        match item {
            StreamItem::Data(chunk) => {
                self.stream_bytes[side.index()] += chunk.bytes.len() as u64;
                if let Phase::Open(open) = &mut self.phase {
                    let direction = open.direction(side);
                    if !open.messages.push(direction, &chunk.bytes, chunk.seen) {
                        self.no_room(direction, &chunk);
                    }
                } else {
                    self.hold(side, Part::Data(&chunk.bytes, chunk.seen), secrets);
                }
                self.positions[side.index()] = chunk.offset.0 + chunk.bytes.len() as u64;
                if self.resuming.is_some() {
                    self.try_remembered(side);
                }
            }
            StreamItem::Gap(gap) => {
                self.gaps += 1;
                self.missing_bytes = self.missing_bytes.saturating_add(gap.len);
                if let Phase::Open(open) = &mut self.phase {
                    let direction = open.direction(side);
                    open.messages.gap(direction, gap.len);
                } else {
                    self.hold(side, Part::Gap(gap.len), secrets);
                }
                self.positions[side.index()] = gap.end().0;
            }
            // Bytes that were given before: nothing new to decode.
            StreamItem::Resight { .. } => {}
            StreamItem::End { .. } => {
                self.ended[side.index()] = true;
                if let Phase::Open(open) = &mut self.phase {
                    let direction = open.direction(side);
                    open.messages.end(direction);
                } else {
                    self.proceed(secrets);
                }
                self.try_remembered(side);
            }
        }
    }

    /// Takes the news that bytes of an open session were dropped.
    #[cold]
    fn no_room(&mut self, direction: Direction, chunk: &StreamChunk<'_>) {
        self.dropped_bytes += chunk.bytes.len() as u64;
        if !self.no_room_told {
            self.no_room_told = true;
            let origin = Origin {
                offset: chunk.offset,
                seen: chunk.seen,
            };
            let limit = self.options.frames.limit();
            self.problems
                .push_back(Problem::at(direction, origin, ProblemKind::FrameMemory { limit }));
        }
    }

    /// Looks again for a secret. [`push`](Self::push) does so by itself; this is for sessions that have fallen silent.
    pub fn retry(&mut self, secrets: &SecretStore) {
        self.proceed(secrets);
        if let Phase::Open(_) = self.phase {
            self.charge.set(0);
        }
    }

    /// No more will come on either side.
    pub fn finish(&mut self, secrets: &SecretStore) {
        self.ended = [true; 2];
        for side in Side::BOTH {
            self.try_remembered(side);
        }
        self.proceed(secrets);
        self.tell_ends();
    }

    /// No place will be found for what has none: its bytes are lost. For after [`finish`](Self::finish) and the last search.
    pub fn abandon(&mut self) {
        if let Phase::Open(open) = &mut self.phase {
            open.messages.abandon_unplaced();
        }
    }

    /// The next message or problem; `None` until more is pushed.
    ///
    /// Messages borrow the decoder's buffers. Within a direction they come in the order of the stream.
    #[inline]
    pub fn poll(&mut self) -> Option<SessionOutput<'_>> {
        if let Some(problem) = self.problems.pop_front() {
            return Some(SessionOutput::Problem(problem));
        }
        if let Phase::Open(open) = &mut self.phase
            && let Some(ready) = open.messages.next(&mut self.problems)
        {
            return Some(SessionOutput::Message(open.messages.message(ready)));
        }
        self.problems.pop_front().map(SessionOutput::Problem)
    }

    /// Where the streams are: one behind the last byte that came or is known to be missing; by [`Side::index`].
    pub fn positions(&self) -> [u64; 2] {
        self.positions
    }

    /// Which direction a side's stream is, once the session is opened.
    #[inline]
    pub fn direction(&self, side: Side) -> Option<Direction> {
        match &self.phase {
            Phase::Open(open) => Some(open.direction(side)),
            _ => None,
        }
    }

    /// The port of the end that listened, and the secret, once the session is opened.
    #[inline]
    pub fn opened_by(&self) -> Option<(u16, SecretId)> {
        match &self.phase {
            Phase::Open(open) => Some((
                self.key.endpoint(open.initiator.other()).port,
                open.candidate.id(),
            )),
            _ => None,
        }
    }

    /// Whether it is known who opened the connection, so that positions count from its start.
    pub fn saw_syn(&self) -> bool {
        self.syn_from.is_some()
    }

    /// What is known of the session so far.
    pub fn summary(&self) -> SessionSummary {
        summary::of(self)
    }

    /// Whether a later secret may still help.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting(_))
    }

    /// Keeps what comes before the session is opened, and sees whether it can be by now.
    fn hold(&mut self, side: Side, part: Part<'_>, secrets: &SecretStore) {
        let backlogs = match &mut self.phase {
            Phase::Handshake(backlogs) => backlogs,
            Phase::Waiting(waiting) => &mut waiting.backlogs,
            Phase::Seeking(_) => return self.hold_for_search(side, part, secrets),
            Phase::Open(_) | Phase::Closed { .. } => return,
        };
        let held: usize = backlogs.iter().map(Backlog::held).sum();
        let backlog = &mut backlogs[side.index()];
        match part {
            Part::Data(bytes, seen) => {
                // A backlog that has dropped bytes takes no more: what follows could not be joined to what is there.
                let own = self.options.waiting_limit.max(2 * MAX_LOOK).saturating_sub(held);
                // The handshake itself always finds room: without it nothing can be opened.
                let room = own.min(
                    self.options
                        .waiting
                        .room()
                        .max((2 * MAX_LOOK).saturating_sub(held)),
                );
                let kept = if backlog.is_full() {
                    0
                } else {
                    bytes.len().min(room)
                };
                backlog.push(&bytes[..kept], seen);
                if kept < bytes.len() {
                    let dropped = (bytes.len() - kept) as u64;
                    backlog.overflow(dropped);
                    self.dropped_bytes += dropped;
                }
                if self.spoke_first.is_none() && backlog.prefix().len() > 1 {
                    self.spoke_first = Some(side);
                }
            }
            Part::Gap(len) => backlog.gap(len),
        }
        self.tell_overflow();
        self.proceed(secrets);
        let held = match &self.phase {
            Phase::Handshake(backlogs) => backlogs.iter().map(Backlog::held).sum(),
            Phase::Waiting(waiting) => waiting.backlogs.iter().map(Backlog::held).sum(),
            Phase::Seeking(seeking) => seeking.backlogs.iter().map(Backlog::held).sum(),
            Phase::Open(_) | Phase::Closed { .. } => 0,
        };
        self.charge.set(held);
    }

    fn tell_overflow(&mut self) {
        let Phase::Waiting(waiting) = &mut self.phase else {
            return;
        };
        if self.dropped_bytes > 0 && !waiting.full {
            waiting.full = true;
            let limit = self.options.waiting_limit;
            self.problems
                .push_back(Problem::of_session(ProblemKind::WaitingLimit { limit }));
        }
    }

    /// Goes on to the next phase if what is there suffices.
    fn proceed(&mut self, secrets: &SecretStore) {
        if let Phase::Handshake(_) = self.phase {
            self.read_handshake(secrets);
        }
        if let Phase::Waiting(_) = self.phase {
            self.try_to_open(secrets);
        }
        // No header can tell which secret it is, and none will come: a later place may.
        if let Phase::Waiting(waiting) = &mut self.phase
            && waiting.first_headers_are_lost(self.ended)
        {
            let backlogs = std::mem::take(&mut waiting.backlogs);
            let seeking = Seeking::behind_handshake(backlogs, waiting.handshake.clone(), waiting.fits);
            self.phase = Phase::Seeking(Box::new(seeking));
        }
    }

    fn read_handshake(&mut self, secrets: &SecretStore) {
        let Phase::Handshake(backlogs) = &mut self.phase else {
            return;
        };
        let streams = backlogs.each_ref().map(|backlog| {
            let prefix = backlog.prefix();
            &prefix[..prefix.len().min(MAX_LOOK)]
        });
        if streams.iter().all(|stream| stream.is_empty()) && self.gaps == 0 {
            return;
        }
        let hints = Hints {
            syn_from: self.syn_from,
            spoke_first: self.spoke_first,
            fallback: likely_initiator(&self.key),
            more: Side::BOTH.map(|side| !self.ended[side.index()] && !backlogs[side.index()].has_gap()),
            is_known_auth: &|packet| secrets.names_session(&keccak256(packet)),
        };
        let split = match delimit(streams, &hints) {
            Handshake::NeedMore => return,
            Handshake::Split(split) => split,
            // Behind a SYN everything is there to see, and nothing is missing: this speaks something else.
            Handshake::NotRlpx if self.syn_from.is_some() && self.gaps == 0 => {
                self.phase = Phase::Closed {
                    looks_like_rlpx: false,
                };
                return;
            }
            // Nothing is missing, and neither end sent more than a handshake: there is no frame to be found.
            Handshake::Unfinished
                if self.syn_from.is_some()
                    && self.gaps == 0
                    && !streams.iter().any(|stream| goes_beyond_handshake(stream)) =>
            {
                self.phase = Phase::Closed {
                    looks_like_rlpx: true,
                };
                return;
            }
            unknown => {
                let looks_like_rlpx = matches!(unknown, Handshake::Unfinished);
                let seeking = Seeking::new(std::mem::take(backlogs), looks_like_rlpx);
                self.phase = Phase::Seeking(Box::new(seeking));
                return;
            }
        };
        let initiator = split.initiator.index();
        let session = keccak256(&streams[initiator][split.packets[initiator].clone()]);
        let backlogs = std::mem::take(backlogs);
        let handshake = Known { split, session };
        self.phase = Phase::Waiting(Box::new(Waiting {
            handshake,
            backlogs,
            tried: u64::MAX,
            tried_bytes: 0,
            fits: Fits::None,
            full: false,
        }));
        self.tell_overflow();
    }

    fn try_to_open(&mut self, secrets: &SecretStore) {
        let Phase::Waiting(waiting) = &mut self.phase else {
            return;
        };
        let generation = secrets.generation();
        let bytes = waiting.deciding_bytes();
        let finished = self.ended == [true; 2];
        if waiting.tried == generation && waiting.tried_bytes == bytes && !finished {
            return;
        }
        waiting.tried = generation;
        waiting.tried_bytes = bytes;
        let Waiting {
            handshake, backlogs, ..
        } = &**waiting;
        let by_direction = |direction| {
            let side = handshake.side(direction).index();
            let packet = handshake.split.packets[side].clone();
            let prefix = backlogs[side].prefix();
            (&prefix[packet.clone()], &prefix[packet.end..])
        };
        let (auth, from_initiator) = by_direction(Direction::FromInitiator);
        let (ack, from_recipient) = by_direction(Direction::FromRecipient);
        let door = Door {
            session: handshake.session,
            packets: [auth, ack],
            frames: [from_initiator, from_recipient],
            more: !finished,
        };
        let before = waiting.fits;
        let fits = match door.open(secrets) {
            Opening::NoSecret => Fits::None,
            Opening::Undecided { candidates, whole } => Fits::Named { candidates, whole },
            Opening::Wrong { candidates } => Fits::Wrong { candidates },
            Opening::Opened { candidate, unused } => {
                let open = self.options.open(&door, handshake, backlogs, &candidate, unused);
                self.phase = Phase::Open(Box::new(open));
                self.after_opening();
                return;
            }
        };
        waiting.fits = fits;
        if let Fits::Wrong { candidates } = fits
            && !matches!(before, Fits::Wrong { .. })
        {
            self.problems
                .push_back(Problem::of_session(ProblemKind::WrongSecret { candidates }));
        }
    }

    fn after_opening(&mut self) {
        self.tell_ends();
        if let Phase::Open(open) = &self.phase
            && let Some(handshake) = &open.handshake
            && handshake.split.headers == HeaderCheck::Disagree
        {
            self.problems
                .push_back(Problem::of_session(ProblemKind::HeadersDisagree));
        }
    }
}

impl SessionOptions {
    fn open(
        &self,
        door: &Door<'_>,
        handshake: &Known,
        backlogs: &[Backlog; 2],
        candidate: &Candidate,
        unused: usize,
    ) -> Opened {
        let readers = [Direction::FromInitiator, Direction::FromRecipient].map(|direction| {
            let side = handshake.side(direction).index();
            let start = handshake.split.packets[side].end;
            let mac = match door.frame_mac(&candidate.secrets, direction) {
                _ if !self.verify_mac => MacCheck::Skipped,
                Some(mac) => MacCheck::Running(Box::new(mac)),
                None => MacCheck::Unverifiable,
            };
            let offset = StreamOffset(start as u64);
            let mut reader = FrameReader::new(Keystream::new(&candidate.secrets.aes), offset, mac);
            for part in backlogs[side].parts_from(start as u64) {
                match part {
                    Part::Data(bytes, seen) => reader.push(bytes, seen),
                    Part::Gap(len) => reader.gap(len),
                }
            }
            reader
        });
        Opened {
            initiator: handshake.split.initiator,
            handshake: Some(handshake.clone()),
            attached: Attached::Handshake,
            candidate: candidate.clone(),
            source: Arc::clone(&candidate.source),
            unused_candidates: unused,
            messages: OpenSession::new(readers, self),
            told: None,
        }
    }
}

impl Waiting {
    /// Whether each direction lacks its first header, and has bytes behind a gap in its place.
    fn first_headers_are_lost(&self, ended: [bool; 2]) -> bool {
        let lost = |side: usize| {
            let backlog = &self.backlogs[side];
            let decided = backlog.prefix().len() >= self.handshake.split.packets[side].end + BLOCK_LEN;
            !decided && (backlog.has_gap() || ended[side])
        };
        lost(0) && lost(1) && self.backlogs.iter().any(Backlog::has_gap)
    }

    /// How many of the bytes are there that a choice between secrets looks at: two headers with their MACs.
    fn deciding_bytes(&self) -> usize {
        let of_side = |side: usize| {
            (self.backlogs[side].prefix().len() - self.handshake.split.packets[side].end).min(32)
        };
        of_side(0) + of_side(1)
    }
}

impl Known {
    fn side(&self, direction: Direction) -> Side {
        match direction {
            Direction::FromInitiator => self.split.initiator,
            Direction::FromRecipient => self.split.initiator.other(),
        }
    }
}

/// Whether a stream that begins with auth or ack has more than that: its size stands in front of it (WIRE-FORMATS 2.1).
fn goes_beyond_handshake(stream: &[u8]) -> bool {
    let sized = |at: usize| match stream.get(at..at + 3) {
        Some(&[high @ 1..=2, low, 0x04]) => Some(at + 2 + usize::from(u16::from_be_bytes([high, low]))),
        _ => None,
    };
    match sized(0).or_else(|| sized(1)) {
        Some(end) => stream.len() > end,
        None => stream.len() > PLAIN_ACK,
    }
}

/// Bytes of the smaller one of the two packets of a handshake before EIP-8, with a connection-type byte.
const PLAIN_ACK: usize = 211;

/// Who dialled, judged by the ports alone: listeners have the lower ones (Linux hands out 32768 and above to those who dial).
fn likely_initiator(key: &FlowKey) -> Side {
    if key.low.port > key.high.port {
        Side::Low
    } else {
        Side::High
    }
}
