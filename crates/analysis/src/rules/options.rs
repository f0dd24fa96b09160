//! When rules speak. The defaults stay silent on healthy networks; `docs/rules.md` has a table of all.

use std::collections::BTreeSet;

use bftap_model::Nanos;

/// Thresholds of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleOptions {
    /// Rules that say nothing, by name.
    pub off: BTreeSet<String>,
    /// `equivocation`, `conflicting_lock`: what a node takes at least to start again. Two messages that are closer were sent by one run
    /// of it.
    pub restart: Nanos,
    /// `future_flood`: so many heights above the highest decided one a message may be.
    pub future_heights: u64,
    /// `future_flood`: messages of one sender in a minute.
    pub future_per_minute: u64,
    /// `stale_flood`: so many heights below what both ends of a session have sent a message may be.
    pub stale_heights: u64,
    /// `stale_flood`: messages of one sender to one receiver in a minute.
    pub stale_per_minute: u64,
    /// `roundchange_storm`: rounds that one validator asks for in one height.
    pub roundchange_rounds: u64,
    /// `repeated_payload`: how often one sender hands one payload to one receiver.
    pub repeated_copies: u64,
    /// `volume`: messages of one sender to one receiver in a minute, at least.
    pub volume_per_minute: u64,
    /// `volume`: so many times what the busiest other sender hands to the same receiver, and what the node itself sent before.
    pub volume_factor: u64,
    /// `undecodable_flood`: messages of one sender in a minute.
    pub undecodable_per_minute: u64,
    /// `oversized`: bytes of the frame of a vote.
    pub oversized_vote_bytes: u64,
    /// `oversized`: bytes of the frame of a proposal.
    pub oversized_proposal_bytes: u64,
    /// `connection_churn`: connections from one IP address to another in a minute.
    pub churn_per_minute: u64,
    /// `stalled_chain`: time without a block.
    pub stalled: Nanos,
    /// `slow_proposer`: so many times what proposals of the chain usually take.
    pub slow_factor: u64,
    /// `slow_proposer`: and so much longer.
    pub slow: Nanos,
    /// `slow_proposer`: so many turns of a proposer in a row.
    pub slow_turns: u64,
    /// `missing_proposer`: so many turns of a proposer in a row.
    pub missing_turns: u64,
    /// `silent_validator`: time without a message of its own.
    pub silent: Nanos,
    /// `silent_validator`: rounds in which it should have voted meanwhile.
    pub silent_rounds: u64,
    /// `partial_sender`: so many of its heights in a row.
    pub partial_heights: u64,
    /// Events of one rule that are listed; more are only counted, as a limit reached.
    pub listed: usize,
}

impl Default for RuleOptions {
    fn default() -> Self {
        Self {
            off: BTreeSet::new(),
            restart: Nanos::from_secs(1),
            future_heights: 5,
            future_per_minute: 20,
            stale_heights: 20,
            stale_per_minute: 50,
            roundchange_rounds: 16,
            repeated_copies: 4,
            volume_per_minute: 2000,
            volume_factor: 8,
            undecodable_per_minute: 10,
            oversized_vote_bytes: 4096,
            oversized_proposal_bytes: 10 << 20,
            churn_per_minute: 20,
            stalled: Nanos::from_secs(30),
            slow_factor: 3,
            slow: Nanos::from_secs(1),
            slow_turns: 2,
            missing_turns: 1,
            silent: Nanos::from_secs(5),
            silent_rounds: 3,
            partial_heights: 3,
            listed: 1000,
        }
    }
}

/// The names of all rules that judge nodes.
pub const RULES: [&str; 19] = [
    "bad_signature",
    "wrong_signer",
    "not_validator",
    "equivocation",
    "conflicting_lock",
    "future_flood",
    "stale_flood",
    "roundchange_storm",
    "repeated_payload",
    "volume",
    "undecodable_flood",
    "oversized",
    "forbidden_code",
    "connection_churn",
    "stalled_chain",
    "slow_proposer",
    "missing_proposer",
    "silent_validator",
    "partial_sender",
];

/// Most heights that may be remembered for `future_flood`.
pub const MOST_FUTURE_HEIGHTS: u64 = 64;
