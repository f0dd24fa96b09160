//! What the analysis says: flat values, one struct a list of the report and a table of the store.
//!
//! Meanings and names are those of the contract (`docs/SCHEMA.md`, `docs/json-report.md`). Times are nanoseconds of
//! the capture clock. A node in text ([`Label`]) is its name, else its address, else its IP address.

mod network;
mod story;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime, Endpoint, Hash256, MacState, NodeId};
use serde::{Serialize, Serializer};

pub use network::{CensusFact, DialFact, PeerFact, ScoreFact, TcpLinkFact};
pub use story::{
    DelayBound, DelayFact, NodeRoundFact, ParticipationFact, PhaseFact, ReceivedFact, RoundCause, VoteFact,
    VoteState, WasteCause, WasteFact, WhatIfFact,
};

/// How a node is shown in text: its name, else its address, else its IP address.
pub type Label = Arc<str>;

/// A chain as Status tells it: `"1000/0x<64 hex>"` (network id and genesis hash), or `"unknown"`.
pub type ChainName = Arc<str>;

/// Everything known of one height of one chain.
#[derive(Clone, Debug, Default)]
pub struct HeightFacts {
    /// Messages per receiver, round and kind; sorted by sequence, round, receiver IP, kind.
    pub counts: Vec<CountFact>,
    /// Messages per receiver, sender, signer, round and kind; sorted by those.
    pub deliveries: Vec<DeliveryFact>,
    /// One row for every round from 0 to the highest one seen; sorted.
    pub rounds: Vec<RoundFact>,
    /// Rounds as each node lived them; sorted by round and IP address.
    pub node_rounds: Vec<NodeRoundFact>,
    /// Who signed what, and whom it reached; sorted by round, kind, signer, first sight.
    pub votes: Vec<VoteFact>,
    /// What rules found in this height; sorted.
    pub events: Vec<EventFact>,
}

impl HeightFacts {
    /// More validators than may be faulty were at work on it: it is no height that only a liar names.
    pub fn is_there(&self) -> bool {
        self.rounds.iter().any(|round| round.standing.is_there())
    }
}

/// Messages that reached one receiver in one round, of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct CountFact {
    /// Chain the height belongs to.
    pub chain: ChainName,
    /// The receiver's IP address.
    pub receiver_ip: IpAddr,
    /// The receiver in text.
    pub receiver: Label,
    /// Block height.
    pub sequence: u64,
    /// Attempt at it (of a round change: the requested round).
    pub round: u64,
    /// Kind of message.
    #[serde(serialize_with = "kind_word")]
    pub kind: Kind,
    /// All messages: `useful + repeats + echoes`.
    pub messages: u64,
    /// First copies of payloads that the receiver did not sign.
    pub useful: u64,
    /// Later copies of such payloads.
    pub repeats: u64,
    /// Copies of payloads that the receiver signed itself.
    pub echoes: u64,
    /// Of `repeats`, those that the same sender had handed over before ([`WasteCause::Resent`]).
    pub resent: u64,
    /// Of `repeats`, those that went back to where the sender had them from ([`WasteCause::EchoSource`]).
    pub echo_source: u64,
    /// Of `repeats`, those that crossed the receiver's own copy ([`WasteCause::Crossing`]).
    pub crossing: u64,
    /// The other `repeats` ([`WasteCause::Regossip`]).
    pub regossip: u64,
    /// Of all messages, those with a wrong signature or a signer other than the claimed address.
    pub invalid: u64,
    /// Bytes of the frames on the wire.
    pub bytes: u64,
    /// More may have arrived than was seen: partial coverage, a gap or an unread session.
    pub lower_bound: bool,
    /// Earliest sight.
    #[serde(skip)]
    pub first_seen: CaptureTime,
    /// Latest sight.
    #[serde(skip)]
    pub last_seen: CaptureTime,
}

/// Copies of one signer's messages of one kind that one sender handed to one receiver in one round.
#[derive(Clone, Debug)]
pub struct DeliveryFact {
    /// Chain the height belongs to.
    pub chain: ChainName,
    /// The receiver's IP address.
    pub receiver_ip: IpAddr,
    /// Who handed the copies over.
    pub sender: Label,
    /// Who signed them.
    pub signer: Label,
    /// Block height.
    pub sequence: u64,
    /// Attempt at it.
    pub round: u64,
    /// Kind of message.
    pub kind: Kind,
    /// How many messages.
    pub copies: u64,
    /// Earliest sight.
    pub first_seen: CaptureTime,
    /// Latest sight.
    pub last_seen: CaptureTime,
}

/// What became of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Some node committed in it.
    Decided,
    /// Left for a higher round.
    Changed,
    /// Neither, and nothing is missing that could hide it.
    Open,
    /// Neither, but loss or missing coverage may hide it.
    Unknown,
}

impl Outcome {
    /// The word used in reports and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decided => "decided",
            Self::Changed => "changed",
            Self::Open => "open",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether anybody but a liar was in a round.
///
/// Rows of rounds go up to the highest that any message names, and one validator (or a stranger, where the validators are not known) can name
/// any. So whatever counts rounds or heights goes by this, and by nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RoundStanding {
    /// No more validators than may be faulty went there by messages that they signed: it is only spoken of.
    Claimed,
    /// More did, or a quorum asked for it, or a node was prepared or committed in it; of round 0, more sent anything of the height.
    Entered,
    /// The same; and more than may be faulty went on to higher rounds, and no node committed in it.
    Left,
}

impl RoundStanding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Claimed, Self::Entered, Self::Left];

    /// The word used in reports and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Entered => "entered",
            Self::Left => "left",
        }
    }

    /// The round counts.
    pub const fn is_there(self) -> bool {
        matches!(self, Self::Entered | Self::Left)
    }

    /// It counts as one that was left for a higher one.
    pub const fn is_left(self) -> bool {
        matches!(self, Self::Left)
    }
}

/// One attempt at one height.
#[derive(Clone, Debug, Serialize)]
pub struct RoundFact {
    /// Chain the height belongs to.
    pub chain: ChainName,
    /// Block height.
    pub sequence: u64,
    /// Attempt at it.
    pub round: u64,
    /// Who proposed, or who should have; `None` when neither is known.
    pub proposer: Option<Label>,
    /// Number of validators with a vote.
    pub validators: Option<u32>,
    /// Distinct votes that make a node committed.
    pub quorum: Option<u32>,
    /// Earliest sight of the preprepare anywhere.
    #[serde(serialize_with = "optional_nanos")]
    pub preprepare_ns: Option<CaptureTime>,
    /// When the median fully covered node was prepared.
    #[serde(serialize_with = "optional_nanos")]
    pub prepared_ns: Option<CaptureTime>,
    /// When the median fully covered node was committed.
    #[serde(serialize_with = "optional_nanos")]
    pub committed_ns: Option<CaptureTime>,
    /// Messages of this round, at all receivers.
    pub messages: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether it counts.
    pub standing: RoundStanding,
    /// Why it was left, where a higher one was seen or asked for.
    pub cause: Option<RoundCause>,
    /// From the commit of the height before to this one's, both at the median tapped node, in nanoseconds; of a decided round. `None`
    /// where the clock was set back in between.
    pub block_time_ns: Option<i64>,
}

impl RoundFact {
    /// What became of it, for whoever counts rounds: nothing of a round that is only spoken of; and one that a liar alone calls left is not.
    pub fn counted(&self) -> Option<Outcome> {
        match (self.standing, self.outcome) {
            (RoundStanding::Claimed, _) => None,
            (RoundStanding::Entered, Outcome::Changed) if self.cause == Some(RoundCause::Unknown) => {
                Some(Outcome::Unknown)
            }
            (RoundStanding::Entered, Outcome::Changed) => Some(Outcome::Open),
            (_, outcome) => Some(outcome),
        }
    }
}

/// Messages per minute on one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkCountFact {
    /// Chain.
    pub chain: ChainName,
    /// Start of the minute.
    pub minute: CaptureTime,
    /// The receiver's IP address.
    pub receiver_ip: IpAddr,
    /// The receiver in text.
    pub receiver: Label,
    /// The sender in text.
    pub sender: Label,
    /// Kind of message.
    pub kind: Kind,
    /// How many messages.
    pub messages: u64,
    /// Their frames' bytes on the wire.
    pub bytes: u64,
}

/// How many distinct payloads arrived at a receiver in exactly so many copies (echoes included).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopiesFact {
    /// The receiver's IP address.
    pub receiver_ip: IpAddr,
    /// Number of copies.
    pub copies: u64,
    /// Payloads with that number.
    pub payloads: u64,
}

/// What became of a session's bytes; see the decision table in `docs/json-report.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// A connection with payload whose auth and ack were not both complete.
    NoHandshake,
    /// No secret for it.
    NoSecret,
    /// Decrypted to the end of what was captured.
    Decrypted,
    /// Decrypted until the place in the key stream was lost.
    Lost,
    /// A secret matches, but nothing sensible comes out.
    Failed,
}

impl SessionState {
    /// The word used in reports and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoHandshake => "no_handshake",
            Self::NoSecret => "no_secret",
            Self::Decrypted => "decrypted",
            Self::Lost => "lost",
            Self::Failed => "failed",
        }
    }
}

/// One RLPx session.
#[derive(Clone, Debug, Serialize)]
pub struct SessionFact {
    /// The end that dialled.
    #[serde(serialize_with = "as_text")]
    pub initiator: Endpoint,
    /// The end that listened.
    #[serde(serialize_with = "as_text")]
    pub recipient: Endpoint,
    /// What became of it.
    pub state: SessionState,
    /// `handshake` or `midstream`; `None` when it was never opened.
    pub attached: Option<&'static str>,
    /// Where the secret that opened it comes from, in words that may be shown. Not in reports: the same secrets from other files
    /// give the same report.
    #[serde(skip)]
    pub opened_by: Option<Arc<str>>,
    /// The worst MAC state of its frames; `None` when it was never opened.
    #[serde(serialize_with = "optional_mac")]
    pub mac: Option<MacState>,
    /// Whole frames from the initiator.
    pub frames_from_initiator: u64,
    /// Whole frames from the recipient.
    pub frames_from_recipient: u64,
    /// Holes in its streams.
    pub gaps: u64,
    /// Stream bytes missing from the capture, and bytes of frames cut by them.
    pub lost_bytes: u64,
    /// Bytes at the end of the capture that do not complete a frame.
    pub incomplete_bytes: u64,
    /// Frames that gaps cut or swallowed, from the initiator and from the recipient; those behind a lost place are not known.
    pub frames_lost: [u64; 2],
    /// Agreed capabilities, `istanbul/64`; `istanbul/?` where they were inferred.
    pub capabilities: Vec<String>,
    /// Where no Hello told what codes mean: which dialect it is, and how sure that is, in words.
    pub inferred: Option<String>,
    /// Chain, as Status tells it.
    pub chain: ChainName,
    /// Bytes of TCP payload from the initiator and from the recipient.
    pub stream_bytes: [u64; 2],
    /// Client names from Hello, initiator's first; escaped.
    pub clients: [Option<String>; 2],
    /// Keys from Hello, initiator's first.
    #[serde(serialize_with = "optional_ids")]
    pub node_ids: [Option<NodeId>; 2],
    /// Why it is not `decrypted`, in words for a person.
    pub detail: Option<String>,
    /// Earliest packet.
    #[serde(serialize_with = "nanos")]
    pub first_seen_ns: CaptureTime,
    /// Latest packet.
    #[serde(serialize_with = "nanos")]
    pub last_seen_ns: CaptureTime,
}

/// How much of a node's traffic the capture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Coverage {
    /// Its own port, or a decrypted session to every other known validator.
    Full,
    /// Only some of its sessions.
    Partial,
    /// As `full`, but a session is not decrypted or has gaps.
    Lossy,
}

impl Coverage {
    /// The word used in reports and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::Lossy => "lossy",
        }
    }
}

/// One node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeFact {
    /// Name from the nodes file.
    pub name: Option<String>,
    /// How it is shown in text.
    pub label: Label,
    /// Public key.
    #[serde(serialize_with = "optional_text")]
    pub node_id: Option<NodeId>,
    /// Address of that key.
    #[serde(serialize_with = "optional_text")]
    pub address: Option<Address>,
    /// IP addresses it was seen at.
    pub ips: Vec<IpAddr>,
    /// Client name from Hello; escaped.
    pub client: Option<String>,
    /// Role from the connection type: `cn`, `en`, `pn`, `bn`.
    pub role: Option<&'static str>,
    /// How much of its traffic was seen.
    pub coverage: Coverage,
    /// True when it signed messages or stands in a proposed header's validator list.
    pub validator: bool,
}

/// Frames of one message code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CodeFact {
    /// `istanbul/64`, `p2p` for the base protocol, `unknown`.
    pub capability: String,
    /// Name of the message.
    pub name: String,
    /// Code on the wire.
    pub wire_code: u64,
    /// How many frames.
    pub frames: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
}

/// One input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CaptureFact {
    /// Path as given, `-` for standard input; the name of an interface.
    pub path: String,
    /// SHA-256 of the content as it stands in the file (compressed, if it is).
    pub sha256: String,
    /// Packets read from it.
    pub packets: u64,
    /// Captured bytes in those packets.
    pub bytes: u64,
    /// Packets that were lost while they were captured, because there was no room for them; `None` where nobody says.
    pub kernel_drops: Option<u64>,
    /// Packets that the interface lost; `None` where nobody says.
    pub interface_drops: Option<u64>,
    /// How often the interface was not there; `None` for files.
    pub times_down: Option<u64>,
    /// Why reading ended before the end of the file.
    pub problem: Option<String>,
}

/// Something worth a person's attention.
///
/// The blamed node (`node_id`, `address`, `ip`) is the signer where content is to blame, and the sender where volume is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventFact {
    /// When.
    #[serde(serialize_with = "nanos")]
    pub time_ns: CaptureTime,
    /// Which rule noticed it.
    pub rule: &'static str,
    /// `info`, `warning`, `critical`.
    pub severity: &'static str,
    /// Who signed, where content is to blame.
    pub signer: Option<Label>,
    /// Who handed it over, where volume is to blame.
    pub sender: Option<Label>,
    /// Chain.
    pub chain: ChainName,
    /// Block height.
    pub sequence: Option<u64>,
    /// Attempt at it.
    pub round: Option<u64>,
    /// Kind of message, where it is about one.
    #[serde(serialize_with = "optional_kind")]
    pub kind: Option<Kind>,
    /// Key of the blamed node.
    #[serde(serialize_with = "optional_text")]
    pub node_id: Option<NodeId>,
    /// Address of the blamed node.
    #[serde(serialize_with = "optional_text")]
    pub address: Option<Address>,
    /// IP address of the blamed node.
    pub ip: Option<IpAddr>,
    /// The numbers that made the rule speak, by name; times in nanoseconds.
    pub numbers: BTreeMap<&'static str, i64>,
    /// Payloads that show it, by their Keccak-256; at most a few.
    #[serde(serialize_with = "all_text")]
    pub payloads: Vec<Hash256>,
    /// What happened, in words.
    pub detail: String,
    /// True for behaviour that an honest node does not show.
    pub suspicious: bool,
}

impl EventFact {
    /// An event that blames nobody, with severity `warning`; what more is known is filled in by its maker.
    pub fn new(rule: &'static str, time: CaptureTime, detail: String) -> Self {
        Self {
            time_ns: time,
            rule,
            severity: "warning",
            signer: None,
            sender: None,
            chain: "unknown".into(),
            sequence: None,
            round: None,
            kind: None,
            node_id: None,
            address: None,
            ip: None,
            numbers: BTreeMap::new(),
            payloads: Vec::new(),
            detail,
            suspicious: false,
        }
    }
}

/// Sums over everything read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Packets in the captures.
    pub packets: u64,
    /// Captured bytes in them.
    pub bytes: u64,
    /// Packets with a TCP segment.
    pub tcp_packets: u64,
    /// Sessions in `sessions`.
    pub sessions: u64,
    /// Connections refused, or without payload.
    pub refused: u64,
    /// TCP connections that are something else.
    pub other_flows: u64,
    /// Whole frames.
    pub frames: u64,
    /// Consensus messages.
    pub consensus_messages: u64,
    /// Frames that should hold a message of a known kind and do not decode.
    pub undecodable: u64,
    /// Holes in streams.
    pub gaps: u64,
    /// Stream bytes missing, and bytes of frames cut by them.
    pub lost_bytes: u64,
    /// Bytes at the end that do not complete a frame.
    pub incomplete_bytes: u64,
    /// TCP packets whose checksum is wrong (usual where the sender's card computes it).
    pub bad_checksums: u64,
    /// Packets that hold no readable TCP segment, by reason.
    pub skipped_packets: BTreeMap<String, u64>,
    /// Undecodable messages by reason.
    pub undecodable_reasons: BTreeMap<String, u64>,
    /// Frames that gaps cut or swallowed.
    pub frames_lost: u64,
    /// Bytes of key stream that were searched for sessions joined in their middle.
    pub searched_bytes: u64,
    /// Limits that were reached, by name, and how often.
    pub limits_reached: BTreeMap<String, u64>,
}

/// Everything but the heights, which are streamed.
#[derive(Clone, Debug, Default)]
pub struct RunFacts {
    /// Inputs, by path.
    pub captures: Vec<CaptureFact>,
    /// Nodes, by label.
    pub nodes: Vec<NodeFact>,
    /// Sessions, by endpoints and time.
    pub sessions: Vec<SessionFact>,
    /// Frames by code.
    pub codes: Vec<CodeFact>,
    /// Histogram of copies, by receiver and copies.
    pub copies: Vec<CopiesFact>,
    /// Events, by time.
    pub events: Vec<EventFact>,
    /// Copies of no use, by chain, receiver IP, sender, kind, cause.
    pub waste: Vec<WasteFact>,
    /// Other forwarding policies, by chain and policy.
    pub what_if: Vec<WhatIfFact>,
    /// Phases of rounds, by chain and phase.
    pub phases: Vec<PhaseFact>,
    /// How long payloads took to reach nodes, by chain and IP address.
    pub delays: Vec<DelayFact>,
    /// Validators, by chain and label.
    pub participation: Vec<ParticipationFact>,
    /// TCP between IP addresses, by sender and receiver IP.
    pub links: Vec<TcpLinkFact>,
    /// Nodes as a crawler would list them, by label.
    pub peers: Vec<PeerFact>,
    /// Who dialled whom, by the two IP addresses.
    pub dials: Vec<DialFact>,
    /// Histograms over the peers, by list and value.
    pub census: Vec<CensusFact>,
    /// Advice on each peer, by label.
    pub scores: Vec<ScoreFact>,
    /// Sums.
    pub totals: Totals,
}

/// Takes the facts that are too many to hold in memory: heights and minutes, one after the other.
///
/// [`RunFacts`], the rest, is handed over when all of these have come.
pub trait FactSink {
    /// What can go wrong where the facts go.
    type Error;

    /// One height; each comes once, in the order of chain and sequence.
    fn height(&mut self, height: &HeightFacts) -> Result<(), Self::Error>;

    /// The links of one minute; each minute comes once, in order. Rows are sorted by chain, receiver IP, sender, kind.
    fn minute(&mut self, links: &[LinkCountFact]) -> Result<(), Self::Error>;
}

fn kind_word<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

fn nanos<S: Serializer>(time: &CaptureTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(time.nanos())
}

fn optional_nanos<S: Serializer>(time: &Option<CaptureTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(CaptureTime::nanos).serialize(serializer)
}

fn optional_kind<S: Serializer>(kind: &Option<Kind>, serializer: S) -> Result<S::Ok, S::Error> {
    kind.map(Kind::as_str).serialize(serializer)
}

fn all_text<T: ToString, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(ToString::to_string))
}

fn optional_mac<S: Serializer>(mac: &Option<MacState>, serializer: S) -> Result<S::Ok, S::Error> {
    mac.map(MacState::as_str).serialize(serializer)
}

fn as_text<T: ToString, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

fn optional_text<T: ToString, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(ToString::to_string).serialize(serializer)
}

fn optional_ids<S: Serializer>(ids: &[Option<NodeId>; 2], serializer: S) -> Result<S::Ok, S::Error> {
    ids.map(|id| id.map(|id| id.to_hex())).serialize(serializer)
}
