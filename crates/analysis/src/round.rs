//! What became of each round of a height: who proposed, who was prepared and committed when, how it ended.

use std::collections::BTreeSet;

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime, Hash256};
use hashbrown::HashMap;

use crate::chain::KEPT_VALIDATORS;
use crate::closing::{ChainContext, ChainState};
use crate::facts::{CountFact, Coverage, Outcome, RoundCause, RoundFact, RoundStanding};
use crate::height::{Height, PayloadEntry};
use crate::lived::{self, Lived, Lives};
use crate::quorum::faulty;
use crate::rows::{self, Row};
use crate::tally::Tally;
use crate::witnesses::Sight;

/// The rounds of one height, judged.
#[derive(Debug)]
pub(crate) struct Rounds {
    /// Validators, sorted.
    pub(crate) validators: Vec<Address>,
    pub(crate) lives: Lives,
    /// All rounds in order, with what their rows do not say.
    pub(crate) rounds: Vec<(RoundFact, RoundNotes)>,
}

/// What is known of a round besides its row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundNotes {
    /// Who should have proposed, where that is known.
    pub(crate) expected: Option<Address>,
    /// Who did.
    pub(crate) proposed_by: Option<Address>,
    /// Earliest round change asking for it.
    pub(crate) asked_for: Option<CaptureTime>,
    /// Some node was seen to be prepared.
    pub(crate) prepared: bool,
    /// When the last of the nodes that were seen whole was committed.
    pub(crate) last_committed: Option<CaptureTime>,
}

/// Judges the rounds of one height, from 0 to the highest seen or asked for.
///
/// `counts` are those of the height, `span` its first and last sight.
#[allow(
    clippy::too_many_arguments,
    reason = "all of a height, and the three things that run through all heights"
)]
pub(crate) fn judge(
    height: &Height,
    rows: &[Row<'_>],
    sequence: u64,
    counts: &[CountFact],
    span: (CaptureTime, CaptureTime),
    chain: &ChainContext<'_>,
    state: &mut ChainState,
    tally: &mut Tally,
) -> Rounds {
    let first_sight = rows::first_sights(rows, height.payloads.len());
    if chain.fixed_validators.is_none()
        && let Some(validators) = validators_of(height, &state.validators, chain.committee)
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
    let lives = lived::lives(height, rows, chain, &validators, quorum);

    let highest = counts.iter().map(|count| count.round).max().unwrap_or(0);
    let mut messages: HashMap<u64, u64> = HashMap::new();
    for count in counts {
        *messages.entry(count.round).or_default() += count.messages;
    }
    // A hostile round number must not make a billion rows: beyond the limit only what was seen has a row.
    let mut rounds: BTreeSet<u64> = (0..=highest.min(MAX_EMPTY_ROUNDS)).collect();
    rounds.extend(messages.keys());

    let uncertain = !chain.all_validators_covered || chain.losses.overlap_anywhere(span.0, span.1);
    let before = sequence.checked_sub(1);
    let last_author = state
        .last_block
        .filter(|&(last, _)| before == Some(last))
        .map(|(_, author)| author);
    let last_commit = state
        .last_commit
        .filter(|&(last, _)| before == Some(last))
        .map(|(_, time)| time);
    let requests = Requests::of(height, &first_sight, &validators);
    let here = Standings {
        requests: &requests,
        quorum,
        faulty: faulty(members) as usize,
    };
    let mut highest_there = None;
    let mut all_seen = None;
    let mut decided_author = None;
    let mut last_proposal = None;
    let mut commit = None;
    let mut judged = Vec::with_capacity(rounds.len());
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
        let nodes = || lives.range((round, 0)..=(round, u32::MAX));
        let committed_somewhere = nodes().any(|(_, lived)| lived.committed.is_some());
        if committed_somewhere {
            decided_author = last_proposal;
        }
        let full = |node: u32| chain.coverage.of(chain.ips.ips[node as usize]) == Coverage::Full;
        let median = |pick: fn(&Lived) -> Option<CaptureTime>| {
            let at_full = nodes().filter(|((_, node), _)| full(*node));
            lower_median(at_full.filter_map(|(_, lived)| pick(lived)).collect())
        };
        let seen_whole = |node: u32| {
            let ip = chain.ips.ips[node as usize];
            chain.coverage.of(ip) != Coverage::Partial && !chain.losses.overlap(ip, span.0, span.1)
        };
        let committed = nodes().filter(|((_, node), _)| seen_whole(*node));
        let notes = RoundNotes {
            expected,
            proposed_by: proposal.and_then(|(_, entry)| entry.signer),
            asked_for: requests.first_for(round),
            prepared: nodes().any(|(_, lived)| lived.prepared.is_some()),
            last_committed: committed.filter_map(|(_, lived)| lived.committed).max(),
        };
        let outcome = if committed_somewhere {
            Outcome::Decided
        } else if round < highest {
            Outcome::Changed
        } else if uncertain {
            Outcome::Unknown
        } else {
            Outcome::Open
        };
        let standing = here.of(round, committed_somewhere, notes.prepared);
        if standing.is_there() {
            highest_there = Some(round);
        }
        let committed_ns = median(|lived| lived.committed);
        if commit.is_none() && outcome == Outcome::Decided {
            commit = committed_ns;
        }
        let preprepare_ns = proposal.map(|(seen, _)| seen);
        let cause = (outcome == Outcome::Changed).then(|| {
            let all_seen =
                *all_seen.get_or_insert_with(|| all_seen_since(last_commit, span, &validators, chain));
            cause(
                preprepare_ns,
                requests.first_beyond(round),
                notes.prepared,
                all_seen,
            )
        });
        let fact = RoundFact {
            chain: chain.name.clone(),
            sequence,
            round,
            proposer: notes
                .proposed_by
                .or(expected)
                .map(|proposer| chain.who.names.label_of(proposer)),
            validators: (!validators.is_empty()).then_some(validators.len() as u32),
            quorum,
            preprepare_ns,
            prepared_ns: median(|lived| lived.prepared),
            committed_ns,
            messages: messages.get(&round).copied().unwrap_or(0),
            outcome,
            standing,
            cause,
            block_time_ns: committed_ns
                .filter(|_| outcome == Outcome::Decided)
                .zip(last_commit)
                .map(|(now, before)| now.since(before).0)
                // Where the clock was set back nobody knows how long it took; the event `clock_step` tells.
                .filter(|took| *took >= 0),
        };
        judged.push((fact, notes));
    }
    // Rounds that only a liar names and that have no row are no rounds that went uncounted.
    let without_row = |up_to: u64| {
        let rows = judged.partition_point(|(fact, _): &(RoundFact, RoundNotes)| fact.round <= up_to);
        up_to.saturating_add(1).saturating_sub(rows as u64)
    };
    let there = highest_there.map_or(0, without_row);
    tally.skipped_rounds += there;
    tally.claimed_rounds += without_row(highest).saturating_sub(there);
    if let Some(author) = decided_author.or(last_proposal) {
        state.last_block = Some((sequence, author));
    }
    if let Some(time) = commit {
        state.last_commit = Some((sequence, time));
    }
    Rounds {
        validators,
        lives,
        rounds: judged,
    }
}

/// Why a round was left. `asked`: when the first round change for a higher one was sent. What was seen is certain; that something did
/// not come, or not earlier, only where all is seen.
fn cause(
    preprepare: Option<CaptureTime>,
    asked: Option<CaptureTime>,
    prepared: bool,
    all_seen: bool,
) -> RoundCause {
    if prepared {
        return RoundCause::QuorumTooLate;
    }
    match preprepare {
        _ if !all_seen => RoundCause::Unknown,
        None => RoundCause::NoPreprepare,
        Some(time) if asked.is_some_and(|asked| asked < time) => RoundCause::LatePreprepare,
        Some(_) => RoundCause::VotesMissing,
    }
}

/// Whether nothing of the validators' messages can have passed unseen since the block before; where that was not seen, since the
/// network began.
fn all_seen_since(
    last_commit: Option<CaptureTime>,
    span: (CaptureTime, CaptureTime),
    validators: &[Address],
    chain: &ChainContext<'_>,
) -> bool {
    let joined = chain.witnesses.joined;
    if last_commit.is_none() && joined.is_some_and(|joined| joined <= span.1) {
        return false;
    }
    let span = (last_commit.map_or(span.0, |time| time.min(span.0)), span.1);
    let seen = |validator: &Address| {
        let sight = chain
            .witnesses
            .sight(validator, span, chain.ips, chain.coverage, chain.losses);
        sight != Sight::Poor
    };
    !validators.is_empty() && validators.iter().all(seen)
}

/// What makes a round one that counts: the only place where that is judged.
struct Standings<'a> {
    requests: &'a Requests,
    quorum: Option<u32>,
    /// How many validators may be faulty; 0 where they are not known.
    faulty: usize,
}

impl Standings<'_> {
    fn of(&self, round: u64, committed: bool, prepared: bool) -> RoundStanding {
        let entered = committed
            || prepared
            || round == 0 && self.requests.present() > self.faulty
            || self
                .quorum
                .is_some_and(|quorum| self.requests.askers(round) >= quorum as usize)
            || self.requests.voices(round) > self.faulty;
        if !entered {
            RoundStanding::Claimed
        } else if !committed && self.requests.beyond(round) > self.faulty {
            RoundStanding::Left
        } else {
            RoundStanding::Entered
        }
    }
}

/// Who asked for which round, and who else was in it: valid messages of validators.
struct Requests {
    /// Round asked for, who asks, when that was first seen; sorted.
    all: Vec<(u64, Address, CaptureTime)>,
    /// Round and validator of everything else, each once; sorted.
    others: Vec<(u64, Address)>,
    /// The highest round that each validator went to by a message of its own; sorted.
    highest: Vec<u64>,
}

impl Requests {
    fn of(height: &Height, first_sight: &[CaptureTime], validators: &[Address]) -> Self {
        let has_a_vote = |signer: &Address| validators.is_empty() || validators.binary_search(signer).is_ok();
        let mut all: Vec<_> = height
            .payloads
            .iter()
            .zip(first_sight)
            .filter(|(entry, _)| entry.kind == Kind::RoundChange && !entry.invalid)
            .filter_map(|(entry, &seen)| Some((entry.round, entry.signer.filter(has_a_vote)?, seen)))
            .collect();
        all.sort_unstable();
        let mut others: Vec<_> = height
            .payloads
            .iter()
            .filter(|entry| entry.kind != Kind::RoundChange && !entry.invalid)
            .filter_map(|entry| Some((entry.round, entry.signer.filter(has_a_vote)?)))
            .collect();
        others.sort_unstable();
        others.dedup();
        let mut by_signer: HashMap<Address, u64> = HashMap::new();
        let own = all.iter().map(|&(round, signer, _)| (round, signer));
        for (round, signer) in own.chain(others.iter().copied()) {
            let known = by_signer.entry(signer).or_default();
            *known = (*known).max(round);
        }
        let mut highest: Vec<u64> = by_signer.into_values().collect();
        highest.sort_unstable();
        Self { all, others, highest }
    }

    /// How many validators sent anything of the height.
    fn present(&self) -> usize {
        self.highest.len()
    }

    /// How many validators went to a higher round.
    fn beyond(&self, round: u64) -> usize {
        self.highest.len() - self.highest.partition_point(|highest| *highest <= round)
    }

    /// How many validators sent a proposal or a vote in this round.
    fn voices(&self, round: u64) -> usize {
        let from = self.others.partition_point(|voice| voice.0 < round);
        self.others.partition_point(|voice| voice.0 <= round) - from
    }

    fn for_round(&self, round: u64) -> &[(u64, Address, CaptureTime)] {
        let from = self.all.partition_point(|request| request.0 < round);
        let to = self.all.partition_point(|request| request.0 <= round);
        &self.all[from..to]
    }

    /// How many ask for exactly this round.
    fn askers(&self, round: u64) -> usize {
        self.for_round(round).chunk_by(|a, b| a.1 == b.1).count()
    }

    /// The first that asks for exactly this round.
    fn first_for(&self, round: u64) -> Option<CaptureTime> {
        self.for_round(round).iter().map(|request| request.2).min()
    }

    /// The first that asks for a higher round.
    fn first_beyond(&self, round: u64) -> Option<CaptureTime> {
        let from = self.all.partition_point(|request| request.0 <= round);
        self.all[from..].iter().map(|request| request.2).min()
    }
}

/// Rounds that get a row although nothing of them was seen, per height.
const MAX_EMPTY_ROUNDS: u64 = 1000;

/// The validators that the header of the height's block lists, sorted by address; `None` leaves the known ones.
///
/// A list in a proposal is its proposer's word. So, first to last:
/// 1. While none are known, the list of the proposal with most votes holds, of several the one with the lowest hash.
/// 2. Afterwards another list takes the place of the known one only if more of the known validators than may be faulty voted for its block
///    (prepare or commit), so that an honest one has checked it; of several the one with most of these votes, then with the lowest hash.
///
/// So one validator's proposal, for a height where nobody else is, changes nothing.
fn validators_of(height: &Height, known: &[Address], committee: u32) -> Option<Vec<Address>> {
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
    let least = if known.is_empty() {
        0
    } else {
        let members = u32::try_from(known.len()).unwrap_or(u32::MAX).min(committee);
        faulty(members) as usize + 1
    };
    let (_, proposal) = height
        .payloads
        .iter()
        .filter(|entry| !entry.invalid && entry.signer.as_ref().is_some_and(has_a_vote))
        .filter_map(|entry| entry.proposal.as_ref())
        .filter(|proposal| (1..=KEPT_VALIDATORS).contains(&proposal.validators.len()))
        .map(|proposal| (votes.get(&proposal.hash).map_or(0, BTreeSet::len), proposal))
        .filter(|(behind, _)| *behind >= least)
        .max_by_key(|(behind, proposal)| (*behind, std::cmp::Reverse(proposal.hash)))?;
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

fn lower_median(mut times: Vec<CaptureTime>) -> Option<CaptureTime> {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) / 2).copied()
}
