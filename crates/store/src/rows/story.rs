//! Rows of how rounds went, and of what the copies cost.

use super::table_row;

table_row! {
    /// One attempt at one height, as one node lived it.
    pub struct NodeRoundRow in "node_round" by [run_id, sequence, round, chain_id, node_ip] {
        /// Run.
        run_id: i64,
        /// Chain.
        chain_id: i64,
        /// Block height.
        sequence: i64,
        /// Attempt at it.
        round: i64,
        /// The node's IP address.
        node_ip: String,
        /// The node in text.
        node: String,
        /// When the first preprepare reached it; of the proposer, when it was first seen leaving.
        preprepare_ns: Option<i64>,
        /// When the quorum-th distinct vote for one block reached it.
        prepared_ns: Option<i64>,
        /// The same for commits.
        committed_ns: Option<i64>,
        /// When its own round change asking for this round was first seen leaving it.
        roundchange_ns: Option<i64>,
        /// Whether more may have reached it than was seen.
        lower_bound: bool,
    }
}

table_row! {
    /// One validator's message of one kind in one round.
    pub struct VoteRow in "vote" by [run_id, sequence, round, chain_id, kind, signer, position] {
        /// Run.
        run_id: i64,
        /// Chain.
        chain_id: i64,
        /// Block height.
        sequence: i64,
        /// Attempt at it; of a round change the requested one.
        round: i64,
        /// `preprepare`, `prepare`, `commit` or `roundchange`.
        kind: String,
        /// The validator in text.
        signer: String,
        /// 0; 1 and more for further messages of the same signer, kind and round.
        position: i64,
        /// The block that it is for.
        digest: Option<String>,
        /// First sight anywhere.
        first_ns: Option<i64>,
        /// Who handed over the copy that was seen first.
        first_sender: Option<String>,
        /// Nodes with full coverage, the signer left out, that it reached.
        reached: i64,
        /// Nodes with full coverage, the signer left out.
        of_nodes: i64,
        /// Those of them that it did not reach, a JSON array; null if there are none.
        not_reached: Option<String>,
        /// `complete`, `late`, `partial`, `missing` or `unknown`.
        state: String,
    }
}

table_row! {
    /// Copies of no use that one sender handed to one receiver, of one kind, for one cause.
    pub struct WasteRow in "waste" by [run_id, chain_id, receiver_ip, sender, kind, cause] {
        /// Run.
        run_id: i64,
        /// Chain.
        chain_id: i64,
        /// The receiver's IP address.
        receiver_ip: String,
        /// The receiver in text.
        receiver: String,
        /// The sender in text.
        sender: String,
        /// Kind of message.
        kind: String,
        /// `echo_signer`, `resent`, `echo_source`, `crossing` or `regossip`.
        cause: String,
        /// How many.
        copies: i64,
        /// Their frames' bytes on the wire.
        bytes: i64,
    }
}

table_row! {
    /// What another forwarding policy would have cost; an estimate.
    pub struct WhatIfRow in "what_if" by [run_id, chain_id, policy] {
        /// Run.
        run_id: i64,
        /// Chain.
        chain_id: i64,
        /// `as_seen`, `none`, `not_to_signer_and_source`, `sqrt`, `degree_D`.
        policy: String,
        /// Payloads replayed.
        payloads: i64,
        /// Messages that the policy sends.
        messages: i64,
        /// Bytes of their frames.
        bytes: i64,
        /// Payloads that would not have reached a receiver that they did reach.
        not_delivered: i64,
        /// Median delay of first deliveries.
        delay_p50_ns: Option<i64>,
        /// 95 % of first deliveries are at least as fast.
        delay_p95_ns: Option<i64>,
    }
}

table_row! {
    /// How long one phase of rounds took.
    pub struct PhaseRow in "phase" by [run_id, chain_id, phase] {
        /// Run.
        run_id: i64,
        /// Chain.
        chain_id: i64,
        /// Name of the phase.
        phase: String,
        /// Rounds measured.
        rounds: i64,
        /// Median.
        p50_ns: i64,
        /// 95 %.
        p95_ns: i64,
        /// 99 %.
        p99_ns: i64,
        /// Longest.
        max_ns: i64,
    }
}

table_row! {
    /// What one validator took part in.
    pub struct ParticipationRow in "participation" by [run_id, chain_id, validator] {
        /// Run.
        run_id: i64,
        /// Chain.
        chain_id: i64,
        /// The validator in text.
        validator: String,
        /// Its address.
        address: Option<String>,
        /// Rounds that were decided while it had a vote.
        rounds: i64,
        /// Rounds that it should have proposed.
        proposals_due: i64,
        /// Rounds that it proposed.
        proposals: i64,
        /// Of `rounds`, those with its prepare.
        prepares: i64,
        /// Of `rounds`, those with its commit.
        commits: i64,
        /// Its round changes.
        roundchanges: i64,
        /// Votes that came after the last node had its quorum.
        late: i64,
        /// Votes that reached some nodes and not others.
        partial: i64,
        /// Commits that were seen nowhere, and no loss can hide that.
        missing: i64,
        /// Commits that were not seen and that loss may hide.
        unknown: i64,
        /// Messages of it with a wrong signature or another signer than claimed.
        invalid: i64,
        /// Median delay of its commit behind the first of the same round.
        commit_delay_p50_ns: Option<i64>,
        /// 95 % of its commits are at least as fast.
        commit_delay_p95_ns: Option<i64>,
    }
}

table_row! {
    /// How long payloads of validators took to reach one node.
    pub struct DelayRow in "delivery_delay" by [run_id, chain_id, node_ip] {
        /// Run.
        run_id: i64,
        /// Chain.
        chain_id: i64,
        /// The node's IP address.
        node_ip: String,
        /// The node in text.
        node: String,
        /// Payloads that reached it, its own left out.
        payloads: i64,
        /// Of these, those whose delay is exact.
        exact: i64,
        /// Median.
        p50_ns: Option<i64>,
        /// 95 %.
        p95_ns: Option<i64>,
        /// 99 %.
        p99_ns: Option<i64>,
        /// Longest.
        max_ns: Option<i64>,
    }
}
