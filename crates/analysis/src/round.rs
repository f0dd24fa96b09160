//! What became of each round of a height: who proposed, who was prepared and committed when, how it ended.

use std::collections::BTreeSet;

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime, Hash256};
use hashbrown::HashMap;

use crate::closing::{ChainContext, ChainState};
use crate::facts::{CountFact, Coverage, Outcome, RoundFact};
use crate::height::{Height, PayloadEntry};
use crate::tally::Tally;

/// A valid vote as one node has it: from a peer, or its own once seen leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Vote {
    round: u64,
    /// Rank of the IP address of the node that has the vote.
    node: u32,
    digest: Hash256,
    time: CaptureTime,
    signer: Address,
    commit: bool,
}

/// When a node reached the quorums of one round.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    prepared: Option<CaptureTime>,
    committed: Option<CaptureTime>,
}

/// Judges the rounds of one height, from 0 to the highest seen or asked for.
///
/// `counts` are those of the height, `span` its first and last sight.
pub(crate) fn judge(
    height: &Height,
    sequence: u64,
    counts: &[CountFact],
    span: (CaptureTime, CaptureTime),
    chain: &ChainContext<'_>,
    state: &mut ChainState,
    tally: &mut Tally,
) -> Vec<RoundFact> {
    let first_sight = first_sights(height);
    if chain.fixed_validators.is_none()
        && let Some(validators) = validators_of(height, &state.validators)
    {
        state.validators = validators;
    }
    let validators: Vec<Address> = match chain.fixed_validators {
        Some(fixed) => fixed.to_vec(),
        None => state.validators.clone(),
    };
    let members = u32::try_from(validators.len())
        .unwrap_or(u32::MAX)
        .min(chain.committee);
    let quorum = (members > 0).then(|| chain.rule.threshold.votes(members));
    let reached = quorum
        .map(|quorum| reached(height, chain, &validators, quorum))
        .unwrap_or_default();

    let highest = counts.iter().map(|count| count.round).max().unwrap_or(0);
    let mut messages: HashMap<u64, u64> = HashMap::new();
    for count in counts {
        *messages.entry(count.round).or_default() += count.messages;
    }
    // A hostile round number must not make a billion rows: beyond the limit only what was seen has a row.
    let mut rounds: BTreeSet<u64> = (0..=highest.min(MAX_EMPTY_ROUNDS)).collect();
    rounds.extend(messages.keys());
    tally.skipped_rounds += highest.saturating_add(1) - rounds.len() as u64;

    let uncertain = !chain.all_validators_covered || chain.losses.overlap_anywhere(span.0, span.1);
    let last_author = state
        .last_block
        .filter(|&(last, _)| sequence.checked_sub(1) == Some(last))
        .map(|(_, author)| author);
    let mut decided_author = None;
    let mut last_proposal = None;
    let mut facts = Vec::with_capacity(rounds.len());
    for round in rounds {
        let expected = last_author.and_then(|last| {
            chain
                .policy
                .and_then(|policy| policy.expected(&validators, last, round))
        });
        let proposal = proposal_of(height, &first_sight, round, expected);
        if let Some((_, entry)) = proposal {
            last_proposal = entry
                .proposal
                .as_ref()
                .and_then(|proposal| proposal.author)
                .or(entry.signer);
        }
        let nodes = reached.get(&round);
        let committed_somewhere =
            nodes.is_some_and(|nodes| nodes.values().any(|reached| reached.committed.is_some()));
        if committed_somewhere {
            decided_author = last_proposal;
        }
        let median = |pick: fn(&Reached) -> Option<CaptureTime>| {
            let full = |node: u32| chain.coverage.of(chain.ips.ips[node as usize]) == Coverage::Full;
            lower_median(
                nodes
                    .into_iter()
                    .flatten()
                    .filter(|&(&node, _)| full(node))
                    .filter_map(|(_, reached)| pick(reached))
                    .collect(),
            )
        };
        facts.push(RoundFact {
            chain: chain.name.clone(),
            sequence,
            round,
            proposer: proposal
                .and_then(|(_, entry)| entry.signer)
                .or(expected)
                .map(|proposer| chain.who.names.label_of(proposer)),
            validators: (!validators.is_empty()).then_some(validators.len() as u32),
            quorum,
            preprepare_ns: proposal.map(|(seen, _)| seen),
            prepared_ns: median(|reached| reached.prepared),
            committed_ns: median(|reached| reached.committed),
            messages: messages.get(&round).copied().unwrap_or(0),
            outcome: if committed_somewhere {
                Outcome::Decided
            } else if round < highest {
                Outcome::Changed
            } else if uncertain {
                Outcome::Unknown
            } else {
                Outcome::Open
            },
            cause: None,
            block_time_ns: None,
        });
    }
    if let Some(author) = decided_author.or(last_proposal) {
        state.last_block = Some((sequence, author));
    }
    facts
}

/// Rounds that get a row although nothing of them was seen, per height.
const MAX_EMPTY_ROUNDS: u64 = 1000;

/// Earliest sight of each payload anywhere.
fn first_sights(height: &Height) -> Vec<CaptureTime> {
    let mut first = vec![CaptureTime::MAX; height.payloads.len()];
    for (key, delivery) in &height.deliveries {
        let known = &mut first[key.payload as usize];
        *known = (*known).min(delivery.first_seen);
    }
    first
}

/// The validators that the header of the height's block lists, sorted by address.
///
/// Of several proposals the one with most votes counts, and only those that have a vote so far may propose and vote: a
/// stranger's proposal cannot rename the validators.
fn validators_of(height: &Height, known: &[Address]) -> Option<Vec<Address>> {
    let has_a_vote = |signer: &Address| known.is_empty() || known.binary_search(signer).is_ok();
    let mut votes: HashMap<Hash256, BTreeSet<Address>> = HashMap::new();
    for entry in height.payloads.iter().filter(|entry| !entry.invalid) {
        if let (Kind::Prepare | Kind::Commit, Some(digest), Some(signer)) =
            (entry.kind, entry.digest, entry.signer)
            && has_a_vote(&signer)
        {
            votes.entry(digest).or_default().insert(signer);
        }
    }
    let proposal = height
        .payloads
        .iter()
        .filter(|entry| !entry.invalid && entry.signer.as_ref().is_some_and(has_a_vote))
        .filter_map(|entry| entry.proposal.as_ref())
        .filter(|proposal| !proposal.validators.is_empty())
        .max_by_key(|proposal| {
            (
                votes.get(&proposal.hash).map_or(0, BTreeSet::len),
                std::cmp::Reverse(proposal.hash),
            )
        })?;
    let mut validators = proposal.validators.clone();
    validators.sort_unstable();
    validators.dedup();
    Some(validators)
}

/// The round's proposal with its first sight: the expected proposer's, else the earliest.
fn proposal_of<'a>(
    height: &'a Height,
    first_sight: &[CaptureTime],
    round: u64,
    expected: Option<Address>,
) -> Option<(CaptureTime, &'a PayloadEntry)> {
    height
        .payloads
        .iter()
        .zip(first_sight)
        .filter(|(entry, _)| entry.kind == Kind::Preprepare && entry.round == round && !entry.invalid)
        .map(|(entry, &seen)| (seen, entry))
        .min_by_key(|(seen, entry)| (expected.is_some() && entry.signer != expected, *seen, entry.hash))
}

/// When each node reached the quorums, per round.
fn reached(
    height: &Height,
    chain: &ChainContext<'_>,
    validators: &[Address],
    quorum: u32,
) -> HashMap<u64, HashMap<u32, Reached>> {
    let mut votes = Vec::with_capacity(height.deliveries.len());
    for (key, delivery) in &height.deliveries {
        let entry = &height.payloads[key.payload as usize];
        let commit = match entry.kind {
            Kind::Prepare => false,
            Kind::Commit => true,
            Kind::Preprepare | Kind::RoundChange => continue,
        };
        let (Some(signer), Some(digest), false) = (entry.signer, entry.digest, entry.invalid) else {
            continue;
        };
        if validators.binary_search(&signer).is_err() {
            continue;
        }
        let mut vote = |party: u32, time| {
            let node = chain.ips.of_party[party as usize];
            votes.push(Vote {
                round: entry.round,
                node,
                digest,
                time,
                signer,
                commit,
            });
        };
        vote(key.receiver, delivery.first_arrival);
        if chain.who.parties[key.sender as usize].address == Some(signer) {
            vote(key.sender, delivery.first_seen);
        }
    }
    votes.sort_unstable();

    let mut reached: HashMap<u64, HashMap<u32, Reached>> = HashMap::new();
    let mut preparers = BTreeSet::new();
    let mut committers = BTreeSet::new();
    for group in votes.chunk_by(|a, b| (a.round, a.node, a.digest) == (b.round, b.node, b.digest)) {
        preparers.clear();
        committers.clear();
        let mut here = Reached::default();
        for vote in group {
            if vote.commit {
                committers.insert(vote.signer);
            }
            if !vote.commit || chain.rule.commits_prepare {
                preparers.insert(vote.signer);
            }
            if preparers.len() >= quorum as usize {
                here.prepared.get_or_insert(vote.time);
            }
            if committers.len() >= quorum as usize {
                here.committed.get_or_insert(vote.time);
                break;
            }
        }
        if here.prepared.is_some() || here.committed.is_some() {
            let known = reached
                .entry(group[0].round)
                .or_default()
                .entry(group[0].node)
                .or_default();
            known.prepared = earlier(known.prepared, here.prepared);
            known.committed = earlier(known.committed, here.committed);
        }
    }
    reached
}

fn earlier(a: Option<CaptureTime>, b: Option<CaptureTime>) -> Option<CaptureTime> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (known, None) | (None, known) => known,
    }
}

fn lower_median(mut times: Vec<CaptureTime>) -> Option<CaptureTime> {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) / 2).copied()
}
