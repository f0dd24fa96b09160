//! How rounds went: at each node, vote by vote, and what the copies cost.

use std::net::IpAddr;

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime, Hash256};
use serde::Serialize;

use super::{ChainName, Label, kind_word, optional_nanos, optional_text};

/// One attempt at one height, as one node lived it. Only nodes at which something of it was seen have a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeRoundFact {
    /// Chain the height belongs to.
    pub chain: ChainName,
    /// Block height.
    pub sequence: u64,
    /// Attempt at it.
    pub round: u64,
    /// The node's IP address.
    pub node_ip: IpAddr,
    /// The node in text.
    pub node: Label,
    /// When the first preprepare of the round reached it; of the proposer, when it was first seen leaving.
    #[serde(serialize_with = "optional_nanos")]
    pub preprepare_ns: Option<CaptureTime>,
    /// When the quorum-th distinct vote for one block reached it, its own counted once seen leaving.
    #[serde(serialize_with = "optional_nanos")]
    pub prepared_ns: Option<CaptureTime>,
    /// The same for commits.
    #[serde(serialize_with = "optional_nanos")]
    pub committed_ns: Option<CaptureTime>,
    /// When its own round change asking for this round was first seen leaving it.
    #[serde(serialize_with = "optional_nanos")]
    pub roundchange_ns: Option<CaptureTime>,
    /// More may have reached it than was seen.
    pub lower_bound: bool,
}

/// What is known of one validator's vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VoteState {
    /// It reached every node whose traffic was seen whole.
    Complete,
    /// It reached them all, but after the node that decided last had its quorum.
    Late,
    /// It reached some of them and not others, and no loss can hide that.
    Partial,
    /// It was seen nowhere, and was not due any more: the block was decided without it, or the commit that it comes before was sent.
    #[serde(rename = "not_needed")]
    NotNeeded,
    /// It was seen nowhere, and no loss can hide that.
    Missing,
    /// It was not seen, or not everywhere, and loss or missing coverage may hide it.
    Unknown,
}

impl VoteState {
    /// The word used in reports and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Late => "late",
            Self::Partial => "partial",
            Self::NotNeeded => "not_needed",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

/// One validator's message of one kind in one round: a line of the truth table. Further copies, by sender, stand in
/// [`DeliveryFact`](super::DeliveryFact).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VoteFact {
    /// Chain the height belongs to.
    pub chain: ChainName,
    /// Block height.
    pub sequence: u64,
    /// Attempt at it; of a round change the requested round.
    pub round: u64,
    /// Kind of message.
    #[serde(serialize_with = "kind_word")]
    pub kind: Kind,
    /// The validator.
    pub signer: Label,
    /// The block that it is for; `None` for round changes, and where no message was seen.
    #[serde(serialize_with = "optional_text")]
    pub digest: Option<Hash256>,
    /// First sight anywhere.
    #[serde(serialize_with = "optional_nanos")]
    pub first_ns: Option<CaptureTime>,
    /// Who handed over the copy that was seen first.
    pub first_sender: Option<Label>,
    /// Validators seen whole, the signer left out, that it reached.
    pub reached: u32,
    /// Validators seen whole and connected, the signer left out, whom it reached or should have reached (docs/rounds.md).
    pub of: u32,
    /// Those of them that it did not reach.
    pub not_reached: Vec<Label>,
    /// What is known of it.
    pub state: VoteState,
    /// Each node at which it was seen to arrive, the signer left out; by delay.
    pub received: Vec<ReceivedFact>,
}

/// The first delivery of a payload to one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReceivedFact {
    /// The node's IP address.
    pub node_ip: IpAddr,
    /// The node in text.
    pub node: Label,
    /// Who handed that copy over.
    pub sender: Label,
    /// From the first sight of the payload anywhere to its first arrival here, in nanoseconds. 0 where the first sight is this one.
    pub delay_ns: i64,
    /// What the delay says.
    pub bound: DelayBound,
}

/// What a delay says of the time from a payload's leaving its signer to its first arrival at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DelayBound {
    /// Both ends were seen whole: it is that time, as far as the taps are at the two ends.
    Exact,
    /// The signer was not seen whole: the payload may have left it before the first sight.
    AtLeast,
    /// The node was not seen whole: the payload may have reached it before.
    AtMost,
    /// Neither was.
    Unknown,
}

/// How long payloads of validators took to reach one node, over the whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DelayFact {
    /// Chain.
    pub chain: ChainName,
    /// The node's IP address.
    pub node_ip: IpAddr,
    /// The node in text.
    pub node: Label,
    /// Payloads that reached it, its own left out.
    pub payloads: u64,
    /// Of these, those with a delay that is [`DelayBound::Exact`]: the following are of them.
    pub exact: u64,
    /// Median, in nanoseconds, at most 1 % above the exact one; `None` without any, as the following.
    pub p50_ns: Option<i64>,
    /// 95 %.
    pub p95_ns: Option<i64>,
    /// 99 %.
    pub p99_ns: Option<i64>,
    /// Longest.
    pub max_ns: Option<i64>,
}

/// Why a copy was of no use to its receiver. Of several reasons the first in this order holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WasteCause {
    /// The receiver signed it itself (`echoes`).
    EchoSigner,
    /// The same sender had handed it to the same receiver before.
    Resent,
    /// The sender had got it from this receiver before it sent this copy.
    EchoSource,
    /// The receiver's own copy was on its way to the sender when the sender sent this one.
    Crossing,
    /// The receiver had it from somebody else.
    Regossip,
}

impl WasteCause {
    /// All causes, in order of precedence.
    pub const ALL: [Self; 5] = [
        Self::EchoSigner,
        Self::Resent,
        Self::EchoSource,
        Self::Crossing,
        Self::Regossip,
    ];

    /// The word used in reports and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EchoSigner => "echo_signer",
            Self::Resent => "resent",
            Self::EchoSource => "echo_source",
            Self::Crossing => "crossing",
            Self::Regossip => "regossip",
        }
    }
}

/// Copies of no use that one sender handed to one receiver, of one kind, for one cause, over the whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WasteFact {
    /// Chain.
    pub chain: ChainName,
    /// The receiver's IP address.
    pub receiver_ip: IpAddr,
    /// The receiver in text.
    pub receiver: Label,
    /// The sender in text.
    pub sender: Label,
    /// Kind of message.
    #[serde(serialize_with = "kind_word")]
    pub kind: Kind,
    /// Why they were of no use.
    pub cause: WasteCause,
    /// How many.
    pub copies: u64,
    /// Their frames' bytes on the wire.
    pub bytes: u64,
}

/// What another forwarding policy would have cost; an estimate (docs/redundancy.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WhatIfFact {
    /// Chain.
    pub chain: ChainName,
    /// `as_seen`, `none`, `not_to_signer_and_source`, `sqrt`, `degree_D`.
    pub policy: Label,
    /// Payloads replayed.
    pub payloads: u64,
    /// Messages that the policy sends to the receivers that were seen.
    pub messages: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Pairs of a payload and a receiver that it would not have reached, although it did.
    pub not_delivered: u64,
    /// Median delay from a payload's leaving its author to its first arrival at a receiver, in nanoseconds; of `as_seen` as it was measured.
    /// `None` where no message was seen at both ends.
    pub delay_p50_ns: Option<i64>,
    /// 95 % of first deliveries are at least as fast.
    pub delay_p95_ns: Option<i64>,
}

/// How long one phase of rounds took, over the whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PhaseFact {
    /// Chain.
    pub chain: ChainName,
    /// `block_time`, `preprepare_to_prepared`, `prepared_to_committed`, `preprepare_to_committed`, `roundchange_to_preprepare`.
    pub phase: Label,
    /// Rounds measured.
    pub rounds: u64,
    /// Median, in nanoseconds, at most 1 % above the exact one.
    pub p50_ns: i64,
    /// 95 %.
    pub p95_ns: i64,
    /// 99 %.
    pub p99_ns: i64,
    /// Longest.
    pub max_ns: i64,
}

/// What one validator took part in, over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ParticipationFact {
    /// Chain.
    pub chain: ChainName,
    /// The validator in text.
    pub validator: Label,
    /// Its address.
    #[serde(serialize_with = "optional_text")]
    pub address: Option<Address>,
    /// Rounds that were decided while it had a vote.
    pub rounds: u64,
    /// Rounds that it should have proposed, as far as the policy is known.
    pub proposals_due: u64,
    /// Rounds that it proposed.
    pub proposals: u64,
    /// Of `rounds`, those with its prepare.
    pub prepares: u64,
    /// Of `rounds`, those with its commit.
    pub commits: u64,
    /// Its round changes.
    pub roundchanges: u64,
    /// Votes that came after the last node had its quorum.
    pub late: u64,
    /// Votes that reached some nodes and not others.
    pub partial: u64,
    /// Commits that were seen nowhere, and no loss can hide that.
    pub missing: u64,
    /// Commits that were not seen and that loss or missing coverage may hide.
    pub unknown: u64,
    /// Messages of it with a wrong signature or a signer other than the claimed address; by the claimed address.
    pub invalid: u64,
    /// Median delay of its commit behind the first commit of the same round, in nanoseconds.
    pub commit_delay_p50_ns: Option<i64>,
    /// 95 % of its commits are at least as fast.
    pub commit_delay_p95_ns: Option<i64>,
}

/// Why a round was left for a higher one, as far as the wire tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundCause {
    /// No preprepare was seen, and no loss can hide it.
    NoPreprepare,
    /// The preprepare came after the first round change for a higher round was sent.
    LatePreprepare,
    /// The preprepare came in time, but no quorum of votes.
    VotesMissing,
    /// Votes were there, and some node had its quorum, but others left the round.
    QuorumTooLate,
    /// Loss or missing coverage may hide the cause.
    Unknown,
}

impl RoundCause {
    /// The word used in reports and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoPreprepare => "no_preprepare",
            Self::LatePreprepare => "late_preprepare",
            Self::VotesMissing => "votes_missing",
            Self::QuorumTooLate => "quorum_too_late",
            Self::Unknown => "unknown",
        }
    }
}
