//! How rounds went, and what the copies cost.

use std::collections::HashMap;

use bftap_analysis::facts::{
    DelayFact, NodeRoundFact, ParticipationFact, PhaseFact, VoteFact, WasteFact, WhatIfFact,
};

use super::{json_texts, key_text, optional_key_text, optional_nanos, stored};
use crate::names::Names;
use crate::rows::{DelayRow, NodeRoundRow, ParticipationRow, PhaseRow, VoteRow, WasteRow, WhatIfRow};
use crate::store::RunId;

pub(crate) fn node_round_row(run: RunId, names: &Names, fact: &NodeRoundFact) -> NodeRoundRow {
    NodeRoundRow {
        run_id: run.0,
        chain_id: names.chain(&fact.chain),
        sequence: stored(fact.sequence),
        round: stored(fact.round),
        node_ip: fact.node_ip.to_string(),
        node: key_text(&fact.node),
        preprepare_ns: optional_nanos(fact.preprepare_ns),
        prepared_ns: optional_nanos(fact.prepared_ns),
        committed_ns: optional_nanos(fact.committed_ns),
        roundchange_ns: optional_nanos(fact.roundchange_ns),
        lower_bound: fact.lower_bound,
    }
}

/// Votes of one height. Of several by one signer, in one round and of one kind, the first in order is at position 0.
pub(crate) fn vote_rows(run: RunId, names: &Names, votes: &[VoteFact]) -> Vec<VoteRow> {
    let mut positions: HashMap<_, i64> = HashMap::new();
    votes
        .iter()
        .map(|fact| {
            let next = positions
                .entry((&fact.signer, fact.round, fact.kind))
                .or_default();
            let position = *next;
            *next += 1;
            VoteRow {
                run_id: run.0,
                chain_id: names.chain(&fact.chain),
                sequence: stored(fact.sequence),
                round: stored(fact.round),
                kind: fact.kind.as_str().to_owned(),
                signer: key_text(&fact.signer),
                position,
                digest: fact.digest.map(|digest| digest.to_string()),
                first_ns: optional_nanos(fact.first_ns),
                first_sender: optional_key_text(fact.first_sender.as_deref()),
                reached: i64::from(fact.reached),
                of_nodes: i64::from(fact.of),
                not_reached: json_texts(fact.not_reached.iter().map(ToString::to_string)),
                state: fact.state.as_str().to_owned(),
            }
        })
        .collect()
}

pub(crate) fn waste_row(run: RunId, names: &Names, fact: &WasteFact) -> WasteRow {
    WasteRow {
        run_id: run.0,
        chain_id: names.chain(&fact.chain),
        receiver_ip: fact.receiver_ip.to_string(),
        receiver: key_text(&fact.receiver),
        sender: key_text(&fact.sender),
        kind: fact.kind.as_str().to_owned(),
        cause: fact.cause.as_str().to_owned(),
        copies: stored(fact.copies),
        bytes: stored(fact.bytes),
    }
}

pub(crate) fn what_if_row(run: RunId, names: &Names, fact: &WhatIfFact) -> WhatIfRow {
    WhatIfRow {
        run_id: run.0,
        chain_id: names.chain(&fact.chain),
        policy: key_text(&fact.policy),
        payloads: stored(fact.payloads),
        messages: stored(fact.messages),
        bytes: stored(fact.bytes),
        not_delivered: stored(fact.not_delivered),
        delay_p50_ns: fact.delay_p50_ns,
        delay_p95_ns: fact.delay_p95_ns,
    }
}

pub(crate) fn phase_row(run: RunId, names: &Names, fact: &PhaseFact) -> PhaseRow {
    PhaseRow {
        run_id: run.0,
        chain_id: names.chain(&fact.chain),
        phase: key_text(&fact.phase),
        rounds: stored(fact.rounds),
        p50_ns: fact.p50_ns,
        p95_ns: fact.p95_ns,
        p99_ns: fact.p99_ns,
        max_ns: fact.max_ns,
    }
}

pub(crate) fn participation_row(run: RunId, names: &Names, fact: &ParticipationFact) -> ParticipationRow {
    ParticipationRow {
        run_id: run.0,
        chain_id: names.chain(&fact.chain),
        validator: key_text(&fact.validator),
        address: fact.address.map(|address| address.to_string()),
        rounds: stored(fact.rounds),
        proposals_due: stored(fact.proposals_due),
        proposals: stored(fact.proposals),
        prepares: stored(fact.prepares),
        commits: stored(fact.commits),
        roundchanges: stored(fact.roundchanges),
        late: stored(fact.late),
        partial: stored(fact.partial),
        missing: stored(fact.missing),
        unknown: stored(fact.unknown),
        invalid: stored(fact.invalid),
        commit_delay_p50_ns: fact.commit_delay_p50_ns,
        commit_delay_p95_ns: fact.commit_delay_p95_ns,
    }
}

pub(crate) fn delay_row(run: RunId, names: &Names, fact: &DelayFact) -> DelayRow {
    DelayRow {
        run_id: run.0,
        chain_id: names.chain(&fact.chain),
        node_ip: fact.node_ip.to_string(),
        node: key_text(&fact.node),
        payloads: stored(fact.payloads),
        exact: stored(fact.exact),
        p50_ns: fact.p50_ns,
        p95_ns: fact.p95_ns,
        p99_ns: fact.p99_ns,
        max_ns: fact.max_ns,
    }
}
