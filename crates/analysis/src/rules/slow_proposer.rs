//! `slow_proposer`: a validator whose proposals come late, turn after turn.
//!
//! **Condition**: from the block before (its quorum at the median tapped node) to the first sight of the preprepare of round 0 it takes more
//! than `slow_factor` (3) times the median of the chain's latest 15 proposals, and `slow_ms` (1000) more than that, in `slow_turns` (2)
//! turns of the same proposer in a row. At least eight proposals make a median. One slow turn alone may be a step of the clock. Nothing may be
//! lost at the proposer meanwhile.
//! **Blame**: the validator, not suspicious. **Severity**: warning. One event for turns in a row: `turns`, `worst_ns`, `usual_ns`.

use bftap_ibft_decode::Kind;

use crate::facts::EventFact;

use super::RuleOptions;
use super::state::{RuleState, SLOW, Trouble};
use super::troubles::Teller;
use super::view::{HeightView, number};

pub(super) const RULE: &str = "slow_proposer";

/// Proposals that make the median, and the fewest.
const LATEST: usize = 15;
const FEWEST: usize = 8;

pub(super) fn judge(view: &HeightView<'_>, state: &mut RuleState, events: &mut Vec<EventFact>) {
    let Some(before) = state.decided_before(view.sequence) else {
        return;
    };
    let proposal = view
        .votes()
        .filter(|(_, entry, _)| entry.kind == Kind::Preprepare && entry.round == 0)
        .map(|(signer, entry, sight)| (sight.first, entry.hash, signer))
        .min();
    let Some((seen, _, proposer)) = proposal else {
        return;
    };
    let took = seen.since(before).0;
    if took < 0 || !view.visible(proposer, (before, seen)) {
        return;
    }
    let usual = usual(&state.paces);
    state.paces.push(took);
    if state.paces.len() > LATEST {
        state.paces.remove(0);
    }
    let Some(usual) = usual else { return };
    let options = view.options();
    let factor = number(options.slow_factor);
    if took > usual.saturating_mul(factor) && took > usual.saturating_add(options.slow.0) {
        let trouble = state.trouble(proposer, SLOW, || (seen, view.sequence, 0));
        trouble.count += 1;
        trouble.last = seen;
        trouble.worst = trouble.worst.max(took);
    } else if let Some(trouble) = state.settle(proposer, SLOW) {
        let base = |rule, time| view.event(rule, time, String::new());
        let teller = Teller {
            usual: Some(usual),
            ..Teller::of(view)
        };
        events.extend(teller.event(base, proposer, &trouble, (trouble.last, false)));
    }
}

/// What proposals of the chain take.
pub(super) fn usual(paces: &[i64]) -> Option<i64> {
    if paces.len() < FEWEST {
        return None;
    }
    let mut sorted = paces.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len() - 1) / 2).copied()
}

/// Fills in what is said of slow turns, if there are enough.
pub(super) fn describe(
    options: &RuleOptions,
    mut event: EventFact,
    label: &str,
    trouble: &Trouble,
    usual: Option<i64>,
) -> Option<EventFact> {
    if trouble.count < options.slow_turns {
        return None;
    }
    event.sequence = Some(trouble.sequence);
    event.round = Some(0);
    event.kind = Some(Kind::Preprepare);
    event.detail = format!(
        "{label} proposed late in {} turns in a row, at worst {:.3} s after the block before",
        trouble.count,
        trouble.worst as f64 / 1e9
    );
    event.numbers.insert("turns", number(trouble.count));
    event.numbers.insert("worst_ns", trouble.worst);
    if let Some(usual) = usual {
        event.numbers.insert("usual_ns", usual);
    }
    event.numbers.insert("from_ns", trouble.from.nanos());
    event.numbers.insert("to_ns", trouble.last.nanos());
    Some(event)
}
