//! What the pipeline tells the analysis: sessions, and each message that crossed them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bftap_ibft_decode::ConsensusMessage;
use bftap_model::{CaptureTime, Direction, Endpoint, Hash256, MacState, NodeId, WaySums};

use crate::facts::{EventFact, SessionState};

/// A session, unique within one run: the worker that owns it, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// Worker thread.
    pub worker: u16,
    /// Connection within the worker.
    pub connection: u64,
}

/// A chain as Status identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId {
    /// Network id.
    pub network_id: u64,
    /// Hash of the genesis block.
    pub genesis: Hash256,
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network_id, self.genesis)
    }
}

/// What is known of a session while it is open; told before its first message and whenever more is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Initiator and recipient.
    pub ends: [Endpoint; 2],
    /// The keys that they showed in Hello: whose they are is another question, see `accepted`.
    pub node_ids: [Option<NodeId>; 2],
    /// The other end went on with the session when it had read that Hello, as clients do that compared its key with the one that the
    /// handshake proved to them. Nobody else can compare them: the handshake's own words are for its two ends. Once true it stays so.
    pub accepted: [bool; 2],
    /// Their client names, from Hello; escaped.
    pub clients: [Option<String>; 2],
    /// The chain, from Status.
    pub chain: Option<ChainId>,
}

/// One distinct payload, decoded once however often it is copied.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Keccak-256 of the gossiped bytes: what copies have in common.
    pub hash: Hash256,
    /// Name of the dialect that decoded it.
    pub dialect: &'static str,
    /// What it says.
    pub message: ConsensusMessage,
}

/// One consensus message on its way from one end of a session to the other.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// Session it crossed.
    pub session: SessionKey,
    /// Which way.
    pub direction: Direction,
    /// What was carried.
    pub payload: Arc<Payload>,
    /// Earliest sight of the packet that completed its frame.
    pub seen: CaptureTime,
    /// Sight of that packet at the last tap on its way; `None` with one tap.
    pub arrived: Option<CaptureTime>,
    /// Bytes of its frame on the wire.
    pub wire_len: u32,
    /// Both ends had sent messages of far higher heights in this session before; see [`RuleOptions::is_stale`](crate::RuleOptions::is_stale).
    pub stale: bool,
}

/// What is known of a session when it ends.
#[derive(Clone, Debug)]
pub struct SessionEnd {
    /// As far as it is known.
    pub info: SessionInfo,
    /// What became of it.
    pub state: SessionState,
    /// No SYN and no known shape: a session only if its port turns out to be one of sessions.
    pub candidate: bool,
    /// `handshake` or `midstream`.
    pub attached: Option<&'static str>,
    /// Where the secret that opened it comes from, in words that may be shown.
    pub opened_by: Option<Arc<str>>,
    /// Worst state of its MACs.
    pub mac: Option<MacState>,
    /// Whole frames from the initiator and from the recipient.
    pub frames: [u64; 2],
    /// Holes in its streams.
    pub gaps: u64,
    /// Bytes missing, and bytes of frames cut by them.
    pub lost_bytes: u64,
    /// Bytes at the end that complete no frame.
    pub incomplete_bytes: u64,
    /// Frames lost to gaps, from the initiator and from the recipient.
    pub frames_lost: [u64; 2],
    /// Agreed capabilities.
    pub capabilities: Vec<String>,
    /// Where no Hello told what codes mean: which dialect it is, and how sure that is.
    pub inferred: Option<String>,
    /// TCP payload from the initiator and from the recipient.
    pub stream_bytes: [u64; 2],
    /// Roles from the connection type byte of the initiator and of the recipient.
    pub roles: [Option<&'static str>; 2],
    /// Consensus messages from the initiator and from the recipient.
    pub spoken: [Spoken; 2],
    /// Why it is not `decrypted`, for a person.
    pub detail: Option<String>,
    /// Earliest and latest packet.
    pub span: (CaptureTime, CaptureTime),
    /// Spans of time in which messages may have passed unread.
    pub losses: Vec<(CaptureTime, CaptureTime)>,
    /// Spans of time in which it was there and not yet read, since it was joined in its middle. Nothing was lost then, but counts
    /// of that time are incomplete.
    pub blind: Vec<(CaptureTime, CaptureTime)>,
    /// What it tells of the network under it.
    pub network: SessionNetwork,
}

/// What a session tells of the network and of the peers at its ends. Pairs: the initiator's first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionNetwork {
    /// What TCP tells of each direction.
    pub ways: [WaySums; 2],
    /// What each end's Hello offers, `istanbul/64`; escaped, and no more than a few.
    pub offers: [Vec<String>; 2],
    /// When that Hello was seen.
    pub hellos_seen: [Option<CaptureTime>; 2],
    /// What each end said of its chain.
    pub statuses: [Option<StatusSeen>; 2],
    /// Reasons of the Disconnects that each end sent, in devp2p's words; one each, the last.
    pub disconnects: [Option<String>; 2],
    /// Frames that are not of the base protocol (Hello, Disconnect, Ping, Pong).
    pub other_frames: u64,
}

/// Status of one end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatusSeen {
    /// When it passed.
    pub seen: CaptureTime,
    /// The chain.
    pub chain: ChainId,
    /// Hash of the newest block.
    pub head: Hash256,
    /// Total difficulty, or block score; in the versions that tell it.
    pub total_difficulty: Option<u128>,
    /// Number of the newest block; in the others.
    pub head_number: Option<u64>,
}

impl StatusSeen {
    /// How far the end is, and whether that is its total difficulty (or else its height).
    pub fn height(&self) -> Option<(bool, u128)> {
        let number = || self.head_number.map(|number| (false, u128::from(number)));
        self.total_difficulty.map(|total| (true, total)).or_else(number)
    }
}

/// A connection that was refused, or carried no payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Who dialled, and who was dialled.
    pub ends: [Endpoint; 2],
    /// Earliest and latest packet.
    pub span: (CaptureTime, CaptureTime),
}

impl SessionNetwork {
    /// Adds what came of the same session later, by the same ends.
    pub fn go_on(&mut self, later: &Self) {
        for (own, later) in self.ways.iter_mut().zip(&later.ways) {
            own.go_on(later);
        }
        for at in [0, 1] {
            if !later.offers[at].is_empty() {
                self.offers[at].clone_from(&later.offers[at]);
            }
            self.hellos_seen[at] = self.hellos_seen[at].or(later.hellos_seen[at]);
            // A session has one Status each way.
            if self.statuses[at].is_none() {
                self.statuses[at].clone_from(&later.statuses[at]);
            }
            if later.disconnects[at].is_some() {
                self.disconnects[at].clone_from(&later.disconnects[at]);
            }
        }
        self.other_frames += later.other_frames;
    }

    /// The other end is the initiator.
    pub fn turn(&mut self) {
        self.ways.reverse();
        self.offers.reverse();
        self.hellos_seen.reverse();
        self.statuses.reverse();
        self.disconnects.reverse();
    }
}

/// Consensus messages that one end of a session sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// How many, whether or not they count by their time and height.
    pub messages: u64,
    /// When the first one was seen.
    pub first: Option<CaptureTime>,
    /// When the last one was seen.
    pub last: Option<CaptureTime>,
}

impl Spoken {
    /// One more.
    pub fn note(&mut self, seen: CaptureTime) {
        self.join(&Self {
            messages: 1,
            first: Some(seen),
            last: Some(seen),
        });
    }

    /// Adds those of another part of the session.
    pub fn join(&mut self, other: &Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.first = match (self.first, other.first) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        self.last = self.last.max(other.last);
    }
}

/// Frames of one message code: capability, name, wire code.
pub type CodeKey = (String, String, u64);

/// Sums that one worker kept over the flows it owned.
#[derive(Clone, Debug, Default)]
pub struct WorkerTotals {
    /// Connections refused, or without payload.
    pub refused: u64,
    /// TCP connections that are something else.
    pub other_flows: u64,
    /// Consensus messages.
    pub consensus_messages: u64,
    /// Messages of a consensus code that do not decode, by reason.
    pub undecodable: BTreeMap<String, u64>,
    /// Limits reached, by name.
    pub limits: BTreeMap<String, u64>,
    /// Frames and bytes by code.
    pub codes: BTreeMap<CodeKey, (u64, u64)>,
    /// Bytes of key stream that were searched for sessions joined in their middle.
    pub searched_bytes: u64,
}

impl WorkerTotals {
    /// Adds what another worker counted; the flows of two workers cannot overlap.
    pub fn add(&mut self, other: Self) {
        self.refused += other.refused;
        self.searched_bytes += other.searched_bytes;
        self.other_flows += other.other_flows;
        self.consensus_messages += other.consensus_messages;
        for (reason, count) in other.undecodable {
            *self.undecodable.entry(reason).or_default() += count;
        }
        for (limit, count) in other.limits {
            *self.limits.entry(limit).or_default() += count;
        }
        for (code, (frames, bytes)) in other.codes {
            let sum = self.codes.entry(code).or_default();
            sum.0 += frames;
            sum.1 += bytes;
        }
    }
}

/// One piece of news from a worker.
#[derive(Clone, Debug)]
pub enum Observation {
    /// A session is known, or more is known of it.
    Session(SessionKey, Box<SessionInfo>),
    /// A message crossed a session.
    Message(Occurrence),
    /// A session is over.
    End(SessionKey, Box<SessionEnd>),
    /// A connection came to nothing.
    Refused(Refused),
    /// Something worth attention, complete but for the names of nodes.
    Event(Box<EventFact>),
}
