//! `missing_proposer`: a validator whose turn it was did not propose.
//!
//! **Condition**: the proposer of a round is known (the chain's policy and the author of the block before), no preprepare of it for that round
//! was seen before more validators than may fail had asked for a higher round, and nothing can be hidden (as for `silent_validator`).
//! Above round 0 the round must have begun for it: a quorum of round changes for this round, a second and more before.
//! `missing_turns` (1) such turns in a row.
//! **Blame**: the validator, not suspicious: it may be down or have lost its miner.
//! **Severity**: warning. One event for turns in a row, at the first round change of the first: `turns`, `late` (of these, proposed after
//! all), `from_ns`, `to_ns`.

use bftap_ibft_decode::Kind;
use bftap_model::{Address, CaptureTime, Nanos};

use crate::facts::EventFact;

use super::RuleOptions;
use super::presence::{Presence, leavers, left_below};
use super::state::{MISSING, RuleState, Trouble};
use super::troubles::over;
use super::view::{HeightView, number};

pub(super) const RULE: &str = "missing_proposer";

pub(super) fn judge(
    view: &HeightView<'_>,
    rounds: &[Presence],
    state: &mut RuleState,
    events: &mut Vec<EventFact>,
) {
    if !view.all_vote() {
        return;
    }
    // Rounds that were left, also without a trace of their own, and those in which somebody was seen.
    let left = left_below(view).min(MOST_ROUNDS);
    let seen = rounds
        .iter()
        .map(|presence| presence.round)
        .filter(|round| *round >= left);
    for round in (0..left).chain(seen).take(MOST_ROUNDS as usize) {
        let Some(expected) = view.expected_proposer(round) else {
            continue;
        };
        let own = view
            .votes()
            .filter(|(signer, entry, _)| {
                *signer == expected && entry.kind == Kind::Preprepare && entry.round == round
            })
            .map(|(.., sight)| sight.first)
            .min();
        let leavers = leavers(view, round);
        let left = leavers.get(view.faulty()).map(|leaver| leaver.0);
        let Some(left) = left.filter(|left| own.is_none_or(|own| own > *left)) else {
            if own.is_some()
                && let Some(trouble) = state.settle(expected, MISSING)
            {
                events.extend(over(view, expected, &trouble, trouble.last));
            }
            continue;
        };
        let begin = if round == 0 {
            state.decided_before(view.sequence)
        } else {
            begun(view, round).filter(|begun| left.since(*begun) >= TIME_TO_PROPOSE)
        };
        let Some(begin) = begin.filter(|begin| *begin <= left) else {
            continue;
        };
        if !view.visible(expected, (begin, left)) {
            continue;
        }
        let first = leavers[0].0;
        let trouble = state.trouble(expected, MISSING, || (first, view.sequence, round));
        trouble.count += 1;
        trouble.last = left;
        trouble.worst += i64::from(own.is_some());
    }
}

/// When a quorum had asked for the round.
fn begun(view: &HeightView<'_>, round: u64) -> Option<CaptureTime> {
    let mut asked: Vec<(Address, CaptureTime)> = view
        .votes()
        .filter(|(_, entry, _)| entry.kind == Kind::RoundChange && entry.round == round)
        .map(|(signer, _, sight)| (signer, sight.first))
        .collect();
    asked.sort_unstable();
    asked.dedup_by_key(|asked| asked.0);
    let mut times: Vec<CaptureTime> = asked.into_iter().map(|asked| asked.1).collect();
    times.sort_unstable();
    times.get(view.quorum()?.checked_sub(1)?).copied()
}

/// Rounds of a height that are looked at: no network gets so far, and a hostile one must not make it slow.
const MOST_ROUNDS: u64 = 64;

/// The round changes must reach it, and its proposal the tap.
const TIME_TO_PROPOSE: Nanos = Nanos::from_secs(1);

/// Fills in what is said of missed turns, if there are enough.
pub(super) fn describe(
    options: &RuleOptions,
    mut event: EventFact,
    label: &str,
    trouble: &Trouble,
) -> Option<EventFact> {
    if trouble.count < options.missing_turns {
        return None;
    }
    event.sequence = Some(trouble.sequence);
    event.round = Some(trouble.round);
    event.kind = Some(Kind::Preprepare);
    event.detail = format!(
        "{label} did not propose in time in {} turn(s), the first one height {}, round {}; the others left these rounds",
        trouble.count, trouble.sequence, trouble.round
    );
    event.numbers.insert("turns", number(trouble.count));
    event.numbers.insert("late", trouble.worst);
    event.numbers.insert("from_ns", trouble.from.nanos());
    event.numbers.insert("to_ns", trouble.last.nanos());
    Some(event)
}
