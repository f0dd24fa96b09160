//! What each validator took part in, over all heights.

use std::collections::BTreeMap;

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime};

use crate::closing::ChainContext;
use crate::facts::{ChainName, Outcome, ParticipationFact, VoteFact, VoteState};
use crate::height::Height;
use crate::histogram::Histogram;
use crate::knowledge::Knowledge;
use crate::round::Rounds;
use crate::rows::Row;

/// See [`ParticipationFact`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    rounds: u64,
    proposals_due: u64,
    proposals: u64,
    prepares: u64,
    commits: u64,
    roundchanges: u64,
    late: u64,
    partial: u64,
    missing: u64,
    unknown: u64,
    invalid: u64,
    commit_delay: Histogram,
}

crate::tally::summed! {
    Part {
        rounds, proposals_due, proposals, prepares, commits, roundchanges, late, partial, missing, unknown, invalid, commit_delay,
    }
}

crate::kept! {
    Part {
        rounds, proposals_due, proposals, prepares, commits, roundchanges, late, partial, missing, unknown, invalid, commit_delay,
    }
}

/// By the validator's address; only those that the chain knows, so strangers cannot make it grow.
pub(crate) type Participation = BTreeMap<Address, Part>;

/// Adds what one height gave; `table` is sorted.
pub(crate) fn add(
    parts: &mut Participation,
    judged: &Rounds,
    table: &[(Address, VoteFact)],
    height: &Height,
    rows: &[Row<'_>],
    chain: &ChainContext<'_>,
) {
    let is_member = |address: &Address| chain.members.binary_search(address).is_ok();
    let in_committee = judged.validators.len() <= chain.committee as usize;
    for (fact, notes) in &judged.rounds {
        if fact.outcome == Outcome::Decided && in_committee {
            for validator in judged.validators.iter().filter(|validator| is_member(validator)) {
                parts.entry(*validator).or_default().rounds += 1;
            }
        }
        let over = matches!(fact.outcome, Outcome::Decided | Outcome::Changed);
        if let Some(expected) = notes.expected.filter(is_member)
            && fact.standing.is_there()
            && (over || notes.proposed_by.is_some())
        {
            parts.entry(expected).or_default().proposals_due += 1;
        }
    }
    for of_round in table.chunk_by(|a, b| a.1.round == b.1.round) {
        add_round(parts, judged, of_round, in_committee, &is_member);
    }
    let invalid = rows
        .iter()
        .map(|row| (row, &height.payloads[row.payload as usize]))
        .filter(|(_, entry)| entry.invalid);
    for (row, entry) in invalid {
        if let Some(claimed) = entry.claimed.filter(is_member) {
            parts.entry(claimed).or_default().invalid += u64::from(row.delivery.copies);
        }
    }
}

fn add_round(
    parts: &mut Participation,
    judged: &Rounds,
    table: &[(Address, VoteFact)],
    in_committee: bool,
    is_member: &impl Fn(&Address) -> bool,
) {
    let decided = judged
        .rounds
        .binary_search_by_key(&table[0].1.round, |(fact, _)| fact.round)
        .is_ok_and(|at| judged.rounds[at].0.outcome == Outcome::Decided);
    let mut commits: Vec<(CaptureTime, Address)> = Vec::new();
    for lines in table.chunk_by(|a, b| (a.1.kind, a.0) == (b.1.kind, b.0)) {
        let (address, kind) = (lines[0].0, lines[0].1.kind);
        if !is_member(&address) {
            continue;
        }
        let part = parts.entry(address).or_default();
        let with = |state: VoteState| lines.iter().filter(|(_, fact)| fact.state == state).count() as u64;
        if kind == Kind::Prepare || kind == Kind::Commit {
            part.late += with(VoteState::Late);
        }
        part.partial += with(VoteState::Partial);
        let Some(first) = lines.iter().filter_map(|(_, fact)| fact.first_ns).min() else {
            if kind == Kind::Commit && decided {
                part.missing += with(VoteState::Missing);
                part.unknown += with(VoteState::Unknown);
            }
            continue;
        };
        match kind {
            Kind::Preprepare => part.proposals += 1,
            Kind::RoundChange => part.roundchanges += 1,
            Kind::Prepare => part.prepares += u64::from(decided),
            Kind::Commit if decided => {
                part.commits += 1;
                // Who is in the committee of a larger set is only known of those that vote.
                part.rounds += u64::from(!in_committee);
                commits.push((first, address));
            }
            Kind::Commit => {}
        }
    }
    let first = commits.iter().map(|(time, _)| *time).min();
    for (time, address) in commits {
        let delay = first.map_or(0, |first| time.since(first).0);
        parts.entry(address).or_default().commit_delay.note(delay);
    }
}

/// The rows of a chain, sorted by label.
pub(crate) fn rows(
    chain: &ChainName,
    parts: &Participation,
    knowledge: &Knowledge,
) -> Vec<ParticipationFact> {
    let row = |(&address, part): (&Address, &Part)| ParticipationFact {
        chain: chain.clone(),
        validator: knowledge.resolved.names.label_of(address),
        address: Some(address),
        rounds: part.rounds,
        proposals_due: part.proposals_due,
        proposals: part.proposals,
        prepares: part.prepares,
        commits: part.commits,
        roundchanges: part.roundchanges,
        late: part.late,
        partial: part.partial,
        missing: part.missing,
        unknown: part.unknown,
        invalid: part.invalid,
        commit_delay_p50_ns: part.commit_delay.quantile(50),
        commit_delay_p95_ns: part.commit_delay.quantile(95),
    };
    let mut rows: Vec<ParticipationFact> = parts.iter().map(row).collect();
    rows.sort_by(|a, b| (&a.validator, a.address).cmp(&(&b.validator, b.address)));
    rows
}
